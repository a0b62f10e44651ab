"""What package scripts would have made, computed from the tree. Nothing is ever run.

Effects (`pkg.effects`) are applied in the order in which pkg would have reached them: packages in
install order, scripts in pkg's order, with three exceptions that change no result and cost less:
accounts come first, because ownership needs them; databases are made once, at the end, from what
they are made of; and what an image computes just as its parent has it is left out.

1. Accounts (`account_files`): an image whose accounts change gets its account databases anew.
2. `/var/run/ld-elf.so.hints` is made for every image with a shared library in a directory of the
   search path. The path is the declared one, else /lib, /usr/lib, those of /usr/lib/compat and
   /usr/local/lib/compat/pkg that exist, /usr/local/lib whether it exists or not (packages that are
   added later need it), and the directories named in /usr/local/libdata/ldconfig that exist, in the
   order of all their lines together (rc.d/ldconfig: `cat … | sort -u`).
3. certctl of FreeBSD 14 links /etc/ssl/certs to /usr/share/certs. A hard link cannot cross layers,
   so it becomes a file of the same content.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from pipeline.errors import ConflictError, ScriptError
from pipeline.formats import db185_header as db185
from pipeline.formats.digest import Digest
from pipeline.formats.mtree import Entry, Kind
from pipeline.pkg.effects import (
    DIRECTORY_ARGUMENT,
    AddShell,
    ByteOrder,
    CapMkdb,
    CertctlForm,
    CertctlRehash,
    ChangeMode,
    CopySample,
    CreateFile,
    IndexInfo,
    Ldconfig,
    MakeDirectory,
    PwdMkdb,
    ServicesMkdb,
)
from pipeline.rootfs.account_files import MASTER_PASSWD, appended
from pipeline.rootfs.sysdb.capabilities import build_login_conf_db
from pipeline.rootfs.sysdb.certificates import (
    LinkFamily,
    Rehash,
    rehash_copies,
    rehash_links,
    source_directories,
)
from pipeline.rootfs.sysdb.hints import build_ld_elf_hints
from pipeline.rootfs.sysdb.infodir import build_info_dir
from pipeline.rootfs.sysdb.passwd import (
    build_passwd,
    build_pwd_db,
    build_spwd_db,
    parse_master_passwd,
)
from pipeline.rootfs.sysdb.services import build_services_db

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pipeline.pkg.effects import Effect
    from pipeline.rootfs.accounts import Accounts
    from pipeline.rootfs.tree import Composer

_SECRET: Final = 0o600
"""Mode of what holds passwords; pwd_mkdb sets it, whatever master.passwd had."""
_SHELLS: Final = "etc/shells"
_CERTCTL: Final = "usr/sbin/certctl"
_LOCALBASE: Final = "usr/local"
_HINTS: Final = "var/run/ld-elf.so.hints"
_LDCONFIG_FILES: Final = "usr/local/libdata/ldconfig"
_LIBRARY_PATH: Final = ("/lib", "/usr/lib")
_OPTIONAL_PATH: Final = ("/usr/lib/compat", "/usr/local/lib", "/usr/local/lib/compat/pkg")
_ALWAYS: Final = "/usr/local/lib"
_C_CERTCTL: Final = 15
"""First major version whose certctl copies, and whose pwd_mkdb drops comments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What of the release and the architecture decides computed bytes."""

    major: int
    """FreeBSD's major version."""
    little_endian: bool
    library_path: tuple[str, ...]
    """Declared search path; empty for FreeBSD's."""


# ---------------------------------------------------------------- the tree


@dataclass(slots=True)
class StateWriter:
    """Places computed files in the state layer of an image under construction."""

    composer: Composer
    layer: str
    epoch: int
    accounts: Accounts
    stored: Callable[[Entry], bytes]
    """Reads a content that was there before."""
    contents: dict[str, bytes] = field(default_factory=dict)
    """New contents by sha256 in hex."""

    def content(self, entry: Entry) -> bytes:
        """Return the content of a file of the image, old or new."""
        new = self.contents.get(entry.digest)
        return self.stored(entry) if new is None else new

    def resolve(self, path: str, *, depth: int = 0) -> Entry | None:
        """Return the file at a path, following symlinks inside the image."""
        entry = self.composer.get(path)
        if entry is None or entry.kind is not Kind.LINK:
            return entry
        if depth > 8:  # noqa: PLR2004
            raise ScriptError(f"/{path}: too many levels of symlinks")
        return self.resolve(_follow(path, entry.link), depth=depth + 1)

    def read(self, path: str) -> bytes | None:
        """Return the content of the file at a path, None if there is no file."""
        entry = self.resolve(path)
        return self.content(entry) if entry is not None and entry.kind is Kind.FILE else None

    def need(self, path: str, what: str) -> bytes:
        """Return the content of a file that an effect cannot do without."""
        data = self.read(path)
        if data is None:
            raise ScriptError(
                f"{what} needs /{path}, which the image does not have",
                hint="take the file from a package with `files`, or drop the effect",
            )
        return data

    def write(
        self, path: str, data: bytes, *, mode: int, source: str, kind: str = "computed"
    ) -> None:
        """Place a file, root:wheel."""
        digest = Digest.of(data).hex
        self.contents[digest] = data
        self.place(
            Entry(
                path=path,
                kind=Kind.FILE,
                mode=mode,
                user=0,
                group=0,
                mtime=self.epoch,
                size=len(data),
                digest=digest,
            ),
            source=source,
            kind=kind,
        )

    def edit(self, path: str, data: bytes, *, mode: int, source: str) -> None:
        """Replace a file's content and keep its owner and mode; make it if it is not there."""
        entry = self.composer.get(path)
        if entry is None or entry.kind is not Kind.FILE:
            self.write(path, data, mode=mode, source=source)
            return
        digest = Digest.of(data).hex
        self.contents[digest] = data
        new = replace(entry, size=len(data), digest=digest, mtime=self.epoch, inode=0, package="")
        self.place(new, source=source, kind="edited")

    def place(self, entry: Entry, *, source: str, kind: str = "computed") -> None:
        """Place any entry."""
        self.composer.unowned(self.layer, source, [entry], kind=kind)


