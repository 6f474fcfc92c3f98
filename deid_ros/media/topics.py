"""What becomes of the topics of a bag, decided before anything is written."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from deid_ros.errors import ConfigError

__all__ = ["BESIDE", "COPY", "DROP", "PROCESS", "TopicPlan", "TopicWishes", "parse_topic_map"]

PROCESS, COPY, DROP = "made anonymous", "copied", "dropped"
#: What lies in a bag beside its topics; ``--drop`` takes these words too.
BESIDE = frozenset(("custom_data", "metadata", "attachment"))


@dataclass(frozen=True, slots=True)
class TopicWishes:
    """What the user asked for, by the input's topic names.

    ``image_topics`` the only ones to make anonymous, none for all; ``drop`` left out;
    ``keep_unprocessed`` copied though they may show faces; ``names`` old -> new.
    """

    image_topics: frozenset[str] = frozenset()
    drop: frozenset[str] = frozenset()
    keep_unprocessed: frozenset[str] = frozenset()
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def named(self) -> set[str]:
        """Every topic that is spoken of."""
        return {*self.image_topics, *self.drop, *self.keep_unprocessed, *self.names}

    def check(self, present: Collection[str]) -> None:
        """Refuse a name that no bag has: a misspelt ``--drop`` would keep its topic.

        Args:
            present: the topics of all bags of the run.

        Raises:
            ConfigError: it names the topic and those that there are.
        """
        missing = sorted(self.named - set(present) - (self.drop & BESIDE))
        if missing:
            raise ConfigError(f"No bag has the topic '{missing[0]}'; there are "
                              f"{', '.join(sorted(present)) or 'none'}.")
        kept = set(present) - set(self.names) - self.drop
        for old, new in self.names.items():
            if new in kept or sum(other == new for other in self.names.values()) > 1:
                raise ConfigError(f"The topic '{old}' cannot be renamed to '{new}', another one "
                                  "has that name; choose a new name.")


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """What becomes of one topic.

    ``action`` one of ``PROCESS``, ``COPY``, ``DROP``; ``name`` the output's topic;
    ``reason`` why it or some of it is dropped, or copied though it may show faces;
    ``dropped`` messages that are left out; ``modality`` what its messages are.
    """

    topic: str
    msgtype: str
    count: int
    action: str
    name: str
    reason: str = ""
    dropped: int = 0
    modality: str = ""


def parse_topic_map(word: str) -> tuple[str, str]:
    """``/old:=/new`` as (old, new).

    Raises:
        ConfigError: it is not of that form.
    """
    old, mark, new = word.partition(":=")
    if not mark or not old.startswith("/") or not new.startswith("/") or len(new) < 2:
        raise ConfigError(f"The topic map '{word}' must be of the form /old:=/new.")
    return old, new
