"""Archives as trees: what they mean is kept, how they were packed is not, the rest is refused."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.errors import ArchiveError, TooLargeError
from pipeline.formats.digest import Digest
from pipeline.formats.foreign_tar import ForeignTarReader
from pipeline.formats.mtree import Entry, Kind
from pipeline.rootfs import normalise as module
from pipeline.rootfs.accounts import Accounts, parse_accounts
from pipeline.rootfs.normalise import DATABASE, JOURNAL, SHARED_MEMORY, WAL, Rules, normalise
from pipeline.rootfs.ownership import Owners
from pipeline.rootfs.trigger_names import is_drawn_name, trigger_names, with_whiteouts
from pipeline.rootfs.whiteouts import hides
from tests.foreign import EPOCH, GROUP, PASSWD, Node, folder, hard, later, pack, root, soft

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.rootfs.normalise import NormalTree

ROOTFS = Rules(
    source_date_epoch=EPOCH,
    is_layer=False,
    owners=Owners.CHECKED,
    keep_flags=False,
    drop_attributes=False,
    drop_devices=False,
)
LAYER = replace(ROOTFS, is_layer=True, owners=Owners.IDS)
ACCOUNTS = parse_accounts(PASSWD, GROUP)


def tree(
    nodes: Iterable[Node],
    rules: Rules = ROOTFS,
    *,
    accounts: Accounts | None = ACCOUNTS,
    **how: Any,
) -> NormalTree:
    """Return what an archive of these nodes means."""
    members = tuple(ForeignTarReader(io.BytesIO(pack(nodes, **how))))
    return normalise(members, rules, accounts=accounts)


def entries(nodes: Iterable[Node], rules: Rules = ROOTFS, **how: Any) -> dict[str, Entry]:
    """Return the entries by path."""
    return {entry.path: entry for entry in tree(nodes, rules, **how).entries}


def refused(nodes: Iterable[Node], match: str, rules: Rules = ROOTFS, **how: Any) -> ArchiveError:
    """Normalise what must be refused."""
    with pytest.raises(ArchiveError, match=match) as caught:
        tree(nodes, rules, **how)
    return caught.value


# ---------------------------------------------------------------- paths and order


def test_entries_are_sorted_and_clamped() -> None:
    """By the bytes of their paths; whatever is later than the epoch is of the epoch."""
    got = tree(root()).entries
    paths = [e.path for e in got]
    assert paths == sorted(paths, key=lambda p: p.encode())
    assert {e.path for e in got} == {node.path for node in root()}
    for node, entry in ((n, e) for n in root() for e in got if e.path == n.path):
        assert entry.mtime == min(int(node.mtime), EPOCH)
        assert (entry.user, entry.group, entry.mode) == (node.uid, node.gid, node.mode)


@pytest.mark.parametrize("prefix", ["", "./", "/", "././/"])
def test_ways_to_write_a_path(prefix: str) -> None:
    """Relative, with a dot, absolute."""
    assert tree(root(), prefix=prefix).entries == tree(root()).entries


def test_order_does_not_matter() -> None:
    """Not even for hard links whose file comes later."""
    assert tree(reversed(root())).entries == tree(root()).entries


def test_later_builds_are_equal() -> None:
    """Times after the epoch are times of building."""
    assert tree(later(root(), 12345)).entries == tree(root()).entries


def test_the_root_itself_is_no_entry() -> None:
    """What is odd about it is at least said."""
    assert tree([folder("."), folder("etc")]).notes == ()
    made = tree([folder(".", mode=0o700), folder("etc")])
    assert [e.path for e in made.entries] == ["etc"]
    assert made.notes == ("attributes of the root itself dropped: 1",)
    refused([Node(path=".")], "an entry without a name")


@pytest.mark.parametrize("path", ["../etc", "a/../../b", "a/.."])
def test_paths_do_not_leave_the_root(path: str) -> None:
    """Not even where they would come back."""
    refused([Node(path=path)], "leaves the root")
    refused([Node(path="x"), hard("y", path)], "leaves the root")


def test_a_path_has_one_entry() -> None:
    """The last one wins when an archive is unpacked; which was meant is not guessed."""
    assert refused([Node(path="a"), Node(path="./a")], "'a': path twice").hint
    refused([Node(path="b"), Node(path="a"), hard("a", "b")], "'a': path twice")
    refused([Node(path="b"), hard("a", "b"), Node(path="a")], "'a': path twice")
    refused([folder("a"), folder("a", mode=0o700)], "'a': path twice")


def test_equal_directories_are_one() -> None:
    """Some writers repeat a directory for each of several arguments."""
    assert list(entries([folder("a"), folder("./a/"), folder("a", mtime=1_600_000_000)])) == ["a"]


def test_nothing_lies_below_a_file_or_a_link() -> None:
    """Where it would go depends on what was unpacked before."""
    refused([soft("a", "/etc"), Node(path="a/passwd")], "'a/passwd': lies below 'a'")
    refused([Node(path="a/b/c"), Node(path="a")], "'a/b/c': lies below 'a'")
    whiteout = [soft("a", "/etc"), Node(path="a/.wh.passwd")]
    refused(whiteout, "lies below 'a'", LAYER)


def test_missing_directories_are_made_in_a_root_only() -> None:
    """In a layer they are in the layers below, with attributes that are not known here."""
    nodes = [Node(path="a/b/c", mtime=5), Node(path="a/d", mtime=9), Node(path="e/f", mtime=3)]
    made = tree(nodes)
    assert made.notes == ("missing directories made: 3",)
    by_path = {e.path: e for e in made.entries}
    assert {p: by_path[p].mtime for p in ("a", "a/b", "e")} == {"a": 9, "a/b": 5, "e": 3}
    assert {(by_path[p].mode, by_path[p].user) for p in ("a", "a/b", "e")} == {(0o755, 0)}
    assert list(entries(nodes, LAYER)) == ["a/b/c", "a/d", "e/f"]


# ---------------------------------------------------------------- hard links


def test_hard_links_share_the_files_attributes() -> None:
    """Whichever name has the content, and whatever the headers of the links say."""
    first = [Node(path="b", content=b"x", mode=0o555), hard("a", "b"), hard("c", "./a", mode=0)]
    second = [Node(path="c", content=b"x", mode=0o555), hard("b", "c"), hard("a", "b", mtime=1)]
    assert tree(first).entries == tree(second).entries
    got = entries(first)
    assert [(e.inode, e.mode, e.size) for e in got.values()] == [(1, 0o555, 1)] * 3
    contents = tree(first).contents
    assert contents["a"] is contents["b"] is contents["c"]


def test_several_groups_of_links_keep_apart() -> None:
    """Numbered in the order of their first names."""
    nodes = [Node(path="y"), hard("z", "y"), Node(path="a"), hard("x", "a"), Node(path="m")]
    assert {p: e.inode for p, e in entries(nodes).items()} == {
        "a": 1, "x": 1, "y": 2, "z": 2, "m": 0
    }  # fmt: skip


def test_names_of_one_symlink_are_symlinks() -> None:
    """Some writers say that two symlinks are one inode, others do not."""
    got = entries([soft("a", "t"), hard("b", "a")])
    assert (got["b"].kind, got["b"].link, got["b"].inode) == (Kind.LINK, "t", 0)


def test_links_to_nothing_are_refused() -> None:
    """Also circles, and directories."""
    assert refused([hard("a", "b")], "'a': hard link to 'b', which is no file").hint
    refused([hard("a", "b"), hard("b", "a")], "hard link to")
    refused([hard("a", "a")], "hard link to 'a'")
    assert refused([folder("d"), hard("a", "d")], "hard link to 'd'").hint is None
    refused([hard("a", "b")], "hard link to 'b'", LAYER)


# ---------------------------------------------------------------- owners


def test_names_of_owners_do_not_matter() -> None:
    """Those of the machine that packed are not those of the image."""
    nodes = [Node(path="a", uid=80, gid=5, uname="www-data", gname="tty")]
    bare = [replace(nodes[0], uname="", gname="")]
    assert tree(nodes).entries == tree(bare).entries


@pytest.mark.parametrize("placeholder", [0, 65534])
def test_a_name_that_contradicts_a_placeholder_is_refused(placeholder: int) -> None:
    """Root's or nobody's number is what some writers put where they know a name only."""
    node = Node(path="a", uid=placeholder, uname="www", gid=0, gname="root")
    error = refused([node], f"'a': owned by 'www', 80 .* by number {placeholder}")
    assert error.hint is not None
    assert "--owners" in error.hint
    assert entries([node], replace(ROOTFS, owners=Owners.IDS))["a"].user == placeholder
    group = Node(path="a", uname="root", gid=placeholder, gname="operator")
    refused([group], "owned by 'operator', 5")


def test_names_count_where_that_is_asked_for() -> None:
    """Through the archive's own accounts; a bare number stays."""
    rules = replace(ROOTFS, owners=Owners.NAMES)
    nodes = [
        Node(path="a", uid=65534, gid=65534, uname="www", gname="operator"),
        Node(path="b", uid=7, gid=8, uname="", gname=""),
    ]
    got = entries(nodes, rules)
    assert [(e.user, e.group) for e in got.values()] == [(80, 5), (7, 8)]
    refused([Node(path="a", uname="bind")], "'a': owned by 'bind', whom", rules)
    refused([Node(path="a", uname="www")], "owned by 'www', whom", rules, accounts=None)


