"""Package archives: real ones are read whole, hostile ones are refused, rule by rule."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from pipeline import errors
from pipeline.errors import ArchiveError, DigestMismatchError, FormatError, ManifestError
from pipeline.formats.decompression import expansion_limit
from pipeline.formats.mtree import Entry, Kind, parse_spec, to_spec
from pipeline.pkg import archive
from pipeline.pkg.archive import PackageContents, check_link, read_manifest, read_package
from pipeline.pkg.sum import zbase32
from tests.archives import (
    END,
    Item,
    Memory,
    manifest_of,
    package,
    padded,
    pax_header,
    pax_record,
    raw_header,
    sha256_sum,
)

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
PACKAGES = FIXTURES / "packages"
GOLDEN = sorted(PACKAGES.rglob("*.pkg"))
HOSTILE = FIXTURES / "hostile" / "packages"
EXPECTED: dict[str, dict[str, Any]] = json.loads((HOSTILE / "expectations.json").read_text())


def read(data: bytes, payload: Memory | None = None) -> PackageContents:
    sink = Memory() if payload is None else payload
    return read_package(io.BytesIO(data), sink, size=len(data), what="x.pkg")


def refusal(data: bytes, error: type[errors.PipelineError] = ArchiveError) -> str:
    with pytest.raises(error) as caught:
        read(data)
    assert type(caught.value) is error
    return str(caught.value)


def entry_of(item: Item, **keys: Any) -> Entry:
    """Read a package of one item and return its entry."""
    (entry,) = read(package([item], **keys)).entries
    return entry


FILE = Item(path="/a", content=b"hello\n")
DIRECTORY = Item(path="/d", kind=tarfile.DIRTYPE, mode=0o755)
LINK = Item(path="/l", kind=tarfile.SYMTYPE, mode=0o755, link="a")
HARD = Item(path="/h", kind=tarfile.LNKTYPE, link="/a")


# ---------------------------------------------------------------- the real pkg's


def _members(path: Path) -> list[dict[str, Any]]:
    expected = PACKAGES / "expected" / path.relative_to(PACKAGES).with_suffix(".members.jsonl")
    lines = expected.read_text("utf-8", "surrogateescape").splitlines()
    return [member for line in lines if not (member := json.loads(line))["name"].startswith("+")]


def _as_member(entry: Entry, by_inode: dict[int, Entry]) -> dict[str, Any]:
    """Describe an entry as libarchive described its member."""
    kinds = {Kind.DIRECTORY: "directory", Kind.FILE: "file", Kind.LINK: "symlink"}
    first = by_inode.setdefault(entry.inode, entry) if entry.inode else entry
    member: dict[str, Any] = {
        "name": f"/{entry.path}" + ("/" if entry.kind is Kind.DIRECTORY else ""),
        "type": kinds[entry.kind] if first is entry else "hardlink",
        "mode": f"{entry.mode:04o}",
        "uname": entry.user,
        "gname": entry.group,
        "mtime": str(entry.mtime),
        "size": entry.size if first is entry else 0,
    }
    if entry.kind is Kind.LINK:
        member["link"] = entry.link
    elif first is not entry:
        member["link"] = f"/{first.path}"
    elif entry.kind is Kind.FILE:
        member["sha256"] = entry.digest
    if entry.flags:
        member["flags"] = set(entry.flags.split(","))
    return member


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_real_packages_have_the_members_that_libarchive_sees(path: Path) -> None:
    """Names, types, modes, owners, times, sizes, targets, contents, flags."""
    payload = Memory()
    contents = read(path.read_bytes(), payload)
    want = {}
    for member in _members(path):
        described = {k: v for k, v in member.items() if k not in ("uid", "gid", "pax")}
        flags = member.get("pax", {}).get("SCHILY.fflags")
        want[member["name"]] = described | ({"flags": set(flags.split(","))} if flags else {})
    listed = {d.path for d in contents.manifest.directories}
    by_inode: dict[int, Entry] = {}
    got = {m["name"]: m for m in (_as_member(e, by_inode) for e in contents.entries)}
    assert set(want) <= set(got)
    assert {name.rstrip("/") for name in set(got) - set(want)} <= listed
    assert {name: got[name] for name in want} == want
    for extent in contents.extents:
        content = payload[extent.offset : extent.offset + extent.size]
        assert hashlib.sha256(content).hexdigest() == extent.digest
    digests = {e.digest for e in contents.entries if e.kind is Kind.FILE}
    assert digests == {extent.digest for extent in contents.extents}
    assert len(payload) == sum(extent.size for extent in contents.extents)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_real_packages_survive_their_spec(path: Path) -> None:
    """What the layer is made of comes back from the text; it is sorted; config is kept."""
    contents = read(path.read_bytes())
    assert parse_spec(to_spec(contents.entries)) == contents.entries
    assert list(contents.entries) == sorted(contents.entries, key=lambda e: e.key)
    assert [p for p, _ in contents.config] == list(contents.manifest.config)
    digests = {f"/{e.path}": e.digest for e in contents.entries}
    for name, content in contents.config:
        assert hashlib.sha256(content).hexdigest() == digests[name]
    assert contents.newest_mtime == max((e.mtime for e in contents.entries), default=0)
    assert {e.package for e in contents.entries} <= {contents.manifest.name}


def test_the_corpora_are_not_empty() -> None:
    """All packages, all kinds of members; and each hostile package has its expectation."""
    assert len(GOLDEN) == 29
    kinds = {m["type"] for path in GOLDEN for m in _members(path)}
    assert kinds == {"file", "hardlink", "symlink", "directory"}
    assert sorted(EXPECTED) == sorted(path.name for path in HOSTILE.glob("*.pkg"))
    assert len(EXPECTED) == 134


# ---------------------------------------------------------------- hostile ones


class _CountingSink:
    size = 0

    def write(self, data: bytes) -> None:
        self.size += len(data)


@pytest.mark.parametrize("name", EXPECTED)
def test_hostile_and_odd_packages(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused with the exact class and place, or accepted with the expected paths.

    Whatever happens, nothing is written but the payload, and no more of that than an archive of
    this size may expand to.
    """
    monkeypatch.chdir(tmp_path)
    expected = EXPECTED[name]
    data = (HOSTILE / name).read_bytes()
    sink = _CountingSink()
    if "paths" in expected:
        assert expected["careful_reader"] != "refuse" or "note" in expected
        contents = read_package(io.BytesIO(data), sink, size=len(data), what=name)
        assert [e.path for e in contents.entries] == expected["paths"]
    else:
        assert expected["careful_reader"] != "accept"
        with pytest.raises(errors.PipelineError) as caught:
            read_package(io.BytesIO(data), sink, size=len(data), what=name)
        error = caught.value
        assert type(error).__name__ == expected["error"]
        assert expected["message"] in str(error)
        if isinstance(error, FormatError):
            assert error.context == expected["context"]
            assert expected["message"] in error.message
    assert sink.size <= expansion_limit(len(data))
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- rule 1: leading members


