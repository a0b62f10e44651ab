"""The command: what it takes, what it says, how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from pipeline import canonicalize as module
from pipeline.canonicalize import main
from tests.elsewhere import ROOT, run_elsewhere
from tests.foreign import DATABASE, DATABASES, EPOCH, Image, Layout, Node, folder, pack, root

if TYPE_CHECKING:
    from pathlib import Path

FORMS = ("database", "root", "tar", "oci", "diff")
AT = ("--source-date-epoch", str(EPOCH))


@pytest.fixture(autouse=True)
def _no_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory with something for each form, and be in it."""
    (tmp_path / "a.sqlite").write_bytes(DATABASES["2.8.4-all"])
    (tmp_path / "b.sqlite").write_bytes(DATABASES["2.8.4-wallclock"])
    database = tmp_path / "root" / DATABASE
    database.parent.mkdir(parents=True)
    database.write_bytes(DATABASES["2.7.5-all"])
    (tmp_path / "in.tar").write_bytes(pack(root(DATABASES["2.8.4-all"])))
    made = Layout(tmp_path / "in")
    image = Image(layers=[pack(root(DATABASES["2.8.4-all"]))])
    made.name(made.image(image), "freebsd:15.0")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_help_answers(capsys: pytest.CaptureFixture[str]) -> None:
    """For the command and for each form."""
    for arguments in ([], *([form] for form in FORMS)):
        with pytest.raises(SystemExit) as caught:
            main([*arguments, "--help"])
        assert caught.value.code == 0
        assert capsys.readouterr().out.startswith("usage: python -m pipeline.canonicalize")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["frobnicate"],
        ["database"],
        ["tar", "x"],
        ["oci", "x"],
        ["diff", "x"],
        ["database", "x", "--source-date-epoch", "-1"],
        ["database", "x", "--source-date-epoch", "yesterday"],
        ["database", "x", "--source-date-epoch", "999999999999"],
        ["database", "x", "--dry"],
        ["tar", "x", "--output", "y", "--compression", "xz"],
    ],
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2, and what was wanted."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


# ---------------------------------------------------------------- forms


