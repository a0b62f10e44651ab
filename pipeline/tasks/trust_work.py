"""How SBOMs, provenance and signatures are made: the work behind the tasks of `trust`.

Apart from them because it takes long to import, and most runs of doit do nothing of it.
"""

from __future__ import annotations

import functools
import shutil
from typing import TYPE_CHECKING, TypeVar

from pipeline.errors import ConfigurationError, PipelineError
from pipeline.stages.attest import attest, is_published, publish, recall_attestations
from pipeline.stages.provenance import (
    ProvenanceResult,
    lock_document,
    provenance_inputs,
    recall_provenance,
    write_index_provenance,
    write_provenance,
)
from pipeline.stages.sbom import SbomResult, recall_sbom, sbom_documents, sbom_inputs, write_sbom
from pipeline.stages.sign import (
    is_signed,
    lookaside_directories,
    recall_signatures,
    sign,
    sign_with_gpg,
    signing_inputs,
)
from pipeline.tasks.config import PROJECT
from pipeline.tasks.places import attest_layout, lookaside
from pipeline.tasks.results import image_plans, packages_of
from pipeline.tasks.signing import (
    built,
    export,
    export_path,
    gpg_signatures,
    image_references,
    image_target,
    index_references,
    index_target,
    is_exported,
    settings,
    signatures,
    sources,
)
from pipeline.tasks.state import Work

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pipeline.host.store import Blob
    from pipeline.stages.attest import Document, Target
    from pipeline.stages.plan import ImagePlan

T = TypeVar("T")


# ---------------------------------------------------------------- sbom


def _sbom_files(target: Target, result: SbomResult) -> dict[Path, Blob]:
    return {
        export_path("sbom", target, ".spdx.json"): result.spdx,
        export_path("sbom", target, ".cdx.json"): result.cyclonedx,
    }


def _sbom(plan: ImagePlan) -> SbomResult | None:
    image = built(plan)
    return None if image is None else recall_sbom(image, PROJECT.declaration, store=PROJECT.store)


def sbom_work(plan: ImagePlan) -> Work:
    """Return how an image's SBOMs are made."""

    def inputs() -> str | None:
        image = built(plan)
        return None if image is None else sbom_inputs(image, PROJECT.declaration)

    def is_done() -> bool:
        target, result = image_target(plan), _sbom(plan)
        if target is None or result is None:
            return False
        documents = sbom_documents(target, result, store=PROJECT.store)
        return is_published(documents, layout=attest_layout()) and is_exported(
            _sbom_files(target, result)
        )

    def make(suspicious: bool) -> None:  # noqa: FBT001  - the protocol of Work
        image, target = built(plan), image_target(plan)
        assert image is not None, "an image is built before its SBOM"
        assert target is not None
        result = write_sbom(
            image,
            PROJECT.declaration,
            packages=lambda: packages_of(plan),
            store=PROJECT.store,
            suspicious=suspicious,
        )
        publish(sbom_documents(target, result, store=PROJECT.store), layout=attest_layout())
        export(_sbom_files(target, result))

    return Work(inputs=inputs, is_done=is_done, run=make)


# ---------------------------------------------------------------- provenance


def _image_provenance(plan: ImagePlan, *, make: bool) -> ProvenanceResult | None:
    image = built(plan)
    if image is None:
        return None
    work = write_provenance if make else recall_provenance
    return work(image, PROJECT.declaration, sources(), store=PROJECT.store)


def _index_provenance(plans: tuple[ImagePlan, ...], *, make: bool) -> ProvenanceResult | None:
    del make  # it is small, and made each time
    images, target = [built(plan) for plan in plans], index_target(plans)
    if target is None or None in images:
        return None
    return write_index_provenance(
        target,
        [image for image in images if image is not None],
        PROJECT.declaration,
        sources(),
        store=PROJECT.store,
    )


def _lock_document(target: Target, build_target: str) -> Document:
    return lock_document(
        target,
        build_target,
        sources(),
        format_number=PROJECT.declaration.format,
        store=PROJECT.store,
    )


def _provenance_files(target: Target, result: ProvenanceResult) -> dict[Path, Blob]:
    return {
        export_path("provenance", target, ".definition.json"): result.definition,
        export_path("provenance", target, ".provenance.json"): result.statement,
    }


def _provenance_work(
    find_target: Callable[[], Target | None],
    provenance: Callable[..., ProvenanceResult | None],
    build_target: str,
) -> Work:
    def inputs() -> str | None:
        target = find_target()
        return None if target is None else provenance_inputs(target, sources())

    def is_done() -> bool:
        target, result = find_target(), provenance(make=False)
        if target is None or result is None:
            return False
        documents = [_lock_document(target, build_target)]
        return is_published(documents, layout=attest_layout()) and is_exported(
            _provenance_files(target, result)
        )

    def make(_: bool) -> None:  # noqa: FBT001  - the protocol of Work
        target, result = find_target(), provenance(make=True)
        assert target is not None, "an image is built before its provenance"
        assert result is not None
        publish([_lock_document(target, build_target)], layout=attest_layout())
        export(_provenance_files(target, result))

    return Work(
        inputs=_calmly(inputs, otherwise=None), is_done=_calmly(is_done, otherwise=False), run=make
    )


def image_provenance_work(plan: ImagePlan) -> Work:
    """Return how an image's provenance is made, and its lock attached."""
    return _provenance_work(
        functools.partial(image_target, plan),
        functools.partial(_image_provenance, plan),
        str(plan),
    )


