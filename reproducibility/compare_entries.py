"""Compare the metadata of one path on both sides.

What a client applies is compared: type, permission bits, numeric owner, time, flags, link, device
numbers, extended attributes. Names of owners are not (OCI: to be ignored); that they are written
differently is, like the tar dialect, a matter of encoding and is told once for the whole layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.oci.image import rfc3339
from reproducibility.causes import Cause
from reproducibility.entries import Entry, Kind
from reproducibility.findings import Found, shown
from reproducibility.moments import format_distance

if TYPE_CHECKING:
    from collections.abc import Iterator

_UMASKS: Final = (0o022, 0o027, 0o077, 0o002, 0o007, 0o026, 0o037, 0o277)
FILES: Final = (Kind.FILE, Kind.HARDLINK)


def compare_entries(a: Entry, b: Entry, *, is_tar: bool) -> Iterator[Found]:
    """Yield the differences of two entries of one path, but for links among files and content.

    Args:
        a: one side.
        b: the other.
        is_tar: whether both come from archives; a directory knows no flags and no modes of links,
            and its times are compared in whole seconds.
    """
    same_kind = a.kind is b.kind or (a.kind in FILES and b.kind in FILES)
    if not same_kind:
        yield _found(Cause.TYPE, a.kind.value, b.kind.value)
        return
    if a.kind is Kind.SYMLINK and a.link != b.link:
        yield _found(Cause.LINK, a.link, b.link, _link_evidence(a.link, b.link))
    if a.device != b.device:
        yield _found(Cause.TYPE, a.device, b.device, "device numbers")
    if a.mode != b.mode and (is_tar or a.kind is not Kind.SYMLINK):
        yield _found(Cause.MODE, f"{a.mode:04o}", f"{b.mode:04o}", _mode_evidence(a, b))
    if (a.uid, a.gid) != (b.uid, b.gid):
        yield _found(Cause.OWNER, _owner(a), _owner(b))
    if a.mtime != b.mtime or (is_tar and a.fraction != b.fraction):
        yield _mtime(a, b)
    if is_tar and a.flags != b.flags:
        yield _found(Cause.FLAGS, a.flags or "none", b.flags or "none")
    if is_tar and a.attributes != b.attributes:
        yield _attributes(a, b)


def _found(cause: Cause, a: str, b: str, *evidence: str) -> Found:
    return Found(
        cause=cause,
        inside="",
        package="",
        a=shown(a),
        b=shown(b),
        evidence=tuple(filter(None, evidence)),
    )


def _owner(entry: Entry) -> str:
    names = f" ({entry.uname}:{entry.gname})" if entry.uname or entry.gname else ""
    return f"{entry.uid}:{entry.gid}{names}"


def _mode_evidence(x: Entry, y: Entry) -> str:
    if x.kind is Kind.SYMLINK:
        return "of a symbolic link, which Linux always shows as 0777"
    a, b = x.mode, y.mode
    for umask in _UMASKS:
        if a & ~umask == b:
            return f"B is what umask {umask:03o} leaves of A"
        if b & ~umask == a:
            return f"A is what umask {umask:03o} leaves of B"
    return ""


def _link_evidence(a: str, b: str) -> str:
    if a.startswith("/") != b.startswith("/"):
        return "one absolute, one relative"
    return ""


def time_text(entry: Entry) -> str:
    """Write an entry's time for people."""
    try:
        text = rfc3339(entry.mtime)
    except ValueError:
        return f"{entry.mtime}.{entry.fraction or 0}"
    return f"{text[:-1]}.{entry.fraction}Z" if entry.fraction else text


def _mtime(a: Entry, b: Entry) -> Found:
    distance = b.mtime - a.mtime
    evidence = f"{format_distance(distance)} apart" if distance else "only fractions of a second"
    return _found(Cause.MTIME, time_text(a), time_text(b), evidence)


def _attributes(a: Entry, b: Entry) -> Found:
    left, right = dict(a.attributes), dict(b.attributes)
    names = sorted(k for k in {*left, *right} if left.get(k) != right.get(k))
    cause = Cause.ENCODING if all(n.startswith("GNU.sparse") for n in names) else Cause.XATTR
    return _found(
        cause,
        ", ".join(f"{n}={left[n]}" for n in names if n in left) or "none",
        ", ".join(f"{n}={right[n]}" for n in names if n in right) or "none",
    )


def encoding_of(a: Entry, b: Entry) -> str:
    """Say in which way two headers of equal meaning are written differently; empty if they are not.

    Only for entries that `compare_entries` finds nothing in.
    """
    if a.raw == b.raw:
        return ""
    if (a.uname, a.gname) != (b.uname, b.gname):
        return f"names of owners: {_names(a)} | {_names(b)}"
    if a.dialect != b.dialect:
        return f"dialect: {a.dialect} | {b.dialect}"
    if a.form != b.form:
        return f"form: {shown(a.form)} | {shown(b.form)}"
    return "padding, numbers or the name of an extension"


def _names(entry: Entry) -> str:
    return "written" if entry.uname or entry.gname else "none"
