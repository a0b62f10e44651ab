"""What each task of a build made, by digest: where in the graph two builds part ways.

Read from what a cold build leaves: the store's memos (`pipeline.host.store`: one JSON a stage and
its inputs), the layout's index.json, and the documents beside it. Neither code nor encoders of the
build have to be those of the reader.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pipeline.formats import canonical_json
from pipeline.formats.digest import Digest
from pipeline.host.layout import Layout
from reproducibility.attachments import PROVENANCE, SBOM, read_attachments

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pipeline.stages.plan import ImagePlan, Plan

Outcomes = dict[str, str]
"""Name of a task -> what it made, as text that is equal if and only if that is."""


def read_outcomes(plan: Plan, *, memo: Path, layout: Path) -> Outcomes:
    """Return what the tasks of a build made; tasks that did not run are absent.

    Args:
        plan: what there was to build.
        memo: the memos of its store.
        layout: its layout, which need not exist.
    """
    outcomes = dict(_packages(plan, memo))
    layers = {str(d["spec"]): _made(outputs, facts) for d, outputs, facts in _memos(memo, "layer")}
    for inputs, outputs, facts in _memos(memo, "tree"):
        image = ":".join(str(inputs[key]) for key in ("release", "architecture", "image"))
        outcomes[f"tree:{image}"] = _made(outputs, facts)
        for name, blob in outputs.items():
            kind, _, layer = name.partition(" ")
            made = layers.get(str(blob["digest"])) if kind == "layer" else None
            if made is not None:
                outcomes[f"layer:{image}:{layer}"] = made
    return {**outcomes, **dict(_images(plan, layout)), **_said(plan, layout)}


def _memos(
    memo: Path, stage: str
) -> Iterator[tuple[dict[str, object], dict[str, dict[str, object]], object]]:
    for path in sorted((memo / stage).rglob("*.json")):
        document = json.loads(path.read_bytes())
        yield document["inputs"], document["outputs"], document["facts"]


def _made(outputs: Mapping[str, object], facts: object) -> str:
    return str(Digest.of(canonical_json.dumps({"outputs": dict(outputs), "facts": facts})))


def _packages(plan: Plan, memo: Path) -> Iterator[tuple[str, str]]:
    made = {
        str(d["archive"]): _made(outputs, facts) for d, outputs, facts in _memos(memo, "package")
    }
    for release, architecture, package in plan.packages():
        digest = str(package.digest)
        if digest in made:
            yield f"package:{release}:{architecture}:{package.name}", made[digest]


def _images(plan: Plan, layout: Path) -> Iterator[tuple[str, str]]:
    references = Layout(layout).references()
    for reference, plans in plan.references().items():
        if reference in references:
            yield _indexed(plans[0]), str(references[reference].digest)
        for image in plans:
            name = f"{reference}-{image.architecture}"
            if name in references:
                yield f"image:{image}", str(references[name].digest)


def _said(plan: Plan, layout: Path) -> Outcomes:
    """Return what was made of documents about images."""
    documents: dict[str, list[list[str]]] = {}
    for attachment in read_attachments(plan, layout):
        found = documents.setdefault(attachment.task, [])
        found.append([attachment.name, attachment.digest])
    return {task: str(Digest.of(canonical_json.dumps(d))) for task, d in documents.items()}


def _indexed(image: ImagePlan, *, task: str = "index") -> str:
    return f"{task}:{image.release}:{image.name}"


# ---------------------------------------------------------------- the graph


def dependencies(plan: Plan) -> dict[str, tuple[str, ...]]:
    """Return, for each task that makes something, the tasks that it builds on."""
    result: dict[str, tuple[str, ...]] = {}
    for release, architecture, package in plan.packages():
        result[f"package:{release}:{architecture}:{package.name}"] = ()
    for image in plan.images.values():
        prefix = f"{image.release}:{image.architecture}"
        parent = (f"tree:{image.parent}",) if image.parent else ()
        packages = tuple(f"package:{prefix}:{package.name}" for package in image.sources)
        result[f"tree:{image}"] = packages + parent
        layers = [f"layer:{image}:{layer}" for layer in image.layers()]
        result.update(dict.fromkeys(layers, (f"tree:{image}",)))
        above = (f"image:{image.parent}",) if image.parent else ()
        result[f"image:{image}"] = (*layers, *above)
        for task in (SBOM, PROVENANCE):
            result[f"{task}:{image}"] = (f"image:{image}",)
    for plans in plan.references().values():
        index = _indexed(plans[0])
        result[index] = tuple(f"image:{image}" for image in plans)
        result[_indexed(plans[0], task=PROVENANCE)] = (index,)
    return result


def tasks_of(plans: Sequence[ImagePlan]) -> tuple[str, ...]:
    """Return the last tasks of an image for all platforms: its index, and what is said of it."""
    said = (f"{task}:{image}" for image in plans for task in (SBOM, PROVENANCE))
    return (_indexed(plans[0]), _indexed(plans[0], task=PROVENANCE), *said)


def is_said(task: str) -> bool:
    """Say whether a task makes no image, but a document about one."""
    return task.partition(":")[0] in (SBOM, PROVENANCE)


def differing(a: Mapping[str, str], b: Mapping[str, str]) -> frozenset[str]:
    """Return the tasks that both builds ran and that made different things."""
    return frozenset(task for task, made in a.items() if b.get(task, made) != made)


def frontier(tasks: Iterable[str], graph: Mapping[str, tuple[str, ...]]) -> frozenset[str]:
    """Return those of some tasks that build on none of the others: where it begins."""
    chosen = frozenset(tasks)
    reached: dict[str, bool] = {}

    def is_fed(task: str) -> bool:
        """Say whether a task builds on one of the chosen, itself not counted."""
        if task not in reached:
            below = graph.get(task, ())
            reached[task] = any(t in chosen or is_fed(t) for t in below)
        return reached[task]

    return frozenset(task for task in chosen if not is_fed(task))


def needs(tasks: Iterable[str], graph: Mapping[str, tuple[str, ...]]) -> frozenset[str]:
    """Return tasks and everything that they build on."""
    found: set[str] = set()
    waiting = list(tasks)
    while waiting:
        task = waiting.pop()
        if task not in found:
            found.add(task)
            waiting.extend(graph.get(task, ()))
    return frozenset(found)
