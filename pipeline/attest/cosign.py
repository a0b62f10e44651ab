"""What cosign 1 and 2, podman and skopeo read: manifests under the tags `.sig` and `.att`.

Source: sigstore/cosign, specs/SIGNATURE_SPEC.md, pkg/oci/static/options.go, pkg/cosign/attestation.

Such a manifest hangs beside an image by its tag `sha256-<hex of the signed manifest>.sig`; each of
its layers is a signature (the payload, with the signature in an annotation) or, under `.att`, a
signed statement (an envelope). podman and skopeo know no other place (docs/signing.md).
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.attest.dsse import ENVELOPE_TYPE
from pipeline.errors import FormatError
from pipeline.formats import canonical_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.formats.digest import Digest

PAYLOAD_TYPE: Final = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE_ANNOTATION: Final = "dev.cosignproject.cosign/signature"
PREDICATE_ANNOTATION: Final = "predicateType"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer of such a manifest."""

    media_type: str
    data: bytes
    annotations: Mapping[str, str]


def signature_tag(digest: Digest) -> str:
    """Return the tag of a manifest's signatures."""
    return f"sha256-{digest.hex}.sig"


def attestation_tag(digest: Digest) -> str:
    """Return the tag of the statements about a manifest."""
    return f"sha256-{digest.hex}.att"


def signature_layer(payload: bytes, signature: bytes) -> Layer:
    """Return the layer of one signature.

    Args:
        payload: a claim.
        signature: over the payload, ASN.1 DER for ECDSA, raw otherwise.
    """
    return Layer(
        media_type=PAYLOAD_TYPE,
        data=payload,
        annotations={SIGNATURE_ANNOTATION: base64.b64encode(signature).decode()},
    )


def attestation_layer(envelope: bytes, predicate_type: str) -> Layer:
    """Return the layer of one signed statement."""
    return Layer(
        media_type=ENVELOPE_TYPE,
        data=envelope,
        annotations={SIGNATURE_ANNOTATION: "", PREDICATE_ANNOTATION: predicate_type},
    )


def read_signature(annotations: Mapping[str, str]) -> bytes:
    """Return the signature of a layer.

    Raises:
        FormatError: it has none.
    """
    try:
        return base64.b64decode(annotations[SIGNATURE_ANNOTATION], validate=True)
    except KeyError:
        raise FormatError("missing", context=SIGNATURE_ANNOTATION) from None
    except (binascii.Error, ValueError):
        raise FormatError("not base64", context=SIGNATURE_ANNOTATION) from None


def config_bytes(digests: Sequence[Digest]) -> bytes:
    """Return the config of such a manifest; layers are not compressed.

    Args:
        digests: of the layers.
    """
    return canonical_json.dumps(
        {
            "architecture": "",
            "os": "",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [str(digest) for digest in digests]},
        }
    )
