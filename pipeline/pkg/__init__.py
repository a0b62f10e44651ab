"""pkg(8): names, order, metadata, trust, resolution and its database.

Pure; imports errors, formats.
"""
