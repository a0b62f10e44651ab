"""The declaration, `images.toml`: which images to build, from which repositories and releases.

Every key is documented here, in the `Meta` of its field; `docs/images.schema.json` is generated
from these types. Unknown keys are errors that name the nearest known key. A value that exists has
been checked against the others (`_check`): parents exist, repositories are named, files are either
taken from a package or written inline.
"""

from __future__ import annotations

import difflib
import inspect
import re
import tomllib
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

from pipeline.errors import DeclarationError, FormatError
from pipeline.formats.algorithm import LEVELS, Algorithm
from pipeline.pkg.names import check_name, check_path

if TYPE_CHECKING:
    from collections.abc import Iterable

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

_Mode = Annotated[str, Meta(pattern="^[0-7]{3,5}$", description="Permission bits, octal.")]
_Id = Annotated[int, Meta(ge=0, le=2**32 - 2)]
_Name = Annotated[str, Meta(pattern="^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*$")]


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

    name: Annotated[str, Meta(pattern="^[a-z_][a-z0-9_.-]*\\$?$")]
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
            pattern="^sha256:[0-9a-f]{64}$", description="Of the script's text, as the error says."
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
    exposed_ports: list[Annotated[str, Meta(pattern="^[0-9]{1,5}(/(tcp|udp|sctp))?$")]] = []
    volumes: list[str] = []
    stop_signal: str = ""
    title: str = ""
    description: str = ""
    licenses: Annotated[str, Meta(description="SPDX expression.")] = ""
    labels: dict[str, str] = {}
    annotations: Annotated[dict[str, str], Meta(description="Of the manifest and the index.")] = {}


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
        dict[Annotated[str, Meta(pattern="^[1-9][0-9]*\\.[0-9]+$")], Release], Meta(min_length=1)
    ]
    images: Annotated[dict[_Name, Image], Meta(min_length=1)]

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


# ---------------------------------------------------------------- reading


def parse_declaration(data: bytes) -> Declaration:
    """Read and check a declaration.

    Raises:
        DeclarationError: with the key at fault and, for an unknown key, the nearest known one.
    """
    try:
        document = tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError as e:
        raise DeclarationError(f"not UTF-8 at byte {e.start}") from None
    except tomllib.TOMLDecodeError as e:
        raise DeclarationError(f"not TOML: {e}") from None
    _refuse_unknown(document, Declaration, "")
    declaration = _convert(document, Declaration, "")
    _check(declaration)
    return declaration


def _convert(value: object, kind: type[T], context: str) -> T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as e:
        message, _, where = str(e).partition(" - at `")
        inner = where.rstrip("`").removeprefix("key` in `").removeprefix("$").removeprefix(".")
        error = DeclarationError(message[:1].lower() + message[1:], context=inner)
        raise (error.within(context) if context else error) from None


def _refuse_unknown(value: object, kind: object, context: str) -> None:
    """Walk the document beside its types; msgspec's own message names no alternative."""
    if isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, Struct):
        fields = {f.encode_name: f.type for f in msgspec.structs.fields(kind)}
        for key, item in value.items():
            where = f"{context}.{key}" if context else key
            if key not in fields:
                near = difflib.get_close_matches(key, fields, 1, 0.5)
                hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(fields)}"
                raise DeclarationError(f"unknown key; {hint}", context=where)
            _refuse_unknown(item, fields[key], where)
    elif isinstance(value, dict) and (inner := _inner(kind, dict)) is not None:
        for key, item in value.items():
            where = f"{context}.{key}"
            _refuse_unknown(item, inner, where)
            _convert(item, inner, where)  # here, because msgspec's own path leaves the key out
    elif isinstance(value, list) and (inner := _inner(kind, list)) is not None:
        for i, item in enumerate(value):
            _refuse_unknown(item, inner, f"{context}[{i}]")


def _inner(kind: object, container: type) -> Any:  # noqa: ANN401  - a type, of any kind
    """Return the item type of `list[X]` or `dict[str, X]`; no optional container holds tables."""
    bare = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    return get_args(bare)[-1] if get_origin(bare) is container else None


def _fail(context: str, message: str) -> DeclarationError:
    return DeclarationError(message, context=context)