def test_other_metadata_before_the_payload_is_skipped() -> None:
    """`+INSTALL` and the like of old packages."""
    contents = read(package([FILE], leading={"+DESC": b"x" * 2000, "+MTREE_DIRS": b""}))
    assert [e.path for e in contents.entries] == ["a"]


def test_a_package_may_have_no_files() -> None:
    """Meta packages have manifests only."""
    contents = read(package())
    assert (contents.entries, contents.extents, contents.newest_mtime) == ((), (), 0)


def test_the_compact_manifest_must_agree() -> None:
    """It is what a catalogue is made of; scripts and files are not in it."""
    full = manifest_of([FILE], scripts={"install": "true"}, messages=["m"])
    compact = {k: v for k, v in full.items() if k not in ("files", "scripts", "messages")}
    raw, short = json.dumps(full).encode(), json.dumps(compact).encode()
    assert read(package([FILE], manifest=raw, compact=short)).manifest.name == "p"
    other = json.dumps(compact | {"version": "2"}).encode()
    message = refusal(package([FILE], compact=other))
    assert message == "x.pkg: +COMPACT_MANIFEST (p-2) and +MANIFEST (p-1) disagree"
    message = refusal(package([FILE], compact=b"{}"), ManifestError)
    assert message == "x.pkg: +COMPACT_MANIFEST.name: missing"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (END, "x.pkg: no +MANIFEST before the payload"),
        (raw_header(b"/a") + END, "x.pkg: no +MANIFEST before the payload"),
        (
            raw_header(b"+MANIFEST", b"2", link=b"/etc/passwd") + END,
            "x.pkg: +MANIFEST of 0 bytes, want up to 32 MiB",
        ),
        (
            raw_header(b"+MANIFEST", b"0", (32 << 20) + 1),
            "x.pkg: +MANIFEST of 33554433 bytes, want up to 32 MiB",
        ),
        (
            (raw_header(b"+MANIFEST", b"0", 2) + padded(b"{}")) * 2 + END,
            "x.pkg: two members +MANIFEST",
        ),
        (
            (raw_header(b"+COMPACT_MANIFEST", b"0", 2) + padded(b"{}")) * 2 + END,
            "x.pkg: two members +COMPACT_MANIFEST",
        ),
    ],
)
def test_the_manifest_comes_first_once_and_is_a_file(data: bytes, message: str) -> None:
    """Rule 1."""
    assert refusal(data) == message


