"""The skeleton of ``deid``: exit statuses, one-line errors, help, options."""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import types

import pytest

from deid_ros import __version__, cli
from deid_ros.cli import options
from deid_ros.errors import DeidError, GalleryError, ModelError


def deid(*arguments, **options_):
    return subprocess.run([sys.executable, "-m", "deid_ros", *arguments], text=True,
                          capture_output=True, timeout=60, **options_)


def fake(action):
    """A command 'fake' that does ``action``."""
    def register(subparsers):
        parser = subparsers.add_parser("fake")
        parser.add_argument("--colour", choices=["red", "green"])
    return {"fake": types.SimpleNamespace(register=register, run=lambda args: action())}


def run_fake(monkeypatch, action, *arguments):
    monkeypatch.setattr(cli, "_modules", lambda: fake(action))
    monkeypatch.delenv(cli.DEBUG_VARIABLE, raising=False)
    return cli.main(["fake", *arguments])


def throw(error):
    def action():
        raise error
    return action


def test_version():
    result = deid("--version")
    assert (result.returncode, result.stdout) == (0, f"deid_ros {__version__}\n")


def test_help_lists_every_command_that_there_is():
    result = deid("--help")
    assert result.returncode == 0 and result.stderr == ""
    assert "examples:" in result.stdout
    for name in cli.COMMANDS:
        there = importlib.util.find_spec(f"deid_ros.cli.{name}") is not None
        assert (f"\n    {name} " in result.stdout) == there, name


def leaves(parser):
    """The parsers of all commands: those of 'deid db build', not that of 'deid db'."""
    below = [choice for action in parser._actions
             if isinstance(action, argparse._SubParsersAction)
             for choice in action.choices.values()]
    return [leaf for choice in below for leaf in leaves(choice)] or [parser]


COMMANDS = leaves(cli._parser(cli._modules())[0])


@pytest.mark.parametrize("parser", COMMANDS, ids=lambda parser: parser.prog)
def test_help_of_every_command_teaches(parser):
    text = parser.format_help()
    # An example is a line that begins with the command as one would type it.
    assert f"\n  {parser.prog} " in text, f"'{parser.prog} --help' shows no example"
    for action in parser._actions:
        assert action.help, f"'{parser.prog}' does not explain {action.dest}"


def test_nothing_at_all_shows_the_help():
    result = deid()
    assert result.returncode == 2 and "commands:" in result.stdout


@pytest.mark.parametrize(("arguments", "words"), [
    (["modls"], ["invalid choice: 'modls'", "did you mean 'models'?"]),
    (["--verzion"], ["--verzion", "did you mean --version?"]),
    (["models", "--jsn"], ["--jsn", "did you mean --json?", "deid models --help"]),
    (["models", "extra"], ["extra"]),
])
def test_wrong_arguments_cost_one_line_and_status_2(arguments, words):
    result = deid(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr


def test_wrong_choice_of_an_option_is_explained(monkeypatch, capsys):
    with pytest.raises(SystemExit) as caught:
        run_fake(monkeypatch, lambda: 0, "--colour", "gren")
    assert caught.value.code == 2
    assert "did you mean 'green'?" in capsys.readouterr().err


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (1, 1), (True, 1)])
def test_status_is_the_command_s(monkeypatch, returned, status):
    assert run_fake(monkeypatch, lambda: returned) == status


@pytest.mark.parametrize(("error", "status", "words"), [
    (DeidError("no such thing; do that."), 2, "deid: no such thing; do that.\n"),
    (GalleryError("two\nlines"), 2, "deid: two lines\n"),
    (ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow.keras"), 2,
     "pip install 'deid_ros[train]'"),
    (ModuleNotFoundError("No module named 'cv2'", name="cv2"), 2, "reinstall deid_ros"),
    (FileNotFoundError(2, "No such file or directory", "/a/b"), 2, "(/a/b)"),
    (OSError(28, "No space left on device"), 2, "No space left on device"),
    (ValueError("odd"), 1, "internal error, ValueError: odd"),
    (KeyboardInterrupt(), 130, "deid: interrupted\n"),
])
def test_errors_become_one_line(monkeypatch, capsys, error, status, words):
    assert run_fake(monkeypatch, throw(error)) == status
    captured = capsys.readouterr()
    assert captured.out == "" and words in captured.err
    assert captured.err.count("\n") == 1 and "Traceback" not in captured.err


