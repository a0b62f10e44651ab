"""Catalogues: golden ones come out as recorded, malformed records do not come out at all."""

from __future__ import annotations

import io
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import ManifestMismatchError, PackagesiteError
from pipeline.formats.decompression import open_decompressed
from pipeline.formats.tar import TarReader
from pipeline.pkg.abi import Abi
from pipeline.pkg.manifest import PackageManifest
from pipeline.pkg.manifestdigest import manifest_digest
from pipeline.pkg.packagesite import (
    build_catalogue,
    parse_data,
    parse_packagesite,
    verify_manifest,
)
from pipeline.pkg.record import MAX_PACKAGE, check_repopath
from pipeline.pkg.signature import read_signed_archive

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pipeline.pkg.catalogue import Catalogue
    from pipeline.pkg.record import RawRecord

REPOSITORIES = Path(__file__).parents[2] / "fixtures" / "repositories"
AMD64 = Abi.parse("FreeBSD:15:amd64")
AARCH64 = Abi.parse("FreeBSD:14:aarch64")

SUM = "1" * 64
RECORD: Mapping[str, object] = {
    "name": "good",
    "origin": "misc/good",
    "version": "1.0",
    "comment": "c",
    "maintainer": "m@example.org",
    "www": "w",
    "abi": "FreeBSD:15:amd64",
    "arch": "freebsd:15:x86:64",
    "prefix": "/usr/local",
    "sum": SUM,
    "flatsize": 1,
    "path": "All/good-1.0.pkg",
    "repopath": "All/good-1.0.pkg",
    "pkgsize": 100,
    "desc": "d",
}


def payload(repository: str, name: str, member: str) -> bytes:
    raw = (REPOSITORIES / repository / name).read_bytes()
    return read_signed_archive(io.BytesIO(raw), member, limit=1 << 20, what=name).payload


def build(*records: Mapping[str, object], abi: Abi = AMD64) -> Catalogue:
    payload = json.dumps({"packages": records}).encode()
    return build_catalogue(parse_data(payload), repository="r", priority=0, abi=abi)


def decoded(records: Iterable[RawRecord]) -> list[dict[str, object]]:
    return [record.decode() for record in records]


def without(key: str) -> dict[str, object]:
    return {k: v for k, v in RECORD.items() if k != key}


# ---------------------------------------------------------------- golden

GOLDEN = [
    path.parent.name
    for path in sorted(REPOSITORIES.glob("*/meta*"))
    if path.suffix in (".conf", ".txz")
]


def members(repository: str) -> Iterator[tuple[str, str]]:
    if repository == "meta-v1-txz":
        yield "packagesite.txz", "packagesite.yaml"
    else:
        yield "data.pkg", "data"
        yield "packagesite.pkg", "packagesite.yaml"


def expected(repository: str, text: bytes) -> list[dict[str, object]]:
    """Read a catalogue without our code: plain json, sorted by name."""
    if text.startswith(b'{"groups"'):
        records = json.loads(text)["packages"]
    else:
        records = [json.loads(line) for line in text.splitlines()]
    assert records
    return sorted(records, key=lambda d: d["name"].encode())


@pytest.mark.parametrize("repository", GOLDEN)
def test_golden_catalogues(repository: str) -> None:
    abi = AARCH64 if repository == "aarch64-14" else AMD64
    for name, member in members(repository):
        text = payload(repository, name, member)
        parse = parse_data if member == "data" else parse_packagesite
        catalogue = build_catalogue(parse(text), repository="r", priority=7, abi=abi)
        assert (catalogue.repository, catalogue.priority) == ("r", 7)
        for record, fields in zip(catalogue.records, expected(repository, text), strict=True):
            assert record.manifest == PackageManifest.from_dict(fields)
            assert record.repopath == fields["path"] == fields["repopath"]
            assert record.pkgsize == fields["pkgsize"]
            assert str(record.sum) == fields["sum"]
            assert record.manifestdigest.startswith("2$2$")


