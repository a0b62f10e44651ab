"""SARIF 2.1.0: every difference a result, every cause class a rule.

Specification: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html. Locations are paths
in the image or names of documents about it, as logical locations with the image and layer, and as
URIs relative to `IMAGE`, since code-scanning pages want a file.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from pipeline.formats import canonical_json
from reproducibility.causes import MEANING, REMEDY, Cause
from reproducibility.findings import FORMAT
from reproducibility.summary import where_text

if TYPE_CHECKING:
    from reproducibility.findings import Comparison, Difference, Report

_SCHEMA: Final = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_RULES: Final = tuple(Cause)
MAX_RESULTS: Final = 5000
"""GitHub shows at most this many."""


def render_sarif(report: Report) -> bytes:
    """Return the document."""
    return canonical_json.pretty(
        {
            "$schema": _SCHEMA,
            "version": "2.1.0",
            "runs": [_run(comparison, report) for comparison in report.comparisons],
        }
    )


def _run(comparison: Comparison, report: Report) -> dict[str, object]:
    results = [_result(d) for d in comparison.differences[:MAX_RESULTS]]
    left_out = len(comparison.differences) - len(results)
    messages = [*comparison.problems]
    if left_out > 0:
        messages.append(f"{left_out} more differences are in report.json")
    run: dict[str, object] = {
        "tool": {
            "driver": {
                "name": "pkgbase-oci reproducibility",
                "version": f"report format {FORMAT}",
                "informationUri": "https://reproducible-builds.org/",
                "rules": [_rule(cause) for cause in _RULES],
            }
        },
        "automationDetails": {"id": f"{report.title}/{comparison.label}".strip("/") + "/"},
        "originalUriBaseIds": {"IMAGE": {"description": {"text": "the root of the image"}}},
        "columnKind": "unicodeCodePoints",
        "results": results,
        "invocations": [
            {
                "executionSuccessful": not comparison.problems,
                "toolExecutionNotifications": [
                    {"level": "error", "message": {"text": text}} for text in messages
                ],
            }
        ],
    }
    return run


def _rule(cause: Cause) -> dict[str, object]:
    return {
        "id": cause.value,
        "name": "".join(word.capitalize() for word in cause.value.split("-")),
        "shortDescription": {"text": f"{MEANING[cause][:1].upper()}{MEANING[cause][1:]}."},
        "help": {"text": f"{REMEDY[cause][:1].upper()}{REMEDY[cause][1:]}."},
        "defaultConfiguration": {"level": "error"},
    }


def _result(d: Difference) -> dict[str, object]:
    text = f"{where_text(d)} differs ({d.cause.value})"
    text += f": A has {d.a or 'nothing'}, B has {d.b or 'nothing'}"
    if d.evidence:
        text += f". {d.evidence[0]}"
    place = d.place
    path = place.path or place.attachment
    name = "/".join(filter(None, (place.image, place.platform, place.layer, path, d.inside)))
    key = f"{place.image}\0{place.platform}\0{path}\0{d.inside}\0{d.cause}\0{d.level}"
    result: dict[str, object] = {
        "ruleId": d.cause.value,
        "ruleIndex": _RULES.index(d.cause),
        "level": "note" if d.ignored else "error",
        "message": {"text": text},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {
                        "uri": quote(path or d.level.value, safe="/"),
                        "uriBaseId": "IMAGE",
                    },
                    "region": {"startLine": 1},
                },
                "logicalLocations": [{"fullyQualifiedName": name, "kind": "resource"}],
            }
        ],
        "partialFingerprints": {
            "difference/v1": hashlib.sha256(key.encode("utf-8", "backslashreplace")).hexdigest()
        },
        "properties": {
            "image": place.image,
            "platform": place.platform,
            "layer": place.layer,
            "document": place.attachment,
            "package": d.package,
            "evidence": list(d.evidence),
        },
    }
    if d.ignored:
        result["suppressions"] = [{"kind": "external", "justification": "ignored by request"}]
    return result
