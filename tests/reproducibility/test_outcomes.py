"""Where in the graph two builds part ways."""

from __future__ import annotations

from pipeline.tasks.project import Project
from reproducibility.outcomes import dependencies, differing, frontier, is_said, needs, tasks_of
from tests.tasks.project import ROOT

PLAN = Project(ROOT / "images.toml", store=None, output=None).plan


def test_what_is_said_of_an_image_builds_on_it() -> None:
    graph = dependencies(PLAN)
    assert graph["sbom:15.0:amd64:static"] == ("image:15.0:amd64:static",)
    assert graph["provenance:15.0:amd64:static"] == ("image:15.0:amd64:static",)
    assert graph["provenance:15.0:static"] == ("index:15.0:static",)
    assert not any(is_said(task) for tasks in graph.values() for task in tasks)
    assert frontier({"sbom:15.0:amd64:static", "layer:15.0:amd64:static:state"}, graph) == {
        "layer:15.0:amd64:static:state"
    }
    assert frontier({"sbom:15.0:amd64:static", "provenance:15.0:amd64:static"}, graph) == {
        "sbom:15.0:amd64:static",
        "provenance:15.0:amd64:static",
    }


def test_the_last_tasks_of_an_image_need_all_that_is_made_for_it() -> None:
    graph = dependencies(PLAN)
    plans = PLAN.references()["freebsd-dynamic:15.0"]
    needed = needs(tasks_of(plans), graph)
    assert {"sbom:15.0:aarch64:dynamic", "provenance:15.0:dynamic"} <= needed
    assert "tree:15.0:aarch64:static" in needed
    assert not {"sbom:15.0:aarch64:static", "index:15.0:static"} & needed
    everything = needs([t for p in PLAN.references().values() for t in tasks_of(p)], graph)
    assert everything == graph.keys()


def test_frontier_is_where_it_begins() -> None:
    graph = {
        "package:a": (),
        "tree:a": ("package:a",),
        "tree:b": ("tree:a",),
        "layer:a": ("tree:a",),
        "layer:b": ("tree:b",),
        "image:b": ("layer:b", "layer:a"),
    }
    assert frontier({"tree:a", "tree:b", "layer:b", "image:b"}, graph) == {"tree:a"}
    assert frontier({"layer:a", "layer:b", "image:b"}, graph) == {"layer:a", "layer:b"}
    assert frontier({"image:b", "tree:a"}, graph) == {"tree:a"}
    assert frontier((), graph) == frozenset()
    assert needs(["layer:b"], graph) == {"layer:b", "tree:b", "tree:a", "package:a"}


def test_only_tasks_of_both_builds_are_compared() -> None:
    assert differing({"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "x", "d": "4"}) == {"b"}
