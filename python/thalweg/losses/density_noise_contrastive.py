"""Noise-contrastive estimation of unnormalised densities, against any noise of known density."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _rng, ops
from .._base import DensityEnergy, Draws, NoiseDistribution, Parameters
from .._check import whole_number
from ._density import log_noise_density, noise_rows, rows_of


class DensityNoiseContrastiveEstimation:
    r"""NCE: logistic regression between the data and `noise_ratio` times as many samples of noise.

    .. math:: \frac1n \Bigl[ \sum_{\text{data}} S(-G(x)) + \sum_{\text{noise}} S(G(x)) \Bigr], \qquad
              G(x) = -E(x) - c - \log(\nu\, p_n(x)),

    S the softplus. c stands in the place of log Z and is learnt, as "log_normalizer" of shape (1,): where
    the model can be right, the minimum is at the data's density, normalised. Other losses of densities leave
    log Z open.

    Needs of the energy: "value".

    Parameters
    ----------
    noise : NoiseDistribution
        p_n; positive wherever there are data. The nearer it is to them, the more is learnt.
    noise_ratio : int, default=1
        nu.

    References
    ----------
    M. Gutmann, A. Hyvarinen, Noise-contrastive estimation of unnormalized statistical models, JMLR 13, 2012.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg._base import Draws
    >>> from thalweg.energies import GaussianEnergy
    >>> from thalweg.losses import DensityNoiseContrastiveEstimation, GaussianNoise
    >>> energy, X = GaussianEnergy([0.0], [1.0]), np.array([[1.0], [-1.0]])
    >>> loss = DensityNoiseContrastiveEstimation(GaussianNoise([0.0], [1.0]))
    >>> c = loss.first_parameters(energy, X)["log_normalizer"]
    >>> bool(np.isclose(c[0], energy.log_partition()))
    True
    >>> value, _, _ = loss.value_and_gradient(energy, {"log_normalizer": c}, X, Draws(0, 0))
    >>> bool(np.isclose(value, 2 * np.log(2)))  # that of chance
    True
    """

    needs = frozenset({"value"})

    def __init__(self, noise: NoiseDistribution, noise_ratio: int = 1) -> None:
        self.noise = noise
        self.noise_ratio = whole_number(noise_ratio, "noise_ratio", minimum=1)

    def first_parameters(self, energy: DensityEnergy, X: Any) -> Parameters:
        """c such that data are as likely as not to be told from one sample of noise, in the mean of log odds.

        Parameters
        ----------
        energy : DensityEnergy
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        dict of str to ndarray
            "log_normalizer", float64, of shape (1,).
        """
        rows = rows_of(X)
        ratio = -energy.value(rows)[0].astype(np.float64) - log_noise_density(self.noise, rows)
        return {"log_normalizer": np.array([ratio.mean()])}

    def value_and_gradient(
        self, energy: DensityEnergy, own: Parameters, X: Any, draws: Draws
    ) -> tuple[float, Parameters, Parameters]:
        """The loss, its gradient in the energy's parameters and in "log_normalizer"; see `DensityLoss`."""
        rows, nu = rows_of(X), self.noise_ratio
        key = Draws(draws.seed, _rng.STREAM_NOISE, nu * draws.first_row, draws.step)
        noise, log_p_of_noise = noise_rows(self.noise, nu * len(rows), key, rows.dtype)
        log_p = log_noise_density(self.noise, rows)
        sign = np.repeat([-1.0, 1.0], [len(rows), len(noise)])
        E, tape = energy.value(np.concatenate([rows, noise]))
        odds = -E.astype(np.float64) - own["log_normalizer"][0] - np.log(nu)
        odds -= np.concatenate([log_p, log_p_of_noise])
        loss = float(ops.softplus(sign * odds).sum()) / len(rows)
        of_energy = -sign * ops.sigmoid(sign * odds) / len(rows)
        of_c = float(of_energy.sum())
        gradient = energy.pullback(tape, of_energy.astype(E.dtype))
        return loss, gradient, {"log_normalizer": np.array([of_c], own["log_normalizer"].dtype)}
