import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg import ops

BOUNDARIES = ("valid", "same", "full", "circular")


def laid_out(array, layout):
    """The same numbers in another memory layout."""
    if layout == "transposed":
        return np.ascontiguousarray(array.T).T
    if layout == "strided":
        wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
        wide[..., ::2] = array
        return wide[..., ::2]
    if layout == "reversed":
        return array[..., ::-1].copy()[..., ::-1]
    return array


@st.composite
def problems(draw, shrink=1):
    is_signal = draw(st.booleans())
    boundary = draw(st.sampled_from(BOUNDARIES))
    height, width = 40 // shrink, 70 // shrink
    image = (
        (draw(st.integers(1, 60)),)
        if is_signal
        else (
            draw(st.integers(1, height)),
            draw(st.integers(1, width)),
        )
    )
    largest = min(image) if boundary == "full" else 14
    size = tuple(draw(st.integers(1, min(largest, 14))) for _ in image)
    n, channels = draw(st.integers(1, 3)), draw(st.integers(1, 9 // shrink))
    n_filters = draw(st.integers(1, 35 // shrink))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    layouts = st.sampled_from(["plain", "transposed", "strided", "reversed"])
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    X = laid_out(rng.normal(size=(n, channels, *image)).astype(dtype), draw(layouts))
    filters = laid_out(rng.normal(size=(n_filters, channels, *size)).astype(dtype), draw(layouts))
    Z = rng.normal(size=ops.correlate(X, filters, boundary=boundary).shape).astype(dtype)
    density = draw(st.sampled_from([1.0, 0.1, 0.002]))
    return X, filters, laid_out(np.where(rng.random(Z.shape) < density, Z, 0), draw(layouts)), boundary


def inner(a, b):
    return np.vdot(a.astype(np.float64), b.astype(np.float64))


def assert_adjoint(problem, device):
    X, filters, Z, boundary = problem
    codes = ops.correlate(X, filters, boundary=boundary, device=device)
    images = ops.convolve(Z, filters, boundary=boundary, device=device)
    gradient = ops.filter_gradient(Z, X, filters.shape[2:], boundary=boundary, device=device)
    assert codes.shape == Z.shape
    assert images.shape == X.shape
    assert gradient.shape == filters.shape
    value = inner(images, X)
    # Each is a sum of as many products as the smallest of them has, of the size of the sum of their moduli.
    moduli = inner(ops.convolve(np.abs(Z), np.abs(filters), boundary=boundary), np.abs(X))
    rounding = 200 * np.finfo(X.dtype).eps * moduli
    assert abs(inner(codes, Z) - value) <= rounding
    assert abs(inner(gradient, filters) - value) <= rounding


@given(problems())
def test_the_three_are_adjoint(problem):
    assert_adjoint(problem, "cpu")


@pytest.mark.usefixtures("cuda")
@settings(max_examples=15)
@given(problems(shrink=4))
def test_the_three_are_adjoint_on_the_device(problem):
    assert_adjoint(problem, "cuda")


@given(problems(), st.sampled_from([-2.0, 0.5, 4.0]))
def test_powers_of_two_scale_exactly(problem, factor):
    X, filters, Z, boundary = problem
    scaled = ops.correlate(factor * X, filters, boundary=boundary)
    np.testing.assert_array_equal(scaled, factor * ops.correlate(X, filters, boundary=boundary))
    scaled = ops.convolve(Z, factor * filters, boundary=boundary)
    np.testing.assert_array_equal(scaled, factor * ops.convolve(Z, filters, boundary=boundary))


@given(problems())
def test_same_bits_whatever_the_layout_and_the_threads(problem):
    X, filters, Z, boundary = problem
    size = filters.shape[2:]
    plain = [np.ascontiguousarray(a) for a in (X, filters, Z)]
    for ours, theirs in [
        (
            ops.correlate(X, filters, boundary=boundary, n_jobs=1),
            ops.correlate(plain[0], plain[1], boundary=boundary, n_jobs=2),
        ),
        (
            ops.convolve(Z, filters, boundary=boundary, n_jobs=1),
            ops.convolve(plain[2], plain[1], boundary=boundary, n_jobs=2),
        ),
        (
            ops.filter_gradient(Z, X, size, boundary=boundary, n_jobs=1),
            ops.filter_gradient(plain[2], plain[0], size, boundary=boundary, n_jobs=2),
        ),
    ]:
        np.testing.assert_array_equal(ours, theirs)


@given(problems(), st.integers(0, 50), st.integers(0, 50))
def test_circular_maps_follow_a_roll(problem, down, across):
    X, filters, Z, _ = problem
    shift = (down, across)[: X.ndim - 2]
    axes = tuple(range(2, X.ndim))
    same = Z[..., : X.shape[2], :] if X.ndim == 4 else Z
    Z = np.resize(same, (*Z.shape[:2], *X.shape[2:]))
    roll = np.roll(X, shift, axes)
    eps = np.finfo(X.dtype).eps
    np.testing.assert_allclose(
        ops.correlate(roll, filters, boundary="circular"),
        np.roll(ops.correlate(X, filters, boundary="circular"), shift, axes),
        rtol=0,
        atol=100 * eps * filters[0].size,
    )
    np.testing.assert_allclose(
        ops.convolve(np.roll(Z, shift, axes), filters, boundary="circular"),
        np.roll(ops.convolve(Z, filters, boundary="circular"), shift, axes),
        rtol=0,
        atol=100 * eps * filters.size,
    )
