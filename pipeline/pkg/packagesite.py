"""A repository's catalogue: the verified bytes of `data` or `packagesite.yaml` -> Catalogue.

Source: freebsd/pkg 2.8.4, libpkg/repo/binary/update.c and libpkg/utils.c (is_valid_abi). Both forms
hold compact package manifests with the keys `sum`, `repopath` (also `path`) and `pkgsize` added;
catalogues of `pkg repo -l` before 2.8.2 hold full manifests.

Rules, stricter than pkg where pkg would do something that it was not asked to:

1. `data` is one JSON object with the list `packages`; `groups` and `expired_packages` are passed
   over. `packagesite.yaml` is one JSON object a line; blank lines count for nothing.
2. One malformed record makes the catalogue malformed.
3. `repopath` is relative and normal (`record.check_repopath`): nothing that a URL would read as a
   query, a fragment or an escape, nothing that leaves the repository. `path`, if there is one as
   well, says the same.
4. `sum` is one of pkg's checksums in full; `pkgsize` is 1 to `MAX_PACKAGE`.
5. A record's ABI fits the wanted one (`abi`); one that does not is an error, as it is for pkg.
6. The same record twice counts once; two different ones of the same name and version are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from pipeline.errors import FormatError, ManifestMismatchError, PackagesiteError
from pipeline.formats import canonical_json
from pipeline.formats.fields import get_required
from pipeline.pkg.catalogue import Catalogue
from pipeline.pkg.names import byte_order
from pipeline.pkg.record import CatalogueRecord, RawRecord
from pipeline.pkg.version import PkgVersion

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pipeline.pkg.abi import Abi
    from pipeline.pkg.manifest import PackageManifest

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


def parse_data(payload: bytes) -> list[RawRecord]:
    """Return the records of `data` (rule 1).

    Raises:
        PackagesiteError: it is not such a document.
    """
    packages = _compact_packages(payload)
    if packages is None:
        document = canonical_json.loads_object(payload, error=PackagesiteError)
        records = get_required(document, list, "packages", error=PackagesiteError)
        packages = [msgspec.Raw(canonical_json.dumps([record])[1:-1]) for record in records]
    return [RawRecord(f"packages[{i}]", memoryview(raw)) for i, raw in enumerate(packages)]


def _compact_packages(payload: bytes) -> list[msgspec.Raw] | None:
    """Return the records of a document without white space, as pkg writes it; None for others.

    They are not looked into, so that the document is never in memory as values. Nothing stands
    between its members; so its length tells that none of them is there twice.
    """
    try:
        members = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
        packages = msgspec.json.decode(members["packages"], type=list[msgspec.Raw])
    except (msgspec.MsgspecError, RecursionError, KeyError):
        return None
    length = 1 + sum(len(msgspec.json.encode(key)) + len(raw) + 2 for key, raw in members.items())
    if length != len(payload) - payload.endswith(b"\n"):
        return None
    for key, raw in members.items():
        if key != "packages":
            canonical_json.loads(bytes(raw), error=PackagesiteError)
    return packages


def parse_packagesite(payload: bytes) -> list[RawRecord]:
    """Return the records of `packagesite.yaml` (rule 1)."""
    view = memoryview(payload)
    found = []
    start = number = 0
    while start < len(payload):
        end = payload.find(b"\n", start) % (len(payload) + 1)
        number += 1
        if payload[start:end].strip():
            found.append(RawRecord(f"line {number}", view[start:end]))
        start = end + 1
    return found


def build_catalogue(
    records: Iterable[RawRecord], *, repository: str, priority: int, abi: Abi
) -> Catalogue:
    """Make a catalogue of records.

    Args:
        records: as `parse_data` or `parse_packagesite` returns them.
        repository: its name in the declaration.
        priority: its priority in the declaration.
        abi: what every package must fit.

    Raises:
        PackagesiteError: a record is malformed, for another ABI, or contradicts another.
    """
    fits: dict[str, bool] = {}
    found: dict[tuple[str, str], CatalogueRecord] = {}
    for raw in records:
        fields = raw.decode()
        try:
            record = CatalogueRecord.of_fields(raw.raw, fields)
            if record.abi not in fits:
                fits[record.abi] = abi.matches(record.abi)
            if not fits[record.abi]:
                raise PackagesiteError(f"got {record.abi[:80]!r}, want {abi}", context="abi")
        except FormatError as e:
            raise _located(e, fields, raw.where) from None
        held = found.setdefault((record.name, record.version), record)
        if held is not record and held != record:
            raise PackagesiteError(
                "a second, different record of this name and version",
                context=f"{raw.where} ({record.name_version})",
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


def _located(e: FormatError, fields: Mapping[str, object], where: str) -> PackagesiteError:
    name = fields.get("name")
    if isinstance(name, str):
        where += f" ({name[:80]!r})"
    context = f"{where}, {e.context}" if e.context else where
    return PackagesiteError(e.message, hint=e.hint, context=context)


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
