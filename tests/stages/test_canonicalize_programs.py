"""Real programs: what tar, bsdtar and buildah made twice becomes once, and real clients take it."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline.canonicalize import main
from tests.foreign import COMPRESS, DATABASE, DATABASES, EPOCH, SAME, content, members, named
from tests.programs import require_program, require_root
from tests.tasks.project import embedded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow

AT = ("--source-date-epoch", str(EPOCH))
SPARSE = "var/db/services.db"
SPARSE_SIZE = 2_097_920


def run(*argv: str, cwd: Path | None = None, stdin: str = "") -> str:
    """Run a program; return what it wrote."""
    program = require_program(argv[0])
    environment = {**os.environ, "TZ": "UTC", "LC_ALL": "C.UTF-8"}
    result = subprocess.run(
        [program, *argv[1:]],
        cwd=cwd,
        input=stdin,
        env=environment,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
    )
    assert result.returncode == 0, f"{argv}: {result.stderr}"
    return result.stdout


def root(path: Path, database: str, delay: int) -> Path:
    """Make a root as pkg does: old files keep their times, everything else is of now."""
    for folder in ("bin", "etc", "tmp", "usr/bin", "var/db/pkg"):
        (path / folder).mkdir(parents=True)
    (path / "tmp").chmod(0o1777)
    files = {
        "bin/[": (b"\x7fELF" + bytes(range(256)) * 40, 0o555),
        "etc/master.passwd": (b"root:*:0:0::0:0::/root:/bin/sh\n", 0o600),
        "etc/group": (b"wheel:*:0:root\n", 0o644),
        "usr/bin/su": (b"setuid\n", 0o4555),
        "usr/bin/naïve \udcff": (b"name\n", 0o644),
        DATABASE: (DATABASES[database], 0o644),
    }
    for name, (data, mode) in files.items():
        (path / name).write_bytes(data)
        (path / name).chmod(mode)
        if name != DATABASE:
            os.utime(path / name, (1_600_000_000.25, 1_600_000_000.25))
    os.link(path / "bin/[", path / "bin/test")
    (path / "bin/sh").symlink_to("../usr/bin/sh")
    with (path / SPARSE).open("wb") as f:
        f.write(b"first")
        f.seek(SPARSE_SIZE - 300)
        f.write(b"last")
        f.truncate(SPARSE_SIZE)
    now = EPOCH + 1000 + delay
    for entry in (path / SPARSE, path / "bin/sh", *path.rglob("*/"), path):
        os.utime(entry, (now, now), follow_symlinks=False)
    return path


def tar_of(*options: str) -> Callable[[Path, Path], object]:
    """Return how GNU tar packs a directory."""
    return lambda source, target: run("tar", *options, "-C", str(source), "-cf", str(target), ".")


def shuffled(source: Path, target: Path) -> None:
    """Pack in an order of names backwards, as no tool would by itself."""
    names = sorted((str(p.relative_to(source)) for p in source.rglob("*")), reverse=True)
    listed = "\0".join(name.encode("utf-8", "surrogateescape").decode("latin-1") for name in names)
    list_file = target.with_suffix(".list")
    list_file.write_bytes(listed.encode("latin-1"))
    run(
        *("tar", "--format=posix", "--no-recursion", "--null", "--verbatim-files-from"),
        *("-C", str(source), "-T", str(list_file), "-cf", str(target)),
    )


def bsdtar_of(*options: str, strip: bool = False) -> Callable[[Path, Path], object]:
    """Return how bsdtar packs a directory, as FreeBSD's own script does where it strips."""
    stripped = ("--strip-components", "1") if strip else ()
    return lambda source, target: run(
        "bsdtar", *options, "-C", str(source), *stripped, "-cf", str(target), "."
    )


PACKERS: dict[str, Callable[[Path, Path], object]] = {
    "gnu": tar_of("--format=gnu"),
    "gnu-sparse": tar_of("--format=gnu", "-S"),
    "gnu-numeric-xz": tar_of("--format=gnu", "--numeric-owner", "-J"),
    "posix": tar_of("--format=posix", "--sort=name"),
    "posix-sparse-0.0": tar_of("--format=posix", "-S", "--sparse-version=0.0"),
    "posix-sparse-0.1": tar_of("--format=posix", "-S", "--sparse-version=0.1"),
    "posix-sparse-1.0": tar_of("--format=posix", "-S", "--sparse-version=1.0", "-z"),
    "owners": tar_of("--format=posix", "--owner=toor:0", "--group=root:0", "--xattrs"),
    "shuffled": shuffled,
    "bsdtar": bsdtar_of(),
    "bsdtar-pax": bsdtar_of("--format=pax", "-z"),
    "bsdtar-gnutar": bsdtar_of("--format=gnutar", "-j"),
    "bsdtar-stripped": bsdtar_of("--no-read-sparse", strip=True),
}


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the same root, made twice: at other times, with another history of the database."""
    require_root()
    folder = tmp_path_factory.mktemp("trees")
    return root(folder / "first", SAME[0], 0), root(folder / "second", SAME[3], 54321)


@pytest.fixture(scope="module")
def canonical(trees: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the canonical tar of the tree."""
    folder = tmp_path_factory.mktemp("canonical")
    PACKERS["posix"](trees[0], folder / "in")
    assert main(["tar", f"{folder}/in", "--output", f"{folder}/out.tar", *AT]) == 0
    return (folder / "out.tar").read_bytes()


