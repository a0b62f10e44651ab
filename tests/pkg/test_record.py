"""Records: every rule is applied to every record, its values are made only of those wanted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pipeline.pkg.record
from fixtures.resolve.small import document, record, record_of
from pipeline.errors import FormatError
from pipeline.pkg.depends import shlibs_provided
from pipeline.pkg.manifest import PackageManifest
from pipeline.pkg.record import CatalogueRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

FIELDS: Mapping[str, object] = {
    **document("good", deps=["a", "b"]),
    "repopath": "All/good-1.0.pkg",
    "pkgsize": 7,
    "sum": "0" * 64,
    "flatsize": 1,
    "licenselogic": "or",
    "licenses": ["MIT", "BSD"],
    "vital": True,
    "options": {"A": "on", "B": False},
    "annotations": {"FreeBSD_version": "1500000"},
    "shlibs_provided": ["libb.so.1", "liba.so.1", "liba.so.1"],
    "shlibs_provided_ignore": ["libb.so.1"],
    "provides": ["z", "a"],
    "conflicts": ["y", "x"],
    "messages": [{"message": "m", "type": "install", "minimum_version": "1"}],
}


def make(fields: Mapping[str, object]) -> CatalogueRecord:
    return CatalogueRecord.of_fields(memoryview(json.dumps(fields).encode()), fields)


def test_index_is_what_the_manifest_says() -> None:
    found = make(FIELDS)
    manifest = found.manifest
    assert manifest == PackageManifest.from_dict(FIELDS)
    assert (found.name, found.version, found.abi) == (manifest.name, "1.0", manifest.abi)
    assert found.name_version == manifest.name_version
    assert found.osversion == "1500000"
    assert found.provides == manifest.provides == ("a", "z")
    assert found.shlibs_provided == shlibs_provided(manifest) == ("liba.so.1",)
    assert found.conflicts == manifest.conflicts == ("x", "y")
    assert (found.repopath, found.pkgsize, str(found.sum)) == ("All/good-1.0.pkg", 7, "0" * 64)


def test_old_arch_stands_for_a_missing_abi() -> None:
    fields = {k: v for k, v in FIELDS.items() if k != "abi"} | {"arch": "freebsd:15:x86:64"}
    assert make(fields).abi == make(fields).manifest.abi == "freebsd:15:x86:64"


def test_nothing_is_computed_that_nobody_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the digest nor the values of a record that pkg itself could have written."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(pipeline.pkg.record, "manifest_digest", fail)
    monkeypatch.setattr(PackageManifest, "from_dict", fail)
    found = make(FIELDS)
    assert found.name == "good"
    with pytest.raises(AssertionError):
        _ = found.manifestdigest


BAD: Mapping[str, object] = {
    "name": "../x",
    "origin": "a\0b",
    "version": "1/2",
    "comment": None,
    "desc": "a%00b",
    "maintainer": 1,
    "www": [],
    "prefix": "\0",
    "abi": None,
    "arch": 1,
    "flatsize": -1,
    "licenselogic": "xor",
    "licenses": "MIT",
    "vital": 1,
    "dep_formula": None,
    "deps": {"../x": {"origin": "a", "version": "1"}},
    "categories": [1],
    "users": {},
    "groups": [None],
    "shlibs_required": ["a\0"],
    "shlibs_required_ignore": "x",
    "shlibs_provided": [True],
    "shlibs_provided_ignore": None,
    "conflicts": [[]],
    "provides": 1,
    "requires": {"a": 1},
    "options": {"A": 1},
    "annotations": {"A": True},
    "messages": [{"message": "m", "type": "other"}],
    "files": {"relative": "x"},
    "directories": {"relative": "y"},
    "dirs": [1],
    "config": ["relative"],
    "scripts": {"unknown": "x"},
    "lua_scripts": {"unknown": ["x"]},
    "message": {"type": "install"},
    "shlibs": [1],
    "repopath": "../x",
    "pkgsize": 0,
    "sum": "1",
}


@pytest.mark.parametrize("key", BAD)
def test_every_field_of_every_record_is_checked(key: str) -> None:
    with pytest.raises(FormatError) as caught:
        make({**{k: v for k, v in FIELDS.items() if k != "messages"}, key: BAD[key]})
    assert key in str(caught.value) or key == "desc"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("version", 15),
        ("deps", {"a": [{"origin": "o", "version": 1}], "b": {"origin": "p"}}),
        ("files", {"/a": "1" * 64}),
        ("message", "m"),
        ("messages", "m"),
        ("shlibs", ["libold.so.1"]),
        ("desc", "100%"),
        ("comment", "bell \a"),
        ("unknown", {"a": [None, 1]}),
    ],
)
def test_what_the_quick_check_does_not_know_is_no_error(key: str, value: object) -> None:
    fields = {**FIELDS, key: value}
    assert make(fields).manifest == PackageManifest.from_dict(fields)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 1 << 64) | st.text(max_size=4) | st.just("%00"),
    lambda inside: st.lists(inside, max_size=2) | st.dictionaries(st.text(max_size=3), inside),
    max_leaves=4,
)


@pytest.mark.property
@given(st.sampled_from([key for key in BAD if key not in ("repopath", "pkgsize", "sum")]), _JSON)
def test_quick_check_never_takes_what_the_rules_refuse(key: str, value: object) -> None:
    fields = {**FIELDS, key: value}
    try:
        want = PackageManifest.from_dict(fields)
    except FormatError:
        with pytest.raises(FormatError):
            make(fields)
    else:
        found = make(fields)
        assert found.manifest == want
        assert found.provides == want.provides
        assert found.shlibs_provided == shlibs_provided(want)
        assert found.conflicts == want.conflicts
        assert (found.abi, found.version) == (want.abi, want.version)


def test_records_are_equal_if_they_say_the_same() -> None:
    spaced = CatalogueRecord.of_fields(memoryview(json.dumps(FIELDS, indent=1).encode()), FIELDS)
    assert spaced == make(FIELDS)
    assert hash(spaced) == hash(make(FIELDS))
    assert make({**FIELDS, "unknown": 1}) == make(FIELDS)
    for key, value in (("comment", "other"), ("sum", "1" * 64), ("pkgsize", 8)):
        assert make({**FIELDS, key: value}) != make(FIELDS)
    assert make(FIELDS) != "good"


def test_alone_a_record_keeps_no_catalogue() -> None:
    raw = json.dumps(FIELDS).encode()
    whole = b"[" + raw + b"]"
    found = CatalogueRecord.of_fields(memoryview(whole)[1:-1], FIELDS)
    assert found.raw.obj is whole
    assert found.alone().raw.obj == raw
    assert found.alone() == found


def test_fixture_records_are_records() -> None:
    assert record("a", deps=["b"]) == record_of(document("a", deps=["b"]))
