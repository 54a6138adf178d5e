"""Precisions with structure from covariances: by score matching, by likelihood, and kept positive definite.

A precision Lambda is linear in its free entries theta. Score matching of a Gaussian,

    J(theta) = 1/2 tr(Lambda S Lambda) - tr Lambda = sum_r [1/2 lambda_r' S lambda_r - lambda_rr],

is a quadratic whose terms belong to the rows lambda_r of Lambda, and each of those is zero but in a few
places N(r): it takes the blocks S[N(r), N(r)] alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ..energies._precision import PrecisionStructure

Array = NDArray[np.float64]

_TOLERANCE = 1e-10  # of residuals of linear systems, relative
_MOST_STEPS = 2000  # of conjugate gradients
_WHOLE_STEP = 0.01  # a Newton step that promises no more stays in the cone
_INEXACT = 0.3  # relative residual of a Newton step, in the norm of the preconditioner
_NEWTON_CG_STEPS = 50
_STEP_SHARE = 1e-4  # of the tolerance, which a Newton step must promise to be worth it
SPLITTING_TOLERANCE = 1e-4  # how far above its minimum J may be, as a share
_SPLITTING_STEPS = 1000
_STEPS_PER_CHECK = 10
_BALANCE = 10.0  # ratio of residuals from which the weight of the splitting is changed
_SHARE_STEP = 1e-7
_MARGIN = 1e-6  # by which the result lies inside of the cone, relative


@dataclass(frozen=True)
class RowForm:
    """A structure row by row, the rows filled up to one length.

    `columns` and `entries` (size, width) say where the row's free entries stand and which they are, `holds`
    which places are no filling; `counts` is how often each entry stands in the matrix.
    """

    columns: NDArray[np.intp]
    entries: NDArray[np.intp]
    holds: NDArray[np.bool_]
    counts: Array

    @classmethod
    def of(cls, structure: PrecisionStructure) -> RowForm:
        """The rows of all free places, of both triangles."""
        off = structure.rows != structure.columns
        rows = np.concatenate([structure.rows, structure.columns[off]])
        columns = np.concatenate([structure.columns, structure.rows[off]])
        entries = np.concatenate([structure.entries, structure.entries[off]])
        order = np.argsort(rows, kind="stable")
        lengths = np.bincount(rows, minlength=structure.size)
        place = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        shape = (structure.size, int(lengths.max()))
        made_columns, made_entries = np.zeros(shape, np.intp), np.zeros(shape, np.intp)
        holds = np.zeros(shape, bool)
        at = (rows[order], place)
        made_columns[at], made_entries[at], holds[at] = columns[order], entries[order], True
        counts = np.bincount(entries, minlength=structure.n_entries).astype(np.float64)
        return cls(made_columns, made_entries, holds, counts)

    def rows(self, theta: Array) -> Array:
        """lambda_r without its zeros."""
        return np.where(self.holds, theta[self.entries], 0.0)

    def gathered(self, rows: Array) -> Array:
        """The adjoint of `rows`."""
        made: Array = np.bincount(self.entries[self.holds], rows[self.holds], len(self.counts)).astype(float)
        return made

    def blocks(self, S: Array) -> Array:
        """S[N(r), N(r)], with ones on the diagonal of the filling: (size, width, width)."""
        made: Array = S[self.columns[:, :, None], self.columns[:, None, :]]
        made *= self.holds[:, :, None] & self.holds[:, None, :]
        i = np.arange(made.shape[1])
        made[:, i, i] += ~self.holds
        return made

    def neighbourhoods(self, S: Array) -> list[Array]:
        """S[N(r), N(r)] without filling, row by row."""
        return [S[np.ix_(c[on], c[on])] for c, on in zip(self.columns, self.holds)]

    def preconditioned(self, inverses: Array, g: Array) -> Array:
        """An approximate solution of the system that sums forms of rows, by the inverses of those."""
        made: Array = self.gathered(_each(inverses, self.rows(g / self.counts))) / self.counts
        return made


class ScoreMatchingSystem:
    """The linear system of J, plus rho / 2 ||Lambda||^2 - <push, Lambda>, in the free entries."""

    def __init__(self, S: Array, structure: PrecisionStructure) -> None:
        self.structure = structure
        self._form = RowForm.of(structure)
        self._blocks = self._form.blocks(S)
        self._of_trace = structure.pulled(np.eye(structure.size))
        self._inverses: tuple[float, Array] | None = None  # of the blocks with this rho on their diagonals

    def objective(self, theta: Array) -> float:
        """J."""
        return float(theta @ (0.5 * self._apply(theta, 0.0) - self._of_trace))

    def solve(
        self,
        rho: float = 0.0,
        push: Array | None = None,
        start: Array | None = None,
        tol: float = _TOLERANCE,
    ) -> Array:
        """The minimising entries, by conjugate gradients with the rows' own inverses as preconditioner."""
        form = self._form
        inverses = self._inverses_with(rho)
        right = self._of_trace if push is None else self._of_trace + self.structure.pulled(push)

        def apply(theta: Array) -> Array:
            return self._apply(theta, rho)

        def precondition(g: Array) -> Array:
            return form.preconditioned(inverses, g)

        first = precondition(right) if start is None else start
        return conjugate_gradients(apply, right, first, precondition, tol)

    def lower_bound(self, push: Array, floor: float, start: Array) -> tuple[float, Array]:
        """Of J over Lambda >= floor I, by a multiplier `push` >= 0 of that; and the entries it is of."""
        theta = self.solve(0.0, push, start)
        loose = self.objective(theta) - float(theta @ self.structure.pulled(push))
        return loose + floor * float(np.trace(push)), theta

    def _apply(self, theta: Array, rho: float) -> Array:
        rows = self._form.rows(theta)
        return self._form.gathered(_each(self._blocks, rows) + rho * rows)

    def _inverses_with(self, rho: float) -> Array:
        if self._inverses is None or self._inverses[0] != rho:
            blocks = self._blocks.copy()
            i = np.arange(blocks.shape[1])
            blocks[:, i, i] += rho
            self._inverses = rho, np.linalg.inv(blocks)
        return self._inverses[1]


