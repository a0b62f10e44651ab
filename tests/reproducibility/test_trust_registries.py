"""registries.d: what is read of the YAML, and which scope counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.errors import ConfigurationError
from pipeline.oci.reference import Reference
from reproducibility.trust_registries import (
    DEFAULT_LOOKASIDE,
    parse_mappings,
    read_registries,
    scope_names,
)

if TYPE_CHECKING:
    from pathlib import Path

REFERENCE = Reference.parse("ghcr.io/freebsd/static:15.0")

DEBIAN = """\
# This is a default registries.d configuration file.
default-docker:
#  lookaside: https://example.org/sigstore
  lookaside-staging: file:///var/lib/containers/sigstore
docker:
    ghcr.io/freebsd:
        lookaside: "https://sigs.example.org/a b"   # quoted
        use-sigstore-attachments: true

    '127.0.0.1:5000':
        sigstore: file:///old/name
    localhost:5000/x:
        use-sigstore-attachments: no
"""


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


def test_a_file_as_distributions_ship_it_is_read() -> None:
    assert parse_mappings(DEBIAN, what="x") == {
        "default-docker": {"lookaside-staging": "file:///var/lib/containers/sigstore"},
        "docker": {
            "ghcr.io/freebsd": {
                "lookaside": "https://sigs.example.org/a b",
                "use-sigstore-attachments": "true",
            },
            "127.0.0.1:5000": {"sigstore": "file:///old/name"},
            "localhost:5000/x": {"use-sigstore-attachments": "no"},
        },
    }


@pytest.mark.parametrize(
    "text",
    [
        "docker: {ghcr.io: {lookaside: x}}",
        "docker:\n  - ghcr.io",
        "docker:\n  a: &anchor\n    lookaside: x",
        "docker:\n  a: |\n    text",
        "docker:\n    a:\n      lookaside: x\n  b:\n    lookaside: y",
        "docker:\n  a\n",
        "  docker:\n  a: b",
        "docker:\n\ta: b",
        'docker:\n  "a\\n": b',
    ],
)
def test_what_is_not_understood_is_an_error(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"x, line \d: not understood"):
        parse_mappings(text, what="x")


def test_a_key_twice_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="line 3: 'a' twice"):
        parse_mappings("docker:\n  a: b\n  a: c", what="x")


def test_scopes_go_from_the_reference_to_the_host() -> None:
    assert list(scope_names(REFERENCE)) == [
        "ghcr.io/freebsd/static:15.0",
        "ghcr.io/freebsd/static",
        "ghcr.io/freebsd",
        "ghcr.io",
    ]


def test_each_setting_comes_from_the_closest_scope_that_has_it(tmp_path: Path) -> None:
    registries = read_registries(
        write(
            tmp_path,
            a="docker:\n  ghcr.io:\n    lookaside: far\n    use-sigstore-attachments: true\n",
            b="docker:\n  ghcr.io/freebsd:\n    lookaside: near\n",
            c="default-docker:\n  lookaside: default\n",
        )
    )
    assert registries.lookaside(REFERENCE) == "near"
    assert registries.uses_attachments(REFERENCE)
    other = Reference.parse("quay.io/x:1")
    assert registries.lookaside(other) == "default"
    assert not registries.uses_attachments(other)


def test_without_any_setting_there_is_a_default_place(tmp_path: Path) -> None:
    registries = read_registries(tmp_path)
    assert registries.lookaside(REFERENCE) == DEFAULT_LOOKASIDE
    assert not registries.uses_attachments(REFERENCE)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"a": "docker:\n  x:\n    lookaside: a", "b": "docker:\n  x:\n    lookaside: b"},
            "scope 'x' stands in two files",
        ),
        (
            {"a": "default-docker:\n  lookaside: a", "b": "default-docker:\n  lookaside: b"},
            "default-docker stands in two files",
        ),
        ({"a": "dokcer:\n  x:\n    lookaside: a"}, "'dokcer'"),
        ({"a": "docker: x"}, "'docker'"),
        ({"a": "docker:\n  x: y"}, "got a scalar, want a mapping"),
        ({"a": "docker:\n  x:\n    y:\n      z: a"}, "want a scalar"),
        ({"a": "docker:\n  x:\n    use-sigstore-attachments: maybe"}, "got 'maybe'"),
    ],
)
def test_faults_are_named(tmp_path: Path, files: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read_registries(write(tmp_path, **files))


def test_an_absent_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such directory"):
        read_registries(tmp_path / "absent")
