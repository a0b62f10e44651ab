"""One record of a catalogue: its bytes, what a resolver asks of every record, the rest on demand.

A repository of ports has 34,000 records, of which an image needs a few. So a record is its bytes
within the catalogue and an index: name, version, ABI, what it provides and what it conflicts with.
Its manifest is made of the bytes when somebody asks for it.

Every record is checked before it becomes one, against all the rules of `PackageManifest`: quickly,
by a schema (`_Schema`) that is stricter than these rules and that what pkg writes satisfies; what
it does not satisfy, it says nothing about, and the rules themselves are asked.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Final, Literal, Self

import msgspec

from pipeline.errors import PackagesiteError
from pipeline.formats import canonical_json
from pipeline.formats.fields import checked, get_as, get_required
from pipeline.pkg.abi import OSVERSION_ANNOTATION
from pipeline.pkg.manifest import PackageManifest
from pipeline.pkg.manifestdigest import manifest_digest
from pipeline.pkg.names import NAME_PATTERN, VERSION_PATTERN, byte_order
from pipeline.pkg.sum import Sum

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_PACKAGE: Final = 8 << 30
"""Bytes of one package archive; the largest of FreeBSD's own have less than 1 GiB."""

_MAX_REPOPATH: Final = 1024
_COMPONENT_RE: Final = re.compile(r"[A-Za-z0-9_.+@~$,:=()!^-]{1,255}")

_AT_HAND: Final = 1 << 15
"""Manifests that are kept once they have been made: a resolution asks for the same ones often, in
no order, and with room for fewer than it needs it would make most of them every time."""


@dataclass(frozen=True, slots=True)
class RawRecord:
    """A record as it stands in a catalogue."""

    where: str
    """`packages[3]`, `line 4`."""
    raw: memoryview

    def decode(self) -> dict[str, object]:
        """Decode it.

        Raises:
            PackagesiteError: it is no JSON object.
        """
        try:
            value = canonical_json.loads(bytes(self.raw), error=PackagesiteError)
        except PackagesiteError as e:
            raise e.within(self.where) from None
        return checked(value, dict, context=self.where, error=PackagesiteError)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CatalogueRecord:
    """One package of a repository; equal to another one if it says the same."""

    raw: memoryview = field(repr=False)
    """The JSON object."""
    name: str
    version: str
    abi: str
    """As `PackageManifest.abi`."""
    osversion: str | None
    """The annotation `FreeBSD_version`."""
    provides: tuple[str, ...]
    shlibs_provided: tuple[str, ...]
    """Without `shlibs_provided_ignore`."""
    conflicts: tuple[str, ...]

    @classmethod
    def of_fields(cls, raw: memoryview, fields: Mapping[str, object]) -> Self:
        """Check a decoded record, and index it.

        Raises:
            FormatError: it is malformed.
        """
        said = _quickly(raw, fields) or PackageManifest.from_dict(fields)
        _Place.of_fields(fields)
        ignored = said.shlibs_provided_ignore
        return cls(
            raw=raw,
            name=said.name,
            version=said.version,
            abi=said.abi if "abi" in fields else said.arch,
            osversion=dict(said.annotations).get(OSVERSION_ANNOTATION),
            provides=_sorted_unique(said.provides),
            shlibs_provided=_sorted_unique(s for s in said.shlibs_provided if s not in ignored),
            conflicts=_sorted_unique(said.conflicts),
        )

    @property
    def name_version(self) -> str:
        """`name-version`, as pkg prints it."""
        return f"{self.name}-{self.version}"

    @property
    def manifest(self) -> PackageManifest:
        """All that the record says of the package."""
        return _manifest(bytes(self.raw))

    @property
    def repopath(self) -> str:
        """Path of the archive below the repository's URL: relative, normal, no query."""
        return self._place.repopath

    @property
    def pkgsize(self) -> int:
        """Length of the archive in bytes."""
        return self._place.pkgsize

    @property
    def sum(self) -> Sum:
        """Checksum of the archive."""
        return self._place.sum

    @property
    def _place(self) -> _Place:
        return _Place.of_fields(canonical_json.loads_object(bytes(self.raw)))

    @property
    def manifestdigest(self) -> str:
        """`2$2$…`, as pkg computes it from this record (pkg_checksum.c)."""
        manifest = self.manifest
        return manifest_digest(manifest, with_files=bool(manifest.files), with_vital=True)

    def alone(self) -> Self:
        """Return the record without the catalogue around its bytes, which may be large."""
        return replace(self, raw=memoryview(bytes(self.raw)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CatalogueRecord):
            return NotImplemented
        return self.raw == other.raw or (
            (self.manifest, self._place) == (other.manifest, other._place)
        )

    def __hash__(self) -> int:
        return hash((self.name, self.version))


@functools.lru_cache(_AT_HAND)
def _manifest(raw: bytes) -> PackageManifest:
    return PackageManifest.from_dict(canonical_json.loads_object(raw))


def _sorted_unique(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(items), key=byte_order))


