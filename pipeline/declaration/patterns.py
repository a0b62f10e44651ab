"""Path patterns of a declaration."""

from __future__ import annotations

import re


def pattern_regex(pattern: str) -> re.Pattern[str]:
    """Compile a path pattern: `*` and `?` stay within a component, `**` crosses any number."""
    meaning = {"/**/": "/(?:.+/)?", "/**": "/.+", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    tokens = re.split(r"(/\*\*/|/\*\*\Z|\*\*|\*|\?)", pattern)
    return re.compile("".join(meaning.get(t, re.escape(t)) for t in tokens), re.DOTALL)
