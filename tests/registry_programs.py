"""Real registries and clients, on loopback, each with files of its own."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.programs import require_program

if TYPE_CHECKING:
    from collections.abc import Iterator

ACCOUNT = ("tester", "pass:word")


def run(*argv: str, check: bool = True, **arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a program; show what it said if it fails."""
    done = subprocess.run(  # type: ignore[call-overload]
        argv, capture_output=True, text=True, check=False, timeout=120, **arguments
    )
    assert not check or done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Tls:
    """A certificate for 127.0.0.1."""

    certificate: Path
    key: Path
    folder: Path
    """As skopeo's --cert-dir wants it."""


def make_tls(path: Path) -> Tls:
    """Make one."""
    (path / "certs").mkdir(parents=True)
    certificate, key = path / "tls.crt", path / "tls.key"
    run(
        *(require_program("openssl"), "req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"),
        *("-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/CN=127.0.0.1"),
        *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key)),
        *("-out", str(certificate)),
    )
    (path / "certs/ca.crt").write_bytes(certificate.read_bytes())
    return Tls(certificate, key, path / "certs")


def htpasswd(path: Path) -> Path:
    """Write the file that lets ACCOUNT in."""
    name, password = ACCOUNT
    script = 'print $ARGV[0].":".crypt($ARGV[1],"\\$2y\\$04\\$abcdefghijklmnopqrstuv")."\\n"'
    path.write_text(run(require_program("perl"), "-e", script, name, password).stdout)
    return path


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def wait_for(url: str) -> None:
    """Wait until somebody answers, be it with an error."""
    for _ in range(200):
        with contextlib.suppress(OSError):
            try:
                with urllib.request.urlopen(url, timeout=1):
                    return
            except urllib.error.HTTPError:
                return
        time.sleep(0.05)
    raise AssertionError(f"nobody answers at {url}")


def wait_for_port(port: int) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(f"nobody listens at {port}")


@contextlib.contextmanager
def docker_registry(path: Path, *, tls: Tls | None = None, auth: bool = False) -> Iterator[str]:
    """Run Debian's docker-registry until the end of the block; its host and port."""
    path.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config: dict[str, object] = {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {
            "cache": {"blobdescriptor": "inmemory"},
            "filesystem": {"rootdirectory": str(path / "data")},
            "delete": {"enabled": True},
        },
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    if tls is not None:
        files = {"certificate": str(tls.certificate), "key": str(tls.key)}
        config["http"] = {"addr": f"127.0.0.1:{port}", "tls": files}
    if auth:
        file = htpasswd(path / "htpasswd")
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(file)}}
    (path / "registry.yml").write_text(json.dumps(config))
    with (path / "registry.log").open("wb") as log:
        process = subprocess.Popen(
            [require_program("docker-registry"), "serve", str(path / "registry.yml")],
            stdout=log,
            stderr=log,
        )
        try:
            wait_for_port(port)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)


@dataclass(frozen=True)
class Podman:
    """Podman with a store of its own."""

    path: Path

    def __call__(self, *arguments: str, check: bool = True) -> str:
        """Run it; return what it printed."""
        stores = ("--root", str(self.path / "root"), "--runroot", str(self.path / "run"))
        done = run(
            *(require_program("podman"), *stores, "--storage-driver", "vfs", *arguments),
            check=check,
        )
        return done.stdout.strip() if check else done.stdout + done.stderr

    def inspect(self, name: str, template: str) -> str:
        return self("image", "inspect", name, "--format", template)


@contextlib.contextmanager
def podman() -> Iterator[Podman]:
    """Lend a podman that has nothing yet; it takes only short paths for its files."""
    path = Path(tempfile.mkdtemp(prefix="podman-"))
    try:
        yield Podman(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)
