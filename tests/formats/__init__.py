"""Tests of `pipeline.formats`."""
