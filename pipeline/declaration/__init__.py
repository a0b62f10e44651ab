"""The declaration, `images.toml`: which images to build, from which repositories and releases.

Every key is documented in `tables`, in the `Meta` of its field; `docs/images.schema.json` is
generated from these types. Unknown keys are errors that name the nearest known key. A value that
exists has been checked against the others (`reading`): parents exist, repositories are named, files
are either taken from a package or written inline.
"""
