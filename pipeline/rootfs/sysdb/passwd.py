"""The account databases: pwd.db, spwd.db and passwd, as `pwd_mkdb -p` makes them.

Specification: FreeBSD `usr.sbin/pwd_mkdb/pwd_mkdb.c`, `lib/libc/gen/pw_scan.c` and
`include/pwd.h`; master.passwd(5). Database version 4.

1. A line whose first byte other than blank and tab is `#`, and a line of blanks and tabs alone,
   is a comment. It is not an entry and does not count.
2. Every other line has ten fields; `uid` and `gid` may be empty where the name begins with `+`
   or `-` (NIS compat). Nothing else is checked but that `root` has uid 0.
3. Each database has a version, then for each entry a record under its name, its number and its
   uid; the first entry of a name or a uid wins. Entries for NIS have a number of their own, and a
   flag tells that there are any.
4. passwd has a line for each entry. Older revisions, those that accept `-B` and `-L`, also copied
   comments; the caller says.

Refused beyond what the program refuses: NUL bytes, names that overflow its buffer.
Left out: `-u` (update of one account), locking, file modes (pwd.db and passwd 0644, spwd.db and
master.passwd 0600, whatever the umask).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.errors import FormatError
from pipeline.formats.db185 import HashParameters, build_hash_file
from pipeline.formats.db185_header import ByteOrder
from pipeline.rootfs.sysdb.numerals import atol, strtoul_decimal

if TYPE_CHECKING:
    from collections.abc import Iterator

_PARAMETERS: Final = HashParameters(
    bsize=4096, ffactor=32, nelem=256, cachesize=2 << 20, lorder=ByteOrder.BIG
)
_VERSION_PAIR: Final = (b"\xffVERSION", b"\x04")
_BY_NAME: Final = b"\x41"
_BY_NUMBER: Final = b"\x42"
_BY_UID: Final = b"\x43"
_NIS_FLAG_PAIR: Final = (b"\x44", b"\x03")
_NIS_BY_NUMBER: Final = b"\x45"

_MAX_INPUT: Final = 1 << 24
_FIELDS: Final = 10
_MAX_LINE: Final = 2046
_MAX_NAME: Final = 1023
_MAX_ID: Final = 0xFFFFFFFF
_WORD: Final = struct.Struct(">I")
_THREE_WORDS: Final = struct.Struct(">3I")
_TWO_WORDS: Final = struct.Struct(">2I")

# `_PWF_*` of <pwd.h>, by position of the field in a line.
_FIELD_BITS: Final = (0x001, 0x002, 0x004, 0x008, 0x020, 0x010, 0x200, 0x040, 0x080, 0x100)


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswdEntry:
    """One account line of master.passwd; the fields are named as in `struct passwd`."""

    pw_name: bytes
    pw_passwd: bytes
    pw_uid: int
    pw_gid: int
    pw_class: bytes
    pw_change: int
    pw_expire: int
    pw_gecos: bytes
    pw_dir: bytes
    pw_shell: bytes
    pw_fields: int
    """A bit for each field that is not empty."""

    @property
    def is_nis(self) -> bool:
        """Whether the line includes or excludes accounts of NIS."""
        return self.pw_name.startswith((b"+", b"-"))

    def to_record(self, passwd: bytes) -> bytes:
        """Return the record of a database that shows `passwd` as the password."""
        return b"".join(
            (
                self.pw_name + b"\0" + passwd + b"\0",
                _THREE_WORDS.pack(self.pw_uid, self.pw_gid, self.pw_change & _MAX_ID),
                self.pw_class + b"\0",
                self.pw_gecos + b"\0",
                self.pw_dir + b"\0",
                self.pw_shell + b"\0",
                _TWO_WORDS.pack(self.pw_expire & _MAX_ID, self.pw_fields),
            )
        )

    def to_passwd_line(self) -> bytes:
        """Return the line of passwd."""
        uid = b"%d" % self.pw_uid if self.pw_fields & _FIELD_BITS[2] else b""
        gid = b"%d" % self.pw_gid if self.pw_fields & _FIELD_BITS[3] else b""
        return b":".join((self.pw_name, b"*", uid, gid, self.pw_gecos, self.pw_dir, self.pw_shell))


@dataclass(frozen=True, slots=True)
class MasterPasswd:
    """A master.passwd file: its lines in order, comments as they stand."""

    lines: tuple[PasswdEntry | bytes, ...]

    @property
    def entries(self) -> tuple[PasswdEntry, ...]:
        """The lines that are accounts."""
        return tuple(line for line in self.lines if isinstance(line, PasswdEntry))


def parse_master_passwd(raw: bytes) -> MasterPasswd:
    """Read a master.passwd file.

    Raises:
        FormatError: pwd_mkdb would fail, or behave in a way that is not defined.
    """
    if len(raw) > _MAX_INPUT:
        raise FormatError(f"master.passwd: got {len(raw)} bytes, want at most {_MAX_INPUT}")
    if not raw:
        return MasterPasswd(())
    lines = raw.removesuffix(b"\n").split(b"\n")
    return MasterPasswd(tuple(_parse_line(line, number) for number, line in enumerate(lines, 1)))


def build_pwd_db(master: MasterPasswd) -> bytes:
    """Return pwd.db, which everyone may read: passwords are hidden."""
    return build_hash_file(_pairs(master, is_secure=False), _PARAMETERS)


def build_spwd_db(master: MasterPasswd) -> bytes:
    """Return spwd.db, with the passwords."""
    return build_hash_file(_pairs(master, is_secure=True), _PARAMETERS)


def build_passwd(master: MasterPasswd, *, keep_comments: bool) -> bytes:
    """Return the text of passwd; `keep_comments` is the behaviour of older revisions."""
    lines = []
    for line in master.lines:
        if isinstance(line, PasswdEntry):
            lines.append(line.to_passwd_line())
        elif keep_comments:
            lines.append(line)
    return b"".join(line + b"\n" for line in lines)


def _parse_line(line: bytes, number: int) -> PasswdEntry | bytes:
    where = f"master.passwd:{number}"
    if b"\0" in line:
        raise FormatError(f"{where}: got a NUL byte, want text")
    if len(line) > _MAX_LINE:
        raise FormatError(f"{where}: got {len(line)} bytes, want at most {_MAX_LINE}")
    if line.lstrip(b" \t")[:1] in {b"", b"#"}:
        return line
    fields = line.split(b":")
    if len(fields) != _FIELDS:
        raise FormatError(f"{where}: got {len(fields)} fields, want {_FIELDS}")
    name = fields[0]
    if len(name) > _MAX_NAME:
        raise FormatError(f"{where}: got a name of {len(name)} bytes, want at most {_MAX_NAME}")
    uid = _parse_id(fields[2], name=name, where=f"{where}: uid")
    if name == b"root" and uid:
        raise FormatError(f"{where}: got root with uid {uid}, want 0")
    return PasswdEntry(
        pw_name=name,
        pw_passwd=fields[1],
        pw_uid=uid,
        pw_gid=_parse_id(fields[3], name=name, where=f"{where}: gid"),
        pw_class=fields[4],
        pw_change=atol(fields[5]),
        pw_expire=atol(fields[6]),
        pw_gecos=fields[7],
        pw_dir=fields[8],
        pw_shell=fields[9],
        pw_fields=_fields_of(fields),
    )


def _parse_id(text: bytes, *, name: bytes, where: str) -> int:
    if not text:
        if name.startswith((b"+", b"-")):
            return 0
        raise FormatError(f"{where}: got nothing, want a number")
    value = strtoul_decimal(text)
    if value is None or value > _MAX_ID:
        raise FormatError(f"{where}: got {text!r}, want a number up to {_MAX_ID}")
    return value


def _fields_of(fields: list[bytes]) -> int:
    bits = sum(bit for bit, field in zip(_FIELD_BITS, fields, strict=True) if field)
    # `+name` stands for the fields of another database: its name is not one that is set.
    return bits & ~_FIELD_BITS[0] if fields[0].startswith(b"+") and fields[0] != b"+" else bits


def _pairs(master: MasterPasswd, *, is_secure: bool) -> Iterator[tuple[bytes, bytes]]:
    yield _VERSION_PAIR
    nis_number = 0
    for number, entry in enumerate(master.entries, 1):
        record = entry.to_record(entry.pw_passwd if is_secure else b"*")
        yield _BY_NAME + entry.pw_name, record
        yield _BY_NUMBER + _WORD.pack(number), record
        yield _BY_UID + _WORD.pack(entry.pw_uid), record
        if entry.is_nis:
            nis_number += 1
            yield _NIS_BY_NUMBER + _WORD.pack(nis_number), record
    if nis_number:
        yield _NIS_FLAG_PAIR
