"""Energies of classes: one output of a network for each."""

from __future__ import annotations

from typing import Any

from .._base import AnswerSide, Network, Parameters
from .._check import FloatArray


class ClassifierEnergy:
    r"""E(x, k) = G_k(x): the k-th output of the network is the cost of class k.

    The energies have no lower bound, so that a loss must push wrong answers up.

    Parameters
    ----------
    network : Network
        With one output a class.

    References
    ----------
    Y. LeCun, S. Chopra, R. Hadsell, M. Ranzato, F. Huang, A tutorial on energy-based learning, 2006.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.energies import ClassifierEnergy, DenseNetwork
    >>> energy = ClassifierEnergy(DenseNetwork([np.array([[1.0], [-1.0]])], [None], ["identity"]))
    >>> energy.energies(np.array([[3.0]]))[0]
    array([[ 3., -3.]])
    """

    answer_side: AnswerSide = "unbounded"

    def __init__(self, network: Network) -> None:
        self.network = network
        self.n_answers = network.n_outputs

    @property
    def parameters(self) -> Parameters:
        """Those of the network."""
        return self.network.parameters

    def energies(self, X: FloatArray) -> tuple[FloatArray, Any]:
        """Energies (n, n_answers), and a tape for `pullback`."""
        return self.network.forward(X)

    def pullback(
        self, tape: Any, gradient: FloatArray, *, inputs: bool = False
    ) -> tuple[Parameters, FloatArray | None]:
        """The gradients of sum(gradient * energies) in the parameters, and where asked for in X."""
        return self.network.pullback(tape, gradient, inputs=inputs)

    def with_parameters(self, parameters: Parameters) -> ClassifierEnergy:
        """The same architecture with these arrays."""
        return ClassifierEnergy(self.network.with_parameters(parameters))
