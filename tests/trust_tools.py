"""Keys, signed images and the programs that verify them."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from pipeline.host.joined_layout import JoinedLayout
from pipeline.host.layout import Layout
from pipeline.host.registry import Registry
from pipeline.stages.parcel import Target
from pipeline.stages.push import push
from reproducibility.commands.trust import add_parser
from tests.programs import OPTIONAL, require_program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.formats.digest import Digest
    from pipeline.host.registry import Repository
    from tests.tasks.project import Project

TRIXIE: Final = "PKGBASE_OCI_TRIXIE"
"""The directory that tests/tools/trixie.sh has filled."""
PASSWORD: Final = "correct horse battery staple"
PASSPHRASE: Final = "wrong cow generator paperclip"


def trixie(name: str) -> list[str]:
    """Return how a program of Debian trixie is called; fail, or skip, if it is not here."""
    root = Path(os.environ.get(TRIXIE) or "/nonexistent")
    program = root / "usr/bin" / name
    if not program.exists():
        if os.environ.get(OPTIONAL) == "missing-ok":
            pytest.skip(f"no {name} of Debian trixie here")
        pytest.fail(
            f"no {name} of Debian trixie; run tests/tools/trixie.sh DIR and set {TRIXIE}=DIR,"
            f" or set {OPTIONAL}=missing-ok",
            pytrace=False,
        )
    if name != "skopeo":
        return [str(program)]
    loaders = sorted(root.glob("usr/lib*/ld-linux-*.so.*")) + sorted(
        root.glob("usr/lib/*/ld-linux-*.so.*")
    )
    libraries = next(root.glob("usr/lib/*/libc.so.6")).parent
    return [str(loaders[0]), "--library-path", str(libraries), str(program)]


@contextlib.contextmanager
def trixie_podman() -> Iterator[list[str]]:
    """Lend trixie's podman; how it is called.

    It runs itself anew to unpack layers, by /proc/self/exe, so the loader cannot be put before it:
    a copy has another path to the loader in its header. Programs of this system would not run with
    its libraries, so it finds none.
    """
    program = Path(trixie("podman")[0])
    loader, _, libraries, _ = trixie("skopeo")
    folder = Path(tempfile.mkdtemp(prefix="p-"))
    try:
        (folder / "l").symlink_to(loader)
        own = os.fsencode(folder / "l")
        data, count = _INTERPRETER_RE.subn(
            lambda match: own.ljust(len(match[0]), b"\0"), program.read_bytes(), count=1
        )
        assert count == 1
        assert len(data) == program.stat().st_size
        copy = folder / "podman"
        copy.write_bytes(data)
        copy.chmod(0o755)
        (folder / "netavark").touch(0o755)  # looked for, never run
        settings = folder / "containers.conf"
        settings.write_text(f'[engine]\nhelper_binaries_dir = ["{folder}"]\n')
        yield [
            *("env", f"LD_LIBRARY_PATH={libraries}", f"CONTAINERS_CONF={settings}"),
            *(
                "PODMAN_IGNORE_CGROUPSV1_WARNING=1",
                f"PATH={folder}",
                str(copy),
                "--root",
                str(folder / "root"),
            ),
            *("--runroot", str(folder / "run"), "--storage-driver", "vfs"),
        ]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


_INTERPRETER_RE: Final = re.compile(rb"/lib(?:64)?/ld-linux-[a-z0-9-]+\.so\.[0-9]+\0")


@dataclass(frozen=True)
class Said:
    """How a program ended, and what it said."""

    status: int
    text: str


def call(*argv: str, env: dict[str, str] | None = None, stdin: bytes = b"") -> Said:
    """Run a program."""
    done = subprocess.run(
        argv,
        env={**os.environ, **(env or {})},
        input=stdin,
        capture_output=True,
        check=False,
        timeout=120,
    )
    return Said(done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace"))


# ---------------------------------------------------------------- GPG


@dataclass(frozen=True)
class GpgKey:
    """A secret key in a home of its own."""

    home: Path
    fingerprint: str

    def export(self) -> bytes:
        return subprocess.run(
            ["gpg", "--batch", "--export", self.fingerprint],
            env=self.environment(),
            capture_output=True,
            check=True,
        ).stdout

    def environment(self) -> dict[str, str]:
        return {**os.environ, "GNUPGHOME": str(self.home)}

    def gpg(self, *arguments: str, stdin: bytes = b"") -> bytes:
        return subprocess.run(
            ["gpg", "--batch", "--quiet", *arguments],
            env=self.environment(),
            input=stdin,
            capture_output=True,
            check=True,
        ).stdout


@contextlib.contextmanager
def gpg_home() -> Iterator[Path]:
    """Lend a GNUPGHOME; the sockets in it want a short path."""
    require_program("gpg")
    home = Path(tempfile.mkdtemp(prefix="g-"))
    try:
        yield home
    finally:
        call("gpgconf", "--kill", "all", env={"GNUPGHOME": str(home)})
        shutil.rmtree(home, ignore_errors=True)


def make_gpg_key(
    home: Path,
    options: tuple[str, ...] = (),
    *,
    algorithm: str = "ed25519",
    usage: str = "sign",
    expire: str = "never",
    passphrase: str = "",
) -> GpgKey:
    """Make a key; the fingerprint is that of the primary key."""
    before = set(_fingerprints(home))
    env = {"GNUPGHOME": str(home)}
    said = call(
        *("gpg", "--batch", *options, "--pinentry-mode", "loopback", "--passphrase-fd", "0"),
        *("--quick-generate-key", f"Images {len(before)} <images@example.org>"),
        *(algorithm, usage, expire),
        env=env,
        stdin=f"{passphrase}\n".encode(),
    )
    assert said.status == 0, said.text
    (fingerprint,) = set(_fingerprints(home)) - before
    return GpgKey(home, fingerprint)


def _fingerprints(home: Path) -> list[str]:
    said = call("gpg", "--batch", "--with-colons", "--list-keys", env={"GNUPGHOME": str(home)})
    rows = [line.split(":") for line in said.text.splitlines()]
    return [
        row[9] for before, row in itertools.pairwise(rows) if row[0] == "fpr" and before[0] == "pub"
    ]


# ---------------------------------------------------------------- signed images


@dataclass(frozen=True, kw_only=True)
class Published:
    """Images in a registry, and what signs them."""

    host: str
    project: Project
    lookaside: Path
    key: Path
    """cosign's, with `.pub` beside it."""
    gpg: GpgKey
    folder: Path
    """For more files."""
    digests: dict[str, Digest] = field(default_factory=dict)

    @property
    def public_key(self) -> Path:
        return self.key.with_suffix(".pub")

    def gpg_file(self) -> Path:
        path = self.folder / f"{self.gpg.fingerprint}.gpg"
        path.write_bytes(self.gpg.export())
        return path

    def repository(self, path: str) -> Repository:
        return Registry(self.host).repository(path, writable=True)


