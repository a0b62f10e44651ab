"""Would each client see an image as signed? The judgement, by the rules that each goes by.

    podman     the manifest of the platform that is pulled; never the index
    skopeo     copying all: the manifest of every platform; never the index
    cosign 2   whatever digest it is asked for, which for a tag is the index; `.sig`, `.att`
    cosign 3   the same; bundles that refer to it

Sources: containers/container-libs, image/signature/{policy_eval_signedby,policy_eval_sigstore}.go;
sigstore/cosign; docs/signing.md has what was seen of the real programs. Transparency logs and
certificates are not looked at: the keys are given.
"""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from pipeline.attest.bundle import Bundle
from pipeline.attest.dsse import Envelope, verify_envelope
from pipeline.attest.public_key import PublicKey
from pipeline.attest.simple_signing import Claim, ClaimType
from pipeline.attest.statement import PAYLOAD_TYPE, PredicateType, Statement
from pipeline.errors import PipelineError, SignatureError
from pipeline.host.gpg import Keyring
from reproducibility.trust_policy import MatchRepoDigestOrExact, Requirement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pipeline.formats.digest import Digest
    from pipeline.oci.reference import Reference
    from reproducibility.trust_evidence import CosignSignature, Evidence
    from reproducibility.trust_policy import Identity, Policy

T = TypeVar("T")

_NONE: Final = "no signature"
_OTHER_TYPE: Final = "a statement of type"


