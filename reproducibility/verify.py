"""Verify an image: rebuild it from the lock that is attached to it, and compare digests.

    image's name ─► digest ─► what is said of it: locks, signatures
                                   │
    each lock, the likeliest first ▼
      read it ─► fetch archives ─► build in a process of its own ─► same digest? ─► reproduced
                                                                        │ no, by any lock
                                                                        ▼
                                       fetch the published image ─► compare ─► why

The digests decide. Nothing of a lock is believed, and nothing that it names is run.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pipeline
from pipeline.errors import DigestMismatchError, PipelineError
from pipeline.host.registry_progress import Transfers
from pipeline.host.toolchain import encoder_version
from pipeline.stages.layer import encoder_warning
from reproducibility.machine import Isolation
from reproducibility.verify_attempt import archive_store, try_claim
from reproducibility.verify_blobs import NOT_CHECKED, check_blobs
from reproducibility.verify_build import isolation
from reproducibility.verify_explain import agree, explain
from reproducibility.verify_image import find_subject
from reproducibility.verify_locks import attached_locks, sort_out
from reproducibility.verify_origin import check_origins
from reproducibility.verify_result import (
    Blobs,
    Outcome,
    Part,
    Signed,
    Verification,
)
from reproducibility.verify_signatures import Witnesses

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pipeline.attest.public_key import PublicKey
    from pipeline.formats.digest import Digest
    from pipeline.oci.platform import Platform
    from reproducibility.diffoscope import Diffoscope
    from reproducibility.findings import Comparison
    from reproducibility.verify_attempt import Bench, Tried
    from reproducibility.verify_claim import Sources
    from reproducibility.verify_image import Subject
    from reproducibility.verify_locks import Candidate
    from reproducibility.verify_place import JoinedPlace
    from reproducibility.verify_result import Attempt, Origin

TRIES: Final = 4
TIMEOUT: Final = 3600.0
LIMIT: Final = 16 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What to verify, and how."""

    platform: Platform | None
    """This one of an index alone."""
    given: Sources | None
    """A lock that the user has; None for those that are attached."""
    keys: tuple[PublicKey, ...]
    """Of the publisher."""
    requires_signature: bool
    is_shallow: bool
    """Do not read what is served for a digest that was reproduced."""
    trusted: Mapping[str, Path]
    """Directories of fingerprints of repositories, by name: whose packages are they?"""
    tries: int
    """Locks that are built at the most."""
    bench: Bench
    diffoscope: Diffoscope | None
    report: Path | None
    """Folder of a report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A verification, and what goes with it."""

    verification: Verification
    subject: Subject
    provenances: tuple[Digest, ...]
    """Bundles that were found beside the lock."""
    comparison: Comparison | None
    """Also of an image that was reproduced; None where nothing was built."""


def verify(place: JoinedPlace, settings: Settings) -> Verified:
    """Verify an image.

    Args:
        place: where it is, and what is said of it.
        settings: how.

    Raises:
        PipelineError: there is no such image, or nobody answers for it.
    """
    # (1) what is it?
    subject = find_subject(place, settings.platform)
    settings.bench.say(f"{place} is {subject.root.digest}" if place.is_named else f"{place}")
    # (2) who has signed it?
    witnesses = Witnesses(place, subject.chosen.digest, settings.keys)
    signatures = witnesses.image(required=settings.requires_signature)
    # (3) which locks are there, and does one of them make it?
    run = _Run(place, subject, settings)
    if signatures.image is Signed.YES or not settings.requires_signature:
        run.try_all(witnesses)
    # (4) what is served for it, or why is it different?
    blobs = run.look()
    comparison = run.compare()
    attempts = run.attempts
    verification = Verification(
        image=str(place),
        root=str(subject.root.digest),
        digest=str(subject.chosen.digest),
        by_tag=place.is_named,
        parts=next((a.parts for a in attempts if a.parts), _parts(subject)),
        signatures=signatures,
        attempts=attempts,
        origins=run.origins(),
        blobs=blobs,
        comparison=None if run.is_reproduced else comparison,
        encoder=run.encoder,
        registries=place.hosts,
        notes=(*run.notes, *place.problems),
        tools=run.tools,
    )
    return Verified(
        verification=verification,
        subject=subject,
        provenances=witnesses.provenances(),
        comparison=comparison,
    )


def _parts(subject: Subject) -> tuple[Part, ...]:
    return tuple(
        Part(label=label, digest=str(digest), built="")
        for label, digest in subject.published.items()
    )