def test_debug_variable_shows_where(monkeypatch):
    monkeypatch.setattr(cli, "_modules", lambda: fake(throw(ModelError("x"))))
    monkeypatch.setenv(cli.DEBUG_VARIABLE, "1")
    with pytest.raises(ModelError):
        cli.main(["fake"])


def test_a_reader_that_leaves_is_no_error():
    result = subprocess.run(f"{sys.executable} -m deid_ros models | true; echo ${{PIPESTATUS[0]}}",
                            shell=True, executable="/bin/bash", text=True, capture_output=True,
                            timeout=60)
    assert "Traceback" not in result.stderr and "Broken" not in result.stderr


def test_models_finds_own_and_foreign_files(capsys):
    status = cli.main(["models", "--json"])
    entries = json.loads(capsys.readouterr().out)
    assert {"centerface", "face_mesh", "dlib_resnet"} <= {entry["name"] for entry in entries}
    assert status == int(any(entry["state"] != "ok" for entry in entries))
    for entry in entries:
        assert entry["licence"] and entry["use"]
        assert bool(entry["note"]) == (entry["state"] != "ok")


def test_models_reports_an_altered_file(tmp_path):
    (tmp_path / "centerface.onnx").write_bytes(b"something else")
    result = deid("models", env={"DEID_MODELS": str(tmp_path), "PATH": "/usr/bin:/bin"})
    assert result.returncode == 1
    row = next(line for line in result.stdout.splitlines() if line.startswith("centerface"))
    assert "altered" in row and "not the one expected" in result.stdout


@pytest.fixture
def parser():
    parser = argparse.ArgumentParser()
    options.add_config(parser)
    for node, name in [("detector", "detector"), ("detector", "threshold"), ("matcher", "mix"),
                       ("matcher", "extractor"), ("video_source", "loop")]:
        options.add_parameter(parser, node, name)
    options.add_parameter(parser, "video_source", "rate", "--fps")
    return parser


def test_options_not_given_leave_the_configuration_alone(parser):
    args = parser.parse_args([])
    assert options.overrides_of(args) == {}
    assert options.config_of(args)["detector"]["detector"] == ["centerface"]


def test_options_override_the_configuration(parser, tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text("matcher:\n  ros__parameters: {mix: 2}\n"
                    "detector:\n  ros__parameters: {threshold: 0.9}\n", encoding="utf-8")
    args = parser.parse_args(["--config", str(path), "--detector", "ssd,centerface", "--mix", "4",
                              "--loop", "--fps", "12", "--extractor", "vggface"])
    loaded = options.config_of(args)
    assert loaded["detector"]["detector"] == ["ssd", "centerface"]
    assert loaded["detector"]["threshold"] == 0.9
    assert loaded["matcher"]["mix"] == 4
    assert loaded["video_source"]["loop"] is True and loaded["video_source"]["rate"] == 12.0
    assert loaded["detector"]["extractor"] == loaded["matcher"]["extractor"] == "vggface"


def test_files_are_looked_for_where_the_user_is(tmp_path, monkeypatch):
    parser = argparse.ArgumentParser()
    for node, name in [("matcher", "gallery"), ("generator", "generator")]:
        options.add_parameter(parser, node, name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.npz").touch()

    def gallery(value):
        return options.config_of(parser.parse_args(["--gallery", value]))["matcher"]["gallery"]
    assert gallery("mine.npz") == str(tmp_path / "mine.npz")
    assert gallery("/abs/mine.npz") == "/abs/mine.npz"
    assert gallery("models/models.yaml") == "models/models.yaml"  # in the share folder
    assert gallery("nowhere.npz") == str(tmp_path / "nowhere.npz")
    assert options.config_of(parser.parse_args([])) == options.load()


def test_help_of_options_shows_default_and_range(parser):
    text = " ".join(parser.format_help().split())
    assert "[centerface]" in text and "viola_jones" in text and "0.0 to 1.0" in text
