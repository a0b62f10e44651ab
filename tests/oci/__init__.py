"""Tests of `pipeline.oci`."""
