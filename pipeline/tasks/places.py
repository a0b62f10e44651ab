"""Where outputs beside the images' layout lie, and how `doit clean` removes them."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

from doit import get_var

from pipeline.host.layout import PublishedLayout, beside
from pipeline.tasks.config import PROJECT

# ---------------------------------------------------------------- where things lie


def beside_output(name: str) -> Path:
    """Return a directory beside the images' layout, or the one that was named: `attest=DIR`."""
    override = get_var(name)
    return Path(override) if override else beside(PROJECT.output, name)


@functools.cache
def attest_layout() -> PublishedLayout:
    """Return the layout of attestations."""
    return PublishedLayout(beside_output("attest"), store=PROJECT.store)


def lookaside() -> Path:
    """Return the lookaside tree of GPG's signatures."""
    return beside_output("lookaside")


class Removal:
    """Removes outputs; a class so that doit can say what it does."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def __str__(self) -> str:
        return f"<remove {beside_output(self._folder)}"

    def __call__(self, dryrun: bool) -> None:  # noqa: FBT001  - doit's name
        """Remove them."""
        if not dryrun:
            shutil.rmtree(beside_output(self._folder), ignore_errors=True)
