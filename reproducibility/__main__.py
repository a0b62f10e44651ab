"""The command line: `python -m reproducibility COMMAND …`.

A command is a module in `reproducibility/commands` with `add_parser(subparsers)`, which sets the
default `run`, and `run(arguments) -> int`, the exit status. `COMMANDS` is the table.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import traceback
from typing import TYPE_CHECKING, Final

from pipeline.errors import PipelineError
from pipeline.host.terminal import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS: Final = ("diff", "audit", "trust", "verify", "policy")
"""Modules of `reproducibility.commands`, in the order of the help text."""

COULD_NOT_TELL: Final = 2
INTERRUPTED: Final = 130
"""Exit status after Ctrl-C, as shells have it."""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="python -m reproducibility",
        description="Is an image what it claims to be, and if not, why not.",
    )
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in COMMANDS:
        importlib.import_module(f"reproducibility.commands.{name}").add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; an error of the user's, the network's or a file's is one line and status 2.

    A bug of ours is status 2 as well, with its traceback: 1 would mean "different".
    """
    try:
        arguments = make_parser().parse_args(argv)
        status: int = arguments.run(arguments)
    except PipelineError as e:
        _complain(str(e), e.hint)
        return COULD_NOT_TELL
    except BrokenPipeError:
        sys.stderr.close()
        return COULD_NOT_TELL
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED
    except Exception as e:  # noqa: BLE001  - whatever it is, it is no verdict
        if isinstance(e, OSError) and e.filename is not None:  # of a file that was named
            _complain(f"{e.filename}: {(e.strerror or str(e)).lower()}", None)
        else:
            traceback.print_exc()
        return COULD_NOT_TELL
    return status


def _complain(message: str, hint: str | None) -> None:
    sys.stderr.write(f"error: {one_line(message)}\n")
    if hint:
        sys.stderr.write(f"  hint: {one_line(hint)}\n")


if __name__ == "__main__":
    sys.exit(main())
