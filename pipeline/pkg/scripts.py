"""Scripts of a package: recognised completely, or refused. None is ever run.

Source: freebsd/pkg 2.8.4, libpkg/scripts.c, libpkg/lua_scripts.c, libpkg/pkg_add.c.

1. pkg runs, at installation: lua pre-install, `pre-install`, `install PRE-INSTALL`; then the files
   are extracted; lua post-install, `post-install`, `install POST-INSTALL`. The result has the
   scripts in the order pre-install, post-install, `install`, lua before shell, so that all
   `before` in order, then all `after` in order, is the order of pkg.
2. A script that runs at installation is understood statement by statement, or refused whole.
3. Scripts of deinstallation never run while an image is built: they are recorded, not read.
4. A shell script must do the same with a root directory and on the live system: what it does to an
   image must not depend on how the image is made.
5. A digest in `skip` takes its script out of rule 2; the reason is recorded.
6. The digest is the sha256 of the script's text, decoded as the manifest says, in UTF-8.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from pipeline.errors import ScriptError
from pipeline.formats.digest import Digest
from pipeline.pkg.lua_scripts import recognise_lua
from pipeline.pkg.script_expand import ROOT, Environment
from pipeline.pkg.script_walk import walk
from pipeline.pkg.shell import parse_shell

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.pkg.effects import Effect
    from pipeline.pkg.manifest import PackageManifest

_ORDER: Final = (
    "pre-install",
    "post-install",
    "install",
    "pre-deinstall",
    "post-deinstall",
    "deinstall",
)
_LIVE: Final = "/"
"""PKG_ROOTDIR where there is no root directory."""

MAX_SHOWN: Final = 4000
"""Characters of a script that an error's hint shows."""


class Language(StrEnum):
    """What a script is written in."""

    SHELL = "sh"
    LUA = "lua"


class Treatment(StrEnum):
    """What became of a script."""

    COMPUTED = "computed"
    SKIPPED = "skipped"
    RECORDED = "recorded"
    """It runs at deinstallation only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecognisedScript:
    """One script of a package."""

    kind: str
    """As in the manifest: `pre-install`, `post-install`, `install`, …"""
    language: Language
    digest: Digest
    treatment: Treatment
    reason: str
    """Why it is skipped; empty for any other treatment."""
    before: tuple[Effect, ...]
    """Effects before the package's files are there."""
    after: tuple[Effect, ...]
    """Effects after that."""

    @property
    def effects(self) -> tuple[Effect, ...]:
        """All effects, in order."""
        return self.before + self.after

    def describe(self) -> str:
        """Say in one line what became of it."""
        name = f"{'lua ' if self.language is Language.LUA else ''}{self.kind}"
        if self.treatment is Treatment.SKIPPED:
            return f"{name}: skipped ({self.reason})"
        if self.treatment is Treatment.RECORDED:
            return f"{name}: recorded, never run"
        return f"{name}: {'; '.join(e.describe() for e in self.effects) or 'nothing to do'}"

    def to_dict(self) -> dict[str, object]:
        """Return the canonical form, for provenance."""
        result: dict[str, object] = {
            "kind": self.kind,
            "language": self.language.value,
            "digest": str(self.digest),
            "treatment": self.treatment.value,
            "effects": [effect.to_dict() for effect in self.effects],
        }
        return {**result, "reason": self.reason} if self.reason else result


def recognise(
    manifest: PackageManifest, *, skip: Mapping[str, str]
) -> tuple[RecognisedScript, ...]:
    """Say what the scripts of a package do (rule 1 for the order).

    Args:
        manifest: the package's.
        skip: reasons by the digest (`sha256:…`) of scripts that are passed over.

    Raises:
        ScriptError: for a script that is not understood; its hint shows the text and the choices.
    """
    found = [(Language.LUA, kind, text) for kind, text in manifest.lua_scripts]
    found += [(Language.SHELL, kind, text) for kind, text in manifest.scripts]
    found.sort(key=lambda script: _ORDER.index(script[1]))
    return tuple(
        _recognise_one(manifest, language, kind, text, skip=skip) for language, kind, text in found
    )


def script_digest(text: str) -> Digest:
    """Return the digest of a script's text (rule 6)."""
    return Digest.of(text.encode("utf-8", "surrogateescape"))


def _recognise_one(
    manifest: PackageManifest,
    language: Language,
    kind: str,
    text: str,
    *,
    skip: Mapping[str, str],
) -> RecognisedScript:
    digest = script_digest(text)
    before: tuple[Effect, ...] = ()
    after: tuple[Effect, ...] = ()
    treatment = Treatment.COMPUTED
    if str(digest) in skip:
        treatment = Treatment.SKIPPED
    elif kind.endswith("deinstall"):
        treatment = Treatment.RECORDED
    else:
        try:
            before, after = _effects(manifest, language, kind, text)
        except ScriptError as e:
            raise _refusal(manifest, language, kind, text, e) from None
    return RecognisedScript(
        kind=kind,
        language=language,
        digest=digest,
        treatment=treatment,
        reason=skip[str(digest)] if treatment is Treatment.SKIPPED else "",
        before=before,
        after=after,
    )


def _effects(
    manifest: PackageManifest, language: Language, kind: str, text: str
) -> tuple[tuple[Effect, ...], tuple[Effect, ...]]:
    """Return the effects before and after the files are there."""
    if language is Language.LUA:
        effects = recognise_lua(text, kind=kind, prefix=manifest.prefix)
    elif kind == "install":
        before = _shell_effects(manifest, text, "PRE-INSTALL")
        return before, _shell_effects(manifest, text, "POST-INSTALL")
    else:
        effects = _shell_effects(manifest, text)
    return (effects, ()) if kind == "pre-install" else ((), effects)


def _shell_effects(manifest: PackageManifest, text: str, *phase: str) -> tuple[Effect, ...]:
    """Return what a shell script does (rule 4)."""
    statements = parse_shell(text)
    results = [
        walk(
            statements,
            Environment(
                {
                    "PKG_NAME": manifest.name,
                    "PKG_PREFIX": manifest.prefix,
                    "PKG_ROOTDIR": root,
                },
                (manifest.name_version, *phase),
            ),
        )
        for root in (ROOT, _LIVE)
    ]
    if results[0] != results[1]:
        raise ScriptError("what it does depends on whether there is a root directory")
    return results[0]


def _refusal(
    manifest: PackageManifest, language: Language, kind: str, text: str, cause: ScriptError
) -> ScriptError:
    name = f"{'lua ' if language is Language.LUA else ''}{kind} script"
    place = f", {cause.context}" if cause.context else ""
    message = cause.message.replace(repr(ROOT)[1:-1], "${PKG_ROOTDIR}")
    message = message.replace(ROOT, "${PKG_ROOTDIR}")
    return ScriptError(
        f"not understood: {message}",
        context=f"{manifest.name_version}, {name}{place}",
        hint=f"nobody has taught the build what this {name} does, and it is never run:\n\n"
        f"{_shown_text(text)}\n\n"
        "declare what it would do (`effects`, `files`, `accounts` of the image), and skip it by its"
        " digest:\n"
        f'  skip = [{{ digest = "{script_digest(text)}", reason = "…" }}]\n'
        f"skip it alone, if the image is right without; or leave out package {manifest.name}",
    )


def _shown_text(text: str) -> str:
    """Return a script for people: indented, shortened, without control characters."""
    cut = text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "\n[…]"
    lines = (
        "".join(c if c == "\t" or c.isprintable() else ascii(c)[1:-1] for c in line)
        for line in cut.split("\n")
    )
    return "\n".join(f"  | {line}" for line in lines)
