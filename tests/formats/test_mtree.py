"""mtree(5): specs both ways, BSD.*.dist files, and names as vis(3) writes them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from pipeline.errors import FormatError
from pipeline.formats import mtree
from pipeline.formats.mtree import (
    DistDirectory,
    Entry,
    Kind,
    decode_name,
    encode_name,
    number_links,
    parse_dist,
    parse_spec,
    to_spec,
)
from pipeline.pkg.archive import read_package
from tests.archives import Memory
from tests.programs import require_program

if TYPE_CHECKING:
    from collections.abc import Iterable

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"

D = Entry(path="bin", kind=Kind.DIRECTORY, mode=0o755, user="root", group="wheel", mtime=1)
F = Entry(
    path="bin/cat",
    kind=Kind.FILE,
    mode=0o4555,
    user=0,
    group=5,
    mtime=1_700_000_000,
    size=3,
    digest="ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    flags="schg,uarch",
    package="FreeBSD-runtime",
)
L = Entry(path="bin/l", kind=Kind.LINK, mode=0o777, user="é", group=0, mtime=0, link="../a b")


def lines(*entries: Entry) -> list[str]:
    return to_spec(entries).decode().splitlines()


# ---------------------------------------------------------------- to_spec


def test_each_kind_of_entry_has_its_keywords_in_order() -> None:
    """Rules 1 to 3 and 5."""
    assert lines(L, F, D) == [
        "#mtree",
        "./bin type=dir mode=0755 uname=root gname=wheel time=1.0",
        (
            "./bin/cat type=file mode=4555 uid=0 gid=5 size=3 time=1700000000.0"
            f" sha256digest={F.digest} flags=schg,uarch tags=package=FreeBSD-runtime"
        ),
        "./bin/l type=link mode=0777 uname=\\303\\251 gid=0 time=0.0 link=../a\\040b",
    ]


def test_entries_are_sorted_by_the_bytes_of_the_path() -> None:
    """Rule 1: not by locale, and `/` is a byte like others."""
    paths = ["a/b", "a-b", "a", "a.b", "B", "é", "z", "\udcff"]
    got = [line.split()[0] for line in lines(*(replace(D, path=p) for p in paths))[1:]]
    assert got == ["./B", "./a", "./a-b", "./a.b", "./a/b", "./z", "./\\303\\251", "./\\377"]


def test_hard_links_are_numbered_in_order_of_appearance() -> None:
    """Rule 4: equal inode, nlink the number of names in the spec."""
    spec = lines(
        replace(F, path="z", inode=7),
        replace(F, path="b", inode=9),
        replace(F, path="a", inode=7),
        replace(F, path="c", inode=9),
        replace(F, path="d", inode=7),
    )
    assert [line.split(" nlink=")[1][:9] for line in spec[1:]] == [
        "3 inode=1",
        "2 inode=2",
        "2 inode=2",
        "3 inode=1",
        "3 inode=1",
    ]


def test_a_lone_hard_link_becomes_a_plain_file() -> None:
    """Rule 4: a layer may hold only one of the names."""
    (entry,) = number_links([replace(F, inode=5)])
    assert entry == F
    assert "inode" not in lines(entry)[1]


def test_numbering_links_twice_changes_nothing() -> None:
    """It is a normal form."""
    once = number_links([replace(F, path=p, inode=i) for p, i in (("a", 3), ("b", 1), ("c", 3))])
    assert number_links(once) == once
    assert [e.inode for e in once] == [1, 0, 1]


# ---------------------------------------------------------------- parse_spec


def test_parse_is_the_inverse_of_to_spec() -> None:
    """Both ways, for every kind."""
    entries = (
        D,
        replace(D, path="empty\n name", mode=0o1777),
        F,
        replace(F, path="h1", inode=1),
        replace(F, path="h2", inode=1, flags="", package=""),
        L,
        replace(L, path="x", link="\udcff#*?[\\"),
    )
    spec = to_spec(entries)
    assert parse_spec(spec) == tuple(sorted(entries, key=lambda e: e.key))
    assert to_spec(parse_spec(spec)) == spec
    assert parse_spec(to_spec([])) == ()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        *(
            (line, f"got {line.encode()[:80]!r}, want an entry as `to_spec` writes it")
            for line in (
                "bin type=dir",
                "/set type=dir",
                "",
                "./a",
                "./a type=block mode=0755 uid=0 gid=0 time=0.0",
                "./a type=dir mode=0755 uid=0 gid=0",
                "./a type=dir mode=0755 uid=0 time=0.0",
                "./a type=dir mode=abc uid=0 gid=0 time=0.0",
                "./a type=dir mode=0755 uid=x gid=0 time=0.0",
                "./a type=dir mode=0755 uid=0 gid=0 time=0.5",
                "./a type=dir optional mode=0755 uid=0 gid=0 time=0.0",
                "./a type=dir mode=0755 uid=0 gid=0 time=0.0 ",
            )
        ),
        *(
            (line, f"got {line.encode()[:80]!r}, want size and digest of files")
            for line in (
                "./a type=file mode=0755 uid=0 gid=0 size=1 time=0.0",
                f"./a type=file mode=0755 uid=0 gid=0 time=0.0 sha256digest={'a' * 64}",
                "./a type=link mode=0755 uid=0 gid=0 time=0.0",
                "./a type=dir mode=0755 uid=0 gid=0 time=0.0 link=x",
            )
        ),
        ("./a\\x type=dir mode=0755 uid=0 gid=0 time=0.0", "got escape b'\\\\x', want \\ooo"),
        ("./a\\777 type=dir mode=0755 uid=0 gid=0 time=0.0", "got escape b'\\\\777', want at most"),
    ],
)
def test_errors_of_a_spec_have_the_line(line: str, message: str) -> None:
    """FormatError with `line N` as its context."""
    data = f"#mtree\n./ok type=dir mode=0755 uid=0 gid=0 time=0.0\n{line}\n".encode()
    with pytest.raises(FormatError) as caught:
        parse_spec(data)
    assert caught.value.context == "line 3"
    assert caught.value.message.startswith(message)


def test_a_spec_starts_with_its_signature() -> None:
    """As libarchive wants it."""
    with pytest.raises(FormatError, match=r"^got no #mtree line, want a spec$"):
        parse_spec(b"./a type=dir\n")


def test_a_spec_that_has_been_cut_short_is_refused() -> None:
    with pytest.raises(FormatError, match="cut short"):
        parse_spec(to_spec([D])[:-1])


def test_a_spec_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else's spec may be large."""
    monkeypatch.setattr(mtree, "_MAX_SPEC", 10)
    with pytest.raises(FormatError, match=r"^spec of 11 bytes, want at most 10$"):
        parse_spec(b"#mtree\n./a ")


