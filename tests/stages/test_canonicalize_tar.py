"""Rootfs tars: however they were packed, one tree is one file, and it holds what it held."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.errors import ArchiveError, ConfigurationError, DatabaseError, FormatError
from pipeline.formats import tar
from pipeline.formats.algorithm import Algorithm
from pipeline.formats.decompression import open_decompressed
from pipeline.formats.digest import Digest
from pipeline.pkg.localdb_read import canonicalise_localdb
from pipeline.rootfs.normalise import Rules
from pipeline.rootfs.ownership import Owners
from pipeline.stages.canonicalize_database import DatabaseRules
from pipeline.stages.canonicalize_tar import algorithm_for, canonicalize_tar
from pipeline.stages.normal_archive import Encoding
from tests.foreign import (
    COMPRESS,
    DATABASE,
    DATABASES,
    EPOCH,
    SAME,
    Node,
    content,
    hard,
    later,
    members,
    pack,
    root,
)
from tests.formats.test_canonicalize_tar_reader import CONTENT, sparse_10

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.stages.canonicalize_tar import TarResult

RULES = Rules(
    source_date_epoch=EPOCH,
    is_layer=False,
    owners=Owners.CHECKED,
    keep_flags=False,
    drop_attributes=False,
    drop_devices=False,
)
PLAIN = Encoding(Algorithm.NONE, None)


def run(
    source: Path,
    output: Path,
    *,
    rules: Rules = RULES,
    encoding: Encoding = PLAIN,
    schema: int | None = None,
    dry_run: bool = False,
) -> TarResult:
    """Canonicalize with the usual rules."""
    return canonicalize_tar(
        source,
        output,
        rules=rules,
        database=DatabaseRules(schema=schema, source_date_epoch=EPOCH),
        encoding=encoding,
        dry_run=dry_run,
    )


def made(folder: Path, data: bytes, **how: Any) -> bytes:
    """Return what becomes of an archive."""
    (folder / "in").write_bytes(data)
    run(folder / "in", folder / "out", **how)
    return (folder / "out").read_bytes()


def test_what_it_holds_stays(tmp_path: Path) -> None:
    """An independent reader finds the same tree."""
    data = made(tmp_path, pack(root(DATABASES["2.8.4-all"])))
    got = members(data)
    assert list(got) == sorted(got, key=lambda name: name.encode("utf-8", "surrogateescape"))
    assert list(got)[:4] == ["bin", "bin/[", "bin/sh", "bin/test"]
    for node in root():
        info = got[node.path]
        assert (info.type, info.mode, info.uid) == (node.kind, node.mode, node.uid)
        assert (info.uname, info.gname, info.mtime) == ("", "", min(int(node.mtime), EPOCH))
        if node.kind == tarfile.REGTYPE:
            assert content(data, node.path) == node.content
    assert got["bin/test"].linkname == "bin/["
    database = got[DATABASE]
    assert (database.mode, database.mtime) == (0o644, EPOCH)
    assert content(data, DATABASE) == canonicalise_localdb(
        DATABASES["2.8.4-all"], wal=b"", journal=b"", schema=None, source_date_epoch=EPOCH
    )


def test_our_own_reader_takes_it(tmp_path: Path) -> None:
    """The strict one of docs/FORMAT.md; no pax header but where ustar cannot hold a name."""
    data = made(tmp_path, pack(root()))
    names = [member.name for member in tar.TarReader(io.BytesIO(data))]
    assert len(names) == len(root())
    assert data.count(b"././@PaxHeader") == 1


@pytest.mark.parametrize("dialect", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("prefix", ["", "./"])
@pytest.mark.parametrize("compression", sorted(COMPRESS))
def test_one_tree_is_one_file(tmp_path: Path, dialect: int, prefix: str, compression: str) -> None:
    """Order, dialect, names, compression, a later build, another history of the database."""
    first = made(tmp_path, pack(root(DATABASES[SAME[0]])))
    nodes = list(reversed(later(root(DATABASES[SAME[3]]), 999)))
    for node in nodes:
        node.uname, node.gname = "", "users"
    data = COMPRESS[compression](pack(nodes, dialect=dialect, prefix=prefix))
    assert made(tmp_path, data) == first


@pytest.mark.parametrize("algorithm", ["zstd", "gzip", "none"])
def test_compressions(tmp_path: Path, algorithm: str) -> None:
    """The digests are those of the file, and of what is in it; twice is no change."""
    (tmp_path / "in").write_bytes(pack(root()))
    plain = made(tmp_path, pack(root()))
    encoding = Encoding(Algorithm(algorithm), None)
    result = run(tmp_path / "in", tmp_path / "out", encoding=encoding)
    written = (tmp_path / "out").read_bytes()
    assert (result.digest, result.size) == (Digest.of(written), len(written))
    assert result.diff_id == Digest.of(plain)
    stream = open_decompressed(io.BytesIO(written), limit=1 << 24, what="out")
    assert stream.read(1 << 24) == plain
    assert run(tmp_path / "out", tmp_path / "out", encoding=encoding) == result
    assert (tmp_path / "out").read_bytes() == written
    assert (tmp_path / "out").stat().st_mtime == EPOCH


def test_levels_are_used() -> None:
    """A level of one's own, or the algorithm's."""
    assert Encoding(Algorithm.ZSTD, 3).effective_level == 3
    assert Encoding(Algorithm.ZSTD, None).effective_level == 9


@pytest.mark.parametrize(
    ("name", "want"),
    [("x.tar", "none"), ("x.tar.gz", "gzip"), ("x.tgz", "gzip"), ("a.b/x.tar.zst", "zstd")],
)
def test_names_say_how_to_compress(tmp_path: Path, name: str, want: str) -> None:
    """As everywhere."""
    assert algorithm_for(tmp_path / name) == want


@pytest.mark.parametrize("name", ["x", "x.txz", "x.tar.xz"])
def test_names_that_do_not_say_it(tmp_path: Path, name: str) -> None:
    """Xz is read, not written: its bytes are nobody's promise."""
    with pytest.raises(ConfigurationError, match="does not say") as caught:
        algorithm_for(tmp_path / name)
    assert caught.value.hint


