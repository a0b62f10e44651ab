"""The rebuild attestation: what a rebuilder says of an image, as a SLSA verification summary. Pure.

Specification: SLSA verification summary v1 (https://slsa.dev/verification_summary/v1), in an
in-toto statement v1. docs/verify.md describes the fields and what they promise.

1. The subjects of a PASSED statement are the digests that were reproduced: of an index, its own and
   those of its platforms. Those of a FAILED one are the digests that were not.
2. `policy.uri` names what was done, and the output format that it was done for; a statement with
   another one says something else, and is not ours to judge.
3. `verifiedLevels` is our own level, or FAILED. No SLSA level is claimed.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from pipeline.attest.statement import Statement, Subject
from pipeline.errors import FormatError
from pipeline.formats.digest import Digest
from pipeline.formats.fields import get_optional, get_required, get_sequence_of
from pipeline.oci.image import rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pipeline.oci.reference import Reference

PREDICATE_TYPE: Final = "https://slsa.dev/verification_summary/v1"
POLICY: Final = "urn:pkgbase-oci:verify:rebuild:v1:format-"
"""Followed by the number of the output format (2)."""
LEVEL: Final = "PKGBASE_OCI_REBUILT_BIT_FOR_BIT"
LOCAL_VERIFIER: Final = "urn:pkgbase-oci:verifier:local"
"""A rebuilder that nobody has given a name."""

_PASSED: Final = "PASSED"
_FAILED: Final = "FAILED"
_SLSA: Final = "1.1"
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a rebuilder says."""

    verifier: str
    """A URI."""
    version: Mapping[str, str]
    """Of the programs that took part."""
    time: int
    """Seconds since 1970."""
    resource: str
    """A URI: where the image was."""
    format: int
    """Output format."""
    inputs: tuple[tuple[str, Digest], ...]
    """Name and digest of what was used: the lock artifact, provenance."""
    is_passed: bool

    def to_dict(self) -> dict[str, object]:
        """Return the predicate."""
        return {
            "verifier": {"id": self.verifier, "version": dict(self.version)},
            "timeVerified": rfc3339(self.time),
            "resourceUri": self.resource,
            "policy": {"uri": f"{POLICY}{self.format}"},
            "inputAttestations": [
                {"name": name, "digest": {"sha256": digest.hex}} for name, digest in self.inputs
            ],
            "verificationResult": _PASSED if self.is_passed else _FAILED,
            "verifiedLevels": [LEVEL if self.is_passed else _FAILED],
            "slsaVersion": _SLSA,
        }

    @classmethod
    def from_dict(cls, d: Mapping[str, object]) -> Summary:
        """Read a predicate of ours; the inverse.

        Raises:
            FormatError: it is none, or of another policy (2).
        """
        verifier = get_required(d, dict, "verifier")
        policy = get_required(get_required(d, dict, "policy"), str, "uri")
        number = policy.removeprefix(POLICY)
        if number == policy or not (number.isascii() and number.isdigit()):
            raise FormatError(f"got {policy[:80]!r}, want {POLICY}N", context="policy.uri")
        result = get_required(d, str, "verificationResult")
        levels = get_sequence_of(d, str, "verifiedLevels")
        if (result, levels) not in ((_PASSED, (LEVEL,)), (_FAILED, (_FAILED,))):
            raise FormatError(f"got {result[:20]!r} with levels {', '.join(levels)[:80]!r}")
        return cls(
            verifier=get_required(verifier, str, "id"),
            version=_strings(get_optional(verifier, dict, "version") or {}),
            time=_parse_time(get_required(d, str, "timeVerified")),
            resource=get_required(d, str, "resourceUri"),
            format=int(number),
            inputs=tuple(_inputs(d)),
            is_passed=result == _PASSED,
        )


def _strings(d: Mapping[str, object]) -> dict[str, str]:
    return {key: value for key, value in d.items() if isinstance(value, str)}


def _parse_time(text: str) -> int:
    try:
        moment = dt.datetime.strptime(text, _TIME).replace(tzinfo=dt.UTC)
    except ValueError:
        raise FormatError(
            f"got {text[:40]!r}, want e.g. {rfc3339(0)}", context="timeVerified"
        ) from None
    return int(moment.timestamp())


def _inputs(d: Mapping[str, object]) -> Iterable[tuple[str, Digest]]:
    for item in get_sequence_of(d, dict, "inputAttestations"):
        digest = get_required(get_required(item, dict, "digest"), str, "sha256")
        yield get_optional(item, str, "name") or "", Digest(digest)


def rebuild_statement(subjects: Iterable[tuple[str, Digest]], summary: Summary) -> Statement:
    """Return what a rebuilder says of some digests.

    Args:
        subjects: each with a name for people.
        summary: what is said.
    """
    return Statement(
        subjects=tuple(Subject(digest, name) for name, digest in subjects),
        predicate_type=PREDICATE_TYPE,
        predicate=summary.to_dict(),
    )


def parse_rebuild(statement: Statement) -> Summary:
    """Return what a statement says.

    Raises:
        FormatError: it is no rebuild attestation.
    """
    if statement.predicate_type != PREDICATE_TYPE:
        raise FormatError(f"a statement of type {statement.predicate_type[:80]!r}")
    return Summary.from_dict(statement.predicate)


def resource_uri(digest: Digest, *, reference: Reference | None, name: str) -> str:
    """Return the purl of an image (purl-spec, type oci).

    Args:
        digest: which.
        reference: where it is in a registry; None where it is in a file.
        name: what it is called there.
    """
    path = reference.path if reference else name.rpartition(":")[0] or name
    last = path.rpartition("/")[2].lower() or "image"
    purl = f"pkg:oci/{quote(last, safe='')}@{quote(str(digest), safe='')}"
    if reference is None:
        return purl
    tag = f"&tag={quote(reference.tag, safe='')}" if reference.tag else ""
    return f"{purl}?repository_url={quote(reference.name, safe='/')}{tag}"
