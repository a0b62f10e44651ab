"""Stage `update`: resolve the declaration against the repositories as they are, and pin the answer.

catalogues (signed) ─► resolve each image ─► fetch and unpack every archive ─► lock
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.declaration.tables import FORMAT
from pipeline.errors import ConflictError, FormatError, UnsatisfiedError
from pipeline.formats.digest import Digest
from pipeline.host.fetch import WantedFile, fetch_all
from pipeline.host.progress import Downloads, note
from pipeline.host.repository_url import expand_url, open_fetcher, url_variables
from pipeline.host.store import write_atomically
from pipeline.pkg.abi import Abi, highest_osversion
from pipeline.pkg.lockfile import (
    REQUEST,
    Installed,
    Lock,
    LockedImage,
    LockedPackage,
    LockedRelease,
    LockedRepository,
    LockedTarget,
)
from pipeline.pkg.manifest import PackageManifest
from pipeline.pkg.packagesite import verify_manifest
from pipeline.pkg.request import Request
from pipeline.pkg.resolver import resolve
from pipeline.pkg.universe import Universe
from pipeline.pkg.version import PkgVersion
from pipeline.stages.catalogue import FetchedCatalogue, RepositorySettings, fetch_catalogue
from pipeline.stages.package import unpack_archive
from pipeline.stages.plan import picked_packages, read_lock, request_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from pipeline.declaration.tables import Declaration
    from pipeline.host.fetch import Fetcher
    from pipeline.host.store import Store
    from pipeline.pkg.universe import Candidate

_UNPACKERS: Final = 2
"""Packages unpacked at once; hashing and decompression run outside of Python's lock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """A release on one architecture while it is being resolved."""

    release: str
    architecture: str
    abi: str
    fetchers: Mapping[str, Fetcher]
    repositories: tuple[LockedRepository, ...]
    chosen: Mapping[str, Candidate]
    images: Mapping[str, LockedImage]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateResult:
    """A new lock, and what is different in it."""

    lock: Lock
    is_new: bool
    """Whether the file had to be written."""
    changes: tuple[str, ...]
    """Lines for people, one a package; empty if the packages are the same."""


def update_lock(
    declaration: Declaration,
    path: Path,
    *,
    root: Path,
    store: Store,
    source_date_epoch: int | None,
) -> UpdateResult:
    """Write the lock anew; leave the file alone if nothing changed.

    Args:
        declaration: what to resolve.
        path: the lock.
        root: where relative paths and `file:` URLs of the declaration start.
        store: archives go there, and are unpacked there.
        source_date_epoch: as the environment sets it; None derives it from the packages.

    Raises:
        PipelineError: a repository, a signature, a package or the request is at fault.
    """
    # (1) what the repositories offer, and which of it answers the declaration
    targets = [
        _resolve_target(declaration, release, architecture, root)
        for release, table in declaration.releases.items()
        for architecture in table.architectures
    ]
    # (2) fetch everything that was chosen
    digests = _fetch(targets, store)
    # (3) unpack and compare with what the catalogues say; the newest mtime is the epoch
    newest = _unpack(targets, digests, store)
    # (4) pin
    releases = {}
    for release in declaration.releases:
        own = [t for t in targets if t.release == release]
        epoch = source_date_epoch
        if epoch is None:
            epoch = max((newest[key] for t in own for key in _keys(t)), default=0)
        releases[release] = LockedRelease(
            source_date_epoch=epoch,
            request=request_of(declaration, release),
            architectures={t.architecture: _locked_target(t, digests) for t in own},
        )
    lock = Lock(format=FORMAT, releases=releases)
    # (5) write, if it is another one
    old = _old_lock(path)
    data = lock.to_bytes()
    is_new = old is None or old.to_bytes() != data
    if is_new:
        write_atomically(path, data)
    return UpdateResult(lock=lock, is_new=is_new, changes=tuple(describe_changes(old, lock)))


def _old_lock(path: Path) -> Lock | None:
    """Return the lock that is there; an unreadable one is about to be replaced."""
    try:
        return read_lock(path)
    except FormatError:
        return None


# ---------------------------------------------------------------- resolving