def test_metadata_behind_the_payload_is_refused() -> None:
    """Rule 1: pkg would not read it, others might."""
    late = package([FILE]).rstrip(b"\0")
    late += bytes(-len(late) % 512) + raw_header(b"+DISPLAY", b"0", 1) + padded(b"x") + END
    assert refusal(late) == "x.pkg: '+DISPLAY': metadata behind the payload"


def test_read_manifest_reads_no_further() -> None:
    """What follows may even be broken."""
    data = package([FILE])
    cut = data[: data.index(b"hello\n")]
    manifest, raw = read_manifest(io.BytesIO(cut), size=len(cut), what="x.pkg")
    assert manifest.name_version == "p-1"
    assert json.loads(raw) == manifest_of([FILE])
    with pytest.raises(ArchiveError, match=r"^x.pkg: no \+MANIFEST before the payload$"):
        read_manifest(io.BytesIO(END), size=1024, what="x.pkg")


# ---------------------------------------------------------------- rule 2: members and lists


def test_the_four_kinds_of_members() -> None:
    """Entries are sorted, owners are names, the first name of a file is the file."""
    contents = read(package([FILE, LINK, HARD, DIRECTORY]))
    common: dict[str, Any] = {
        "user": "root",
        "group": "wheel",
        "package": "p",
        "mtime": 1_700_000_000,
    }
    file: dict[str, Any] = {
        "mode": 0o644,
        "size": 6,
        "digest": hashlib.sha256(b"hello\n").hexdigest(),
        "inode": 1,
    }
    assert contents.entries == (
        Entry(path="a", kind=Kind.FILE, **common, **file),
        Entry(path="d", kind=Kind.DIRECTORY, mode=0o755, **common),
        Entry(path="h", kind=Kind.FILE, **common, **file),
        Entry(path="l", kind=Kind.LINK, mode=0o755, link="a", **common),
    )


def test_a_listed_directory_without_a_member_is_made() -> None:
    """With the manifest's attributes, else root:wheel 0755; its time is decided by the layer."""
    attributes = {"uname": "bin", "gname": "mail", "perm": "1777", "fflags": "sunlnk"}
    items = [
        Item(path="/x", kind=tarfile.DIRTYPE, present=False, record=attributes),
        Item(path="/y", kind=tarfile.DIRTYPE, present=False, record="y"),
    ]
    x, y = read(package(items)).entries
    assert (x.mode, x.user, x.group, x.flags, x.mtime) == (0o1777, "bin", "mail", "sunlnk", 0)
    assert (y.mode, y.user, y.group, y.flags) == (0o755, "root", "wheel", "")


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (
            [Item(path="/a", content=b"x", listed=False)],
            "'/a': file that the manifest does not list",
        ),
        (
            [Item(path="/l", kind=tarfile.SYMTYPE, link="a", listed=False)],
            "'/l': symlink that the manifest does not list",
        ),
        (
            [FILE, Item(path="/h", kind=tarfile.LNKTYPE, link="/a", listed=False)],
            "'/h': hard link that the manifest does not list",
        ),
        (
            [Item(path="/d", kind=tarfile.DIRTYPE, listed=False)],
            "'/d/': directory that the manifest does not list",
        ),
        (
            [Item(path="/a", present=False)],
            "'/a' is listed in the manifest but not in the archive",
        ),
        (
            [Item(path="/l", kind=tarfile.SYMTYPE, link="a", record={"symlink_target": "b"})],
            "'/l': symlink to 'a', want 'b'",
        ),
        (
            [Item(path="/l", kind=tarfile.SYMTYPE, link="a", record={"uname": "root"})],
            "'/l': symlink that the manifest lists as a file",
        ),
        (
            [Item(path="/a", content=b"x", record={"symlink_target": "b"})],
            "'/a': file that the manifest lists as a symlink",
        ),
        ([FILE, FILE], "'/a': the same path twice"),
        ([DIRECTORY, DIRECTORY], "'/d/': the same path twice"),
        (
            [Item(path="/fifo", kind=tarfile.FIFOTYPE)],
            "'/fifo': member of type '6', want a file, link or directory",
        ),
    ],
)
def test_archive_and_manifest_list_the_same(items: Any, message: str) -> None:
    """Rule 2: as what it is, once, in both."""
    assert refusal(package(items)) == f"x.pkg: {message}"


