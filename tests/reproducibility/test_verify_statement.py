"""Rebuild attestations: written, read, and judged by others' implementations."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from securesystemslib.dsse import Envelope as OtherEnvelope
from securesystemslib.signer._key import SSlibKey
from sigstore_models.bundle.v1 import Bundle as OtherBundle

from pipeline.attest.statement import Statement
from pipeline.errors import FormatError
from pipeline.formats.digest import Digest
from pipeline.host.store import Store
from pipeline.oci.reference import Reference
from pipeline.stages.attest import Signatures
from reproducibility.verify_statement import (
    LEVEL,
    POLICY,
    PREDICATE_TYPE,
    Summary,
    parse_rebuild,
    rebuild_statement,
    resource_uri,
)
from tests.attest.signers import TestSigner

INDEX, AMD64 = Digest.of(b"index"), Digest.of(b"amd64")
SUMMARY = Summary(
    verifier="https://rebuild.example/alice",
    version={"pkgbase-oci": "1.0.0"},
    time=1_700_000_000,
    resource="pkg:oci/x@sha256%3Aab",
    format=1,
    inputs=(("lock", Digest.of(b"lock")), ("provenance", Digest.of(b"p"))),
    is_passed=True,
)
SUBJECTS = (("x index", INDEX), ("x freebsd/amd64", AMD64))


def statement(**changes: Any) -> Statement:
    return rebuild_statement(SUBJECTS, replace(SUMMARY, **changes))


def test_the_predicate_is_that_of_the_specification() -> None:
    """https://slsa.dev/spec/v1.1/verification_summary, section Schema."""
    document = json.loads(statement().to_bytes())
    assert document == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {"name": "x index", "digest": {"sha256": INDEX.hex}},
            {"name": "x freebsd/amd64", "digest": {"sha256": AMD64.hex}},
        ],
        "predicateType": "https://slsa.dev/verification_summary/v1",
        "predicate": {
            "verifier": {
                "id": "https://rebuild.example/alice",
                "version": {"pkgbase-oci": "1.0.0"},
            },
            "timeVerified": "2023-11-14T22:13:20Z",
            "resourceUri": "pkg:oci/x@sha256%3Aab",
            "policy": {"uri": "urn:pkgbase-oci:verify:rebuild:v1:format-1"},
            "inputAttestations": [
                {"name": "lock", "digest": {"sha256": Digest.of(b"lock").hex}},
                {"name": "provenance", "digest": {"sha256": Digest.of(b"p").hex}},
            ],
            "verificationResult": "PASSED",
            "verifiedLevels": ["PKGBASE_OCI_REBUILT_BIT_FOR_BIT"],
            "slsaVersion": "1.1",
        },
    }
    assert not LEVEL.startswith("SLSA_"), "the specification forbids that"


def test_a_failure_is_no_level() -> None:
    predicate = json.loads(statement(is_passed=False).to_bytes())["predicate"]
    assert (predicate["verificationResult"], predicate["verifiedLevels"]) == ("FAILED", ["FAILED"])


@pytest.mark.parametrize("is_passed", [True, False])
def test_parse_is_the_inverse(is_passed: bool) -> None:
    made = statement(is_passed=is_passed)
    read = Statement.parse(made.to_bytes())
    assert parse_rebuild(read) == replace(SUMMARY, is_passed=is_passed)
    assert [s.digest for s in read.subjects] == [INDEX, AMD64]


def test_what_others_may_add_is_passed_over() -> None:
    """Consumers MUST ignore unrecognized fields."""
    document = json.loads(statement().to_bytes())
    document["predicate"]["https://example.org/x"] = {"y": 1}
    document["predicate"]["verifier"]["version"]["z"] = 1
    del document["predicate"]["inputAttestations"]
    del document["predicate"]["slsaVersion"]
    read = parse_rebuild(Statement.parse(json.dumps(document).encode()))
    assert read == replace(SUMMARY, inputs=())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"policy": {"uri": "https://example.org/policy"}}, "policy.uri"),
        ({"policy": {"uri": f"{POLICY}x"}}, "policy.uri"),
        ({"policy": {"uri": POLICY}}, "policy.uri"),
        ({"policy": {}}, "uri: missing"),
        ({"verifier": {}}, "id: missing"),
        ({"timeVerified": "yesterday"}, "timeVerified"),
        ({"timeVerified": "2023-11-14T22:13:20"}, "timeVerified"),
        ({"verificationResult": "MAYBE"}, "got 'MAYBE'"),
        ({"verifiedLevels": ["SLSA_BUILD_LEVEL_3"]}, "with levels 'SLSA_BUILD_LEVEL_3'"),
        ({"verificationResult": "FAILED"}, f"got 'FAILED' with levels '{LEVEL}'"),
        ({"verifiedLevels": ["FAILED"]}, "got 'PASSED' with levels 'FAILED'"),
        ({"verifiedLevels": []}, "got 'PASSED'"),
        ({"inputAttestations": [{"digest": {}}]}, "sha256: missing"),
    ],
)
def test_what_is_no_rebuild_attestation_is_refused(changes: dict[str, Any], message: str) -> None:
    document = json.loads(statement().to_bytes())
    document["predicate"].update(changes)
    with pytest.raises(FormatError, match=message):
        parse_rebuild(Statement.parse(json.dumps(document).encode()))


def test_a_statement_of_another_type_is_refused() -> None:
    with pytest.raises(FormatError, match="a statement of type 'x'"):
        parse_rebuild(replace(statement(), predicate_type="x"))


@pytest.mark.parametrize("is_passed", [True, False])
def test_others_verify_it(tmp_path: Any, is_passed: bool) -> None:
    """The envelope is checked by securesystemslib, the bundle read by sigstore's own model."""
    signer = TestSigner()
    payload = statement(is_passed=is_passed).to_bytes()
    bundle = Signatures(signer, store=Store(tmp_path)).bundle(payload)
    key = SSlibKey(
        keyid="",
        keytype="ecdsa",
        scheme="ecdsa-sha2-nistp256",
        keyval={"public": signer.public_key.to_pem().decode()},
    )
    other = OtherBundle.from_json(bundle.to_bytes())
    assert other.verification_material.public_key is not None
    assert other.dsse_envelope is not None
    envelope = OtherEnvelope.from_dict(json.loads(bundle.to_bytes())["dsseEnvelope"])
    assert envelope.verify([key], 1)
    assert envelope.payload == payload
    assert json.loads(envelope.payload)["predicateType"] == PREDICATE_TYPE


@pytest.mark.parametrize(
    ("reference", "name", "uri"),
    [
        (
            "ghcr.io/freebsd/freebsd-static:15.0",
            "",
            (
                "pkg:oci/freebsd-static@sha256%3A{hex}"
                "?repository_url=ghcr.io/freebsd/freebsd-static&tag=15.0"
            ),
        ),
        ("127.0.0.1:5000/x", "", "pkg:oci/x@sha256%3A{hex}?repository_url=127.0.0.1%3A5000/x"),
        (None, "freebsd-static:15.0", "pkg:oci/freebsd-static@sha256%3A{hex}"),
        (None, "freebsd-static", "pkg:oci/freebsd-static@sha256%3A{hex}"),
        (None, "", "pkg:oci/image@sha256%3A{hex}"),
    ],
)
def test_an_image_is_named_by_its_purl(reference: str | None, name: str, uri: str) -> None:
    """purl-spec, types/oci: the digest is the version; a path of this machine is in none."""
    parsed = None if reference is None else Reference.parse(reference)
    assert resource_uri(INDEX, reference=parsed, name=name) == uri.format(hex=INDEX.hex)
