"""Stage `sbom`: what is in an image, as SPDX and as CycloneDX.

packages ─► sha1 of each file (once a package) ─┐
tree, layers, lock ─────────────────────────────┼─► Sbom (pure) ─► documents, and statements
                                                ┘
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.formats import canonical_json
from pipeline.formats.digest import CHUNK, Digest
from pipeline.host.store import Blob, Record
from pipeline.host.toolchain import code_digest
from pipeline.oci.image import rfc3339
from pipeline.stages.attest import Content, put_artifact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from pipeline.attest.sbom import Sbom, SbomFile, SbomLayer, SbomPackage
    from pipeline.declaration import Declaration
    from pipeline.formats.mtree import Entry
    from pipeline.host.store import Store
    from pipeline.oci.descriptor import Descriptor
    from pipeline.pkg.lockfile import LockedPackage
    from pipeline.pkg.manifest import PackageManifest
    from pipeline.stages.attest import Document, Target
    from pipeline.stages.image import NamedLayer
    from pipeline.stages.package import PackageResult
    from pipeline.stages.plan import ImagePlan
    from pipeline.stages.tree import TreeResult

STAGE: Final = "sbom"
SUMS_STAGE: Final = "sums"

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
        "vendor": _vendor(plan, declaration),
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


def _vendor(plan: ImagePlan, declaration: Declaration) -> str:
    return {**declaration.annotations, **plan.image.annotations}.get(_VENDOR, "")


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

        # (1) what is in it
        sbom = _Reader(image, packages(), store).sbom(declaration)
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


# ---------------------------------------------------------------- sums


def file_sums(package: PackageResult, *, store: Store) -> Mapping[str, str]:
    """Return sha1 by sha256 of the contents of a package's files; computed once a package."""

    def make() -> Record:
        lines = []
        with store.open(package.payload.digest) as payload:
            for line in store.read(package.extents.digest).decode().splitlines():
                sha256, offset, size = line.split(" ")
                payload.seek(int(offset))
                lines.append(f"{sha256} {_sha1(payload.read, int(size))}\n")
        return Record(outputs={"sums": store.put("".join(lines).encode())}, facts={})

    inputs: dict[str, object] = {
        "payload": str(package.payload.digest),
        "extents": str(package.extents.digest),
    }
    record = store.memoise(SUMS_STAGE, inputs, make)
    text = store.read(record.outputs["sums"].digest).decode()
    return dict(line.split(" ") for line in text.splitlines())


def _sha1(read: Callable[[int], bytes], size: int) -> str:
    state = hashlib.sha1(usedforsecurity=False)
    while size and (data := read(min(size, CHUNK))):
        state.update(data)
        size -= len(data)
    return state.hexdigest()


# ---------------------------------------------------------------- gathering