def test_a_path_is_listed_as_one_thing() -> None:
    """Rule 2: pkg would register both."""
    record = {"uname": "root", "gname": "wheel", "perm": "0755"}
    message = refusal(package([FILE], directories={"/a": record}))
    assert message == "x.pkg: '/a' is listed as a file and as a directory"


@pytest.mark.parametrize("name", [b"a", b"./a", b"/../a", b"//a", b"/a/./b", b"/" + b"c" * 256])
def test_names_of_members_are_absolute_and_normal(name: bytes) -> None:
    """Rule 2; the context is the name."""
    data = package([FILE]).rstrip(b"\0")
    data += bytes(-len(data) % 512)
    named = pax_header(pax_record(b"path", name)) + raw_header(b"x") + END
    message = refusal(data + named, ManifestError)
    assert message.startswith(f"x.pkg: {name.decode()[:120]!r}: ")


# ---------------------------------------------------------------- rule 3: content


def test_content_of_another_sum_is_refused() -> None:
    """The package, the path, got and want."""
    item = Item(path="/a", content=b"x", record={"sum": sha256_sum(b"y")})
    message = refusal(package([item]), DigestMismatchError)
    assert message.startswith(f"p-1: /a: sum: got {hashlib.sha256(b'x').hexdigest()}, want ")


def test_blake2_sums_are_compared() -> None:
    """Both spellings of pkg; the payload is named by sha256 all the same."""
    good = "2$" + zbase32(hashlib.blake2b(b"x").digest())
    entry = entry_of(Item(path="/a", content=b"x", record={"sum": good}))
    assert entry.digest == hashlib.sha256(b"x").hexdigest()
    bad = Item(path="/a", content=b"y", record={"sum": good})
    assert refusal(package([bad]), DigestMismatchError).startswith("p-1: /a: sum: got ")


@pytest.mark.parametrize(
    ("record", "error", "message"),
    [
        ({}, ArchiveError, "x.pkg: '/a': file without a sum in the manifest"),
        ({"sum": "-"}, ArchiveError, "x.pkg: '/a': file without a sum in the manifest"),
        ("-", ArchiveError, "x.pkg: '/a': file without a sum in the manifest"),
        ({"sum": "9$00"}, ManifestError, "x.pkg: '/a': got sum '9$00', want "),
    ],
)
def test_every_file_has_a_sum(record: Any, error: Any, message: str) -> None:
    """Rule 3: what has none cannot be believed."""
    item = Item(path="/a", content=b"x", record=record)
    assert refusal(package([item]), error).startswith(message)


def test_symlinks_have_the_sum_of_their_target() -> None:
    """Rule 3; a sum that means nothing, or none, is passed over."""
    absolute = {"symlink_target": "/a", "sum": sha256_sum(b"a\0")}
    for record in (absolute, {"symlink_target": "/a", "sum": "-"}, {"symlink_target": "/a"}):
        item = Item(path="/l", kind=tarfile.SYMTYPE, link="/a", record=record)
        assert entry_of(item).link == "/a"
    double = {"symlink_target": "//a", "sum": sha256_sum(b"whatever lay there")}
    item = Item(path="/l", kind=tarfile.SYMTYPE, link="//a", record=double)
    assert entry_of(item).link == "//a"
    wrong = {"symlink_target": "a", "sum": sha256_sum(b"b")}
    item = Item(path="/l", kind=tarfile.SYMTYPE, link="a", record=wrong)
    assert refusal(package([item]), DigestMismatchError).startswith("p-1: /l: sum: got ")


def test_a_symlink_of_an_old_manifest_has_only_a_sum() -> None:
    """Strings of pkg up to 2.3 do not say that it is a symlink."""
    item = Item(path="/l", kind=tarfile.SYMTYPE, link="a", record=sha256_sum(b"a"))
    assert entry_of(item).kind is Kind.LINK


