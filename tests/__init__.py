"""Tests; folders are packages, because several have modules of one name."""
