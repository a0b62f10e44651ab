"""The package database over generated packages: order, idempotence, and the way there and back."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import DatabaseError
from pipeline.pkg.localdb import InstalledPackage, build_localdb
from pipeline.pkg.localdb_diff import diff_localdb
from pipeline.pkg.localdb_message import messages_text, parse_messages
from pipeline.pkg.localdb_read import LocalDatabase, canonicalise_localdb, parse_localdb
from pipeline.pkg.localdb_schema import SCHEMAS
from pipeline.pkg.manifest import (
    LUA_SCRIPT_KINDS,
    SCRIPT_KINDS,
    Dependency,
    DirectoryRecord,
    FileRecord,
    Message,
    PackageManifest,
)
from pipeline.pkg.manifestdigest import legacy_arch
from pipeline.pkg.names import byte_order

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

pytestmark = pytest.mark.property

T = TypeVar("T")
Draw = st.DrawFn

EPOCH = 1_700_000_000
LARGE = 2**62

_ODD = st.sampled_from(
    [
        "'; DROP TABLE packages; --",
        '"quoted" \\ back',
        "NULL",
        "x" * 5000,
        "日本語 😀",
        "\udcff\udcfe",
        "\x01\x7f\t\n",
        "%41 %s %%",
        "a b",
        "\u202e\ufeff",
        "é",
        "é",
    ]
)
_ANY = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12) | _ODD
"""Any text without NUL, also bytes that are not UTF-8."""
_SOME = _ANY.filter(bool)
_NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.+@~-]{0,6}", fullmatch=True)
_VERSIONS = st.from_regex(r"[A-Za-z0-9._+~][A-Za-z0-9._+,~]{0,6}", fullmatch=True)
_COMPONENT = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=6),
    st.sampled_from(["\udcff", "a'b", '"', " ", "%41", "-", "Z", "é"]),
).filter(lambda c: c not in (".", "..") and len(byte_order(c)) < 256)
_PATHS = st.lists(_COMPONENT, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
_COUNT = st.integers(0, LARGE)


def _ordered(elements: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.frozensets(elements, max_size=4).map(lambda s: tuple(sorted(s, key=byte_order)))


def _pairs(
    keys: st.SearchStrategy[str], values: st.SearchStrategy[str]
) -> st.SearchStrategy[tuple[tuple[str, str], ...]]:
    return st.dictionaries(keys, values, max_size=3).map(
        lambda d: tuple(sorted(d.items(), key=lambda pair: byte_order(pair[0])))
    )


def _keyed(
    keys: st.SearchStrategy[str], value: Callable[[str], st.SearchStrategy[T]]
) -> st.SearchStrategy[tuple[T, ...]]:
    """A tuple of records, one a key, in the order of the keys."""
    return st.dictionaries(keys, st.randoms(use_true_random=False), max_size=4).flatmap(
        lambda d: st.tuples(*(value(key) for key in sorted(d, key=byte_order)))
    )


def _file(path: str) -> st.SearchStrategy[FileRecord]:
    return st.builds(
        FileRecord,
        path=st.just(path),
        sum=st.none() | _ANY,
        uname=st.none() | _ANY,
        gname=st.none() | _ANY,
        perm=st.integers(0, 0o7777),
        fflags=st.integers(0, 2**32 - 1),
        mtime=st.integers(0, EPOCH),
        symlink_target=st.none() | _ANY,
    )


def _directory(path: str) -> st.SearchStrategy[DirectoryRecord]:
    return st.builds(
        DirectoryRecord,
        path=st.just("/shared" + path),
        uname=st.none() | _ANY,
        gname=st.none() | _ANY,
        perm=st.integers(0, 0o7777),
        fflags=st.integers(0, 2**32 - 1),
    )


def _dependency(name: str) -> st.SearchStrategy[Dependency]:
    return st.builds(Dependency, name=st.just(name), origin=_ANY, version=_ANY)


_MESSAGE_TEXT = (
    _ANY.map(lambda text: text.strip(" \t\n\v\f\r"))
    .map(lambda text: "".join("\ufffd" if c < " " and c not in "\n\r\b\t\f\v" else c for c in text))
    .map(lambda text: text.replace("\x7f", "\ufffd"))
)
"""What a message's text is once it is stored: trimmed, without control characters."""


