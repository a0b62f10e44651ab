"""Lists of referrers: what they say, and how something is added to them."""

from __future__ import annotations

import json

import pytest

from pipeline.errors import FormatError, LayoutError
from pipeline.formats import canonical_json
from pipeline.formats.digest import Digest
from pipeline.oci.descriptor import Descriptor
from pipeline.oci.media_type import MediaType
from pipeline.oci.referrers import (
    fallback_tag,
    merge_referrers,
    parse_referrers,
    referrer_descriptor,
    subject_of,
)

SUBJECT = Digest("a" * 64)
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"


def manifest(**fields: object) -> bytes:
    empty = {"mediaType": MediaType.EMPTY.value, "digest": str(Digest.of(b"{}")), "size": 2}
    return canonical_json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MediaType.MANIFEST.value,
            "config": empty,
            "layers": [empty],
            "subject": {
                "mediaType": MediaType.INDEX.value,
                "digest": str(SUBJECT),
                "size": 7,
            },
            **fields,
        }
    )


def test_the_tag_is_the_digest_with_a_dash() -> None:
    """Referrers Tag Schema, first row of its table."""
    assert fallback_tag(SUBJECT) == "sha256-" + "a" * 64


def test_a_descriptor_has_the_artifact_type_and_all_annotations() -> None:
    """All annotations from the pushed manifest MUST be copied to this descriptor."""
    raw = manifest(artifactType=BUNDLE, annotations={"a": "1", "b": "2"})
    assert referrer_descriptor(raw) == Descriptor(
        media_type=MediaType.MANIFEST,
        digest=Digest.of(raw),
        size=len(raw),
        annotations={"a": "1", "b": "2"},
        artifact_type=BUNDLE,
    )


@pytest.mark.parametrize("fields", [{}, {"artifactType": ""}])
def test_without_an_artifact_type_it_is_the_configs_media_type(fields: dict[str, object]) -> None:
    """If the artifactType is empty or missing, it MUST be set to the config's mediaType."""
    assert referrer_descriptor(manifest(**fields)).artifact_type == MediaType.EMPTY


def test_an_index_without_artifact_type_has_none() -> None:
    """If the artifactType is empty or missing in an index, the artifactType MUST be omitted."""
    raw = canonical_json.dumps({"mediaType": MediaType.INDEX.value, "manifests": []})
    assert referrer_descriptor(raw).artifact_type is None


def test_subject_is_read_or_absent() -> None:
    subject = subject_of(json.loads(manifest()))
    assert subject is not None
    assert subject.digest == SUBJECT
    assert subject_of({}) is None


def test_a_bad_subject_is_named() -> None:
    with pytest.raises(FormatError, match=r"subject\.size"):
        subject_of({"subject": {"digest": str(SUBJECT), "mediaType": "x"}})


def test_a_new_list_is_an_index() -> None:
    descriptor = referrer_descriptor(manifest(artifactType=BUNDLE))
    data = merge_referrers(None, [descriptor])
    assert json.loads(data)["mediaType"] == MediaType.INDEX
    assert parse_referrers(data) == (descriptor,)


def test_others_keep_their_entries_with_every_field() -> None:
    other = {
        "mediaType": MediaType.MANIFEST.value,
        "digest": "sha256:" + "b" * 64,
        "size": 1,
        "data": "e30=",
        "urls": ["https://example.org"],
    }
    before = json.dumps(
        {"schemaVersion": 2, "mediaType": MediaType.INDEX, "manifests": [other], "x": 1}
    ).encode()
    after = json.loads(merge_referrers(before, [referrer_descriptor(manifest())]))
    assert after["manifests"][0] == other
    assert after["x"] == 1
    assert len(after["manifests"]) == 2


def test_what_has_it_all_is_returned_unchanged() -> None:
    """Nothing is pushed then: the same bytes are the sign."""
    descriptor = referrer_descriptor(manifest(artifactType=BUNDLE))
    data = json.dumps(json.loads(merge_referrers(None, [descriptor])), indent=3).encode()
    assert merge_referrers(data, [descriptor]) is data


def test_an_entry_that_says_something_wrong_is_corrected() -> None:
    """As cosign 2.5 does: it lists the config's media type as artifactType, and no annotations."""
    raw = manifest(artifactType=BUNDLE, annotations={"a": "1"})
    wrong = {
        "mediaType": MediaType.MANIFEST.value,
        "digest": str(Digest.of(raw)),
        "size": len(raw),
        "artifactType": MediaType.EMPTY.value,
    }
    data = json.dumps({"mediaType": MediaType.INDEX, "manifests": [wrong]}).encode()
    merged = parse_referrers(merge_referrers(data, [referrer_descriptor(raw)]))
    assert merged == (referrer_descriptor(raw),)


@pytest.mark.parametrize(
    "data",
    [
        b"[]",
        b"{}",
        b"not json",
        json.dumps({"mediaType": MediaType.MANIFEST, "manifests": []}).encode(),
        json.dumps({"mediaType": MediaType.INDEX, "manifests": {}}).encode(),
        json.dumps({"mediaType": MediaType.INDEX, "manifests": [1]}).encode(),
    ],
)
def test_something_else_under_the_tag_is_an_error(data: bytes) -> None:
    """If that pull returns a manifest other than the image index, report a failure."""
    with pytest.raises(LayoutError):
        parse_referrers(data)
    with pytest.raises(LayoutError):
        merge_referrers(data, [])


def test_a_broken_entry_is_named() -> None:
    data = json.dumps({"mediaType": MediaType.INDEX, "manifests": [{"size": 1}]}).encode()
    with pytest.raises(LayoutError, match=r"manifests\[0\]"):
        parse_referrers(data)
