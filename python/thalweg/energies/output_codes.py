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
        codes = self.codes.astype(output.dtype, copy=False)
        table = self.distance.value(codes, output[:, np.newaxis])
        return table.astype(output.dtype, copy=False), (tape, codes, output)

    def pullback(
        self, tape: Any, gradient: FloatArray, *, inputs: bool = False
    ) -> tuple[Parameters, FloatArray | None]:
        """The gradients of sum(gradient * energies) in the parameters, and where asked for in X."""
        inner, codes, output = tape
        _, of_output = self.distance.gradients(codes, output[:, np.newaxis])
        weighted = np.einsum("nkd,nk->nd", of_output, gradient)
        return self.network.pullback(inner, weighted, inputs=inputs)

    def with_parameters(self, parameters: Parameters) -> OutputCodeEnergy:
        """The same architecture with these arrays."""
        return OutputCodeEnergy(self.network.with_parameters(parameters), self.codes, self.distance)
