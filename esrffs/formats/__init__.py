"""What is in a data file: recognition, and a reader for each format.

Readers run in worker processes; only `detect` runs in the daemon.  The only home of the libraries
that read data files.
"""
