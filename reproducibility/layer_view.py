"""What has been read of each layer, for both sides of a comparison.

A layer is read at most once, however many images share it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from pipeline.errors import PipelineError
from reproducibility.compare_trees import Tree
from reproducibility.findings import LayerSide
from reproducibility.layers import BlobLayer, LayerFacts, TarLayer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from reproducibility.entry_table import EntryTable, Scratch
    from reproducibility.layers import Layer
    from reproducibility.model import PlatformImage


class LayerView:
    """A layer of one side, and what has been read of it so far."""

    def __init__(self, layer: Layer, scratch: Scratch, diff_id: str) -> None:
        self.layer = layer
        self.claimed_diff_id = diff_id
        self._scratch = scratch
        self._table: EntryTable | None = None
        self._facts: LayerFacts | None = None
        self._blob: tuple[str, int] | None = None
        self.problems: list[str] = []
        self.notes: list[str] = []

    @property
    def claimed(self) -> str:
        """The digest that the manifest gives it, or nothing."""
        layer = self.layer
        if isinstance(layer, (TarLayer, BlobLayer)) and layer.claimed is not None:
            return str(layer.claimed)
        return ""

    @property
    def has_been_read(self) -> bool:
        """Whether entries and digests are known."""
        return self._facts is not None

    def read(self) -> None:
        """Read the layer unless that has been done."""
        if self._facts is not None:
            return
        self._table = self._scratch.table()
        try:
            self._facts = self.layer.read(self._table)
        except (PipelineError, OSError) as e:
            self._facts = _UNREADABLE
            self.problems.append(f"{self.layer.name}: {e}")
        self._table.flush()
        self.problems += self._facts.problems
        self._check()

    def _check(self) -> None:
        facts, name = self.facts, self.layer.name
        if self.claimed and facts.digest and facts.digest != self.claimed:
            self.problems.append(f"{name}: got digest {facts.digest}, want {self.claimed}")
        if self.claimed_diff_id and facts.diff_id and facts.diff_id != self.claimed_diff_id:
            self.problems.append(
                f"{name}: got diff_id {facts.diff_id}, want {self.claimed_diff_id}"
            )
        twice = self.table.added - len(self.table)
        if twice:
            self.notes.append(f"{name}: {twice} paths are in it twice; the last counts")

    def hash_blob(self) -> None:
        """Check the digest of the blob, without reading what is in it."""
        layer = self.layer
        if self._blob is not None or self._facts is not None:
            return
        if not isinstance(layer, (TarLayer, BlobLayer)):
            return
        try:
            digest, size = layer.blob_digest()
        except (PipelineError, OSError) as e:
            self.problems.append(f"{layer.name}: {e}")
            self._blob = ("", 0)
            return
        self._blob = (str(digest), size)
        if self.claimed and str(digest) != self.claimed:
            self.problems.append(f"{layer.name}: got digest {digest}, want {self.claimed}")

    @property
    def facts(self) -> LayerFacts:
        """What reading told."""
        assert self._facts is not None
        return self._facts

    @property
    def table(self) -> EntryTable:
        """The entries."""
        assert self._table is not None
        return self._table

    def side(self) -> LayerSide:
        """Describe it for the report."""
        if self._facts is None:
            digest, size = self._blob or (self.claimed, -1)
            return LayerSide(
                digest=digest,
                size=size,
                diff_id=self.claimed_diff_id,
                tar_size=-1,
                compression="",
                entries=-1,
            )
        facts = self._facts
        return LayerSide(
            digest=facts.digest,
            size=facts.size,
            diff_id=facts.diff_id,
            tar_size=facts.tar_size,
            compression=str(facts.compression.algorithm) if facts.compression else "",
            entries=facts.entries,
        )

    def tree(self) -> Tree:
        """Return its entries for comparison."""
        facts = self.facts
        return Tree(
            table=self.table,
            is_tar=self.layer.is_tar,
            has_order=self.layer.is_tar,
            trailer=facts.trailer,
        )


_UNREADABLE: Final = LayerFacts(
    digest="",
    size=0,
    diff_id="",
    tar_size=0,
    compression=None,
    entries=0,
    trailer="",
    problems=(),
)


class Side:
    """All layers of one side; a layer that several images share is read once."""

    def __init__(self, scratch: Scratch) -> None:
        self.scratch = scratch
        self._views: dict[tuple[str, str], LayerView] = {}

    def views(self, image: PlatformImage) -> tuple[LayerView, ...]:
        """Return the layers of an image."""
        result = []
        diff_ids = image.diff_ids if len(image.diff_ids) == len(image.layers) else ()
        for number, layer in enumerate(image.layers):
            view = LayerView(layer, self.scratch, diff_ids[number] if diff_ids else "")
            if view.claimed:
                view = self._views.setdefault((view.claimed, view.claimed_diff_id), view)
            result.append(view)
        return tuple(result)


def on_both_sides(
    a: Iterable[LayerView], b: Iterable[LayerView], work: Callable[[LayerView], None]
) -> None:
    """Do something with layers of both sides, the two sides at the same time."""

    def one_side(views: Iterable[LayerView]) -> None:
        for view in views:
            work(view)

    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(one_side, side) for side in (a, b)]:
            future.result()
