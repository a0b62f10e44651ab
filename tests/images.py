"""Read built images: what a container engine would see, from the layers alone."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.formats import tar
from pipeline.formats.decompression import expansion_limit, open_decompressed
from pipeline.formats.digest import Digest
from pipeline.host.layout import Layout
from pipeline.oci.media_type import REF_NAME

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Seen:
    """One path of an image, and which layer it comes from."""

    member: tar.Member
    content: bytes
    layer: int


def manifest(layout: Path, name: str) -> dict[str, object]:
    """Return a manifest of a layout by its name."""
    index = json.loads((layout / "index.json").read_bytes())
    for descriptor in index["manifests"]:
        if descriptor["annotations"].get(REF_NAME) == name:
            raw = Layout(layout).path(Digest.parse(descriptor["digest"])).read_bytes()
            value: dict[str, object] = json.loads(raw)
            return value
    raise KeyError(name)


def layer_paths(layout: Path, name: str) -> list[Path]:
    """Return the layer blobs of an image, lowest first."""
    layers = manifest(layout, name)["layers"]
    assert isinstance(layers, list)
    return [Layout(layout).path(Digest.parse(layer["digest"])) for layer in layers]


def members(path: Path) -> list[tuple[tar.Member, bytes]]:
    """Return all members of a layer."""
    with path.open("rb") as f:
        limit = expansion_limit(path.stat().st_size)
        reader = tar.TarReader(open_decompressed(f, limit=limit, what=str(path)))
        return [(member, reader.read()) for member in reader]


def image_tree(layout: Path, name: str) -> dict[str, Seen]:
    """Return the paths of an image, the uppermost layer's entry for each; hard links resolved."""
    tree: dict[str, Seen] = {}
    for number, path in enumerate(layer_paths(layout, name)):
        own: dict[str, bytes] = {}
        for member, content in members(path):
            data = own[member.link] if member.kind == tar.HARDLINK else content
            own[member.name] = data
            tree[member.name.rstrip("/")] = Seen(member, data, number)
    return tree


def unpack(layout: Path, name: str, root: Path) -> None:
    """Unpack an image with bsdtar, one layer over the other."""
    root.mkdir(parents=True, exist_ok=True)
    program = shutil.which("bsdtar")
    assert program is not None
    for path in layer_paths(layout, name):
        subprocess.run([program, "-xpf", str(path), "-C", str(root)], check=True)
