"""The content-addressed store: blobs by sha256, and what each stage made of which inputs.

Layout below the store's directory:

    blobs/sha256/ab12…       content, written once, named by its digest, as in an OCI layout
    memo/<stage>/ab12….json  inputs (by digest) -> outputs (by digest), named by the inputs
    part/                    downloads in progress
    tmp/                     everything else in progress, locked by whoever writes it

Nothing appears under its final name before it is whole, so an interrupted run leaves no lie behind.

**When a blob is believed.** A memo records, for each output, the file's size, mtime, ctime and
inode at the moment its digest was computed. While all four are unchanged the digest still holds:
the kernel sets ctime at every change of content or metadata, and no ordinary program can set it
back, so a restored mtime does not deceive. Any difference means hashing again, and a blob whose
digest no longer fits is removed and made anew (docs/decisions/0003).
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pipeline.errors import DigestMismatchError
from pipeline.formats import canonical_json
from pipeline.formats.digest import CHUNK, Digest, HashingWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import BinaryIO


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """Some bytes in the store."""

    digest: Digest
    size: int

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {"digest": str(self.digest), "size": self.size}


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a stage made: named blobs, and small facts about them."""

    outputs: Mapping[str, Blob]
    facts: Mapping[str, object]


def fingerprint(path: Path) -> list[int] | None:
    """Return size, mtime, ctime and inode of a file, None if there is none."""
    try:
        s = path.stat()
    except OSError:
        return None
    return [s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino]


def hash_file(path: Path) -> Digest:
    """Compute the digest of a file's content."""
    with path.open("rb") as f:
        return Digest(hashlib.file_digest(f, "sha256").hexdigest())


class BlobWriter:
    """Write content of unknown digest; `commit` names it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        descriptor, name = store.temporary()
        self._path = Path(name)
        self._file: BinaryIO = os.fdopen(descriptor, "wb", buffering=CHUNK)
        self._writer = HashingWriter(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # a full disk has been reported by whoever wrote
            self._file.close()
        self._path.unlink(missing_ok=True)

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._writer.size

    def write(self, data: bytes) -> int:
        """Take more content."""
        try:
            return self._writer.write(data)
        except OSError as e:
            _name_path(e, self._store.root)
            raise

    def commit(self, *, want: Digest | None = None, what: str = "blob") -> Blob:
        """Give the content its name; refuse it if it is not the one wanted."""
        try:
            self._file.flush()
        except OSError as e:
            _name_path(e, self._store.root)
            raise
        digest = self._writer.digest
        if want is not None and digest != want:
            raise DigestMismatchError(what, got=str(digest), want=str(want))
        self._store.adopt(self._path, digest)
        self._file.close()  # and with it the lock: the name is not temporary any more
        return Blob(digest=digest, size=self._writer.size)


class Store:
    """Blobs and memos below one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._blobs = root / "blobs" / "sha256"
        self._memos: dict[Path, Record] = {}
        self._swept = False

    # ------------------------------------------------------------ blobs

    def path(self, digest: Digest) -> Path:
        """Return where a blob is, or would be."""
        return self._blobs / digest.hex

    def has(self, digest: Digest) -> bool:
        """Say whether a file of that name exists; `verify` says whether it is to be believed."""
        return self.path(digest).exists()

    def verify(self, digest: Digest) -> bool:
        """Hash a blob; remove it if it is not what its name says."""
        path = self.path(digest)
        try:
            if hash_file(path) == digest:
                return True
        except FileNotFoundError:
            return False
        path.unlink(missing_ok=True)
        return False

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob for reading."""
        return self.path(digest).open("rb")

    def read(self, digest: Digest) -> bytes:
        """Return a small blob whole."""
        return self.path(digest).read_bytes()

    def put(self, data: bytes) -> Blob:
        """Store bytes; what already has their name is believed only after hashing it."""
        digest = Digest.of(data)
        if not self.verify(digest):
            self._write(data, lambda path: self.adopt(path, digest))
        return Blob(digest=digest, size=len(data))

    def writer(self) -> BlobWriter:
        """Start writing content whose digest is not known yet (a context manager)."""
        return BlobWriter(self)

    def adopt(self, path: Path, digest: Digest) -> None:
        """Move a finished file of this store's file system to its place."""
        path.chmod(0o444)
        _move(path, self.path(digest))

    def temporary(self) -> tuple[int, str]:
        """Create a temporary file, locked for as long as its descriptor is open."""
        return _temporary(self.root / "tmp")

    def _write(self, data: bytes, finish: Callable[[Path], None]) -> None:
        """Write a temporary file, which `finish` moves to its place."""
        descriptor, name = self.temporary()
        try:
            with os.fdopen(descriptor, "wb") as f:
                f.write(data)
                f.flush()
                finish(Path(name))
        except BaseException as e:
            Path(name).unlink(missing_ok=True)
            _name_path(e, self.root)
            raise

    def sweep(self) -> None:
        """Remove temporary files of processes that have died; once in a process is enough."""
        if not self._swept:
            self._swept = True
            _sweep(self.root / "tmp")

    def remove(self, digest: Digest) -> None:
        """Forget a blob."""
        self.path(digest).unlink(missing_ok=True)

    # ------------------------------------------------------------ memos

    def memo_path(self, stage: str, inputs: Mapping[str, object]) -> Path:
        """Return the name of the memo for a stage and its inputs."""
        key = Digest.of(canonical_json.dumps({"stage": stage, "inputs": dict(inputs)})).hex
        return self.root / "memo" / stage / f"{key}.json"

    def recall(
        self, stage: str, inputs: Mapping[str, object], *, suspicious: bool = False
    ) -> Record | None:
        """Return what the stage made of these inputs, if all of it is still there and true.

        Args:
            stage: name of the stage.
            inputs: everything that decides its outputs.
            suspicious: hash every output, whatever its file's stat says.
        """
        path = self.memo_path(stage, inputs)
        if not suspicious and path in self._memos:
            return self._memos[path]
        try:
            raw = json.loads(path.read_bytes())
            stats: dict[str, list[int]] = raw["stats"]
            record = Record(
                outputs={
                    name: Blob(digest=Digest.parse(value["digest"]), size=value["size"])
                    for name, value in raw["outputs"].items()
                },
                facts=raw["facts"],
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        changed = False
        for blob in record.outputs.values():
            held = stats.get(blob.digest.hex)
            if suspicious or held is None or held != fingerprint(self.path(blob.digest)):
                if not self.verify(blob.digest):
                    return None
                changed = True
        if changed:
            with contextlib.suppress(OSError):  # who may only read the store hashes again next time
                self._write_memo(path, stage, inputs, record)
        self._memos[path] = record
        return record

    def memoise(
        self,
        stage: str,
        inputs: Mapping[str, object],
        make: Callable[[], Record],
        *,
        suspicious: bool = False,
    ) -> Record:
        """Return the record of these inputs, calling `make` only if it is not at hand."""
        self.sweep()
        record = self.recall(stage, inputs, suspicious=suspicious)
        if record is None:
            record = make()
            path = self.memo_path(stage, inputs)
            self._write_memo(path, stage, inputs, record)
            self._memos[path] = record
        return record

    def _write_memo(
        self, path: Path, stage: str, inputs: Mapping[str, object], record: Record
    ) -> None:
        document = {
            "stage": stage,
            "inputs": dict(inputs),
            "outputs": {name: blob.to_dict() for name, blob in record.outputs.items()},
            "facts": dict(record.facts),
            "stats": {
                blob.digest.hex: fingerprint(self.path(blob.digest))
                for blob in record.outputs.values()
            },
        }

        def finish(temporary: Path) -> None:
            temporary.chmod(0o666 & ~_umask())
            _move(temporary, path)

        self._write(canonical_json.dumps(document), finish)


def _move(path: Path, target: Path) -> None:
    """Move a file to a folder that may not be there yet."""
    try:
        path.replace(target)
    except FileNotFoundError:
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)


