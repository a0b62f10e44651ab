"""Images that somebody has published, what is said of them, and ways to tamper with both."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import zstandard

from pipeline.attest.provenance import Run
from pipeline.attest.statement import PredicateType, Statement, Subject
from pipeline.formats.digest import Digest
from pipeline.host.layout import PublishedLayout
from pipeline.host.registry_session import Access
from pipeline.oci.image import descriptor_of
from pipeline.oci.media_type import MediaType
from pipeline.stages.attest import Signatures, Target, put_bundle
from pipeline.stages.build import build
from pipeline.stages.image import make_index
from pipeline.stages.provenance import Sources, lock_document
from pipeline.stages.sign import sign
from reproducibility import verify_build, verify_child
from reproducibility.verify import Settings, Verified, verify
from reproducibility.verify_attempt import Bench
from reproducibility.verify_build import BuildError
from reproducibility.verify_place import JoinedPlace, open_place
from reproducibility.verify_sources import Substitutes
from tests.tasks.project import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from pipeline.host.signer import Signer
    from pipeline.host.store import Blob, Store
    from pipeline.oci.descriptor import Descriptor
    from pipeline.stages.attest import Document
    from tests.built_images import Workshop

RUN = Run(builder="https://builder.example", version={})
STATIC = "15.0:amd64:static"


@dataclass
class Parts:
    """An image for one platform, taken apart."""

    config: dict[str, Any]
    layers: list[bytes]
    """Tars."""
    annotations: dict[str, str]


@dataclass
class Publication:
    """A layout of images and one of what is said of them, below a directory."""

    path: Path
    workshop: Workshop
    names: dict[str, Descriptor] = field(default_factory=dict)
    """What has been published, by its name."""

    @property
    def store(self) -> Store:
        return self.workshop.store

    @property
    def images(self) -> PublishedLayout:
        return PublishedLayout(self.path / "oci", store=self.store)

    @property
    def attest(self) -> PublishedLayout:
        return PublishedLayout(self.path / "attest", store=self.store)

    # ------------------------------------------------------------ images

    def image(self, name: str = STATIC) -> str:
        """Build and publish an image for one platform; what the layout calls it."""
        plan = self.workshop.plan.images[name]
        built = build(plan, self.workshop.declaration, store=self.store).image
        reference = f"{plan.reference}-{plan.architecture}"
        self.images.publish(reference, built.manifest, built.blobs)
        self.names[reference] = built.manifest
        return reference

    def index(self, name: str = "15.0:static") -> str:
        """Build and publish an index; what the layout calls it."""
        release, _, image = name.partition(":")
        plans = [
            p for p in self.workshop.plan.images.values() if (p.release, p.name) == (release, image)
        ]
        manifests = [self.names[self.image(str(plan))] for plan in plans]
        raw, descriptor = make_index(plans, self.workshop.declaration, manifests)
        self.images.publish(plans[0].reference, descriptor, [self.store.put(raw)])
        self.names[plans[0].reference] = descriptor
        return plans[0].reference

    def altered(
        self, original: str, change: Callable[[Parts], object], *, name: str = "altered:1"
    ) -> str:
        """Publish an image that differs from another, every digest made anew."""
        manifest = json.loads(self.store.read(self.names[original].digest))
        config = json.loads(self._read(manifest["config"]))
        decompress = zstandard.ZstdDecompressor().decompress
        tars = [decompress(self._read(layer), 1 << 24) for layer in manifest["layers"]]
        parts = Parts(config, list(tars), dict(manifest["annotations"]))
        change(parts)
        config = copy.deepcopy(parts.config)
        config["rootfs"]["diff_ids"] = [str(Digest.of(tar)) for tar in parts.layers]
        blobs: list[Blob] = []
        described = []
        for i, tar in enumerate(parts.layers):
            data = zstandard.ZstdCompressor(level=9).compress(tar)
            if i < len(tars) and tar == tars[i]:
                data = self._read(manifest["layers"][i])
            blobs.append(self.store.put(data))
            described.append(_described(data, MediaType.LAYER_ZSTD))
        raw_config = json.dumps(config).encode()
        raw = json.dumps(
            {
                **manifest,
                "config": _described(raw_config, MediaType.CONFIG),
                "layers": described,
                "annotations": parts.annotations,
            }
        ).encode()
        blobs += [self.store.put(raw_config), self.store.put(raw)]
        descriptor = descriptor_of(raw, MediaType.MANIFEST)
        self.images.publish(name, descriptor, blobs)
        self.names[name] = descriptor
        return name

    def _read(self, descriptor: dict[str, Any]) -> bytes:
        return self.store.read(Digest.parse(descriptor["digest"]))

    # ------------------------------------------------------------ what is said

    def target(self, name: str) -> Target:
        """Return an image as something that is spoken of."""
        repository, _, tag = name.rpartition(":")
        reference = f"registry.example/{repository}:{tag}"
        return Target(
            name=name, descriptor=self.names[name], references=(reference,), epoch=1_700_000_000
        )

    def lock(
        self,
        name: str,
        target: str = STATIC,
        *,
        declaration: bytes | None = None,
        lock: bytes | None = None,
        number: int = 1,
    ) -> Digest:
        """Attach a lock to an image; the digest of the artifact."""
        sources = Sources(
            declaration=self.workshop.raw_declaration if declaration is None else declaration,
            lock=self.workshop.raw_lock if lock is None else lock,
            run=RUN,
        )
        document = lock_document(
            self.target(name), target, sources, format_number=number, store=self.store
        )
        return self.say(document)

    def say(self, document: Document) -> Digest:
        """Attach a document."""
        unique = f"{document.name}.{document.manifest.digest.short}"
        self.attest.publish(unique, document.descriptor, document.blobs)
        return document.manifest.digest

    def artifact(self, raw: bytes, *contents: bytes) -> None:
        """Attach a manifest as it is."""
        blobs = [self.store.put(content) for content in (*contents, b"{}")]
        blobs.append(self.store.put(raw))
        name = f"x:{Digest.of(raw).short}"
        self.attest.publish(name, descriptor_of(raw, MediaType.MANIFEST), blobs)

    def sign(self, name: str, signer: Signer) -> None:
        """Sign an image in both of cosign's forms."""
        signatures = Signatures(signer, store=self.store)
        for document in sign(self.target(name), signatures, store=self.store):
            self.attest.publish(document.name, document.descriptor, document.blobs)

    def vouch(self, name: str, signer: Signer, declaration: bytes, lock: bytes) -> None:
        """Sign a provenance of an image that names a declaration and a lock."""
        resources = Sources(declaration=declaration, lock=lock, run=RUN).resources()
        external = dict(zip(("declaration", "lock"), (r.to_dict() for r in resources), strict=True))
        statement = Statement(
            subjects=(Subject(self.names[name].digest),),
            predicate_type=PredicateType.PROVENANCE,
            predicate={"buildDefinition": {"externalParameters": external}},
        )
        bundle = Signatures(signer, store=self.store).bundle(statement.to_bytes())
        self.say(put_bundle(self.target(name), bundle, store=self.store))

    # ------------------------------------------------------------ verifying

    def place(self, name: str) -> JoinedPlace:
        """Return where an image is, and what is said of it."""
        others = [f"oci:{self.attest.root}"] if self.attest.root.exists() else []
        access = Access()
        return JoinedPlace(
            open_place(f"oci:{self.images.root}:{name}", access),
            [open_place(text, access) for text in others],
        )

    def verify(self, name: str, **changes: Any) -> Verified:
        """Verify an image; `changes` are to the settings, or to the bench."""
        return verify(self.place(name), settings(self.path / "work", **changes))


