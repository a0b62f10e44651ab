"""What the tasks of `trust` work on: where things lie, settings, and the images there are."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from doit import get_var

from pipeline.host.layout import PublishedLayout
from pipeline.host.signer import setting
from pipeline.host.store import copy_file, hash_file
from pipeline.stages.attest import Signatures, Target
from pipeline.stages.parcel import tags_of
from pipeline.stages.provenance import Sources, builder_version, check_publishable
from pipeline.stages.sbom import BuiltImage
from pipeline.stages.sign import GpgSignatures, SigningSettings
from pipeline.tasks.config import PROJECT
from pipeline.tasks.results import (
    image_documents,
    image_reference,
    index_documents,
    layers_of,
    tree_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.host.store import Blob
    from pipeline.stages.plan import ImagePlan

T = TypeVar("T")

_DEFAULT_OUTPUT: Final = "oci"


# ---------------------------------------------------------------- where things lie


def beside_output(name: str) -> Path:
    """Return a directory beside the images' layout: `build/attest` beside `build/oci`.

    Beside a layout of another name, `build/x`, it is `build/x.attest`.
    """
    override = get_var(name)
    if override:
        return Path(override)
    output = PROJECT.output
    is_default = output.name == _DEFAULT_OUTPUT
    return output.with_name(name if is_default else f"{output.name}.{name}")


@functools.cache
def attest_layout() -> PublishedLayout:
    """Return the layout of attestations."""
    return PublishedLayout(beside_output("attest"), store=PROJECT.store)


def lookaside() -> Path:
    """Return the lookaside tree of GPG's signatures."""
    return beside_output("lookaside")


# ---------------------------------------------------------------- settings


@functools.cache
def settings() -> SigningSettings:
    """Join what the command line, the environment and the declaration say, in this order."""
    declared: Any = getattr(PROJECT.declaration, "signing", None)

    def text(name: str) -> str:
        return get_var(name) or setting(name) or getattr(declared, name, "")

    def file(name: str) -> str:
        said = get_var(name) or setting(name)
        value: str = getattr(declared, name, "")
        if said or not value or value.startswith("env://"):
            return said or value
        return str(PROJECT.root / value)

    command = tuple(getattr(declared, "command", ()))
    key = file("key")
    return SigningSettings(
        identity=text("identity") or _registry("prefix", ""),
        key=key,
        password_command=tuple(getattr(declared, "password_command", ())),
        command=() if get_var("key") or setting("key") else command,
        command_reads=getattr(declared, "command_reads", "payload"),
        public_key=file("public_key"),
        gpg_key=text("gpg_key"),
        gpg_home=file("gpg_home"),
        builder=text("builder"),
        invocation=text("invocation"),
        started=text("started"),
        finished=text("finished"),
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


def _registry(name: str, otherwise: T) -> T:
    """Return a setting of the declaration's table `[registry]`, which says what is pushed."""
    value: T = getattr(getattr(PROJECT.declaration, "registry", None), name, otherwise)
    return value


def index_references(plans: tuple[ImagePlan, ...]) -> tuple[str, ...]:
    """Return the names that an index is going to be pulled by, moving tags among them."""
    plan = plans[0]
    releases = [p[0].release for p in PROJECT.plan.references().values() if p[0].name == plan.name]
    tags = tags_of(plan.release, releases, tuple(_registry("moving_tags", ())))
    return settings().references(plan.reference, tags)


def image_references(plan: ImagePlan) -> tuple[str, ...]:
    """Return the names that an image for one platform is going to be pulled by: its index's.

    And its own, if platforms get tags of their own.
    """
    own = image_reference(plan) if _registry("platform_tags", otherwise=False) else plan.reference
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


class Removal:
    """Removes outputs; a class so that doit can say what it does."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def __str__(self) -> str:
        return f"<remove {beside_output(self._folder)}"

    def __call__(self, dryrun: bool) -> None:  # noqa: FBT001  - doit's name
        """Remove them."""
        if not dryrun:
            shutil.rmtree(beside_output(self._folder), ignore_errors=True)