def sign_and_push(
    project: Project, host: str, *, key: Path, gpg: GpgKey, release: str, images: tuple[str, ...]
) -> dict[str, Digest]:
    """Sign images of a release, push them with all that belongs to them; their digests."""
    architectures = ("amd64", "aarch64")
    tasks = [f"sign:{release}:{image}" for image in images]
    tasks += [f"sign:{release}:{a}:{image}" for image in images for a in architectures]
    done = project.doit(
        *(f"identity={host}/fb", f"key={key}", f"gpg_key={gpg.fingerprint}", *tasks),
        env={"COSIGN_PASSWORD": PASSWORD, "GNUPGHOME": str(gpg.home)},
    )
    assert done.status == 0, done.output + done.errors
    layout = Layout(project.output)
    source = JoinedLayout(layout, Layout(project.path / "build/attest"))
    targets = [
        Target(name=f"freebsd-{image}:{release}", path=f"fb/freebsd-{image}", tags=(release,))
        for image in images
    ]
    push(source, targets, registry=Registry(host))
    return {name: d.digest for name, d in layout.references().items()}


def copy_manifest(source: Repository, wanted: str | Digest, target: Repository, tag: str) -> None:
    """Put a manifest of one repository under a tag of another, as anybody may."""
    manifest = source.manifest(wanted)
    for descriptor in manifest.blobs:
        data = source.blob(descriptor, max_length=1 << 30)
        target.put_blob(descriptor, lambda data=data: BytesIO(data))  # type: ignore[misc]
    target.put_manifest(manifest, tag=tag)


def trust_command(*arguments: str) -> int:
    """Run `python -m reproducibility trust` in this process; its exit status."""
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    options = parser.parse_args(["trust", *arguments])
    status: int = options.run(options)
    return status


def write_policy(path: Path, host: str, *requirements: dict[str, object]) -> Path:
    """Write a policy.json that has requirements for a registry and rejects all else."""
    policy = {
        "default": [{"type": "reject"}],
        "transports": {"docker": {host: list(requirements)}},
    }
    path.write_text(json.dumps(policy))
    return path


def gpg_requirement(key: Path) -> dict[str, object]:
    return {"type": "signedBy", "keyType": "GPGKeys", "keyPath": str(key)}


def sigstore_requirement(key: Path) -> dict[str, object]:
    return {"type": "sigstoreSigned", "keyPath": str(key)}


def write_registries(folder: Path, host: str, lookaside: Path, *, attachments: bool = True) -> Path:
    """Write a registries.d."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["docker:", f"  {host}:", f"    lookaside: file://{lookaside}"]
    if attachments:
        lines.append("    use-sigstore-attachments: true")
    (folder / "test.yaml").write_text("\n".join(lines) + "\n")
    return folder