# ---------------------------------------------------------------- rule 4: attributes


def test_attributes_of_an_old_manifest_are_the_members() -> None:
    """Strings say nothing but the sum."""
    item = Item(
        path="/a",
        content=b"x",
        mode=0o4511,
        uname="bin",
        gname="mail",
        mtime=77,
        pax={"SCHILY.fflags": "uchg"},
        record=sha256_sum(b"x"),
    )
    entry = entry_of(item)
    assert (entry.mode, entry.user, entry.group, entry.mtime, entry.flags) == (
        0o4511,
        "bin",
        "mail",
        77,
        "uchg",
    )


def test_owners_of_the_manifest_stand_where_the_member_has_none() -> None:
    """And the other way round."""
    record = {"uname": "bin", "sum": sha256_sum(b"x")}
    entry = entry_of(Item(path="/a", content=b"x", uname="", gname="mail", record=record))
    assert (entry.user, entry.group) == ("bin", "mail")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mode": 0o4755}, "mode 4755, want 0644 as in the manifest"),
        ({"uname": "nobody"}, "owner 'nobody', want 'root' as in the manifest"),
        ({"gname": "nobody"}, "group 'nobody', want 'wheel' as in the manifest"),
        ({"pax": {"SCHILY.fflags": "uchg"}}, "file flags uchg, want schg as in the manifest"),
    ],
)
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE])
def test_attributes_must_agree(kind: bytes, changes: Any, message: str) -> None:
    """Rule 4: a setuid bit that the manifest does not know is no detail."""
    record = {
        "uname": "root",
        "gname": "wheel",
        "perm": "0644",
        "fflags": "schg",
        "sum": sha256_sum(b""),
    }
    item = Item(path="/a", kind=kind, record=record, **changes)
    name = "/a/" if kind == tarfile.DIRTYPE else "/a"
    assert refusal(package([item])) == f"x.pkg: {name!r}: {message}"


@pytest.mark.parametrize(("who", "what"), [("uname", "owner"), ("gname", "group")])
def test_an_owner_is_a_name(who: str, what: str) -> None:
    """Rule 4: numeric ids of an archive mean nothing."""
    record = {"uname": "root", "gname": "wheel", "sum": sha256_sum(b"")} | {who: ""}
    empty: dict[str, Any] = {who: ""}
    item = Item(path="/a", record=record, **empty)
    assert refusal(package([item])) == f"x.pkg: '/a': no name of the {what}"


def test_flags_have_their_names_in_one_order() -> None:
    """fflagstostr(3); from numbers as from names."""
    record = {"sum": sha256_sum(b""), "fflags": 0x2 | 0x20000 | 0x800}
    assert entry_of(Item(path="/a", record=record)).flags == "schg,uchg,uarch"
    same = Item(path="/a", record=record, pax={"SCHILY.fflags": "uarch,uchg,schg"})
    assert entry_of(same).flags == "schg,uchg,uarch"


# ---------------------------------------------------------------- rule 5: links


def test_a_hard_link_shares_what_the_file_is() -> None:
    """Size, digest, owner, mode; more than two names, more than one file."""
    items = [
        FILE,
        Item(path="/b", content=b"other"),
        HARD,
        Item(path="/i", kind=tarfile.LNKTYPE, link="/b"),
        Item(path="/j", kind=tarfile.LNKTYPE, link="/a"),
    ]
    got = {e.path: (e.inode, e.digest[:4], e.size) for e in read(package(items)).entries}
    assert got == {
        "a": (1, "5891", 6),
        "b": (2, "d9298"[:4], 5),
        "h": (1, "5891", 6),
        "i": (2, "d929", 5),
        "j": (1, "5891", 6),
    }


