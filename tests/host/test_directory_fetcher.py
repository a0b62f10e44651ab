"""Repositories in a directory: what lies in it, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.errors import ConfigurationError, FetchError, NotFoundError, TooLargeError
from pipeline.host.directory_fetcher import DirectoryFetcher

HASHED = Path(__file__).parents[2] / "fixtures" / "repositories" / "hashed"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    directory = tmp_path / "repository"
    (directory / "All").mkdir(parents=True)
    (directory / "meta.conf").write_bytes(b"version = 2")
    (tmp_path / "outside").write_bytes(b"secret")
    return directory


def get(root: Path, path: str, limit: int = 1 << 20) -> bytes:
    return DirectoryFetcher(root).fetch_bytes(path, max_length=limit)


def test_file_of_the_directory(root: Path) -> None:
    assert get(root, "meta.conf") == b"version = 2"
    assert get(root, "meta.conf", 11) == b"version = 2"


def test_limit(root: Path) -> None:
    with pytest.raises(TooLargeError, match=r"meta\.conf: longer than the limit of 10 bytes"):
        get(root, "meta.conf", 10)


@pytest.mark.parametrize("path", ["data.pkg", "All/x.pkg", "meta.conf/x"])
def test_missing_file(root: Path, path: str) -> None:
    with pytest.raises(NotFoundError, match=f"{path}: not found"):
        get(root, path)


def test_missing_directory_is_no_missing_file(tmp_path: Path) -> None:
    """Otherwise an unmounted disk would look like a repository without meta.conf."""
    with pytest.raises(ConfigurationError, match="no such directory"):
        get(tmp_path / "gone", "meta.conf")


@pytest.mark.parametrize("path", ["../outside", "All/../../outside", "/etc/passwd"])
def test_paths_that_lead_out(root: Path, path: str) -> None:
    with pytest.raises(FetchError, match="leads out of the repository"):
        get(root, path)


@pytest.mark.parametrize("target", ["../outside", "/etc/passwd", "All/../../outside"])
def test_symlinks_that_lead_out(root: Path, target: str) -> None:
    (root / "link").symlink_to(target)
    with pytest.raises(FetchError, match="leads out of the repository"):
        get(root, "link")
    (root / "directory").symlink_to("..")
    with pytest.raises(FetchError, match="leads out of the repository"):
        get(root, "directory/outside")


def test_symlinks_that_stay_inside() -> None:
    """The plain names of `pkg repo -h -s` are symlinks into All/Hashed."""
    links = [path for path in sorted((HASHED / "All").iterdir()) if path.is_symlink()]
    assert len(links) == 6
    for link in links:
        assert get(HASHED, f"All/{link.name}") == link.resolve().read_bytes()


def test_root_may_be_a_symlink_itself(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    assert get(tmp_path / "link", "meta.conf") == b"version = 2"


def test_loop_of_symlinks(root: Path) -> None:
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    with pytest.raises(FetchError, match="a: "):
        get(root, "a")


def test_what_is_no_file(root: Path) -> None:
    with pytest.raises(FetchError, match="is a directory"):
        get(root, "All")
    os.mkfifo(root / "pipe")
    with pytest.raises(FetchError, match="is no regular file"):
        get(root, "pipe")


def test_path_with_nul(root: Path) -> None:
    with pytest.raises(FetchError, match="no usable path"):
        get(root, "a\0b")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(root: Path) -> None:
    (root / "meta.conf").chmod(0)
    with pytest.raises(FetchError, match="permission denied"):
        get(root, "meta.conf")


def test_name_that_is_too_long(root: Path) -> None:
    with pytest.raises(FetchError, match="file name too long"):
        get(root, "x" * 5000)
