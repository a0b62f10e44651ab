"""What a declaration can ask for, against what pkg matched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import DeclarationError
from pipeline.pkg.request import Request, compile_glob

RECORDED = Path(__file__).parents[2] / "fixtures" / "versions"
QUERIES = json.loads((RECORDED / "query-patterns.json").read_text())["results"]
ALL = next(r["matches"] for r in QUERIES if r["arguments"] == ["-g", "*"])


def test_globs_are_those_of_fnmatch() -> None:
    """Each name and pattern that `pkg version -T` was asked."""
    lines = (RECORDED / "patterns.tsv").read_text().splitlines()
    recorded = [line.split("\t") for line in lines if not line.startswith("#")]
    assert len(recorded) == 342
    for name, pattern, answer in recorded:
        matched = compile_glob(pattern).fullmatch(name) is not None
        assert matched == (answer == "match"), (name, pattern)


@pytest.mark.parametrize(
    ("pattern", "matches", "others"),
    [
        ("[a-c-]x", ["ax", "-x"], ["dx"]),
        ("[c-a]", [], ["a", "b", "c", "-"]),
        ("[!c-a]", ["a", "-"], []),
        ("[^a]", ["b", "^"], ["a"]),
        ("[\\]]", ["]"], ["\\"]),
        ("[a\\-c]", ["a", "-", "c"], ["b", "\\"]),
        ("a\\", ["a\\"], ["a"]),
        ("a[", ["a["], ["a"]),
        ("a?c", ["abc", "a\nc"], ["ac"]),
    ],
)
def test_corners_of_globs(pattern: str, matches: list[str], others: list[str]) -> None:
    glob = compile_glob(pattern)
    assert [text for text in [*matches, *others] if glob.fullmatch(text)] == matches


@pytest.mark.parametrize(
    "result",
    [r for r in QUERIES if r["arguments"][0] == "-g" and "/" not in r["arguments"][1]],
    ids=lambda r: r["arguments"][1],
)
def test_glob_request_means_what_pkg_query_g_means(result: dict[str, Any]) -> None:
    request = Request.parse(result["arguments"][1])
    found = [text for text in ALL if request.matches(*text.rsplit("-", 1))]
    assert found == result["matches"]


def test_plain_request_means_one_package() -> None:
    request = Request.parse("FreeBSD-rc")
    assert [text for text in ALL if request.matches(*text.rsplit("-", 1))] == ["FreeBSD-rc-15.0"]
    assert request.matches_name("FreeBSD-rc")
    assert str(request) == "FreeBSD-rc"


def test_pin_means_one_version() -> None:
    request = Request.parse("libgreet=1.4.2_3,1")
    assert (request.name, request.version) == ("libgreet", "1.4.2_3,1")
    assert request.matches("libgreet", "1.4.2_3,1")
    assert not request.matches("libgreet", "1.4.2_3")
    assert not request.matches("greet", "1.4.2_3,1")
    assert not request.matches_name("libgreet")


def test_pin_is_compared_as_text() -> None:
    """1.0 and 1.00 are equal in order, but not the same package file."""
    assert not Request.parse("a=1.0").matches("a", "1.00")


def test_glob_restricts_the_version_only_where_it_matches_no_bare_name() -> None:
    request = Request.parse("libab-1.*")
    assert request.matches("libab", "1.1")
    assert not request.matches("libab", "2.0")
    assert not request.matches_name("libab")
    assert Request.parse("liba*").matches("libab", "2.0")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-a",
        "a b",
        "test/libaa",
        "devel/py-greet@py311",
        "a==1",
        "a=",
        "=1",
        "a>=1",
        "a=1/2",
        "a-1,1",
        "^a",
        "a\0",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(DeclarationError, match="want name, name=version or a glob"):
        Request.parse(text)


def test_pinned_glob_is_refused() -> None:
    with pytest.raises(DeclarationError, match="want a glob without a version"):
        Request.parse("FreeBSD-*=15.0")


@pytest.mark.parametrize("text", ["lib[a", "lib[a-z]x[", "lib*\\"])
def test_unfinished_glob_is_refused(text: str) -> None:
    with pytest.raises(DeclarationError, match="closed by a"):
        Request.parse(text)


@pytest.mark.parametrize("text", ["lib[]a]*", "lib[[]*", "lib\\[*"])
def test_brackets_that_are_literal_are_understood(text: str) -> None:
    assert Request.parse(text).glob is not None
