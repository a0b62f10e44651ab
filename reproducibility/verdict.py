"""The answer of a comparison, and over several of them."""

from __future__ import annotations

import enum


class Verdict(enum.StrEnum):
    """The answer to "are they the same"."""

    REPRODUCIBLE = "reproducible"
    DIFFERENT = "different"
    UNKNOWN = "could-not-tell"

    @property
    def exit_code(self) -> int:
        """Status for the shell: 0, 1 or 2."""
        return {"reproducible": 0, "different": 1}.get(self.value, 2)


def worst(verdicts: list[Verdict]) -> Verdict:
    """Return the verdict over several: a difference is certain, whatever could not be told."""
    for verdict in (Verdict.DIFFERENT, Verdict.UNKNOWN, Verdict.REPRODUCIBLE):
        if verdict in verdicts:
            return verdict
    return Verdict.UNKNOWN
