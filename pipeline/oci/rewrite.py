"""Documents of an image that somebody else made, with other contents and times, else as they are.

Specification: image-spec v1.1.1, config.md, manifest.md, image-index.md, annotations.md; the rules
are N40 to N46 of docs/format/normalisation.md. Documents are dictionaries here, not the values of
`oci.image`: what those do not know has to stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.errors import LayoutError
from pipeline.formats import canonical_json
from pipeline.formats.fields import get_optional, get_required
from pipeline.oci.descriptor import string_map
from pipeline.oci.image import rfc3339
from pipeline.oci.media_type import LAYER_TYPES, ZSTD_INSTANCE, MediaType

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pipeline.formats.digest import Digest
    from pipeline.oci.descriptor import Descriptor

CREATED: Final = "org.opencontainers.image.created"
BASE_DIGEST: Final = "org.opencontainers.image.base.digest"

CONFIG_KEYS: Final = (
    *("created", "author", "architecture", "os", "os.version", "os.features", "variant"),
    *("config", "rootfs", "history"),
)
RUNTIME_KEYS: Final = (
    *("User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels"),
    *("StopSignal", "ArgsEscaped", "Memory", "MemorySwap", "CpuShares", "Healthcheck"),
)
"""What the specification names, and Docker's Healthcheck, which every client knows."""

_BUILD_KEYS: Final = frozenset(
    {
        *("container", "container_config", "docker_version", "id", "parent", "throwaway", "Size"),
        *("moby.buildkit.buildinfo.v1", "moby.buildkit.cache.v0"),
    }
)
_BUILD_RUNTIME_KEYS: Final = frozenset(
    {
        *("Hostname", "Domainname", "AttachStdin", "AttachStdout", "AttachStderr", "Tty", "Image"),
        *("OpenStdin", "StdinOnce", "MacAddress", "NetworkDisabled", "PublishService"),
    }
)
"""What Docker remembers of the container in which it built, such as its random name."""

_OF_THE_OLD_BLOB: Final = (
    "io.github.containers.zstd-chunked.",
    "containerd.io/snapshot/",
    "io.containers.estargz.",
)
"""Annotations of a layer that say where something lies in its compressed bytes."""

_ATTESTATION: Final = "vnd.docker.reference.type"
_EMPTY: Final[tuple[object, ...]] = (None, "", 0, False, [], {})


@dataclass(frozen=True, slots=True)
class Revision:
    """What is new about a whole image."""

    created: int
    """Seconds since the epoch."""
    has_new_layers: bool
    """Whether a layer is another than before: then no image that shares layers is its base."""

    @property
    def time(self) -> str:
        """When it was made, as documents write it."""
        return rfc3339(self.created)

    def strings(self, d: Mapping[str, str]) -> dict[str, str]:
        """Return annotations or labels with what they say of the time and the base put right."""
        return {
            key: self.time if key == CREATED else value
            for key, value in d.items()
            if not (key == BASE_DIGEST and self.has_new_layers)
        }


# ---------------------------------------------------------------- config (N41 to N43)


def rewrite_config(raw: bytes, revision: Revision, *, diff_ids: Sequence[Digest]) -> bytes:
    """Return an image's config with these layers.

    Raises:
        LayoutError: it is none, or has what no image may have.
    """
    d = _spelled(
        canonical_json.loads_object(raw, error=LayoutError), CONFIG_KEYS, _BUILD_KEYS, context=""
    )
    rootfs = get_required(d, dict, "rootfs", error=LayoutError)
    result: dict[str, object] = {
        **d,
        "created": revision.time,
        "rootfs": {**rootfs, "diff_ids": [str(diff_id) for diff_id in diff_ids]},
    }
    history = get_optional(d, list, "history", error=LayoutError)
    if history is not None:
        result["history"] = [_history(entry, revision.time, n) for n, entry in enumerate(history)]
    runtime = get_optional(d, dict, "config", error=LayoutError)
    if runtime is not None:
        spelled = _spelled(runtime, RUNTIME_KEYS, _BUILD_RUNTIME_KEYS, context="config")
        labels = revision.strings(string_map(spelled, "Labels"))
        spelled.pop("Labels", None)
        result["config"] = {**spelled, **({"Labels": labels} if labels else {})}
    return canonical_json.dumps(result)


def _history(entry: object, time: str, number: int) -> dict[str, object]:
    if not isinstance(entry, dict):
        raise LayoutError("want an object", context=f"history[{number}]")
    return {**_without_null(entry), "created": time}


def _without_null(d: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in d.items() if value is not None}


