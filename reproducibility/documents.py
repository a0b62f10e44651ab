"""The documents of layouts and docker archives -> images of the model.

Specifications: image-spec v1.1.1; for `docker save`, moby's image/spec/v1.2.md, whose
`manifest.json` names a config and layers by file name. Documents of foreign origin are read
tolerantly; what cannot be read is a problem with a place, never an exception.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.errors import FormatError
from pipeline.formats.digest import Digest
from pipeline.oci.descriptor import Descriptor
from pipeline.oci.media_type import REF_NAME
from reproducibility.layers import BlobLayer, TarLayer
from reproducibility.model import Document, Image, PlatformImage, parse_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import BinaryIO

    from reproducibility.layers import Layer
    from reproducibility.model import Blobs

_MAX_DOCUMENT: Final = 16 << 20
_MAX_DEPTH: Final = 4


@dataclass(frozen=True, slots=True)
class LayoutImages:
    """Images, and what went wrong on the way to them."""

    images: tuple[Image, ...]
    problems: tuple[str, ...]


def images_of_layout(blobs: Blobs, *, name: str, digest: Digest | None) -> LayoutImages:
    """Read the images that an OCI layout names.

    Args:
        blobs: its files.
        name: only the image of this name; empty means all of them.
        digest: only the image of this digest, whether index.json names it or not.
    """
    reader = _Reader(blobs)
    return LayoutImages(tuple(reader.layout(name, digest)), tuple(reader.problems))


def images_of_docker_archive(blobs: Blobs, *, name: str) -> LayoutImages:
    """Read the images of a `docker save` archive; `name` as in `images_of_layout`."""
    reader = _Reader(blobs)
    return LayoutImages(tuple(reader.docker_archive(name)), tuple(reader.problems))


class _Reader:
    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self.problems: list[str] = []

    def _problem(self, message: str) -> None:
        self.problems.append(message)

    def _file(self, name: str) -> bytes | None:
        try:
            with self._blobs.open(name) as f:
                raw = f.read(_MAX_DOCUMENT + 1)
        except OSError as e:
            self._problem(f"{name}: {e.strerror or 'not there'}")
            return None
        if len(raw) > _MAX_DOCUMENT:
            self._problem(f"{name}: longer than {_MAX_DOCUMENT} bytes")
            return None
        return raw

    def _document(self, descriptor: Descriptor, where: str) -> Document | None:
        raw = self._file(_blob_name(descriptor.digest))
        if raw is None:
            return None
        got = Digest.of(raw)
        if got != descriptor.digest:
            self._problem(f"{where}: got digest {got}, want {descriptor.digest}")
        return Document(raw, descriptor.media_type)

    def _descriptors(self, d: Mapping[str, object], key: str, where: str) -> list[Descriptor]:
        value = d.get(key)
        result = []
        for number, item in enumerate(value if isinstance(value, list) else ()):
            try:
                result.append(Descriptor.from_dict(item if isinstance(item, dict) else {}))
            except FormatError as e:
                self._problem(f"{where}: {key}[{number}]: {e}")
        return result

    # ------------------------------------------------------------ OCI layouts

    def layout(self, name: str, digest: Digest | None) -> Iterator[Image]:
        raw = self._file("index.json")
        top = _object(raw)
        if top is None:
            if raw is not None:
                self._problem("index.json: not a JSON object")
            return
        count = 0
        for descriptor in self._descriptors(top, "manifests", "index.json"):
            named = descriptor.annotations.get(REF_NAME, "")
            if (name and named != name) or (digest is not None and descriptor.digest != digest):
                continue
            count += 1
            yield self._image(descriptor, named or str(descriptor.digest))
            if digest is not None:
                return
        if digest is not None:
            yield self._image(Descriptor(media_type="", digest=digest, size=0), str(digest))
        elif not count:
            self._problem(f"index.json: names no image {name!r}" if name else "index.json: empty")

    def _parsed(self, document: Document | None, where: str) -> Mapping[str, object] | None:
        if document is None:
            return None
        value = _object(document.raw)
        if value is None:
            self._problem(f"{where}: not a JSON object")
        return value

    def _image(self, descriptor: Descriptor, name: str) -> Image:
        document = self._document(descriptor, name)
        d = self._parsed(document, name)
        if document is None or d is None:
            return Image(name=name, index=None, platforms=(_unreadable(descriptor),))
        if "manifests" not in d:
            platform = self._platform(document, d, descriptor, name)
            return Image(name=name, index=None, platforms=(platform,))
        platforms = tuple(self._platforms(d, name, 0))
        return Image(name=name, index=document, platforms=platforms)

    def _platforms(
        self, index: Mapping[str, object], where: str, depth: int
    ) -> Iterator[PlatformImage]:
        for descriptor in self._descriptors(index, "manifests", where):
            document = self._document(descriptor, where)
            d = self._parsed(document, where)
            if document is None or d is None:
                yield _unreadable(descriptor)
            elif "manifests" not in d:
                yield self._platform(document, d, descriptor, where)
            elif depth < _MAX_DEPTH:
                yield from self._platforms(d, where, depth + 1)
            else:
                self._problem(f"{where}: indexes nested deeper than {_MAX_DEPTH}")

    def _platform(
        self, manifest: Document, d: Mapping[str, object], descriptor: Descriptor, where: str
    ) -> PlatformImage:
        config = None
        for described in self._descriptors({"config": [d.get("config")]}, "config", where):
            config = self._document(described, f"{where}: config")
        facts = (_object(config.raw) if config is not None else None) or {}
        platform = str(descriptor.platform or "") or _platform_of(facts)
        layers = self._descriptors(d, "layers", where)
        return PlatformImage(
            platform=platform,
            manifest=manifest,
            config=config,
            layers=tuple(self._layer(layer, n) for n, layer in enumerate(layers, 1)),
            diff_ids=_diff_ids(facts),
        )

    def _layer(self, descriptor: Descriptor, number: int) -> Layer:
        name = f"layer {number}"
        opener = self._opener(_blob_name(descriptor.digest))
        if "tar" in descriptor.media_type:
            return TarLayer(
                name=name,
                open=opener,
                claimed=descriptor.digest,
                media_type=descriptor.media_type,
            )
        title = descriptor.annotations.get("org.opencontainers.image.title", "content")
        return BlobLayer(name=name, open=opener, claimed=descriptor.digest, title=title)

    def _opener(self, name: str) -> Callable[[], BinaryIO]:
        return lambda: self._blobs.open(name)

    # ------------------------------------------------------------ docker archives

    def docker_archive(self, name: str) -> Iterator[Image]:
        raw = self._file("manifest.json")
        value = parse_json(raw) if raw is not None else None
        if not isinstance(value, list):
            if raw is not None:
                self._problem("manifest.json: not a JSON array")
            return
        count = 0
        for number, item in enumerate(value):
            where = f"manifest.json: [{number}]"
            d = item if isinstance(item, dict) else {}
            tags = [tag for tag in d.get("RepoTags") or () if isinstance(tag, str)]
            if name and name not in tags:
                continue
            count += 1
            config = d.get("Config")
            layers = d.get("Layers")
            if not isinstance(config, str) or not isinstance(layers, list):
                self._problem(f"{where}: wants Config and Layers")
                continue
            yield self._docker_image(config, [str(x) for x in layers], tags)
        if name and not count:
            self._problem(f"manifest.json: names no image {name!r}")

    def _docker_image(self, config_name: str, layers: list[str], tags: list[str]) -> Image:
        raw = self._file(config_name)
        config = None if raw is None else Document(raw, "config")
        facts = _object(raw) or {}
        return Image(
            name=tags[0] if tags else config_name,
            index=None,
            platforms=(
                PlatformImage(
                    platform=_platform_of(facts),
                    manifest=None,
                    config=config,
                    layers=tuple(
                        TarLayer(
                            name=f"layer {n}",
                            open=self._opener(layer),
                            claimed=None,
                            media_type="",
                        )
                        for n, layer in enumerate(layers, 1)
                    ),
                    diff_ids=_diff_ids(facts),
                ),
            ),
        )


def _unreadable(descriptor: Descriptor) -> PlatformImage:
    return PlatformImage(
        platform=str(descriptor.platform or ""),
        manifest=None,
        config=None,
        layers=(),
        diff_ids=(),
        is_readable=False,
    )


def _object(raw: bytes | None) -> Mapping[str, object] | None:
    value = parse_json(raw) if raw is not None else None
    return value if isinstance(value, dict) else None


def _blob_name(digest: Digest) -> str:
    return f"blobs/sha256/{digest.hex}"


def _platform_of(config: Mapping[str, object]) -> str:
    parts = [config.get(key) for key in ("os", "architecture", "variant")]
    return "/".join(part for part in parts if isinstance(part, str) and part)


def _diff_ids(config: Mapping[str, object]) -> tuple[str, ...]:
    rootfs = config.get("rootfs")
    ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    return tuple(str(diff_id) for diff_id in ids) if isinstance(ids, list) else ()