@st.composite
def _messages(draw: Draw) -> Message:
    kind = draw(st.sampled_from([None, "install", "upgrade", "remove"]))
    versions = st.none() | _MESSAGE_TEXT if kind == "upgrade" else st.none()
    return Message(
        text=draw(_MESSAGE_TEXT),
        kind=kind,
        minimum_version=draw(versions),
        maximum_version=draw(versions),
    )


@st.composite
def _lua_scripts(draw: Draw) -> tuple[tuple[str, str], ...]:
    texts = draw(st.lists(_ANY, max_size=4, unique=True))
    kinds = sorted(
        draw(st.lists(st.sampled_from(range(4)), min_size=len(texts), max_size=len(texts)))
    )
    return tuple((LUA_SCRIPT_KINDS[k], text) for k, text in zip(kinds, texts, strict=True))


@st.composite
def _package(draw: Draw, name: str, others: list[str]) -> InstalledPackage:
    """One package; its files are below a directory of its own name."""
    abi = draw(st.sampled_from(["FreeBSD:15:amd64", "FreeBSD:*", "*", "", "FreeBSD:14:é"]) | _ANY)
    scripts = draw(st.dictionaries(st.sampled_from(SCRIPT_KINDS), _ANY))
    config = draw(_ordered(_PATHS.map(lambda path: f"/{name}{path}")))
    contents = {p: t for p in config if (t := draw(st.none() | _ANY)) is not None}
    lists = {
        field: draw(_ordered(_ANY))
        for field in (
            "licenses",
            "categories",
            "users",
            "groups",
            "shlibs_required",
            "shlibs_required_ignore",
            "shlibs_provided",
            "shlibs_provided_ignore",
            "provides",
            "requires",
        )
    }
    manifest = PackageManifest(
        name=name,
        origin=draw(_ANY),
        version=draw(_VERSIONS),
        comment=draw(_ANY),
        desc=draw(_ANY),
        maintainer=draw(_ANY),
        www=draw(_ANY),
        prefix=draw(_ANY),
        abi=abi,
        arch=legacy_arch(abi),
        flatsize=draw(_COUNT),
        licenselogic=draw(st.sampled_from([None, "single", "or", "and"])),
        vital=draw(st.booleans()),
        dep_formula=draw(st.none() | _SOME),
        deps=draw(_keyed(_NAMES, _dependency)),
        conflicts=draw(_ordered(st.sampled_from(others))),
        options=draw(_pairs(_ANY, _ANY)),
        annotations=draw(_pairs(_ANY.filter(lambda k: k not in ("repository", "repo_type")), _ANY)),
        files=draw(_keyed(_PATHS.map(lambda path: f"/{name}{path}"), _file)),
        directories=draw(_keyed(st.just(f"/{name}"), _directory)),
        config=config,
        scripts=tuple((kind, scripts[kind]) for kind in SCRIPT_KINDS if kind in scripts),
        lua_scripts=draw(_lua_scripts()),
        messages=tuple(draw(st.lists(_messages(), max_size=2))),
        **lists,
    )
    return InstalledPackage(
        manifest=manifest,
        automatic=draw(st.booleans()),
        locked=draw(st.booleans()),
        time=draw(st.integers(-LARGE, LARGE)),
        repository=draw(st.none() | _ANY),
        manifestdigest=draw(st.none() | _ANY),
        config=tuple(contents.items()),
    )


@st.composite
def _packages(draw: Draw) -> list[InstalledPackage]:
    names = draw(st.lists(_NAMES, min_size=1, max_size=2, unique=True))
    return [draw(_package(name, names)) for name in names]


def _build(packages: list[InstalledPackage], *, schema: int = 42) -> bytes:
    return build_localdb(packages, schema=schema, source_date_epoch=EPOCH)


def _read(raw: bytes) -> tuple[InstalledPackage, ...]:
    return parse_localdb(raw, wal=b"", journal=b"").packages


def _held(package: InstalledPackage, schema: int) -> InstalledPackage:
    """Return what a schema can hold of a package."""
    m = package.manifest
    if schema < 38:
        m = dataclasses.replace(m, shlibs_required_ignore=(), shlibs_provided_ignore=())
    if schema < 37:
        m = dataclasses.replace(
            m,
            files=tuple(
                FileRecord(
                    path=f.path,
                    sum=f.sum,
                    uname=None,
                    gname=None,
                    perm=0,
                    fflags=0,
                    mtime=0,
                    symlink_target=None,
                )
                for f in m.files
            ),
            directories=tuple(
                DirectoryRecord(path=d.path, uname=None, gname=None, perm=0, fflags=0)
                for d in m.directories
            ),
        )
    return dataclasses.replace(package, manifest=m)


