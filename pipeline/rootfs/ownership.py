"""Owners of an archive's members: by number, or by name through the archive's own accounts.

Rule N15 of docs/format/normalisation.md.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

from pipeline.errors import ArchiveError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.formats.foreign_tar import ForeignMember
    from pipeline.rootfs.accounts import Accounts


class Owners(enum.StrEnum):
    """What of a member says who owns it."""

    CHECKED = "checked"
    """The number, unless it is a placeholder that the name contradicts."""
    IDS = "ids"
    """The number."""
    NAMES = "names"
    """The name where there is one."""


_PLACEHOLDERS: Final = (0, 65534)
"""What writers put where they know a name only: root's number, or nobody's."""
_MAX_ID: Final = 2**32 - 2


class Ownership:
    """Resolves owners."""

    def __init__(self, owners: Owners, accounts: Accounts | None) -> None:
        self._owners = owners
        self._users: Mapping[str, int] = accounts.users if accounts else {}
        self._groups: Mapping[str, int] = accounts.groups if accounts else {}

    def resolve(self, path: str, member: ForeignMember) -> tuple[int, int]:
        """Return a member's user and group.

        Raises:
            ArchiveError: it has none, or name and number contradict each other.
        """
        try:
            return (
                self._resolve(member.uid, member.uname, self._users),
                self._resolve(member.gid, member.gname, self._groups),
            )
        except ArchiveError as e:
            raise e.within(repr(path)) from None

    def _resolve(self, number: int, name: str, known: Mapping[str, int]) -> int:
        if not 0 <= number <= _MAX_ID:
            raise ArchiveError(f"owned by number {number}, want 0 to {_MAX_ID}")
        if not name:
            return number
        if self._owners is Owners.NAMES:
            if name not in known:
                raise ArchiveError(
                    f"owned by {name!r}, whom the archive's own accounts do not know",
                    hint="add the account, or use --owners ids",
                )
            return known[name]
        meant = known.get(name, number)
        if self._owners is Owners.CHECKED and number in _PLACEHOLDERS and meant != number:
            raise ArchiveError(
                f"owned by {name!r}, {meant} in the archive's own accounts, but by number {number}",
                hint="--owners names if the names are right, --owners ids if the numbers are",
            )
        return number
