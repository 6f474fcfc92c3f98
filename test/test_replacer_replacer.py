"""Every face is covered, whatever is wrong, and nothing else is touched."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_faces import make_face, make_surrogates

from deid_ros import geometry
from deid_ros.errors import FrameError, ReplacerError
from deid_ros.faces import boxes_of, empty_faces
from deid_ros.replacer import BLENDS, OBFUSCATIONS, REPLACEMENTS, Replacer, cover_solid


def noise(height=180, width=200, seed=0):
    """A frame in which every pixel that is left as it was is known."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def inner(face, shape, part=0.9):
    """bool (H, W): the middle of a box's ellipse."""
    x, y, w, h = boxes_of(face)[0].astype(float)
    yy, xx = np.mgrid[:shape[0], :shape[1]]
    return (((xx - x - w / 2 + 0.5) / (w / 2 * part)) ** 2
            + ((yy - y - h / 2 + 0.5) / (h / 2 * part)) ** 2) <= 1


def hull_mask(face, shape):
    mask = np.zeros(shape[:2], np.uint8)
    cv2.fillConvexPoly(mask, np.round(geometry.face_hull(face[0])).astype(np.int32), 1)
    return mask > 0


def detail(image):
    """High frequencies of the luminance."""
    grey = image.astype(np.float32).mean(axis=2)
    return grey - cv2.GaussianBlur(grey, (0, 0), 2)


def likeness(a, b, where):
    """How much of the fine detail of ``b`` is in ``a``: 0 none, 1 all."""
    one, two = detail(a)[where], detail(b)[where]
    return 0.0 if one.std() < 0.1 else abs(np.corrcoef(one, two)[0, 1])


@pytest.mark.parametrize("replace", REPLACEMENTS)
def test_no_faces_no_change(replace):
    frame = noise()
    result = Replacer(replace=replace).apply(frame, empty_faces(), np.zeros((0, 1, 1, 4), np.uint8))
    assert np.array_equal(result.frame, frame) and result.frame is not frame
    assert not result.mask.any() and result.covered_by == []


