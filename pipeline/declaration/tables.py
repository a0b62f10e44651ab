"""The tables of a declaration; every key is documented in the `Meta` of its field."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, TypeVar

from msgspec import Meta, Struct

T = TypeVar("T")

FORMAT: Final = 1
"""The output format that this version writes."""

MTREE_PLACES: Final = {
    "root": "",
    "var": "var",
    "usr": "usr",
    "include": "usr/include",
    "debug": "usr/lib",
    "sendmail": "",
    "lib32": "usr/lib32",
    "tests": "usr/tests",
}
"""Where FreeBSD applies each `/etc/mtree/BSD.<name>.dist` (its etc/Makefile, distrib-dirs)."""

MTREE_PACKAGE: Final = "FreeBSD-mtree"

_ACCOUNT_RE: Final = re.compile("[^/?#]*//[^/?#]*@")
"""RFC 3986, 3.2: an authority with user information."""

_END: Final = "$(?!\\n)"
"""Of a pattern: nothing behind it, not even the end of a line."""

_Mode = Annotated[str, Meta(pattern="^[0-7]{3,5}" + _END, description="Permission bits, octal.")]
_Id = Annotated[int, Meta(ge=0, le=2**32 - 2)]
_Name = Annotated[str, Meta(pattern="^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*" + _END)]


class _Base(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What all tables have in common."""


class Compression(_Base, frozen=True, kw_only=True):
    """How layers are compressed."""

    algorithm: Annotated[
        Literal["zstd", "gzip", "none"], Meta(description="gzip is for clients that need it.")
    ] = "zstd"
    level: Annotated[int | None, Meta(description="zstd 1 to 19, gzip 1 to 12.")] = None

    @property
    def effective_level(self) -> int:
        """The level that is used."""
        return self.level if self.level is not None else DEFAULT_LEVELS[self.algorithm]


DEFAULT_LEVELS: Final = {"zstd": 9, "gzip": 9, "none": 0}


class Repository(_Base, frozen=True, kw_only=True):
    """A pkg(8) repository."""

    url: Annotated[
        str,
        Meta(
            description="https, http, file, or pkg's pkg+https; `file:` and a relative path starts"
            " at the declaration. ${ABI}, ${ARCH}, ${VERSION_MAJOR} and ${VERSION_MINOR} are"
            " replaced.",
            examples=["https://pkg.FreeBSD.org/${ABI}/base_release_${VERSION_MINOR}"],
        ),
    ]
    signature_type: Annotated[
        Literal["fingerprints", "pubkey", "none"],
        Meta(description="As in pkg's repository configuration."),
    ] = "fingerprints"
    fingerprints: Annotated[
        str, Meta(description="Directory with trusted/ and revoked/, relative to the declaration.")
    ] = ""
    pubkey: Annotated[str, Meta(description="Public key file, relative to the declaration.")] = ""
    allow_unsigned: Annotated[
        bool, Meta(description="Needed by signature_type none: nothing of it can be verified.")
    ] = False
    priority: Annotated[
        int, Meta(description="Higher wins where several repositories have a package.")
    ] = 0

    @property
    def has_account(self) -> bool:
        """Whether the URL has an account in it, so that it must not be published."""
        return _ACCOUNT_RE.match(self.url) is not None


class Release(_Base, frozen=True, kw_only=True):
    """A FreeBSD release; the table's name is `<major>.<minor>`."""

    architectures: Annotated[
        list[Literal["aarch64", "amd64", "armv7", "i386", "powerpc64le", "riscv64"]],
        Meta(min_length=1, description="FreeBSD's names; OCI platforms follow from them."),
    ]
    repositories: Annotated[
        list[str], Meta(min_length=1, description="Names of repositories, first choice first.")
    ]
    images: Annotated[
        list[str] | None, Meta(description="Images of this release; all where absent.")
    ] = None


