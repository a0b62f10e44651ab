"""An OCI image layout in a directory: reading, and publishing into it.

Specification: image-spec v1.1.1, image-layout.md.

Several processes may publish into one layout; `index.json` is read, changed and replaced under a
lock on the directory. Blobs are copied, so that an edit of the layout never reaches the store.
What was verified is remembered beside the store as the store remembers its own blobs: by size,
mtime, ctime and inode. Whatever differs is hashed again, and replaced if it is not what it should
be.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from typing import TYPE_CHECKING, Final

from pipeline.errors import LayoutError
from pipeline.formats import canonical_json
from pipeline.formats.digest import Digest
from pipeline.formats.fields import get_as
from pipeline.host.regular_file import open_regular
from pipeline.host.store import copy_file, fingerprint, hash_file, sweep_file, write_atomically
from pipeline.oci.descriptor import Descriptor, get_descriptors
from pipeline.oci.image import LAYOUT_BYTES, ImageIndex
from pipeline.oci.media_type import REF_NAME

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import BinaryIO

    from pipeline.host.store import Blob, Store

_INDEX = "index.json"
_HEADER = "oci-layout"
_DEFAULT_NAME: Final = "oci"


def beside(output: Path, name: str) -> Path:
    """Return a directory beside a layout of images: `build/attest` beside `build/oci`.

    Beside a layout of another name, `build/x`, it is `build/x.attest`.
    """
    is_default = output.name == _DEFAULT_NAME
    return output.with_name(name if is_default else f"{output.name}.{name}")


class Layout:
    """Read access to a layout directory; a `LayoutSource`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, digest: Digest) -> Path:
        """Return where a blob is, or would be."""
        return self.root / "blobs" / "sha256" / digest.hex

    def read(self, name: str) -> bytes:
        """Return a file at the top of the layout."""
        with open_regular(self.root / name) as f:
            return f.read()

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob."""
        return open_regular(self.path(digest))

    def references(self) -> dict[str, Descriptor]:
        """Return what index.json names; empty where there is no layout yet.

        Raises:
            LayoutError: index.json is not one.
        """
        try:
            raw = self.read(_INDEX)
        except FileNotFoundError:
            return {}
        try:
            d = canonical_json.loads_object(raw, error=LayoutError)
            descriptors = get_descriptors(d, "manifests")
        except LayoutError as e:
            raise e.in_document(str(self.root / _INDEX)) from None
        return {
            descriptor.annotations[REF_NAME]: descriptor
            for descriptor in descriptors
            if REF_NAME in descriptor.annotations
        }


class PublishedLayout(Layout):
    """A layout that this project writes."""

    def __init__(self, root: Path, *, store: Store) -> None:
        super().__init__(root)
        self._store = store
        key = Digest.of(os.fsencode(root.absolute())).hex[:16]
        self._memory = store.root / "layouts" / f"{key}.json"
        self._claim = store.root / "layouts" / f"{key}.claim"

    def claim(self, declaration: Path) -> None:
        """Reserve the layout for the images of one declaration: `prune` removes all others.

        Raises:
            LayoutError: it is another declaration's, or a directory of other things.
        """
        if self._is_claimed(declaration):
            return
        header = self.root / _HEADER
        with self._locked():  # nobody else's first blob may come between looking and claiming
            if self._is_claimed(declaration):
                return
            if not self._memory.exists() and not header.exists() and self._has_content():
                raise LayoutError(
                    f"{self.root}: got a directory of other things, want an OCI layout or nothing",
                    hint="name another directory as `output`",
                )
            if not header.exists():
                write_atomically(header, LAYOUT_BYTES)
            with contextlib.suppress(OSError):  # a store that may only be read
                write_atomically(self._claim, os.fsencode(str(declaration.absolute())))

    def _is_claimed(self, declaration: Path) -> bool:
        try:
            other = self._claim.read_text("utf-8", "surrogateescape")
        except FileNotFoundError:
            return False
        if other == str(declaration.absolute()):
            return True
        if os.path.exists(other):  # noqa: PTH110  - a name of any bytes
            raise LayoutError(
                f"{self.root} holds the images of {other}",
                hint=f"give {declaration} an `output` of its own",
            )
        return False

    def _has_content(self) -> bool:
        unfinished = f".{_HEADER}."  # of a run that was killed
        return any(not path.name.startswith(unfinished) for path in self.root.iterdir())

    # ------------------------------------------------------------ belief

    def _remembered(self) -> dict[str, list[int]]:
        try:
            value = json.loads(self._memory.read_bytes())
        except (OSError, ValueError):
            return {}
        return value if isinstance(value, dict) else {}

    def holds(self, name: str, descriptor: Descriptor, blobs: Iterable[Blob]) -> bool:
        """Say whether the layout has this reference and, verified, all of these blobs."""
        try:
            if self.references().get(name) != _named(descriptor, name):
                return False
            if self.read(_HEADER) != LAYOUT_BYTES:
                return False
        except (LayoutError, OSError):
            return False
        memory = self._remembered()
        return all(self._is_true(blob, memory) for blob in blobs)

    def _is_true(self, blob: Blob, memory: Mapping[str, list[int]]) -> bool:
        path = self.path(blob.digest)
        now = fingerprint(path)
        if now is None or now[0] != blob.size:
            return False
        return memory.get(blob.digest.hex) == now or hash_file(path) == blob.digest

    # ------------------------------------------------------------ publishing

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.root, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def publish(self, name: str, descriptor: Descriptor, blobs: Iterable[Blob]) -> None:
        """Put blobs of the store into the layout, and then the reference to them."""
        self._store.sweep()
        needed = tuple(blobs)
        memory = self._remembered()
        for blob in needed:
            if not self._is_true(blob, memory):
                copy_file(self._store.path(blob.digest), self.path(blob.digest))
        with self._locked():
            for blob in needed:  # another process may have pruned what nobody referred to yet
                if not self.path(blob.digest).exists():
                    copy_file(self._store.path(blob.digest), self.path(blob.digest))
            references = self._readable_references()
            references[name] = _named(descriptor, name)
            self._write(references)
            memory = self._remembered()
            for blob in needed:
                now = fingerprint(self.path(blob.digest))
                if now is not None:
                    memory[blob.digest.hex] = now
            self._remember(memory)

    def _readable_references(self) -> dict[str, Descriptor]:
        """Return the references, or none if somebody has broken index.json: it is made anew."""
        try:
            return self.references()
        except LayoutError:
            return {}

    def _write(self, references: Mapping[str, Descriptor]) -> None:
        index = ImageIndex(
            manifests=tuple(references[name] for name in sorted(references)), annotations={}
        )
        for name, data in ((_HEADER, LAYOUT_BYTES), (_INDEX, index.to_bytes())):
            path = self.root / name
            if not path.exists() or path.read_bytes() != data:
                write_atomically(path, data)

    def _remember(self, memory: Mapping[str, list[int]]) -> None:
        with contextlib.suppress(OSError):  # a store that may only be read: hashed again next time
            write_atomically(self._memory, canonical_json.dumps(dict(memory)))

    def withdraw(self, name: str) -> None:
        """Remove a reference; its blobs go with the next `prune`."""
        if not self.root.is_dir():
            return
        with self._locked():
            references = self._readable_references()
            if references.pop(name, None) is not None:
                self._write(references)

    def remove(self) -> None:
        """Remove the whole layout, if that is what the directory is."""
        if (self.root / _HEADER).is_file():
            shutil.rmtree(self.root)
        self._memory.unlink(missing_ok=True)
        self._claim.unlink(missing_ok=True)

    def prune(self, names: Iterable[str]) -> None:
        """Remove every other reference, and the blobs that only those needed."""
        wanted = frozenset(names)
        with self._locked():
            references = {
                name: descriptor
                for name, descriptor in self._readable_references().items()
                if name in wanted
            }
            self._write(references)
            reachable = set(self._reachable(references.values()))
            for path in self._strays(reachable):
                if path.name.startswith("."):
                    sweep_file(path)
                else:
                    path.unlink()
            memory = self._remembered()
            self._remember({key: value for key, value in memory.items() if key in reachable})

    def is_pruned(self, names: Iterable[str]) -> bool:
        """Say whether the layout has these references, and no blob that they do not need."""
        try:
            references = self.references()
            reachable = set(self._reachable(references.values()))
        except (LayoutError, OSError):
            return False
        return references.keys() == set(names) and not self._strays(reachable)

    def _strays(self, reachable: Container[str]) -> list[Path]:
        folder = self.root / "blobs" / "sha256"
        found = sorted(folder.iterdir()) if folder.is_dir() else []
        return [path for path in found if path.name not in reachable]

    def _reachable(self, descriptors: Iterable[Descriptor]) -> Iterator[str]:
        for descriptor in descriptors:
            yield descriptor.digest.hex
            d = canonical_json.loads_object(
                self.path(descriptor.digest).read_bytes(), error=LayoutError
            )
            if "manifests" in d:
                yield from self._reachable(get_descriptors(d, "manifests"))
            else:
                yield from (layer.digest.hex for layer in get_descriptors(d, "layers"))
                yield get_as(d, dict, Descriptor.from_dict, "config", error=LayoutError).digest.hex


def _named(descriptor: Descriptor, name: str) -> Descriptor:
    """Return a descriptor as index.json has it."""
    return Descriptor(
        media_type=descriptor.media_type,
        digest=descriptor.digest,
        size=descriptor.size,
        platform=descriptor.platform,
        annotations={**descriptor.annotations, REF_NAME: name},
    )
