"""esrffs: Spec, EDF and HDF5 files as directories of .npy and JSON, by FUSE."""