@pytest.mark.parametrize("repository", ["plain", "hashed", "aarch64-14"])
def test_catalogues_are_what_the_text_beside_them_says(repository: str) -> None:
    text = (REPOSITORIES / f"{repository}.packagesite.jsonl").read_bytes()
    assert payload(repository, "packagesite.pkg", "packagesite.yaml") == text
    in_data = decoded(parse_data(payload(repository, "data.pkg", "data")))
    assert in_data == decoded(parse_packagesite(text))
    if repository == "plain":
        data = (REPOSITORIES / "plain.data.json").read_bytes()
        assert payload("plain", "data.pkg", "data") == data


def test_digest_covers_files_only_where_the_record_has_them() -> None:
    """Pkg repo -l before 2.8.2: full manifests in the catalogue."""
    full = build(*decoded(parse_data(payload("list-files-2.4.2", "data.pkg", "data"))))
    for record in full.records:
        has_files = bool(record.manifest.files)
        want = manifest_digest(record.manifest, with_files=has_files, with_vital=True)
        assert record.manifestdigest == want
    assert any(record.manifest.files for record in full.records)


# ---------------------------------------------------------------- packages of the catalogue


def own_manifest(path: Path) -> PackageManifest:
    with path.open("rb") as file:
        reader = TarReader(open_decompressed(file, limit=1 << 26, what=path.name))
        for member in reader:
            if member.name == "+MANIFEST":
                return PackageManifest.parse(reader.read())
    raise AssertionError(path)


@pytest.mark.parametrize("repository", GOLDEN)
def test_packages_are_what_their_catalogue_says(repository: str) -> None:
    name, member = next(members(repository))
    parse = parse_data if member == "data" else parse_packagesite
    abi = AARCH64 if repository == "aarch64-14" else AMD64
    for record in build(*decoded(parse(payload(repository, name, member))), abi=abi).records:
        path = REPOSITORIES / repository / record.repopath
        raw = path.read_bytes()
        assert len(raw) == record.pkgsize
        record.sum.verify_bytes(raw, what=record.repopath)
        assert verify_manifest(own_manifest(path), record).name == record.name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "2.0"}, "version: got '1.0', want '2.0'"),
        ({"name": "other"}, "name: got 'good', want 'other'"),
        ({"deps": {"other": {"origin": "misc/other", "version": "1"}}}, "deps: got (), want (Dep"),
        ({"version": "2.0", "flatsize": 2}, "want '2.0' (and 1 other fields)"),
        ({"vital": True}, "vital: got False, want True"),
    ],
)
def test_package_that_is_not_what_its_catalogue_says(
    change: Mapping[str, object], message: str
) -> None:
    manifest = PackageManifest.from_dict(RECORD)
    record = build({**RECORD, **change}).records[0]
    with pytest.raises(ManifestMismatchError) as caught:
        verify_manifest(manifest, record)
    assert str(caught.value).startswith("All/good-1.0.pkg: ")
    assert message in str(caught.value)


def test_what_an_older_writer_leaves_out_is_no_lie() -> None:
    manifest = replace(
        PackageManifest.from_dict(RECORD), shlibs_provided_ignore=("libx.so.1",), messages=()
    )
    assert verify_manifest(manifest, build(RECORD).records[0]) == manifest


# ---------------------------------------------------------------- documents


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "not JSON"),
        (b"{}", "packages: missing"),
        (b"[]", "got list, want an object"),
        (b'{"packages":{}}', "packages: got an object, want a list"),
        (b'{"packages":[1]}', "packages[0]: got an integer, want an object"),
        (b'{"packages":[]} {}', "not JSON: Extra data"),
        (b'{"packages":[],"packages":[]}', "key 'packages' twice"),
        (b'{"packages":[{"name":"a","na', "not JSON"),
        (b'{"packages":["\xe9"]}', "not UTF-8"),
        (b'{"packages":[' + b"[" * 100_000, "nested too deeply"),
    ],
)
def test_malformed_data(raw: bytes, message: str) -> None:
    with pytest.raises(PackagesiteError) as caught:
        decoded(parse_data(raw))
    assert message in str(caught.value)


