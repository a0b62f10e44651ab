"""Measure `doit build` on a generated repository, beside what the same work costs other programs.

Yardsticks, on the same packages and the tree that they make:

* floor: `zstd -d` of every package, then `tar | zstd -3 -T0` of the tree;
* script: `bsdtar -x` of every package, then `bsdtar -c | gzip -6` of the tree: what a build that
  goes by way of a root directory has to do at least;
* `python -c "import doit"`, for a run that has nothing to do;
* with `--pkg`, the real pkg(8): `pkg register` of every package into an empty database.

Every round runs each of them once; the tables have medians and ratios of medians.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.place import PROJECTS, Bench, Cost, Project, environment, shell, timed
from fixtures.miniature import synthetic

if TYPE_CHECKING:
    from collections.abc import Sequence

_BIG = replace(synthetic.Plan(), packages=1, files=3, size=1_000_000_000)
_STAGES = ("fetch", "package", "tree", "layer", "image")

# ---------------------------------------------------------------- what is measured


def floor(bench: Bench) -> None:
    """Do what cannot be left out: decompress, tar, compress."""
    for path in bench.archives():
        subprocess.run(["zstd", "-dcq", path], check=True, stdout=subprocess.DEVNULL)
    shell("tar --sort=name -cf - . | zstd -3 -T0 -cq", bench.directory / "tree")


def script(bench: Bench) -> None:
    """Do what a shell script does: a root directory, tar, gzip."""
    shell("bsdtar -cf - . | gzip -6", bench.unpack("script"))


def import_doit() -> None:
    """Start Python and doit."""
    subprocess.run([sys.executable, "-c", "import doit"], check=True, env=environment())


_MEMORY = """
import resource, subprocess, sys
quiet = subprocess.DEVNULL
subprocess.run([sys.executable, "-m", "doit", "build"], check=True, stdout=quiet, stderr=quiet)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def peak_memory(project: Project) -> float:
    """Return the largest resident set of any process of a cold build, in bytes."""
    project.forget()
    return float(project.python("-c", _MEMORY)) * 1024


_DATABASE = """
import sys, time
from pathlib import Path
from pipeline.pkg.archive import read_manifest
from pipeline.pkg.localdb import InstalledPackage, build_localdb
packages = []
for name in sys.argv[1:]:
    with open(name, "rb") as f:
        m, _ = read_manifest(f, size=Path(name).stat().st_size, what=name)
    packages.append(InstalledPackage(manifest=m, automatic=False, locked=False, time=0,
                                     repository="r", manifestdigest=None, config=()))
start, cpu = time.perf_counter(), time.process_time()
build_localdb(packages, schema=42, source_date_epoch=1 << 33)
print(time.perf_counter() - start, time.process_time() - cpu)
"""


def database(bench: Bench) -> Cost:
    """Return what the package database alone takes."""
    wall, cpu = bench.project("single").python("-c", _DATABASE, *bench.archives()).split()
    return Cost(float(wall), float(cpu))