class File(_Base, frozen=True, kw_only=True):
    """A file, symlink or directory of an image that no installed package brings.

    Either taken out of a package that is not installed (`package` and `paths`), or written here
    (`path` and one of `text`, `link`, `directory`).
    """

    package: Annotated[str, Meta(description="Take files out of this package.")] = ""
    paths: Annotated[
        list[str],
        Meta(description="Absolute paths; `*` and `?` match within a component, `**` any depth."),
    ] = []
    to: Annotated[str, Meta(description="With a single path: where the file goes instead.")] = ""
    path: Annotated[str, Meta(description="Absolute path of a file written here.")] = ""
    text: Annotated[str | None, Meta(description="Its content.")] = None
    link: Annotated[str, Meta(description="Make a symlink with this target.")] = ""
    directory: Annotated[bool, Meta(description="Make a directory.")] = False
    mode: _Mode | None = None
    owner: str = "root"
    group: str = "wheel"
    releases: Annotated[
        list[str] | None, Meta(description="Only for these releases; all where absent.")
    ] = None


class Account(_Base, frozen=True, kw_only=True):
    """A user, a group, or both, that the image knows besides those of its packages."""

    name: Annotated[str, Meta(pattern="^[a-z_][a-z0-9_.-]*\\$?" + _END)]
    uid: Annotated[_Id | None, Meta(description="Makes it a user.")] = None
    gid: Annotated[
        _Id | None, Meta(description="Makes it a group; of a user, the primary one.")
    ] = None
    groups: Annotated[list[str], Meta(description="Other groups of the user.")] = []
    comment: str = ""
    home: str = "/nonexistent"
    shell: str = "/usr/sbin/nologin"


class Skip(_Base, frozen=True, kw_only=True):
    """A script or trigger that is not run and not computed either."""

    digest: Annotated[
        str,
        Meta(
            pattern="^sha256:[0-9a-f]{64}" + _END,
            description="Of the script's text, as the error says.",
        ),
    ] = ""
    trigger: Annotated[str, Meta(description="Or the path of a trigger file.")] = ""
    reason: Annotated[str, Meta(min_length=1, description="Why the image is right without it.")]


class Image(_Base, frozen=True, kw_only=True):
    """An image; the table's name is the image's name."""

    parent: Annotated[
        str | None, Meta(description="Image whose layers and packages this one starts with.")
    ] = None
    mtree: Annotated[
        list[Literal["root", "var", "usr", "include", "debug", "sendmail", "lib32", "tests"]],
        Meta(description="Directory trees, from /etc/mtree/BSD.<name>.dist of FreeBSD-mtree."),
    ] = []
    packages: Annotated[
        list[str],
        Meta(description="`name`, `name=version`, or a glob; dependencies follow."),
    ] = []
    files: list[File] = []
    effects: Annotated[
        list[Literal["pwd_mkdb", "services_mkdb", "cap_mkdb", "certctl", "ldconfig"]],
        Meta(description="What scripts would have made, beyond what the packages ask for."),
    ] = []
    accounts: list[Account] = []
    library_path: Annotated[
        list[str], Meta(description="Directories of ld-elf.so.hints; FreeBSD's where empty.")
    ] = []
    allow_missing: Annotated[
        list[str],
        Meta(description="Shared libraries and requirements that may stay unsatisfied."),
    ] = []
    skip: Annotated[list[Skip], Meta(description="Scripts and triggers to pass over.")] = []
    layering: Annotated[
        Literal["single", "package"],
        Meta(description="All packages in one layer, or one layer a package up to the budget."),
    ] = "single"
    layer_budget: Annotated[
        int, Meta(ge=2, le=100, description="Package layers of this image at the most.")
    ] = 40
    keep_flags: Annotated[
        bool, Meta(description="Keep file flags such as schg; layers become hard to delete.")
    ] = False
    cmd: list[str] = []
    entrypoint: list[str] = []
    env: Annotated[
        dict[str, str], Meta(description="PATH is set where the image has /bin/sh.")
    ] = {}
    user: str = ""
    working_dir: str = ""
    exposed_ports: list[Annotated[str, Meta(pattern="^[0-9]{1,5}(/(tcp|udp|sctp))?" + _END)]] = []
    volumes: list[str] = []
    stop_signal: str = ""
    title: str = ""
    description: str = ""
    licenses: Annotated[str, Meta(description="SPDX expression.")] = ""
    labels: dict[str, str] = {}
    annotations: Annotated[dict[str, str], Meta(description="Of the manifest and the index.")] = {}


