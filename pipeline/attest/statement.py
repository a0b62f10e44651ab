"""Statement: something said of some artifacts.

Specification: in-toto attestation framework, Statement v1
(https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md).

What is read may be of version 0.1 as well, which cosign 2 still writes. A predicate is kept as it
is; its own module knows what it means.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.errors import FormatError
from pipeline.formats import canonical_json
from pipeline.formats.digest import Digest
from pipeline.formats.fields import get_optional, get_required, get_sequence_of

if TYPE_CHECKING:
    from collections.abc import Mapping

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
"""What a DSSE envelope calls a statement."""

_KNOWN_TYPES: Final = (STATEMENT_TYPE, "https://in-toto.io/Statement/v0.1")


class PredicateType(enum.StrEnum):
    """What is said; cosign's `--type` takes each of these, or a short name for it."""

    SPDX = "https://spdx.dev/Document"
    CYCLONEDX = "https://cyclonedx.org/bom"
    PROVENANCE = "https://slsa.dev/provenance/v1"
    SIGNATURE = "https://sigstore.dev/cosign/sign/v1"
    """That somebody has signed it, no more (cosign 3)."""


@dataclass(frozen=True, slots=True)
class Subject:
    """An artifact, by its digest."""

    digest: Digest
    name: str | None = None
    """For people; verifiers compare digests."""

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        d: dict[str, object] = {"digest": {"sha256": self.digest.hex}}
        return d if self.name is None else {"name": self.name, **d}

    @classmethod
    def from_dict(cls, d: Mapping[str, object]) -> Subject:
        """Read the JSON form; digests of other algorithms are passed over."""
        digests = get_required(d, dict, "digest")
        return cls(
            digest=Digest(get_required(digests, str, "sha256")), name=get_optional(d, str, "name")
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A predicate about subjects."""

    subjects: tuple[Subject, ...]
    predicate_type: str
    predicate: Mapping[str, object]

    def to_bytes(self) -> bytes:
        """Encode."""
        return canonical_json.dumps(
            {
                "_type": STATEMENT_TYPE,
                "subject": [subject.to_dict() for subject in self.subjects],
                "predicateType": str(self.predicate_type),
                "predicate": dict(self.predicate),
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> Statement:
        """Read a statement.

        Raises:
            FormatError: it is none.
        """
        d = canonical_json.loads_object(data)
        kind = get_required(d, str, "_type")
        if kind not in _KNOWN_TYPES:
            raise FormatError(f"got {kind!r}, want {STATEMENT_TYPE}", context="_type")
        subjects = []
        for i, item in enumerate(get_sequence_of(d, dict, "subject")):
            try:
                subjects.append(Subject.from_dict(item))
            except FormatError as e:
                raise e.within(f"subject[{i}]") from None
        return cls(
            subjects=tuple(subjects),
            predicate_type=get_required(d, str, "predicateType"),
            predicate=get_optional(d, dict, "predicate") or {},
        )

    def is_about(self, digest: Digest) -> bool:
        """Say whether an artifact is among the subjects."""
        return any(subject.digest == digest for subject in self.subjects)
