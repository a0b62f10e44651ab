"""Tests of `pipeline.pkg`."""
