"""Reports in every form: valid, escaped, deterministic, and saying the same."""

from __future__ import annotations

import html.parser
import io
import itertools
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest

from reproducibility.causes import MEANING, REMEDY, Cause
from reproducibility.findings import Agreement, Level, Matrix, Report, Row, State, shown, text_of
from reproducibility.markup import tag
from reproducibility.report import render_json, write_report
from reproducibility.report_html import render_html
from reproducibility.report_junit import render_junit
from reproducibility.report_markdown import escape_markdown, render_markdown
from reproducibility.report_parts import MAX_ITEMS
from reproducibility.report_sarif import render_sarif
from reproducibility.report_terminal import print_report
from reproducibility.summary import count_causes, headline, level_matrix
from reproducibility.verdict import Verdict, worst
from reproducibility.wording import plural, size_text
from tests.elsewhere import ROOT, run_elsewhere
from tests.reproducibility import samples

if TYPE_CHECKING:
    from pathlib import Path

REPORT_SCHEMA: Final = json.loads((ROOT / "docs/schemas/report.schema.json").read_bytes())
SARIF_SCHEMA: Final = json.loads((ROOT / "fixtures/reports/sarif-2.1.0.json").read_bytes())


@pytest.fixture(params=sorted(samples.ALL))
def report(request: pytest.FixtureRequest) -> Report:
    """Every sample."""
    return samples.ALL[request.param]()


# ---------------------------------------------------------------- values


def test_exit_codes_are_stable() -> None:
    """CI depends on them."""
    assert {v: v.exit_code for v in Verdict} == {
        Verdict.REPRODUCIBLE: 0,
        Verdict.DIFFERENT: 1,
        Verdict.UNKNOWN: 2,
    }


def test_verdict_over_several() -> None:
    """A difference is certain; nothing at all is not "reproducible"."""
    r, d, u = Verdict.REPRODUCIBLE, Verdict.DIFFERENT, Verdict.UNKNOWN
    assert worst([r, r]) is r
    assert worst([r, u]) is u
    assert worst([r, u, d]) is d
    assert worst([]) is u
    assert samples.report().verdict is u


def test_verdicts_of_the_samples() -> None:
    """Including a matrix that knows more than the comparisons."""
    assert samples.audit().verdict is Verdict.DIFFERENT
    assert samples.reproducible().verdict is Verdict.REPRODUCIBLE
    assert samples.untold().verdict is Verdict.UNKNOWN
    assert samples.ignored().verdict is Verdict.REPRODUCIBLE
    assert replace(samples.reproducible(), matrix=samples.audit_matrix()).verdict is (
        Verdict.DIFFERENT
    )


def test_every_cause_has_its_words() -> None:
    """Meaning and remedy, none forgotten."""
    assert set(MEANING) == set(REMEDY) == set(Cause)


def test_matrix_is_a_rectangle() -> None:
    """A row that does not fit is a bug of the caller."""
    with pytest.raises(ValueError, match="does not fit"):
        Matrix(
            title="",
            corner="",
            columns=("a",),
            rows=(Row(name="r", detail="", guilty=False, cells=()),),
        )


@pytest.mark.parametrize("text", [*samples.HOSTILE, "\ud800", "a\udcff", "x" * 5000, "é\n\t"])
def test_shown_text_is_valid_short_and_one_line(text: str) -> None:
    """Whatever an image has in its names."""
    result = shown(text)
    result.encode()
    assert len(result) <= 400
    assert "\n" not in result
    assert result.isprintable()
    text_of(text).encode()


def test_words() -> None:
    """Numbers for people."""
    assert [plural(n, "entry", "entries") for n in (0, 1, 2000)] == [
        "0 entries",
        "1 entry",
        "2,000 entries",
    ]
    assert [size_text(n) for n in (0, 999, 1000, 999_960, 1_500_000, 3 * 10**12)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "1.0 MB",
        "1.5 MB",
        "3.0 TB",
    ]


