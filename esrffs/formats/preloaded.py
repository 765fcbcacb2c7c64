"""Importing this loads all readers, and uses each of them once: for the fork server.

Decided here: what reader processes need not do, because they begin as copies of a process that did.
"""

import gc

from esrffs.formats.rehearsal import rehearse

rehearse()
gc.collect()
gc.freeze()  # the collector writes to what it looks at: pages that could have stayed shared
