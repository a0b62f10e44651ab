"""Progress: calm on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
import os
import re

import pytest

from reproducibility.progress import Progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def lines(text: str) -> list[str]:
    """Return what stands on a terminal's lines, one after the other."""
    return [line.rpartition("\r\033[K")[2] for line in text.split("\n")]


def test_elsewhere_a_step_has_a_line_at_its_beginning_and_one_at_its_end() -> None:
    out = io.StringIO()
    progress = Progress(out)
    with progress.step("build a"):
        assert out.getvalue() == "build a\n"
        progress.detail("layer 3")
    with progress.step("build b") as step:
        step.outcome = "failed"
    got = re.sub(r"\d+\.\d s", "N s", out.getvalue())
    assert got == "build a\nbuild a: N s\nbuild b\nbuild b: failed after N s\n"


def test_on_a_terminal_one_line_says_what_is_going_on() -> None:
    out = Terminal()
    progress = Progress(out)
    with progress.step("build a"):
        assert "\n" not in out.getvalue()
        progress.detail("layer 3")
        assert lines(out.getvalue()) == ["build a: layer 3"]
        progress.detail("")
        assert lines(out.getvalue()) == ["build a"]
    assert re.fullmatch(r"build a: \d\.\d s", lines(out.getvalue())[0])
    assert lines(out.getvalue())[1:] == [""]


def test_no_line_is_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that wraps could not be taken back."""
    out = Terminal()
    monkeypatch.setattr(out, "fileno", lambda: 2)
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((20, 10)))
    progress = Progress(out)
    with progress.step("b" * 50):
        progress.detail("x\n\033[2J" * 50)
    assert {len(line) for line in lines(out.getvalue())} == {19, 0}
    shown = out.getvalue().replace("\r\033[K", "")
    assert "\033" not in shown


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_what_is_broken_off_has_no_end(stream: type[io.StringIO]) -> None:
    out = stream()
    progress = Progress(out)
    with pytest.raises(KeyboardInterrupt), progress.step("build a"):
        raise KeyboardInterrupt
    assert lines(out.getvalue())[-1] == ""
    assert " s" not in out.getvalue()


def test_without_a_stream_nothing_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    with progress.step("build a"):
        progress.detail("x")
    assert capfd.readouterr() == ("", "")
