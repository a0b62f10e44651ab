r"""mtree(5): FreeBSD's word for "this is the tree".

Two dialects, both as in the manual page mtree(5) of FreeBSD and NetBSD:

* `parse_dist`: the hierarchical form of `/etc/mtree/BSD.*.dist` (`/set`, `/unset`, `..`; the
  indentation means nothing), directories only;
* `parse_spec` / `to_spec`: one full path a line, as in a METALOG; the form in which every layer
  of this project is described.

Rules of a spec that we write (docs/FORMAT.md, section Layer spec):

1. First line `#mtree`, then one line an entry, sorted by the bytes of the path, each ending in a
   newline. A path is `./` and the relative path.
2. Bytes that are not graphic ASCII, and `#`, `*`, `?`, `[` and the backslash, are written as `\ooo`
   (vis(3), VIS_OCTAL), in paths and link targets.
3. Keywords in this order, present where they apply: type, mode, uname or uid, gname or gid, nlink,
   inode, size, time, link, sha256digest, flags, tags.
4. Hard links are entries of type `file` with equal `inode` (numbered from 1 in order of first
   appearance) and `nlink` the number of them in the spec.
5. `tags=package=NAME` names the package that owns the entry, as FreeBSD's METALOG does.
"""

from __future__ import annotations

import enum
import functools
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from pipeline.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SIGNATURE: Final = b"#mtree\n"

_MAX_SPEC: Final = 256 << 20
_MAX_DEPTH: Final = 64


class Kind(enum.Enum):
    """What an entry is; the values are mtree's."""

    DIRECTORY = "dir"
    FILE = "file"
    LINK = "link"


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One path of a tree.

    Not a dataclass: there are as many as files, and this is made and changed ten times as fast.
    """

    path: str
    """Relative, no `./`, no trailing slash; undecodable bytes are surrogates."""
    kind: Kind
    mode: int
    user: str | int
    """A name that an image has yet to resolve, or a uid."""
    group: str | int
    mtime: int
    size: int = 0
    digest: str = ""
    """sha256 of a file's content, 64 hex digits; empty for other kinds."""
    link: str = ""
    """Target of a symlink."""
    inode: int = 0
    """Equal and not zero for the names of one hard-linked file."""
    flags: str = ""
    """File flags as chflags(1) names them, comma-separated."""
    package: str = ""
    """Name of the owning package; empty for what belongs to none."""

    @property
    def key(self) -> bytes:
        """Sort key: the path's bytes."""
        return self.path.encode("utf-8", "surrogateescape")


def path_bytes(path: str) -> bytes:
    """Return the bytes of a path."""
    return path.encode("utf-8", "surrogateescape")


# ---------------------------------------------------------------- names, as vis(3) writes them

_SPECIAL: Final = re.compile(rb"[^!\"$-)+->@-Z\]-~]")
_ESCAPE: Final = re.compile(rb"\\([0-7]{3}|.)", re.DOTALL)
_LETTERS: Final = {
    b"a": b"\a",
    b"b": b"\b",
    b"f": b"\f",
    b"n": b"\n",
    b"r": b"\r",
    b"s": b" ",
    b"t": b"\t",
    b"v": b"\v",
    b"#": b"#",
    b"\\": b"\\",
}


def encode_name(raw: bytes) -> bytes:
    r"""Escape what an mtree file cannot hold as it is (rule 2)."""
    return _SPECIAL.sub(lambda m: b"\\%03o" % m[0][0], raw)


def _unescape(match: re.Match[bytes]) -> bytes:
    code = match[1]
    if len(code) == 3:  # noqa: PLR2004
        value = int(code, 8)
        if value > 0xFF:  # noqa: PLR2004
            raise FormatError(f"got escape {match[0]!r}, want at most \\377")
        return bytes([value])
    if code not in _LETTERS:
        raise FormatError(f"got escape {match[0]!r}, want \\ooo")
    return _LETTERS[code]


def decode_name(text: bytes) -> bytes:
    """Undo `encode_name`, and the C-style escapes that other writers use."""
    return _ESCAPE.sub(_unescape, text) if b"\\" in text else text


# ---------------------------------------------------------------- specs


_PLAIN: Final = re.compile(r"[!\"$-)+->@-Z\]-~]*")
"""What `_SPECIAL` has nothing in."""


