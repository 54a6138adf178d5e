"""What the restricted Boltzmann machines share: binary hidden units, one layer of weights, exact sums."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import ops
from .._check import FloatArray, real_operand, whole_number

# Elements of a block of temporaries: 2 MB of float64, which stays in a core's cache.
BLOCK = 2**18


class BipartiteEnergy:
    """E(v, h) = e(v) - s(v) W' h - b h with binary h; a subclass gives e and s, both sums over the features.

    Nothing beyond kinds and shapes is checked, and nothing is copied where the dtypes agree, so that an
    energy is cheap to make around the parameters of the moment.
    """

    def __init__(self, weights: Any, visible_bias: Any, hidden_bias: Any) -> None:
        self.weights = real_operand(weights, "weights")
        if self.weights.ndim != 2:
            raise ValueError(
                f"weights: expected shape (n_components, n_features), got shape {self.weights.shape}"
            )
        self.n_components, self.n_features = self.weights.shape
        self.visible_bias = self._vector(visible_bias, "visible_bias", self.n_features)
        self.hidden_bias = self._vector(hidden_bias, "hidden_bias", self.n_components)

    def _scaled(self, X: FloatArray) -> FloatArray:
        """s(v), what the weights see of the visible units; shape and dtype of `X`."""
        raise NotImplementedError

    def _visible_energy(self, X: FloatArray) -> NDArray[np.float64]:
        """e(v) in float64, shape (n_samples,)."""
        raise NotImplementedError

    def _visible_statistics(self, X: FloatArray, H: FloatArray, weight: FloatArray) -> dict[str, FloatArray]:
        """The gradients of `gradient` in the parameters of e and s."""
        raise NotImplementedError

    def value(self, V: Any, H: Any) -> NDArray[np.float64]:
        """E(v, h) of every pair of rows, computed in float64.

        Parameters
        ----------
        V : array-like of shape (n_samples, n_features)
        H : array-like of shape (n_samples, n_components)

        Returns
        -------
        ndarray of float64, shape (n_samples,)
        """
        V, H = self._pair(V, "V", H, "H")
        weights, bias = self.weights.astype(np.float64), self.hidden_bias.astype(np.float64)
        energy = np.empty(len(H))
        for rows in row_blocks(len(H), max(self.weights.shape)):
            visible, hidden = dense(V[rows], np.float64), H[rows].astype(np.float64)
            energy[rows] = self._visible_energy(visible) - hidden @ bias
            energy[rows] -= np.einsum("ij,ij->i", self._scaled(visible), hidden @ weights)
        return energy

    def hidden_logits(self, X: Any) -> FloatArray:
        """The log-odds of every hidden unit given the visible ones, s(x) W' + b.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            In the dtype of `X`.
        """
        X = self._visible(X, "X")
        return affine(self._scaled(X), self.weights, self.hidden_bias)

    def hidden_mean(self, X: Any) -> FloatArray:
        """p(h_k = 1 | x), the sigmoid of `hidden_logits`, of the same shape and dtype.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_components)
        """
        logits = self.hidden_logits(X)
        ops.sigmoid(logits, out=logits)
        return logits

    def free_energy(self, X: Any) -> NDArray[np.float64]:
        """F(x) = -log sum_h exp(-E(x, h)) = e(x) - sum_k softplus(logit_k), so that log p(x) = -F(x) - log Z.

        The logits are of the dtype of `X`; all sums are accumulated in float64. Finite wherever the logits
        are.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of float64, shape (n_samples,)
        """
        X = self._visible(X, "X")
        energy = np.empty(X.shape[0])
        for rows in row_blocks(X.shape[0], max(self.weights.shape), size=4 * BLOCK):
            logits = self.hidden_logits(X[rows])
            energy[rows] = self._visible_energy(X[rows])
            energy[rows] -= ops.softplus(logits, out=logits).sum(axis=1, dtype=np.float64)
        return energy

    def gradient(self, visible: Any, hidden: Any, weight: Any) -> dict[str, FloatArray]:
        """Gradient of sum_n weight_n (-E(v_n, h_n)) in every parameter.

        Parameters
        ----------
        visible : array-like of shape (n_samples, n_features)
        hidden : array-like of shape (n_samples, n_components)
            States or probabilities: E is linear in h.
        weight : array-like of shape (n_samples,)

        Returns
        -------
        dict of str to ndarray, in the dtype of `visible`
            "weights" (n_components, n_features), "visible_bias" (n_features,), "hidden_bias"
            (n_components,), and "log_sigma" (n_features,) where the energy has a sigma.
        """
        V, H = self._pair(visible, "visible", hidden, "hidden")
        w = real_operand(weight, "weight", dtype=V.dtype)
        if w.shape != (len(H),):
            raise ValueError(f"weight: expected shape {(len(H),)}, got {w.shape}")
        H = H.astype(V.dtype, copy=False)
        return {
            "weights": self._scaled((H * w[:, None]).T @ V),
            "hidden_bias": w @ H,
            **self._visible_statistics(V, H, w),
        }

    def dlog_density(self, X: Any, weight: Any) -> dict[str, FloatArray]:
        """Gradient of sum_n weight_n (-F(x_n)) in every parameter: `gradient` at h = p(h | x).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        weight : array-like of shape (n_samples,)

        Returns
        -------
        dict of str to ndarray
            As `gradient`.
        """
        X = self._visible(X, "X")
        return self.gradient(X, self.hidden_mean(X), weight)

    def _vector(self, x: Any, name: str, length: int) -> FloatArray:
        vector = real_operand(x, name, dtype=self.weights.dtype)
        if vector.shape != (length,):
            raise ValueError(f"{name}: expected shape {(length,)}, got {vector.shape}")
        return vector

    def _visible(self, X: Any, name: str) -> Any:
        return self._rows(real_operand(X, name), name, self.n_features)

    def _hidden(self, H: Any, name: str) -> FloatArray:
        hidden: FloatArray = self._rows(real_operand(H, name), name, self.n_components)
        return hidden

    def _rows(self, X: Any, name: str, width: int) -> Any:
        if X.ndim != 2 or X.shape[1] != width:
            raise ValueError(f"{name}: expected shape (n_samples, {width}), got {X.shape}")
        return X

    def _pair(self, V: Any, v_name: str, H: Any, h_name: str) -> tuple[Any, FloatArray]:
        V, H = self._visible(V, v_name), self._hidden(H, h_name)
        if V.shape[0] != H.shape[0]:
            raise ValueError(f"{h_name}: expected {V.shape[0]} rows, as {v_name} has, got shape {H.shape}")
        return V, H


def affine(X: Any, weights: FloatArray, bias: FloatArray) -> FloatArray:
    """X weights' + bias in the dtype of `X`, which may be CSR."""
    product: FloatArray = X @ weights.T.astype(X.dtype, copy=False)
    product += bias
    return product


