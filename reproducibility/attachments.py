"""What is said of images, as a build leaves it beside them: SBOM, provenance, lock.

| | compared |
|---|---|
| `build/sbom/*.spdx.json`, `*.cdx.json` | as they are |
| `build/provenance/*.definition.json` | as they are |
| `build/provenance/*.provenance.json` | the part that reproduces, without who built |
| `build/attest`, SBOMs and locks as artifacts | their manifests |

Everything else in `build/attest` is signed, and signatures differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.attest import sbom_cyclonedx, sbom_spdx
from pipeline.attest.provenance import reproducible_part
from pipeline.attest.statement import PAYLOAD_TYPE, Statement
from pipeline.errors import ConfigurationError, FormatError
from pipeline.formats.digest import Digest
from pipeline.host.layout import Layout, beside
from pipeline.oci.media_type import MediaType
from pipeline.stages.provenance import check_publishable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from pipeline.oci.descriptor import Descriptor
    from pipeline.stages.plan import ImagePlan, Plan
    from pipeline.tasks.project import Project

SBOM: Final = "sbom"
PROVENANCE: Final = "provenance"
"""Tasks, and folders."""
ATTEST: Final = "attest"
FOLDERS: Final = (SBOM, PROVENANCE, ATTEST)
"""Beside the layout of images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of document about images."""

    task: str
    """Who makes it."""
    ending: str
    """Of its file's name, or of its name in the layout of attestations."""
    media_type: str
    artifact: str = ""
    """What it is called; empty for a file."""
    is_statement: bool = False
    """Whether only a part of it reproduces."""
    follows: str = ""
    """Ending of the document that it repeats or refers to, and differs with."""
    is_of_indexes: bool = False
    """Whether there is one for an index as well."""


_IN_TOTO: Final = PAYLOAD_TYPE
_JSON: Final = "application/json"
KINDS: Final = (
    Kind(task=SBOM, ending=".spdx.json", media_type=sbom_spdx.MEDIA_TYPE),
    Kind(task=SBOM, ending=".cdx.json", media_type=sbom_cyclonedx.MEDIA_TYPE),
    Kind(
        task=SBOM,
        ending=".sbom.spdx",
        media_type=MediaType.MANIFEST,
        artifact="SPDX artifact",
        follows=".spdx.json",
    ),
    Kind(
        task=SBOM,
        ending=".sbom.cyclonedx",
        media_type=MediaType.MANIFEST,
        artifact="CycloneDX artifact",
        follows=".cdx.json",
    ),
    Kind(task=PROVENANCE, ending=".definition.json", media_type=_JSON, is_of_indexes=True),
    Kind(
        task=PROVENANCE,
        ending=".provenance.json",
        media_type=_IN_TOTO,
        is_statement=True,
        follows=".definition.json",
        is_of_indexes=True,
    ),
    Kind(
        task=PROVENANCE,
        ending=".artifact.lock",
        media_type=MediaType.MANIFEST,
        artifact="lock artifact",
        is_of_indexes=True,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A document about an image, as a build has left it."""

    kind: Kind
    image: str
    """Name of the index."""
    platform: str
    """`freebsd/amd64`; empty if it is about the index."""
    task: str
    """`sbom:15.0:amd64:static`."""
    name: str
    path: Path
    digest: str
    """Of what is compared."""
    size: int

    @property
    def key(self) -> tuple[str, str, str]:
        """What it has in common with that of another build."""
        return self.image, self.platform, self.kind.ending

    def read(self) -> bytes:
        """Return what is compared."""
        return _compared(self.kind, self.path)


def said_of(project: Project) -> tuple[tuple[str, ...], str]:
    """Return the tasks that say something of a project's images, and why one of them cannot."""
    try:
        check_publishable(project.declaration)
    except ConfigurationError as e:
        return (SBOM,), f"provenance is not compared: {e}"
    return (SBOM, PROVENANCE), ""


def wanted_keys(plan: Plan, tasks: Collection[str]) -> frozenset[tuple[str, str, str]]:
    """Return the keys of everything that some tasks say of the images there are."""
    keys = set()
    for reference, plans in plan.references().items():
        for kind in KINDS:
            if kind.task in tasks:
                keys |= {(reference, str(image.platform), kind.ending) for image in plans}
                keys |= {(reference, "", kind.ending)} if kind.is_of_indexes else set()
    return frozenset(keys)


def read_attachments(plan: Plan, output: Path) -> tuple[Attachment, ...]:
    """Read what a build has left beside its layout of images; what is not there is left out.

    Args:
        plan: what there was to build.
        output: the layout.

    Raises:
        PipelineError: a layout or a document is none.
    """
    return tuple(_Reader(output).attachments(plan))


def said_digests(attachments: Iterable[Attachment]) -> dict[tuple[str, str, str], str]:
    """Return the digest of each document by its key."""
    return {attachment.key: attachment.digest for attachment in attachments}


class _Reader:
    def __init__(self, output: Path) -> None:
        self._output = output
        self._attest = Layout(beside(output, ATTEST))
        self._images = Layout(output).references()
        self._artifacts = self._attest.references()

    def attachments(self, plan: Plan) -> Iterator[Attachment]:
        for reference, plans in plan.references().items():
            for image in plans:
                yield from self._of(reference, f"{reference}-{image.architecture}", image)
            yield from self._of(reference, reference, plans[0], is_index=True)

    def _of(
        self, reference: str, name: str, image: ImagePlan, *, is_index: bool = False
    ) -> Iterator[Attachment]:
        for kind in KINDS:
            if is_index and not kind.is_of_indexes:
                continue
            path = self._path(kind, name)
            if path is None or not path.is_file():
                continue
            data = _compared(kind, path)
            yield Attachment(
                kind=kind,
                image=reference,
                platform="" if is_index else str(image.platform),
                task=f"{kind.task}:{f'{image.release}:{image.name}' if is_index else image}",
                name=kind.artifact or path.name,
                path=path,
                digest=str(Digest.of(data)),
                size=len(data),
            )

    def _path(self, kind: Kind, name: str) -> Path | None:
        """Return where a document is, or would be; None if nothing says so."""
        if not kind.artifact:
            file = name.replace("/", "-").replace(":", "-") + kind.ending
            return beside(self._output, kind.task) / file
        found = _artifact(self._images, self._artifacts, name, kind.ending)
        return None if found is None else self._attest.path(found.digest)


def _artifact(
    images: Mapping[str, Descriptor], artifacts: Mapping[str, Descriptor], name: str, ending: str
) -> Descriptor | None:
    """Find what refers to an image, by its name in the layout of attestations."""
    image = images.get(name)
    if image is None:
        return None
    return artifacts.get(f"{name.rpartition(':')[0]}:sha256-{image.digest.hex}{ending}")


def _compared(kind: Kind, path: Path) -> bytes:
    data = path.read_bytes()
    if not kind.is_statement:
        return data
    try:
        return reproducible_part(Statement.parse(data))
    except FormatError as e:
        raise e.in_document(str(path)) from None
