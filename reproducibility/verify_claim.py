"""A claim: a declaration and a lock that are said to make an image. Pure.

Anybody can attach a lock to an image, so nothing of a claim is believed. It is read strictly, by
the parsers that a build uses, and decides nothing but what is tried: whether it is true says the
digest of what comes out.

1. A format number that this version does not write is told apart from nonsense: another version of
   the program may be able to build it.
2. The target that a claim names exists in its declaration and its lock, and its architecture is the
   platform of the manifest in question.
3. Commands, keys, outputs and registries that a declaration names mean nothing here.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.declaration.reading import parse_declaration
from pipeline.declaration.tables import FORMAT
from pipeline.errors import DeclarationError, FormatError, LockfileError, PipelineError
from pipeline.formats import canonical_json
from pipeline.formats.fields import get_optional
from pipeline.pkg.lockfile import Lock
from pipeline.stages.image import make_index
from pipeline.stages.plan import Plan, check_lock, make_plan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.declaration.tables import Declaration
    from pipeline.formats.digest import Digest
    from pipeline.oci.platform import Platform
    from pipeline.stages.plan import ImagePlan

MAX_DECLARATION: Final = 1 << 20
MAX_LOCK: Final = 16 << 20
"""Bytes; more is not looked at."""

DECLARATION: Final = "declaration"
LOCK: Final = "lock"

_BASE: Final = "org.opencontainers.image.base."
_PREFIX: Final = "org.opencontainers.image."
_NO_VARIANT: Final = {"arm64": "v8"}
"""Variants that mean the same as none."""


class UnsupportedFormatError(PipelineError):
    """Well-formed, as far as one can see, by another version of this program (1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The two files of a claim as they are, and where they come from."""

    origin: str
    """For people."""
    declaration: bytes
    lock: bytes
    target: str | None
    """`release:image` or `release:architecture:image`; None where nobody has said."""
    artifact: Digest | None
    """The lock artifact; None for files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A declaration and its lock, read and found to fit each other."""

    sources: Sources
    declaration: Declaration
    plan: Plan

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Return every release and image there is to build."""
        return tuple(dict.fromkeys((p.release, p.name) for p in self.plan.images.values()))


def check_format(number: int, what: str) -> None:
    """Raise UnsupportedFormatError unless a format is the one that is written here (1)."""
    if number != FORMAT:
        raise UnsupportedFormatError(
            f"{what} is of output format {number}, this version writes format {FORMAT}",
            hint=f"verify with a version of pkgbase-oci that writes format {number}",
        )


def parse_claim(sources: Sources) -> Claim:
    """Read a claim.

    Raises:
        UnsupportedFormatError: it is of another format.
        FormatError, StaleLockError: it is none; a lock that does not answer its declaration.
    """
    if len(sources.declaration) > MAX_DECLARATION:
        raise DeclarationError(f"longer than {MAX_DECLARATION} bytes", context=DECLARATION)
    if len(sources.lock) > MAX_LOCK:
        raise LockfileError(f"longer than {MAX_LOCK} bytes", context=LOCK)
    declaration = _parse_declaration(sources.declaration)
    lock = _parse_lock(sources.lock)
    check_lock(declaration, lock, what="the lock")
    for release, locked in lock.releases.items():
        for architecture, target in locked.architectures.items():
            known = {repository.name for repository in target.repositories}
            for package in target.packages.values():
                if package.repository not in known:
                    raise LockfileError(
                        f"package {package.name} is of no repository that is there",
                        context=f"{LOCK}: releases.{release}.{architecture}",
                    )
    return Claim(sources=sources, declaration=declaration, plan=make_plan(declaration, lock))


def _parse_declaration(data: bytes) -> Declaration:
    try:
        number = tomllib.loads(data.decode("utf-8")).get("format")
        if type(number) is int:
            check_format(number, f"the {DECLARATION}")
        return parse_declaration(data)
    except FormatError as e:
        raise e.in_document(DECLARATION) from None
    except (ValueError, RecursionError):  # of tomllib: numbers and nesting beyond Python's limits
        raise DeclarationError("not TOML that can be read", context=DECLARATION) from None


def _parse_lock(data: bytes) -> Lock:
    try:
        number = get_optional(canonical_json.loads_object(data), int, "format")
        if number is not None:
            check_format(number, f"the {LOCK}")
        return Lock.parse(data)
    except FormatError as e:
        error = LockfileError(e.message, context=e.context)  # without the hint to a maintainer
        raise error.in_document(LOCK) from None


# ---------------------------------------------------------------- what to build


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The image in question, as far as it can be known without believing anybody."""

    name: str
    """As it is called: `freebsd-static:15.0`; empty where it has no name."""
    platform: Platform | None
    """Of a single manifest; None for an index."""
    annotations: Mapping[str, str]
    """What it says of itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What has to be built of a claim."""

    release: str
    image: str
    plans: tuple[ImagePlan, ...]
    """Over the architectures, in the order of the index."""
    is_index: bool

    @property
    def reference(self) -> str:
        """What it is called: `freebsd-static:15.0`."""
        return self.plans[0].reference

    def plan(self, declaration: Declaration) -> Plan:
        """Return the images to build, parents first, and nothing else."""
        images = {str(p): p for plan in self.plans for p in plan.lineage}
        return Plan(declaration=declaration, images=images)


def find_goal(claim: Claim, published: Published) -> Goal:
    """Say what to build of a claim to get an image (2).

    Raises:
        FormatError: the claim cannot be about that image.
    """
    target = claim.sources.target
    pair, architecture = _parse_target(target) if target else (_guess(claim, published), None)
    release, image = pair
    if pair not in claim.pairs:
        raise FormatError(f"target {release}:{image} is not in its declaration")
    plans = tuple(plan for plan in claim.plan.images.values() if (plan.release, plan.name) == pair)
    if architecture is not None and architecture not in {p.architecture for p in plans}:
        raise FormatError(f"target {target}: there is no such architecture in its declaration")
    if published.platform is None:
        return Goal(release=release, image=image, plans=plans, is_index=True)
    fitting = tuple(p for p in plans if same_platform(p.platform, published.platform))
    if not fitting:
        raise FormatError(f"it makes nothing for {published.platform}")
    if architecture not in (None, fitting[0].architecture):
        raise FormatError(f"it is for {architecture}, and the image for {published.platform}")
    return Goal(release=release, image=image, plans=fitting, is_index=False)


def same_platform(a: Platform, b: Platform) -> bool:
    """Say whether two platforms are the same."""
    return platform_key(a) == platform_key(b)


def platform_key(platform: Platform) -> tuple[str, str, str | None]:
    """Return what is equal for equal platforms; arm64 is arm64/v8."""
    variant = platform.variant
    if variant == _NO_VARIANT.get(platform.architecture):
        variant = None
    return platform.os, platform.architecture, variant


def _parse_target(text: str) -> tuple[tuple[str, str], str | None]:
    parts = text.split(":")
    if len(parts) == 2:  # noqa: PLR2004
        return (parts[0], parts[1]), None
    if len(parts) == 3:  # noqa: PLR2004
        return (parts[0], parts[2]), parts[1]
    raise FormatError(f"got target {text[:80]!r}, want release:image")


def _guess(claim: Claim, published: Published) -> tuple[str, str]:
    """Return the release and image that an image seems to be, by its annotations and its name."""
    pairs = [pair for pair in claim.pairs if not _contradictions(claim, pair, published)]
    named = [p for p in pairs if claim.declaration.reference(p[1], p[0]) == published.name]
    found = named if len(named) == 1 else pairs
    if len(found) != 1:
        raise FormatError(
            f"{len(found) or 'none'} of its {len(claim.pairs)} images looks like the one in"
            " question",
            hint="say which it is: --target RELEASE:IMAGE",
        )
    return found[0]


# ---------------------------------------------------------------- how likely it is


def contradictions(claim: Claim, goal: Goal, published: Published) -> tuple[str, ...]:
    """Return what an image says of itself that this claim does not make it say.

    Such a claim is tried all the same, after others: the image may have been altered.
    """
    return _contradictions(claim, (goal.release, goal.image), published)


def _contradictions(claim: Claim, pair: tuple[str, str], published: Published) -> tuple[str, ...]:
    want = published.annotations
    plans = [p for p in claim.plan.images.values() if (p.release, p.name) == pair]
    raw, _ = make_index(plans[:1], claim.declaration, ())
    annotations = canonical_json.loads_object(raw)["annotations"]
    assert isinstance(annotations, dict), "as an index has them"
    got = {key: str(value) for key, value in annotations.items()}
    keys = sorted(k for k in {*want, *got} if not k.startswith(_BASE))
    differing = [key for key in keys if got.get(key) != want.get(key)]
    return tuple(
        f"{key.removeprefix(_PREFIX)} {_quoted(got.get(key))}, the image says"
        f" {_quoted(want.get(key))}"
        for key in differing
    )


def _quoted(text: str | None) -> str:
    return "nothing" if text is None else repr(text[:60])
