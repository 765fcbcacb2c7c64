"""Detection of formats, and a reader for each format.

Readers run in worker processes; only `detect` runs in the daemon.  Only this package imports the
libraries that read data files (h5py, silx, FabIO, tifffile).
"""