# ---------------------------------------------------------------- where the archive is


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """What a catalogue adds to a package's manifest."""

    repopath: str
    pkgsize: int
    sum: Sum

    @classmethod
    def of_fields(cls, fields: Mapping[str, object]) -> Self:
        return cls(
            repopath=_repopath(fields),
            pkgsize=_pkgsize(fields),
            sum=get_as(fields, str, Sum.parse, "sum", error=PackagesiteError),
        )


def check_repopath(text: str) -> str:
    """Return a path that stays below the repository's URL, or raise PackagesiteError.

    It is relative and normal, of characters that no URL reads as a query, a fragment or an escape.
    """
    if len(text) > _MAX_REPOPATH:
        raise PackagesiteError(f"path of {len(text)} characters, want at most {_MAX_REPOPATH}")
    for component in text.split("/"):
        if component in ("", ".", ".."):
            raise PackagesiteError(f"got {text[:80]!r}, want a relative path without . and ..")
        if not _COMPONENT_RE.fullmatch(component):
            raise PackagesiteError(f"got {text[:80]!r}, want letters, digits and _.+@~$,:=()!^-")
    return text


def _repopath(d: Mapping[str, object]) -> str:
    key = "path" if "path" in d and "repopath" not in d else "repopath"
    path = get_as(d, str, check_repopath, key, error=PackagesiteError)
    if d.get("path", path) != path:
        raise PackagesiteError(f"got {d['path']!r}, and repopath {path!r}", context="path")
    return path


def _pkgsize(d: Mapping[str, object]) -> int:
    size = get_required(d, int, "pkgsize", error=PackagesiteError)
    if not 0 < size <= MAX_PACKAGE:
        raise PackagesiteError(f"got {size}, want 1 to {MAX_PACKAGE}", context="pkgsize")
    return size


# ---------------------------------------------------------------- the quick check

_Name = Annotated[str, msgspec.Meta(pattern=rf"\A(?:{NAME_PATTERN})\Z")]
_Version = Annotated[str, msgspec.Meta(pattern=rf"\A(?:{VERSION_PATTERN})\Z")]
_Size = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]

_SEEN_TO: Final = frozenset(
    ("files", "directories", "dirs", "config", "scripts", "lua_scripts", "message", "shlibs")
)
"""Keys that the schema leaves to `PackageManifest`; few catalogues have any of them."""


class _Dependency(msgspec.Struct, gc=False):
    origin: str
    version: str = ""


class _Message(msgspec.Struct, gc=False):
    message: str
    type: Literal["", "install", "upgrade", "remove"] = ""
    minimum_version: str = ""
    maximum_version: str = ""


class _Schema(msgspec.Struct):
    """What is certainly a manifest, if no text in it has a NUL."""

    name: _Name
    origin: str
    version: _Version
    comment: str
    desc: str
    maintainer: str
    www: str
    prefix: str
    abi: str = ""
    arch: str = ""
    flatsize: _Size = 0
    licenselogic: Literal["single", "or", "dual", "and", "multi"] = "single"
    licenses: list[str] = []
    vital: bool = False
    dep_formula: str = ""
    deps: dict[_Name, _Dependency] = {}
    categories: list[str] = []
    users: list[str] = []
    groups: list[str] = []
    shlibs_required: list[str] = []
    shlibs_required_ignore: list[str] = []
    shlibs_provided: list[str] = []
    shlibs_provided_ignore: list[str] = []
    conflicts: list[str] = []
    provides: list[str] = []
    requires: list[str] = []
    options: dict[str, str | bool] = {}
    annotations: dict[str, str] = {}
    messages: list[_Message] = []


def _quickly(raw: memoryview, fields: Mapping[str, object]) -> _Schema | None:
    r"""Return what a record says if it is certainly sound, None otherwise.

    A NUL would be written `\u0000`, in percent-encoded text `%00`.
    """
    data = bytes(raw)
    if b"\\u" in data or b"%00" in data or not _SEEN_TO.isdisjoint(fields):
        return None
    try:
        return msgspec.convert(fields, _Schema)
    except msgspec.ValidationError:
        return None
