"""The locks that are attached to an image, in the order in which they are worth trying.

Anybody may attach one, so there may be several, and lies among them. Those that a key which the
user has named vouches for come first, then those that make the image say what it says of itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from pipeline.errors import (
    DigestMismatchError,
    FetchError,
    FormatError,
    StaleLockError,
)
from pipeline.formats.digest import Digest
from pipeline.stages.provenance import LOCK_TYPE, parse_lock_artifact
from reproducibility.verify_build import HarmfulError, check_claim
from reproducibility.verify_claim import (
    MAX_DECLARATION,
    MAX_LOCK,
    Sources,
    UnsupportedFormatError,
    check_format,
    contradictions,
    find_goal,
    parse_claim,
)
from reproducibility.verify_result import Attempt, Outcome, Signed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from pipeline.host.registry_manifest import Manifest
    from pipeline.oci.descriptor import Descriptor
    from pipeline.stages.provenance import LockArtifact
    from reproducibility.verify_claim import Claim, Goal, Published
    from reproducibility.verify_image import Subject
    from reproducibility.verify_place import Place
    from reproducibility.verify_signatures import Witnesses

_RELEASE_RE: Final = re.compile("[0-9]+[.][0-9]+")
MAX_LOCKS: Final = 16
"""Locks of one image that are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A claim that can be tried."""

    claim: Claim
    goal: Goal
    signed: Signed
    is_likely: bool
    """Whether it makes the image say what it says of itself."""
    warnings: tuple[str, ...]

    def attempt(self, outcome: Outcome, reason: str = "", hint: str | None = None) -> Attempt:
        """Return what came of it, in the form of a result."""
        return attempt_of(
            self.claim.sources,
            outcome,
            reason,
            hint,
            goal=self.goal.reference,
            signed=self.signed,
            is_likely=self.is_likely,
            warnings=self.warnings,
        )


def attempt_of(  # noqa: PLR0913  - the fields of a value
    sources: Sources,
    outcome: Outcome,
    reason: str,
    hint: str | None,
    *,
    goal: str = "",
    signed: Signed = Signed.NOT_ASKED,
    is_likely: bool = False,
    warnings: tuple[str, ...] = (),
) -> Attempt:
    """Return an attempt at which nothing was built."""
    return Attempt(
        origin=sources.origin,
        artifact="" if sources.artifact is None else str(sources.artifact),
        declaration=str(Digest.of(sources.declaration)) if sources.declaration else "",
        lock=str(Digest.of(sources.lock)) if sources.lock else "",
        goal=goal,
        signed=signed,
        is_likely=is_likely,
        outcome=outcome,
        reason=reason,
        hint=hint or "",
        parts=(),
        warnings=warnings,
        hosts=(),
        archives=0,
        milliseconds=0,
    )


# ---------------------------------------------------------------- attached


def attached_locks(
    place: Place, subject: Subject, witnesses: Witnesses
) -> tuple[list[Sources], list[Attempt]]:
    """Fetch the locks that refer to an image or to the index that it is of.

    Those of an index's platforms are taken where it has none of its own.

    Returns:
        The claims, and those that cannot be had or read.

    Raises:
        FetchError: it cannot be told what refers to the image.
    """
    others: list[Attempt] = []
    own = (subject.chosen.digest, subject.root.digest)
    artifacts = _artifacts(place, own, others) or _artifacts(
        place, tuple(subject.published.values()), others
    )
    artifacts.sort(
        key=lambda pair: (
            witnesses.lock(pair[1].declaration.digest, pair[1].lock.digest) is not Signed.YES
        )
    )
    if len(artifacts) > MAX_LOCKS:
        text = f"{len(artifacts) - MAX_LOCKS} more locks are attached and were not looked at"
        others.append(attempt_of(_nothing("locks"), Outcome.NOT_TRIED, text, None))
    sources = [_fetch(place, *pair, others) for pair in artifacts[:MAX_LOCKS]]
    return [one for one in sources if one is not None], others


def _nothing(origin: str, artifact: Digest | None = None) -> Sources:
    """Return a claim of which nothing is at hand."""
    return Sources(origin=origin, declaration=b"", lock=b"", target=None, artifact=artifact)


def _origin(manifest: Manifest) -> str:
    return f"lock {manifest.digest.short}"


def _artifacts(
    place: Place, subjects: tuple[Digest, ...], others: list[Attempt]
) -> list[tuple[Manifest, LockArtifact]]:
    """Read the lock artifacts of some manifests, each once."""
    mark = f'"{LOCK_TYPE}"'.encode()
    found = {}
    for subject in dict.fromkeys(subjects):
        for manifest in place.referrers(subject):
            if mark not in manifest.raw or manifest.digest in found:
                continue
            try:
                found[manifest.digest] = manifest, parse_lock_artifact(manifest.raw)
            except FormatError as e:
                nothing = _nothing(_origin(manifest), manifest.digest)
                others.append(attempt_of(nothing, Outcome.REFUSED, str(e), None))
    return list(found.values())


def _fetch(
    place: Place, manifest: Manifest, artifact: LockArtifact, others: list[Attempt]
) -> Sources | None:
    """Return the claim of an artifact; note why not."""
    nothing = _nothing(_origin(manifest), manifest.digest)
    try:
        check_format(artifact.format_number, "it")
        return replace(
            nothing,
            declaration=_blob(place, artifact.declaration, MAX_DECLARATION),
            lock=_blob(place, artifact.lock, MAX_LOCK),
            target=artifact.build_target,
        )
    except (UnsupportedFormatError, FetchError) as e:
        others.append(attempt_of(nothing, Outcome.NOT_TRIED, str(e), e.hint))
    except (FormatError, DigestMismatchError) as e:
        others.append(attempt_of(nothing, Outcome.REFUSED, str(e), e.hint))
    return None


def _blob(place: Place, descriptor: Descriptor, limit: int) -> bytes:
    if descriptor.size > limit:
        raise FormatError(f"has a file of {descriptor.size} bytes, want {limit} at most")
    data = place.blob(descriptor, max_length=descriptor.size)
    if len(data) != descriptor.size:
        raise FormatError(f"has a file of {len(data)} bytes, said to be {descriptor.size}")
    return data


# ---------------------------------------------------------------- what can be tried


def sort_out(
    sources: Iterable[Sources], published: Published, witnesses: Witnesses, *, site: Path
) -> tuple[list[Candidate], list[Attempt]]:
    """Read claims, and put those first that are most likely true.

    Args:
        sources: the claims.
        published: what the image says of itself.
        witnesses: what is signed about it.
        site: a directory to read them in.

    Returns:
        The claims that can be tried, and what is wrong with the others.
    """
    candidates: dict[tuple[object, ...], Candidate] = {}
    others: list[Attempt] = []
    for number, one in enumerate(sources):
        signed = witnesses.lock(Digest.of(one.declaration), Digest.of(one.lock))
        try:
            check_claim(one, site / f"claim-{number}")
            claim = parse_claim(one)
            goal = find_goal(claim, published)
        except UnsupportedFormatError as e:
            others.append(attempt_of(one, Outcome.NOT_TRIED, str(e), e.hint, signed=signed))
            continue
        except (FormatError, StaleLockError, HarmfulError) as e:
            hint = None if isinstance(e, StaleLockError) else e.hint
            others.append(attempt_of(one, Outcome.REFUSED, str(e), hint, signed=signed))
            continue
        said = contradictions(claim, goal, published)
        candidate = Candidate(
            claim=claim,
            goal=goal,
            signed=signed,
            is_likely=not said,
            warnings=(*(f"the lock makes {t}" for t in said), *_name_warnings(goal, published)),
        )
        key = (one.declaration, one.lock, goal.release, goal.image)
        candidates.setdefault(key, candidate)
    order = sorted(candidates.values(), key=lambda c: (c.signed is not Signed.YES, not c.is_likely))
    return order, others


def _name_warnings(goal: Goal, published: Published) -> Iterator[str]:
    """Say what is odd about the name that an image was asked for by."""
    asked, _, tag = published.name.rpartition(":")
    made = goal.reference.rpartition(":")[0].rpartition("/")[2]
    is_release = _RELEASE_RE.fullmatch(tag) is not None
    if asked and (asked != made or (is_release and tag != goal.release)):
        yield f"the lock calls it {goal.reference}, it was asked for as {published.name}"
