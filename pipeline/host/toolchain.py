"""What of this installation decides bytes: our own code, and the encoders we use."""

from __future__ import annotations

import functools
import hashlib
from importlib import metadata
from pathlib import Path
from typing import Final

import pipeline

_ENCODERS: Final = {"gzip": "deflate", "zstd": "zstandard"}
"""Python distributions that bundle the encoder of a compression."""


@functools.cache
def code_digest() -> str:
    """Return the sha256 of this package's source files; a change of code is a change of inputs."""
    root = Path(pipeline.__file__).parent
    state = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        state.update(f"{path.relative_to(root)}\0".encode())
        state.update(path.read_bytes())
    return state.hexdigest()


@functools.cache
def encoder_version(algorithm: str) -> str:
    """Return the distribution and version whose encoder makes layers of a compression.

    Read from its metadata: loading the encoder only to ask it would be most of the time of a run
    that has nothing to do.
    """
    name = _ENCODERS.get(algorithm)
    return "none" if name is None else f"{name} {metadata.version(name)}"
