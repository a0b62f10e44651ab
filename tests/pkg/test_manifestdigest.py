"""The digest by which pkg compares packages, against what pkg stored."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from fixtures.localdb.corpus import Case, cases, manifests
from fixtures.localdb.small import manifest
from pipeline.errors import DigestMismatchError
from pipeline.pkg.localdb_read import parse_localdb
from pipeline.pkg.manifest import PackageManifest
from pipeline.pkg.manifestdigest import legacy_arch, manifest_digest, verify_manifest_digest

WITH_FILES = {
    "FreeBSD-clibs": "2$2$iiuhhnbq8h5mwyywmrjodxos6dhnqkp6jy3y6sej8dyac1f61cgbxwp63cn8mk1bjmweiqdbwo7ugw4w4m1npwytg7ap9jf7mxofihn",
    "FreeBSD-runtime": "2$2$ctkya7nu77m9sfycgf6pydmsypuc9qrrrgcxogg18nbg4xded1wcxjtrimpakn168so6frundy48i4rcs1pg3dejty3jddy4mo8e7wd",
    "libgreet": "2$2$8hbbbf4hbcud31iykk7e7yg948nbku551ddcoehr5hqoj57tmthhoeogwaba5hsoqk96b94wzimoizwceumc88cduo93du8oo8kkmjd",
    "py311-greet": "2$2$7ruj4njkowo49rcygiuq9k98jwn6bwhwxthr333eft1ms47dttb9buk6un1hssrmguemecaek1ff7xaypy76gh9zczrnj7oz8qfpnwd",
}
"""As pkg 2.4.2 to 2.8.4 computed them from a catalogue that 2.4.2 made with `pkg repo -l`."""


@pytest.mark.golden
@pytest.mark.parametrize(
    "case", [c for c in cases() if c.packages is not None and c.repository], ids=lambda c: c.name
)
def test_digests_of_every_database(case: Case) -> None:
    """The client computed them from the records of the catalogue, which have no files."""
    assert case.packages is not None
    known = manifests(case.packages)
    read = parse_localdb(case.database, wal=b"", journal=b"").packages
    assert read
    for package in read:
        record = PackageManifest.from_dict(known[package.manifest.name][0])
        if case.name.endswith("-history") and record.name == "opts":
            record = dataclasses.replace(record, vital=False)  # set later, by pkg set -v
        assert (
            manifest_digest(record, with_files=False, with_vital=case.schema > 36)
            == package.manifestdigest
        ), record.name


@pytest.mark.golden
@pytest.mark.parametrize("name", WITH_FILES)
def test_digest_of_a_record_with_files(name: str) -> None:
    """Old catalogues with the lists of files give other digests."""
    record = PackageManifest.from_dict(manifests("golden")[name][0])
    assert manifest_digest(record, with_files=True, with_vital=True) == WITH_FILES[name]


def test_database_alone_gives_the_digest() -> None:
    """The old spelling of the ABI is derived, as pkg derives it."""
    (case,) = (c for c in cases() if c.name == "2.8.4-single")
    (package,) = parse_localdb(case.database, wal=b"", journal=b"").packages
    assert package.manifestdigest is not None
    verify_manifest_digest(
        package.manifest, package.manifestdigest, with_files=False, with_vital=True
    )


def test_what_it_covers() -> None:
    """Each covered field changes it, the others do not."""
    base = manifest("p")
    digest = manifest_digest(base, with_files=False, with_vital=True)
    assert digest.startswith("2$2$")
    assert len(digest) == 4 + 103
    changes: tuple[dict[str, Any], ...] = (
        {"version": "2"},
        {"origin": "x"},
        {"arch": "x"},
        {"vital": True},
        {"options": {"O": "on"}},
        {"shlibs_required": ["x"]},
        {"shlibs_provided": ["x"]},
        {"users": ["x"]},
        {"groups": ["x"]},
        {"deps": {"x": {"origin": "y"}}},
        {"provides": ["x"]},
        {"requires": ["x"]},
    )
    for keys in changes:
        changed = manifest("p", **keys)
        assert manifest_digest(changed, with_files=False, with_vital=True) != digest, keys
    others: tuple[dict[str, Any], ...] = (
        {"comment": "x"},
        {"deps": {}},
        {"files": {"/f": "1$x"}},
        {"scripts": {"install": "x"}},
        {"abi": "x"},
        {"conflicts": ["x"]},
        {"licenses": ["x"]},
    )
    for keys in others:
        same = manifest("p", **keys)
        assert manifest_digest(same, with_files=False, with_vital=True) == digest, keys


def test_what_the_caller_says() -> None:
    """With files, and with the vital flag, are other digests."""
    record = manifest("p", files={"/f": "1$x", "/g": ""})
    digests = {
        manifest_digest(record, with_files=files, with_vital=vital)
        for files in (False, True)
        for vital in (False, True)
    }
    assert len(digests) == 4


def test_verify() -> None:
    """A wrong digest says whose."""
    record = manifest("p")
    with pytest.raises(DigestMismatchError, match=r"p-1.0: digest: got 2\$2\$.*, want 2\$2\$x"):
        verify_manifest_digest(record, "2$2$x", with_files=False, with_vital=True)


@pytest.mark.parametrize(
    ("abi", "arch"),
    [
        ("FreeBSD:15:amd64", "freebsd:15:x86:64"),
        ("FreeBSD:14:aarch64", "freebsd:14:aarch64:64"),
        ("FreeBSD:14:armv7", "freebsd:14:armv7:32:el:eabi:hardfp"),
        ("FreeBSD:15:riscv64", "freebsd:15:riscv:64:hf"),
        ("FreeBSD:15:powerpc64le", "freebsd:15:powerpc:64:el"),
        ("FreeBSD:15:*", "freebsd:15:*"),
        ("FreeBSD:*", "freebsd:*"),
        ("*", "*"),
        ("", ""),
        ("Linux:4.4:a:b", "linux:4.4:a:b"),
    ],
)
def test_legacy_arch(abi: str, arch: str) -> None:
    """pkg_arch_to_legacy."""
    assert legacy_arch(abi) == arch
