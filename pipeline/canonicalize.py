"""The command `python -m pipeline.canonicalize`; docs/canonicalize.md is its manual.

Exit status: 0 done (diff: no difference), 1 (diff only) they differ, 2 refused or wrong usage.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path  # noqa: TID251  - a command is told names of files
from typing import TYPE_CHECKING, Final, NoReturn

from pipeline.errors import ConfigurationError, PipelineError
from pipeline.formats.algorithm import LEVELS, Algorithm
from pipeline.host.environment import source_date_epoch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pipeline.rootfs.normalise import Rules
    from pipeline.stages.canonicalize_database import CanonicalDatabase, DatabaseRules
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
    signal.signal(signal.SIGTERM, _terminate)
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
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
    return FAILED


def _terminate(number: int, _: object) -> NoReturn:
    """End in order, so that nothing half-made stays behind."""
    sys.exit(128 + number)


def _complain(message: str, hint: str | None) -> None:
    lines = [f"error: {message}"] + ([f"hint: {hint}"] if hint else [])
    sys.stderr.write("".join(f"{_printable(line)}\n" for line in lines))


def _say(lines: Iterable[str]) -> None:
    sys.stdout.write("".join(f"{_printable(line)}\n" for line in lines))


def _printable(line: str) -> str:
    """Return a line that any terminal's encoding takes: names of files may be any bytes."""
    return line.encode("utf-8", "backslashreplace").decode()


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
        forms, "diff", _run_diff, "say what two databases, root directories, tars or images differ in"
    )
    form.add_argument("a", metavar="A")
    form.add_argument("b", metavar="B")
    form.add_argument(
        "--ignore-times", action="store_true", help="pass over times of installation"
    )
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
    form = forms.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
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
    form.add_argument(
        "--compression", choices=["zstd", "gzip", "none"], help=f"default: {default}"
    )
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
    from pipeline.pkg.localdb_schema import check_schema  # noqa: PLC0415
    from pipeline.stages.canonicalize_database import DatabaseRules  # noqa: PLC0415

    return DatabaseRules(
        schema=None if options.schema is None else check_schema(options.schema),
        source_date_epoch=_time(options),
    )


def _archive_rules(options: argparse.Namespace, *, is_layer: bool) -> Rules:
    from pipeline.rootfs.normalise import Rules  # noqa: PLC0415
    from pipeline.rootfs.ownership import Owners  # noqa: PLC0415

    owners = Owners.IDS if is_layer else Owners(options.owners or Owners.CHECKED)
    return Rules(
        source_date_epoch=_time(options),
        is_layer=is_layer,
        owners=owners,
        keep_flags=options.keep_flags,
        drop_attributes=options.drop_xattrs,
        drop_devices=options.drop_devices,
    )
