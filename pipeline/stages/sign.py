"""Stage `sign`: signatures of an image, in the three forms that clients look for.

1. GPG simple signing: one signed message a reference, in a lookaside tree that any web server can
   serve, `<repository>@sha256=<hex>/signature-N`. podman and skopeo.
2. cosign's older form: one signed payload a reference, under the tag `sha256-<hex>.sig`. podman,
   skopeo, cosign 1 and 2.
3. cosign's newer form: a signed statement that the image is signed, as a bundle that refers to the
   image. cosign 3.

podman and skopeo verify the manifest of the platform they pull, cosign the index that a tag names:
both are signed (docs/signing.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import pipeline
from pipeline.attest import cosign
from pipeline.attest.provenance import Run
from pipeline.attest.simple_signing import SIGNATURE_FILE, Claim, ClaimType, lookaside_directory
from pipeline.attest.statement import PredicateType, Statement, Subject
from pipeline.errors import ConfigurationError, FormatError
from pipeline.formats import canonical_json
from pipeline.formats.digest import Digest
from pipeline.host.gpg import GpgSigner
from pipeline.host.signer import CommandSigner, KeySigner, KeySource, PasswordSource
from pipeline.host.store import Record, write_atomically
from pipeline.host.toolchain import code_digest
from pipeline.oci.reference import Reference
from pipeline.stages.attest import documents_of, put_bundle, put_tagged, record_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pipeline.host.signer import Signer
    from pipeline.host.store import Blob, Store
    from pipeline.stages.attest import Document, Signatures, Target

STAGE: Final = "sign"
GPG_STAGE: Final = "gpg-signature"

_CREATOR: Final = f"pkgbase-oci {pipeline.__version__}"


def _inputs(target: Target, signatures: Signatures) -> dict[str, object]:
    return {"target": target.inputs(), "key": signatures.key, "code": code_digest()}


def recall_signatures(
    target: Target, signatures: Signatures, *, store: Store
) -> tuple[Document, ...] | None:
    """Return the signatures of an image if they have been made already and still hold."""
    record = store.recall(STAGE, _inputs(target, signatures))
    return None if record is None else documents_of(record)


def sign(
    target: Target, signatures: Signatures, *, store: Store, suspicious: bool = False
) -> tuple[Document, ...]:
    """Sign an image in both of cosign's forms.

    Args:
        target: the image.
        signatures: who signs.
        store: holds everything.
        suspicious: believe no earlier result without hashing it.
    """

    def make() -> Record:
        # (2) the older form: what it is called
        layers = []
        for reference in target.references:
            claim = Claim(kind=ClaimType.COSIGN, digest=target.digest, reference=reference)
            payload = claim.to_bytes(creator=_CREATOR)
            layers.append(cosign.signature_layer(payload, signatures.make(payload)))
        # (3) the newer form: that it is signed
        bundle = signatures.bundle(signature_statement(target).to_bytes())
        return record_of(
            [
                put_tagged(target, "sig", layers, store=store),
                put_bundle(target, bundle, store=store),
            ]
        )

    inputs = _inputs(target, signatures)
    return documents_of(store.memoise(STAGE, inputs, make, suspicious=suspicious))


def signature_statement(target: Target) -> Statement:
    """Return what cosign 3 signs of an image. Pure."""
    return Statement(
        subjects=(Subject(target.digest),), predicate_type=PredicateType.SIGNATURE, predicate={}
    )


# ---------------------------------------------------------------- GPG


@dataclass(frozen=True, slots=True, kw_only=True)
class GpgSignatures:
    """GPG's signatures, remembered in the store so that nothing is signed twice."""

    signer: GpgSigner
    store: Store

    def _inputs(self, payload: bytes) -> dict[str, object]:
        return {"payload": str(Digest.of(payload)), "key": self.signer.fingerprint}

    def find(self, payload: bytes) -> bytes | None:
        """Return a signed message that has been made before."""
        record = self.store.recall(GPG_STAGE, self._inputs(payload))
        return None if record is None else self.store.read(record.outputs["message"].digest)

    def make(self, payload: bytes) -> bytes:
        """Return a signed message, making it if need be."""

        def make() -> Record:
            message = self.store.put(self.signer.sign(payload))
            return Record(outputs={"message": message}, facts={})

        record = self.store.memoise(GPG_STAGE, self._inputs(payload), make)
        return self.store.read(record.outputs["message"].digest)


def _claims(target: Target) -> Iterator[tuple[str, bytes]]:
    """Yield (path of the repository, payload) for each reference."""
    for reference in target.references:
        claim = Claim(kind=ClaimType.GPG, digest=target.digest, reference=reference)
        yield Reference.parse(reference).path, claim.to_bytes(creator=_CREATOR)


