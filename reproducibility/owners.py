"""Which package owns a path: from an image's own package database, or from layer specs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.errors import FormatError, PipelineError
from pipeline.formats.mtree import parse_spec
from pipeline.pkg.localdb_read import parse_localdb

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from reproducibility.layer_view import LayerView

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
        paths = [d.path for d in manifest.directories] + [f.path for f in manifest.files]
        owners.update((path.strip("/"), manifest.name) for path in paths)
    return owners


def owners_from_specs(specs: Iterable[bytes]) -> Mapping[str, str]:
    """Return the owner of each path from `tags=package=` in mtree specs.

    Raises:
        FormatError: a spec cannot be read.
    """
    return {
        entry.path: entry.package for raw in specs for entry in parse_spec(raw) if entry.package
    }


def find_owners(
    a: Sequence[LayerView], b: Sequence[LayerView], workplace: Path
) -> Mapping[str, str]:
    """Return the owners that the package databases of two images tell; A's word counts more.

    An image without a database, or with one that cannot be read, tells nothing: the database itself
    is compared elsewhere.
    """
    owners: dict[str, str] = {}
    for views in (b, a):
        raw = _database(views, workplace / "owners")
        try:
            owners.update(owners_from_localdb(raw) if raw else {})
        except (FormatError, ValueError):
            continue
    return owners


def _database(views: Sequence[LayerView], scratch_file: Path) -> bytes:
    """Return the uppermost package database of some layers; empty if there is none."""
    for view in reversed(views):
        view.read()
        row = view.table.get(DATABASE)
        if row is None or row.entry.size > MAX_DATABASE:
            continue
        try:
            view.layer.extract({row.entry.content: scratch_file})
            return scratch_file.read_bytes()
        except (PipelineError, OSError):
            return b""
        finally:
            scratch_file.unlink(missing_ok=True)
    return b""
