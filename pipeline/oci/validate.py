"""Validate a layout: recompute everything from the bytes, report every mismatch got / want.

Specification: image-spec v1.1.1 (image-layout, image-index, manifest, config, layer, descriptor).
Beyond JSON shape, which the specification's schemas check: every digest, size and diff_id, one
history entry a layer, platform equality between an index and its configs, spelling of config keys
(Go clients accept `cmd`, the schema lets it pass, other clients do not see it), and that a layer is
compressed as its media type says and an archive with each path once and no sparse member. Nothing
is trusted, nothing is unpacked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from pipeline.errors import FormatError, LayoutError, PipelineError
from pipeline.formats import canonical_json, tar
from pipeline.formats.algorithm import MAGIC, detect
from pipeline.formats.decompression import expansion_limit, open_decompressed
from pipeline.formats.digest import CHUNK, Digest, HashingWriter
from pipeline.formats.fields import get_as, get_optional, get_required, get_sequence_of
from pipeline.oci.descriptor import Descriptor, get_descriptors
from pipeline.oci.media_type import LAYER_TYPES, REF_NAME, ZSTD_INSTANCE, MediaType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import BinaryIO

    from pipeline.formats.digest import Source

_MAX_DOCUMENT: Final = 8 << 20
_MAX_DEPTH: Final = 4

_CONFIG_KEYS: Final = frozenset(
    {
        "created",
        "author",
        "architecture",
        "os",
        "os.version",
        "os.features",
        "variant",
        "config",
        "rootfs",
        "history",
    }
)
_RUNTIME_KEYS: Final = frozenset(
    {
        "User",
        "ExposedPorts",
        "Env",
        "Entrypoint",
        "Cmd",
        "Volumes",
        "WorkingDir",
        "Labels",
        "StopSignal",
        "ArgsEscaped",
        "Memory",
        "MemorySwap",
        "CpuShares",
        "Healthcheck",
    }
)


class LayoutSource(Protocol):
    """Where the bytes of a layout come from."""

    def read(self, name: str) -> bytes:
        """Return a file at the top of the layout (`oci-layout`, `index.json`)."""

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob, seekable; FileNotFoundError if there is none."""


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing that is not as it must be."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


def validate_layout(source: LayoutSource) -> tuple[Finding, ...]:
    """Check a whole layout; an empty answer means that it holds."""
    return tuple(_Validator(source).layout())


def verify_layout(source: LayoutSource, *, what: str) -> None:
    """Raise LayoutError with every finding, or return."""
    findings = validate_layout(source)
    if findings:
        raise LayoutError("; ".join(map(str, findings)), context=what)


