"""The page in headless Chromium: quiet, alone, usable by keyboard, readable on a phone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reproducibility.report import write_report
from tests.reproducibility import samples
from tests.reproducibility.browser import ENTER, SPACE, TAB, Browser

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

SIZES = {"desktop": (1280, 1000), "phone": (360, 780)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every sample, written."""
    folder = tmp_path_factory.mktemp("reports")
    return {name: write_report(make(), folder / name)[0] for name, make in samples.ALL.items()}


@pytest.mark.parametrize("sample", sorted(samples.ALL))
def test_page_is_quiet_and_alone(browser: Browser, pages: dict[str, Path], sample: str) -> None:
    """No console error; nothing is asked for but the page; hostile names do nothing."""
    browser.run("return 0")
    browser.console()
    browser.requests()
    page = pages[sample]
    browser.resize(*SIZES["desktop"])
    browser.open(page)
    browser.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    browser.wait("return document.readyState === 'complete'")
    assert browser.console() == []
    assert browser.requests() == [page.as_uri()]
    assert browser.run("return document.title").endswith(samples.ALL[sample]().title)
    scripts = browser.run("return document.scripts.length")
    assert scripts == 1


@pytest.mark.parametrize("sample", sorted(samples.ALL))
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", sorted(SIZES))
def test_no_horizontal_scroll(
    browser: Browser, pages: dict[str, Path], sample: str, scheme: str, size: str
) -> None:
    """At 360 px as at 1280, closed and open, light and dark."""
    browser.scheme(scheme)
    browser.resize(*SIZES[size], mobile=size == "phone")
    browser.open(pages[sample])
    width = SIZES[size][0]
    for opened in ("false", "true"):
        browser.run(
            f"document.querySelectorAll('details').forEach((d) => {{ d.open = {opened}; }})"
        )
        assert browser.run("return document.documentElement.scrollWidth") <= width
    background = browser.run("return getComputedStyle(document.body).backgroundColor")
    is_dark = sum(int(n) for n in background.strip("rgba()").split(",")[:3]) < 3 * 128
    assert is_dark == (scheme == "dark")
    keep = os.environ.get("PKGBASE_OCI_SCREENSHOTS")
    if keep:
        browser.run("document.querySelectorAll('details').forEach((d) => { d.open = d.open; })")
        browser.screenshot(Path(keep) / f"{sample}-{scheme}-{size}.png")


def test_drill_down_by_keyboard(browser: Browser, pages: dict[str, Path]) -> None:
    """Tab reaches the layers and files; Enter and Space open and close them; focus is seen."""
    browser.resize(*SIZES["desktop"])
    browser.open(pages["audit"])
    browser.run("document.querySelectorAll('details').forEach((d) => { d.open = false; })")
    opened = []
    for _ in range(60):
        browser.press(TAB)
        name = browser.run(
            "const e = document.activeElement;"
            "return e.tagName === 'SUMMARY' ? e.firstElementChild.textContent : ''"
        )
        outline = browser.run(
            "const s = getComputedStyle(document.activeElement);"
            "return s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2"
        )
        assert outline, browser.run("return document.activeElement.outerHTML.slice(0, 200)")
        if name in ("freebsd-runtime:15.0", "freebsd/amd64", "layer 6", "etc/motd.template"):
            opened.append(name)
            browser.press(ENTER if len(opened) % 2 else SPACE)
        if name == "etc/motd.template":
            break
    assert opened == ["freebsd-runtime:15.0", "freebsd/amd64", "layer 6", "etc/motd.template"]
    assert browser.run(
        "const pre = [...document.querySelectorAll('pre.excerpt')]"
        ".find((p) => p.textContent.includes('Welcome, built'));"
        "return pre.checkVisibility()"
    )
    browser.press(SPACE)
    assert not browser.run("return document.activeElement.parentElement.open")


def test_skip_link_is_first(browser: Browser, pages: dict[str, Path]) -> None:
    """It leads past the head of the page."""
    browser.open(pages["audit"])
    browser.press(TAB)
    assert browser.run("return document.activeElement.className") == "skip"
    browser.press(ENTER)
    assert browser.run("return location.hash") == "#main"


def test_search(browser: Browser, pages: dict[str, Path]) -> None:
    """Words of paths, packages and causes; what matches is opened, the rest hidden."""
    browser.resize(*SIZES["desktop"])
    browser.open(pages["audit"])
    browser.run("document.getElementById('search').focus()")
    browser.press(*"07.conf mode")
    browser.wait("return document.getElementById('search-count').textContent.startsWith('1 of')")
    shown = browser.run(
        "return [...document.querySelectorAll('[data-text]')]"
        ".filter((e) => e.checkVisibility()).map((e) => e.querySelector('code').textContent)"
    )
    assert shown == ["usr/share/examples/runtime/07.conf"]
    browser.run(
        "const b = document.getElementById('search'); b.value = ''; b.dispatchEvent(new Event('input'))"
    )
    browser.wait("return document.getElementById('search-count').textContent === ''")
    hidden = browser.run("return document.querySelectorAll('[data-text][hidden]').length")
    assert hidden == 0


def test_link_into_the_page_opens_it(browser: Browser, pages: dict[str, Path]) -> None:
    """A link to a file opens everything around it."""
    browser.open(pages["audit"])
    anchor = browser.run(
        "return [...document.querySelectorAll('details[id]')].find((d) => d.id.includes('motd')).id"
    )
    browser.run("document.querySelectorAll('details').forEach((d) => { d.open = false; })")
    browser.run("location.hash = arguments[0]", f"#{anchor}")
    browser.wait("return document.getElementById(arguments[0]).open", anchor)
    assert browser.run(
        "return document.getElementById(arguments[0]).querySelector('pre').checkVisibility()",
        anchor,
    )


def test_page_works_without_script(browser: Browser, pages: dict[str, Path]) -> None:
    """Only the search is missing."""
    browser.cdp("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(pages["audit"])
        browser.screenshot(pages["audit"].parent / "without-script.png")
    finally:
        browser.cdp("Emulation.setScriptExecutionDisabled", value=False)
    assert browser.run("return document.getElementById('tools').hidden") is True
    assert browser.run("return document.querySelectorAll('details[open]').length") > 3


def test_accessibility_tree(browser: Browser, pages: dict[str, Path]) -> None:
    """Chromium's own view: every control has a name, the verdict is the heading."""
    browser.open(pages["audit"])
    browser.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    browser.cdp("Accessibility.enable")
    nodes = browser.cdp("Accessibility.getFullAXTree")["nodes"]
    named = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node.get("ignored") and "role" in node
    ]
    roles = {role for role, _ in named}
    assert {"main", "banner", "table", "columnheader", "rowheader", "searchbox", "button"} <= roles
    for role, name in named:
        if role in ("button", "searchbox", "link", "DisclosureTriangle", "region"):
            assert name.strip(), role
    assert ("heading", "Different") in named
