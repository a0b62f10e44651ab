"""Stage `provenance`: how an image came about, and the files that it can be rebuilt from.

1. The definition: declaration, lock, target, every package, the catalogues and the keys they were
   accepted by, what was computed or skipped in place of scripts. It reproduces.
2. The statement: the definition, and who built (docs/provenance.md).
3. The lock artifact: declaration and lock themselves, as a referrer of the image; with them anybody
   rebuilds the image from its digest.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pipeline
from pipeline.attest.provenance import Definition, Resource, provenance_statement
from pipeline.attest.purl import freebsd_purl
from pipeline.attest.statement import Subject
from pipeline.errors import ConfigurationError, LayoutError
from pipeline.formats import canonical_json
from pipeline.formats.digest import Digest
from pipeline.formats.fields import get_as
from pipeline.host.store import Blob, Record
from pipeline.host.toolchain import code_digest, encoder_version
from pipeline.oci.descriptor import Descriptor, get_descriptors, string_map
from pipeline.stages.attest import TITLE, Content, put_artifact
from pipeline.stages.image import FORMAT_LABEL
from pipeline.stages.sbom import download_url, public_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pipeline.attest.provenance import Run
    from pipeline.declaration.tables import Declaration
    from pipeline.host.store import Store
    from pipeline.pkg.lockfile import LockedPackage
    from pipeline.stages.attest import Document, Target
    from pipeline.stages.plan import ImagePlan
    from pipeline.stages.sbom import BuiltImage

STAGE: Final = "provenance"

LOCK_TYPE: Final = "application/vnd.pkgbase-oci.lock.v1"
"""artifactType of what holds declaration and lock."""
DECLARATION_TYPE: Final = "application/toml"
LOCKFILE_TYPE: Final = "application/vnd.pkgbase-oci.lockfile.v1+json"
DECLARATION_NAME: Final = "images.toml"
LOCKFILE_NAME: Final = "images.lock.json"
TARGET_LABEL: Final = "org.pkgbase-oci.target"
"""`release:image` of an index, `release:architecture:image` of a manifest: what to build."""

_DATABASE: Final = "var/db/pkg/local.sqlite"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The two files that decide everything, as they are, and who builds."""

    declaration: bytes
    lock: bytes
    run: Run

    def resources(self) -> tuple[Resource, ...]:
        """Describe them."""
        return (
            Resource(
                name=DECLARATION_NAME,
                digest=Digest.of(self.declaration),
                media_type=DECLARATION_TYPE,
            ),
            Resource(name=LOCKFILE_NAME, digest=Digest.of(self.lock), media_type=LOCKFILE_TYPE),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenanceResult:
    """The provenance of an image, in the store."""

    definition: Blob
    """What every builder of the image must have the same."""
    statement: Blob

    @classmethod
    def from_record(cls, record: Record) -> ProvenanceResult:
        """Read what the store remembers."""
        return cls(definition=record.outputs["definition"], statement=record.outputs["statement"])


# ---------------------------------------------------------------- one platform


def _inputs(image: BuiltImage, declaration: Declaration, sources: Sources) -> dict[str, object]:
    return {
        "name": image.plan.reference,
        "target": str(image.plan),
        "format": declaration.format,
        "sources": [resource.to_dict() for resource in sources.resources()],
        "manifest": str(image.manifest.digest),
        "trees": [str(tree.tree.digest) for tree in image.trees],
        "states": [str(tree.state.digest) for tree in image.trees],
        "layers": [str(layer.result.diff_id) for layer in image.layers],
        "run": sources.run.to_dict(),
        "code": code_digest(),
    }


def provenance_inputs(target: Target, sources: Sources) -> str:
    """Return the digest of what decides the provenance of an image that is there."""
    value = {
        "target": target.inputs(),
        "sources": [resource.to_dict() for resource in sources.resources()],
        "run": sources.run.to_dict(),
        "code": code_digest(),
    }
    return str(Digest.of(canonical_json.dumps(value)))


def recall_provenance(
    image: BuiltImage, declaration: Declaration, sources: Sources, *, store: Store
) -> ProvenanceResult | None:
    """Return the provenance if it has been written already and still holds."""
    record = store.recall(STAGE, _inputs(image, declaration, sources))
    return None if record is None else ProvenanceResult.from_record(record)


def write_provenance(
    image: BuiltImage,
    declaration: Declaration,
    sources: Sources,
    *,
    store: Store,
    suspicious: bool = False,
) -> ProvenanceResult:
    """Write the provenance of an image for one platform.

    Args:
        image: the image.
        declaration: what it is declared in.
        sources: the files, and the builder.
        store: holds everything.
        suspicious: believe no earlier result without hashing it.
    """

    def make() -> Record:
        definition = image_definition(image, declaration, sources, store=store)
        name = image.plan.reference.rpartition(":")[0]
        subjects = (Subject(image.manifest.digest, name),)
        return _record(definition, subjects, sources.run, store=store)

    inputs = _inputs(image, declaration, sources)
    return ProvenanceResult.from_record(store.memoise(STAGE, inputs, make, suspicious=suspicious))


def _record(
    definition: Definition, subjects: tuple[Subject, ...], run: Run, *, store: Store
) -> Record:
    statement = provenance_statement(subjects, definition.to_dict(), run)
    return Record(
        outputs={
            "definition": store.put(definition.to_bytes()),
            "statement": store.put(statement.to_bytes()),
        },
        facts={},
    )


def image_definition(
    image: BuiltImage, declaration: Declaration, sources: Sources, *, store: Store
) -> Definition:
    """Say what an image was built from, and how."""
    plan = image.plan
    return Definition(
        external=_external(
            sources,
            {
                "release": plan.release,
                "architecture": plan.architecture,
                "image": plan.name,
            },
        ),
        internal={
            **_internal(plan, declaration),
            "inPlaceOfScripts": [
                {"image": ancestor.name, **_state(tree.state, store)}
                for ancestor, tree in zip(plan.lineage, image.trees, strict=True)
            ],
        },
        dependencies=(*sources.resources(), *_catalogues(plan), *_packages(plan)),
        byproducts=tuple(_byproducts(image, store)),
    )


def _external(sources: Sources, target: Mapping[str, object]) -> dict[str, object]:
    declaration, lock = sources.resources()
    return {"declaration": declaration.to_dict(), "lock": lock.to_dict(), "target": target}


def _internal(plan: ImagePlan, declaration: Declaration) -> dict[str, object]:
    compression = declaration.compression
    return {
        "format": declaration.format,
        "sourceDateEpoch": plan.epoch,
        "compression": {
            "algorithm": compression.algorithm,
            "level": compression.effective_level,
        },
    }


def _state(state: Blob, store: Store) -> dict[str, object]:
    return canonical_json.loads_object(store.read(state.digest))


def _catalogues(plan: ImagePlan) -> Iterator[Resource]:
    for repository in plan.target.repositories:
        url = public_url(repository.url)
        is_public = url.startswith("http")
        yield Resource(
            name=f"catalogue of {repository.name}",
            digest=repository.catalogue_digest,
            uri=f"{url}/{repository.catalogue_path}",
            download=f"{url}/{repository.catalogue_path}" if is_public else "",
            annotations={
                "signatureType": repository.signature_type,
                "acceptedKey": repository.fingerprint,
            },
        )


def _packages(plan: ImagePlan) -> Iterator[Resource]:
    """Describe every archive that the image needs, by name."""
    installed = {p.name: p for ancestor in plan.lineage for p in ancestor.packages}
    picked = {p.name: p for ancestor in plan.lineage for p in ancestor.picks}
    for name in sorted({*installed, *picked}):
        uses = ["installed"] * (name in installed) + ["files"] * (name in picked)
        yield _package(plan, installed.get(name) or picked[name], uses)


def _package(plan: ImagePlan, package: LockedPackage, uses: Sequence[str]) -> Resource:
    return Resource(
        name=f"{package.name}-{package.version}",
        digest=package.digest,
        uri=freebsd_purl(package.name, package.version, abi=plan.target.abi, origin=package.origin),
        download=download_url(plan, package),
        annotations={
            "origin": package.origin,
            "repository": package.repository,
            "path": package.repopath,
            "use": list(uses),
        },
    )


def _byproducts(image: BuiltImage, store: Store) -> Iterator[Resource]:
    """Describe what is in the image and worth comparing by itself."""
    from pipeline.formats.mtree import parse_spec  # noqa: PLC0415  - only where there is work

    for name, layer in zip(image.layer_names(), image.layers, strict=True):
        yield Resource(name=f"layer {name}, uncompressed", digest=layer.result.diff_id)
    tree = image.trees[-1].tree
    yield Resource(name="mtree(5) of the image", digest=tree.digest)
    for entry in parse_spec(store.read(tree.digest)):
        if entry.path == _DATABASE:
            yield Resource(name=f"/{_DATABASE}", digest=Digest(entry.digest))


# ---------------------------------------------------------------- the index


def write_index_provenance(
    target: Target,
    images: Sequence[BuiltImage],
    declaration: Declaration,
    sources: Sources,
    *,
    store: Store,
) -> ProvenanceResult:
    """Write the provenance of an index: what it is over. Small, so nothing is remembered."""
    plan = images[0].plan
    definition = Definition(
        external=_external(sources, {"release": plan.release, "image": plan.name}),
        internal=_internal(plan, declaration),
        dependencies=(
            *sources.resources(),
            *(
                Resource(
                    name=f"{image.plan.reference} {image.plan.platform}",
                    digest=image.manifest.digest,
                    media_type=str(image.manifest.media_type),
                )
                for image in images
            ),
        ),
        byproducts=(),
    )
    subjects = (Subject(target.digest, target.repository),)
    return ProvenanceResult.from_record(_record(definition, subjects, sources.run, store=store))


# ---------------------------------------------------------------- the lock travels


def lock_document(
    target: Target, build_target: str, sources: Sources, *, format_number: int, store: Store
) -> Document:
    """Return the artifact that an image can be rebuilt from.

    Args:
        target: the image or index.
        build_target: what to build, `release:architecture:image` or `release:image`.
        sources: declaration and lock.
        format_number: of the output format.
        store: holds everything.
    """
    return put_artifact(
        target,
        "artifact.lock",
        [
            Content(
                blob=store.put(sources.declaration),
                media_type=DECLARATION_TYPE,
                title=DECLARATION_NAME,
            ),
            Content(blob=store.put(sources.lock), media_type=LOCKFILE_TYPE, title=LOCKFILE_NAME),
        ],
        artifact_type=LOCK_TYPE,
        annotations={
            "org.opencontainers.image.created": target.created,
            FORMAT_LABEL: str(format_number),
            TARGET_LABEL: build_target,
        },
        store=store,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LockArtifact:
    """What a lock artifact says of itself; the files are its blobs."""

    build_target: str
    """`release:architecture:image` or `release:image`."""
    format_number: int
    subject: Digest
    declaration: Descriptor
    lock: Descriptor


def parse_lock_artifact(raw: bytes) -> LockArtifact:
    """Read the manifest of a lock artifact; the inverse of `lock_document`.

    Raises:
        LayoutError: it is none.
    """
    d = canonical_json.loads_object(raw, error=LayoutError)
    kind = d.get("artifactType")
    if kind != LOCK_TYPE:
        raise LayoutError(f"got {kind!r}, want {LOCK_TYPE}", context="artifactType")
    annotations = string_map(d, "annotations")
    layers = {layer.annotations.get(TITLE): layer for layer in get_descriptors(d, "layers")}
    missing = [name for name in (DECLARATION_NAME, LOCKFILE_NAME) if name not in layers]
    missing += [label for label in (FORMAT_LABEL, TARGET_LABEL) if label not in annotations]
    if missing:
        raise LayoutError(f"{missing[0]!r} is missing", context="lock artifact")
    number = annotations[FORMAT_LABEL]
    if not number.isascii() or not number.isdigit():
        raise LayoutError(f"got format {number[:20]!r}, want a number", context="annotations")
    return LockArtifact(
        build_target=annotations[TARGET_LABEL],
        format_number=int(number),
        subject=get_as(d, dict, Descriptor.from_dict, "subject", error=LayoutError).digest,
        declaration=layers[DECLARATION_NAME],
        lock=layers[LOCKFILE_NAME],
    )


def builder_version(declaration: Declaration) -> dict[str, str]:
    """Return what of this installation may be worth knowing; none of it decides bytes."""
    return {
        "pkgbase-oci": pipeline.__version__,
        "python": platform.python_version(),
        "encoder": encoder_version(declaration.compression.algorithm),
    }


def check_publishable(declaration: Declaration) -> None:
    """Raise ConfigurationError if the declaration has an account in it: it is published."""
    for name, repository in declaration.repositories.items():
        if repository.has_account:
            raise ConfigurationError(
                f"repositories.{name}.url has an account in it, and the declaration is published"
                " with the image",
                hint="leave the account out of the URL",
            )
