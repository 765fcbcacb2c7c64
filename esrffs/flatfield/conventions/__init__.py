"""How raw, flat and dark images are found: one module for each convention.  Pure."""
