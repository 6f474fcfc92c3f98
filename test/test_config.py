"""config.py and parameters.py: defaults, files, overrides, refusals."""

from __future__ import annotations

import pytest
import yaml

from deid_ros import config
from deid_ros.errors import ConfigError
from deid_ros.parameters import PARAMETERS, help_of
from deid_ros.resources import share_path


def write(folder, text):
    path = folder / "my.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_yaml_file_holds_exactly_the_parameters_of_the_table():
    tree = yaml.safe_load(share_path("config", "pipeline.yaml").read_text(encoding="utf-8"))
    found = {key.removeprefix("/**/"): list(below["ros__parameters"])
             for key, below in tree.items()}
    assert found == {node: list(entries) for node, entries in PARAMETERS.items()}


def test_defaults_pass_their_own_checks_in_their_own_type():
    for node, values in config.defaults().items():
        for name, value in values.items():
            assert type(value) is PARAMETERS[node][name].kind
            assert config.check(node, name, value) == value


def test_defaults_are_a_fresh_copy():
    config.defaults()["detector"]["detector"].append("x")
    config.defaults()["matcher"]["mix"] = -1
    assert config.defaults() == config.load()
    assert "x" not in config.defaults()["detector"]["detector"]


@pytest.mark.parametrize("key", ["/**/matcher", "/**", "matcher", "/ns/matcher", "/*/matcher",
                                 "/a/b/matcher"])
def test_every_form_of_key_reaches_the_node(tmp_path, key):
    path = write(tmp_path, f"{key}:\n  ros__parameters:\n    mix: 3\n")
    assert config.load(path)["matcher"]["mix"] == 3


def test_nested_namespaces_are_read_as_ros_reads_them(tmp_path):
    path = write(tmp_path, "ns:\n  matcher:\n    ros__parameters:\n      mix: 3\n")
    assert config.load(path)["matcher"]["mix"] == 3


@pytest.mark.parametrize(("key", "namespace", "holds"), [
    ("/**/matcher", "", True), ("/**/matcher", "/a/b", True), ("/**", "/a", True),
    ("matcher", "/a", True), ("/a/matcher", "/a", True), ("/a/matcher", "a", True),
    ("/a/matcher", "/b", False), ("/a/matcher", "", False), ("/*/matcher", "/a", True),
    ("/*/matcher", "/a/b", False), ("/a/**/matcher", "/a", True), ("/a/**", "/a/b", True),
    ("/a/**", "/b", False), ("/a.b/matcher", "/axb", False)])
def test_namespace_selects_entries(tmp_path, key, namespace, holds):
    path = write(tmp_path, f"{key}:\n  ros__parameters:\n    mix: 3\n")
    assert (config.load(path, namespace=namespace)["matcher"]["mix"] == 3) is holds


def test_wildcard_reaches_every_node_that_knows_the_parameter(tmp_path):
    path = write(tmp_path, "/**:\n  ros__parameters:\n    image_topic: /front/image\n")
    loaded = config.load(path)
    for node in ("detector", "replacer", "video_source"):
        assert loaded[node]["image_topic"] == "/front/image"
    assert "image_topic" not in loaded["matcher"]


def test_later_entries_win_and_overrides_win_over_all(tmp_path):
    path = write(tmp_path, "/**/matcher:\n  ros__parameters: {mix: 3, policy: nearest}\n"
                           "matcher:\n  ros__parameters: {mix: 4}\n")
    loaded = config.load(path, {"matcher": {"policy": "independent", "key": None}})
    assert loaded["matcher"]["mix"] == 4
    assert loaded["matcher"]["policy"] == "independent"
    assert loaded["matcher"]["key"] == ""


def test_parameters_that_every_ros_node_has_are_handed_on(tmp_path):
    path = write(tmp_path, "/**:\n  ros__parameters:\n    use_sim_time: true\n"
                           "    qos_overrides: {/a: {publisher: {depth: 3}}}\n")
    loaded = config.load(path)
    assert loaded["replacer"]["use_sim_time"] is True
    assert loaded["replacer"]["qos_overrides./a.publisher.depth"] == 3


@pytest.mark.parametrize("text", ["", "# nothing\n", "/**/detector:\n",
                                  "/**/detector:\n  ros__parameters:\n"])
def test_empty_files_change_nothing(tmp_path, text):
    assert config.load(write(tmp_path, text)) == config.defaults()