def _each(blocks: Array, rows: Array) -> Array:
    product: Array = np.matmul(blocks, rows[:, :, None])[:, :, 0]
    return product


def conjugate_gradients(
    apply: Callable[[Array], Array],
    right: Array,
    start: Array,
    precondition: Callable[[Array], Array],
    tol: float,
    max_steps: int = _MOST_STEPS,
    least: float = 0.0,
) -> Array:
    """x with apply(x) = right, of a positive semidefinite operator.

    The end: the residual's norm is at most `tol` times that of `right`, or in the preconditioner's norm at
    most `least`.
    """
    x: Array = start.copy()
    residual = right - apply(x)
    direction = z = precondition(residual)
    along = float(residual @ z)
    limit = tol * float(np.linalg.norm(right))
    for _ in range(max_steps):
        if float(np.linalg.norm(residual)) <= limit or not along > least**2:
            break
        image = apply(direction)
        curvature = float(direction @ image)
        if not curvature > 0:
            break
        length = along / curvature
        x += length * direction
        residual -= length * image
        z = precondition(residual)
        before, along = along, float(residual @ z)
        direction = z + (along / before) * direction
    return x


def least_eigenvalue(matrix: Array) -> float:
    """Of a symmetric matrix."""
    return float(np.linalg.eigvalsh(matrix)[0])


def into_the_cone(theta: Array, inside: Array, structure: PrecisionStructure, floor: float) -> Array:
    """The point nearest to theta on the way to `inside` where no eigenvalue of Lambda is below the floor."""
    from scipy.optimize import brentq  # few models leave the cone

    wanted = floor * (1 + _MARGIN)

    def least_at(share: float) -> float:
        return least_eigenvalue(structure.matrix((1 - share) * theta + share * inside)) - wanted

    if least_at(0.0) >= 0:
        return theta
    share = min(1.0, float(brentq(least_at, 0.0, 1.0, xtol=_SHARE_STEP)) + 2 * _SHARE_STEP)
    return (1 - share) * theta + share * inside


