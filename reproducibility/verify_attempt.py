"""Trying a claim: have its archives, build it, and compare digests with those of the image."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from pipeline.errors import PipelineError, TooLargeError
from pipeline.host.store import Store
from pipeline.oci.platform import Platform
from reproducibility.sources import SourceName
from reproducibility.verify_archives import fetch_archives
from reproducibility.verify_blobs import check_blobs
from reproducibility.verify_build import Bounds, BuildError, build_claim
from reproducibility.verify_claim import platform_key
from reproducibility.verify_image import INDEX, find_subject
from reproducibility.verify_place import LayoutPlace
from reproducibility.verify_result import Attempt, Delivery, Outcome, Part
from reproducibility.verify_sources import find_needs
from reproducibility.wording import plural, size_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from reproducibility.verify_build import Built
    from reproducibility.verify_image import Subject
    from reproducibility.verify_locks import Candidate
    from reproducibility.verify_sources import Needs, Substitutes

ARCHIVES: Final = "archives"
EXPANSION: Final = 8
"""How much more a build may write than is fetched for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where and how claims are tried."""

    work: Path
    """A directory that is empty at first."""
    archives: Path | None
    """A store that the user keeps; None for none."""
    substitutes: Substitutes
    limit: int
    """Bytes of archives that are fetched at the most."""
    timeout: float
    """Seconds for a build."""
    is_quiet: bool
    say: Callable[[str], None]
    """Told of each step."""
    watch: Callable[[str], None]
    """Told what is going on within it, for those who look on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A claim that has been tried."""

    candidate: Candidate
    attempt: Attempt
    built: Built | None
    """None where nothing came of it."""


def archive_store(bench: Bench) -> Store:
    """Return where archives are."""
    return Store(bench.archives or bench.work / ARCHIVES)


def try_claim(candidate: Candidate, subject: Subject, bench: Bench, *, name: str) -> Tried:
    """Build what a claim makes and compare it with an image; a failure is a result.

    Args:
        candidate: the claim.
        subject: the image.
        bench: where and how.
        name: a directory of the bench for it alone.
    """
    start = time.monotonic()
    needs: Needs | None = None
    built: Built | None = None
    try:
        needs = find_needs(candidate.goal.plan(candidate.claim.declaration), bench.substitutes)
        built = _build(candidate, needs, bench, bench.work / name)
    except PipelineError as e:
        attempt = candidate.attempt(Outcome.NOT_TRIED, str(e), e.hint)
    else:
        parts = _parts(candidate, subject, built)
        outcome = Outcome.REPRODUCED if parts[0].is_same else Outcome.DIFFERENT
        attempt = replace(candidate.attempt(outcome), parts=parts)
    return Tried(
        candidate=candidate,
        attempt=replace(
            attempt,
            hosts=needs.hosts if needs else (),
            archives=len(needs.archives) if needs else 0,
            milliseconds=int((time.monotonic() - start) * 1000),
        ),
        built=built,
    )


def _build(candidate: Candidate, needs: Needs, bench: Bench, site: Path) -> Built:
    asked = f" at {', '.join(needs.hosts)}" if needs.hosts else ""
    text = f"{plural(len(needs.archives), 'package')}, {size_text(needs.size)}"
    bench.say(f"{candidate.goal.reference} needs {text}{asked}")
    if needs.size > bench.limit:
        raise TooLargeError(
            f"the archives of {candidate.goal.reference}, {text}",
            bench.limit,
            hint="allow more: --limit SIZE",
        )
    store = archive_store(bench)
    fetch_archives(needs, store=store, is_quiet=bench.is_quiet)
    bench.say(f"building {candidate.goal.reference}")
    built = build_claim(
        candidate.claim.sources,
        candidate.goal,
        site,
        archives=store,
        bounds=Bounds(bench.timeout, bench.limit * EXPANSION),
        say=bench.watch,
    )
    _check_built(built)
    return built


def _check_built(built: Built) -> None:
    """Hash what a build has made: it read what others have written, and may say anything."""
    text = f"oci:{built.layout}@{built.root}"
    place = LayoutPlace(text, SourceName.parse(text))
    blobs = check_blobs(place, find_subject(place, None).blobs)
    if blobs.delivery is not Delivery.CHECKED:
        raise BuildError(f"the build has left {blobs.problems[0]}")


def _parts(candidate: Candidate, subject: Subject, built: Built) -> tuple[Part, ...]:
    """Return what the image is of, and what was built in place of each; the whole comes first."""
    made = {
        platform_key(Platform.for_freebsd(architecture)): str(digest)
        for architecture, digest in built.parts.items()
    }
    parts = [
        Part(label=label, digest=str(manifest.digest), built=made.get(platform_key(platform), ""))
        for label, (platform, manifest) in zip(subject.labels, subject.platforms, strict=True)
    ]
    if candidate.goal.is_index:
        whole = Part(label=INDEX, digest=str(subject.chosen.digest), built=str(built.root))
        parts.insert(0, whole)
    return tuple(parts)
