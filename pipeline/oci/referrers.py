"""Referrers: what refers to a manifest by its `subject`, and the list of it that clients keep.

Specification: distribution-spec v1.1, sections Listing Referrers, Pushing Manifests with Subject
and Referrers Tag Schema; image-spec v1.1.1, manifest.md and image-index.md (`subject`).

A registry without the referrers API holds the list as an image index under the tag
`sha256-<64 hex digits>`, and those who push keep it. The list says what each referrer is
(artifactType, all annotations), but other writers get that wrong: cosign 2.5 lists the config's
media type and no annotations. Readers therefore open the referrer itself, and `merge_referrers`
corrects an entry that says something else than `referrer_descriptor`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import FormatError, LayoutError
from pipeline.formats import canonical_json
from pipeline.formats.digest import Digest
from pipeline.formats.fields import get_optional, get_required, get_sequence_of
from pipeline.oci.descriptor import Descriptor, string_map
from pipeline.oci.media_type import MediaType

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def fallback_tag(subject: Digest) -> str:
    """Return the tag under which a registry without the API holds the list of a subject."""
    return str(subject).replace(":", "-")


def subject_of(document: Mapping[str, object]) -> Descriptor | None:
    """Return what a manifest or index refers to, if to anything."""
    subject = get_optional(document, dict, "subject", error=LayoutError)
    if subject is None:
        return None
    try:
        return Descriptor.from_dict(subject)
    except FormatError as e:
        raise e.within("subject") from None


def referrer_descriptor(data: bytes) -> Descriptor:
    """Describe a referrer as the list of its subject's referrers has to have it.

    Args:
        data: the bytes of a manifest or index with a subject.

    Raises:
        LayoutError: it is neither.
    """
    d = canonical_json.loads_object(data, error=LayoutError)
    media_type = get_required(d, str, "mediaType", error=LayoutError)
    kind = get_optional(d, str, "artifactType", error=LayoutError)
    if not kind and media_type == MediaType.MANIFEST:
        config = get_required(d, dict, "config", error=LayoutError)
        kind = get_required(config, str, "mediaType", error=LayoutError)
    return Descriptor(
        media_type=media_type,
        digest=Digest.of(data),
        size=len(data),
        annotations=string_map(d, "annotations"),
        artifact_type=kind or None,
    )


def _entries(data: bytes) -> tuple[dict[str, object], tuple[dict[str, object], ...]]:
    """Return a list of referrers as a document, and its entries."""
    d = canonical_json.loads_object(data, error=LayoutError)
    media_type = get_optional(d, str, "mediaType", error=LayoutError)
    if media_type not in (MediaType.INDEX, None) or "manifests" not in d:
        raise LayoutError(f"got mediaType {media_type!r}, want a list of referrers, an index")
    return d, get_sequence_of(d, dict, "manifests", error=LayoutError)


def parse_referrers(data: bytes) -> tuple[Descriptor, ...]:
    """Read a list of referrers, of the API or of the tag.

    Raises:
        LayoutError: it is none.
    """
    result = []
    for number, entry in enumerate(_entries(data)[1]):
        try:
            result.append(Descriptor.from_dict(entry))
        except FormatError as e:
            raise e.within(f"manifests[{number}]") from None
    return tuple(result)


def merge_referrers(data: bytes | None, added: Iterable[Descriptor]) -> bytes:
    """Return a list of referrers with some more in it.

    Entries of others stay as they are, with every field; nobody is listed twice; bytes that have
    it all already are returned unchanged.

    Args:
        data: the list so far; None where there is none.
        added: the referrers, as `referrer_descriptor` describes them.

    Raises:
        LayoutError: the list so far is none.
    """
    if data is None:
        d: dict[str, object] = {"schemaVersion": 2, "mediaType": MediaType.INDEX.value}
        entries: list[dict[str, object]] = []
    else:
        d, held = _entries(data)
        entries = list(held)
    before = [dict(entry) for entry in entries]
    for descriptor in added:
        _place(entries, descriptor)
    if data is not None and entries == before:
        return data
    return canonical_json.dumps({**d, "manifests": entries})


def _place(entries: list[dict[str, object]], descriptor: Descriptor) -> None:
    """Add an entry, or correct the one that is there."""
    said = descriptor.to_dict()
    for number, entry in enumerate(entries):
        if entry.get("digest") == said["digest"]:
            kept = {k: v for k, v in entry.items() if k not in ("artifactType", "annotations")}
            entries[number] = {**kept, **said}
            return
    entries.append(said)