class _Reader:
    """Gathers an image's SBOM from the store."""

    def __init__(
        self, image: BuiltImage, unpacked: Mapping[str, PackageResult], store: Store
    ) -> None:
        self._image = image
        self._plan = image.plan
        self._unpacked = unpacked
        self._store = store
        self._sums: dict[str, str] = {}

    def sbom(self, declaration: Declaration) -> Sbom:
        from pipeline.attest.purl import oci_purl  # noqa: PLC0415
        from pipeline.attest.sbom import Sbom  # noqa: PLC0415

        plan, manifest = self._plan, self._image.manifest
        for result in self._unpacked.values():
            self._sums.update(file_sums(result, store=self._store))
        owned, free = self._files()
        name, _, tag = plan.reference.rpartition(":")
        return Sbom(
            name=name,
            tag=tag,
            release=plan.release,
            architecture=plan.platform.architecture,
            purl=oci_purl(
                name.rpartition("/")[2],
                str(manifest.digest),
                arch=plan.platform.architecture,
                tag=tag,
            ),
            manifest=manifest.digest,
            created=rfc3339(plan.epoch),
            format=declaration.format,
            vendor=_vendor(plan, declaration),
            license=plan.image.licenses,
            layers=self._layers(free),
            packages=tuple(sorted(self._packages(owned), key=lambda p: p.name)),
        )

    # ------------------------------------------------------------ files

    def _files(self) -> tuple[dict[str, list[Entry]], dict[str, list[Entry]]]:
        """Return the image's files by owning package and, of no package, by layer."""
        from pipeline.formats.mtree import Kind, parse_spec  # noqa: PLC0415

        picked = dict(self._picked())
        owned: dict[str, list[Entry]] = defaultdict(list)
        free: dict[str, list[Entry]] = defaultdict(list)
        for entry in parse_spec(self._store.read(self._image.trees[-1].tree.digest)):
            if entry.kind is not Kind.FILE:
                continue
            owner = entry.package or picked.get((entry.path, entry.digest), "")
            if owner:
                owned[owner].append(entry)
            else:
                free[self._uppermost[entry.path]].append(entry)
        return owned, free

    @functools.cached_property
    def _uppermost(self) -> Mapping[str, str]:
        """The name of the uppermost layer that has a file, by path."""
        from pipeline.formats.mtree import Kind, parse_spec  # noqa: PLC0415

        found: dict[str, str] = {}
        for plan, tree in zip(self._plan.lineage, self._image.trees, strict=True):
            for name, spec in tree.layers:
                for entry in parse_spec(self._store.read(spec.digest)):
                    if entry.kind is Kind.FILE:
                        found[entry.path] = f"{plan.name} {name}"
        return found

    def _picked(self) -> Iterator[tuple[tuple[str, str], str]]:
        """Yield ((path, sha256), package) of the files taken out of packages not installed."""
        from pipeline.declaration import pattern_regex  # noqa: PLC0415
        from pipeline.formats.mtree import parse_spec  # noqa: PLC0415
        from pipeline.rootfs.picks import pick_entries  # noqa: PLC0415

        only_picked = {package.name for package in self._image.picks()}
        for plan in self._plan.lineage:
            for file in plan.files:
                if file.package in only_picked:
                    spec = parse_spec(self._store.read(self._unpacked[file.package].spec.digest))
                    patterns = [(path, pattern_regex(path)) for path in file.paths]
                    for entry in pick_entries(spec, patterns, to=file.to, what=file.package):
                        yield (entry.path, entry.digest), file.package

    def _sbom_files(self, entries: Iterable[Entry]) -> tuple[SbomFile, ...]:
        from pipeline.attest.sbom import SbomFile  # noqa: PLC0415

        return tuple(
            SbomFile(path=entry.path, sha1=self._sum(entry), sha256=entry.digest)
            for entry in sorted(entries, key=lambda e: e.key)
        )

    def _sum(self, entry: Entry) -> str:
        """Return the sha1 of a file; what no package brings lies in the store by itself."""
        if entry.digest not in self._sums:
            with self._store.open(Digest(entry.digest)) as f:
                self._sums[entry.digest] = _sha1(f.read, entry.size)
        return self._sums[entry.digest]

    def _layers(self, free: Mapping[str, Sequence[Entry]]) -> tuple[SbomLayer, ...]:
        from pipeline.attest.sbom import SbomLayer  # noqa: PLC0415

        return tuple(
            SbomLayer(
                name=name,
                digest=layer.result.blob.digest,
                diff_id=layer.result.diff_id,
                files=self._sbom_files(free.get(name, ())),
            )
            for name, layer in zip(self._image.layer_names(), self._image.layers, strict=True)
        )

    # ------------------------------------------------------------ packages

    @functools.cached_property
    def _manifests(self) -> Mapping[str, PackageManifest]:
        """The manifests of the packages that are installed, by name."""
        return {
            p.name: self._manifest(p.name) for plan in self._plan.lineage for p in plan.packages
        }

    def _manifest(self, name: str) -> PackageManifest:
        from pipeline.pkg.manifest import PackageManifest  # noqa: PLC0415

        return PackageManifest.parse(self._store.read(self._unpacked[name].manifest.digest))

    def _packages(self, owned: Mapping[str, Sequence[Entry]]) -> Iterator[SbomPackage]:
        names = set(self._image.layer_names())
        needs = needed_packages(self._manifests)
        for plan in self._plan.lineage:
            for package in plan.packages:
                layer = f"{plan.name} {plan.layer_of()[package.name]}"
                yield self._package(
                    package,
                    self._manifests[package.name],
                    owned.get(package.name, ()),
                    layer=layer if layer in names else "",
                    depends_on=needs[package.name],
                )
        for package in self._image.picks():
            entries = owned.get(package.name, ())
            if entries:
                yield self._package(
                    package,
                    self._manifest(package.name),
                    entries,
                    layer=self._uppermost[entries[0].path],
                    depends_on=None,
                )

    def _package(
        self,
        package: LockedPackage,
        manifest: PackageManifest,
        entries: Iterable[Entry],
        *,
        layer: str,
        depends_on: tuple[str, ...] | None,
    ) -> SbomPackage:
        """Describe a package; one without dependencies at all is not installed."""
        from pipeline.attest.license import license_of  # noqa: PLC0415
        from pipeline.attest.purl import freebsd_purl  # noqa: PLC0415
        from pipeline.attest.sbom import SbomPackage  # noqa: PLC0415

        return SbomPackage(
            name=package.name,
            version=package.version,
            purl=freebsd_purl(
                package.name, package.version, abi=manifest.abi, origin=package.origin
            ),
            origin=package.origin,
            repository=package.repository,
            comment=_text(manifest.comment),
            description=_text(manifest.desc),
            homepage=_text(manifest.www),
            maintainer=_text(manifest.maintainer),
            license=license_of(manifest.licenses, manifest.licenselogic),
            download=download_url(self._plan, package),
            digest=package.digest,
            layer=layer,
            is_installed=depends_on is not None,
            files=self._sbom_files(entries),
            depends_on=depends_on or (),
        )


def _text(text: str) -> str:
    """Return foreign text as JSON can hold it."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


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


def needed_packages(manifests: Mapping[str, PackageManifest]) -> dict[str, tuple[str, ...]]:
    """Return, for each package of an image, those of the image that it needs. Pure."""
    from pipeline.pkg.depends import (  # noqa: PLC0415
        RequirementKind,
        requirements_of,
        shlibs_provided,
    )

    providers: dict[tuple[RequirementKind, str], set[str]] = defaultdict(set)
    for name, manifest in manifests.items():
        providers[RequirementKind.DEP, name].add(name)
        for shlib in shlibs_provided(manifest):
            providers[RequirementKind.SHLIB, shlib].add(name)
        for feature in manifest.provides:
            providers[RequirementKind.REQUIRES, feature].add(name)
    needs = {}
    for name, manifest in manifests.items():
        found: set[str] = set()
        for requirement in requirements_of(manifest):
            if requirement.kind is RequirementKind.FORMULA:
                found |= {n for n, m in manifests.items() if requirement.is_satisfied_by(m)}
            else:
                found |= providers[requirement.kind, requirement.text]
        needs[name] = tuple(sorted(found - {name}))
    return needs
