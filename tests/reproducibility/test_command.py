"""The command line: `python -m reproducibility diff`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from reproducibility.__main__ import COMMANDS, main
from tests.elsewhere import ROOT
from tests.reproducibility.layouts import EPOCH, file, make_layout, make_tar

if TYPE_CHECKING:
    from collections.abc import Callable

A = [file("etc/motd", "welcome\n"), file("etc/rc", "x")]
B = [file("etc/motd", "goodbye\n"), file("etc/rc", "x", mtime=EPOCH + 1)]


@pytest.fixture
def sides(tmp_path: Path) -> tuple[str, str]:
    """Two layouts that differ."""
    a = make_layout(tmp_path / "a", make_tar(A))
    b = make_layout(tmp_path / "b", make_tar(B))
    return f"oci:{a}", f"oci:{b}"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the program as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "reproducibility", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_exit_codes(sides: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """0 reproducible, 1 different, 2 could not tell."""
    a, b = sides
    assert main(["diff", a, a]) == 0
    assert "✓ Reproducible" in capsys.readouterr().out
    assert main(["diff", a, b, "--no-diffoscope"]) == 1
    out = capsys.readouterr().out
    assert "≠ Different" in out
    assert "etc/motd" in out
    assert main(["diff", a, "oci:/nonexistent"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: '/nonexistent': no such file or directory\n  hint: ")


def test_a_file_that_cannot_be_written_is_no_verdict(
    sides: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 1 would say that they differ."""
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "r.json"
    assert main(["diff", sides[0], sides[0], "--no-diffoscope", "--json", str(target)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path}/file")
    assert error.count("\n") == 1


def test_process(sides: tuple[str, str], tmp_path: Path) -> None:
    """As a program of its own, under any locale, without a traceback."""
    report = tmp_path / "report"
    result = run("diff", *sides, "--report", str(report), "--no-diffoscope", LC_ALL="C")
    assert result.returncode == 1, result.stderr
    assert result.stderr == ""
    assert result.stdout.endswith(f"report: {report}/index.html\n")
    assert sorted(p.name for p in report.iterdir()) == [
        "index.html",
        "junit.xml",
        "report.json",
        "report.sarif",
        "summary.md",
    ]


def test_reports_of_two_runs_are_equal(sides: tuple[str, str], tmp_path: Path) -> None:
    """A report is a function of what was compared."""
    for name in ("one", "two"):
        main(["diff", *sides, "--report", str(tmp_path / name), "--no-diffoscope", "--quiet"])
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_json_to_a_file(sides: tuple[str, str], tmp_path: Path) -> None:
    """By its schema; with the causes that were not to count."""
    target = tmp_path / "r.json"
    arguments = ["diff", *sides, "--json", str(target), "--quiet", "--no-diffoscope"]
    assert main([*arguments, "--ignore", "mtime", "--ignore", "unknown", "--timings"]) == 0
    document: dict[str, Any] = json.loads(target.read_bytes())
    schema = json.loads((ROOT / "docs/schemas/report.schema.json").read_bytes())
    jsonschema.Draft202012Validator(schema).validate(document)
    (comparison,) = document["comparisons"]
    assert comparison["ignored"] == ["mtime", "unknown"]
    assert {d["cause"] for d in comparison["differences"]} == {"mtime", "unknown"}
    assert comparison["timings"]


def test_unknown_cause(sides: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Usage errors are status 2 as well, and name what there is."""
    with pytest.raises(SystemExit) as caught:
        main(["diff", *sides, "--ignore", "weather"])
    assert caught.value.code == 2
    assert "mtime" in capsys.readouterr().err


def test_help_tells_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """The table of contents."""
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    assert all(name.replace("_", "-") in out for name in COMMANDS)
    with pytest.raises(SystemExit):
        main(["diff", "--help"])
    assert "docker-archive:FILE" in capsys.readouterr().out


def failing(error: BaseException) -> Callable[[object], int]:
    def run(_: object) -> int:
        raise error

    return run


@pytest.mark.parametrize("error", [ValueError("x"), MemoryError(), RecursionError(), OSError("x")])
def test_a_bug_is_no_verdict(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 1 is "different"; whoever fails has not found that out."""
    monkeypatch.setattr("reproducibility.commands.diff.run", failing(error))
    assert main(["diff", "a", "b"]) == 2
    captured = capsys.readouterr()
    assert "Traceback" in captured.err
    assert type(error).__name__ in captured.err
    assert captured.out == ""


def test_a_command_that_cannot_be_loaded_is_no_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("reproducibility.commands.audit.add_parser", failing(ImportError("rich")))
    assert main(["diff", "a", "b"]) == 2
    assert "ImportError: rich" in capsys.readouterr().err


def test_interrupted_is_a_status_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("reproducibility.commands.diff.run", failing(KeyboardInterrupt()))
    assert main(["diff", "a", "b"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_closed_pipe_is_no_traceback(sides: tuple[str, str]) -> None:
    """`… | head -1`."""
    command = f"{sys.executable} -m reproducibility diff {sides[0]} {sides[0]} | true"
    result = subprocess.run(
        ["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("prefix", ["", "oci-archive:", "docker-archive:"])
def test_a_fifo_is_no_source(
    prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody waits for its other end."""
    os.mkfifo(tmp_path / "pipe")
    name = f"{prefix}{tmp_path}/pipe"
    assert main(["diff", name, name, "--quiet"]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path}/pipe: is no regular file\n"


def test_a_fifo_in_a_layout_is_not_waited_for(sides: tuple[str, str]) -> None:
    blob = next(path for path in Path(sides[0][4:]).glob("blobs/sha256/*") if path.stat().st_size)
    blob.unlink()
    os.mkfifo(blob)
    with_fifo = main(["diff", *sides, "--quiet"])
    blob.unlink()
    assert with_fifo == main(["diff", *sides, "--quiet"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["diff", "{}", "{}", "--quiet"],
        ["verify", "oci:{}:x", "--quiet"],
        ["trust", "oci:{}:x", "--as", "example.org/a:b", "--key", "k"],
        ["policy", "oci:{}:x", "--policy", "{}"],
    ],
)
def test_an_error_is_one_line_that_steers_no_terminal(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the name of the thing is that is at fault."""
    name = "/nowhere/a\x1b[2J\nb\u202e"
    assert main([argument.format(name) for argument in arguments]) == 2
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.startswith("error: ")
    assert all(line.startswith("  hint: ") for line in rest)
    assert first.isprintable()