class _Run:
    """The steps that a verification takes, and what they share."""

    def __init__(self, place: JoinedPlace, subject: Subject, settings: Settings) -> None:
        self._place = place
        self._subject = subject
        self._settings = settings
        self._bench = settings.bench
        self._tried: list[Tried] = []
        self._others: list[Attempt] = []
        self.notes: list[str] = []

    # ------------------------------------------------------------ locks

    def try_all(self, witnesses: Witnesses) -> None:
        """Try one lock after the other, until one makes the image."""
        given = self._settings.given
        if given is not None:
            sources = [given]
        else:
            sources, self._others = attached_locks(self._place, self._subject, witnesses)
        published = self._subject.describe(self._place.called)
        candidates, refused = sort_out(
            sources, published, witnesses, site=self._bench.work / "claims"
        )
        self._others += refused
        for number, candidate in enumerate(candidates):
            if number >= self._settings.tries or self.is_reproduced:
                self._leave(candidate)
                continue
            if isolation() is Isolation.NONE and not self._tried:
                self.notes.append("this machine has no namespaces: the build could see it")
            name = f"build-{number}"
            self._tried.append(try_claim(candidate, self._subject, self._bench, name=name))

    def _leave(self, candidate: Candidate) -> None:
        """Note a lock that was not tried; once the image is reproduced that needs no word."""
        if not self.is_reproduced:
            text = f"{self._settings.tries} locks were tried before it"
            hint = "try more: --tries N"
            self._others.append(candidate.attempt(Outcome.NOT_TRIED, text, hint))

    @property
    def is_reproduced(self) -> bool:
        """Whether one of them has made it."""
        return any(t.attempt.outcome is Outcome.REPRODUCED for t in self._tried)

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Everything that was tried or refused; what tells most comes first."""
        order = list(Outcome)
        attempts = [*(t.attempt for t in self._tried), *self._others]
        return tuple(sorted(attempts, key=lambda a: order.index(a.outcome)))

    @property
    def _best(self) -> Tried | None:
        """Return the build that the verdict is about."""
        built = [t for t in self._tried if t.built is not None]
        same = [t for t in built if t.attempt.outcome is Outcome.REPRODUCED]
        return next(iter((*same, *built)), None)

    # ------------------------------------------------------------ whose packages

    def origins(self) -> tuple[Origin, ...]:
        """Say whether the packages of an image that was reproduced are signed."""
        best = self._best
        if best is None or not self.is_reproduced or not self._settings.trusted:
            return ()
        self._bench.say("reading the catalogues of its packages")
        plan = best.candidate.goal.plan(best.candidate.claim.declaration)
        store = archive_store(self._bench)
        return check_origins(plan, self._settings.trusted, self._bench.substitutes, store=store)

    # ------------------------------------------------------------ what is served

    def look(self) -> Blobs:
        """Read what is served for an image that was reproduced."""
        if not self.is_reproduced or self._settings.is_shallow:
            return NOT_CHECKED
        if self._bench.is_quiet:
            return check_blobs(self._place.image, self._subject.blobs)
        with Transfers("reading what is served for it") as transfers:
            transfers.expect(self._subject.blobs)
            return check_blobs(self._place.image, self._subject.blobs, progress=transfers.advance)

    def compare(self) -> Comparison | None:
        """Find out why an image is different; that this fails is only a note."""
        best = self._best
        if best is None or best.built is None:
            return None
        if self.is_reproduced:
            return agree(self._place.image, best.built)
        try:
            return explain(
                self._place.image,
                self._subject,
                best.built,
                bench=self._bench,
                diffoscope=self._settings.diffoscope,
                report=self._settings.report,
            )
        except PipelineError as e:
            what = "is damaged" if isinstance(e, DigestMismatchError) else "could not be compared"
            self.notes.append(f"the published image {what}: {e}")
            return None

    # ------------------------------------------------------------ with what

    @property
    def encoder(self) -> str:
        """What is wrong with the encoder that was used."""
        best = self._best
        if best is None:
            return ""
        return encoder_warning(best.candidate.claim.declaration.compression) or ""

    @property
    def tools(self) -> tuple[str, ...]:
        """The programs that took part."""
        best = self._best
        algorithm = (
            "none" if best is None else best.candidate.claim.declaration.compression.algorithm
        )
        encoder = encoder_version(algorithm)
        return (
            f"pkgbase-oci {pipeline.__version__}",
            f"Python {platform.python_version()}",
            *((encoder,) if encoder != "none" else ()),
        )
