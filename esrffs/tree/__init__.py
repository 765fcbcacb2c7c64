"""What the user sees: folders, groups, files, symlinks, `corrected/`.  Knows nothing of FUSE."""
