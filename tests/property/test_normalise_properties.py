"""Normalising: one tree is one file, however it was packed; layers mean what they meant."""

from __future__ import annotations

import io
import tarfile
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.formats.algorithm import Algorithm
from pipeline.formats.digest import Digest
from pipeline.formats.foreign_tar import ForeignTarReader
from pipeline.rootfs.normalise import Rules
from pipeline.rootfs.ownership import Owners
from pipeline.stages.canonicalize_database import DatabaseRules
from pipeline.stages.canonicalize_tar import canonicalize_tar
from pipeline.stages.normal_archive import Encoding
from tests.foreign import (
    COMPRESS,
    DATABASE,
    DATABASES,
    EPOCH,
    SAME,
    Node,
    content,
    folder,
    hard,
    later,
    members,
    pack,
    soft,
)
from tests.formats.test_canonicalize_tar_reader import gnu_sparse, sparse_10

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.property

NAMES = st.one_of(
    st.sampled_from(["a", "b", "-", "!x", ".a", "zz"]),
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1),
    st.sampled_from(["n" * 99, "long " * 20, "\udcff\udc80", "ü" * 60]),
).filter(lambda name: name not in (".", "..") and not name.startswith(".wh."))
TARGETS = st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1)
TIMES = st.one_of(st.integers(0, EPOCH), st.integers(EPOCH, EPOCH + 10**6))


@st.composite
def trees(draw: st.DrawFn) -> list[Node]:
    """Return directories, files, links to both, in the order in which they came up."""
    folders = [""]
    nodes: dict[str, Node] = {}
    files: list[str] = []

    def add(node: Node) -> None:
        node.path = f"{draw(st.sampled_from(folders))}{draw(NAMES)}"
        node.uid, node.gid = draw(st.tuples(st.integers(0, 70000), st.integers(0, 70000)))
        node.mtime = draw(TIMES)
        nodes.setdefault(node.path, node)

    for _ in range(draw(st.integers(0, 4))):
        add(folder("", mode=draw(st.integers(0, 0o7777))))
        folders = ["", *(f"{path}/" for path in nodes)]
    for data in draw(st.lists(st.binary(max_size=1100), max_size=5)):
        node = Node(path="", content=data, mode=draw(st.integers(0, 0o7777)))
        add(node)
        if nodes[node.path] is node:
            files.append(node.path)
    for target in draw(st.lists(TARGETS, max_size=2)):
        add(soft("", target))
    for _ in range(draw(st.integers(0, 3)) if files else 0):
        file = nodes[draw(st.sampled_from(files))]
        link = hard("", file.path)
        add(link)
        link.mode, link.uid, link.gid, link.mtime = file.mode, file.uid, file.gid, file.mtime
    return list(nodes.values())


@dataclass(frozen=True)
class Way:
    """A way to pack a tree."""

    order: int
    dialect: int
    prefix: str
    compression: str
    delay: int
    names: tuple[str, str]
    database: str
    has_root: bool


WAYS = st.builds(
    Way,
    order=st.integers(0, 10**6),
    dialect=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    prefix=st.sampled_from(["", "./", "/"]),
    compression=st.sampled_from(sorted(COMPRESS)),
    delay=st.integers(0, 10**6),
    names=st.sampled_from([("root", "wheel"), ("root", "root"), ("", ""), ("naïve", "tty")]),
    database=st.sampled_from(SAME),
    has_root=st.booleans(),
)


def packed(nodes: Sequence[Node], way: Way, *, database: bool) -> bytes:
    """Pack a tree in one way."""
    result = later(nodes, way.delay)
    if database:
        result.append(Node(path=DATABASE, content=DATABASES[way.database], mtime=way.delay))
        result += [folder(path, mtime=5) for path in ("var", "var/db", "var/db/pkg")]
    if way.has_root:
        result.append(folder("."))
    for node in result:
        node.uname, node.gname = way.names
    result.sort(key=lambda node: Digest.of(f"{way.order} {node.path!r}".encode()))
    firsts: dict[str, str] = {}
    for i, node in enumerate(result):  # the first name of a file in the archive is the file
        target = node.link if node.kind == tarfile.LNKTYPE else node.path
        if target in firsts:
            result[i] = replace(node, kind=tarfile.LNKTYPE, link=firsts[target], content=b"")
        elif node.kind in (tarfile.LNKTYPE, tarfile.REGTYPE):
            firsts[target] = node.path
            data = next(n.content for n in nodes_of(nodes, result) if n.path == target)
            result[i] = replace(node, kind=tarfile.REGTYPE, link="", content=data)
    return COMPRESS[way.compression](pack(result, dialect=way.dialect, prefix=way.prefix))


