"""Tests of `pipeline.oci`; a package, because other folders have modules of the same names."""
