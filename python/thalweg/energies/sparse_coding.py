"""The energy of sparse coding: reconstruction error plus a separable penalty on the code."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._check import FloatArray, float_array, one_of, real_number

PENALTIES = ("l1", "l0", "l1/2", "l2/3")


class SparseCodingEnergy:
    r"""Energy of an observation x and its code z over a dictionary D, one atom a row.

    .. math:: E(x, z; D) = \tfrac12 \lVert x - z D \rVert^2 + \sum_k \alpha_k\, p(z_k)
              + \tfrac{l_2}{2} \lVert z \rVert^2

    with :math:`p(z) = |z|^q`, q = 1, 2/3, 1/2, or 0 (where :math:`|z|^0` counts the non-zeros).

    Parameters
    ----------
    dictionary : array-like of shape (n_components, n_features)
        The atoms, any norms.
    alpha : float or array-like, default=1.0
        Weight of the penalty, >= 0: a scalar, (n_components,) per atom, (n_samples, 1) per sample, or
        (n_samples, n_components).
    penalty : {"l1", "l0", "l1/2", "l2/3"}, default="l1"
        The exponent q of p.
    l2 : float, default=0.0
        Weight of the quadratic term, >= 0 (with "l1": the elastic net).

    Raises
    ------
    TypeError, ValueError
        Where an argument is of the wrong kind, shape or range, by name.

    References
    ----------
    B. A. Olshausen, D. J. Field, Emergence of simple-cell receptive field properties by learning a sparse
    code for natural images, Nature 381, 1996. H. Zou, T. Hastie, Regularization and variable selection via
    the elastic net, J. R. Stat. Soc. B 67, 2005.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.energies import SparseCodingEnergy
    >>> energy = SparseCodingEnergy(np.eye(2), alpha=0.5)
    >>> energy.value([[3.0, 0.0]], [[2.0, 0.0]])
    array([1.5])
    >>> energy.gradient([[3.0, 0.0]], [[2.0, 0.0]])
    array([[-1.,  0.]])
    """

    def __init__(self, dictionary: Any, alpha: Any = 1.0, *, penalty: str = "l1", l2: float = 0.0) -> None:
        self.dictionary = float_array(dictionary, "dictionary", ndim=2)
        self.alpha = np.asarray(float_array(alpha, "alpha", dtype=np.float64))
        if self.alpha.size and self.alpha.min() < 0:
            raise ValueError(f"alpha: expected numbers >= 0, got {self.alpha.min():g}")
        self.penalty = one_of(penalty, "penalty", PENALTIES)
        self.l2 = real_number(l2, "l2", minimum=0.0)

    def value(self, X: Any, Z: Any) -> NDArray[np.float64]:
        """E(x, z) of every row, accumulated in float64.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        Z : array-like of shape (n_samples, n_components)

        Returns
        -------
        ndarray of float64, shape (n_samples,)
        """
        X, Z = self._pair(X, Z)
        residual = X - Z @ self.dictionary
        energy: NDArray[np.float64] = 0.5 * np.einsum("ij,ij->i", residual, residual, dtype=np.float64)
        energy += (self.alpha * self._penalty_of(Z)).sum(axis=1, dtype=np.float64)
        if self.l2 > 0:
            energy += 0.5 * self.l2 * np.einsum("ij,ij->i", Z, Z, dtype=np.float64)
        return energy

    def gradient(self, X: Any, Z: Any) -> FloatArray:
        """Gradient in z of the smooth part, (z D - x) D' + l2 z, shape and dtype of `Z`.

        The penalty is left to its proximal map.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        Z : array-like of shape (n_samples, n_components)

        Returns
        -------
        ndarray of shape (n_samples, n_components)
        """
        X, Z = self._pair(X, Z)
        gradient = (Z @ self.dictionary - X) @ self.dictionary.T + self.l2 * Z
        return np.asarray(gradient, dtype=Z.dtype)

    def _pair(self, X: Any, Z: Any) -> tuple[FloatArray, FloatArray]:
        X, Z = float_array(X, "X", ndim=2), float_array(Z, "Z", ndim=2)
        n_components, n_features = self.dictionary.shape
        if X.shape[1] != n_features:
            raise ValueError(f"X: expected {n_features} features, as the dictionary has, got shape {X.shape}")
        if Z.shape != (len(X), n_components):
            raise ValueError(f"Z: expected shape {(len(X), n_components)}, got {Z.shape}")
        if self.alpha.shape not in ((), (n_components,), (len(X), 1), Z.shape):
            raise ValueError(
                f"alpha: expected a scalar, ({n_components},), ({len(X)}, 1) or {Z.shape}, "
                f"got shape {self.alpha.shape}"
            )
        return X, Z

    def _penalty_of(self, Z: FloatArray) -> FloatArray:
        if self.penalty == "l0":
            return np.asarray(Z != 0, dtype=Z.dtype)
        magnitude = np.abs(Z)
        if self.penalty == "l1":
            return magnitude
        return np.sqrt(magnitude) if self.penalty == "l1/2" else np.cbrt(magnitude) ** 2
