"""Effects: what package scripts do to an image, as declared values.

A script is never run. `scripts`, `lua_scripts` and `triggers` recognise what it would do and say it
in these words; the root filesystem applies them. An existing effect is valid: names, ids, modes and
paths have been checked, and paths are those of the image (the root directory is stripped).

`to_dict` is the canonical form: `effect` names the kind, the other keys are the fields; modes are
octal text.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import ClassVar, Final, TypeAlias

from pipeline.pkg.effect_fields import (
    check_account,
    check_comment,
    check_id,
    check_image_path,
    check_mode,
    check_passwd_path,
)

DIRECTORY_ARGUMENT: Final = "directory"
"""What `ServicesMkdb.argument` says where the program was given a directory."""


class ByteOrder(StrEnum):
    """Byte order of a database, as the flags `-l` and `-b` or their absence say."""

    LITTLE = "little"
    BIG = "big"
    NATIVE = "native"
    """No flag: the order of the machine, which for an image is its architecture's."""


class CertctlForm(StrEnum):
    """The two programs that have been called certctl."""

    C = "c"
    """FreeBSD 15 and later: copies, and /etc/ssl/cert.pem."""
    SHELL = "shell"
    """FreeBSD 14 and earlier: links."""


# ---------------------------------------------------------------- the canonical form


def _to_dict(self: Effect) -> dict[str, object]:
    """Return the canonical form ."""
    result: dict[str, object] = {"effect": self.kind}
    for field in fields(self):
        value = getattr(self, field.name)
        if field.name == "mode":
            value = f"{value:04o}"
        elif isinstance(value, StrEnum):
            value = value.value
        elif isinstance(value, tuple):
            value = list(value)
        result[field.name] = value
    return result


# ---------------------------------------------------------------- databases


@dataclass(frozen=True, slots=True, kw_only=True)
class PwdMkdb:
    """`pwd_mkdb -p`: /etc/passwd, /etc/pwd.db, /etc/spwd.db out of /etc/master.passwd."""

    kind: ClassVar = "pwd_mkdb"
    to_dict = _to_dict

    def describe(self) -> str:
        """Say it in one line."""
        return "make the account databases out of /etc/master.passwd"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicesMkdb:
    """`services_mkdb`: /var/db/services.db."""

    kind: ClassVar = "services_mkdb"
    argument: str
    """The file that is read, or DIRECTORY_ARGUMENT, which makes the empty database."""
    byte_order: ByteOrder

    def __post_init__(self) -> None:
        if self.argument != DIRECTORY_ARGUMENT:
            check_image_path(self.argument)

    to_dict = _to_dict

    def describe(self) -> str:
        """Say it in one line."""
        source = "a directory" if self.argument == DIRECTORY_ARGUMENT else self.argument
        return f"make /var/db/services.db out of {source}, byte order {self.byte_order}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CapMkdb:
    """`cap_mkdb`: the capability database `<path>.db`."""

    kind: ClassVar = "cap_mkdb"
    path: str
    byte_order: ByteOrder

    def __post_init__(self) -> None:
        check_image_path(self.path)

    to_dict = _to_dict

    def describe(self) -> str:
        """Say it in one line."""
        return f"make {self.path}.db out of {self.path}, byte order {self.byte_order}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CertctlRehash:
    """`certctl rehash`: the certificates of /etc/ssl by the hash of their subject."""

    kind: ClassVar = "certctl_rehash"
    form: CertctlForm

    to_dict = _to_dict

    def describe(self) -> str:
        """Say it in one line."""
        made = "copies and cert.pem" if self.form is CertctlForm.C else "links"
        return f"rehash the certificates of /etc/ssl ({made})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ldconfig:
    """`service ldconfig restart`: /var/run/ld-elf.so.hints."""

    kind: ClassVar = "ldconfig"
    to_dict = _to_dict

    def describe(self) -> str:
        """Say it in one line."""
        return "rebuild the hints of the run-time linker"


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexInfo:
    """`indexinfo DIRECTORY`: the file `dir` of a directory of GNU info files."""

    kind: ClassVar = "indexinfo"
    directory: str

    def __post_init__(self) -> None:
        check_image_path(self.directory)

    to_dict = _to_dict

    def describe(self) -> str:
        """Say it in one line."""
        return f"index the info files of {self.directory}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KldXref:
    """`kldxref DIRECTORY`: linker.hints. Not computed; the record says why."""

    kind: ClassVar = "kldxref"
    REASON: ClassVar = "kernel modules are loaded by a host, never inside an image"
    directory: str

    def __post_init__(self) -> None:
        check_image_path(self.directory)

    to_dict = _to_dict

    def describe(self) -> str:
        """Say it in one line."""
        return f"skipped: kldxref {self.directory} ({self.REASON})"