# ---------------------------------------------------------------- names


def test_every_byte_survives() -> None:
    """Rule 2: vis(3) and back, alone and next to digits."""
    for value in range(256):
        for raw in (bytes([value]), bytes([value]) + b"1", b"a" + bytes([value]) * 2 + b"77"):
            encoded = encode_name(raw)
            assert decode_name(encoded) == raw
            assert all(0x21 <= c <= 0x7E for c in encoded)


def test_only_what_must_be_is_escaped() -> None:
    """Graphic ASCII stays, but for what fnmatch(3) and mtree(5) give a meaning."""
    graphic = bytes(range(0x21, 0x7F))
    kept = bytes(c for c in graphic if encode_name(bytes([c])) == bytes([c]))
    assert sorted(set(graphic) - set(kept)) == sorted(b"#*?[\\")
    assert encode_name(b"a b") == b"a\\040b"


@pytest.mark.parametrize(
    ("text", "raw"),
    [
        (b"plain", b"plain"),
        (rb"\s\t\n\r\a\b\f\v", b" \t\n\r\a\b\f\v"),
        (rb"\#\\", b"#\\"),
        (rb"\0401", b" 1"),
        (rb"\377\000", b"\xff\0"),
        (rb"\\040", rb"\040"),
    ],
)
def test_other_writers_escapes_are_understood(text: bytes, raw: bytes) -> None:
    """VIS_CSTYLE, as NetBSD's mtree -c writes."""
    assert decode_name(text) == raw


@pytest.mark.parametrize("text", [rb"\x41", rb"\400", rb"\9", rb"\M-a", rb"\^A", rb"\12"])
def test_unknown_escapes_are_refused(text: bytes) -> None:
    """Guessing would rename a file."""
    with pytest.raises(FormatError, match=r"^got escape"):
        decode_name(text)


def _touch(folder: Path, names: Iterable[bytes]) -> None:
    folder.mkdir()
    for name in names:
        (folder / name.decode("utf-8", "surrogateescape")).touch()


