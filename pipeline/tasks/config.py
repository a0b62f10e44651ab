"""doit's settings, and the project that its command line names.

`doit [config=FILE] [store=DIR] [output=DIR] COMMAND`: `config` takes another declaration, `store`
another store, `output` another layout; the defaults stand in `pipeline.tasks.project`.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing.util import register_after_fork
from pathlib import Path
from typing import TYPE_CHECKING, Final

from doit import doit_cmd, get_var
from doit.exceptions import InvalidDodoFile

from pipeline.tasks.project import DEFAULT, Project
from pipeline.tasks.reporter import Reporter
from pipeline.tasks.state import Sha256Checker, watch_parent

if TYPE_CHECKING:
    from collections.abc import Iterable

VARIABLES: Final = (
    *("config", "store", "output"),
    *("attest", "lookaside", "provenance", "sbom"),
    *("identity", "key", "public_key", "gpg_key", "gpg_home"),
    *("builder", "invocation", "started", "finished"),
)
"""What `name=value` on the command line may set (`places` and `signing` say what for)."""


def refuse_misspelt(names: Iterable[str]) -> None:
    """Refuse a variable that is nearly one of ours; doit takes any, and nobody would read it.

    Others may be those of somebody's own dodo.py.

    Raises:
        InvalidDodoFile: naming the nearest.
    """
    for name in names:
        if name not in VARIABLES:
            import difflib  # noqa: PLC0415  - seldom needed

            near = difflib.get_close_matches(name, VARIABLES, 1, 0.7)
            if near:
                raise InvalidDodoFile(f"no variable {name!r}; did you mean {near[0]!r}?")


def _path(name: str) -> Path | None:
    value = get_var(name)
    return Path(value) if value else None


def _start_by_fork() -> None:
    """Let doit's workers start as copies of this process: tasks hold closures.

    Python 3.14 starts workers from a server on Linux; there they would have to be pickled.
    """
    if sys.version_info >= (3, 14) and "fork" in multiprocessing.get_all_start_methods():
        multiprocessing.set_start_method("fork", force=True)


_start_by_fork()
refuse_misspelt(getattr(doit_cmd, "_CMDLINE_VARS", None) or ())

PROJECT: Final = Project(
    _path("config") or Path(DEFAULT), store=_path("store"), output=_path("output")
)

register_after_fork(PROJECT, watch_parent)

DOIT_CONFIG: Final = {
    "backend": "sqlite3",
    "check_file_uptodate": Sha256Checker,
    "default_tasks": ["build"],
    "dep_file": f".doit.{PROJECT.path.stem}.db",
    "num_process": 0 if os.cpu_count() in (None, 1) else os.cpu_count(),
    "reporter": Reporter,
    "verbosity": 1,
}
"""doit keeps its own record beside the command, one for each declaration."""
