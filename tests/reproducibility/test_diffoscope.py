"""diffoscope on its leash: whatever it does, the verdict stands (acceptance 5 of the audit)."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reproducibility.causes import Cause
from reproducibility.compare import Options, compare
from reproducibility.diffoscope import Diffoscope, find_program, tool_version
from reproducibility.verdict import Verdict
from tests.programs import require_program
from tests.reproducibility.layouts import file, make_layout, make_tar

if TYPE_CHECKING:
    from reproducibility.findings import Comparison

A = [file(f"etc/f{i}", f"one {i}\n") for i in range(3)]
B = [file(f"etc/f{i}", f"two {i}\n") for i in range(3)]

REPORT = """
import json, sys, os
arguments = dict(x.split("=", 1) for x in sys.argv[1:] if "=" in x)
def files():
    for folder, _, names in sorted(os.walk("A")):
        for name in sorted(names):
            yield os.path.join(folder, name)
def write(details, status=1):
    report = {"diffoscope-json-version": 1, "source1": "A", "source2": "B",
              "unified_diff": None, "details": details}
    open(arguments["--json"], "w").write(json.dumps(report))
    open(arguments["--html"], "w").write("<html>")
    sys.exit(status)
def node(path, diff="@@ -1 +1 @@\\n-deep one\\n+deep two\\n", **more):
    return {"source1": path, "source2": "B" + path[1:], "unified_diff": diff, **more}
"""


class Fake:
    """Makes programs that take diffoscope's place, and compares with them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.a = make_layout(folder / "a", make_tar(A))
        self.b = make_layout(folder / "b", make_tar(B))

    def program(self, body: str) -> str:
        """Write a Python program."""
        path = self.folder / "fake-diffoscope"
        path.write_text(f"#!{sys.executable}\n{REPORT}\n{body}\n")
        path.chmod(0o755)
        return str(path)

    def compare(self, body: str | None, *, missing: str = "", **settings: float) -> Comparison:
        """Compare with such a program; the verdict and the differences must be unmoved."""
        program = missing if body is None else self.program(body)
        diffoscope = Diffoscope(program=program, **settings)  # type: ignore[arg-type]
        artifacts = self.folder / "diffoscope"
        c = compare(str(self.a), str(self.b), Options(diffoscope=diffoscope, artifacts=artifacts))
        without = compare(str(self.a), str(self.b), Options(diffoscope=None))
        assert c.verdict is Verdict.DIFFERENT
        assert c.differences == without.differences
        assert [f.place for f in c.files] == [f.place for f in without.files]
        assert [d.cause for d in c.differences] == [Cause.UNKNOWN] * 3
        assert not c.problems, "diffoscope's troubles are notes"
        return c


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(tmp_path)


def excerpts(c: Comparison) -> set[str]:
    return {f.excerpt_by for f in c.files}


def test_believed(fake: Fake) -> None:
    """A report is taken apart by file, and kept."""
    c = fake.compare("write([node(path) for path in files()])")
    assert excerpts(c) == {"diffoscope"}
    assert c.files[0].excerpt == ("@@ -1 +1 @@", "-deep one", "+deep two")
    assert c.artifacts == ("diffoscope/diffoscope-1.html", "diffoscope/diffoscope-1.json")
    assert all((fake.folder / name).exists() for name in c.artifacts)
    assert c.notes == ()


def test_missing(fake: Fake) -> None:
    """The built-in excerpts have to do."""
    c = fake.compare(None, missing="/nonexistent/diffoscope")
    assert excerpts(c) == {"built-in"}
    assert c.notes == ("no /nonexistent/diffoscope here: excerpts are the built-in ones",)


def test_not_a_program(fake: Fake, tmp_path: Path) -> None:
    """A file that the system does not run."""
    path = tmp_path / "broken"
    path.write_bytes(b"\x7fELF nonsense")
    path.chmod(0o755)
    c = fake.compare(None, missing=str(path))
    assert "cannot be run" in c.notes[0]


@pytest.mark.parametrize(
    ("body", "note"),
    [
        (
            "raise RuntimeError('tool missing')",
            "crashed (exit status 1): RuntimeError: tool missing",
        ),
        ("sys.exit(2)", "failed (2)"),
        ("os.kill(os.getpid(), 9)", "failed (-9)"),
        ("open(arguments['--json'], 'w').close(); sys.exit(1)", "crashed (exit status 1)"),
        ("open(arguments['--json'], 'w').write('{half'); sys.exit(1)", "crashed (exit status 1)"),
        ("open(arguments['--json'], 'w').write('[]'); sys.exit(1)", "crashed (exit status 1)"),
        ("write([], status=3)", "failed (3)"),
    ],
)
def test_crashing(fake: Fake, body: str, note: str) -> None:
    """Status 1 without a report is a crash, not a difference."""
    c = fake.compare(body)
    assert excerpts(c) == {"built-in"}
    assert any(note in n for n in c.notes), c.notes


