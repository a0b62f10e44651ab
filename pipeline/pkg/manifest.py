"""PackageManifest: the +MANIFEST of a package, or one record of a catalogue.

Source: freebsd/pkg 2.8.4, libpkg/pkg_manifest.c (manifest_keys, pkg_obj, url_decode) and
libpkg/pkg.c. Both forms of `files` are read: strings (pkg <= 2.3) and objects (pkg >= 2.4).

Rules, stricter than pkg where pkg would install something it did not understand:

1. The document is one JSON object: UTF-8, no duplicate keys, nothing after it, at most
   `MAX_MANIFEST` bytes. UCL that is not JSON is refused; every pkg in use writes JSON.
2. `name`, `origin`, `version`, `comment`, `desc`, `maintainer`, `www`, `prefix` are required.
3. `desc`, keys of files and directories, and shell scripts are percent-encoded; a `%XX` in the last
   two characters stays as it is (url_decode's bound). Entries of `config` are not decoded: pkg
   encodes them when it makes a package, but never decodes them (pkg_array), so that a name with
   other than ASCII characters is a config file of no file.
4. A list becomes sorted by its bytes and unique, as pkg registers it; lua scripts keep their order.
5. Paths are absolute and normal: no empty, `.` or `..` component, no NUL, components of at most
   255 bytes, 1024 bytes in all. A trailing slash of a directory is dropped.
6. Unknown keys are kept out of the value (pkg ignores them); a wrong type is an error.
7. A script of unknown kind, or one that is not a string, is an error (pkg skips it silently).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from pipeline.errors import FormatError, ManifestError
from pipeline.formats import canonical_json
from pipeline.formats.fields import checked, get_optional, get_required, get_sequence_of
from pipeline.pkg.names import byte_order, check_name, check_path, check_version

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_MANIFEST: Final = 32 << 20
"""Bytes; FreeBSD-src, the largest package there is, needs about 24 MiB."""

SCRIPT_KINDS: Final = (
    "pre-install",
    "post-install",
    "pre-deinstall",
    "post-deinstall",
    "install",
    "deinstall",
)
LUA_SCRIPT_KINDS: Final = SCRIPT_KINDS[:4]

_LICENSE_LOGIC: Final = {
    "single": "single",
    "or": "or",
    "dual": "or",
    "and": "and",
    "multi": "and",
}

_FLAG_BITS: Final = {
    "uchg": 0x2,
    "uchange": 0x2,
    "uimmutable": 0x2,
    "nodump": 0x1,
    "uappnd": 0x4,
    "uappend": 0x4,
    "opaque": 0x8,
    "uunlnk": 0x10,
    "uunlink": 0x10,
    "usystem": 0x80,
    "usparse": 0x100,
    "uoffline": 0x200,
    "ureparse": 0x400,
    "uarch": 0x800,
    "uarchive": 0x800,
    "urdonly": 0x1000,
    "uhidden": 0x8000,
    "hidden": 0x8000,
    "arch": 0x10000,
    "archived": 0x10000,
    "schg": 0x20000,
    "schange": 0x20000,
    "simmutable": 0x20000,
    "sappnd": 0x40000,
    "sappend": 0x40000,
    "sunlnk": 0x100000,
    "sunlink": 0x100000,
    "snapshot": 0x200000,
}
"""strtofflags(3) of FreeBSD (lib/libc/gen/strtofflags.c)."""


class FileRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One entry of `files`: a regular file, hard link or symlink."""

    path: str
    sum: str | None
    """As written; None where the manifest has none."""
    uname: str | None
    gname: str | None
    perm: int
    """Mode bits; 0 where the manifest has none."""
    fflags: int
    mtime: int
    """Seconds; 0 where the manifest has none."""
    symlink_target: str | None


class DirectoryRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One entry of `directories`, without a trailing slash."""

    path: str
    uname: str | None
    gname: str | None
    perm: int
    fflags: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """One entry of `deps`."""

    name: str
    origin: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One entry of `messages`."""

    text: str
    kind: str | None
    """`install`, `upgrade`, `remove`; None is always."""
    minimum_version: str | None
    maximum_version: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageManifest:
    """Everything that a package says of itself. Lists are sorted and unique (rule 4)."""

    name: str
    origin: str
    version: str
    comment: str
    desc: str
    maintainer: str
    www: str
    prefix: str
    abi: str
    """`FreeBSD:15:amd64`; the old `arch` where there is no abi; empty where there is neither."""
    arch: str
    """The old spelling, `freebsd:15:x86:64`; empty where absent."""
    flatsize: int
    licenselogic: str | None
    """`single`, `or`, `and`; None where absent, which pkg shows as single and stores as 0."""
    licenses: tuple[str, ...]
    vital: bool
    dep_formula: str | None
    deps: tuple[Dependency, ...]
    categories: tuple[str, ...]
    users: tuple[str, ...]
    groups: tuple[str, ...]
    shlibs_required: tuple[str, ...]
    shlibs_required_ignore: tuple[str, ...]
    shlibs_provided: tuple[str, ...]
    shlibs_provided_ignore: tuple[str, ...]
    conflicts: tuple[str, ...]
    provides: tuple[str, ...]
    requires: tuple[str, ...]
    options: tuple[tuple[str, str], ...]
    annotations: tuple[tuple[str, str], ...]
    files: tuple[FileRecord, ...]
    directories: tuple[DirectoryRecord, ...]
    config: tuple[str, ...]
    scripts: tuple[tuple[str, str], ...]
    """Pairs of (kind, text), in the order of SCRIPT_KINDS."""
    lua_scripts: tuple[tuple[str, str], ...]
    """Pairs of (kind, text), in manifest order."""
    messages: tuple[Message, ...]

    @property
    def name_version(self) -> str:
        """`name-version`, as pkg prints it."""
        return f"{self.name}-{self.version}"

    @classmethod
    def parse(cls, raw: bytes) -> PackageManifest:
        """Parse the bytes of a +MANIFEST.

        Raises:
            ManifestError: with the path of the fault inside the document.
        """
        if len(raw) > MAX_MANIFEST:
            raise ManifestError(f"manifest of {len(raw)} bytes, want at most {MAX_MANIFEST}")
        return cls.from_dict(canonical_json.loads_object(raw, error=ManifestError))

    @classmethod
    def from_dict(cls, d: Mapping[str, object]) -> PackageManifest:
        """Read the decoded document; files and scripts may be absent (a catalogue's record)."""
        arch = _text(d, "arch", default="")
        return cls(
            name=_name(d),
            origin=_text(d, "origin"),
            version=_version(d),
            comment=_text(d, "comment"),
            desc=percent_decode(_text(d, "desc")),
            maintainer=_text(d, "maintainer"),
            www=_text(d, "www"),
            prefix=_text(d, "prefix"),
            abi=_text(d, "abi", default=arch),
            arch=arch,
            flatsize=_size(d, "flatsize"),
            licenselogic=_license_logic(d),
            licenses=_strings(d, "licenses"),
            vital=get_optional(d, bool, "vital", error=ManifestError) or False,
            dep_formula=_text(d, "dep_formula", default="") or None,
            deps=_dependencies(d),
            categories=_strings(d, "categories"),
            users=_strings(d, "users"),
            groups=_strings(d, "groups"),
            shlibs_required=_strings(d, "shlibs_required", "shlibs"),
            shlibs_required_ignore=_strings(d, "shlibs_required_ignore"),
            shlibs_provided=_strings(d, "shlibs_provided"),
            shlibs_provided_ignore=_strings(d, "shlibs_provided_ignore"),
            conflicts=_strings(d, "conflicts"),
            provides=_strings(d, "provides"),
            requires=_strings(d, "requires"),
            options=_options(d),
            annotations=_annotations(d),
            files=_files(d),
            directories=_directories(d),
            config=_config(d),
            scripts=_scripts(d),
            lua_scripts=_lua_scripts(d),
            messages=_messages(d),
        )


# ---------------------------------------------------------------- text


def percent_decode(text: str) -> str:
    """Undo pkg's percent-encoding (rule 3); bytes that are not UTF-8 become surrogates."""
    if "%" not in text:
        return text
    raw = text.encode("utf-8", "surrogateescape")
    end = len(raw)
    out = bytearray()
    position = 0
    while (found := raw.find(b"%", position)) >= 0:
        out += raw[position:found]
        position = found + 1
        code = raw[found + 1 : found + 3]
        if found + 2 < end and _is_hex(code):
            out.append(int(code, 16))
            position = found + 3
        else:
            out += b"%"
    out += raw[position:]
    decoded = out.decode("utf-8", "surrogateescape")
    if "\0" in decoded:
        raise ManifestError("%00 in percent-encoded text")
    return decoded


def _is_hex(code: bytes) -> bool:
    return len(code) == 2 and all(c in b"0123456789abcdefABCDEF" for c in code)  # noqa: PLR2004


def _no_nul(text: str, context: str) -> str:
    if "\0" in text:
        raise ManifestError("NUL in text", context=context)
    return text


def _text(d: Mapping[str, object], key: str, *, default: str | None = None) -> str:
    value = d.get(key)
    if type(value) is str and "\0" not in value:
        return value  # as nearly all are
    if default is not None and key not in d:
        return default
    return _no_nul(get_required(d, str, key, error=ManifestError), key)


def _text_or_number(d: Mapping[str, object], key: str) -> str:
    value = d.get(key)
    if type(value) is int:
        return str(value)
    return _text(d, key)


