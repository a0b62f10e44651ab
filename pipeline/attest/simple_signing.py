"""Claim: "this manifest is that image", the payload of two kinds of signatures.

Specifications: containers-signature(5) (github.com/containers/container-libs,
image/docs/containers-signature.5.md) for GPG simple signing; sigstore/cosign, specs/
SIGNATURE_SPEC.md for cosign's older form. Both are JSON of the same shape:

    {"critical": {"identity": {"docker-reference": "host/repo:tag"},
                  "image": {"docker-manifest-digest": "sha256:…"},
                  "type": "atomic container signature" | "cosign container image signature"},
     "optional": {…} | null}

1. The reference has a tag: podman accepts, unless told otherwise, only an image that is pulled
   under the name in its signature; one without a tag fits no tag (docs/signing.md).
2. Nothing in a payload of ours depends on the time or on who signs: the same claim has the same
   bytes. The OpenPGP signature around it has its own time.
3. What is read is read as containers/image reads it: `critical` has exactly these members.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.errors import FormatError
from pipeline.formats import canonical_json
from pipeline.formats.digest import Digest
from pipeline.formats.fields import get_as, get_required, refuse_unknown

if TYPE_CHECKING:
    from collections.abc import Mapping


class ClaimType(enum.StrEnum):
    """Which kind of signature the payload belongs to."""

    GPG = "atomic container signature"
    COSIGN = "cosign container image signature"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a signature says."""

    kind: ClaimType
    digest: Digest
    """Of a manifest or an index."""
    reference: str
    """`host/repo:tag` (1)."""

    def to_bytes(self, *, creator: str) -> bytes:
        """Encode (2).

        Args:
            creator: name and version of the program; cosign's form has no place for it.
        """
        optional = {"creator": creator} if self.kind is ClaimType.GPG else None
        return canonical_json.dumps(
            {
                "critical": {
                    "identity": {"docker-reference": self.reference},
                    "image": {"docker-manifest-digest": str(self.digest)},
                    "type": self.kind.value,
                },
                "optional": optional,
            }
        )

    @classmethod
    def parse(cls, data: bytes, *, kind: ClaimType) -> Claim:
        """Read a payload (3).

        Raises:
            FormatError: it is none of that kind.
        """
        d = canonical_json.loads_object(data)
        refuse_unknown(d, frozenset({"critical", "optional"}))
        if "optional" not in d or not isinstance(d["optional"], dict | None):
            raise FormatError("want an object", context="optional")
        critical = get_required(d, dict, "critical")
        try:
            return cls._from_critical(critical, kind)
        except FormatError as e:
            raise e.within("critical") from None

    @classmethod
    def _from_critical(cls, critical: Mapping[str, object], kind: ClaimType) -> Claim:
        refuse_unknown(critical, frozenset({"identity", "image", "type"}))
        got = get_required(critical, str, "type")
        if got != kind:
            raise FormatError(f"got {got!r}, want {kind.value!r}", context="type")
        identity = get_required(critical, dict, "identity")
        image = get_required(critical, dict, "image")
        refuse_unknown(identity, _IDENTITY)
        refuse_unknown(image, _IMAGE)
        return cls(
            kind=kind,
            digest=get_as(image, str, Digest.parse, "docker-manifest-digest"),
            reference=get_required(identity, str, "docker-reference"),
        )


_IDENTITY: Final = frozenset({"docker-reference"})
_IMAGE: Final = frozenset({"docker-manifest-digest"})

SIGNATURE_FILE: Final = "signature-"
"""Signatures of a manifest are numbered from 1, without gaps; a reader stops at the first that is
not there."""


def lookaside_directory(path: str, digest: Digest) -> str:
    """Return where the signatures of a manifest lie, below the base of a lookaside tree.

    Args:
        path: of the repository, without the host.
        digest: of the manifest.
    """
    return f"{path}@sha256={digest.hex}"
