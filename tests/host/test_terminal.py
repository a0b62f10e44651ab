"""What a terminal is shown."""

from __future__ import annotations

import pytest

from pipeline.host.terminal import one_line, printable


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("/usr/bin/ü, 日本 …", "/usr/bin/ü, 日本 …"),
        ("\x1b[2J\x07\x9b31m\x7f\r\0", "\\x1b[2J\\x07\\x9b31m\\x7f\\r\\x00"),
        ("a\u202eb\u2066\ufeff", "a\\u202eb\\u2066\\ufeff"),
        ("\udcff", "\\udcff"),
        ("\U000e0041", "\\U000e0041"),
        ("\ta\nb", "\ta\nb"),
    ],
)
def test_only_what_can_be_seen_is_shown(text: str, want: str) -> None:
    """Control characters, marks of direction and lone surrogates are escaped."""
    assert printable(text) == want


def test_lines_may_be_kept_whole() -> None:
    """A message of one line stays one."""
    assert printable("a\tb\nfailed   build", keep="") == "a\\tb\\nfailed   build"


def test_one_line_is_one_and_bounded() -> None:
    assert one_line("a\x1b]0;x\x07\nb\t\u202e\ud800") == r"a\x1b]0;x\x07\nb\t\u202e\ud800"
    assert one_line("x" * 9000) == "x" * 1999 + "…"