@pytest.mark.parametrize(
    ("link", "error", "message"),
    [
        ("/b", ArchiveError, "hard link to '/b', want an earlier file of the package"),
        ("/h", ArchiveError, "hard link to '/h', want an earlier file of the package"),
        ("/d", ArchiveError, "hard link to '/d', want an earlier file of the package"),
        ("/l", ArchiveError, "hard link to '/l', want an earlier file of the package"),
        ("a", ManifestError, "got path 'a', want an absolute path below /"),
        ("/../a", ManifestError, "got path '/../a', want no empty, . or .. component"),
    ],
)
def test_a_hard_link_points_to_an_earlier_file(link: str, error: Any, message: str) -> None:
    """Rule 5."""
    hard = Item(path="/h", kind=tarfile.LNKTYPE, link=link, record={"sum": sha256_sum(b"hello\n")})
    later = Item(path="/b", content=b"hello\n")
    data = package([FILE, DIRECTORY, LINK, hard, later])
    assert refusal(data, error) == f"x.pkg: '/h': {message}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sum": sha256_sum(b"x")}, "hard link to '/a', whose sum is another"),
        ({"perm": "0600"}, "mode 0644, want 0600 as in the manifest"),
        ({"mtime": 5}, "hard link to '/a', whose mode, owner or mtime is another"),
    ],
)
def test_names_of_one_file_have_one_description(changes: Any, message: str) -> None:
    """Rule 5: there is only one inode to give attributes to."""
    record = {
        "sum": sha256_sum(b"hello\n"),
        "uname": "root",
        "gname": "wheel",
        "perm": "0644",
        "mtime": 1_700_000_000,
    }
    hard = Item(path="/h", kind=tarfile.LNKTYPE, link="/a", record=record | changes)
    assert refusal(package([FILE, hard])) == f"x.pkg: '/h': {message}"


def test_a_hard_link_of_another_mode_is_refused() -> None:
    """Both the manifest and the archive may say so consistently."""
    hard = Item(path="/h", kind=tarfile.LNKTYPE, link="/a", mode=0o755)
    message = refusal(package([FILE, hard]))
    assert message == "x.pkg: '/h': hard link to '/a', whose mode, owner or mtime is another"


@pytest.mark.parametrize(
    ("parent", "message"),
    [
        (Item(path="/p", content=b"x"), "'/p/x' lies below '/p', which is no directory"),
        (
            Item(path="/p", kind=tarfile.SYMTYPE, mode=0o755, link="/elsewhere"),
            "'/p/x' lies below '/p', which is no directory",
        ),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_nothing_lies_below_what_is_no_directory(parent: Item, message: str, first: bool) -> None:
    """Rule 5: in either order, and however deep."""
    child = Item(path="/p/x", content=b"y")
    items = [parent, child] if first else [child, parent]
    assert refusal(package(items)) == f"x.pkg: {message}"


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/a", "b"),
        ("/a", "/b/../c"),
        ("/usr/bin/a", "../../etc/x"),
        ("/usr/bin/a", "x/../../../etc"),
        ("/usr/a", "./.././b"),
        ("/a", "//b"),
        ("/a", "."),
        ("/usr/a", ".."),
    ],
)
def test_symlinks_that_stay_inside(path: str, target: str) -> None:
    """Rule 5: up to the root, no further."""
    check_link(path, target)


@pytest.mark.parametrize(
    ("path", "target", "message"),
    [
        ("/a", "", "symlink with an empty target"),
        ("/a", "b\0c", "symlink with an empty target"),
        ("/a", "..", "symlink to '..', which leaves the tree"),
        ("/usr/a", "../../b", "symlink to '../../b', which leaves the tree"),
        ("/usr/a", "/..", "symlink to '/..', which leaves the tree"),
        ("/usr/a", "/b/../../c", "symlink to '/b/../../c', which leaves the tree"),
        ("/usr/a", "b/../../../c/d/e", "symlink to 'b/../../../c/d/e', which leaves the tree"),
    ],
)
def test_symlinks_that_leave_the_tree(path: str, target: str, message: str) -> None:
    """Rule 5: even for a moment."""
    with pytest.raises(ArchiveError) as caught:
        check_link(path, target)
    assert str(caught.value) == message


# ---------------------------------------------------------------- rules 6 to 8


@pytest.mark.parametrize(
    ("record", "member", "mtime"),
    [(5, 9, 5), (0, 9, 9), (None, 9, 9), (1 << 40, 9, (1 << 33) - 1), (0, 1 << 40, (1 << 33) - 1)],
)
def test_the_manifests_time_stands(record: int | None, member: int, mtime: int) -> None:
    """Rule 6: pkg sets it, and `check -m` compares it; what ustar cannot hold is clamped."""
    attributes = {"sum": sha256_sum(b"")} | ({} if record is None else {"mtime": record})
    item = Item(path="/a", mtime=member, record=attributes)
    assert entry_of(item).mtime == mtime


