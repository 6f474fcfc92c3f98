"""Outputs say that they were altered, in words that are the same in all of them."""

from __future__ import annotations

import io
import re
import struct
import xml.etree.ElementTree as ElementTree

import av
import numpy as np
import pytest
from bag_support import KINDS, messages, read_bag, write_bag
from PIL import Image
from rosbags.rosbag2.storage_mcap import zstd
from sample_faces import FakeFinder, make_face
from test_media_canaries import CANARY, PICTURES
from test_media_videos import write as write_clip

from deid_ros.cli import main
from deid_ros.config import defaults
from deid_ros.faces import empty_faces
from deid_ros.media import Job, Writing, process
from deid_ros.media.bags.bag import Bag
from deid_ros.media.bags.marked import CONTENT
from deid_ros.media.marking import NOTE, SOURCE_TYPE, XMP
from deid_ros.pipeline import Pipeline
from deid_ros.replacer import Replacer

FACE = make_face((60, 50), 50, trusted=False)


def run(tmp_path, source, *, faces=FACE, **options):
    pipeline = Pipeline(defaults(), finder=FakeFinder(faces), replacer=Replacer(replace="solid"))
    job = Job(source, tmp_path / "out" / source.name, source.name)
    outcome = process(job, pipeline, overwrite=True, writing=Writing(**options))
    assert outcome.faultless, outcome.problems
    return job.target


def picture(tmp_path, name, form, *, deep=False, **options):
    noise = np.random.default_rng(0).integers(0, 255, (100, 120, 3), np.uint8)
    path = tmp_path / name
    if deep:
        import cv2

        cv2.imwrite(str(path), noise.astype(np.uint16) * 257)
    else:
        Image.fromarray(noise).save(path, form, **options)
    return path


