import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from reference import elementwise as reference
from thalweg import ops

DTYPES = st.sampled_from([np.dtype(np.float32), np.dtype(np.float64)])


def arrays(low, high):
    def of(dtype):
        bits = 8 * dtype.itemsize
        low_, high_ = float(dtype.type(low)), float(dtype.type(high))
        return hnp.arrays(dtype, st.integers(1, 70), elements=st.floats(low_, high_, width=bits))

    return DTYPES.flatmap(of)


NUMBERS = arrays(-1e4, 1e4)
WEIGHTS = st.floats(0, 100, width=32)
POWERS = st.sampled_from([0.0, 0.05, 0.25, 0.5, 0.6, 2 / 3, 0.8, 0.95])


@given(NUMBERS)
def test_softplus_differs_from_its_mirror_by_u(u):
    # S(u) - S(-u) = u
    eps = np.finfo(u.dtype).eps
    difference = ops.softplus(u) - ops.softplus(-u)
    np.testing.assert_allclose(difference, u, rtol=4 * eps, atol=4 * eps)


@given(NUMBERS)
def test_log_sigmoid_mirrors_softplus_bit_for_bit(u):
    np.testing.assert_array_equal(ops.log_sigmoid(u), -ops.softplus(-u))
    np.testing.assert_array_equal(ops.d_softplus(u), ops.sigmoid(u))
    np.testing.assert_array_equal(ops.d_log_sigmoid(u), ops.sigmoid(-u))


@given(NUMBERS)
def test_sigmoids_of_opposite_numbers_add_to_one(u):
    eps = np.finfo(u.dtype).eps
    np.testing.assert_allclose(ops.sigmoid(u) + ops.sigmoid(-u), 1, rtol=4 * eps)
    np.testing.assert_array_equal(ops.d_sigmoid(u), ops.d_sigmoid(-u))


@given(NUMBERS)
def test_smooth_functions_are_bounded(u):
    s = ops.sigmoid(u)
    assert ((s >= 0) & (s <= 1)).all()
    assert (ops.softplus(u) >= np.maximum(u, 0)).all()
    assert (ops.log_sigmoid(u) <= np.minimum(u, 0)).all()
    d = ops.d_sigmoid(u)
    assert ((d >= 0) & (d <= 0.25 * (1 + 4 * np.finfo(u.dtype).eps))).all()


@given(arrays(-30, 30))
def test_derivatives_are_the_slopes(u):
    u = u.astype(np.float64)
    h = 1e-5
    for f, slope in (
        (ops.softplus, ops.d_softplus),
        (ops.sigmoid, ops.d_sigmoid),
        (ops.log_sigmoid, ops.d_log_sigmoid),
    ):
        np.testing.assert_allclose((f(u + h) - f(u - h)) / (2 * h), slope(u), atol=1e-8)


@given(arrays(-50, 50), WEIGHTS, POWERS)
def test_the_proximal_map_is_no_worse_than_any_point(z, alpha, q):
    # Brute force: a grid over [-|z|, |z|], where the minimiser lies, and zero.
    x = ops.prox_lq(z, alpha, q).astype(float)
    z, alpha = z.astype(float), float(z.dtype.type(alpha))
    best = reference.objective(x, z, alpha, q)
    rivals = z[:, None] * np.linspace(-1, 1, 2001)
    least = reference.objective(rivals, z[:, None], alpha, q).min(axis=1)
    assert (best <= least + 1e-6 * (1 + np.abs(least))).all()


@given(arrays(-50, 50), WEIGHTS)
def test_soft_thresholds_are_no_worse_than_any_point(z, alpha):
    x = ops.shrink(z, alpha).astype(float)
    positive = ops.shrink_nonneg(z, alpha).astype(float)
    z, alpha = z.astype(float), float(z.dtype.type(alpha))
    rivals = z[:, None] * np.linspace(-1, 1, 2001)
    objective = 0.5 * (rivals - z[:, None]) ** 2 + alpha * np.abs(rivals)
    assert (0.5 * (x - z) ** 2 + alpha * np.abs(x) <= objective.min(axis=1) + 1e-4).all()
    objective = np.where(rivals >= 0, objective, np.inf)
    assert (positive >= 0).all()
    assert (0.5 * (positive - z) ** 2 + alpha * positive <= objective.min(axis=1) + 1e-4).all()


@given(arrays(-50, 50), WEIGHTS, st.sampled_from([0.0, 0.3, 0.5, 2 / 3, 0.9, 1.0]))
def test_proximal_maps_are_odd_bit_for_bit(z, alpha, q):
    x, mirrored = ops.prox_lq(z, alpha, q), ops.prox_lq(-z, alpha, q)
    np.testing.assert_array_equal(mirrored, -x)
    np.testing.assert_array_equal(np.signbit(x), np.signbit(z))


@given(arrays(-50, 50), arrays(-50, 50), WEIGHTS)
def test_the_soft_threshold_is_nonexpansive(a, b, alpha):
    n = min(len(a), len(b))
    a, b = a[:n].astype(float), b[:n].astype(float)
    moved = np.abs(ops.shrink(a, alpha) - ops.shrink(b, alpha))
    assert (moved <= np.abs(a - b) * (1 + 1e-12) + 1e-12).all()


@given(arrays(-50, 50), WEIGHTS, st.integers(-20, 20), st.sampled_from([0.0, 1.0]))
def test_thresholds_scale(z, alpha, exponent, q):
    # prox of alpha c^(2-q) |.|^q at c z is c times that of alpha at z; exact for powers of two.
    z = z.astype(np.float64)
    z[np.abs(z) < 1e-200] = 0
    weight = 0.0 if alpha < 1e-200 else alpha
    c = 2.0**exponent
    np.testing.assert_array_equal(ops.prox_lq(c * z, weight * c ** (2 - q), q), c * ops.prox_lq(z, weight, q))


@given(arrays(-50, 50), WEIGHTS, POWERS)
def test_zero_weight_changes_nothing(z, alpha, q):
    np.testing.assert_array_equal(ops.prox_lq(z, 0, q), z)
    np.testing.assert_array_equal(ops.shrink(z, 0), z)
    assert (np.abs(ops.prox_lq(z, alpha, q)) <= np.abs(z)).all()


@given(arrays(-100, 100), st.sampled_from(["softplus", "sigmoid", "log_sigmoid"]))
def test_float32_agrees_with_float64(u, name):
    f = getattr(ops, name)
    u = u.astype(np.float32)
    np.testing.assert_allclose(f(u), f(u.astype(float)), rtol=3e-7, atol=1e-44)


@pytest.mark.parametrize("q", [0.3, 0.5, 2 / 3, 0.9])
def test_the_jump_is_where_both_minima_tie(q):
    alpha = np.geomspace(1e-3, 1e3, 50)
    x0 = (2 * alpha * (1 - q)) ** (1 / (2 - q))
    edge = x0 * (2 - q) / (2 * (1 - q))
    assert not ops.prox_lq(edge * (1 - 1e-9), alpha, q).any()
    np.testing.assert_allclose(ops.prox_lq(edge * (1 + 1e-9), alpha, q), x0, rtol=1e-6)
