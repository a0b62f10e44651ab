"""Media types and annotation keys, spelled as the OCI image specification v1.1.1 spells them."""

from __future__ import annotations

import enum
from typing import Final


class MediaType(enum.StrEnum):
    """What a blob is."""

    LAYOUT = "application/vnd.oci.layout.header.v1+json"
    INDEX = "application/vnd.oci.image.index.v1+json"
    MANIFEST = "application/vnd.oci.image.manifest.v1+json"
    CONFIG = "application/vnd.oci.image.config.v1+json"
    EMPTY = "application/vnd.oci.empty.v1+json"
    LAYER = "application/vnd.oci.image.layer.v1.tar"
    LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
    LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"


LAYER_TYPES: Final = {
    "none": MediaType.LAYER,
    "gzip": MediaType.LAYER_GZIP,
    "zstd": MediaType.LAYER_ZSTD,
}
"""By the compression's name in the declaration."""

REF_NAME: Final = "org.opencontainers.image.ref.name"
ZSTD_INSTANCE: Final = "io.github.containers.compression.zstd"
"""Without it on the index's descriptor skopeo refuses to copy a zstd image digest by digest."""
