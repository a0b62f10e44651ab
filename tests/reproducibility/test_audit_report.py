"""From what an audit has seen to its matrix and sentences."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.tasks.project import Project
from reproducibility.audit_report import HostileBuild, Seen, make_report
from reproducibility.bisect import Bisection, Guilt
from reproducibility.choices import choose_round
from reproducibility.double_build import Build
from reproducibility.made import Made
from reproducibility.variations import all_variations, base_recipe
from reproducibility.verdict import Verdict
from tests.reproducibility.laboratory import poor_machine
from tests.tasks.project import ROOT

if TYPE_CHECKING:
    from reproducibility.findings import Report, Row

PLAN = Project(ROOT / "images.toml", store=None, output=None).plan
MACHINE = poor_machine()
VARIATIONS = all_variations(MACHINE, need=0)
CHOICES = choose_round(VARIATIONS, 0)
STATIC, DYNAMIC = "freebsd-static:15.0", "freebsd-dynamic:15.0"
SPDX = (STATIC, "freebsd/amd64", ".spdx.json")
IMAGES = dict.fromkeys(PLAN.references(), "sha256:1")
FIRST = Made(images=IMAGES, said={SPDX: "sha256:2"})
OTHER_SAID = Made(images=IMAGES, said={SPDX: "sha256:3"})
OTHER_IMAGE = Made(images={**IMAGES, STATIC: "sha256:4"}, said=FIRST.said)


def build(label: str) -> Build:
    return Build(
        label=label,
        recipe=base_recipe("python"),
        tasks=("build",),
        failure="",
        layout=Path("none"),
        outcomes={},
        milliseconds=0,
    )


def report_of(made: Made, *tasks: str, variation: str = "umask") -> Report:
    """Return the report of an audit in which one variation made tasks differ; none without tasks."""
    choice = next(c for c in CHOICES if c.variation == variation)
    guilt = Guilt(choices=(choice,), tasks=tasks, build=build("guilty"))
    bisection = Bisection(
        held=build("held"), tasks=tasks, unstable=(), guilty=(guilt,), unexplained=(), builds=7
    )
    seen = Seen(
        plan=PLAN,
        machine=MACHINE,
        variations=VARIATIONS,
        first=FIRST,
        hostile=(HostileBuild(choices=CHOICES, build=build("hostile-1"), made=made),),
        comparisons=(),
        bisection=bisection if tasks else None,
        is_stale=False,
        notes=(),
        builds=9,
        milliseconds=0,
    )
    return make_report(seen, title="audit", generated=None, tools=())


def cell(report: Report, row: str, image: str) -> str:
    assert report.matrix is not None
    found: dict[str, Row] = {r.name: r for r in report.matrix.rows}
    return found[row].cells[report.matrix.columns.index(image)].text


def test_documents_that_differ_are_told_from_images_that_do() -> None:
    report = report_of(OTHER_SAID, "sbom:15.0:amd64:static")
    assert report.verdict is Verdict.DIFFERENT
    for row in ("all of them", "umask"):
        assert cell(report, row, STATIC) == "documents differ"
        assert cell(report, row, DYNAMIC) == "identical"
    assert cell(report, "time-zone", STATIC) == "not the reason"
    assert report.notes[0] == "guilty: umask (077); it begins at sbom:15.0:amd64:static"


def test_a_guilty_variation_of_an_image_differs_in_its_children_too() -> None:
    report = report_of(OTHER_IMAGE, "tree:15.0:amd64:static")
    assert cell(report, "all of them", STATIC) == "differs"
    assert cell(report, "umask", STATIC) == "differs"
    assert cell(report, "umask", DYNAMIC) == "differs"


def test_what_is_said_of_a_parent_is_not_said_of_its_child() -> None:
    report = report_of(OTHER_SAID, "provenance:15.0:static")
    assert cell(report, "umask", STATIC) == "documents differ"
    assert cell(report, "umask", DYNAMIC) == "identical"


def test_nothing_that_differs_is_reproducible() -> None:
    report = report_of(FIRST)
    assert report.verdict is Verdict.REPRODUCIBLE
    assert cell(report, "all of them", STATIC) == "identical"


def test_what_one_build_does_not_say_differs() -> None:
    assert FIRST.differs(dataclasses.replace(FIRST, said={}), STATIC)
    assert not FIRST.differs(dataclasses.replace(FIRST, said={}), DYNAMIC)
    assert not FIRST.differs(Made(images={}, said={}), STATIC), "a build that has failed"
    assert not FIRST.image_differs(OTHER_SAID, STATIC)
