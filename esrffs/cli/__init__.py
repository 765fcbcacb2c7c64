"""The program: arguments, options, mount point, daemon, log.  Wires everything together."""
