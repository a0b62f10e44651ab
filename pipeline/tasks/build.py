"""Tasks from the lock to the layout.

    update                       the lock, from the declaration and the repositories
      fetch                      archives ─► store
        package:R:A:NAME         verify, unpack once
          tree:R:A:IMAGE         what is in each layer        ◄─ tree of the parent
            layer:R:A:IMAGE:L    tar, compress
              image:R:A:IMAGE    config, manifest, into the layout   ◄─ layers of the parent
                index:R:IMAGE    over the architectures, into the layout
                  build          everything; nothing else stays in the layout

A task's inputs are digests: of the lock's pins, and of what the tasks before it made. Both are
looked up when doit asks, so a creator only knows names.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.errors import PipelineError
from pipeline.formats import canonical_json
from pipeline.formats.algorithm import Algorithm
from pipeline.formats.digest import Digest
from pipeline.host.environment import source_date_epoch
from pipeline.host.progress import human_size
from pipeline.host.store import Blob
from pipeline.stages.fetch import archive_inputs, fetch_archives, recall_archives
from pipeline.stages.image import (
    ImageDocuments,
    NamedLayer,
    history_line,
    keep_image,
    make_image,
    make_index,
)
from pipeline.stages.layer import LayerResult, build_layer, recall_layer
from pipeline.stages.package import PackageResult, recall_package, unpack_package
from pipeline.stages.tree import TreeResult, compose_tree, recall_tree, tree_inputs
from pipeline.tasks.config import PROJECT
from pipeline.tasks.reporter import add_summary, add_warning, say
from pipeline.tasks.state import Work, execute, is_current, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pipeline.pkg.lockfile import LockedPackage
    from pipeline.stages.plan import ImagePlan

Task = dict[str, Any]
T = TypeVar("T")


def _cached(doc: str, work: Work, **fields: Any) -> Task:
    """Return the fields that every cached task has."""
    return {
        "doc": doc,
        "actions": [(execute, [work])],
        "uptodate": [(is_current, [work])],
        **fields,
    }


def _digest(value: Mapping[str, object]) -> str:
    return str(Digest.of(canonical_json.dumps(value)))


# ---------------------------------------------------------------- lookups


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


def _package(package: LockedPackage) -> PackageResult | None:
    return recall_package(package, store=PROJECT.store)


def _packages(plan: ImagePlan) -> dict[str, PackageResult]:
    """Return the unpacked packages that an image's tree and layers read from."""
    needed = {p.name: p for ancestor in plan.lineage for p in ancestor.sources}
    return {
        name: unpack_package(package, store=PROJECT.store) for name, package in needed.items()
    }


@functools.cache
def _plans() -> dict[str, ImagePlan]:
    """Return the images there are; none while the lock does not answer the declaration."""
    try:
        return dict(PROJECT.plan.images)
    except PipelineError:
        return {}


@_once_found
def _tree(plan: ImagePlan) -> TreeResult | None:
    parent = None
    if plan.parent is not None:
        parent = _tree(plan.parent)
        if parent is None:
            return None
    return recall_tree(plan, PROJECT.declaration, parent, store=PROJECT.store)


@_once_found
def _layers(plan: ImagePlan) -> list[NamedLayer] | None:
    """Return all layers of an image, its ancestors' first; None while one is missing."""
    result: list[NamedLayer] = []
    for ancestor in plan.lineage:
        tree = _tree(ancestor)
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
    layers = _layers(plan)
    tree = _tree(plan)
    if layers is None or tree is None:
        return None
    base = None
    if plan.parent is not None:
        parent = image_documents(plan.parent)
        if parent is None:
            return None
        base = (plan.parent.reference, parent.result.manifest.digest)
    return make_image(
        plan, PROJECT.declaration, layers, base=base, has_shell=tree.has_shell
    )


# ---------------------------------------------------------------- tasks


def task_update() -> Task:
    """Resolve the declaration against its repositories and write the lock."""
    return {"actions": [(_update, [])], "verbosity": 2, "uptodate": [False]}


def _update() -> object:
    from pipeline.stages.update import update_lock  # noqa: PLC0415  - slow to import

    def action() -> None:
        result = update_lock(
            PROJECT.declaration,
            PROJECT.lock_path,
            root=PROJECT.root,
            store=PROJECT.store,
            source_date_epoch=source_date_epoch(),
        )
        for line in result.changes or ("nothing has changed",):
            say(line)
        say(f"{PROJECT.lock_path}: {len(result.changes)} changes")

    return run(action)


def task_fetch() -> Task:
    """Download the archives that the lock pins."""
    return _cached(
        "Download the archives that the lock pins",
        Work(
            inputs=lambda: _digest(archive_inputs(PROJECT.plan)),
            is_done=lambda: recall_archives(PROJECT.plan, store=PROJECT.store),
            run=lambda suspicious: fetch_archives(
                PROJECT.plan, root=PROJECT.root, store=PROJECT.store, suspicious=suspicious
            ),
        ),
    )


