"""The processes that host readers, and the protocol between them and the daemon.

The only home of trio-parallel.
"""
