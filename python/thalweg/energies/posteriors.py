"""Distributions q(z | x) of latents given rows, by networks."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _rng
from .._base import Draws, Network, Parameters
from .._check import FloatArray, real_operand


@dataclass(frozen=True)
class PosteriorTape:
    """What `latents` leaves for the way back."""

    network: Any
    q: FloatArray  # probabilities (n, n_states), or standard deviations (n, n_z)
    normal: FloatArray | None = None


class _NetworkPosterior:
    """A posterior whose parameters are those of a network."""

    def __init__(self, network: Network) -> None:
        if not isinstance(network, Network):
            raise TypeError(f"network: expected a network, got {type(network).__name__}")
        self.network = network

    @property
    def parameters(self) -> Parameters:
        """The network's: the arrays themselves."""
        return self.network.parameters

    def with_parameters(self, parameters: Parameters) -> Any:
        """The same distribution with other parameters, which are not copied.

        Parameters
        ----------
        parameters : dict of str to ndarray

        Returns
        -------
        Posterior
            Of the class of `self`.
        """
        made = copy.copy(self)
        made.network = self.network.with_parameters(parameters)
        return made

    def _tape(self, tape: Any) -> PosteriorTape:
        if not isinstance(tape, PosteriorTape):
            raise TypeError(f"tape: expected what `latents` returned, got {type(tape).__name__}")
        return tape


class CategoricalPosterior(_NetworkPosterior):
    """q(z = state k | x) = softmax_k(G(x)) over all states of a discrete z, which are enumerated.

    Parameters
    ----------
    network : Network
        G, with one output for each state.
    states : array-like of shape (n_states, n_z), optional
        What `latents` gives for each; the states' numbers, of shape (n_states, 1), if left out.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg._base import Draws
    >>> from thalweg.energies import CategoricalPosterior, DenseNetwork
    >>> q = CategoricalPosterior(DenseNetwork([[[-1.0], [1.0]]], [None], ["identity"]))
    >>> Z, log_q, _ = q.latents(np.array([[0.0]]), 1, Draws(0, 0))
    >>> Z.ravel(), np.exp(log_q)
    (array([0., 1.]), array([[0.5, 0.5]]))
    """

    is_enumerated = True

    def __init__(self, network: Network, states: Any = None) -> None:
        super().__init__(network)
        numbers = np.arange(network.n_outputs, dtype=np.float64)[:, None]
        self.states = numbers if states is None else real_operand(states, "states")
        if self.states.ndim != 2 or len(self.states) != network.n_outputs:
            raise ValueError(
                f"states: expected shape ({network.n_outputs}, n_z), as the network has outputs, got "
                f"{self.states.shape}"
            )

    def latents(self, X: Any, n_latents: int, draws: Draws) -> tuple[FloatArray, FloatArray, PosteriorTape]:
        """Every state for every row, and log q.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        n_latents : int
            Of no effect, as `draws`.
        draws : Draws

        Returns
        -------
        Z : ndarray of shape (n_samples, n_states, n_z)
        log_q : ndarray of shape (n_samples, n_states)
        tape : PosteriorTape
        """
        logits, tape = self.network.forward(X)
        log_q = logits - logits.max(axis=1, keepdims=True)
        log_q -= np.log(np.exp(log_q).sum(axis=1, keepdims=True))
        Z = np.broadcast_to(self.states.astype(log_q.dtype), (len(log_q), *self.states.shape))
        return Z, log_q, PosteriorTape(tape, np.exp(log_q))

    def pullback(self, tape: PosteriorTape, of_log_q: Any, of_Z: Any = None) -> Parameters:
        """From a gradient in log q to that in every parameter.

        Parameters
        ----------
        tape : PosteriorTape
        of_log_q : ndarray of shape (n_samples, n_states)
        of_Z : None
            The states are constant.

        Returns
        -------
        dict of str to ndarray
        """
        q = self._tape(tape).q
        of_logits = of_log_q - q * np.sum(of_log_q, axis=1, keepdims=True)
        return self.network.pullback(tape.network, of_logits)[0]


class GaussianPosterior(_NetworkPosterior):
    """Independent normals z_j given x, of mean G_j(x) and standard deviation exp(G_{m + j}(x)).

    Samples are mean + deviation * normal, so that gradients go through them.

    Parameters
    ----------
    network : Network
        G, with 2 m outputs.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg._base import Draws
    >>> from thalweg.energies import DenseNetwork, GaussianPosterior
    >>> q = GaussianPosterior(DenseNetwork([[[1.0], [0.0]]], [None], ["identity"]))
    >>> Z, log_q, _ = q.latents(np.array([[3.0]]), 10_000, Draws(0, 0))
    >>> Z.shape, bool(abs(Z.mean() - 3) < 0.05)
    ((1, 10000, 1), True)
    >>> bool(abs(-log_q.mean() - 0.5 * np.log(2 * np.pi * np.e)) < 0.05)
    True
    """

    is_enumerated = False

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        if network.n_outputs % 2:
            raise ValueError(f"network: expected an even number of outputs, got {network.n_outputs}")

    def latents(self, X: Any, n_latents: int, draws: Draws) -> tuple[FloatArray, FloatArray, PosteriorTape]:
        """Samples for every row, and log q.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        n_latents : int
        draws : Draws
            Row i draws as row `draws.first_row` + i.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_latents, n_z)
        log_q : ndarray of shape (n_samples, n_latents)
        tape : PosteriorTape
        """
        outputs, tape = self.network.forward(X)
        mean, log_deviation = np.split(outputs, 2, axis=1)
        n, m = mean.shape
        normal = _rng.normal_rows(
            draws.seed, draws.stream, draws.step, (n, n_latents * m), outputs.dtype, first_row=draws.first_row
        ).reshape(n, n_latents, m)
        deviation = np.exp(log_deviation)
        log_q = -0.5 * np.einsum("nlm,nlm->nl", normal, normal, dtype=np.float64)
        log_q -= 0.5 * m * math.log(2 * math.pi)
        log_q = log_q.astype(outputs.dtype) - log_deviation.sum(axis=1, keepdims=True)
        return (
            mean[:, None] + deviation[:, None] * normal,
            log_q,
            PosteriorTape(tape, deviation, normal),
        )

    def pullback(self, tape: PosteriorTape, of_log_q: Any, of_Z: Any = None) -> Parameters:
        """From gradients in log q and in the samples to that in every parameter, the normals held.

        Parameters
        ----------
        tape : PosteriorTape
        of_log_q : ndarray of shape (n_samples, n_latents)
        of_Z : ndarray of shape (n_samples, n_latents, n_z), optional
            None is zero.

        Returns
        -------
        dict of str to ndarray
        """
        q, normal = self._tape(tape).q, tape.normal
        if normal is None:
            raise TypeError("tape: expected what `latents` of this posterior returned")
        moved = np.zeros_like(normal) if of_Z is None else of_Z
        of_mean = moved.sum(axis=1)
        of_log_deviation = q * (moved * normal).sum(axis=1) - np.sum(of_log_q, axis=1, keepdims=True)
        return self.network.pullback(tape.network, np.hstack([of_mean, of_log_deviation]))[0]
