"""The files that accounts live in, master.passwd and group, and what scripts add to them.

Specification: pw(8), passwd(5), group(5). Nothing is ever run.

1. Existing names are kept; new users and groups are appended, as pw(8) does.
2. What pw(8) refuses is refused: an id that another has, a primary group that does not exist.
3. A script adds a member where `pw groupshow GROUP | grep -qw USER` finds nothing, the only
   question that is known (`pkg.script_accounts`). grep sees the group's whole line, and to its `-w`
   a `-` or `.` ends a word: where `foo-bar` is a member, `foo` is found, and not added. What is
   declared, and the groups of a new user, which pw(8) itself adds, goes by whole names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from pipeline.errors import ScriptError
from pipeline.pkg.effects import AddGroup, AddMember, AddUser

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pipeline.pkg.effects import Effect

MASTER_PASSWD: Final = "etc/master.passwd"  # noqa: S105  - a file
GROUP: Final = "etc/group"


@dataclass(frozen=True, slots=True)
class AccountFiles:
    """The two files that accounts live in."""

    master_passwd: bytes
    group: bytes


def account_names(data: bytes) -> tuple[bytes, ...]:
    """Return the names of master.passwd or group, in order, without comments and lines for NIS."""
    lines = (line.lstrip(b" \t") for line in data.split(b"\n"))
    return tuple(line.split(b":")[0] for line in lines if line and line[:1] not in b"#+-")


def _check_free(data: bytes, number: int, effect: Effect) -> None:
    """Refuse an id that another name of master.passwd or group has."""
    for line in data.split(b"\n"):
        fields = line.split(b":")
        if _has_id(fields, number):
            other = fields[0].decode("utf-8", "replace")
            raise ScriptError(
                f"{effect.describe()}: {other!r} has that id already",
                hint="drop one of the two packages, or declare both in `accounts`, with other ids",
            )


def _has_id(fields: Sequence[bytes], number: int) -> bool:
    is_entry = len(fields) > 3 and not fields[0].lstrip(b" \t").startswith(b"#")  # noqa: PLR2004
    digits = (b"%d" % number).lstrip(b"0")
    return is_entry and fields[2].isdigit() and fields[2].lstrip(b"0") == digits


def appended(data: bytes, line: str) -> bytes:
    """Return a text with one more line at its end."""
    end = b"" if data.endswith(b"\n") or not data else b"\n"
    return data + end + line.encode() + b"\n"


def _greps(line: bytes, user: str) -> bool:
    """Say whether `grep -w` finds a name, which is no regular expression, in a line (rule 3)."""
    return bool(re.search(rb"(?<![A-Za-z0-9_])%b(?![A-Za-z0-9_])" % re.escape(user.encode()), line))


def _with_member(group: bytes, name: str, user: str, *, by_word: bool) -> bytes:
    lines = group.split(b"\n")
    for i, line in enumerate(lines):
        fields = line.split(b":")
        if fields[0] == name.encode() and len(fields) == 4:  # noqa: PLR2004
            members = [m for m in fields[3].split(b",") if m]
            is_found = _greps(line, user) if by_word else user.encode() in members
            if not is_found:
                fields[3] = b",".join([*members, user.encode()])
                lines[i] = b":".join(fields)
            return b"\n".join(lines)
    raise ScriptError(
        f"user {user!r} is to be a member of group {name!r}, which the image does not have",
        hint="declare the group in `accounts`",
    )


def add_accounts(
    files: AccountFiles, effects: Iterable[Effect], *, of_scripts: bool
) -> AccountFiles:
    """Apply the account effects, in order ; others are passed over.

    Args:
        files: what there is.
        effects: what is added.
        of_scripts: packages' scripts ask for it; else it is declared (rule 3).

    Raises:
        ScriptError: pw(8) would refuse one of them.
    """
    for effect in effects:
        if isinstance(effect, AddGroup):
            files = _with_group(files, effect)
        elif isinstance(effect, AddUser):
            files = _with_user(files, effect)
        elif isinstance(effect, AddMember):
            group = _with_member(files.group, effect.group, effect.user, by_word=of_scripts)
            files = replace(files, group=group)
    return files


def _with_group(files: AccountFiles, effect: AddGroup) -> AccountFiles:
    if effect.name.encode() in account_names(files.group):
        return files
    _check_free(files.group, effect.gid, effect)
    return replace(files, group=appended(files.group, f"{effect.name}:*:{effect.gid}:"))


def _with_user(files: AccountFiles, effect: AddUser) -> AccountFiles:
    if effect.name.encode() in account_names(files.master_passwd):
        return files
    _check_free(files.master_passwd, effect.uid, effect)
    if not any(_has_id(line.split(b":"), effect.gid) for line in files.group.split(b"\n")):
        raise ScriptError(
            f"{effect.describe()}: the image has no group {effect.gid}",
            hint="declare the group in `accounts`: a name and its gid",
        )
    master = appended(
        files.master_passwd,
        f"{effect.name}:*:{effect.uid}:{effect.gid}:{effect.login_class}:0:0:"
        f"{effect.comment}:{effect.home}:{effect.shell}",
    )
    group = files.group
    for name in effect.groups:
        group = _with_member(group, name, effect.name, by_word=False)
    return AccountFiles(master, group)
