"""Reproducible OCI images of FreeBSD: a declaration and a lock in, the same bytes out, anywhere.

Tiers, from the bottom: `errors`; `formats`; `pkg`, `oci`, `attest`; `rootfs`; `declaration`;
`host`; `stages`; `tasks`. Imports only point down (`tests/test_tiers.py` holds the table).
"""

__version__ = "1.0.0"
