"""ImageConfig, ImageManifest, ImageIndex: values to exact bytes.

Specification: image-spec v1.1.1, config.md, manifest.md, image-index.md, image-layout.md. JSON is
written canonically (docs/FORMAT.md, section JSON). Foreign documents are read by `validate`, which
keeps their bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.formats import canonical_json
from pipeline.formats.digest import Digest
from pipeline.oci.descriptor import Descriptor
from pipeline.oci.media_type import MediaType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.oci.platform import Platform

LAYOUT_BYTES: Final = canonical_json.dumps({"imageLayoutVersion": "1.0.0"})
"""The file `oci-layout`."""

EMPTY_BYTES: Final = b"{}"
"""The content of the empty descriptor (manifest.md, guidance for an empty descriptor)."""

_MAX_YEAR_SECONDS: Final = 253_402_300_799


def rfc3339(seconds: int) -> str:
    """Format seconds since the epoch as RFC 3339 in UTC, without a library's locale or clock."""
    if not 0 <= seconds <= _MAX_YEAR_SECONDS:
        raise ValueError(f"{seconds} is not a time between 1970 and 9999")
    days, rest = divmod(seconds, 86400)
    era_days = days + 719_468  # days since 0000-03-01, proleptic Gregorian
    era, doe = divmod(era_days, 146_097)
    yoe = (doe - doe // 1460 + doe // 36_524 - doe // 146_096) // 365
    doy = doe - (365 * yoe + yoe // 4 - yoe // 100)
    mp = (5 * doy + 2) // 153
    day = doy - (153 * mp + 2) // 5 + 1
    month = mp + 3 if mp < 10 else mp - 9  # noqa: PLR2004
    year = yoe + era * 400 + (month <= 2)  # noqa: PLR2004
    return (
        f"{year:04d}-{month:02d}-{day:02d}"
        f"T{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}Z"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLayer:
    """A layer as an image refers to it."""

    descriptor: Descriptor
    diff_id: Digest
    created_by: str
    """One line of history."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeConfig:
    """The part of a config that says how to run the image; empty fields are left out."""

    cmd: tuple[str, ...]
    entrypoint: tuple[str, ...]
    env: tuple[str, ...]
    exposed_ports: tuple[str, ...]
    labels: Mapping[str, str]
    stop_signal: str
    user: str
    volumes: tuple[str, ...]
    working_dir: str

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        fields: dict[str, object] = {
            "Cmd": list(self.cmd),
            "Entrypoint": list(self.entrypoint),
            "Env": list(self.env),
            "ExposedPorts": {port: {} for port in self.exposed_ports},
            "Labels": dict(self.labels),
            "StopSignal": self.stop_signal,
            "User": self.user,
            "Volumes": {path: {} for path in self.volumes},
            "WorkingDir": self.working_dir,
        }
        return {key: value for key, value in fields.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """The configuration of an image for one platform."""

    platform: Platform
    created: int
    """Seconds since the epoch."""
    runtime: RuntimeConfig
    layers: tuple[ImageLayer, ...]

    def to_bytes(self) -> bytes:
        """Encode; history has exactly one entry a layer."""
        created = rfc3339(self.created)
        return canonical_json.dumps(
            {
                **self.platform.to_dict(),
                "created": created,
                "config": self.runtime.to_dict(),
                "rootfs": {
                    "type": "layers",
                    "diff_ids": [str(layer.diff_id) for layer in self.layers],
                },
                "history": [
                    {"created": created, "created_by": layer.created_by} for layer in self.layers
                ],
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageManifest:
    """The manifest of an image for one platform."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str]

    def to_bytes(self) -> bytes:
        """Encode."""
        d: dict[str, object] = {
            "schemaVersion": 2,
            "mediaType": MediaType.MANIFEST.value,
            "config": self.config.to_dict(),
            "layers": [layer.to_dict() for layer in self.layers],
        }
        if self.annotations:
            d["annotations"] = dict(self.annotations)
        return canonical_json.dumps(d)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageIndex:
    """An index: over the platforms of an image, or over the images of a layout."""

    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str]

    def to_bytes(self) -> bytes:
        """Encode."""
        d: dict[str, object] = {
            "schemaVersion": 2,
            "mediaType": MediaType.INDEX.value,
            "manifests": [manifest.to_dict() for manifest in self.manifests],
        }
        if self.annotations:
            d["annotations"] = dict(self.annotations)
        return canonical_json.dumps(d)


def descriptor_of(data: bytes, media_type: MediaType) -> Descriptor:
    """Describe bytes."""
    return Descriptor(media_type=media_type, digest=Digest.of(data), size=len(data))
