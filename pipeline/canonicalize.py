"""The command `python -m pipeline.canonicalize`; docs/canonicalize.md is its manual.

Exit status: 0 done (diff: no difference), 1 (diff only) they differ, 2 refused or wrong usage.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path  # noqa: TID251  - a command is told names of files
from typing import TYPE_CHECKING, Final, NoReturn, TextIO

from pipeline.errors import ConfigurationError, PipelineError
from pipeline.formats.algorithm import LEVELS, Algorithm
from pipeline.formats.compression import unpinned_encoder
from pipeline.host.environment import source_date_epoch
from pipeline.host.terminal import printable
from pipeline.pkg.localdb_schema import check_schema
from pipeline.rootfs.normalise import Rules
from pipeline.rootfs.ownership import Owners
from pipeline.stages.canonicalize_database import (
    DatabaseRules,
    canonicalize_database,
    canonicalize_root,
)
from pipeline.stages.canonicalize_image import ImageRules, canonicalize_image
from pipeline.stages.canonicalize_tar import algorithm_for, canonicalize_tar
from pipeline.stages.compare_databases import compare_databases
from pipeline.stages.layout_place import Place
from pipeline.stages.normal_archive import Encoding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pipeline.stages.canonicalize_image import ImageChange
    from pipeline.stages.compare_databases import Comparison

PROGRAM: Final = "python -m pipeline.canonicalize"
FAILED: Final = 2
DIFFERENT: Final = 1
_INTERRUPTED: Final = 130
_LATEST: Final = 253_402_300_799
"""The last second of the year 9999."""

_DESCRIPTION: Final = """\
Rewrite what pkg(8), tar and image builders have made so that it has no accidents: two builds of
the same content become the same bytes. See docs/canonicalize.md, and for the rules
docs/format/normalisation.md.
"""

_EPILOG: Final = """\
environment:
  SOURCE_DATE_EPOCH   the time to set, unless --source-date-epoch says it

exit status:
  0  done; for diff: no difference
  1  for diff: they differ
  2  refused, with the reason; nothing has been written

examples:
  %(prog)s root /build/rootfs --source-date-epoch 1764633600
  %(prog)s tar rootfs.txz --output rootfs.tar.zst
  %(prog)s oci build:freebsd-runtime --output release:freebsd-runtime
  %(prog)s diff first/rootfs second/rootfs
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        return run(options)
    except PipelineError as e:
        _complain(str(e), e.hint)
    except OSError as e:
        if e.errno is None:
            raise
        where = f"{e.filename}: " if e.filename else ""
        _complain(f"{where}{os.strerror(e.errno)}", None)
    except KeyboardInterrupt:
        return _INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, previous)
    return FAILED


def _terminate(number: int, _: object) -> NoReturn:
    """End in order, so that nothing half-made stays behind."""
    sys.exit(128 + number)


def _complain(message: str, hint: str | None) -> None:
    _write(sys.stderr, [f"error: {message}", *([f"hint: {hint}"] if hint else [])])


def _say(*lines: str) -> None:
    _write(sys.stdout, lines)


def _write(stream: TextIO, lines: Iterable[str]) -> None:
    """Write lines; names of files may be any bytes, and a terminal may take only some letters."""
    encoding = stream.encoding or "utf-8"
    stream.writelines(
        printable(line).encode(encoding, "backslashreplace").decode(encoding) + "\n"
        for line in lines
    )


# ---------------------------------------------------------------- arguments