def is_sparse(X: Any) -> bool:
    return hasattr(X, "tocsr")


def sparse_rows(X: Any) -> Any:
    """A sparse matrix as CSR of float32 or float64."""
    X = X.tocsr()
    if X.dtype.kind not in "biuf":
        raise ValueError(f"X: expected real numbers, got dtype {X.dtype}")
    return X if X.dtype in (np.float32, np.float64) else X.astype(np.float64)


def dense(X: Any, dtype: Any) -> FloatArray:
    """Rows, sparse or not, as an array of this dtype."""
    rows: FloatArray = (X.toarray() if is_sparse(X) else X).astype(dtype, copy=False)
    return rows


def row_blocks(n_rows: int, width: int, *, size: int = BLOCK) -> Iterator[slice]:
    """Slices that cover the rows, each of at most `size` elements (or one row) where rows have this width."""
    step = max(1, size // max(1, width))
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


def binary_states(n_units: int) -> NDArray[np.float64]:
    """All states of the units, shape (2**n_units, n_units); unit i is bit i of the row's number."""
    return binary_state(np.arange(2**n_units)[:, None], n_units)


def binary_state(number: Any, n_units: int) -> NDArray[np.float64]:
    """The bits of `number`, low ones first, as float64."""
    bits: NDArray[np.float64] = ((number >> np.arange(n_units)) & 1).astype(np.float64)
    return bits


def refuse_too_many(n_units: int, side: str, max_units: int) -> None:
    """ValueError where the states of that many units are more than may be enumerated."""
    if n_units > whole_number(max_units, "max_units"):
        count = f"{2**n_units:,}" if n_units < 64 else f"about 1e{int(n_units * math.log10(2))}"
        raise ValueError(
            f"log_partition: exact enumeration over the {n_units} {side} units would take 2**{n_units} = "
            f"{count} states, more than the 2**{max_units} that max_units={max_units} allows; "
            'estimate it with method="ais"'
        )


class LogSum:
    """log sum_i exp(x_i), the terms coming in blocks; a running sum relative to the largest term so far."""

    def __init__(self) -> None:
        self._peak = -np.inf
        self._sum = 0.0

    def add(self, terms: NDArray[np.float64]) -> None:
        peak = max(self._peak, float(terms.max()))
        self._sum = self._sum * math.exp(self._peak - peak) + float(np.exp(terms - peak).sum())
        self._peak = peak

    @property
    def value(self) -> float:
        return self._peak + math.log(self._sum)