def _follow(path: str, target: str) -> str:
    """Resolve a symlink's target against the link's own path; check_link has bounded it."""
    parts = [] if target.startswith("/") else path.split("/")[:-1]
    for component in target.split("/"):
        if component == "..":
            parts = parts[:-1]
        elif component not in ("", "."):
            parts.append(component)
    return "/".join(parts)


# ---------------------------------------------------------------- files


def apply_file_effects(writer: StateWriter, effects: Iterable[tuple[str, Effect]]) -> None:
    """Apply what scripts do to single files, in order; pairs of (source, effect)."""
    for source, effect in effects:
        if isinstance(effect, MakeDirectory):
            _make_directory(writer, effect, source)
        elif isinstance(effect, CopySample):
            _copy_sample(writer, effect, source)
        elif isinstance(effect, CreateFile):
            if writer.composer.get(effect.path[1:]) is None:
                writer.write(effect.path[1:], b"", mode=0o644, source=source)
        elif isinstance(effect, AddShell):
            _add_shell(writer, effect, source)
        elif isinstance(effect, ChangeMode):
            _change_mode(writer, effect, source)


def _make_directory(writer: StateWriter, effect: MakeDirectory, source: str) -> None:
    uid, gid = writer.accounts.uid(effect.owner), writer.accounts.gid(effect.group)
    if uid is None or gid is None:
        missing = effect.owner if uid is None else effect.group
        raise ScriptError(f"{effect.describe()} ({source}): the image has no account {missing!r}")
    entry = Entry(
        path=effect.path[1:],
        kind=Kind.DIRECTORY,
        mode=effect.mode,
        user=uid,
        group=gid,
        mtime=writer.epoch,
    )
    writer.place(entry, source=source, kind="edited")


def _copy_sample(writer: StateWriter, effect: CopySample, source: str) -> None:
    if writer.composer.get(effect.target[1:]) is not None:
        return
    entry = writer.resolve(effect.source[1:])
    if entry is None or entry.kind is not Kind.FILE:
        raise ScriptError(f"{effect.describe()} ({source}): the image has no such file")
    writer.place(replace(entry, path=effect.target[1:], inode=0), source=source)


def _add_shell(writer: StateWriter, effect: AddShell, source: str) -> None:
    data = writer.read(_SHELLS) or b""
    if effect.path.encode() not in data.splitlines():
        writer.edit(_SHELLS, appended(data, effect.path), mode=0o644, source=source)


def _change_mode(writer: StateWriter, effect: ChangeMode, source: str) -> None:
    entry = writer.resolve(effect.path[1:])
    if entry is None:
        raise ScriptError(f"{effect.describe()} ({source}): the image has no such path")
    if entry.mode != effect.mode:
        writer.place(replace(entry, mode=effect.mode, inode=0), source=source, kind="edited")


# ---------------------------------------------------------------- databases


def apply_databases(
    writer: StateWriter, base: Base, effects: Sequence[Effect], *, accounts_changed: bool
) -> None:
    """Make the databases that the effects ask for, each once."""
    wanted = list(dict.fromkeys(effects))
    if accounts_changed or any(isinstance(e, PwdMkdb) for e in wanted):
        _accounts(writer, base)
    for effect in wanted:
        if isinstance(effect, ServicesMkdb):
            _services(writer, base, effect)
        elif isinstance(effect, CapMkdb):
            data = build_login_conf_db(
                writer.need(effect.path[1:], "cap_mkdb"), lorder=_order(base, effect.byte_order)
            )
            writer.write(f"{effect.path[1:]}.db", data, mode=0o644, source="cap_mkdb")
        elif isinstance(effect, CertctlRehash):
            _certificates(writer, effect)
        elif isinstance(effect, IndexInfo):
            _info(writer, effect)
    _hints(writer, base, asked=any(isinstance(e, Ldconfig) for e in wanted))


def _order(base: Base, asked: ByteOrder) -> db185.ByteOrder:
    little = base.little_endian if asked is ByteOrder.NATIVE else asked is ByteOrder.LITTLE
    return db185.ByteOrder.LITTLE if little else db185.ByteOrder.BIG