def nodes_of(*lists: Sequence[Node]) -> list[Node]:
    """Return all nodes that have their own content."""
    return [node for nodes in lists for node in nodes if node.kind == tarfile.REGTYPE]


def canonical(data: bytes) -> bytes:
    """Return the canonical tar of an archive."""
    with tempfile.TemporaryDirectory() as name:
        source, output = Path(name) / "in", Path(name) / "out"
        source.write_bytes(data)
        canonicalize_tar(
            source,
            output,
            rules=RULES,
            database=DatabaseRules(schema=None, source_date_epoch=EPOCH),
            encoding=Encoding(Algorithm.NONE, None),
            dry_run=False,
        )
        return output.read_bytes()


RULES = Rules(
    source_date_epoch=EPOCH,
    is_layer=False,
    owners=Owners.IDS,
    keep_flags=False,
    drop_attributes=False,
    drop_devices=False,
)


@settings(max_examples=12)
@given(nodes=trees(), first=WAYS, second=WAYS, database=st.booleans())
def test_one_tree_is_one_file(
    nodes: list[Node], first: Way, second: Way, *, database: bool
) -> None:
    """Order, dialect, prefix, compression, build time, owners' names, history of the database."""
    nodes = [n for n in nodes if not n.path.startswith("var")]
    data = canonical(packed(nodes, first, database=database))
    assert canonical(packed(nodes, second, database=database)) == data
    assert canonical(data) == data


@settings(max_examples=30)
@given(nodes=trees(), way=WAYS)
def test_the_tree_is_kept(nodes: list[Node], way: Way) -> None:
    """An independent reader finds every path with its content and its attributes."""
    data = canonical(packed(nodes, way, database=False))
    got = members(data)
    assert got.keys() >= {node.path for node in nodes}
    contents = {node.path: node.content for node in nodes}
    for node in nodes:
        info = got[node.path]
        assert (info.mode, info.uid, info.gid) == (node.mode, node.uid, node.gid)
        assert info.mtime == min(node.mtime, EPOCH)
        assert info.isdir() == (node.kind == tarfile.DIRTYPE)
        if node.kind == tarfile.SYMTYPE:
            assert info.linkname == node.link
        elif node.kind != tarfile.DIRTYPE:
            assert content(data, node.path) == contents[node.link or node.path]
    for path in got.keys() - contents.keys():
        assert (got[path].isdir(), got[path].mode) == (True, 0o755)


# ---------------------------------------------------------------- layers

State = dict[str, tuple[str, bytes]]


def remove(state: State, path: str, *, itself: bool = True) -> None:
    """Remove a path, and what is below it."""
    for known in list(state):
        if known.startswith(f"{path}/" if path else "") or (itself and known == path):
            del state[known]


def put(state: State, path: str, kind: str, data: bytes) -> None:
    """Add an entry; what is in its way goes, unless both are directories."""
    if not (kind == "dir" and state.get(path, ("", b""))[0] == "dir"):
        remove(state, path)
    for end in (i for i, c in enumerate(path) if c == "/"):
        if state.setdefault(path[:end], ("dir", b""))[0] != "dir":
            remove(state, path[:end])
            state[path[:end]] = ("dir", b"")
    state[path] = (kind, data)


def split(data: bytes) -> list[tuple[str, str, bytes]]:
    """Return path, kind and content of each member."""
    reader = ForeignTarReader(io.BytesIO(data))
    result = []
    for member in reader:
        kind = "dir" if member.kind == b"5" else "file"
        result.append((member.name.rstrip("/"), kind, b"".join(reader.chunks())))
    return result


def apply_as_specified(state: State, layer: bytes) -> None:
    """Apply a layer: its whiteouts to what is below it, then the rest."""
    listed = split(layer)
    for path, _, _ in listed:
        parent, _, name = path.rpartition("/")
        if name == ".wh..wh..opq":
            remove(state, parent, itself=False)
        elif name.startswith(".wh."):
            remove(state, f"{parent}/{name[4:]}".lstrip("/"))
    for path, kind, data in listed:
        if not path.rpartition("/")[2].startswith(".wh."):
            put(state, path, kind, data)


