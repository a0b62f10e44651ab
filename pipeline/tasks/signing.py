"""What the tasks of `trust` work on: where things lie, settings, and the images there are."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from doit import get_var

from pipeline.host.environment import setting
from pipeline.host.store import copy_file, hash_file
from pipeline.stages.attest import Signatures, Target
from pipeline.stages.parcel import tags_of
from pipeline.stages.provenance import Sources, builder_version, check_publishable
from pipeline.stages.sbom import BuiltImage
from pipeline.stages.sign import GpgSignatures, SigningSettings
from pipeline.tasks.config import PROJECT
from pipeline.tasks.places import beside_output
from pipeline.tasks.results import (
    image_documents,
    image_reference,
    index_documents,
    layers_of,
    tree_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pipeline.host.store import Blob
    from pipeline.stages.plan import ImagePlan

# ---------------------------------------------------------------- settings


@functools.cache
def settings() -> SigningSettings:
    """Join what the command line, the environment and the declaration say, in this order."""
    declared = PROJECT.declaration.signing

    def said(name: str) -> str:
        return get_var(name) or setting(name)

    def file(name: str, value: str) -> str:
        if said(name) or not value or value.startswith("env://"):
            return said(name) or value
        return str(PROJECT.root / value)

    return SigningSettings(
        identity=said("identity") or declared.identity or PROJECT.declaration.registry.prefix,
        key=file("key", declared.key),
        password_command=tuple(declared.password_command),
        command=() if said("key") else tuple(declared.command),
        command_reads=declared.command_reads,
        public_key=file("public_key", declared.public_key),
        gpg_key=said("gpg_key") or declared.gpg_key,
        gpg_home=file("gpg_home", declared.gpg_home),
        builder=said("builder") or declared.builder,
        invocation=said("invocation"),
        started=said("started"),
        finished=said("finished"),
    )


@functools.cache
def signatures() -> Signatures | None:
    """Return who signs in cosign's forms; None where nobody does."""
    signer = settings().signer()
    return None if signer is None else Signatures(signer, store=PROJECT.store)


@functools.cache
def gpg_signatures() -> GpgSignatures | None:
    """Return who signs with GPG; None where nobody does."""
    signer = settings().gpg_signer()
    return None if signer is None else GpgSignatures(signer=signer, store=PROJECT.store)


@functools.cache
def sources() -> Sources:
    """Return declaration and lock as they are, and who builds."""
    check_publishable(PROJECT.declaration)
    return Sources(
        declaration=PROJECT.path.read_bytes(),
        lock=PROJECT.lock_path.read_bytes(),
        run=settings().run(builder_version(PROJECT.declaration)),
    )


# ---------------------------------------------------------------- lookups


def built(plan: ImagePlan) -> BuiltImage | None:
    """Return an image as it has been built; None while a part of it is missing."""
    documents = image_documents(plan)
    layers = layers_of(plan)
    trees = [tree_of(ancestor) for ancestor in plan.lineage]
    if documents is None or layers is None or None in trees:
        return None
    return BuiltImage(
        plan=plan,
        manifest=documents.result.manifest,
        layers=tuple(layers),
        trees=tuple(tree for tree in trees if tree is not None),
    )


def index_references(plans: tuple[ImagePlan, ...]) -> tuple[str, ...]:
    """Return the names that an index is going to be pulled by, moving tags among them."""
    plan = plans[0]
    releases = [p[0].release for p in PROJECT.plan.references().values() if p[0].name == plan.name]
    tags = tags_of(plan.release, releases, tuple(PROJECT.declaration.registry.moving_tags))
    return settings().references(plan.reference, tags)


def image_references(plan: ImagePlan) -> tuple[str, ...]:
    """Return the names that an image for one platform is going to be pulled by: its index's.

    And its own, if platforms get tags of their own.
    """
    own = image_reference(plan) if PROJECT.declaration.registry.platform_tags else plan.reference
    plans = PROJECT.plan.references()[plan.reference]
    return tuple(dict.fromkeys((*index_references(plans), *settings().references(own, ()))))


def image_target(plan: ImagePlan, *, references: tuple[str, ...] = ()) -> Target | None:
    """Return the manifest of an image for one platform; None while it is missing."""
    documents = image_documents(plan)
    if documents is None:
        return None
    return Target(
        name=image_reference(plan),
        descriptor=documents.result.manifest,
        references=references,
        epoch=plan.epoch,
    )


def index_target(
    plans: tuple[ImagePlan, ...], *, references: tuple[str, ...] = ()
) -> Target | None:
    """Return an index; None while it is missing."""
    index = index_documents(plans)
    if index is None:
        return None
    return Target(
        name=plans[0].reference,
        descriptor=index[1],
        references=references,
        epoch=plans[0].epoch,
    )


# ---------------------------------------------------------------- files


def export_path(folder: str, target: Target, ending: str) -> Path:
    """Return where a document about an image goes as a file."""
    return beside_output(folder) / (target.name.replace("/", "-").replace(":", "-") + ending)


def is_exported(files: Mapping[Path, Blob]) -> bool:
    """Say whether files are there with the content of blobs."""
    return all(path.is_file() and hash_file(path) == b.digest for path, b in files.items())


def export(files: Mapping[Path, Blob]) -> None:
    """Write blobs of the store to files."""
    for path, blob in files.items():
        copy_file(PROJECT.store.path(blob.digest), path)
