"""HDF5 files: groups, datasets, links, attributes, and where their bytes lie.

The only home of h5py and hdf5plugin.
"""