@pytest.mark.slow
def test_hanging(fake: Fake) -> None:
    """It is ended with everything that it started."""
    pids = fake.folder / "pids"
    body = f"""
import subprocess, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open({str(pids)!r}, "a").write(f"{{os.getpid()}} {{child.pid}} ")
time.sleep(600)
"""
    start = time.monotonic()
    c = fake.compare(body, timeout=1.5, timeout_one=0.7)
    assert time.monotonic() - start < 10
    assert any("did not finish" in note for note in c.notes)
    for pid in map(int, pids.read_text().split()):
        assert not _is_running(pid)


def _is_running(pid: int) -> bool:
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        if state == "Z":
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize("where", ["arguments['--json']", "arguments['--html']", "2"])
def test_writing_without_end(fake: Fake, where: str) -> None:
    """It is ended when it has written too much, long before the disk is full."""
    body = f"""
import itertools
f = open({where}, "wb", buffering=0)
for _ in itertools.count():
    f.write(bytes(1 << 20))
"""
    c = fake.compare(body, max_output=8 << 20, timeout=5)
    assert any("wrote more than" in note for note in c.notes), c.notes


def test_printing_without_end(fake: Fake) -> None:
    """Nobody listens to its standard output."""
    body = "while True: sys.stdout.buffer.write(bytes(1 << 20))"
    c = fake.compare(body, timeout=0.8, timeout_one=0.3)
    assert any("did not finish" in note for note in c.notes)


def test_one_file_makes_it_crash(fake: Fake) -> None:
    """The others get their excerpts."""
    body = """
found = list(files())
if any(path.endswith("f1") for path in found): raise RuntimeError("f1")
write([node(path) for path in found])
"""
    c = fake.compare(body)
    assert [f.excerpt_by for f in c.files] == ["diffoscope", "built-in", "diffoscope"]
    assert c.notes == ("diffoscope crashed (exit status 1): RuntimeError: f1",)
    assert c.artifacts[0] == "diffoscope/diffoscope-1.1.html"


def test_seeing_no_difference(fake: Fake) -> None:
    """We know better: the contents differ."""
    c = fake.compare("sys.exit(0)")
    assert excerpts(c) == {"built-in"}


def test_hostile_report(fake: Fake) -> None:
    """What it says is cut and made printable, whatever its types are."""
    body = r"""
deep = node("x")
for _ in range(400): deep = {"source1": "x", "unified_diff": "+deep", "details": [deep]}
paths = list(files())
write([
    {**node(paths[0]), "unified_diff": "+\x1b[31m" + "y" * 5000 + "\n" + "+z\n" * 9000},
    {**node(paths[1]), "unified_diff": 7, "comments": [1, "note"], "details": [deep, 5, None]},
    node("A/../../etc/passwd"), 17, None, [],
])
"""
    c = fake.compare(body)
    first, second, third = c.files
    assert len(first.excerpt) == 120
    assert first.truncated
    assert all(len(line) <= 240 and line.isprintable() for line in first.excerpt)
    assert second.excerpt[0] == "# note"
    assert third.excerpt_by == "built-in"
    assert not any("passwd" in f.place.path for f in c.files)


def test_too_many_files(fake: Fake) -> None:
    """Those beyond the limit keep their built-in excerpts."""
    c = fake.compare("write([node(path) for path in files()])", max_files=1)
    assert sorted(f.excerpt_by for f in c.files) == ["built-in", "built-in", "diffoscope"]
    assert c.notes == ("diffoscope was not shown 2 files: too many or too large",)


def test_version_of_a_program(fake: Fake) -> None:
    """Its name and version, or nothing."""
    assert tool_version(Diffoscope(program=fake.program("print('diffoscope 7'); sys.exit(0)"))) == (
        "diffoscope 7",
    )
    assert tool_version(Diffoscope(program="/nonexistent")) == ()
    assert tool_version(None) == ()


@pytest.mark.slow
def test_real_diffoscope(tmp_path: Path) -> None:
    """The program itself, on text and on bytes."""
    if find_program("") is None:
        require_program("diffoscope")
    a = [file("etc/motd", "welcome\n"), file("etc/j.json", '{"a": 1}'), file("bin/x", bytes(64))]
    b = [file("etc/motd", "goodbye\n"), file("etc/j.json", '{"a": 2}'), file("bin/x", bytes(63))]
    c = compare(
        str(make_layout(tmp_path / "a", make_tar(a))),
        str(make_layout(tmp_path / "b", make_tar(b))),
        Options(artifacts=tmp_path / "diffoscope"),
    )
    assert excerpts(c) == {"diffoscope"}, c.notes
    by_path = {f.place.path: f.excerpt for f in c.files}
    assert "-welcome" in by_path["etc/motd"]
    assert any('"a": 2' in line for line in by_path["etc/j.json"])
    page = (tmp_path / c.artifacts[0]).read_text()
    assert "img:1/freebsd/amd64/layer 1/etc/motd" in page
    assert str(tmp_path) not in page, "no path of this machine"
