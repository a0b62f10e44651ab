"""An image in a layout, as people write it: `PATH[:NAME]`, with or without `oci:` before it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from pipeline.errors import ConfigurationError, DigestMismatchError, LayoutError
from pipeline.formats import canonical_json
from pipeline.formats.digest import Digest
from pipeline.host.layout import Layout
from pipeline.host.store import hash_file
from pipeline.oci.descriptor import get_descriptors
from pipeline.oci.media_type import REF_NAME

if TYPE_CHECKING:
    from pipeline.oci.descriptor import Descriptor

_MAX_DOCUMENT: Final = 8 << 20


@dataclass(frozen=True, slots=True)
class Place:
    """A layout directory, and the name of an image in it."""

    path: Path
    name: str | None
    """None for the only image there is."""

    def __str__(self) -> str:
        return str(self.path) if self.name is None else f"{self.path}:{self.name}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse PATH[:NAME]; the first colon ends the path, as names may have some."""
        path, _, name = text.removeprefix("oci:").partition(":")
        return cls(Path(path), name or None)

    def descriptor(self) -> tuple[Descriptor, dict[str, object]]:
        """Return the image's descriptor in index.json, as a value and as it is written.

        Raises:
            ConfigurationError: there is no layout, or no such image in it.
        """
        if not (self.path / "oci-layout").is_file():
            raise ConfigurationError(
                f"{self.path}: no OCI layout, which is a directory with a file oci-layout",
                hint="skopeo copy … oci:PATH:NAME makes one",
            )
        where = str(self.path / "index.json")
        try:
            raw = Layout(self.path).read("index.json")
            index = canonical_json.loads_object(raw, error=LayoutError)
            descriptors = get_descriptors(index, "manifests")
        except LayoutError as e:
            raise e.in_document(where) from None
        manifests = index["manifests"]
        assert isinstance(manifests, list)
        found = [
            (value, written)
            for value, written in zip(descriptors, manifests, strict=True)
            if self.name in (None, value.annotations.get(REF_NAME))
        ]
        if len(found) != 1:
            names = sorted(d.annotations.get(REF_NAME, "(no name)") for d in descriptors)
            raise ConfigurationError(
                f"{self}: {len(found)} images, want one", hint=f"it has {', '.join(names)}"
            )
        return found[0]


def read_document(layout: Layout, descriptor: Descriptor) -> bytes:
    """Return a small blob that is what its descriptor says.

    Raises:
        LayoutError: it is missing or too large.
        DigestMismatchError: it is another.
    """
    what = str(descriptor.digest)
    try:
        with layout.open(descriptor.digest) as f:
            data = f.read(_MAX_DOCUMENT + 1)
    except FileNotFoundError:
        raise LayoutError("is not in the layout", context=what) from None
    if len(data) > _MAX_DOCUMENT:
        raise LayoutError(f"document longer than {_MAX_DOCUMENT} bytes", context=what)
    got = Digest.of(data)
    if got != descriptor.digest:
        raise DigestMismatchError(f"{layout.root}: {what}", got=str(got), want=what)
    return data


def read_object(layout: Layout, descriptor: Descriptor) -> dict[str, object]:
    """Return a JSON document that is what its descriptor says."""
    return canonical_json.loads_object(read_document(layout, descriptor), error=LayoutError)


def verified_blob(layout: Layout, descriptor: Descriptor) -> Path:
    """Return the file of a blob that is what its descriptor says.

    Raises:
        LayoutError: it is missing.
        DigestMismatchError: it is another.
    """
    path = layout.path(descriptor.digest)
    what = str(descriptor.digest)
    if not path.is_file():
        raise LayoutError("is not in the layout", context=what)
    got = hash_file(path)
    if got != descriptor.digest:
        raise DigestMismatchError(f"{layout.root}: {what}", got=str(got), want=what)
    return path
