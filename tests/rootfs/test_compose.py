"""Whole images: accounts, their files and their databases."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import ConflictError, ScriptError
from pipeline.formats.mtree import Entry, Kind
from pipeline.pkg.effects import AddGroup, AddUser, Effect
from pipeline.pkg.localdb_schema import DEFAULT_SCHEMA
from pipeline.pkg.manifest import PackageManifest
from pipeline.rootfs.compose import AccountPart, ImageParts, PackagePart, compose
from pipeline.rootfs.state import Base

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

EPOCH = 1000
ROOT = "root:*:0:0::0:0:Charlie &:/root:/bin/sh"
MASTER = f"# comment\n{ROOT}\nwww:*:80:80::0:0:Web:/:/bin/sh\n".encode()
GROUP = b"wheel:*:0:root\noperator:*:5:root\nwww:*:080:\n"
BASE = Base(major=15, little_endian=True, library_path=())


def user(name: str, uid: int, gid: int, *groups: str) -> AddUser:
    return AddUser(
        name=name,
        uid=uid,
        gid=gid,
        login_class="daemon",
        groups=groups,
        comment="Quill",
        home="/nonexistent",
        shell="/usr/sbin/nologin",
    )


def file(path: str, data: bytes) -> tuple[Entry, bytes]:
    digest = hashlib.sha256(data).hexdigest()
    entry = Entry(
        path=path,
        kind=Kind.FILE,
        mode=0o644,
        user=0,
        group=0,
        mtime=5,
        size=len(data),
        digest=digest,
    )
    return entry, data


def package(effects: Sequence[Effect], entries: Sequence[Entry] = ()) -> PackagePart:
    manifest = PackageManifest.parse(
        b'{"name":"quill","version":"1","origin":"a/quill","comment":"c","desc":"d","www":"w",'
        b'"maintainer":"m","prefix":"/usr/local","abi":"FreeBSD:15:amd64","arch":"freebsd:15:*",'
        b'"flatsize":0}'
    )
    return PackagePart(
        manifest=manifest, entries=tuple(entries), layer="packages", effects=tuple(effects)
    )


def image(
    parent: Iterable[tuple[Entry, bytes]],
    *packages: PackagePart,
    accounts: Sequence[AccountPart] = (),
) -> dict[str, bytes]:
    """Compose an image; the contents of the files of its tree."""
    held = {entry.digest: data for entry, data in parent}
    for part in packages:
        held |= {e.digest: CONTENTS[e.digest] for e in part.entries}
    parts = ImageParts(
        name="child",
        parent_name="base",
        parent=tuple(entry for entry, _ in parent),
        epoch=EPOCH,
        base=BASE,
        keep_flags=False,
        layers=("packages", "state"),
        dists=(),
        packages=packages,
        picks=(),
        written=(),
        accounts=tuple(accounts),
        effects=(),
        triggers=(),
        installed=(),
        pkg_schema=DEFAULT_SCHEMA,
    )
    made = compose(parts, lambda entry: held[entry.digest])
    return {e.path: {**held, **made.contents}[e.digest] for e in made.tree if e.kind is Kind.FILE}


CONTENTS: dict[str, bytes] = {}
PARENT = (file("etc/master.passwd", MASTER), file("etc/group", GROUP))


def test_accounts_change_the_files_and_their_databases() -> None:
    tree = image(PARENT, package([AddGroup(name="quill", gid=742), user("quill", 742, 742)]))
    assert tree["etc/group"].endswith(b"quill:*:742:\n")
    assert tree["etc/passwd"].endswith(b"quill:*:742:742:Quill:/nonexistent:/usr/sbin/nologin\n")
    assert {"etc/pwd.db", "etc/spwd.db"} <= tree.keys()


def test_a_declared_user_becomes_a_member() -> None:
    """Of an account that exists already, what is declared of its groups is still done."""
    declared = AccountPart(
        name="www", uid=80, gid=80, groups=("operator",), comment="", home="/", shell="/bin/sh"
    )
    tree = image(PARENT, accounts=[declared])
    assert b"operator:*:5:root,www\n" in tree["etc/group"]


@pytest.mark.parametrize("files", [(), PARENT[:1], PARENT[1:]])
def test_accounts_of_scripts_want_files_to_be_in(files: tuple[tuple[Entry, bytes], ...]) -> None:
    """They are not lost without a word."""
    with pytest.raises(
        ScriptError, match=r"image child has no /etc/master\.passwd or no /etc/group"
    ):
        image(files, package([AddGroup(name="quill", gid=742)]))


def test_files_that_lose_accounts_of_the_parent_are_refused() -> None:
    """A package may bring account files of its own; who owns files of the parent must stay."""
    entry, data = file("etc/master.passwd", f"{ROOT}\n".encode())
    CONTENTS[entry.digest] = data
    with pytest.raises(ConflictError) as caught:
        image(PARENT, package([], [entry]))
    assert str(caught.value) == (
        "/etc/master.passwd of image child lacks 'www', which image base has"
    )
    www = AccountPart(name="www", uid=80, gid=80, groups=(), comment="", home="/", shell="/bin/sh")
    assert b"www:*:80:80:" in image(PARENT, package([], [entry]), accounts=[www])["etc/passwd"]
