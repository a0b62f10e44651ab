"""Triggers: programs of the image that pkg(8) runs when directories were touched.

Source: freebsd/pkg 2.8.4, libpkg/triggers.c (trigger_load, trigger_check_match, save_trigger,
exec_deferred), libpkg/pkg_add.c; pkg-triggers(5).

1. Trigger files are regular files `*.ucl`, not hidden, right in one of `TRIGGER_DIRECTORIES`.
2. A trigger watches directories: by name (`path`), by glob (`path_glob`, fnmatch(3) without flags)
   or by extended regular expression (`path_regexp`). Touched are the directory of every file that
   a package of the transaction installs, and every directory that it names; the directory of a
   file right below `/` is the empty string, as in pkg.
3. With a root directory, pkg does not run a trigger whose script is not sandboxed, but saves it in
   `DEFERRED` for `pkg triggers` to run in the target. That is what is computed here. pkg gives the
   file a random name and lists directories in the order of a hash table; here the name follows from
   the trigger's path, so that a child image replaces what its parent deferred, and directories are
   sorted by their bytes.
4. A sandboxed script (the default) would run at once: refused where it is set off, unless skipped.
   So would a trigger for single packages (`pre_install/`, `post_install/` below rule 1), which
   watches files too: refused wherever there is one, unless skipped.
5. What pkg would refuse to load is refused here too, unless skipped: it would print an error for
   every transaction in the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from pipeline.errors import FormatError, ScriptError
from pipeline.formats.digest import Digest
from pipeline.formats.ucl import parse_ucl
from pipeline.pkg.patterns import compile_expression, compile_glob, match_glob, search

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pipeline.formats.ucl import UclValue
    from pipeline.pkg.manifest import PackageManifest
    from pipeline.pkg.patterns import Expression, Glob

TRIGGER_DIRECTORIES: Final = ("/usr/share/pkg/triggers", "/usr/local/share/pkg/triggers")
"""Where pkg looks for triggers unless it is configured otherwise."""

DEFERRED: Final = "/var/db/pkg/triggers"
"""Directory of deferred triggers, 0755; its files are 0644, all root:wheel."""

_NAME_LENGTH: Final = 10
_SUFFIX: Final = ".ucl"


class Phase(StrEnum):
    """When a trigger runs."""

    TRANSACTION = ""
    PRE_INSTALL = "pre_install"
    POST_INSTALL = "post_install"
    PRE_DEINSTALL = "pre_deinstall"
    POST_DEINSTALL = "post_deinstall"


_PHASES: Final = {
    f"{directory}/{phase}".rstrip("/"): phase
    for directory in TRIGGER_DIRECTORIES
    for phase in Phase
}
_DEINSTALL: Final = (Phase.PRE_DEINSTALL, Phase.POST_DEINSTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """A trigger file."""

    path: str
    phase: Phase
    paths: tuple[str, ...]
    globs: tuple[Glob, ...]
    expressions: tuple[Expression, ...]
    script: str
    is_sandboxed: bool

    def watches(self, path: str) -> bool:
        """Say whether a touched directory sets it off."""
        return (
            path in self.paths
            or any(match_glob(glob, path) for glob in self.globs)
            or any(search(expression, path) for expression in self.expressions)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeferredTrigger:
    """A trigger that `pkg triggers` will run in the target."""

    trigger: str
    """Path of the trigger file."""
    directories: tuple[str, ...]
    """What set it off; the arguments of its script."""
    path: str
    """Where the deferred trigger is saved."""
    content: bytes

    def describe(self) -> str:
        """Say it in one line."""
        count = len(self.directories)
        return f"{self.trigger}: deferred to {self.path} ({count} director{_ies(count)})"

    def to_dict(self) -> dict[str, object]:
        """Return the canonical form, for provenance."""
        return {
            "trigger": self.trigger,
            "treatment": "deferred",
            "path": self.path,
            "digest": str(Digest.of(self.content)),
            "directories": list(self.directories),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedTrigger:
    """A trigger that is passed over because the declaration says so."""

    trigger: str
    reason: str

    def describe(self) -> str:
        """Say it in one line."""
        return f"{self.trigger}: skipped ({self.reason})"

    def to_dict(self) -> dict[str, object]:
        """Return the canonical form, for provenance."""
        return {"trigger": self.trigger, "treatment": "skipped", "reason": self.reason}


def _ies(count: int) -> str:
    return "y" if count == 1 else "ies"


# ---------------------------------------------------------------- which, and what set them off


def trigger_phase(path: str) -> Phase | None:
    """Return when the trigger of a path runs; None if it is no trigger file (rule 1)."""
    folder, _, name = path.rpartition("/")
    if name.startswith(".") or not name.endswith(_SUFFIX):
        return None
    return _PHASES.get(folder)


def touched_directories(manifests: Iterable[PackageManifest]) -> tuple[str, ...]:
    """Return what installing packages touches (rule 2), sorted by bytes."""
    touched = {path for manifest in manifests for path in _touched(manifest)}
    return tuple(sorted(touched, key=_bytes))


def _touched(manifest: PackageManifest) -> Iterable[str]:
    for file in manifest.files:
        yield file.path.rpartition("/")[0]
    for directory in manifest.directories:
        yield directory.path


def _bytes(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


# ---------------------------------------------------------------- reading


def parse_trigger(path: str, raw: bytes) -> Trigger:
    """Read a trigger file.

    Raises:
        ScriptError: if pkg would not load it, or a pattern is not understood; the context is the
            path.
    """
    try:
        return _trigger(path, raw)
    except FormatError as e:
        place = f"{path}, {e.context}" if e.context else path
        raise ScriptError(e.message, context=place, hint=_choices(path)) from None


def _trigger(path: str, raw: bytes) -> Trigger:
    phase = trigger_phase(path)
    if phase is None:
        raise ScriptError(f"want *{_SUFFIX} in {' or '.join(TRIGGER_DIRECTORIES)}")
    document = parse_ucl(raw, keep_variables=True)
    block = document.get("trigger")
    if not isinstance(block, dict):
        raise ScriptError("want an object", context="trigger")
    kind, script = block.get("type"), block.get("script")
    if not isinstance(kind, str) or kind.lower() != "lua":
        raise ScriptError(f"got {kind!r}, want lua", context="trigger.type")
    if not isinstance(script, str) or "\0" in script:
        raise ScriptError("want the text of a script", context="trigger.script")
    sandbox = block.get("sandbox", True)
    if not isinstance(sandbox, bool):
        raise ScriptError("want a boolean", context="trigger.sandbox")
    paths, globs, expressions = (
        _strings(document, key) for key in ("path", "path_glob", "path_regexp")
    )
    if not (paths or globs or expressions):
        raise ScriptError("it watches nothing: want path, path_glob or path_regexp")
    return Trigger(
        path=path,
        phase=phase,
        paths=paths,
        globs=tuple(compile_glob(pattern) for pattern in globs),
        expressions=tuple(compile_expression(pattern) for pattern in expressions),
        script=script,
        is_sandboxed=sandbox,
    )


def _strings(document: Mapping[str, UclValue], key: str) -> tuple[str, ...]:
    """Return a string or an array of strings; empty where the key is absent."""
    value = document.get(key, [])
    items = value if isinstance(value, list) else [value]
    result = [item for item in items if isinstance(item, str)]
    if len(result) < len(items):
        raise ScriptError("want a string or an array of strings", context=key)
    return tuple(result)


# ---------------------------------------------------------------- computing


def handle_triggers(
    files: Mapping[str, bytes], touched: Iterable[str], *, skip: Mapping[str, str]
) -> tuple[DeferredTrigger | SkippedTrigger, ...]:
    """Say what becomes of the triggers of an image, sorted by path.

    Args:
        files: trigger files of the image (its parents' among them), by path.
        touched: directories, as `touched_directories` gives them.
        skip: reasons by the path of triggers that are passed over.

    Raises:
        ScriptError: for a trigger that pkg would run at once, or would not load.
    """
    directories = tuple(sorted(set(touched), key=_bytes))
    result: list[DeferredTrigger | SkippedTrigger] = []
    for path in sorted(files, key=_bytes):
        if path in skip:
            result.append(SkippedTrigger(trigger=path, reason=skip[path]))
            continue
        trigger = parse_trigger(path, files[path])
        deferred = defer_trigger(trigger, directories)
        if deferred is not None:
            result.append(deferred)
    return tuple(result)


def defer_trigger(trigger: Trigger, touched: Iterable[str]) -> DeferredTrigger | None:
    """Return what pkg saves of a trigger, or None if nothing set it off.

    Raises:
        ScriptError: if pkg would run it at once (rule 4).
    """
    if trigger.phase in _DEINSTALL:
        return None
    if trigger.phase is not Phase.TRANSACTION:
        raise _runs_at_once(trigger, "for each package that is installed")
    matched = tuple(sorted({path for path in touched if trigger.watches(path)}, key=_bytes))
    if not matched:
        return None
    if trigger.is_sandboxed:
        raise _runs_at_once(trigger, "in a sandbox, on the machine that builds")
    if any("\n" in path for path in matched):
        raise ScriptError("a touched directory with a new line", context=trigger.path)
    name = Digest.of(_bytes(trigger.path)).hex[:_NAME_LENGTH]
    return DeferredTrigger(
        trigger=trigger.path,
        directories=matched,
        path=f"{DEFERRED}/{name}",
        content=deferred_content(trigger.script, matched),
    )


def deferred_content(script: str, directories: Iterable[str]) -> bytes:
    """Return the file that pkg saves (save_trigger)."""
    arguments = "".join(f"-- {path}\n" for path in directories)
    return _bytes(f"--begin args\n{arguments}--end args\n--\n{script}\n")


def _runs_at_once(trigger: Trigger, how: str) -> ScriptError:
    return ScriptError(
        f"pkg would run its script {how}", context=trigger.path, hint=_choices(trigger.path)
    )


def _choices(path: str) -> str:
    return (
        "no script of a package is ever run: skip the trigger by its path, with a reason,\n"
        f'  skip = [{{ trigger = "{path}", reason = "…" }}]\n'
        "and add with `files` what the image needs of it; or leave out its package"
    )