@settings(max_examples=20, deadline=None)
@given(_packages(), st.sampled_from(SCHEMAS))
def test_there_and_back(packages: list[InstalledPackage], schema: int) -> None:
    """Every field at odd values comes back equal, as far as the schema has a place for it."""
    expected = sorted(
        (_held(p, schema) for p in packages), key=lambda p: byte_order(p.manifest.name)
    )
    assert list(_read(_build(packages, schema=schema))) == expected


@settings(max_examples=10, deadline=None)
@given(_packages(), st.randoms(use_true_random=False))
def test_any_permutation_gives_the_same_bytes(
    packages: list[InstalledPackage], chance: random.Random
) -> None:
    """Of packages, and of whatever is a list inside one but lua scripts and messages."""
    expected = _build(packages)
    mixed = []
    for package in packages:
        changes: dict[str, Any] = {
            field.name: tuple(chance.sample(value, len(value)))
            for field in dataclasses.fields(package.manifest)
            if field.name not in ("lua_scripts", "messages")
            and isinstance(value := getattr(package.manifest, field.name), tuple)
        }
        mixed.append(
            dataclasses.replace(package, manifest=dataclasses.replace(package.manifest, **changes))
        )
    chance.shuffle(mixed)
    assert _build(mixed) == expected


@settings(max_examples=10, deadline=None)
@given(_packages(), st.sampled_from(SCHEMAS))
def test_canonicalising_is_idempotent(packages: list[InstalledPackage], schema: int) -> None:
    """What is canonical stays; any other schema and back is stable from the first time on."""
    once = canonicalise_localdb(
        _build(packages), wal=b"", journal=b"", schema=schema, source_date_epoch=EPOCH
    )
    again = canonicalise_localdb(once, wal=b"", journal=b"", schema=None, source_date_epoch=EPOCH)
    assert once == again


@settings(max_examples=8, deadline=None)
@given(_packages(), _packages())
def test_difference_is_empty_exactly_where_bytes_are_equal(
    a: list[InstalledPackage], b: list[InstalledPackage]
) -> None:
    """The difference is complete: nothing that reaches the bytes escapes it."""
    for left, right in ((a, b), (a, a)):
        difference = diff_localdb(
            LocalDatabase(schema=42, packages=_read(_build(left))),
            LocalDatabase(schema=42, packages=_read(_build(right))),
        )
        assert difference.is_empty == (_build(left) == _build(right))
        assert (difference.to_text(limit=1000) == "no difference\n") == difference.is_empty


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.builds(
            Message,
            text=_ANY,
            kind=st.sampled_from([None, "upgrade"]),
            minimum_version=st.none() | _ANY,
            maximum_version=st.none() | _ANY,
        )
    )
)
def test_messages_are_stable_once_written(messages: list[Message]) -> None:
    """Trimming and replacing happens once."""
    column = messages_text(messages)
    assert messages_text(parse_messages(column)) == column


@settings(max_examples=4, deadline=None)
@given(_packages(), st.data())
def test_nul_is_refused_wherever_it_is(
    packages: list[InstalledPackage], data: st.DataObject
) -> None:
    """In each text column of a package."""
    package = packages[0]
    field = data.draw(
        st.sampled_from(["comment", "desc", "origin", "maintainer", "www", "prefix", "abi"])
    )
    changes: dict[str, Any] = {field: "a\0b"}
    broken = dataclasses.replace(package.manifest, **changes)
    with pytest.raises(DatabaseError, match="NUL in"):
        _build([dataclasses.replace(package, manifest=broken)])


@settings(max_examples=10, deadline=None)
@given(_packages(), st.data())
def test_damaged_bytes_are_read_or_refused(
    packages: list[InstalledPackage], data: st.DataObject
) -> None:
    """A flipped byte gives packages or a DatabaseError, nothing else."""
    raw = bytearray(_build(packages))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(DatabaseError):
        _read(bytes(raw))
