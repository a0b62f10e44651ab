"""What an SBOM says, read out of the store: `stages.sbom` writes it down."""

from __future__ import annotations

import functools
import hashlib
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from pipeline.attest.license import license_of
from pipeline.attest.purl import freebsd_purl, oci_purl
from pipeline.attest.sbom import Sbom, SbomFile, SbomLayer, SbomPackage
from pipeline.declaration.patterns import pattern_regex
from pipeline.formats.digest import CHUNK, Digest
from pipeline.formats.mtree import Kind, parse_spec
from pipeline.host.store import Record
from pipeline.oci.image import rfc3339
from pipeline.pkg.depends import RequirementKind, requirements_of, shlibs_provided
from pipeline.pkg.manifest import PackageManifest
from pipeline.rootfs.picks import pick_entries
from pipeline.stages.sbom import download_url, vendor_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from pipeline.declaration.tables import Declaration
    from pipeline.formats.mtree import Entry
    from pipeline.host.store import Store
    from pipeline.pkg.lockfile import LockedPackage
    from pipeline.stages.package import PackageResult
    from pipeline.stages.sbom import BuiltImage

SUMS_STAGE: Final = "sums"


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


class SbomReader:
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
        """Return all of it."""
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
            vendor=vendor_of(plan, declaration),
            license=plan.image.licenses,
            layers=self._layers(free),
            packages=tuple(sorted(self._packages(owned), key=lambda p: p.name)),
        )

    # ------------------------------------------------------------ files

    def _files(self) -> tuple[dict[str, list[Entry]], dict[str, list[Entry]]]:
        """Return the image's files by owning package and, of no package, by layer."""
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
        found: dict[str, str] = {}
        for plan, tree in zip(self._plan.lineage, self._image.trees, strict=True):
            for name, spec in tree.layers:
                for entry in parse_spec(self._store.read(spec.digest)):
                    if entry.kind is Kind.FILE:
                        found[entry.path] = f"{plan.name} {name}"
        return found

    def _picked(self) -> Iterator[tuple[tuple[str, str], str]]:
        """Yield ((path, sha256), package) of the files taken out of packages not installed."""
        only_picked = {package.name for package in self._image.picks()}
        for plan in self._plan.lineage:
            for file in plan.files:
                if file.package in only_picked:
                    spec = parse_spec(self._store.read(self._unpacked[file.package].spec.digest))
                    patterns = [(path, pattern_regex(path)) for path in file.paths]
                    for entry in pick_entries(spec, patterns, to=file.to, what=file.package):
                        yield (entry.path, entry.digest), file.package

    def _sbom_files(self, entries: Iterable[Entry]) -> tuple[SbomFile, ...]:
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


def needed_packages(manifests: Mapping[str, PackageManifest]) -> dict[str, tuple[str, ...]]:
    """Return, for each package of an image, those of the image that it needs. Pure."""
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
