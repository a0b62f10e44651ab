"""What a verification found: frozen values, the verdict over them, and their JSON form.

The JSON form is described by docs/schemas/verify.schema.json. The verdict:

| verdict | when | status |
|---|---|---|
| reproduced | a lock made the very digest, and nothing else was found to be served for it | 0 |
| different | each lock that may be true made another image; or other bytes are served | 1 |
| not-signed | a signature was required, and there is none by that key | 1 |
| could-not-tell | anything else: no lock, packages gone, another format, nobody answers | 2 |

An image that was reproduced of packages that the keys of their repository, where the user has named
them, have not signed, is one of which it could not be told what it is.
A lock that is nonsense counts as none. One that could have been tried elsewhere (another format,
packages that are gone) leaves it open whether it is the true one.
"""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from reproducibility.causes import Cause
from reproducibility.findings import Agreement, Comparison, report_to_dict

if TYPE_CHECKING:
    from reproducibility.findings import Report

FORMAT: Final = 1
"""Version of the JSON form."""

_OF_COMPRESSION: Final = frozenset({Cause.COMPRESSOR, Cause.CONSEQUENCE})


class Verdict(enum.StrEnum):
    """The answer."""

    REPRODUCED = "reproduced"
    DIFFERENT = "different"
    NOT_SIGNED = "not-signed"
    UNKNOWN = "could-not-tell"

    @property
    def exit_code(self) -> int:
        """Status for the shell: 0, 1 or 2."""
        return {"reproduced": 0, "different": 1, "not-signed": 1}.get(self.value, 2)


class Outcome(enum.StrEnum):
    """What came of a claim; what tells most comes first."""

    REPRODUCED = "reproduced"
    DIFFERENT = "different"
    NOT_TRIED = "not-tried"
    """It could not be tried, here or now; it may be true."""
    REFUSED = "refused"
    """It is nonsense, or cannot be about this image."""


class Delivery(enum.StrEnum):
    """What is served for a digest that was reproduced."""

    CHECKED = "checked"
    """Every blob was read, and is what its digest says."""
    NOT_CHECKED = "not-checked"
    DAMAGED = "damaged"
    """Other bytes are served."""
    INCOMPLETE = "incomplete"
    """Something could not be had."""