def registration(bench: Bench, pkg: Sequence[str]) -> Cost:
    """Return what pkg(8) takes to register every package in an empty root, a process each."""
    folder = bench.directory / "register"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "root").mkdir(parents=True)
    manifests: list[Path] = []
    for archive in bench.archives():
        command = ["bsdtar", "-xOf", archive, "+MANIFEST"]
        manifests.append(folder / f"{len(manifests)}.json")
        manifests[-1].write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)

    def register() -> None:
        for manifest in manifests:
            subprocess.run(
                [*pkg, "-r", folder / "root", "register", "-M", manifest],
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

    return timed(register)


def stages(project: Project) -> dict[str, Cost]:
    """Return the CPU time of each stage: in its thread as `wall`, in all of them as `cpu`."""
    result = {}
    for line in project.python("-m", "benchmarks.stages").splitlines():
        own, others, name = line.split()
        result[f"stage {name}"] = Cost(float(own), float(own) + float(others))
    return result


# ---------------------------------------------------------------- rounds


@dataclass(frozen=True, slots=True)
class Results:
    """All measurements, by name."""

    costs: dict[str, list[Cost]] = field(default_factory=dict)

    def add(self, name: str, cost: Cost) -> None:
        """Take a measurement."""
        self.costs.setdefault(name, []).append(cost)
        print(f"  {name}: {cost.wall:.2f} s, CPU {cost.cpu:.2f} s", file=sys.stderr)

    def wall(self, name: str) -> float:
        """Return the median wall time."""
        return statistics.median(cost.wall for cost in self.costs[name])

    def cpu(self, name: str) -> float:
        """Return the median CPU time."""
        return statistics.median(cost.cpu for cost in self.costs[name])


def measure(bench: Bench, plan: synthetic.Plan, runs: int, pkg: Sequence[str]) -> Results:
    """Run all rounds."""
    results = Results()
    for number in range(runs):
        print(f"round {number + 1} of {runs}", file=sys.stderr)
        measure_builds(bench, results)
        results.add("database", database(bench))
        if pkg:
            results.add("register", registration(bench, pkg))
        for name, cost in stages(bench.project("single")).items():
            results.add(name, cost)
        changed = (7 * number + 7) % plan.packages
        bench.write_repository(replace(plan, changed=frozenset({changed})))
        for name in PROJECTS:
            project = bench.project(name)
            project.doit("update")
            results.add(f"{name} changed", timed(partial(project.doit, "build")))
        bench.write_repository(plan)
        for name in PROJECTS:
            bench.project(name).doit("update")
    return results


def measure_builds(bench: Bench, results: Results) -> None:
    """Measure everything once that needs no change of the repository."""
    results.add("floor", timed(partial(floor, bench)))
    for name in PROJECTS:
        project = bench.project(name)
        project.forget()
        results.add(f"{name} cold", timed(partial(project.doit, "build")))
    results.add("script", timed(partial(script, bench)))
    single = bench.project("single")
    single.doit("build")
    results.add("no-op", timed(partial(single.doit, "build")))
    results.add("import doit", timed(import_doit))


# ---------------------------------------------------------------- tables


def table(r: Results, memory: float, large: float) -> str:
    """Return the table of docs/benchmarks.md."""

    def row(what: str, name: str, base: str = "", target: str = "", of: str = "") -> str:
        ratio = f"{r.wall(name) / r.wall(base):.2f} of {of or base}" if base else ""
        return f"| {what} | {r.wall(name):.2f} | {r.cpu(name):.2f} | {ratio} | {target} |"

    return "\n".join(
        (
            "| what | wall s | CPU s | ratio | target |",
            "|---|---|---|---|---|",
            row("floor: `zstd -d` of each, `tar`, `zstd -3 -T0`", "floor"),
            row("script: `bsdtar -x` of each, `bsdtar`, `gzip -6`", "script"),
            row("`doit build`, cold, one layer for all packages", "single cold", "floor", "1.5"),
            row("", "single cold", "script", "0.25"),
            row('the same, `layering = "package"`', "package cold", "floor"),
            row("the same, level 9 instead of 3", "release cold", "floor"),
            row("nothing to do", "no-op", target="0.4 s"),
            row("", "no-op", "import doit", "2", of="`import doit`"),
            row(
                "one package changed, one layer", "single changed", "single cold", "0.1", of="cold"
            ),
            row('the same, `layering = "package"`', "package changed", "package cold", of="cold"),
            row("the same, level 9", "release changed", "release cold", of="cold"),
            row("`local.sqlite` of 15,000 files", "database", target="about 1 s"),
            *([row("`pkg register` of the same", "register")] if "register" in r.costs else []),
            f"| peak memory of a process | {memory / 1e6:.0f} MB | | | 200 MB |",
            f"| the same, one package of 1 GB | {large / 1e6:.0f} MB | | | 200 MB |",
        )
    )


def profile(r: Results) -> str:
    """Return the table of stages."""
    lines = ["| stage | CPU s | of these in threads |", "|---|---|---|"]
    for name in _STAGES:
        own, all_of_it = r.wall(f"stage {name}"), r.cpu(f"stage {name}")
        lines.append(f"| {name} | {all_of_it:.2f} | {all_of_it - own:.2f} |")
    return "\n".join(lines)


def machine() -> str:
    """Say what this was measured on."""
    cpu = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
    zstd = subprocess.run(["zstd", "-qV"], check=True, capture_output=True, text=True).stdout
    return (
        f"{cpu}, {os.cpu_count()} cores, {platform.system()} {platform.release()},"
        f" Python {platform.python_version()}, zstd {zstd.strip()} as program"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, help="rounds (default 5)")
    parser.add_argument("--directory", type=Path, default=Path("build/benchmark"))
    parser.add_argument("--pkg", default="", help="the real pkg(8), with its options")
    options = parser.parse_args()
    bench = Bench(options.directory.resolve())
    plan = synthetic.Plan()
    bench.prepare(plan, *PROJECTS)
    bench.unpack("tree")
    results = measure(bench, plan, options.runs, shlex.split(options.pkg))
    memory = peak_memory(bench.project("single"))
    big = Bench(bench.directory / "big")
    big.prepare(_BIG, "single")
    large = peak_memory(big.project("single"))
    big.clean()
    bench.clean()
    print(f"{machine()}; {options.runs} rounds\n")
    print(table(results, memory, large), profile(results), sep="\n\n")


if __name__ == "__main__":
    main()
