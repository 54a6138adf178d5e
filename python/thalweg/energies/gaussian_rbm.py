"""The energy of the restricted Boltzmann machine with real visible units."""

from __future__ import annotations

import math
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
    refuse_too_many,
    row_blocks,
)


class GaussianRBMEnergy(BipartiteEnergy):
    r"""Energy of real visible units v and binary hidden units h.

    .. math:: E(v, h) = \sum_j \frac{(v_j - a_j)^2}{2 \sigma_j^2} - \sum_j \frac{v_j (h W)_j}{\sigma_j^2}
              - b^\top h

    With the hidden units summed out, and S the softplus,

    .. math:: F(x) = \sum_j \frac{(x_j - a_j)^2}{2 \sigma_j^2}
              - \sum_k S\Bigl(\sum_j \frac{W_{kj} x_j}{\sigma_j^2} + b_k\Bigr),

    and :math:`\log p(x) = -F(x) - \log Z`, :math:`Z = \int e^{-F(v)} dv`. Given h the visible units are
    independent normals of mean :math:`a + h W` and standard deviation :math:`\sigma`: the density is a
    mixture of :math:`2^H` normals.

    Parameters
    ----------
    weights : array-like of shape (n_components, n_features)
        W, float32 or float64, in the units of the data; not copied, nor checked to be finite.
    visible_bias : array-like of shape (n_features,)
        a, in the units of the data, taken in the dtype of the weights.
    hidden_bias : array-like of shape (n_components,)
        b, taken in the dtype of the weights.
    sigma : array-like of shape (n_features,)
        Standard deviations > 0, in the units of the data, taken in the dtype of the weights.

    Raises
    ------
    TypeError, ValueError
        Where an argument, here or of a method, is of the wrong kind or shape, by name.

    References
    ----------
    M. Welling, M. Rosen-Zvi, G. E. Hinton, Exponential family harmoniums with an application to information
    retrieval, NIPS 2004. J. Melchior, N. Wang, L. Wiskott, Gaussian-binary restricted Boltzmann machines for
    modeling natural image statistics, PLoS ONE 12, 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.energies import GaussianRBMEnergy
    >>> energy = GaussianRBMEnergy(np.array([[4.0]]), np.zeros(1), np.array([-8.0]), np.ones(1))
    >>> energy.value([[4.0]], [[1]])  # the mean of the second component
    array([0.])
    >>> x = np.linspace(-10, 14, 241)[:, None]
    >>> p = np.exp(-energy.free_energy(x) - energy.log_partition())
    >>> round(float(p.sum() * 0.1), 6), x[p > 0.19].ravel().round(1)
    (1.0, array([-0.3, -0.2, -0.1,  0. ,  0.1,  0.2,  0.3,  3.7,  3.8,  3.9,  4. , 4.1,  4.2,  4.3]))
    """

    def __init__(self, weights: Any, visible_bias: Any, hidden_bias: Any, sigma: Any) -> None:
        super().__init__(weights, visible_bias, hidden_bias)
        self.sigma = self._vector(sigma, "sigma", self.n_features)

    def visible_mean(self, H: Any) -> FloatArray:
        """E[v | h] = a + h W.

        Parameters
        ----------
        H : array-like of shape (n_samples, n_components)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            In the dtype of `H`.
        """
        return affine(self._hidden(H, "H"), self.weights.T, self.visible_bias)

    def score_function(self, X: Any) -> FloatArray:
        """d(-F)/dx_j = d log p/dx_j = (a_j + (p(h | x) W)_j - x_j) / sigma_j^2.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            In the dtype of `X`.
        """
        X = self._visible(X, "X")
        pull = self.visible_mean(self.hidden_mean(X))
        pull -= X
        return self._scaled(pull)

    def log_partition(self, *, max_units: int = 25) -> float:
        """log Z, exactly: the normal integrals in closed form, and a sum over all hidden states.

        Z = prod_j sqrt(2 pi) sigma_j sum_h exp(b h + sum_j (2 a_j m_j + m_j^2) / (2 sigma_j^2)) with m = h W.
        Computed in float64. The time is proportional to 2**H H and does not depend on V beyond one product of
        the weights; the memory is a few MB and H^2 numbers.

        Parameters
        ----------
        max_units : int, default=25
            The most hidden units whose states are enumerated.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            There are more than `max_units` hidden units.
        """
        refuse_too_many(self.n_components, "hidden", max_units)
        W, a, b, sigma = (
            parameter.astype(np.float64)
            for parameter in (self.weights, self.visible_bias, self.hidden_bias, self.sigma)
        )
        W, a = W / sigma, a / sigma
        normal: float = 0.5 * self.n_features * math.log(2 * math.pi) + float(np.log(sigma).sum())
        return normal + _log_sum_of_quadratic(np.asarray(W @ W.T), np.asarray(b + W @ a))

    def pseudo_log_likelihood(self, X: Any) -> NDArray[np.float64]:
        """sum_j log p(x_j | x_-j) over all features j: deterministic, and log Z is not needed.

        The density of x_j given the others is a mixture of up to 2^H normals, all of standard deviation
        sigma_j, whose
        normaliser is a trapezoidal sum with nodes 0.75 sigma_j
        apart. For a normal, hence for any mixture of them, that sum is exact but for a relative error of
        2 exp(-2 pi^2 / 0.75^2) < 2e-15 (Poisson's summation formula), and the ends are cut where less than
        1e-15 is lost for certain: what remains is the rounding of float64. The cost is that of some tens of
        free energies for each element of `X`, more where sum_k |W_kj| is many sigma_j.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of float64, shape (n_samples,)

        References
        ----------
        J. Besag, Statistical analysis of non-lattice data, The Statistician 24, 1975. L. N. Trefethen,
        J. A. C. Weideman, The exponentially convergent trapezoidal rule, SIAM Review 56, 2014.
        """
        X = self._visible(X, "X")
        sigma, a = self.sigma.astype(np.float64), self.visible_bias.astype(np.float64)
        slopes = np.ascontiguousarray(self.weights.T / sigma[:, None], dtype=np.float64)
        total = np.full(X.shape[0], -float(np.log(sigma).sum()))
        for rows in row_blocks(X.shape[0], _NODES * max(1, self.n_components)):
            x = X[rows].astype(np.float64)
            logits, t = self.hidden_logits(x), (x - a) / sigma
            here = ops.softplus(logits).sum(axis=1)
            for j, slope in enumerate(slopes):
                at_mean = logits - t[:, j, None] * slope
                total[rows] += here - 0.5 * t[:, j] ** 2 - _log_integral(at_mean, slope)
        return total

    def score_matching(self, X: Any) -> tuple[float, dict[str, FloatArray]]:
        """The score-matching objective and its gradient in every parameter, in closed form.

        J = mean over rows of sum_j [ psi_j^2 / 2 + d psi_j/dx_j ] with psi = `score_function` and, p being
        p(h | x), d psi_j/dx_j = -1 / sigma_j^2 + sum_k p_k (1 - p_k) W_kj^2 / sigma_j^4. Up to a constant of
        the data, J is half the mean squared distance between the scores of model and data; it needs no log Z.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            At least one row.

        Returns
        -------
        objective : float
            Accumulated in float64.
        gradient : dict of str to ndarray, in the dtype of `X`
            dJ of "weights" (n_components, n_features), "visible_bias" (n_features,), "hidden_bias"
            (n_components,), "log_sigma" (n_features,).

        Raises
        ------
        ValueError
            `X` has no rows.

        References
        ----------
        A. Hyvärinen, Estimation of non-normalized statistical models by score matching, J. Mach. Learn. Res.
        6, 2005.
        """
        X = self._visible(X, "X")
        if len(X) == 0:
            raise ValueError(f"X: expected at least one row, got shape {X.shape}")
        W, beta = (parameter.astype(X.dtype, copy=False) for parameter in (self.weights, self._precision))
        p = self.hidden_mean(X)
        q = p * (1 - p)
        pull = self.visible_mean(p) - X
        psi = pull * beta
        # Every mean over the rows below; W2 = W^2 / sigma^4 belongs to the divergence.
        q_mean, W2 = q.mean(axis=0), W**2 * beta**2
        divergence = float((q_mean.astype(np.float64) @ W2).sum() - beta.sum(dtype=np.float64))
        objective = 0.5 * float(np.einsum("ij,ij->", psi, psi, dtype=np.float64)) / len(X) + divergence
        psi_beta = psi * beta
        d_logits = q * (psi_beta @ W.T + (1 - 2 * p) * W2.sum(axis=1)) / len(X)
        through_logits = d_logits.T @ X
        d_beta = (
            np.einsum("ij,ij->j", psi, pull) / len(X)
            - 1
            + 2 * beta * (q_mean @ W**2)
            + (W * through_logits).sum(axis=0)
        )
        return objective, {
            "weights": p.T @ psi_beta / len(X) + 2 * q_mean[:, None] * W * beta**2 + through_logits * beta,
            "visible_bias": psi_beta.mean(axis=0),
            "hidden_bias": d_logits.sum(axis=0),
            "log_sigma": -2 * beta * d_beta,
        }

    @property
    def _precision(self) -> FloatArray:
        precision: FloatArray = 1 / self.sigma.astype(np.float64) ** 2
        return precision

    def _scaled(self, X: FloatArray) -> FloatArray:
        scaled: FloatArray = X * self._precision.astype(X.dtype, copy=False)
        return scaled

    def _visible_energy(self, X: FloatArray) -> NDArray[np.float64]:
        deviation = (X.astype(np.float64, copy=False) - self.visible_bias) / self.sigma
        energy: NDArray[np.float64] = 0.5 * np.einsum("ij,ij->i", deviation, deviation)
        return energy

    def _visible_statistics(self, X: FloatArray, H: FloatArray, weight: FloatArray) -> dict[str, FloatArray]:
        # d(-E)/d log sigma_j = ((v_j - a_j)^2 - 2 v_j (h W)_j) / sigma_j^2
        deviation = X - self.visible_bias.astype(X.dtype, copy=False)
        drive = H @ self.weights.astype(X.dtype, copy=False)
        return {
            "visible_bias": self._scaled(weight @ deviation),
            "log_sigma": self._scaled(weight @ (deviation**2 - 2 * X * drive)),
        }


