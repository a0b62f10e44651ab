"""The only code that touches files, network, processes, clock and environment.

Imports errors, formats, oci.
"""
