"""Derivatives of a dense network's outputs along directions, first and second, and the gradients of those.

Taylor arithmetic: with a = s(u), u = W a_below + b and directions r,

    u_r = W a_r,    a_r = s'(u) u_r,    L u = W L a_below,    L a = s''(u) sum_r u_r^2 + s'(u) L u

where L sums the second derivatives along all directions. For an orthonormal frame of the inputs L is the
Laplacian, and so it is for one of the rows of the first weights alone: along all else nothing changes, nor
does the gradient in W feel it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._check import FloatArray
from ._layers import ACTIVATIONS
from .dense import DenseTape, times


@dataclass(frozen=True)
class _Bent:
    """What a layer adds: derivatives of its inputs and its sums, and of its activation there."""

    inputs: FloatArray  # along the directions, (n or 1, n_directions, n_in)
    sums: FloatArray  # (n or 1, n_directions, n_out)
    inputs_second: FloatArray | None  # (n, n_in); None is zero
    sums_second: FloatArray | None
    slope: FloatArray | None  # s'(u); None for the identity
    curvature: FloatArray | None  # s''(u); None where it is zero


@dataclass(frozen=True)
class Jets:
    """What `jets` leaves: `second` (n, n_outputs), and what `pullback` needs."""

    tape: DenseTape
    layers: list[_Bent]
    second: FloatArray | None
    n_jobs: int | None

    def pullback(self, of_first: FloatArray | None, of_second: FloatArray | None) -> dict[str, FloatArray]:
        """Gradients in the parameters, summed over the rows, from those in the derivatives of the outputs.

        `of_first` broadcasts to (n, n_directions, n_outputs), `of_second` to (n, n_outputs); None is zero.
        The network's output itself is not asked for.
        """
        made: dict[str, FloatArray] = {}
        pull = _Pull(np.zeros_like(self.tape.sums[-1]), of_first, of_second)
        for i in reversed(range(len(self.layers))):
            layer, bent = self.tape.layers[i], self.layers[i]
            if bent.slope is not None:
                pull = self._through(i, pull)
            made[f"weights_{i}"] = pull.of_weights(self.tape.inputs[i], bent)
            if layer.bias is not None:
                made[f"bias_{i}"] = pull.value.sum(axis=0, dtype=np.float64).astype(pull.value.dtype)
            if i > 0:
                pull = pull.below(layer.weights)
        return made

    def _through(self, i: int, pull: _Pull) -> _Pull:
        """From gradients in what an activation gives to those in what it is applied to."""
        bent = self.layers[i]
        assert bent.slope is not None  # the identity changes nothing
        value, first, second = pull.value * bent.slope, None, None
        if pull.first is not None:
            if bent.curvature is not None:
                value += bent.curvature * _along(pull.first, bent.sums)
            first = _scaled(pull.first, bent.slope, bent.sums)
        if pull.second is not None:
            assert bent.curvature is not None  # else there are no second derivatives
            third = ACTIVATIONS[self.tape.layers[i].activation].third
            assert third is not None
            value += pull.second * third(self.tape.sums[i], self.n_jobs) * _along(bent.sums, bent.sums)
            bend = pull.second * bent.curvature
            if bent.sums_second is not None:
                value += bend * bent.sums_second
            of_squares = _scaled(2 * bent.sums, bend, bent.sums)
            first = of_squares if first is None else first + of_squares
            second = pull.second * bent.slope
        return _Pull(value, first, second)


@dataclass(frozen=True)
class _Pull:
    """Gradients in values (n, units), in their derivatives (n, n_directions, units) and second ones."""

    value: FloatArray
    first: FloatArray | None
    second: FloatArray | None

    def of_weights(self, inputs: FloatArray, bent: _Bent) -> FloatArray:
        made: FloatArray = self.value.T @ inputs
        if self.first is not None:
            made += _flat(self.first).T @ _flat(bent.inputs)
        if self.second is not None and bent.inputs_second is not None:
            made += self.second.T @ bent.inputs_second
        return made

    def below(self, weights: FloatArray) -> _Pull:
        first = None if self.first is None else times(self.first, weights)
        second = None if self.second is None else self.second @ weights
        return _Pull(self.value @ weights, first, second)


def jets(
    tape: DenseTape,
    directions: FloatArray,
    n_jobs: int | None,
    *,
    second: bool = True,
    sums: FloatArray | None = None,
) -> Jets:
    """Derivatives of the network along `directions` (n, n_directions, n_inputs).

    They are (1, n_directions, n_inputs) where the rows of `X` share them; `sums` is their product with the
    first weights, where it is known. Without `second` only what the gradients of first derivatives need is
    there, and any activation will do.
    """
    layers: list[_Bent] = []
    first, curved = directions, None
    for layer, u in zip(tape.layers, tape.sums):
        if sums is None or layers:
            sums = times(first, layer.weights.T)
        sums_second = None if curved is None else curved @ layer.weights.T
        if layer.activation == "identity":
            layers.append(_Bent(first, sums, curved, sums_second, None, None))
            first, curved = sums, sums_second
            continue
        activation = ACTIVATIONS[layer.activation]
        slope = activation.slope(u, n_jobs)
        curvature = None if activation.curvature is None else activation.curvature(u, n_jobs)
        layers.append(_Bent(first, sums, curved, sums_second, slope, curvature))
        if second:
            assert curvature is not None  # refused at the door
            curved = curvature * _along(sums, sums)
            if sums_second is not None:
                curved += slope * sums_second
        if layer is not tape.layers[-1]:
            first = sums * slope[:, None]
    return Jets(tape, layers, curved, n_jobs)


def _flat(tangents: FloatArray) -> FloatArray:
    return tangents.reshape(-1, tangents.shape[-1])


def _along(a: FloatArray, b: FloatArray) -> FloatArray:
    """Sums over the directions of products."""
    shape: Any = np.broadcast_shapes(a.shape, b.shape)
    return np.asarray(np.einsum("nrk,nrk->nk", np.broadcast_to(a, shape), np.broadcast_to(b, shape)))


def _scaled(tangents: FloatArray, factors: FloatArray, like: FloatArray) -> FloatArray:
    """tangents * factors[:, None], (n, n_directions, units); summed over the rows that share directions."""
    shape = (len(factors), *like.shape[1:])
    if len(like) == len(factors):
        return np.asarray(np.broadcast_to(tangents, shape) * factors[:, None])
    if len(tangents) == 1:
        return np.asarray(np.broadcast_to(tangents, (1, *shape[1:])) * factors.sum(axis=0))
    return np.asarray(np.einsum("nrk,nk->rk", np.broadcast_to(tangents, shape), factors)[None])
