"""Variational noise-contrastive estimation of unnormalised densities with latent variables."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _rng, ops
from .._base import Draws, LatentDensity, NoiseDistribution, Parameters, Posterior
from .._check import FloatArray, whole_number
from ._density import added, log_noise_density, noise_rows, rows_of


class VariationalNoiseContrastiveEstimation:
    r"""VNCE: minus a lower bound of the objective of noise-contrastive estimation, by a posterior q(z | x).

    With phi(x, z) = exp(log_joint(x, z) - c), and :math:`r = \nu\, p_n(x)`,

    .. math:: -\frac1n \Bigl[ \sum_{\text{data}} \mathbb E_{q(z | x)}
              \log \frac{\phi(x, z)}{\phi(x, z) + r\, q(z | x)} + \sum_{\text{noise}}
              \log \frac{r}{r + \mathbb E_{q(z | x)} [\phi(x, z) / q(z | x)]} \Bigr].

    Where z is enumerated both means are exact, and the loss is never below that of
    `DensityNoiseContrastiveEstimation` for the marginal phi(x), which it reaches where q is the model's
    posterior. Where z is sampled, the second mean is an importance sample of `n_latents` z: the logarithm is
    concave, hence the estimate of the bound is biased upward, and this loss downward, by less the more z
    there are; it then need not stay on its side of NCE.

    A q that is far from the posterior draws the model after it: fit q to the first model before both.

    Learnt beside the model's parameters: c as "log_normalizer", float64 of shape (1,), and those of q, as
    "posterior_" and their names.

    Needs of the energy: "log_joint", see `LatentDensity`.

    Parameters
    ----------
    noise : NoiseDistribution
        p_n; positive wherever there are data.
    posterior : Posterior
        q, as it is before the first step.
    noise_ratio : int, default=1
        nu.
    n_latents : int, default=1
        Samples of z for every row, data or noise; of no effect where q is enumerated.

    References
    ----------
    B. Rhodes, M. U. Gutmann, Variational noise-contrastive estimation, AISTATS 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg._base import Draws
    >>> from thalweg.energies import CategoricalPosterior, DenseNetwork, GaussianMixtureEnergy
    >>> from thalweg.losses import (
    ...     DensityNoiseContrastiveEstimation, GaussianNoise, VariationalNoiseContrastiveEstimation
    ... )
    >>> energy = GaussianMixtureEnergy([0.0, 0.0], [[-1.0], [1.0]], [0.0, 0.0])
    >>> noise, X, draws = GaussianNoise([0.0], [2.0]), np.array([[1.5], [-0.5]]), Draws(0, 0)
    >>> is_posterior = CategoricalPosterior(DenseNetwork([[[-1.0], [1.0]]], [None], ["identity"]))
    >>> own = {"log_normalizer": np.zeros(1)}
    >>> nce = DensityNoiseContrastiveEstimation(noise).value_and_gradient(energy, own, X, draws)[0]
    >>> for steepness in (0.5, 1.0):
    ...     q = is_posterior.with_parameters({"weights_0": np.array([[-1.0], [1.0]]) * steepness})
    ...     loss = VariationalNoiseContrastiveEstimation(noise, q)
    ...     own = loss.first_parameters(energy, X) | {"log_normalizer": np.zeros(1)}
    ...     vnce = loss.value_and_gradient(energy, own, X, draws)[0]
    ...     print(bool(vnce > nce + 1e-9), bool(np.isclose(vnce, nce)))
    True False
    False True
    """

    needs = frozenset({"log_joint"})

    def __init__(
        self, noise: NoiseDistribution, posterior: Posterior, noise_ratio: int = 1, n_latents: int = 1
    ) -> None:
        self.noise = noise
        self.posterior = posterior
        self.noise_ratio = whole_number(noise_ratio, "noise_ratio", minimum=1)
        self.n_latents = whole_number(n_latents, "n_latents", minimum=1)

    def first_parameters(self, energy: LatentDensity, X: Any) -> Parameters:
        """c such that the bound's log odds are level in the mean over the rows, and q's parameters.

        Parameters
        ----------
        energy : LatentDensity
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        dict of str to ndarray
        """
        rows = rows_of(X)
        seen = self._latents(energy, self.posterior, rows, Draws(0, _rng.STREAM_DATA_LATENTS))
        ratio = (seen.weights * seen.log_ratio).sum(axis=1) - log_noise_density(self.noise, rows)
        first: Parameters = {"log_normalizer": np.array([ratio.mean()])}
        return first | {f"posterior_{name}": p for name, p in self.posterior.parameters.items()}

    def value_and_gradient(
        self, energy: LatentDensity, own: Parameters, X: Any, draws: Draws
    ) -> tuple[float, Parameters, Parameters]:
        """The loss, its gradient in the energy's parameters, and in what is learnt beside them.

        See `DensityLoss`.
        """
        rows, nu = rows_of(X), self.noise_ratio
        posterior = self.posterior.with_parameters(
            {name: own[f"posterior_{name}"] for name in self.posterior.parameters}
        )
        key = Draws(draws.seed, _rng.STREAM_NOISE, nu * draws.first_row, draws.step)
        noise, log_p_of_noise = noise_rows(self.noise, nu * len(rows), key, rows.dtype)
        log_p = log_noise_density(self.noise, rows)
        sides = (
            (rows, log_p, _rng.STREAM_DATA_LATENTS, draws.first_row, _data_term),
            (noise, log_p_of_noise, _rng.STREAM_NOISE_LATENTS, nu * draws.first_row, _noise_term),
        )
        loss, of_c = 0.0, 0.0
        gradient: Parameters = {}
        of_posterior: Parameters = {}
        for x, log_noise, stream, first_row, term in sides:
            of_latents = Draws(draws.seed, stream, first_row, draws.step)
            seen = self._latents(energy, posterior, x, of_latents)
            level = log_noise + np.log(nu) + own["log_normalizer"][0]
            value, of_ratio, of_log_q = term(seen, level[:, None], posterior.is_enumerated)
            loss += value / len(rows)
            of_c -= float(of_ratio.sum()) / len(rows)
            of_log_q = (of_log_q - of_ratio) / len(rows)
            made, of_Z = energy.pull_log_joint(seen.joint, (of_ratio / len(rows)).ravel().astype(x.dtype))
            gradient = added(gradient, made)
            in_Z = None if of_Z is None else of_Z.reshape(seen.Z.shape)
            pulled = posterior.pullback(seen.tape, of_log_q.astype(x.dtype), in_Z)
            of_posterior = added(of_posterior, pulled)
        beside: Parameters = {"log_normalizer": np.array([of_c], own["log_normalizer"].dtype)}
        return loss, gradient, beside | {f"posterior_{name}": g for name, g in of_posterior.items()}

    def _latents(self, energy: LatentDensity, posterior: Posterior, X: FloatArray, draws: Draws) -> _Latents:
        Z, log_q, tape = posterior.latents(X, self.n_latents, draws)
        n, n_latents = log_q.shape
        pairs = np.repeat(X, n_latents, axis=0), Z.reshape(n * n_latents, -1)
        log_joint, joint = energy.log_joint(*pairs)
        of_q = log_q.astype(np.float64)
        weights = np.exp(of_q) if posterior.is_enumerated else np.full(of_q.shape, 1 / n_latents)
        return _Latents(Z, weights, log_joint.reshape(n, n_latents) - of_q, tape, joint)


class _Latents(NamedTuple):
    """Latents of rows, their weights in means over q, and log_joint - log q, of shapes (n, n_latents)."""

    Z: FloatArray
    weights: NDArray[np.float64]
    log_ratio: NDArray[np.float64]
    tape: Any
    joint: Any


_Term = tuple[float, NDArray[np.float64], NDArray[np.float64]]


def _data_term(seen: _Latents, level: NDArray[np.float64], is_enumerated: bool) -> _Term:
    """The sum over the rows, and its gradients in `log_ratio` and in the logarithm of enumerated weights."""
    each = seen.weights * ops.softplus(level - seen.log_ratio)
    of_ratio = -seen.weights * ops.sigmoid(level - seen.log_ratio)
    return float(each.sum()), of_ratio, each if is_enumerated else np.zeros_like(each)


def _noise_term(seen: _Latents, level: NDArray[np.float64], is_enumerated: bool) -> _Term:
    """As `_data_term`."""
    with np.errstate(divide="ignore"):  # a weight of zero has no part
        terms = np.log(seen.weights) + seen.log_ratio
    peak = terms.max(axis=1, keepdims=True)
    shares = np.exp(terms - peak)
    total = shares.sum(axis=1, keepdims=True)
    odds = peak + np.log(total) - level
    of_ratio = ops.sigmoid(odds) * shares / total
    return float(ops.softplus(odds).sum()), of_ratio, of_ratio if is_enumerated else np.zeros_like(of_ratio)
