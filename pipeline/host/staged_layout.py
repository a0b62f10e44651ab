"""An OCI layout in the making: whole and valid before anybody sees any of it.

Specification: image-spec v1.1.1, image-layout.md. The new blobs and a layout around them lie in a
folder beside the place where they will be. Publishing renames that folder, or moves the blobs into
the layout that is there, and last, under its lock, replaces index.json.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pipeline.errors import LayoutError
from pipeline.formats import canonical_json
from pipeline.formats.digest import CHUNK, HashingWriter
from pipeline.host.layout import Layout
from pipeline.host.output import MODE, check_folder
from pipeline.host.store import Blob, write_atomically
from pipeline.oci.image import LAYOUT_BYTES
from pipeline.oci.media_type import REF_NAME, MediaType

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_INDEX = "index.json"
_HEADER = "oci-layout"
_FOLDER_MODE = 0o755


class StagedLayout:
    """The new blobs of a layout; a context manager that leaves nothing behind."""

    def __init__(self, target: Path) -> None:
        self._target = target.absolute()
        folder = check_folder(self._target)
        self.root = Path(tempfile.mkdtemp(prefix=f".{self._target.name[:32]}.", dir=folder))
        self._blobs = self.root / "blobs" / "sha256"

    def __enter__(self) -> Self:
        self._blobs.mkdir(parents=True)
        for folder in (self._blobs, self._blobs.parent, self.root):
            folder.chmod(_FOLDER_MODE)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.root, ignore_errors=True)

    @contextlib.contextmanager
    def writer(self) -> Iterator[HashingWriter]:
        """Give a sink for a blob; it has its name when the block ends without an error."""
        path = self.root / "part"
        with path.open("wb", buffering=CHUNK) as f:
            writer = HashingWriter(f)
            yield writer
        path.chmod(MODE)
        path.replace(self._blobs / writer.digest.hex)

    def put(self, data: bytes) -> Blob:
        """Add a blob."""
        with self.writer() as sink:
            sink.write(data)
        return Blob(digest=sink.digest, size=sink.size)

    def finish(self, descriptor: Mapping[str, object]) -> Layout:
        """Write the layout around one image; return it, to be looked at before it is published.

        Args:
            descriptor: as index.json has it.
        """
        for name, data in ((_HEADER, LAYOUT_BYTES), (_INDEX, _index({}, descriptor))):
            (self.root / name).write_bytes(data)
            (self.root / name).chmod(MODE)
        return Layout(self.root)

    def publish(self, descriptor: Mapping[str, object]) -> None:
        """Put everything in its place; an image of the same name makes way."""
        if not self._target.exists():
            self.root.replace(self._target)
            return
        if not (self._target / _HEADER).is_file():
            raise LayoutError("exists and is no OCI layout", context=str(self._target))
        blobs = self._target / "blobs" / "sha256"
        blobs.mkdir(parents=True, exist_ok=True)
        for path in sorted(self._blobs.iterdir()):
            path.replace(blobs / path.name)
        with _locked(self._target):
            raw = (self._target / _INDEX).read_bytes()
            index = canonical_json.loads_object(raw, error=LayoutError)
            write_atomically(self._target / _INDEX, _index(index, descriptor))


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _index(index: Mapping[str, object], descriptor: Mapping[str, object]) -> bytes:
    """Return index.json with one more image, in the order of names."""
    manifests = index.get("manifests")
    others = [m for m in manifests if isinstance(m, dict)] if isinstance(manifests, list) else []
    name = _name(descriptor)
    listed = [m for m in others if _name(m) != name] + [dict(descriptor)]
    return canonical_json.dumps(
        {
            **index,
            "schemaVersion": 2,
            "mediaType": MediaType.INDEX.value,
            "manifests": sorted(listed, key=_name),
        }
    )


def _name(descriptor: Mapping[str, object]) -> str:
    annotations = descriptor.get("annotations")
    name = annotations.get(REF_NAME) if isinstance(annotations, dict) else None
    return name if isinstance(name, str) else ""
