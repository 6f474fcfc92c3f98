"""Whose picture is whose."""

from __future__ import annotations

import pytest

from deid_ros.errors import EvaluationError
from deid_ros.evaluation import people as p


@pytest.fixture
def folder(tmp_path):
    for name in ("a.jpg", "b.PNG", "sub/c.jpeg", "notes.txt"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def table(folder, text):
    path = folder / "people.csv"
    path.write_text(text)
    return path


def test_without_a_table(folder):
    people = p.find_people(folder / "in")
    assert [person.id for person in people] == ["a", "b", "sub/c"]
    assert {person.sex for person in people} == {"?"}


def test_with_a_table(folder):
    path = table(folder, "id,sex,split\na,F,probe\nc,m,probe\nb,,gallery\nz,F,probe\n")
    people = p.find_people(folder / "in", table=path)
    assert {person.id: person.sex for person in people} == {"a": "F", "b": "?", "sub/c": "M"}
    people = p.find_people(folder / "in", table=path, split="probe")
    assert [person.id for person in people] == ["a", "sub/c"]


def test_outputs_may_have_another_type_or_be_missing(folder):
    out = folder / "out"
    out.mkdir()
    for name in ("a.jpg", "a.png", "b.png"):
        (out / name).write_bytes(b"x")
    (out / "a.png").unlink()
    people = p.with_outputs(p.find_people(folder / "in"), folder / "in", out)
    assert [person.output and person.output.name for person in people] == ["a.jpg", "b.png", None]


def test_contributors(tmp_path):
    path = tmp_path / "c.json"
    path.write_text('{"a.jpg": ["g1"], "b": [], "sub/c.png": ["g2", "g3"], "v1.5": ["g4"]}')
    assert p.read_contributors(path) == {"a": ["g1"], "b": [], "sub/c": ["g2", "g3"],
                                         "v1.5": ["g4"]}


@pytest.mark.parametrize("content", ["[1]", '{"a": "g1"}', '{"a": [1]}', "{", "\xff"])
def test_contributors_of_another_form(tmp_path, content):
    path = tmp_path / "c.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(EvaluationError, match="JSON"):
        p.read_contributors(path)


def test_refusals_name_the_value_and_the_remedy(folder):
    empty = folder / "empty"
    empty.mkdir()
    cases = [
        (lambda: p.find_people(folder / "nowhere"), "nowhere is not a folder; give"),
        (lambda: p.find_people(empty), "no images in .*empty; expected"),
        (lambda: p.find_people(folder / "in", split="probe"), "--split probe needs --csv"),
        (lambda: p.find_people(folder / "in", table=folder / "no.csv"), "no.csv cannot be read"),
        (lambda: p.find_people(folder / "in", table=table(folder, "name,sex\na,F\n")),
         r"lacks the column id \(it has name, sex\)"),
        (lambda: p.find_people(folder / "in", table=table(folder, "")),
         r"lacks the columns id, sex \(it has none\)"),
        (lambda: p.find_people(folder / "in", table=table(folder, "id,sex\nz,F\n")),
         "none of the 3 people"),
        (lambda: p.find_people(folder / "in", table=table(folder, "id,sex\na,F\n"), split="x"),
         "lacks the column split"),
        (lambda: p.find_people(folder / "in", table=table(folder, "id,sex,split\na,F,y\n"),
                               split="x"), "belongs to the split 'x'; .* has y"),
        (lambda: p.find_people(folder / "in", table=folder / "in" / "sub"), "cannot be read"),
        (lambda: p.with_outputs(p.find_people(folder / "in"), folder / "in", empty),
         "None of the 3 originals has an output"),
        (lambda: p.with_outputs(p.find_people(folder / "in"), folder / "in", folder / "o"),
         "not a folder"),
    ]
    for call, message in cases:
        with pytest.raises(EvaluationError, match=message):
            call()
    (folder / "in" / "a.png").write_bytes(b"x")
    with pytest.raises(EvaluationError, match="same name"):
        p.find_people(folder / "in")
