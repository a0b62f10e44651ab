"""Compare what is said of images: SBOM, provenance, lock; what follows from what.

1. What is said of images that differ differs as well, and is not looked into.
2. So does a document that repeats another one, or refers to it, if that one differs.
3. The identifiers that an SBOM has of its content follow from the rest of it. They are a finding if
   nothing else differs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from reproducibility.causes import Cause
from reproducibility.compare_json import ABSENT, compare_json
from reproducibility.findings import (
    AttachmentResult,
    Blob,
    Difference,
    Found,
    Level,
    Place,
    State,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from reproducibility.attachments import Attachment
    from reproducibility.findings import Comparison, ImageResult, PlatformResult
    from reproducibility.patterns import Hints

_OF_CONTENT: Final = ("$.documentNamespace", "$.serialNumber")


def compare_attachments(
    comparison: Comparison, a: Iterable[Attachment], b: Iterable[Attachment], *, hints: Hints
) -> Comparison:
    """Add to a comparison of two builds' images what is said of these images.

    Args:
        comparison: of the images.
        a: what is said of those of A.
        b: what is said of those of B.
        hints: what is known of the surroundings in which A and B were made.
    """
    comparer = _Comparer(a, b, hints)
    images = tuple(comparer.image(image) for image in comparison.images)
    differences = (*comparison.differences, *comparer.differences)
    return replace(comparison, images=images, differences=differences)


class _Comparer:
    def __init__(self, a: Iterable[Attachment], b: Iterable[Attachment], hints: Hints) -> None:
        self._a = {attachment.key: attachment for attachment in a}
        self._b = {attachment.key: attachment for attachment in b}
        self._hints = hints
        self.differences: list[Difference] = []

    def image(self, image: ImageResult) -> ImageResult:
        """Compare what is said of an image, for all platforms."""
        platforms = tuple(self._platform(image, platform) for platform in image.platforms)
        return replace(
            image, platforms=platforms, attachments=self._all(image.name, "", image.index.state)
        )

    def _platform(self, image: ImageResult, platform: PlatformResult) -> PlatformResult:
        found = self._all(image.name, platform.platform, platform.manifest.state)
        return replace(platform, attachments=found)

    def _all(self, image: str, platform: str, state: State) -> tuple[AttachmentResult, ...]:
        """Compare what is said of one thing that is itself in some state."""
        keys = [k for k in dict.fromkeys((*self._a, *self._b)) if k[:2] == (image, platform)]
        different: set[str] = set()
        results = []
        for key in keys:
            a, b = self._a.get(key), self._b.get(key)
            one = a or b
            assert one is not None, "a key of one of the two"
            result = AttachmentResult(name=one.name, state=_state(a, b), a=_blob(a), b=_blob(b))
            results.append(result)
            if result.state is State.IDENTICAL:
                continue
            different.add(one.kind.ending)
            follows = state is not State.IDENTICAL or one.kind.follows in different
            if result.state is not State.DIFFERENT or not follows:
                self._note(one, self._found(a, b))
        return tuple(results)

    def _found(self, a: Attachment | None, b: Attachment | None) -> Sequence[Found]:
        if a is None or b is None:
            sides = [ABSENT if side is None else "a document" for side in (a, b)]
            return (_found(Cause.PRESENCE, *sides),)
        found = compare_json(
            a.read(),
            b.read(),
            hints=self._hints,
            is_name=lambda _: False,
            otherwise=Cause.CONFIGURATION,
        )
        if found is None:
            return (_found(Cause.UNKNOWN, a.digest, b.digest),)
        return [f for f in found if f.inside not in _OF_CONTENT] or found

    def _note(self, attachment: Attachment, found: Iterable[Found]) -> None:
        place = Place(
            image=attachment.image,
            platform=attachment.platform,
            layer="",
            path="",
            attachment=attachment.name,
        )
        self.differences += [
            Difference(
                level=Level.ATTACHMENT,
                cause=f.cause,
                place=place,
                inside=f.inside,
                package=f.package,
                a=f.a,
                b=f.b,
                evidence=f.evidence,
                also_in=(),
                ignored=False,
            )
            for f in found
        ]


def _state(a: Attachment | None, b: Attachment | None) -> State:
    if a is None or b is None:
        return State.ONLY_B if a is None else State.ONLY_A
    return State.IDENTICAL if a.digest == b.digest else State.DIFFERENT


def _blob(attachment: Attachment | None) -> Blob | None:
    if attachment is None:
        return None
    return Blob(
        digest=attachment.digest, size=attachment.size, media_type=attachment.kind.media_type
    )


def _found(cause: Cause, a: str, b: str) -> Found:
    return Found(cause=cause, inside="", package="", a=a, b=b, evidence=())
