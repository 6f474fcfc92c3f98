"""Options of the trainings: one place of defaults, clear refusals."""

from __future__ import annotations

from dataclasses import fields

import pytest

from deid_ros.errors import TrainingError
from deid_ros.training.extractor import ExtractorOptions
from deid_ros.training.generator import TrainingOptions
from deid_ros.training.options import OPTIONS, defaults, load_options


@pytest.mark.parametrize(("training", "options"), [("generator", TrainingOptions),
                                                   ("extractor", ExtractorOptions)])
def test_file_table_and_training_know_the_same_options(training, options):
    names = {field.name for field in fields(options)}
    assert set(OPTIONS[training]) == names == set(defaults(training))
    assert all(entry.description for entry in OPTIONS[training].values())
    options(**load_options(training))


def test_a_file_lies_over_the_defaults_and_single_values_over_it(tmp_path):
    path = tmp_path / "t.yaml"
    path.write_text("extractor: {steps: 7, margin: 0, head: softmax}\ngenerator:\n")
    values = load_options("extractor", {"steps": 9, "seed": None}, path=path)
    assert (values["steps"], values["margin"], values["head"]) == (9, 0.0, "softmax")
    assert isinstance(values["margin"], float)
    assert values["seed"] == defaults("extractor")["seed"]
    assert load_options("generator", path=path) == defaults("generator")


@pytest.mark.parametrize(("content", "message"), [
    ("extractor: {stepps: 7}", "no option 'extractor.stepps'.*did you mean 'steps'"),
    ("extractor: {steps: 0}", "steps is 0 .*from 1 to"),
    ("extractor: {steps: 2.5}", "steps is 2.5"),
    ("extractor: {steps: true}", "steps is True"),
    ("extractor: {margin: .nan}", "margin is nan"),
    ("extractor: {head: cosface}", "head is 'cosface' .*one of arcface, softmax"),
    ("extraktor: {}", "section 'extraktor'"),
    ("extractor: 3", "must have 'generator:'"),
    ("- 3", "must have 'generator:'"),
    ("a: [", "not valid YAML"),
    (None, "cannot be read")])
def test_files_that_are_refused(tmp_path, content, message):
    path = tmp_path / "t.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(TrainingError, match=message):
        load_options("extractor", path=path)


def test_half_of_a_batch_must_be_whole():
    with pytest.raises(TrainingError, match="generator.batch is 5"):
        load_options("generator", {"batch": 5})
