"""Stage `fetch`: have every archive that a lock pins in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.formats import canonical_json
from pipeline.formats.digest import Digest
from pipeline.host.store import Blob, Record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pipeline.host.fetch import Fetcher
    from pipeline.host.store import Store
    from pipeline.pkg.lockfile import LockedPackage
    from pipeline.stages.plan import Plan

STAGE: Final = "fetch"


def locked_archives(plan: Plan) -> dict[str, tuple[str, LockedPackage]]:
    """Return every archive of a plan by digest, with the URL of its repository."""
    result: dict[str, tuple[str, LockedPackage]] = {}
    for image in plan.images.values():
        urls = {r.name: r.url for r in image.target.repositories}
        for package in image.sources:
            result.setdefault(str(package.digest), (urls[package.repository], package))
    return dict(sorted(result.items()))


def archive_inputs(plan: Plan) -> dict[str, object]:
    """Return what decides the outputs of this stage."""
    return {"archives": list(locked_archives(plan))}


def archives_digest(plan: Plan) -> str:
    """Return a digest of what decides the outputs of this stage."""
    return str(Digest.of(canonical_json.dumps(archive_inputs(plan))))


def recall_archives(plan: Plan, *, store: Store) -> bool:
    """Say whether all archives are in the store and hold."""
    return store.recall(STAGE, archive_inputs(plan)) is not None


def fetch_archives(plan: Plan, *, root: Path, store: Store, suspicious: bool = False) -> None:
    """Download the archives that are not in the store.

    Args:
        plan: what is needed.
        root: where relative `file:` URLs start.
        store: where archives go.
        suspicious: hash what is there already.
    """

    def make() -> Record:
        wanted = locked_archives(plan)
        missing = [
            (url, package) for url, package in wanted.values() if not store.verify(package.digest)
        ]
        download(missing, root=root, store=store)
        return Record(
            outputs={
                digest: Blob(digest=package.digest, size=package.size)
                for digest, (_, package) in wanted.items()
            },
            facts={},
        )

    store.memoise(STAGE, archive_inputs(plan), make, suspicious=suspicious)


def download(packages: Sequence[tuple[str, LockedPackage]], *, root: Path, store: Store) -> None:
    """Fetch archives, each from the URL beside it."""
    if not packages:
        return
    from pipeline.host.fetch import WantedFile, fetch_all  # noqa: PLC0415  - only with work to do
    from pipeline.host.progress import Downloads  # noqa: PLC0415
    from pipeline.host.repository_url import open_fetcher  # noqa: PLC0415

    fetchers: Mapping[str, Fetcher] = {
        url: open_fetcher(url, base=root) for url in sorted({url for url, _ in packages})
    }
    wanted = [
        (
            fetchers[url],
            WantedFile(
                path=package.repopath, size=package.size, sum=package.sum, digest=package.digest
            ),
        )
        for url, package in packages
    ]
    size = sum(package.size for _, package in packages)
    with Downloads("fetching packages", len(packages), size) as progress:
        fetch_all(wanted, store=store, progress=progress)
