"""Tests of the package `reproducibility`."""
