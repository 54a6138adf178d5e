"""The energy of the restricted Boltzmann machine with binary visible units."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import ops
from .._check import FloatArray
from ._bipartite import (
    BLOCK,
    BipartiteEnergy,
    LogSum,
    affine,
    binary_state,
    binary_states,
    dense,
    is_sparse,
    refuse_too_many,
    row_blocks,
    sparse_rows,
)


class BernoulliRBMEnergy(BipartiteEnergy):
    r"""Energy of binary visible units v and binary hidden units h.

    .. math:: E(v, h) = - v W^\top h - a^\top v - b^\top h

    With the hidden units summed out,

    .. math:: F(x) = -a^\top x - \sum_k S(x W_k^\top + b_k), \qquad S(u) = \log(1 + e^u),

    and :math:`\log p(x) = -F(x) - \log Z`, :math:`Z = \sum_v e^{-F(v)}` over all :math:`2^V` states. Given
    the other side units are independent: :math:`p(h_k = 1 | v) = \sigma(v W_k^\top + b_k)`,
    :math:`p(v_j = 1 | h) = \sigma((h W)_j + a_j)`.

    Visible rows may be given as a CSR matrix, and their values may be real: F is the same formula.

    Parameters
    ----------
    weights : array-like of shape (n_components, n_features)
        W, float32 or float64; not copied, nor checked to be finite.
    visible_bias : array-like of shape (n_features,)
        a, taken in the dtype of the weights.
    hidden_bias : array-like of shape (n_components,)
        b, taken in the dtype of the weights.

    Raises
    ------
    TypeError, ValueError
        Where an argument, here or of a method, is of the wrong kind or shape, by name.

    References
    ----------
    P. Smolensky, Information processing in dynamical systems: foundations of harmony theory, in Parallel
    Distributed Processing 1, 1986. G. E. Hinton, Training products of experts by minimizing contrastive
    divergence, Neural Computation 14, 2002.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.energies import BernoulliRBMEnergy
    >>> energy = BernoulliRBMEnergy(np.array([[1.0, -1.0]]), np.zeros(2), np.zeros(1))
    >>> energy.value([[1, 0]], [[1]])
    array([-1.])
    >>> X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> p = np.exp(-energy.free_energy(X) - energy.log_partition())
    >>> p.round(4), round(float(p.sum()), 12)
    (array([0.2201, 0.1505, 0.4092, 0.2201]), 1.0)
    """

    def visible_mean(self, H: Any) -> FloatArray:
        """p(v_j = 1 | h) = sigmoid((h W)_j + a_j).

        Parameters
        ----------
        H : array-like of shape (n_samples, n_components)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            In the dtype of `H`.
        """
        mean = affine(self._hidden(H, "H"), self.weights.T, self.visible_bias)
        ops.sigmoid(mean, out=mean)
        return mean

    def score_function(self, X: Any) -> FloatArray:
        """d(-F)/dx = a + p(h | x) W, of F as a function of real x.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            In the dtype of `X`.
        """
        return affine(self.hidden_mean(X), self.weights.T, self.visible_bias)

    def log_partition(self, *, max_units: int = 25) -> float:
        """log Z, exactly: a sum over all states of the smaller side, the other one summed out.

        Computed in float64. The time is proportional to 2**min(V, H) max(V, H), the memory a few MB.

        Parameters
        ----------
        max_units : int, default=25
            The most units whose states are enumerated.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            The smaller side has more than `max_units` units.
        """
        W, a, b = (
            parameter.astype(np.float64) for parameter in (self.weights, self.visible_bias, self.hidden_bias)
        )
        if self.n_components <= self.n_features:
            refuse_too_many(self.n_components, "hidden", max_units)
            return _log_sum_over_states(W, b, a)
        refuse_too_many(self.n_features, "visible", max_units)
        return _log_sum_over_states(W.T, a, b)

    def pseudo_log_likelihood(self, X: Any) -> NDArray[np.float64]:
        """sum_j log p(x_j | x_-j) over all visible units j: deterministic, and log Z is not needed.

        log p(x_j | x_-j) = log sigmoid(F(x') - F(x)), where x' has 1 - x_j in the place of x_j and
        F(x') - F(x) = -a_j d - sum_k [S(u_k + d W_kj) - S(u_k)] with d = 1 - 2 x_j and the hidden logits u.
        Computed in float64; O(V H) softplus a row, in blocks of a few MB.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of float64, shape (n_samples,)

        References
        ----------
        J. Besag, Statistical analysis of non-lattice data, The Statistician 24, 1975.
        """
        X = self._visible(X, "X")
        columns = np.ascontiguousarray(self.weights.T, dtype=np.float64)
        bias = self.visible_bias.astype(np.float64)
        total = np.empty(X.shape[0])
        for rows in row_blocks(X.shape[0], self.weights.size):
            x = dense(X[rows], np.float64)
            flip = 1 - 2 * x
            logits = self.hidden_logits(x)
            rise = -bias * flip + ops.softplus(logits).sum(axis=1)[:, None]
            for features in row_blocks(self.n_features, max(1, logits.size)):
                flipped = flip[:, features, None] * columns[features]
                flipped += logits[:, None, :]
                rise[:, features] -= ops.softplus(flipped, out=flipped).sum(axis=2)
            total[rows] = ops.log_sigmoid(rise, out=rise).sum(axis=1)
        return total

    def _visible(self, X: Any, name: str) -> Any:
        if is_sparse(X):
            return self._rows(sparse_rows(X), name, self.n_features)
        return super()._visible(X, name)

    def _scaled(self, X: FloatArray) -> FloatArray:
        return X

    def _visible_energy(self, X: FloatArray) -> NDArray[np.float64]:
        bias = self.visible_bias.astype(np.float64)
        energy: NDArray[np.float64] = -((X if is_sparse(X) else X.astype(np.float64, copy=False)) @ bias)
        return energy

    def _visible_statistics(self, X: FloatArray, H: FloatArray, weight: FloatArray) -> dict[str, FloatArray]:
        return {"visible_bias": X.T @ weight}


def _log_sum_over_states(
    weights: NDArray[np.float64], bias: NDArray[np.float64], other_bias: NDArray[np.float64]
) -> float:
    """log sum_s exp(s bias + sum_j softplus(s weights + other_bias)_j) over all binary states s.

    A block holds the states that share the high bits: their logits are those of the low bits, made once, plus
    one row.
    """
    n_units, n_others = weights.shape
    n_low = min(n_units, max(0, (BLOCK // max(1, n_others)).bit_length() - 1))
    low = binary_states(n_low)
    low_terms, low_logits = low @ bias[:n_low], low @ weights[:n_low] + other_bias
    total, work = LogSum(), np.empty_like(low_logits)
    for number in range(2 ** (n_units - n_low)):
        high = binary_state(number, n_units - n_low)
        np.add(low_logits, high @ weights[n_low:], out=work)
        ops.softplus(work, out=work, n_jobs=1)  # a block is too short to be worth waking threads
        total.add(work.sum(axis=1) + low_terms + high @ bias[n_low:])
    return total.value
