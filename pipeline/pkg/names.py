"""Names, versions and paths of pkg(8): what may become part of a file name or a URL.

Rules:

1. A name has letters, digits and `_.+@~-`, not `-` in front; a version letters, digits and
   `._+,~:`. 255 characters at most.
2. A path is absolute and normal: no empty, `.` or `..` component, no NUL, components of at most 255
   bytes, 1024 bytes in all.
3. Order is that of strcmp(3) over the bytes.
"""

from __future__ import annotations

import re
from typing import Final

from pipeline.errors import ManifestError

MAX_PATH: Final = 1024
MAX_COMPONENT: Final = 255

NAME_PATTERN: Final = r"[A-Za-z0-9_][A-Za-z0-9_.+@~-]{0,254}"
VERSION_PATTERN: Final = r"[A-Za-z0-9._+~][A-Za-z0-9._+,~:]{0,254}"

_NAME_RE: Final = re.compile(NAME_PATTERN)
_VERSION_RE: Final = re.compile(VERSION_PATTERN)


def check_name(text: str) -> str:
    """Return a package name, or raise: it becomes part of file names and URLs."""
    if not _NAME_RE.fullmatch(text):
        raise ManifestError(f"got package name {text[:80]!r}, want letters, digits and ._+@~-")
    return text


def check_version(text: str) -> str:
    """Return a package version, or raise: it becomes part of file names and URLs."""
    if not _VERSION_RE.fullmatch(text):
        raise ManifestError(f"got package version {text[:80]!r}, want letters, digits and ._+,~:")
    return text


def byte_order(text: str) -> bytes:
    """Sort key: the order of strcmp(3) over the text's bytes."""
    return text.encode("utf-8", "surrogateescape")


def check_path(path: str) -> str:
    """Return a path that is absolute and normal (rule 2), or raise."""
    if (
        path.startswith("/")
        and len(path) <= MAX_COMPONENT
        and path.isascii()
        and "//" not in path
        and "/." not in path
        and "\0" not in path
        and not path.endswith("/")
    ):
        return path  # nearly all are seen to be so at once
    if not path.startswith("/") or path == "/":
        raise ManifestError(f"got path {path[:80]!r}, want an absolute path below /")
    if "\0" in path:
        raise ManifestError(f"NUL in path {path[:80]!r}")
    raw = byte_order(path)
    if len(raw) > MAX_PATH:
        raise ManifestError(f"path of {len(raw)} bytes, want at most {MAX_PATH}")
    for component in raw[1:].split(b"/"):
        if component in (b"", b".", b".."):
            raise ManifestError(f"got path {path[:80]!r}, want no empty, . or .. component")
        if len(component) > MAX_COMPONENT:
            raise ManifestError(f"path component of {len(component)} bytes, want {MAX_COMPONENT}")
    return path
