"""Everything about `corrected/` except its directory: formula, conventions, corrected arrays."""
