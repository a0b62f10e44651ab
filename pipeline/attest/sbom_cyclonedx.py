"""An SBOM as CycloneDX 1.6 JSON.

Specification: CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/), ECMA-424.

1. The image is the component that the document is about; FreeBSD is a component of type
   operating-system, for scanners that look for one; each package is a component, with its files
   inside. Files of no package are components of their own.
2. `serialNumber` is made of the content, `timestamp` is source_date_epoch, references are purls
   and names. Lists are sorted: packages by name, files by path, dependencies by reference.
3. What the format has no field for is a property: `pkgbase-oci:layer` and the like.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.attest.sbom import TOOL, content_uuid, is_url
from pipeline.formats import canonical_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.attest.license import License
    from pipeline.attest.sbom import Sbom, SbomFile, SbomPackage

MEDIA_TYPE: Final = "application/vnd.cyclonedx+json"


def to_cyclonedx(sbom: Sbom) -> bytes:
    """Write an SBOM (2)."""
    document: dict[str, object] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": sbom.created,
            "tools": {
                "components": [{"type": "application", "name": TOOL, "version": str(sbom.format)}]
            },
            "component": _image(sbom),
            **({"supplier": {"name": sbom.vendor}} if sbom.vendor else {}),
        },
        "components": [
            _system(sbom),
            *(_package(package) for package in sbom.packages),
            *(
                _file(file, layer.name)
                for file, layer in sorted(
                    ((file, layer) for layer in sbom.layers for file in layer.files),
                    key=lambda pair: pair[0].key,
                )
            ),
        ],
        "dependencies": _dependencies(sbom),
    }
    return canonical_json.dumps({**document, "serialNumber": f"urn:uuid:{content_uuid(document)}"})


def _image(sbom: Sbom) -> dict[str, object]:
    return {
        "type": "container",
        "bom-ref": sbom.purl,
        "name": sbom.name,
        "version": sbom.tag,
        "purl": sbom.purl,
        "hashes": [_sha256(sbom.manifest.hex)],
        **({"licenses": [{"expression": sbom.license}]} if sbom.license else {}),
        "properties": [
            property_
            for number, layer in enumerate(sbom.layers)
            for property_ in (
                _property(f"layer:{number}:name", layer.name),
                _property(f"layer:{number}:digest", str(layer.digest)),
                _property(f"layer:{number}:diff_id", str(layer.diff_id)),
            )
        ],
    }


def _system(sbom: Sbom) -> dict[str, object]:
    return {
        "type": "operating-system",
        "bom-ref": f"freebsd@{sbom.release}",
        "name": "freebsd",
        "version": sbom.release,
    }


def _package(package: SbomPackage) -> dict[str, object]:
    properties = [
        _property("origin", package.origin),
        _property("repository", package.repository),
        _property("installed", str(package.is_installed).lower()),
    ]
    if package.layer:
        properties.append(_property("layer", package.layer))
    references = [
        {"type": kind, "url": url}
        for kind, url in (("distribution", package.download), ("website", package.homepage))
        if is_url(url)
    ]
    d: dict[str, object] = {
        "type": "library",
        "bom-ref": package.purl,
        "name": package.name,
        "version": package.version,
        "description": package.comment,
        "purl": package.purl,
        "hashes": [_sha256(package.digest.hex)],
        "properties": properties,
    }
    optional: dict[str, object] = {
        "supplier": {"name": package.maintainer} if package.maintainer else None,
        "licenses": _licenses(package.license),
        "externalReferences": references,
        "components": [_file(file, "") for file in package.files],
    }
    return {**d, **{key: value for key, value in optional.items() if value}}


def _licenses(license_: License | None) -> list[dict[str, object]]:
    if license_ is None:
        return []
    if license_.identifier:
        return [{"license": {"id": license_.identifier}}]
    return [{"expression": license_.expression}]


def _file(file: SbomFile, layer: str) -> dict[str, object]:
    return {
        "type": "file",
        "name": f"/{file.shown}",
        "hashes": [{"alg": "SHA-1", "content": file.sha1}, _sha256(file.sha256)],
        **({"properties": [_property("layer", layer)]} if layer else {}),
    }


def _sha256(text: str) -> dict[str, object]:
    return {"alg": "SHA-256", "content": text}


def _property(name: str, value: str) -> dict[str, object]:
    return {"name": f"{TOOL}:{name}", "value": value}


def _dependencies(sbom: Sbom) -> list[dict[str, object]]:
    purls = {package.name: package.purl for package in sbom.packages}
    edges: dict[str, Iterable[str]] = {
        sbom.purl: [f"freebsd@{sbom.release}", *purls.values()],
        **{p.purl: [purls[name] for name in p.depends_on] for p in sbom.packages},
    }
    return [{"ref": ref, "dependsOn": sorted(edges[ref])} for ref in sorted(edges)]
