"""Tests. Modules that several of them share are imported as `tests.x`."""