# ---------------------------------------------------------------- accounts


@dataclass(frozen=True, slots=True, kw_only=True)
class AddGroup:
    """`pw groupadd`, unless the image has a group of that name."""

    kind: ClassVar = "add_group"
    name: str
    gid: int

    def __post_init__(self) -> None:
        check_account(self.name)
        check_id(self.gid)

    to_dict = _to_dict

    def describe(self) -> str:
        """Say it in one line."""
        return f"add group {self.name} ({self.gid})"


@dataclass(frozen=True, slots=True, kw_only=True)
class AddUser:
    """`pw useradd`, unless the image has a user of that name. There is no password (`*`)."""

    kind: ClassVar = "add_user"
    name: str
    uid: int
    gid: int
    login_class: str
    """Empty where the script names none."""
    groups: tuple[str, ...]
    """Other groups that the user becomes a member of (`-G`)."""
    comment: str
    home: str
    """As it goes into passwd; the directory is not made."""
    shell: str

    def __post_init__(self) -> None:
        for name in (self.name, *self.groups, *((self.login_class,) if self.login_class else ())):
            check_account(name)
        check_id(self.uid)
        check_id(self.gid)
        check_comment(self.comment)
        check_passwd_path(self.home)
        check_passwd_path(self.shell)

    to_dict = _to_dict

    def describe(self) -> str:
        """Say it in one line."""
        more = f", also in {', '.join(self.groups)}" if self.groups else ""
        return f"add user {self.name} ({self.uid}:{self.gid}{more}), home {self.home}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AddMember:
    """`pw groupmod GROUP -m USER`, unless the user is a member already."""

    kind: ClassVar = "add_member"
    group: str
    user: str

    def __post_init__(self) -> None:
        check_account(self.group)
        check_account(self.user)

    to_dict = _to_dict

    def describe(self) -> str:
        """Say it in one line."""
        return f"add user {self.user} to group {self.group}"


# ---------------------------------------------------------------- files


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeDirectory:
    """`install -d`: missing parents are root:wheel 0755; of the last one, owner and mode are set.

    They are set also where the directory exists, as install(1) does.
    """

    kind: ClassVar = "make_directory"
    path: str
    owner: str
    group: str
    mode: int

    def __post_init__(self) -> None:
        check_image_path(self.path)
        check_account(self.owner)
        check_account(self.group)
        check_mode(self.mode)

    to_dict = _to_dict

    def describe(self) -> str:
        """Say it in one line."""
        return f"make directory {self.path} ({self.owner}:{self.group} {self.mode:04o})"


@dataclass(frozen=True, slots=True, kw_only=True)
class CopySample:
    """Copy a sample unless the target exists: same content, mode, owner, times and flags.

    A source that is a symlink is followed: what it names is copied.
    """

    kind: ClassVar = "copy_sample"
    source: str
    target: str

    def __post_init__(self) -> None:
        check_image_path(self.source)
        check_image_path(self.target)

    to_dict = _to_dict

    def describe(self) -> str:
        """Say it in one line."""
        return f"copy {self.source} to {self.target} unless it exists"


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateFile:
    """Make an empty file, root:wheel 0644, unless it exists (the `@touch` of ports)."""

    kind: ClassVar = "create_file"
    path: str

    def __post_init__(self) -> None:
        check_image_path(self.path)

    to_dict = _to_dict

    def describe(self) -> str:
        """Say it in one line."""
        return f"make the empty file {self.path} unless it exists"


@dataclass(frozen=True, slots=True, kw_only=True)
class AddShell:
    """Append a line to /etc/shells unless it is there."""

    kind: ClassVar = "add_shell"
    path: str

    def __post_init__(self) -> None:
        check_image_path(self.path)

    to_dict = _to_dict

    def describe(self) -> str:
        """Say it in one line."""
        return f"add {self.path} to /etc/shells"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeMode:
    """`chmod MODE PATH`, octal, one path."""

    kind: ClassVar = "change_mode"
    path: str
    mode: int

    def __post_init__(self) -> None:
        check_image_path(self.path)
        check_mode(self.mode)

    to_dict = _to_dict

    def describe(self) -> str:
        """Say it in one line."""
        return f"change the mode of {self.path} to {self.mode:04o}"


Effect: TypeAlias = (
    PwdMkdb
    | ServicesMkdb
    | CapMkdb
    | CertctlRehash
    | Ldconfig
    | IndexInfo
    | KldXref
    | AddGroup
    | AddUser
    | AddMember
    | MakeDirectory
    | CopySample
    | CreateFile
    | AddShell
    | ChangeMode
)
"""Everything that a recognised script can do."""
