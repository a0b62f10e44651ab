"""Downloads into the store: whole and right, or not there."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import DigestMismatchError, FetchError, HttpError, NotFoundError
from pipeline.formats.digest import Digest
from pipeline.host.directory_fetcher import DirectoryFetcher
from pipeline.host.fetch import (
    Fetcher,
    Receiver,
    WantedFile,
    fetch_all,
    fetch_file,
    part_path,
)
from pipeline.host.http_client import Patience
from pipeline.host.http_fetcher import HttpFetcher
from pipeline.host.store import Store
from pipeline.pkg.sum import Sum, zbase32
from tests.host.loopback import Loopback, Reply, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CONTENT = bytes(range(256)) * 4096
"""One mebibyte."""
QUICK = Patience(connect=10, read=10, attempts=3, backoff=0.001, longest_pause=0.05)


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    with serve() as server:
        server.files["/repo/a.pkg"] = CONTENT
        yield server


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def sha256_sum(content: bytes) -> Sum:
    return Sum.parse(hashlib.sha256(content).hexdigest())


def blake2_sum(content: bytes) -> Sum:
    return Sum.parse("2$" + zbase32(hashlib.blake2b(content).digest()))


def wanted(content: bytes = CONTENT, path: str = "a.pkg", *, size: int | None = None) -> WantedFile:
    return WantedFile(
        path=path,
        size=len(content) if size is None else size,
        sum=blake2_sum(content),
        digest=None,
    )


def http(loopback: Loopback) -> HttpFetcher:
    return HttpFetcher(f"{loopback.url}/repo", patience=QUICK)


def files_below(directory: Path) -> list[str]:
    return sorted(p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file())


def blob_name(content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    return f"blobs/sha256/{digest}"


# ---------------------------------------------------------------- one file


@pytest.mark.parametrize("make_sum", [sha256_sum, blake2_sum], ids=["sha256", "blake2b"])
def test_file_lies_in_the_store_by_its_sha256(
    loopback: Loopback, store: Store, make_sum: Callable[[bytes], Sum]
) -> None:
    file = WantedFile(path="a.pkg", size=len(CONTENT), sum=make_sum(CONTENT), digest=None)
    fetched = fetch_file(http(loopback), file, store=store, durable=True)
    assert fetched.digest == Digest.of(CONTENT)
    assert store.read(fetched.digest) == CONTENT
    assert files_below(store.root) == [blob_name(CONTENT)]
    assert store.path(fetched.digest).stat().st_mode & 0o777 == 0o444


def test_empty_file(loopback: Loopback, store: Store) -> None:
    loopback.files["/repo/a.pkg"] = b""
    assert fetch_file(http(loopback), wanted(b""), store=store).digest == Digest.of(b"")
    assert loopback.requests == []  # nothing is missing


def test_known_digest_is_compared_too(loopback: Loopback, store: Store) -> None:
    file = WantedFile(
        path="a.pkg", size=len(CONTENT), sum=blake2_sum(CONTENT), digest=Digest.of(b"other")
    )
    with pytest.raises(DigestMismatchError, match=r"a\.pkg: got sha256:"):
        fetch_file(http(loopback), file, store=store)
    assert files_below(store.root) == []


def test_content_that_is_not_what_the_sum_says(loopback: Loopback, store: Store) -> None:
    loopback.files["/repo/a.pkg"] = CONTENT[:-1] + b"x"
    with pytest.raises(DigestMismatchError, match=r"^a\.pkg: sum: got \w+, want \w+$"):
        fetch_file(http(loopback), wanted(), store=store)
    assert files_below(store.root) == []


@pytest.mark.parametrize("size", [len(CONTENT) - 1, len(CONTENT) + 1])
def test_length_that_is_not_what_the_catalogue_says(
    loopback: Loopback, store: Store, size: int
) -> None:
    """Content-Length tells, before any of it is read."""
    with pytest.raises(DigestMismatchError, match=f"a.pkg: size: got {len(CONTENT)}, want {size}"):
        fetch_file(http(loopback), wanted(size=size), store=store)
    assert files_below(store.root) == []


def test_more_content_than_was_promised(store: Store) -> None:
    class Endless:
        def fetch_bytes(self, path: str, *, max_length: int) -> bytes:
            raise AssertionError(path, max_length)

        def fetch_into(self, path: str, receiver: Receiver) -> None:
            assert path
            while True:
                receiver.write(bytes(1 << 16))

    with pytest.raises(DigestMismatchError, match=f"size: got more, want {len(CONTENT)}"):
        fetch_file(Endless(), wanted(), store=store)
    assert files_below(store.root) == []


def test_progress_is_heard(loopback: Loopback, store: Store) -> None:
    heard: list[int] = []
    fetch_file(http(loopback), wanted(), store=store, progress=lambda _, size: heard.append(size))
    assert heard[0] == 0
    assert heard[-1] == len(CONTENT)
    assert heard == sorted(heard)


def test_unwritable_store_is_an_error_of_ours(loopback: Loopback, tmp_path: Path) -> None:
    (tmp_path / "store").write_bytes(b"a file")
    with pytest.raises(FetchError, match=r"\.part: (file exists|not a directory)"):
        fetch_file(http(loopback), wanted(), store=Store(tmp_path / "store"))


# ---------------------------------------------------------------- parts of earlier runs


def leave_part(store: Store, content: bytes) -> Path:
    path = part_path(store, wanted())
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


@dataclass
class Halting:
    """A fetcher that dies in the middle."""

    content: bytes

    def fetch_bytes(self, path: str, *, max_length: int) -> bytes:
        raise AssertionError(path, max_length)

    def fetch_into(self, path: str, receiver: Receiver) -> None:
        receiver.write(self.content)
        raise FetchError(f"{path}: the connection broke off")


def test_cut_off_download_goes_on_the_next_time(loopback: Loopback, store: Store) -> None:
    with pytest.raises(FetchError, match="broke off"):
        fetch_file(Halting(CONTENT[:1000]), wanted(), store=store)
    assert part_path(store, wanted()).read_bytes() == CONTENT[:1000]
    fetched = fetch_file(http(loopback), wanted(), store=store)
    assert [request.headers["range"] for request in loopback.requests] == ["bytes=1000-"]
    assert store.read(fetched.digest) == CONTENT
    assert files_below(store.root) == [blob_name(CONTENT)]


def test_complete_part_needs_no_request(loopback: Loopback, store: Store) -> None:
    leave_part(store, CONTENT)
    assert fetch_file(http(loopback), wanted(), store=store).digest == Digest.of(CONTENT)
    assert loopback.requests == []


@pytest.mark.parametrize("junk", [b"x" * 1000, b"x" * len(CONTENT)], ids=["short", "complete"])
def test_damaged_part_is_fetched_anew(loopback: Loopback, store: Store, junk: bytes) -> None:
    leave_part(store, junk)
    assert fetch_file(http(loopback), wanted(), store=store).digest == Digest.of(CONTENT)
    assert "range" not in loopback.requests[-1].headers


def test_oversized_part_is_fetched_anew(loopback: Loopback, store: Store) -> None:
    leave_part(store, CONTENT + b"x")
    assert fetch_file(http(loopback), wanted(), store=store).digest == Digest.of(CONTENT)
    assert "range" not in loopback.requests[0].headers


def test_damaged_part_does_not_excuse_wrong_content(loopback: Loopback, store: Store) -> None:
    leave_part(store, b"x")
    loopback.files["/repo/a.pkg"] = CONTENT[::-1]
    with pytest.raises(DigestMismatchError):
        fetch_file(http(loopback), wanted(), store=store)
    assert len(loopback.requests) == 2
    assert files_below(store.root) == []


def test_directory_does_not_trust_a_part(tmp_path: Path, store: Store) -> None:
    (tmp_path / "a.pkg").write_bytes(CONTENT)
    leave_part(store, b"x" * 1000)
    fetched = fetch_file(DirectoryFetcher(tmp_path), wanted(), store=store)
    assert store.read(fetched.digest) == CONTENT


def test_two_downloads_of_one_file_do_not_mix(loopback: Loopback, store: Store) -> None:
    """As two builds with one store; the lock is per open file, so threads will do."""
    results: list[Digest] = []

    def run() -> None:
        results.append(fetch_file(http(loopback), wanted(), store=store).digest)

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [Digest.of(CONTENT)] * 6
    assert files_below(store.root) == [blob_name(CONTENT)]


# ---------------------------------------------------------------- many files


def many(loopback: Loopback, count: int) -> list[tuple[Fetcher, WantedFile]]:
    fetcher = http(loopback)
    result: list[tuple[Fetcher, WantedFile]] = []
    for i in range(count):
        content = b"%d " % i * 1000
        loopback.files[f"/repo/{i}.pkg"] = content
        result.append((fetcher, wanted(content, f"{i}.pkg")))
    return result


def test_files_come_in_the_order_of_the_request(loopback: Loopback, store: Store) -> None:
    jobs = many(loopback, 40)
    fetched = fetch_all(jobs, store=store)
    assert [f.wanted for f in fetched] == [file for _, file in jobs]
    assert all(store.read(f.digest).startswith(b"%d " % i) for i, f in enumerate(fetched))
    assert len(files_below(store.root)) == 40


def test_connections_are_used_again(loopback: Loopback, store: Store) -> None:
    fetch_all(many(loopback, 40), store=store, workers=4)
    assert len(loopback.connections) <= 4
    assert sum(loopback.connections.values()) == 40


def test_same_content_is_fetched_once(loopback: Loopback, store: Store) -> None:
    fetcher = http(loopback)
    loopback.files["/repo/b.pkg"] = CONTENT
    fetched = fetch_all(
        [(fetcher, wanted()), (fetcher, wanted(path="b.pkg")), (fetcher, wanted())], store=store
    )
    assert [f.wanted.path for f in fetched] == ["a.pkg", "b.pkg", "a.pkg"]
    assert {f.digest for f in fetched} == {Digest.of(CONTENT)}
    assert [request.path for request in loopback.requests] == ["/repo/a.pkg"]


def test_nothing_wanted_is_nothing_fetched(store: Store) -> None:
    assert fetch_all([], store=store) == ()


@pytest.mark.parametrize("workers", [0, 1, 8])
def test_any_number_of_workers(loopback: Loopback, store: Store, workers: int) -> None:
    assert len(fetch_all(many(loopback, 10), store=store, workers=workers)) == 10


def test_first_failure_stops_the_others(loopback: Loopback, store: Store) -> None:
    """A slow download must not be waited for, and leaves its part for the next time."""
    jobs = many(loopback, 3)
    del loopback.files["/repo/1.pkg"]
    started = threading.Event()

    class Slow:
        def fetch_bytes(self, path: str, *, max_length: int) -> bytes:
            raise AssertionError(path, max_length)

        def fetch_into(self, path: str, receiver: Receiver) -> None:
            assert path
            receiver.write(CONTENT[:10])
            started.set()
            receiver.pause(60)

    class Late:
        def fetch_bytes(self, path: str, *, max_length: int) -> bytes:
            raise AssertionError(path, max_length)

        def fetch_into(self, path: str, receiver: Receiver) -> None:
            started.wait(30)
            http(loopback).fetch_into(path, receiver)

    begun = time.monotonic()
    with pytest.raises(NotFoundError, match=r"1\.pkg: not found"):
        fetch_all([(Slow(), wanted()), (Late(), jobs[1][1])], store=store)
    assert time.monotonic() - begun < 50
    assert part_path(store, wanted()).read_bytes() == CONTENT[:10]


def test_stopped_downloads_go_on_the_next_time(loopback: Loopback, store: Store) -> None:
    jobs = many(loopback, 10)
    loopback.script = [Reply(status=403)]
    with pytest.raises(HttpError, match="HTTP status 403"):
        fetch_all(jobs, store=store, workers=2)
    assert len(fetch_all(jobs, store=store)) == 10
    assert not list((store.root / "part").iterdir())


DYING = """
import os, sys
from pathlib import Path
from pipeline.host.fetch import WantedFile, fetch_file
from pipeline.host.store import Store
from pipeline.pkg.sum import Sum

class Dying:
    def fetch_into(self, path, receiver):
        receiver.write(bytes(1 << 21))
        os.kill(os.getpid(), 9)

wanted = WantedFile(path="a.pkg", size=1 << 22, sum=Sum.parse("0" * 64), digest=None)
fetch_file(Dying(), wanted, store=Store(Path(sys.argv[1])))
"""


def test_kill_leaves_a_part_and_nothing_under_a_final_name(store: Store) -> None:
    run = subprocess.run(
        [sys.executable, "-c", DYING, store.root], check=False, cwd=Path(__file__).parents[2]
    )
    assert run.returncode == -9
    (part,) = files_below(store.root)
    assert part.startswith("part/")
    assert 0 < (store.root / part).stat().st_size <= 1 << 21
