"""Stage `sbom`: what is in an image, as SPDX and as CycloneDX.

packages ─► sha1 of each file (once a package) ─┐
tree, layers, lock ─────────────────────────────┼─► Sbom (pure) ─► documents, and statements
                                                ┘
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.formats import canonical_json
from pipeline.formats.digest import Digest
from pipeline.host.store import Blob, Record
from pipeline.host.toolchain import code_digest
from pipeline.stages.attest import Content, put_artifact

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipeline.declaration.tables import Declaration
    from pipeline.host.store import Store
    from pipeline.oci.descriptor import Descriptor
    from pipeline.pkg.lockfile import LockedPackage
    from pipeline.stages.attest import Document, Target
    from pipeline.stages.image import NamedLayer
    from pipeline.stages.package import PackageResult
    from pipeline.stages.plan import ImagePlan
    from pipeline.stages.tree import TreeResult

STAGE: Final = "sbom"

_VENDOR: Final = "org.opencontainers.image.vendor"
_ACCOUNT_RE: Final = re.compile(r"(?<=://)[^/@]*@")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltImage:
    """An image as the stages before this one have made it."""

    plan: ImagePlan
    manifest: Descriptor
    layers: tuple[NamedLayer, ...]
    """All of them, lowest first."""
    trees: tuple[TreeResult, ...]
    """Of its ancestors and its own, oldest first."""

    def layer_names(self) -> tuple[str, ...]:
        """Return a name for each layer: the image that added it, and its name there."""
        return tuple(f"{layer.image} {layer.name}" for layer in self.layers)

    def picks(self) -> tuple[LockedPackage, ...]:
        """Return the packages that only gave files to the image, by name."""
        installed = {p.name for plan in self.plan.lineage for p in plan.packages}
        picks = {p.name: p for plan in self.plan.lineage for p in plan.picks}
        return tuple(picks[name] for name in sorted(picks) if name not in installed)


@dataclass(frozen=True, slots=True, kw_only=True)
class SbomResult:
    """The SBOMs of an image, in the store."""

    spdx: Blob
    cyclonedx: Blob
    statements: tuple[Blob, ...]
    """That each of them is the SBOM of this image."""

    @classmethod
    def from_record(cls, record: Record) -> SbomResult:
        """Read what the store remembers."""
        return cls(
            spdx=record.outputs["spdx"],
            cyclonedx=record.outputs["cyclonedx"],
            statements=(
                record.outputs["spdx statement"],
                record.outputs["cyclonedx statement"],
            ),
        )


def _inputs(image: BuiltImage, declaration: Declaration) -> dict[str, object]:
    plan = image.plan
    return {
        "reference": plan.reference,
        "release": plan.release,
        "platform": plan.platform.to_dict(),
        "abi": plan.target.abi,
        "epoch": plan.epoch,
        "format": declaration.format,
        "vendor": vendor_of(plan, declaration),
        "license": plan.image.licenses,
        "manifest": str(image.manifest.digest),
        "layers": [
            [name, str(layer.result.blob.digest), str(layer.result.diff_id)]
            for name, layer in zip(image.layer_names(), image.layers, strict=True)
        ],
        "trees": [str(tree.tree.digest) for tree in image.trees],
        "installed": [
            [ancestor.name, ancestor.layer_of()[p.name], *_locked(p)]
            for ancestor in plan.lineage
            for p in ancestor.packages
        ],
        "picks": [_locked(p) for p in image.picks()],
        "repositories": [[r.name, r.url] for r in plan.target.repositories],
        "code": code_digest(),
    }


def _locked(package: LockedPackage) -> list[str]:
    return [package.name, str(package.digest), package.repository, package.repopath]


def sbom_inputs(image: BuiltImage, declaration: Declaration) -> str:
    """Return the digest of everything that decides this stage's outputs."""
    return str(Digest.of(canonical_json.dumps(_inputs(image, declaration))))