def index_provenance_work(plans: tuple[ImagePlan, ...]) -> Work:
    """Return how an index's provenance is made, and its lock attached."""
    return _provenance_work(
        functools.partial(index_target, plans),
        functools.partial(_index_provenance, plans),
        f"{plans[0].release}:{plans[0].name}",
    )


def _calmly(question: Callable[[], T], *, otherwise: T) -> Callable[[], T]:
    """Answer otherwise where the settings are at fault; the action says what is wrong with them."""

    @functools.wraps(question)
    def ask() -> T:
        try:
            return question()
        except PipelineError:
            return otherwise

    return ask


# ---------------------------------------------------------------- sign


def _image_statements(plan: ImagePlan) -> tuple[Blob, ...] | None:
    sbom, provenance = _sbom(plan), _image_provenance(plan, make=False)
    if sbom is None or provenance is None:
        return None
    return (*sbom.statements, provenance.statement)


def _index_statements(plans: tuple[ImagePlan, ...]) -> tuple[Blob, ...] | None:
    provenance = _index_provenance(plans, make=False)
    return None if provenance is None else (provenance.statement,)


def _named_image(plan: ImagePlan) -> Target | None:
    return image_target(plan, references=image_references(plan))


def _named_index(plans: tuple[ImagePlan, ...]) -> Target | None:
    return index_target(plans, references=index_references(plans))


def _check_settings() -> None:
    if not settings().is_signing:
        raise ConfigurationError(
            "there is nothing to sign with",
            hint="declare [signing] key or gpg_key, or say here key=FILE or gpg_key=FINGERPRINT",
        )


def _sign_work(
    find_target: Callable[[], Target | None],
    find_statements: Callable[[], tuple[Blob, ...] | None],
) -> Work:
    def parts() -> tuple[Target, tuple[Blob, ...]] | None:
        _check_settings()
        target, statements = find_target(), find_statements()
        return None if target is None or statements is None else (target, statements)

    def inputs() -> str | None:
        found = parts()
        if found is None:
            return None
        return signing_inputs(*found, signatures(), gpg_signatures())

    def is_done() -> bool:
        found = parts()
        return found is not None and _is_signed(*found)

    def make(suspicious: bool) -> None:  # noqa: FBT001  - the protocol of Work
        found = parts()
        assert found is not None, "an image and its statements are there before they are signed"
        _sign(*found, suspicious=suspicious)

    return Work(
        inputs=_calmly(inputs, otherwise=None), is_done=_calmly(is_done, otherwise=False), run=make
    )


def _is_signed(target: Target, statements: Sequence[Blob]) -> bool:
    keys, gpg = signatures(), gpg_signatures()
    if gpg is not None and not is_signed(target, gpg, lookaside=lookaside()):
        return False
    if keys is None:
        return True
    signed = recall_signatures(target, keys, store=PROJECT.store)
    attested = recall_attestations(target, statements, keys, store=PROJECT.store)
    if signed is None or attested is None:
        return False
    return is_published((*signed, *attested), layout=attest_layout())


def _sign(target: Target, statements: Sequence[Blob], *, suspicious: bool) -> None:
    keys, gpg = signatures(), gpg_signatures()
    if gpg is not None:
        sign_with_gpg(target, gpg, lookaside=lookaside())
    if keys is not None:
        documents = (
            *sign(target, keys, store=PROJECT.store, suspicious=suspicious),
            *attest(target, statements, keys, store=PROJECT.store, suspicious=suspicious),
        )
        publish(documents, layout=attest_layout())


def image_sign_work(plan: ImagePlan) -> Work:
    """Return how an image and what is said of it are signed."""
    return _sign_work(
        functools.partial(_named_image, plan), functools.partial(_image_statements, plan)
    )


def index_sign_work(plans: tuple[ImagePlan, ...]) -> Work:
    """Return how an index and what is said of it are signed."""
    return _sign_work(
        functools.partial(_named_index, plans), functools.partial(_index_statements, plans)
    )


# ---------------------------------------------------------------- prune


def _targets() -> list[Target]:
    """Return all there is to sign; raises while some of it is missing."""
    found: list[Target | None] = [_named_image(plan) for plan in image_plans().values()]
    found += [_named_index(plans) for plans in PROJECT.plan.references().values()]
    if None in found:
        raise ConfigurationError("some images are not built yet")
    return [target for target in found if target is not None]


def _wanted(targets: Sequence[Target]) -> list[str]:
    """Return the names in the layout of attestations that belong to images there are."""
    starts = tuple(target.name_of("") for target in targets)
    return [name for name in attest_layout().references() if name.startswith(starts)]


def _stale_signatures(targets: Sequence[Target]) -> list[Path]:
    wanted = {lookaside() / name for name in lookaside_directories(targets)}
    found = sorted(lookaside().rglob("*@sha256=*")) if lookaside().is_dir() else []
    return [path for path in found if path not in wanted]


def is_pruned() -> bool:
    """Say whether nothing of earlier images is left; raises while an image is missing."""
    targets = _targets()
    names = attest_layout().references()
    return len(_wanted(targets)) == len(names) and not _stale_signatures(targets)


def prune() -> None:
    """Remove what belongs to earlier images."""
    targets = _targets()
    attest_layout().prune(_wanted(targets))
    for path in _stale_signatures(targets):
        shutil.rmtree(path)
