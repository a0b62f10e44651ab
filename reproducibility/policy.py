"""k of n: is an image accepted by a policy, given what rebuilders have said of it? Pure.

1. A signature is verified over the bytes as they are, before anything in them is read. Who has
   signed is told by the key alone.
2. A statement counts for the digests that it names. One about other digests, be it a true one of
   another image, is ignored, and said.
3. Rebuilders are counted, not statements. Whoever has reproduced an index has reproduced each of
   its platforms: their digests stand in it. An index is accepted platform by platform.
4. A valid FAILED statement of a rebuilder about what is asked for refuses it, whatever else he or
   others have said, and however old it is; `on_failure = "report"` only shows it.
5. PASSED statements from the future, or beyond the maximal age, do not count.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.attest.bundle import Bundle
from pipeline.attest.dsse import Envelope, verify_envelope
from pipeline.attest.statement import PAYLOAD_TYPE, Statement
from pipeline.errors import FormatError, SignatureError
from pipeline.formats import canonical_json
from pipeline.oci.image import rfc3339
from reproducibility.verify_result import Signed
from reproducibility.verify_statement import parse_rebuild
from reproducibility.wording import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pipeline.formats.digest import Digest
    from reproducibility.policy_file import Policy, Rebuilder
    from reproducibility.verify_statement import Summary

SKEW: Final = 3600
"""Seconds that clocks may differ."""
INDEX: Final = "index"
_DAY: Final = 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What may be a rebuild attestation."""

    origin: str
    """Where it was found, for people."""
    raw: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is asked about."""

    platforms: Mapping[str, Digest]
    """By platform; all of an index, or one."""
    index: Digest | None
    """That they are of."""
    is_whole: bool
    """Whether the whole index is asked about."""

    def labels(self, statement: Statement) -> tuple[str, ...]:
        """Return what of it a statement is about (2)."""
        parts = {**({INDEX: self.index} if self.index else {}), **self.platforms}
        return tuple(label for label, digest in parts.items() if statement.is_about(digest))


class Standing(enum.StrEnum):
    """What a statement is worth."""

    COUNTS = "counts"
    FAILED = "failed"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A statement, judged."""

    origin: str
    rebuilder: str
    """Name in the policy; empty where the key is unknown, or nothing is signed."""
    standing: Standing
    reason: str
    """Why it is ignored."""
    result: str
    """PASSED or FAILED; empty where that cannot be told."""
    time: str
    verifier: str
    format: int
    """Output format; 0 where that cannot be told."""
    about: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Who has reproduced a platform, and who has failed."""

    platform: str
    digest: str
    passed: tuple[str, ...]
    failed: tuple[str, ...]
    is_accepted: bool


class Decision(enum.StrEnum):
    """The answer."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNKNOWN = "could-not-tell"
    """Not enough is known, and not everything could be read."""

    @property
    def exit_code(self) -> int:
        """Status for the shell: 0, 1 or 2."""
        return {"accepted": 0, "refused": 1}.get(self.value, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The answer, and what it rests on."""

    is_accepted: bool
    is_failed: bool
    """Whether it is refused because somebody could not reproduce it."""
    threshold: int
    tallies: tuple[Tally, ...]
    rows: tuple[Row, ...]
    publisher: Signed
    reasons: tuple[str, ...]
    """Why it is not accepted."""
    problems: tuple[str, ...]
    """What could not be read."""

    @property
    def decision(self) -> Decision:
        """The answer."""
        if self.is_accepted:
            return Decision.ACCEPTED
        return Decision.REFUSED if self.is_failed or not self.problems else Decision.UNKNOWN


def judge(
    policy: Policy,
    wanted: Wanted,
    held: Sequence[Held],
    *,
    publisher: Signed,
    problems: Sequence[str] = (),
    now: int,
) -> Judgement:
    """Judge an image.

    Args:
        policy: what it needs.
        wanted: what it is.
        held: what was found about it; each distinct content counts once.
        publisher: whether the publisher's key has signed it.
        problems: what could not be read.
        now: seconds since 1970.
    """
    distinct = {one.raw: one for one in reversed(held)}
    rows = tuple(_row(policy, wanted, one, now) for one in reversed(distinct.values()))
    tallies = tuple(_tally(policy, wanted, rows, platform) for platform in wanted.platforms)
    reasons = tuple(_reasons(policy, wanted, rows, tallies, publisher))
    return Judgement(
        is_accepted=not reasons,
        is_failed=policy.refuses_failure and any(r.standing is Standing.FAILED for r in rows),
        threshold=policy.threshold,
        tallies=tallies,
        rows=rows,
        publisher=publisher,
        reasons=reasons,
        problems=tuple(problems),
    )


# ---------------------------------------------------------------- one statement


def _row(policy: Policy, wanted: Wanted, held: Held, now: int) -> Row:
    try:
        envelope = _envelope(held.raw)
    except FormatError as e:
        return _ignored(held, f"is no signed statement: {e}")
    for rebuilder in policy.rebuilders:
        try:
            payload = verify_envelope(envelope, [rebuilder.key])  # (1)
        except SignatureError:
            continue
        return _of_rebuilder(policy, wanted, held, rebuilder, payload, now)
    return _ignored(held, "is signed by no key of the policy, or was altered")


def _envelope(raw: bytes) -> Envelope:
    """Return the envelope of a bundle, or a bare one."""
    d = canonical_json.loads_object(raw)
    envelope = Bundle.parse(raw).envelope if "mediaType" in d else Envelope.from_dict(d)
    if envelope.payload_type != PAYLOAD_TYPE:
        raise FormatError(f"got a payload of type {envelope.payload_type[:80]!r}")
    return envelope


def _ignored(held: Held, reason: str, *, rebuilder: str = "") -> Row:
    return Row(
        origin=held.origin,
        rebuilder=rebuilder,
        standing=Standing.IGNORED,
        reason=reason,
        result="",
        time="",
        verifier="",
        format=0,
        about=(),
    )


def _of_rebuilder(
    policy: Policy, wanted: Wanted, held: Held, rebuilder: Rebuilder, payload: bytes, now: int
) -> Row:
    try:
        statement = Statement.parse(payload)
        summary = parse_rebuild(statement)
    except FormatError as e:
        return _ignored(held, f"is no rebuild attestation: {e}", rebuilder=rebuilder.name)
    about = wanted.labels(statement)
    reason = _why_ignored(policy, rebuilder, summary, now)
    if not about:
        others = ", ".join(str(subject.digest) for subject in statement.subjects[:3])
        reason = f"is about other digests: {others}"
    standing = Standing.COUNTS if summary.is_passed else Standing.FAILED
    return Row(
        origin=held.origin,
        rebuilder=rebuilder.name,
        standing=Standing.IGNORED if reason else standing,
        reason=reason,
        result="PASSED" if summary.is_passed else "FAILED",
        time=rfc3339(summary.time),
        verifier=summary.verifier,
        format=summary.format,
        about=about,
    )


def _why_ignored(policy: Policy, rebuilder: Rebuilder, summary: Summary, now: int) -> str:
    if rebuilder.verifier not in ("", summary.verifier):
        return f"calls its verifier {summary.verifier[:80]!r}, want {rebuilder.verifier!r}"
    if not summary.is_passed:  # (4)
        return ""
    if summary.time > now + SKEW:
        return "is from the future"
    if policy.maximal_age is not None and now - summary.time > policy.maximal_age:
        return f"is {plural((now - summary.time) // _DAY, 'day')} old"
    return ""


# ---------------------------------------------------------------- all of them


def _tally(policy: Policy, wanted: Wanted, rows: Sequence[Row], platform: str) -> Tally:
    passed = {
        row.rebuilder
        for row in rows
        if row.standing is Standing.COUNTS and {platform, INDEX} & set(row.about)  # (3)
    }
    failed = {
        row.rebuilder for row in rows if row.standing is Standing.FAILED and platform in row.about
    }
    is_refused = policy.refuses_failure and bool(failed)
    return Tally(
        platform=platform,
        digest=str(wanted.platforms[platform]),
        passed=tuple(sorted(passed)),
        failed=tuple(sorted(failed)),
        is_accepted=len(passed) >= policy.threshold and not is_refused,
    )


def _reasons(
    policy: Policy,
    wanted: Wanted,
    rows: Sequence[Row],
    tallies: Sequence[Tally],
    publisher: Signed,
) -> Iterator[str]:
    if policy.publisher is not None and publisher is not Signed.YES:
        yield "the publisher's key has not signed it"
    if not tallies:
        yield "it has no platforms"
    if policy.requires_all_platforms or not wanted.is_whole:
        for tally in tallies:
            yield from _short(policy, tally)
        failed = {r.rebuilder for r in rows if r.standing is Standing.FAILED and INDEX in r.about}
        if wanted.is_whole and policy.refuses_failure and failed:
            yield f"index: {', '.join(sorted(failed))} could not reproduce it"
    elif not any(tally.is_accepted for tally in tallies):
        yield "none of its platforms is accepted"
        for tally in tallies:
            yield from _short(policy, tally)


def _short(policy: Policy, tally: Tally) -> Iterator[str]:
    """Say what a platform lacks."""
    if len(tally.passed) < policy.threshold:
        yield (
            f"{tally.platform}: reproduced by {len(tally.passed)} of"
            f" {plural(len(policy.rebuilders), 'rebuilder')}, {policy.threshold} needed"
        )
    if policy.refuses_failure and tally.failed:
        yield f"{tally.platform}: {', '.join(tally.failed)} could not reproduce it"
