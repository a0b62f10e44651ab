"""Descriptor: media type, digest and size of some content.

Specification: image-spec v1.1.1, descriptor.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline.errors import LayoutError
from pipeline.formats.digest import Digest
from pipeline.formats.fields import checked, get_as, get_optional, get_required
from pipeline.oci.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Mapping


def string_map(d: Mapping[str, object], key: str) -> dict[str, str]:
    """Read a map of strings; absent is empty."""
    raw = get_optional(d, dict, key, error=LayoutError) or {}
    for name, value in raw.items():
        if not isinstance(value, str):
            raise LayoutError("want a string", context=f"{key}.{name}")
    return dict(raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """A reference to content by what it is."""

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    artifact_type: str | None = None

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        d: dict[str, object] = {
            "mediaType": str(self.media_type),
            "digest": str(self.digest),
            "size": self.size,
        }
        if self.platform is not None:
            d["platform"] = self.platform.to_dict()
        if self.annotations:
            d["annotations"] = dict(self.annotations)
        if self.artifact_type is not None:
            d["artifactType"] = self.artifact_type
        return d

    @classmethod
    def from_dict(cls, d: Mapping[str, object]) -> Descriptor:
        """Read the JSON form; fields that nobody here needs are passed over."""
        size = get_required(d, int, "size", error=LayoutError)
        if size < 0:
            raise LayoutError(f"got {size}, want no negative", context="size")
        platform = None
        if "platform" in d:
            platform = get_as(d, dict, Platform.from_dict, "platform", error=LayoutError)
        return cls(
            media_type=get_required(d, str, "mediaType", error=LayoutError),
            digest=get_as(d, str, Digest.parse, "digest", error=LayoutError),
            size=size,
            platform=platform,
            annotations=string_map(d, "annotations"),
            artifact_type=get_optional(d, str, "artifactType", error=LayoutError),
        )


def get_descriptors(d: Mapping[str, object], key: str) -> tuple[Descriptor, ...]:
    """Return d[key], which must be there, a list of descriptors."""
    result = []
    for number, item in enumerate(get_required(d, list, key, error=LayoutError)):
        try:
            result.append(Descriptor.from_dict(checked(item, dict, context="", error=LayoutError)))
        except LayoutError as e:
            raise e.within(f"{key}[{number}]") from None
    return tuple(result)
