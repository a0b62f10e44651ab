"""Images of the embedded declaration, built stage by stage in this process."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.declaration.reading import parse_declaration
from pipeline.host.store import Store
from pipeline.pkg.lockfile import Lock
from pipeline.stages.attest import Target
from pipeline.stages.fetch import fetch_archives
from pipeline.stages.image import (
    NamedLayer,
    history_line,
    keep_image,
    make_image,
    make_index,
)
from pipeline.stages.layer import build_layer
from pipeline.stages.package import PackageResult, unpack_package
from pipeline.stages.plan import Plan, make_plan
from pipeline.stages.sbom import BuiltImage
from pipeline.stages.tree import TreeResult, compose_tree
from tests.tasks.project import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.declaration.tables import Declaration
    from pipeline.stages.plan import ImagePlan


@dataclass(frozen=True)
class Workshop:
    """A declaration, its lock and a store to build in."""

    declaration: Declaration
    raw_declaration: bytes
    raw_lock: bytes
    plan: Plan
    store: Store

    @classmethod
    def embedded(cls, path: Path) -> Workshop:
        """Make one of the embedded declaration, with every archive in its store."""
        raw_declaration = (ROOT / "images.toml").read_bytes()
        raw_lock = (ROOT / "images.lock.json").read_bytes()
        declaration = parse_declaration(raw_declaration)
        plan = make_plan(declaration, Lock.parse(raw_lock))
        store = Store(path)
        fetch_archives(plan, root=ROOT, store=store)
        return cls(declaration, raw_declaration, raw_lock, plan, store)

    def packages(self, plan: ImagePlan) -> dict[str, PackageResult]:
        """Unpack what an image and its ancestors are made of."""
        needed = {p.name: p for ancestor in plan.lineage for p in ancestor.sources}
        return {name: unpack_package(p, store=self.store) for name, p in needed.items()}

    def build(self, name: str) -> BuiltImage:
        """Build an image, e.g. `15.0:amd64:static`."""
        plan = self.plan.images[name]
        parent = None if plan.parent is None else self.build(str(plan.parent))
        packages = functools.partial(self.packages, plan)
        tree = compose_tree(
            plan,
            self.declaration,
            None if parent is None else parent.trees[-1],
            packages=packages,
            store=self.store,
        )
        layers = (() if parent is None else parent.layers) + self._layers(plan, tree)
        base = None
        if parent is not None:
            base = (parent.plan.reference, parent.manifest.digest)
        documents = make_image(plan, self.declaration, layers, base=base, has_shell=tree.has_shell)
        result = keep_image(documents, store=self.store)
        return BuiltImage(
            plan=plan,
            manifest=result.manifest,
            layers=layers,
            trees=(*(() if parent is None else parent.trees), tree),
        )

    def _layers(self, plan: ImagePlan, tree: TreeResult) -> tuple[NamedLayer, ...]:
        return tuple(
            NamedLayer(
                image=plan.name,
                name=name,
                created_by=history_line(plan, name),
                result=build_layer(
                    spec,
                    self.declaration.compression,
                    packages=lambda: self.packages(plan).values(),
                    store=self.store,
                ),
            )
            for name, spec in tree.layers
        )


def image_target(image: BuiltImage, *references: str) -> Target:
    """Return what is signed of an image."""
    return Target(
        name=f"{image.plan.reference}-{image.plan.architecture}",
        descriptor=image.manifest,
        references=references,
        epoch=image.plan.epoch,
    )


def index_target(workshop: Workshop, images: list[BuiltImage], *references: str) -> Target:
    """Return what is signed of the index over some images."""
    plans = [image.plan for image in images]
    _, descriptor = make_index(plans, workshop.declaration, [i.manifest for i in images])
    return Target(
        name=plans[0].reference,
        descriptor=descriptor,
        references=references,
        epoch=plans[0].epoch,
    )
