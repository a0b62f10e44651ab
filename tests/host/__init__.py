"""Tests of `pipeline.host`."""
