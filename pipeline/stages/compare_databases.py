"""Stage `diff`: what two package databases say differently, wherever they are.

A place is a database file, a root directory, a rootfs tar of any dialect and compression, or an
image in a layout, `PATH[:NAME]`. An image for several platforms has a database for each.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.errors import ConfigurationError, FormatError, LayoutError
from pipeline.formats.decompression import expansion_limit, open_decompressed
from pipeline.formats.fields import get_as
from pipeline.formats.foreign_tar import ForeignTarReader
from pipeline.formats.sqlite_wal import fold_wal
from pipeline.host.layout import Layout
from pipeline.oci.descriptor import Descriptor, get_descriptors
from pipeline.oci.media_type import MediaType
from pipeline.pkg.localdb_diff import diff_localdb
from pipeline.pkg.localdb_file import MAX_DATABASE
from pipeline.pkg.localdb_read import parse_localdb
from pipeline.rootfs.normalise import DATABASE, JOURNAL, WAL, clean_path
from pipeline.rootfs.whiteouts import hides
from pipeline.stages.canonicalize_database import DatabaseFiles, database_in, read_database
from pipeline.stages.layout_place import Place, read_object, verified_blob

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pipeline.pkg.localdb_diff import LocalDatabaseDifference
    from pipeline.pkg.localdb_read import LocalDatabase

_MAGIC: Final = b"SQLite format 3\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two places, compared."""

    differences: Mapping[str, LocalDatabaseDifference]
    """By platform; empty for what is no image for several."""
    only_a: tuple[str, ...]
    """Platforms that only A has."""
    only_b: tuple[str, ...]

    @property
    def is_same(self) -> bool:
        """Whether nothing differs."""
        return not (self.only_a or self.only_b) and all(
            d.is_empty for d in self.differences.values()
        )


def compare_databases(a: str, b: str, *, ignore_times: bool) -> Comparison:
    """Compare the databases of two places.

    Args:
        a: see the module.
        b: likewise.
        ignore_times: pass over times of installation.

    Raises:
        ConfigurationError: a place is none, or has no database.
        FormatError: a database, archive or image cannot be read.
    """
    databases_a, databases_b = (
        {
            platform: _undated(database) if ignore_times else database
            for platform, database in _databases(place).items()
        }
        for place in (a, b)
    )
    if len(databases_a) == len(databases_b) == 1:
        ((database_a,), (database_b,)) = databases_a.values(), databases_b.values()
        return Comparison(
            differences={"": diff_localdb(database_a, database_b)}, only_a=(), only_b=()
        )
    return Comparison(
        differences={
            platform: diff_localdb(database, databases_b[platform])
            for platform, database in databases_a.items()
            if platform in databases_b
        },
        only_a=tuple(sorted(databases_a.keys() - databases_b.keys())),
        only_b=tuple(sorted(databases_b.keys() - databases_a.keys())),
    )


def _undated(database: LocalDatabase) -> LocalDatabase:
    return replace(
        database, packages=tuple(replace(package, time=0) for package in database.packages)
    )


# ---------------------------------------------------------------- places


def _databases(text: str) -> dict[str, LocalDatabase]:
    """Return the databases of a place, by platform."""
    path = Path(text)
    place = Place.parse(text)
    try:
        if (place.path / "oci-layout").is_file() or text.startswith("oci:"):
            found = dict(_image_databases(place))
        elif path.is_dir():
            found = {"": read_database(database_in(path))}
        elif path.is_file():
            found = {"": _file_database(path)}
        else:
            raise ConfigurationError(f"{text}: no such file or directory")
        return {platform: _parsed(files) for platform, files in found.items()}
    except FormatError as e:
        raise e.in_document(text) from None


def _parsed(files: DatabaseFiles) -> LocalDatabase:
    return parse_localdb(fold_wal(files.raw, files.wal), wal=b"", journal=files.journal)


def _file_database(path: Path) -> DatabaseFiles:
    with path.open("rb") as f:
        if f.read(len(_MAGIC)) == _MAGIC:
            return read_database(path)
    found = _archive_database(path)
    if isinstance(found, DatabaseFiles):
        return found
    raise ConfigurationError(f"{path}: no {DATABASE} in it")


def _archive_database(path: Path) -> DatabaseFiles | bool:
    """Return an archive's database; if it has none, whether it hides that of lower layers."""
    found: dict[str, bytes] = {}
    is_hidden = False
    with path.open("rb") as f:
        limit = expansion_limit(path.stat().st_size)
        reader = ForeignTarReader(open_decompressed(f, limit=limit, what=str(path)))
        for member in reader:
            name = clean_path(member.name)
            is_hidden = is_hidden or hides(name, DATABASE)
            if name in (DATABASE, WAL, JOURNAL):
                if member.size > MAX_DATABASE:
                    raise FormatError(f"{member.size} bytes", context=repr(name))
                found[name] = b"".join(reader.chunks())
    if DATABASE not in found:
        return is_hidden
    return DatabaseFiles(
        raw=found[DATABASE], wal=found.get(WAL, b""), journal=found.get(JOURNAL, b"")
    )


# ---------------------------------------------------------------- images


def _image_databases(place: Place) -> Iterator[tuple[str, DatabaseFiles]]:
    descriptor, _ = place.descriptor()
    layout = Layout(place.path)
    for platform, manifest in _manifests(layout, descriptor):
        for layer in reversed(get_descriptors(manifest, "layers")):
            found = _archive_database(verified_blob(layout, layer))
            if isinstance(found, DatabaseFiles):
                yield platform, found
                break
            if found:
                raise ConfigurationError(f"{place} {platform}: its {DATABASE} is deleted")
        else:
            raise ConfigurationError(f"{place} {platform}: no layer has a {DATABASE}")


def _manifests(layout: Layout, descriptor: Descriptor) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield platform and manifest of each image."""
    d = read_object(layout, descriptor)
    if descriptor.media_type == MediaType.INDEX:
        for child in get_descriptors(d, "manifests"):
            yield from _manifests(layout, child)
        return
    config = get_as(d, dict, Descriptor.from_dict, "config", error=LayoutError)
    if config.media_type == MediaType.CONFIG:
        image = read_object(layout, config)
        parts = (image.get(key) for key in ("os", "architecture", "variant"))
        yield "/".join(str(part) for part in parts if part), d