def _epoch(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > _LATEST:
        raise argparse.ArgumentTypeError(f"got {text!r}, want seconds since 1970")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    forms = parser.add_subparsers(title="forms", metavar="FORM", required=True)

    form = _form(forms, "database", _run_database, "a local.sqlite, in place or to another file")
    form.add_argument("file", metavar="FILE", type=Path)
    form.add_argument("--output", metavar="FILE", type=Path, help="leave the original as it is")
    _add_common(form)

    form = _form(
        forms, "root", _run_root, "the database of a root directory, in place; nothing else"
    )
    form.add_argument("root", metavar="DIR", type=Path)
    form.add_argument(
        "--all",
        action="store_true",
        help="also set every modification time that is later than the epoch to the epoch",
    )
    _add_common(form)

    form = _form(forms, "tar", _run_tar, "a tar of a root file system, compressed or not")
    form.add_argument("file", metavar="FILE", type=Path)
    form.add_argument("--output", metavar="FILE", type=Path, required=True)
    form.add_argument(
        "--owners",
        choices=["ids", "names"],
        help="what says who owns an entry: its number, or its name in the archive's own accounts;"
        " without this, a number that its name contradicts is refused",
    )
    _add_archive(form, "what the name of the output says")
    _add_common(form)

    form = _form(forms, "oci", _run_oci, "an image in an OCI layout, for one platform or many")
    form.add_argument("image", metavar="PATH[:NAME]")
    form.add_argument("--output", metavar="PATH[:NAME]", required=True)
    _add_archive(form, "that of each layer")
    _add_common(form)

    form = _form(
        forms,
        "diff",
        _run_diff,
        "say what two databases, root directories, tars or images differ in",
    )
    form.add_argument("a", metavar="A")
    form.add_argument("b", metavar="B")
    form.add_argument("--ignore-times", action="store_true", help="pass over times of installation")
    form.add_argument(
        "--limit", metavar="N", type=int, default=200, help="rows to show (default: %(default)s)"
    )
    return parser


def _form(
    forms: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace], int],
    text: str,
) -> argparse.ArgumentParser:
    form = forms.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}.", allow_abbrev=False
    )
    form.set_defaults(run=run)
    return form


def _add_common(form: argparse.ArgumentParser) -> None:
    form.add_argument(
        "--source-date-epoch",
        metavar="N",
        type=_epoch,
        help="the time to set, seconds since 1970 (default: $SOURCE_DATE_EPOCH)",
    )
    form.add_argument(
        "--schema",
        metavar="N",
        type=int,
        help="the schema version of the database, 36 to 42 (default: the one it has)",
    )
    form.add_argument(
        "--dry-run", action="store_true", help="do everything but write; say what would be"
    )


def _add_archive(form: argparse.ArgumentParser, default: str) -> None:
    form.add_argument("--compression", choices=["zstd", "gzip", "none"], help=f"default: {default}")
    form.add_argument(
        "--level", metavar="N", type=int, help="of --compression: zstd 1 to 19, gzip 1 to 12"
    )
    form.add_argument(
        "--keep-flags", action="store_true", help="keep file flags such as schg (default: drop)"
    )
    form.add_argument(
        "--drop-xattrs",
        action="store_true",
        help="leave out extended attributes and ACLs (default: refuse)",
    )
    form.add_argument(
        "--drop-devices", action="store_true", help="leave out devices and FIFOs (default: refuse)"
    )


def _time(options: argparse.Namespace) -> int:
    given: int | None = options.source_date_epoch
    time = source_date_epoch() if given is None else given
    if time is None:
        raise ConfigurationError(
            "no time to set, and none is taken from a clock",
            hint="give --source-date-epoch, or set SOURCE_DATE_EPOCH; a good one is the time of the"
            " newest package or of the last commit",
        )
    return time


def _database_rules(options: argparse.Namespace) -> DatabaseRules:
    return DatabaseRules(
        schema=None if options.schema is None else check_schema(options.schema),
        source_date_epoch=_time(options),
    )


def _archive_rules(options: argparse.Namespace, *, is_layer: bool) -> Rules:
    owners = Owners.IDS if is_layer else Owners(options.owners or Owners.CHECKED)
    return Rules(
        source_date_epoch=_time(options),
        is_layer=is_layer,
        owners=owners,
        keep_flags=options.keep_flags,
        drop_attributes=options.drop_xattrs,
        drop_devices=options.drop_devices,
    )


