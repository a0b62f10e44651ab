"""Tasks that ask whether it would come out the same again.

    build ─► sbom, provenance ─► audit     build again under hostile variations, compare, name the
                                           guilty
                                 report    what the last audit said, and where its pages are

The audit is a program of its own, `python -m reproducibility audit`: it may use the pipeline, the
pipeline never uses it. Its exit status is doit's: 0 reproducible, 1 different, 2 could not tell.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final

from doit import task_params
from doit.exceptions import TaskError, TaskFailed

from pipeline.errors import PipelineError
from pipeline.host import command
from pipeline.tasks.config import PROJECT
from pipeline.tasks.project import DEFAULT
from pipeline.tasks.reporter import HINT, say

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Task = dict[str, Any]

REPORT: Final = "build/audit"
"""Folder of the report, beside the declaration; others than images.toml add their name."""
_TIMEOUT: Final = 24 * 3600.0
_LIMIT: Final = 16 << 20
_DIFFERENT: Final = 1

_PARAMS: Final = [
    {
        "name": "variations",
        "long": "variations",
        "default": "",
        "help": "vary only these, separated by commas; hold the rest",
    },
    {
        "name": "without",
        "long": "without",
        "default": "",
        "help": "leave these variations alone",
    },
    {
        "name": "rounds",
        "long": "rounds",
        "default": "",
        "help": "hostile builds, each with all variations at other values",
    },
    {
        "name": "python",
        "long": "python",
        "default": "",
        "help": "build with this interpreter as well",
    },
]


def _folder() -> Path:
    name = "" if PROJECT.path.name == DEFAULT else f"-{PROJECT.path.stem}"
    return PROJECT.root / f"{REPORT}{name}"


@task_params(_PARAMS)  # type: ignore[untyped-decorator]
def task_audit(variations: str, without: str, rounds: str, python: str) -> Task:
    """Build again under hostile variations, compare, and name the guilty."""
    options = {
        "--variations": variations,
        "--without": without,
        "--rounds": rounds,
        "--python": python,
    }
    return {
        "actions": [(_audit, [options])],
        "task_dep": ["build", *_said()],
        "uptodate": [False],
        "verbosity": 2,
    }


def _said() -> tuple[str, ...]:
    """Return the tasks that say something of images; there is no provenance of a secret."""
    try:
        repositories = PROJECT.declaration.repositories.values()
    except PipelineError:  # `build` says what is wrong
        return ()
    is_secret = any(repository.has_account for repository in repositories)
    return ("sbom",) if is_secret else ("sbom", "provenance")


def _audit(options: Mapping[str, str]) -> TaskFailed | TaskError | None:
    argv = [
        *(sys.executable, "-m", "reproducibility", "audit"),
        *("--config", str(PROJECT.path), "--store", str(PROJECT.store.root)),
        *("--output", str(PROJECT.output), "--report", str(_folder())),
        *(part for option, value in options.items() if value for part in (option, value)),
    ]
    try:
        output = command.run_in_view(
            argv, environment=command.inherited(), timeout=_TIMEOUT, limit=_LIMIT
        )
    except PipelineError as e:
        return TaskError(str(e))
    if output.stdout:
        say(output.stdout.decode("utf-8", "replace").rstrip("\n"))
    if output.status == 0:
        return None
    if output.status == _DIFFERENT and output.stdout:
        return TaskFailed(f"not reproducible\n{HINT}see {_folder() / 'index.html'}")
    return TaskError(f"could not tell: the audit ended with status {output.status}")


def task_report() -> Task:
    """Say what the last audit found, and where its report is."""
    return {"actions": [(_show, [])], "uptodate": [False], "verbosity": 2}


def _show() -> TaskFailed | None:
    path = _folder() / "report.json"
    try:
        report = json.loads(path.read_bytes())
        lines = [f"{report['title']}: {report['verdict']}"]
        lines += [f"made {report['generated']}"] if report["generated"] else []
        lines += report["notes"]
    except FileNotFoundError:
        return TaskFailed(f"there is no report\n{HINT}run `doit build audit`")
    except (OSError, ValueError, LookupError, TypeError) as e:
        return TaskFailed(f"{path}: {e}\n{HINT}run `doit build audit`")
    for name in ("index.html", "summary.md", "junit.xml", "report.sarif", "report.json"):
        lines.append(str(_folder() / name))
    say("\n".join(lines))
    return None
