"""Provenance: how an image came about, SLSA v1.

Specification: SLSA provenance v1 (https://slsa.dev/spec/v1.1/provenance). docs/provenance.md says
what each field of our build type means.

1. `buildDefinition` and `byproducts` follow from the declaration and the lock alone: two builders
   of one image have the same bytes there (`reproducible_part`).
2. The builder, its version and what is known of its run stand in `runDetails.builder` and
   `runDetails.metadata`, and nowhere else. No clock is read: times are in it if somebody says them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.attest.statement import PredicateType, Statement
from pipeline.errors import FormatError
from pipeline.formats import canonical_json
from pipeline.formats.fields import get_optional, get_required

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.attest.statement import Subject
    from pipeline.formats.digest import Digest

BUILD_TYPE: Final = "urn:pkgbase-oci:build:image:v1"
"""Documented in docs/provenance.md. A name, not a place: the project has none of its own on the
web."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A resource descriptor: something that was used or made."""

    name: str
    digest: Digest
    uri: str = ""
    download: str = ""
    """Where it can be had."""
    media_type: str = ""
    annotations: Mapping[str, object] | None = None

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        fields: dict[str, object] = {
            "name": self.name,
            "uri": self.uri,
            "digest": {"sha256": self.digest.hex},
            "downloadLocation": self.download,
            "mediaType": self.media_type,
            "annotations": dict(self.annotations or {}),
        }
        return {key: value for key, value in fields.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """The part that reproduces (1)."""

    external: Mapping[str, object]
    """What the user controls: declaration, lock and target."""
    internal: Mapping[str, object]
    """What follows from the format and from the packages: scripts above all."""
    dependencies: tuple[Resource, ...]
    byproducts: tuple[Resource, ...]

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": dict(self.external),
                "internalParameters": dict(self.internal),
                "resolvedDependencies": [resource.to_dict() for resource in self.dependencies],
            },
            "byproducts": [resource.to_dict() for resource in self.byproducts],
        }

    def to_bytes(self) -> bytes:
        """Encode; what `reproducible_part` returns of any statement that has this definition."""
        return canonical_json.dumps(self.to_dict())


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Who built, and what is known of it (2)."""

    builder: str
    """A URI."""
    version: Mapping[str, str]
    """Of the program, and of what it runs on."""
    invocation: str = ""
    started: str = ""
    """RFC 3339."""
    finished: str = ""

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form of `runDetails` without byproducts."""
        metadata = {
            "invocationId": self.invocation,
            "startedOn": self.started,
            "finishedOn": self.finished,
        }
        stated = {key: value for key, value in metadata.items() if value}
        builder: dict[str, object] = {"id": self.builder}
        if self.version:
            builder["version"] = dict(self.version)
        return {"builder": builder, **({"metadata": stated} if stated else {})}


def provenance_statement(
    subjects: tuple[Subject, ...], definition: Mapping[str, object], run: Run
) -> Statement:
    """Join what reproduces and who did it.

    Args:
        subjects: what was built.
        definition: `Definition.to_dict`.
        run: the builder.
    """
    details = run.to_dict()
    if definition["byproducts"]:
        details["byproducts"] = definition["byproducts"]
    return Statement(
        subjects=subjects,
        predicate_type=PredicateType.PROVENANCE,
        predicate={"buildDefinition": definition["buildDefinition"], "runDetails": details},
    )


def reproducible_part(statement: Statement) -> bytes:
    """Return what two builders' provenance of one image must have in common.

    Raises:
        FormatError: it is no provenance of ours.
    """
    if statement.predicate_type != PredicateType.PROVENANCE:
        raise FormatError(f"got a statement of {statement.predicate_type}, want provenance")
    definition = get_required(statement.predicate, dict, "buildDefinition")
    if definition.get("buildType") != BUILD_TYPE:
        raise FormatError(f"got buildType {definition.get('buildType')!r}, want {BUILD_TYPE}")
    details = get_required(statement.predicate, dict, "runDetails")
    return canonical_json.dumps(
        {
            "buildDefinition": definition,
            "byproducts": get_optional(details, list, "byproducts") or [],
        }
    )
