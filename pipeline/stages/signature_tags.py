"""Signatures under cosign's older tags: several people's stand in one manifest, each in a layer.

Specification: github.com/sigstore/cosign, specs/SIGNATURE_SPEC.md (`sha256-<hex>.sig`, `.att`).
Whoever publishes adds his layers to those that are there, and leaves the others alone; a layer is
told by its digest and its annotations, which hold the signature.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from pipeline.errors import LayoutError
from pipeline.formats import canonical_json
from pipeline.host.registry_manifest import Manifest
from pipeline.oci.descriptor import get_descriptors
from pipeline.oci.image import descriptor_of
from pipeline.oci.media_type import MediaType
from pipeline.stages.attest import tagged_manifest

if TYPE_CHECKING:
    from pipeline.host.registry import Repository
    from pipeline.oci.descriptor import Descriptor


def _layers(manifest: Manifest) -> tuple[Descriptor, ...]:
    return get_descriptors(canonical_json.loads_object(manifest.raw, error=LayoutError), "layers")


def has_signatures(held: Manifest | None, ours: Manifest) -> bool:
    """Say whether what is under a tag has all of our signatures.

    Raises:
        LayoutError: it is no image manifest.
    """
    if held is None:
        return False
    there = _layers(held)
    return all(layer in there for layer in _layers(ours))


def join_signatures(held: Manifest, ours: Manifest) -> tuple[Manifest, bytes]:
    """Return a manifest with the signatures of both, and its config, a blob that may be new.

    Raises:
        LayoutError: one of them is no image manifest.
    """
    raw, config = tagged_manifest((*_layers(held), *_layers(ours)))
    return Manifest.parse(raw), config


def add_signatures(repository: Repository, tag: str, ours: Manifest) -> bool:
    """Have our signatures under a tag, once; their blobs are there already.

    Two who do this at once may undo each other's work: call it again until it says no.

    Returns:
        Whether something had to be changed.

    Raises:
        LayoutError: under the tag is no image manifest.
        RegistryError, FetchError: it could not be done.
    """
    held = repository.find_manifest(tag)
    if has_signatures(held, ours):
        return False
    if held is None:
        repository.put_manifest(ours, tag=tag)
        return True
    joined, config = join_signatures(held, ours)
    repository.put_blob(descriptor_of(config, MediaType.CONFIG), lambda: io.BytesIO(config))
    repository.put_manifest(joined, tag=tag)
    return True
