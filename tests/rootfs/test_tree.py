"""The tree: who may put what where, rule by rule."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from pipeline.errors import ConflictError, FormatError
from pipeline.formats.mtree import Entry, Kind
from pipeline.rootfs.accounts import ROOT_ONLY, Accounts
from pipeline.rootfs.tree import Composer, Layer, resolve_owner

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

EPOCH = 1000


def directory(path: str, mode: int = 0o755, mtime: int = 50, **fields: Any) -> Entry:
    return Entry(path=path, kind=Kind.DIRECTORY, mode=mode, user=0, group=0, mtime=mtime, **fields)


def file(path: str, content: str = "a", mtime: int = 100, **fields: Any) -> Entry:
    return Entry(
        path=path,
        kind=Kind.FILE,
        mode=0o644,
        user=0,
        group=0,
        mtime=mtime,
        size=1,
        digest=content * 64,
        **fields,
    )


def link(path: str, target: str = "x", mtime: int = 100, **fields: Any) -> Entry:
    return Entry(
        path=path, kind=Kind.LINK, mode=0o755, user=0, group=0, mtime=mtime, link=target, **fields
    )


def composer(parent: Iterable[Entry] = (), *, keep_flags: bool = False) -> Composer:
    return Composer(parent, parent_name="base", source_date_epoch=EPOCH, keep_flags=keep_flags)


def install(
    c: Composer, name: str, entries: Sequence[Entry], config: Sequence[str] = (), layer: str = "l"
) -> None:
    c.package(layer, name, [replace(e, package=name) for e in entries], config)


def entries(layer: Layer | None) -> dict[str, Entry]:
    assert layer is not None
    return {entry.path: entry for entry in layer.entries}


def conflict(
    c: Composer, source: str, entries: Sequence[Entry], *, kind: str | None = None
) -> ConflictError:
    """Place what conflicts, as a package or as a kind of thing without one."""
    with pytest.raises(ConflictError) as caught:  # noqa: PT012
        if kind is None:
            install(c, source, entries)
        else:
            c.unowned("l", source, entries, kind=kind)
    assert caught.value.hint == "drop one of the two from the image"
    return caught.value


# ---------------------------------------------------------------- rule 1: one owner


def test_two_packages_on_one_path_are_a_conflict() -> None:
    """Rule 1: both sides are named, in the message and as causes."""
    c = composer()
    install(c, "p-1", [file("etc/a")])
    error = conflict(c, "q-2", [link("etc/a")])
    assert str(error) == "/etc/a: a symlink of package q-2, but a file of package p-1"
    assert error.causes == (("package q-2", None), ("package p-1", None))


def test_two_packages_on_one_path_are_a_conflict_even_if_equal() -> None:
    """Rule 1: pkg's database can name only one."""
    c = composer()
    install(c, "p-1", [file("a")])
    assert "package p-1" in str(conflict(c, "q-2", [file("a")]))


def test_a_package_of_the_parent_keeps_its_paths() -> None:
    """Rule 1: the parent is named."""
    c = composer([replace(file("a"), package="p")])
    error = conflict(c, "q-2", [file("a")])
    assert str(error) == "/a: a file of package q-2, but a file of image base"


def test_a_package_takes_over_what_its_parent_holds_without_a_package() -> None:
    """Rule 1: files taken out of FreeBSD-runtime by static, FreeBSD-runtime in runtime."""
    c = composer([file("etc/group", "a"), directory("etc", 0o700)])
    install(c, "p", [directory("etc"), file("etc/group", "b")])
    got = entries(c.layer("l"))
    assert (got["etc/group"].package, got["etc/group"].digest) == ("p", "b" * 64)
    assert (got["etc"].package, got["etc"].mode) == ("p", 0o755)


def test_the_first_package_owns_a_directory() -> None:
    """Rule 1: its attributes stand, as in pkg's database."""
    c = composer()
    install(c, "p", [directory("d", 0o700)])
    install(c, "q", [directory("d", 0o711), file("d/f")])
    got = entries(c.layer("l"))
    assert (got["d"].mode, got["d"].package) == (0o700, "p")