def test_headlines() -> None:
    """One or two sentences that can be read out."""
    assert headline(samples.reproducible()) == "No difference in 1 image, 2 platforms."
    assert headline(samples.audit()) == (
        "32 differences in 3 images, 6 platforms. Guilty: umask, directory, clock."
    )
    assert headline(replace(samples.audit(), matrix=None)) == (
        "32 differences in 3 images, 6 platforms."
        " Causes: mode 23, clock-in-content 7, presence 1, 1 more."
    )
    assert headline(samples.untold()) == (
        "1 image, 2 platforms compared; B: freebsd-static:15.0 > layer 2: damaged zstd stream."
    )
    assert headline(samples.ignored()).endswith("Not counted: mtime.")


def test_agreement() -> None:
    """How far down they are the same."""
    assert samples.comparison().agreement is Agreement.EVERYTHING
    (found,) = samples.audit().comparisons
    assert found.agreement is Agreement.NONE
    said = tuple(d for d in found.differences if d.level is Level.ATTACHMENT)
    only_said = replace(found, differences=said)
    assert (only_said.agreement, only_said.verdict) == (Agreement.IMAGES, Verdict.DIFFERENT)
    assert "The images are the same to the byte" in headline(samples.report(only_said))
    config = tuple(d for d in found.differences if d.level is Level.CONFIG)
    assert replace(found, differences=(*config, *said)).agreement is Agreement.TARS


def test_levels_of_a_comparison() -> None:
    """A difference in a shared layer counts for every image that has it."""
    matrix = level_matrix(samples.audit().comparisons[0])
    texts = {(row.name, row.detail): [cell.text for cell in row.cells] for row in matrix.rows}
    assert texts["freebsd-runtime:15.0", "freebsd/amd64"] == [
        "follows",
        "follows",
        "1",
        "same",
        "23",
        "6",
        "not compared",
    ]
    assert texts["freebsd-runtime:15.0", "freebsd/arm64"] == [
        "follows",
        "follows",
        "follows",
        "same",
        "23",
        "4",
        "not compared",
    ]
    assert texts["freebsd-static:15.0", "freebsd/amd64"] == [*["same"] * 6, "1"]
    assert texts["freebsd-static:15.0", "freebsd/arm64"] == [*["same"] * 6, "follows"]
    assert texts["freebsd-dynamic:15.0", "freebsd/amd64"] == [*["same"] * 6, "1"]


def test_documents_have_a_column_only_where_they_were_compared() -> None:
    """`diff` compares images alone."""
    assert "Documents" not in level_matrix(samples.reproducible().comparisons[0]).columns
    assert level_matrix(samples.audit().comparisons[0]).columns[-1] == "Documents"


# ---------------------------------------------------------------- JSON


def test_json_follows_its_schema(report: Report) -> None:
    """The published one."""
    document = json.loads(render_json(report))
    jsonschema.Draft202012Validator(REPORT_SCHEMA).validate(document)
    assert document["exit_code"] == report.verdict.exit_code


def test_schema_is_strict() -> None:
    """A misspelled or missing field is found."""
    jsonschema.Draft202012Validator.check_schema(REPORT_SCHEMA)
    validator = jsonschema.Draft202012Validator(REPORT_SCHEMA)
    document = json.loads(render_json(samples.audit()))
    for change in ({"titel": ""}, {"verdict": "fine"}, {"format": 2}):
        assert not validator.is_valid({**document, **change})
    del document["comparisons"][0]["differences"][0]["cause"]
    assert not validator.is_valid(document)


def test_json_is_read_back(report: Report) -> None:
    """The JSON form holds everything."""
    again = msgspec.json.decode(render_json(report), type=Report)
    assert again == report


# ---------------------------------------------------------------- HTML