def _algorithm(options: argparse.Namespace) -> Algorithm | None:
    """Return the compression asked for; check that the level is one of it."""
    algorithm = None if options.compression is None else Algorithm(options.compression)
    level: int | None = options.level
    if level is None:
        return algorithm
    if algorithm is None:
        raise ConfigurationError("--level without --compression")
    lowest, highest = LEVELS[algorithm]
    if not lowest <= level <= highest:
        raise ConfigurationError(f"got level {level}, want {lowest} to {highest} for {algorithm}")
    return algorithm


def _warn_of_encoder(algorithms: Iterable[Algorithm]) -> None:
    for algorithm in algorithms:
        sentence = unpinned_encoder(algorithm)
        if sentence is not None:
            _write(sys.stderr, [f"warning: {sentence}"])


# ---------------------------------------------------------------- forms


def _run_database(options: argparse.Namespace) -> int:
    rules = _database_rules(options)
    result = canonicalize_database(
        options.file, output=options.output, rules=rules, dry_run=options.dry_run
    )
    _say(f"{options.output or options.file}: {result}")
    return 0


def _run_root(options: argparse.Namespace) -> int:
    rules = _database_rules(options)
    result = canonicalize_root(
        options.root, rules=rules, clamp=options.all, dry_run=options.dry_run
    )
    _say(f"{options.root}: {result.database}")
    if options.all:
        _say(f"{options.root}: {result.clamped} later modification times set to the epoch")
    return 0


def _run_tar(options: argparse.Namespace) -> int:
    algorithm = _algorithm(options) or algorithm_for(options.output)
    _warn_of_encoder([algorithm])
    result = canonicalize_tar(
        options.file,
        options.output,
        rules=_archive_rules(options, is_layer=False),
        database=_database_rules(options),
        encoding=Encoding(algorithm, options.level),
        dry_run=options.dry_run,
    )
    notes = (*result.notes, *([f"database: {result.database}"] if result.database else []))
    _say(
        f"{options.output}: {result.entries} entries, {result.size} bytes",
        f"  {result.digest}, uncompressed {result.diff_id}",
        *(f"  {note}" for note in notes),
    )
    return 0


def _run_oci(options: argparse.Namespace) -> int:
    algorithm = _algorithm(options)
    _warn_of_encoder([algorithm] if algorithm else [Algorithm.ZSTD, Algorithm.GZIP])
    output = Place.parse(options.output)
    result = canonicalize_image(
        Place.parse(options.image),
        output,
        rules=ImageRules(
            archive=_archive_rules(options, is_layer=True),
            database=_database_rules(options),
            algorithm=algorithm,
            level=options.level,
        ),
        dry_run=options.dry_run,
    )
    _say(*_image_lines(output, result))
    return 0


def _image_lines(output: Place, result: ImageChange) -> Iterator[str]:
    yield f"{output}: {_arrow(str(result.before), str(result.after))}"
    for layer in result.layers:
        yield f"  layer {_arrow(str(layer.before), str(layer.after))}"
        yield f"    uncompressed {_arrow(str(layer.diff_id_before), str(layer.diff_id))}"
        yield from (f"    {note}" for note in layer.notes)
    yield from (f"  {note}" for note in result.notes)


def _arrow(before: str, after: str) -> str:
    return f"{after}, unchanged" if before == after else f"{before} -> {after}"


def _run_diff(options: argparse.Namespace) -> int:
    result = compare_databases(options.a, options.b, ignore_times=options.ignore_times)
    _say(*_diff_lines(result, options.limit))
    return 0 if result.is_same else DIFFERENT


def _diff_lines(result: Comparison, limit: int) -> Iterator[str]:
    for platform, difference in result.differences.items():
        if platform:
            yield f"{platform}:"
        yield difference.to_text(limit=limit).rstrip("\n")
    for side, platforms in (("A", result.only_a), ("B", result.only_b)):
        yield from (f"{platform}: only in {side}" for platform in platforms)


if __name__ == "__main__":
    sys.exit(main())