def _name(d: Mapping[str, object]) -> str:
    try:
        return check_name(_text_or_number(d, "name"))
    except ManifestError as e:
        raise e if e.context else e.within("name") from None


def _version(d: Mapping[str, object]) -> str:
    try:
        return check_version(_text_or_number(d, "version"))
    except ManifestError as e:
        raise e if e.context else e.within("version") from None


def _size(d: Mapping[str, object], key: str) -> int:
    value = get_optional(d, int, key, error=ManifestError)
    if value is None:
        return 0
    if not 0 <= value < 1 << 63:
        raise ManifestError(f"got {value}, want 0 to 2^63-1", context=key)
    return value


def _sorted_unique(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(items), key=byte_order))


def _strings(d: Mapping[str, object], key: str, legacy: str | None = None) -> tuple[str, ...]:
    values = get_sequence_of(d, str, key, error=ManifestError)
    if legacy is not None:
        values += get_sequence_of(d, str, legacy, error=ManifestError)
    for i, value in enumerate(values):
        _no_nul(value, f"{key}[{i}]")
    return _sorted_unique(values)


def _license_logic(d: Mapping[str, object]) -> str | None:
    if "licenselogic" not in d:
        return None
    value = _text(d, "licenselogic")
    if value not in _LICENSE_LOGIC:
        raise ManifestError(f"got {value!r}, want single, or, and", context="licenselogic")
    return _LICENSE_LOGIC[value]


# ---------------------------------------------------------------- relations


def _dependencies(d: Mapping[str, object]) -> tuple[Dependency, ...]:
    raw = get_optional(d, dict, "deps", error=ManifestError) or {}
    result = {}
    for name, value in raw.items():
        context = f"deps.{name}"
        try:
            check_name(name)
        except ManifestError as e:
            raise e.within("deps") from None
        items = value if isinstance(value, list) else [value]
        if not items:
            raise ManifestError("empty list, want an object", context=context)
        first = checked(items[0], dict, context=context, error=ManifestError)
        try:
            origin = _text(first, "origin")
            version = _text_or_number(first, "version") if "version" in first else ""
        except ManifestError as e:
            raise e.within(context) from None
        result[name] = Dependency(name=name, origin=origin, version=version)
    return tuple(result[name] for name in _sorted_unique(result))