def test_sparse_files_become_ordinary(tmp_path: Path) -> None:
    """As services.db must be, or podman cannot push the image."""
    data = made(tmp_path, sparse_10())
    assert content(data, "f") == CONTENT
    assert members(data)["f"].sparse is None
    result = run(tmp_path / "in", tmp_path / "out")
    assert result.notes == ("sparse files written as ordinary ones: 1",)


def test_large_files_come_in_pieces(tmp_path: Path) -> None:
    """More than one piece of content, and links that have it under a name that sorts first."""
    nodes = [Node(path="b", content=bytes(range(256)) * 12_000), hard("a", "b"), Node(path="c")]
    data = made(tmp_path, pack(nodes))
    got = members(data)
    assert (got["a"].type, got["b"].type) == (tarfile.REGTYPE, tarfile.LNKTYPE)
    assert content(data, "a") == nodes[0].content


def test_what_lies_beside_the_database_is_folded_in(tmp_path: Path) -> None:
    """Empty leftovers go; a hot journal is refused."""
    nodes = root(DATABASES["2.8.4-all"])
    leftovers = [Node(path=f"{DATABASE}-{end}") for end in ("wal", "journal")]
    assert made(tmp_path, pack([*nodes, *leftovers])) == made(tmp_path, pack(nodes))
    leftovers[1].content = bytes.fromhex("d9d505f920a163d7") + bytes(504)
    with pytest.raises(DatabaseError, match=f"in: {DATABASE}: a rollback journal"):
        made(tmp_path, pack([*nodes, *leftovers]))


