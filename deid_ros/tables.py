"""Tables that users give: CSV files with a line of column names."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from deid_ros.errors import DeidError

__all__ = ["read_table"]


def read_table(path: str | Path, columns: Sequence[str], *,
               error: type[DeidError]) -> list[dict[str, str]]:
    """The rows of a CSV file in UTF-8, every value without blanks around it.

    Args:
        columns: that it must have; it may have others, which are read too.
        error: what is raised.

    Raises:
        error: the file cannot be read, is no such table, or lacks a column.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            names = reader.fieldnames or ()
            missing = [name for name in columns if name not in names]
            if missing:
                raise error(f"The table {path} lacks the column{'s' * (len(missing) > 1)} "
                            f"{', '.join(missing)} (it has {', '.join(names) or 'none'}); "
                            "add what is missing.")
            return [{name: (row[name] or "").strip() for name in names} for row in reader]
    except OSError as problem:
        raise error(f"The table {path} cannot be read ({problem.strerror or problem}); check the "
                    "path.") from None
    except (UnicodeDecodeError, csv.Error) as problem:
        raise error(f"The table {path} is not a CSV file in UTF-8 ({problem}); save it as "
                    "one.") from None
