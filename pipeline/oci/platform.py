"""Platform: operating system and CPU, under the names of Go.

Specification: image-spec v1.1.1, image-index.md. FreeBSD's architecture names are mapped here;
`variant` and `os.version` are left out: every client matches freebsd/arm64 without them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.errors import LayoutError
from pipeline.formats.fields import get_optional, get_required

if TYPE_CHECKING:
    from collections.abc import Mapping

GOARCH: Final = {
    "aarch64": "arm64",
    "amd64": "amd64",
    "armv7": "arm",
    "i386": "386",
    "powerpc64le": "ppc64le",
    "riscv64": "riscv64",
}
"""FreeBSD's MACHINE_ARCH to GOARCH."""

_VARIANT: Final = {"armv7": "v7"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """Where an image runs."""

    os: str
    architecture: str
    variant: str | None = None

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        d: dict[str, object] = {"os": self.os, "architecture": self.architecture}
        if self.variant is not None:
            d["variant"] = self.variant
        return d

    @classmethod
    def from_dict(cls, d: Mapping[str, object]) -> Platform:
        """Read the JSON form."""
        return cls(
            os=get_required(d, str, "os", error=LayoutError),
            architecture=get_required(d, str, "architecture", error=LayoutError),
            variant=get_optional(d, str, "variant", error=LayoutError),
        )

    @classmethod
    def for_freebsd(cls, architecture: str) -> Platform:
        """Return the platform of FreeBSD on one of its architectures."""
        return cls(
            os="freebsd",
            architecture=GOARCH[architecture],
            variant=_VARIANT.get(architecture),
        )
