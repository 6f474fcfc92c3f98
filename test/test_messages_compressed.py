"""Compressed images of bags: nothing leaves that is not a pixel somebody looked at."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from bag_support import Maker, read_bag, write_bag
from sample_faces import FakeFinder

from deid_ros.config import defaults
from deid_ros.faces import empty_faces
from deid_ros.media import Job, process
from deid_ros.media.bags.fields import COMPRESSED, image_in
from deid_ros.messages import decode
from deid_ros.pipeline import Pipeline


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_compressed_images_hold_nothing_but_their_pixels(tmp_path, suffix):
    """Also where there is no face in them."""
    make, found = Maker(False), []
    canary = cv2.imencode(".jpg", np.full((9, 9, 3), 77, np.uint8))[1].tobytes()
    for at, behind in ((0, b""), (1, canary)):
        whole = make.compressed(at, at, suffix)
        raw = bytearray(whole + behind)
        length = whole.index(b"made by me") + 11
        length += -(length - 4) % 4
        size = int.from_bytes(raw[length:length + 4], "little")
        raw[length:length + 4] = (size + len(behind)).to_bytes(4, "little")
        # The bytes of alignment that follow the file are taken out first.
        del raw[length + 4 + size:len(whole)]
        found.append(("/c", COMPRESSED, at, bytes(raw)))
    source = write_bag(tmp_path / "bag", "mcap", found)
    job = Job(source, tmp_path / "out" / "bag", "bag")
    outcome = process(job, Pipeline(defaults(), finder=FakeFinder(empty_faces())))
    assert outcome.frames == 2
    after = read_bag(job.target)[0]
    assert (after[0][3] == found[0][3]) is (suffix == "png")
    assert canary in found[1][3] and canary not in after[1][3]
    for old, new in zip(found, after, strict=True):
        old, new = (decode(image_in(m[3], COMPRESSED, ros1=False)) for m in (old, new))
        difference = np.abs(old.astype(int) - new)
        assert difference.mean() < (8 if suffix == "jpg" else 0.001)
