"""What makes the manual pages, completions and option tables of the repository."""
