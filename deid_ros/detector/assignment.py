"""Which track gets which box: the assignment of least total cost.

A node that died is to be back at once, and importing ``scipy.optimize`` for this one
function took longer than everything else that the detector imports.
"""

from __future__ import annotations

import numpy as np

__all__ = ["assign"]


def assign(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows and columns whose costs have the least sum.

    Shortest augmenting paths: Jonker and Volgenant, "A shortest augmenting path
    algorithm for dense and sparse linear assignment problems", Computing 38, 1987.
    The answer is that of ``scipy.optimize.linear_sum_assignment``, but for ties.

    Args:
        cost: finite numbers (N, M).

    Returns:
        Rows and columns, int (min(N, M),) each; every row and every column at most
        once, rows in ascending order.
    """
    cost = np.asarray(cost, np.float64)
    if cost.shape[0] > cost.shape[1]:
        columns, rows = assign(cost.T)
        order = np.argsort(rows)
        return rows[order], columns[order]
    rows = np.arange(len(cost))
    cheapest = cost.argmin(axis=1) if cost.size else np.zeros(0, int)
    if len(np.unique(cheapest)) == len(rows):
        return rows, cheapest  # nobody wants what another one wants
    return rows, _augment(cost)


def _augment(cost: np.ndarray) -> np.ndarray:
    """The column of every row of ``cost`` (N, M), N <= M."""
    count, width = cost.shape
    # Column 0 and row 0 stand for nobody; both sides have a potential.
    row_price, column_price = np.zeros(count + 1), np.zeros(width + 1)
    owner, before = np.zeros(width + 1, int), np.zeros(width + 1, int)
    for row in range(1, count + 1):
        owner[0], at = row, 0
        least = np.full(width + 1, np.inf)
        seen = np.zeros(width + 1, bool)
        while owner[at]:
            seen[at] = True
            reduced = cost[owner[at] - 1] - row_price[owner[at]] - column_price[1:]
            nearer = ~seen[1:] & (reduced < least[1:])
            least[1:][nearer] = reduced[nearer]
            before[1:][nearer] = at
            to = int(np.where(seen, np.inf, least).argmin())
            step = least[to]
            row_price[owner[seen]] += step
            column_price[seen] -= step
            least[~seen] -= step
            at = to
        while at:
            owner[at], at = owner[before[at]], before[at]
    columns = np.zeros(count, int)
    taken = np.flatnonzero(owner[1:])
    columns[owner[1:][taken] - 1] = taken
    return columns
