"""What this machine can do for an audit, found out by trying.

Whoever is root, or may make user namespaces, gets namespaces of his own for each build: its mounts,
host name, processes and network end with it, however it ends. Everything that cannot be done has a
reason, in words, and where there is one the Debian package that would help.
"""

from __future__ import annotations

import enum
import os
import platform
import shlex
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.errors import PipelineError
from pipeline.host import command
from reproducibility.interpreters import ASK, Interpreter, code_environment, probe_interpreter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where the programs that set the stage are looked for."""

OTHER_USER: Final = (64321, 64322)
_CPU_LIST: Final = "/sys/devices/system/cpu/online"
_TIMEOUT: Final = 20.0
_PACKAGES: Final = {
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "setarch": "util-linux",
    "taskset": "util-linux",
    "mount": "mount",
    "hostname": "hostname",
    "disorderfs": "disorderfs",
    "faketime": "faketime",
}
"""Debian's packages of the programs."""


class Isolation(enum.StrEnum):
    """What a build can have to itself."""

    ROOT = "root"
    """Namespaces, made by root."""
    USER = "user"
    """Namespaces, made by anybody in a user namespace."""
    NONE = "none"


class Ability(enum.StrEnum):
    """Things that one can do on some machines and not on others."""

    NAMESPACES = "namespaces"
    HOST_NAME = "host-name"
    TMPFS = "tmpfs"
    CLAIMED_CPUS = "claimed-cpus"
    DISORDERFS = "disorderfs"
    OTHER_USER = "other-user"
    FIXED_ADDRESSES = "fixed-addresses"
    OLD_KERNEL = "old-kernel"
    AFFINITY = "affinity"
    CLOCK = "clock"
    PROCESS_IDS = "process-ids"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What can be done here, and why the rest cannot."""

    isolation: Isolation
    missing: Mapping[Ability, str]
    """Why something cannot be done."""
    locales: frozenset[str]
    """As `locale_key` spells them."""
    cpus: tuple[int, ...]
    """Numbers of the processors that we may use."""
    clock: str
    """Library that makes another time, for LD_PRELOAD; empty where there is none."""
    user_reads_all: bool
    """Whether the other user needs a capability to read the interpreter."""
    memory: int
    """Bytes that are free, or could be."""
    interpreters: tuple[Interpreter, ...]
    """The one that builds first, and others with all packages."""
    dies_with_parent: bool
    """Whether a process can be made to end when the one that started it ends."""
    unusable: tuple[str, ...]
    """Interpreters that were named and cannot be used, with the reason."""

    def why_not(self, ability: Ability) -> str | None:
        """Return why something cannot be done, None if it can."""
        return self.missing.get(ability)


def namespace_argv(isolation: Isolation) -> tuple[str, ...]:
    """Return the command that runs another one in namespaces of its own."""
    if isolation is Isolation.NONE:
        return ()
    user = ("--user", "--map-root-user") if isolation is Isolation.USER else ()
    return (
        *("unshare", *user, "--mount", "--uts", "--ipc", "--net", "--pid"),
        *("--fork", "--kill-child", "--mount-proc"),
    )


def locale_key(name: str) -> str:
    """Return a locale's name in the one spelling that all systems share."""
    return name.lower().replace("-", "")


def stage_environment() -> dict[str, str]:
    """Return the environment of the programs that set the stage."""
    return {"PATH": PATH, "LC_ALL": "C"}


def probe_machine(python: str, others: Iterable[str]) -> Machine:
    """Find out what can be done here.

    Args:
        python: the interpreter that builds.
        others: more interpreters to build with.

    Raises:
        ConfigurationError: `python` cannot build.
    """
    first = probe_interpreter(python)
    interpreters, unusable = [first], []
    for path in others:
        try:
            interpreters.append(probe_interpreter(path))
        except PipelineError as e:
            unusable.append(str(e))
    with tempfile.TemporaryDirectory(prefix="audit-probe-") as scratch:
        prober = _Prober(python, Path(scratch))
        return Machine(
            isolation=prober.isolation,
            missing=prober.missing(),
            locales=prober.locales(),
            cpus=_usable_cpus(),
            clock=prober.clock,
            user_reads_all=prober.user_reads_all,
            memory=_memory(),
            interpreters=tuple(interpreters),
            dies_with_parent=prober.dies_with_parent(),
            unusable=tuple(unusable),
        )


