"""Which package owns a path: from an image's own package database, or from layer specs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.formats.mtree import parse_spec
from pipeline.pkg.localdb_read import parse_localdb

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DATABASE: Final = "var/db/pkg/local.sqlite"
MAX_DATABASE: Final = 256 << 20


def owners_from_localdb(raw: bytes) -> Mapping[str, str]:
    """Return the owner of each path that pkg's database lists.

    Raises:
        FormatError: the database cannot be read.
    """
    owners: dict[str, str] = {}
    for package in parse_localdb(raw, wal=b"", journal=b"").packages:
        manifest = package.manifest
        for record in (*manifest.directories, *manifest.files):
            owners[record.path.strip("/")] = manifest.name
    return owners


def owners_from_specs(specs: Iterable[bytes]) -> Mapping[str, str]:
    """Return the owner of each path from `tags=package=` in mtree specs.

    Raises:
        FormatError: a spec cannot be read.
    """
    return {
        entry.path: entry.package for raw in specs for entry in parse_spec(raw) if entry.package
    }
