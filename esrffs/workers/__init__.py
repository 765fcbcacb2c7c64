"""The worker processes, in which readers run, and the protocol between them and the daemon.

Only this package imports trio-parallel.
"""
