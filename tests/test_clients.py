"""Real clients accept every image: skopeo, podman, umoci, bsdtar, docker-registry."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline.host.layout import Layout
from pipeline.oci.validate import validate_layout
from tests.images import image_tree, layer_paths
from tests.programs import require_program, require_root
from tests.tasks.project import Project, embedded

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

GOARCH = {"amd64": "amd64", "aarch64": "arm64"}
IMAGES = [f"freebsd-{i}:{r}" for r in ("14.3", "15.0") for i in ("static", "dynamic", "runtime")]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = embedded(tmp_path_factory.mktemp("clients") / "p")
    project.build()
    return project


@pytest.fixture(scope="module")
def gzipped(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The same images as gzip, for clients that cannot read zstd."""
    project = embedded(tmp_path_factory.mktemp("clients-gzip") / "p")
    project.edit("format = 1\n", 'format = 1\ncompression = { algorithm = "gzip" }\n')
    project.build()
    return project


@dataclass(frozen=True)
class Registry:
    """Debian's docker-registry on loopback."""

    address: str


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    program = require_program("docker-registry")
    folder = tmp_path_factory.mktemp("registry")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{s.getsockname()[1]}"
    (folder / "config.yml").write_text(
        "version: 0.1\nlog: {level: error}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        f"http: {{addr: {address}}}\n"
    )
    with subprocess.Popen(
        [program, "serve", str(folder / "config.yml")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        host, port = address.split(":")
        for _ in range(100):
            try:
                socket.create_connection((host, int(port)), 0.2).close()
                break
            except OSError:
                time.sleep(0.1)
        yield Registry(address)
        process.terminate()


def run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout


@pytest.mark.parametrize("image", IMAGES)
def test_skopeo_inspects_each_platform(image: str, built: Project) -> None:
    skopeo = require_program("skopeo")
    for arch in GOARCH.values():
        out = run(
            skopeo,
            "--override-os",
            "freebsd",
            "--override-arch",
            arch,
            "inspect",
            f"oci:{built.output}:{image}",
        )
        d = json.loads(out)
        assert (d["Os"], d["Architecture"]) == ("freebsd", arch)
        assert d["Digest"] == built.digests()[image]
        assert d["Labels"]["org.pkgbase-oci.format"] == "1"


@pytest.mark.parametrize("image", IMAGES)
def test_skopeo_copies_with_digests_preserved(
    image: str, built: Project, registry: Registry, tmp_path: Path
) -> None:
    skopeo = require_program("skopeo")
    remote = f"docker://{registry.address}/{image}"
    run(
        skopeo,
        "copy",
        "--all",
        "--preserve-digests",
        "--dest-tls-verify=false",
        f"oci:{built.output}:{image}",
        remote,
    )
    raw = run(skopeo, "inspect", "--tls-verify=false", "--raw", remote)
    assert json.loads(raw)["mediaType"] == "application/vnd.oci.image.index.v1+json"
    run(
        skopeo,
        "copy",
        "--all",
        "--preserve-digests",
        "--src-tls-verify=false",
        remote,
        f"oci:{tmp_path}/back:x",
    )
    index = json.loads((tmp_path / "back/index.json").read_bytes())
    assert index["manifests"][0]["digest"] == built.digests()[image]


@pytest.mark.parametrize("image", IMAGES)
def test_podman_pulls_each_platform(
    image: str, built: Project, registry: Registry, tmp_path: Path
) -> None:
    require_root()
    podman = require_program("podman")
    skopeo = require_program("skopeo")
    run(
        skopeo,
        "copy",
        "--all",
        "--preserve-digests",
        "--dest-tls-verify=false",
        f"oci:{built.output}:{image}",
        f"docker://{registry.address}/{image}",
    )
    for arch in GOARCH.values():
        short = tempfile.mkdtemp(prefix="p", dir="/tmp")  # podman's limit is 50 characters
        base = [
            podman,
            "--root",
            f"{tmp_path}/{arch}",
            "--runroot",
            short,
            "--storage-driver",
            "vfs",
        ]
        name = f"{registry.address}/{image}"
        run(*base, "pull", "-q", "--tls-verify=false", "--os", "freebsd", "--arch", arch, name)
        d = json.loads(run(*base, "image", "inspect", name))[0]
        assert (d["Os"], d["Architecture"]) == ("freebsd", arch)
        mount = run(*base, "image", "mount", name).strip()
        assert (
            (Path(mount) / "etc/passwd")
            .read_bytes()
            .startswith(b"#" if "14" in image else b"root:")
        )
        run(*base, "image", "unmount", name)
        run(*base, "rmi", "-f", name)
        shutil.rmtree(short, ignore_errors=True)


@pytest.mark.parametrize("architecture", GOARCH)
@pytest.mark.parametrize("image", IMAGES)
def test_umoci_unpacks_what_we_say_is_in_it(
    image: str, architecture: str, gzipped: Project, tmp_path: Path
) -> None:
    require_root()
    umoci = require_program("umoci")
    name = f"{image}-{architecture}"
    # umoci's references hold no colon
    plain = tmp_path / "oci"
    skopeo = require_program("skopeo")
    run(skopeo, "copy", "--preserve-digests", f"oci:{gzipped.output}:{name}", f"oci:{plain}:x")
    run(umoci, "raw", "unpack", "--image", f"{plain}:x", str(tmp_path / "root"))
    tree = image_tree(gzipped.output, name)
    found = {str(p.relative_to(tmp_path / "root")) for p in (tmp_path / "root").rglob("*")}
    assert found == set(tree)
    for path, seen in tree.items():
        real = tmp_path / "root" / path
        s = real.lstat()
        assert (s.st_uid, s.st_gid) == (seen.member.uid, seen.member.gid), path
        if not real.is_symlink():
            assert s.st_mode & 0o7777 == seen.member.mode, path
        if real.is_file() and not real.is_symlink():
            assert real.read_bytes() == seen.content, path


@pytest.mark.parametrize("image", IMAGES)
def test_bsdtar_lists_every_layer(image: str, built: Project) -> None:
    bsdtar = require_program("bsdtar")
    for architecture in GOARCH:
        for path in layer_paths(built.output, f"{image}-{architecture}"):
            assert run(bsdtar, "-tf", str(path))


def test_gzip_images_are_valid_and_share_their_config_with_zstd(
    built: Project, gzipped: Project
) -> None:
    """Compression decides neither diff_ids nor image ids."""
    assert validate_layout(Layout(gzipped.output)) == ()
    for name in ("freebsd-static:15.0-amd64", "freebsd-static:14.3-aarch64"):
        configs = []
        for project in (built, gzipped):
            manifest = json.loads(project.blob(project.digests()[name]).read_bytes())
            configs.append(manifest["config"]["digest"])
        assert configs[0] == configs[1]


def test_docker_archive_and_oci_archive_can_be_made(gzipped: Project, tmp_path: Path) -> None:
    skopeo = require_program("skopeo")
    source = f"oci:{gzipped.output}:freebsd-runtime:15.0-amd64"
    base = [skopeo, "--override-os", "freebsd", "--override-arch", "amd64"]
    run(*base, "copy", source, f"oci-archive:{tmp_path}/x.tar:x")
    run(*base, "copy", source, f"docker-archive:{tmp_path}/y.tar:x:y")
    assert (tmp_path / "x.tar").stat().st_size > 100_000
    shutil.rmtree(tmp_path)
