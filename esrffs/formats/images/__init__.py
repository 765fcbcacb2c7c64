"""Image files (EDF, TIFF, CBF and all that FabIO reads) and series of them, as silx maps them."""
