"""What a comparison found: frozen values and their JSON form.

The JSON form is described by docs/schemas/report.schema.json. It is a function of the values: no
clock, no environment. Text that came from an image is made valid and short by `shown`.
"""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass
from typing import Final

from pipeline.host.terminal import printable
from reproducibility.causes import Cause
from reproducibility.verdict import Verdict, worst

FORMAT: Final = 1
"""Version of the JSON form."""

_SHOWN: Final = 200


class Level(enum.StrEnum):
    """How deep a difference lies."""

    INDEX = "index"
    MANIFEST = "manifest"
    CONFIG = "config"
    LAYER = "layer"
    ENTRY = "entry"
    CONTENT = "content"
    ATTACHMENT = "attachment"
    """A document about the image: SBOM, provenance, lock."""


class State(enum.StrEnum):
    """How the two sides of one thing relate."""

    IDENTICAL = "identical"
    EQUAL_CONTENT = "equal-content"
    """Layers: equal diff_id, other digest."""
    DIFFERENT = "different"
    ONLY_A = "only-in-a"
    ONLY_B = "only-in-b"
    NOT_COMPARED = "not-compared"


class Agreement(enum.StrEnum):
    """How far down two images are the same."""

    EVERYTHING = "everything"
    """Nothing that both have differs."""
    IMAGES = "images"
    """Every image is the same to the byte; what is said of them differs."""
    TARS = "tars"
    """Every layer has its diff_id; compression or documents differ."""
    FILES = "files"
    """The same paths with the same content; metadata, order or encoding differ."""
    NONE = "none"


def text_of(raw: str | bytes) -> str:
    """Return text that any encoder takes: undecodable bytes and lone surrogates are escaped."""
    data = raw if isinstance(raw, bytes) else _encoded(raw)
    return data.decode("utf-8", "backslashreplace")


