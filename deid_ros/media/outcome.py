"""What became of one input."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from deid_ros.pipeline import Processed

__all__ = ["Outcome"]

_NOTES = 50


@dataclass(slots=True)
class Outcome:
    """Counts of one output.

    ``frames`` written; ``withheld`` frames that could not be made anonymous and
    were left out; ``lost`` pieces of the input that could not be read; ``carried`` faces
    covered where no detector saw them; ``kept`` faces of people who consented;
    ``covered`` faces by what covers them; ``problems`` different sentences about what
    went wrong; ``warnings`` about what was left out, or kept, on purpose.
    """

    frames: int = 0
    withheld: int = 0
    lost: int = 0
    carried: int = 0
    kept: int = 0
    covered: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, processed: Processed) -> None:
        """Count one frame that was processed and will be written."""
        self.frames += 1
        self.carried += int(processed.faces["carried"].sum())
        self.kept += len(processed.kept)
        self.covered.update(processed.covered_by)
        for problem in processed.problems:
            self.note(problem)

    def note(self, problem: str) -> None:
        """Remember a sentence, once, and not too many."""
        if problem not in self.problems and len(self.problems) < _NOTES:
            self.problems.append(problem)

    @property
    def flat(self) -> int:
        """Faces covered by something else than a surrogate."""
        return self.covered.total() - self.covered["surrogate"]

    @property
    def faultless(self) -> bool:
        """Whether everything was read, processed and written as asked."""
        return not (self.withheld or self.lost or self.problems)
