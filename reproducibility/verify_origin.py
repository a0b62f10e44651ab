"""Who stands by the packages: are they those of a catalogue that a trusted key has signed?

A lock pins archives by digest, and an image that is rebuilt from it is made of these archives,
whosever they are. With the keys of their repository, which the user has from there and never from
the lock, that is told as well: the bytes of each archive have the checksum that the repository's
signed catalogue has for the package of that name and version.

Catalogues change: one that has newer packages by now says nothing about the older ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import ConfigurationError, PipelineError
from pipeline.formats.digest import CHUNK
from pipeline.pkg.abi import Abi
from pipeline.stages.catalogue import FetchedCatalogue, RepositorySettings, fetch_catalogue
from reproducibility.verify_archives import fetcher_for
from reproducibility.verify_result import Origin
from reproducibility.verify_sources import repository_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.host.store import Store
    from pipeline.pkg.lockfile import LockedPackage
    from pipeline.pkg.record import CatalogueRecord
    from pipeline.stages.plan import ImagePlan, Plan
    from reproducibility.verify_sources import Substitutes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """The packages of a repository for one release and architecture."""

    repository: str
    image: ImagePlan
    """Any that has some of them."""
    packages: dict[str, LockedPackage] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"{self.repository} {self.image.release}:{self.image.architecture}"


def parse_trusted(pairs: tuple[str, ...]) -> dict[str, Path]:
    """Read `NAME=DIR`, where each directory has one called trusted.

    Raises:
        ConfigurationError: it is no such pair, or no such directory.
    """
    trusted = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not name or not equals or not text:
            raise ConfigurationError(f"got --fingerprints {pair!r}, want NAME=DIR")
        if not (Path(text) / "trusted").is_dir():
            raise ConfigurationError(f"--fingerprints {text}: has no directory trusted")
        trusted[name] = Path(text)
    return trusted


def check_origins(
    plan: Plan, trusted: Mapping[str, Path], substitutes: Substitutes, *, store: Store
) -> tuple[Origin, ...]:
    """Say of each repository whether its packages are those that its keys have signed.

    Args:
        plan: what was built.
        trusted: directories of fingerprints, by the name of the repository.
        substitutes: where repositories are, if not where the lock says.
        store: has the archives.
    """
    found = []
    for name, folder in sorted(trusted.items()):
        groups = _groups(plan, name)
        if not groups:
            known = ", ".join(sorted(plan.declaration.repositories))
            problem = f"no package is of a repository of that name, there is {known[:300]}"
            found.append(Origin(repository=name, key="", packages=0, unknown=(), problem=problem))
        found += [_check(group, folder, substitutes, store) for group in groups]
    return tuple(found)


def _groups(plan: Plan, name: str) -> tuple[_Group, ...]:
    groups: dict[tuple[str, str], _Group] = {}
    for image in plan.images.values():
        own = {p.name: p for p in image.sources if p.repository == name}
        if own:
            key = (image.release, image.architecture)
            group = groups.setdefault(key, _Group(repository=name, image=image))
            group.packages.update(own)
    return tuple(groups.values())


def _check(group: _Group, folder: Path, substitutes: Substitutes, store: Store) -> Origin:
    key, problem = "", ""
    unknown: tuple[str, ...] = ()
    try:
        fetched = _catalogue(group, folder, substitutes)
        key = fetched.fingerprint
        records = {(r.name, r.version): r for r in fetched.catalogue.records}
        unknown = tuple(
            f"{package.name}-{package.version}"
            for package in group.packages.values()
            if not _is_known(package, records, store)
        )
    except PipelineError as e:
        problem = str(e)
    return Origin(
        repository=group.label,
        key=key,
        packages=len(group.packages),
        unknown=unknown,
        problem=problem,
    )


def _catalogue(group: _Group, folder: Path, substitutes: Substitutes) -> FetchedCatalogue:
    settings = RepositorySettings(
        name=group.repository,
        priority=0,
        abi=Abi.parse(group.image.target.abi),
        signature_type="fingerprints",
        fingerprints=folder,
        pubkey=None,
        allow_unsigned=False,
        allow_missing_meta=False,
    )
    url = repository_url(group.image, group.repository, substitutes)
    is_given = group.repository in substitutes.urls
    return fetch_catalogue(settings, fetcher_for(url, is_given=is_given))


def _is_known(
    package: LockedPackage, records: Mapping[tuple[str, str], CatalogueRecord], store: Store
) -> bool:
    """Say whether a catalogue has the very bytes that a package was built from."""
    record = records.get((package.name, package.version))
    if record is None:
        return False
    wanted = record.sum
    state = wanted.start()
    with store.open(package.digest) as f:
        while data := f.read(CHUNK):
            state.update(data)
    try:
        wanted.verify(state, what=package.name)
    except PipelineError:
        return False
    return True