def _known(name: str, names: Iterable[str], context: str, what: str) -> None:
    if name not in names:
        near = difflib.get_close_matches(name, list(names), 1, 0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise _fail(context, f"no {what} is called {name!r}{hint}")


def _check(d: Declaration) -> None:
    if d.format != FORMAT:
        raise _fail("format", f"got {d.format}, want {FORMAT}, the format this version builds")
    low, high = LEVELS[Algorithm(d.compression.algorithm)]
    if not low <= d.compression.effective_level <= high:
        raise _fail("compression.level", f"got {d.compression.level}, want {low} to {high}")
    if d.output.startswith("/") or ".." in d.output.split("/") or not d.output.strip("./"):
        raise _fail("output", f"got {d.output!r}, want a path below the declaration's directory")
    if not re.fullmatch(
        r"[a-z0-9._/-]*\$\{IMAGE\}[a-z0-9._/-]*:[A-Za-z0-9._-]*\$\{RELEASE\}[A-Za-z0-9._-]*", d.name
    ):
        raise _fail(
            "name", f"got {d.name!r}, want a name with ${{IMAGE}}, a colon and ${{RELEASE}}"
        )
    for name, repository in d.repositories.items():
        _check_repository(repository, f"repositories.{name}")
    for name, release in d.releases.items():
        context = f"releases.{name}"
        for repository_name in release.repositories:
            _known(repository_name, d.repositories, f"{context}.repositories", "repository")
        for image in release.images or ():
            _known(image, d.images, f"{context}.images", "image")
        _refuse_repeats(release.repositories, f"{context}.repositories")
        _refuse_repeats(release.architectures, f"{context}.architectures")
    for name, image_ in d.images.items():
        _check_image(d, name, image_)


def _refuse_repeats(items: Iterable[str], context: str) -> None:
    seen = set()
    for item in items:
        if item in seen:
            raise _fail(context, f"{item!r} twice")
        seen.add(item)


def _check_repository(r: Repository, context: str) -> None:
    needed = {"fingerprints": r.fingerprints, "pubkey": r.pubkey, "none": "-"}
    if not needed[r.signature_type]:
        raise _fail(
            f"{context}.{r.signature_type}", f"missing, for signature_type {r.signature_type}"
        )
    if r.signature_type == "none" and not r.allow_unsigned:
        raise _fail(context, "signature_type none wants allow_unsigned = true as well")
    if not re.match(r"(pkg\+)?https?://|file:", r.url):
        raise _fail(f"{context}.url", f"got {r.url!r}, want https, http or file")


def _check_image(d: Declaration, name: str, image: Image) -> None:
    context = f"images.{name}"
    seen = {name}
    parent = image.parent
    while parent is not None:
        _known(parent, d.images, f"{context}.parent", "image")
        if parent in seen:
            raise _fail(f"{context}.parent", f"{parent!r} is its own ancestor")
        seen.add(parent)
        parent = d.images[parent].parent
    _refuse_repeats(image.packages, f"{context}.packages")
    _refuse_repeats(image.mtree, f"{context}.mtree")
    for i, file in enumerate(image.files):
        _check_file(d, file, f"{context}.files[{i}]")
    for i, account in enumerate(image.accounts):
        if account.uid is None and account.gid is None:
            raise _fail(f"{context}.accounts[{i}]", "want a uid, a gid or both")
    for i, skip in enumerate(image.skip):
        if bool(skip.digest) == bool(skip.trigger):
            raise _fail(f"{context}.skip[{i}]", "want either digest or trigger")


def _check_file(d: Declaration, file: File, context: str) -> None:
    for release in file.releases or ():
        _known(release, d.releases, f"{context}.releases", "release")
    written = [file.text is not None, bool(file.link), file.directory]
    try:
        if file.package:
            check_name(file.package)
            if not file.paths or file.path or any(written):
                raise _fail("", "package goes with paths (and to), nothing else")
            for path in file.paths:
                check_path(path)
            if file.to and (len(file.paths) != 1 or _has_glob(file.paths[0])):
                raise _fail("to", "goes with exactly one path that is no pattern")
            if file.to:
                check_path(file.to)
        else:
            if file.paths or file.to or not file.path or sum(written) != 1:
                raise _fail("", "want package and paths, or path and one of text, link, directory")
            check_path(file.path)
    except FormatError as e:
        where = f"{context}.{e.context}" if e.context else context
        raise DeclarationError(e.message, context=where) from None


def _has_glob(pattern: str) -> bool:
    return any(c in pattern for c in "*?")


def pattern_regex(pattern: str) -> re.Pattern[str]:
    """Compile a path pattern: `*` and `?` stay within a component, `**` crosses any number."""
    meaning = {"/**/": "/(?:.+/)?", "/**": "/.+", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    tokens = re.split(r"(/\*\*/|/\*\*\Z|\*\*|\*|\?)", pattern)
    return re.compile("".join(meaning.get(t, re.escape(t)) for t in tokens), re.DOTALL)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the declaration, for editors."""
    schema = msgspec.json.schema(Declaration)
    for table in schema["$defs"].values():  # before Python 3.13, docstrings keep their indentation
        table["description"] = inspect.cleandoc(table["description"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "images.toml",
        **schema,
    }
