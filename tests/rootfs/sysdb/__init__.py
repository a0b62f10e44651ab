"""Tests of `pipeline.rootfs.sysdb`."""