class Page(html.parser.HTMLParser):
    """Reads a page as a browser does, and notes what must not be in it."""

    VOID: Final = frozenset({"meta", "link", "input", "br", "hr", "img"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"{tag} has an attribute twice"
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_html_is_whole_and_self_contained(report: Report) -> None:
    """Every element is closed; nothing is fetched, nothing is inline that the policy forbids."""
    text = render_html(report)
    page = Page(text)
    assert page.open == []
    names = [name for name, _ in page.tags]
    assert names.count("script") == names.count("style") == names.count("main") == 1
    assert not {"img", "link", "iframe", "object", "form", "base"} & set(names)
    for name, attributes in page.tags:
        assert not any(key.startswith("on") or key == "style" for key in attributes), name
        assert "src" not in attributes, name
        if "href" in attributes:
            assert re.match(r"#|\./diffoscope/", attributes["href"] or ""), attributes
    (policy,) = (a["content"] for n, a in page.tags if n == "meta" and "http-equiv" in a)
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_ids_and_labels(report: Report) -> None:
    """Ids are unique; labels name inputs; headings do not skip; regions have names."""
    page = Page(render_html(report))
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    inputs = {a["id"] for n, a in page.tags if n == "input"}
    assert inputs <= {a.get("for") for n, a in page.tags if n == "label"}
    levels = [int(n[1]) for n, _ in page.tags if re.fullmatch("h[1-6]", n)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    for _, attributes in page.tags:
        if attributes.get("role") == "region":
            assert attributes.get("aria-label")
    assert ("html", {"lang": "en"}) in page.tags


def test_hostile_names_are_text() -> None:
    """They are on the page, as what they are."""
    page = Page(render_html(samples.hostile()))
    text = "".join(page.text)
    for name in samples.HOSTILE[:5]:
        assert name.split("\n")[0] in text


def test_long_lists_are_cut() -> None:
    """The page stays light; the rest is in the JSON report."""
    where = samples.place("i", "p", "layer 1")
    differences = tuple(
        samples.difference(replace(where, path=f"f{n}"), Level.ENTRY, Cause.MTIME, package="x")
        for n in range(5000)
    )
    images = (replace(samples.image("i", states=(State.DIFFERENT,)), name="i"),)
    platform = replace(images[0].platforms[0], platform="p")
    images = (replace(images[0], platforms=(platform,)),)
    text = render_html(samples.report(samples.comparison(images=images, differences=differences)))
    assert text.count("<li data-text=") == MAX_ITEMS
    assert f"{5000 - MAX_ITEMS:,} more are in report.json" in text


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(a: str, b: str) -> float:
    light, dark = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(scheme: str) -> None:
    """WCAG 2.2, 1.4.3: at least 4.5 for text on everything it is put on."""
    css = (ROOT / "reproducibility/templates/report.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    block = blocks[0] if scheme == "light" else blocks[1]
    colour = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
    pairs = [(text, back) for text in ("text", "soft") for back in ("page", "card", "sunk")]
    pairs += [(n, f"{n}-back") for n in ("good", "bad", "open")]
    pairs += [("text", back) for back in ("good-back", "bad-back", "open-back", "add", "del")]
    pairs += [("soft", "hunk"), ("link", "card"), ("link", "page")]
    for text, back in pairs:
        assert _contrast(colour[text], colour[back]) >= 4.5, (text, back)
    assert _contrast(colour["focus"], colour["card"]) >= 3


def test_tag_escapes_everything() -> None:
    """Text and attributes."""
    assert tag("p", "<b>", title='"x"', hidden=True, open=False) == (
        '<p title="&quot;x&quot;" hidden>&lt;b&gt;</p>'
    )
    assert tag("p", tag("b", "&")) == "<p><b>&amp;</b></p>"


# ---------------------------------------------------------------- JUnit, SARIF, Markdown


def test_junit_counts_are_true(report: Report) -> None:
    """Well-formed, and every number is that of its elements."""
    root = ET.fromstring(render_junit(report))
    totals = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    for suite in root:
        counted = {
            "tests": len(suite),
            **{f"{kind}s": len(suite.findall(f"testcase/{kind}")) for kind in ("failure", "error")},
            "skipped": len(suite.findall("testcase/skipped")),
        }
        for name, count in counted.items():
            assert suite.get(name) == str(count)
            totals[name] += count
    assert {name: root.get(name) for name in totals} == {n: str(c) for n, c in totals.items()}
    if report.verdict is Verdict.REPRODUCIBLE:
        assert totals["failures"] == totals["errors"] == 0
    if report.verdict is Verdict.DIFFERENT:
        assert totals["failures"] > 0


def test_junit_of_the_audit() -> None:
    """A case a layer, with the causes as its type, and one a field of the matrix."""
    root = ET.fromstring(render_junit(samples.audit()))
    (case,) = root.findall(
        "testsuite[@name='all variations at once: freebsd-runtime:15.0 freebsd/amd64']"
        "/testcase[@name='layer 6']"
    )
    failure = case.find("failure")
    assert failure is not None
    assert failure.get("type") == "clock-in-content, mode, path-in-content"
    assert failure.get("message") == "25 differences"
    suite = root.find("testsuite[@name='Variations']")
    assert suite is not None
    assert (
        suite.get("tests"),
        suite.get("failures"),
        suite.get("skipped"),
        suite.get("errors"),
    ) == (
        "27",
        "3",
        "3",
        "1",
    )


def test_sarif_follows_its_schema(report: Report) -> None:
    """That of the committee."""
    document = json.loads(render_sarif(report))
    jsonschema.Draft7Validator(SARIF_SCHEMA).validate(document)
    for run in document["runs"]:
        rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
        for result in run["results"]:
            assert rules[result["ruleIndex"]] == result["ruleId"]


def test_sarif_fingerprints_tell_differences_apart() -> None:
    """A code-scanning page follows a result by them."""
    (run,) = json.loads(render_sarif(samples.audit()))["runs"]
    prints = [
        (r["partialFingerprints"]["difference/v1"], r["properties"]["package"])
        for r in run["results"]
    ]
    assert len(set(prints)) == len(prints) == 32


def test_ignored_differences_are_suppressed_in_sarif() -> None:
    """They do not fail a code-scanning gate."""
    (run,) = json.loads(render_sarif(samples.ignored()))["runs"]
    assert run["results"][0]["suppressions"]
    assert run["results"][0]["level"] == "note"


def test_markdown_says_only_what_it_says(report: Report) -> None:
    """No link, image, code or HTML out of an image; tables keep their columns."""
    text = render_markdown(report)
    unescaped = re.sub(r"\\.", "", text)
    allowed = {"<details>", "</details>", "<summary>", "</summary>"}
    assert set(re.findall(r"<[^>]*>", unescaped)) <= allowed
    assert not re.search(r"[`\[\]!]", unescaped)
    for line in unescaped.splitlines():
        if line.startswith("|"):
            assert line.count("|") >= 3
    assert len(text) < 20_000


def test_markdown_escape() -> None:
    """Line breaks become spaces; what means something is escaped."""
    assert escape_markdown("a|b\n# *x*\x00 http://y") == "a\\|b \\# \\*x\\* http\\://y"


def test_markdown_of_the_audit() -> None:
    """The verdict is the heading; guilty variations are named."""
    text = render_markdown(samples.audit())
    assert text.startswith("## ≠ Different: FreeBSD base images 15.0, built twice\n")
    assert "| **umask** (guilty) | ✓ identical | ✓ identical | ≠ 23 differences |" in text
    assert "- disorderfs is not installed\\: directories" in text


# ---------------------------------------------------------------- terminal


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_terminal_fits_the_screen(report: Report, width: int) -> None:
    """No line is wider; one screen is enough; nothing is an escape sequence."""
    out = io.StringIO()
    print_report(report, out, width=width)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) <= 60
    assert "\x1b" not in out.getvalue()


def test_terminal_of_the_audit() -> None:
    """The verdict first, the guilty variation, the cause with its package."""
    out = io.StringIO()
    print_report(samples.audit(), out, width=120)
    text = out.getvalue()
    assert text.startswith("≠ Different  FreeBSD base images 15.0, built twice\n")
    assert re.search(r"umask +✓ identical +✓ identical +≠ 23 differences", text)
    assert re.search(r"mode +23 +FreeBSD-runtime", text)


# ---------------------------------------------------------------- all of them


def test_files_of_a_report(tmp_path: Path) -> None:
    """Every form, the page for people first."""
    written = write_report(samples.audit(), tmp_path / "report")
    assert [path.name for path in written] == [
        "index.html",
        "report.json",
        "junit.xml",
        "report.sarif",
        "summary.md",
    ]
    assert all(path.stat().st_size > 500 for path in written)


def test_reports_do_not_depend_on_where_they_are_made() -> None:
    """Hash seed, time zone, language, umask, directory, date."""
    code = """
import hashlib, io
from reproducibility.report import _FORMS
from reproducibility.report_terminal import print_report
from tests.reproducibility import samples
for name in sorted(samples.ALL):
    report = samples.ALL[name]()
    out = io.StringIO()
    print_report(report, out, width=100)
    print(name, hashlib.sha256(out.getvalue().encode()).hexdigest())
    for form, render in _FORMS.items():
        print(name, form, hashlib.sha256(render(report)).hexdigest())
"""
    assert len(run_elsewhere(code)) == 1


def test_causes_are_counted_with_what_was_omitted() -> None:
    """Differences that were not kept count as well."""
    counts = {c.cause: c.count for c in count_causes(samples.hostile().comparisons)}
    assert counts == {Cause.UNKNOWN: 8, Cause.MTIME: 7}


# ---------------------------------------------------------------- what is said of images


def test_documents_in_every_form() -> None:
    """SBOM, provenance and lock: by document and JSON path; what follows is no failure."""
    report, name = samples.audit(), "freebsd-static-15.0-amd64.spdx.json"
    where = f"{name} $.creationInfo.created"
    page = "".join(Page(render_html(report)).text)
    assert "What is said of this platform" in page
    assert "What is said of the index" in page
    assert "$.creationInfo.created" in page
    assert "differs only because what it is about, or repeats, differs" in page
    root = ET.fromstring(render_junit(report))
    suite = "all variations at once: freebsd-static:15.0 freebsd/amd64"
    cases = {case.get("name"): case for case in root.findall(f"testsuite[@name='{suite}']/*")}
    failure = cases[name].find("failure")
    assert failure is not None
    assert failure.get("type") == "clock-in-content"
    assert where in (failure.text or "")
    assert cases["SPDX artifact"].find("failure") is None
    (run,) = json.loads(render_sarif(report))["runs"]
    (result,) = [r for r in run["results"] if r["properties"]["document"] == name]
    location = result["locations"][0]
    assert location["physicalLocation"]["artifactLocation"]["uri"] == name
    assert location["logicalLocations"][0]["fullyQualifiedName"] == (
        f"freebsd-static:15.0/freebsd/amd64/{name}/$.creationInfo.created"
    )
    said = tuple(d for d in report.comparisons[0].differences if d.level is Level.ATTACHMENT)
    only_said = samples.report(replace(report.comparisons[0], differences=said))
    assert escape_markdown(where) in render_markdown(only_said)
    out = io.StringIO()
    print_report(only_said, out, width=140)
    assert re.search(r"LAYERS +DOCUMENTS +SIZE A", out.getvalue())
    assert re.search(r"freebsd-static.* 3 equal +2 of 2 differ ", out.getvalue())
    about = "freebsd-static:15.0 > freebsd/amd64"
    assert f"≠ {about} > {where}  clock-in-content" in out.getvalue()
    assert "≠ freebsd-dynamic:15.0 > lock artifact  presence" in out.getvalue()
