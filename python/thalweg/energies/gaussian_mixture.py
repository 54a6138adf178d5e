"""Mixtures of round Gaussians without their normaliser, with the component as a latent variable."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._base import Parameters
from .._check import FloatArray, float_array, real_operand
from ._density_rows import tape_of, weights_of_rows
from ._layers import bias_of, matched


@dataclass(frozen=True)
class MixtureTape:
    """What the methods leave for the way back: rows, and the weight of every component in each."""

    X: FloatArray
    shares: FloatArray


class GaussianMixtureEnergy:
    r"""An unnormalised mixture, whose latent z is the number of the component.

    .. math:: \log \phi(x, z) = \log \operatorname{softmax}_z(l)
              - \frac{\lVert x - \mu_z \rVert^2}{2 \sigma_z^2}, \qquad E(x) = -\log \sum_z \phi(x, z)

    The components' own normalisers are left out, so that a component's mass grows with sigma.

    Parameters
    ----------
    logits : array-like of shape (n_components,)
        l; a constant added to all changes nothing.
    means : array-like of shape (n_components, n_features)
        mu, float32 or float64; not copied. The other arrays are taken in its dtype.
    log_sigma : array-like of shape (n_components,)

    Attributes
    ----------
    parameters : dict of str to ndarray
        "logits", "means" and "log_sigma": the arrays themselves.
    n_features, n_components : int
    offers : frozenset of str
        "value", "score", "log_joint".

    Raises
    ------
    TypeError, ValueError
        Where an argument, here or of a method, is of the wrong kind or shape, by name.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.energies import GaussianMixtureEnergy
    >>> energy = GaussianMixtureEnergy([0.0, 0.0], [[-1.0], [1.0]], [0.0, 0.0])
    >>> energy.log_joint([[1.0]], [[1]])[0] == np.log(0.5)
    array([ True])
    >>> bool(np.isclose(energy.log_partition(), 0.5 * np.log(2 * np.pi)))
    True
    """

    offers = frozenset({"value", "score", "log_joint"})

    def __init__(self, logits: Any, means: Any, log_sigma: Any) -> None:
        mu = real_operand(means, "means")
        if mu.ndim != 2 or mu.size == 0:
            raise ValueError(f"means: expected shape (n_components, n_features), got {mu.shape}")
        self.n_components, self.n_features = mu.shape
        self.parameters: Parameters = {
            "logits": _vector(logits, "logits", mu),
            "means": mu,
            "log_sigma": _vector(log_sigma, "log_sigma", mu),
        }

    def with_parameters(self, parameters: Parameters) -> GaussianMixtureEnergy:
        """The same mixture with other parameters.

        Parameters
        ----------
        parameters : dict of str to ndarray
            "logits", "means" and "log_sigma", all float32 or all float64; not copied.

        Returns
        -------
        GaussianMixtureEnergy
        """
        made = copy.copy(self)
        made.parameters = matched(parameters, self.parameters)
        return made

    def log_partition(self) -> float:
        """log Z = log sum_z softmax_z(l) (2 pi)^(d / 2) sigma_z^d, in float64.

        Returns
        -------
        float
        """
        logits, log_sigma = (self.parameters[n].astype(np.float64) for n in ("logits", "log_sigma"))
        terms = _log_softmax(logits) + self.n_features * log_sigma
        log_z: float = 0.5 * self.n_features * math.log(2 * math.pi) + float(_log_sum(terms))
        return log_z

    def log_posterior(self, X: Any) -> FloatArray:
        """log p(z | x) of every component.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_components)
        """
        return _log_softmax(self._log_joints(self._rows(X)))

    def value(self, X: Any) -> tuple[FloatArray, MixtureTape]:
        """E(x) of every row, and a tape for `pullback`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        energies : ndarray of shape (n_samples,)
        tape : MixtureTape
        """
        rows = self._rows(X)
        log_joints = self._log_joints(rows)
        return -_log_sum(log_joints), MixtureTape(rows, np.exp(_log_softmax(log_joints)))

    def pullback(self, tape: MixtureTape, gradient: Any) -> Parameters:
        """The gradient of sum_n gradient_n E(x_n) in every parameter.

        Parameters
        ----------
        tape : MixtureTape
            Of `value`.
        gradient : array-like of shape (n_samples,)

        Returns
        -------
        dict of str to ndarray
        """
        g = weights_of_rows(gradient, "gradient", tape_of(tape, MixtureTape).X)
        return self._pulled(tape.X, -g[:, None] * tape.shares)

    def score_function(self, X: Any) -> FloatArray:
        """psi(x) = sum_z p(z | x) (mu_z - x) / sigma_z^2 of every row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        rows = self._rows(X)
        pull = np.exp(self.log_posterior(rows)) * self._precisions(rows.dtype)
        return np.asarray(
            pull @ self.parameters["means"].astype(rows.dtype) - pull.sum(axis=1, keepdims=True) * rows
        )

    def log_joint(self, X: Any, Z: Any) -> tuple[FloatArray, MixtureTape]:
        """log phi(x, z) of every pair of rows, and a tape for `pull_log_joint`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        Z : array-like of shape (n_samples, 1)
            Numbers of components.

        Returns
        -------
        log_joint : ndarray of shape (n_samples,)
        tape : MixtureTape
        """
        rows = self._rows(X)
        numbers = real_operand(Z, "Z")
        if numbers.shape != (len(rows), 1):
            raise ValueError(f"Z: expected shape ({len(rows)}, 1), got {numbers.shape}")
        components = np.arange(self.n_components) == numbers
        if not components.any(axis=1).all():
            raise ValueError(f"Z: expected numbers of components, 0 to {self.n_components - 1}")
        log_joints = self._log_joints(rows)
        return log_joints[components], MixtureTape(rows, components.astype(rows.dtype))

    def pull_log_joint(self, tape: MixtureTape, gradient: Any) -> tuple[Parameters, None]:
        """The gradient of sum_n gradient_n log phi(x_n, z_n) in every parameter; z is discrete.

        Parameters
        ----------
        tape : MixtureTape
            Of `log_joint`.
        gradient : array-like of shape (n_samples,)

        Returns
        -------
        parameters : dict of str to ndarray
        Z : None
        """
        g = weights_of_rows(gradient, "gradient", tape_of(tape, MixtureTape).X)
        return self._pulled(tape.X, g[:, None] * tape.shares), None

    def _pulled(self, X: FloatArray, of_log_joints: FloatArray) -> Parameters:
        """From a gradient in log phi (n_samples, n_components) to that in every parameter."""
        logits, means = (self.parameters[n].astype(X.dtype, copy=False) for n in ("logits", "means"))
        total, precisions = of_log_joints.sum(axis=0), self._precisions(X.dtype)
        return {
            "logits": total - np.exp(_log_softmax(logits)) * total.sum(),
            "means": precisions[:, None] * (of_log_joints.T @ X - total[:, None] * means),
            "log_sigma": precisions * (of_log_joints * self._squares(X)).sum(axis=0),
        }

    def _log_joints(self, X: FloatArray) -> FloatArray:
        logits = self.parameters["logits"].astype(X.dtype, copy=False)
        return np.asarray(_log_softmax(logits) - 0.5 * self._precisions(X.dtype) * self._squares(X))

    def _squares(self, X: FloatArray) -> FloatArray:
        """Squared distances of the rows from the means."""
        apart = X[:, None] - self.parameters["means"].astype(X.dtype, copy=False)
        return np.asarray(np.einsum("nkd,nkd->nk", apart, apart))

    def _precisions(self, dtype: Any) -> FloatArray:
        return np.asarray(np.exp(-2 * self.parameters["log_sigma"].astype(dtype, copy=False)))

    def _rows(self, X: Any) -> FloatArray:
        rows = float_array(X, "X")
        if rows.ndim != 2 or rows.shape[1] != self.n_features:
            raise ValueError(f"X: expected shape (n_samples, {self.n_features}), got {rows.shape}")
        return rows


def _vector(values: Any, name: str, means: FloatArray) -> FloatArray:
    made = bias_of(values, name, len(means), means.dtype)
    if made is None:
        raise TypeError(f"{name}: expected an array, got None")
    return made


def _log_sum(terms: FloatArray) -> FloatArray:
    """log sum exp over the last axis."""
    peak = terms.max(axis=-1)
    made: FloatArray = peak + np.log(np.exp(terms - peak[..., None]).sum(axis=-1))
    return made


def _log_softmax(terms: FloatArray) -> FloatArray:
    made: FloatArray = terms - _log_sum(terms)[..., None]
    return made