class Signed(enum.StrEnum):
    """Whether something is signed by the keys that were named."""

    YES = "yes"
    NO = "no"
    NOT_ASKED = "not-asked"
    """No key was named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A manifest or index in question, and what was built in its place."""

    label: str
    """`index`, or the platform."""
    digest: str
    built: str
    """Empty where nothing was built."""

    @property
    def is_same(self) -> bool:
        """Whether it is the same."""
        return self.digest == self.built


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A claim, and what came of it."""

    origin: str
    artifact: str
    """Digest of the lock artifact; empty for files."""
    declaration: str
    lock: str
    """Digests of the two files."""
    goal: str
    """What it calls the image it makes: `freebsd-static:15.0`; empty where it cannot be told."""
    signed: Signed
    """Whether a signed provenance names both files."""
    is_likely: bool
    """Whether it makes the image say what the image says of itself."""
    outcome: Outcome
    reason: str
    hint: str
    parts: tuple[Part, ...]
    warnings: tuple[str, ...]
    hosts: tuple[str, ...]
    """Who was asked for archives."""
    archives: int
    milliseconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Blobs:
    """What was looked at of what is served."""

    delivery: Delivery
    count: int
    size: int
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Whether the packages of a repository are those that its keys have signed."""

    repository: str
    """With release and architecture."""
    key: str
    """Fingerprint of the key that has signed the catalogue; empty where none has."""
    packages: int
    """How many were needed of it."""
    unknown: tuple[str, ...]
    """Those that the catalogue does not have, or not with these bytes."""
    problem: str
    """Why the catalogue cannot be had or believed; empty for nothing."""

    @property
    def is_signed(self) -> bool:
        """Whether it stands by all of them."""
        return not self.problem and not self.unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Signatures:
    """The signatures of the image."""

    required: bool
    image: Signed
    count: int
    """Signatures there are, by anybody."""
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Everything that a verification says."""

    image: str
    """As it was asked for."""
    root: str
    """What that is: the digest of an index, or of a manifest."""
    digest: str
    """What was verified: the same, or the manifest of one platform of it."""
    by_tag: bool
    """Whether the digest was looked up under a tag or a name, which may move."""
    parts: tuple[Part, ...]
    """The index and its platforms, or the one manifest; as the best attempt built them."""
    signatures: Signatures
    attempts: tuple[Attempt, ...]
    origins: tuple[Origin, ...]
    """Of the repositories whose keys were named; nothing for an image that was not reproduced."""
    blobs: Blobs
    comparison: Comparison | None
    """Why it is different, where that could be looked into."""
    encoder: str
    """What is wrong with this machine's encoder; empty for nothing."""
    registries: tuple[str, ...]
    """Who was asked for the image, and what is said of it."""
    notes: tuple[str, ...]
    tools: tuple[str, ...]

    @property
    def best(self) -> Attempt | None:
        """The attempt that the verdict is about."""
        for outcome in Outcome:
            for attempt in self.attempts:
                if attempt.outcome is outcome:
                    return attempt
        return None

    @property
    def is_compressor_only(self) -> bool:
        """Whether only compression differs, and this machine's encoder is not the pinned one."""
        return (
            bool(self.encoder)
            and self.comparison is not None
            and {d.cause for d in self.comparison.differences} <= _OF_COMPRESSION
            and self.comparison.agreement is Agreement.TARS
        )

    @property
    def verdict(self) -> Verdict:
        """The answer; see the module."""
        if self.signatures.required and self.signatures.image is not Signed.YES:
            return Verdict.NOT_SIGNED
        outcomes = {attempt.outcome for attempt in self.attempts}
        if Outcome.REPRODUCED in outcomes:
            return self._of_reproduced
        if Outcome.DIFFERENT not in outcomes or Outcome.NOT_TRIED in outcomes:
            return Verdict.UNKNOWN
        return Verdict.UNKNOWN if self.is_compressor_only else Verdict.DIFFERENT

    @property
    def _of_reproduced(self) -> Verdict:
        """The verdict over a digest that was reproduced."""
        if self.blobs.delivery is Delivery.DAMAGED:
            return Verdict.DIFFERENT
        is_signed = all(origin.is_signed for origin in self.origins)
        is_complete = self.blobs.delivery is not Delivery.INCOMPLETE
        return Verdict.REPRODUCED if is_signed and is_complete else Verdict.UNKNOWN

    @property
    def why_not_attested(self) -> str:
        """Why nothing is attested; empty if something is.

        A failure is attested only where somebody stands by the lock: whoever can attach one could
        have a good image called bad.
        """
        best = self.best
        if best is None or self.verdict in (Verdict.UNKNOWN, Verdict.NOT_SIGNED):
            return "there is no certain result"
        if best.outcome is Outcome.REPRODUCED:
            other = "the digest is reproduced, and other bytes are served for it"
            return "" if self.verdict is Verdict.REPRODUCED else other
        is_users = not best.artifact
        if is_users or best.signed is Signed.YES:
            return ""
        if best.signed is Signed.NO:
            return "it is different, but the publisher has not signed that this is its lock"
        return "it is different, but anybody can attach a lock: name the publisher's key (--key)"

    @property
    def attested(self) -> tuple[Part, ...]:
        """What can be attested: all that was reproduced, or all that certainly is different."""
        if self.why_not_attested:
            return ()
        is_reproduced = self.verdict is Verdict.REPRODUCED
        return tuple(part for part in self.parts if is_reproduced or not part.is_same)


def verification_to_dict(verification: Verification, report: Report | None) -> dict[str, object]:
    """Return the JSON form.

    Args:
        verification: what was found.
        report: why it is different, in the form of docs/schemas/report.schema.json.
    """
    fields = {
        field.name: plain(getattr(verification, field.name))
        for field in dataclasses.fields(verification)
        if field.name != "comparison"
    }
    return {
        "format": FORMAT,
        "verdict": verification.verdict.value,
        "exit_code": verification.verdict.exit_code,
        **fields,
        "report": None if report is None else report_to_dict(report),
    }


def plain(value: object) -> object:
    """Return a value of ours as JSON has it."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return value
