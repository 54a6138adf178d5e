"""Distances D(a, b) of vectors, their gradients, and what is nearest outside of a ball.

The energy of a regressor is D(y, G(x)), that of a matcher D(G(y), G(x)).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._check import FloatArray, common_shape, float_array, real_number

_Rows = NDArray[np.float64]


class _Distance:
    """What the distances share; a subclass gives `_value`, `_gradients` and `_outside`."""

    def value(self, a: Any, b: Any) -> FloatArray:
        """D(a, b) of every pair of rows.

        Parameters
        ----------
        a, b : array-like of shape (..., n_features)
            The axes before the last broadcast: (n, 1, n_features) and (k, n_features) give all n k pairs.

        Returns
        -------
        ndarray of shape (...)
            In the dtype of `a`; accumulated in float64.
        """
        first, second = _pair(a, b)
        return np.asarray(self._value(first, second), dtype=first.dtype)

    def gradients(self, a: Any, b: Any) -> tuple[FloatArray, FloatArray]:
        """The gradients in a and in b of every pair's D(a, b).

        Parameters
        ----------
        a, b : array-like of shape (..., n_features)
            As in `value`.

        Returns
        -------
        in_a, in_b : ndarray of shape (..., n_features)
            Each of the shape to which both broadcast, in the dtype of `a`.
        """
        return self._gradients(*_pair(a, b))

    def nearest_outside(self, center: Any, point: Any, radius: float) -> FloatArray:
        """For every row the y with ||y - center|| >= radius that is nearest to `point`: of least D(y, point).

        The norm is Euclidean whatever D is. With the right answer as the centre and a regressor's output as
        the point, it is the most offending incorrect answer. Where the point itself is outside, it is the
        point; otherwise it lies on the sphere, up to rounding. Among axes or directions that do equally well,
        as at the centre itself, it takes the first axis.

        Parameters
        ----------
        center, point : array-like of shape (n_samples, n_features)
        radius : float
            >= 0.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            In the dtype of `center`.
        """
        c = float_array(center, "center", ndim=2)
        p = float_array(point, "point", ndim=2, dtype=c.dtype)
        if p.shape != c.shape or c.shape[1] == 0:
            raise ValueError(
                f"point: expected the shape of center, at least one feature, got {p.shape} and {c.shape}"
            )
        r = real_number(radius, "radius", minimum=0.0)
        offset = p.astype(np.float64) - c
        inside = _norms(offset) < r
        nearest: FloatArray = p.copy()
        if inside.any():
            nearest[inside] = c[inside] + self._outside(offset[inside], p[inside].astype(np.float64), r)
        return nearest

    def _value(self, a: FloatArray, b: FloatArray) -> NDArray[np.float64]:
        raise NotImplementedError

    def _gradients(self, a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray]:
        raise NotImplementedError

    def _outside(self, offset: _Rows, point: _Rows, radius: float) -> _Rows:
        """The answer less the centre, for points less the centre whose norm is below the radius."""
        raise NotImplementedError


class SquaredDistance(_Distance):
    r"""Half the squared Euclidean distance, :math:`D(a, b) = \tfrac12 \lVert a - b \rVert^2`.

    The nearest outside of a ball is on the ray from its centre through the point.

    Raises
    ------
    TypeError, ValueError
        Where an argument of a method is of the wrong kind, shape or range, by name.

    Examples
    --------
    >>> from thalweg.energies import SquaredDistance
    >>> distance = SquaredDistance()
    >>> distance.value([[1.0, 2.0]], [[1.0, 0.0]])
    array([2.])
    >>> distance.gradients([[1.0, 2.0]], [[1.0, 0.0]])
    (array([[0., 2.]]), array([[ 0., -2.]]))
    >>> distance.nearest_outside([[0.0, 0.0], [0.0, 0.0]], [[0.3, 0.4], [0.0, 0.0]], radius=1.0)
    array([[0.6, 0.8],
           [1. , 0. ]])
    """

    def _value(self, a: FloatArray, b: FloatArray) -> NDArray[np.float64]:
        difference = a - b
        return np.asarray(0.5 * np.einsum("...i,...i->...", difference, difference, dtype=np.float64))

    def _gradients(self, a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray]:
        return _opposite(a - b)

    def _outside(self, offset: _Rows, point: _Rows, radius: float) -> _Rows:
        return radius * _directions(offset)


class AbsoluteDistance(_Distance):
    r"""The sum of absolute differences, :math:`D(a, b) = \sum_i |a_i - b_i|`; at 0 their gradient is 0.

    The nearest outside of a ball differs from the point along one axis, that along which the point is
    farthest from the centre (the first of them): at a given D, ||y - center||^2 is convex in y, and hence
    largest in a corner of the cross-polytope around the point.

    Raises
    ------
    TypeError, ValueError
        Where an argument of a method is of the wrong kind, shape or range, by name.

    Examples
    --------
    >>> from thalweg.energies import AbsoluteDistance
    >>> distance = AbsoluteDistance()
    >>> distance.value([[1.0, 2.0]], [[4.0, 2.0]])
    array([3.])
    >>> distance.gradients([[1.0, 2.0]], [[4.0, 2.0]])
    (array([[-1.,  0.]]), array([[1., 0.]]))
    >>> distance.nearest_outside([[0.0, 0.0]], [[0.6, -0.7]], radius=1.0)
    array([[ 0.6, -0.8]])
    """

    def _value(self, a: FloatArray, b: FloatArray) -> NDArray[np.float64]:
        return np.asarray(np.abs(a - b).sum(axis=-1, dtype=np.float64))

    def _gradients(self, a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray]:
        return _opposite(np.sign(a - b))

    def _outside(self, offset: _Rows, point: _Rows, radius: float) -> _Rows:
        leading, sign, rest = _split(offset)
        size = _norms(rest)
        rest[np.arange(len(rest)), leading] = sign * radius * _cathetus(size / radius)
        return rest


class HuberDistance(_Distance):
    r"""Huber's distance, quadratic for small differences and linear for large ones.

    .. math:: D(a, b) = \sum_i h(a_i - b_i), \qquad h(r) = \begin{cases} r^2 / 2 & |r| \le \delta \\
              \delta (|r| - \delta / 2) & |r| > \delta \end{cases}

    The nearest outside of a ball moves every coordinate by at most delta but one, the farthest from the
    centre: two in the linear part could exchange their ways at equal D and gain norm. It is the better of the
    point on the ray from the centre and the best with one coordinate in the linear part, a root that
    bisection finds.

    Parameters
    ----------
    delta : float, default=1.0
        > 0, in the units of the vectors.

    Raises
    ------
    TypeError, ValueError
        Where an argument, here or of a method, is of the wrong kind, shape or range, by name.

    References
    ----------
    P. J. Huber, Robust estimation of a location parameter, Ann. Math. Stat. 35, 1964.

    Examples
    --------
    >>> from thalweg.energies import HuberDistance
    >>> distance = HuberDistance(delta=1.0)
    >>> distance.value([[1.0, 2.0]], [[4.0, 2.5]])
    array([2.625])
    >>> distance.gradients([[1.0, 2.0]], [[4.0, 2.5]])
    (array([[-1. , -0.5]]), array([[1. , 0.5]]))
    """

    def __init__(self, delta: float = 1.0) -> None:
        self.delta = real_number(delta, "delta", above=0.0)

    def _value(self, a: FloatArray, b: FloatArray) -> NDArray[np.float64]:
        return _huber(a - b, self.delta)

    def _gradients(self, a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray]:
        difference = a - b
        delta = _of_dtype(self.delta, difference)
        return _opposite(np.clip(difference, -delta, delta))

    def _outside(self, offset: _Rows, point: _Rows, radius: float) -> _Rows:
        # In units of the radius, so that squares neither over- nor underflow.
        inner, delta = offset / radius, self.delta / radius
        straight, bent = _directions(inner), _bent(inner, delta)
        is_better = _huber(bent - inner, delta) < _huber(straight - inner, delta)
        return radius * np.where(is_better[:, None], bent, straight)


class CosineDistance(_Distance):
    r"""One minus the cosine, :math:`D(a, b) = 1 - a^\top b / (\lVert a \rVert \lVert b \rVert)`, in [0, 2].

    The cosine with a vector of zeros is taken as 0: D is then 1 and both gradients are 0. Elsewhere the
    gradient in a grows like 1 / ||a|| as a goes to 0. Computed in float64 as half the squared distance of the
    two directions, so that small values keep their digits.

    The nearest outside of a ball is where the ray from the origin through the point leaves it, at D = 0; to
    a point of zeros all are equally near, and it is that on the ray from the ball's centre.

    Raises
    ------
    TypeError, ValueError
        Where an argument of a method is of the wrong kind, shape or range, by name.

    Examples
    --------
    >>> from thalweg.energies import CosineDistance
    >>> distance = CosineDistance()
    >>> distance.value([[2.0, 0.0], [2.0, 0.0], [0.0, 0.0]], [[0.0, 3.0], [-1.0, 0.0], [1.0, 0.0]])
    array([1., 2., 1.])
    >>> distance.gradients([[2.0, 0.0]], [[0.0, 3.0]])
    (array([[ 0. , -0.5]]), array([[-0.33333333,  0.        ]]))
    >>> distance.nearest_outside([[3.0, 0.0]], [[3.0, 0.0]], radius=1.0)
    array([[4., 0.]])
    """

    def _value(self, a: FloatArray, b: FloatArray) -> NDArray[np.float64]:
        (u, u_size), (v, v_size) = _units(a), _units(b)
        difference = u - v
        half = 0.5 * np.einsum("...i,...i->...", difference, difference)
        return np.where((u_size > 0) & (v_size > 0), np.minimum(half, 2.0), 1.0)

    def _gradients(self, a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray]:
        (u, u_size), (v, v_size) = _units(a), _units(b)
        cosine = np.einsum("...i,...i->...", u, v)[..., None]
        return (
            _over(cosine * u - v, u_size).astype(a.dtype, copy=False),
            _over(cosine * v - u, v_size).astype(a.dtype, copy=False),
        )

    def _outside(self, offset: _Rows, point: _Rows, radius: float) -> _Rows:
        is_zero = _norms(point) == 0
        ray = _directions(np.where(is_zero[:, None], offset, point))
        # In units of the radius: the positive root of t^2 + 2 t along = cathetus^2, without cancellation.
        along = np.einsum("ij,ij->i", offset / radius, ray)
        cathetus = _cathetus(_norms(offset) / radius)
        root = np.hypot(along, cathetus)
        total = np.maximum(root + np.abs(along), np.finfo(np.float64).tiny)
        step = np.where(along > 0, cathetus / total * cathetus, root - along)
        return np.asarray(offset + radius * step[:, None] * ray)


DISTANCES: dict[str, type[_Distance]] = {
    "squared": SquaredDistance,
    "absolute": AbsoluteDistance,
    "huber": HuberDistance,
    "cosine": CosineDistance,
}

_BISECTIONS = 60  # an angle below pi / 2 to a unit in the last place


def _of_dtype(delta: float, difference: FloatArray) -> float:
    """delta, or the largest number of the dtype."""
    return min(delta, float(np.finfo(difference.dtype).max))


def _huber(difference: FloatArray, delta: float) -> NDArray[np.float64]:
    """The sum of h over the last axis."""
    magnitude = np.abs(difference)
    small = np.minimum(magnitude, _of_dtype(delta, difference))
    return np.asarray((small * (magnitude - 0.5 * small)).sum(axis=-1, dtype=np.float64))


def _bent(offset: _Rows, delta: float) -> _Rows:
    """On the unit sphere, the best with the leading coordinate in the linear part, if there is such a one.

    With the rest of norm s at the angle t from the leading axis, the slope of D along the leading coordinate
    is delta - cos t (1 - s / sin t). It is convex, and delta at the end where the rest stays as it is; the
    minimum of D is the root between there and the slope's own minimum, at sin t = s^(1/3). Without a root
    that minimum is returned, on the sphere like any other.
    """
    leading, sign, rest = _split(offset)
    size = _norms(rest)
    near, far = np.arcsin(size), np.arcsin(np.cbrt(size))
    for _ in range(_BISECTIONS):
        angle = 0.5 * (near + far)
        sine = np.maximum(np.sin(angle), np.finfo(np.float64).tiny)
        is_beyond = delta - np.cos(angle) * (1 - size / sine) < 0
        near, far = np.where(is_beyond, near, angle), np.where(is_beyond, angle, far)
    grown = np.divide(np.sin(far), size, out=np.zeros_like(size), where=size > 0)
    bent = rest * grown[:, None]
    bent[np.arange(len(rest)), leading] = sign * np.cos(far)
    return bent


def _pair(a: Any, b: Any) -> tuple[FloatArray, FloatArray]:
    """Both in the dtype of the first, with shapes that broadcast but for the last axis, which is equal."""
    first = float_array(a, "a")
    second = float_array(b, "b", dtype=first.dtype)
    if first.ndim == 0 or first.shape[-1] == 0:
        raise ValueError(f"a: expected shape (..., n_features), at least one feature, got {first.shape}")
    if second.ndim == 0 or second.shape[-1] != first.shape[-1]:
        raise ValueError(f"b: expected {first.shape[-1]} features, as a has, got shape {second.shape}")
    common_shape(first, "a", second, "b")
    return first, second


def _opposite(gradient: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The gradients in a and b of what depends on a - b alone; 0 - g, so that no zero is negative."""
    return gradient, 0 - gradient


