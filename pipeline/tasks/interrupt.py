"""Ctrl-C is answered in one line; imported before everything else of the graph, which takes long.

What doit itself does before it reads dodo.py still ends in a traceback of doit's.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import TracebackType

INTERRUPTED: Final = 130
"""Exit status after Ctrl-C, as shells have it."""


def _quiet_interrupt(
    kind: type[BaseException], value: BaseException, traceback: TracebackType | None
) -> None:
    """Say in one line that Ctrl-C was heard; other exceptions keep their traceback."""
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("interrupted; run the same command again to go on\n")
        sys.stderr.flush()
        os._exit(INTERRUPTED)
    sys.__excepthook__(kind, value, traceback)


sys.excepthook = _quiet_interrupt
