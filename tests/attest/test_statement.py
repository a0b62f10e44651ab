"""Statements: exact bytes, and what of others' is read."""

from __future__ import annotations

import pytest

from pipeline.attest.statement import PredicateType, Statement, Subject
from pipeline.errors import FormatError
from pipeline.formats import canonical_json
from pipeline.formats.digest import Digest

DIGEST = Digest.of(b"image")
OTHER = Digest.of(b"other")


def make(**changes: object) -> bytes:
    document: dict[str, object] = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "x", "digest": {"sha256": DIGEST.hex}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {"a": 1},
    }
    return canonical_json.dumps({**document, **changes})


def test_a_statement_has_these_bytes() -> None:
    statement = Statement(
        subjects=(Subject(DIGEST, "freebsd-static"), Subject(OTHER)),
        predicate_type=PredicateType.SIGNATURE,
        predicate={},
    )
    assert statement.to_bytes() == (
        b'{"_type":"https://in-toto.io/Statement/v1","predicate":{},'
        b'"predicateType":"https://sigstore.dev/cosign/sign/v1","subject":['
        b'{"digest":{"sha256":"' + DIGEST.hex.encode() + b'"},"name":"freebsd-static"},'
        b'{"digest":{"sha256":"' + OTHER.hex.encode() + b'"}}]}'
    )


def test_parse_is_the_inverse() -> None:
    statement = Statement.parse(make())
    assert statement.subjects == (Subject(DIGEST, "x"),)
    assert statement.predicate == {"a": 1}
    assert Statement.parse(statement.to_bytes()) == statement
    assert statement.to_bytes() == make()


def test_version_0_1_is_read_as_well() -> None:
    """Cosign 2 writes it."""
    assert Statement.parse(make(_type="https://in-toto.io/Statement/v0.1")).is_about(DIGEST)


def test_a_statement_is_about_its_subjects_only() -> None:
    statement = Statement.parse(make())
    assert statement.is_about(DIGEST)
    assert not statement.is_about(OTHER)


def test_a_statement_may_say_nothing() -> None:
    document = canonical_json.loads_object(make())
    del document["predicate"]
    assert Statement.parse(canonical_json.dumps(document)).predicate == {}


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"_type": "https://in-toto.io/Statement/v2"}, "_type"),
        ({"subject": [{"name": "x"}]}, "subject[0].digest"),
        ({"subject": [{"digest": {"sha512": "00"}}]}, "subject[0].sha256"),
        ({"subject": [{"digest": {"sha256": "00"}}]}, "subject[0]"),
        ({"subject": {}}, "subject"),
        ({"predicateType": 3}, "predicateType"),
        ({"predicate": []}, "predicate"),
    ],
)
def test_what_is_no_statement_is_refused(changes: dict[str, object], where: str) -> None:
    with pytest.raises(FormatError) as caught:
        Statement.parse(make(**changes))
    assert caught.value.context == where