def _resolve_target(
    declaration: Declaration, release: str, architecture: str, root: Path
) -> _Target:
    variables = url_variables(release, architecture)
    names = declaration.releases[release].repositories
    urls = {name: expand_url(declaration.repositories[name].url, variables) for name in names}
    fetchers = {name: open_fetcher(url, base=root) for name, url in urls.items()}
    abi = Abi.parse(variables["ABI"])
    catalogues = [
        fetch_catalogue(_settings(declaration, name, abi, root), fetchers[name], say=note)
        for name in names
    ]
    major, _, minor = release.partition(".")
    universe = Universe.build(
        [c.catalogue for c in catalogues],
        abi=abi,
        osversion=highest_osversion(int(major), int(minor)),
    )
    chosen: dict[str, Candidate] = {}
    images: dict[str, LockedImage] = {}
    chains: dict[str, tuple[PackageManifest, ...]] = {}
    for image_name in declaration.image_order(release):
        image = declaration.images[image_name]
        installed = chains[image.parent] if image.parent else ()
        try:
            resolution = resolve(
                universe,
                [Request.parse(text) for text in image.packages],
                installed=installed,
                allow_missing=frozenset(image.allow_missing),
            )
        except (UnsatisfiedError, ConflictError, FormatError) as e:
            raise type(e)(f"images.{image_name}, {release} {architecture}: {e}", hint=e.hint) from e
        chains[image_name] = (
            *installed,
            *(p.candidate.manifest for p in resolution.packages),
        )
        for package in resolution.packages:
            _choose(chosen, package.candidate, image_name)
        picks = picked_packages(image, release)
        for name in picks:
            candidate = chosen.get(name) or universe.best(name)
            if candidate is None:
                near = ", ".join(universe.nearest_names(name))
                raise UnsatisfiedError(
                    f"images.{image_name}.files: no repository of {release} {architecture}"
                    f" has package {name!r}",
                    hint=f"nearest names: {near}" if near else None,
                )
            _choose(chosen, candidate, image_name)
        images[image_name] = LockedImage(
            packages=tuple(
                Installed(
                    name=p.name, asked_by=tuple(REQUEST if a is None else a for a in p.asked_by)
                )
                for p in resolution.packages
            ),
            requested=resolution.requested,
            picks=picks,
        )
    return _Target(
        release=release,
        architecture=architecture,
        abi=variables["ABI"],
        fetchers=fetchers,
        repositories=tuple(_locked_repository(c, urls) for c in catalogues),
        chosen={name: candidate.alone() for name, candidate in chosen.items()},
        images=images,
    )


def _settings(declaration: Declaration, name: str, abi: Abi, root: Path) -> RepositorySettings:
    repository = declaration.repositories[name]
    return RepositorySettings(
        name=name,
        priority=repository.priority,
        abi=abi,
        signature_type=repository.signature_type,
        fingerprints=root / repository.fingerprints if repository.fingerprints else None,
        pubkey=root / repository.pubkey if repository.pubkey else None,
        allow_unsigned=repository.allow_unsigned,
        allow_missing_meta=False,
    )


def _choose(chosen: dict[str, Candidate], candidate: Candidate, image: str) -> None:
    name = candidate.record.name
    other = chosen.setdefault(name, candidate)
    if other.record.version != candidate.record.version or other.repository != candidate.repository:
        raise ConflictError(
            f"images.{image} wants {candidate} of {candidate.repository},"
            f" another image of the release {other} of {other.repository}",
            hint=f"pin {name} to one version in all images",
        )


# ---------------------------------------------------------------- archives


def _keys(target: _Target) -> list[tuple[str, str, str]]:
    return [(target.release, target.architecture, name) for name in target.chosen]


def _fetch(targets: Iterable[_Target], store: Store) -> dict[tuple[str, str, str], Digest]:
    """Download what was chosen; return the sha256 of each archive."""
    keys = []
    wanted = []
    for target in targets:
        for key in _keys(target):
            candidate = target.chosen[key[2]]
            record = candidate.record
            known = Digest(record.sum.encoded) if record.sum.algorithm == "sha256" else None
            keys.append(key)
            wanted.append(
                (
                    target.fetchers[candidate.repository],
                    WantedFile(
                        path=record.repopath, size=record.pkgsize, sum=record.sum, digest=known
                    ),
                )
            )
    with Downloads("fetching packages", len(wanted), sum(w.size for _, w in wanted)) as progress:
        fetched = fetch_all(wanted, store=store, progress=progress)
    return {key: file.digest for key, file in zip(keys, fetched, strict=True)}


