"""A registry with images in it, and somebody who looks at them from an empty directory."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from pipeline.host.joined_layout import JoinedLayout
from pipeline.host.keys import main as keys_main
from pipeline.host.registry import Registry
from pipeline.stages.parcel import Target
from pipeline.stages.push import push
from tests.reproducibility.publication import Publication
from tests.tasks.project import ROOT
from tests.trust_tools import PASSWORD

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.formats.digest import Digest

REPOSITORIES = ROOT / "fixtures/miniature/repositories"
VARIABLES = "${ABI}/base_release_${VERSION_MINOR}"


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it said."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Auditor:
    """Somebody in an empty directory."""

    here: Path
    shop: Shop

    def run(self, *arguments: str, **variables: str) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "reproducibility", *arguments],
            cwd=self.here,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "PYTHONDONTWRITEBYTECODE": "1",
                "HOME": str(self.here),
                "TMPDIR": str(self.here),
                "COSIGN_PASSWORD": PASSWORD,
                **variables,
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert "Traceback" not in done.stdout + done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    def verify(
        self, image: str, *arguments: str, mirror: str = f"{REPOSITORIES}/{VARIABLES}"
    ) -> Done:
        where = ("--repository", f"FreeBSD-base={mirror}")
        return self.run("verify", image, *where, "--no-diffoscope", *arguments)


@dataclass(frozen=True)
class Shop:
    """A registry, and what is published there."""

    host: str
    theirs: Publication
    folder: Path

    def send(self, name: str, repository: str) -> str:
        """Push an image with all that refers to it; its reference by digest."""
        layouts = [self.theirs.images]
        if self.theirs.attest.root.exists():
            layouts.append(self.theirs.attest)
        target = Target(name=name, path=f"fb/{repository}", tags=("15.0",))
        push(JoinedLayout(*layouts), [target], registry=Registry(self.host))
        return self.reference(repository, self.theirs.names[name].digest)

    def reference(self, repository: str, digest: Digest) -> str:
        return f"{self.host}/fb/{repository}@{digest}"

    @property
    def publisher(self) -> str:
        """The publisher's public key, as a file."""
        return str(self.folder / "publisher.pub")

    def blob(self, digest: Digest) -> Path:
        """Return where the registry has a blob."""
        blobs = self.folder / "registry/data/docker/registry/v2/blobs/sha256"
        return blobs / digest.hex[:2] / digest.hex / "data"

    def key(self, name: str) -> Path:
        """Make the key of a rebuilder."""
        path = self.folder / f"{name}.key"
        if not path.exists():
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("COSIGN_PASSWORD", PASSWORD)
                assert keys_main(["generate", str(path.with_suffix(""))]) == 0
        return path

    def fresh(self, name: str) -> Shop:
        """Return the same with other layouts to publish from."""
        theirs = Publication(self.folder / name, self.theirs.workshop)
        return replace(self, theirs=theirs)
