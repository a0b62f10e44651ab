"""Reports for the tests of their renderings: one of every verdict, and one that is hostile."""

from __future__ import annotations

from typing import Any, Final

from reproducibility.causes import Cause
from reproducibility.findings import (
    AttachmentResult,
    Blob,
    Cell,
    Comparison,
    Count,
    Difference,
    FileResult,
    ImageResult,
    LayerResult,
    LayerSide,
    Level,
    Matrix,
    Place,
    PlatformResult,
    Report,
    Row,
    State,
    Step,
    Subject,
    Timing,
)
from reproducibility.verdict import Verdict

HOSTILE: Final = (
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "<style>*{display:none}</style>",
    "a|b\n# heading [link](http://evil.example/) `code` ![i](x)",
    "]]><evil/>&#0;&amp;",
    "\x1b[2J\x00\x07\u202egnirts",
    "${body} $style $$ {x!r} %s",
    "http://evil.example/pixel.png",
)
"""Names that break what does not escape."""


def digest(n: int) -> str:
    """Return some digest."""
    return f"sha256:{n:064x}"


def place(
    image: str = "", platform: str = "", layer: str = "", path: str = "", attachment: str = ""
) -> Place:
    """Return a place."""
    return Place(image=image, platform=platform, layer=layer, path=path, attachment=attachment)


def difference(where: Place, level: Level, cause: Cause, **fields: Any) -> Difference:
    """Return a difference; fields that are not given are plain."""
    plain = {
        "inside": "",
        "package": "",
        "a": "one",
        "b": "two",
        "evidence": (),
        "also_in": (),
        "ignored": False,
    }
    return Difference(level=level, cause=cause, place=where, **{**plain, **fields})


def step(state: State, n: int) -> Step:
    """Return a compared document."""
    media_type = "application/vnd.oci.image.manifest.v1+json"
    a = Blob(digest=digest(n), size=1486, media_type=media_type)
    other = n if state is State.IDENTICAL else n + 1000
    return Step(state=state, a=a, b=Blob(digest=digest(other), size=1486, media_type=media_type))


def layer(number: int, state: State, *, size: int) -> LayerResult:
    """Return a compared layer."""

    def side(n: int, diff_id: int) -> LayerSide:
        return LayerSide(
            digest=digest(n),
            size=size,
            diff_id=digest(diff_id),
            tar_size=5 * size,
            compression="zstd",
            entries=120,
        )

    other = number + (0 if state is State.IDENTICAL else 500)
    other_diff_id = number + (500 if state is State.DIFFERENT else 0)
    return LayerResult(
        name=f"layer {number}",
        state=state,
        a=side(number, number),
        b=side(other, other_diff_id),
        same_entries=118,
        reported_in="",
    )


def attachment(name: str, state: State, n: int) -> AttachmentResult:
    """Return a compared document about an image."""
    a = Blob(digest=digest(n), size=2210, media_type="application/json")
    b = Blob(digest=digest(n + 1000), size=2211, media_type="application/json")
    return AttachmentResult(
        name=name,
        state=state,
        a=None if state is State.ONLY_B else a,
        b={State.IDENTICAL: a, State.ONLY_A: None}.get(state, b),
    )


def image(
    name: str,
    *,
    states: tuple[State, ...],
    said: tuple[tuple[str, State], ...] = (),
    of_index: tuple[tuple[str, State], ...] = (),
) -> ImageResult:
    """Return an image over two platforms whose layers, and documents, are in these states."""
    worst = State.DIFFERENT if State.DIFFERENT in states else State.IDENTICAL
    platforms = tuple(
        PlatformResult(
            platform=platform,
            state=worst,
            manifest=step(worst, 10 + number),
            config=step(worst, 20 + number),
            layers=tuple(layer(n, state, size=9000 * n * n) for n, state in enumerate(states, 1)),
            notes=(),
            attachments=tuple(attachment(*one, 30 + n) for n, one in enumerate(said)),
        )
        for number, platform in enumerate(("freebsd/amd64", "freebsd/arm64"))
    )
    return ImageResult(
        name=name,
        state=worst,
        index=step(worst, 1),
        platforms=platforms,
        attachments=tuple(attachment(*one, 50 + n) for n, one in enumerate(of_index)),
    )


def comparison(**fields: Any) -> Comparison:
    """Return a comparison; without fields nothing differs."""
    plain = {
        "label": "",
        "a": Subject(name="build 1", kind="OCI layout", digest=""),
        "b": Subject(name="build 2", kind="OCI layout", digest=""),
        "images": (image("freebsd-static:15.0", states=(State.IDENTICAL,) * 3),),
        "differences": (),
        "omitted": (),
        "files": (),
        "problems": (),
        "notes": (),
        "ignored": (),
        "artifacts": (),
        "timings": (),
    }
    return Comparison(**{**plain, **fields})