def test_other_lists_of_data_are_passed_over() -> None:
    raw = b'{"groups":[{"name":"g"}],"expired_packages":["x"],"new":1,"packages":[{"a":1}]}\n'
    assert decoded(parse_data(raw)) == [{"a": 1}]


def test_packagesite_is_read_line_by_line() -> None:
    assert decoded(parse_packagesite(b'{"a":1}\n\n  \n{"b":2}')) == [{"a": 1}, {"b": 2}]
    assert decoded(parse_packagesite(b"")) == []


@pytest.mark.parametrize("raw", [b"[]", b"{", b'{"a":1} {"b":2}', b"\xff"])
def test_malformed_line_is_named(raw: bytes) -> None:
    with pytest.raises(PackagesiteError, match=r"^line 3: "):
        decoded(parse_packagesite(b'{"a":1}\n\n' + raw))


# ---------------------------------------------------------------- records


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (without("sum"), "sum: missing"),
        (without("pkgsize"), "pkgsize: missing"),
        (without("name"), "packages[0], name: missing"),
        ({**without("path"), "repopath": None}, "repopath: got null, want a string"),
        ({k: v for k, v in RECORD.items() if "path" not in k}, "repopath: missing"),
        ({**RECORD, "path": "All/other.pkg"}, "path: got 'All/other.pkg', and repopath"),
        ({**RECORD, "sum": SUM[:20]}, "sum: got sum"),
        ({**RECORD, "sum": "3$abc"}, "sum: got sum"),
        ({**RECORD, "pkgsize": 0}, "pkgsize: got 0, want 1 to"),
        ({**RECORD, "pkgsize": -1}, "pkgsize: got -1, want 1 to"),
        ({**RECORD, "pkgsize": MAX_PACKAGE + 1}, f"want 1 to {MAX_PACKAGE}"),
        ({**RECORD, "pkgsize": True}, "pkgsize: got a boolean, want an integer"),
        ({**RECORD, "abi": "FreeBSD:14:amd64"}, "abi: got 'FreeBSD:14:amd64', want FreeBSD:15:a"),
        ({**without("arch"), "abi": ""}, "abi: got ''"),
        ({**RECORD, "name": "../evil"}, "name: got package name '../evil'"),
        ({**RECORD, "name": "go\0od"}, "NUL in text"),
        ({**RECORD, "version": "1/2"}, "version: got package version"),
        ({**RECORD, "deps": {"../x": {"origin": "a"}}}, "deps"),
    ],
)
def test_malformed_record(record: Mapping[str, object], message: str) -> None:
    with pytest.raises(PackagesiteError) as caught:
        build(record)
    assert message in str(caught.value)
    assert str(caught.value).startswith("packages[0]")


def test_malformed_record_is_named() -> None:
    with pytest.raises(PackagesiteError, match=r"^packages\[1\] \('bad'\), sum: missing$"):
        build(RECORD, {**without("sum"), "name": "bad"})


@pytest.mark.parametrize(
    "abi", ["FreeBSD:15:amd64", "FreeBSD:15:*", "FreeBSD:*", "*", "freebsd:15:x86:64"]
)
def test_architecture_independent_packages_fit(abi: str) -> None:
    assert build({**RECORD, "abi": abi}).records[0].manifest.abi == abi


def test_path_alone_is_enough() -> None:
    assert build(without("repopath")).records[0].repopath == "All/good-1.0.pkg"


@pytest.mark.parametrize(
    "path",
    ["good-1.0.pkg", "All/Hashed/good-1.0~2$girzt8bd.pkg", "libc++-1:2_3,4.pkg", "a/b/c/d.pkg"],
)
def test_usual_paths(path: str) -> None:
    assert check_repopath(path) == path


