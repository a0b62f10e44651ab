"""The policy: how many rebuilders of which an image needs. From TOML to a checked value.

docs/schemas/policy.schema.json is generated from the tables here; docs/verify.md describes them. A
rebuilder is a key: two names of one key would be two votes of one, and are refused, and a publisher
who rebuilds his own image is no second opinion.
"""

from __future__ import annotations

import inspect
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from pipeline.attest.public_key import PublicKey
from pipeline.errors import ConfigurationError, FormatError

if TYPE_CHECKING:
    from collections.abc import Callable

FORMAT: Final = 1
MAX_POLICY: Final = 1 << 20
"""Bytes."""

_DAY: Final = 24 * 3600
_PEM: Final = "-----BEGIN"
_Key = Annotated[
    str,
    Meta(
        min_length=1, description="Public key: a file relative to the policy, or its text in PEM."
    ),
]


class _Base(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all tables have in common."""


class RebuilderTable(_Base, frozen=True, kw_only=True):
    """Somebody who rebuilds images and says what came of it."""

    name: Annotated[str, Meta(min_length=1, max_length=60, description="For people.")]
    key: _Key
    verifier_id: Annotated[
        str, Meta(description="The verifier.id that the statements must have; any where absent.")
    ] = ""


class PublisherTable(_Base, frozen=True, kw_only=True):
    """Whoever publishes the image."""

    key: _Key


class PolicyTable(_Base, frozen=True, kw_only=True):
    """The whole file."""

    format: Annotated[Literal[1], Meta(description="Of this file.")]
    threshold: Annotated[
        int, Meta(ge=1, description="Different rebuilders who must have reproduced the image.")
    ]
    rebuilders: Annotated[
        list[RebuilderTable], Meta(min_length=1, description="Whose statements count.")
    ]
    publisher: Annotated[
        PublisherTable | None, Meta(description="Its key must have signed the image.")
    ] = None
    require_all_platforms: Annotated[
        bool, Meta(description="Of an index, every platform; otherwise one is enough.")
    ] = True
    on_failure: Annotated[
        Literal["refuse", "report"],
        Meta(description="Whether one FAILED statement of a rebuilder is enough to refuse."),
    ] = "refuse"
    maximal_age_days: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="Older PASSED statements do not count.")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilder:
    """Somebody whose statements count."""

    name: str
    key: PublicKey
    verifier: str
    """The verifier.id that he must use; empty for any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What an image needs to be accepted."""

    threshold: int
    rebuilders: tuple[Rebuilder, ...]
    publisher: PublicKey | None
    requires_all_platforms: bool
    refuses_failure: bool
    maximal_age: int | None
    """Seconds."""


def parse_policy(data: bytes, read: Callable[[str], bytes]) -> Policy:
    """Read a policy.

    Args:
        data: the file.
        read: returns the content of a file that it names.

    Raises:
        ConfigurationError: it is none, or makes no sense; a key cannot be read.
    """
    if len(data) > MAX_POLICY:
        raise ConfigurationError(f"longer than {MAX_POLICY} bytes")
    try:
        table = msgspec.convert(tomllib.loads(data.decode("utf-8")), PolicyTable)
    except UnicodeDecodeError as e:
        raise ConfigurationError(f"not UTF-8 at byte {e.start}") from None
    except msgspec.ValidationError as e:
        message = str(e)
        raise ConfigurationError(
            message[:1].lower() + message[1:], hint="docs/schemas/policy.schema.json has the keys"
        ) from None
    except (ValueError, RecursionError) as e:
        raise ConfigurationError(f"not TOML: {str(e)[:200]}") from None
    return _resolve(table, read)


def _resolve(table: PolicyTable, read: Callable[[str], bytes]) -> Policy:
    rebuilders: list[Rebuilder] = []
    for i, row in enumerate(table.rebuilders):
        key = _key(row.key, read, f"rebuilders[{i}].key")
        for other in rebuilders:
            if other.key == key:
                raise ConfigurationError(
                    f"{other.name!r} and {row.name!r} have one key, and would be one rebuilder"
                )
            if other.name == row.name:
                raise ConfigurationError(f"two rebuilders are called {row.name!r}")
        rebuilders.append(Rebuilder(name=row.name, key=key, verifier=row.verifier_id))
    if table.threshold > len(rebuilders):
        raise ConfigurationError(
            f"threshold {table.threshold} cannot be met by {len(rebuilders)} rebuilders"
        )
    publisher = None
    if table.publisher is not None:
        publisher = _key(table.publisher.key, read, "publisher.key")
        for rebuilder in rebuilders:
            if rebuilder.key == publisher:
                raise ConfigurationError(
                    f"the publisher and the rebuilder {rebuilder.name!r} have one key"
                )
    days = table.maximal_age_days
    return Policy(
        threshold=table.threshold,
        rebuilders=tuple(rebuilders),
        publisher=publisher,
        requires_all_platforms=table.require_all_platforms,
        refuses_failure=table.on_failure == "refuse",
        maximal_age=None if days is None else days * _DAY,
    )


def _key(text: str, read: Callable[[str], bytes], where: str) -> PublicKey:
    try:
        return PublicKey.parse(text.encode() if _PEM in text else read(text))
    except FormatError as e:
        raise ConfigurationError(f"{where}: {e}") from None
    except OSError as e:
        reason = (e.strerror or "cannot be read").lower()
        raise ConfigurationError(f"{where}: {text}: {reason}") from None


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a policy, for editors."""
    schema = msgspec.json.schema(PolicyTable)
    for table in schema["$defs"].values():  # before Python 3.13, docstrings keep their indentation
        table["description"] = inspect.cleandoc(table["description"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:pkgbase-oci:policy:1",
        "title": "Policy over rebuild attestations, format 1",
        **schema,
    }
