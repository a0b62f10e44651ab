"""SLSA provenance: what reproduces, and what does not."""

from __future__ import annotations

import pytest

from pipeline.attest.provenance import (
    BUILD_TYPE,
    Definition,
    Resource,
    Run,
    provenance_statement,
    reproducible_part,
)
from pipeline.attest.statement import PredicateType, Statement, Subject
from pipeline.errors import FormatError
from pipeline.formats.digest import Digest

DIGEST = Digest.of(b"image")
DEFINITION = Definition(
    external={"target": {"image": "static"}},
    internal={"format": 1},
    dependencies=(Resource(name="lock", digest=DIGEST, media_type="application/json"),),
    byproducts=(Resource(name="layer", digest=DIGEST, annotations={"a": "b"}),),
)
RUN = Run(builder="https://example.org/builder", version={"python": "3.11.2"})


def statement(run: Run = RUN, definition: Definition = DEFINITION) -> Statement:
    return provenance_statement((Subject(DIGEST),), definition.to_dict(), run)


def test_the_predicate_has_slsas_fields() -> None:
    predicate = statement().predicate
    assert statement().predicate_type == "https://slsa.dev/provenance/v1"
    assert predicate == {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {"target": {"image": "static"}},
            "internalParameters": {"format": 1},
            "resolvedDependencies": [
                {
                    "name": "lock",
                    "digest": {"sha256": DIGEST.hex},
                    "mediaType": "application/json",
                }
            ],
        },
        "runDetails": {
            "builder": {
                "id": "https://example.org/builder",
                "version": {"python": "3.11.2"},
            },
            "byproducts": [
                {"name": "layer", "digest": {"sha256": DIGEST.hex}, "annotations": {"a": "b"}}
            ],
        },
    }


def test_two_builders_have_the_same_part_in_common() -> None:
    """Whoever builds, whenever, with whatever: only the builder's own words differ."""
    other = Run(
        builder="https://example.net/other",
        version={"python": "3.14.0"},
        invocation="run/7",
        started="2025-01-01T00:00:00Z",
        finished="2025-01-01T00:01:00Z",
    )
    assert statement(other).predicate["runDetails"] != statement().predicate["runDetails"]
    assert statement(other).to_bytes() != statement().to_bytes()
    assert reproducible_part(statement(other)) == reproducible_part(statement())
    assert reproducible_part(statement()) == DEFINITION.to_bytes()


def test_what_is_not_known_is_not_said() -> None:
    details = statement(Run(builder="urn:x", version={})).predicate["runDetails"]
    assert isinstance(details, dict)
    assert details["builder"] == {"id": "urn:x"}
    assert "metadata" not in details
    bare = Definition(external={}, internal={}, dependencies=(), byproducts=())
    details = statement(definition=bare).predicate["runDetails"]
    assert isinstance(details, dict)
    assert "byproducts" not in details
    assert reproducible_part(statement(definition=bare)) == bare.to_bytes()


def test_times_and_invocation_are_metadata() -> None:
    run = Run(builder="urn:x", version={}, invocation="7", started="a", finished="b")
    assert run.to_dict()["metadata"] == {
        "invocationId": "7",
        "startedOn": "a",
        "finishedOn": "b",
    }


@pytest.mark.parametrize(
    ("kind", "predicate", "message"),
    [
        (PredicateType.SPDX, {}, "want provenance"),
        (PredicateType.PROVENANCE, {}, "missing"),
        (PredicateType.PROVENANCE, {"buildDefinition": {"buildType": "x"}}, "want urn:"),
        (PredicateType.PROVENANCE, {"buildDefinition": {"buildType": BUILD_TYPE}}, "missing"),
    ],
)
def test_others_provenance_is_not_compared(
    kind: PredicateType, predicate: dict[str, object], message: str
) -> None:
    foreign = Statement(subjects=(), predicate_type=kind, predicate=predicate)
    with pytest.raises(FormatError, match=message):
        reproducible_part(foreign)
