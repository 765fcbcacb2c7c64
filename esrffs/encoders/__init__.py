"""Which bytes stand for a thing: `.npy` headers, JSON, extended attributes, file names.  Pure."""
