"""Signing what a verification has found, and putting it where others look.

The statement is signed once and refers to every digest that it is about: each gets an artifact with
the same bundle, in a registry, in a layout, or as a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.attest.bundle import BUNDLE_TYPE, Bundle, bundle_annotations
from pipeline.declaration.tables import FORMAT
from pipeline.errors import ConfigurationError
from pipeline.formats.digest import Digest
from pipeline.host.layout import PublishedLayout
from pipeline.host.store import Store, write_atomically
from pipeline.stages.attach import attach
from pipeline.stages.attest import Content, Signatures, Target, put_artifact
from pipeline.stages.provenance import DECLARATION_NAME, LOCKFILE_NAME
from reproducibility.sources import SourceKind
from reproducibility.verify_place import RegistryPlace
from reproducibility.verify_result import Outcome
from reproducibility.verify_statement import (
    PREDICATE_TYPE,
    Summary,
    rebuild_statement,
    resource_uri,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.host.registry import Repository
    from pipeline.host.registry_manifest import Manifest
    from pipeline.host.signer import Signer
    from pipeline.stages.attest import Document
    from reproducibility.verify import Verified
    from reproducibility.verify_place import JoinedPlace
    from reproducibility.verify_result import Attempt

_LAYOUT: Final = f"{SourceKind.OCI}:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilder:
    """Who says it."""

    identity: str
    """A URI."""
    signer: Signer
    time: int
    """When; seconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """A signed statement, and the manifests that it is about."""

    bundle: Bundle
    targets: tuple[Target, ...]


def attest(
    place: JoinedPlace, verified: Verified, rebuilder: Rebuilder, *, store: Store
) -> Attestation:
    """Sign what was found.

    Args:
        place: where the image is.
        verified: what was found, if `why_not_attested` says nothing against it.
        rebuilder: who says it.
        store: a scratch place.
    """
    verification = verified.verification
    parts = verification.attested
    best = verification.best
    assert best is not None, "there is something to attest"
    image = place.image
    reference = image.reference if isinstance(image, RegistryPlace) else None
    name = best.goal.rpartition(":")[0] or best.goal
    summary = Summary(
        verifier=rebuilder.identity,
        version=dict(_version(tool) for tool in verification.tools),
        time=rebuilder.time,
        resource=resource_uri(Digest.parse(verification.digest), reference=reference, name=name),
        format=FORMAT,
        inputs=tuple(_inputs(best, verified)),
        is_passed=best.outcome is Outcome.REPRODUCED,
    )
    subjects = [(f"{name} {part.label}", Digest.parse(part.digest)) for part in parts]
    statement = rebuild_statement(subjects, summary).to_bytes()
    bundle = Signatures(rebuilder.signer, store=store).bundle(statement)
    described = {m.digest: m.descriptor for m in _manifests(verified)}
    return Attestation(
        bundle=bundle,
        targets=tuple(
            Target(
                name=f"{name}:{best.goal.rpartition(':')[2]}",
                descriptor=described[digest],
                references=(),
                epoch=rebuilder.time,
            )
            for _, digest in subjects
        ),
    )


def _inputs(best: Attempt, verified: Verified) -> Iterator[tuple[str, Digest]]:
    """Name what was used: the lock artifact, or the two files that the user had instead."""
    if best.artifact:
        yield "lock", Digest.parse(best.artifact)
    else:
        yield DECLARATION_NAME, Digest.parse(best.declaration)
        yield LOCKFILE_NAME, Digest.parse(best.lock)
    for digest in verified.provenances:
        yield "provenance", digest


def _manifests(verified: Verified) -> tuple[Manifest, ...]:
    subject = verified.subject
    return (subject.chosen, *(manifest for _, manifest in subject.platforms))


def _version(tool: str) -> tuple[str, str]:
    name, _, version = tool.partition(" ")
    return name, version


def documents(attestation: Attestation, *, store: Store) -> tuple[Document, ...]:
    """Return the artifacts that refer to the manifests, in the store."""
    raw = attestation.bundle.to_bytes()
    content = Content(blob=store.put(raw), media_type=BUNDLE_TYPE, title="")
    short = Digest.of(attestation.bundle.hint.encode()).short
    return tuple(
        put_artifact(
            target,
            f"bundle.rebuild-{short}",
            [content],
            artifact_type=BUNDLE_TYPE,
            annotations=bundle_annotations(PREDICATE_TYPE, created=target.created),
            store=store,
        )
        for target in attestation.targets
    )


def check_output(output: str) -> None:
    """Raise ConfigurationError unless an attestation can be written there."""
    folder = Path(output.removeprefix(_LAYOUT))
    if not output.removeprefix(_LAYOUT):
        raise ConfigurationError(f"got --output {output!r}, want FILE or oci:PATH")
    if not output.startswith(_LAYOUT):
        if folder.is_dir():
            raise ConfigurationError(f"--output {output}: is a directory")
        folder = folder.absolute().parent
        if not folder.is_dir():
            raise ConfigurationError(f"--output {output}: no such directory", hint="make it first")


def write(attestation: Attestation, output: str, *, store: Store) -> None:
    """Write an attestation to a file, or add it to the layout `oci:PATH`."""
    if not output.startswith(_LAYOUT):
        write_atomically(Path(output), attestation.bundle.to_bytes())
        return
    layout = PublishedLayout(Path(output.removeprefix(_LAYOUT)), store=store)
    for document in documents(attestation, store=store):
        layout.publish(document.name, document.descriptor, document.blobs)


def push(attestation: Attestation, *, repository: Repository, store: Store) -> None:
    """Attach an attestation in a repository."""
    attach(documents(attestation, store=store), repository=repository, store=store)