def _log_sum_of_quadratic(gram: NDArray[np.float64], linear: NDArray[np.float64]) -> float:
    """log sum_h exp(h gram h' / 2 + linear h) over all binary states h; blocks share the high bits."""
    n_units = len(linear)
    n_low = min(n_units, (BLOCK // max(1, n_units)).bit_length() - 1)
    low = binary_states(n_low)
    cross = low @ gram[:n_low, n_low:]
    low_terms = low @ linear[:n_low] + 0.5 * np.einsum("ij,ij->i", low @ gram[:n_low, :n_low], low)
    total = LogSum()
    for number in range(2 ** (n_units - n_low)):
        high = binary_state(number, n_units - n_low)
        total.add(low_terms + cross @ high + (linear[n_low:] + 0.5 * gram[n_low:, n_low:] @ high) @ high)
    return total.value


_STEP = 0.75  # of the trapezoidal sum, in standard deviations
_REACH = 9.0  # a normal has less than 1e-18 of its mass beyond
_CELLS = 16  # into which an interval is cut
_NODES = 64  # about as many as a sum has; decides the size of blocks alone
_NEGLIGIBLE = 40.0  # nats


def _log_integral(logits: NDArray[np.float64], slopes: NDArray[np.float64]) -> NDArray[np.float64]:
    """log of the integral of exp(-t^2/2 + sum_k softplus(logits_k + t slopes_k)) over t, for every row.

    The integrand is a mixture of unit normals whose means lie between the sums of the negative and of the
    positive slopes. That interval is cut into cells, and those again, each time without the cells that cannot
    matter; the trapezoidal sum is over the nodes of one lattice that lie in the cells left. A cell has its
    first node and not its last, so that none counts twice.
    """
    row, start = np.arange(len(logits)), np.full(len(logits), slopes.clip(max=0).sum() - _REACH)
    whole = width = float(np.abs(slopes).sum()) + 2 * _REACH
    peak = np.full(len(logits), -np.inf)
    while width > _CELLS * _STEP:
        t = start[:, None] + width / _CELLS * np.arange(_CELLS + 1)
        exponent = _log_integrand(t, row, logits, slopes)
        np.maximum.at(peak, row, exponent.max(axis=1))
        # The exponent's second derivative is at least -1, so the integral is at least sqrt(2 pi) exp(peak).
        matters = _upper_bound(t, exponent) > (peak[row] - _NEGLIGIBLE - math.log(whole))[:, None]
        row, start = row.repeat(matters.sum(axis=1)), t[:, :-1][matters]
        width /= _CELLS
    n_nodes = math.ceil(width / _STEP)
    step = width / n_nodes
    terms = _log_integrand(start[:, None] + step * np.arange(n_nodes), row, logits, slopes)
    np.maximum.at(peak, row, terms.max(axis=1))
    mass = np.bincount(row, np.exp(terms - peak[row, None]).sum(axis=1), minlength=len(peak))
    integral: NDArray[np.float64] = peak + np.log(step * mass)
    return integral


def _log_integrand(
    t: NDArray[np.float64], row: NDArray[np.intp], logits: NDArray[np.float64], slopes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The exponent at the nodes t, shape (n_cells, n_nodes), of cells that belong to these rows."""
    exponent = -0.5 * t**2
    for cells in row_blocks(len(t), t.shape[1] * len(slopes)):
        moved = t[cells, :, None] * slopes
        moved += logits[row[cells], None, :]
        exponent[cells] += ops.softplus(moved, out=moved).sum(axis=2)
    return exponent


def _upper_bound(t: NDArray[np.float64], exponent: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the exponent cannot exceed between neighbouring nodes: the sum of softplus is below its chord."""
    left, right = t[:, :-1], t[:, 1:]
    convex = exponent + 0.5 * t**2
    slope = np.diff(convex, axis=1) / (right - left)
    top = slope.clip(left, right)
    bound: NDArray[np.float64] = convex[:, :-1] + slope * (top - left) - 0.5 * top**2
    return bound
