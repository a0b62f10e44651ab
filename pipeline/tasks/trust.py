"""Tasks that say what an image is, and sign it.

    image:R:A:IMAGE, index:R:IMAGE
      sbom:R:A:IMAGE               what is in it: SPDX, CycloneDX
      provenance:R:A:IMAGE         how it came about; the lock that it can be rebuilt from
      provenance:R:IMAGE           the same of the index
        sign:R:A:IMAGE             signatures, and the statements above signed
        sign:R:IMAGE
          sign:prune               nothing of earlier images stays

Outputs: the layout `build/attest`, the lookaside tree `build/lookaside`, and the documents as files
in `build/sbom` and `build/provenance`. Settings: `[signing]` of the declaration, the environment
(`PKGBASE_OCI_…`), and doit's variables: `doit sign identity=ghcr.io/freebsd key=cosign.key`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import PipelineError
from pipeline.tasks.config import PROJECT
from pipeline.tasks.places import Removal
from pipeline.tasks.results import image_plans
from pipeline.tasks.state import Task, Work, cached, deferred, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType


def _work() -> ModuleType:
    """Return what does the work; it takes long to import."""
    from pipeline.tasks import trust_work  # noqa: PLC0415

    return trust_work


def _later(name: str, images: object) -> Work:
    return deferred(lambda: getattr(_work(), name)(images))


def task_sbom() -> Iterator[Task]:
    """Say what is in an image: sbom:RELEASE:ARCHITECTURE:IMAGE."""
    yield {
        "name": None,
        "doc": "Say what is in images, as SPDX and CycloneDX (sbom:RELEASE:ARCH:IMAGE)",
        "clean": [(Removal("sbom"),)],
    }
    for name, plan in image_plans().items():
        yield cached(
            f"Say what is in {plan.name} {plan.release} for {plan.architecture}",
            _later("sbom_work", plan),
            name=name,
            task_dep=[f"image:{name}"],
        )


def task_provenance() -> Iterator[Task]:
    """Say how an image came about: provenance:RELEASE:ARCHITECTURE:IMAGE."""
    yield {
        "name": None,
        "doc": "Say how images came about; attach their lock (provenance:RELEASE[:ARCH]:IMAGE)",
        "clean": [(Removal("provenance"),)],
    }
    if not image_plans():
        return
    for name, plan in image_plans().items():
        yield cached(
            f"Say how {plan.name} {plan.release} for {plan.architecture} came about",
            _later("image_provenance_work", plan),
            name=name,
            task_dep=[f"image:{name}"],
        )
    for plans in PROJECT.plan.references().values():
        name = f"{plans[0].release}:{plans[0].name}"
        yield cached(
            f"Say how the index of {plans[0].reference} came about",
            _later("index_provenance_work", plans),
            name=name,
            task_dep=[f"index:{name}"],
        )


def task_sign() -> Iterator[Task]:
    """Sign images and what is said of them: sign:RELEASE:ARCHITECTURE:IMAGE."""
    yield {
        "name": None,
        "doc": "Sign images, indexes and the statements about them (sign:RELEASE[:ARCH]:IMAGE)",
        "clean": [(Removal("lookaside"),), (Removal("attest"),)],
    }
    if not image_plans():
        return
    names = []
    for name, plan in image_plans().items():
        names.append(name)
        yield cached(
            f"Sign {plan.name} {plan.release} for {plan.architecture}",
            _later("image_sign_work", plan),
            name=name,
            task_dep=[f"sbom:{name}", f"provenance:{name}"],
        )
    for plans in PROJECT.plan.references().values():
        name = f"{plans[0].release}:{plans[0].name}"
        names.append(name)
        yield cached(
            f"Sign the index of {plans[0].reference}",
            _later("index_sign_work", plans),
            name=name,
            task_dep=[f"provenance:{name}"],
        )
    yield {
        "name": "prune",
        "doc": "Remove what belongs to earlier images",
        "actions": [(run, [lambda: _work().prune()])],
        "uptodate": [_is_pruned],
        "task_dep": [f"sign:{name}" for name in names],
    }


def _is_pruned() -> bool:
    try:
        return bool(_work().is_pruned())
    except PipelineError:  # the action says what is wrong
        return False