def _names(spec: bytes) -> set[bytes]:
    lines = (line.split() for line in spec.splitlines())
    found = (words[0] for words in lines if words and not words[0].startswith((b"#", b"/", b"..")))
    return {decode_name(name.removeprefix(b"./")) for name in found} - {b"."}


ALL_NAMES = [bytes([b, 0x31]) for b in range(1, 256) if b != ord("/")]
"""Every byte that a name may have, before a digit."""


def test_names_that_mtree_writes_are_read(tmp_path: Path) -> None:
    r"""NetBSD's mtree -c: vis(3), VIS_CSTYLE; its `\M-x` and `\^x` are not C-style: refused."""
    names = [n for n in ALL_NAMES if 0x20 <= n[0] < 0x7F or n[0] in b"\a\b\f\n\r\t\v"]
    _touch(tmp_path / "t", names)
    made = subprocess.run(
        [require_program("mtree"), "-c", "-k", "type", "-p", str(tmp_path / "t")],
        capture_output=True,
        check=True,
    ).stdout
    assert _names(made) == set(names)


def test_names_that_we_write_are_read_by_mtree(tmp_path: Path) -> None:
    """NetBSD's mtree -f finds every file; Debian's takes `*`, `?`, `[` for patterns even when escaped."""
    names = [n for n in ALL_NAMES if n[0] not in b"*?["]
    _touch(tmp_path / "t", names)
    spec = [b"./" + encode_name(name) + b" type=file\n" for name in names]
    (tmp_path / "spec").write_bytes(b"#mtree\n. type=dir\n" + b"".join(spec))
    checked = subprocess.run(
        [require_program("mtree"), "-f", str(tmp_path / "spec"), "-p", str(tmp_path / "t")],
        capture_output=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout) == (0, b"")


def test_names_that_we_write_are_read_by_bsdtar(tmp_path: Path) -> None:
    """Every name, and libarchive writes it as we do."""
    spec = [b"./" + encode_name(name) + b" type=file\n" for name in sorted(ALL_NAMES)]
    (tmp_path / "spec").write_bytes(b"#mtree\n" + b"".join(spec))
    listed = subprocess.run(
        [
            require_program("bsdtar"),
            *("-cf", "-", "--format=mtree", "--options=mtree:!all,mtree:type"),
            f"@{tmp_path / 'spec'}",
        ],
        capture_output=True,
        check=True,
        env={"LC_ALL": "C"},
    ).stdout
    assert _names(listed) == set(ALL_NAMES)


# ---------------------------------------------------------------- BSD.*.dist

DIST = b"""#
# Please see the file src/etc/mtree/README before making changes to this file.
#

/set type=dir uname=root gname=wheel mode=0755
.
    bin             tags=package=runtime
    ..
    tmp             mode=01777 flags=sunlnk
    ..
\tusr
\t    home nochange mode=0700
\t    ..
/set gname=operator
\t    \\320\\224ir\\040x flags=none
\t    ..
/unset gname uname tags
\t    plain type=dir
\t    ..
\t..
..
"""


def test_a_dist_file_is_read_in_its_order() -> None:
    """Comments, blank lines, tabs, /set, /unset, `..`; the top is the empty path."""
    got = {d.path: d for d in parse_dist(DIST)}
    assert list(got) == ["", "bin", "tmp", "usr", "usr/home", "usr/Дir x", "usr/plain"]
    assert got[""] == DistDirectory(
        path="", mode=0o755, user="root", group="wheel", flags="", keep=False
    )
    assert (got["tmp"].mode, got["tmp"].flags) == (0o1777, "sunlnk")
    assert (got["usr/home"].keep, got["usr/home"].mode) == (True, 0o700)
    assert (got["usr/Дir x"].group, got["usr/Дir x"].flags) == ("operator", "")
    assert (got["usr/plain"].user, got["usr/plain"].group, got["usr/plain"].keep) == ("", "", False)


def test_a_directory_that_occurs_again_counts_once() -> None:
    """The last description stands, at the place of the first."""
    got = parse_dist(b"a mode=0700\n..\nb mode=0755\n..\na mode=0711\n    c mode=0750\n")
    assert [(d.path, d.mode) for d in got] == [("a", 0o711), ("b", 0o755), ("a/c", 0o750)]


