"""An SBOM as SPDX 2.3 JSON.

Specification: SPDX 2.3 (https://spdx.github.io/spdx-spec/v2.3/).

1. The document describes the image; the image contains its layers; a layer contains the packages
   that it brings, and the files of no package; a package contains its files. All that is installed
   is found without the layers' order: a file stands where the uppermost layer has it.
2. `documentNamespace` is made of the content, `created` is source_date_epoch, identifiers are made
   of names and of sha256 of paths. Lists are sorted: packages by name, files by path,
   relationships by (element, type, related element).
3. Packages and files have the sums that the specification wants (SHA1) besides SHA256. A package's
   verification code (7.9) is over its files as they are in the image.
4. Licences are what the package says (`licenseDeclared`); nobody here has concluded anything.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

from pipeline.attest.sbom import TOOL, content_uuid, is_url
from pipeline.formats import canonical_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pipeline.attest.license import License
    from pipeline.attest.sbom import Sbom, SbomFile, SbomLayer, SbomPackage

MEDIA_TYPE: Final = "application/spdx+json"

_DOCUMENT: Final = "SPDXRef-DOCUMENT"
_IMAGE: Final = "SPDXRef-Image"
_NONE: Final = "NOASSERTION"
_UNFIT_RE: Final = re.compile("[^A-Za-z0-9.-]")


def to_spdx(sbom: Sbom) -> bytes:
    """Write an SBOM (2)."""
    document = _document(sbom)
    name = f"{sbom.name}-{_fit(sbom.tag)}-{sbom.architecture}"
    namespace = f"https://spdx.org/spdxdocs/{name}-{content_uuid(document)}"
    return canonical_json.dumps({**document, "documentNamespace": namespace})


def _document(sbom: Sbom) -> dict[str, object]:
    creators = [f"Tool: {TOOL}-{sbom.format}"]
    if sbom.vendor:
        creators.append(f"Organization: {sbom.vendor}")
    files = {file.path: file for file in _all_files(sbom)}
    licenses = [p.license for p in sbom.packages if p.license is not None]
    document: dict[str, object] = {
        "SPDXID": _DOCUMENT,
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "name": f"{sbom.name}:{sbom.tag} {sbom.architecture}",
        "creationInfo": {"created": sbom.created, "creators": creators},
        "packages": [
            _image(sbom),
            *(_layer(number, layer) for number, layer in enumerate(sbom.layers)),
            *(_package(package) for package in sbom.packages),
        ],
        "files": [_file(file) for file in sorted(files.values(), key=lambda f: f.key)],
        "relationships": [
            {"spdxElementId": a, "relationshipType": kind, "relatedSpdxElement": b}
            for a, kind, b in sorted(_relationships(sbom))
        ],
    }
    if extracted := _extracted(licenses):
        document["hasExtractedLicensingInfos"] = extracted
    return document


def _fit(text: str) -> str:
    return _UNFIT_RE.sub("-", text)


# ---------------------------------------------------------------- packages


def _image(sbom: Sbom) -> dict[str, object]:
    return {
        "SPDXID": _IMAGE,
        "name": sbom.name,
        "versionInfo": sbom.tag,
        "primaryPackagePurpose": "CONTAINER",
        "downloadLocation": _NONE,
        "filesAnalyzed": False,
        "supplier": f"Organization: {sbom.vendor}" if sbom.vendor else _NONE,
        "licenseConcluded": _NONE,
        "licenseDeclared": sbom.license or _NONE,
        "copyrightText": _NONE,
        "checksums": [{"algorithm": "SHA256", "checksumValue": sbom.manifest.hex}],
        "externalRefs": [_purl(sbom.purl)],
    }


def _layer_id(number: int) -> str:
    return f"SPDXRef-Layer-{number}"


def _layer(number: int, layer: SbomLayer) -> dict[str, object]:
    d: dict[str, object] = {
        "SPDXID": _layer_id(number),
        "name": layer.name,
        "versionInfo": str(layer.diff_id),
        "primaryPackagePurpose": "ARCHIVE",
        "downloadLocation": _NONE,
        "licenseConcluded": _NONE,
        "licenseDeclared": _NONE,
        "copyrightText": _NONE,
        "checksums": [{"algorithm": "SHA256", "checksumValue": layer.digest.hex}],
        "comment": f"layer {number}; versionInfo is the digest of its tar, uncompressed",
    }
    return {**d, **_analysis(layer.files)}


def _package_id(name: str) -> str:
    """Return an identifier; one that had to be changed gets a part of the name's digest."""
    fit = _fit(name)
    if fit != name:
        fit += f"-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return f"SPDXRef-Package-{fit}"


