"""Globs and expressions, against the answers of the real pkg and of `re`."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ScriptError
from pipeline.pkg.patterns import compile_expression, compile_glob, literal, match_glob, search

VERSIONS = Path("fixtures/versions")
NAMES = ("x", "name/with/slash", "a.b*c?d[e]", ".dot", "libgreet-1.4.2_3,1")


def globs() -> list[tuple[str, str, bool]]:
    lines = (VERSIONS / "patterns.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    return [(name, pattern, answer == "match") for name, pattern, answer in rows]


def expressions() -> list[tuple[str, set[str]]]:
    results = json.loads((VERSIONS / "query-patterns.json").read_bytes())["results"]
    return [(r["arguments"][1], set(r["matches"])) for r in results if r["arguments"][0] == "-x"]


def is_glob(pattern: str, text: str) -> bool:
    return match_glob(compile_glob(pattern), text)


def found(pattern: str, text: str) -> bool:
    return search(compile_expression(pattern), text)


def test_globs_match_what_pkg_matches() -> None:
    """fnmatch(3) without flags, by `pkg version -T`; an open bracket is refused here."""
    rows = [row for row in globs() if row[1] not in ("[x", "x[")]
    assert len(rows) > 300
    assert {(name, pattern): is_glob(pattern, name) for name, pattern, _ in rows} == {
        (name, pattern): answer for name, pattern, answer in rows
    }


def test_expressions_match_what_pkg_matches() -> None:
    """regexec(3), extended, by `pkg query -x` on names and on names with versions."""
    names = {name for _, matches in expressions() for name in matches}
    assert len(expressions()) > 3
    for pattern, matches in expressions():
        try:
            expression = compile_expression(pattern)
        except ScriptError:
            assert not matches
            continue
        for name in sorted(names):
            texts = (name, name.rpartition("-")[0])
            assert any(search(expression, text) for text in texts) is (name in matches)


@pytest.mark.parametrize(
    ("pattern", "text", "answer"),
    [
        ("/a/*", "/a/b/c", True),
        ("*/share/icons/*", "/usr/local/share/icons/hicolor/48x48", True),
        ("*/share/icons/*", "/usr/local/share/icons", False),
        ("a?c", "a/c", True),
        ("[!a]*", "b", True),
        ("[^a]*", "a", False),
        ("[]-]", "-", True),
        ("[a-]", "-", True),
        ("[\\]]", "]", True),
        ("\\*", "*", True),
        ("\\*", "x", False),
        ("", "", True),
        ("*", "", True),
        ("**", "x", True),
        ("a*b*c", "a-b-b-c", True),
        ("a*b*c", "a-b-b-d", False),
    ],
)
def test_glob(pattern: str, text: str, answer: object) -> None:
    assert is_glob(pattern, text) is answer


@pytest.mark.parametrize(
    "pattern",
    ["[", "[a", "[]", "[!]", "\\", "[\\", "[z-a]", "[[:alpha:]]", "[[.a.]]", "[[=a=]]", "a" * 2000],
)
def test_glob_is_refused(pattern: str) -> None:
    with pytest.raises(ScriptError, match="pattern"):
        compile_glob(pattern)


def test_literal_matches_itself_only() -> None:
    assert match_glob(literal("a*[b]"), "a*[b]")
    assert not match_glob(literal("a*"), "ab")


@pytest.mark.parametrize(
    ("pattern", "text", "answer"),
    [
        ("b", "abc", True),
        ("^b", "abc", False),
        ("^a.c$", "a/c", True),
        ("^a.c$", "a\nc", True),
        ("c$", "abc\n", False),
        ("(a|b)+c", "xababc", True),
        ("a{2}", "aba", False),
        ("a{2}", "aab", True),
        ("^a{2,}$", "aaaa", True),
        ("^a{1,3}$", "aaaa", False),
        ("^a{0,2}b", "aab", True),
        ("colou?r", "color", True),
        ("^(ab*)*$", "abbab", True),
        ("x*", "", True),
        ("[0-9]+", "a1", True),
        ("[^/]+$", "a/", False),
        ("[]a]", "]", True),
        ("\\.ucl$", "x.ucl", True),
        ("\\.ucl$", "xucl", False),
        ("a|^b|c$", "xb", False),
        ("(^a|b$)", "ab", True),
        (".*/ldconfig", "/usr/local/libdata/ldconfig", True),
    ],
)
def test_expression(pattern: str, text: str, answer: object) -> None:
    assert found(pattern, text) is answer


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "a|",
        "|a",
        "()",
        "(a",
        "a)",
        "*a",
        "+",
        "?",
        "{2}",
        "a**",
        "a+?",
        "a{2}{2}",
        "^*",
        "$+",
        "a{",
        "a{x}",
        "a{3,2}",
        "a{1}",
        "a{256}",
        "a{1,256}",
        "a{,2}",
        "[",
        "[z-a]",
        "[[:alpha:]]",
        "[\\.]",
        "\\",
        "\\w",
        "\\1",
        "(" * 40 + "a" + ")" * 40,
        "((a{200}){200}){200}",
    ],
)
def test_expression_is_refused(pattern: str) -> None:
    with pytest.raises(ScriptError, match="pattern"):
        compile_expression(pattern)


def test_hostile_patterns_are_fast() -> None:
    """A backtracking matcher would need longer than the universe has."""
    start = time.perf_counter()
    assert not found("^(a*)*(a|a)*b$", "a" * 1000)
    assert not is_glob("*a" * 200 + "b", "a" * 1000)
    assert time.perf_counter() - start < 2


@pytest.mark.property
@given(
    st.text("ab.*+?()|^$", min_size=1, max_size=8),
    st.text("ab/", max_size=6),
)
def test_expression_answers_as_re_does(pattern: str, text: str) -> None:
    """Where both understand a pattern, which Python's `$` is kept from misreading."""
    try:
        expression = compile_expression(pattern)
    except ScriptError:
        return
    assert search(expression, text) is bool(re.search(pattern.replace("$", r"\Z"), text, re.DOTALL))


@pytest.mark.property
@given(st.text("ab*?/", max_size=8), st.text("ab/", max_size=8))
def test_glob_answers_as_re_does(pattern: str, text: str) -> None:
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    assert is_glob(pattern, text) is bool(re.fullmatch(expression, text, re.DOTALL))
