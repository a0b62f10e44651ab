"""Why an image is another than the one that its lock makes: both side by side, as `diff` has it."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pipeline.errors import TooLargeError
from pipeline.host.layout import PublishedLayout
from pipeline.host.registry_progress import Transfers
from pipeline.host.store import Store
from pipeline.stages.pull import Wanted, pull
from reproducibility.compare import Options, compare
from reproducibility.findings import Report
from reproducibility.findings import Subject as Side
from reproducibility.report import ARTIFACTS
from reproducibility.verify_place import LayoutPlace, RegistryPlace
from reproducibility.wording import size_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pipeline.formats.digest import Digest
    from pipeline.host.fetch import Progress
    from pipeline.oci.descriptor import Descriptor
    from reproducibility.diffoscope import Diffoscope
    from reproducibility.findings import Comparison
    from reproducibility.verify_attempt import Bench
    from reproducibility.verify_build import Built
    from reproducibility.verify_image import Subject

PUBLISHED: Final = "published"
_NAME: Final = "published:image"
_KINDS: Final = {LayoutPlace: "OCI layout", RegistryPlace: "registry"}


def _source(
    place: RegistryPlace | LayoutPlace, subject: Subject, work: Path, *, is_quiet: bool
) -> str:
    """Return the published image as `reproducibility.sources` names it; fetch it for that."""
    digest = subject.chosen.digest
    if isinstance(place, LayoutPlace):
        return f"{place.kind}:{place.path}@{digest}"
    store = Store(work / "blobs")
    pull(
        Wanted(reference=place.reference.with_digest(digest), name=_NAME),
        registry=place.registry,
        layout=PublishedLayout(work / "oci", store=store),
        store=store,
        open_progress=None if is_quiet else _progress,
    )
    return f"oci:{work / 'oci'}@{digest}"


@contextlib.contextmanager
def _progress(blobs: Sequence[Descriptor]) -> Iterator[Progress]:
    with Transfers("fetching the published image") as transfers:
        transfers.expect(blobs)
        sizes = {str(blob.digest): blob for blob in blobs}
        yield lambda wanted, size: transfers.advance(sizes[wanted.path], size)


def explain(
    place: RegistryPlace | LayoutPlace,
    subject: Subject,
    built: Built,
    *,
    bench: Bench,
    diffoscope: Diffoscope | None,
    report: Path | None,
) -> Comparison:
    """Compare the published image with the one that was built.

    Args:
        place: where the published one is.
        subject: which it is.
        built: the other.
        bench: where to fetch it to, and how much of it at the most.
        diffoscope: None leaves it out.
        report: the folder of a report; None for none.

    Raises:
        PipelineError: the published image cannot be had, or is not whole.
    """
    size = sum(blob.size for blob in subject.blobs)
    if size > bench.limit:
        raise TooLargeError(
            f"the published image, {size_text(size)}", bench.limit, hint="allow more: --limit SIZE"
        )
    bench.say("fetching the published image to compare it")
    source = _source(place, subject, bench.work / PUBLISHED, is_quiet=bench.is_quiet)
    bench.say("comparing")
    options = Options(
        label="published and rebuilt",
        diffoscope=diffoscope,
        artifacts=report / ARTIFACTS if report else None,
        progress=bench.watch,
    )
    comparison = compare(source, f"oci:{built.layout}@{built.root}", options)
    return _named(comparison, place, subject.chosen.digest, built.root)


def agree(place: RegistryPlace | LayoutPlace, built: Built) -> Comparison:
    """Return the comparison of an image that was reproduced: it is the rebuilt one."""
    text = f"oci:{built.layout}@{built.root}"
    comparison = compare(text, text, Options(label="published and rebuilt", diffoscope=None))
    return _named(comparison, place, built.root, built.root)


def _named(
    comparison: Comparison, place: RegistryPlace | LayoutPlace, a: Digest, b: Digest
) -> Comparison:
    """Call the two sides what they are, not where they lie for the moment."""
    return replace(
        comparison,
        a=Side(name=str(place), kind=_KINDS[type(place)], digest=str(a)),
        b=Side(name="rebuilt from its lock", kind="OCI layout", digest=str(b)),
        timings=(),
    )


def make_report(
    comparison: Comparison,
    *,
    title: str,
    notes: tuple[str, ...],
    generated: str | None,
    tools: tuple[str, ...],
) -> Report:
    """Put a comparison into the form that an audit has."""
    return Report(
        title=title,
        comparisons=(comparison,),
        matrix=None,
        notes=notes,
        generated=generated,
        tools=tools,
        timings=(),
    )
