"""Laws of networks, dense and convolutional, of any architecture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from thalweg.energies import ConvolutionalNetwork, DenseNetwork

SMOOTH = ["identity", "sigmoid", "tanh", "softplus"]


@dataclass(frozen=True)
class Problem:
    """A network, rows and gradients that follow from a few choices."""

    is_convolutional: bool
    depth: int
    activation: str
    has_biases: bool
    n_rows: int
    seed: int

    @cached_property
    def rng(self) -> Any:
        return np.random.default_rng(self.seed)

    @cached_property
    def network(self) -> Any:
        rng = np.random.default_rng(self.seed + 1)
        sizes = rng.integers(1, 7, self.depth + 1)
        if not self.is_convolutional:
            made: Any = DenseNetwork.random(
                int(sizes[0]), sizes[1:], int(rng.integers(1, 4)), self.activation, self.seed
            )
        else:
            # Maps of at least 1 x 1 remain, whatever is drawn.
            n_layers = min(self.depth, 2)
            shape = (int(sizes[0]), *(int(size) for size in rng.integers(10, 14, 2)))
            filters, pools = rng.integers(1, 4, n_layers), rng.integers(1, 3, n_layers)
            made = ConvolutionalNetwork.random(
                shape, sizes[1 : n_layers + 1], filters, pools, (), 2, self.activation, self.seed
            )
        parameters = {
            name: self.rng.normal(size=p.shape) * self.has_biases if "bias" in name else p
            for name, p in made.parameters.items()
        }
        return made.with_parameters(parameters)

    @cached_property
    def X(self) -> Any:
        return self.rng.normal(size=(self.n_rows, self.network.n_inputs))

    def gradient(self) -> Any:
        return self.rng.normal(size=(self.n_rows, self.network.n_outputs))


def problems(activations: list[str]) -> Any:
    return st.builds(
        Problem,
        is_convolutional=st.booleans(),
        depth=st.integers(0, 3).filter(bool) | st.just(1),
        activation=st.sampled_from(activations),
        has_biases=st.booleans(),
        n_rows=st.integers(1, 5),
        seed=st.integers(0, 2**32 - 3),
    )


any_problem = problems([*SMOOTH, "relu"])
smooth_problem = problems(SMOOTH)


def flat(gradients: Any) -> Any:
    """The gradients in the parameters and in X as one vector."""
    parameters, in_X = gradients
    return np.concatenate([p.ravel() for p in (*parameters.values(), in_X)])


def close(found: Any, expected: Any, tolerance: float = 1e-11) -> None:
    size = 1 + np.abs(expected).max(initial=0)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max(initial=0) <= tolerance * size


@given(smooth_problem)
def test_pullback_is_the_adjoint_of_the_jacobian(problem: Problem) -> None:
    network, X, g = problem.network, problem.X, problem.gradient()
    direction = {name: problem.rng.normal(size=p.shape) for name, p in network.parameters.items()}
    in_X = problem.rng.normal(size=X.shape)
    length = np.linalg.norm(flat((direction, in_X)))
    direction, in_X = {name: d / length for name, d in direction.items()}, in_X / length

    def moved(step: float) -> Any:
        parameters = {name: p + step * direction[name] for name, p in network.parameters.items()}
        return network.with_parameters(parameters).forward(X + step * in_X)[0]

    step = 1e-5
    pushed = (g * (moved(step) - moved(-step))).sum() / (2 * step)
    gradients = flat(network.pullback(network.forward(X)[1], g, inputs=True))
    pulled = gradients @ flat((direction, in_X))
    assert abs(pushed - pulled) <= 1e-7 * (np.abs(g).sum() + np.linalg.norm(gradients))


@given(any_problem, st.floats(-3, 3), st.floats(-3, 3))
def test_pullback_is_linear_in_the_gradient(problem: Problem, alpha: float, beta: float) -> None:
    network, g, h = problem.network, problem.gradient(), problem.gradient()
    _, tape = network.forward(problem.X)
    together = flat(network.pullback(tape, alpha * g + beta * h, inputs=True))
    first, second = (flat(network.pullback(tape, each, inputs=True)) for each in (g, h))
    close(together, alpha * first + beta * second)


@given(any_problem)
def test_with_parameters_makes_a_round_trip(problem: Problem) -> None:
    network, X, g = problem.network, problem.X, problem.gradient()
    there = network.with_parameters({name: p + 1 for name, p in network.parameters.items()})
    back = there.with_parameters(network.parameters)
    assert list(back.parameters) == list(network.parameters)
    assert all(back.parameters[name] is p for name, p in network.parameters.items())
    G, tape = network.forward(X)
    again, other = back.forward(X)
    assert_array_equal(again, G)
    found, expected = back.pullback(other, g, inputs=True), network.pullback(tape, g, inputs=True)
    assert_array_equal(flat(found), flat(expected))


@given(any_problem, st.data())
def test_a_row_does_not_depend_on_the_others(problem: Problem, data: Any) -> None:
    network, X, g = problem.network, problem.X, problem.gradient()
    rows = np.array(data.draw(st.lists(st.integers(0, problem.n_rows - 1), min_size=1, max_size=4)))
    G, tape = network.forward(X)
    of_rows, tape_of_rows = network.forward(X[rows])
    close(of_rows, G[rows])
    in_X = network.pullback(tape, g, inputs=True)[1]
    close(network.pullback(tape_of_rows, g[rows], inputs=True)[1], in_X[rows])
    close(network.input_gradient(X[rows], g[rows]), in_X[rows])


@given(any_problem, st.integers(0, 5))
def test_rows_add_in_the_gradients_of_parameters(problem: Problem, cut: int) -> None:
    network, X, g = problem.network, problem.X, problem.gradient()
    whole, *parts = (
        network.pullback(network.forward(X[rows])[1], g[rows])[0]
        for rows in (slice(None), slice(cut), slice(cut, None))
    )
    for name, gradient in whole.items():
        close(parts[0][name] + parts[1][name], gradient)


@given(smooth_problem)
def test_laplacian_is_that_of_rotated_inputs(problem: Problem) -> None:
    # D(x) = G(R x) with an orthonormal R has the Laplacian of G at R x.
    if problem.is_convolutional:
        problem = Problem(False, problem.depth, problem.activation, True, problem.n_rows, problem.seed)
    network = problem.network
    rotation, _ = np.linalg.qr(problem.rng.normal(size=(network.n_inputs, network.n_inputs)))
    W = network.parameters["weights_0"]
    rotated = network.with_parameters({**network.parameters, "weights_0": W @ rotation})
    close(rotated.laplacian(problem.X @ rotation), network.laplacian(problem.X))


@given(smooth_problem)
def test_a_wider_basis_changes_no_laplacian(problem: Problem) -> None:
    # Inputs that the network does not see: more of them than units, so that the basis is another.
    if problem.is_convolutional:
        problem = Problem(False, problem.depth, problem.activation, True, problem.n_rows, problem.seed)
    network, X = problem.network, problem.X
    W = network.parameters["weights_0"]
    padded = [np.hstack([W, np.zeros((len(W), 9))])] + [
        network.parameters[f"weights_{i}"] for i in range(1, len(network.activations))
    ]
    biases = [network.parameters[f"bias_{i}"] for i in range(len(padded))]
    wide = DenseNetwork(padded, biases, network.activations)
    close(wide.laplacian(np.hstack([X, X.sum(axis=1)[:, None] * np.ones(9)])), network.laplacian(X))
