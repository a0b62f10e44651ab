"""What is said of images: what is a difference, and what only follows from another one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.attest.provenance import Definition, Run, provenance_statement
from pipeline.attest.statement import Subject
from pipeline.errors import FormatError
from pipeline.formats.digest import Digest
from reproducibility.attachments import KINDS, Attachment, Kind
from reproducibility.causes import Cause
from reproducibility.compare_attachments import compare_attachments
from reproducibility.findings import Comparison, Level, State
from reproducibility.patterns import Hints, Surroundings
from tests.reproducibility import samples

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = "freebsd-static:15.0"
PLATFORM = "freebsd/amd64"
BY_ENDING = {kind.ending: kind for kind in KINDS}
SPDX, SPDX_ARTIFACT = BY_ENDING[".spdx.json"], BY_ENDING[".sbom.spdx"]
LOCK, DEFINITION = BY_ENDING[".artifact.lock"], BY_ENDING[".definition.json"]
STATEMENT = BY_ENDING[".provenance.json"]
SAME = samples.comparison(images=(samples.image(IMAGE, states=(State.IDENTICAL,)),))
OTHER = samples.comparison(images=(samples.image(IMAGE, states=(State.DIFFERENT,)),))


class Side:
    """The documents of one build."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self.attachments: list[Attachment] = []

    def say(self, kind: Kind, content: bytes | Any, *, platform: str = PLATFORM) -> Side:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        path = self._folder / f"{len(self.attachments)}{kind.ending}"
        path.write_bytes(data)
        self.attachments.append(
            Attachment(
                kind=kind,
                image=IMAGE,
                platform=platform,
                task=f"{kind.task}:15.0:amd64:static",
                name=kind.artifact or f"static{kind.ending}",
                path=path,
                digest=str(Digest.of(data)),
                size=len(data),
            )
        )
        return self


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Side, Side]:
    return Side(tmp_path / "a"), Side(tmp_path / "b")


def compare(
    sides: tuple[Side, Side], comparison: Comparison = SAME, *, hints: Hints | None = None
) -> Comparison:
    a, b = sides
    return compare_attachments(comparison, a.attachments, b.attachments, hints=hints or Hints())


def found(comparison: Comparison) -> list[tuple[str, str, str, Cause]]:
    """Return platform, document, place in it and cause of each difference."""
    assert all(d.level is Level.ATTACHMENT for d in comparison.differences)
    assert all(d.place.image == IMAGE for d in comparison.differences)
    return [
        (d.place.platform, d.place.attachment, d.inside, d.cause) for d in comparison.differences
    ]


def states(comparison: Comparison) -> list[tuple[str, State]]:
    (image,) = comparison.images
    amd64, arm64 = image.platforms
    assert arm64.attachments == ()
    return [(a.name, a.state) for a in (*image.attachments, *amd64.attachments)]


def test_equal_documents_are_no_difference(sides: tuple[Side, Side]) -> None:
    for side in sides:
        side.say(SPDX, {"a": 1}).say(LOCK, {"b": 2}, platform="")
    result = compare(sides)
    assert found(result) == []
    assert states(result) == [
        ("lock artifact", State.IDENTICAL),
        ("static.spdx.json", State.IDENTICAL),
    ]
    assert result.verdict == SAME.verdict


def test_a_difference_has_document_path_and_cause(sides: tuple[Side, Side]) -> None:
    for side, time in zip(sides, ("2024-02-29T12:00:00Z", "2033-01-02T03:04:05Z"), strict=True):
        side.say(SPDX, {"creationInfo": {"created": time}, "name": "x"})
    result = compare(sides)
    assert found(result) == [(PLATFORM, "static.spdx.json", "$.creationInfo.created", Cause.CLOCK)]
    assert states(result) == [("static.spdx.json", State.DIFFERENT)]
    assert result.verdict.exit_code == 1


def test_the_order_of_a_hash_table_is_recognised(sides: tuple[Side, Side]) -> None:
    names = ["tar", "awk", "sed", "vi", "make", "cc"]
    for side, order in zip(sides, (names, [*names[3:], *names[:3]]), strict=True):
        side.say(BY_ENDING[".cdx.json"], {"components": [{"name": name} for name in order]})
    assert found(compare(sides)) == [
        (PLATFORM, "static.cdx.json", "$.components", Cause.HASH_ORDER)
    ]


def test_paths_and_names_of_the_builders_are_known(sides: tuple[Side, Side]) -> None:
    places = ("/home/a", "/srv/b c")
    for side, place, host in zip(sides, places, ("audit", "box-7"), strict=True):
        side.say(DEFINITION, {"at": f"file://{place}/p", "on": host}, platform="")
    hints = Hints(
        a=Surroundings(paths=places[:1], identities=("audit",)),
        b=Surroundings(paths=places[1:], identities=("box-7",)),
    )
    assert found(compare(sides, hints=hints)) == [
        ("", "static.definition.json", "$.at", Cause.PATH),
        ("", "static.definition.json", "$.on", Cause.IDENTITY),
    ]