def _encoded(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that stands for no byte, as JSON can hold
        return text.encode("utf-8", "backslashreplace")


def shown(value: object) -> str:
    """Return a value as a report shows it: valid text, one line, of bounded length."""
    text = text_of(value) if isinstance(value, (str, bytes)) else str(value)
    text = printable(text[: 2 * _SHOWN], keep="")
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where something is; empty fields do not apply."""

    image: str
    platform: str
    layer: str
    path: str
    attachment: str = ""
    """Name of a document about the image."""

    def __str__(self) -> str:
        parts = (self.image, self.platform, self.layer, self.path, self.attachment)
        return " > ".join(filter(None, parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A difference as the part of the program finds it that does not know the place."""

    cause: Cause
    inside: str
    package: str
    a: str
    b: str
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that differs, and why."""

    level: Level
    cause: Cause
    place: Place
    inside: str
    """Where within a file or document: `$.config.Env[0]`, `files '/bin/sh'`; or empty."""
    package: str
    """The owning package, or empty."""
    a: str
    b: str
    evidence: tuple[str, ...]
    """What made the cause likely, a sentence each."""
    also_in: tuple[str, ...]
    """Other images that have the very same pair of layers."""
    ignored: bool
    """Whether the user asked not to count this cause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """One side of a thing that has a digest."""

    digest: str
    size: int
    media_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A document of an image, compared."""

    state: State
    a: Blob | None
    b: Blob | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSide:
    """One side of a layer."""

    digest: str
    size: int
    diff_id: str
    tar_size: int
    compression: str
    entries: int
    """Entries of the tar; -1 where it did not have to be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerResult:
    """A layer of an image, compared."""

    name: str
    state: State
    a: LayerSide | None
    b: LayerSide | None
    same_entries: int
    """Entries that are equal in every respect."""
    reported_in: str
    """The image under which this pair of layers has been reported already; or empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachmentResult:
    """A document about an image, compared."""

    name: str
    """Of its file; or `lock artifact`, which has none."""
    state: State
    """It may differ without a difference of its own: because what it is about differs."""
    a: Blob | None
    b: Blob | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformResult:
    """An image for one platform, compared."""

    platform: str
    state: State
    manifest: Step
    config: Step
    layers: tuple[LayerResult, ...]
    notes: tuple[str, ...]
    attachments: tuple[AttachmentResult, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageResult:
    """An image, compared."""

    name: str
    state: State
    index: Step
    platforms: tuple[PlatformResult, ...]
    attachments: tuple[AttachmentResult, ...] = ()
    """About the index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileResult:
    """A file whose content differs, looked at closely."""

    place: Place
    package: str
    a: Blob
    b: Blob
    excerpt: tuple[str, ...]
    """Lines of a unified diff."""
    excerpt_by: str
    """Who made the excerpt: `diffoscope`, `built-in`, or empty."""
    truncated: bool
    """Whether the excerpt is not the whole difference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How often something occurs."""

    name: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long something took."""

    name: str
    milliseconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One of the two things that are compared."""

    name: str
    kind: str
    digest: str
    """Digest of the whole, where it has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two subjects, compared at every level."""

    label: str
    a: Subject
    b: Subject
    images: tuple[ImageResult, ...]
    differences: tuple[Difference, ...]
    omitted: tuple[Count, ...]
    """By cause: differences beyond the limit, counted but not kept."""
    files: tuple[FileResult, ...]
    problems: tuple[str, ...]
    """What could not be read or compared; without a difference elsewhere, nobody can tell."""
    notes: tuple[str, ...]
    """What a reader should know, e.g. that diffoscope timed out."""
    ignored: tuple[Cause, ...]
    artifacts: tuple[str, ...]
    """Files beside the report, relative: the output of diffoscope."""
    timings: tuple[Timing, ...]

    @property
    def verdict(self) -> Verdict:
        """Whether A and B are the same."""
        ignored = {cause.value for cause in self.ignored}
        if any(not d.ignored for d in self.differences) or any(
            count.name not in ignored for count in self.omitted
        ):
            return Verdict.DIFFERENT
        return Verdict.UNKNOWN if self.problems else Verdict.REPRODUCIBLE

    @property
    def agreement(self) -> Agreement:
        """How far down the two are the same."""
        if self.problems or self.omitted:
            return Agreement.NONE
        if not self.differences:
            return Agreement.EVERYTHING
        found = [d for d in self.differences if d.level is not Level.ATTACHMENT]
        if not found:
            return Agreement.IMAGES
        if all(d.level in _DOCUMENTS or d.cause is Cause.COMPRESSOR for d in found):
            return Agreement.TARS
        if any(d.level is Level.CONTENT or d.cause in _OF_FILES for d in found):
            return Agreement.NONE
        return Agreement.FILES


_DOCUMENTS: Final = (Level.INDEX, Level.MANIFEST, Level.CONFIG)
_OF_FILES: Final = (Cause.PRESENCE, Cause.TYPE, Cause.LINK, Cause.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One field of a matrix."""

    verdict: Verdict | None
    """None: it was not done."""
    text: str
    """A few words: `identical`, `3 differences`, `not applied`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a matrix: a variation, or a level."""

    name: str
    detail: str
    """What was varied from what to what, or why it could not be; a sentence."""
    guilty: bool
    """Whether this line is found to be the reason of differences."""
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Variations by images, or levels by images."""

    title: str
    corner: str
    """What the lines are: `Variation`."""
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row.cells) != len(self.columns):
                raise ValueError(f"row {row.name!r} does not fit the columns")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that a report says."""

    title: str
    comparisons: tuple[Comparison, ...]
    matrix: Matrix | None
    notes: tuple[str, ...]
    generated: str | None
    """When, as text; None keeps the report a function of what was compared."""
    tools: tuple[str, ...]
    """Programs that took part, with versions."""
    timings: tuple[Timing, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of all comparisons and all fields of the matrix."""
        verdicts = [comparison.verdict for comparison in self.comparisons]
        rows = self.matrix.rows if self.matrix else ()
        verdicts += [c.verdict for row in rows for c in row.cells if c.verdict is not None]
        return worst(verdicts)


# ---------------------------------------------------------------- JSON


def _plain(value: object) -> object:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        d = {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        if isinstance(value, (Comparison, Report)):
            d["verdict"] = value.verdict.value
        if isinstance(value, Comparison):
            d["agreement"] = value.agreement.value
        return d
    return value


def report_to_dict(report: Report) -> dict[str, object]:
    """Return the JSON form of a report."""
    d = _plain(report)
    assert isinstance(d, dict)
    return {"format": FORMAT, "exit_code": report.verdict.exit_code, **d}
