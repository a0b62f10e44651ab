"""Measure `doit build` on a generated repository, beside what the same work costs other programs.

Yardsticks, on the same packages and the tree that they make:

* floor: `zstd -d` of every package, then `tar | zstd -3 -T0` of the tree;
* script: `bsdtar -x` of every package, then `bsdtar -c | gzip -6` of the tree: what a build that
  goes by way of a root directory has to do at least;
* `python -c "import doit"`, for a run that has nothing to do.

Every round runs each of them once; the table has medians and ratios of medians.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fixtures.miniature import synthetic

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[1]

DECLARATION = """\
format = 1

[compression]
level = 3

[repositories.synthetic]
url = "file:repository"
signature_type = "none"
allow_unsigned = true

[releases."15.0"]
architectures = ["amd64"]
repositories = ["synthetic"]

[images.all]
packages = ["*"]
"""


@dataclass(frozen=True)
class Bench:
    """A project in a directory of its own, and the packages' tree beside it."""

    directory: Path

    @property
    def repository(self) -> Path:
        """Where the packages are."""
        return self.directory / "repository"

    @property
    def tree(self) -> Path:
        """What the packages unpack to."""
        return self.directory / "tree"

    def doit(self, *arguments: str) -> None:
        """Run doit in the project, as users have it: with compiled modules."""
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        subprocess.run(
            [sys.executable, "-m", "doit", *arguments],
            cwd=self.directory,
            env={**environment, "PYTHONPATH": str(ROOT)},
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def forget(self) -> None:
        """Remove everything that has been made."""
        shutil.rmtree(self.directory / "build", ignore_errors=True)
        for path in self.directory.glob(".doit.*"):
            path.unlink()


def shell(command: str, directory: Path) -> None:
    """Run a pipeline of programs, output thrown away."""
    subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=directory,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def timed(action: Callable[[], None]) -> float:
    """Return the wall time of an action in seconds."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def prepare(bench: Bench, plan: synthetic.Plan) -> None:
    """Write the repository, the project, and the tree for the yardsticks."""
    bench.directory.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(bench.repository, ignore_errors=True)
    synthetic.write_synthetic(bench.repository, plan, None)
    (bench.directory / "images.toml").write_text(DECLARATION)
    shutil.copy(ROOT / "dodo.py", bench.directory / "dodo.py")
    shutil.rmtree(bench.tree, ignore_errors=True)
    bench.tree.mkdir()
    unpack(bench, bench.tree)
    bench.forget()
    bench.doit("update")


def archives(bench: Bench) -> list[str]:
    """Return the package files, not the catalogues."""
    return sorted(str(p) for p in bench.repository.rglob("*.pkg") if p.parent != bench.repository)


def unpack(bench: Bench, target: Path) -> None:
    """Unpack every package with bsdtar, metadata left out."""
    for path in archives(bench):
        subprocess.run(["bsdtar", "-xf", path, "--exclude", "+*", "-C", str(target)], check=True)


def floor(bench: Bench) -> None:
    """Do what cannot be left out: decompress, tar, compress."""
    for path in archives(bench):
        subprocess.run(["zstd", "-dcq", path], check=True, stdout=subprocess.DEVNULL)
    shell("tar --sort=name -cf - . | zstd -3 -T0 -cq", bench.tree)


def script(bench: Bench) -> None:
    """Do what a shell script does: a root directory, tar, gzip."""
    target = bench.directory / "script"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    unpack(bench, target)
    shell("bsdtar -cf - . | gzip -6", target)


def import_doit() -> None:
    """Start Python and doit."""
    subprocess.run([sys.executable, "-c", "import doit"], check=True)


def cold(bench: Bench) -> None:
    """Build with nothing at hand."""
    bench.forget()
    bench.doit("build")


def peak_memory(bench: Bench) -> int:
    """Return the largest resident set of any process of a cold build, in bytes."""
    code = (
        "import resource, subprocess, sys\n"
        "subprocess.run([sys.executable, '-m', 'doit', 'build'], check=True,"
        " stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    bench.forget()
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=bench.directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        text=True,
    )
    return int(done.stdout) * 1024


def database(bench: Bench) -> float:
    """Return the time that the package database alone takes."""
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from pipeline.pkg.archive import read_manifest\n"
        "from pipeline.pkg.localdb import InstalledPackage, build_localdb\n"
        "packages = []\n"
        "for name in sys.argv[1:]:\n"
        "    with open(name, 'rb') as f:\n"
        "        m, _ = read_manifest(f, size=Path(name).stat().st_size, what=name)\n"
        "    packages.append(InstalledPackage(manifest=m, automatic=False, locked=False,"
        " time=0, repository='r', manifestdigest=None, config=()))\n"
        "start = time.perf_counter()\n"
        "build_localdb(packages, schema=42, source_date_epoch=1 << 33)\n"
        "print(time.perf_counter() - start)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *archives(bench)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        text=True,
    )
    return float(done.stdout)


def measure(bench: Bench, plan: synthetic.Plan, runs: int) -> dict[str, float]:
    """Return the medians of all measurements."""
    times: dict[str, list[float]] = {}

    def record(name: str, seconds: float) -> None:
        times.setdefault(name, []).append(seconds)
        print(f"  {name}: {seconds:.2f} s", file=sys.stderr)

    changed = 0
    for number in range(runs):
        print(f"round {number + 1} of {runs}", file=sys.stderr)
        record("floor", timed(lambda: floor(bench)))
        record("cold", timed(lambda: cold(bench)))
        record("script", timed(lambda: script(bench)))
        bench.doit("build")
        record("no-op", timed(lambda: bench.doit("build")))
        record(
            "import doit",
            timed(import_doit),
        )
        changed = (changed + 7) % plan.packages
        other = replace(plan, changed=frozenset({changed}))
        shutil.rmtree(bench.repository)
        synthetic.write_synthetic(bench.repository, other, None)
        bench.doit("update")
        record("one package", timed(lambda: bench.doit("build")))
        record("database", database(bench))
        shutil.rmtree(bench.repository)
        synthetic.write_synthetic(bench.repository, plan, None)
        bench.doit("update")
    return {name: statistics.median(values) for name, values in times.items()}


def table(medians: dict[str, float], memory: int, large: int) -> str:
    """Return the table of docs/benchmarks.md."""
    m = medians
    rows = [
        ("floor: zstd -d of each, tar, zstd -3 -T0", m["floor"], "", ""),
        ("script: bsdtar -x of each, bsdtar, gzip -6", m["script"], "", ""),
        ("`doit build`, cold, level 3", m["cold"], f"{m['cold'] / m['floor']:.2f} of floor", "1.5"),
        ("", m["cold"], f"{m['cold'] / m['script']:.2f} of script", "0.25"),
        ("`doit build`, nothing to do", m["no-op"], "", "0.4 s"),
        ("", m["no-op"], f"{m['no-op'] / m['import doit']:.2f} of `import doit`", "2"),
        (
            "`doit build`, one package changed",
            m["one package"],
            f"{m['one package'] / m['cold']:.2f} of cold",
            "0.1",
        ),
        ("local.sqlite of 15,000 files", m["database"], "", "about 1 s"),
    ]
    lines = ["| what | median s | ratio | target |", "|---|---|---|---|"]
    lines += [f"| {what} | {s:.2f} | {ratio} | {target} |" for what, s, ratio, target in rows]
    lines.append(f"| peak memory, largest process | {memory / 1e6:.0f} MB | | 200 MB |")
    lines.append(f"| the same, one package of 1 GB | {large / 1e6:.0f} MB | | 200 MB |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, help="rounds (default 5)")
    parser.add_argument("--directory", type=Path, default=Path("build/benchmark"))
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    bench = Bench(options.directory.resolve())
    plan = synthetic.Plan()
    prepare(bench, plan)
    medians = measure(bench, plan, options.runs)
    memory = peak_memory(bench)
    big = Bench(bench.directory / "big")
    prepare(big, replace(plan, packages=1, files=3, size=1_000_000_000))
    print(table(medians, memory, peak_memory(big)))


if __name__ == "__main__":
    main()
