"""The energy of a regressor with a continuous latent variable: several answers to one input."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._base import AnswerSide, Distance, Network, Parameters
from .._check import FloatArray, real_number, whole_number


class LatentRegressorEnergy:
    r"""E(x, y, z) = D(y, G([x, z])) + rho/2 ||z||^2.

    What x does not say about y is left to z. The penalty limits what z can say: without it, a network that
    copies z makes every answer's energy zero.

    Parameters
    ----------
    network : Network
        Takes rows of x followed by z.
    n_latents : int
        Elements of z.
    distance : Distance
    latent_weight : float, default=1.0
        rho, > 0.

    References
    ----------
    Y. LeCun, S. Chopra, R. Hadsell, M. Ranzato, F. Huang, A tutorial on energy-based learning, 2006, section
    3.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.energies import DenseNetwork, LatentRegressorEnergy, SquaredDistance
    >>> network = DenseNetwork([np.array([[2.0, 1.0]])], [None], ["identity"])
    >>> energy = LatentRegressorEnergy(network, 1, SquaredDistance(), latent_weight=2.0)
    >>> energy.value(np.array([[1.0]]), np.array([[3.0]]), np.array([[1.0]]))[0]
    array([1.])
    """

    answer_side: AnswerSide = "learned"
    gradients = frozenset({"answers", "inputs", "latents"})

    def __init__(
        self, network: Network, n_latents: int, distance: Distance, latent_weight: float = 1.0
    ) -> None:
        self.network = network
        self.n_latents = whole_number(n_latents, "n_latents", minimum=1)
        self.distance = distance
        self.latent_weight = real_number(latent_weight, "latent_weight", above=0.0)

    @property
    def parameters(self) -> Parameters:
        """Those of the network."""
        return self.network.parameters

    def value(self, X: FloatArray, Y: FloatArray, Z: FloatArray | None = None) -> tuple[FloatArray, Any]:
        """Energies (n,), and a tape for `pullback`."""
        if Z is None:
            raise ValueError("Z: expected the latent variable, got None")
        output, tape = self.network.forward(np.concatenate([X, Z], axis=1))
        penalty = Z.dtype.type(0.5 * self.latent_weight) * (Z * Z).sum(axis=1)
        return self.distance.value(Y, output) + penalty, (tape, Y, Z, output)

    def pullback(self, tape: Any, gradient: FloatArray, wrt: tuple[str, ...]) -> dict[str, Any]:
        """By each name of `wrt` the gradient of sum(gradient * energies)."""
        inner, Y, Z, output = tape
        of_answers, of_output = (g * gradient[:, None] for g in self.distance.gradients(Y, output))
        asks_input = "inputs" in wrt or "latents" in wrt
        parameters, of_input = self.network.pullback(inner, of_output, inputs=asks_input)
        found: dict[str, Any] = {"answers": of_answers, "parameters": parameters}
        if of_input is not None:
            n_inputs = of_input.shape[1] - self.n_latents
            penalty = Z.dtype.type(self.latent_weight) * Z * gradient[:, None]
            found |= {"inputs": of_input[:, :n_inputs], "latents": of_input[:, n_inputs:] + penalty}
        return found

    def with_parameters(self, parameters: Parameters) -> LatentRegressorEnergy:
        """The same architecture with these arrays."""
        network = self.network.with_parameters(parameters)
        return LatentRegressorEnergy(network, self.n_latents, self.distance, self.latent_weight)