def test_the_tree_is_there(canonical: bytes) -> None:
    """With a name that is not UTF-8, a hard link, a setuid program, and an ordinary services.db."""
    got = members(canonical)
    assert len(got) == 17
    assert got["bin/test"].linkname == "bin/["
    assert got["usr/bin/su"].mode == 0o4555
    assert got["usr/bin/naïve \udcff"].size == 5
    services = content(canonical, SPARSE)
    assert (len(services), services[:5], services[-300:-296]) == (SPARSE_SIZE, b"first", b"last")


@pytest.mark.parametrize("name", sorted(PACKERS))
@pytest.mark.parametrize("which", [0, 1])
def test_every_packer_gives_the_same(
    name: str, which: int, trees: tuple[Path, Path], canonical: bytes, tmp_path: Path
) -> None:
    """Thirteen ways to pack, of either build."""
    PACKERS[name](trees[which], tmp_path / "in")
    assert main(["tar", f"{tmp_path}/in", "--output", f"{tmp_path}/out.tar", *AT]) == 0
    assert (tmp_path / "out.tar").read_bytes() == canonical


def test_the_root_in_place_gives_the_same(
    canonical: bytes, tmp_path: Path, trees: tuple[Path, Path]
) -> None:
    """After `root --all` there is nothing left for `tar` to do but to sort."""
    run("cp", "-a", str(trees[1]), f"{tmp_path}/root")
    assert main(["root", f"{tmp_path}/root", "--all", *AT]) == 0
    PACKERS["bsdtar"](tmp_path / "root", tmp_path / "in")
    assert main(["tar", f"{tmp_path}/in", "--output", f"{tmp_path}/out.tar", *AT]) == 0
    assert (tmp_path / "out.tar").read_bytes() == canonical


@pytest.mark.parametrize("program", ["tar", "bsdtar"])
def test_unpacking_and_packing_again_gives_the_same(
    program: str, canonical: bytes, tmp_path: Path
) -> None:
    """Nothing was lost on the way."""
    (tmp_path / "x.tar.zst").write_bytes(COMPRESS["zstd"](canonical))
    (tmp_path / "x").mkdir()
    run(program, "-C", f"{tmp_path}/x", "-xpf", f"{tmp_path}/x.tar.zst")
    PACKERS["gnu"](tmp_path / "x", tmp_path / "in")
    assert main(["tar", f"{tmp_path}/in", "--output", f"{tmp_path}/out.tar", *AT]) == 0
    assert (tmp_path / "out.tar").read_bytes() == canonical


