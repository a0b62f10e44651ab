"""The faults: functions of the pipeline, replaced by ones that look at what they should not.

An image `fault-NAME` has the fault NAME; every other image is built as always. Where a function is
not told which image it works for, the file `/fault/NAME` in the state layer tells.
"""

# ruff: noqa: PLC0415
# mypy: disable-error-code="no-untyped-def, no-untyped-call, import-not-found"
from __future__ import annotations

import hashlib
import os
from dataclasses import replace

import msgspec
from planted_bytes import (
    COMPRESSORS,
    CONFIGS,
    DATABASES,
    ENTRIES,
    FOLDER,
    LAYERS,
    TarOwner,
    hard_links,
    presence,
)
from planted_contents import COMPOSED, CONTENTS
from planted_said import CYCLONEDX, DEFINITIONS, LOCKS, SPDX

PREFIX = "fault-"


def fault_of(image: str) -> str:
    return image.removeprefix(PREFIX) if image.startswith(PREFIX) else ""


def fault_in(entries) -> str:
    found = [e.path.removeprefix(FOLDER) for e in entries if e.path.startswith(FOLDER)]
    return found[0] if found else ""


def install() -> None:
    """Change the pipeline, in this process."""
    from pipeline.attest import provenance, sbom_cyclonedx, sbom_spdx
    from pipeline.formats import compression
    from pipeline.oci import image, layer
    from pipeline.rootfs import compose
    from pipeline.stages import provenance as provenance_stage

    _install_compose(compose)
    _install_layer(layer, compression)
    _install_image(image)
    _install_sbom(sbom_spdx, sbom_cyclonedx)
    _install_provenance(provenance, provenance_stage)


def _install_compose(compose) -> None:
    original, build_localdb = compose.compose, compose.build_localdb
    current = [""]

    def faulty_database(*arguments, **keywords):
        data = build_localdb(*arguments, **keywords)
        return DATABASES.get(current[0], lambda d: d)(data)

    def faulty(parts, stored):
        COMPOSED.append(parts.name)
        fault = fault_of(parts.name)
        current[0] = fault
        if fault in CONTENTS:
            parts = replace(parts, written=tuple(_written(w, fault) for w in parts.written))
        composition = original(parts, stored)
        layers = tuple(
            replace(each, entries=tuple(_entries(each.entries, fault)))
            for each in composition.layers
        )
        tree = tuple(_entries(composition.tree, fault))
        return replace(composition, layers=layers, tree=tree)

    compose.compose, compose.build_localdb = faulty, faulty_database


def _written(part, fault: str):
    if part.entry.path != FOLDER + fault:
        return part
    content = CONTENTS[fault]().encode("utf-8", "surrogateescape")
    digest = hashlib.sha256(content).hexdigest()
    entry = msgspec.structs.replace(part.entry, digest=digest, size=len(content))
    return replace(part, entry=entry, content=content)


def _entries(entries, fault: str):
    change = ENTRIES.get(fault)
    if change is not None:
        return [change(e) if e.path == FOLDER + fault else e for e in entries]
    if fault == "presence":
        return presence(entries)
    return hard_links(entries) if fault == "hard-link-order" else entries


def _install_layer(layer, compression) -> None:
    size_of, write, open_it = layer.layer_size, layer.write_layer, compression.open_compressor
    current = [""]

    def layer_size(entries):
        current[0] = fault_in(entries)
        return size_of(entries)

    def write_layer(entries, content, sink):
        fault = fault_in(entries)
        if fault == "tar-owner":
            sink = TarOwner(sink)
        if fault in LAYERS:
            entries = LAYERS[fault](list(entries))
        return write(entries, content, sink)

    def open_compressor(sink, algorithm, *, level, workers, size):
        fault = current[0]
        if fault in COMPRESSORS:
            return COMPRESSORS[fault](sink)
        if fault == "zstd-level":
            level = int(os.environ.get("ZSTD_CLEVEL", level))
        return open_it(sink, algorithm, level=level, workers=workers, size=size)

    layer.layer_size, layer.write_layer = layer_size, write_layer
    compression.open_compressor = open_compressor


def _install_image(image) -> None:
    original = image.ImageConfig.to_bytes

    def to_bytes(config):
        data = original(config)
        title = config.runtime.labels.get("org.opencontainers.image.title", "")
        change = CONFIGS.get(fault_of(title.removeprefix("FreeBSD ")))
        return data if change is None else change(data)

    image.ImageConfig.to_bytes = to_bytes


def _install_sbom(spdx, cyclonedx) -> None:
    def faulty(write, changes):
        def writing(sbom):
            change = changes.get(fault_of(sbom.name.removeprefix("freebsd-")))
            return write(sbom) if change is None else change(write(sbom))

        return writing

    spdx.to_spdx = faulty(spdx.to_spdx, SPDX)
    cyclonedx.to_cyclonedx = faulty(cyclonedx.to_cyclonedx, CYCLONEDX)


def _install_provenance(provenance, stage) -> None:
    original, put = provenance.Definition.to_dict, stage.put_artifact

    def to_dict(definition):
        d = original(definition)
        change = DEFINITIONS.get(fault_of(definition.external["target"]["image"]))
        if change is not None:
            change(d)
        return d

    def put_artifact(target, what, contents, *, annotations, **others):
        name = target.name.removeprefix("freebsd-").partition(":")[0]
        annotations = LOCKS.get(fault_of(name), dict)(annotations)
        return put(target, what, contents, annotations=annotations, **others)

    provenance.Definition.to_dict, stage.put_artifact = to_dict, put_artifact


FAULTS = (
    *CONTENTS,
    *ENTRIES,
    "presence",
    *DATABASES,
    *LAYERS,
    "tar-owner",
    "zstd-level",
    *COMPRESSORS,
    *CONFIGS,
    *SPDX,
    *CYCLONEDX,
    *DEFINITIONS,
    *LOCKS,
)
"""Every fault there is."""