def _vis(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else encode_name(path_bytes(text)).decode("ascii")


@functools.lru_cache(maxsize=1024)
def _owner(user: str | int, group: str | int) -> str:
    """Return the two keywords; the same few owners, line after line."""
    uid = f"uid={user}" if isinstance(user, int) else f"uname={_vis(user)}"
    gid = f"gid={group}" if isinstance(group, int) else f"gname={_vis(group)}"
    return f"{uid} {gid}"


def number_links(entries: Iterable[Entry]) -> list[Entry]:
    """Sort by path and renumber hard links (rules 1 and 4); a lone link becomes a plain file."""
    ordered = sorted(entries, key=lambda e: path_bytes(e.path))
    counts = Counter(e.inode for e in ordered if e.inode)
    numbers: dict[int, int] = {}
    result = []
    for entry in ordered:
        if not entry.inode:
            result.append(entry)
        elif counts[entry.inode] == 1:
            result.append(replace(entry, inode=0))
        else:
            number = numbers.setdefault(entry.inode, len(numbers) + 1)
            result.append(entry if number == entry.inode else replace(entry, inode=number))
    return result


def to_spec(entries: Iterable[Entry]) -> bytes:
    """Write a spec; the inverse of `parse_spec`."""
    ordered = number_links(entries)
    counts = Counter(e.inode for e in ordered if e.inode)
    lines = []
    for e in ordered:
        links = f" nlink={counts[e.inode]} inode={e.inode}" if e.inode else ""
        if e.kind is Kind.FILE:
            kind, size, rest = "file", f" size={e.size}", f" sha256digest={e.digest}"
        elif e.kind is Kind.LINK:
            kind, size, rest = "link", "", f" link={_vis(e.link)}"
        else:
            kind, size, rest = "dir", "", ""
        flags = f" flags={e.flags}" if e.flags else ""
        tags = f" tags=package={_vis(e.package)}" if e.package else ""
        lines.append(
            f"./{_vis(e.path)} type={kind} mode={e.mode:04o} {_owner(e.user, e.group)}{links}"
            f"{size} time={e.mtime}.0{rest}{flags}{tags}\n"
        )
    return SIGNATURE + "".join(lines).encode("ascii")


_KINDS: Final = {kind.value: kind for kind in Kind}
_LINE: Final = re.compile(
    r"\./(\S+) type=(dir|file|link) mode=([0-7]{4,5})"
    r" (?:uid=([0-9]{1,10})|uname=(\S+)) (?:gid=([0-9]{1,10})|gname=(\S+))"
    r"(?: nlink=[0-9]{1,9} inode=([0-9]{1,9}))?(?: size=([0-9]{1,19}))? time=([0-9]{1,19})\.0"
    r"(?: link=(\S+))?(?: sha256digest=([0-9a-f]{64}))?(?: flags=([a-z,]+))?"
    r"(?: tags=package=(\S+))?",
    re.ASCII,
)
"""Rule 3, whole."""


def _parse_line(line: str) -> Entry:
    match = _LINE.fullmatch(line)
    if match is None:
        raise FormatError(f"got {_raw(line)[:80]!r}, want an entry as `to_spec` writes it")
    path, kind_text, mode, uid, user, gid, group, inode, size, mtime, link, digest, flags, tag = (
        match.groups()
    )
    kind = _KINDS[kind_text]
    if (kind is Kind.FILE) is not (size is not None and digest is not None) or (
        (kind is Kind.LINK) is not (link is not None)
    ):
        got = _raw(line)[:80]
        raise FormatError(f"got {got!r}, want size and digest of files, targets of links")
    return Entry(
        path=_name(path),
        kind=kind,
        mode=int(mode, 8),
        user=_name(user) if uid is None else int(uid),
        group=_name(group) if gid is None else int(gid),
        mtime=int(mtime),
        size=int(size or 0),
        digest=digest or "",
        link="" if link is None else _name(link),
        inode=int(inode or 0),
        flags=flags or "",
        package="" if tag is None else _name(tag),
    )


def _raw(text: str) -> bytes:
    return text.encode("latin-1")


def _name(text: str) -> str:
    if text.isascii() and "\\" not in text:
        return text
    return decode_name(_raw(text)).decode("utf-8", "surrogateescape")


def parse_spec(data: bytes) -> tuple[Entry, ...]:
    """Read a spec of ours.

    Raises:
        FormatError: with the number of the line.
    """
    if len(data) > _MAX_SPEC:
        raise FormatError(f"spec of {len(data)} bytes, want at most {_MAX_SPEC}")
    if not data.startswith(SIGNATURE):
        raise FormatError("got no #mtree line, want a spec")
    if not data.endswith(b"\n"):
        raise FormatError("no new line at the end: the spec has been cut short")
    entries = []
    for number, line in enumerate(data.decode("latin-1").split("\n")[1:-1], 2):
        try:
            entries.append(_parse_line(line))
        except FormatError as e:
            raise e.within(f"line {number}") from None
    return tuple(entries)


# ---------------------------------------------------------------- BSD.*.dist


@dataclass(frozen=True, slots=True, kw_only=True)
class DistDirectory:
    """A directory of a BSD.*.dist file."""

    path: str
    """Relative to where the file is applied; empty for that place itself."""
    mode: int
    user: str
    group: str
    flags: str
    keep: bool
    """`nochange`: made if missing, never modified."""


_MODE_RE: Final = re.compile("0*[0-7]{1,4}")
_DIST_KEYS: Final = frozenset({"type", "uname", "gname", "mode", "flags", "tags", "nochange"})


def _keywords(words: list[str]) -> dict[str, str]:
    result = {}
    for word in words:
        key, _, value = word.partition("=")
        if key not in _DIST_KEYS:
            raise FormatError(f"got keyword {key!r}, want one of {', '.join(sorted(_DIST_KEYS))}")
        result[key] = value
    return result


def _directory(path: str, values: dict[str, str]) -> DistDirectory:
    if values.get("type", "dir") != "dir":
        raise FormatError(f"got type={values['type']}, want only directories")
    mode = values.get("mode", "")
    if not _MODE_RE.fullmatch(mode):
        raise FormatError(f"{path or '.'}: no octal mode, neither here nor by /set")
    flags = values.get("flags", "none")
    return DistDirectory(
        path=path,
        mode=int(mode, 8),
        user=values.get("uname", ""),
        group=values.get("gname", ""),
        flags="" if flags in ("none", "0") else flags,
        keep="nochange" in values,
    )


def parse_dist(data: bytes) -> tuple[DistDirectory, ...]:
    """Read a BSD.*.dist file; each directory once, parents first, in the file's order.

    Raises:
        FormatError: with the number of the line.
    """
    defaults: dict[str, str] = {}
    stack: list[str] = []
    result: dict[str, DistDirectory] = {}
    for number, words in _dist_lines(data):
        try:
            _dist_line(words, defaults, stack, result)
        except FormatError as e:
            raise e.within(f"line {number}") from None
    return tuple(result.values())


def _dist_lines(data: bytes) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the words of each line that says something; a backslash joins lines."""
    number = 1
    for line in re.split(rb"(?<!\\)\n", data):
        words = [w.decode("utf-8", "surrogateescape") for w in line.replace(b"\\\n", b" ").split()]
        if words and not words[0].startswith("#"):
            yield number, words
        number += 1 + line.count(b"\n")


def _dist_line(
    words: list[str],
    defaults: dict[str, str],
    stack: list[str],
    result: dict[str, DistDirectory],
) -> None:
    first = words[0]
    if first == "/set":
        defaults.update(_keywords(words[1:]))
    elif first == "/unset":
        for key in words[1:]:
            defaults.pop(key, None)
    elif first == "..":
        if not stack:
            raise FormatError("got `..` above the top")
        stack.pop()
    else:
        name = decode_name(first.encode("utf-8", "surrogateescape"))
        top = name == b"." and not stack
        if (name in (b".", b"..") and not top) or b"/" in name or b"\0" in name:
            raise FormatError(f"got directory name {first[:80]!r}, want one plain component")
        if len(stack) >= _MAX_DEPTH:
            raise FormatError(f"directories nested deeper than {_MAX_DEPTH}")
        component = "" if top else name.decode("utf-8", "surrogateescape")
        parent = stack[-1] if stack else ""
        path = f"{parent}/{component}" if parent else component
        result[path] = _directory(path, {**defaults, **_keywords(words[1:])})
        stack.append(path)
