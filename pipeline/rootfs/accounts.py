"""Accounts: the ids of an image's own users and groups, never the host's.

Formats: passwd(5) (master.passwd) and group(5) of FreeBSD. Only what ownership needs is read here;
`sysdb.passwd` makes the databases.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Mapping

_ID_MAX: Final = 2**32 - 2
_MAX_DIGITS: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """Names to ids."""

    users: Mapping[str, int]
    groups: Mapping[str, int]

    def uid(self, name: str | int) -> int | None:
        """Return a user's id, or None if the image has no such user."""
        return name if isinstance(name, int) else self.users.get(name)

    def gid(self, name: str | int) -> int | None:
        """Return a group's id, or None if the image has no such group."""
        return name if isinstance(name, int) else self.groups.get(name)


ROOT_ONLY: Final = Accounts(users={"root": 0}, groups={"wheel": 0})
"""What an image without a master.passwd of its own knows."""


def _ids(data: bytes, what: str) -> dict[str, int]:
    """Read name and third field of each line; the first of a name wins, as in getpwnam(3)."""
    result: dict[str, int] = {}
    for number, line in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#") or line[:1] in "+-":
            continue
        fields = line.split(":")
        if len(fields) < 4 or not fields[2].isascii() or not fields[2].isdigit():  # noqa: PLR2004
            raise FormatError(
                f"got {line[:60]!r}, want name:*:id:…", context=f"{what}, line {number}"
            )
        if len(fields[2]) > _MAX_DIGITS or int(fields[2]) > _ID_MAX:
            raise FormatError(
                f"got id {fields[2][:60]}, want at most {_ID_MAX}", context=f"{what}, line {number}"
            )
        result.setdefault(fields[0], int(fields[2]))
    return result


def parse_accounts(master_passwd: bytes, group: bytes) -> Accounts:
    """Read an image's accounts.

    Raises:
        FormatError: naming the file and the line.
    """
    return Accounts(
        users=_ids(master_passwd, "/etc/master.passwd"), groups=_ids(group, "/etc/group")
    )
