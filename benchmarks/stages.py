"""CPU time of each stage of a cold build, in one process: `python -m benchmarks.stages`.

Runs in a project's directory and prints one line a stage: seconds in the stage's own thread,
seconds in the threads that work for it, name.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.host.store import Store
from pipeline.stages.fetch import fetch_archives
from pipeline.stages.image import NamedLayer, history_line, keep_image, make_image
from pipeline.stages.layer import build_layer
from pipeline.stages.package import unpack_package
from pipeline.stages.tree import compose_tree
from pipeline.tasks.project import DEFAULT, Project

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipeline.stages.package import PackageResult
    from pipeline.stages.plan import ImagePlan


class Clock:
    """Adds up what stages take."""

    def __init__(self) -> None:
        self.own: dict[str, float] = {}
        self.others: dict[str, float] = {}

    def run(self, name: str, action: Callable[[], None]) -> None:
        """Run a part of a stage."""
        process, thread = time.process_time(), time.thread_time()
        action()
        own = time.thread_time() - thread
        others = time.process_time() - process - own
        self.own[name] = self.own.get(name, 0) + own
        self.others[name] = self.others.get(name, 0) + others


class Build:
    """One image, stage after stage."""

    def __init__(self, project: Project, store: Store) -> None:
        self._project = project
        self._store = store
        self._packages: dict[str, PackageResult] = {}

    def run(self, clock: Clock) -> None:
        """Build the first image of the declaration."""
        plan = self._project.plan
        image = next(iter(plan.images.values()))
        clock.run("fetch", self._fetch)
        clock.run("package", lambda: self._unpack(image))
        clock.run("tree", lambda: self._compose(image))
        clock.run("layer", lambda: self._make_layers(image))
        clock.run("image", lambda: self._make_image(image))

    def _fetch(self) -> None:
        fetch_archives(self._project.plan, root=self._project.root, store=self._store)

    def _unpack(self, image: ImagePlan) -> None:
        for package in image.packages:
            self._packages[package.name] = unpack_package(package, store=self._store)

    def _unpacked(self) -> Mapping[str, PackageResult]:
        return self._packages

    def _compose(self, image: ImagePlan) -> None:
        self._tree = compose_tree(
            image, self._project.declaration, None, packages=self._unpacked, store=self._store
        )

    def _make_layers(self, image: ImagePlan) -> None:
        self._layers = []
        for name, spec in self._tree.layers:
            result = build_layer(
                spec,
                self._project.declaration.compression,
                packages=self._packages.values,
                store=self._store,
            )
            line = history_line(image, name)
            layer = NamedLayer(image=image.name, name=name, created_by=line, result=result)
            self._layers.append(layer)

    def _make_image(self, image: ImagePlan) -> None:
        documents = make_image(
            image, self._project.declaration, self._layers, base=None, has_shell=False
        )
        keep_image(documents, store=self._store)


def main() -> None:
    """Build, and print."""
    clock = Clock()
    with tempfile.TemporaryDirectory(dir=".") as folder:
        project = Project(Path(DEFAULT), store=None, output=None)
        Build(project, Store(Path(folder))).run(clock)
    for name, seconds in clock.own.items():
        print(f"{seconds:.3f} {clock.others[name]:.3f} {name}")


if __name__ == "__main__":
    main()