def is_signed(target: Target, signatures: GpgSignatures, *, lookaside: Path) -> bool:
    """Say whether a lookaside tree has all of our signatures of an image."""
    for path, payload in _claims(target):
        message = signatures.find(payload)
        if message is None or message not in held_signatures(lookaside, path, target.digest):
            return False
    return True


def sign_with_gpg(target: Target, signatures: GpgSignatures, *, lookaside: Path) -> None:
    """Add our signatures of an image to a lookaside tree.

    Signatures by others that are there stay; ours follow them, numbered without a gap.
    """
    for path, payload in _claims(target):
        message = signatures.make(payload)
        held = held_signatures(lookaside, path, target.digest)
        if message not in held:
            folder = lookaside / lookaside_directory(path, target.digest)
            write_atomically(folder / f"{SIGNATURE_FILE}{len(held) + 1}", message)


def held_signatures(lookaside: Path, path: str, digest: Digest) -> tuple[bytes, ...]:
    """Return the signatures that a reader of a lookaside tree finds.

    Args:
        lookaside: the tree.
        path: of the repository, without the host.
        digest: of the manifest.
    """
    folder = lookaside / lookaside_directory(path, digest)
    found: list[bytes] = []
    while (file := folder / f"{SIGNATURE_FILE}{len(found) + 1}").is_file():
        found.append(file.read_bytes())
    return tuple(found)


def lookaside_directories(targets: Iterable[Target]) -> frozenset[str]:
    """Return the directories of a lookaside tree that belong to some images."""
    return frozenset(
        lookaside_directory(path, target.digest)
        for target in targets
        for path, _ in _claims(target)
    )


def signing_inputs(
    target: Target,
    statements: Iterable[Blob],
    signatures: Signatures | None,
    gpg: GpgSignatures | None,
) -> str:
    """Return the digest of everything that decides what is signed, and by whom."""
    value: dict[str, object] = {
        "target": target.inputs(),
        "statements": [str(statement.digest) for statement in statements],
        "key": None if signatures is None else signatures.key,
        "gpg": None if gpg is None else gpg.signer.fingerprint,
    }
    return str(Digest.of(canonical_json.dumps(value)))


# ---------------------------------------------------------------- settings


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningSettings:
    """What a declaration, the environment and the command line say of signing, joined."""

    identity: str
    """Host and path before an image's name: `ghcr.io/freebsd`."""
    key: str
    """Of cosign's kind: a file, `env://NAME`, or empty."""
    password_command: tuple[str, ...]
    command: tuple[str, ...]
    """Signs instead of a key."""
    command_reads: Literal["payload", "digest"]
    public_key: str
    """File of the public key of `command`."""
    gpg_key: str
    """Fingerprint, or empty."""
    gpg_home: str
    builder: str
    """A URI, for provenance."""
    invocation: str
    started: str
    finished: str

    @property
    def is_signing(self) -> bool:
        """Whether there is anything to sign with."""
        return bool(self.key or self.command or self.gpg_key)

    def signer(self) -> Signer | None:
        """Return who signs in cosign's forms.

        Raises:
            ConfigurationError: the settings contradict each other.
        """
        if self.key and self.command:
            raise ConfigurationError("got a key and a command that signs, want one of them")
        if self.command:
            if not self.public_key:
                raise ConfigurationError("a command that signs wants the file of its public_key")
            return CommandSigner(
                command=self.command, reads=self.command_reads, public_file=Path(self.public_key)
            )
        if not self.key:
            return None
        return KeySigner(KeySource(self.key), PasswordSource(self.password_command))

    def gpg_signer(self) -> GpgSigner | None:
        """Return who signs with GPG."""
        if not self.gpg_key:
            return None
        return GpgSigner(self.gpg_key, home=Path(self.gpg_home) if self.gpg_home else None)

    def references(self, name: str, tags: Iterable[str]) -> tuple[str, ...]:
        """Return the names by which an image is going to be pulled.

        Args:
            name: in the layout, with its tag.
            tags: further tags of it, which move.

        Raises:
            ConfigurationError: there is no identity, or they are no names.
        """
        if not self.identity:
            raise ConfigurationError(
                "a signature names the image, and there is no identity",
                hint="declare it: [signing] identity = 'ghcr.io/freebsd', or identity=… here",
            )
        repository, _, tag = name.rpartition(":")
        try:
            return tuple(
                str(Reference.parse(f"{self.identity}/{repository}:{each}"))
                for each in dict.fromkeys((tag, *tags))
            )
        except FormatError as e:
            raise ConfigurationError(f"signing.identity: {e}") from None

    def run(self, version: Mapping[str, str]) -> Run:
        """Return the builder, as provenance names it."""
        return Run(
            builder=self.builder or LOCAL_BUILDER,
            version=version,
            invocation=self.invocation,
            started=self.started,
            finished=self.finished,
        )


LOCAL_BUILDER: Final = "urn:pkgbase-oci:builder:local"
"""A builder that nobody has given a name."""
