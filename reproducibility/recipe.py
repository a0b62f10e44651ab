"""A recipe: everything around a build that must not matter to its bytes, as one value.

`script` writes a recipe down as a shell script that sets the stage and runs the build. The script
is kept beside the build's log, so that anybody can read what was done.

The stage, below the audit's working directory:

    <place>/              what the build sees: a directory, a tmpfs or a disorderfs over one
      code/pipeline/      a copy of this program
      project/            declaration, lock, dodo.py; build/store holds the archives, nothing else
      home/ tmp/
    under/                what lies under a disorderfs
    seed/                 what a tmpfs is filled with
    results/<label>/      what is kept of a build: its layout, documents, and the store's memos
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.host.layout import beside
from reproducibility.attachments import FOLDERS
from reproducibility.machine import PRIVATE_SHM, Isolation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

STORE: Final = "build/store"
OUTPUT: Final = "build/oci"
KEPT: Final = (
    (OUTPUT, "oci"),
    (f"{STORE}/memo", "memo"),
    *((str(beside(Path(OUTPUT), name)), name) for name in FOLDERS),
)
"""What is kept of a build, and what it is called then."""
CPU_LIST: Final = "/sys/devices/system/cpu/online"
"""What glibc, and with it os.cpu_count(), counts."""

LAST_PID: Final = "/proc/sys/kernel/ns_last_pid"
"""The process id before the next one, in a namespace; pid_namespaces(7)."""

_PTY: Final = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one build runs."""

    python: str
    """Interpreter, with the packages that the pipeline needs."""
    place: str = "site"
    """Directory of the stage, below the working directory."""
    home: str = "home"
    temporary: str = "tmp"
    """Both below the stage, or absolute."""
    environment: Mapping[str, str]
    umask: int = 0o022
    user: tuple[int, int] | None = None
    """User and group id; None keeps one's own."""
    may_read_all: bool = False
    """Whether that user may read what others hide: Python may be installed in a home directory."""
    host: str | None = None
    file_order: str | None = None
    """How disorderfs lists directories: sorted, reversed or shuffled; None leaves it out."""
    has_tmpfs: bool = False
    cpus: tuple[int, ...] | None = None
    """The processors that may be used."""
    claimed_cpus: str | None = None
    """The processors that the machine says it has: `0-63`."""
    has_random_addresses: bool = True
    has_old_kernel: bool = False
    has_terminal: bool = False
    first_process: int | None = None
    """Process id that the build gets."""
    jobs: int = 0
    """doit's -n."""
    task_order: str = "declared"
    """In which order tasks are asked for: declared, reversed or shuffled."""
    is_warm: bool = False
    """Whether some of it has been built before, by another process and into the same store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where a build happens."""

    work: Path
    isolation: Isolation
    hidden: tuple[Path, ...]
    """Directories of the first build that nobody shall see."""
    public: Path | None
    """A directory that everybody may enter and that nothing here needs: disorderfs reaches files
    as the user who asks for them, who may not come through to the working directory."""

    def root(self, recipe: Recipe) -> Path:
        """Return the directory that the build sees."""
        return self.work / recipe.place

    def under(self, recipe: Recipe) -> Path:
        """Return the directory that the files lie in."""
        return self.work / "under" if recipe.file_order else self.root(recipe)

    def filled(self, recipe: Recipe) -> Path:
        """Return the directory that has to be filled before the script runs."""
        return self.work / "seed" if recipe.has_tmpfs else self.under(recipe)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a build is to make."""

    config: str
    """File name of the declaration."""
    tasks: tuple[str, ...]
    """As they are asked for."""
    before: tuple[str, ...]
    """Tasks that are built before, where the recipe wants a warm store."""


def script(recipe: Recipe, order: Order, *, stage: Stage, result: Path) -> str:
    """Write down a build as a script for sh(1).

    Args:
        recipe: how.
        order: what.
        stage: where.
        result: where a build on a tmpfs leaves what is to be kept.
    """
    root = stage.root(recipe)
    lines = ["#!/bin/sh", "set -eu", *_scene(recipe, stage)]
    lines += [f"cd {_q(root / 'project')}", f"umask {recipe.umask:03o}"]
    if recipe.is_warm:
        lines += [_command(recipe, order, order.before, stage), f"rm -rf {OUTPUT}"]
    if recipe.first_process is not None:
        last = recipe.first_process - (2 if recipe.has_terminal else 1)
        lines.append(f"echo {last} > {LAST_PID}")
    lines += ["status=0", f"{_command(recipe, order, order.tasks, stage)} || status=$?"]
    if recipe.has_tmpfs:
        lines += [
            "umask 022",
            *(f"[ ! -d {path} ] || cp -R {path} {_q(result / name)}" for path, name in KEPT),
        ]
    return "\n".join((*lines, "exit $status", ""))


def _q(value: object) -> str:
    return shlex.quote(str(value))


def _scene(recipe: Recipe, stage: Stage) -> list[str]:
    """Return what happens before the build, as the superuser of the namespaces."""
    root, under = stage.root(recipe), stage.under(recipe)
    lines = []
    if stage.isolation is not Isolation.NONE:
        lines.append(PRIVATE_SHM)
        lines += [f"mount -t tmpfs -o size=4k tmpfs {_q(path)}" for path in stage.hidden]
    if recipe.host is not None:
        lines.append(f"hostname {_q(recipe.host)}")
    if recipe.claimed_cpus is not None:
        lines.append(f"mount --bind {_q(stage.work / 'cpus')} {CPU_LIST}")
    if recipe.has_tmpfs:
        lines += [f"mount -t tmpfs -o mode=755 tmpfs {_q(under)}"]
        lines += [f"cp -R {_q(stage.filled(recipe))}/. {_q(under)}"]
    if recipe.user is not None and stage.isolation is not Isolation.USER:
        owner = ":".join(map(str, recipe.user))
        lines.append(f"find {_q(under)} -type d -exec chown {owner} {{}} +")
    if recipe.file_order is not None:
        lines.append(_disorder(recipe.file_order, stage, under, root))
    return lines


def _disorder(order: str, stage: Stage, under: Path, root: Path) -> str:
    options = {
        "sorted": "--sort-dirents=yes --reverse-dirents=no",
        "reversed": "--reverse-dirents=yes",
        "shuffled": "--shuffle-dirents=yes --reverse-dirents=no",
    }[order]
    users = "yes" if stage.isolation is Isolation.ROOT else "no"
    mount = ""
    if stage.public is not None:
        mount, under = f"mount --bind {_q(under)} {_q(stage.public)}; ", stage.public
    # -s: one thread, so that it does not take process ids whenever it is busy
    return f"{mount}disorderfs -s --quiet --multi-user={users} {options} {_q(under)} {_q(root)}"


def _command(recipe: Recipe, order: Order, tasks: Sequence[str], stage: Stage) -> str:
    """Return the build's command: what changes the process, its environment, and doit."""
    parts: list[list[str]] = []
    if recipe.cpus is not None:
        parts.append(["taskset", "-c", ",".join(map(str, recipe.cpus))])
    parts += [_personality(recipe), _identity(recipe, stage.isolation), ["env", "-i"]]
    root = stage.root(recipe)
    environment = {
        "PYTHONPATH": str(root / "code"),
        "HOME": str(root / recipe.home),
        "TMPDIR": str(root / recipe.temporary),
        **recipe.environment,
    }
    parts += [[f"{key}={environment[key]}"] for key in sorted(environment)]
    if recipe.has_terminal:
        parts.append([recipe.python, "-c", _PTY])
    settings = [f"config={order.config}", f"store={STORE}", f"output={OUTPUT}"]
    parts.append([recipe.python, "-m", "doit", *settings, "-n", str(recipe.jobs)])
    parts += [[task] for task in tasks]
    return " \\\n  ".join(shlex.join(part) for part in parts if part)


def _personality(recipe: Recipe) -> list[str]:
    options = []
    if not recipe.has_random_addresses:
        options.append("--addr-no-randomize")
    if recipe.has_old_kernel:
        options.append("--uname-2.6")
    return ["setarch", *options] if options else []


def _identity(recipe: Recipe, isolation: Isolation) -> list[str]:
    if recipe.user is None:
        return []
    uid, gid = recipe.user
    if isolation is Isolation.USER:
        return ["unshare", "--user", f"--map-user={uid}", f"--map-group={gid}"]
    kept = "-all,+dac_read_search" if recipe.may_read_all else "-all"
    return [
        *("setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--no-new-privs"),
        *(f"--{of}={kept}" for of in ("inh-caps", "ambient-caps", "bounding-set")),
    ]
