"""What is believed to be a face: birth is strict, life is generous.

A detector that is asked for every face answers weakly at hands, shirts and shelves too.
So a track begins only from evidence that real footage does not fake, and what one frame
shows weakly is covered in that frame alone. A face that is known is followed through weak
answers (Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection
Box", ECCV 2022), through the face mesh, and through nothing at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["RULE", "EvidenceRule", "Verdict", "is_over", "judge", "speaks_for_a_face"]


@dataclass(frozen=True, slots=True)
class EvidenceRule:
    """The numbers of the rule. Scores and beliefs are 0..1."""

    # Birth.
    sure_score: float = 0.5     # an upright pass that answers so begins a track at once
    ask_part: float = 0.5       # part of the threshold from which the mesh is asked
    mesh_belief: float = 0.8    # of the mesh network, to agree with a detection
    mesh_overlap: float = 0.35  # IoU of its box with the detection's, to agree
    fair_score: float = 0.4     # covered though the mesh denies it; twice, it begins a track
    again_overlap: float = 0.3  # IoU with the frame before's, to be seen again
    # Life.
    follow_part: float = 0.25   # part of the threshold from which an answer continues a track
    follow_overlap: float = 0.3  # IoU with the track that such an answer must have
    nothing_belief: float = 0.1  # below it the mesh says that there is no face
    nothing_frames: int = 8     # a track ends when for so many frames nothing speaks for it


#: The rule as it is.
RULE = EvidenceRule()


class Verdict(Enum):
    """What becomes of an answer that belongs to no track."""

    FACE = "a track begins"
    GLIMPSE = "covered in this frame, neither carried nor grown"
    NOTHING = "left alone"


def judge(rule: EvidenceRule, *, score: float, threshold: float, turned: bool, belief: float,
          again: bool) -> Verdict:
    """Whether an answer of the detector is a new face.

    Args:
        score: the detector's, 0..1.
        threshold: least score of what is covered.
        turned: seen only with the frame turned, which shows faces where there are none.
        belief: the face mesh's, 0..1; NaN where it was not asked.
        again: a glimpse was covered at this place in the frame before.
    """
    if belief >= rule.mesh_belief and score >= rule.ask_part * threshold:
        return Verdict.FACE if again or score >= threshold else Verdict.GLIMPSE
    denied, fair = belief < rule.nothing_belief, score >= rule.fair_score
    if turned or score < threshold or (denied and not fair):
        return Verdict.NOTHING
    if score >= rule.sure_score or (again and fair and not denied):
        return Verdict.FACE
    return Verdict.GLIMPSE


def speaks_for_a_face(rule: EvidenceRule, *, score: float, threshold: float,
                      belief: float) -> bool:
    """Whether a frame speaks for a track: its detector's score, or its mesh's belief.

    ``score`` 0 where the detector missed it; ``belief`` NaN where no mesh was looked for.
    """
    return score >= threshold or not belief < rule.nothing_belief


def is_over(rule: EvidenceRule, *, sure: bool, spoken: int, doubted: int) -> bool:
    """Whether a track ends for want of evidence.

    ``spoken``: frames that spoke for it, ``doubted``: frames in a row that did not. What was
    never seen beyond doubt (``sure``) is carried no longer than it was seen.
    """
    patience = rule.nothing_frames if sure else min(rule.nothing_frames, spoken)
    return doubted > patience
