"""Credentials: found where podman, skopeo and docker find them, and never shown."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import ConfigurationError
from pipeline.host.credentials import AuthFile, Credentials, auth_files, find_credentials

if TYPE_CHECKING:
    from collections.abc import Callable

    MakeHelper = Callable[[str, str], None]

SECRET = "hunter2-very-secret"


def auth(user: str, secret: str = SECRET) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{secret}".encode()).decode()}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("REGISTRY_AUTH_FILE", "XDG_CONFIG_HOME", "DOCKER_CONFIG", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    return tmp_path


def write(path: Path, document: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def user(host: str, path: str = "a/b", **arguments: object) -> str | None:
    found = find_credentials(host, path, **arguments)  # type: ignore[arg-type]
    return None if found is None else found.username


# ---------------------------------------------------------------- which files


def paths(files: tuple[AuthFile, ...]) -> list[str]:
    return [str(file.path) for file in files]


def test_files_on_linux() -> None:
    """containers-auth.json(5), DESCRIPTION."""
    assert paths(auth_files({"HOME": "/h", "XDG_RUNTIME_DIR": "/r"}, uid=7, platform="linux")) == [
        "/r/containers/auth.json",
        "/h/.config/containers/auth.json",
        "/h/.docker/config.json",
        "/h/.dockercfg",
    ]


def test_files_on_linux_without_a_runtime_directory() -> None:
    assert paths(auth_files({"HOME": "/h"}, uid=7, platform="linux"))[0] == (
        "/run/containers/7/auth.json"
    )


def test_files_on_freebsd() -> None:
    """container-libs, getPathToAuthWithOS: only Linux has a runtime directory."""
    environment = {"HOME": "/h", "XDG_RUNTIME_DIR": "/r"}
    assert paths(auth_files(environment, uid=7, platform="freebsd15")) == [
        "/h/.config/containers/auth.json",
        "/h/.docker/config.json",
        "/h/.dockercfg",
    ]


def test_variables_move_files() -> None:
    environment = {
        "HOME": "/h",
        "XDG_RUNTIME_DIR": "/r",
        "XDG_CONFIG_HOME": "/c",
        "DOCKER_CONFIG": "/d",
    }
    assert paths(auth_files(environment, uid=7, platform="linux")) == [
        "/r/containers/auth.json",
        "/c/containers/auth.json",
        "/d/config.json",
        "/h/.dockercfg",
    ]


def test_a_named_file_is_the_only_one() -> None:
    assert auth_files({"REGISTRY_AUTH_FILE": "/x", "HOME": "/h"}, uid=7) == (
        AuthFile(path=Path("/x")),
    )


def test_the_first_file_that_has_an_account_counts(home: Path) -> None:
    write(home / "run/containers/auth.json", {"auths": {"other.io": auth("other")}})
    write(home / ".config/containers/auth.json", {"auths": {"h.io": auth("second")}})
    write(home / ".docker/config.json", {"auths": {"h.io": auth("third")}})
    assert user("h.io") == "second"


def test_the_old_docker_file_has_no_sections(home: Path) -> None:
    write(home / ".dockercfg", {"https://h.io/v1/": auth("old")})
    assert user("h.io") == "old"


def test_no_file_no_account(home: Path) -> None:
    assert find_credentials("h.io", "a") is None


def test_the_callers_file_must_exist(home: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file of credentials"):
        find_credentials("h.io", "a", auth_file=home / "none")


def test_the_callers_file_is_the_only_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(home / "x"))
    write(home / "x", {"auths": {"h.io": auth("other")}})
    mine = write(home / "mine", {"auths": {"g.io": auth("me")}})
    assert user("g.io", auth_file=mine) == "me"
    assert user("h.io", auth_file=mine) is None
    assert user("h.io") == "other"


# ---------------------------------------------------------------- which entry


@pytest.mark.parametrize(
    ("path", "want"),
    [
        ("foo/bar/image", "exact"),
        ("foo/bar/other", "namespace"),
        ("foo/x", "namespace"),
        ("foobar/x", "host"),
        ("x", "host"),
        ("", "host"),
    ],
)
def test_the_closest_entry_counts(home: Path, path: str, want: str) -> None:
    """The relevant repository is matched from most-specific to least-specific."""
    write(
        home / ".config/containers/auth.json",
        {
            "auths": {
                "my.local": auth("host"),
                "my.local/foo": auth("namespace"),
                "my.local/foo/bar/image": auth("exact"),
                "other.local": auth("no"),
            }
        },
    )
    assert user("my.local", path) == want


@pytest.mark.parametrize(
    "key", ["docker.io", "https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io"]
)
def test_docker_io_has_many_names(home: Path, key: str) -> None:
    write(home / ".docker/config.json", {"auths": {key: auth("me")}})
    assert user("docker.io", "library/x") == "me"


def test_a_url_is_the_entry_of_its_host(home: Path) -> None:
    write(home / ".docker/config.json", {"auths": {"https://h.io:5000/v2/": auth("me")}})
    assert user("h.io:5000") == "me"
    assert user("h.io") is None


def test_an_empty_entry_says_nothing(home: Path) -> None:
    write(home / "run/containers/auth.json", {"auths": {"h.io": {}}})
    write(home / ".docker/config.json", {"auths": {"h.io": auth("me")}})
    assert user("h.io") == "me"


def test_an_identity_token_counts_more_than_the_name_beside_it(home: Path) -> None:
    entry = {**auth("00000000-0000-0000-0000-000000000000", ""), "identitytoken": SECRET}
    write(home / ".docker/config.json", {"auths": {"h.io": entry}})
    found = find_credentials("h.io", "a")
    assert found is not None
    assert found.is_identity_token
    assert found.secret == SECRET


def test_a_password_may_have_colons_and_other_letters(home: Path) -> None:
    write(home / ".docker/config.json", {"auths": {"h.io": auth("me", "p:ä:q")}})
    found = find_credentials("h.io", "a")
    assert found is not None
    assert found.secret == "p:ä:q"


# ---------------------------------------------------------------- broken files


@pytest.mark.parametrize(
    "document",
    [
        "{" + SECRET,
        f'["{SECRET}"]',
        {"auths": [SECRET]},
        {"auths": {"h.io": SECRET}},
        {"auths": {"h.io": {"auth": SECRET}}},
        {"auths": {"h.io": {"auth": base64.b64encode(SECRET.encode()).decode()}}},
        {"auths": {"h.io": {"auth": 7, "x": SECRET}}},
        {"credHelpers": SECRET},
        {"credHelpers": {"h.io": "../../" + "x"}},
        {"credsStore": 7},
    ],
)
def test_a_broken_file_is_named_and_not_quoted(home: Path, document: object) -> None:
    written = write(home / ".docker/config.json", document)
    with pytest.raises(ConfigurationError) as caught:
        find_credentials("h.io", "a")
    assert str(written) in str(caught.value)
    assert SECRET not in f"{caught.value!r} {caught.value} {caught.value.hint}"


def test_a_file_that_may_not_be_read_is_an_error(home: Path) -> None:
    (home / ".docker/config.json").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="is a directory"):
        find_credentials("h.io", "a")


# ---------------------------------------------------------------- helpers


@pytest.fixture
def helper(home: Path, monkeypatch: pytest.MonkeyPatch) -> MakeHelper:
    folder = home / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def make(name: str, script: str) -> None:
        path = folder / f"docker-credential-{name}"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return make


ANSWER = (
    f'[ "$1" = get ] || exit 9; read -r server; printf \'{{"ServerURL":"%s",'
    f'"Username":"%s-%s","Secret":"{SECRET}"}}\' "$server" "NAME" "$server"'
)


def test_a_helper_is_asked_for_its_host(home: Path, helper: MakeHelper) -> None:
    helper("one", ANSWER.replace("NAME", "me"))
    write(
        home / ".docker/config.json",
        {"credHelpers": {"h.io": "one"}, "auths": {"h.io": auth("file"), "g.io": auth("g")}},
    )
    found = find_credentials("h.io", "a/b")
    assert found == Credentials(username="me-h.io", secret=SECRET, is_identity_token=False)
    assert user("g.io") == "g"


def test_dockers_store_is_asked_for_what_the_file_has_not(home: Path, helper: MakeHelper) -> None:
    helper("all", ANSWER.replace("NAME", "me"))
    write(
        home / ".docker/config.json",
        {"credsStore": "all", "auths": {"h.io": {}, "g.io": auth("g")}},
    )
    assert user("h.io") == "me-h.io"
    assert user("g.io") == "g"
    assert user("docker.io") == "me-https://index.docker.io/v1/"


def test_a_token_of_a_helper_is_an_identity_token(home: Path, helper: MakeHelper) -> None:
    helper("one", f'printf \'{{"Username":"<token>","Secret":"{SECRET}"}}\'')
    write(home / ".docker/config.json", {"credHelpers": {"h.io": "one"}})
    assert find_credentials("h.io", "a") == Credentials(
        username="", secret=SECRET, is_identity_token=True
    )


def test_a_helper_may_know_nothing(home: Path, helper: MakeHelper) -> None:
    helper("one", "echo 'credentials not found in native keychain'; exit 1")
    write(home / ".docker/config.json", {"credHelpers": {"h.io": "one"}})
    assert find_credentials("h.io", "a") is None


@pytest.mark.parametrize(
    "script",
    [
        f"echo {SECRET}; echo {SECRET} >&2; exit 2",
        f"echo {SECRET}",
        f'printf \'{{"Username":7,"Secret":"{SECRET}"}}\'',
        f"printf '[\"{SECRET}\"]'",
    ],
)
def test_what_a_failing_helper_says_is_not_repeated(
    home: Path, helper: MakeHelper, script: str
) -> None:
    helper("one", script)
    write(home / ".docker/config.json", {"credHelpers": {"h.io": "one"}})
    with pytest.raises(ConfigurationError, match="docker-credential-one") as caught:
        find_credentials("h.io", "a")
    shown = f"{caught.value!r} {caught.value} {caught.value.hint} {caught.value.__cause__!r}"
    assert SECRET not in shown


def test_a_helper_that_is_not_there_is_an_error(home: Path) -> None:
    write(home / ".docker/config.json", {"credHelpers": {"h.io": "not-there"}})
    with pytest.raises(ConfigurationError, match="docker-credential-not-there"):
        find_credentials("h.io", "a")


def test_a_store_that_is_not_there_is_passed_over(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(home / ".docker/config.json", {"credsStore": "not-there"})
    assert find_credentials("h.io", "a") is None
    assert "docker-credential-not-there" in caplog.text


def test_secrets_are_not_shown(home: Path) -> None:
    write(home / ".docker/config.json", {"auths": {"h.io": auth("me")}})
    assert SECRET not in repr(find_credentials("h.io", "a"))
