"""The plan: a declaration and its lock, joined. Pure; says what there is to build."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.declaration.tables import MTREE_PACKAGE, Account, Declaration, File, Image, applies
from pipeline.errors import ConfigurationError, FormatError, StaleLockError
from pipeline.oci.platform import Platform
from pipeline.pkg.lockfile import Lock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pipeline.pkg.lockfile import LockedPackage, LockedTarget

DIRECTORIES: Final = "directories"
PACKAGES: Final = "packages"
STATE: Final = "state"

_UPDATE: Final = "run `doit update`, review the lock and commit it"


def read_lock(path: Path) -> Lock | None:
    """Read a lock, None if there is none.

    Raises:
        LockfileError: it is no lock.
        ConfigurationError: it is no file, or not readable.
    """
    try:
        return Lock.parse(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as e:
        reason = (e.strerror or "cannot be read").lower()
        raise ConfigurationError(f"{path}: {reason}") from None
    except FormatError as e:
        raise e.in_document(str(path)) from None


def picked_packages(image: Image, release: str) -> tuple[str, ...]:
    """Return the names of the packages that an image takes files from, sorted."""
    names = {f.package for f in image.files if f.package and applies(f, release)}
    if image.mtree:
        names.add(MTREE_PACKAGE)
    return tuple(sorted(names))


def request_of(declaration: Declaration, release: str) -> dict[str, object]:
    """Return the part of the declaration that a release's lock answers."""
    r = declaration.releases[release]
    images = {}
    for name in declaration.image_order(release):
        image = declaration.images[name]
        images[name] = {
            "parent": image.parent,
            "packages": list(image.packages),
            "picks": list(picked_packages(image, release)),
            "allow_missing": list(image.allow_missing),
        }
    return {
        "architectures": list(r.architectures),
        "repositories": [
            {
                "name": name,
                "url": declaration.repositories[name].url,
                "signature_type": declaration.repositories[name].signature_type,
                "priority": declaration.repositories[name].priority,
            }
            for name in r.repositories
        ],
        "images": images,
    }


def check_lock(declaration: Declaration, lock: Lock, *, what: str) -> None:
    """Raise StaleLockError, naming the first difference, unless lock and declaration agree."""
    if lock.format != declaration.format:
        raise StaleLockError(
            f"{what} is of format {lock.format}, the declaration of {declaration.format}",
            hint=_UPDATE,
        )
    for release in declaration.releases:
        if release not in lock.releases:
            raise StaleLockError(f"{what} has no release {release}", hint=_UPDATE)
        got = lock.releases[release].request
        want = request_of(declaration, release)
        if got != want:
            where = _difference(got, want, f"releases.{release}")
            raise StaleLockError(f"{what} does not answer the declaration: {where}", hint=_UPDATE)
        for architecture in declaration.releases[release].architectures:
            target = lock.releases[release].architectures.get(architecture)
            for image in declaration.image_order(release):
                if target is None or image not in target.images:
                    missing = f"{release}:{architecture}:{image}"
                    raise StaleLockError(f"{what} has no image {missing}", hint=_UPDATE)