def test_a_package_takes_over_any_directory_without_one() -> None:
    """Rule 1: of the directory layer, or made by rule 3."""
    c = composer()
    c.unowned("dirs", "BSD.root.dist", [directory("d", 0o711)], kind="directory")
    install(c, "p", [file("e/f")])
    install(c, "q", [directory("d", 0o700), directory("e", 0o750)])
    tree = {e.path: e for e in (c.layer("dirs"), c.layer("l"), c.tree())[2]}
    assert [(tree[p].mode, tree[p].package) for p in ("d", "e")] == [(0o700, "q"), (0o750, "q")]


# ---------------------------------------------------------------- rule 2: directories stay


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (directory("a"), file("a"), "/a: a file of package q, but a directory of package p"),
        (directory("a"), link("a"), "/a: a symlink of package q, but a directory of package p"),
        (file("a"), directory("a"), "/a: a directory of package q, but a file of package p"),
        (link("a"), directory("a"), "/a: a directory of package q, but a symlink of package p"),
    ],
)
def test_a_directory_replaces_no_other_kind_nor_is_replaced(
    first: Entry, second: Entry, message: str
) -> None:
    """Rule 2."""
    c = composer()
    install(c, "p", [first])
    assert str(conflict(c, "q", [second])) == message


@pytest.mark.parametrize("kind", ["directory", "keep", "pick", "file", "computed", "edited"])
def test_no_kind_of_thing_is_above_rule_2(kind: str) -> None:
    """Rule 2: not even what the build computes, nor over what nobody owns."""
    c = composer([file("a"), directory("d")])
    new = directory("a") if kind in ("directory", "keep") else file("d")
    error = conflict(c, "somebody", [new], kind=kind)
    assert " of somebody, but " in str(error)
    assert str(error).endswith(" of image base")


def test_a_directory_made_by_rule_3_is_a_directory() -> None:
    """Rule 2: whoever made it necessary is named."""
    c = composer()
    install(c, "p", [file("usr/lib/a")])
    message = "/usr/lib: a symlink of package q, but a directory of package p"
    assert str(conflict(c, "q", [link("usr/lib")])) == message


# ---------------------------------------------------------------- rule 3: ancestors


def test_missing_ancestors_are_made() -> None:
    """Rule 3: root:wheel 0755, of no package."""
    c = composer()
    install(c, "p", [file("a/b/c")])
    got = entries(c.layer("l"))
    assert list(got) == ["a", "a/b", "a/b/c"]
    for path in ("a", "a/b"):
        assert got[path] == Entry(
            path=path, kind=Kind.DIRECTORY, mode=0o755, user=0, group=0, mtime=100
        )


@pytest.mark.parametrize("obstacle", [file("a"), link("a")])
@pytest.mark.parametrize("path", ["a/b", "a/b/c"])
def test_nothing_lies_below_what_is_no_directory(obstacle: Entry, path: str) -> None:
    """Rule 3: a package cannot write through another's symlink."""
    c = composer()
    install(c, "p", [obstacle])
    kind = "a file" if obstacle.kind is Kind.FILE else "a symlink"
    error = conflict(c, "q", [file(path)])
    assert str(error) == f"/{path} of package q lies below /a, {kind} of package p"
    assert error.causes == (("package q", None), ("package p", None))


def test_nothing_lies_below_a_symlink_of_the_parent() -> None:
    """Rule 3: across images as well."""
    message = "/a/b of package q lies below /a, a symlink of image base"
    assert str(conflict(composer([link("a")]), "q", [file("a/b")])) == message


# ---------------------------------------------------------------- rule 4: what has no package


@pytest.mark.parametrize("kind", ["file", "computed", "edited"])
def test_state_may_replace_a_configuration_file(kind: str) -> None:
    """Rule 4."""
    c = composer()
    install(c, "p", [file("etc/a"), file("etc/b")], ["/etc/a"])
    c.unowned("state", "the declaration", [file("etc/a", "b")], kind=kind)
    assert entries(c.layer("state"))["etc/a"].digest == "b" * 64
    error = conflict(c, "the declaration", [file("etc/b", "b")], kind=kind)
    assert str(error) == "/etc/b: a file of the declaration, but a file of package p"


def test_state_may_replace_a_configuration_file_of_the_parent() -> None:
    """Rule 4: the composer is told which files those are."""
    parent = [directory("etc"), replace(file("etc/a"), package="p"), file("etc/b")]
    c = Composer(
        parent, parent_name="base", source_date_epoch=EPOCH, keep_flags=False, config=["/etc/a"]
    )
    c.unowned("state", "a script", [file("etc/a", "b")], kind="edited")
    assert entries(c.layer("state"))["etc/a"].digest == "b" * 64


