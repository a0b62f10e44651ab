"""Where an image is, and what is said of it: registries, layouts, archives.

| written | what |
|---|---|
| `HOST/PATH[:TAG][@sha256:…]` | an image in a registry |
| `oci:PATH[:NAME]`, `oci:PATH@sha256:…` | one of a layout |
| `oci-archive:FILE[:NAME]`, `…@sha256:…` | one of a layout in a tar |

Documents are believed by their digests, and bounded in length and number. What refers to an image
is claims of anybody: what of it cannot be read is passed over, and said.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, Protocol

from pipeline.attest.bundle import BUNDLE_TYPE
from pipeline.errors import (
    ConfigurationError,
    DigestMismatchError,
    FormatError,
    NotFoundError,
    PipelineError,
    RegistryError,
    TooLargeError,
)
from pipeline.formats.digest import Digest, verify_bytes
from pipeline.host import layout
from pipeline.host.archive import open_layout
from pipeline.host.registry import Registry
from pipeline.host.registry_manifest import MAX_MANIFEST, Contents, Manifest
from pipeline.oci.media_type import REF_NAME
from pipeline.oci.reference import Reference
from pipeline.stages.provenance import LOCK_TYPE
from reproducibility.sources import SourceKind, SourceName

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pipeline.host.registry import Repository
    from pipeline.host.registry_session import Access
    from pipeline.oci.descriptor import Descriptor
    from pipeline.oci.validate import LayoutSource

MAX_REFERRERS: Final = 200
"""Referrers of one manifest that are looked at."""

_OURS: Final = frozenset({LOCK_TYPE, BUNDLE_TYPE})
"""Referrers that are looked at first."""
_LAYOUTS: Final = (f"{SourceKind.OCI}:", f"{SourceKind.OCI_ARCHIVE}:")
_HINT: Final = "want HOST/PATH[:TAG][@DIGEST], oci:PATH[:NAME] or oci-archive:FILE"


class Place(Protocol):
    """Where something is that is said of images."""

    @property
    def problems(self) -> Sequence[str]:
        """What could not be read."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """Who is asked; a file is nobody."""

    def referrers(self, subject: Digest) -> tuple[Manifest, ...]:
        """Return what refers to a manifest."""

    def tagged(self, tag: str) -> Manifest | None:
        """Return the manifest under a tag such as `sha256-….sig`."""

    def blob(self, descriptor: Descriptor, *, max_length: int) -> bytes:
        """Return a small blob, verified."""


class ImagePlace(Place, Protocol):
    """Where an image is."""

    @property
    def called(self) -> str:
        """What it is called: `freebsd-static:15.0`; empty where it is named by digest alone."""

    @property
    def is_named(self) -> bool:
        """Whether it was asked for by a tag or a name, not by digest."""

    def root(self) -> Manifest:
        """Return the image: an index, or a manifest."""

    def manifest(self, descriptor: Descriptor) -> Manifest:
        """Return a manifest of the index."""


def _note_too_many(count: int, subject: Digest, problems: list[str]) -> None:
    text = f"{count} referrers of {subject}: only {MAX_REFERRERS} were looked at"
    if count > MAX_REFERRERS and text not in problems:
        problems.append(text)


# ---------------------------------------------------------------- registries


class RegistryPlace:
    """A repository of a registry, and perhaps an image in it."""

    def __init__(self, reference: Reference, access: Access) -> None:
        self.reference = reference
        self.registry = Registry(reference.host, access)
        self.repository: Repository = self.registry.repository(reference.path)
        self.problems: list[str] = []
        self._referrers: dict[Digest, tuple[Manifest, ...]] = {}

    def __str__(self) -> str:
        return str(self.reference)

    @property
    def hosts(self) -> tuple[str, ...]:
        """The registry."""
        return (self.reference.host,)

    @property
    def called(self) -> str:
        """The last word of the path, and the tag."""
        reference = self.reference
        if reference.tag is None and reference.digest is not None:
            return ""
        return f"{reference.path.rpartition('/')[2]}:{reference.tag or reference.wanted}"

    @property
    def is_named(self) -> bool:
        """Whether there is no digest."""
        return self.reference.digest is None

    def root(self) -> Manifest:
        """Fetch the image."""
        return self.repository.manifest(self.reference.digest or self.reference.wanted)

    def manifest(self, descriptor: Descriptor) -> Manifest:
        """Fetch a manifest of the index."""
        return self.repository.read_manifest(descriptor)

    def tagged(self, tag: str) -> Manifest | None:
        """Fetch what is under a tag."""
        return self.repository.find_manifest(tag)

    def referrers(self, subject: Digest) -> tuple[Manifest, ...]:
        """Fetch what refers to a manifest; the list may be wrong, so each is opened."""
        if subject not in self._referrers:
            self._referrers[subject] = self._read_referrers(subject)
        return self._referrers[subject]

    def _read_referrers(self, subject: Digest) -> tuple[Manifest, ...]:
        listed = sorted(
            self.repository.referrers(subject), key=lambda d: d.artifact_type not in _OURS
        )
        _note_too_many(len(listed), subject, self.problems)
        found = []
        for descriptor in listed[:MAX_REFERRERS]:
            try:
                manifest = self.repository.find_manifest(descriptor.digest)
            except (DigestMismatchError, FormatError, RegistryError) as e:
                self.problems.append(f"referrer {descriptor.digest.short}: {e}")
                continue
            if manifest is not None and manifest.subject and manifest.subject.digest == subject:
                found.append(manifest)
        return tuple(found)

    def blob(self, descriptor: Descriptor, *, max_length: int) -> bytes:
        """Fetch a blob."""
        return self.repository.blob(descriptor, max_length=max_length)


# ---------------------------------------------------------------- layouts


class LayoutPlace:
    """A layout, and perhaps an image in it."""

    hosts = ()

    def __init__(self, text: str, name: SourceName) -> None:
        """Read index.json.

        Args:
            text: as the user named it.
            name: the same, taken apart; an empty name means the only image there is.

        Raises:
            LayoutError, ArchiveError: it is no layout.
        """
        self.path = name.path
        self.kind = name.kind
        self.source: LayoutSource = _open(text, name)
        self.problems: list[str] = []
        self._contents = Contents(self.source)
        self._text = text
        self._wanted: str | Digest = name.digest or name.name

    def __str__(self) -> str:
        return self._text

    @property
    def called(self) -> str:
        """The name, if there is one."""
        if isinstance(self._wanted, Digest):
            return ""
        return self._wanted or self._only().annotations.get(REF_NAME, "")

    @property
    def is_named(self) -> bool:
        """Whether there is no digest."""
        return not isinstance(self._wanted, Digest)

    def _only(self) -> Descriptor:
        """Return the only image of the layout; what refers to others is none."""
        images = [d for d in self._contents.entries if self._contents.read(d).subject is None]
        if len(images) != 1:
            names = sorted(d.annotations.get(REF_NAME, str(d.digest)) for d in images)
            raise ConfigurationError(
                f"{self._text}: {len(images)} images, want one",
                hint=f"it has {', '.join(names)[:600]}" if names else None,
            )
        return images[0]

    def root(self) -> Manifest:
        """Read the image."""
        if isinstance(self._wanted, Digest):
            return self._by_digest(self._wanted)
        if self._wanted:
            return self._contents.read(self._contents.named(self._wanted))
        return self._contents.read(self._only())

    def _by_digest(self, digest: Digest) -> Manifest:
        what = f"manifest {digest}"
        try:
            with self.source.open(digest) as f:
                raw = f.read(MAX_MANIFEST + 1)
        except FileNotFoundError:
            raise NotFoundError(f"{self._text}: {what} is not in the layout") from None
        return Manifest.parse(verify_bytes(raw, digest=digest, what=what))

    def manifest(self, descriptor: Descriptor) -> Manifest:
        """Read a manifest of the index."""
        return self._contents.read(descriptor)

    def tagged(self, tag: str) -> Manifest | None:
        """Read what would go under a tag; the layout has it as `REPOSITORY:tag`."""
        for descriptor in self._contents.entries:
            if descriptor.annotations.get(REF_NAME, "").rpartition(":")[2] == tag:
                return self._contents.read(descriptor)
        return None

    def referrers(self, subject: Digest) -> tuple[Manifest, ...]:
        """Read what refers to a manifest."""
        attached = self._contents.attached([subject])
        own = [m for m in attached if m.subject is not None and m.subject.digest == subject]
        _note_too_many(len(own), subject, self.problems)
        return tuple(own[:MAX_REFERRERS])

    def blob(self, descriptor: Descriptor, *, max_length: int) -> bytes:
        """Read a blob."""
        what = f"blob {descriptor.digest}"
        try:
            with self.source.open(descriptor.digest) as f:
                data = f.read(max_length + 1)
        except FileNotFoundError:
            raise NotFoundError(f"{self._text}: {what} is not in the layout") from None
        if len(data) > max_length:
            raise TooLargeError(what, max_length)
        return verify_bytes(data, digest=descriptor.digest, what=what)


# ---------------------------------------------------------------- several


class JoinedPlace:
    """An image, and what is said of it there and in other places."""

    def __init__(self, image: RegistryPlace | LayoutPlace, others: Iterable[Place]) -> None:
        self.image = image
        self._places: tuple[Place, ...] = (image, *others)

    def __str__(self) -> str:
        return str(self.image)

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be read, anywhere."""
        return tuple(problem for place in self._places for problem in place.problems)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Everybody who is asked."""
        return tuple(sorted({host for place in self._places for host in place.hosts}))

    @property
    def called(self) -> str:
        """What the image is called."""
        return self.image.called

    @property
    def is_named(self) -> bool:
        """Whether the image was not asked for by digest."""
        return self.image.is_named

    def root(self) -> Manifest:
        """Return the image."""
        return self.image.root()

    def manifest(self, descriptor: Descriptor) -> Manifest:
        """Return a manifest of the index."""
        return self.image.manifest(descriptor)

    def tagged(self, tag: str) -> Manifest | None:
        """Return the manifest under a tag, of the first place that has one."""
        return next(filter(None, (place.tagged(tag) for place in self._places)), None)

    def referrers(self, subject: Digest) -> tuple[Manifest, ...]:
        """Return what refers to a manifest, each once."""
        found = {m.digest: m for place in self._places for m in place.referrers(subject)}
        return tuple(found.values())

    def blob(self, descriptor: Descriptor, *, max_length: int) -> bytes:
        """Return a blob of whichever place has it."""
        error: PipelineError = NotFoundError(f"blob {descriptor.digest}: not found")
        for place in self._places:
            try:
                return place.blob(descriptor, max_length=max_length)
            except (NotFoundError, DigestMismatchError) as e:
                error = e
        raise error


# ---------------------------------------------------------------- names


def open_place(text: str, access: Access) -> RegistryPlace | LayoutPlace:
    """Open the place of an image, or of what is said of images.

    Raises:
        ConfigurationError: it is no name of one, or no such file.
        LayoutError, ArchiveError: the file holds no layout.
    """
    if text.startswith(_LAYOUTS):
        return LayoutPlace(text, _source_name(text))
    return RegistryPlace(parse_reference(text), access)


def _open(text: str, name: SourceName) -> LayoutSource:
    try:
        source = open_layout(name.path)
        source.read("index.json")
    except FileNotFoundError:
        raise ConfigurationError(f"{text}: is no OCI layout, it has no index.json") from None
    except FormatError as e:
        raise e if str(name.path) in str(e) else e.in_document(str(name.path)) from None
    return source


def _source_name(text: str) -> SourceName:
    try:
        return SourceName.parse(text)
    except FormatError as e:
        raise ConfigurationError(f"{text}: {e}") from None


def parse_reference(text: str) -> Reference:
    """Read a reference that the user has written."""
    try:
        return Reference.parse(text)
    except FormatError as e:
        raise ConfigurationError(str(e), hint=_HINT) from None


def beside(text: str) -> str | None:
    """Return the layout of attestations beside one of images: `build/attest`, `build/oci`."""
    if not text.startswith(_LAYOUTS[0]):
        return None
    with contextlib.suppress(ConfigurationError):
        path = _source_name(text).path
        attest = layout.beside(path, "attest")
        if (attest / "oci-layout").is_file():
            return f"{_LAYOUTS[0]}{attest}"
    return None
