"""Tests of `pipeline.rootfs`."""
