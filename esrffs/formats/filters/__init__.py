"""HDF5 filters undone without libhdf5: imagecodecs, and functions of hdf5plugin's own library.

Used in the daemon as well, so nothing here loads h5py.
"""