@pytest.mark.parametrize("number", [-1, 2**32 - 1])
def test_numbers_of_owners_are_possible(number: int) -> None:
    """FreeBSD's uid_t has 32 bits, and its last value means something else."""
    refused([Node(path="a", uid=number)], "want 0 to", dialect=tarfile.GNU_FORMAT)


# ---------------------------------------------------------------- what cannot be kept


def test_attributes_are_refused_by_name_or_dropped() -> None:
    """A file capability lost in silence is a program that does not work."""
    nodes = [Node(path=f"bin/{i}", pax={"SCHILY.xattr.security.capability": "x"}) for i in range(5)]
    error = refused(nodes, r"security.capability\) on 'bin/0', 'bin/1', 'bin/2' and 2 more")
    assert error.hint is not None
    assert "--drop-xattrs" in error.hint
    dropped = tree(nodes, replace(ROOTFS, drop_attributes=True))
    assert "extended attributes dropped: 5" in dropped.notes


def test_devices_are_refused_or_dropped() -> None:
    """No client without privileges can make them; links to them go, too."""
    nodes = [
        Node(path="dev/null", kind=tarfile.CHRTYPE, devices=(1, 3)),
        Node(path="dev/da0", kind=tarfile.BLKTYPE),
        Node(path="run/fifo", kind=tarfile.FIFOTYPE),
        hard("dev/zero", "dev/null"),
        Node(path="etc/x"),
    ]
    error = refused(nodes, r"\(FIFO, block device, character device\): 'dev/null', 'dev/da0'")
    assert error.hint is not None
    assert "--drop-devices" in error.hint
    dropped = tree(nodes, replace(ROOTFS, drop_devices=True))
    assert [e.path for e in dropped.entries] == ["etc", "etc/x"]
    assert "devices dropped: 4" in dropped.notes