def apply_in_order(state: State, layer: bytes) -> None:
    """Apply a layer as Docker's and containerd's code does: one member after the other.

    An opaque whiteout spares what the layer has brought so far; a plain one spares nothing.
    """
    unpacked: set[str] = set()
    for path, kind, data in split(layer):
        parent, _, name = path.rpartition("/")
        if name == ".wh..wh..opq":
            for known in list(state):
                if known.startswith(f"{parent}/" if parent else "") and known not in unpacked:
                    del state[known]
        elif name.startswith(".wh."):
            remove(state, f"{parent}/{name[4:]}".lstrip("/"))
        else:
            put(state, path, kind, data)
            unpacked |= {path, *(path[:i] for i, c in enumerate(path) if c == "/")}


SHORT = st.sampled_from(["a", "b", "-c", "!d", ".e", "z"])
PATHS = st.lists(SHORT, min_size=1, max_size=3).map("/".join)


@st.composite
def layer_nodes(draw: st.DrawFn) -> list[Node]:
    """Return entries of a layer: files and directories that fit, and whiteouts of anything."""
    nodes: dict[str, Node] = {}
    for path in draw(st.lists(PATHS, max_size=6)):
        above = [path[:i] for i, c in enumerate(path) if c == "/"]
        if path not in nodes and all(p not in nodes or nodes[p].kind == b"5" for p in above):
            is_leaf = not any(known.startswith(f"{path}/") for known in nodes)
            kind = draw(st.sampled_from([b"0", b"5"])) if is_leaf else b"5"
            data = draw(st.binary(max_size=3)) if kind == b"0" else b""
            nodes[path] = Node(path=path, kind=kind, content=data, mode=0o755)
    files = {p for p, node in nodes.items() if node.kind == b"0"}
    for path in draw(st.lists(PATHS, max_size=4)):
        parent, slash, name = path.rpartition("/")
        whiteout = draw(st.sampled_from([f".wh.{name}", ".wh..wh..opq"]))
        if not any(f"{parent}/".startswith(f"{file}/") for file in files):
            nodes.setdefault(f"{parent}{slash}{whiteout}", Node(path=f"{parent}{slash}{whiteout}"))
    return draw(st.permutations(list(nodes.values())))


def normal_layer(data: bytes) -> bytes:
    """Return the canonical tar of a layer."""
    from pipeline.host.output import Spool  # noqa: PLC0415 - beside its only use
    from pipeline.stages.normal_archive import read_archive  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "in"
        source.write_bytes(data)
        with Spool(source, Path(name), what="in") as spool:
            archive = read_archive(
                spool,
                replace(RULES, is_layer=True),
                database=DatabaseRules(schema=None, source_date_epoch=EPOCH),
                names={},
                what="in",
            )
            out = io.BytesIO()
            archive.write(out)
            return out.getvalue()


@settings(max_examples=60)
@given(st.lists(layer_nodes(), min_size=1, max_size=3))
def test_layers_mean_what_they_meant(stack: list[list[Node]]) -> None:
    """To a client that does as the specification says, and to one that goes member by member."""
    want: State = {}
    as_specified: State = {}
    in_order: State = {}
    for nodes in stack:
        layer = pack(nodes)
        normal = normal_layer(layer)
        apply_as_specified(want, layer)
        apply_as_specified(as_specified, normal)
        apply_in_order(in_order, normal)
        assert as_specified == want
        assert in_order == want
        assert normal_layer(normal) == normal


# ---------------------------------------------------------------- sparse files


@settings(max_examples=40)
@given(
    gaps=st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 900)), max_size=8),
    tail=st.integers(0, 3000),
)
def test_sparse_files_are_their_content(gaps: list[tuple[int, int]], tail: int) -> None:
    """Any map, in the formats of bsdtar and of old GNU tar."""
    parts: list[tuple[int, int]] = []
    want, stored = b"", b""
    for i, (gap, size) in enumerate(gaps):
        data = bytes([i + 1]) * size
        parts.append((len(want) + gap, size))
        want += bytes(gap) + data
        stored += data
    want += bytes(tail)
    for archive in (
        sparse_10(parts, size=b"%d" % len(want), stored=stored),
        gnu_sparse(parts, extended=max(0, len(parts) - 4), stored=stored, size=len(want)),
    ):
        reader: Any = ForeignTarReader(io.BytesIO(archive))
        assert [b"".join(reader.chunks()) for _ in reader] == [want]
