"""LSTM, GRU and simple recurrent encoders as pure functions, exact under padding and quick under XLA.

Representation: inputs `[B, T, E]`, ``kept`` bool `[B, T]`, states `[B, H]`. Weights stand as Keras has them: kernel
`[E, G H]`, recurrent kernel `[H, G H]`, bias, with G gates (LSTM: input, forget, cell, output; GRU, in the form that
Keras calls ``reset_after``: update, reset, candidate; simple: one). At a position that is not kept a state stays as it
was, so padding changes nothing.

Each cell is an element-wise function of what the input and the state contribute to its gates. All products with the
input are one matrix product before the loop. The gradient is written by hand around that: it keeps the states and what
they contributed to the gates, and collects the gates' gradients, so that a step back has one small product in place of
three; TensorFlow's own gradient of a loop keeps every value of every step. The loop ends at the longest row.

Positions are read with `tf.gather`: for an index that is known only when it runs, XLA would pad the array to four times
its size.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import tensorflow as tf

CellName = Literal["lstm", "gru", "simple_rnn"]
States = list[tf.Tensor]


class Cell(NamedTuple):
    """A recurrent cell."""

    gates: int
    """G."""
    states: int
    """How many arrays a state is; the first is what the encoder gives out."""
    has_recurrent_bias: bool
    """Whether the bias is `[2, G H]`, one row for the input and one for the state."""
    step: Callable[[tf.Tensor, tf.Tensor, States], States]
    """Gates from the input, gates from the state, both `[B, G H]`, and the state -> the next state."""


def _lstm(from_input: tf.Tensor, from_state: tf.Tensor, states: States) -> States:
    i, f, c, o = tf.split(from_input + from_state, 4, axis=-1)
    memory = tf.sigmoid(f) * states[1] + tf.sigmoid(i) * tf.tanh(c)
    return [tf.sigmoid(o) * tf.tanh(memory), memory]


def _gru(from_input: tf.Tensor, from_state: tf.Tensor, states: States) -> States:
    input_z, input_r, input_h = tf.split(from_input, 3, axis=-1)
    state_z, state_r, state_h = tf.split(from_state, 3, axis=-1)
    update = tf.sigmoid(input_z + state_z)
    candidate = tf.tanh(input_h + tf.sigmoid(input_r + state_r) * state_h)
    return [update * states[0] + (1 - update) * candidate]


def _simple(from_input: tf.Tensor, from_state: tf.Tensor, states: States) -> States:  # noqa: ARG001 - as the others
    return [tf.tanh(from_input + from_state)]


CELLS = {
    "lstm": Cell(gates=4, states=2, has_recurrent_bias=False, step=_lstm),
    "gru": Cell(gates=3, states=1, has_recurrent_bias=True, step=_gru),
    "simple_rnn": Cell(gates=1, states=1, has_recurrent_bias=False, step=_simple),
}


def encode(
    name: CellName, weights: list[tf.Tensor], inputs: tf.Tensor, kept: tf.Tensor, *, backwards: bool = False
) -> tf.Tensor:
    """Runs a cell over a batch of sequences.

    Args:
        name: of the cell.
        weights: kernel, recurrent kernel and bias.
        inputs: `[B, T, E]`, T known when this is traced.
        kept: bool `[B, T]`.
        backwards: read from the last position to the first.

    Returns:
        The state after each position, `[B, T, H]`; zeros beyond the longest row.
    """
    cell = CELLS[name]
    kernel, recurrent, bias = weights
    input_bias, state_bias = (bias[0], bias[1]) if cell.has_recurrent_bias else (bias, tf.zeros_like(bias))
    from_input = tf.transpose(tf.tensordot(inputs, kernel, 1) + input_bias, [1, 0, 2])
    masks = tf.transpose(kept)[:, :, tf.newaxis]
    positions = tf.range(1, masks.shape[0] + 1)[:, tf.newaxis, tf.newaxis]
    loop = _Loop(cell, masks, tf.reduce_max(tf.where(masks, positions, 0)), backwards)
    return tf.transpose(loop.run(from_input, recurrent, state_bias), [1, 0, 2])


class _Loop(NamedTuple):
    """A cell's way over time. Arrays are time-major: `from_input` and its like `[T, B, G H]`, states `[T, B, H]`."""

    cell: Cell
    masks: tf.Tensor
    """bool `[T, B, 1]`."""
    length: tf.Tensor
    """int32 scalar: of the longest row."""
    backwards: bool

    def run(self, from_input: tf.Tensor, recurrent: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        """The state after each position."""

        @tf.custom_gradient
        def apply(
            from_input: tf.Tensor, recurrent: tf.Tensor, bias: tf.Tensor
        ) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, ...]]]:
            *before, after, from_state = self._forward(from_input, recurrent, bias)

            def differentiate(output_gradient: tf.Tensor) -> tuple[tf.Tensor, ...]:
                by_input, by_state = self._backward(from_input, from_state, before, recurrent, output_gradient)
                by_recurrent = tf.tensordot(before[0], by_state, [[0, 1], [0, 1]])
                return by_input, by_recurrent, tf.reduce_sum(by_state, [0, 1])

            return after, differentiate

        return apply(from_input, recurrent, bias)

    def _forward(self, from_input: tf.Tensor, recurrent: tf.Tensor, bias: tf.Tensor) -> list[tf.Tensor]:
        """The states before each step, one array for each part of a state; behind them, the state after each step, and
        what the state before it contributed to the gates.
        """
        start = [tf.zeros([from_input.shape[1], recurrent.shape[0]], from_input.dtype)] * self.cell.states
        arrays = [*(self._array(start[0]) for _ in range(self.cell.states + 1)), self._array(from_input[0])]

        def body(step: tf.Tensor, states: States, arrays: list[tf.TensorArray]) -> tuple[object, ...]:
            at = self._position(step)
            from_state = states[0] @ recurrent + bias
            after = self._step(tf.gather(from_input, at), from_state, states, at)
            values = [*states, after[0], from_state]
            return step + 1, after, [array.write(at, value) for array, value in zip(arrays, values, strict=True)]

        *_, arrays = tf.while_loop(lambda step, *_: step < self.length, body, (0, start, arrays))
        return [array.stack() for array in arrays]

    def _backward(
        self,
        from_input: tf.Tensor,
        from_state: tf.Tensor,
        before: States,
        recurrent: tf.Tensor,
        output_gradient: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Gradients by the gates from the input and by those from the state."""
        start = [tf.zeros_like(part[0]) for part in before]
        arrays = [self._array(from_input[0]) for _ in range(2)]
        # Turned once: a product with a transposed matrix is slow for matrices as small as these.
        turned = tf.transpose(recurrent)

        def body(step: tf.Tensor, gradients: States, arrays: list[tf.TensorArray]) -> tuple[object, ...]:
            at = self._position(step)
            sources = tf.nest.map_structure(lambda array: tf.gather(array, at), [from_input, from_state, before])
            with tf.GradientTape() as tape:
                tape.watch(sources)
                after = self._step(*sources, at)
            arriving = [gradients[0] + tf.gather(output_gradient, at), *gradients[1:]]
            by_input, by_state, by_states = tape.gradient(after, sources, arriving)
            leaving = [by_states[0] + tf.matmul(by_state, turned), *by_states[1:]]
            return step - 1, leaving, [arrays[0].write(at, by_input), arrays[1].write(at, by_state)]

        *_, arrays = tf.while_loop(lambda step, *_: step >= 0, body, (self.length - 1, start, arrays))
        return arrays[0].stack(), arrays[1].stack()

    def _step(self, from_input: tf.Tensor, from_state: tf.Tensor, states: States, at: tf.Tensor) -> States:
        after = self.cell.step(from_input, from_state, states)
        return [tf.where(tf.gather(self.masks, at), new, old) for new, old in zip(after, states, strict=True)]

    def _position(self, step: tf.Tensor) -> tf.Tensor:
        return self.length - 1 - step if self.backwards else step

    def _array(self, like: tf.Tensor) -> tf.TensorArray:
        # What the loop never reaches reads as zeros.
        return tf.TensorArray(like.dtype, size=self.masks.shape[0], element_shape=like.shape)