@pytest.mark.parametrize("kind", ["pick", "directory"])
def test_other_things_may_not_replace_a_configuration_file(kind: str) -> None:
    """Rule 4: files taken out of a package do not edit another."""
    c = composer()
    install(c, "p", [file("etc/a")], ["/etc/a"])
    assert "but a file of package p" in str(conflict(c, "x", [file("etc/a", "b")], kind=kind))


@pytest.mark.parametrize("second", ["pick", "file", "computed"])
@pytest.mark.parametrize("first", ["pick", "file", "computed"])
def test_two_things_of_an_image_on_one_path_are_a_conflict(first: str, second: str) -> None:
    """Rule 4: nobody would know which one was meant."""
    c = composer()
    c.unowned("l", "one", [file("a", "a")], kind=first)
    error = conflict(c, "two", [file("a", "b")], kind=second)
    assert str(error) == "/a: a file of two, but a file of one"


def test_a_package_does_not_replace_what_its_own_image_wrote() -> None:
    """Rule 4: in either order the two are a conflict."""
    c = composer()
    c.unowned("l", "the declaration", [file("a", "a")], kind="file")
    assert "but a file of the declaration" in str(conflict(c, "p", [file("a", "b")]))


def test_what_the_build_edits_may_be_there() -> None:
    """Rule 4: /etc/passwd of a pick, with a user more."""
    c = composer()
    c.unowned("l", "files taken from p", [file("a", "a")], kind="pick")
    c.unowned("state", "pw", [file("a", "b")], kind="edited")
    assert entries(c.layer("state"))["a"].digest == "b" * 64
    assert entries(c.layer("l"))["a"].digest == "a" * 64


def test_an_edited_directory_keeps_its_owner() -> None:
    """Rule 4: a script's chmod does not take a directory away from its package."""
    c = composer()
    install(c, "p", [directory("d", 0o755)])
    c.unowned("state", "a script", [directory("d", 0o700)], kind="edited")
    got = entries(c.layer("state"))["d"]
    assert (got.mode, got.package) == (0o700, "p")


@pytest.mark.parametrize("kind", ["pick", "file", "computed", "edited"])
def test_what_the_parent_holds_without_a_package_may_be_replaced(kind: str) -> None:
    """Rule 4 is about one image."""
    c = composer([file("a", "a")])
    c.unowned("l", "x", [file("a", "b")], kind=kind)
    assert entries(c.layer("l"))["a"].digest == "b" * 64


@pytest.mark.parametrize("kind", ["file", "computed", "edited"])
def test_what_is_computed_as_the_parent_has_it_is_left_out(kind: str) -> None:
    """Rule 4: a child whose pwd.db is the same shares its parent's; times do not count."""
    parent = [directory("etc"), file("etc/pwd.db", "a", mtime=5, inode=3), file("x", inode=3)]
    c = composer(parent)
    c.unowned("state", "pwd_mkdb", [file("etc/pwd.db", "a", mtime=900)], kind=kind)
    assert c.layer("state") is None
    assert c.get("etc/pwd.db") == file("etc/pwd.db", "a", mtime=5, inode=3)
    c.unowned("state", "pwd_mkdb", [file("etc/pwd.db", "b", mtime=900)], kind=kind)
    assert entries(c.layer("state"))["etc/pwd.db"].mtime == 900


def test_a_pick_is_repeated_even_if_the_parent_has_it() -> None:
    """Rule 4 leaves out what is computed only."""
    c = composer([file("a")])
    c.unowned("l", "x", [file("a")], kind="pick")
    assert list(entries(c.layer("l"))) == ["a"]


def test_directories_of_the_directory_layer_leave_packages_alone() -> None:
    """A package's directory stands; the last dist file counts; `nochange` only makes."""
    c = composer([replace(directory("p", 0o700), package="p"), directory("k", 0o711)])
    c.unowned("l", "dist", [directory("p", 0o755), directory("d", 0o700)], kind="directory")
    c.unowned("l", "dist", [directory("d", 0o750)], kind="directory")
    c.unowned("l", "dist", [directory("k", 0o755), directory("n", 0o755)], kind="keep")
    assert {p: e.mode for p, e in entries(c.layer("l")).items()} == {"d": 0o750, "n": 0o755}


