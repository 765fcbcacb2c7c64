"""Programs that write files of the repository: manual pages, completions, the table of options."""
