"""Signatures and signed statements as documents, in layouts and in lookaside trees."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.attest.bundle import Bundle
from pipeline.attest.dsse import verify_envelope
from pipeline.attest.simple_signing import Claim, ClaimType
from pipeline.attest.statement import PredicateType, Statement, Subject
from pipeline.errors import ConfigurationError
from pipeline.formats.digest import Digest
from pipeline.host.gpg import GpgSigner, Keyring
from pipeline.host.layout import Layout, PublishedLayout
from pipeline.host.signer import CommandSigner, KeySigner
from pipeline.host.store import Store
from pipeline.oci.descriptor import Descriptor
from pipeline.oci.media_type import MediaType
from pipeline.oci.validate import validate_layout
from pipeline.stages.attest import (
    Document,
    Signatures,
    Target,
    attest,
    is_published,
    publish,
    put_bundle,
    recall_attestations,
    tagged_manifest,
)
from pipeline.stages.sign import (
    LOCAL_BUILDER,
    GpgSignatures,
    SigningSettings,
    held_signatures,
    is_signed,
    lookaside_directories,
    recall_signatures,
    sign,
    sign_with_gpg,
    signing_inputs,
)
from tests.attest.signers import TestSigner
from tests.trust_tools import GpgKey, gpg_home, make_gpg_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipeline.host.store import Blob

NAMES = ("ghcr.io/freebsd/freebsd-static:15.0", "ghcr.io/freebsd/freebsd-static:15")
TARGET = Target(
    name="freebsd-static:15.0-amd64",
    descriptor=Descriptor(
        media_type=MediaType.MANIFEST,
        digest=Digest.of(b"manifest"),
        size=8,
        annotations={"io.github.containers.compression.zstd": "true"},
    ),
    references=NAMES,
    epoch=1_700_000_000,
)
HEX = TARGET.digest.hex


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def signer() -> TestSigner:
    return TestSigner()


def read(store: Store, document: Document) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads(store.read(document.manifest.digest))
    return manifest


def blob(store: Store, descriptor: dict[str, Any]) -> bytes:
    return store.read(Digest.parse(descriptor["digest"]))


# ---------------------------------------------------------------- cosign's older form


def test_there_is_a_signature_for_each_name(store: Store, signer: TestSigner) -> None:
    """Several moving tags, several signatures under one tag."""
    tagged, _ = sign(TARGET, Signatures(signer, store=store), store=store)
    assert tagged.name == f"freebsd-static:sha256-{HEX}.sig"
    manifest = read(store, tagged)
    assert "subject" not in manifest
    claims = []
    for layer in manifest["layers"]:
        payload = blob(store, layer)
        signature = base64.b64decode(layer["annotations"]["dev.cosignproject.cosign/signature"])
        assert signer.public_key.has_signed(payload, signature)
        claims.append(Claim.parse(payload, kind=ClaimType.COSIGN))
    assert [claim.reference for claim in claims] == list(NAMES)
    assert {claim.digest for claim in claims} == {TARGET.digest}
    config = json.loads(blob(store, manifest["config"]))
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]


def descriptor(data: bytes, **annotations: str) -> Descriptor:
    return Descriptor(
        media_type="t", digest=Digest.of(data), size=len(data), annotations=annotations
    )


def test_signatures_of_several_people_are_joined() -> None:
    """Who pushes adds to what is there; nothing twice, nothing lost."""
    theirs = [descriptor(b"payload", signature="theirs")]
    ours = [descriptor(b"payload", signature="ours"), descriptor(b"other", signature="ours")]
    manifest, config = tagged_manifest([*theirs, *ours])
    layers = json.loads(manifest)["layers"]
    assert [layer["annotations"]["signature"] for layer in layers] == ["theirs", "ours", "ours"]
    assert tagged_manifest([*theirs, *ours, *theirs, *ours]) == (manifest, config)
    assert json.loads(manifest)["config"]["digest"] == str(Digest.of(config))


# ---------------------------------------------------------------- bundles


def test_a_bundle_refers_to_the_image(store: Store, signer: TestSigner) -> None:
    _, document = sign(TARGET, Signatures(signer, store=store), store=store)
    assert document.name == f"freebsd-static:sha256-{HEX}.bundle.signature"
    manifest = read(store, document)
    assert manifest["subject"] == {
        "digest": str(TARGET.digest),
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "size": 8,
    }
    assert manifest["annotations"] == {
        "dev.sigstore.bundle.content": "dsse-envelope",
        "dev.sigstore.bundle.predicateType": "https://sigstore.dev/cosign/sign/v1",
        "org.opencontainers.image.created": "2023-11-14T22:13:20Z",
    }
    (layer,) = manifest["layers"]
    assert layer["mediaType"] == manifest["artifactType"]
    bundle = Bundle.parse(blob(store, layer))
    statement = Statement.parse(verify_envelope(bundle.envelope, [signer.public_key]))
    assert statement.is_about(TARGET.digest)
    assert statement.predicate_type == PredicateType.SIGNATURE


def statements(store: Store, *kinds: str) -> list[Blob]:
    return [
        store.put(
            Statement(
                subjects=(Subject(TARGET.digest),), predicate_type=kind, predicate={"k": str(kind)}
            ).to_bytes()
        )
        for kind in kinds
    ]


def test_statements_are_signed_in_both_forms(store: Store, signer: TestSigner) -> None:
    """Each as a bundle, and all of them under `.att`; the envelopes are the same."""
    blobs = statements(store, PredicateType.SPDX, "https://example.org/other")
    documents = attest(TARGET, blobs, Signatures(signer, store=store), store=store)
    assert [d.name.partition(".")[2] for d in documents] == [
        "bundle.spdx",
        f"bundle.{Digest.of(b'https://example.org/other').short}",
        "att",
    ]
    layers = read(store, documents[-1])["layers"]
    assert [layer["annotations"]["predicateType"] for layer in layers] == [
        PredicateType.SPDX,
        "https://example.org/other",
    ]
    for document, layer in zip(documents, layers, strict=False):
        bundle = Bundle.parse(blob(store, read(store, document)["layers"][0]))
        assert bundle.envelope.to_bytes() == blob(store, layer)
    assert len(signer.signed) == 2


def test_nothing_said_is_nothing_signed(store: Store, signer: TestSigner) -> None:
    assert attest(TARGET, [], Signatures(signer, store=store), store=store) == ()


def test_a_verdict_of_any_kind_can_be_attached(store: Store, signer: TestSigner) -> None:
    """What the verifier of rebuilds does."""
    statement = Statement(
        subjects=(Subject(TARGET.digest),),
        predicate_type="https://in-toto.io/attestation/svr/v0.2",
        predicate={},
    )
    bundle = Signatures(signer, store=store).bundle(statement.to_bytes())
    document = put_bundle(TARGET, bundle, store=store)
    manifest = read(store, document)
    assert manifest["annotations"]["dev.sigstore.bundle.predicateType"] == statement.predicate_type


# ---------------------------------------------------------------- signing once


def test_nothing_is_signed_twice(store: Store, signer: TestSigner) -> None:
    """Also not by another process, nor after a change of our own code."""
    signatures = Signatures(signer, store=store)
    first = sign(TARGET, signatures, store=store)
    made = len(signer.signed)
    assert made == len(NAMES) + 1
    later = Store(store.root)
    again = Signatures(signer, store=later)
    assert recall_signatures(TARGET, again, store=later) == first
    assert sign(TARGET, again, store=later) == first
    renamed = replace(TARGET, references=(*NAMES, "ghcr.io/freebsd/freebsd-static:latest"))
    assert recall_signatures(renamed, again, store=later) is None
    sign(renamed, again, store=later)
    assert len(signer.signed) == made + 1


def test_another_key_signs_anew(store: Store, signer: TestSigner) -> None:
    blobs = statements(store, PredicateType.SPDX)
    ours = Signatures(signer, store=store)
    assert recall_attestations(TARGET, blobs, ours, store=store) is None
    first = attest(TARGET, blobs, ours, store=store)
    assert recall_attestations(TARGET, blobs, ours, store=store) == first
    theirs = Signatures(TestSigner(7), store=store)
    assert recall_attestations(TARGET, blobs, theirs, store=store) is None
    assert attest(TARGET, blobs, theirs, store=store) != first


def test_inputs_are_target_statements_and_keys(store: Store, signer: TestSigner) -> None:
    blobs = statements(store, PredicateType.SPDX)
    ours = Signatures(signer, store=store)
    gpg = GpgSignatures(signer=GpgSigner("A" * 40), store=store)
    variants = {
        signing_inputs(TARGET, blobs, ours, None),
        signing_inputs(TARGET, blobs, ours, gpg),
        signing_inputs(TARGET, blobs, None, gpg),
        signing_inputs(TARGET, [], ours, None),
        signing_inputs(replace(TARGET, references=()), blobs, ours, None),
    }
    assert len(variants) == 5
    assert signing_inputs(TARGET, blobs, ours, None) in variants


# ---------------------------------------------------------------- the layout


def test_documents_make_a_valid_layout(store: Store, signer: TestSigner, tmp_path: Path) -> None:
    signatures = Signatures(signer, store=store)
    blobs = statements(store, PredicateType.SPDX, PredicateType.PROVENANCE)
    documents = [
        *sign(TARGET, signatures, store=store),
        *attest(TARGET, blobs, signatures, store=store),
    ]
    layout = PublishedLayout(tmp_path / "attest", store=store)
    assert not is_published(documents, layout=layout)
    publish(documents, layout=layout)
    assert is_published(documents, layout=layout)
    found = [str(f) for f in validate_layout(Layout(layout.root))]
    assert [f for f in found if "history" not in f and "layers[" not in f] == []
    names = set(layout.references())
    publish(documents, layout=layout)
    assert set(layout.references()) == names == {d.name for d in documents}


def test_a_damaged_layout_is_noticed(store: Store, signer: TestSigner, tmp_path: Path) -> None:
    documents = sign(TARGET, Signatures(signer, store=store), store=store)
    layout = PublishedLayout(tmp_path / "attest", store=store)
    publish(documents, layout=layout)
    victim = layout.path(documents[0].contents[-1].digest)
    victim.chmod(0o644)
    victim.write_bytes(b"x" * victim.stat().st_size)
    assert not is_published(documents, layout=layout)
    publish(documents, layout=layout)
    assert is_published(documents, layout=layout)


# ---------------------------------------------------------------- GPG


@pytest.fixture(scope="module")
def key() -> Iterator[GpgKey]:
    with gpg_home() as home:
        yield make_gpg_key(home)


def gpg_signatures(key: GpgKey, store: Store) -> GpgSignatures:
    return GpgSignatures(signer=GpgSigner(key.fingerprint, home=key.home), store=store)


def test_the_lookaside_tree_has_a_file_a_name(store: Store, key: GpgKey, tmp_path: Path) -> None:
    signatures, tree = gpg_signatures(key, store), tmp_path / "lookaside"
    assert not is_signed(TARGET, signatures, lookaside=tree)
    sign_with_gpg(TARGET, signatures, lookaside=tree)
    assert is_signed(TARGET, signatures, lookaside=tree)
    folder = tree / f"freebsd/freebsd-static@sha256={HEX}"
    assert sorted(p.name for p in folder.iterdir()) == ["signature-1", "signature-2"]
    with Keyring.of([key.export()]) as keyring:
        claims = [
            Claim.parse(keyring.verify(message, what="x"), kind=ClaimType.GPG)
            for message in held_signatures(tree, "freebsd/freebsd-static", TARGET.digest)
        ]
    assert [claim.reference for claim in claims] == list(NAMES)
    assert lookaside_directories([TARGET]) == {f"freebsd/freebsd-static@sha256={HEX}"}


def test_a_second_time_nothing_changes(store: Store, key: GpgKey, tmp_path: Path) -> None:
    tree = tmp_path / "lookaside"
    sign_with_gpg(TARGET, gpg_signatures(key, store), lookaside=tree)
    before = held_signatures(tree, "freebsd/freebsd-static", TARGET.digest)
    sign_with_gpg(TARGET, gpg_signatures(key, Store(store.root)), lookaside=tree)
    assert held_signatures(tree, "freebsd/freebsd-static", TARGET.digest) == before


def test_signatures_of_others_stay_and_numbers_have_no_gap(
    store: Store, key: GpgKey, tmp_path: Path
) -> None:
    tree = tmp_path / "lookaside"
    folder = tree / f"freebsd/freebsd-static@sha256={HEX}"
    folder.mkdir(parents=True)
    (folder / "signature-1").write_bytes(b"theirs")
    sign_with_gpg(TARGET, gpg_signatures(key, store), lookaside=tree)
    held = held_signatures(tree, "freebsd/freebsd-static", TARGET.digest)
    assert held[0] == b"theirs"
    assert len(held) == 3
    (folder / "signature-2").unlink()
    assert not is_signed(TARGET, gpg_signatures(key, store), lookaside=tree)


# ---------------------------------------------------------------- settings

EMPTY = SigningSettings(
    identity="",
    key="",
    password_command=(),
    command=(),
    command_reads="payload",
    public_key="",
    gpg_key="",
    gpg_home="",
    builder="",
    invocation="",
    started="",
    finished="",
)


def test_who_signs_follows_from_the_settings() -> None:
    assert not EMPTY.is_signing
    assert EMPTY.signer() is None
    assert EMPTY.gpg_signer() is None
    assert isinstance(replace(EMPTY, key="x.key").signer(), KeySigner)
    command = replace(EMPTY, command=("hsm",), public_key="x.pub")
    assert isinstance(command.signer(), CommandSigner)
    assert replace(EMPTY, gpg_key="a" * 40).gpg_signer() is not None
    assert command.is_signing


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"key": "x.key", "command": ("hsm",)}, "want one of them"),
        ({"command": ("hsm",)}, "wants the file of its public_key"),
    ],
)
def test_settings_that_contradict_each_other(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        replace(EMPTY, **changes).signer()


def test_an_image_is_pulled_by_identity_name_and_tags() -> None:
    settings = replace(EMPTY, identity="ghcr.io/freebsd")
    assert settings.references("freebsd-static:15.0", ["15", "latest", "15.0"]) == (
        "ghcr.io/freebsd/freebsd-static:15.0",
        "ghcr.io/freebsd/freebsd-static:15",
        "ghcr.io/freebsd/freebsd-static:latest",
    )


@pytest.mark.parametrize(
    ("identity", "message"), [("", "there is no identity"), ("Not A Host", "signing.identity")]
)
def test_without_an_identity_nothing_is_signed(identity: str, message: str) -> None:
    """Podman refuses a signature that does not say the name."""
    with pytest.raises(ConfigurationError, match=message):
        replace(EMPTY, identity=identity).references("freebsd-static:15.0", [])


def test_a_builder_without_a_name_is_a_local_one() -> None:
    assert EMPTY.run({}).builder == LOCAL_BUILDER
    assert replace(EMPTY, builder="urn:x").run({"a": "b"}).builder == "urn:x"
