"""Variations: what must not matter to a build, each on its own switch.

A variation has a value at which it is held, and values that are hostile. Holding matters as much
as varying: when builds differ, the guilty one is found by letting go of one after the other. What
cannot be done on this machine says why (`machine`).

| name | held | hostile |
|---|---|---|
| time-zone | UTC | GMT+12, GMT-14 |
| locale | C.UTF-8 | et_EE, tr_TR, C without UTF-8 |
| umask | 022 | 077, 000 |
| build-path | short | long, with blanks and letters beyond ASCII; very short |
| home | does not exist | one of the build's own, another one |
| temporary-directory | /tmp | one of the build's own |
| user | one's own | another user and group; ids that no ustar header holds |
| host-name | `audit` | a long one, a short one |
| hash-seed | 0 | 4711, random |
| directory-order | sorted | reversed, shuffled at each look |
| clock | stands still | runs, seven years ahead; runs, nine years behind |
| cpus | one | all; 64 claimed |
| jobs | one process | four, one worker |
| task-order | as declared | reversed, shuffled |
| store | cold | warm: part of it was built before |
| python, apsw | the first interpreter's | others, where there are any |
| file-system | the working directory's | tmpfs |
| search-path | the usual | more directories, in front |
| environment | only USER | variables that other tools listen to |
| terminal | no | yes |
| address-layout | fixed | random |
| kernel | as it is | says it is 2.6 |
| process-ids | 100 | 31000 |
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from reproducibility.choices import INTERPRETERS, Setting, Variation
from reproducibility.machine import (
    OTHER_USER,
    PATH,
    Ability,
    clock_environment,
    locale_key,
)
from reproducibility.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reproducibility.interpreters import Interpreter
    from reproducibility.machine import Machine

NOON: Final = 1_709_208_000
"""2024-02-29 12:00 UTC: where a held clock stands."""
_YEAR: Final = 31_556_952
_LONG_NAME: Final = "a rather long name, with blanks, ünd letters beyond ASCII " + "x" * 60
_LARGE_IDS: Final = (3_000_001, 3_000_002)
"""Beyond 0o7777777, which is all that a ustar header holds."""


def base_recipe(python: str) -> Recipe:
    """Return the recipe that settings change: nothing in the environment but a path."""
    return Recipe(python=python, environment={"PATH": PATH})


def all_variations(machine: Machine, *, need: int) -> tuple[Variation, ...]:
    """Return every variation, with what of it this machine can do.

    Args:
        machine: what can be done here.
        need: bytes that a build takes.
    """
    return (
        _time_zone(),
        _locale(machine),
        _umask(),
        _build_path(),
        _home(),
        _temporary_directory(),
        _user(machine),
        _host_name(machine),
        _hash_seed(),
        _directory_order(machine),
        _clock(machine),
        _cpus(machine),
        _jobs(),
        _task_order(),
        _store(),
        *_interpreters(machine),
        _file_system(machine, need),
        _search_path(),
        _environment(),
        _terminal(),
        _address_layout(machine),
        _kernel(machine),
        _process_ids(machine),
    )


# ---------------------------------------------------------------- settings


def _set(name: str, **fields: Any) -> Setting:  # noqa: ANN401  - fields of a recipe; tests set all
    def change(recipe: Recipe) -> Recipe:
        return replace(recipe, **fields)

    return Setting(name=name, change=change)


def _env(name: str, **variables: str) -> Setting:
    def change(recipe: Recipe) -> Recipe:
        return replace(recipe, environment={**recipe.environment, **variables})

    return Setting(name=name, change=change)


_AS_IT_IS: Final = Setting(name="as it is", change=lambda recipe: recipe)


def _possible(
    name: str,
    title: str,
    held: Setting,
    hostile: Sequence[Setting],
    *why_not: str | None,
) -> Variation:
    """Return a variation; without its hostile values if there is a reason against it."""
    reasons = tuple(filter(None, why_not))
    return Variation(
        name=name,
        title=title,
        held=_AS_IT_IS if reasons else held,
        hostile=() if reasons else tuple(hostile),
        impossible=reasons,
    )


# ---------------------------------------------------------------- the variations


def _time_zone() -> Variation:
    hostile = (_env("GMT+12", TZ="GMT+12"), _env("GMT-14", TZ="GMT-14"))
    return _possible("time-zone", "time zone", _env("UTC", TZ="UTC"), hostile)


def _locale(machine: Machine) -> Variation:
    held = "C.UTF-8" if locale_key("C.UTF-8") in machine.locales else "C"
    hostile, missing = [], []
    for name in ("et_EE.UTF-8", "tr_TR.UTF-8"):
        if locale_key(name) in machine.locales:
            language = name.partition(".")[0]
            hostile.append(_env(name, LANG=name, LC_ALL=name, LANGUAGE=language))
        else:
            missing.append(f"{name}: not installed; Debian: apt install locales, locale-gen")
    ascii_only = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    hostile.append(_env("C without UTF-8", LANG="C", LC_ALL="C", **ascii_only))
    return Variation(
        name="locale",
        title="language settings",
        held=_env(held, LANG=held, LC_ALL=held),
        hostile=tuple(hostile),
        impossible=tuple(missing),
    )


def _umask() -> Variation:
    hostile = (_set("077", umask=0o077), _set("000", umask=0))
    return _possible("umask", "umask", _set("022", umask=0o022), hostile)


def _build_path() -> Variation:
    return _possible(
        "build-path",
        "working directory and its length",
        _set("site", place="site"),
        (_set(f"{len(_LONG_NAME)} letters longer", place=_LONG_NAME), _set("s", place="s")),
    )


def _home() -> Variation:
    hostile = (_set("of the stage", home="home"), _set("another", home="home 2"))
    held = _set("does not exist", home="/nonexistent")
    return _possible("home", "home directory", held, hostile)


def _temporary_directory() -> Variation:
    hostile = (_set("of the stage", temporary="tmp"),)
    held = _set("/tmp", temporary="/tmp")  # noqa: S108  - nothing is written there
    return _possible("temporary-directory", "directory of temporary files", held, hostile)


def _user(machine: Machine) -> Variation:
    return _possible(
        "user",
        "user and group",
        _AS_IT_IS,
        tuple(
            _set(f"{ids[0]}:{ids[1]}", user=ids, may_read_all=machine.user_reads_all)
            for ids in (OTHER_USER, _LARGE_IDS)
        ),
        machine.why_not(Ability.OTHER_USER),
    )


def _host_name(machine: Machine) -> Variation:
    names = ("ci-runner-0047.build.example.org", "box")
    hostile = tuple(_set(name, host=name) for name in names)
    why_not = machine.why_not(Ability.HOST_NAME)
    return _possible("host-name", "host name", _set("audit", host="audit"), hostile, why_not)


def _hash_seed() -> Variation:
    return _possible(
        "hash-seed",
        "order of hash tables",
        _env("0", PYTHONHASHSEED="0"),
        (_env("4711", PYTHONHASHSEED="4711"), _env("random", PYTHONHASHSEED="random")),
    )


def _directory_order(machine: Machine) -> Variation:
    return _possible(
        "directory-order",
        "order of directory listings",
        _set("sorted", file_order="sorted"),
        (_set("reversed", file_order="reversed"), _set("shuffled", file_order="shuffled")),
        machine.why_not(Ability.DISORDERFS),
    )


def _clock(machine: Machine) -> Variation:
    def at(name: str, time: str) -> Setting:
        return _env(name, **clock_environment(machine.clock, time))

    return _possible(
        "clock",
        "time of day",
        at("stands still", str(NOON)),
        (
            at("seven years ahead", f"+{7 * _YEAR + 11_225}"),
            at("nine years behind", f"-{9 * _YEAR + 40_129}"),
        ),
        machine.why_not(Ability.CLOCK),
    )


def _cpus(machine: Machine) -> Variation:
    """Return what to do about processors: those that may be used, and those that are counted."""
    every, first = machine.cpus, machine.cpus[:1]
    cannot_claim = machine.why_not(Ability.CLAIMED_CPUS)
    cannot_bind = machine.why_not(Ability.AFFINITY)
    if cannot_claim is not None:
        held = _set("one", cpus=first)
        alone = "there is only one" if len(every) == 1 else None
        some = (_set(f"all {len(every)}", cpus=None), held)
        return _possible("cpus", "number of processors", held, some, cannot_bind, alone)
    bound = None if cannot_bind else first
    held = _set("one", cpus=bound, claimed_cpus="0")
    many = _set("64 claimed", cpus=None, claimed_cpus="0-63")
    own = _set(f"all {len(every)}", cpus=None, claimed_cpus=None)
    hostile = (many, own, held)
    return _possible("cpus", "number of processors", held, hostile)


def _jobs() -> Variation:
    hostile = (_set("4 workers", jobs=4), _set("1 worker", jobs=1))
    return _possible("jobs", "tasks at a time", _set("in one process", jobs=0), hostile)


def _task_order() -> Variation:
    return _possible(
        "task-order",
        "order of tasks",
        _set("as declared", task_order="declared"),
        (_set("reversed", task_order="reversed"), _set("shuffled", task_order="shuffled")),
    )


def _store() -> Variation:
    cold = _set("cold", is_warm=False)
    hostile = (cold, _set("warm, by another process", is_warm=True))
    return _possible("store", "what the store holds before", cold, hostile)


def _interpreters(machine: Machine) -> tuple[Variation, ...]:
    first, *others = machine.interpreters
    pythons = [i for i in others if i.version != first.version]
    same = [i for i in others if i.version == first.version]
    apsws = [i for i in same if i.packages["apsw"] != first.packages["apsw"]]
    unusable = "; ".join(machine.unusable)
    hint = unusable or "no other one with the packages; name one with --python"
    return (
        _interpreter(INTERPRETERS[0], "version of Python", first, pythons, hint),
        _interpreter(INTERPRETERS[1], "version of apsw and SQLite", first, apsws, hint),
    )


def _interpreter(
    name: str, title: str, first: Interpreter, others: Sequence[Interpreter], hint: str
) -> Variation:
    return _possible(
        name,
        title,
        _set(str(first)),
        tuple(_set(str(other), python=other.path) for other in others),
        None if others else hint,
    )


def _file_system(machine: Machine, need: int) -> Variation:
    little = None
    if machine.memory and need > machine.memory // 2:
        gigabytes = need / 1e9
        little = f"a tmpfs for this build takes {gigabytes:.1f} GB, too much of the memory here"
    return _possible(
        "file-system",
        "file system",
        _set("that of the working directory", has_tmpfs=False),
        (_set("tmpfs", has_tmpfs=True),),
        machine.why_not(Ability.TMPFS),
        little,
    )


def _search_path() -> Variation:
    longer = f"/opt/first/bin:{PATH}:/i/capture/the/path"
    held = _env("the usual", PATH=PATH)
    return _possible("search-path", "PATH", held, (_env("longer", PATH=longer),))


def _environment() -> Variation:
    """Return variables that other programs listen to, and that a build may have inherited."""
    names = {
        "CAPTURE_ENVIRONMENT": "/i/capture/the/environment",
        "USER": "builder",
        "LOGNAME": "builder",
        "SOURCE_DATE_EPOCH": "1",
        "ZSTD_CLEVEL": "19",
        "ZSTD_NBTHREADS": "7",
        "GZIP": "-9",
        "TAR_OPTIONS": "--mtime=@0",
        "BLOCKSIZE": "1",
        "COLUMNS": "33",
        "NO_COLOR": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "DOIT_CONFIG": "other",
        "CI": "true",
    }
    held = _env("USER=auditor", USER="auditor", LOGNAME="auditor")
    parts = tuple(_env(f"${name}", **{name: value}) for name, value in names.items())
    hostile = replace(_env(f"{len(names)} more", **names), parts=parts)
    return _possible("environment", "other variables", held, (hostile,))


def _terminal() -> Variation:
    def change(recipe: Recipe) -> Recipe:
        variables = {**recipe.environment, "TERM": "xterm-256color"}
        return replace(recipe, has_terminal=True, environment=variables)

    hostile = (Setting(name="yes", change=change),)
    return _possible("terminal", "terminal", _set("no", has_terminal=False), hostile)


def _address_layout(machine: Machine) -> Variation:
    return _possible(
        "address-layout",
        "layout of the address space",
        _set("fixed", has_random_addresses=False),
        (_set("random", has_random_addresses=True),),
        machine.why_not(Ability.FIXED_ADDRESSES),
    )


def _kernel(machine: Machine) -> Variation:
    hostile = (_set("says it is 2.6", has_old_kernel=True),)
    why_not = machine.why_not(Ability.OLD_KERNEL)
    return _possible("kernel", "version of the kernel", _AS_IT_IS, hostile, why_not)


def _process_ids(machine: Machine) -> Variation:
    return _possible(
        "process-ids",
        "numbers of processes",
        _set("100", first_process=100),
        (_set("31000", first_process=31_000),),
        machine.why_not(Ability.PROCESS_IDS),
    )