class Registry(_Base, frozen=True, kw_only=True):
    """Where `doit push` sends images."""

    prefix: Annotated[str, Meta(description="Registry and namespace: ghcr.io/freebsd.")] = ""
    moving_tags: Annotated[
        list[str],
        Meta(description="Tags of the newest release: latest, ${MAJOR}, ${RELEASE}."),
    ] = []
    platform_tags: Annotated[
        bool, Meta(description="A tag for each architecture as well, as 15.0-amd64.")
    ] = False
    plain_http: Annotated[bool, Meta(description="Without TLS.")] = False
    ca_file: Annotated[
        str, Meta(description="More certificate authorities, relative to the declaration.")
    ] = ""


class Signing(_Base, frozen=True, kw_only=True):
    """Who signs, with what; see docs/signing.md."""

    identity: Annotated[
        str, Meta(description="What images are called in signatures; the registry's prefix.")
    ] = ""
    key: Annotated[
        str, Meta(description="Private key: a file relative to the declaration, or env://NAME.")
    ] = ""
    password_command: Annotated[
        list[str], Meta(description="Prints the key's password; else COSIGN_PASSWORD.")
    ] = []
    command: Annotated[list[str], Meta(description="Signs instead of a key.")] = []
    command_reads: Literal["payload", "digest"] = "payload"
    public_key: Annotated[str, Meta(description="Of the command.")] = ""
    gpg_key: Annotated[str, Meta(description="Full fingerprint.")] = ""
    gpg_home: str = ""
    builder: Annotated[str, Meta(description="SLSA builder.id, a URI.")] = ""


class Declaration(_Base, frozen=True, kw_only=True):
    """The whole file."""

    format: Annotated[int, Meta(description="Output format; see docs/FORMAT.md.")]
    output: Annotated[str, Meta(description="The OCI layout, relative to the declaration.")] = (
        "build/oci"
    )
    name: Annotated[
        str, Meta(description="Name of an image in the layout: ${IMAGE} and ${RELEASE}.")
    ] = "freebsd-${IMAGE}:${RELEASE}"
    compression: Compression = Compression()
    pkg_schema: (
        Annotated[int, Meta(ge=36, le=42, description="Schema of /var/db/pkg/local.sqlite.")] | None
    ) = None
    annotations: Annotated[dict[str, str], Meta(description="Of every image.")] = {}
    repositories: Annotated[dict[str, Repository], Meta(min_length=1)]
    releases: Annotated[
        dict[Annotated[str, Meta(pattern="^[1-9][0-9]*\\.[0-9]+" + _END)], Release],
        Meta(min_length=1),
    ]
    images: Annotated[dict[_Name, Image], Meta(min_length=1)]
    registry: Registry = Registry()
    signing: Signing = Signing()

    def image_order(self, release: str) -> tuple[str, ...]:
        """Return the images of a release, parents before children, else in the file's order."""
        wanted = self.releases[release].images
        order: dict[str, None] = {}

        def add(name: str) -> None:
            parent = self.images[name].parent
            if parent is not None:
                add(parent)
            order.setdefault(name)

        for name in self.images:
            if wanted is None or name in wanted:
                add(name)
        return tuple(order)

    def reference(self, image: str, release: str) -> str:
        """Return the name of an image in the layout."""
        return self.name.replace("${IMAGE}", image).replace("${RELEASE}", release)


def applies(file: File, release: str) -> bool:
    """Say whether a file belongs to a release."""
    return file.releases is None or release in file.releases