def test_identifiers_of_the_content_follow_from_the_rest(sides: tuple[Side, Side]) -> None:
    a, b = sides
    a.say(SPDX, {"documentNamespace": "urn:uuid:1", "name": "x"})
    b.say(SPDX, {"documentNamespace": "urn:uuid:2", "name": "y"})
    assert [inside for _, _, inside, _ in found(compare(sides))] == ["$.name"]


def test_an_identifier_that_differs_alone_is_a_difference(sides: tuple[Side, Side]) -> None:
    a, b = sides
    a.say(SPDX, {"documentNamespace": "x-5b3c7f46-6f2e-4e0f-a4f5-0f6c6b7a2d11"})
    b.say(SPDX, {"documentNamespace": "x-0d9c5a80-77a1-4b43-8a55-b3be9c1b7f90"})
    assert [inside for _, _, inside, _ in found(compare(sides))] == ["$.documentNamespace"]


def test_an_artifact_differs_with_the_document_in_it(sides: tuple[Side, Side]) -> None:
    for n, side in enumerate(sides):
        side.say(SPDX, {"n": n}).say(SPDX_ARTIFACT, {"layers": [{"size": n}]})
    result = compare(sides)
    assert [name for _, name, _, _ in found(result)] == ["static.spdx.json"]
    assert states(result)[1] == ("SPDX artifact", State.DIFFERENT)


def test_an_artifact_that_differs_alone_is_a_difference(sides: tuple[Side, Side]) -> None:
    for n, side in enumerate(sides):
        side.say(SPDX, {"n": 0}).say(SPDX_ARTIFACT, {"annotations": {"n": f"{n}"}})
    assert found(compare(sides)) == [
        (PLATFORM, "SPDX artifact", "$.annotations.n", Cause.CONFIGURATION)
    ]


def test_what_is_said_of_another_image_is_not_looked_into(sides: tuple[Side, Side]) -> None:
    for n, side in enumerate(sides):
        side.say(SPDX, {"image": n}).say(DEFINITION, {"image": n}, platform="")
    result = compare(sides, OTHER)
    assert found(result) == []
    assert {state for _, state in states(result)} == {State.DIFFERENT}


@pytest.mark.parametrize("comparison", [SAME, OTHER])
def test_what_only_one_side_says_is_a_difference(
    sides: tuple[Side, Side], comparison: Comparison
) -> None:
    sides[1].say(LOCK, {"a": 1}, platform="")
    result = compare(sides, comparison)
    assert found(result) == [("", "lock artifact", "", Cause.PRESENCE)]
    assert states(result) == [("lock artifact", State.ONLY_B)]
    (difference,) = result.differences
    assert (difference.a, difference.b) == ("absent", "a document")


def test_what_is_no_json_is_unknown(sides: tuple[Side, Side]) -> None:
    for n, side in enumerate(sides):
        side.say(SPDX, b"\xff%d" % n)
    assert found(compare(sides)) == [(PLATFORM, "static.spdx.json", "", Cause.UNKNOWN)]


def test_equal_values_written_differently_are_told(sides: tuple[Side, Side]) -> None:
    sides[0].say(SPDX, b'{"a":1,"b":[1,2]}')
    sides[1].say(SPDX, b'{"a": 1, "b": [1, 2]}')
    assert found(compare(sides)) == [(PLATFORM, "static.spdx.json", "", Cause.ENCODING)]


# ---------------------------------------------------------------- provenance


def statement(builder: str, *, workspace: str = "") -> bytes:
    definition = Definition(
        external={"workspace": workspace}, internal={}, dependencies=(), byproducts=()
    )
    run = Run(builder=f"urn:{builder}", version={"python": builder}, started=builder)
    subject = Subject(Digest.of(b"image"), "static")
    return provenance_statement((subject,), definition.to_dict(), run).to_bytes()


def said(folder: Path, data: bytes) -> bytes:
    side = Side(folder).say(STATEMENT, data)
    return side.attachments[0].read()


def test_who_built_is_not_compared(tmp_path: Path) -> None:
    """Everything but signatures and run details is bit-identical between two builders."""
    first, second = statement("me"), statement("you")
    assert first != second
    assert said(tmp_path / "a", first) == said(tmp_path / "b", second)


def test_what_was_built_from_what_is_compared(tmp_path: Path) -> None:
    sides = [statement("me", workspace=place) for place in ("/a", "/b")]
    assert said(tmp_path / "a", sides[0]) != said(tmp_path / "b", sides[1])


def test_a_statement_follows_its_definition(sides: tuple[Side, Side]) -> None:
    for n, side in enumerate(sides):
        side.say(DEFINITION, {"n": n}).say(STATEMENT, statement("me", workspace=f"/{n}"))
    assert [name for _, name, _, _ in found(compare(sides))] == ["static.definition.json"]


def test_a_statement_that_is_none_says_where(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="provenance"):
        said(tmp_path / "a", b"{}")


def test_kinds_are_told_apart_by_their_ending() -> None:
    assert len(BY_ENDING) == len(KINDS) == 7
    assert {kind.follows for kind in KINDS} - {""} <= BY_ENDING.keys()
    assert [kind for kind in KINDS if kind.follows] == [
        kind for kind in KINDS if kind in (SPDX_ARTIFACT, BY_ENDING[".sbom.cyclonedx"], STATEMENT)
    ]
    assert replace(SPDX) == SPDX
