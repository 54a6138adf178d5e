"""Whitening: a linear map after which features are uncorrelated, with unit variance."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from thalweg import _check

FloatArray = NDArray[Any]


class Whitening(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    r"""PCA or ZCA whitening.

    With the covariance C = U L U^T of the centred samples and l = the mean of its eigenvalues,

        pca:  y = (x - mean) U (L + eps l)^{-1/2}
        zca:  y = (x - mean) U (L + eps l)^{-1/2} U^T

    ZCA is the whitening that changes the samples least; its features remain pixels.

    Parameters
    ----------
    kind : {"zca", "pca"}
    eps : float
        Regularisation, in units of the mean eigenvalue: directions with less variance than this are not
        blown up. 0 whitens exactly; directions without variance are then left out.
    n_components : int, float in (0, 1) or None
        Principal directions to keep: a number, or the least number that explains this share of the variance.
        None keeps all.

    Attributes
    ----------
    mean_ : ndarray of shape (n_features,)
    components_ : ndarray of shape (n_components_, n_features)
        Principal directions, those of largest variance first.
    explained_variance_ : ndarray of shape (n_components_,)
        Variance along each.
    n_components_ : int
    n_features_in_ : int

    Notes
    -----
    The lectures print ZCA as U' L^{-1/2} U' X; right is U L^{-1/2} U' X (samples as columns there).

    References
    ----------
    A. Bell, T. Sejnowski, "The independent components of natural scenes are edge filters", Vision Res. 37,
    1997.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.preprocessing import Whitening
    >>> mixing = [[2.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 3.0]]
    >>> X = np.random.default_rng(0).normal(size=(500, 3)) @ mixing
    >>> np.cov(Whitening(kind="zca", eps=0.0).fit_transform(X), rowvar=False, bias=True).round(6) + 0.0
    array([[1., 0., 0.],
           [0., 1., 0.],
           [0., 0., 1.]])
    """

    def __init__(self, kind: str = "zca", eps: float = 1e-2, n_components: Any = None) -> None:
        self.kind = kind
        self.eps = eps
        self.n_components = n_components

    def fit(self, X: Any, y: Any = None) -> Whitening:
        """Measures mean and covariance (in float64) of the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : ignored

        Returns
        -------
        self : Whitening

        Raises
        ------
        TypeError, ValueError
            Where X or a parameter is of the wrong kind, shape or range, or the squares of X overflow its
            dtype.
        """
        _check.one_of(self.kind, "kind", ("zca", "pca"))
        eps = _check.real_number(self.eps, "eps", minimum=0.0)
        X = self._rows(X, ensure_min_samples=2)
        mean, covariance = _moments(X)
        values, vectors = np.linalg.eigh(covariance)
        values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
        count = self._count(values)
        if eps == 0.0:
            count = min(count, int(np.sum(values > values[0] * 1e-12)) or 1)
        directions = vectors[:, :count].T
        # An eigenvector's sign is arbitrary: fix it, so that a refit gives the same one.
        largest = np.argmax(np.abs(directions), axis=1)
        directions = directions * np.sign(directions[np.arange(count), largest])[:, np.newaxis]
        variance = values[:count] + eps * values.mean()
        self.mean_ = mean.astype(X.dtype)
        self.components_ = directions.astype(X.dtype)
        self.explained_variance_ = values[:count].astype(X.dtype)
        self.scale_ = np.sqrt(np.where(variance > 0, variance, 1.0)).astype(X.dtype)
        self.n_components_ = count
        return self

    def transform(self, X: Any) -> FloatArray:
        """Whitens the rows of X: (n_samples, n_components_) for PCA, (n_samples, n_features) for ZCA."""
        check_is_fitted(self)
        X = self._rows(X, reset=False)
        scores = (X - self.mean_) @ self.components_.T
        scores /= self.scale_
        return self._as_dtype(scores if self.kind == "pca" else scores @ self.components_, X)

    def inverse_transform(self, X: Any) -> FloatArray:
        """Takes whitened rows back; exact up to the directions that were left out."""
        check_is_fitted(self)
        X = _check.float_array(X, "X", ndim=2)
        width = self.n_components_ if self.kind == "pca" else self.n_features_in_
        if X.shape[1] != width:
            raise ValueError(f"X: expected {width} features, as transform gives, got {X.shape[1]}")
        scores = X if self.kind == "pca" else X @ self.components_.T
        return self._as_dtype((scores * self.scale_) @ self.components_ + self.mean_, X)

    def _rows(self, X: Any, **options: Any) -> FloatArray:
        _check.refuse_masked(X, "X")
        rows: FloatArray = validate_data(self, X, dtype=[np.float64, np.float32], **options)
        return rows

    @staticmethod
    def _as_dtype(result: FloatArray, X: FloatArray) -> FloatArray:
        return result.astype(X.dtype, copy=False)

    def _count(self, values: NDArray[np.float64]) -> int:
        wanted = self.n_components
        if wanted is None:
            return int(values.size)
        if isinstance(wanted, float):
            if not 0.0 < wanted < 1.0:
                raise ValueError(f"n_components: a share must lie in (0, 1), got {wanted}")
            share = np.cumsum(values) / max(float(values.sum()), np.finfo(float).tiny)
            return int(min(np.searchsorted(share, wanted) + 1, values.size))
        count = _check.whole_number(wanted, "n_components", minimum=1)
        if count > values.size:
            raise ValueError(
                f"n_components: expected at most {values.size}, the number of features, got {count}"
            )
        return count

    @property
    def _n_features_out(self) -> int:
        return int(self.n_components_ if self.kind == "pca" else self.n_features_in_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _moments(X: FloatArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean of the rows, and (X - mean)^T (X - mean) / n, in float64, block by block.

    ValueError where the total variance does not fit the dtype of X.
    """
    total = np.zeros((X.shape[1], X.shape[1]))
    with np.errstate(over="ignore", invalid="ignore"):  # the trace tells
        mean = X.mean(axis=0, dtype=np.float64)
        for start in range(0, X.shape[0], 8192):
            centred = X[start : start + 8192].astype(np.float64) - mean
            total += centred.T @ centred
        total /= X.shape[0]
        if not total.trace() <= np.finfo(X.dtype).max:
            raise ValueError(f"X: the squares of its elements overflow {X.dtype}; scale X down")
    return mean, total
