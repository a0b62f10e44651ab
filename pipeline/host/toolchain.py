"""What of this installation decides bytes: our own code, and the encoders we use."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import pipeline


@functools.cache
def code_digest() -> str:
    """Return the sha256 of this package's source files; a change of code is a change of inputs."""
    root = Path(pipeline.__file__).parent
    state = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        state.update(f"{path.relative_to(root)}\0".encode())
        state.update(path.read_bytes())
    return state.hexdigest()
