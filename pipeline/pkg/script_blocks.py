"""Statements of package scripts that mean something only together.

Source: Keywords/shell.ucl of FreeBSD ports before 2020, which adds a shell to /etc/shells: it makes
a backup, removes the shell's line and appends it, and removes the backup.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.errors import ScriptError
from pipeline.pkg.script_arguments import image_path
from pipeline.pkg.script_expand import expand_command, expand_text
from pipeline.pkg.shell_tree import Command, Subshell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.pkg.script_expand import Environment
    from pipeline.pkg.shell_tree import Statement

_SHELLS: Final = "/etc/shells"
_BACKUP: Final = "/etc/shells.bak"


def added_shell(statements: Sequence[Statement], environment: Environment) -> str | None:
    """Return the shell that three statements add, or None if they do anything else."""
    match statements:
        case [
            Command() as backup,
            Subshell(body=(Command() as grep, Command() as echo), redirections=(target,)),
            Command() as remove,
        ]:
            commands = (backup, grep, echo, remove)
        case _:
            return None
    if any(c.redirections or c.assignments for c in commands):
        return None
    try:
        words = [expand_command(c.words, environment) for c in commands]
        path = image_path(words[2][-1])
        written = image_path(expand_text(target.target.parts, environment))
        named = [[_image_name(word) for word in line] for line in words]
    except ScriptError:
        return None
    wanted = [
        ["cp", _SHELLS, _BACKUP],
        ["grep", "-v", f"^{path}$", _BACKUP],
        ["echo", path],
        ["rm", "-f", _BACKUP],
    ]
    is_edit = (target.operator, target.descriptor, written) == (">", "", _SHELLS)
    return path if is_edit and named == wanted else None


def _image_name(word: str) -> str:
    """Return a word without the root directory."""
    return image_path(word) if word.startswith("/") else word