def score_matching_in_the_cone(
    system: ScoreMatchingSystem, theta: Array, inside: Array, floor: float
) -> tuple[Array, float]:
    """Score matching over precisions without an eigenvalue below `floor`.

    By the alternating direction method of multipliers: one side has the structure, the other the eigenvalues.
    Its multiplier bounds J from below, so that it ends where entries in the cone are known to be near it.

    Parameters
    ----------
    system : ScoreMatchingSystem
    theta : ndarray of shape (n_entries,)
        The minimum without the constraint.
    inside : ndarray of shape (n_entries,)
        Entries that keep the constraint.
    floor : float

    Returns
    -------
    theta : ndarray of shape (n_entries,)
    gap : float
        How far J may lie above its minimum, as a share of |J|: `SPLITTING_TOLERANCE` or, where the steps ran
        out, more.

    References
    ----------
    S. Boyd, N. Parikh, E. Chu, B. Peleato, J. Eckstein, Distributed optimization and statistical learning via
    the alternating direction method of multipliers, Found. Trends Mach. Learn. 3, 2011.
    """
    structure = system.structure
    free, best = theta, inside
    value, bound = system.objective(inside), system.objective(theta)
    matrix = structure.matrix(theta)
    clipped, price, rho = _clipped(matrix, floor), np.zeros_like(matrix), 1.0
    for step in range(1, _SPLITTING_STEPS + 1):
        theta = system.solve(rho, rho * (clipped - price), theta, tol=1e-8)
        matrix = structure.matrix(theta)
        before, clipped = clipped, _clipped(matrix + price, floor)
        price = price + matrix - clipped
        if step % _STEPS_PER_CHECK == 0:
            low, free = system.lower_bound(-rho * price, floor, free)
            bound = max(bound, low)
            there = into_the_cone(theta, inside, structure, floor)
            if (new := system.objective(there)) < value:
                best, value = there, new
            if value - bound <= SPLITTING_TOLERANCE * abs(value):
                break
        primal, dual = np.linalg.norm(matrix - clipped), rho * np.linalg.norm(clipped - before)
        if primal > _BALANCE * dual:
            rho, price = 2 * rho, price / 2
        elif dual > _BALANCE * primal:
            rho, price = rho / 2, 2 * price
    return best, (value - bound) / abs(value)


def _clipped(matrix: Array, floor: float) -> Array:
    """The nearest symmetric matrix without an eigenvalue below the floor."""
    values, vectors = np.linalg.eigh(matrix)
    made: Array = (vectors * np.maximum(values, floor)) @ vectors.T
    return made


def likeliest(
    S: Array, structure: PrecisionStructure, start: Array, *, tol: float, max_iter: int
) -> tuple[Array, int, bool]:
    """The entries that maximise log det Lambda - tr(S Lambda), by Newton's method.

    The Newton steps are solved by conjugate gradients, and shortened until Lambda is positive definite and
    the likelihood grows.

    Parameters
    ----------
    S : ndarray of shape (size, size)
        The covariance.
    structure : PrecisionStructure
    start : ndarray of shape (n_entries,)
        Of a positive definite matrix.
    tol : float
        The end: a step promises less than a ten thousandth of it for each feature.
    max_iter : int
        Steps at most.

    Returns
    -------
    theta : ndarray of shape (n_entries,)
    n_iter : int
        Steps that were made.
    converged : bool
        Whether the last one promised so little.

    References
    ----------
    A. P. Dempster, Covariance selection, Biometrics 28, 1972.
    """
    form = RowForm.of(structure)
    theta, matrix = start, structure.matrix(start)
    value = _negative_likelihood(matrix, S)
    for n_iter in range(1, max_iter + 1):
        covariance = np.linalg.inv(matrix)
        slope = structure.pulled(covariance - S)
        move = _newton_step(structure, form, covariance, slope)
        decrement = float(slope @ move)
        if decrement <= min(_STEP_SHARE * tol * len(S), _WHOLE_STEP):
            return theta + move, n_iter, True
        length = 1.0
        while length > 1e-10:
            there = structure.matrix(theta + length * move)
            new = _negative_likelihood(there, S)
            if new <= value - 1e-4 * length * decrement:
                break
            length /= 2
        else:
            break
        theta, matrix, value = theta + length * move, there, new
    return theta, n_iter, False


def _newton_step(structure: PrecisionStructure, form: RowForm, covariance: Array, slope: Array) -> Array:
    """The curvature is tr(V C V C); the preconditioner's, row by row, C_rr v_r' C[N(r), N(r)] v_r."""
    blocks = form.blocks(covariance)
    blocks *= np.diag(covariance)[:, None, None]
    inverses: Array = np.asarray(np.linalg.inv(blocks), np.float64)

    def curvature(v: Array) -> Array:
        return structure.pulled((csr_array(structure.matrix(v)) @ covariance).T @ covariance)

    def precondition(g: Array) -> Array:
        return form.preconditioned(inverses, g)

    limit = _INEXACT * float(np.sqrt(slope @ precondition(slope)))
    return conjugate_gradients(
        curvature, slope, np.zeros_like(slope), precondition, 0.0, _NEWTON_CG_STEPS, limit
    )


def _negative_likelihood(matrix: Array, S: Array) -> float:
    try:
        factor = np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return np.inf
    return float(np.vdot(S, matrix)) - 2 * float(np.log(np.diag(factor)).sum())
