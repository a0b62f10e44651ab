"""Where archives come from: what a lock may say, and what only the user may."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import ConfigurationError
from reproducibility.verify_claim import Sources, parse_claim
from reproducibility.verify_sources import Substitutes, find_needs, parse_substitutes
from tests.tasks.project import ROOT

if TYPE_CHECKING:
    from pipeline.stages.plan import Plan

NAME = "FreeBSD-base"
CLAIM = parse_claim(
    Sources(
        origin="",
        declaration=(ROOT / "images.toml").read_bytes(),
        lock=(ROOT / "images.lock.json").read_bytes(),
        target=None,
        artifact=None,
    )
)
NOTHING = Substitutes(urls={}, root=None)


def plan(url: str | None = None, *names: str) -> Plan:
    """Return some images, of a repository at another URL."""
    images = {n: CLAIM.plan.images[n] for n in names or ("15.0:amd64:static",)}
    if url is not None:
        for name, image in images.items():
            repositories = tuple(replace(r, url=url) for r in image.target.repositories)
            target = replace(image.target, repositories=repositories)
            images[name] = replace(image, target=target)
    return replace(CLAIM.plan, images=images)


def test_a_public_url_is_used_as_it_is_and_its_host_is_said() -> None:
    url = "https://pkg.FreeBSD.org/FreeBSD:15:amd64/base_release_0"
    needs = find_needs(plan(url), NOTHING)
    assert {a.url for a in needs.archives} == {url}
    assert needs.hosts == ("pkg.FreeBSD.org",)
    assert len(needs.archives) == 4
    assert needs.size == sum(a.package.size for a in needs.archives) > 0


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("file:///etc", "is the directory '/etc' of whoever made the lock"),
        ("file:etc", "is the directory 'etc' of whoever made the lock"),
        ("file://localhost/etc", "want http or https"),
        ("file:", "want http or https"),
        ("ftp://example.org/x", "want http or https"),
        ("https:///x", "want http or https"),
        ("/etc", "want http or https"),
        ("https://me:secret@example.org/x", "has an account in its URL"),
        ("https://[::1/x", "malformed"),
        ("http://localhost/x", "is at localhost, which here is another machine"),
        ("http://LOCALHOST./x", "is at localhost"),
        ("http://intranet/x", "is at intranet"),
        ("http://printer.local/x", "is at printer.local"),
        ("http://127.0.0.1:8080/x", "is at 127.0.0.1"),
        ("http://127.1/x", "is at 127.1"),
        ("http://2130706433/x", "is at 2130706433"),
        ("http://0x7f000001/x", "is at 0x7f000001"),
        ("http://10.1.2.3/x", "is at 10.1.2.3"),
        ("http://169.254.169.254/latest", "is at 169.254.169.254"),
        ("http://[::1]/x", "is at ::1"),
        ("http://[fe80::1]/x", "is at fe80::1"),
        ("http://[::ffff:127.0.0.1]/x", "is at ::ffff:127.0.0.1"),
        ("http://[64:ff9b::a00:1]/x", "is at 64:ff9b::a00:1"),
        ("http://[2002:a00:1::]/x", "is at 2002:a00:1::"),
        ("http://239.1.2.3/x", "is at 239.1.2.3"),
        ("pkg+http://metadata.google.internal/x", "is at metadata.google.internal"),
    ],
)
def test_a_lock_does_not_lead_into_this_machine_or_its_network(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        find_needs(plan(url), NOTHING)
    assert f"repository {NAME}: " in str(caught.value)
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)
    assert f"--repository {NAME}=URL" in str(caught.value.hint)


@pytest.mark.parametrize(
    "url",
    [
        "http://8.8.8.8/x",
        "pkg+https://pkg.example.org/x",
        "https://[2001:4860:4860::8888]/x",
        "https://[64:ff9b::808:808]/x",
        "https://[::ffff:8.8.8.8]/x",
    ],
)
def test_others_may_be_asked(url: str) -> None:
    archives = find_needs(plan(url), NOTHING).archives
    assert {(a.url, a.is_given) for a in archives} == {(url, False)}


def test_a_relative_directory_starts_where_the_user_says_and_stays_there() -> None:
    at = Substitutes(urls={}, root="/srv/their project")
    needs = find_needs(plan("file:repo/%41"), at)
    assert {a.url for a in needs.archives} == {"file:/srv/their%20project/repo/A"}
    assert needs.hosts == ()
    for url in ("file:../x", "file:a/../../x", "file:%2e%2e/x"):
        with pytest.raises(ConfigurationError, match="leads out of its directory"):
            find_needs(plan(url), at)
    with pytest.raises(ConfigurationError, match="is the directory '/x'"):
        find_needs(plan("file:/x"), at)


def test_a_mirror_takes_the_place_of_whatever_the_lock_says() -> None:
    given = parse_substitutes(
        (f"{NAME}=http://127.0.0.1:8080/${{ABI}}/r_${{VERSION_MINOR}}",), root=None
    )
    needs = find_needs(plan("file:///etc", "15.0:amd64:static", "14.3:aarch64:static"), given)
    assert {a.url for a in needs.archives} == {
        "http://127.0.0.1:8080/FreeBSD:15:amd64/r_0",
        "http://127.0.0.1:8080/FreeBSD:14:aarch64/r_3",
    }
    assert needs.hosts == ("127.0.0.1:8080",)
    assert all(a.is_given for a in needs.archives)


@pytest.mark.parametrize(
    ("text", "url"),
    [("/mnt/a b", "file:/mnt/a%20b"), ("mirror", "file:./mirror"), ("file:/x", "file:/x")],
)
def test_a_mirror_may_be_a_directory(text: str, url: str) -> None:
    given = parse_substitutes((f"{NAME}={text}",), root=None)
    assert {a.url for a in find_needs(plan(), given).archives} == {url}


def test_a_mirror_for_nobody_is_an_error() -> None:
    given = parse_substitutes(("FreeBSD-bass=https://x.example",), root=None)
    with pytest.raises(ConfigurationError, match="no repository is called 'FreeBSD-bass'") as e:
        find_needs(plan(), given)
    assert e.value.hint == "--repository NAME=URL, of FreeBSD-base"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "want NAME=URL"),
        ("=", "want NAME=URL"),
        ("a=", "want NAME=URL"),
        ("=b", "want NAME=URL"),
        ("a", "want NAME=URL"),
        ("a=https://x.example/${HOME}", "got '${HOME}' in a URL"),
        ("a=gopher://x.example/", "want http, https, file or a directory"),
    ],
)
def test_what_is_no_pair_is_refused_before_any_work(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        parse_substitutes((text,), root=None)