def task_package() -> Iterator[Task]:
    """Verify and unpack a package: package:RELEASE:ARCHITECTURE:NAME."""
    yield {"name": None, "doc": "Verify and unpack packages (package:RELEASE:ARCH:NAME)"}
    if not _plans():
        return
    for release, architecture, package in PROJECT.plan.packages():
        work = Work(
            inputs=functools.partial(str, package.digest),
            is_done=lambda package=package: _package(package) is not None,
            run=lambda suspicious, package=package: unpack_package(
                package, store=PROJECT.store, suspicious=suspicious
            ),
        )
        yield _cached(
            f"Verify and unpack {package.name}-{package.version}",
            work,
            name=f"{release}:{architecture}:{package.name}",
            task_dep=["fetch"],
        )


def task_tree() -> Iterator[Task]:
    """Decide what is in each layer: tree:RELEASE:ARCHITECTURE:IMAGE."""
    yield {"name": None, "doc": "Decide what is in each layer (tree:RELEASE:ARCH:IMAGE)"}
    for name, plan in _plans().items():
        prefix = f"{plan.release}:{plan.architecture}"
        dependencies = [f"package:{prefix}:{p.name}" for p in plan.sources]
        if plan.parent is not None:
            dependencies.append(f"tree:{plan.parent}")
        yield _cached(
            f"Decide what is in each layer of {plan.name}",
            _tree_work(plan),
            name=name,
            task_dep=dependencies,
        )


def _tree_work(plan: ImagePlan) -> Work:
    def parent() -> TreeResult | None:
        return None if plan.parent is None else _tree(plan.parent)

    def inputs() -> str | None:
        if plan.parent is not None and parent() is None:
            return None
        return tree_inputs(plan, PROJECT.declaration, parent())

    def compose(suspicious: bool) -> object:  # noqa: FBT001  - the protocol of Work
        return compose_tree(
            plan,
            PROJECT.declaration,
            parent(),
            packages=lambda: _packages(plan),
            store=PROJECT.store,
            suspicious=suspicious,
        )

    return Work(inputs=inputs, is_done=lambda: _tree(plan) is not None, run=compose)


def task_layer() -> Iterator[Task]:
    """Make a layer: layer:RELEASE:ARCHITECTURE:IMAGE:LAYER."""
    yield {"name": None, "doc": "Make layers (layer:RELEASE:ARCH:IMAGE:LAYER)"}
    for plan in _plans().values():
        for layer in plan.layers():
            yield _cached(
                f"Make the {layer} layer of {plan.name}",
                _layer_work(plan, layer),
                name=f"{plan}:{layer}",
                task_dep=[f"tree:{plan}"],
            )


def _layer_work(plan: ImagePlan, name: str) -> Work:
    compression = PROJECT.declaration.compression

    def spec() -> Any:
        tree = _tree(plan)
        return None if tree is None else dict(tree.layers).get(name)

    def inputs() -> str | None:
        tree = _tree(plan)
        if tree is None:
            return None
        blob = dict(tree.layers).get(name)
        return "empty" if blob is None else str(blob.digest)

    def is_done() -> bool:
        blob = spec()
        return blob is None or recall_layer(blob, compression, store=PROJECT.store) is not None

    def make(suspicious: bool) -> LayerResult | None:  # noqa: FBT001  - the protocol of Work
        blob = spec()
        if blob is None:
            return None
        return build_layer(
            blob,
            compression,
            packages=lambda: _packages(plan).values(),
            store=PROJECT.store,
            suspicious=suspicious,
        )

    return Work(inputs=inputs, is_done=is_done, run=make)


def task_image() -> Iterator[Task]:
    """Put an image into the layout: image:RELEASE:ARCHITECTURE:IMAGE."""
    yield {"name": None, "doc": "Put images into the layout (image:RELEASE:ARCH:IMAGE)"}
    for name, plan in _plans().items():
        dependencies = [
            f"layer:{ancestor}:{layer}" for ancestor in plan.lineage for layer in ancestor.layers()
        ]
        yield _cached(
            f"Put {plan.name} {plan.release} for {plan.architecture} into the layout",
            _image_work(plan),
            name=name,
            task_dep=dependencies,
            clean=[(_Withdrawal(image_reference(plan)),)],
        )


class _Withdrawal:
    """Takes a name out of the layout; a class so that doit can say what it does."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __str__(self) -> str:
        return f"<take {self._name} out of the layout"

    def __call__(self, dryrun: bool) -> None:  # noqa: FBT001  - doit's name
        if not dryrun:
            PROJECT.layout.withdraw(self._name)


def image_reference(plan: ImagePlan) -> str:
    """Return the name of one architecture's image in the layout."""
    return f"{plan.reference}-{plan.architecture}"