def _described(data: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": str(media_type), "digest": str(Digest.of(data)), "size": len(data)}


def build_in_process(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    """Read and build in this process, in a store that has most of it already.

    Processes of their own, and stores that have archives only, are for the slow tests.
    """

    def run(mode: str, site: Path, *, timeout: float) -> None:
        del timeout
        (site / "home").mkdir(exist_ok=True)
        (site / "tmp").mkdir(exist_ok=True)
        error, hint = verify_child.run(mode, site)
        if error:
            raise BuildError(error, hint=hint)

    monkeypatch.setattr(verify_build, "_run", run)
    monkeypatch.setattr(verify_child, "Store", lambda _: store)


def flip(path: bytes) -> Callable[[Parts], None]:
    """Return a change of one byte in a file of an image."""

    def change(parts: Parts) -> None:
        for i, tar in enumerate(parts.layers):
            position = tar.find(path + b"\0")
            if position >= 0:
                assert position % 512 == 0
                at = position + 512
                parts.layers[i] = tar[:at] + bytes([tar[at] ^ 1]) + tar[at + 1 :]
                return
        raise AssertionError(path)

    return change


_BENCH = frozenset({"archives", "substitutes", "limit", "timeout", "say", "watch"})


def settings(work: Path, **changes: Any) -> Settings:
    """Return settings for a test: the miniature repositories, nothing shown."""
    work.mkdir(parents=True, exist_ok=True)
    bench = Bench(
        work=work,
        archives=None,
        substitutes=Substitutes(urls={}, root=str(ROOT)),
        limit=1 << 30,
        timeout=60,
        is_quiet=True,
        say=lambda _: None,
        watch=lambda _: None,
    )
    own = {key: value for key, value in changes.items() if key in _BENCH}
    return replace(
        Settings(
            platform=None,
            given=None,
            keys=(),
            requires_signature=False,
            is_shallow=False,
            trusted={},
            tries=4,
            bench=replace(bench, **own),
            diffoscope=None,
            report=None,
        ),
        **{key: value for key, value in changes.items() if key not in _BENCH},
    )
