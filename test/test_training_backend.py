"""TensorFlow and JAX train alike: the seam itself, and a few real steps with each."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")

ROOT = Path(__file__).resolve().parents[1]
needs_jax = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs jax")

STEPS = """
import csv, json, sys
from pathlib import Path
from generator_support import make_people
from deid_ros.training.generator import GeneratorTraining, TrainingOptions
from deid_ros.training.options import load_options
import keras
options = TrainingOptions(**load_options("generator", {
    "batch": 4, "warm_up": 1, "steps": 6, "penalty_every": 2, "matching": 1.0}))
folder, resume, stop = Path(sys.argv[1]), sys.argv[2] == "resume", int(sys.argv[3])
training = GeneratorTraining(make_people(), folder, options, resume=resume)
begun = training.step
training.run(stop=lambda: training.step == stop)
with open(folder / "losses.csv", newline="") as stream:
    rows = [[float(row[0]), *map(float, row[2:])] for row in list(csv.reader(stream))[1:]]
if len(sys.argv) > 4:
    from deid_ros.training.export import export_generator
    export_generator(training.averaged(), Path(sys.argv[4]))
print(json.dumps([keras.backend.backend(), begun, rows]))
"""


def steps(backend: str, *arguments: object) -> tuple[str, int, np.ndarray]:
    done = subprocess.run(
        [sys.executable, "-c", STEPS, *map(str, arguments)], cwd=ROOT, text=True,
        capture_output=True, timeout=500, env={
            **os.environ, "KERAS_BACKEND": backend, "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "test"),
                                           *filter(None, sys.path)])})
    assert done.returncode == 0, done.stderr[-3000:]
    name, begun, rows = json.loads(done.stdout.splitlines()[-1])
    return name, begun, np.array(rows)


@needs_jax
@pytest.mark.slow
def test_jax_trains_exports_and_tensorflow_goes_on(tmp_path):
    with_jax, with_tensorflow = tmp_path / "jax", tmp_path / "tensorflow"
    name, _, ours = steps("jax", with_jax, "new", 3, tmp_path / "generator.onnx")
    assert name == "jax" and ours.shape == (3, 8) and np.isfinite(ours).all()
    # What is reconstructed is set right in these first steps: the loss falls.
    assert ours[-1, 1] < ours[0, 1]
    # export_generator has compared the file with the network.
    assert (tmp_path / "generator.onnx").stat().st_size > 1e6
    name, _, theirs = steps("tensorflow", with_tensorflow, "new", 1)
    assert name == "tensorflow" and theirs.shape == (1, 8)
    # Untrained, both networks are the linear texture.
    assert ours[0] == pytest.approx(theirs[0], rel=1e-4)
    _, begun, rows = steps("tensorflow", with_jax, "resume", 4)
    assert begun == 3 and rows[:, 0].tolist() == [1, 2, 3, 4]
    assert np.isfinite(rows).all()


def square(engine, a, b):
    """One step of descent on sum(a * x ** 2), with b counting the steps in passing."""
    def compute(x):
        def loss():
            b.assign(b + 1)
            value = keras.ops.sum(keras.ops.convert_to_tensor(a) * x ** 2)
            return value, (value, keras.ops.convert_to_tensor(b))

        others, (gradient,) = engine.gradients(loss, [a])
        a.assign(a - 0.1 * gradient)
        return others
    return compute


CHECK = """
import keras, numpy as np
from deid_ros.training.backend import Engine, slope
from test_training_backend import square
a, b = keras.Variable(np.float32([1, 2, 3])), keras.Variable(np.float32(0))
engine = Engine([a, b])
step = engine.compiled(square(engine, a, b))
for k in (1, 2):
    value, count = step(np.float32([1, 0, 2]))
    print(round(float(value), 4), float(count), [round(float(x), 4) for x in np.asarray(a)],
          float(np.asarray(b)))
steep = engine.compiled(lambda x: slope(lambda y: keras.ops.sum(slope(
    lambda z: keras.ops.sum(z ** 3), y)), x))
print(np.asarray(steep(np.float32([1, 2]))).tolist())
"""


@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=needs_jax)])
def test_steps_change_variables_and_gradients_are_right(backend):
    done = subprocess.run([sys.executable, "-c", CHECK], cwd=ROOT, text=True, timeout=200,
                          capture_output=True, env={
                              **os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": os.pathsep.join(
                                  [str(ROOT), str(ROOT / "test"), *filter(None, sys.path)])})
    assert done.returncode == 0, done.stderr[-3000:]
    # The gradient is x ** 2 = 1, 0, 4; of the sum of z ** 3, twice, 6 y.
    assert done.stdout.splitlines()[-3:] == [
        "13.0 1.0 [0.9, 2.0, 2.6] 1.0", "11.3 2.0 [0.8, 2.0, 2.2] 2.0", "[6.0, 12.0]"]


def test_other_back_ends_are_refused(monkeypatch):
    from deid_ros.errors import TrainingError
    from deid_ros.training.backend import Engine

    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(TrainingError, match="'torch' here; set KERAS_BACKEND to tensorflow or jax"):
        Engine([])