def report(*comparisons: Comparison, **fields: Any) -> Report:
    """Return a report."""
    plain = {
        "title": "FreeBSD base images 15.0, built twice",
        "comparisons": comparisons,
        "matrix": None,
        "notes": (),
        "generated": None,
        "tools": ("pkgbase-oci 1.0.0", "diffoscope 332"),
        "timings": (),
    }
    return Report(**{**plain, **fields})


# ---------------------------------------------------------------- an audit that found something

_IMAGES: Final = ("freebsd-static:15.0", "freebsd-dynamic:15.0", "freebsd-runtime:15.0")
_ALSO: Final = ("freebsd-runtime:15.0 > freebsd/arm64 > layer 7",)
_SPDX: Final = "freebsd-static-15.0-amd64.spdx.json"
_SAID: Final = ((_SPDX, State.DIFFERENT), ("SPDX artifact", State.DIFFERENT))
"""What is said of the first image; the second document only repeats the first."""


def _faults() -> tuple[tuple[Difference, ...], tuple[FileResult, ...]]:
    runtime = {"image": _IMAGES[2], "platform": "freebsd/amd64"}
    database = place(**runtime, layer="layer 7", path="var/db/pkg/local.sqlite")
    rc = place(**runtime, layer="layer 6", path="etc/rc.conf.d/build")
    motd = place(**runtime, layer="layer 6", path="etc/motd.template")
    found = [
        difference(
            place(**runtime),
            Level.CONFIG,
            Cause.CLOCK,
            inside="$.created",
            a="2025-12-16T00:00:00Z",
            b="2026-11-24T21:11:03Z",
            evidence=("343 d 21 h apart",),
        ),
        *(
            difference(
                place(**runtime, layer="layer 6", path=f"usr/share/examples/runtime/{n:02}.conf"),
                Level.ENTRY,
                Cause.MODE,
                package="FreeBSD-runtime",
                a="0644",
                b="0600",
                evidence=("B is what umask 077 leaves of A",),
                also_in=("freebsd-runtime:15.0 > freebsd/arm64 > layer 6",),
            )
            for n in range(23)
        ),
        difference(
            rc,
            Level.CONTENT,
            Cause.PATH,
            package="FreeBSD-rc",
            a="/home/builder/a/src",
            b="/var/tmp/a-much-longer-build-directory/src",
            evidence=("a path of the build",),
        ),
        difference(
            motd,
            Level.CONTENT,
            Cause.CLOCK,
            package="FreeBSD-runtime",
            a="Tue Nov 24 21:11:03 UTC 2026",
            b="Fri Nov 24 04:05:59 UTC 2034",
            evidence=("7 y 364 d apart",),
        ),
        *(
            difference(
                database,
                Level.CONTENT,
                Cause.CLOCK,
                inside="packages",
                package=name,
                a="2025-12-16T00:00:00Z",
                b="2026-11-24T21:11:03Z",
                evidence=("time: 343 d 21 h apart",),
                also_in=_ALSO,
            )
            for name in ("FreeBSD-clibs", "FreeBSD-rc", "FreeBSD-runtime", "FreeBSD-zoneinfo")
        ),
        difference(
            place(_IMAGES[0], "freebsd/amd64", attachment=_SPDX),
            Level.ATTACHMENT,
            Cause.CLOCK,
            inside="$.creationInfo.created",
            a="2025-12-16T00:00:00Z",
            b="2026-11-24T21:11:03Z",
            evidence=("343 d 21 h apart",),
        ),
        difference(
            place(_IMAGES[1], attachment="lock artifact"),
            Level.ATTACHMENT,
            Cause.PRESENCE,
            a="a document",
            b="absent",
        ),
    ]

    def looked_at(where: Place, package: str, *lines: str) -> FileResult:
        return FileResult(
            place=where,
            package=package,
            a=Blob(digest=digest(71), size=1204, media_type=""),
            b=Blob(digest=digest(72), size=1231, media_type=""),
            excerpt=lines,
            excerpt_by="diffoscope",
            truncated=False,
        )

    files = (
        looked_at(
            rc,
            "FreeBSD-rc",
            "@@ -1,4 +1,4 @@",
            " # made by the build",
            '-srcdir="/home/builder/a/src"',
            '+srcdir="/var/tmp/a-much-longer-build-directory/src"',
            " export srcdir  # a line that is so long that it has to be scrolled on a small screen",
        ),
        looked_at(
            motd,
            "FreeBSD-runtime",
            "@@ -1 +1 @@",
            "-Welcome, built Tue Nov 24 21:11:03 UTC 2026",
            "+Welcome, built Fri Nov 24 04:05:59 UTC 2034",
        ),
    )
    return tuple(found), files