def recall_sbom(image: BuiltImage, declaration: Declaration, *, store: Store) -> SbomResult | None:
    """Return the SBOMs if they have been written already and still hold."""
    record = store.recall(STAGE, _inputs(image, declaration))
    return None if record is None else SbomResult.from_record(record)


def write_sbom(
    image: BuiltImage,
    declaration: Declaration,
    *,
    packages: Callable[[], Mapping[str, PackageResult]],
    store: Store,
    suspicious: bool = False,
) -> SbomResult:
    """Write the SBOMs of an image.

    Args:
        image: the image.
        declaration: what it is declared in.
        packages: unpacked packages by name, of the whole lineage; asked only if there is work.
        store: holds everything.
        suspicious: believe no earlier result without hashing it.
    """

    def make() -> Record:
        from pipeline.attest.sbom_cyclonedx import to_cyclonedx  # noqa: PLC0415  - where work is
        from pipeline.attest.sbom_spdx import to_spdx  # noqa: PLC0415
        from pipeline.attest.statement import (  # noqa: PLC0415
            PredicateType,
            Statement,
            Subject,
        )
        from pipeline.stages.sbom_reader import SbomReader  # noqa: PLC0415

        # (1) what is in it
        sbom = SbomReader(image, packages(), store).sbom(declaration)
        # (2) in both formats, each with a statement that it belongs to the image
        subject = Subject(image.manifest.digest, sbom.name)
        outputs = {}
        for name, kind, document in (
            ("spdx", PredicateType.SPDX, to_spdx(sbom)),
            ("cyclonedx", PredicateType.CYCLONEDX, to_cyclonedx(sbom)),
        ):
            statement = Statement(
                subjects=(subject,),
                predicate_type=kind,
                predicate=canonical_json.loads_object(document),
            )
            outputs[name] = store.put(document)
            outputs[f"{name} statement"] = store.put(statement.to_bytes())
        return Record(outputs=outputs, facts={})

    inputs = _inputs(image, declaration)
    return SbomResult.from_record(store.memoise(STAGE, inputs, make, suspicious=suspicious))


def sbom_documents(target: Target, result: SbomResult, *, store: Store) -> tuple[Document, ...]:
    """Return the SBOMs as artifacts of an image, for tools that want the plain document."""
    from pipeline.attest import sbom_cyclonedx, sbom_spdx  # noqa: PLC0415  - where work is

    name = target.name.replace(":", "-").replace("/", "-")
    return tuple(
        put_artifact(
            target,
            f"sbom.{short}",
            [Content(blob=blob, media_type=media_type, title=f"{name}{ending}")],
            artifact_type=media_type,
            annotations={"org.opencontainers.image.created": target.created},
            store=store,
        )
        for short, blob, media_type, ending in (
            ("spdx", result.spdx, sbom_spdx.MEDIA_TYPE, ".spdx.json"),
            ("cyclonedx", result.cyclonedx, sbom_cyclonedx.MEDIA_TYPE, ".cdx.json"),
        )
    )


# ---------------------------------------------------------------- what may be published


def vendor_of(plan: ImagePlan, declaration: Declaration) -> str:
    """Return who publishes an image, as its annotations say; empty where they do not."""
    return {**declaration.annotations, **plan.image.annotations}.get(_VENDOR, "")


def download_url(plan: ImagePlan, package: LockedPackage) -> str:
    """Return where an archive can be had, without credentials; empty for a local repository."""
    for repository in plan.target.repositories:
        if repository.name == package.repository:
            url = public_url(repository.url)
            return f"{url}/{package.repopath}" if url.startswith("http") else ""
    return ""


def public_url(url: str) -> str:
    """Return a repository's URL as it may be published: plain https, no account in it.

    By hand: what urllib makes of a relative `file:` URL differs between versions of Python.
    """
    return _ACCOUNT_RE.sub("", url.removeprefix("pkg+"), count=1)