def _unpack(
    targets: Iterable[_Target], digests: Mapping[tuple[str, str, str], Digest], store: Store
) -> dict[tuple[str, str, str], int]:
    """Unpack archives and check their manifests; return the newest mtime in each."""

    def work(item: tuple[tuple[str, str, str], Candidate]) -> int:
        key, candidate = item
        record = candidate.record
        result = unpack_archive(digests[key], name=record.name, version=record.version, store=store)
        verify_manifest(PackageManifest.parse(store.read(result.manifest.digest)), record)
        return result.newest_mtime

    items = [(key, target.chosen[key[2]]) for target in targets for key in _keys(target)]
    with ThreadPoolExecutor(_UNPACKERS) as pool:
        newest = list(pool.map(work, items))
    return {key: mtime for (key, _), mtime in zip(items, newest, strict=True)}


def _locked_repository(fetched: FetchedCatalogue, urls: Mapping[str, str]) -> LockedRepository:
    name = fetched.catalogue.repository
    return LockedRepository(
        name=name,
        url=urls[name],
        catalogue_path=fetched.path,
        catalogue_digest=fetched.digest,
        catalogue_size=fetched.size,
        signature_type=fetched.signature_type,
        fingerprint=fetched.fingerprint,
    )


def _locked_target(target: _Target, digests: Mapping[tuple[str, str, str], Digest]) -> LockedTarget:
    packages = {}
    for key in _keys(target):
        candidate = target.chosen[key[2]]
        record = candidate.record
        packages[record.name] = LockedPackage(
            name=record.name,
            version=record.version,
            origin=record.manifest.origin,
            repository=candidate.repository,
            repopath=record.repopath,
            digest=digests[key],
            size=record.pkgsize,
            sum=record.sum,
            manifestdigest=record.manifestdigest,
            flatsize=record.manifest.flatsize,
        )
    return LockedTarget(
        abi=target.abi,
        repositories=target.repositories,
        packages=packages,
        images=target.images,
    )


# ---------------------------------------------------------------- what changed


def _versions(lock: Lock | None) -> dict[tuple[str, str, str], dict[str, str]]:
    """Return (release, image, package) -> {architecture: version} of everything installed."""
    result: dict[tuple[str, str, str], dict[str, str]] = {}
    for release, locked in lock.releases.items() if lock else ():
        for architecture, target in locked.architectures.items():
            for image_name, image in target.images.items():
                for name in (*(p.name for p in image.packages), *image.picks):
                    versions = result.setdefault((release, image_name, name), {})
                    versions[architecture] = target.packages[name].version
    return result


def describe_changes(old: Lock | None, new: Lock) -> Iterable[str]:
    """Yield a line for each package that came, went or changed, by release and image."""
    before, after = _versions(old), _versions(new)
    for key in sorted(before.keys() | after.keys()):
        release, image, name = key
        was, now = before.get(key, {}), after.get(key, {})
        for change, architectures in _grouped(was, now).items():
            where = f"{release} {image}"
            every = set(architectures) == set(was) | set(now)
            suffix = "" if every else f" ({', '.join(architectures)})"
            yield f"{where}: {change.format(name=name)}{suffix}"


def _grouped(was: Mapping[str, str], now: Mapping[str, str]) -> dict[str, list[str]]:
    """Return a change, with {name} for the package, to the architectures that have it."""
    result: dict[str, list[str]] = {}
    for architecture in sorted(was.keys() | now.keys()):
        old, new = was.get(architecture), now.get(architecture)
        if old == new:
            continue
        if old is None:
            text = f"+ {{name}} {new}"
        elif new is None:
            text = f"- {{name}} {old}"
        else:
            word = "^" if PkgVersion.parse(new) > PkgVersion.parse(old) else "v"
            text = f"{word} {{name}} {old} -> {new}"
        result.setdefault(text, []).append(architecture)
    return result