@pytest.mark.parametrize("blend", BLENDS)
@pytest.mark.parametrize("yaw", [0.0, 45.0])
@pytest.mark.parametrize("grow", [1.12, 0.85])
def test_no_detail_of_the_face_is_left(blend, yaw, grow):
    # grow 0.85: a surrogate that does not reach the source's jaw.
    frame, face = noise(), make_face(yaw=yaw)
    before = frame.copy()
    result = Replacer(blend=blend).apply(frame, face, make_surrogates(face, grow=grow))
    assert result.covered_by == ["surrogate"]
    assert np.array_equal(frame, before)
    where = hull_mask(face, frame.shape)
    assert result.mask[where].all()
    assert likeness(result.frame, frame, where) < 0.06
    ring = where & ~cv2.erode(where.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    assert likeness(result.frame, frame, ring) < 0.12


@pytest.mark.parametrize("blend", BLENDS)
def test_features_of_the_face_leave_no_ghost(blend):
    """Where eyes and mouth are in the source must not show, even faintly."""
    face = make_face(size=120, center=(120, 120))
    points = face["landmarks"].reshape(68, 2)
    middle = points.mean(axis=0)
    frames = []
    for turn in (1, -1):        # as they are, and upside down: as much of them
        frame = np.full((240, 240, 3), (140, 160, 200), np.uint8)
        for part in (slice(36, 42), slice(42, 48), slice(48, 60)):
            shape = middle + (points[part] - middle) * (1, turn)
            cv2.fillConvexPoly(frame, np.round(shape).astype(np.int32), (20, 20, 40))
        frames.append(frame)
    surrogates = make_surrogates(face)
    a, b = (Replacer(blend=blend).apply(frame, face, surrogates).frame.astype(int)
            for frame in frames)
    assert np.abs(a - b).max() <= 12
    assert np.abs(a - b).mean() <= 2


@pytest.mark.parametrize("blend", BLENDS)
def test_skin_colour_fits(blend):
    skin = np.array([70, 90, 150], np.float32)  # BGR
    frame = np.full((240, 240, 3), skin, np.uint8)
    face = make_face(size=120, center=(120, 120))
    surrogates = make_surrogates(face, colour=(240, 200, 190))
    result = Replacer(blend=blend).apply(frame, face, surrogates)
    got = result.frame[hull_mask(face, frame.shape)].mean(axis=0)
    assert np.abs(got - skin).max() < 8


@pytest.mark.parametrize("blend", BLENDS)
def test_a_hard_edge_of_the_surrogate_does_not_glow(blend):
    # The far cheek of a turned head ends where it is opaque, not softly.
    frame, face = np.full((180, 200, 3), (90, 110, 150), np.uint8), make_face(yaw=35.0)
    surrogates = make_surrogates(face)
    hard = surrogates[..., 3] > 127
    surrogates[...] = np.where(hard[..., None], np.uint8([190, 150, 120, 255]), np.uint8(0))
    result = Replacer(blend=blend).apply(frame, face, surrogates)
    assert result.covered_by == ["surrogate"]
    assert result.frame[result.mask > 0].max(axis=0) == pytest.approx([90, 110, 150], abs=8)


def test_light_from_the_side_is_taken_over():
    frame = np.tile(np.linspace(70, 190, 240).astype(np.uint8)[None, :, None], (240, 1, 3))
    face = make_face(size=120, center=(120, 120))
    out = Replacer().apply(frame, face, make_surrogates(face)).frame.mean(axis=2)
    assert out[110:130, 150:160].mean() - out[110:130, 80:90].mean() > 15


def test_a_grey_picture_stays_grey():
    frame = np.repeat(noise(240, 240)[..., :1] // 4 + 90, 3, axis=2)
    face = make_face(size=120, center=(120, 120))
    out = Replacer().apply(frame, face, make_surrogates(face, colour=(230, 120, 90))).frame
    assert np.ptp(out.astype(int), axis=2).max() <= 2


def test_the_surrogate_is_not_resampled():
    """Stripes one pixel wide keep their contrast, where the camera sees as sharply."""
    face = make_face(size=120, center=(120, 120))
    surrogates = make_surrogates(face)
    surrogates[0, ..., :3] = 150
    surrogates[0, ::2, :, :3] = 130
    frame = np.full((240, 240, 3), 150, np.uint8)
    frame[:, ::2] = 130
    out = Replacer(blend="gaussian").apply(frame, face, surrogates).frame.astype(int)
    step = np.abs(np.diff(out[100:130, 110:130, 0], axis=0))
    assert step.min() >= 12


@pytest.mark.parametrize("blend", BLENDS)
def test_large_faces_are_enlarged(blend):
    frame = noise(700, 640)
    face = make_face(size=620, center=(320, 350))
    surrogates = make_surrogates(face)
    assert surrogates.shape[1] == geometry.MAX_PATCH
    result = Replacer(blend=blend).apply(frame, face, surrogates)
    assert result.covered_by == ["surrogate"]
    assert likeness(result.frame, frame, hull_mask(face, frame.shape)) < 0.05


@pytest.mark.parametrize("how", OBFUSCATIONS)
@pytest.mark.parametrize("size", [12.0, 60.0, 400.0])
@pytest.mark.parametrize("center", [(100, 90), (3, 90), (198, 178)])
def test_obfuscation_covers(how, size, center):
    frame = noise()
    face = make_face(center=center, size=size, trusted=False)
    result = Replacer(replace=how).apply(frame, face)
    where = inner(face, frame.shape)
    assert result.covered_by == [how] and result.mask[where].all()
    outside = result.mask == 0
    assert np.array_equal(result.frame[outside], frame[outside])
    if where.sum() > 400:
        assert likeness(result.frame, frame, where) < 0.25


@pytest.mark.parametrize("how", OBFUSCATIONS)
def test_obfuscation_keeps_few_numbers(how):
    """Two faces equal in every coarse block look the same afterwards."""
    face = make_face(center=(100, 90), size=110, trusted=False)
    a = np.full((180, 200, 3), 128, np.uint8)
    b = a.copy()
    b[::2, ::2], b[1::2, 1::2] = 158, 98  # detail finer than a block
    one, two = (Replacer(replace=how).apply(f, face).frame.astype(int) for f in (a, b))
    where = inner(face, a.shape, 0.8)
    assert np.abs(one - two)[where].max() <= 8


def test_solid_is_one_colour():
    face = make_face(trusted=False)
    result = Replacer(replace="solid").apply(noise(), face)
    assert len(np.unique(result.frame[result.mask > 0], axis=0)) == 1


def bad_surrogates():
    face = make_face()
    good = make_surrogates(face)
    transparent = good.copy()
    transparent[..., 3] = 0
    sliver = transparent.copy()
    sliver[0, :5, :5, 3] = 255
    yield "none", face, None
    yield "transparent", face, transparent
    yield "sliver", face, sliver
    yield "too small", face, good[:, :4, :4]
    yield "other count", face, np.concatenate([good, good])
    yield "other type", face, good.astype(np.float32)
    yield "no alpha", face, good[..., :3]
    yield "no array", face, "surrogate"
    for name, value in (("scale", np.nan), ("scale", 1e9), ("scale", 0.01), ("yaw", np.inf),
                        ("center", -1e9), ("landmarks", np.nan), ("landmarks", 1e30)):
        broken = face.copy()
        broken[name] = value
        yield f"{name} {value}", broken, good


@pytest.mark.parametrize("face, surrogates", [pytest.param(f, s, id=n)
                                              for n, f, s in bad_surrogates()])
def test_whatever_is_wrong_the_face_is_flat(face, surrogates):
    frame = noise()
    result = Replacer().apply(frame, face, surrogates)
    assert result.covered_by == ["solid"]
    where = inner(face, frame.shape)
    assert result.mask[where].all()
    assert likeness(result.frame, frame, where) < 0.05


def test_untrusted_face_gets_no_surrogate():
    face = make_face()
    surrogates = make_surrogates(face)
    face["trusted"] = 0
    assert Replacer().apply(noise(), face, surrogates).covered_by == ["solid"]
    assert Replacer(obfuscation="blur").apply(noise(), face, surrogates).covered_by == ["blur"]


@pytest.mark.parametrize("name", ["compose", "_obfuscate"])
def test_an_exception_inside_covers_flat(monkeypatch, name):
    from deid_ros.replacer import replacer

    def fail(*_, **__):
        raise MemoryError("injected")

    monkeypatch.setattr(replacer, name, fail)
    face = make_face(trusted=name == "compose")
    frame = noise()
    result = Replacer().apply(frame, face, make_surrogates(face))
    assert result.covered_by == ["solid"]
    where = inner(face, frame.shape)
    assert result.mask[where].all() and np.ptp(result.frame[where], axis=0).max() == 0


def test_overlapping_faces_are_all_covered():
    frame = noise(240, 260)
    faces = np.concatenate([make_face((110, 120), 120, track=1), make_face((150, 110), 70, track=2),
                            make_face((90, 150), 40, trusted=False, track=3)])
    result = Replacer().apply(frame, faces, make_surrogates(faces))
    assert result.covered_by == ["surrogate", "surrogate", "solid"]
    for i in range(3):
        face = faces[i:i + 1]
        where = hull_mask(face, frame.shape) if face["trusted"][0] else inner(face, frame.shape)
        assert result.mask[where].all()
        assert likeness(result.frame, frame, where) < 0.1


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_box_is_covered_and_nothing_else(data):
    number = st.integers(-300, 500)
    frame = noise(data.draw(st.integers(1, 120)), data.draw(st.integers(1, 120)))
    faces = empty_faces(data.draw(st.integers(1, 3)))
    for name in ("x_offset", "y_offset"):
        faces[name] = [data.draw(number) for _ in faces]
    for name in ("width", "height"):
        faces[name] = [data.draw(st.integers(0, 400)) for _ in faces]
    how = data.draw(st.sampled_from(REPLACEMENTS))
    result = Replacer(replace=how).apply(frame, faces)
    outside = result.mask == 0
    assert np.array_equal(result.frame[outside], frame[outside])
    for i in range(len(faces)):
        if faces["width"][i] and faces["height"][i]:
            assert result.mask[inner(faces[i:i + 1], frame.shape)].all()


def test_a_face_in_the_corner_is_covered_to_its_rim():
    # Its surrogate is narrower: the surroundings bend inwards, but not as far as the corner.
    frame, face = noise(), make_face((0, 0), 106, roll=3)
    result = Replacer(blend="gaussian").apply(frame, face, make_surrogates(face, grow=0.75))
    assert result.covered_by == ["surrogate"]
    assert result.mask[hull_mask(face, frame.shape)].all()


@settings(max_examples=60, deadline=None)
@given(x=st.floats(-60, 260), y=st.floats(-60, 240), size=st.floats(6, 300),
       yaw=st.floats(-70, 70), roll=st.floats(-180, 180), grow=st.floats(0.5, 1.4),
       blend=st.sampled_from(BLENDS), soft=st.booleans())
def test_any_surrogate_covers_its_face_and_nothing_else(x, y, size, yaw, roll, grow, blend, soft):
    frame = noise()
    face = make_face((x, y), size, yaw=yaw, roll=roll)
    surrogates = make_surrogates(face, grow=grow, soft=soft)
    result = Replacer(blend=blend).apply(frame, face, surrogates)
    outside = result.mask == 0
    assert np.array_equal(result.frame[outside], frame[outside])
    assert result.mask[hull_mask(face, frame.shape)].all()


def test_extreme_boxes_do_not_overflow():
    faces = empty_faces(2)
    limits = np.iinfo(np.int32)
    faces["x_offset"], faces["y_offset"] = [limits.min, limits.max], 0
    faces["width"], faces["height"] = limits.max, limits.max
    frame = noise()
    result = cover_solid(frame, faces)
    assert result.covered_by == ["solid", "solid"]


@pytest.mark.parametrize("frame", [
    np.zeros((0, 5, 3), np.uint8), np.zeros((5, 5), np.uint8), np.zeros((5, 5, 4), np.uint8),
    np.zeros((5, 5, 3), np.float32), None, "frame"])
def test_bad_frames_are_refused(frame):
    with pytest.raises(FrameError, match="BGR"):
        Replacer().apply(frame, empty_faces())


@pytest.mark.parametrize("options", [{"replace": "smile"}, {"blend": "poisson"},
                                     {"obfuscation": "surrogate"}])
def test_unknown_options_are_refused(options):
    with pytest.raises(ReplacerError, match="one of"):
        Replacer(**options)
