"""Catalogue: what a repository offers, as values. Reading one is `packagesite`'s work.

A record is a package manifest (usually without files and scripts) plus where its archive lies and
what it must be (`record`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.pkg.record import CatalogueRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """All records of a repository, sorted by name, then by version, newest last."""

    repository: str
    """The repository's name in the declaration; it becomes an annotation of each package."""
    priority: int
    """Higher wins; the declaration's order breaks ties."""
    records: tuple[CatalogueRecord, ...]
