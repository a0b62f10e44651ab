"""From the text of a declaration to a checked value, and the schema for editors."""

from __future__ import annotations

import difflib
import inspect
import re
import tomllib
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_origin

import msgspec
from msgspec import Struct

from pipeline.declaration.tables import FORMAT, Declaration, File, Image, Repository
from pipeline.errors import DeclarationError, FormatError
from pipeline.formats.algorithm import LEVELS, Algorithm
from pipeline.pkg.names import check_name, check_path

if TYPE_CHECKING:
    from collections.abc import Iterable

T = TypeVar("T")


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
