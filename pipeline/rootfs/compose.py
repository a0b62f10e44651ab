"""Compose an image: from packages, files and effects to layers. Pure.

The order is docs/FORMAT.md's, section Tree: directories, packages in install order, files taken out
of packages, files of the declaration, what scripts would have made, and the package database last.
Everything here is a value; contents are read through a callback and new ones handed back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from pipeline.errors import ConflictError, ScriptError
from pipeline.formats.mtree import Entry, Kind
from pipeline.pkg.effects import AddGroup, AddMember, AddUser
from pipeline.pkg.localdb import build_localdb
from pipeline.rootfs.account_files import (
    GROUP,
    MASTER_PASSWD,
    AccountFiles,
    account_names,
    add_accounts,
)
from pipeline.rootfs.accounts import ROOT_ONLY, Accounts, parse_accounts
from pipeline.rootfs.state import Base, StateWriter, apply_databases, apply_file_effects
from pipeline.rootfs.tree import Composer, Layer, resolve_owner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pipeline.formats.mtree import DistDirectory
    from pipeline.pkg.effects import Effect
    from pipeline.pkg.localdb import InstalledPackage
    from pipeline.pkg.manifest import PackageManifest

DIRECTORIES: Final = "directories"
PACKAGES: Final = "packages"
STATE: Final = "state"

_DATABASE: Final = "var/db/pkg/local.sqlite"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagePart:
    """A package that an image adds."""

    manifest: PackageManifest
    entries: tuple[Entry, ...]
    layer: str
    effects: tuple[Effect, ...]
    """What its scripts do, in pkg's order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PickPart:
    """Entries taken out of a package that is not installed."""

    package: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DistPart:
    """A BSD.*.dist file and the place that it is applied at (relative, empty for the root)."""

    name: str
    place: str
    directories: tuple[DistDirectory, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenPart:
    """A file, symlink or directory of the declaration."""

    source: str
    entry: Entry
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountPart:
    """A declared account."""

    name: str
    uid: int | None
    gid: int | None
    groups: tuple[str, ...]
    comment: str
    home: str
    shell: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageParts:
    """Everything that decides an image's tree."""

    name: str
    parent_name: str
    parent: tuple[Entry, ...]
    epoch: int
    base: Base
    keep_flags: bool
    layers: tuple[str, ...]
    """Names of the layers, in order."""
    dists: tuple[DistPart, ...]
    packages: tuple[PackagePart, ...]
    """In install order."""
    picks: tuple[PickPart, ...]
    written: tuple[WrittenPart, ...]
    accounts: tuple[AccountPart, ...]
    effects: tuple[Effect, ...]
    """Declared, beyond what packages ask for."""
    triggers: tuple[WrittenPart, ...]
    """What pkg would have saved of deferred triggers."""
    installed: tuple[InstalledPackage, ...]
    """All packages of the image, its ancestors' among them."""
    pkg_schema: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """An image's own layers, and the whole tree."""

    layers: tuple[Layer, ...]
    tree: tuple[Entry, ...]
    contents: Mapping[str, bytes]
    """New contents by sha256 in hex."""


def compose(parts: ImageParts, stored: Callable[[Entry], bytes]) -> Composition:
    """Compose an image.

    Args:
        parts: everything that decides it.
        stored: reads the content of a file of a package, or of the parent.

    Raises:
        ConflictError: two sides want one path.
        FormatError: an owner that the image does not define, a malformed input of an effect.
        ScriptError: an effect that cannot be computed.
    """
    # (1) accounts, because ownership needs them
    before = _account_files(parts, stored)
    after = _with_accounts(before, parts)
    _check_kept(parts, after, stored)
    accounts = _accounts(parts, after)
    # (2) directories, packages, picks
    composer = Composer(
        parts.parent,
        parent_name=parts.parent_name,
        source_date_epoch=parts.epoch,
        keep_flags=parts.keep_flags,
        config=[path for package in parts.installed for path in package.manifest.config],
    )
    _place_directories(composer, parts, accounts)
    _place_packages(composer, parts, accounts)
    _place_picks(composer, parts, accounts)
    # (3) the declaration's files, and what scripts would have made
    writer = StateWriter(
        composer=composer, layer=STATE, epoch=parts.epoch, accounts=accounts, stored=stored
    )
    for written in (*parts.written, *parts.triggers):
        _place_written(writer, written, accounts)
    changed = before != after
    if after is not None and changed:
        writer.edit(MASTER_PASSWD, after.master_passwd, mode=0o600, source="pw")
        writer.edit(GROUP, after.group, mode=0o644, source="pw")
    apply_file_effects(writer, _sourced_effects(parts))
    apply_databases(
        writer, parts.base, [e for _, e in _sourced_effects(parts)], accounts_changed=changed
    )
    # (4) the package database, over everything that is installed
    if parts.installed:
        database = build_localdb(
            parts.installed, schema=parts.pkg_schema, source_date_epoch=parts.epoch
        )
        writer.write(_DATABASE, database, mode=0o644, source="pkg's database")
    layers = tuple(filter(None, (composer.layer(name) for name in parts.layers)))
    return Composition(layers=layers, tree=composer.tree(), contents=writer.contents)


# ---------------------------------------------------------------- accounts


def _account_file(parts: ImageParts, path: str, stored: Callable[[Entry], bytes]) -> bytes | None:
    """Return a file as the image will have it before any effect: its own before its parent's."""
    for written in parts.written:
        if written.entry.path == path:
            return written.content
    picked = (entry for part in parts.picks for entry in part.entries)
    own = (entry for part in parts.packages for entry in part.entries)
    for entry in (*picked, *own, *parts.parent):
        if entry.path == path and entry.kind is Kind.FILE:
            return stored(entry)
    return None


def _account_files(parts: ImageParts, stored: Callable[[Entry], bytes]) -> AccountFiles | None:
    master = _account_file(parts, MASTER_PASSWD, stored)
    group = _account_file(parts, GROUP, stored)
    return None if master is None or group is None else AccountFiles(master, group)


def _with_accounts(files: AccountFiles | None, parts: ImageParts) -> AccountFiles | None:
    """Add what the declaration and the scripts add; scripts need files to add it to."""
    if files is not None:
        files = add_accounts(files, _declared_accounts(parts), of_scripts=False)
        effects = [effect for part in parts.packages for effect in part.effects]
        return add_accounts(files, effects, of_scripts=True)
    for part in parts.packages:
        for effect in part.effects:
            if isinstance(effect, AddGroup | AddUser | AddMember):
                raise ScriptError(
                    f"{effect.describe()} (package {part.manifest.name_version}):"
                    f" image {parts.name} has no /{MASTER_PASSWD} or no /{GROUP}",
                    hint="take them from a package with `files`",
                )
    return None


def _check_kept(
    parts: ImageParts, files: AccountFiles | None, stored: Callable[[Entry], bytes]
) -> None:
    """Refuse a file that takes the place of the parent's and has lost accounts of it."""
    if files is None:
        return
    for path, after in ((MASTER_PASSWD, files.master_passwd), (GROUP, files.group)):
        entry = next((e for e in parts.parent if e.path == path and e.kind is Kind.FILE), None)
        if entry is None:
            continue
        kept = account_names(after)
        lost = [name for name in account_names(stored(entry)) if name not in kept]
        if lost:
            raise ConflictError(
                f"/{path} of image {parts.name} lacks {lost[0].decode('utf-8', 'replace')!r},"
                f" which image {parts.parent_name} has",
                hint="declare it in `accounts`, or add the package that makes it to this image",
            )


def _declared_accounts(parts: ImageParts) -> Iterable[Effect]:
    for account in parts.accounts:
        if account.gid is not None:
            yield AddGroup(name=account.name, gid=account.gid)
        if account.uid is not None:
            yield AddUser(
                name=account.name,
                uid=account.uid,
                gid=account.gid if account.gid is not None else account.uid,
                login_class="",
                groups=(),
                comment=account.comment,
                home=account.home,
                shell=account.shell,
            )
            for group in account.groups:
                yield AddMember(group=group, user=account.name)


def _accounts(parts: ImageParts, files: AccountFiles | None) -> Accounts:
    if files is not None:
        return parse_accounts(files.master_passwd, files.group)
    users = {a.name: a.uid for a in parts.accounts if a.uid is not None}
    groups = {a.name: a.gid for a in parts.accounts if a.gid is not None}
    return Accounts(users={**users, **ROOT_ONLY.users}, groups={**groups, **ROOT_ONLY.groups})


# ---------------------------------------------------------------- placing


def _place_directories(composer: Composer, parts: ImageParts, accounts: Accounts) -> None:
    for dist in parts.dists:
        for directory in dist.directories:
            path = "/".join(filter(None, (dist.place, directory.path)))
            if not path:
                continue
            entry = Entry(
                path=path,
                kind=Kind.DIRECTORY,
                mode=directory.mode,
                user=directory.user or "root",
                group=directory.group or "wheel",
                mtime=parts.epoch,
                flags=directory.flags,
            )
            resolved = resolve_owner(entry, accounts, source=dist.name)
            kind = "keep" if directory.keep else "directory"
            composer.unowned(DIRECTORIES, dist.name, [resolved], kind=kind)


def _place_packages(composer: Composer, parts: ImageParts, accounts: Accounts) -> None:
    for part in parts.packages:
        name = part.manifest.name_version
        entries = [resolve_owner(e, accounts, source=f"package {name}") for e in part.entries]
        composer.package(part.layer, name, entries, part.manifest.config)


def _place_picks(composer: Composer, parts: ImageParts, accounts: Accounts) -> None:
    for part in parts.picks:
        source = f"files taken from {part.package}"
        entries = [resolve_owner(e, accounts, source=source) for e in part.entries]
        composer.unowned(PACKAGES, source, entries, kind="pick")


def _place_written(writer: StateWriter, part: WrittenPart, accounts: Accounts) -> None:
    if part.entry.kind is Kind.FILE:
        writer.contents[part.entry.digest] = part.content
    entry = replace(part.entry, mtime=writer.epoch)
    owned = resolve_owner(entry, accounts, source=part.source)
    writer.place(owned, source=part.source, kind="file")


def _sourced_effects(parts: ImageParts) -> list[tuple[str, Effect]]:
    result = [
        (f"package {part.manifest.name_version}", effect)
        for part in parts.packages
        for effect in part.effects
    ]
    return result + [("effects of the declaration", effect) for effect in parts.effects]