# ---------------------------------------------------------------- trying

PRIVATE_SHM: Final = "[ ! -d /dev/shm ] || mount -t tmpfs -o mode=1777 tmpfs /dev/shm"
"""Gives a namespace shared memory of its own."""
_FAKETIME: Final = "faketime -m now"
_PIDS: Final = """
echo 99 > /proc/sys/kernel/ns_last_pid
sh -c '[ $$ = 100 ] || { echo process ids cannot be chosen >&2; exit 1; }'
"""

_SAME: Final = """
[ "$("$1" -c "$2")" = "$3" ] || { echo "another user gets another Python" >&2; exit 1; }
"""
"""Whether an interpreter ($1) gives a program ($2) the answer that we have had ($3)."""


class _Prober:
    """Tries things, each once."""

    def __init__(self, python: str, scratch: Path) -> None:
        self._python = python
        self._scratch = scratch
        self._reasons: dict[Ability, str] = {}
        self.isolation = self._isolation()
        self.user_reads_all = False
        self.clock = self._clock()

    def missing(self) -> dict[Ability, str]:
        """Try the rest, and return what failed."""
        self._in_namespace(Ability.HOST_NAME, "hostname", "hostname audit")
        mount = f"mount -t tmpfs tmpfs {self._scratch}"
        self._in_namespace(Ability.TMPFS, "mount", mount)
        bind = f"echo 0 > {self._scratch}/cpus; mount --bind {self._scratch}/cpus {_CPU_LIST}"
        self._in_namespace(Ability.CLAIMED_CPUS, "mount", bind)
        self._in_namespace(Ability.DISORDERFS, "disorderfs", self._disorder())
        self._in_namespace(Ability.PROCESS_IDS, "unshare", _PIDS)
        self._note(Ability.OTHER_USER, self._other_user())
        self._note(Ability.FIXED_ADDRESSES, self._try("setarch", ["--addr-no-randomize", "true"]))
        self._note(Ability.OLD_KERNEL, self._try("setarch", ["--uname-2.6", "true"]))
        first = str(_usable_cpus()[0])
        self._note(Ability.AFFINITY, self._try("taskset", ["-c", first, "true"]))
        return self._reasons

    def locales(self) -> frozenset[str]:
        """Return the locales that exist."""
        try:
            output = command.run(["locale", "-a"], environment=stage_environment())
        except PipelineError:
            return frozenset()
        lines = output.stdout.decode("utf-8", "replace").split()
        return frozenset(locale_key(line) for line in lines)

    def dies_with_parent(self) -> bool:
        """Try to bind a process to the one that starts it."""
        return self._try("setpriv", ["--pdeathsig", "KILL", "true"]) is None

    def _note(self, ability: Ability, reason: str | None) -> None:
        if reason is not None:
            self._reasons[ability] = reason

    def _try(self, program: str, arguments: Sequence[str]) -> str | None:
        """Run a program; return why that did not work."""
        if shutil.which(program, path=PATH) is None:
            package = _PACKAGES.get(program)
            return f"no {program} here" + (f"; Debian: apt install {package}" if package else "")
        try:
            output = command.run(
                [program, *arguments],
                environment={**stage_environment(), **code_environment()},
                timeout=_TIMEOUT,
                check=False,
            )
        except PipelineError as e:
            return str(e)
        if output.status == 0:
            return None
        said = output.stderr.decode("utf-8", "replace").strip().splitlines()
        return said[-1] if said else f"{program}: exit status {output.status}"

    def _isolation(self) -> Isolation:
        if sys.platform != "linux":
            self._note(Ability.NAMESPACES, f"{platform.system()} has no namespaces")
            return Isolation.NONE
        for isolation in (Isolation.ROOT,) if os.geteuid() == 0 else (Isolation.USER,):
            program, *arguments = namespace_argv(isolation)
            reason = self._try(program, [*arguments, "true"])
            if reason is None:
                return isolation
            self._note(Ability.NAMESPACES, reason)
        return Isolation.NONE

    def _in_namespace(self, ability: Ability, program: str, line: str) -> None:
        """Try a line of shell that would change the machine, were it not for a namespace."""
        reason = self._reasons.get(Ability.NAMESPACES)
        if reason is not None:
            reason = f"needs namespaces: {reason}"
        elif shutil.which(program, path=PATH) is None:
            reason = self._try(program, [])
        else:
            unshare, *arguments = namespace_argv(self.isolation)
            reason = self._try(unshare, [*arguments, "sh", "-euc", line])
        self._note(ability, reason)

    def _disorder(self) -> str:
        under, over = self._scratch / "under", self._scratch / "over"
        users = "yes" if self.isolation is Isolation.ROOT else "no"
        return (
            f"mkdir {under} {over}; touch {under}/a;"
            f" disorderfs -s --quiet --multi-user={users} --sort-dirents=yes {under} {over};"
            f" [ -e {over}/a ]"
        )

    def _other_user(self) -> str | None:
        """Try to be somebody else and still get the very same Python."""
        uid, gid = OTHER_USER
        check = [*("sh", "-c", _SAME), "sh", self._python, ASK, self._answer()]
        if self.isolation is Isolation.USER:
            inner = ["unshare", "--user", f"--map-user={uid}", f"--map-group={gid}", *check]
            unshare, *arguments = namespace_argv(self.isolation)
            return self._try(unshare, [*arguments, *inner])
        if os.geteuid() != 0:
            why = self._reasons.get(Ability.NAMESPACES, "there are none")
            return f"needs root or user namespaces: {why}"
        user = [f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
        if self._try("setpriv", [*user, *check]) is None:
            return None
        self.user_reads_all = True
        kept = "-all,+dac_read_search"
        caps = [f"--inh-caps={kept}", f"--ambient-caps={kept}"]
        return self._try("setpriv", [*user, *caps, *check])

    def _answer(self) -> str:
        environment = {**stage_environment(), **code_environment()}
        output = command.run([self._python, "-c", ASK], environment=environment)
        return output.stdout.decode("utf-8", "replace").strip()

    def _clock(self) -> str:
        """Return the library behind faketime, as faketime itself would load it.

        Only in namespaces: the library leaves things in /dev/shm when a process is killed.
        """
        self._in_namespace(Ability.CLOCK, "faketime", f"{PRIVATE_SHM}; {_FAKETIME} true")
        if Ability.CLOCK in self._reasons:
            return ""
        variables = clock_environment("$library", "1709208000")
        assignments = " ".join(f'{name}="{value}"' for name, value in variables.items())
        python = shlex.quote(self._python)
        line = (
            f"{PRIVATE_SHM}; library=$({_FAKETIME} env | sed -n s/^LD_PRELOAD=//p);"
            f" {assignments} {python} -c 'import time; print(int(time.time()))'; echo \"$library\""
        )
        output = command.run(
            [*namespace_argv(self.isolation), "sh", "-euc", line],
            environment=stage_environment(),
            timeout=_TIMEOUT,
            check=False,
        )
        time, _, library = output.stdout.decode("utf-8", "replace").strip().partition("\n")
        if time == "1709208000" and library:
            return library
        self._note(Ability.CLOCK, "faketime does not reach Python's clock here")
        return ""


def clock_environment(library: str, time: str) -> dict[str, str]:
    """Return the variables that make another time.

    Time stamps of files stay as they are, and what waits on the monotonic clock is left alone: a
    lock with a time limit would spin, or wait for ever.

    Args:
        library: libfaketime.
        time: seconds since 1970 at which the clock stands, or a distance: `+3600`.
    """
    return {
        "LD_PRELOAD": library,
        "FAKETIME": time,
        "FAKETIME_FMT": "%s",
        "NO_FAKE_STAT": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
    }


def _usable_cpus() -> tuple[int, ...]:
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def _memory() -> int:
    """Return the bytes of memory that a tmpfs could take; 0 where nobody says."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return 0
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else 0
