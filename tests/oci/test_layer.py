"""Layers: a spec becomes a tar that real programs read as the spec says."""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from pipeline.formats import tar
from pipeline.formats.mtree import Entry, Kind, number_links, parse_spec, to_spec
from pipeline.oci import layer as module
from pipeline.oci.layer import layer_size, write_layer
from pipeline.pkg.archive import read_package
from pipeline.rootfs.accounts import Accounts
from pipeline.rootfs.tree import Composer, resolve_owner
from tests.archives import Memory
from tests.programs import require_program, require_root

if TYPE_CHECKING:
    from collections.abc import Sequence

PACKAGES = Path(__file__).resolve().parents[2] / "fixtures" / "packages"
EPOCH = 1_762_000_000


def entry(path: str, kind: Kind, **fields: object) -> Entry:
    common = {"path": path, "kind": kind, "mode": 0o755, "user": 0, "group": 0, "mtime": 5}
    return Entry(**{**common, **fields})  # type: ignore[arg-type]


def file(path: str, content: bytes, **fields: object) -> Entry:
    digest = hashlib.sha256(content).hexdigest()
    return entry(path, Kind.FILE, size=len(content), digest=digest, **fields)


def write(entries: Sequence[Entry], contents: dict[str, bytes]) -> bytes:
    sink = Memory()
    write_layer(entries, lambda e: [contents[e.digest]] if e.size else [], sink)
    assert layer_size(entries) == len(sink)
    return bytes(sink)


def contents_of(*contents: bytes) -> dict[str, bytes]:
    return {hashlib.sha256(content).hexdigest(): content for content in contents}


def members(data: bytes) -> list[tar.Member]:
    return list(tar.TarReader(io.BytesIO(data)))


# ---------------------------------------------------------------- rules


def test_each_kind_becomes_a_member() -> None:
    """Relative names without `./`, directories with a slash; no names of owners."""
    entries = [
        entry("bin", Kind.DIRECTORY, mode=0o1777, user=3, group=4),
        file("bin/cat", b"meow", mode=0o4555),
        entry("bin/l", Kind.LINK, link="../x"),
    ]
    got = members(write(entries, contents_of(b"meow")))
    assert [(m.name, m.kind, m.mode, m.size, m.link) for m in got] == [
        ("bin/", tar.DIRECTORY, 0o1777, 0, ""),
        ("bin/cat", tar.REGULAR, 0o4555, 4, ""),
        ("bin/l", tar.SYMLINK, 0o755, 0, "../x"),
    ]
    assert {(m.uname, m.gname, m.mtime) for m in got} == {("", "", 5)}
    assert (got[0].uid, got[0].gid) == (3, 4)


def test_the_first_name_of_a_hard_linked_file_is_the_file() -> None:
    """The others are links to it, with the archive's own name as target."""
    entries = number_links(
        [file(path, b"x", inode=i) for path, i in (("c", 1), ("a", 1), ("b", 2), ("d", 2))]
    )
    got = members(write(entries, contents_of(b"x")))
    assert [(m.name, m.kind, m.link, m.size) for m in got] == [
        ("a", tar.REGULAR, "", 1),
        ("b", tar.REGULAR, "", 1),
        ("c", tar.HARDLINK, "a", 0),
        ("d", tar.HARDLINK, "b", 0),
    ]


def test_an_empty_layer_is_the_end_of_an_archive() -> None:
    """Two blocks."""
    assert write([], {}) == tar.END


def test_flags_travel_as_a_pax_record() -> None:
    """SCHILY.fflags, as podman on FreeBSD reads it."""
    (member,) = members(write([file("a", b"", flags="schg")], {}))
    assert member.pax == (("SCHILY.fflags", "schg"),)


@pytest.mark.parametrize(("user", "group"), [("root", 0), (0, "wheel")])
def test_an_owner_that_is_not_resolved_is_a_bug(user: int | str, group: int | str) -> None:
    """Names are resolved before a layer's spec is written."""
    with pytest.raises(TypeError, match=r"^a: owner is not resolved$"):
        write_layer([file("a", b"", user=user, group=group)], lambda _: [], Memory())


@pytest.mark.parametrize("content", [[], [b"abc"], [b"abcde"], [b"abcd", b""][:1] * 2])
def test_content_of_another_length_is_a_bug(content: Any) -> None:
    """The archive would be shifted from there on."""
    with pytest.raises(ValueError, match=r"^a: got \d bytes of content, want 4$"):
        write_layer([file("a", b"abcd")], lambda _: content, Memory())


