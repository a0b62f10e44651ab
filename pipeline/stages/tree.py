"""Stage `tree`: decide what is in each layer of an image, as mtree(5) specs.

locked packages ─► specs ─┐
declaration ──────────────┼─► compose (pure) ─► layer specs, whole tree, computed contents
parent's tree ────────────┘
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from pipeline.formats import canonical_json
from pipeline.formats.digest import Digest
from pipeline.host.store import Blob, Record
from pipeline.host.toolchain import code_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipeline.declaration.tables import Declaration
    from pipeline.host.store import Store
    from pipeline.stages.package import PackageResult
    from pipeline.stages.plan import ImagePlan

STAGE: Final = "tree"

_SHELL: Final = "bin/sh"


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeResult:
    """What an image is going to hold, in the store."""

    tree: Blob
    """Spec of the whole image."""
    layers: tuple[tuple[str, Blob], ...]
    """Name and spec of each layer that is not empty, lowest first."""
    state: Blob
    """What was computed or skipped in place of scripts, as JSON."""
    has_shell: bool

    @classmethod
    def from_record(cls, record: Record, plan: ImagePlan) -> TreeResult:
        """Read what the store remembers."""
        return cls(
            tree=record.outputs["tree"],
            layers=tuple(
                (name, record.outputs[f"layer {name}"])
                for name in plan.layers()
                if f"layer {name}" in record.outputs
            ),
            state=record.outputs["state"],
            has_shell=record.facts["has_shell"] is True,
        )


def _inputs(
    plan: ImagePlan, declaration: Declaration, parent: TreeResult | None
) -> dict[str, object]:
    image = plan.image
    chain = [p for ancestor in plan.lineage for p in ancestor.packages]
    asked = plan.asked_for()
    return {
        "release": plan.release,
        "architecture": plan.architecture,
        "image": plan.name,
        "epoch": plan.epoch,
        "parent": None if parent is None else str(parent.tree.digest),
        "declared": {
            key: msgspec.to_builtins(getattr(image, key))
            for key in ("mtree", "effects", "library_path", "skip", "keep_flags")
        },
        "files": msgspec.to_builtins(plan.files),
        "accounts": msgspec.to_builtins(plan.accounts),
        "pkg_schema": declaration.pkg_schema,
        "layers": plan.layer_of(),
        "order": [p.name for p in plan.packages],
        "packages": [
            [str(p.digest), p.name, p.repository, p.manifestdigest, p.name not in asked]
            for p in chain
        ],
        "picks": [[p.name, str(p.digest)] for p in plan.picks],
        "code": code_digest(),
    }


def tree_inputs(plan: ImagePlan, declaration: Declaration, parent: TreeResult | None) -> str:
    """Return the digest of everything that decides this stage's outputs."""
    return str(Digest.of(canonical_json.dumps(_inputs(plan, declaration, parent))))


def recall_tree(
    plan: ImagePlan, declaration: Declaration, parent: TreeResult | None, *, store: Store
) -> TreeResult | None:
    """Return the tree if it has been composed already and all of it holds."""
    record = store.recall(STAGE, _inputs(plan, declaration, parent))
    return None if record is None else TreeResult.from_record(record, plan)


def compose_tree(
    plan: ImagePlan,
    declaration: Declaration,
    parent: TreeResult | None,
    *,
    packages: Callable[[], Mapping[str, PackageResult]],
    store: Store,
    suspicious: bool = False,
) -> TreeResult:
    """Compose an image's tree.

    Args:
        plan: the image.
        declaration: what it is declared in.
        parent: the parent's tree.
        packages: unpacked packages by name, of the whole lineage; asked only if there is work.
        store: holds everything.
        suspicious: believe no earlier result without hashing it.
    """

    def make() -> Record:
        from pipeline.formats import mtree  # noqa: PLC0415  - only where there is work
        from pipeline.rootfs.compose import compose  # noqa: PLC0415
        from pipeline.stages.content import ContentSource  # noqa: PLC0415
        from pipeline.stages.parts import PartsReader  # noqa: PLC0415

        unpacked = packages()
        with ContentSource(unpacked.values(), store=store) as content:
            # (1) what decides it
            reader = PartsReader(plan, unpacked, content, store)
            parts, report = reader.parts(declaration, parent)
            # (2) compose
            composition = compose(parts, content.read)
        # (3) keep: specs, contents, the report
        outputs = {
            f"content {digest}": store.put(data)
            for digest, data in sorted(composition.contents.items())
        }
        for layer in composition.layers:
            outputs[f"layer {layer.name}"] = store.put(mtree.to_spec(layer.entries))
        outputs["tree"] = store.put(mtree.to_spec(composition.tree))
        outputs["state"] = store.put(canonical_json.dumps(report))
        has_shell = any(entry.path == _SHELL for entry in composition.tree)
        return Record(outputs=outputs, facts={"has_shell": has_shell})

    inputs = _inputs(plan, declaration, parent)
    record = store.memoise(STAGE, inputs, make, suspicious=suspicious)
    return TreeResult.from_record(record, plan)
