"""The parts of an image, read out of the store: what `rootfs.compose` works on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.declaration.patterns import pattern_regex
from pipeline.declaration.tables import MTREE_PACKAGE, MTREE_PLACES
from pipeline.errors import DeclarationError, FormatError
from pipeline.formats import mtree
from pipeline.formats.digest import Digest
from pipeline.formats.mtree import Kind
from pipeline.pkg.effects import (
    ByteOrder,
    CapMkdb,
    CertctlForm,
    CertctlRehash,
    Ldconfig,
    PwdMkdb,
    ServicesMkdb,
)
from pipeline.pkg.localdb import InstalledPackage, config_content
from pipeline.pkg.localdb_schema import DEFAULT_SCHEMA
from pipeline.pkg.manifest import PackageManifest
from pipeline.pkg.scripts import recognise
from pipeline.pkg.triggers import (
    DeferredTrigger,
    SkippedTrigger,
    handle_triggers,
    touched_directories,
    trigger_phase,
)
from pipeline.rootfs.compose import (
    AccountPart,
    DistPart,
    ImageParts,
    PackagePart,
    PickPart,
    WrittenPart,
)
from pipeline.rootfs.picks import pick_entries, written_entry
from pipeline.rootfs.state import Base

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.declaration.tables import Declaration, File
    from pipeline.formats.mtree import Entry
    from pipeline.host.store import Store
    from pipeline.pkg.effects import Effect
    from pipeline.stages.content import ContentSource
    from pipeline.stages.package import PackageResult
    from pipeline.stages.plan import ImagePlan
    from pipeline.stages.tree import TreeResult


class PartsReader:
    """Gathers the parts of one image from the store."""

    def __init__(
        self,
        plan: ImagePlan,
        unpacked: Mapping[str, PackageResult],
        content: ContentSource,
        store: Store,
    ) -> None:
        self._plan = plan
        self._unpacked = unpacked
        self._content = content
        self._store = store
        self._specs: dict[str, tuple[Entry, ...]] = {}

    def _spec(self, name: str) -> tuple[Entry, ...]:
        if name not in self._specs:
            blob = self._unpacked[name].spec
            self._specs[name] = mtree.parse_spec(self._store.read(blob.digest))
        return self._specs[name]

    def _manifest(self, name: str) -> PackageManifest:
        return PackageManifest.parse(self._store.read(self._unpacked[name].manifest.digest))

    def parts(
        self, declaration: Declaration, parent: TreeResult | None
    ) -> tuple[ImageParts, dict[str, object]]:
        """Return the parts, and the report on what stands in for scripts."""
        plan = self._plan
        manifests = {
            p.name: self._manifest(p.name) for ancestor in plan.lineage for p in ancestor.packages
        }
        layer_of = plan.layer_of()
        skips = {s.digest: s.reason for s in plan.image.skip if s.digest}
        reports: list[dict[str, object]] = []
        packages = []
        for package in plan.packages:
            manifest = manifests[package.name]
            scripts = recognise(manifest, skip=skips)
            reports.extend({"package": manifest.name_version, **s.to_dict()} for s in scripts)
            packages.append(
                PackagePart(
                    manifest=manifest,
                    entries=self._spec(package.name),
                    layer=layer_of[package.name],
                    effects=tuple(effect for script in scripts for effect in script.effects),
                )
            )
        base = Base(
            major=int(plan.release.partition(".")[0]),
            little_endian=True,
            library_path=tuple(
                path for ancestor in plan.lineage for path in ancestor.image.library_path
            ),
        )
        effects = _declared_effects(plan.image.effects, base)
        triggers = self._triggers(manifests)
        return (
            ImageParts(
                name=plan.name,
                parent_name=plan.parent.name if plan.parent else "",
                parent=() if parent is None else self._parent(parent),
                epoch=plan.epoch,
                base=base,
                keep_flags=plan.image.keep_flags,
                layers=plan.layers(),
                dists=self._dists(),
                packages=tuple(packages),
                picks=self._picks(),
                written=self._written(),
                accounts=self._accounts(),
                effects=effects,
                triggers=tuple(
                    _deferred_part(t) for t in triggers if isinstance(t, DeferredTrigger)
                ),
                installed=self._installed(manifests),
                pkg_schema=declaration.pkg_schema or DEFAULT_SCHEMA,
            ),
            {
                "declared": [effect.to_dict() for effect in effects],
                "scripts": reports,
                "triggers": [trigger.to_dict() for trigger in triggers],
            },
        )

    def _triggers(
        self, manifests: Mapping[str, PackageManifest]
    ) -> tuple[DeferredTrigger | SkippedTrigger, ...]:
        """Return what becomes of the triggers of the whole line, for all that it installs."""
        files = {
            f"/{entry.path}": self._content.read(entry)
            for name in manifests
            for entry in self._spec(name)
            if entry.kind is Kind.FILE and trigger_phase(f"/{entry.path}") is not None
        }
        skips = {
            skip.trigger: skip.reason
            for ancestor in self._plan.lineage
            for skip in ancestor.image.skip
            if skip.trigger
        }
        touched = touched_directories(manifests.values())
        return handle_triggers(files, touched, skip=skips)

    def _parent(self, parent: TreeResult) -> tuple[Entry, ...]:
        return mtree.parse_spec(self._store.read(parent.tree.digest))

    def _dists(self) -> tuple[DistPart, ...]:
        result = []
        for name in self._plan.image.mtree:
            path = f"etc/mtree/BSD.{name}.dist"
            found = [e for e in self._spec(MTREE_PACKAGE) if e.path == path]
            if not found:
                raise DeclarationError(
                    f"package {MTREE_PACKAGE} has no /{path}",
                    context=f"images.{self._plan.name}.mtree",
                )
            try:
                directories = mtree.parse_dist(self._content.read(found[0]))
            except FormatError as e:
                raise e.within(f"/{path}") from None
            result.append(
                DistPart(name=f"/{path}", place=MTREE_PLACES[name], directories=directories)
            )
        return tuple(result)

    def _picks(self) -> tuple[PickPart, ...]:
        result = []
        for i, file in enumerate(self._plan.files):
            if not file.package:
                continue
            patterns = [(path, pattern_regex(path)) for path in file.paths]
            try:
                entries = pick_entries(
                    self._spec(file.package), patterns, to=file.to, what=file.package
                )
            except DeclarationError as e:
                raise e.within(f"images.{self._plan.name}.files[{i}]") from None
            result.append(PickPart(package=file.package, entries=entries))
        return tuple(result)

    def _written(self) -> tuple[WrittenPart, ...]:
        return tuple(
            _written_part(file, f"images.{self._plan.name}.files[{i}]")
            for i, file in enumerate(self._plan.files)
            if not file.package
        )

    def _accounts(self) -> tuple[AccountPart, ...]:
        return tuple(
            AccountPart(
                name=a.name,
                uid=a.uid,
                gid=a.gid,
                groups=tuple(a.groups),
                comment=a.comment,
                home=a.home,
                shell=a.shell,
            )
            for a in self._plan.accounts
        )

    def _installed(self, manifests: Mapping[str, PackageManifest]) -> tuple[InstalledPackage, ...]:
        plan = self._plan
        asked = plan.asked_for()
        return tuple(
            InstalledPackage(
                manifest=manifests[package.name],
                automatic=package.name not in asked,
                locked=False,
                time=plan.epoch,
                repository=package.repository,
                manifestdigest=package.manifestdigest,
                config=self._config(package.name),
            )
            for ancestor in plan.lineage
            for package in ancestor.packages
        )

    def _config(self, name: str) -> tuple[tuple[str, str], ...]:
        return tuple(
            (path, config_content(self._content.read_digest(digest, size)))
            for path, digest, size in self._unpacked[name].config
        )


def _written_part(file: File, source: str) -> WrittenPart:
    content = (file.text or "").encode()
    mode = int(file.mode, 8) if file.mode else 0o755 if file.directory or file.link else 0o644
    entry = written_entry(
        file.path,
        digest=Digest.of(content).hex if file.text is not None else "",
        size=len(content),
        link=file.link,
        directory=file.directory,
        mode=mode,
        user=file.owner,
        group=file.group,
        mtime=0,
    )
    return WrittenPart(source=source, entry=entry, content=content)


def _deferred_part(trigger: DeferredTrigger) -> WrittenPart:
    entry = written_entry(
        trigger.path,
        digest=Digest.of(trigger.content).hex,
        size=len(trigger.content),
        mode=0o644,
        user=0,
        group=0,
        mtime=0,
    )
    return WrittenPart(source=f"trigger {trigger.trigger}", entry=entry, content=trigger.content)


def _declared_effects(names: Sequence[Any], base: Base) -> tuple[Effect, ...]:
    c_certctl = 15
    form = CertctlForm.C if base.major >= c_certctl else CertctlForm.SHELL
    known: dict[str, Effect] = {
        "pwd_mkdb": PwdMkdb(),
        "services_mkdb": ServicesMkdb(argument="/etc/services", byte_order=ByteOrder.NATIVE),
        "cap_mkdb": CapMkdb(path="/etc/login.conf", byte_order=ByteOrder.NATIVE),
        "certctl": CertctlRehash(form=form),
        "ldconfig": Ldconfig(),
    }
    return tuple(known[name] for name in names)