def test_the_sink_gets_large_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few calls for many small files, and bounded memory for large ones."""
    monkeypatch.setattr(module, "_BATCH", 10_000)
    calls = []

    class Sink:
        def write(self, data: bytes) -> None:
            calls.append(len(data))

    small = [file(f"{i:03d}", b"x" * 100) for i in range(100)]
    large = file("z", b"y" * 100_000)
    pieces = {small[0].digest: [b"x" * 100], large.digest: [b"y" * 5000] * 20}
    write_layer([*small, large], lambda e: pieces[e.digest], Sink())
    assert sum(calls) == layer_size([*small, large])
    assert max(calls) < 20_000
    assert len(calls) < 30


# ---------------------------------------------------------------- a layer of real packages


@dataclass(frozen=True)
class Sample:
    """A layer, and the contents of its files."""

    entries: tuple[Entry, ...]
    contents: dict[str, bytes]
    tar: bytes
    spec: bytes


ODD = {
    "odd/" + "long" * 30: b"a name of 124 bytes",
    "odd/" + "deep/" * 60 + "file": b"a path of 308 bytes",
    "odd/Ünïcödé": b"utf-8",
    "odd/\udcff\udcfe": b"neither ASCII nor UTF-8",
    "odd/new\nline and space": b"white space",
    "odd/back\\slash#hash": b"what mtree gives a meaning",
    "odd/empty": b"",
}


@pytest.fixture(scope="module")
def sample() -> Sample:
    """Return a layer of three of the real packages and of odd names, sizes, ids and targets."""
    contents = {}
    composer = Composer((), parent_name="nothing", source_date_epoch=EPOCH + 3, keep_flags=False)
    for name in ("FreeBSD-runtime-15.0", "FreeBSD-utilities-15.0p1", "FreeBSD-mtree-15.0"):
        path = PACKAGES / f"{name}.pkg"
        payload = Memory()
        with path.open("rb") as f:
            package = read_package(f, payload, size=path.stat().st_size, what=name)
        for e in package.extents:
            contents[e.digest] = bytes(payload[e.offset : e.offset + e.size])
        names = sorted({str(n) for e in package.entries for n in (e.user, e.group)})
        ids = {n: 100 + i for i, n in enumerate(names)}
        accounts = Accounts(users=ids, groups=ids)
        entries = [resolve_owner(e, accounts, source=name) for e in package.entries]
        composer.package("l", name, entries, ())
    contents |= contents_of(*ODD.values())
    odd = [file(path, content, mtime=7) for path, content in ODD.items()]
    odd += [
        replace(odd[0], path="odd/hard", inode=1),
        replace(odd[0], inode=1),
        entry("odd/link", Kind.LINK, link="t" * 150, mode=0o777),
        entry("odd/unilink", Kind.LINK, link="Ünïcödé", mode=0o777),
        entry("odd/ids", Kind.DIRECTORY, user=3_000_000, group=4_000_000, mode=0o2775),
        entry("odd/sticky", Kind.DIRECTORY, mode=0o1777),
    ]
    composer.unowned("l", "odd things", odd[1:], kind="pick")
    layer = composer.layer("l")
    assert layer is not None
    data = write(layer.entries, contents)
    return Sample(layer.entries, contents, data, to_spec(layer.entries))


def test_the_sample_has_everything(sample: Sample) -> None:
    """Otherwise the comparisons below would say little."""
    assert len(sample.entries) > 120
    assert sum(1 for e in sample.entries if e.inode) >= 8
    assert {e.kind for e in sample.entries} == set(Kind)
    assert any(e.mode & 0o7000 for e in sample.entries)


def test_the_spec_is_all_that_a_layer_needs(sample: Sample) -> None:
    """What is parsed from the text gives the same bytes."""
    assert write(parse_spec(sample.spec), sample.contents) == sample.tar


Row = tuple[object, ...]


def rows(data: bytes) -> dict[bytes, Row]:
    """Describe an archive's members as tarfile sees them, contents of hard links resolved."""
    found: dict[bytes, Row] = {}
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as archive:
        for info in archive:
            name = info.name.removeprefix("./").encode("utf-8", "surrogateescape")
            link = info.linkname.removeprefix("./") if info.islnk() else info.linkname
            member = archive.extractfile(info) if info.isreg() or info.islnk() else None
            content = hashlib.sha256(member.read()).hexdigest() if member else ""
            found[name] = (
                info.type,
                info.mode,
                info.uid,
                info.gid,
                int(info.mtime),
                link.encode("utf-8", "surrogateescape"),
                content,
            )
    return found