def test_flags_are_dropped_or_kept() -> None:
    """Their order is no part of them."""
    nodes = [Node(path="a", pax={"SCHILY.fflags": "uarch,schg,,schg"})]
    assert entries(nodes)["a"].flags == ""
    assert tree(nodes).notes == ("file flags dropped: 1",)
    kept = tree(nodes, replace(ROOTFS, keep_flags=True))
    assert (kept.entries[0].flags, kept.notes) == ("schg,uarch", ())


def test_bombs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the number of members, and by what they hold."""
    monkeypatch.setattr(module, "_MAX_CONTENT", 10)
    with pytest.raises(TooLargeError):
        tree([Node(path="a", content=b"x" * 11)])
    monkeypatch.setattr(module, "_MAX_ENTRIES", 1)
    refused([Node(path="a"), Node(path="b")], "2 members")


# ---------------------------------------------------------------- whiteouts


def test_whiteouts_are_alike() -> None:
    """Docker, buildah and umoci write them with various attributes; nobody reads those."""
    nodes = [
        Node(path="etc/.wh.motd", mode=0, mtime=0, uid=5),
        Node(path="usr/.wh..wh..opq", mode=0o777, mtime=EPOCH + 9),
    ]
    got = entries(nodes, LAYER)
    assert list(got) == ["etc/.wh.motd", "usr/.wh..wh..opq"]
    for entry in got.values():
        assert (entry.kind, entry.size, entry.mode) == (Kind.FILE, 0, 0o644)
        assert (entry.user, entry.mtime) == (0, EPOCH)


def test_a_whiteout_of_what_the_layer_brings() -> None:
    """Some clients would remove what they have just unpacked, so it is said in another way."""
    nodes = [
        Node(path="a/.wh.-new"),
        Node(path="a/-new", content=b"new"),
        Node(path=".wh.dir"),
        folder("dir"),
        Node(path="dir/!first"),
    ]
    assert list(entries(nodes, LAYER)) == ["a/-new", "dir", "dir/!first", "dir/.wh..wh..opq"]


def test_whiteouts_of_aufs_are_passed_over() -> None:
    """Names that begin with .wh..wh. are its own; hard links among whiteouts are its habit."""
    nodes = [
        Node(path=".wh..wh.aufs"),
        Node(path=".wh..wh.plnk/123.456"),
        hard("etc/.wh.x", ".wh..wh.aufs"),
    ]
    assert list(entries(nodes, LAYER)) == ["etc/.wh.x"]


@pytest.mark.parametrize("path", [".wh.", "a/.wh..", "a/.wh...", ".wh.a/b", "a/.wh.b/.wh..wh..opq"])
def test_whiteouts_of_nothing(path: str) -> None:
    """image-spec, layer.md: the base name of a whiteout must not be empty."""
    refused([Node(path=path)], "a whiteout of nothing", LAYER)


def test_a_whiteout_is_an_empty_file() -> None:
    """Anything else cannot be told apart from a mistake."""
    refused([Node(path=".wh.a", content=b"x")], "no empty file", LAYER)
    refused([folder(".wh.a")], "no empty file", LAYER)


def test_a_root_has_no_whiteouts() -> None:
    """A tar of a layer is not a root file system."""
    refused([Node(path="etc/.wh.motd")], "in an image's layer only")


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("a/b/.wh.c", True),
        ("a/.wh.b", True),
        (".wh.a", True),
        ("a/.wh..wh..opq", True),
        (".wh..wh..opq", True),
        ("a/b/.wh..wh..opq", True),
        ("a/b/c/.wh..wh..opq", False),
        ("a/b/.wh.cc", False),
        ("a/b/c", False),
        ("x/.wh..wh..opq", False),
    ],
)
def test_what_a_whiteout_hides(name: str, hidden: bool) -> None:
    """A path, or everything below a directory."""
    assert hides(name, "a/b/c") is hidden


# ---------------------------------------------------------------- the database


def test_the_database_has_its_attributes() -> None:
    """docs/FORMAT.md, section Package database; what lies beside it is taken out."""
    nodes = [
        Node(path=DATABASE, content=b"x", mode=0o600, uid=80, mtime=5, uname="", gname=""),
        Node(path=WAL, content=b"w" * 99),
        Node(path=SHARED_MEMORY, content=b"s" * 99),
        Node(path=JOURNAL),
    ]
    made = tree(nodes, LAYER)
    assert made.has_database
    assert list(made.companions) == [WAL, JOURNAL, SHARED_MEMORY]
    (entry,) = made.with_database(4096).entries
    assert (entry.path, entry.size, entry.mode, entry.user) == (DATABASE, 4096, 0o644, 0)
    assert entry.mtime == EPOCH
    assert made.notes == ("files of SQLite beside the database taken in: 3",)


def test_a_database_is_a_file_of_its_own() -> None:
    """Under another name it would stay as it was."""
    refused([soft(DATABASE, "/x")], "is a link")
    refused([Node(path=DATABASE), hard("copy", DATABASE)], "is a link")


def test_changes_to_a_database_that_is_elsewhere_are_refused() -> None:
    """A log in an upper layer belongs to the database of a lower one."""
    harmless = [
        Node(path=WAL, content=bytes(32)),
        Node(path=SHARED_MEMORY, content=bytes(99)),
        Node(path=JOURNAL),
        Node(path=f"var/db/pkg/.wh.{WAL.rpartition('/')[2]}"),
    ]
    assert entries([*harmless[:3]], LAYER) == {}
    assert entries([harmless[3]], LAYER) == {}
    refused([Node(path=WAL, content=bytes(33))], "a database that is not here", LAYER)
    assert refused([Node(path=JOURNAL, content=b"x")], "1 bytes of changes", LAYER).hint


# ---------------------------------------------------------------- deferred triggers

TRIGGERS = "var/db/pkg/triggers"


def test_deferred_triggers_are_named_by_content() -> None:
    """Equal ones stay as many as they were, whatever pkg called them."""
    one, two = Digest.of(b"1"), Digest.of(b"2")

    def renamed(*names: str) -> list[str]:
        contents = {f"{TRIGGERS}/{n}": d for n, d in zip(names, (one, two, one), strict=True)}
        return sorted(trigger_names(contents, contents).values())

    first = renamed("zzzzzzzzzz", "AAAAAAAAAA", "mmmmmmmmmm")
    assert first == renamed("bbbbbbbbbb", "YYYYYYYYYY", "CCCCCCCCCC")
    assert {f"{TRIGGERS}/{d.hex[:10]}" for d in (one, two)} < set(first)
    assert len(set(first)) == 3


def test_a_name_that_is_taken_is_not_given_again() -> None:
    """A trigger that was renamed before, and another one with its content."""
    one = Digest.of(b"1")
    had = f"{TRIGGERS}/{one.hex[:10]}"
    (new,) = trigger_names({f"{TRIGGERS}/mmmmmmmmmm": one}, [had]).values()
    assert new != had


@pytest.mark.parametrize(
    ("path", "is_one"),
    [
        (f"{TRIGGERS}/J0fTrmHAxY", True),
        (f"{TRIGGERS}/0123456789", False),
        (f"{TRIGGERS}/abcdefabcd", False),
        (f"{TRIGGERS}/abcdefabcg", True),
        (f"{TRIGGERS}/0123456789a", False),
        (f"{TRIGGERS}/J0fTrmHAx", False),
        (f"{TRIGGERS}/J0fTrmHA.Y", False),
        (f"{TRIGGERS}/sub/J0fTrmHAxY", False),
        ("usr/local/share/pkg/triggers/J0fTrmHAxY", False),
    ],
)
def test_names_that_pkg_draws(path: str, is_one: bool) -> None:
    """Ten letters in its directory, not all of them hexadecimal digits: that is a name of ours."""
    assert is_drawn_name(path) is is_one


def test_whiteouts_of_triggers_follow() -> None:
    """An upper layer that removes one has to remove it under its new name."""
    names = with_whiteouts({f"{TRIGGERS}/J0fTrmHAxY": f"{TRIGGERS}/0123456789"})
    made = tree([Node(path=f"{TRIGGERS}/.wh.J0fTrmHAxY")], LAYER).renamed(names)
    assert [e.path for e in made.entries] == [f"{TRIGGERS}/.wh.0123456789"]