def source_type(data: bytes) -> str:
    """As a reader of XMP finds it."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    packet = packet.encode() if isinstance(packet, str) else packet
    body = re.sub(rb"<\?xpacket.*?\?>", b"", packet)
    [described] = ElementTree.fromstring(body.decode().strip("\ufeff")).iter(
        "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    return described.get("{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType")


@pytest.mark.parametrize("name, form", [("a.jpg", "JPEG"), ("a.png", "PNG"), ("a.webp", "WEBP"),
                                        ("a.tiff", "TIFF")])
@pytest.mark.parametrize("kept", [False, True])
def test_pictures_say_that_they_were_altered(tmp_path, name, form, kept):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    source = picture(tmp_path, name, form, exif=exif.tobytes())
    made = run(tmp_path, source, keep_metadata=kept).read_bytes()
    assert source_type(made) == SOURCE_TYPE and made.count(XMP) == 1
    assert (b"Maker" in made) == kept
    with Image.open(io.BytesIO(made)) as image:
        assert image.format == form and image.getexif().get(0x010F) == ("Maker" if kept else None)
    # Made again from its own output, it says so once.
    again = run(tmp_path / "out", tmp_path / "out" / name, keep_metadata=kept).read_bytes()
    assert again.count(XMP) == 1
    # Without the words, the pixels are the same.
    bare = run(tmp_path, source, keep_metadata=kept, marking=False).read_bytes()
    assert b"iptc" not in bare.lower()
    assert (np.asarray(Image.open(io.BytesIO(bare))) == np.asarray(
        Image.open(io.BytesIO(made)))).all()


def test_a_deep_png_says_it_too(tmp_path):
    made = run(tmp_path, picture(tmp_path, "a.png", "PNG", deep=True)).read_bytes()
    assert made.count(XMP) == 1 and made[24] == 16


@pytest.mark.parametrize("name, form", [("a.bmp", "BMP"), ("a.ppm", "PPM")])
def test_formats_without_a_place_for_it_stay_as_they_are(tmp_path, name, form):
    assert b"iptc" not in run(tmp_path, picture(tmp_path, name, form)).read_bytes()


@pytest.mark.parametrize("name, form", [("a.jpg", "JPEG"), ("a.png", "PNG"), ("a.webp", "WEBP")])
def test_a_picture_in_which_nothing_was_covered_was_not_altered(tmp_path, name, form):
    source = picture(tmp_path, name, form)
    assert b"iptc" not in run(tmp_path, source, faces=empty_faces()).read_bytes().lower()


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
def test_videos_say_that_they_were_altered(tmp_path, name):
    text = "comment" if name == "a.mov" else "description"
    source = write_clip(tmp_path / name, range(0, 400, 40), metadata={text: "Kitchen"})

    def described(**options):
        with av.open(str(run(tmp_path, source, **options))) as container:
            texts = {key.lower(): value for key, value in container.metadata.items()}
            return texts.get(text)

    assert described() == NOTE
    assert described(marking=False) is None
    assert described(keep_metadata=True) == f"Kitchen {NOTE}"
    assert described(keep_metadata=True, marking=False) == "Kitchen"


def records(data: bytes, at: int, end: int):
    """Kind, place and content of the records of an MCAP file."""
    while at < end:
        kind, size = struct.unpack_from("<BQ", data, at)
        yield kind, at, data[at + 9:at + 9 + size]
        at += 9 + size


def assert_marked_once(data: bytes) -> None:
    """Where it lies, in the index, in the statistics and in the places of the summary."""
    rows = list(records(data, 8, len(data) - 8))
    assert [kind for kind, _, _ in rows][-1] == 2 and data[-8:] == b"\x89MCAP0\r\n"
    [ours] = [(at, content) for kind, at, content in rows if kind == 12 and content == CONTENT]
    start, offsets, _ = struct.unpack("<QQI", rows[-1][2])
    index = [struct.unpack_from("<QQ", content) for kind, _, content in rows if kind == 13]
    assert (ours[0], 9 + len(ours[1])) in index and len(index) == 2
    for place, size in index:
        assert data[place] == 12 and struct.unpack_from("<Q", data, place + 1)[0] == size - 9
    [statistics] = [content for kind, _, content in rows if kind == 11]
    assert struct.unpack_from("<I", statistics, 18)[0] == 2
    [ended] = [at for kind, at, _ in rows if kind == 15]
    assert ended + 13 == start and ours[0] < ended
    groups = [struct.unpack("<BQQ", content) for kind, at, content in rows if kind == 14]
    assert sum(size for _, _, size in groups) == offsets - start
    for kind, at, size in groups:
        assert {row[0] for row in records(data, at, at + size)} == {kind}
    for kind, _, content in rows:
        if kind == 8:
            assert data[struct.unpack_from("<Q", content, 16)[0]] == 6


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("mcap")])
def test_bags_in_mcap_say_that_they_were_altered(tmp_path, kind):
    source = write_bag(tmp_path / "bag", kind, messages(extra=False))
    target, bare = run(tmp_path, source), run(tmp_path / "bare", source, marking=False)

    def content(folder):
        [file] = [path for path in folder.iterdir() if ".mcap" in path.name]
        data = file.read_bytes()
        return zstd.decompress(data) if file.name.endswith(".zstd") else data

    assert_marked_once(content(target))
    assert CONTENT not in content(bare)
    assert read_bag(target)[0] == read_bag(bare)[0] != []
    # Made again from its own output it says so once, and has nothing to complain of.
    assert_marked_once(content(run(tmp_path / "again", target)))


def test_what_others_call_by_the_same_name_is_named(tmp_path):
    source = write_bag(tmp_path / "bag", "mcap", messages(extra=False))
    target = run(tmp_path, source)
    [file] = target.glob("*.mcap")
    other = NOTE.replace("Faces", "Alice").encode()
    file.write_bytes(file.read_bytes().replace(NOTE.encode(), other))
    found = Bag(file).open(0, scratch=tmp_path)
    list(found.messages())
    assert found.extras == [("metadata", "deid_ros")]


def test_nothing_identifying_is_in_the_words():
    assert SOURCE_TYPE.encode() in XMP and SOURCE_TYPE in NOTE and SOURCE_TYPE.encode() in CONTENT
    # No identifier, no time, no version: the packet's id is that of every XMP packet.
    words = (XMP.replace(b"W5M0MpCehiHzreSzNTczkc9d", b"") + CONTENT).lower()
    assert b"documentid" not in words and b"uuid" not in words and b"date" not in words
    assert len(XMP) < 500


def test_the_command_can_leave_it_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path, "a.png", "PNG")
    assert main(["run", "a.png", "-o", "out", "--replace", "solid", "--no-marking"]) == 0
    assert b"iptc" not in (tmp_path / "out" / "a.png").read_bytes()


def test_a_tiff_of_16_bits_stays_as_it_is(tmp_path):
    made = run(tmp_path, picture(tmp_path, "a.tiff", "TIFF", deep=True)).read_bytes()
    assert b"iptc" not in made


@pytest.mark.parametrize("name", [name for name in PICTURES if not name.startswith(
    ("rows", "before_end", "gray", "tail.pgm", "deep_tail"))])
def test_no_canary_leaves_beside_the_mark(tmp_path, name):
    data = PICTURES[name](1)
    with Image.open(io.BytesIO(data)) as image:
        face = make_face((image.width / 2, image.height / 2), image.width / 2, trusted=False)
    (tmp_path / name).write_bytes(data)
    made = run(tmp_path, tmp_path / name, faces=face).read_bytes()
    assert CANARY not in made
    assert made.count(XMP) == (name.split(".")[-1] in ("jpg", "png", "webp", "tiff"))
