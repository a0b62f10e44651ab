"""Faults in what is said of images: SBOM, provenance, lock."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"
from __future__ import annotations

import datetime as dt
import json
import socket
from pathlib import Path

from planted_contents import NAMES

# ---------------------------------------------------------------- SBOM


def created(data: bytes) -> bytes:
    """Say when the document was written."""
    d = json.loads(data)
    d["creationInfo"]["created"] = f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%SZ}"
    return _written(d)


def component_order(data: bytes) -> bytes:
    """List components in the order of a hash table; so many that it never is one by chance."""
    d = json.loads(data)
    one = d["components"][0]
    d["components"] += [{**one, "name": name, "bom-ref": name} for name in NAMES]
    d["components"].sort(key=lambda component: hash(component["name"]))
    return _written(d)


def _written(d) -> bytes:
    return json.dumps(d, sort_keys=True, separators=(",", ":")).encode()


SPDX = {"sbom-created": created}
CYCLONEDX = {"sbom-order": component_order}


# ---------------------------------------------------------------- provenance


def workspace(d) -> None:
    """Say where it was built."""
    path = bytes(Path.cwd()).decode("utf-8")
    d["buildDefinition"]["externalParameters"]["workspace"] = f"file://{path}"


def machine(d) -> None:
    """Say on which machine it was built."""
    d["buildDefinition"]["internalParameters"]["builtOn"] = socket.gethostname()


DEFINITIONS = {"provenance-path": workspace, "provenance-host": machine}


# ---------------------------------------------------------------- lock


def today(annotations) -> dict[str, str]:
    """Say on which day it was attached."""
    name = "org.opencontainers.image.created"
    return {**annotations, name: f"{dt.datetime.now(dt.UTC):%Y-%m-%d}T00:00:00Z"}


LOCKS = {"lock-created": today}
