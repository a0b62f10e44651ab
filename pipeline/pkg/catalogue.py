"""Catalogue: what a repository offers, as values. Reading one is `packagesite`'s work.

A record is a package manifest (usually without files and scripts) plus where its archive lies and
what it must be: `repopath`, `pkgsize`, `sum`, and the digest by which pkg compares packages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.pkg.manifest import PackageManifest
    from pipeline.pkg.sum import Sum


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueRecord:
    """One package of a repository."""

    manifest: PackageManifest
    repopath: str
    """Path of the archive below the repository's URL: relative, normal, no query."""
    pkgsize: int
    """Length of the archive in bytes."""
    sum: Sum
    """Checksum of the archive."""
    manifestdigest: str
    """`2$2$…`, as pkg computes it from this record (pkg_checksum.c)."""

    @property
    def name(self) -> str:
        """The package's name."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """The package's version."""
        return self.manifest.version


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """All records of a repository, sorted by name, then by version, newest last."""

    repository: str
    """The repository's name in the declaration; it becomes an annotation of each package."""
    priority: int
    """Higher wins; the declaration's order breaks ties."""
    records: tuple[CatalogueRecord, ...]
