"""Energies of classes as distances to fixed codes: linear machines and their kin."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._base import AnswerSide, Distance, Network, Parameters
from .._check import FloatArray, float_array


class OutputCodeEnergy:
    r"""E(x, k) = D(c_k, G(x)) with a fixed code c_k for each class.

    With codes -1 and +1 and a network f(w'x) it is a linear machine. The codes do not move, so that pulling
    the right answer's energy down is enough: the energy loss works.

    Parameters
    ----------
    network : Network
    codes : array_like of shape (n_answers, n_outputs)
    distance : Distance

    References
    ----------
    Y. LeCun, S. Chopra, R. Hadsell, M. Ranzato, F. Huang, A tutorial on energy-based learning, 2006.
    T. G. Dietterich, G. Bakiri, Solving multiclass learning problems via error-correcting output codes,
    J. Artif. Intell. Res. 2, 1995.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.energies import DenseNetwork, OutputCodeEnergy, SquaredDistance
    >>> network = DenseNetwork([np.array([[1.0]])], [None], ["tanh"])
    >>> energy = OutputCodeEnergy(network, [[-1.0], [1.0]], SquaredDistance())
    >>> energy.energies(np.array([[0.0]]))[0]
    array([[0.5, 0.5]])
    """

    answer_side: AnswerSide = "fixed"

    def __init__(self, network: Network, codes: Any, distance: Distance) -> None:
        self.network = network
        self.codes = float_array(codes, "codes", ndim=2)
        if self.codes.shape[1] != network.n_outputs:
            raise ValueError(
                f"codes: expected {network.n_outputs} elements, as the network has outputs, "
                f"got shape {self.codes.shape}"
            )
        self.distance = distance
        self.n_answers = len(self.codes)

    @property
    def parameters(self) -> Parameters:
        """Those of the network."""
        return self.network.parameters

    def energies(self, X: FloatArray) -> tuple[FloatArray, Any]:
        """Energies (n, n_answers), and a tape for `pullback`."""
        output, tape = self.network.forward(X)
        codes, repeated = self._pairs(output)
        table = self.distance.value(codes, repeated).reshape(len(output), self.n_answers)
        return table, (tape, output)

    def pullback(
        self, tape: Any, gradient: FloatArray, *, inputs: bool = False
    ) -> tuple[Parameters, FloatArray | None]:
        """The gradients of sum(gradient * energies) in the parameters, and where asked for in X."""
        inner, output = tape
        _, of_output = self.distance.gradient(*self._pairs(output))
        weighted = of_output.reshape(*gradient.shape, -1) * gradient[..., None]
        return self.network.pullback(inner, weighted.sum(axis=1), inputs=inputs)

    def _pairs(self, output: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Every code with every row of outputs."""
        codes = self.codes.astype(output.dtype, copy=False)
        return np.tile(codes, (len(output), 1)), np.repeat(output, self.n_answers, axis=0)

    def with_parameters(self, parameters: Parameters) -> OutputCodeEnergy:
        """The same architecture with these arrays."""
        return OutputCodeEnergy(self.network.with_parameters(parameters), self.codes, self.distance)
