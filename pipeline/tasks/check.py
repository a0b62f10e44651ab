"""The task that believes nothing of what lies there already.

    build/oci, build/attest ─► check     every digest, size, diff_id and history, from the bytes

It builds nothing: an output that was edited or lost is found, not mended. `doit forget build` and
`doit build` mend it.
"""

from __future__ import annotations

from typing import Any, Final

from pipeline.errors import LayoutError
from pipeline.tasks.config import PROJECT
from pipeline.tasks.places import beside_output
from pipeline.tasks.reporter import say
from pipeline.tasks.state import run

Task = dict[str, Any]

_HINT: Final = "doit forget build, then doit build"


def task_check() -> Task:
    """Recompute every digest, size, diff_id and history of what was built."""
    return {"actions": [(run, [_check])], "uptodate": [False], "verbosity": 2}


def _check() -> None:
    from pipeline.stages.check import check_layout  # noqa: PLC0415

    attest = beside_output("attest")
    for path in (PROJECT.output, attest) if attest.is_dir() else (PROJECT.output,):
        findings, names = check_layout(path)
        for finding in findings:
            say(f"{path}: {finding}")
        if findings:
            raise LayoutError(f"{path}: {len(findings)} found that should not be", hint=_HINT)
        say(f"{path}: {names} {'name' if names == 1 else 'names'}, every byte as it should be")
