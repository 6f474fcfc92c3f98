"""What became of one input."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from deid_ros.pipeline import Processed

__all__ = ["Outcome"]


@dataclass(slots=True)
class Outcome:
    """Counts of one output.

    ``frames`` written; ``withheld`` frames that could not be made anonymous and
    were left out; ``lost`` pieces of the input that could not be read; ``covered``
    faces by what covers them; ``problems`` different sentences about what went wrong.
    """

    frames: int = 0
    withheld: int = 0
    lost: int = 0
    covered: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def add(self, processed: Processed) -> None:
        """Count one frame that was processed and will be written."""
        self.frames += 1
        self.covered.update(processed.covered_by)
        for problem in processed.problems:
            self.note(problem)

    def note(self, problem: str) -> None:
        """Remember a sentence, once, and not too many."""
        if problem not in self.problems and len(self.problems) < 20:
            self.problems.append(problem)

    @property
    def faultless(self) -> bool:
        """Whether everything was read, processed and written as asked."""
        return not (self.withheld or self.lost or self.problems)
