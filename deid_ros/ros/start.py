"""Starts a node by its name, as the executables do: ``python -m deid_ros.ros.start detector``.

Ctrl-C ends it without a traceback, also while it still imports and when it is nearly done.
The executables hold the signal back until here.
"""

from __future__ import annotations

import runpy
import signal
import sys

__all__ = ["main"]


def main() -> None:
    """Run the node that the first argument names."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    name = sys.argv.pop(1)
    try:
        runpy.run_module(f"deid_ros.ros.{name}_node", run_name="__main__", alter_sys=True)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    main()