def _package(package: SbomPackage) -> dict[str, object]:
    source = f"origin {package.origin}, repository {package.repository}"
    if not package.is_installed:
        source += "; not installed, only the files named here were taken out of it"
    d: dict[str, object] = {
        "SPDXID": _package_id(package.name),
        "name": package.name,
        "versionInfo": package.version,
        "supplier": f"Organization: {package.maintainer}" if package.maintainer else _NONE,
        "downloadLocation": package.download if is_url(package.download) else _NONE,
        "licenseConcluded": _NONE,
        "licenseDeclared": package.license.expression if package.license else _NONE,
        "copyrightText": _NONE,
        "summary": package.comment,
        "description": package.description,
        "sourceInfo": source,
        "checksums": [{"algorithm": "SHA256", "checksumValue": package.digest.hex}],
        "externalRefs": [_purl(package.purl)],
    }
    if is_url(package.homepage):
        d["homepage"] = package.homepage
    return {**d, **_analysis(package.files)}


def _analysis(files: Sequence[SbomFile]) -> dict[str, object]:
    """Return the package verification code, where there are files (7.8, 7.9.3)."""
    if not files:
        return {"filesAnalyzed": False}
    joined = "".join(sorted(file.sha1 for file in files))
    code = hashlib.sha1(joined.encode(), usedforsecurity=False).hexdigest()
    return {
        "filesAnalyzed": True,
        "packageVerificationCode": {"packageVerificationCodeValue": code},
    }


def _purl(purl: str) -> dict[str, object]:
    return {
        "referenceCategory": "PACKAGE-MANAGER",
        "referenceType": "purl",
        "referenceLocator": purl,
    }


def _extracted(licenses: Iterable[License]) -> list[dict[str, object]]:
    """Explain references; names that differ only in what had to be changed share one."""
    names: dict[str, list[str]] = {}
    for reference, name in sorted({pair for found in licenses for pair in found.references}):
        names.setdefault(reference, []).append(name)
    return [
        {
            "licenseId": reference,
            "name": " or ".join(called),
            "extractedText": f"FreeBSD's packages call this licence {' or '.join(called)}; its text"
            " is not in their metadata.",
        }
        for reference, called in names.items()
    ]


# ---------------------------------------------------------------- files


def _all_files(sbom: Sbom) -> Iterator[SbomFile]:
    for layer in sbom.layers:
        yield from layer.files
    for package in sbom.packages:
        yield from package.files


def _file_id(file: SbomFile) -> str:
    return f"SPDXRef-File-{hashlib.sha256(file.key).hexdigest()[:32]}"


def _file(file: SbomFile) -> dict[str, object]:
    return {
        "SPDXID": _file_id(file),
        "fileName": f"./{file.shown}",
        "checksums": [
            {"algorithm": "SHA1", "checksumValue": file.sha1},
            {"algorithm": "SHA256", "checksumValue": file.sha256},
        ],
    }


# ---------------------------------------------------------------- relationships


def _relationships(sbom: Sbom) -> Iterator[tuple[str, str, str]]:
    yield _DOCUMENT, "DESCRIBES", _IMAGE
    layers = {layer.name: _layer_id(number) for number, layer in enumerate(sbom.layers)}
    for layer in sbom.layers:
        yield _IMAGE, "CONTAINS", layers[layer.name]
        for file in layer.files:
            yield layers[layer.name], "CONTAINS", _file_id(file)
    for package in sbom.packages:
        yield layers.get(package.layer, _IMAGE), "CONTAINS", _package_id(package.name)
        for file in package.files:
            yield _package_id(package.name), "CONTAINS", _file_id(file)
        for name in package.depends_on:
            yield _package_id(package.name), "DEPENDS_ON", _package_id(name)
