"""What builds have made, by digest; and the first build, which the others are measured by."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.host.layout import Layout
from reproducibility.patterns import Surroundings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.tasks.project import Project
    from reproducibility.attachments import Attachment


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a build has made, by digest; nothing if it failed."""

    images: Mapping[str, str]
    """Name in its layout -> digest."""
    said: Mapping[tuple[str, str, str], str]
    """Image, platform and kind of a document -> digest."""

    def image_differs(self, other: Made, reference: str) -> bool:
        """Say whether another build has made another image; one that has not made it has not."""
        return other.images.get(reference, self.images[reference]) != self.images[reference]

    def differs(self, other: Made, reference: str) -> bool:
        """Say whether another build has made another image, or says something else of it."""
        if reference not in other.images:
            return False
        of_it = {key for key in (*self.said, *other.said) if key[0] == reference}
        return self.image_differs(other, reference) or any(
            self.said.get(key) != other.said.get(key) for key in of_it
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class First:
    """The build that the others are measured by."""

    layout: Path
    name: str
    """For people."""
    made: Made
    surroundings: Surroundings
    said: tuple[Attachment, ...]
    """What is said of its images."""
    said_surroundings: Surroundings
    """Where that was said."""


def digests_of(layout: Path) -> dict[str, str]:
    """Return the digest of each name in a layout."""
    return {name: str(d.digest) for name, d in Layout(layout).references().items()}


def relative_name(path: Path, root: Path) -> str:
    """Return a path as it is seen from the project; only its name if it lies elsewhere."""
    path, root = path.absolute(), root.absolute()
    return str(path.relative_to(root)) if path.is_relative_to(root) else path.name


def own_surroundings(project: Project) -> Surroundings:
    """Return what is known of where the project itself was built: here, by us."""
    paths = (str(project.root.absolute()), str(Path.home()))
    names = (os.uname().nodename, os.environ.get("USER", ""), platform.python_version())
    return Surroundings(paths=paths, identities=tuple(filter(None, names)))
