"""Stage `build`: one image, from archives in the store to documents in the store.

What the tasks of `doit build` do one by one (`pipeline.tasks.build`), in one call: for whoever
wants a single image and no task graph. Parents are built on the way.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.stages.image import NamedLayer, history_line, keep_image, make_image
from pipeline.stages.layer import build_layer
from pipeline.stages.package import unpack_package
from pipeline.stages.tree import compose_tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.declaration.tables import Declaration
    from pipeline.host.store import Store
    from pipeline.stages.image import ImageResult
    from pipeline.stages.package import PackageResult
    from pipeline.stages.plan import ImagePlan
    from pipeline.stages.tree import TreeResult


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """An image that has been built, in the store."""

    image: ImageResult
    layers: tuple[NamedLayer, ...]
    """Lowest first."""
    tree: TreeResult


def _silent(_: str) -> None:
    pass


def build(
    plan: ImagePlan,
    declaration: Declaration,
    *,
    store: Store,
    say: Callable[[str], object] = _silent,
) -> BuildResult:
    """Build an image and its ancestors.

    Args:
        plan: the image.
        declaration: what it is declared in.
        store: has the archives, gets everything else.
        say: told what is going on.

    Raises:
        PipelineError: an archive is not what it should be, or the image cannot be made of them.
    """
    # (1) its parent
    parent = None
    if plan.parent is not None:
        parent = build(plan.parent, declaration, store=store, say=say)
    # (2) what is in each layer
    say(f"packages of {plan}")
    packages = functools.cache(functools.partial(_packages, plan, store))
    tree = compose_tree(
        plan, declaration, parent.tree if parent else None, packages=packages, store=store
    )
    # (3) the layers
    layers = list(parent.layers) if parent else []
    for name, spec in tree.layers:
        say(f"layer {name} of {plan}")
        result = build_layer(
            spec, declaration.compression, packages=lambda: packages().values(), store=store
        )
        line = history_line(plan, name)
        layers.append(NamedLayer(image=plan.name, name=name, created_by=line, result=result))
    # (4) config and manifest
    base = None
    if plan.parent is not None and parent is not None:
        base = (plan.parent.reference, parent.image.manifest.digest)
    documents = make_image(plan, declaration, layers, base=base, has_shell=tree.has_shell)
    return BuildResult(image=keep_image(documents, store=store), layers=tuple(layers), tree=tree)


def _packages(plan: ImagePlan, store: Store) -> dict[str, PackageResult]:
    """Return the unpacked packages that an image's tree and layers read from."""
    needed = {p.name: p for ancestor in plan.lineage for p in ancestor.sources}
    return {name: unpack_package(package, store=store) for name, package in needed.items()}
