"""Accounts: what pw(8) does in a package script.

The subcommands are those that ports write (Mk/Scripts/do-users-groups.sh): `groupshow`,
`usershow`, `groupadd`, `useradd`, `groupmod`, each with the options that decide everything, so that
pw(8) has nothing to choose. `-R` names the root directory, or is absent.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from pipeline.errors import ScriptError
from pipeline.pkg.effect_fields import check_account
from pipeline.pkg.effects import AddGroup, AddMember, AddUser
from pipeline.pkg.script_arguments import (
    Outcome,
    Query,
    Question,
    expect_path,
    image_path,
    read_number,
    read_operands,
    read_options,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pipeline.pkg.script_arguments import Status


def run_pw(arguments: Sequence[str]) -> Outcome:
    """Say what pw(8) does.

    Raises:
        ScriptError: for any other subcommand or option.
    """
    rest = list(arguments)
    if rest[:1] == ["-R"] and len(rest) > 1:
        expect_path(rest[1], "/")
        rest = rest[2:]
    if not rest or rest[0] not in _PW:
        raise ScriptError(f"unknown subcommand of pw {rest[:1]}")
    subcommand, *rest = rest
    allowed, run = _PW[subcommand]
    name = [rest.pop(0)] if rest and not rest[0].startswith("-") else []
    options, operands = read_options(rest, values=allowed + "n")
    names = [*name, *operands, *((options["n"],) if "n" in options else ())]
    (account,) = read_operands(names, 1)
    missing = [letter for letter in _PW_WANTS[subcommand] if letter not in options]
    if missing:
        raise ScriptError(f"pw {subcommand} without -{missing[0]}")
    return run(check_account(account), options)


def _groupshow(name: str, _options: Mapping[str, str]) -> Outcome:
    return Outcome(status=Question(Query.GROUP, (name,), holds=True))


def _usershow(name: str, _options: Mapping[str, str]) -> Outcome:
    return Outcome(status=Question(Query.USER, (name,), holds=True))


def _groupadd(name: str, options: Mapping[str, str]) -> Outcome:
    return Outcome(effects=(AddGroup(name=name, gid=read_number(options["g"])),))


def _useradd(name: str, options: Mapping[str, str]) -> Outcome:
    user = AddUser(
        name=name,
        uid=read_number(options["u"]),
        gid=read_number(options["g"]),
        login_class=options.get("L", ""),
        groups=tuple(options["G"].split(",")) if "G" in options else (),
        comment=options["c"],
        home=image_path(options["d"]),
        shell=image_path(options["s"]),
    )
    return Outcome(effects=(user,))


def _groupmod(name: str, options: Mapping[str, str]) -> Outcome:
    return Outcome(effects=(AddMember(group=name, user=options["m"]),))


_PW: Final[Mapping[str, tuple[str, Callable[[str, Mapping[str, str]], Outcome]]]] = {
    "groupshow": ("", _groupshow),
    "usershow": ("", _usershow),
    "groupadd": ("g", _groupadd),
    "useradd": ("ugLGcds", _useradd),
    "groupmod": ("m", _groupmod),
}
"""Subcommands: the options that take a value, and the meaning."""

_PW_WANTS: Final[Mapping[str, str]] = {
    "groupshow": "",
    "usershow": "",
    "groupadd": "g",
    "useradd": "ugcds",
    "groupmod": "m",
}
"""Options without which pw(8) would choose something by itself."""


_PLAIN_RE: Final = re.compile("[A-Za-z0-9_-]+")


def is_member(show: Status, arguments: Sequence[str], *, is_quiet: bool) -> Status:
    """Say what `pw groupshow GROUP | grep -qw USER` asks.

    grep looks at the whole line, which begins with the group's name: it finds a user who is called
    like the group, member or not.

    Args:
        show: the status of the first command.
        arguments: of grep.
        is_quiet: its output goes nowhere.
    """
    options, operands = read_options(arguments, flags="qw")
    quiet = is_quiet or "q" in options
    if not isinstance(show, Question) or show.query is not Query.GROUP or "w" not in options:
        raise ScriptError("unknown pipeline")
    if not quiet or not show.holds:
        raise ScriptError("unknown pipeline")
    (user,) = read_operands(operands, 1)
    if not _PLAIN_RE.fullmatch(check_account(user)):
        raise ScriptError(f"got account {user!a}, which is a regular expression to grep")
    if re.search(rf"(?<![A-Za-z0-9_]){user}(?![A-Za-z0-9_])", show.subject[0]):
        return True
    return Question(Query.MEMBER, (*show.subject, user), holds=True)
