"""Repository URLs: variables, spellings, and what is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import DeclarationError
from pipeline.host.directory_fetcher import DirectoryFetcher
from pipeline.host.http_fetcher import HttpFetcher
from pipeline.host.repository_url import expand_url, open_fetcher, url_variables

VARIABLES = url_variables("15.0", "aarch64")


def test_variables_of_a_release() -> None:
    assert VARIABLES == {
        "ABI": "FreeBSD:15:aarch64",
        "ARCH": "aarch64",
        "OSNAME": "FreeBSD",
        "VERSION_MAJOR": "15",
        "VERSION_MINOR": "0",
    }


@pytest.mark.parametrize(
    ("url", "expanded"),
    [
        ("https://h/x", "https://h/x"),
        ("https://pkg.FreeBSD.org/${ABI}/base_release_${VERSION_MINOR}",
         "https://pkg.FreeBSD.org/FreeBSD:15:aarch64/base_release_0"),
        ("file:///r/${OSNAME}/${VERSION_MAJOR}.${VERSION_MINOR}/${ARCH}",
         "file:///r/FreeBSD/15.0/aarch64"),
    ],
)  # fmt: skip
def test_expansion(url: str, expanded: str) -> None:
    assert expand_url(url, VARIABLES) == expanded


@pytest.mark.parametrize(
    "url", ["https://h/${HOME}", "https://h/$ABI", "https://h/${ABI", "https://h/$"]
)
def test_unknown_variable(url: str) -> None:
    with pytest.raises(DeclarationError, match=r"in a URL, want one of \$\{ABI\}, \$\{ARCH\}"):
        expand_url(url, VARIABLES)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h/x/", "https://h/x"),
        ("http://h:8080/FreeBSD:15:amd64/x", "http://h:8080/FreeBSD:15:amd64/x"),
        ("pkg+https://pkg.FreeBSD.org/x", "https://pkg.FreeBSD.org/x"),
        ("pkg+http://h/x", "http://h/x"),
        ("https://user:secret@h/x", "https://h/x"),
    ],
)
def test_web_servers(url: str, shown: str, tmp_path: Path) -> None:
    fetcher = open_fetcher(url, base=tmp_path)
    assert isinstance(fetcher, HttpFetcher)
    assert str(fetcher) == shown


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///srv/FreeBSD:15:amd64", "/srv/FreeBSD:15:amd64"),
        ("file://localhost/srv/x", "/srv/x"),
        ("file:repository/x", "BASE/repository/x"),
        ("file:///srv/a%20b", "/srv/a b"),
    ],
)
def test_directories(url: str, path: str, tmp_path: Path) -> None:
    fetcher = open_fetcher(url, base=tmp_path)
    assert isinstance(fetcher, DirectoryFetcher)
    assert str(fetcher) == "file://" + path.replace("BASE", str(tmp_path))


def test_a_relative_directory_is_shown_as_one() -> None:
    """Behind `file://` its first component would look like a host."""
    assert str(open_fetcher("file:repository/x", base=Path())) == "file:repository/x"
    assert str(open_fetcher("file:x", base=Path("sub"))) == "file:sub/x"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://h/x", "want http, https or file"),
        ("pkg+file:///x", "want http, https or file"),
        ("ssh://h/x", "want http, https or file"),
        ("/srv/x", "want http, https or file"),
        ("https:///x", "want http, https or file"),
        ("file://host/x", "without a host"),
        ("https://h/x?y=1", "with a query or fragment"),
        ("https://h/x#y", "with a query or fragment"),
        ("https://h/a b", "unprintable"),
        ("https://h/\n", "unprintable"),
        ("https://h/é", "unprintable"),
        ("https://h:port/x", "malformed URL"),
        ("https://h:99999/x", "malformed URL"),
        ("https://[::1/x", "malformed URL"),
    ],
)
def test_refused(url: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match=message):
        open_fetcher(url, base=tmp_path)


def test_refusal_tells_no_secret(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError) as caught:
        open_fetcher("https://user:secret@h/x?token=secret", base=tmp_path)
    assert "secret" not in str(caught.value)