def test_database(inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In place, or elsewhere, or not at all."""
    assert main(["database", "a.sqlite", "--dry-run", *AT]) == 0
    said = capsys.readouterr().out
    assert said.startswith("a.sqlite: schema 42, sha256:")
    assert (inputs / "a.sqlite").read_bytes() == DATABASES["2.8.4-all"]
    assert main(["database", "a.sqlite", *AT]) == 0
    assert capsys.readouterr().out == said
    assert main(["database", "b.sqlite", "--output", "c.sqlite", *AT]) == 0
    assert capsys.readouterr().out.startswith("c.sqlite: ")
    assert (inputs / "a.sqlite").read_bytes() == (inputs / "c.sqlite").read_bytes()


def test_root(inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, and another one if everything is clamped."""
    assert main(["root", "root", "--schema", "42", *AT]) == 0
    assert capsys.readouterr().out.startswith("root: schema 39 -> 42, sha256:")
    assert main(["root", "root", "--all", *AT]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("root: canonical already, schema 42")
    assert lines[1] == "root: 4 later modification times set to the epoch"
    assert (inputs / "root" / DATABASE).stat().st_mtime == EPOCH


def test_tar(inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Digests, and what was done."""
    assert main(["tar", "in.tar", "--output", "out.tar.zst", *AT]) == 0
    lines = capsys.readouterr().out.splitlines()
    size = (inputs / "out.tar.zst").stat().st_size
    assert lines[0] == f"out.tar.zst: {len(root()) + 1} entries, {size} bytes"
    assert lines[1].startswith("  sha256:")
    assert lines[2].startswith("  database: schema 42, sha256:")
    options = ["--compression", "gzip", "--level", "1", "--owners", "names", "--keep-flags"]
    assert main(["tar", "in.tar", "--output", "out", *options, *AT]) == 0
    assert (inputs / "out").read_bytes()[:2] == b"\x1f\x8b"


def test_oci(inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Old and new digests of the image and of each layer."""
    assert main(["oci", "in:freebsd:15.0", "--output", "out", "--drop-xattrs", *AT]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("out: sha256:")
    assert [line.split()[0] for line in lines[1:]] == ["layer", "uncompressed", "database:"]
    again = ["oci", "out", "--output", "out", "--compression", "gzip", *AT]
    assert main(again) == 0
    assert all(
        line.endswith("unchanged") or "database" in line
        for line in capsys.readouterr().out.splitlines()
    )


def test_diff(inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0 for no difference, 1 for some, 2 for an error; no time is needed."""
    assert main(["diff", "a.sqlite", "in.tar"]) == 0
    assert capsys.readouterr().out == "no difference\n"
    assert main(["diff", "a.sqlite", "b.sqlite", "--limit", "2"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "FreeBSD-caroot"
    assert lines[1].startswith("  packages: time 1762100000 | ")
    assert lines[-1] == "and 17 more"
    assert main(["diff", "a.sqlite", "b.sqlite", "--ignore-times"]) == 0
    capsys.readouterr()
    assert main(["diff", "a.sqlite", "none"]) == 2
    assert capsys.readouterr().err == "error: none: no such file or directory\n"


def test_diff_of_platforms(inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each under its name, and those that one side has."""
    made = Layout(inputs / "two")
    images = [
        Image(layers=[pack(root(DATABASES["2.8.4-all"]))], architecture=a)
        for a in ("amd64", "arm64")
    ]
    made.name(made.index(images), "both")
    assert main(["diff", "two:both", "two:both"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "freebsd/amd64:"
    assert main(["diff", "two:both", "in"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "freebsd/arm64: only in A"


# ---------------------------------------------------------------- time and errors


def test_the_time_is_never_guessed(
    inputs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An option, else the environment, else an error that says so."""
    for form in (
        ["database", "a.sqlite"],
        ["root", "root"],
        ["tar", "in.tar", "--output", "out.tar"],
        ["oci", "in", "--output", "out"],
    ):
        assert main(form) == 2
        error = capsys.readouterr().err
        assert "no time to set" in error
        assert "hint: give --source-date-epoch, or set SOURCE_DATE_EPOCH" in error
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(EPOCH))
    assert main(["database", "a.sqlite", "--output", "x.sqlite"]) == 0
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    assert main(["database", "a.sqlite", "--output", "y.sqlite", *AT]) == 0
    assert (inputs / "x.sqlite").read_bytes() == (inputs / "y.sqlite").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["database", "a.sqlite", "--schema", "43"], "got schema 43, want 36 to 42"),
        (["database", "none"], "none: no such file"),
        (["database", "a.sqlite", "--output", "no/x"], "no such directory"),
        (["database", "root"], "root: is a directory"),
        (["root", "a.sqlite"], "no such directory"),
        (["tar", "in.tar", "--output", "out"], "does not say how to compress"),
        (["tar", "in.tar", "--output", "x.tar", "--level", "3"], "--level without --compression"),
        (
            ["tar", "in.tar", "--output", "x", "--compression", "gzip", "--level", "19"],
            "got level 19, want 1 to 12 for gzip",
        ),
        (["oci", "in:none", "--output", "out"], "in:none: 0 images, want one"),
    ],
)
def test_refusals(
    inputs: Path, arguments: list[str], match: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line and perhaps a hint; nothing is written."""
    before = sorted(inputs.rglob("*"))
    assert main([*arguments, *AT]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert match in error
    assert sorted(inputs.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["database", "pipe", *AT],
        ["database", "a.sqlite", *AT],
        ["tar", "pipe", "--output", "out.tar", *AT],
        ["oci", "pipe", "--output", "out", *AT],
        ["diff", "pipe", "a.sqlite"],
    ],
)
def test_what_is_no_regular_file_is_refused_at_once(
    inputs: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A FIFO, also one beside a database, would be waited for."""
    os.mkfifo("pipe")
    os.mkfifo("a.sqlite-wal")
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.replace("\nhint: ", " ").count("\n") == 1


def test_an_output_that_is_a_directory_is_named(
    inputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (inputs / "folder").mkdir()
    assert main(["database", "a.sqlite", "--output", "folder", *AT]) == 2
    assert capsys.readouterr().err == "error: folder: Is a directory\n"
    assert list((inputs / "folder").iterdir()) == []


def test_any_name_can_be_shown(inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes that are not UTF-8, control characters, letters that the terminal does not have."""
    name = b"\xff\x1b[31m\xc3\xa4".decode("utf-8", "surrogateescape")
    (inputs / "odd.tar").write_bytes(pack([folder(name), Node(path=name)]))
    assert main(["tar", "odd.tar", "--output", "x.tar", *AT]) == 2
    assert "\x1b" not in capsys.readouterr().err
    module._say("a\udcffb")
    assert capsys.readouterr().out == "a\\udcffb\n"
    module._complain("a\x1b[31m", "b\u202e")
    assert capsys.readouterr().err == "error: a\\x1b[31m\nhint: b\\u202e\n"


def test_an_unpinned_encoder_is_told(
    inputs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is made with it."""
    monkeypatch.setattr(module, "unpinned_encoder", lambda algorithm: f"another {algorithm}")
    assert main(["tar", "in.tar", "--output", "x.tgz", *AT]) == 0
    assert capsys.readouterr().err == "warning: another gzip\n"
    assert main(["oci", "in", "--output", "out", *AT]) == 0
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_bugs_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that nobody foresaw has a traceback; Ctrl-C has none."""

    def fail(error: BaseException) -> None:
        def run(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(module, "canonicalize_database", run)

    fail(RuntimeError("bug"))
    with pytest.raises(RuntimeError):
        main(["database", "x", *AT])
    fail(OSError("no number"))
    with pytest.raises(OSError, match="no number"):
        main(["database", "x", *AT])
    fail(KeyboardInterrupt())
    assert main(["database", "x", *AT]) == 130
    fail(OSError(28, "x"))
    assert main(["database", "x", *AT]) == 2


def test_the_handler_of_signals_is_put_back() -> None:
    """Whoever calls `main` has their own."""
    before = signal.getsignal(signal.SIGTERM)
    main(["diff", "none", "none"])
    assert signal.getsignal(signal.SIGTERM) is before
    with pytest.raises(SystemExit) as caught:
        module._terminate(15, None)
    assert caught.value.code == 143


# ---------------------------------------------------------------- as a process


@pytest.mark.slow
def test_surroundings_do_not_matter(inputs: Path) -> None:
    """Hash seed, time zone, locale, umask, directory: one digest."""
    for form, source, output in (("tar", "in.tar", "o.tar.zst"), ("oci", "in", "o:x")):
        said = run_elsewhere(
            "import sys; from pipeline.canonicalize import main; main(sys.argv[1:])",
            *(form, str(inputs / source), "--output", str(inputs / output), *AT),
        )
        assert len(said) == 1


@pytest.mark.slow
def test_a_signal_leaves_nothing_behind(inputs: Path) -> None:
    """SIGTERM in the middle of an archive."""
    big = [Node(path=f"f{i}", content=os.urandom(1 << 20)) for i in range(60)]
    (inputs / "big.tar").write_bytes(pack(big))
    before = {path.name for path in inputs.iterdir()}
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "pipeline.canonicalize", "tar", "big.tar"),
            *("--output", "out.tar.zst", "--compression", "zstd", "--level", "19", *AT),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    deadline = time.monotonic() + 20
    while {path.name for path in inputs.iterdir()} == before and time.monotonic() < deadline:
        time.sleep(0.01)
    process.terminate()
    assert process.wait(20) == 128 + signal.SIGTERM
    assert {path.name for path in inputs.iterdir()} == before
