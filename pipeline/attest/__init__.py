"""Statements about images: in-toto, SPDX, CycloneDX, DSSE.

Pure; imports errors, formats.
"""