def test_times_before_1970_are_refused() -> None:
    """Rule 6: in the manifest as in the archive."""
    record = {"sum": sha256_sum(b""), "mtime": -1}
    message = "x.pkg: '/a': got mtime -1, want no negative"
    assert refusal(package([Item(path="/a", record=record)])) == message
    assert refusal(package([Item(path="/a", mtime=-1)])) == message


@pytest.mark.parametrize("key", ["SCHILY.xattr.user.x", "SCHILY.acl.access", "LIBARCHIVE.xattr.x"])
def test_extended_attributes_are_refused(key: str) -> None:
    """Rule 7: a layer does not carry them."""
    item = Item(path="/a", pax={key: "x"})
    message = f"x.pkg: '/a': pax record {key!r}, which layers do not carry"
    assert refusal(package([item])) == message


def test_unknown_file_flags_are_refused() -> None:
    """Rule 7: a flag that nobody knows is not dropped."""
    item = Item(path="/a", record=sha256_sum(b""), pax={"SCHILY.fflags": "sparkling"})
    message = "x.pkg: '/a': got file flag 'sparkling', want one of chflags(1)"
    assert refusal(package([item]), ManifestError) == message


def test_the_contents_of_configuration_files_are_kept() -> None:
    """Rule 8: sorted by path, empty ones too."""
    items = [Item(path="/z", content=b""), Item(path="/e", content=b"conf"), FILE]
    contents = read(package(items, config=["/z", "/e"]))
    assert contents.config == (("/e", b"conf"), ("/z", b""))


def test_a_configuration_file_may_be_a_link() -> None:
    """Rule 8: FreeBSD-runtime's /root/.cshrc is a hard link to /.cshrc; pkg keeps no content."""
    items = [FILE, HARD, LINK]
    contents = read(package(items, config=["/h", "/l"]))
    assert contents.config == ()
    assert read(package(items, config=["/a", "/h"])).config == (("/a", b"hello\n"),)


@pytest.mark.parametrize("path", ["/nowhere", "/d"])
def test_a_configuration_file_is_a_file_of_the_package(path: str) -> None:
    """Rule 8."""
    message = refusal(package([FILE, DIRECTORY], config=[path]))
    assert message == f"x.pkg: configuration file {path!r} is no file of the package"


def test_a_configuration_file_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its text goes into the package database."""
    monkeypatch.setattr(archive, "_MAX_CONFIG", 5)
    message = refusal(package([FILE], config=["/a"]))
    assert message == "x.pkg: '/a': configuration file of 6 bytes, want up to 5"


# ---------------------------------------------------------------- the payload


def test_each_content_is_in_the_payload_once() -> None:
    """Extents say where; empty content as well."""
    items = [
        Item(path="/1", content=b"one"),
        Item(path="/2", content=b"two"),
        Item(path="/3", content=b"one"),
        Item(path="/4"),
    ]
    payload = Memory()
    contents = read(package(items), payload)
    assert payload == b"onetwo"
    assert [(e.offset, e.size) for e in contents.extents] == [(0, 3), (3, 3), (6, 0)]


def test_large_content_is_copied_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of content above CHUNK that occurs again the first extent counts."""
    monkeypatch.setattr(archive, "CHUNK", 4)
    items = [
        Item(path="/1", content=b"large one"),
        Item(path="/2", content=b"large one"),
        Item(path="/3", content=b"tiny"),
    ]
    payload = Memory()
    contents = read(package(items), payload)
    got = {e.digest: bytes(payload[e.offset : e.offset + e.size]) for e in contents.extents}
    assert sorted(got.values()) == [b"large one", b"tiny"]
    assert [(e.offset, e.size) for e in contents.extents] == [(0, 9), (18, 4)]
    bad = Item(path="/1", content=b"large one", record={"sum": sha256_sum(b"x")})
    assert refusal(package([bad]), DigestMismatchError).startswith("p-1: /1: sum: ")


def test_compressed_packages_are_read() -> None:
    """The rest of the packing formats is among the real packages."""
    assert read(gzip.compress(package([FILE]))).entries == read(package([FILE])).entries


def test_contexts_name_the_package() -> None:
    """Errors of the manifest and of the stream have it as well."""
    broken = package([FILE], comment=7)
    assert refusal(broken, ManifestError) == "x.pkg: comment: got an integer, want a string"
    assert refusal(b"") == "x.pkg: archive ends within a header: got 0 bytes, want 512"
