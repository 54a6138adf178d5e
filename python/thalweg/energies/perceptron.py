"""Energies of two classes from one number: the perceptron's and logistic regression's."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._base import AnswerSide, Network, Parameters
from .._check import FloatArray, real_number


class PerceptronEnergy:
    r"""E(x, y) = -s y G(x) for y in (-1, +1), in this order.

    With s = 1 and the perceptron loss a step of gradient descent is Rosenblatt's; with s = 1/2 the
    log-likelihood loss is that of logistic regression, the hinge loss with margin 1 that of a support vector
    machine.

    Parameters
    ----------
    network : Network
        With one output.
    scale : float, default=1.0
        The s above, > 0.

    References
    ----------
    Y. LeCun, S. Chopra, R. Hadsell, M. Ranzato, F. Huang, A tutorial on energy-based learning, 2006.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.energies import DenseNetwork, PerceptronEnergy
    >>> energy = PerceptronEnergy(DenseNetwork([np.array([[2.0]])], [None], ["identity"]), scale=0.5)
    >>> energy.energies(np.array([[3.0]]))[0]
    array([[ 3., -3.]])
    """

    answer_side: AnswerSide = "unbounded"
    n_answers = 2

    def __init__(self, network: Network, scale: float = 1.0) -> None:
        if network.n_outputs != 1:
            raise ValueError(f"network: expected one output, got {network.n_outputs}")
        self.network = network
        self.scale = real_number(scale, "scale", above=0.0)

    @property
    def parameters(self) -> Parameters:
        """Those of the network."""
        return self.network.parameters

    def energies(self, X: FloatArray) -> tuple[FloatArray, Any]:
        """Energies (n, 2), and a tape for `pullback`."""
        output, tape = self.network.forward(X)
        signed = output * output.dtype.type(self.scale)
        return np.concatenate([signed, -signed], axis=1), tape

    def pullback(
        self, tape: Any, gradient: FloatArray, *, inputs: bool = False
    ) -> tuple[Parameters, FloatArray | None]:
        """The gradients of sum(gradient * energies) in the parameters, and where asked for in X."""
        of_output = (gradient[:, :1] - gradient[:, 1:]) * gradient.dtype.type(self.scale)
        return self.network.pullback(tape, of_output, inputs=inputs)

    def with_parameters(self, parameters: Parameters) -> PerceptronEnergy:
        """The same architecture with these arrays."""
        return PerceptronEnergy(self.network.with_parameters(parameters), self.scale)