class Answer(enum.StrEnum):
    """How a client sees something."""

    SIGNED = "signed"
    UNSIGNED = "unsigned"
    REFUSED = "refused"
    """There are signatures, and none of them counts."""
    NOT_ASKED = "-"
    """This client does not look at it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """How a client sees one manifest."""

    label: str
    answer: Answer
    reasons: tuple[str, ...]
    """Why it is not signed; what else is worth knowing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """How a client sees an image."""

    client: str
    cells: tuple[Cell, ...]

    @property
    def is_signed(self) -> bool:
        """Whether the client accepts all that it looks at."""
        asked = [cell for cell in self.cells if cell.answer is not Answer.NOT_ASKED]
        return bool(asked) and all(cell.answer is Answer.SIGNED for cell in asked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """What signatures are to be by; contents of key files."""

    gpg: tuple[bytes, ...]
    cosign: tuple[PublicKey, ...]


# ---------------------------------------------------------------- podman and skopeo


def judge_requirement(
    requirement: Requirement,
    evidence: Sequence[Evidence],
    pulled: Reference,
    *,
    attachments: bool,
) -> tuple[Cell, ...]:
    """Judge manifests as containers/image does.

    Args:
        requirement: of a policy.
        evidence: what there is of each manifest.
        pulled: the name it is pulled by.
        attachments: whether `use-sigstore-attachments` is set.
    """
    if requirement.kind == "insecureAcceptAnything":
        return _all(evidence, Answer.SIGNED, "anything is accepted")
    if requirement.kind == "reject":
        return _all(evidence, Answer.REFUSED, "policy rejects it")
    expectations = [_Expectation(item.digest, pulled, requirement.identity) for item in evidence]
    if requirement.kind == "signedBy":
        with Keyring.of(requirement.keys) as keyring:
            return tuple(
                _any_of(item, item.messages, functools.partial(_check_message, keyring, expected))
                for item, expected in zip(evidence, expectations, strict=True)
            )
    if not attachments:
        reason = "registries.d does not set use-sigstore-attachments"
        return _all(evidence, Answer.UNSIGNED, reason)
    keys = [PublicKey.parse(key) for key in requirement.keys]
    return tuple(
        _any_of(item, item.signatures, functools.partial(_check_payload, keys, expected))
        for item, expected in zip(evidence, expectations, strict=True)
    )


def _all(evidence: Iterable[Evidence], answer: Answer, reason: str) -> tuple[Cell, ...]:
    return tuple(Cell(label=item.label, answer=answer, reasons=(reason,)) for item in evidence)


@dataclass(frozen=True, slots=True)
class _Expectation:
    """What a claim has to say."""

    digest: Digest
    pulled: Reference | None = None
    """None where the name does not matter."""
    identity: Identity | None = None

    def check(self, claim: Claim) -> None:
        if claim.digest != self.digest:
            raise SignatureError(f"signature of another manifest, {claim.digest}")
        if self.identity is None or self.pulled is None:
            return
        if not self.identity.accepts(claim.reference, self.pulled):
            raise SignatureError(f"signature says {claim.reference!r}, pulled as {self.pulled}")


def _check_message(keyring: Keyring, expected: _Expectation, message: bytes) -> None:
    payload = keyring.verify(message, what="signature")
    expected.check(Claim.parse(payload, kind=ClaimType.GPG))


def _check_payload(
    keys: Sequence[PublicKey], expected: _Expectation, signature: CosignSignature
) -> None:
    if not any(key.has_signed(signature.payload, signature.signature) for key in keys):
        raise SignatureError("signature: by another key")
    expected.check(Claim.parse(signature.payload, kind=ClaimType.COSIGN))


def _any_of(evidence: Evidence, items: Sequence[T], check: Callable[[T], object]) -> Cell:
    """Return `signed` if one item passes, else why none does."""
    reasons = list(evidence.problems)
    for item in items:
        try:
            check(item)
        except PipelineError as e:
            reasons.append(str(e))
        else:
            return Cell(label=evidence.label, answer=Answer.SIGNED, reasons=())
    answer = Answer.REFUSED if reasons else Answer.UNSIGNED
    return Cell(label=evidence.label, answer=answer, reasons=tuple(reasons) or (_NONE,))


def _instances(evidence: Sequence[Evidence]) -> tuple[Evidence, ...]:
    """Return what podman and skopeo look at: manifests, not indexes."""
    return tuple(item for item in evidence if not item.is_index)


def _row_of_instances(client: str, evidence: Sequence[Evidence], cells: Sequence[Cell]) -> Row:
    """Return the row of a client that looks at instances; each has its cell, in their order."""
    judged = iter(cells)
    return Row(
        client=client,
        cells=tuple(
            Cell(label=item.label, answer=Answer.NOT_ASKED, reasons=())
            if item.is_index
            else next(judged)
            for item in evidence
        ),
    )


def judge_policy(
    policy: Policy, evidence: Sequence[Evidence], pulled: Reference, *, attachments: bool
) -> tuple[Row, ...]:
    """Judge an image by a policy.json: each requirement has to hold."""
    rows = []
    for number, requirement in enumerate(policy.requirements(pulled), start=1):
        cells = judge_requirement(
            requirement, _instances(evidence), pulled, attachments=attachments
        )
        rows += [
            _row_of_instances(f"{client}, policy {number} {requirement.kind}", evidence, cells)
            for client in ("podman", "skopeo")
        ]
    return tuple(rows)


# ---------------------------------------------------------------- cosign


def judge_cosign2(evidence: Evidence, keys: Sequence[PublicKey]) -> Cell:
    """Judge as `cosign verify` of cosign 2 does; the name in the signature does not matter."""
    check = functools.partial(_check_payload, keys, _Expectation(evidence.digest))
    return _any_of(evidence, evidence.signatures, check)


def judge_cosign3(evidence: Evidence, keys: Sequence[PublicKey]) -> Cell:
    """Judge as `cosign verify` of cosign 3 does."""

    def check(bundle: bytes) -> None:
        statement = verify_bundle(bundle, keys, evidence.digest)
        if statement.predicate_type != PredicateType.SIGNATURE:
            raise SignatureError(f"{_OTHER_TYPE} {statement.predicate_type}")

    cell = _any_of(evidence, evidence.bundles, check)
    if cell.answer is Answer.REFUSED and all(r.startswith(_OTHER_TYPE) for r in cell.reasons):
        return Cell(label=cell.label, answer=Answer.UNSIGNED, reasons=("no signature bundle",))
    return cell


def verify_bundle(data: bytes, keys: Iterable[PublicKey], digest: Digest) -> Statement:
    """Return the statement of a bundle that one of the keys has signed about a manifest.

    Raises:
        FormatError: it is no bundle with a statement.
        SignatureError: it is not signed by one of them, or about another manifest.
    """
    return _about(Bundle.parse(data).envelope, keys, digest)


def _about(envelope: Envelope, keys: Iterable[PublicKey], digest: Digest) -> Statement:
    payload = verify_envelope(envelope, keys)
    if envelope.payload_type != PAYLOAD_TYPE:
        raise SignatureError(f"got a payload of type {envelope.payload_type!r}, want a statement")
    statement = Statement.parse(payload)
    if not statement.is_about(digest):
        raise SignatureError("a statement about another manifest")
    return statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Statements:
    """The signed statements about one manifest, by predicate type."""

    label: str
    legacy: tuple[str, ...]
    """That cosign 2 finds, under `.att`."""
    bundles: tuple[str, ...]
    """That cosign 3 finds."""
    problems: tuple[str, ...]


def find_statements(evidence: Evidence, keys: Sequence[PublicKey]) -> Statements:
    """List the statements whose signature holds."""
    problems: list[str] = []

    def types(items: Iterable[bytes], read: Callable[[bytes], Envelope]) -> tuple[str, ...]:
        found = []
        for item in items:
            try:
                found.append(_about(read(item), keys, evidence.digest).predicate_type)
            except PipelineError as e:
                problems.append(f"statement: {e}")
        return tuple(sorted(found))

    legacy = types(evidence.envelopes, Envelope.parse)
    bundles = types(evidence.bundles, lambda data: Bundle.parse(data).envelope)
    return Statements(
        label=evidence.label,
        legacy=legacy,
        bundles=tuple(kind for kind in bundles if kind != PredicateType.SIGNATURE),
        problems=tuple(problems),
    )


# ---------------------------------------------------------------- everybody


def judge(
    evidence: Sequence[Evidence], keys: Keys, pulled: Reference, *, attachments: bool
) -> tuple[Row, ...]:
    """Judge an image as every client does that can use the keys given.

    Args:
        evidence: of the image and its platforms.
        keys: what signatures are to be by.
        pulled: the name it is pulled by.
        attachments: whether podman and skopeo are told to look for sigstore's signatures.
    """
    identity = MatchRepoDigestOrExact()
    wanted = []
    if keys.gpg:
        wanted.append(("GPG", Requirement(kind="signedBy", keys=keys.gpg, identity=identity)))
    if keys.cosign:
        pems = tuple(key.to_pem() for key in keys.cosign)
        wanted.append(
            ("sigstore", Requirement(kind="sigstoreSigned", keys=pems, identity=identity))
        )
    rows = []
    for name, requirement in wanted:
        cells = judge_requirement(
            requirement, _instances(evidence), pulled, attachments=attachments
        )
        rows += [
            _row_of_instances(f"{client}, {name}", evidence, cells)
            for client in ("podman", "skopeo")
        ]
    if keys.cosign:
        for client, judge_one in (("cosign 2", judge_cosign2), ("cosign 3", judge_cosign3)):
            own = tuple(judge_one(item, keys.cosign) for item in evidence)
            rows.append(Row(client=client, cells=own))
    return tuple(rows)
