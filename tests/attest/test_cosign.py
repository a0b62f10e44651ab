"""Manifests under cosign's older tags."""

from __future__ import annotations

import json

import pytest

from pipeline.attest.cosign import (
    attestation_layer,
    attestation_tag,
    config_bytes,
    read_signature,
    signature_layer,
    signature_tag,
)
from pipeline.errors import FormatError
from pipeline.formats.digest import Digest

DIGEST = Digest.of(b"manifest")


def test_tags_are_made_of_the_digest() -> None:
    assert signature_tag(DIGEST) == f"sha256-{DIGEST.hex}.sig"
    assert attestation_tag(DIGEST) == f"sha256-{DIGEST.hex}.att"


def test_a_signature_stands_in_an_annotation_of_its_payload() -> None:
    layer = signature_layer(b"payload", b"\x30\x01")
    assert layer.data == b"payload"
    assert layer.media_type == "application/vnd.dev.cosign.simplesigning.v1+json"
    assert layer.annotations == {"dev.cosignproject.cosign/signature": "MAE="}
    assert read_signature(layer.annotations) == b"\x30\x01"


def test_a_statement_is_an_envelope_that_says_its_type() -> None:
    layer = attestation_layer(b"{}", "https://spdx.dev/Document")
    assert layer.media_type == "application/vnd.dsse.envelope.v1+json"
    assert layer.annotations == {
        "dev.cosignproject.cosign/signature": "",
        "predicateType": "https://spdx.dev/Document",
    }


@pytest.mark.parametrize(
    ("annotations", "message"),
    [({}, "missing"), ({"dev.cosignproject.cosign/signature": "!"}, "not base64")],
)
def test_a_layer_without_a_signature_is_refused(annotations: dict[str, str], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read_signature(annotations)


def test_the_config_lists_the_layers() -> None:
    config = json.loads(config_bytes([DIGEST]))
    assert config["rootfs"] == {"type": "layers", "diff_ids": [str(DIGEST)]}
