"""Having the archives of a claim in a store, each believed by its digest.

Those that the store has are hashed. All that cannot be had are named, so that a mirror can be
looked for once. URLs that are a lock's word are fetched from the public internet only
(`verify_public`).
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.errors import ConfigurationError, DigestMismatchError, FetchError, NotFoundError
from pipeline.host.fetch import WantedFile, fetch_all, no_progress
from pipeline.host.http_fetcher import HttpFetcher
from pipeline.host.progress import Downloads
from pipeline.host.repository_url import open_fetcher
from reproducibility.verify_public import PublicFetcher

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.host.fetch import Fetcher, Progress
    from pipeline.host.store import Store
    from reproducibility.verify_sources import Archive, Needs

_NAMED: Final = 8


class UnavailableError(FetchError):
    """Archives that a lock pins are not where they were."""


def fetch_archives(needs: Needs, *, store: Store, is_quiet: bool) -> None:
    """Have all archives in a store.

    Args:
        needs: the archives.
        store: where they go.
        is_quiet: show no progress.

    Raises:
        UnavailableError: some are gone, or are others now.
        FetchError: a repository cannot be reached.
    """
    missing = [a for a in needs.archives if not store.verify(a.package.digest)]
    if not missing:
        return
    try:
        _fetch(missing, store, is_quiet=is_quiet)
    except (FetchError, ConfigurationError) as e:
        e.hint = e.hint or _hint(missing)
        raise


def _fetch(missing: Sequence[Archive], store: Store, *, is_quiet: bool) -> None:
    size = sum(a.package.size for a in missing)
    with contextlib.ExitStack() as stack:
        progress: Progress = no_progress
        if not is_quiet:
            progress = stack.enter_context(Downloads("fetching packages", len(missing), size))
        try:
            fetch_all(_wanted(missing), store=store, progress=progress)
        except (NotFoundError, DigestMismatchError):
            left = [a for a in missing if not store.has(a.package.digest)]
        else:
            return
    _fetch_one_by_one(left, store)


def _hint(archives: Sequence[Archive]) -> str:
    names = sorted({a.package.repository for a in archives})
    return f"name a mirror that has what the lock pins: --repository {names[0]}=URL"


def fetcher_for(url: str, *, is_given: bool) -> Fetcher:
    """Return how to read below a URL that the user has given, or else a lock."""
    fetcher = open_fetcher(url, base=Path())
    return PublicFetcher(url) if isinstance(fetcher, HttpFetcher) and not is_given else fetcher


def _wanted(archives: Sequence[Archive]) -> list[tuple[Fetcher, WantedFile]]:
    fetchers: dict[str, Fetcher] = {}
    for archive in archives:
        if archive.url not in fetchers:
            fetchers[archive.url] = fetcher_for(archive.url, is_given=archive.is_given)
    return [
        (
            fetchers[a.url],
            WantedFile(
                path=a.package.repopath,
                size=a.package.size,
                sum=a.package.sum,
                digest=a.package.digest,
            ),
        )
        for a in archives
    ]


def _fetch_one_by_one(archives: Sequence[Archive], store: Store) -> None:
    """Find out which archives cannot be had, and say so."""
    gone, other = [], []
    for archive in archives:
        name = f"{archive.package.name}-{archive.package.version}"
        try:
            fetch_all(_wanted([archive]), store=store)
        except NotFoundError:
            gone.append(name)
        except DigestMismatchError:
            other.append(name)
    parts = []
    if gone:
        parts.append(f"gone from the repository: {_listed(gone)}")
    if other:
        parts.append(f"another file under the same name: {_listed(other)}")
    if parts:
        raise UnavailableError("; ".join(parts))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(sorted(names)[:_NAMED]) + more