def test_tarfile_reads_what_the_entries_say(sample: Sample) -> None:
    """Paths, types, modes, owners, times, targets, contents."""
    firsts: dict[int, str] = {}
    want: dict[bytes, Row] = {}
    for e in sample.entries:
        kind = {Kind.DIRECTORY: b"5", Kind.LINK: b"2", Kind.FILE: b"0"}[e.kind]
        link = e.link
        if e.inode:
            first = firsts.setdefault(e.inode, e.path)
            if first != e.path:
                kind, link = b"1", first
        raw = link.encode("utf-8", "surrogateescape")
        want[e.key] = (kind, e.mode, e.user, e.group, e.mtime, raw, e.digest)
    assert rows(sample.tar) == want


def test_bsdtar_lists_it(sample: Sample, tmp_path: Path) -> None:
    """Every member once, without a complaint."""
    (tmp_path / "layer.tar").write_bytes(sample.tar)
    result = subprocess.run(
        [require_program("bsdtar"), "-tvf", "layer.tar"],
        cwd=tmp_path,
        capture_output=True,
        check=True,
        env={"LC_ALL": "C.UTF-8"},
    )
    assert len(result.stdout.splitlines()) == len(sample.entries)
    assert result.stderr == b""


def test_bsdtar_renders_the_spec_to_the_same_archive(sample: Sample, tmp_path: Path) -> None:
    """An independent reader needs the spec and the files: `bsdtar -cf - @spec`.

    `contents=` is added to say where the files are; libarchive names paths as the spec does, with
    `./`, and finds hard links by `nlink` and `inode`.
    """
    folder = tmp_path / "files"
    folder.mkdir()
    for digest, content in sample.contents.items():
        (folder / digest).write_bytes(content)
    spec = re.sub(rb" sha256digest=([0-9a-f]{64})", rb"\g<0> contents=files/\1", sample.spec)
    (tmp_path / "spec").write_bytes(spec)
    rendered = subprocess.run(
        [require_program("bsdtar"), "-cf", "-", "--format=pax", "@spec"],
        cwd=tmp_path,
        capture_output=True,
        check=True,
        env={"LC_ALL": "C.UTF-8"},
    )
    complaints = rendered.stderr.splitlines()  # about the name that is not UTF-8
    assert all(b"odd/\\377\\376" in line or b"to UTF-8" in line for line in complaints)
    assert rows(rendered.stdout) == rows(sample.tar)


def _for_mtree(spec: bytes) -> bytes:
    """Return a spec as Debian's mtree (NetBSD's, of 2018) reads it on Linux.

    A line for the top is added; `inode` is a keyword that it does not know; the mode of a symlink
    is 0777 on Linux, whatever the archive says.
    """
    lines = [
        re.sub(rb" mode=\d+", b"", line) if b" type=link " in line else line
        for line in re.sub(rb" inode=\d+", b"", spec).splitlines(keepends=True)
    ]
    return lines[0] + b". type=dir\n" + b"".join(lines[1:])


@pytest.mark.parametrize("program", ["bsdtar", "tar"])
def test_mtree_finds_an_unpacked_layer_as_its_spec_says(
    program: str, sample: Sample, tmp_path: Path
) -> None:
    """`bsdtar -xp` or `tar -xp`, then `mtree -f spec -p directory`: no difference at all.

    Then one of each kind is changed, to see that mtree would have noticed.
    """
    require_root()
    mtree = [require_program("mtree"), "-f", str(tmp_path / "spec"), "-p", str(tmp_path / "root")]
    (tmp_path / "spec").write_bytes(_for_mtree(sample.spec))
    (tmp_path / "layer.tar").write_bytes(sample.tar)
    root = tmp_path / "root"
    root.mkdir()
    numeric = [] if program == "bsdtar" else ["--numeric-owner", "--delay-directory-restore"]
    subprocess.run(
        [require_program(program), *numeric, "-xpf", str(tmp_path / "layer.tar"), "-C", str(root)],
        capture_output=True,
        check=True,
        env={"LC_ALL": "C.UTF-8"},
    )
    checked = subprocess.run(mtree, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")

    cat = root / "bin/cat"
    size = cat.stat().st_size
    cat.write_bytes(b"x" * size)
    (root / "etc/rmt").unlink()
    (root / "etc/rmt").symlink_to("elsewhere")
    (root / "odd/sticky").chmod(0o777)
    (root / "odd/empty").unlink()
    (root / "odd/more").touch()
    complaints = subprocess.run(mtree, capture_output=True, check=False).stdout.decode()
    for what in (
        "sha256",
        "link ref (elsewhere, ../usr/sbin/rmt)",
        "permissions (01777, 0777)",
        "missing: ./odd/empty",
        "extra: odd/more",
    ):
        assert what in complaints, complaints
