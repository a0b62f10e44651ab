"""JUnit XML, as Jenkins, GitLab and GitHub actions read it: a suite an image, a case a level.

What is said of an image has a case a document.

There is no specification; the form is that of the Ant task and of Jenkins' schema. Characters that
XML 1.0 cannot hold are replaced.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

from reproducibility.findings import Level, State
from reproducibility.summary import counted, where_text
from reproducibility.verdict import Verdict
from reproducibility.wording import plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from reproducibility.findings import (
        AttachmentResult,
        Comparison,
        Difference,
        Matrix,
        Report,
    )

_MAX_LINES: Final = 50
_ILLEGAL_RE: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render_junit(report: Report) -> str:
    """Return the document."""
    root = ET.Element("testsuites", name=_clean(report.title))
    for comparison in report.comparisons:
        _comparison(root, comparison)
    if report.matrix is not None:
        _matrix(root, report.matrix)
    for name in ("tests", "failures", "errors", "skipped"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, "unicode") + "\n"


def _clean(text: str) -> str:
    return _ILLEGAL_RE.sub("�", text)


def _suite(root: ET.Element, name: str) -> ET.Element:
    return ET.SubElement(root, "testsuite", name=_clean(name), time="0")


def _count(suite: ET.Element) -> None:
    suite.set("tests", str(len(suite)))
    for name, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(name, str(sum(1 for case in suite if case.find(kind) is not None)))


def _case(suite: ET.Element, name: str) -> ET.Element:
    classname = suite.get("name", "")
    return ET.SubElement(suite, "testcase", name=_clean(name), classname=classname, time="0")


def _comparison(root: ET.Element, comparison: Comparison) -> None:
    by_place: dict[tuple[str, str, str, Level], list[Difference]] = {}
    for d in counted(comparison.differences):
        part = d.place.layer or d.place.attachment
        key = (d.place.image, d.place.platform, part, _shown_level(d))
        by_place.setdefault(key, []).append(d)
    prefix = f"{comparison.label}: " if comparison.label else ""
    for image in comparison.images:
        name = image.name or "root file system"
        suite = _suite(root, f"{prefix}{name}")
        _document(suite, "index", by_place.get((image.name, "", "", Level.INDEX), ()))
        _said(suite, image.attachments, (image.name, ""), by_place)
        _count(suite)
        for platform in image.platforms:
            suite = _suite(root, f"{prefix}{name} {platform.platform}".strip())
            for level in (Level.INDEX, Level.MANIFEST, Level.CONFIG, Level.LAYER):
                found = by_place.get((image.name, platform.platform, "", level), ())
                if found or level in (Level.MANIFEST, Level.CONFIG):
                    _document(suite, level.value, found)
            for layer in platform.layers:
                key = (image.name, platform.platform, layer.name, Level.LAYER)
                case = _document(suite, layer.name, by_place.get(key, ()))
                if layer.reported_in and layer.state is State.DIFFERENT:
                    _fail(case, "different", f"reported in {layer.reported_in}")
            _said(suite, platform.attachments, (image.name, platform.platform), by_place)
            _count(suite)
    if comparison.problems:
        suite = _suite(root, f"{prefix}reading")
        for problem in comparison.problems:
            case = _case(suite, problem)
            ET.SubElement(case, "error", message=_clean(problem), type="could-not-tell")
        _count(suite)


def _said(
    suite: ET.Element,
    attachments: Iterable[AttachmentResult],
    of: tuple[str, str],
    by_place: Mapping[tuple[str, str, str, Level], Sequence[Difference]],
) -> None:
    """Add a case for each document; one that differs by what it is about does not fail twice."""
    for attachment in attachments:
        found = by_place.get((*of, attachment.name, Level.ATTACHMENT), ())
        _document(suite, attachment.name, found)


def _shown_level(d: Difference) -> Level:
    return Level.LAYER if d.level in (Level.ENTRY, Level.CONTENT) else d.level


def _document(suite: ET.Element, name: str, found: Sequence[Difference]) -> ET.Element:
    case = _case(suite, name)
    if found:
        causes = ", ".join(sorted({d.cause.value for d in found}))
        _fail(case, causes, "\n".join(_lines(found)))
    return case


def _fail(case: ET.Element, kind: str, text: str) -> None:
    message = text.partition("\n")[0]
    failure = ET.SubElement(case, "failure", message=_clean(message), type=_clean(kind))
    failure.text = _clean(text)


def _lines(found: Sequence[Difference]) -> Iterable[str]:
    yield plural(len(found), "difference")
    for d in found[:_MAX_LINES]:
        yield f"{d.cause.value}: {where_text(d)}: {d.a} | {d.b}"
    if len(found) > _MAX_LINES:
        yield f"and {len(found) - _MAX_LINES} more"


def _matrix(root: ET.Element, matrix: Matrix) -> None:
    suite = _suite(root, matrix.title)
    for row in matrix.rows:
        for column, cell in zip(matrix.columns, row.cells, strict=True):
            case = _case(suite, f"{row.name} / {column}")
            if cell.verdict is None:
                ET.SubElement(case, "skipped", message=_clean(cell.text))
            elif cell.verdict is Verdict.DIFFERENT:
                _fail(case, "different", f"{cell.text}\n{row.detail}")
            elif cell.verdict is Verdict.UNKNOWN:
                ET.SubElement(case, "error", message=_clean(cell.text), type="could-not-tell")
    _count(suite)
