"""Whatever can be compared, opened as one model: source -> images -> platforms -> layers.

| written | what |
|---|---|
| `oci:PATH` | an OCI layout: every image that its index names |
| `oci:PATH:NAME` | one image of it |
| `oci:PATH@sha256:…` | one image of it by digest, named or not; also one platform of an index |
| `oci-archive:FILE[:NAME]` | the same as a tar, compressed or not |
| `docker-archive:FILE[:NAME]` | what `docker save` writes |
| `rootfs:PATH` | a root file system: a directory, or a tar, compressed or not |

Without a prefix the kind is found by looking. Nothing is unpacked; a compressed archive of a layout
is decompressed once into an unnamed temporary file, because its blobs are read in any order.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from pipeline.errors import ConfigurationError, PipelineError
from pipeline.formats.decompression import expansion_limit, open_decompressed
from pipeline.formats.digest import Digest
from pipeline.host.regular_file import open_regular
from reproducibility.archives import Archive
from reproducibility.directory_layer import DirectoryLayer
from reproducibility.documents import LayoutImages, images_of_docker_archive, images_of_layout
from reproducibility.layers import TarLayer
from reproducibility.model import Image, PlatformImage
from reproducibility.tarstream import TarStream

if TYPE_CHECKING:
    from typing import BinaryIO

    from reproducibility.layers import Layer
    from reproducibility.model import Source

ROOTFS: Final = "root file system"
"""Name of the only layer of one."""


class SourceKind(enum.StrEnum):
    """What a source is; the values are the prefixes."""

    OCI = "oci"
    OCI_ARCHIVE = "oci-archive"
    DOCKER_ARCHIVE = "docker-archive"
    ROOTFS = "rootfs"


_WORDS: Final = {
    SourceKind.OCI: "OCI layout",
    SourceKind.OCI_ARCHIVE: "OCI archive",
    SourceKind.DOCKER_ARCHIVE: "docker archive",
    SourceKind.ROOTFS: "root file system",
}
_OF_ARCHIVES: Final = re.compile(
    r"oci-layout|index\.json|manifest\.json|repositories|blobs(/.*)?|[0-9a-f]{64}([./].*)?"
)
"""First member of an archive that holds images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceName:
    """A source as the user named it, taken apart."""

    kind: SourceKind
    path: Path
    name: str
    """Of one image; empty means all."""
    digest: Digest | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Take apart a name; looks at the file system only to tell what it finds there.

        Raises:
            ConfigurationError: there is no such file, or its kind cannot be told.
        """
        prefix, colon, rest = text.partition(":")
        kinds = {kind.value: kind for kind in SourceKind}
        if colon and prefix in kinds:
            path, name, digest = _split(rest)
            return cls(kind=kinds[prefix], path=path, name=name, digest=digest)
        path, name, digest = _split(text)
        return cls(kind=_look(path), path=path, name=name, digest=digest)


def _split(text: str) -> tuple[Path, str, Digest | None]:
    """Split path and image name at the first colon that leaves an existing path."""
    digest = None
    before, at, after = text.rpartition("@")
    if at and after.startswith("sha256:") and Path(before).exists():
        return Path(before), "", Digest.parse(after)
    if Path(text).exists():
        return Path(text), "", digest
    position = text.find(":")
    while position >= 0:
        if position and Path(text[:position]).exists():
            return Path(text[:position]), text[position + 1 :], digest
        position = text.find(":", position + 1)
    raise ConfigurationError(
        f"{text!r}: no such file or directory",
        hint="want oci:PATH[:NAME], oci-archive:FILE, docker-archive:FILE or rootfs:PATH",
    )


def _look(path: Path) -> SourceKind:
    if path.is_dir():
        is_layout = (path / "oci-layout").is_file() or (
            (path / "index.json").is_file() and (path / "blobs").is_dir()
        )
        return SourceKind.OCI if is_layout else SourceKind.ROOTFS
    if not _OF_ARCHIVES.fullmatch(_first_member(path)):
        return SourceKind.ROOTFS
    with Archive(path) as archive:
        if "index.json" in archive.names:
            return SourceKind.OCI_ARCHIVE
        if "manifest.json" in archive.names:
            return SourceKind.DOCKER_ARCHIVE
    return SourceKind.ROOTFS


def _first_member(path: Path) -> str:
    with open_regular(path) as f:
        limit = expansion_limit(path.stat().st_size)
        try:
            first = next(iter(TarStream(open_decompressed(f, limit=limit, what=str(path)))), None)
        except PipelineError as e:
            raise ConfigurationError(f"{path}: neither a tar nor a directory: {e}") from None
    return "" if first is None else first.path


def open_source(text: str) -> Source:
    """Open a source by its name; close it by leaving its context.

    Raises:
        ConfigurationError: there is none, or it is not what its prefix says.
        LayoutError: an archive that cannot be read at all.
    """
    parsed = SourceName.parse(text)
    try:
        return _open(text, parsed)
    except OSError as e:
        raise ConfigurationError(f"{parsed.path}: {e.strerror}") from None


def _open(text: str, parsed: SourceName) -> Source:
    words = _WORDS[parsed.kind]
    if parsed.kind is SourceKind.ROOTFS:
        if parsed.name or parsed.digest:
            raise ConfigurationError(f"{text}: a root file system has no names in it")
        return _Opened(text, words, LayoutImages((_rootfs(parsed.path),), ()), None)
    if parsed.kind is SourceKind.OCI:
        blobs = _Directory(parsed.path)
        found = images_of_layout(blobs, name=parsed.name, digest=parsed.digest)
        return _Opened(text, words, found, None)
    archive = Archive(parsed.path)
    if parsed.kind is SourceKind.OCI_ARCHIVE:
        found = images_of_layout(archive, name=parsed.name, digest=parsed.digest)
    else:
        found = images_of_docker_archive(archive, name=parsed.name)
    return _Opened(text, words, found, archive)


def _rootfs(path: Path) -> Image:
    layer: Layer
    if path.is_dir():
        layer = DirectoryLayer(name=ROOTFS, root=path)
    else:
        layer = TarLayer(name=ROOTFS, open=lambda: open_regular(path), claimed=None, media_type="")
    return Image(
        name="",
        index=None,
        platforms=(
            PlatformImage(platform="", manifest=None, config=None, layers=(layer,), diff_ids=()),
        ),
    )


class _Directory:
    """The files of a layout directory."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def open(self, name: str) -> BinaryIO:
        return open_regular(self._root / name)


class _Opened:
    def __init__(self, name: str, kind: str, found: LayoutImages, archive: Archive | None) -> None:
        self.name = name
        self.kind = kind
        self.images = found.images
        self.problems = found.problems
        self._archive = archive

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._archive is not None:
            self._archive.__exit__()
