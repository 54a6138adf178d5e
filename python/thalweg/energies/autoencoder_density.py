"""The density whose score matching trains an auto-encoder of one layer."""

from __future__ import annotations

from typing import Any

from .._check import FloatArray
from .deep import DeepEnergy


class AutoencoderDensityEnergy(DeepEnergy):
    r"""An auto-encoder with tied weights, as an unnormalised density.

    .. math:: E(x) = \tfrac12 \lVert x \rVert^2 - \sum_k S(w_k^\top x), \qquad
              \psi(x) = W s(W^\top x) - x

    with S the softplus, s the sigmoid and w_k the columns of W: the `DeepEnergy` of no layers, no biases and
    sigma = 1. What score matching makes small is the error of a reconstruction and a penalty,

    .. math:: \tfrac12 \lVert x - W s(W^\top x) \rVert^2 + \sum_k \lVert w_k \rVert^2 s'(w_k^\top x)
              = J(x) + d,

    J being `score_matching`. The penalty has the factor 1; where 1/2 is printed, it is a slip.

    Parameters
    ----------
    weights : array-like of shape (n_components, n_features)
        W', its rows the w_k; float32 or float64, not copied.
    n_jobs : int, default=None
        As in `DeepEnergy`.

    References
    ----------
    K. Swersky, M. Ranzato, D. Buchman, B. Marlin, N. de Freitas, On autoencoders and score matching for
    energy based models, ICML 2011. P. Vincent, A connection between score matching and denoising
    autoencoders, Neural Comput. 23, 2011.

    Examples
    --------
    >>> from thalweg.energies import AutoencoderDensityEnergy
    >>> energy = AutoencoderDensityEnergy([[2.0, 0.0]])
    >>> energy.reconstruct([[0.0, 1.0]])
    array([[1., 0.]])
    >>> energy.score_matching([[0.0, 1.0]])[0]  # (1 + 1) / 2 + 4 / 4 - 2
    array([0.])
    """

    def __init__(self, weights: Any, *, n_jobs: int | None = None) -> None:
        super().__init__(None, weights, n_jobs=n_jobs)

    def reconstruct(self, X: Any) -> FloatArray:
        """W s(W'x) = x + psi(x) of every row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        psi, tape = self.score(X)
        psi += tape.X
        return psi