def _difference(got: object, want: object, where: str) -> str:
    if isinstance(got, dict) and isinstance(want, dict):
        first = (k for k in (*want, *got) if k not in got or k not in want or got[k] != want[k])
        key = next(first)
        if key not in got:
            return f"{where}.{key} is new"
        if key not in want:
            return f"{where}.{key} is gone"
        return _difference(got[key], want[key], f"{where}.{key}")
    return f"{where} is now {want!r}, was {got!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePlan:
    """One image of one release on one architecture."""

    release: str
    architecture: str
    name: str
    reference: str
    """Name in the layout, of the index over all architectures."""
    epoch: int
    """source_date_epoch of the release."""
    image: Image
    target: LockedTarget
    parent: ImagePlan | None

    def __str__(self) -> str:
        return f"{self.release}:{self.architecture}:{self.name}"

    @property
    def platform(self) -> Platform:
        """OCI's name for where it runs."""
        return Platform.for_freebsd(self.architecture)

    @property
    def lineage(self) -> tuple[ImagePlan, ...]:
        """The image's ancestors and itself, oldest first."""
        return (*(self.parent.lineage if self.parent else ()), self)

    @property
    def packages(self) -> tuple[LockedPackage, ...]:
        """What this image adds, in install order."""
        locked = self.target.images[self.name]
        return tuple(self.target.packages[p.name] for p in locked.packages)

    @property
    def picks(self) -> tuple[LockedPackage, ...]:
        """Packages that only give files."""
        return tuple(self.target.packages[name] for name in self.target.images[self.name].picks)

    @property
    def sources(self) -> tuple[LockedPackage, ...]:
        """Every archive that this image itself needs, by name."""
        needed = {p.name: p for p in (*self.packages, *self.picks)}
        return tuple(needed[name] for name in sorted(needed))

    @property
    def files(self) -> tuple[File, ...]:
        """The declared files that belong to this release."""
        return tuple(f for f in self.image.files if applies(f, self.release))

    @property
    def accounts(self) -> tuple[Account, ...]:
        """Declared accounts of the image and its ancestors."""
        return tuple(a for plan in self.lineage for a in plan.image.accounts)

    def asked_for(self) -> frozenset[str]:
        """Return the packages that this image or an ancestor asked for; the rest is automatic."""
        return frozenset(
            name for plan in self.lineage for name in self.target.images[plan.name].requested
        )

    def layer_of(self) -> dict[str, str]:
        """Return, for each package that this image adds, the name of its layer."""
        packages = self.packages
        if self.image.layering == "single":
            return {p.name: PACKAGES for p in packages}
        own = sorted(packages, key=lambda p: (-p.flatsize, p.name))
        if len(own) > self.image.layer_budget:
            own = own[: self.image.layer_budget - 1]
        names = {p.name for p in own}
        return {p.name: f"package-{p.name}" if p.name in names else PACKAGES for p in packages}

    def layers(self) -> tuple[str, ...]:
        """Return the layers that this image may add, in order."""
        of_packages = sorted(set(self.layer_of().values()) | {PACKAGES})
        return (DIRECTORIES, *of_packages, STATE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that a declaration and its lock ask for."""

    declaration: Declaration
    images: Mapping[str, ImagePlan]
    """By `release:architecture:image`, parents first."""

    def packages(self) -> Iterator[tuple[str, str, LockedPackage]]:
        """Yield (release, architecture, package) of every archive that is needed."""
        seen = set()
        for plan in self.images.values():
            for package in plan.sources:
                key = (plan.release, plan.architecture, package.name)
                if key not in seen:
                    seen.add(key)
                    yield key[0], key[1], package

    def references(self) -> dict[str, tuple[ImagePlan, ...]]:
        """Return, for each name in the layout, its images over the architectures."""
        result: dict[str, tuple[ImagePlan, ...]] = {}
        for plan in self.images.values():
            result[plan.reference] = (*result.get(plan.reference, ()), plan)
        return result


def make_plan(declaration: Declaration, lock: Lock) -> Plan:
    """Join a declaration and a lock that answers it (`check_lock`)."""
    images: dict[str, ImagePlan] = {}
    for release, table in declaration.releases.items():
        locked = lock.releases[release]
        for architecture in table.architectures:
            for name in declaration.image_order(release):
                image = declaration.images[name]
                prefix = f"{release}:{architecture}"
                images[f"{prefix}:{name}"] = ImagePlan(
                    release=release,
                    architecture=architecture,
                    name=name,
                    reference=declaration.reference(name, release),
                    epoch=locked.source_date_epoch,
                    image=image,
                    target=locked.architectures[architecture],
                    parent=images[f"{prefix}:{image.parent}"] if image.parent else None,
                )
    return Plan(declaration=declaration, images=images)
