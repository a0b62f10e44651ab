"""Whatever can be compared, opened as one model: source -> images -> platforms -> layers.

| written | what |
|---|---|
| `oci:PATH` | an OCI layout: every image that its index names |
| `oci:PATH:NAME` | one image of it |
| `oci:PATH@sha256:…` | one image of it by digest, named or not |
| `oci-archive:FILE[:NAME]` | the same as a tar, compressed or not |
| `docker-archive:FILE[:NAME]` | what `docker save` writes |
| `tar:FILE` | a root file system as a tar, compressed or not |
| `dir:PATH` | a root file system as a directory |

Without a prefix the kind is found by looking. Nothing is unpacked; a compressed archive of a layout
is decompressed once into an unnamed temporary file, because its blobs are read in any order.
"""

from __future__ import annotations

import contextlib
import enum
import io
import os
import tarfile
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, Self

from pipeline.errors import ConfigurationError, LayoutError, PipelineError
from pipeline.formats.algorithm import MAGIC, Algorithm, detect
from pipeline.formats.decompression import expansion_limit, open_decompressed
from pipeline.formats.digest import Digest, copy_stream
from reproducibility.layers import DirectoryLayer, TarLayer
from reproducibility.model import Image, Platform
from reproducibility.documents import images_of_docker_archive, images_of_layout

if TYPE_CHECKING:
    from typing import BinaryIO