def _spelled(
    d: Mapping[str, object], known: Iterable[str], dropped: frozenset[str], *, context: str
) -> dict[str, object]:
    """Return an object whose keys are spelled as the specification does.

    Go's decoder takes `cmd` for `Cmd`, and so does every client that is written in Go.
    """
    spelling = {key.lower(): key for key in known}
    result: dict[str, object] = {}
    for key, value in _without_null(d).items():
        name = spelling.get(key.lower())
        if name in result:
            raise LayoutError(f"key {name!r} in two spellings", context=context)
        if name is not None:
            result[name] = value
        elif key not in dropped and value not in _EMPTY:
            raise LayoutError(
                f"key {key!r}, which the specification does not have",
                context=context,
                hint="what it asks of a client is no part of an OCI image; build without it",
            )
    return result


# ---------------------------------------------------------------- manifest and index (N44 to N46)


def rewrite_descriptor(
    d: Mapping[str, object], revision: Revision, new: Descriptor
) -> dict[str, object]:
    """Return a descriptor that refers to other content of the same meaning.

    What it says of the old bytes goes: where else they are, a copy of them, tables of contents.
    """
    kept = {key: v for key, v in _without_null(d).items() if key not in ("urls", "data")}
    annotations = {
        key: value
        for key, value in revision.strings(string_map(kept, "annotations")).items()
        if not key.startswith(_OF_THE_OLD_BLOB) and key != ZSTD_INSTANCE
    }
    kept.pop("annotations", None)
    if ZSTD_INSTANCE in new.annotations:
        annotations[ZSTD_INSTANCE] = new.annotations[ZSTD_INSTANCE]
    return {
        **kept,
        **({"annotations": annotations} if annotations else {}),
        "mediaType": str(new.media_type),
        "digest": str(new.digest),
        "size": new.size,
    }


def rewrite_manifest(
    d: Mapping[str, object],
    revision: Revision,
    *,
    config: Descriptor,
    layers: Sequence[Descriptor],
) -> bytes:
    """Return an image's manifest with another config and other layers.

    Raises:
        LayoutError: it refers to another manifest; what that would be now nobody knows.
    """
    if d.get("subject") is not None:
        raise LayoutError(
            "refers to another manifest, which this would no longer be about", context="subject"
        )
    old_config = get_required(d, dict, "config", error=LayoutError)
    old_layers = get_required(d, list, "layers", error=LayoutError)
    return canonical_json.dumps(
        {
            **_head(d, MediaType.MANIFEST, revision),
            "config": rewrite_descriptor(old_config, revision, config),
            "layers": [
                rewrite_descriptor(old, revision, new)
                for old, new in zip(old_layers, layers, strict=True)
            ],
        }
    )


def rewrite_index(
    d: Mapping[str, object], revision: Revision, manifests: Sequence[Descriptor | None]
) -> bytes:
    """Return an index over other manifests; None leaves one out."""
    old = get_required(d, list, "manifests", error=LayoutError)
    return canonical_json.dumps(
        {
            **_head(d, MediaType.INDEX, revision),
            "manifests": [
                rewrite_descriptor(descriptor, revision, new)
                for descriptor, new in zip(old, manifests, strict=True)
                if new is not None
            ],
        }
    )


def _head(d: Mapping[str, object], media_type: MediaType, revision: Revision) -> dict[str, object]:
    kept = _without_null(d)
    annotations = revision.strings(string_map(kept, "annotations"))
    kept.pop("annotations", None)
    return {
        **kept,
        **({"annotations": annotations} if annotations else {}),
        "schemaVersion": 2,
        "mediaType": media_type.value,
    }


def is_attestation(descriptor: Descriptor) -> bool:
    """Say whether a manifest of an index only vouches for another one, by digest, as BuildKit's."""
    return _ATTESTATION in descriptor.annotations


def check_image_manifest(d: Mapping[str, object], config: Descriptor) -> None:
    """Raise LayoutError unless a manifest is that of an image."""
    if config.media_type != MediaType.CONFIG or d.get("artifactType") is not None:
        kind = d.get("artifactType") or config.media_type
        raise LayoutError(f"got a manifest of {kind!r}, want that of an image", hint=HINT)


HINT: Final = "skopeo copy --format oci makes an OCI image of others"


def check_layer_type(media_type: str) -> str:
    """Return how a layer of this type is compressed, or raise LayoutError."""
    for algorithm, known in LAYER_TYPES.items():
        if media_type == known:
            return algorithm
    raise LayoutError(f"got a layer of {media_type!r}, want tar, tar+gzip or tar+zstd", hint=HINT)