# ---------------------------------------------------------------- rule 5: owners


def test_names_become_ids() -> None:
    """Rule 5: those of the image."""
    accounts = Accounts(users={"www": 80}, groups={"mail": 6})
    entry = replace(file("a"), user="www", group="mail")
    got = resolve_owner(entry, accounts, source="package p")
    assert (got.user, got.group) == (80, 6)
    assert resolve_owner(file("a"), accounts, source="package p") == file("a")


@pytest.mark.parametrize(
    ("user", "group", "message"),
    [
        ("www", "wheel", "/a of package p: user 'www' is not in the image's /etc/master.passwd"),
        ("root", "www", "/a of package p: group 'www' is not in the image's /etc/group"),
        ("www", "www", "/a of package p: user 'www' is not in the image's /etc/master.passwd"),
    ],
)
def test_an_owner_that_the_image_does_not_define_is_an_error(
    user: str, group: str, message: str
) -> None:
    """Rule 5: with what to do about it."""
    with pytest.raises(FormatError) as caught:
        resolve_owner(replace(file("a"), user=user, group=group), ROOT_ONLY, source="package p")
    assert str(caught.value) == message
    assert "declare it in `accounts`" in str(caught.value.hint)


# ---------------------------------------------------------------- rule 6: times


def test_times_are_clamped() -> None:
    """Rule 6: min(mtime, source_date_epoch)."""
    c = composer()
    install(c, "p", [file("new", mtime=5000), file("old", mtime=5), directory("d", mtime=5000)])
    assert {p: e.mtime for p, e in entries(c.layer("l")).items()} == {
        "d": EPOCH,
        "new": EPOCH,
        "old": 5,
    }


def test_a_repeated_directory_has_the_newest_time_below_it() -> None:
    """Rule 6: so that a layer does not depend on what lies beneath it."""
    layers = []
    for mtime in (1, 700):
        c = composer([directory("a", mtime=mtime), directory("a/b", mtime=mtime)])
        install(c, "p", [file("a/b/x", mtime=20), file("a/b/y", mtime=30), file("a/z", mtime=10)])
        layers.append(c.layer("l"))
    got = entries(layers[0])
    assert [got[p].mtime for p in ("a", "a/b")] == [30, 30]
    assert layers[0] == layers[1]


def test_a_directory_that_is_brought_keeps_its_time() -> None:
    """Rule 6 is about those that are only repeated."""
    c = composer()
    install(c, "p", [directory("a", mtime=7), file("a/b/c", mtime=20)])
    got = entries(c.layer("l"))
    assert [got[p].mtime for p in ("a", "a/b")] == [7, 20]


def test_a_directory_without_a_time_of_its_own() -> None:
    """Listed but not in the archive: the newest below it, or source_date_epoch."""
    c = composer()
    install(c, "p", [directory("a", mtime=0), file("a/b", mtime=20), directory("e", mtime=0)])
    got = entries(c.layer("l"))
    assert (got["a"].mtime, got["e"].mtime) == (20, EPOCH)


def test_an_empty_directory_below_made_ones() -> None:
    """All of them wait for a time, and get source_date_epoch."""
    c = composer()
    install(c, "p", [directory("a/b/c", mtime=0)])
    assert {e.mtime for e in entries(c.layer("l")).values()} == {EPOCH}


# ---------------------------------------------------------------- rule 7: complete layers


def test_a_layer_has_an_entry_for_each_ancestor() -> None:
    """Rule 7: with the attributes that the image gives it."""
    parent = [
        replace(directory("a", 0o711), package="p", user=5),
        directory("a/b", 0o1777),
        file("a/other"),
    ]
    c = composer(parent)
    install(c, "q", [file("a/b/c")])
    got = entries(c.layer("l"))
    assert list(got) == ["a", "a/b", "a/b/c"]
    assert got["a"] == replace(parent[0], mtime=100)
    assert got["a/b"] == replace(parent[1], mtime=100)