def _norms(rows: _Rows) -> _Rows:
    """The Euclidean norm of every row, where its square would over- or underflow, too."""
    return _units(rows)[1]


def _over(rows: _Rows, sizes: _Rows) -> _Rows:
    """Rows over their sizes, and zeros where these are 0."""
    with np.errstate(over="ignore"):
        divided: _Rows = np.divide(
            rows, sizes[..., None], out=np.zeros_like(rows), where=sizes[..., None] > 0
        )
    return divided


def _units(rows: FloatArray) -> tuple[_Rows, _Rows]:
    """Rows over their Euclidean norms, zeros where these are 0, and the norms, in float64.

    Squares neither over- nor underflow.
    """
    wide = rows.astype(np.float64, copy=False)
    largest = np.abs(wide).max(axis=-1)
    scaled = _over(wide, largest)
    norms = np.sqrt(np.einsum("...i,...i->...", scaled, scaled))
    return _over(scaled, norms), np.asarray(largest * norms)


def _cathetus(share: _Rows) -> _Rows:
    """The other cathetus of a right triangle of hypotenuse 1."""
    return np.asarray(np.sqrt((1 - share) * (1 + share)))


def _directions(rows: _Rows) -> _Rows:
    """Rows over their norms, and the first axis where these are 0."""
    units, norms = _units(rows)
    units[norms == 0, 0] = 1.0
    return units


def _split(offset: _Rows) -> tuple[NDArray[np.intp], _Rows, _Rows]:
    """Of every row the coordinate that is largest in modulus, its sign (1 for 0), and the row without it."""
    rows, leading = np.arange(len(offset)), np.abs(offset).argmax(axis=1)
    rest = offset.copy()
    rest[rows, leading] = 0
    return leading, np.where(offset[rows, leading] < 0, -1.0, 1.0), rest
