"""What every density without a normaliser is asked: energies, scores of rows, gradients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from .. import _rng
from .._base import DensityEnergy
from .._blas import one_blas_thread
from .._check import FloatArray, real_number, refuse_masked, seed_number
from ..inference.annealing import LogPartition

_BLOCK_ROWS = 4096


class UnnormalisedDensity(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Questions that an energy answers; a subclass learns it, and knows or estimates log Z."""

    energy_: DensityEnergy
    _seed: int
    _n_sampled: int

    def free_energy(self, X: Any) -> NDArray[np.float64]:
        """E(x) = -log p(x) - log Z of every row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,), float64
        """
        rows = self._rows(X)
        out = np.empty(len(rows))
        with one_blas_thread:
            for block in blocks(len(rows)):
                out[block] = self.energy_.value(rows[block])[0]
        return out

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """-E(x) = log p(x) + log Z of every row: the log density but for a constant, which is not known.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,), float64
        """
        return -self.free_energy(X)

    def score_function(self, X: Any) -> FloatArray:
        """The gradient of log p(x) in x, of every row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            float32 where X is, float64 otherwise.
        """
        rows = self._rows(X)
        out = np.empty_like(rows)
        with one_blas_thread:
            for block in blocks(len(rows)):
                out[block] = self.energy_.score_function(rows[block])
        return out

    def log_likelihood(self, X: Any, log_partition: Any = None) -> NDArray[np.float64]:
        """log p(x) = -E(x) - log Z of every row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        log_partition : LogPartition or float, default=None
            What the method `log_partition` gave; None calls it.

        Returns
        -------
        ndarray of shape (n_samples,), float64
        """
        if log_partition is None:
            log_partition = self.log_partition()
        if isinstance(log_partition, LogPartition):
            log_partition = log_partition.log_z
        return -self.free_energy(X) - real_number(log_partition, "log_partition")

    def log_partition(self) -> LogPartition:
        """log Z."""
        raise NotImplementedError

    def _rows(self, X: Any, *, reset: bool = False) -> FloatArray:
        """X checked, float32 or float64."""
        if not reset:
            check_is_fitted(self, "energy_")
        refuse_masked(X, "X")
        rows: FloatArray = validate_data(self, X, reset=reset, dtype=(np.float64, np.float32), order="C")
        return rows

    def _working_energy(self) -> Any:
        """The energy as it is asked, on the device where that is done."""
        return self.energy_

    def _next_seed(self, random_state: Any) -> int:
        """The seed of one call: a given one, or the next of the estimator's own sequence."""
        if random_state is not None:
            return seed_number(random_state)
        check_is_fitted(self, "energy_")
        number = self._n_sampled
        self._n_sampled = number + 1
        return int(_rng.words(self._seed, _rng.STREAM_SEEDS, 0, 1, row=number)[0] >> np.uint64(1))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def blocks(n_rows: int, size: int = _BLOCK_ROWS) -> Iterator[slice]:
    """Slices of the rows, as many at a time as are taken at once."""
    for first in range(0, n_rows, size):
        yield slice(first, min(first + size, n_rows))
