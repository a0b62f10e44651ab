"""The root filesystem as a value: path to entry, never on the host's disk.

Pure; imports errors, formats, pkg.
"""
