"""A program for ``test_cli_resume``: runs that are killed, one after another.

It forks where everything is imported already, which makes a run a matter of moments.
Arguments: folder, output folder, number of kills, seconds that a run takes.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import cv2
from bag_support import FACE
from sample_faces import FakeFinder, make_face

from deid_ros import pipeline as module
from deid_ros.cli import main

cv2.setNumThreads(1)


class Slow(FakeFinder):
    """One face in every frame, found at leisure."""

    def find(self, frame, *, stamp_ns=0):
        time.sleep(0.002)
        return super().find(frame)


def run(folder: str, out: str, *words: str) -> int:
    """``deid run`` in a process of its own; 0 where it ended well."""
    child = os.fork()
    if child == 0:
        os.environ["DEID_DEBUG"] = "1"
        finder = Slow(make_face(FACE[:2], FACE[2], trusted=False))
        module.Pipeline.finder = property(lambda self: finder)
        module.Pipeline.reset = lambda self, *, stream="": None
        status = 3
        try:
            status = main(["run", folder, "-o", out, "--replace", "solid", *words])
        finally:
            os._exit(status)
    return child


def final_files(out: Path) -> list[Path]:
    """Everything under a final name."""
    return [path for path in out.rglob("*") if path.is_file()
            and not any(part.startswith(".") for part in path.relative_to(out).parts)]


if __name__ == "__main__":
    folder, out, kills, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    rng, secret, killed = random.Random(0), Path(folder, "..", "secret").read_bytes(), 0
    words: list[str] = []
    while killed < kills:
        child = run(folder, out, *words)
        time.sleep(rng.uniform(0.02, seconds))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        words = ["--resume"]
        killed += os.WIFSIGNALED(status)
        # Neither an output nor what is being written holds what was under the face.
        for path in Path(out).rglob("*"):
            if path.is_file() and secret in path.read_bytes():
                sys.exit(f"{path} shows the face after kill {killed}")
        names = {path.name for path in Path(out).iterdir() if not path.name.startswith(".")}
        for name in sorted(names):
            if (not name.endswith((".json", ".jsonl"))
                    and not {name + ".manifest.json", name + ".faces.jsonl"} <= names):
                sys.exit(f"{name} has no evidence after kill {killed}")
        if not os.WIFSIGNALED(status):
            # It was quicker: what is finished is taken away again.
            for path in sorted(final_files(Path(out)))[:6]:
                path.unlink()
    _, status = os.waitpid(run(folder, out, "--resume"), 0)
    sys.exit(os.waitstatus_to_exitcode(status))
