"""Whose picture is whose: originals, their outputs, and what is known of the people.

A person is one original picture; the name of the file is the person's id. The
output of ``IN/name.jpg`` is ``OUT/name.*``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deid_ros.errors import EvaluationError
from deid_ros.tables import read_table

__all__ = ["Person", "find_people", "images_in", "read_contributors", "second_photographs",
           "with_outputs"]

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class Person:
    """One person to be protected.

    ``id``        the original's path below its folder, without suffix.
    ``sex``       'M', 'F', or '?' where it is not known.
    ``original``  the picture that the attacker knows.
    ``output``    the anonymised picture; None: missing.
    """

    id: str
    sex: str
    original: Path
    output: Path | None = None


def images_in(folder: Path) -> dict[str, Path]:
    """The images below a folder by id, in the order of the ids.

    Raises:
        EvaluationError: no such folder, or two images of one id.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise EvaluationError(f"{folder} is not a folder; give a folder of images.")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in SUFFIXES or not path.is_file():
            continue
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise EvaluationError(f"{found[name]} and {path} have the same name; "
                                  "keep one of them, a name stands for one person.")
        found[name] = path
    return dict(sorted(found.items()))


def find_people(originals: Path, *, table: Path | None = None,
                split: str | None = None) -> list[Person]:
    """The people of a folder of originals, outputs not yet known.

    Args:
        originals: a folder of images, one person each.
        table: a CSV file with the columns id and sex (M or F), and split where
            ``split`` is given; people who are not in it have the sex '?'.
        split: keep only the people whose column split says this.

    Raises:
        EvaluationError: a folder without images, a table that cannot be read or
            knows none of the people.
    """
    images = images_in(originals)
    if not images:
        raise EvaluationError(f"There are no images in {originals}; expected files ending in "
                              f"{', '.join(SUFFIXES)}.")
    if table is None:
        if split is not None:
            raise EvaluationError(f"--split {split} needs --csv, the table that has the splits.")
        return [Person(name, "?", path) for name, path in images.items()]
    rows = read_table(table, ["id", "sex"] + (["split"] if split is not None else []),
                      error=EvaluationError)
    known = {row["id"]: row for row in rows if row["id"]}
    if not known.keys() & {Path(name).name for name in images}:
        raise EvaluationError(f"{table} has none of the {len(images)} people in {originals}; "
                              "its ids must be the names of the files without suffix.")
    people = []
    for name, path in images.items():
        row = known.get(Path(name).name)
        if split is not None and (row is None or row["split"] != split):
            continue
        sex = row["sex"].upper() if row else "?"
        people.append(Person(name, sex if sex in ("M", "F") else "?", path))
    if not people:
        splits = sorted({row["split"] for row in rows})
        raise EvaluationError(f"Nobody in {originals} belongs to the split '{split}'; "
                              f"{table} has {', '.join(splits)}.")
    return people


def with_outputs(people: Iterable[Person], originals: Path, outputs: Path) -> list[Person]:
    """The same people with their outputs below a folder, None where there is none.

    Raises:
        EvaluationError: no such folder, or nobody has an output there.
    """
    people = list(people)
    images = images_in(outputs)
    found = []
    for person in people:
        same = Path(outputs) / person.original.relative_to(originals)
        output = same if same.is_file() else images.get(person.id)
        found.append(replace(person, output=output))
    if people and not any(person.output for person in found):
        raise EvaluationError(f"None of the {len(people)} originals has an output in {outputs}; "
                              f"expected files of the same names, such as {people[0].id}.jpg.")
    return found


def second_photographs(people: Sequence[Person], folder: Path) -> dict[str, Path]:
    """Id -> another photograph of the person, of those who have one below ``folder``.

    Raises:
        EvaluationError: no such folder, or nobody has one there.
    """
    images = images_in(folder)
    found = {person.id: images[person.id] for person in people if person.id in images}
    if people and not found:
        raise EvaluationError(f"None of the {len(people)} people has a second photograph in "
                              f"{folder}; expected files of the same names, such as "
                              f"{people[0].id}.jpg.")
    return found


def read_contributors(path: Path) -> dict[str, list[str]]:
    """Who was mixed into whose surrogate: a JSON object of name -> list of gallery ids.

    Raises:
        EvaluationError: the file cannot be read or holds something else.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise EvaluationError(f"{path} cannot be read ({error.strerror or error}); "
                              "check the path.") from None
    except ValueError as error:
        raise EvaluationError(f"{path} is not valid JSON ({error}); expected an object of "
                              "name: [gallery id, ...].") from None
    if (not isinstance(content, dict)
            or not all(isinstance(ids, list) and all(isinstance(i, str) for i in ids)
                       for ids in content.values())):
        raise EvaluationError(f"{path} must be a JSON object of name: [gallery id, ...].")
    return {name[: -len(Path(name).suffix)] if Path(name).suffix.lower() in SUFFIXES else name:
            ids for name, ids in content.items()}
