"""Fields of effects: names, ids, modes and paths that a script may put into an image.

1. Names are what pw(8) accepts: ASCII letters, digits, `_`, `.`, `-` but not in front, an optional
   `$` at the end, 32 characters at most; and not digits alone, which would be an id.
2. Ids are 0 to 2**32-2. Modes are permission bits up to 7777 octal.
3. Paths are absolute and normal, printable ASCII without blanks, and not `/` itself unless the
   field says so.
4. A comment is printable ASCII without `:`, as one field of passwd(5).
"""

from __future__ import annotations

import re
from typing import Final

from pipeline.errors import ManifestError, ScriptError
from pipeline.pkg.names import check_path

MAX_ID: Final = 2**32 - 2
MAX_MODE: Final = 0o7777

_ACCOUNT_RE: Final = re.compile(r"(?![0-9]+$)[A-Za-z0-9_.][A-Za-z0-9_.-]*\$?")
_MAX_ACCOUNT: Final = 32
_COMMENT_RE: Final = re.compile(r"[\x20-\x39\x3b-\x7e]*")
_PATH_RE: Final = re.compile(r"[\x21-\x7e]+")


def check_account(name: str) -> str:
    """Return the name of a user or group (rule 1), or raise."""
    if len(name) > _MAX_ACCOUNT or not _ACCOUNT_RE.fullmatch(name):
        raise ScriptError(f"got account {name[:80]!a}, want a name that pw(8) accepts")
    return name


def check_id(number: int) -> int:
    """Return a uid or gid (rule 2), or raise."""
    if not 0 <= number <= MAX_ID:
        raise ScriptError(f"got id {number}, want 0 to {MAX_ID}")
    return number


def check_mode(mode: int) -> int:
    """Return permission bits (rule 2), or raise."""
    if not 0 <= mode <= MAX_MODE:
        raise ScriptError(f"got mode {mode:o}, want at most {MAX_MODE:o}")
    return mode


def check_image_path(path: str, *, root: bool = False) -> str:
    """Return a path of the image (rule 3), or raise.

    Args:
        path: the path.
        root: accept `/` as well.
    """
    if root and path == "/":
        return path
    if not _PATH_RE.fullmatch(path):
        raise ScriptError(f"got path {path[:80]!a}, want printable ASCII without blanks")
    try:
        return check_path(path)
    except ManifestError as e:
        raise ScriptError(e.message) from None


def check_comment(text: str) -> str:
    """Return the comment of an account (rule 4), or raise."""
    if not _COMMENT_RE.fullmatch(text):
        raise ScriptError(f"got comment {text[:80]!a}, want printable ASCII without a colon")
    return text


def check_passwd_path(path: str) -> str:
    """Return a path that becomes a field of passwd(5), `/` included, or raise."""
    if ":" in path:
        raise ScriptError(f"got path {path[:80]!a}, want no colon in passwd")
    return check_image_path(path, root=True)
