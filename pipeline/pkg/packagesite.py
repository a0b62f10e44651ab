"""A repository's catalogue: the verified bytes of `data` or `packagesite.yaml` -> Catalogue.

Source: freebsd/pkg 2.8.4, libpkg/repo/binary/update.c and libpkg/utils.c (is_valid_abi). Both forms
hold compact package manifests with the keys `sum`, `repopath` (also `path`) and `pkgsize` added;
catalogues of `pkg repo -l` before 2.8.2 hold full manifests.

Rules, stricter than pkg where pkg would do something that it was not asked to:

1. `data` is one JSON object with the list `packages`; `groups` and `expired_packages` are passed
   over. `packagesite.yaml` is one JSON object a line; blank lines count for nothing.
2. One malformed record makes the catalogue malformed.
3. `repopath` is relative and normal, of the characters in `_COMPONENT_RE`: nothing that a URL would
   read as a query, a fragment or an escape, nothing that leaves the repository. `path`, if there is
   one as well, says the same.
4. `sum` is one of pkg's checksums in full; `pkgsize` is 1 to `MAX_PACKAGE`.
5. A record's ABI fits the wanted one (`abi`); one that does not is an error, as it is for pkg.
6. The same record twice counts once; two different ones of the same name and version are refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from pipeline.errors import FormatError, ManifestMismatchError, PackagesiteError
from pipeline.formats import canonical_json
from pipeline.formats.fields import checked, get_as, get_required
from pipeline.pkg.catalogue import Catalogue, CatalogueRecord
from pipeline.pkg.manifest import PackageManifest
from pipeline.pkg.manifestdigest import manifest_digest
from pipeline.pkg.names import byte_order
from pipeline.pkg.sum import Sum
from pipeline.pkg.version import PkgVersion

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pipeline.pkg.abi import Abi

MAX_PACKAGE: Final = 8 << 30
"""Bytes of one package archive; the largest of FreeBSD's own have less than 1 GiB."""

_MAX_REPOPATH: Final = 1024
_COMPONENT_RE: Final = re.compile(r"[A-Za-z0-9_.+@~$,:=()!^-]{1,255}")

_TOLD: Final = (
    "name",
    "version",
    "origin",
    "abi",
    "prefix",
    "flatsize",
    "vital",
    "dep_formula",
    "deps",
    "conflicts",
    "provides",
    "requires",
    "shlibs_required",
    "shlibs_provided",
    "options",
    "users",
    "groups",
)
"""Fields on which a choice of packages rests. Of the others, an older `pkg repo` leaves out what it
does not know: it writes records anew from what it has read."""


def parse_data(payload: bytes) -> Iterator[Mapping[str, object]]:
    """Yield the records of `data` (rule 1).

    Raises:
        PackagesiteError: it is not such a document.
    """
    document = canonical_json.loads_object(payload, error=PackagesiteError)
    packages = get_required(document, list, "packages", error=PackagesiteError)
    for i, record in enumerate(packages):
        yield checked(record, dict, context=f"packages[{i}]", error=PackagesiteError)


def parse_packagesite(payload: bytes) -> Iterator[Mapping[str, object]]:
    """Yield the records of `packagesite.yaml` (rule 1).

    Raises:
        PackagesiteError: a line is no JSON object.
    """
    for number, line in enumerate(payload.split(b"\n"), 1):
        if line.strip():
            try:
                yield canonical_json.loads_object(line, error=PackagesiteError)
            except PackagesiteError as e:
                raise e.within(f"line {number}") from None


def build_catalogue(
    records: Iterable[Mapping[str, object]], *, repository: str, priority: int, abi: Abi
) -> Catalogue:
    """Make a catalogue of decoded records.

    Args:
        records: as `parse_data` or `parse_packagesite` yields them.
        repository: its name in the declaration.
        priority: its priority in the declaration.
        abi: what every package must fit.

    Raises:
        PackagesiteError: a record is malformed, for another ABI, or contradicts another.
    """
    found: dict[tuple[str, str], CatalogueRecord] = {}
    for i, fields in enumerate(records):
        try:
            record = _record(fields, abi)
        except FormatError as e:
            raise _located(e, fields, i) from None
        held = found.setdefault((record.name, record.version), record)
        if held != record:
            raise PackagesiteError(
                "a second, different record of this name and version",
                context=f"packages[{i}] ({record.manifest.name_version})",
            )
    return Catalogue(
        repository=repository,
        priority=priority,
        records=tuple(sorted(found.values(), key=_order)),
    )


def _order(record: CatalogueRecord) -> tuple[bytes, PkgVersion, bytes]:
    return (
        byte_order(record.name),
        PkgVersion.parse(record.version),
        byte_order(record.version),
    )


def _located(e: FormatError, fields: Mapping[str, object], index: int) -> PackagesiteError:
    name = fields.get("name")
    where = f"packages[{index}]"
    if isinstance(name, str):
        where += f" ({name[:80]!r})"
    context = f"{where}, {e.context}" if e.context else where
    return PackagesiteError(e.message, hint=e.hint, context=context)


def _record(d: Mapping[str, object], abi: Abi) -> CatalogueRecord:
    manifest = PackageManifest.from_dict(d)
    if not abi.matches(manifest.abi):
        raise PackagesiteError(f"got {manifest.abi[:80]!r}, want {abi}", context="abi")
    return CatalogueRecord(
        manifest=manifest,
        repopath=_repopath(d),
        pkgsize=_pkgsize(d),
        sum=get_as(d, str, Sum.parse, "sum", error=PackagesiteError),
        manifestdigest=manifest_digest(manifest, with_files=bool(manifest.files), with_vital=True),
    )


def check_repopath(text: str) -> str:
    """Return a path that stays below the repository's URL (rule 3), or raise PackagesiteError."""
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


def verify_manifest(manifest: PackageManifest, record: CatalogueRecord) -> PackageManifest:
    """Return a package's own manifest if the catalogue told the truth about it.

    The catalogue is signed and the package is named by its sum, so a difference means that the
    repository was put together wrongly, or that somebody who can sign it is lying.

    Raises:
        ManifestMismatchError: naming the first field that differs, and how many do.
    """
    said = record.manifest
    differing = [field for field in _TOLD if getattr(manifest, field) != getattr(said, field)]
    if differing:
        field = differing[0]
        more = f" (and {len(differing) - 1} other fields)" if len(differing) > 1 else ""
        raise ManifestMismatchError(
            f"{record.repopath}: {field}: got {_shown(getattr(manifest, field))},"
            f" want {_shown(getattr(said, field))}{more}"
        )
    return manifest


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."  # noqa: PLR2004
