"""Stage `canonicalize tar`: a rootfs tar of any dialect and compression, in canonical form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.errors import ArchiveError, ConfigurationError
from pipeline.formats.algorithm import Algorithm
from pipeline.formats.digest import HashingWriter
from pipeline.host.output import Spool, check_folder, replacing
from pipeline.stages.normal_archive import read_archive

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.formats.digest import Digest
    from pipeline.rootfs.normalise import Rules
    from pipeline.stages.canonicalize_database import CanonicalDatabase, DatabaseRules
    from pipeline.stages.normal_archive import Encoding

_SUFFIXES: Final = {
    ".tar": Algorithm.NONE,
    ".gz": Algorithm.GZIP,
    ".tgz": Algorithm.GZIP,
    ".zst": Algorithm.ZSTD,
    ".tzst": Algorithm.ZSTD,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TarResult:
    """What became of an archive."""

    entries: int
    size: int
    digest: Digest
    """Of the file as written, compressed."""
    diff_id: Digest
    """Of the uncompressed tar."""
    database: CanonicalDatabase | None
    notes: tuple[str, ...]


def algorithm_for(output: Path) -> Algorithm:
    """Return the compression that a file's name promises.

    Raises:
        ConfigurationError: it promises none, or one that is not written here.
    """
    if output.suffix not in _SUFFIXES:
        raise ConfigurationError(
            f"{output}: the name does not say how to compress it",
            hint=f"name it *{', *'.join(_SUFFIXES)}, or give --compression",
        )
    return _SUFFIXES[output.suffix]


def canonicalize_tar(
    source: Path,
    output: Path,
    *,
    rules: Rules,
    database: DatabaseRules,
    encoding: Encoding,
    dry_run: bool,
) -> TarResult:
    """Write an archive canonically to another file, or over itself.

    Args:
        source: the archive.
        output: where to.
        rules: see there.
        database: what is asked of its package database.
        encoding: of the output.
        dry_run: do everything but put the output in its place.

    Raises:
        FormatError: it has what the canonical form cannot hold.
    """
    if not source.is_file():
        raise ConfigurationError(f"{source}: no such file")
    folder = check_folder(output)
    # (1) Without its compression, so that contents can be read in any order
    with Spool(source, folder, what=str(source)) as spool:
        # (2) What is in it
        archive = read_archive(spool, rules, database=database, names={}, what=str(source))
        _refuse_image({entry.path for entry in archive.tree.entries}, str(source))
        # (3) Sorted entries -> tar -> digest -> compressor -> digest, in one pass
        with replacing(output, mtime=rules.source_date_epoch, commit=not dry_run) as f:
            writer = HashingWriter(f)
            diff_id = archive.write_compressed(writer, encoding)
    return TarResult(
        entries=len(archive.tree.entries),
        size=writer.size,
        digest=writer.digest,
        diff_id=diff_id,
        database=archive.database,
        notes=archive.tree.notes,
    )


def _refuse_image(paths: set[str], what: str) -> None:
    if {"oci-layout", "index.json"} <= paths:
        raise ArchiveError(
            "an image in a tar file, not a root file system",
            context=what,
            hint="unpack it into a directory and canonicalize that with `oci`",
        )