def audit_matrix() -> Matrix:
    """Return variations by images, with guilty ones and some that could not be applied."""
    same = Cell(verdict=Verdict.REPRODUCIBLE, text="identical")
    not_applied = Cell(verdict=None, text="not applied")

    def row(name: str, detail: str, *cells: Cell, guilty: bool = False) -> Row:
        return Row(name=name, detail=detail, guilty=guilty, cells=cells or (same,) * 3)

    def bad(text: str) -> Cell:
        return Cell(verdict=Verdict.DIFFERENT, text=text)

    return Matrix(
        title="Variations",
        corner="Variation",
        columns=_IMAGES,
        rows=(
            row("time zone", "GMT+12 and GMT-14"),
            row("language", "C.UTF-8, et_EE.UTF-8 and tr_TR.UTF-8"),
            row("umask", "0022 and 0077", same, same, bad("23 differences"), guilty=True),
            row(
                "directory",
                "/home/builder/a and a longer one",
                same,
                same,
                bad("1 difference"),
                guilty=True,
            ),
            row("clock", "eight years ahead", same, same, bad("6 differences"), guilty=True),
            row("hash seed", "PYTHONHASHSEED 0 and 4242"),
            row("order of directories", "no disorderfs on this machine", *(not_applied,) * 3),
            row("processors", "1 and 2; -n 1 and -n 4"),
            row(
                "Python",
                "3.11 and 3.13",
                same,
                same,
                Cell(verdict=Verdict.UNKNOWN, text="timed out"),
            ),
        ),
    )


def audit() -> Report:
    """Return the report of an audit that found something."""
    differences, files = _faults()
    states = (State.IDENTICAL,) * 5 + (State.DIFFERENT, State.DIFFERENT)
    return report(
        comparison(
            label="all variations at once",
            images=(
                image(_IMAGES[0], states=(State.IDENTICAL,) * 3, said=_SAID),
                image(
                    _IMAGES[1],
                    states=(State.IDENTICAL,) * 5,
                    of_index=(("lock artifact", State.ONLY_A),),
                ),
                image(_IMAGES[2], states=states),
            ),
            differences=differences,
            files=files,
            artifacts=("diffoscope/diffoscope-1.html", "diffoscope/diffoscope-1.json"),
            timings=(Timing(name="compare", milliseconds=1840),),
        ),
        matrix=audit_matrix(),
        notes=("disorderfs is not installed: directories were read in their own order",),
        timings=(
            Timing(name="first build", milliseconds=12_400),
            Timing(name="second build", milliseconds=14_100),
        ),
    )


def reproducible() -> Report:
    """Return a report of nothing."""
    return report(comparison())


def untold() -> Report:
    """Return a report of something that could not be read."""
    return report(comparison(problems=("B: freebsd-static:15.0 > layer 2: damaged zstd stream",)))


def ignored() -> Report:
    """Return a report whose only difference is not counted."""
    d = difference(place("i", "p", "layer 1", "x"), Level.ENTRY, Cause.MTIME, ignored=True)
    return report(comparison(differences=(d,), ignored=(Cause.MTIME,)))


def hostile() -> Report:
    """Return a report in which everything that can be named by an image is hostile."""
    differences = []
    files = []
    for n, text in enumerate(HOSTILE):
        where = place(text, text, text, text)
        if n == 3:
            where = place(text, "freebsd/amd64", attachment=text)
        differences.append(
            difference(
                where,
                Level.ATTACHMENT if n == 3 else Level.CONTENT if n % 2 else Level.ENTRY,
                Cause.UNKNOWN,
                inside=text,
                package=text,
                a=text,
                b=text,
                evidence=(text,),
                also_in=(text,),
            )
        )
        blob = Blob(digest=digest(n), size=n, media_type=text)
        files.append(
            FileResult(
                place=where,
                package=text,
                a=blob,
                b=blob,
                excerpt=(text, f"+{text}", f"-{text}"),
                excerpt_by="diffoscope",
                truncated=True,
            )
        )
    images = tuple(
        image(text, states=(State.DIFFERENT,), said=((text, State.DIFFERENT),)) for text in HOSTILE
    )
    cell = Cell(verdict=Verdict.DIFFERENT, text=HOSTILE[0])
    return report(
        comparison(
            label=HOSTILE[1],
            a=Subject(name=HOSTILE[0], kind=HOSTILE[1], digest=""),
            images=images,
            differences=tuple(differences),
            omitted=(Count(name="mtime", count=7),),
            files=tuple(files),
            problems=HOSTILE,
            notes=HOSTILE,
        ),
        title=HOSTILE[0],
        matrix=Matrix(
            title=HOSTILE[2],
            corner=HOSTILE[3],
            columns=HOSTILE[:2],
            rows=(Row(name=HOSTILE[0], detail=HOSTILE[1], guilty=True, cells=(cell, cell)),),
        ),
        notes=HOSTILE,
        tools=HOSTILE,
        generated=HOSTILE[0],
    )


ALL: Final = {
    "audit": audit,
    "reproducible": reproducible,
    "untold": untold,
    "ignored": ignored,
    "hostile": hostile,
}
