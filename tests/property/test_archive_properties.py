"""Package archives: what is well formed is read, what is damaged is refused with our errors."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tarfile
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ManifestError, PipelineError
from pipeline.formats.mtree import Kind, parse_spec, to_spec
from pipeline.pkg.archive import PackageContents, read_package
from pipeline.pkg.manifest import PackageManifest
from tests.archives import Item, Memory, manifest_of, package

pytestmark = pytest.mark.property

COMPONENTS = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=8
).filter(lambda t: t not in (".", ".."))
CONTENTS = st.sampled_from([b"", b"a", b"hello\n", bytes(3000), b"x" * 513])


@st.composite
def packages(draw: st.DrawFn) -> list[Item]:
    """Return items of a well-formed package: files, links to some, directories, symlinks."""
    names = sorted(draw(st.sets(COMPONENTS, max_size=6)))
    items: list[Item] = []
    for name in names:
        common: dict[str, Any] = {
            "mode": draw(st.integers(0, 0o7777)),
            "uname": draw(st.sampled_from(["root", "bin"])),
            "gname": draw(st.sampled_from(["wheel", "mail"])),
            "mtime": draw(st.integers(1, 2**33 - 1)),
        }
        files = [item for item in items if item.kind == tarfile.REGTYPE]
        kind = draw(st.sampled_from("fdsh" if files else "fds"))
        if kind == "f":
            items.append(Item(path=f"/{name}", content=draw(CONTENTS), **common))
        elif kind == "d":
            items.append(Item(path=f"/{name}", kind=tarfile.DIRTYPE, **common))
        elif kind == "s":
            target = draw(COMPONENTS)
            items.append(Item(path=f"/{name}", kind=tarfile.SYMTYPE, link=target, **common))
        else:
            first = draw(st.sampled_from(files))
            hard = replace(first, path=f"/{name}", kind=tarfile.LNKTYPE, content=b"")
            items.append(replace(hard, link=first.path))
    return items


def percent(path: str) -> str:
    """Encode a path as pkg encodes the keys of files."""
    return "".join(
        f"%{b:02x}" if b >= 0x80 or b == ord("%") else chr(b) for b in path.encode("utf-8")
    )


def encoded(items: list[Item]) -> bytes:
    manifest = manifest_of(items)
    for table in ("files", "directories"):
        manifest[table] = {percent(path): value for path, value in manifest[table].items()}
    return package(items, manifest=json.dumps(manifest).encode())


def read(data: bytes) -> tuple[PackageContents, Memory]:
    payload = Memory()
    return read_package(io.BytesIO(data), payload, size=len(data), what="x.pkg"), payload


@given(packages())
def test_well_formed_packages_are_read(items: list[Item]) -> None:
    """Every attribute, every content; and they survive their spec."""
    contents, payload = read(encoded(items))
    by_path = {f"/{e.path}": e for e in contents.entries}
    assert set(by_path) == {item.path for item in items}
    where = {e.digest: bytes(payload[e.offset : e.offset + e.size]) for e in contents.extents}
    files = {item.path: item for item in items}
    for item in items:
        entry = by_path[item.path]
        assert (entry.user, entry.group, entry.mtime) == (item.uname, item.gname, item.mtime)
        if item.kind in (tarfile.REGTYPE, tarfile.LNKTYPE):
            content = files[item.link].content if item.link else item.content
            assert where[entry.digest] == content
            assert hashlib.sha256(content).hexdigest() == entry.digest
        if item.kind == tarfile.SYMTYPE:
            assert (entry.kind, entry.link) == (Kind.LINK, item.link)
        else:
            assert entry.mode == item.mode
    assert parse_spec(to_spec(contents.entries)) == contents.entries


@given(packages(), st.integers(0, 1 << 20), st.integers(1, 255))
def test_a_flipped_byte_is_refused_or_harmless(
    items: list[Item], position: int, value: Any
) -> None:
    """Never another exception; and what is accepted has content of the right sums."""
    data = bytearray(encoded(items))
    data[position % len(data)] ^= value
    try:
        contents, payload = read(bytes(data))
    except PipelineError:
        return
    for extent in contents.extents:
        content = payload[extent.offset : extent.offset + extent.size]
        assert hashlib.sha256(content).hexdigest() == extent.digest


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = st.sampled_from(
    [
        *("name", "version", "files", "directories", "dirs", "config", "deps", "options"),
        *("scripts", "lua_scripts", "messages", "message", "annotations", "licenselogic"),
        *("flatsize", "vital", "desc", "shlibs_required", "users"),
    ]
)


@given(st.dictionaries(KEYS, JSON, min_size=1, max_size=3))
def test_any_value_of_any_key_is_read_or_refused(changes: dict[str, Any]) -> None:
    """ManifestError, never a TypeError."""
    raw = json.dumps({**manifest_of(), **changes}).encode()
    with contextlib.suppress(ManifestError):
        PackageManifest.parse(raw)


FILES = st.fixed_dictionaries(
    {},
    optional={
        key: JSON | st.text(max_size=5)
        for key in ("sum", "uname", "gname", "perm", "fflags", "mtime", "symlink_target")
    },
)


@given(st.sampled_from(["files", "directories"]), st.text(max_size=10), FILES)
def test_any_record_of_a_file_is_read_or_refused(
    table: str, key: str, record: dict[str, Any]
) -> None:
    """The same, one level deeper."""
    raw = json.dumps({**manifest_of(), table: {key: record, f"/{key}": record}}).encode()
    with contextlib.suppress(ManifestError):
        PackageManifest.parse(raw)
