"""The worst of several recognisers, and the one who learned to undo the tool."""

from __future__ import annotations

import numpy as np
import pytest

from deid_ros.evaluation.adaptive import learned_distances
from deid_ros.evaluation.intervals import Summary
from deid_ros.evaluation.recognition import euclidean, hits, ranks
from deid_ros.evaluation.worst import worst_of


def row(key, value, interval=None):
    return Summary(key, "label", "share", value, interval, 0.1, 9, (value,))


def test_the_worst_is_taken_measure_by_measure():
    rows = [row("dlib.rank_1", 0.04), row("dlib.same_sex.mean_rank", 0.2), row("dlib.eer", 0.3),
            row("mine.rank_1", 0.16), row("mine.same_sex.mean_rank", 0.4), row("mine.eer", 0.1),
            row("parrot.dlib.rank_1", 0.5), row("parrot.mine.rank_1", 0.3),
            row("adaptive.mine.rank_1", 0.7), row("lbph.rank_1", 0.9), row("dlib.closer", 1.0)]
    got = {one.key: (one.value, one.attacker) for one in worst_of(rows, ["dlib", "mine"])}
    assert got == {
        "worst.rank_1": (0.16, "mine"), "worst.same_sex.mean_rank": (0.2, "dlib"),
        "worst.eer": (0.1, "mine"), "parrot.worst.rank_1": (0.5, "dlib"),
        "adaptive.worst.rank_1": (0.7, "mine")}
    assert worst_of(rows, []) == [] == worst_of([], ["dlib"])
    [label] = {one.label for one in worst_of(rows[:1], ["dlib"])}
    assert label == "label [dlib]"


def test_of_equal_numbers_the_less_certain_is_worse_and_none_is_nothing():
    rows = [row("a.rank_1", 0.1, (0.0, 0.2)), row("b.rank_1", 0.1, (0.0, 0.3)),
            row("c.rank_1", float("nan"))]
    for order in (rows, rows[::-1]):
        [one] = worst_of(order, ["a", "b", "c"])
        assert one.attacker == "b"


def rank_1(distances):
    return float(hits(ranks(distances), 1).mean())


def test_a_fixed_map_is_undone():
    rng = np.random.default_rng(0)
    known = rng.normal(size=(100, 16))
    turned = np.linalg.qr(rng.normal(size=(16, 16)))[0]
    probes = known @ turned + 3 + 0.05 * rng.normal(size=known.shape)
    assert rank_1(euclidean(probes, known)) < 0.1
    assert rank_1(learned_distances(probes, known)) > 0.9


def test_what_is_left_as_it_is_stays_found():
    known = np.random.default_rng(4).normal(size=(60, 200))
    assert rank_1(learned_distances(known + 0.1, known)) == 1.0


def test_what_holds_nothing_of_the_person_gives_nothing():
    rng = np.random.default_rng(1)
    known, probes = rng.normal(size=(2, 120, 32))
    found = ranks(learned_distances(probes, known))
    assert hits(found, 1).mean() < 0.05
    assert 0.4 < found.normalised.mean() < 0.6


def test_nobodys_own_pair_is_learned_from():
    rng = np.random.default_rng(2)
    known, probes = rng.normal(size=(2, 40, 50))
    before = learned_distances(probes, known)
    changed = known.copy()
    changed[7] += 5
    others = np.delete(np.arange(40), 7)
    assert learned_distances(probes, changed)[7, others] == pytest.approx(before[7, others])


def test_missing_outputs_stay_missing_and_few_people_teach_nothing():
    rng = np.random.default_rng(3)
    known = rng.normal(size=(30, 4))
    probes = known + 1
    probes[4] = np.nan
    out = learned_distances(probes, known)
    assert np.isnan(out[4]).all() and np.isfinite(np.delete(out, 4, axis=0)).all()
    assert np.diag(learned_distances(known[:9], known[:9])).tolist() == [0] * 9
    assert learned_distances(known[:0], known[:0]).shape == (0, 0)
    # Everybody has the same face: there is nothing to learn.
    assert np.isfinite(learned_distances(np.ones((20, 4)), known[:20])).all()


def test_the_adaptive_attack_bites_on_weak_pixelation(shared):
    """Blocks of 12 px leave dlib near chance; what it has learned of other people helps."""
    pytest.importorskip("dlib")
    cv2 = pytest.importorskip("cv2")
    from deid_ros.evaluation.attackers import create_attackers
    from deid_ros.evaluation.views import Observer

    observer = Observer(landmarks="mesh")
    [dlib] = create_attackers(["dlib"], observer)
    known, probes = [], []
    for path in sorted((shared / "data" / "portraits").glob("*.jpg"))[::8][:90]:
        frame = cv2.imread(str(path))
        height, width = frame.shape[:2]
        small = cv2.resize(frame, (width // 12, height // 12), interpolation=cv2.INTER_AREA)
        view = observer.look(frame)
        known.append(dlib.describe(frame, view))
        probes.append(dlib.describe(cv2.resize(small, (width, height),
                                               interpolation=cv2.INTER_NEAREST), view))
    known, probes = np.stack(known), np.stack(probes)
    plain, learned = (ranks(distances).normalised.mean() for distances in (
        euclidean(probes, known), learned_distances(probes, known)))
    assert plain > 0.37
    assert learned < plain - 0.05
