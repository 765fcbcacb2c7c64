"""Decoders of HDF5 filters without libhdf5: imagecodecs, and the C functions of hdf5plugin.

The daemon uses them too, so nothing here imports h5py.
"""
