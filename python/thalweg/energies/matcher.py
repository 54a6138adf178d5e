"""The energy of a matcher: the distance between what two networks make of x and of y."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._base import AnswerSide, Distance, Network, Parameters
from .._check import FloatArray

_Y_SIDE = "answers."


class MatcherEnergy:
    r"""E(x, y) = D(G_y(y), G_x(x)), with one network on both sides or two.

    Both sides are learnt, so that all energies can become equal: a loss must keep wrong answers away. With
    one network on both sides y = x is trivially best; then ask for the best of candidates.

    Parameters
    ----------
    network : Network
        G_x.
    answer_network : Network, default=None
        G_y; None shares `network`.
    distance : Distance

    References
    ----------
    J. Bromley, I. Guyon, Y. LeCun, E. Saeckinger, R. Shah, Signature verification using a Siamese time delay
    neural network, NIPS 1993.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.energies import DenseNetwork, MatcherEnergy, SquaredDistance
    >>> network = DenseNetwork([np.array([[1.0, 1.0]])], [None], ["identity"])
    >>> energy = MatcherEnergy(network, distance=SquaredDistance())
    >>> energy.value(np.array([[1.0, 2.0]]), np.array([[3.0, 0.0]]))[0]
    array([0.])
    >>> energy.cross(np.array([[1.0, 2.0]]), np.array([[3.0, 0.0], [5.0, 0.0]]))[0]
    array([[0., 2.]])
    """

    answer_side: AnswerSide = "learned"
    gradients = frozenset({"answers", "inputs"})
    n_latents = 0

    def __init__(
        self, network: Network, answer_network: Network | None = None, *, distance: Distance
    ) -> None:
        if answer_network is not None and answer_network.n_outputs != network.n_outputs:
            raise ValueError(
                f"answer_network: expected {network.n_outputs} outputs as `network` has, "
                f"got {answer_network.n_outputs}"
            )
        self.network = network
        self.answer_network = answer_network
        self.distance = distance

    @property
    def parameters(self) -> Parameters:
        """Those of the network, and of the answers' network under names that begin with "answers."."""
        if self.answer_network is None:
            return self.network.parameters
        return self.network.parameters | {_Y_SIDE + k: v for k, v in self.answer_network.parameters.items()}

    def value(self, X: FloatArray, Y: FloatArray, Z: FloatArray | None = None) -> tuple[FloatArray, Any]:
        """Energies (n,) of pairs, and a tape for `pullback`."""
        tape = self._both_sides(X, Y)
        of_x, of_y = tape[1], tape[3]
        return self.distance.value(of_y, of_x), tape

    def pullback(self, tape: Any, gradient: FloatArray, wrt: tuple[str, ...]) -> dict[str, Any]:
        """By each name of `wrt` the gradient of sum(gradient * energies)."""
        d_y, d_x = (g * gradient[:, None] for g in self.distance.gradients(tape[3], tape[1]))
        return self._pulled(tape, d_x, d_y, wrt)

    def cross(self, X: FloatArray, Y: FloatArray) -> tuple[FloatArray, Any]:
        """Energies (n, m) of every x with every y, and a tape for `pull_cross`."""
        tape = self._both_sides(X, Y)
        _, of_x, _, of_y = tape
        return self.distance.value(of_y, of_x[:, np.newaxis]), tape

    def pull_cross(self, tape: Any, gradient: FloatArray, wrt: tuple[str, ...]) -> dict[str, Any]:
        """By each name of `wrt` the gradient of sum(gradient * energies of `cross`)."""
        _, of_x, _, of_y = tape
        d_y, d_x = self.distance.gradients(of_y, of_x[:, np.newaxis])
        weight = gradient.astype(of_x.dtype, copy=False)
        return self._pulled(
            tape, np.einsum("nmd,nm->nd", d_x, weight), np.einsum("nmd,nm->md", d_y, weight), wrt
        )

    def _both_sides(self, X: FloatArray, Y: FloatArray) -> tuple[Any, FloatArray, Any, FloatArray]:
        of_x, x_tape = self.network.forward(X)
        of_y, y_tape = (self.answer_network or self.network).forward(Y)
        return x_tape, of_x, y_tape, of_y

    def _pulled(self, tape: Any, d_x: FloatArray, d_y: FloatArray, wrt: tuple[str, ...]) -> dict[str, Any]:
        x_side, inputs = self.network.pullback(tape[0], d_x, inputs="inputs" in wrt)
        y_network = self.answer_network or self.network
        y_side, answers = y_network.pullback(tape[2], d_y, inputs="answers" in wrt)
        if self.answer_network is None:
            parameters = {name: x_side[name] + y_side[name] for name in x_side}
        else:
            parameters = x_side | {_Y_SIDE + k: v for k, v in y_side.items()}
        return {"parameters": parameters, "inputs": inputs, "answers": answers}

    def with_parameters(self, parameters: Parameters) -> MatcherEnergy:
        """The same architecture with these arrays."""
        of_y = {k.removeprefix(_Y_SIDE): v for k, v in parameters.items() if k.startswith(_Y_SIDE)}
        of_x = {k: v for k, v in parameters.items() if not k.startswith(_Y_SIDE)}
        answer_network = self.answer_network and self.answer_network.with_parameters(of_y)
        return MatcherEnergy(self.network.with_parameters(of_x), answer_network, distance=self.distance)
