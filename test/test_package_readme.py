"""README.md says what the code does: parameters, topics, files.

Run as a program it writes the table of parameters into README.md.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from deid_ros.config import defaults
from deid_ros.parameters import COMMON, PARAMETERS

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
BEGIN = "<!-- parameters: written by `.venv/bin/python test/test_package_readme.py` -->\n"
END = "<!-- end of parameters -->\n"
COMMON_BEGIN = "<!-- common: written by `.venv/bin/python test/test_package_readme.py` -->\n"
COMMON_END = "<!-- end of common -->\n"


def table() -> str:
    """The parameters of every node as one Markdown table."""
    values = defaults()
    lines = ["| node | parameter | type | default | allowed | live | meaning |",
             "| --- | --- | --- | --- | --- | --- | --- |"]
    for node, entries in PARAMETERS.items():
        for name, entry in entries.items():
            value = values[node][name]
            if isinstance(value, list):
                default = "[" + ", ".join(value) + "]"
            else:
                default = {True: "true", False: "false"}.get(value, str(value)) \
                    if isinstance(value, bool) else str(value) or "''"
            kind = {"list": "list of texts", "str": "text", "int": "integer",
                    "float": "number", "bool": "true/false"}[entry.kind.__name__]
            if entry.choices:
                allowed = ", ".join(f"`{choice}`" for choice in entry.choices)
            elif entry.minimum is not None:
                allowed = f"{entry.minimum:g} to {entry.maximum:g} {entry.unit}".strip()
            else:
                allowed = ""
            lines.append(f"| {node} | `{name}` | {kind} | `{default}` | {allowed} | "
                         f"{'yes' if entry.live else ''} | "
                         f"{entry.description} |".replace("|  |", "| |").replace("|  |", "| |"))
    return "\n".join(lines) + "\n"


def common() -> str:
    """The options and launch arguments, in lines of fair length."""
    words = [f"`{name}`" for _, name in COMMON]
    return textwrap.fill(", ".join(words), 104) + ".\n"


def test_common_parameters_of_readme_are_those_of_the_code():
    written = README.read_text(encoding="utf-8").split(COMMON_BEGIN)[1].split(COMMON_END)[0]
    assert written == common(), "run: .venv/bin/python test/test_package_readme.py"


def test_readme_says_which_models_may_not_be_used_commercially():
    """dlib's 68 points, by ``deid evaluate`` alone."""
    text = " ".join(README.read_text(encoding="utf-8").split())
    assert "`deid evaluate` compares landmarks with dlib's 68-point model" in text
    assert "--landmarks mesh" in text


def test_parameters_of_readme_are_those_of_the_code():
    text = README.read_text(encoding="utf-8")
    assert text.count(BEGIN) == 1 and text.count(END) == 1
    written = text.split(BEGIN)[1].split(END)[0]
    assert written == table(), "run: .venv/bin/python test/test_package_readme.py"


@pytest.mark.parametrize("path", ["README.md", "models/README.md", "DB/README.md", "SECURITY.md",
                                  "docs/privacy.md"])
def test_files_that_the_documents_name_exist(path):
    text = (ROOT / path).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert ((ROOT / path).parent / target).exists(), f"{path} points at {target}"


def test_every_topic_is_in_the_readme():
    from deid_ros.ros import topics

    text = README.read_text(encoding="utf-8")
    names = [value for name, value in vars(topics).items() if name.isupper() and name != "PUBLIC"]
    assert len(names) >= 8
    for name in names:
        assert f"| `{name}` | " in text, name
    for name, kind in topics.PUBLIC.items():
        assert f"| `{name}` | `{kind.replace('/msg/', '/')}` |" in text, name


def test_make_targets_named_in_readme_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"make (demo|test|lint|clean)\b", README.read_text("utf-8"))):
        assert re.search(rf"^{target}:", makefile, re.M)


if __name__ == "__main__":
    content = README.read_text(encoding="utf-8")
    for begin, end, text in ((BEGIN, END, table()), (COMMON_BEGIN, COMMON_END, common())):
        before, rest = content.split(begin)
        content = before + begin + text + end + rest.split(end)[1]
    README.write_text(content, encoding="utf-8")