class _Validator:
    def __init__(self, source: LayoutSource) -> None:
        self._source = source
        self._layers: dict[tuple[Digest, int, str], Digest | None] = {}

    def layout(self) -> Iterator[Finding]:
        try:
            header = canonical_json.loads_object(self._source.read("oci-layout"), error=LayoutError)
            if header.get("imageLayoutVersion") != "1.0.0":
                yield Finding(
                    "oci-layout", f"got version {header.get('imageLayoutVersion')!r}, want '1.0.0'"
                )
            index = self._source.read("index.json")
        except FileNotFoundError as e:
            yield Finding("layout", f"no file {e.filename}")
            return
        except FormatError as e:
            yield Finding("oci-layout", str(e))
            return
        yield from self._index("index.json", index, 0)

    # ------------------------------------------------------------ documents

    def _index(self, where: str, data: bytes, depth: int) -> Iterator[Finding]:
        if depth > _MAX_DEPTH:
            yield Finding(where, f"indexes nested deeper than {_MAX_DEPTH}")
            return
        try:
            d = canonical_json.loads_object(data, error=LayoutError)
            manifests = get_descriptors(d, "manifests")
        except FormatError as e:
            yield Finding(where, str(e))
            return
        yield from _head(where, d, MediaType.INDEX)
        names: set[str] = set()
        for number, descriptor in enumerate(manifests):
            name = descriptor.annotations.get(REF_NAME)
            if name is not None and name in names:
                yield Finding(where, f"{REF_NAME} {name!r} twice")
            names.update(filter(None, (name,)))
            child = f"{where} > {name or descriptor.platform or f'manifests[{number}]'}"
            yield from self._child(child, descriptor, depth)

    def _child(self, where: str, descriptor: Descriptor, depth: int) -> Iterator[Finding]:
        data = None
        for item in self._document(where, descriptor):
            if isinstance(item, Finding):
                yield item
            else:
                data = item
        if data is None:
            return
        if descriptor.media_type == MediaType.INDEX:
            yield from self._index(where, data, depth + 1)
        elif descriptor.media_type == MediaType.MANIFEST:
            yield from self._manifest(where, data, descriptor)
        else:
            yield Finding(where, f"got mediaType {descriptor.media_type!r}, want index or manifest")

    def _document(self, where: str, descriptor: Descriptor) -> Iterator[Finding | bytes]:
        """Yield findings about a small blob, then its bytes."""
        try:
            with self._source.open(descriptor.digest) as f:
                data = f.read(_MAX_DOCUMENT + 1)
        except FileNotFoundError:
            yield Finding(where, f"blob {descriptor.digest} is not in the layout")
            return
        if len(data) > _MAX_DOCUMENT:
            yield Finding(where, f"document longer than {_MAX_DOCUMENT} bytes")
            return
        if len(data) != descriptor.size:
            yield Finding(where, f"size: got {len(data)}, want {descriptor.size}")
        got = Digest.of(data)
        if got != descriptor.digest:
            yield Finding(where, f"digest: got {got}, want {descriptor.digest}")
        yield data

    def _manifest(self, where: str, data: bytes, described: Descriptor) -> Iterator[Finding]:
        try:
            d = canonical_json.loads_object(data, error=LayoutError)
            config = get_as(d, dict, Descriptor.from_dict, "config", error=LayoutError)
            layers = get_descriptors(d, "layers")
        except FormatError as e:
            yield Finding(where, str(e))
            return
        yield from _head(where, d, MediaType.MANIFEST)
        if config.media_type != MediaType.CONFIG:
            for number, layer in enumerate(layers):
                yield from self._opaque(f"{where} > layers[{number}]", layer)
            yield from self._opaque(f"{where} > config", config)
            return
        diff_ids = []
        for number, layer in enumerate(layers):
            diff_id, findings = self._layer(f"{where} > layers[{number}]", layer)
            diff_ids.append(diff_id)
            yield from findings
        zstd = any(layer.media_type == MediaType.LAYER_ZSTD for layer in layers)
        if zstd and described.platform and described.annotations.get(ZSTD_INSTANCE) != "true":
            yield Finding(
                where, f"zstd layers, but no annotation {ZSTD_INSTANCE} on its descriptor"
            )
        for item in self._document(f"{where} > config", config):
            if isinstance(item, Finding):
                yield item
            else:
                yield from _config(f"{where} > config", item, diff_ids, described)

    # ------------------------------------------------------------ blobs

    def _opaque(self, where: str, descriptor: Descriptor) -> Iterator[Finding]:
        """Check only digest and size, of content that this module does not know."""
        try:
            with self._source.open(descriptor.digest) as f:
                writer = HashingWriter(None)
                while chunk := f.read(CHUNK):
                    writer.write(chunk)
        except FileNotFoundError:
            yield Finding(where, f"blob {descriptor.digest} is not in the layout")
            return
        if writer.size != descriptor.size:
            yield Finding(where, f"size: got {writer.size}, want {descriptor.size}")
        if writer.digest != descriptor.digest:
            yield Finding(where, f"digest: got {writer.digest}, want {descriptor.digest}")

    def _layer(self, where: str, descriptor: Descriptor) -> tuple[Digest | None, list[Finding]]:
        """Return the diff_id and the findings; a shared layer is read and reported once."""
        key = (descriptor.digest, descriptor.size, descriptor.media_type)
        if key in self._layers:
            return self._layers[key], []
        findings = list(self._opaque(where, descriptor))
        diff_id = None
        if descriptor.media_type not in LAYER_TYPES.values():
            findings.append(Finding(where, f"got mediaType {descriptor.media_type!r}"))
        if not findings:
            diff_id = self._read_layer(where, descriptor, findings)
        self._layers[key] = diff_id
        return diff_id, findings

    def _read_layer(
        self, where: str, descriptor: Descriptor, findings: list[Finding]
    ) -> Digest | None:
        with self._source.open(descriptor.digest) as f:
            algorithm = detect(f.read(MAGIC))
            if LAYER_TYPES.get(algorithm) != descriptor.media_type:
                findings.append(
                    Finding(where, f"compression: got {algorithm}, want {descriptor.media_type}")
                )
            try:
                stream = open_decompressed(f, limit=expansion_limit(descriptor.size), what=where)
                hashed = _HashingSource(stream)
                findings.extend(_members(where, tar.TarReader(hashed)))
            except PipelineError as e:
                findings.append(Finding(where, str(e)))
                return None
            return hashed.digest


