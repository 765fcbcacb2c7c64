"""The mounted folder and its data files.

What exists, in which generation, how it is opened, listed and followed through links, and how long
a call may take.
"""