def test_extended_attributes_are_told(
    trees: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By name, whoever packed."""
    run("cp", "-a", str(trees[0]), f"{tmp_path}/root")
    try:
        os.setxattr(tmp_path / "root/etc/group", "user.note", b"x")
    except OSError:
        pytest.skip("no extended attributes on this file system")
    for name, pack in (
        ("tar", tar_of("--format=posix", "--xattrs", "--xattrs-include=*")),
        ("bsdtar", bsdtar_of("--format=pax", "--xattrs")),
    ):
        pack(tmp_path / "root", tmp_path / name)
        capsys.readouterr()
        assert main(["tar", f"{tmp_path}/{name}", "--output", f"{tmp_path}/x.tar", *AT]) == 2
        assert "(user.note) on './etc/group'" in capsys.readouterr().err


# ---------------------------------------------------------------- images


class Buildah:
    """Buildah and podman with a storage of their own."""

    def __init__(self, folder: Path, runroot: Path) -> None:
        """Podman takes no run root of more than 50 characters."""
        self._storage = ("--root", f"{folder}/storage", "--runroot", str(runroot))
        self._vfs = ("--storage-driver", "vfs")

    def run(self, *arguments: str) -> str:
        """Run buildah."""
        return run("buildah", *self._storage, *self._vfs, *arguments).strip()

    def podman(self, *arguments: str) -> str:
        """Run podman."""
        return run("podman", *self._storage, *self._vfs, *arguments).strip()

    def image(self, tree: Path, layout: str) -> None:
        """Build an image of two layers."""
        container = self.run("from", "scratch")
        self.run("add", container, str(tree), "/")
        self.run("config", "--os", "freebsd", "--arch", "amd64", "--cmd", "/bin/sh", container)
        self.run("config", "--label", "purpose=test", "--env", "A=b", container)
        self.run("commit", "-q", container, "first")
        self.run("rm", container)
        container = self.run("from", "--pull-never", "localhost/first")
        mount = Path(self.run("mount", container))
        (mount / "usr/bin/su").unlink()
        (mount / "etc/motd").write_text("hello\n")
        self.run("umount", container)
        self.run("commit", "-q", container, f"oci:{layout}")
        self.run("rm", container)
        self.run("rmi", "localhost/first")


@pytest.fixture(scope="module")
def runroot() -> Iterator[Path]:
    """Return a directory with a short name."""
    with tempfile.TemporaryDirectory(prefix="canon-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def images(
    trees: tuple[Path, Path], runroot: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return a directory with two layouts, built with buildah from the two trees."""
    folder = tmp_path_factory.mktemp("images")
    buildah = Buildah(folder, runroot)
    for name, tree in zip(("a", "b"), trees, strict=True):
        buildah.image(tree, f"{folder}/{name}:freebsd:15.0")
    for name in ("a", "b"):
        arguments = ["oci", f"{folder}/{name}", "--output", f"{folder}/{name}-out", *AT]
        assert main([*arguments, "--compression", "gzip"]) == 0
    return folder


def digest_of(layout: Path) -> str:
    """Return the digest of the manifest."""
    digest = named(layout, "freebsd:15.0")["digest"]
    assert isinstance(digest, str)
    return digest


def test_two_builds_of_an_image_are_one(images: Path) -> None:
    """Buildah's own differ, in the times and in the database at the least."""
    assert digest_of(images / "a") != digest_of(images / "b")
    assert digest_of(images / "a-out") == digest_of(images / "b-out")
    assert main(["diff", f"{images}/a", f"{images}/b", "--ignore-times"]) == 0
    assert main(["diff", f"{images}/a-out", f"{images}/b-out"]) == 0


def test_skopeo_takes_it(images: Path, tmp_path: Path) -> None:
    """Digests stay through a copy; what was configured is there."""
    place = f"oci:{images}/a-out:freebsd:15.0"
    config = json.loads(run("skopeo", "inspect", "--config", place))
    assert config["config"]["Cmd"] == ["/bin/sh"]
    assert config["config"]["Labels"]["purpose"] == "test"
    assert "A=b" in config["config"]["Env"]
    assert config["created"] == "2023-11-14T22:13:20Z"
    run("skopeo", "copy", "--preserve-digests", place, f"dir:{tmp_path}/dir")
    raw = run("skopeo", "inspect", "--format", "{{.Digest}}", place).strip()
    assert raw == digest_of(images / "a-out")


def test_podman_takes_it(images: Path, tmp_path: Path, runroot: Path) -> None:
    """Unpacked in its storage, the tree is whole and the whiteout has been followed."""
    podman = Buildah(tmp_path, runroot)
    podman.podman("pull", "-q", f"oci:{images}/a-out:freebsd:15.0")
    (identifier,) = podman.podman("images", "-q").split()
    mount = Path(podman.podman("image", "mount", identifier))
    try:
        assert (mount / "etc/motd").read_text() == "hello\n"
        assert not (mount / "usr/bin/su").exists()
        assert (mount / "bin/test").samefile(mount / "bin/[")
        assert (mount / "tmp").stat().st_mode & 0o7777 == 0o1777
    finally:
        podman.podman("image", "umount", identifier)


def test_umoci_takes_it(images: Path, tmp_path: Path) -> None:
    """Another implementation of layers."""
    run("umoci", "raw", "unpack", "--image", f"{images}/a-out:freebsd:15.0", f"{tmp_path}/root")
    assert not (tmp_path / "root/usr/bin/su").exists()
    assert (tmp_path / "root/etc/motd").read_text() == "hello\n"
    assert (tmp_path / "root" / SPARSE).stat().st_size == SPARSE_SIZE
    assert int((tmp_path / "root" / DATABASE).stat().st_mtime) == EPOCH


# ---------------------------------------------------------------- our own


def test_our_own_images_do_not_change(tmp_path: Path) -> None:
    """What this project builds is canonical: every index and manifest, at its release's epoch."""
    project = embedded(tmp_path / "project")
    project.build()
    lock = json.loads((project.path / "images.lock.json").read_bytes())
    digests = project.digests()
    assert len(digests) > 10
    for name in digests:
        release = name.partition(":")[2].partition("-")[0]
        epoch = str(lock["releases"][release]["source_date_epoch"])
        arguments = ["oci", f"{project.output}:{name}", "--output", f"{tmp_path}/out"]
        assert main([*arguments, "--source-date-epoch", epoch]) == 0
    assert project.digests(tmp_path / "out") == digests
