"""What ``deid run`` shows: bars while it works, a table at the end, a plan before."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deid_ros.media import Job, Plan, Writing
    from deid_ros.media.outcome import Outcome
    from deid_ros.media.workers import Event

__all__ = ["Bars", "dry_run"]

_ROWS = 30      # of the table at most, those with something to say first
_COLUMNS = ("frames", "faces", "carried", "flat", "withheld", "lost")


class Bars:
    """A bar for every input that is being processed, and one for all of them."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        from tqdm import tqdm

        self._jobs, self._tqdm = jobs, tqdm
        self._bars: dict[int, Any] = {}
        self._ended: dict[int, Outcome | None] = {}
        self.failures = 0

    @property
    def kept(self) -> int:
        """Faces that were left as they are by consent."""
        return sum(outcome.kept for outcome in self._ended.values() if outcome is not None)

    def __enter__(self) -> Bars:
        self._all = self._tqdm(total=len(self._jobs), unit="input", desc="all", disable=None,
                               position=0)
        return self

    def __exit__(self, *_: object) -> None:
        for bar in self._bars.values():
            bar.close()
        self._all.close()

    def hear(self, event: Event) -> None:
        """Show what happened."""
        name = self._jobs[event.job].name
        bar = self._bars.get(event.job)
        if bar is None:
            bar = self._bars[event.job] = self._tqdm(unit="frame", desc=name[-40:], leave=False,
                                                     disable=None)
        if event.frames:
            bar.total = event.total or None
            bar.update(event.frames - bar.n)
        if not event.ended:
            return
        self._bars.pop(event.job).close()
        self._all.update()
        outcome = self._ended[event.job] = event.outcome
        source = self._jobs[event.job].source
        if outcome is None:
            self.failures += 1
            self._say(event.error)
            return
        self.failures += not outcome.faultless
        for warning in outcome.warnings:
            self._say(f"warning: {warning}")
        for problem in outcome.problems:
            self._say(problem if problem.startswith(str(source)) else f"{source}: {problem}")

    def _say(self, sentence: str) -> None:
        self._all.write(f"deid run: {sentence}", file=sys.stderr)

    def summary(self, out: str, planned: Plan, seconds: float) -> None:
        """Print the table, and what it adds up to."""
        done = {job: outcome for job, outcome in self._ended.items() if outcome is not None}
        if len(self._jobs) > 1:
            self._table(done)
        covered: Counter[str] = sum((outcome.covered for outcome in done.values()), Counter())
        frames = sum(outcome.frames for outcome in done.values())
        withheld = sum(outcome.withheld for outcome in done.values())
        by = ", ".join(f"{count} {name}" for name, count in covered.most_common())
        parts = [f"{len(done)} of {len(self._jobs) + len(planned.refused)} inputs to {out}",
                 f"{frames} frames in {seconds:.1f} s",
                 f"{covered.total()} faces covered" + (f" ({by})" if by else "")]
        if self.kept:
            parts.append(f"{self.kept} faces kept by consent")
        if withheld:
            parts.append(f"{withheld} frames withheld")
        if planned.done:
            parts.append(f"{len(planned.done)} inputs finished before")
        if planned.left_out:
            parts.append(f"{len(planned.left_out)} other files left out")
        print("; ".join(parts))

    def _table(self, done: dict[int, Outcome]) -> None:
        numbers = sorted(range(len(self._jobs)), key=lambda n: (
            n in done and done[n].faultless, n))
        names = [self._jobs[number].name[-48:] for number in numbers[:_ROWS]]
        width = max([len(name) for name in names] + [5])
        print(f"{'input':<{width}}" + "".join(f"{title:>9}" for title in _COLUMNS))
        for number, name in zip(numbers, names, strict=False):
            found = done.get(number)
            if found is None:
                print(f"{name:<{width}}   not written")
                continue
            values = (found.frames, found.covered.total(), found.carried, found.flat,
                      found.withheld, found.lost)
            print(f"{name:<{width}}" + "".join(f"{value:>9}" for value in values))
        if len(numbers) > _ROWS:
            print(f"... and {len(numbers) - _ROWS} more; every output has its manifest")


def dry_run(planned: Plan, writing: Writing, out: str) -> int:
    """Print what would become of every input; 1 where one cannot be read."""
    from deid_ros.errors import DeidError

    failures = len(planned.refused)
    for job in planned.jobs:
        try:
            lines = _outlook(job, writing)
        except DeidError as error:
            failures += 1
            print(f"deid run: {error}", file=sys.stderr)
            continue
        print(f"{job.source} -> {job.target}: {lines[0]}")
        for line in lines[1:]:
            print(f"  {line}")
    for job in planned.done:
        print(f"{job.source} -> {job.target}: finished before")
    for path in planned.left_out[:_ROWS]:
        print(f"{path}: left out")
    if len(planned.left_out) > _ROWS:
        print(f"... and {len(planned.left_out) - _ROWS} other files left out")
    print(f"{len(planned.jobs)} inputs would be processed to {out}; nothing was written")
    return 1 if failures else 0


def _outlook(job: Job, writing: Writing) -> list[str]:
    from deid_ros.media.images import is_picture, read_picture

    if job.is_bag:
        from deid_ros.media.bags import Bag
        bag = Bag(job.source)
        plans = sorted(bag.survey(writing.topics, scratch=Path(job.source).parent),
                       key=lambda plan: plan.topic)
        lines = [f"rosbag ({bag.kind}, {len(bag.files)} files)"]
        for plan in plans:
            name = f" as {plan.name}" if plan.name != plan.topic else ""
            reason = f" ({plan.reason})" if plan.reason else ""
            count = f"{plan.count} messages, " if plan.count else ""
            lines.append(f"{plan.topic}: {count}{plan.msgtype}: {plan.action}{name}{reason}")
        return lines
    if is_picture(job.source):
        shape = read_picture(job.source).pixels.shape
        return [f"picture, {shape[1]}x{shape[0]}"]
    from deid_ros.media.video_writer import encoder_for
    from deid_ros.media.videos import VideoReader
    with VideoReader(job.source) as reader:
        encoder_for(job.target.suffix, reader.codec, writing.codec)
        sound = "kept" if writing.keep_audio else "left behind"
        more = f", {len(reader.tracks)} tracks" if len(reader.tracks) > 1 else ""
        return [f"video, {reader.codec}, {reader.stream.width}x{reader.stream.height}, "
                f"{reader.count or 'unknown'} frames{more}; sound {sound}"]
