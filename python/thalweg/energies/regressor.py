"""The energy of a regressor: the distance of an answer to a network's output."""

from __future__ import annotations

from typing import Any

from .._base import AnswerSide, Distance, Network, Parameters
from .._check import FloatArray


class RegressorEnergy:
    r"""E(x, y) = D(y, G(x)), least at y = G(x), where it is zero whatever the parameters are.

    Parameters
    ----------
    network : Network
    distance : Distance

    References
    ----------
    Y. LeCun, S. Chopra, R. Hadsell, M. Ranzato, F. Huang, A tutorial on energy-based learning, 2006.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.energies import DenseNetwork, RegressorEnergy, SquaredDistance
    >>> energy = RegressorEnergy(DenseNetwork([np.array([[2.0]])], [None], ["identity"]), SquaredDistance())
    >>> energy.value(np.array([[1.0]]), np.array([[5.0]]))[0]
    array([4.5])
    >>> energy.best_answer(np.array([[1.0]]))
    array([[2.]])
    """

    answer_side: AnswerSide = "fixed"
    gradients = frozenset({"answers", "inputs"})
    n_latents = 0

    def __init__(self, network: Network, distance: Distance) -> None:
        self.network = network
        self.distance = distance

    @property
    def parameters(self) -> Parameters:
        """Those of the network."""
        return self.network.parameters

    def value(self, X: FloatArray, Y: FloatArray, Z: FloatArray | None = None) -> tuple[FloatArray, Any]:
        """Energies (n,), and a tape for `pullback`."""
        output, tape = self.network.forward(X)
        return self.distance.value(Y, output), (tape, Y, output)

    def pullback(self, tape: Any, gradient: FloatArray, wrt: tuple[str, ...]) -> dict[str, Any]:
        """By each name of `wrt` the gradient of sum(gradient * energies)."""
        inner, Y, output = tape
        of_answers, of_output = (g * gradient[:, None] for g in self.distance.gradients(Y, output))
        found: dict[str, Any] = {"answers": of_answers} if "answers" in wrt else {}
        if "parameters" in wrt or "inputs" in wrt:
            parameters, inputs = self.network.pullback(inner, of_output, inputs="inputs" in wrt)
            found |= {"parameters": parameters, "inputs": inputs}
        return found

    def best_answer(self, X: FloatArray) -> FloatArray:
        """argmin_y E(x, y) = G(x), shape (n, n_outputs)."""
        return self.network.forward(X)[0]

    def most_offending(self, X: FloatArray, Y: FloatArray, radius: float) -> FloatArray:
        """The answer of least energy that keeps the Euclidean distance `radius` from the right one."""
        return self.distance.nearest_outside(Y, self.best_answer(X), radius)

    def with_parameters(self, parameters: Parameters) -> RegressorEnergy:
        """The same architecture with these arrays."""
        return RegressorEnergy(self.network.with_parameters(parameters), self.distance)