def _image_work(plan: ImagePlan) -> Work:
    def inputs() -> str | None:
        documents = image_documents(plan)
        return None if documents is None else str(documents.result.manifest.digest)

    def is_done() -> bool:
        documents = image_documents(plan)
        return documents is not None and PROJECT.layout.holds(
            image_reference(plan), documents.result.manifest, documents.result.blobs
        )

    def publish(_: bool) -> None:  # noqa: FBT001  - the protocol of Work
        documents = image_documents(plan)
        assert documents is not None, "layers are made before their image"
        result = keep_image(documents, store=PROJECT.store)
        PROJECT.layout.publish(image_reference(plan), result.manifest, result.blobs)

    return Work(inputs=inputs, is_done=is_done, run=publish)


def task_index() -> Iterator[Task]:
    """Put an index over all architectures into the layout: index:RELEASE:IMAGE."""
    yield {"name": None, "doc": "Put indexes over the architectures into the layout"}
    if not _plans():
        return
    for reference, plans in PROJECT.plan.references().items():
        yield _cached(
            f"Put the index of {reference} into the layout",
            _index_work(reference, plans),
            name=f"{plans[0].release}:{plans[0].name}",
            task_dep=[f"image:{plan}" for plan in plans],
            clean=[(_Withdrawal(reference),)],
        )


def index_documents(plans: tuple[ImagePlan, ...]) -> tuple[bytes, Any] | None:
    """Return the index over some images; None while one of them is missing."""
    manifests = []
    for plan in plans:
        documents = image_documents(plan)
        if documents is None:
            return None
        manifests.append(documents.result.manifest)
    return make_index(plans, PROJECT.declaration, manifests)


def _index_work(reference: str, plans: tuple[ImagePlan, ...]) -> Work:
    def inputs() -> str | None:
        index = index_documents(plans)
        return None if index is None else str(index[1].digest)

    def is_done() -> bool:
        index = index_documents(plans)
        if index is None:
            return False
        blob = Blob(digest=index[1].digest, size=index[1].size)
        return PROJECT.layout.holds(reference, index[1], [blob])

    def publish(_: bool) -> None:  # noqa: FBT001  - the protocol of Work
        index = index_documents(plans)
        assert index is not None, "images are made before their index"
        blob = PROJECT.store.put(index[0])
        PROJECT.layout.publish(reference, index[1], [blob])

    return Work(inputs=inputs, is_done=is_done, run=publish)


def task_layers() -> Task:
    """Make every layer of every image."""
    return {"actions": None, "task_dep": ["layer"]}


def task_images() -> Task:
    """Build every image, without the indexes over the architectures."""
    return {"actions": None, "task_dep": ["image"]}


def task_build() -> Task:
    """Build every image of the declaration (the default)."""
    if not _plans():
        return {"actions": [(run, [lambda: PROJECT.plan])], "uptodate": [False]}
    return {
        "actions": [(run, [_prune])],
        "task_dep": ["index"],
        "uptodate": [_is_pruned],
        "clean": [(_Removal(),)],
    }


def _names() -> list[str]:
    names = list(PROJECT.plan.references())
    return names + [image_reference(plan) for plan in _plans().values()]


def _is_pruned() -> bool:
    return set(PROJECT.layout.references()) == set(_names())


def _prune() -> None:
    PROJECT.layout.prune(_names())


class _Removal:
    """Removes the layout; the store stays, for it is a cache."""

    def __str__(self) -> str:
        return f"<remove {PROJECT.output}"

    def __call__(self, dryrun: bool) -> None:  # noqa: FBT001  - doit's name
        if not dryrun:
            PROJECT.layout.remove()


# ---------------------------------------------------------------- the table at the end

_HEAD = ("IMAGE", "ARCH", "DIGEST", "LAYERS", "SIZE")


def _summary(names: frozenset[str], missing: frozenset[str]) -> list[tuple[str, ...]]:
    """Return a row for each image that took part, and for each index."""
    rows: list[tuple[str, ...]] = [_HEAD]
    for reference, plans in PROJECT.plan.references().items() if _plans() else ():
        for plan in plans:
            documents = image_documents(plan) if f"image:{plan}" in names else None
            if documents is not None:
                rows.append(_row(plan, documents, missing))
        if f"index:{plans[0].release}:{plans[0].name}" in names:
            index = index_documents(plans)
            if index is not None:
                rows.append((reference, "index", str(index[1].digest), "", ""))
    return rows


def _row(plan: ImagePlan, documents: ImageDocuments, missing: frozenset[str]) -> tuple[str, ...]:
    layers = _layers(plan) or []
    prefix = f"layer:{plan.release}:{plan.architecture}"
    built = sum(1 for layer in layers if f"{prefix}:{layer.image}:{layer.name}" in missing)
    counts = [f"{n} {word}" for n, word in ((len(layers) - built, "reused"), (built, "built")) if n]
    return (
        plan.reference,
        plan.architecture,
        str(documents.result.manifest.digest),
        f"{len(layers)} ({', '.join(counts)})",
        human_size(documents.result.size),
    )


def _encoder_warning() -> str | None:
    if not _plans():
        return None
    from pipeline.formats.compression import unpinned_encoder  # noqa: PLC0415  - slow to import

    return unpinned_encoder(Algorithm(PROJECT.declaration.compression.algorithm))


add_summary(_summary)
add_warning(_encoder_warning)
