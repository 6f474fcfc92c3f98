"""The messages of one bag file in the order in which they lie there.

Reading from front to end needs no index and no memory, keeps the order, and survives
damage: what cannot be read is skipped and counted. One module for each kind of file.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from deid_ros.errors import MediaError
from deid_ros.media.files import kind_of

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["ZSTD_MAGIC", "Damage", "Scan", "open_scan", "zstd"]

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


@dataclass(slots=True)
class Damage:
    """What of a file could not be read: ``pieces`` of it, in ``words``."""

    pieces: int = 0
    words: list[str] = field(default_factory=list)

    def add(self, sentence: str, pieces: int = 1) -> None:
        """Count pieces; the words of the first few are kept."""
        self.pieces += pieces
        if len(self.words) < 8:
            self.words.append(sentence)


class Scan(Protocol):
    """An open bag file.

    Attributes:
        connections: rosbags ``Connection`` objects, of all topics known so far.
        by_id: the same by the numbers that messages carry.
        profile: of an MCAP file, else ''.
        extras: what lies beside the messages, as (kind, name): it is not copied.
        counts: connection -> messages, where the file says so.
        packing: how chunks are packed ('', 'zstd', 'lz4', 'bz2').
        damage: what could not be read so far.
    """

    connections: list[Any]
    by_id: dict[int, Any]
    profile: str
    extras: list[tuple[str, str]]
    counts: dict[int, int]
    packing: str
    damage: Damage

    def messages(self) -> Iterator[tuple[int, int, bytes]]:
        """(connection, timestamp in ns, serialised message); again from the front."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


def open_scan(path: Path, *, scratch: Path) -> Scan:
    """Open one file of a bag: ``.mcap``, ``.db3`` (both also ``.zstd``) or ``.bag``
    (also ``.bag.active``).

    Args:
        scratch: folder for what must be unpacked to be read; it gets no name there.

    Raises:
        MediaError: it is none of these, or nothing of it can be read.
    """
    kind = kind_of(path)
    if kind == ".mcap":
        from deid_ros.media.bags.scan_mcap import McapScan
        return McapScan(path)
    if kind == ".db3":
        from deid_ros.media.bags.scan_sqlite import SqliteScan
        return SqliteScan(path, scratch=scratch)
    if kind == ".bag":
        from deid_ros.media.bags.scan_ros1 import Ros1Scan
        return Ros1Scan(path)
    raise MediaError(f"{path} is no file of a bag that can be read; known are .mcap, .db3 and "
                     ".bag.")
