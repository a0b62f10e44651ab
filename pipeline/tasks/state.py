"""When a task is up to date, and how its action runs.

A task of this project is up to date when doit has seen it succeed with the same inputs, and
everything it made is still there and true. Both are questions of content: the store remembers
outputs by inputs, and believes a file by its digest (`host.store`). doit's own record adds that
`doit forget` makes a task look at its outputs again, hashing each.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from doit.dependency import FileChangedChecker
from doit.exceptions import TaskFailed

from pipeline.errors import PipelineError
from pipeline.host.store import hash_file
from pipeline.host.terminal import printable
from pipeline.tasks.reporter import HINT, note_missing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from os import stat_result

Task = dict[str, Any]

_RECORD = "inputs"


class Sha256Checker(FileChangedChecker):  # type: ignore[misc]
    """Compare files by size and sha256; doit's default believes an equal mtime."""

    def check_modified(self, file_path: str, file_stat: stat_result, state: Any) -> bool:
        """Say whether a file's content differs from the recorded one."""
        size, digest = state
        return bool(file_stat.st_size != size or str(hash_file(_path(file_path))) != digest)

    def get_state(self, dep: str, current_state: Any) -> tuple[int, str]:
        """Return what is recorded of a file."""
        path = _path(dep)
        return path.stat().st_size, str(hash_file(path))


def _path(text: str) -> Any:
    from pathlib import Path  # noqa: PLC0415  - doit hands over strings

    return Path(text)


@dataclass(frozen=True, slots=True, repr=False)
class Work:
    """A cached unit of work: what decides it, whether it is done, how to do it."""

    inputs: Callable[[], str | None]
    """Digest of everything that decides the outputs; None while something below is missing."""
    is_done: Callable[[], bool]
    """Whether all outputs are there and true."""
    run: Callable[[bool], object]
    """Do it; True asks to hash every output that is found rather than to believe its stat."""

    def __repr__(self) -> str:
        """Say for `doit info` what is compared."""
        return "outputs in the store, and the digest of what decides them"


def deferred(make: Callable[[], Work]) -> Work:
    """Return work that is only thought about when doit asks: its modules take long to import."""
    work = functools.cache(make)
    return Work(
        inputs=lambda: work().inputs(),
        is_done=lambda: work().is_done(),
        run=lambda suspicious: work().run(suspicious),
    )


def is_current(task: Any, values: Mapping[str, object], work: Work) -> bool:
    """Tell doit whether a task is up to date, and what to record when it has succeeded."""
    task.value_savers.append(lambda: {_RECORD: work.inputs()})
    try:
        inputs = work.inputs()
        is_done = inputs is not None and work.is_done()
    except OSError:  # the action meets it again, and then it is told as an error
        return False
    if not is_done:
        note_missing(task.name)
    return is_done and values.get(_RECORD) == inputs


def execute(work: Work) -> TaskFailed | None:
    """Run a task's action."""
    return run(work.run, True)  # noqa: FBT003  - hash what is found


def cached(doc: str, work: Work, **fields: Any) -> Task:
    """Return the fields that every cached task has."""
    return {
        "doc": doc,
        "actions": [(execute, [work])],
        "uptodate": [(is_current, [work])],
        **fields,
    }


def run(action: Callable[..., object], *arguments: object) -> TaskFailed | None:
    """Call a stage; return doit's failure for an error that the user can mend.

    An error of ours becomes one line and its hint; so does one of the operating system (a full
    disk, say). Anything else is a bug and goes on to doit, which shows its traceback.
    """
    try:
        action(*arguments)
    except PipelineError as e:
        return _failure(str(e), e.hint)
    except OSError as e:
        if e.errno is None:
            raise
        where = f"{e.filename}: " if e.filename else ""
        return _failure(f"{where}{os.strerror(e.errno)}", None)
    return None


def _failure(message: str, hint: str | None) -> TaskFailed:
    message = printable(message, keep="")
    return TaskFailed(message if hint is None else f"{message}\n{HINT}{printable(hint)}")


def watch_parent(_: object) -> None:
    """End this worker process when the process that started it is gone; run when it begins.

    doit's workers wait for work on a queue that stays open as long as one of them lives.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
