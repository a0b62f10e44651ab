"""What has been made so far: trees, layers and images, looked up by what decides them.

Every answer comes from the store, which remembers outputs by their inputs; nothing is made here.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.errors import PipelineError
from pipeline.stages.image import (
    ImageDocuments,
    NamedLayer,
    history_line,
    make_image,
    make_index,
)
from pipeline.stages.layer import recall_layer
from pipeline.stages.package import PackageResult, unpack_package
from pipeline.stages.tree import TreeResult, recall_tree
from pipeline.tasks.config import PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.stages.plan import ImagePlan

T = TypeVar("T")


def _once_found(lookup: Callable[[ImagePlan], T | None]) -> Callable[[ImagePlan], T | None]:
    """Remember what a lookup has found: inputs are fixed for a run, so the answer is as well."""
    found: dict[str, T] = {}

    @functools.wraps(lookup)
    def remembering(plan: ImagePlan) -> T | None:
        key = str(plan)
        if key not in found:
            value = lookup(plan)
            if value is None:
                return None
            found[key] = value
        return found[key]

    return remembering


_unpacked: dict[str, dict[str, PackageResult]] = {}


def packages_of(plan: ImagePlan) -> dict[str, PackageResult]:
    """Return the unpacked packages that an image's tree and layers read from."""
    key = str(plan)
    if key not in _unpacked:
        needed = {p.name: p for ancestor in plan.lineage for p in ancestor.sources}
        _unpacked[key] = {
            name: unpack_package(package, store=PROJECT.store) for name, package in needed.items()
        }
    return _unpacked[key]


@functools.cache
def image_plans() -> dict[str, ImagePlan]:
    """Return the images there are; none while the lock does not answer the declaration."""
    try:
        return dict(PROJECT.plan.images)
    except PipelineError:
        return {}


@_once_found
def tree_of(plan: ImagePlan) -> TreeResult | None:
    """Return what is in each layer of an image; None while that is not decided."""
    parent = None
    if plan.parent is not None:
        parent = tree_of(plan.parent)
        if parent is None:
            return None
    return recall_tree(plan, PROJECT.declaration, parent, store=PROJECT.store)


@_once_found
def layers_of(plan: ImagePlan) -> list[NamedLayer] | None:
    """Return all layers of an image, its ancestors' first; None while one is missing."""
    result: list[NamedLayer] = []
    for ancestor in plan.lineage:
        tree = tree_of(ancestor)
        if tree is None:
            return None
        for name, spec in tree.layers:
            layer = recall_layer(spec, PROJECT.declaration.compression, store=PROJECT.store)
            if layer is None:
                return None
            result.append(
                NamedLayer(
                    image=ancestor.name,
                    name=name,
                    created_by=history_line(ancestor, name),
                    result=layer,
                )
            )
    return result


@_once_found
def image_documents(plan: ImagePlan) -> ImageDocuments | None:
    """Return an image as its layers make it; None while one of them is missing."""
    layers = layers_of(plan)
    tree = tree_of(plan)
    if layers is None or tree is None:
        return None
    base = None
    if plan.parent is not None:
        parent = image_documents(plan.parent)
        if parent is None:
            return None
        base = (plan.parent.reference, parent.result.manifest.digest)
    return make_image(plan, PROJECT.declaration, layers, base=base, has_shell=tree.has_shell)


def image_reference(plan: ImagePlan) -> str:
    """Return the name of one architecture's image in the layout."""
    return f"{plan.reference}-{plan.architecture}"


def index_documents(plans: tuple[ImagePlan, ...]) -> tuple[bytes, Any] | None:
    """Return the index over some images; None while one of them is missing."""
    manifests = []
    for plan in plans:
        documents = image_documents(plan)
        if documents is None:
            return None
        manifests.append(documents.result.manifest)
    return make_index(plans, PROJECT.declaration, manifests)