def test_every_layer_gives_a_directory_the_same_attributes() -> None:
    """Rule 7: although the owner's layer comes after the one that repeats the directory."""
    c = composer()
    c.unowned("0", "dist", [directory("d", 0o755)], kind="directory")
    install(c, "p", [directory("d", 0o700)], layer="2")
    install(c, "q", [file("d/f")], layer="1")
    c.layer("0")
    assert entries(c.layer("1"))["d"].mode == 0o700
    assert entries(c.layer("2"))["d"].mode == 0o700
    assert {e.path: e.mode for e in c.tree()} == {"d": 0o700, "d/f": 0o644}


def test_the_tree_has_what_was_placed_last() -> None:
    """Layers are finished in order; an earlier one does not bring back what was replaced."""
    c = composer()
    install(c, "p", [file("a", "a")], ["/a"], layer="1")
    c.unowned("2", "state", [file("a", "b")], kind="edited")
    for name in ("1", "2"):
        c.layer(name)
    assert [e.digest for e in c.tree()] == ["b" * 64]
    c = composer()
    install(c, "p", [file("a", "a")], ["/a"], layer="2")
    c.unowned("1", "state", [file("a", "b")], kind="edited")
    for name in ("1", "2"):
        c.layer(name)
    assert [e.digest for e in c.tree()] == ["b" * 64]


def test_a_layer_without_entries_is_none() -> None:
    """It would be an empty archive."""
    c = composer([directory("a")])
    assert c.layer("l") is None
    assert c.tree() == (directory("a"),)


def test_file_flags_are_dropped_unless_kept() -> None:
    """`schg` makes a layer hard to delete."""
    for keep, flags in ((False, ""), (True, "schg")):
        c = composer(keep_flags=keep)
        install(c, "p", [file("a", flags="schg")])
        assert entries(c.layer("l"))["a"].flags == flags


# ---------------------------------------------------------------- rule 8: whiteouts


@pytest.mark.parametrize("path", [".wh.etc", "etc/.wh.passwd", "etc/.wh..wh..opq", "a/.wh.b/c"])
def test_no_entry_is_a_whiteout(path: str) -> None:
    """Rule 8: `/etc/.wh.passwd` of a package would take `/etc/passwd` out of the image."""
    c = composer([file("etc/passwd")])
    with pytest.raises(FormatError, match=re.escape(f"/{path} of package p: a name that begins")):
        install(c, "p", [file(path)])
    with pytest.raises(FormatError, match=r"of the declaration: a name that begins with \.wh\. "):
        c.unowned("l", "the declaration", [directory(path)], kind="file")


def test_names_like_whiteouts_are_names() -> None:
    """Only the beginning of a component counts."""
    c = composer()
    install(c, "p", [file("etc/a.wh.b"), file("etc/.wh")])
    assert sorted(entries(c.layer("l"))) == ["etc", "etc/.wh", "etc/a.wh.b"]


# ---------------------------------------------------------------- hard links, reading


def test_hard_links_of_two_sources_stay_apart() -> None:
    """Each package numbers its own."""
    c = composer([file("p1", inode=1), file("p2", inode=1)])
    install(c, "p", [file("a", inode=1), file("b", inode=1)])
    install(c, "q", [file("c", inode=1), file("d", inode=1)])
    got = entries(c.layer("l"))
    assert [got[p].inode for p in "abcd"] == [1, 1, 2, 2]
    tree = {e.path: e.inode for e in c.tree()}
    assert tree == {"a": 1, "b": 1, "c": 2, "d": 2, "p1": 3, "p2": 3}


def test_a_link_whose_other_name_is_in_another_layer_is_a_file() -> None:
    """Hard links stay within a layer."""
    c = composer()
    install(c, "p", [file("a", inode=1), file("b", inode=1)], ["/b"])
    c.unowned("state", "x", [file("b", "b")], kind="edited")
    assert [e.inode for e in entries(c.layer("l")).values()] == [1, 1]
    assert [e.inode for e in entries(c.layer("state")).values()] == [0]
    assert [e.inode for e in c.tree()] == [0, 0]


def test_what_has_been_placed_can_be_read() -> None:
    """Effects look at the tree so far."""
    c = composer([directory("etc"), file("etc/a")])
    install(c, "p", [file("etc/é"), file("etc/b/c"), file("etcx")])
    assert c.get("etc/a") == file("etc/a")
    assert c.get("nowhere") is None
    assert c.paths_below("etc") == ["etc/a", "etc/b", "etc/b/c", "etc/é"]
    assert c.sources()["etc/b"] == "package p"
    assert c.sources()["etc/a"] == "image base"
