"""What ``deid evaluate --report`` does beyond the numbers."""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

__all__ = ["Reporting"]


class Reporting:
    """Holds what the page needs until the numbers are there.

    Args:
        args: of ``deid evaluate``.
        config: the configuration that ``args`` ask for.
        target: the page.

    Raises:
        EvaluationError: thresholds that cannot be read, a folder that is none, a library
            that is missing.
    """

    def __init__(self, args: argparse.Namespace, config: Mapping[str, Any],
                 target: Path | None) -> None:
        from deid_ros.errors import EvaluationError
        from deid_ros.evaluation.lights import read_thresholds
        from deid_ros.resources import share_path

        for library in ("jinja2", "matplotlib"):
            try:
                __import__(library)
            except ImportError:
                raise EvaluationError(f"The report needs {library}; install it with: "
                                      "pip install 'deid_ros[report]'") from None
        self._args, self._config, self._target = args, config, target
        self._thresholds = read_thresholds(args.thresholds or share_path("config", "report.yaml"))
        self._recordings = args.recordings or args.outputs
        for path, what in ((args.recordings, Path.is_dir), (args.video, Path.is_file)):
            if path is not None and not what(path):
                raise EvaluationError(f"{path} is not there; check the path.")
        # The page shows pictures of the first run: they must outlive it.
        self._temporary = None
        if args.keys and args.outputs is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="deid-report-")
        self._comparison: Future[Any] | None = None
        if args.compare:
            # In processes of their own, beside the evaluation in this one.
            self._comparison = ThreadPoolExecutor(1).submit(self._compare)

    @property
    def keep(self) -> Path | None:
        """Where the outputs of the runs are kept."""
        return Path(self._temporary.name) if self._temporary else self._args.outputs

    def _compare(self) -> dict[str, Any]:
        from deid_ros.cli.evaluate import attackers_of
        from deid_ros.config import file_of
        from deid_ros.evaluation import ATTACKERS, GalleryPeople, find_people
        from deid_ros.evaluation.comparison import compare, evenly

        args = self._args
        people = find_people(args.originals, table=args.csv, split=args.split)
        return compare(evenly(people, args.compare_people), args.originals, self._config,
                       attackers=list(dict.fromkeys([*ATTACKERS, *attackers_of(args, [])])),
                       gallery=GalleryPeople.load(file_of(self._config["matcher"]["gallery"])),
                       landmarks=args.landmarks, second=args.second, draws=min(args.draws, 300),
                       workers=args.workers, separate=True)

    def finish(self, result: Any, content: dict[str, Any], people: Sequence[Any]) -> None:
        """Add to ``content`` what else was measured, and write the page.

        Args:
            result: the evaluation; ``content``: the same as JSON.
            people: those who were asked for.
        """
        from deid_ros.evaluation.page import write_page
        from deid_ros.evaluation.people import with_outputs
        from deid_ros.evaluation.recordings import read_recordings
        from deid_ros.evaluation.smoothness import measure_video
        from deid_ros.media.evidence import tool_of

        args = self._args
        if args.video:
            content["video"] = measure_video(args.video, self._config)
        if self._comparison is not None:
            content["comparison"] = self._comparison.result()
        if args.leak:
            from deid_ros.cli.evaluate import leaks_of

            content["leaks"] = leaks_of(args, people, separate=True)
        folder = self.keep / "k0" if args.keys and self.keep else args.outputs
        outputs = {person.id: person.output
                   for person in with_outputs(result.people, args.originals, folder)}
        found = read_recordings(self._recordings) if self._recordings else []
        content["files"] = self._files(found, tool_of(self._config)["files"])
        assert self._target is not None
        write_page(self._target, result, content, thresholds=self._thresholds, outputs=outputs,
                   show_originals=args.show_originals, comparison=content.get("comparison"),
                   recordings=found, video=content.get("video"), files=content["files"],
                   command=shlex.join(["deid", *sys.argv[1:]]))
        print(f"{self._target} written", file=sys.stderr)
        if self._temporary is not None:
            self._temporary.cleanup()

    def _files(self, found: Sequence[Any], own: dict[str, str]) -> dict[str, str]:
        """The files that decided what came out: of the runs made here, else as recorded."""
        if self._args.keys:
            return own
        return {name: digest for one in found
                for name, digest in one.manifest.get("tool", {}).get("files", {}).items()}
