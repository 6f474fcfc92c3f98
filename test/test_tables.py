"""Tables are read whole, or refused in a sentence."""

from __future__ import annotations

import pytest

from deid_ros.errors import GalleryError
from deid_ros.tables import read_table


def table(tmp_path, content: bytes):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    return path


def test_rows(tmp_path):
    path = table(tmp_path, "\ufeffid,sex,more\n a , M ,\nb,F\n".encode())
    assert read_table(path, ["id", "sex"], error=GalleryError) == [
        {"id": "a", "sex": "M", "more": ""}, {"id": "b", "sex": "F", "more": ""}]
    assert read_table(table(tmp_path, b"id\n"), ["id"], error=GalleryError) == []


@pytest.mark.parametrize(("content", "message"), [
    (b"", r"lacks the columns id, sex \(it has none\)"),
    (b"id,name\n", r"lacks the column sex \(it has id, name\)"),
    (b"id,sex\n\xff\xfe,M\n", "is not a CSV file in UTF-8"),
])
def test_refusals(tmp_path, content, message):
    with pytest.raises(GalleryError, match=message):
        read_table(table(tmp_path, content), ["id", "sex"], error=GalleryError)
    with pytest.raises(GalleryError, match="cannot be read"):
        read_table(tmp_path / "none.csv", ["id"], error=GalleryError)