def test_databases_are_refused_with_their_place(tmp_path: Path) -> None:
    """The archive, the path in it, the reason."""
    with pytest.raises(DatabaseError, match=f"in: {DATABASE}: not an SQLite database"):
        made(tmp_path, pack(root(b"nothing")))


def test_databases_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one that is too large no more is read than shows it."""
    monkeypatch.setattr("pipeline.stages.normal_archive.MAX_DATABASE", 5000)
    with pytest.raises(DatabaseError, match="got 5001 bytes"):
        made(tmp_path, pack(root(DATABASES["2.8.4-single"])))


def test_the_schema_may_change(tmp_path: Path) -> None:
    """As for a database alone."""
    data = made(tmp_path, pack(root(DATABASES["2.7.5-all"])), schema=42)
    assert int.from_bytes(content(data, DATABASE)[60:64], "big") == 42


def test_triggers_are_named_by_content(tmp_path: Path) -> None:
    """Pkg draws a name at random."""

    def with_trigger(name: str) -> bytes:
        return pack([*root(), Node(path=f"var/db/pkg/triggers/{name}", content=b"print(1)\n")])

    first = made(tmp_path, with_trigger("J0fTrmHAxY"))
    assert made(tmp_path, with_trigger("usYJ129C8j")) == first
    assert made(tmp_path, first) == first


def test_owners_by_name(tmp_path: Path) -> None:
    """Through the accounts that are in the archive, in whatever order; without any, root's."""
    by_name = [Node(path="a", uid=65534, uname="www"), *root()]
    by_number = [Node(path="a", uid=80), *root()]
    named = replace(RULES, owners=Owners.NAMES)
    want = made(tmp_path, pack(by_number))
    assert made(tmp_path, pack(by_name), rules=named) == want
    with pytest.raises(ArchiveError, match="owned by 'www', 80"):
        made(tmp_path, pack(by_name))
    made(tmp_path, pack([Node(path="a")]), rules=named)
    with pytest.raises(ArchiveError, match="do not know"):
        made(tmp_path, pack(by_name[:1]), rules=named)


def test_broken_accounts(tmp_path: Path) -> None:
    """They are in the way only where names are looked at."""
    data = pack([Node(path="etc/passwd", content=b"what is this\n"), Node(path="etc/group")])
    with pytest.raises(FormatError, match=r"in: /etc/master\.passwd, line 1") as caught:
        made(tmp_path, data)
    assert caught.value.hint == "--owners ids does not look at accounts"
    made(tmp_path, data, rules=replace(RULES, owners=Owners.IDS))


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    """Nor leaves anything behind."""
    (tmp_path / "in").write_bytes(COMPRESS["xz"](pack(root())))
    dry = run(tmp_path / "in", tmp_path / "out", dry_run=True)
    assert {path.name for path in tmp_path.iterdir()} == {"in"}
    assert dry == run(tmp_path / "in", tmp_path / "out")


def test_an_error_keeps_the_old_output(tmp_path: Path) -> None:
    """A damaged archive, found out in the middle."""
    (tmp_path / "out").write_bytes(b"old")
    with pytest.raises(ArchiveError, match=f"^{tmp_path}/in: "):
        made(tmp_path, pack(root())[:5000])
    assert (tmp_path / "out").read_bytes() == b"old"
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}


def test_images_are_not_roots(tmp_path: Path) -> None:
    """An oci-archive is told from a root file system."""
    data = pack([Node(path="oci-layout"), Node(path="index.json")])
    with pytest.raises(ArchiveError, match="an image in a tar file"):
        made(tmp_path, data)


def test_no_archive(tmp_path: Path) -> None:
    """A mistyped name, and a directory that is not there."""
    with pytest.raises(ConfigurationError, match="no such file"):
        run(tmp_path / "none", tmp_path / "out")
    (tmp_path / "in").write_bytes(pack([]))
    with pytest.raises(ConfigurationError, match="no such directory"):
        run(tmp_path / "in", tmp_path / "none" / "out")
