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

from typing import TYPE_CHECKING, Any

from pipeline.host.environment import source_date_epoch
from pipeline.host.progress import human_size
from pipeline.host.store import Blob
from pipeline.stages.fetch import archives_digest, fetch_archives, recall_archives
from pipeline.stages.image import ImageDocuments, keep_image
from pipeline.stages.layer import LayerResult, build_layer, encoder_warning, recall_layer
from pipeline.stages.package import recall_package, unpack_package
from pipeline.stages.tree import TreeResult, compose_tree, tree_inputs
from pipeline.tasks.config import PROJECT
from pipeline.tasks.reporter import add_summary, add_warning, say
from pipeline.tasks.results import (
    image_documents,
    image_plans,
    image_reference,
    index_documents,
    layers_of,
    packages_of,
    tree_of,
)
from pipeline.tasks.state import Task, Work, cached, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.host.layout import PublishedLayout
    from pipeline.stages.plan import ImagePlan


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
        for line in result.changes:
            say(line)
        if not result.is_new:
            say(f"{PROJECT.lock_path}: nothing has changed")
        elif not result.changes:
            say(f"{PROJECT.lock_path}: written anew, for the same packages")
        else:
            count = len(result.changes)
            say(f"{PROJECT.lock_path}: {count} change{'s' if count > 1 else ''}")

    return run(action)


def task_fetch() -> Task:
    """Download the archives that the lock pins."""
    return cached(
        "Download the archives that the lock pins",
        Work(
            inputs=lambda: archives_digest(PROJECT.plan),
            is_done=lambda: recall_archives(PROJECT.plan, store=PROJECT.store),
            run=lambda suspicious: fetch_archives(
                PROJECT.plan, root=PROJECT.root, store=PROJECT.store, suspicious=suspicious
            ),
        ),
    )


def task_package() -> Iterator[Task]:
    """Verify and unpack a package: package:RELEASE:ARCHITECTURE:NAME."""
    yield {"name": None, "doc": "Verify and unpack packages (package:RELEASE:ARCH:NAME)"}
    if not image_plans():
        return
    for release, architecture, package in PROJECT.plan.packages():
        yield cached(
            f"Verify and unpack {package.name}-{package.version}",
            _package_work(package),
            name=f"{release}:{architecture}:{package.name}",
            task_dep=["fetch"],
        )


def _package_work(package: Any) -> Work:
    return Work(
        inputs=lambda: str(package.digest),
        is_done=lambda: recall_package(package, store=PROJECT.store) is not None,
        run=lambda suspicious: unpack_package(package, store=PROJECT.store, suspicious=suspicious),
    )


def task_tree() -> Iterator[Task]:
    """Decide what is in each layer: tree:RELEASE:ARCHITECTURE:IMAGE."""
    yield {"name": None, "doc": "Decide what is in each layer (tree:RELEASE:ARCH:IMAGE)"}
    for name, plan in image_plans().items():
        prefix = f"{plan.release}:{plan.architecture}"
        dependencies = [f"package:{prefix}:{p.name}" for p in plan.sources]
        if plan.parent is not None:
            dependencies.append(f"tree:{plan.parent}")
        yield cached(
            f"Decide what is in each layer of {plan.name}",
            _tree_work(plan),
            name=name,
            task_dep=dependencies,
        )


def _tree_work(plan: ImagePlan) -> Work:
    def parent() -> TreeResult | None:
        return None if plan.parent is None else tree_of(plan.parent)

    def inputs() -> str | None:
        if plan.parent is not None and parent() is None:
            return None
        return tree_inputs(plan, PROJECT.declaration, parent())

    def compose(suspicious: bool) -> object:  # noqa: FBT001  - the protocol of Work
        return compose_tree(
            plan,
            PROJECT.declaration,
            parent(),
            packages=lambda: packages_of(plan),
            store=PROJECT.store,
            suspicious=suspicious,
        )

    return Work(inputs=inputs, is_done=lambda: tree_of(plan) is not None, run=compose)


def task_layer() -> Iterator[Task]:
    """Make a layer: layer:RELEASE:ARCHITECTURE:IMAGE:LAYER."""
    yield {"name": None, "doc": "Make layers (layer:RELEASE:ARCH:IMAGE:LAYER)"}
    for plan in image_plans().values():
        for layer in plan.layers():
            yield cached(
                f"Make the {layer} layer of {plan.name}",
                _layer_work(plan, layer),
                name=f"{plan}:{layer}",
                task_dep=[f"tree:{plan}"],
            )


def _layer_work(plan: ImagePlan, name: str) -> Work:
    compression = PROJECT.declaration.compression

    def spec() -> Blob | None:
        tree = tree_of(plan)
        return None if tree is None else dict(tree.layers).get(name)

    def inputs() -> str | None:
        tree = tree_of(plan)
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
            packages=lambda: packages_of(plan).values(),
            store=PROJECT.store,
            suspicious=suspicious,
        )

    return Work(inputs=inputs, is_done=is_done, run=make)


def task_image() -> Iterator[Task]:
    """Put an image into the layout: image:RELEASE:ARCHITECTURE:IMAGE."""
    yield {"name": None, "doc": "Put images into the layout (image:RELEASE:ARCH:IMAGE)"}
    for name, plan in image_plans().items():
        dependencies = [
            f"layer:{ancestor}:{layer}" for ancestor in plan.lineage for layer in ancestor.layers()
        ]
        yield cached(
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
        _own_layout().publish(image_reference(plan), result.manifest, result.blobs)

    return Work(inputs=inputs, is_done=is_done, run=publish)


def _own_layout() -> PublishedLayout:
    """Return the layout to write into, if it is not another declaration's."""
    PROJECT.layout.claim(PROJECT.path)
    return PROJECT.layout


def task_index() -> Iterator[Task]:
    """Put an index over all architectures into the layout: index:RELEASE:IMAGE."""
    yield {"name": None, "doc": "Put indexes over the architectures into the layout"}
    if not image_plans():
        return
    for reference, plans in PROJECT.plan.references().items():
        yield cached(
            f"Put the index of {reference} into the layout",
            _index_work(reference, plans),
            name=f"{plans[0].release}:{plans[0].name}",
            task_dep=[f"image:{plan}" for plan in plans],
            clean=[(_Withdrawal(reference),)],
        )


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
        _own_layout().publish(reference, index[1], [blob])

    return Work(inputs=inputs, is_done=is_done, run=publish)


def task_layers() -> Task:
    """Make every layer of every image."""
    return {"actions": None, "task_dep": ["layer"]}


def task_images() -> Task:
    """Build every image, without the indexes over the architectures."""
    return {"actions": None, "task_dep": ["image"]}


def task_build() -> Task:
    """Build every image of the declaration (the default)."""
    if not image_plans():
        return {"actions": [(run, [lambda: PROJECT.plan])], "uptodate": [False]}
    return {
        "actions": [(run, [_prune])],
        "task_dep": ["index"],
        "uptodate": [_is_pruned],
        "clean": [(_Removal(),)],
    }


def _names() -> list[str]:
    names = list(PROJECT.plan.references())
    return names + [image_reference(plan) for plan in image_plans().values()]


def _is_pruned() -> bool:
    return PROJECT.layout.is_pruned(_names())


def _prune() -> None:
    _own_layout().prune(_names())


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
    for reference, plans in PROJECT.plan.references().items() if image_plans() else ():
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
    layers = layers_of(plan) or []
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
    if not image_plans():
        return None
    return encoder_warning(PROJECT.declaration.compression)


add_summary(_summary)
add_warning(_encoder_warning)
