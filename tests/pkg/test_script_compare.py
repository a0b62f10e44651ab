"""Comparisons with the root directory: one answer for every name of it, or none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ScriptError
from pipeline.pkg.patterns import compile_glob, match_glob
from pipeline.pkg.script_compare import is_equal, matches
from pipeline.pkg.script_expand import ROOT


@pytest.mark.parametrize(
    ("left", "right", "want"),
    [
        ("a", "a", True),
        ("a", "b", False),
        (ROOT, ROOT, True),
        (ROOT, "/", False),
        (ROOT, "", False),
        (f"x{ROOT}", "x/", False),
        (f"x{ROOT}", "x", False),
        (f"{ROOT}/", "/", False),
        (f"{ROOT}/etc", "/etc", False),
        (f"{ROOT}/etc", f"{ROOT}/etc", True),
        (f"{ROOT}/etc", f"{ROOT}/usr", False),
        (ROOT, f"{ROOT}/usr", False),
        (ROOT, "mnt", False),
        (ROOT, "//mnt", False),
        (f"{ROOT}/etc", "/mnt/usr", False),
    ],
)
def test_what_is_known(left: str, right: str, *, want: bool) -> None:
    assert is_equal(left, right) is is_equal(right, left) is want


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (ROOT, "/mnt"),
        (ROOT, "/m"),
        (f"x{ROOT}", "x/mnt"),
        (f"{ROOT}/etc", "/mnt/etc"),
        (f"{ROOT}/etc", "/etc/etc"),
        (f"a{ROOT}", f"{ROOT}a"),
        (f"{ROOT}{ROOT}", f"{ROOT}/a{ROOT}"),
    ],
)
def test_what_depends_on_the_name(left: str, right: str) -> None:
    for pair in ((left, right), (right, left)):
        with pytest.raises(ScriptError, match="root directory"):
            is_equal(*pair)


@pytest.mark.parametrize(
    ("glob", "text", "want"),
    [
        ("*", ROOT, True),
        ("/*", ROOT, True),
        ("/", ROOT, False),
        ("", ROOT, False),
        ("*/etc", f"{ROOT}/etc", True),
        ("*/usr", f"{ROOT}/etc", False),
        ("/*/info", f"{ROOT}/usr/info", True),
        ("[!/]*", ROOT, False),
        ("/[/]*", ROOT, False),
        ("/mnt*", "/mnt/x", True),
    ],
)
def test_patterns_that_are_decided(glob: str, text: str, *, want: bool) -> None:
    assert matches(compile_glob(glob), text) is want


@pytest.mark.parametrize("glob", ["/?", "/??*", "/m*", "*t", "/[a-z]*", "*[!m]", "*/*/*", "?*t?"])
def test_patterns_that_depend_on_the_name(glob: str) -> None:
    with pytest.raises(ScriptError, match="what the root directory is called"):
        matches(compile_glob(glob), ROOT)


@pytest.mark.property
@given(
    st.text("/ab*?", max_size=6),
    st.tuples(st.text("/ab", max_size=3), st.text("/ab", max_size=3)),
    st.text("ab/", max_size=4),
)
def test_an_answer_holds_for_every_name(glob: str, around: tuple[str, str], name: str) -> None:
    text = ROOT.join(around)
    try:
        answer = matches(compile_glob(glob), text)
    except ScriptError:
        return
    root = f"/a{name}".rstrip("/")
    assert match_glob(compile_glob(glob), root.join(around)) is answer