def _accounts(writer: StateWriter, base: Base) -> None:
    master = parse_master_passwd(writer.need(MASTER_PASSWD, "pwd_mkdb"))
    entry = writer.composer.get(MASTER_PASSWD)
    if entry is not None and entry.kind is Kind.FILE and entry.mode != _SECRET:
        writer.place(replace(entry, mode=_SECRET, inode=0), source="pwd_mkdb", kind="edited")
    keep_comments = base.major < _C_CERTCTL
    for path, data, mode in (
        ("etc/passwd", build_passwd(master, keep_comments=keep_comments), 0o644),
        ("etc/pwd.db", build_pwd_db(master), 0o644),
        ("etc/spwd.db", build_spwd_db(master), _SECRET),
    ):
        writer.write(path, data, mode=mode, source="pwd_mkdb")


def _services(writer: StateWriter, base: Base, effect: ServicesMkdb) -> None:
    raw = b""
    if effect.argument != DIRECTORY_ARGUMENT:
        raw = writer.need(effect.argument[1:], "services_mkdb")
    data = build_services_db(raw, lorder=_order(base, effect.byte_order))
    writer.write("var/db/services.db", data, mode=0o644, source="services_mkdb")


def _certificates(writer: StateWriter, effect: CertctlRehash) -> None:
    files = {}
    for directory in source_directories(_LOCALBASE):
        for path in writer.composer.paths_below(directory):
            data = writer.read(path)
            if data is not None:
                files[path] = data
    if effect.form is CertctlForm.C:
        rehash = rehash_copies(files, localbase=_LOCALBASE)
    else:
        rehash = rehash_links(files, localbase=_LOCALBASE, family=_link_family(writer))
    _place_rehash(writer, rehash, files)


def _link_family(writer: StateWriter) -> LinkFamily:
    """Tell the two shell versions apart by the program itself; the later one where it is absent."""
    program = writer.read(_CERTCTL) or b""
    return LinkFamily.SYMBOLIC if b"-lrs" in program else LinkFamily.MIXED


def _place_rehash(writer: StateWriter, rehash: Rehash, files: dict[str, bytes]) -> None:
    made = {file.path for file in rehash.files} | {link.path for link in rehash.links}
    for path in rehash.removed:
        if path not in made:
            raise ConflictError(
                f"certctl would remove /{path}, which a layer below holds",
                hint="drop the certificate from the parent image",
            )
    for directory in rehash.directories:
        if writer.composer.get(directory) is None:
            entry = Entry(
                path=directory,
                kind=Kind.DIRECTORY,
                mode=0o755,
                user=0,
                group=0,
                mtime=writer.epoch,
            )
            writer.place(entry, source="certctl")
    for file in rehash.files:
        writer.write(file.path, file.content, mode=file.mode, source="certctl")
    for link in rehash.links:
        if link.is_symbolic:
            entry = Entry(
                path=link.path,
                kind=Kind.LINK,
                mode=0o755,
                user=0,
                group=0,
                mtime=writer.epoch,
                link=link.target,
            )
            writer.place(entry, source="certctl")
        else:
            writer.write(link.path, files[link.target], mode=0o444, source="certctl")


def _info(writer: StateWriter, effect: IndexInfo) -> None:
    folder = effect.directory[1:]
    files = {}
    for path in writer.composer.paths_below(folder):
        name = path[len(folder) + 1 :]
        data = writer.read(path) if "/" not in name and name != "dir" else None
        if data is not None:
            files[name] = data
    menu = build_info_dir(files)
    if menu is not None:
        writer.write(f"{folder}/dir", menu, mode=0o644, source="indexinfo")


def _hints(writer: StateWriter, base: Base, *, asked: bool) -> None:
    directories = list(base.library_path) or _library_path(writer)
    if asked or any(_has_library(writer, directory) for directory in directories):
        data = build_ld_elf_hints(directories, byte_order=_order(base, ByteOrder.NATIVE))
        writer.write(_HINTS, data, mode=0o444, source="ldconfig")


def _library_path(writer: StateWriter) -> list[str]:
    result = list(_LIBRARY_PATH)
    result.extend(
        directory
        for directory in _OPTIONAL_PATH
        if directory == _ALWAYS or writer.composer.get(directory[1:]) is not None
    )
    lines: set[bytes] = set()
    for path in writer.composer.paths_below(_LDCONFIG_FILES):
        lines.update((writer.read(path) or b"").split(b"\n"))
    for line in sorted(lines):
        words = (word.decode("utf-8", "surrogateescape") for word in line.split())
        result.extend(word for word in words if _is_directory(writer, word))
    return result


def _is_directory(writer: StateWriter, path: str) -> bool:
    entry = writer.resolve(_follow("", path)) if path.startswith("/") else None
    return entry is not None and entry.kind is Kind.DIRECTORY


def _has_library(writer: StateWriter, directory: str) -> bool:
    prefix = directory.strip("/")
    return any(
        ".so" in path and "/" not in path[len(prefix) + 1 :]
        for path in writer.composer.paths_below(prefix)
    )