def _name_path(e: BaseException, path: Path) -> None:
    """Have an error say where the disk is full: that of a write names no file."""
    if isinstance(e, OSError) and e.filename is None:
        e.filename = str(path)


def _temporary(folder: Path, prefix: str = "") -> tuple[int, str]:
    """Create a temporary file, locked for as long as its descriptor is open."""
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor, name = tempfile.mkstemp(prefix=prefix, dir=folder)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor, name
        os.close(descriptor)  # another process has swept it away before it was locked


def _sweep(folder: Path) -> None:
    """Remove temporary files that nobody holds: their process is gone."""
    for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
        sweep_file(entry)


def sweep_file(path: Path) -> None:
    """Remove a temporary file unless somebody is writing it."""
    with contextlib.suppress(OSError), path.open("rb") as f:  # held, or gone in the meantime
        fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that readers see the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as f:
            f.write(data)
        Path(name).chmod(0o666 & ~_umask())
        Path(name).replace(path)
    except BaseException as e:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        _name_path(e, path)
        raise


@functools.cache
def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def copy_file(source: Path, target: Path) -> None:
    """Copy content, sharing blocks where the file system can; atomic like `write_atomically`.

    Unfinished, it is a locked file beside the target whose name begins with a dot (`sweep_file`).
    """
    descriptor, name = _temporary(target.parent, f".{target.name[:16]}.")
    try:
        with os.fdopen(descriptor, "wb") as writer:
            with source.open("rb") as reader:
                _copy_content(reader, writer)
            writer.flush()
            Path(name).chmod(0o666 & ~_umask())
            Path(name).replace(target)
    except BaseException as e:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        _name_path(e, target)
        raise


def _copy_content(reader: BinaryIO, writer: BinaryIO) -> None:
    if hasattr(os, "copy_file_range"):
        left = os.fstat(reader.fileno()).st_size
        with contextlib.suppress(OSError):
            while left and (count := os.copy_file_range(reader.fileno(), writer.fileno(), left)):
                left -= count
            if not left:
                return
        reader.seek(0)
        writer.seek(0)
        writer.truncate()
    shutil.copyfileobj(reader, writer, CHUNK)