def _options(d: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    raw = get_optional(d, dict, "options", error=ManifestError) or {}
    result = {}
    for key, value in raw.items():
        if isinstance(value, bool):
            result[key] = "on" if value else "off"
        else:
            text = checked(value, str, context=f"options.{key}", error=ManifestError)
            result[key] = _no_nul(text, f"options.{key}")
        _no_nul(key, "options")
    return tuple((key, result[key]) for key in _sorted_unique(result))


def _annotations(d: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    raw = get_optional(d, dict, "annotations", error=ManifestError) or {}
    for key, value in raw.items():
        text = checked(value, str, context=f"annotations.{key}", error=ManifestError)
        _no_nul(key + text, f"annotations.{key}")
    return tuple((key, raw[key]) for key in _sorted_unique(raw))


# ---------------------------------------------------------------- files


_PERM_RE: Final = re.compile("0*[0-7]{1,4}")


def parse_perm(value: object) -> int:
    """Read `perm`: octal digits in a string, or an integer whose digits are octal."""
    text = str(value) if type(value) is int else value
    if not isinstance(text, str) or not _PERM_RE.fullmatch(text):
        raise ManifestError(f"got perm {value!r}, want octal digits up to 7777")
    return int(text, 8)


def parse_fflags(value: object) -> int:
    """Read `fflags`: a number, or comma-separated names as in chflags(1)."""
    if type(value) is int and 0 <= value < 1 << 32:
        return value
    if not isinstance(value, str):
        raise ManifestError(f"got fflags {value!r}, want a number or names")
    bits = 0
    for name in value.split(","):
        if name in ("", "none", "0"):
            continue
        if name not in _FLAG_BITS:
            raise ManifestError(f"got file flag {name!r}, want one of chflags(1)")
        bits |= _FLAG_BITS[name]
    return bits


def _mtime(value: object) -> int:
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value):
        return int(value)
    if type(value) is int:
        return value
    raise ManifestError(f"got mtime {value!r}, want seconds")


def _file_from_object(path: str, d: Mapping[str, object]) -> FileRecord:
    target = d.get("symlink_target")
    return FileRecord(
        path=path,
        sum=_text(d, "sum") if "sum" in d else None,
        uname=_text(d, "uname") if "uname" in d else None,
        gname=_text(d, "gname") if "gname" in d else None,
        perm=parse_perm(d["perm"]) if "perm" in d else 0,
        fflags=parse_fflags(d["fflags"]) if "fflags" in d else 0,
        mtime=_mtime(d["mtime"]) if "mtime" in d else 0,
        symlink_target=None if target is None else _text(d, "symlink_target"),
    )


def _files(d: Mapping[str, object]) -> tuple[FileRecord, ...]:
    raw = get_optional(d, dict, "files", error=ManifestError) or {}
    result = {}
    for key, value in raw.items():
        try:
            path = check_path(percent_decode(key))
            if isinstance(value, str):
                record = FileRecord(
                    path=path,
                    sum=_no_nul(value, "") if len(value) >= 2 else None,  # noqa: PLR2004
                    uname=None,
                    gname=None,
                    perm=0,
                    fflags=0,
                    mtime=0,
                    symlink_target=None,
                )
            else:
                record = _file_from_object(
                    path, checked(value, dict, context="", error=ManifestError)
                )
        except FormatError as e:
            raise e.within(f"files[{key[:80]!r}]") from None
        if path in result:
            raise ManifestError("path twice", context=f"files[{key[:80]!r}]")
        result[path] = record
    return tuple(result[path] for path in _sorted_unique(result))


def _directory(key: str, value: object) -> DirectoryRecord:
    path = check_path(percent_decode(key).rstrip("/"))
    attributes: Mapping[str, object] = {}
    if isinstance(value, dict):
        attributes = value
    elif not isinstance(value, (str, bool)):
        raise ManifestError("want a string, a boolean or an object")
    return DirectoryRecord(
        path=path,
        uname=_text(attributes, "uname") if "uname" in attributes else None,
        gname=_text(attributes, "gname") if "gname" in attributes else None,
        perm=parse_perm(attributes["perm"]) if "perm" in attributes else 0,
        fflags=parse_fflags(attributes["fflags"]) if "fflags" in attributes else 0,
    )


def _directories(d: Mapping[str, object]) -> tuple[DirectoryRecord, ...]:
    raw: dict[str, object] = dict(get_optional(d, dict, "directories", error=ManifestError) or {})
    for i, item in enumerate(get_optional(d, list, "dirs", error=ManifestError) or ()):
        if isinstance(item, str):
            raw.setdefault(item, "y")
        else:
            raw.update(checked(item, dict, context=f"dirs[{i}]", error=ManifestError))
    result: dict[str, DirectoryRecord] = {}
    for key, value in raw.items():
        try:
            record = _directory(key, value)
        except FormatError as e:
            raise e.within(f"directories[{key[:80]!r}]") from None
        result.setdefault(record.path, record)
    return tuple(result[path] for path in _sorted_unique(result))


def _config(d: Mapping[str, object]) -> tuple[str, ...]:
    try:
        paths = [check_path(p) for p in _strings(d, "config")]
    except FormatError as e:
        raise e if e.context else e.within("config") from None
    return _sorted_unique(paths)


# ---------------------------------------------------------------- scripts and messages


def _scripts(d: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    raw = get_optional(d, dict, "scripts", error=ManifestError) or {}
    for kind, text in raw.items():
        if kind not in SCRIPT_KINDS:
            raise ManifestError(f"unknown kind of script {kind!r}", context="scripts")
        checked(text, str, context=f"scripts.{kind}", error=ManifestError)
    return tuple(
        (kind, _no_nul(percent_decode(raw[kind]), f"scripts.{kind}"))
        for kind in SCRIPT_KINDS
        if kind in raw
    )


def _lua_scripts(d: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    raw = get_optional(d, dict, "lua_scripts", error=ManifestError) or {}
    result = []
    for kind, texts in raw.items():
        context = f"lua_scripts.{kind}"
        if kind not in LUA_SCRIPT_KINDS:
            raise ManifestError(f"unknown kind of script {kind!r}", context="lua_scripts")
        result += [
            (kind, _no_nul(checked(text, str, context=context, error=ManifestError), context))
            for text in checked(texts, list, context=context, error=ManifestError)
        ]
    return tuple(result)


def _message(item: object, context: str) -> Message:
    if isinstance(item, str):
        return Message(
            text=_no_nul(item, context), kind=None, minimum_version=None, maximum_version=None
        )
    d = checked(item, dict, context=context, error=ManifestError)
    try:
        kind = _text(d, "type", default="") or None
        if kind not in (None, "install", "upgrade", "remove"):
            raise ManifestError(f"got {kind!r}, want install, upgrade, remove", context="type")
        return Message(
            text=_text(d, "message"),
            kind=kind,
            minimum_version=_text(d, "minimum_version", default="") or None,
            maximum_version=_text(d, "maximum_version", default="") or None,
        )
    except ManifestError as e:
        raise e.within(context) from None


def _messages(d: Mapping[str, object]) -> tuple[Message, ...]:
    key = "messages" if "messages" in d else "message"
    if key not in d:
        return ()
    value = d[key]
    items = value if isinstance(value, list) else [value]
    return tuple(_message(item, f"{key}[{i}]") for i, item in enumerate(items))