@pytest.mark.parametrize(("node", "name", "value", "words"), [
    ("detector", "threshold", 1.5, ["1.5", "0.0 to 1.0"]),
    ("detector", "threshold", float("nan"), ["nan", "0.0 to 1.0"]),
    ("detector", "threshold", "0.5", ["'0.5'", "number"]),
    ("detector", "threshold", True, ["True", "number"]),
    ("detector", "carry_frames", 1.0, ["1.0", "whole number"]),
    ("detector", "carry_frames", True, ["True", "whole number"]),
    ("detector", "detector", ["centreface"], ["centreface", "did you mean 'centerface'"]),
    ("detector", "detector", ["none"], ["none", "viola_jones"]),
    ("detector", "detector", [], ["[]", "at least one"]),
    ("detector", "detector", [1], ["[1]", "quotes"]),
    ("matcher", "preserve", ["none", "sex"], ["stands alone"]),
    ("matcher", "preserve", [], ["['none']"]),
    ("matcher", "mix", 0, ["0", "from 1 to 1000"]),
    ("matcher", "policy", "nearst", ["nearst", "did you mean 'nearest'"]),
    ("matcher", "key", 1234, ["1234", "quotes"]),
    ("matcher", "margin", 0.3, ["'margin'", "'min_distance'", "min_distance: 0.3"]),
    ("matcher", "mx", 3, ["mx", "did you mean 'mix'"]),
    ("macher", "mix", 3, ["macher", "did you mean 'matcher'"]),
    ("replacer", "deadline_ms", 0.0, ["0.0", "ms"]),
    ("video_source", "loop", 1, ["1", "true or false"]),
])
def test_refusals_name_value_and_remedy(node, name, value, words):
    with pytest.raises(ConfigError) as caught:
        config.load(overrides={node: {name: value}})
    message = str(caught.value)
    assert message.endswith((".", "?")) and "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(("text", "words"), [
    ("detector:\n  ros__parameters:\n    detector: centerface\n", ["[centerface]", "my.yaml"]),
    ("detectr:\n  ros__parameters:\n    threshold: 0.3\n", ["did you mean 'detector'"]),
    ("detectr:\n  ros__parameters: {}\n", ["did you mean 'detector'"]),
    ("/**:\n  ros__parameters:\n    treshold: 0.3\n", ["treshold", "did you mean 'threshold'"]),
    ("/ns/matcher:\n  ros__parameters:\n    mix: many\n", ["many", "whole number"]),
    ("detector: 3\n", ["int", "ros__parameters"]),
    ("- a\n", ["list"]),
    ("ros__parameters:\n  mix: 3\n", ["below a node name"]),
    ("detector:\n  ros__parameters: [1]\n", ["name: value"]),
    ("a: [\n", ["not valid YAML", "my.yaml"]),
    ("/**/matcher:\n  ros__parameters:\n    margin: 0.3\n", ["'min_distance'", "my.yaml"]),
    ("/**/matcher:\n  ros__parameters:\n    extractor: vggface\n", ["detector.extractor"]),
])
def test_bad_files_are_refused_in_one_sentence(tmp_path, text, words):
    with pytest.raises(ConfigError) as caught:
        config.load(write(tmp_path, text))
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_entries_for_other_namespaces_are_checked_all_the_same(tmp_path):
    path = write(tmp_path, "/a/matcher:\n  ros__parameters:\n    mix: -1\n")
    with pytest.raises(ConfigError):
        config.load(path, namespace="/b")


def test_unreadable_files_are_named(tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read"):
            config.load(path)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not valid YAML"):
        config.load(binary)


def test_whole_numbers_serve_as_numbers():
    value = config.load(overrides={"replacer": {"deadline_ms": 200}})["replacer"]["deadline_ms"]
    assert value == 200.0 and type(value) is float


@pytest.mark.parametrize(("value", "items"), [
    ("", []), ([], []), (["none"], []), ("none", []), ("a", ["a"]), ("a, b", ["a", "b"]),
    (("a",), ["a"]), ([""], [])])
def test_as_list(value, items):
    assert config.as_list(value) == items


def test_lists_may_be_given_as_text_with_commas():
    loaded = config.load(overrides={"detector": {"detector": "ssd,dlib_hog"},
                                    "matcher": {"preserve": "none"}})
    assert loaded["detector"]["detector"] == ["ssd", "dlib_hog"]
    assert loaded["matcher"]["preserve"] == ["none"]


def test_file_of(tmp_path):
    assert config.file_of(tmp_path / "g.npz") == tmp_path / "g.npz"
    assert config.file_of("DB/gallery.npz") == share_path("DB", "gallery.npz")


def test_every_parameter_is_described_and_bounded():
    for node, entries in PARAMETERS.items():
        for name, entry in entries.items():
            assert entry.description and not entry.description.endswith("."), (node, name)
            assert (entry.minimum is None) == (entry.maximum is None)
            if entry.kind in (int, float):
                assert entry.minimum < entry.maximum, f"{node}.{name} has no range"
            assert entry.description in help_of(node, name)