class _HashingSource:
    """Hash what is read; a tar reader that has come to its end has read everything."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._writer = HashingWriter(None)

    def read(self, size: int, /) -> bytes:
        data = self._source.read(size)
        self._writer.write(data)
        return data

    @property
    def digest(self) -> Digest:
        return self._writer.digest


def _members(where: str, reader: tar.TarReader) -> Iterator[Finding]:
    seen: set[str] = set()
    for member in reader:
        components = member.name.split("/")
        path = "/".join(c for c in components if c not in ("", "."))
        if path in seen:
            yield Finding(where, f"path {path!r} twice")
        seen.add(path)
        if member.name.startswith("/") or ".." in components:
            yield Finding(where, f"path {member.name!r} leaves the layer's root")


def _head(where: str, d: Mapping[str, object], media_type: MediaType) -> Iterator[Finding]:
    if d.get("schemaVersion") != 2:  # noqa: PLR2004
        yield Finding(where, f"schemaVersion: got {d.get('schemaVersion')!r}, want 2")
    if d.get("mediaType") != media_type:
        yield Finding(where, f"mediaType: got {d.get('mediaType')!r}, want {media_type.value!r}")


def _config(
    where: str, data: bytes, diff_ids: list[Digest | None], described: Descriptor
) -> Iterator[Finding]:
    try:
        d = canonical_json.loads_object(data, error=LayoutError)
        rootfs = get_required(d, dict, "rootfs", error=LayoutError)
        claimed = get_sequence_of(rootfs, str, "diff_ids", error=LayoutError)
        history = get_sequence_of(d, dict, "history", error=LayoutError)
        platform = (
            get_required(d, str, "os", error=LayoutError),
            get_required(d, str, "architecture", error=LayoutError),
            get_optional(d, str, "variant", error=LayoutError),
        )
        runtime = get_optional(d, dict, "config", error=LayoutError) or {}
    except FormatError as e:
        yield Finding(where, str(e))
        return
    yield from _unknown(where, d, _CONFIG_KEYS)
    yield from _unknown(f"{where}.config", runtime, _RUNTIME_KEYS)
    if rootfs.get("type") != "layers":
        yield Finding(where, f"rootfs.type: got {rootfs.get('type')!r}, want 'layers'")
    if len(claimed) != len(diff_ids):
        yield Finding(where, f"diff_ids: got {len(claimed)}, want {len(diff_ids)} as layers")
    for number, (got, want) in enumerate(zip(claimed, diff_ids, strict=False)):
        if want is not None and got != str(want):
            yield Finding(where, f"diff_ids[{number}]: got {got}, want {want}")
    layers = sum(1 for entry in history if not entry.get("empty_layer"))
    if history and layers != len(diff_ids):
        yield Finding(where, f"history: got {layers} entries with a layer, want {len(diff_ids)}")
    p = described.platform
    if p is not None and (p.os, p.architecture, p.variant) != platform:
        yield Finding(where, f"platform: got {'/'.join(filter(None, platform))}, want {p}")


def _unknown(where: str, d: Iterable[str], known: frozenset[str]) -> Iterator[Finding]:
    for key in sorted(set(d) - known):
        yield Finding(where, f"unknown key {key!r}")