def test_set_nochange_is_inherited() -> None:
    """Keywords of /set hold for what follows, this one as well."""
    got = parse_dist(b"/set nochange mode=0755\na\n..\n/unset nochange\nb\n")
    assert [d.keep for d in got] == [True, False]


def test_a_backslash_joins_lines() -> None:
    """mtree(5): as in a makefile; line numbers go on counting."""
    assert parse_dist(b"a mode=0700 \\\n    uname=bin\n")[0].user == "bin"
    with pytest.raises(FormatError) as caught:
        parse_dist(b"# comment\na mode=0700 \\\n  uname=bin \\\n  gname=bin\n..\nb\n")
    assert caught.value.context == "line 6"


@pytest.mark.parametrize(
    ("data", "line", "message"),
    [
        (b"a mode=0755\n..\n..\n", 3, "got `..` above the top"),
        (b"a\n", 1, "a: no octal mode, neither here nor by /set"),
        (b"\n\n.\n", 3, ".: no octal mode"),
        (b"a mode=u+x\n", 1, "a: no octal mode"),
        (b"a mode=-1\n", 1, "a: no octal mode"),
        (b"a mode=77777\n", 1, "a: no octal mode"),
        (b"/set type=dir size=3\n", 1, "got keyword 'size', want one of "),
        (b"a mode=0755 uid=0\n", 1, "got keyword 'uid', want one of "),
        (b"a type=file mode=0755\n", 1, "got type=file, want only directories"),
        (b"a/b mode=0755\n", 1, "got directory name 'a/b', want one plain component"),
        (b"\\056\\056 mode=0755\n", 1, "got directory name "),
        (b"a mode=0755\n. mode=0755\n", 2, "got directory name '.', want one plain component"),
        (b"a\\000b mode=0755\n", 1, "got directory name "),
        (b"a\\qb mode=0755\n", 1, "got escape "),
        (b"/set mode=0755\n" + b"d\n" * 65, 66, "directories nested deeper than 64"),
    ],
)
def test_errors_of_a_dist_file_have_the_line(data: bytes, line: int, message: str) -> None:
    """FormatError with `line N` as its context."""
    with pytest.raises(FormatError) as caught:
        parse_dist(data)
    assert caught.value.context == f"line {line}"
    assert caught.value.message.startswith(message)


def _golden_dist_files() -> dict[str, bytes]:
    path = FIXTURES / "packages" / "FreeBSD-mtree-15.0.pkg"
    payload = Memory()
    with path.open("rb") as f:
        contents = read_package(f, payload, size=path.stat().st_size, what=path.name)
    extents = {e.digest: bytes(payload[e.offset : e.offset + e.size]) for e in contents.extents}
    return {
        entry.path.rpartition("/")[2]: extents[entry.digest]
        for entry in contents.entries
        if entry.path.endswith(".dist")
    }


def test_the_dist_files_of_a_package_are_read_as_mtree_reads_them(tmp_path: Path) -> None:
    """Its mtree -C rewrites a hierarchical file to full paths: the same directories, modes, owners."""
    program = require_program("mtree")
    users = {"root", "uucp", "daemon", "man", "news", "bin", "unbound", "ntpd", "auditdistd"}
    (tmp_path / "master.passwd").write_text(
        "".join(f"{name}:*:{i}:0::0:0:x:/:/bin/sh\n" for i, name in enumerate(sorted(users)))
    )
    groups = sorted(users | {"wheel", "audit", "mail", "games", "dialer", "operator", "authpf"})
    (tmp_path / "group").write_text("".join(f"{name}:*:{i}:\n" for i, name in enumerate(groups)))
    files = _golden_dist_files()
    assert len(files) >= 5
    for name, data in sorted(files.items()):
        got = parse_dist(data)
        (tmp_path / name).write_bytes(data)
        listed = subprocess.run(
            [program, "-N", str(tmp_path), "-C", "-f", name, "-k", "type,mode,uname,gname"],
            cwd=tmp_path,
            capture_output=True,
            check=True,
        ).stdout
        want = set()
        for line in listed.splitlines():
            path, *words = line.decode().split()
            values = dict(word.split("=") for word in words)
            path = decode_name(path.encode()).decode()
            want.add((path, int(values["mode"], 8), values["uname"], values["gname"]))
        assert {(f"./{d.path}" if d.path else ".", d.mode, d.user, d.group) for d in got} == want
