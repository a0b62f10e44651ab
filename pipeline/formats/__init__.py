"""Bytes to values and back, for formats that belong to no domain. Pure; imports errors only."""
