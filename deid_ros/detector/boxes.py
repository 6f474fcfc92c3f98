"""Arithmetic of boxes: overlap, suppression, union. Pure functions on arrays.

A box is x, y, width, height in pixels; boxes are float arrays (N, 4); N = 0 works.
"""

from __future__ import annotations

import numpy as np

from deid_ros.faces import DETECTION
from deid_ros.geometry import containment, iou

__all__ = ["containment", "iou", "make_detections", "merge_enclosing", "suppress", "unite"]


def suppress(boxes: np.ndarray, scores: np.ndarray, *, limit: float = 0.3) -> list[np.ndarray]:
    """Greedy non-maximum suppression.

    Args:
        boxes: (N, 4).
        scores: (N,), higher is better.
        limit: a box that overlaps a better one by more (IoU) goes with it.

    Returns:
        One index array for each box kept, by descending score: the box itself
        first, then those that went with it.
    """
    order = np.argsort(-np.asarray(scores), kind="stable")
    overlaps = iou(boxes, boxes) > limit
    groups = []
    free = np.ones(len(order), bool)
    for i in order:
        if free[i]:
            members = order[free[order] & overlaps[i, order] & (order != i)]
            groups.append(np.concatenate([[i], members]).astype(np.intp))
            free[members] = free[i] = False
    return groups


def unite(boxes: np.ndarray) -> np.ndarray:
    """The box (4,) that encloses N >= 1 boxes (N, 4)."""
    boxes = np.asarray(boxes)
    low = boxes[:, :2].min(axis=0)
    return np.concatenate([low, (boxes[:, :2] + boxes[:, 2:]).max(axis=0) - low])


def make_detections(boxes: np.ndarray, scores: np.ndarray,
                    angles: np.ndarray | float = 0.0,
                    yaws: np.ndarray | float = 0.0) -> np.ndarray:
    """Rows of ``faces.DETECTION`` by descending score; boxes without area are dropped."""
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    rows = np.zeros(len(boxes), DETECTION)
    rows["box"], rows["angle"], rows["yaw"] = boxes, angles, yaws
    rows["score"] = np.clip(scores, 0.0, 1.0)
    rows = rows[np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)]
    return rows[np.argsort(-rows["score"], kind="stable")]


def merge_enclosing(detections: np.ndarray, *, limit: float = 0.35) -> np.ndarray:
    """Unite the detections of several back ends: no pixel that one found is lost.

    Rows that overlap by more than ``limit`` (IoU), or lie almost whole within
    another, become one row with the box that encloses them, the best score, and
    the angle of the best row that knows one.
    """
    rows = detections[np.argsort(-detections["score"], kind="stable")]
    boxes = rows["box"]
    same = (iou(boxes, boxes) > limit) | (containment(boxes, boxes) > 0.8)
    out = []
    free = np.ones(len(rows), bool)
    for i in range(len(rows)):
        if free[i]:
            members = np.flatnonzero(free & same[i])
            row = rows[i].copy()
            row["box"], row["turned"] = unite(boxes[members]), rows["turned"][members].min()
            known = rows["angle"][members]
            row["angle"] = known[known != 0][0] if (known != 0).any() else 0.0
            out.append(row)
            free[members] = False
    return np.array(out, DETECTION)
