"""OFFLINE: the seam between the trainings and what Keras computes with.

The networks, losses and optimisers are Keras; what differs between TensorFlow and
JAX is how a gradient is asked for and how a step is compiled, and that is all here.
TensorFlow follows the variables by itself. JAX wants pure functions: their values
go in and come out, and ``keras.StatelessScope`` stands between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from deid_ros.errors import TrainingError

__all__ = ["Engine", "slope"]

_KNOWN = ("tensorflow", "jax")


def _name() -> str:
    import keras

    name = keras.backend.backend()
    if name not in _KNOWN:
        raise TrainingError(f"Keras computes with '{name}' here; set KERAS_BACKEND to "
                            f"{' or '.join(_KNOWN)}.")
    return name


def slope(function: Callable[[Any], Any], place: Any) -> Any:
    """The gradient of a scalar function of one tensor, at ``place``; can be derived again."""
    if _name() == "jax":
        import jax

        return jax.grad(function)(place)
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(place)
        value = function(place)
    return tape.gradient(value, place)


class Engine:
    """Compiles steps that read and change Keras variables.

    Args:
        variables: every variable that a step changes; what it only reads may be
            left out and is then a constant.

    Raises:
        TrainingError: Keras runs on a back end that is not known here.
    """

    def __init__(self, variables: Sequence[Any]) -> None:
        self.name = _name()
        self._variables = list(variables)
        self._scope: Any = None

    def compiled(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """``step`` of arrays, compiled for each of their shapes."""
        if self.name == "tensorflow":
            import tensorflow as tf

            return tf.function(step, reduce_retracing=True, autograph=False)
        import jax

        def pure(values: list, *batch: Any) -> tuple[Any, list]:
            return self._within(lambda: step(*batch), zip(self._variables, values))

        pure = jax.jit(pure)

        def run(*batch: Any) -> Any:
            answer, values = pure([v.value for v in self._variables], *batch)
            for variable, value in zip(self._variables, values):
                variable.assign(value)
            return answer

        return run

    def gradients(self, function: Callable[[], tuple[Any, Any]],
                  variables: Sequence[Any]) -> tuple[Any, list]:
        """Within a step: the gradients of a loss with respect to ``variables``.

        Args:
            function: gives the loss, a scalar, and whatever else is wanted.

        Returns:
            What else ``function`` gave; a gradient for each variable.
        """
        if self.name == "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                loss, others = function()
            return others, tape.gradient(loss, list(variables))
        import jax

        now = [self._scope.get_current_value(v) for v in self._variables]

        def pure(values: list) -> tuple[Any, tuple[Any, list]]:
            (loss, others), after = self._within(
                function, [*zip(self._variables, now), *zip(variables, values)])
            return loss, (others, after)

        slopes, (others, after) = jax.grad(pure, has_aux=True)(
            [self._scope.get_current_value(v) for v in variables])
        # What the function changed in passing, such as the means of a batch normalisation.
        for variable, value in zip(self._variables, after):
            self._scope.add_update((variable, value))
        return others, slopes

    def _within(self, function: Callable[[], Any], state: Any) -> tuple[Any, list]:
        """What a function gives, and the variables' values after it, from ``state`` on."""
        import keras

        before = self._scope
        with keras.StatelessScope(state_mapping=state) as self._scope:
            try:
                answer = function()
                return answer, [self._scope.get_current_value(v) for v in self._variables]
            finally:
                self._scope = before