@pytest.mark.parametrize(
    "path",
    ["", "/", "/etc/passwd", "../x", "a/../b", "a/..", "./a", "a//b", "a/", "http://h/x",
     "a?b", "a#b", "a%2e%2e", "a\\b", "a b", "a\nb", "a\0b", "é", "x" * 256, "a/" * 600 + "b"],
)  # fmt: skip
def test_unsafe_paths(path: str) -> None:
    with pytest.raises(PackagesiteError, match="want"):
        check_repopath(path)


# ---------------------------------------------------------------- catalogues


def test_same_record_twice_counts_once() -> None:
    assert len(build(RECORD, dict(RECORD)).records) == 1


@pytest.mark.parametrize("change", [{"sum": "2" * 64}, {"pkgsize": 7}, {"comment": "other"}])
def test_different_records_of_one_version_are_refused(change: Mapping[str, object]) -> None:
    with pytest.raises(PackagesiteError) as caught:
        build(RECORD, {**RECORD, **change})
    want = "packages[1] (good-1.0): a second, different record of this name and version"
    assert str(caught.value) == want


def test_order_is_by_name_then_version() -> None:
    versions = ["1.0", "1.2", "1.10", "2.0.b1", "2.0", "1.0,1"]
    records = [
        {**RECORD, "name": name, "version": version, "path": f"{name}-{version}.pkg",
         "repopath": f"{name}-{version}.pkg"}
        for name in ("b", "a", "B")
        for version in versions
    ]  # fmt: skip
    random.Random(1).shuffle(records)
    found = [(record.name, record.version) for record in build(*records).records]
    assert found == [(name, version) for name in ("B", "a", "b") for version in versions]


def test_empty_catalogue_is_a_catalogue() -> None:
    assert build().records == ()


@pytest.mark.parametrize("member", ["data", "packagesite.yaml"])
def test_white_space_changes_nothing(member: str) -> None:
    """A document that pkg has not written is read as a whole, and gives the same catalogue."""
    name = "data.pkg" if member == "data" else "packagesite.pkg"
    parse = parse_data if member == "data" else parse_packagesite
    raw = payload("plain", name, member)
    if member == "data":
        spaced = json.dumps(json.loads(raw), indent=1).encode()
    else:
        spaced = b"\n\n".join(json.dumps(json.loads(r)).encode() + b" " for r in raw.splitlines())
    assert spaced != raw
    catalogues = [
        build_catalogue(parse(p), repository="r", priority=0, abi=AMD64) for p in (raw, spaced)
    ]
    assert catalogues[0] == catalogues[1]
    assert len(catalogues[0].records) > 1


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b'{"packages":[{"a":1}],"packages":[]}', "key 'packages' twice"),
        (b'{"packages":[],"packages":[{"a":1}]}\n', "key 'packages' twice"),
        (b'{"groups":[],"groups":[1],"packages":[]}', "key 'groups' twice"),
        (b'{"groups":[{"a":1,"a":2}],"packages":[]}', "key 'a' twice"),
        (b'{"groups":[1.5],"packages":[]}', "got number 1.5"),
        (b'{"packages":[{},{"a":1,"a":2}]}', "packages[1]: key 'a' twice"),
        (b'{"packages":[{"a":{"b":1,"b":2}}]}', "packages[0]: key 'b' twice"),
        (b'{"packages":[{"a":1.5}]}', "packages[0]: got number 1.5"),
        (b'{"packages":[{"a":"\\ud800"}]}', "lone surrogate"),
        (b'{"packages":[{"a":' + b"[" * 70 + b"]" * 70 + b"}]}", "nested too deeply"),
        (b'{"packages":[1,]}', "not JSON"),
        (b'{"packages":[],}', "not JSON"),
        (b'{"packages":[01]}', "not JSON"),
    ],
)
def test_strict_json_all_through(raw: bytes, message: str) -> None:
    with pytest.raises(PackagesiteError) as caught:
        decoded(parse_data(raw))
    assert message in str(caught.value)
