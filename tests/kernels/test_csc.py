"""Convolutional sparse coding against the reference: solvers, certificates, boundaries, bad arguments."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning

from reference import csc as reference
from thalweg.inference.csc import (
    BOUNDARIES,
    ConvolutionalLassoSolver,
    CscInfo,
    SparseMaps,
    lipschitz_bound,
    warn_unconverged,
)

SOLVERS = ("active_set", "fista")
DTYPES = (np.float64, np.float32)

# channels, image, filters, filter size. A tile has 32 x 32 codes, or as many in fewer rows.
SHAPES = {
    "a pixel": (1, (1, 1), 2, (1, 1)),
    "one tile": (1, (13, 17), 4, (5, 3)),
    "several tiles": (1, (41, 67), 5, (4, 6)),
    "channels": (3, (12, 19), 4, (3, 9)),
    "a signal": (2, (1, 90), 4, (1, 17)),
    "a column": (1, (70, 1), 3, (6, 1)),
    "filters as large as the image": (1, (9, 7), 3, (9, 7)),
    "pixels for filters": (4, (6, 9), 7, (1, 1)),
}


def problem(shape, boundary="valid", dtype=np.float64, seed=0):
    """An image of a few atoms and noise, unit filters, and a tenth of the alpha that makes codes zero."""
    channels, size, n_filters, taps = shape
    rng = np.random.default_rng(seed)
    f = rng.normal(size=(n_filters, channels, *taps))
    f /= np.sqrt((f**2).sum(axis=(1, 2, 3), keepdims=True))
    z = np.zeros((n_filters, *reference.conv.code_shape(size, taps, boundary)))
    places = rng.integers(0, z.size, max(2, z.size // 40))
    z.reshape(-1)[places] = 3 * rng.normal(size=len(places))
    y = reference.synthesis(z, f, size, boundary) + 0.1 * rng.normal(size=(channels, *size))
    alpha = 0.1 * np.abs(reference.analysis(y, f, boundary)).max()
    return y.astype(dtype), f.astype(dtype), float(alpha)


def masks(y, seed=3):
    rng = np.random.default_rng(seed)
    seen = rng.random(y.shape[1:]) < 0.7
    seen.flat[0] = True
    return {
        "none": None,
        "bool": seen,
        "of channels": rng.random(y.shape) * (rng.random(y.shape) < 0.8) + 0.01,
        "weights": np.where(seen, rng.uniform(0.3, 2, y.shape[1:]), 0),
    }


def assert_certified(y, f, maps, info, alpha, boundary, M=None, positive=False):
    """The objective and the gap are those of the maps as returned."""
    dense = maps.toarray().astype(np.float64)
    M = None if M is None else np.asarray(M, f.dtype)
    alpha = np.asarray(alpha, f.dtype)
    assert maps.value.dtype == f.dtype
    assert maps.index.dtype == np.int64
    assert (np.diff(maps.index) > 0).all()
    assert (maps.value != 0).all()
    unit = 20 * np.finfo(f.dtype).eps  # of squared weights, in their dtype
    assert_allclose(info.objective, reference.objective(y, f, dense, alpha, boundary, M), rtol=unit)
    expected = reference.gap(y, f, dense, alpha, boundary, M, positive)
    assert_allclose(info.gap, expected, rtol=1e-6, atol=10 * unit)


# --- the answer, and what is said of it


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SOLVERS)
def test_codes_are_certified_and_as_good_as_asked(name, dtype, shape, boundary):
    y, f, alpha = problem(shape, boundary, dtype)
    solver = ConvolutionalLassoSolver(f, boundary=boundary, solver=name, tol=1e-4, max_iter=5000, n_jobs=1)
    maps, info = solver.encode(y, alpha)
    assert maps.shape == solver.code_shape(*y.shape[1:])
    assert info.is_converged
    assert info.gap <= 1e-4
    assert_certified(y, f, maps, info, alpha, boundary)
    certified = solver.certify(y, alpha, maps)
    assert certified.n_iter == 0
    assert_allclose(certified[:2], info[:2], rtol=1e-6, atol=1e-14)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("shape", ["one tile", "a signal", "pixels for filters"])
@pytest.mark.parametrize("positive", [False, True])
def test_the_minimum_is_that_of_the_reference(shape, boundary, positive):
    y, f, alpha = problem(SHAPES[shape], boundary)
    z = reference.fista(y, f, alpha, boundary, positive=positive, n_iter=3000, tol=1e-7)
    least = reference.objective(y, f, z, alpha, boundary)
    for name in SOLVERS:
        solver = ConvolutionalLassoSolver(
            f, boundary=boundary, positive=positive, solver=name, tol=1e-7, max_iter=5000, n_jobs=1
        )
        maps, info = solver.encode(y, alpha)
        assert info.gap <= 1e-7
        assert_allclose(info.objective, least, rtol=1e-6)
        assert_allclose(maps.toarray(), z, atol=1e-2 * np.abs(z).max())
        assert not positive or (maps.value > 0).all()
        assert_certified(y, f, maps, info, alpha, boundary, positive=positive)


def test_the_references_agree():
    y, f, alpha = problem((1, (7, 8), 3, (2, 3)))
    slow = reference.ista(y, f, alpha, "valid", n_iter=5000)
    fast = reference.fista(y, f, alpha, "valid", n_iter=1000)
    assert reference.violation(y, f, slow, alpha, "valid") < 1e-6
    assert_allclose(slow, fast, atol=1e-6)


@pytest.mark.parametrize("kind", ["bool", "of channels", "weights"])
@pytest.mark.parametrize("shape", ["one tile", "channels", "a signal", "several tiles"])
@pytest.mark.parametrize("boundary", ["valid", "circular"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_masks_and_weights(dtype, boundary, shape, kind):
    y, f, alpha = problem(SHAPES[shape], boundary, dtype)
    M = masks(y)[kind]
    objectives = []
    for name in SOLVERS:
        solver = ConvolutionalLassoSolver(
            f, boundary=boundary, solver=name, tol=1e-4, max_iter=5000, n_jobs=1
        )
        maps, info = solver.encode(y, alpha, mask=M)
        assert info.is_converged
        assert_certified(y, f, maps, info, alpha, boundary, M)
        objectives.append(info.objective)
    half = 0.5 * float((reference.weighted(y, M)[1] * reference.weighted(y, M)[0] ** 2).sum())
    assert abs(objectives[0] - objectives[1]) <= 1.1e-4 * half


@pytest.mark.parametrize("name", SOLVERS)
def test_a_mask_of_ones_is_none(name):
    y, f, alpha = problem(SHAPES["several tiles"])
    solver = ConvolutionalLassoSolver(f, solver=name, tol=1e-5, max_iter=5000, n_jobs=1)
    plain = solver.encode(y, alpha)[0].toarray()
    masked = solver.encode(y, alpha, mask=np.ones(y.shape[1:]))[0].toarray()
    assert_allclose(masked, plain, atol=0.05 * np.abs(plain).max())
    # A weight everywhere is a scale of image and filters.
    heavy = solver.encode(y, 4 * alpha, mask=2 * np.ones(y.shape))[1]
    assert_allclose(heavy.objective, 4 * solver.encode(y, alpha)[1].objective, rtol=1e-4)


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_alpha_of_each_filter(name, dtype):
    y, f, alpha = problem(SHAPES["one tile"], dtype=dtype)
    weights = alpha * np.array([0.5, 1.0, 2.0, 1e6])
    solver = ConvolutionalLassoSolver(f, solver=name, tol=1e-5, max_iter=5000, n_jobs=1)
    maps, info = solver.encode(y, weights)
    assert info.is_converged
    assert_certified(y, f, maps, info, weights, "valid")
    assert not maps.toarray()[3].any()
    assert_array_equal(solver.encode(y, [alpha])[0].value, solver.encode(y, np.full(4, alpha))[0].value)


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_filters_of_zeros_are_not_used(name, dtype):
    y, f, alpha = problem(SHAPES["one tile"], dtype=dtype)
    f[1] = 0
    start = SparseMaps.from_dense(np.ones((4, 17, 19), dtype))
    solver = ConvolutionalLassoSolver(f, solver=name, tol=1e-4, max_iter=5000, n_jobs=1)
    for init in (None, start):
        maps, info = solver.encode(y, alpha, init=init)
        assert info.is_converged
        assert_certified(y, f, maps, info, alpha, "valid")
        assert not maps.toarray()[1].any()
    nothing = ConvolutionalLassoSolver(0 * f, solver=name, n_jobs=1)
    for init in (None, start):
        maps, info = nothing.encode(y, alpha, init=init)
        assert maps.nnz == 0
        assert info.gap == 0


@pytest.mark.parametrize("name", SOLVERS)
def test_a_filter_under_masked_pixels_alone(name):
    """An atom that no observed pixel sees has no curvature: it goes to zero."""
    y, f, alpha = problem(SHAPES["one tile"])
    M = np.ones(y.shape[1:])
    M[:8, :8] = 0
    start = np.zeros((4, 17, 19))
    start[:, 4:7, 2:5] = 1.0
    solver = ConvolutionalLassoSolver(f, solver=name, tol=1e-6, max_iter=5000, n_jobs=1)
    maps, info = solver.encode(y, alpha, mask=M, init=SparseMaps.from_dense(start))
    assert info.is_converged
    assert not maps.toarray()[:, 4:8, 2:8].any()


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("positive", [False, True])
def test_large_alpha_and_zero_images_have_zero_codes(name, positive):
    y, f, alpha = problem(SHAPES["one tile"])
    solver = ConvolutionalLassoSolver(f, solver=name, positive=positive, n_jobs=1)
    maps, info = solver.encode(y, 11 * alpha)
    assert maps.nnz == info.n_iter == 0
    assert info.gap < 1e-12
    maps, info = solver.encode(0 * y, alpha)
    assert maps.nnz == 0
    assert info == CscInfo(0.0, 0.0, 0, True)


# --- starts


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_starts(name, dtype, boundary):
    y, f, alpha = problem(SHAPES["several tiles"], boundary, dtype)
    solver = ConvolutionalLassoSolver(f, boundary=boundary, solver=name, tol=1e-3, max_iter=5000, n_jobs=1)
    cold, info = solver.encode(y, alpha)
    again, at_once = solver.encode(y, alpha, init=cold)
    assert at_once.n_iter == 0
    assert_array_equal(again.index, cold.index)
    assert_array_equal(again.value, cold.value)
    assert_allclose(at_once.gap, info.gap, rtol=1e-6)
    far = np.random.default_rng(1).normal(size=cold.shape) * (
        np.random.default_rng(2).random(cold.shape) < 0.05
    )
    maps, info = solver.encode(y, alpha, init=SparseMaps.from_dense(far))
    assert info.is_converged
    assert_certified(y, f, maps, info, alpha, boundary)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_start_may_hold_zeros(name):
    y, f, alpha = problem(SHAPES["one tile"])
    solver = ConvolutionalLassoSolver(f, solver=name, tol=1e-6, max_iter=5000, n_jobs=1)
    zeros = SparseMaps(solver.code_shape(*y.shape[1:]), np.array([0, 7, 100]), np.zeros(3))
    maps, info = solver.encode(y, alpha, init=zeros)
    expected, _ = solver.encode(y, alpha)
    assert_certified(y, f, maps, info, alpha, "valid")
    assert_array_equal(maps.index, expected.index)
    assert_allclose(maps.value, expected.value, atol=1e-3)
    loose = ConvolutionalLassoSolver(f, solver=name, tol=10.0, n_jobs=1)
    assert loose.encode(y, alpha, init=zeros)[0].nnz == 0


@pytest.mark.parametrize("name", SOLVERS)
def test_a_start_of_another_kind(name):
    """float32 codes for float64 filters, indices of 32 bits, integers: brought to what the kernel takes."""
    y, f, alpha = problem(SHAPES["one tile"])
    solver = ConvolutionalLassoSolver(f, solver=name, n_jobs=1)
    shape = solver.code_shape(*y.shape[1:])
    for index, value in [
        (np.array([3, 9], np.int32), np.array([1, 2], np.float32)),
        ([3, 9], [1, 2]),
        (np.arange(20)[3::6], np.arange(20.0)[::7]),
    ]:
        assert solver.encode(y, alpha, init=SparseMaps(shape, index, value))[1].is_converged


@pytest.mark.parametrize("name", SOLVERS)
def test_a_zero_image_takes_any_start_to_zero(name):
    y, f, alpha = problem(SHAPES["one tile"])
    solver = ConvolutionalLassoSolver(f, solver=name, tol=1e-3, max_iter=5000, n_jobs=1)
    start = solver.encode(y, alpha)[0]
    maps, info = solver.encode(0 * y, alpha, init=start)
    assert maps.nnz == 0
    assert info.objective == info.gap == 0
    assert solver.certify(0 * y, alpha, start).gap == np.inf


# --- the other functions


# Every shape and every boundary takes part where the device is emulated.
SHAPES_OF_BACKEND = [
    *(("cpu", name, boundary) for name in SHAPES for boundary in BOUNDARIES),
    *(("cuda", name, BOUNDARIES[i % 4]) for i, name in enumerate(SHAPES)),
    *(("cuda", "channels", boundary) for boundary in BOUNDARIES),
]


@pytest.mark.parametrize(("backend", "shape", "boundary"), SHAPES_OF_BACKEND, indirect=["backend"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_filter_gradient_statistics_and_synthesis(dtype, shape, boundary, backend):
    y, f, _ = problem(SHAPES[shape], boundary, dtype)
    rng = np.random.default_rng(4)
    solver = ConvolutionalLassoSolver(f, boundary=boundary, n_jobs=1, device=backend)
    z = rng.normal(size=solver.code_shape(*y.shape[1:]))
    z = np.where(rng.random(z.shape) < 0.2, z, 0).astype(dtype)
    maps = SparseMaps.from_dense(z)
    eps = np.finfo(dtype).eps
    image = reference.synthesis(z, f, y.shape[1:], boundary)
    got = solver.synthesize(maps, y.shape[1:])
    assert got.dtype == dtype
    assert_allclose(got, image, atol=100 * eps * max(1, np.abs(image).max()))
    for M in masks(y).values():
        value, gradient = solver.filter_gradient(y, maps, mask=M)
        M = None if M is None else np.asarray(M, dtype)
        expected_value, expected = reference.filter_gradient(y, f, z, boundary, M)
        assert gradient.dtype == np.float64
        assert_allclose(value, expected_value, rtol=100 * eps)
        assert_allclose(gradient, expected, rtol=0, atol=100 * eps * (1 + np.abs(expected).max()))
    A, B = reference.statistics(y, f, z, boundary)
    got_A, got_B = rng.normal(size=A.shape), rng.normal(size=B.shape)
    before_A, before_B = got_A.copy(), got_B.copy()
    solver.add_statistics(y, maps, got_A, got_B)
    assert_allclose(got_A - before_A, A, rtol=0, atol=1e-12 * (1 + np.abs(A).max()))
    assert_allclose(got_B - before_B, B, rtol=0, atol=100 * eps * (1 + np.abs(B).max()))


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_maps_without_non_zeros(boundary, backend):
    y, f, _ = problem(SHAPES["one tile"], boundary)
    solver = ConvolutionalLassoSolver(f, boundary=boundary, n_jobs=1, device=backend)
    nothing = SparseMaps.from_dense(np.zeros(solver.code_shape(*y.shape[1:])))
    assert nothing.density == nothing.nnz == 0
    assert not solver.synthesize(nothing, y.shape[1:]).any()
    value, gradient = solver.filter_gradient(y, nothing)
    assert_allclose(value, 0.5 * (y**2).sum())
    assert not gradient.any()


def test_sparse_maps():
    z = np.zeros((3, 4, 5))
    z[0, 1, 2], z[2, 3, 4], z[2, 0, 0] = 1.5, -2, 3
    maps = SparseMaps.from_dense(z)
    assert maps.nnz == 3
    assert maps.density == 3 / 60
    assert_array_equal(maps.toarray(), z)
    assert_array_equal(maps.tocsr().toarray(), z.reshape(3, 20))
    assert SparseMaps.from_dense(z.astype(np.float32)).toarray().dtype == np.float32
    assert_array_equal(SparseMaps.from_dense(z.transpose(0, 2, 1)).toarray(), z.transpose(0, 2, 1))


@pytest.mark.parametrize("taps", [(1, 1), (3, 5), (8, 8), (1, 9)])
@pytest.mark.parametrize("channels", [1, 3])
def test_step_size_is_safe_and_tight(taps, channels):
    f = np.random.default_rng(0).normal(size=(6, channels, *taps))
    spectrum = np.fft.fft2(f, s=(67, 71))
    power = np.einsum("kcuv,kduv->uvcd", spectrum, spectrum.conj())
    largest = np.linalg.eigvalsh(power)[..., -1].max()
    assert largest <= lipschitz_bound(f) * (1 + 1e-12)
    assert lipschitz_bound(f) <= 1.12 * largest


@pytest.mark.parametrize("shape", [(2, 5, 3, 4), (5, 2, 4, 3), (3, 3, 1, 4), (2, 3, 4, 1), (1, 4, 1, 1)])
def test_lipschitz_bound_is_that_of_the_whole_grid_of_frequencies(shape):
    f = np.random.default_rng(7).normal(size=shape)
    spectrum = np.fft.fft2(f, s=[1 if n == 1 else 16 * n for n in shape[2:]])
    power = np.einsum("kcuv,kduv->uvcd", spectrum, spectrum.conj())
    between = np.prod([1.0 if n == 1 else np.cos(np.pi / 16) for n in shape[2:]])
    assert lipschitz_bound(f) == pytest.approx(np.linalg.eigvalsh(power).max() / between, rel=1e-12)


def test_lipschitz_bound_of_many_channels_takes_little_memory():
    f = np.random.default_rng(8).normal(size=(2, 64, 16, 16))
    tracemalloc.start()
    lipschitz_bound(f)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * f.nbytes


# --- determinism


@pytest.mark.parametrize("boundary", ["valid", "circular"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_for_any_number_of_threads(dtype, boundary):
    y, f, alpha = problem((2, (75, 110), 6, (5, 7)), boundary, dtype)
    M = masks(y)["weights"]

    def everything(n_jobs):
        found = []
        for name in SOLVERS:
            for mask in (None, M):
                solver = ConvolutionalLassoSolver(
                    f, boundary=boundary, solver=name, tol=1e-2, max_iter=60, n_jobs=n_jobs
                )
                maps, info = solver.encode(y, alpha, mask=mask)
                found += [maps.index, maps.value, np.array(info)]
                found += [np.array(solver.certify(y, alpha, maps, mask=mask))]
                found += solver.filter_gradient(y, maps, mask=mask)
        A, B = np.zeros((6, 6, 9, 13)), np.zeros(f.shape)
        solver.add_statistics(y, maps, A, B)
        return [*found, A, B, solver.synthesize(maps, y.shape[1:])]

    alone = everything(1)
    for n_jobs in (2, 3):
        for ours, theirs in zip(alone, everything(n_jobs), strict=True):
            assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", SOLVERS)
def test_repeated_calls_give_the_same_bits(name):
    """Nor does what the heap held before leak into a result."""
    y, f, alpha = problem(SHAPES["channels"], dtype=np.float32)
    rng = np.random.default_rng(0)
    results = set()
    for _ in range(10):
        dirt = [np.full(size, rng.normal()) for size in rng.integers(1, 20_000, 20)]
        del dirt[::2]
        maps, info = ConvolutionalLassoSolver(f, solver=name, n_jobs=1).encode(y, alpha)
        results.add((maps.index.tobytes(), maps.value.tobytes(), info))
    assert len(results) == 1


def test_inputs_are_not_written_to():
    y, f, alpha = problem(SHAPES["one tile"])
    M, weights = masks(y)["weights"], np.full(4, alpha)
    solver = ConvolutionalLassoSolver(f, n_jobs=1)
    start = solver.encode(y, alpha)[0]
    arrays = (y, f, M, weights, start.index, start.value)
    before = [a.copy() for a in arrays]
    for a in arrays:
        a.flags.writeable = False
    for name in SOLVERS:
        solver = ConvolutionalLassoSolver(f, solver=name, n_jobs=1)
        solver.encode(y, weights, mask=M, init=start)
        solver.filter_gradient(y, start, mask=M)
    for a, b in zip(arrays, before, strict=True):
        assert_array_equal(a, b)


def test_arrays_of_any_real_kind_are_taken():
    y, f, alpha = problem(SHAPES["channels"])
    integers = np.asfortranarray((100 * y).astype(np.int16))[:, ::-1, ::-2]
    solver = ConvolutionalLassoSolver(f.transpose(0, 1, 3, 2)[:, :, :3], n_jobs=1)
    maps, _ = solver.encode(integers, 100 * alpha)
    expected, _ = solver.encode(np.ascontiguousarray(integers, np.float64), 100 * alpha)
    assert maps.value.dtype == np.float64
    assert_array_equal(maps.toarray(), expected.toarray())
    single = ConvolutionalLassoSolver(solver.filters.astype(np.float32), n_jobs=1)
    assert single.encode(integers, 100 * alpha)[0].value.dtype == np.float32
    assert solver.encode(integers.tolist(), 100 * alpha)[1].is_converged


# --- the end of iterations


@pytest.mark.parametrize("name", SOLVERS)
def test_max_iter(name):
    y, f, alpha = problem(SHAPES["several tiles"])
    solver = ConvolutionalLassoSolver(f, solver=name, tol=0.0, max_iter=3, n_jobs=1)
    maps, info = solver.encode(y, alpha)
    assert info.n_iter == 3
    assert not info.is_converged
    assert_certified(y, f, maps, info, alpha, "valid")
    with pytest.warns(ConvergenceWarning, match=r"1 of 2 images did not reach tol=0: .* after 3 iterations"):
        warn_unconverged([info, CscInfo(1.0, 0.0, 1, True)], 0.0, stacklevel=1)
    warn_unconverged([], 0.0, stacklevel=1)


# --- on the device

TWINS = [  # shape, boundary, dtype, mask, positive
    ("a pixel", "full", np.float32, "none", False),
    ("one tile", "valid", np.float32, "none", False),
    ("one tile", "circular", np.float64, "weights", True),
    ("one tile", "same", np.float32, "bool", True),
    ("channels", "same", np.float64, "of channels", False),
    ("a signal", "full", np.float64, "none", True),
    ("a signal", "circular", np.float32, "weights", False),
    ("a column", "valid", np.float32, "none", False),
    ("filters as large as the image", "same", np.float64, "none", False),
    ("pixels for filters", "circular", np.float32, "none", False),
]


def on_device(f, **arguments):
    return ConvolutionalLassoSolver(f, **{"device": "cuda", "tol": 1e-2, "n_jobs": 1, **arguments})


@pytest.mark.parametrize(("shape", "boundary", "dtype", "mask", "positive"), TWINS)
def test_fista_on_the_device_is_that_of_the_cpu(shape, boundary, dtype, mask, positive, cuda):
    y, f, alpha = problem(SHAPES[shape], boundary, dtype)
    M = masks(y)[mask]
    options = {"boundary": boundary, "positive": positive, "solver": "fista"}
    maps, info = on_device(f, **options).encode(y, alpha, mask=M)
    expected, as_expected = on_device(f, device="cpu", **options).encode(y, alpha, mask=M)
    assert info.is_converged
    assert info.n_iter == as_expected.n_iter
    assert_certified(y, f, maps, info, alpha, boundary, M, positive)
    rounding = 500 * np.finfo(dtype).eps
    assert_allclose(info[:2], as_expected[:2], rtol=rounding, atol=rounding)
    assert_allclose(maps.toarray(), expected.toarray(), rtol=0, atol=rounding * np.abs(expected.value).max())
    # Given maps get the same certificate on either side.
    here, there = (on_device(f, device=device, **options) for device in ("cpu", "cuda"))
    assert_allclose(
        there.certify(y, alpha, maps, mask=M), here.certify(y, alpha, maps, mask=M), rtol=1e-11, atol=1e-14
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_many_tiles_restarts_and_the_last_iteration_on_the_device(dtype, cuda):
    y, f, alpha = problem(SHAPES["several tiles"], "valid", dtype)
    f /= 3  # no unit filters
    maps, info = on_device(f, tol=0.0, max_iter=13).encode(y, alpha)
    assert (info.n_iter, info.is_converged) == (13, False)
    assert_certified(y, f, maps, info, alpha, "valid")
    expected = on_device(f, tol=0.0, max_iter=13, solver="fista", device="cpu").encode(y, alpha)[1]
    assert_allclose(info[:2], expected[:2], rtol=500 * np.finfo(dtype).eps)


def test_starts_on_the_device(cuda):
    y, f, alpha = problem(SHAPES["one tile"], dtype=np.float32)
    weights = alpha * np.array([0.5, 1.0, 2.0, 1e6], np.float32)
    cold, info = on_device(f).encode(y, weights)
    assert not cold.toarray()[3].any()
    again, at_once = on_device(f).encode(y, weights, init=cold)
    assert at_once.n_iter == 0
    assert at_once.gap == info.gap
    assert_array_equal(again.index, cold.index)
    assert_array_equal(again.value, cold.value)
    maps, info = on_device(f).encode(0 * y, alpha, init=cold)
    assert maps.nnz == 0
    assert info[:2] == (0.0, 0.0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_twice_and_in_any_order_of_blocks(dtype, cuda, monkeypatch):
    y, f, alpha = problem((2, (20, 30), 18, (5, 7)), "circular", dtype)
    M = masks(y)["weights"]

    def everything(order):
        monkeypatch.setenv("THALWEG_EMULATION_ORDER", order)
        solver = on_device(f, boundary="circular", tol=0.0, max_iter=11)
        maps, info = solver.encode(y, alpha, mask=M)
        A, B = np.zeros((18, 18, 9, 13)), np.zeros(f.shape)
        solver.add_statistics(y, maps, A, B)
        certified, gradient = solver.certify(y, alpha, maps, mask=M), solver.filter_gradient(y, maps, mask=M)
        return maps.index, maps.value, np.array(info), np.array(certified), *gradient, A, B

    alone = everything("forward")
    for order in ("forward", "reverse"):
        for ours, theirs in zip(alone, everything(order), strict=True):
            assert_array_equal(ours, theirs)


@pytest.mark.parametrize("is_masked", [False, True])
def test_an_image_on_the_device(is_masked, dtype, cuda):
    y, f, alpha = problem(SHAPES["channels"], "same", dtype)
    M = masks(y)["bool"] if is_masked else None
    spoilt = y if M is None else np.where(M, y, np.nan)
    solver = on_device(f, boundary="same", tol=1e-1)
    image = cuda.to_device(spoilt)
    maps, info = solver.encode(y, alpha, mask=M)
    there, at_once = solver.encode(image, alpha, mask=M)
    assert at_once == info
    assert_array_equal(there.value, maps.value)
    codes = cuda.empty(maps.shape, dtype)
    assert solver.encode_into(codes, image, alpha, mask=M) == info
    assert_array_equal(codes.numpy(), maps.toarray())
    assert solver.encode_into(codes, y, alpha, mask=M, init=maps).n_iter == 0
    assert_array_equal(codes.numpy(), maps.toarray())
    assert solver.certify(image, alpha, maps, mask=M).gap == info.gap
    value, gradient = solver.filter_gradient(image, maps, mask=M)
    expected_value, expected = solver.filter_gradient(y, maps, mask=M)
    assert value == expected_value
    assert_array_equal(gradient, expected)


def test_what_the_device_refuses(cuda):
    there = cuda.to_device(Y)
    with pytest.raises(
        ValueError, match=r"^solver: 'active_set', coordinate descent, has no kernels on the GPU"
    ):
        solver_of(device="cuda", solver="active_set")
    with pytest.raises(ValueError, match=r"^device: expected 'cpu' or 'cuda', got 'cuda:1'"):
        solver_of(device="cuda:1")
    with pytest.raises(TypeError, match=r"^image: an array on a CUDA device, where device='cpu'"):
        SOLVER.encode(there, 1.0)
    with pytest.raises(ValueError, match=r"^device: expected a solver of device='cuda'"):
        SOLVER.encode_into(np.empty(SHAPE), Y, 1.0)
    solver = solver_of(device="cuda")
    with pytest.raises(ValueError, match=r"^image: every element must be finite, but it contains NaN"):
        solver.encode(cuda.to_device(NAN), 1.0)
    with pytest.raises(ValueError, match=r"^image: every pixel that the mask does not hide must be finite"):
        solver.encode(cuda.to_device(NAN), 1.0, mask=np.ones((9, 8)))
    with pytest.raises(ValueError, match=r"^image: expected shape \(2, height, width\)"):
        solver.encode(cuda.to_device(Y[:1].copy()), 1.0)
    with pytest.raises(ValueError, match=r"^image: filters of 4 x 5 do not fit into 3 x 8"):
        solver.encode(cuda.to_device(Y[:, :3].copy()), 1.0)
    with pytest.raises(ValueError, match=r"^mask: expected shape \(9, 8\) or \(2, 9, 8\)"):
        solver.encode(there, 1.0, mask=np.ones((8, 9)))
    with pytest.raises(ValueError, match=r"^out: expected an array of shape \(3, 12, 12\)"):
        solver.encode_into(cuda.empty((3, 12, 11), np.float64), there, 1.0)


def test_the_kernels_of_the_device_check_indices_themselves(cuda):
    codes = np.zeros((2, 3, 4))
    for index, message in [
        ([3, 3], "got 3 after 3"),
        ([0, 24], "got 24 after 0"),
        ([-1, 2], "got -1 after -1"),
        ([0, 5, 4, 3], "got 4 after 5"),
    ]:
        with pytest.raises(ValueError, match=rf"^codes: expected increasing indices below 24, {message}"):
            cuda.csc_expand(np.array(index), np.ones(len(index)), codes)
    cuda.csc_expand(np.array([1, 23]), np.array([2.0, 3.0]), codes)
    assert_array_equal(np.flatnonzero(codes), [1, 23])


# --- bad arguments

Y, F = np.ones((2, 9, 8)), np.ones((3, 2, 4, 5))
SOLVER = ConvolutionalLassoSolver(F, n_jobs=1)
MAPS = SparseMaps.from_dense(np.eye(12)[None].repeat(3, 0))
SHAPE = (3, 12, 12)
NAN = np.where(np.arange(8) == 3, np.nan, Y)


def solver_of(**arguments):
    return ConvolutionalLassoSolver(**{"filters": F, **arguments})


def start(index, value, shape=SHAPE):
    return SparseMaps(shape, np.asarray(index), np.asarray(value, float))


BAD = {
    "axes of filters": (lambda: solver_of(filters=F[0]), ValueError, r"^filters: expected 4 dimension"),
    "no filters": (lambda: solver_of(filters=F[:0]), ValueError, "^filters: expected no empty axis"),
    "no taps": (lambda: solver_of(filters=F[..., :0]), ValueError, "^filters: expected no empty axis"),
    "NaN filters": (lambda: solver_of(filters=F * np.nan), ValueError, "^filters: every element must be fin"),
    "complex filters": (
        lambda: solver_of(filters=F + 0j),
        ValueError,
        "^filters: Complex data not supported",
    ),
    "text filters": (lambda: solver_of(filters=F.astype(str)), ValueError, "^filters: expected real numbers"),
    "boundary": (lambda: solver_of(boundary="wrap"), ValueError, "^boundary: expected one of 'valid'"),
    "solver": (lambda: solver_of(solver="admm"), ValueError, "^solver: expected one of 'auto', 'active_set'"),
    "max_iter": (lambda: solver_of(max_iter=0), ValueError, "^max_iter: expected an integer >= 1, got 0"),
    "max_iter kind": (lambda: solver_of(max_iter=2.5), TypeError, "^max_iter: expected an integer"),
    "tol": (lambda: solver_of(tol=-1), ValueError, "^tol: expected a number >= 0"),
    "tol NaN": (lambda: solver_of(tol=np.nan), ValueError, "^tol: expected a finite number"),
    "tol kind": (lambda: solver_of(tol="1"), TypeError, "^tol: expected a real number"),
    "n_jobs": (lambda: solver_of(n_jobs=0), ValueError, "^n_jobs: expected a non-zero integer"),
    "n_jobs kind": (lambda: solver_of(n_jobs="2"), TypeError, "^n_jobs: expected an integer or None"),
    "image axes": (lambda: SOLVER.encode(Y[0], 1.0), ValueError, "^image: expected 3 dimension"),
    "image channels": (
        lambda: SOLVER.encode(Y[:1], 1.0),
        ValueError,
        r"^image: expected shape \(2, height, width\)",
    ),
    "small image": (
        lambda: SOLVER.encode(Y[:, :3], 1.0),
        ValueError,
        "^image: filters of 4 x 5 do not fit into 3 x 8 pixels",
    ),
    "narrow image": (lambda: SOLVER.encode(Y[:, :, :4], 1.0), ValueError, "^image: filters of 4 x 5 do not"),
    "empty image": (lambda: SOLVER.encode(Y[:, :0], 1.0), ValueError, "^image: filters of 4 x 5 do not"),
    "NaN image": (lambda: SOLVER.encode(NAN, 1.0), ValueError, "^image: every element must be finite"),
    "infinite image": (lambda: SOLVER.encode(Y + np.inf, 1.0), ValueError, "^image: every element must be"),
    "complex image": (lambda: SOLVER.encode(Y + 0j, 1.0), ValueError, "^image: Complex data not supported"),
    "masked array": (
        lambda: SOLVER.encode(np.ma.masked_less(Y, 2), 1.0),
        ValueError,
        "^image: expected no masked elements",
    ),
    "NaN observed": (
        lambda: SOLVER.encode(NAN, 1.0, mask=np.ones((9, 8))),
        ValueError,
        "^image: every pixel that the mask does not hide must be finite",
    ),
    "alpha": (lambda: SOLVER.encode(Y, 0.0), ValueError, "^alpha: expected numbers > 0, got 0"),
    "negative alpha": (lambda: SOLVER.encode(Y, [1, 1, -1]), ValueError, "^alpha: expected numbers > 0"),
    "alphas": (lambda: SOLVER.encode(Y, [1, 1]), ValueError, r"^alpha: expected a number or \(3,\)"),
    "NaN alpha": (lambda: SOLVER.encode(Y, np.nan), ValueError, "^alpha: every element must be finite"),
    "text alpha": (lambda: SOLVER.encode(Y, "1"), ValueError, "^alpha: expected real numbers"),
    "alpha of nothing": (lambda: SOLVER.encode(Y, None), ValueError, "^alpha: every element must be"),
    "mask shape": (
        lambda: SOLVER.encode(Y, 1.0, mask=np.ones((8, 9))),
        ValueError,
        r"^mask: expected shape \(9, 8\) or \(2, 9, 8\), as the image has, got \(8, 9\)",
    ),
    "mask of a row": (
        lambda: SOLVER.encode(Y, 1.0, mask=np.ones((1, 8))),
        ValueError,
        "^mask: expected shape",
    ),
    "mask of zeros": (
        lambda: SOLVER.encode(Y, 1.0, mask=np.zeros((9, 8))),
        ValueError,
        "^mask: expected at least one pixel that is observed",
    ),
    "negative mask": (
        lambda: SOLVER.encode(Y, 1.0, mask=-np.ones((9, 8))),
        ValueError,
        "^mask: expected finite numbers >= 0",
    ),
    "NaN mask": (lambda: SOLVER.encode(Y, 1.0, mask=NAN), ValueError, "^mask: expected finite numbers >= 0"),
    "huge mask": (
        lambda: SOLVER.encode(Y, 1.0, mask=np.full((9, 8), 1e200)),
        ValueError,
        "^mask: its squares leave the range of float64",
    ),
    "tiny mask": (
        lambda: SOLVER.encode(Y, 1.0, mask=np.full((9, 8), 1e-200)),
        ValueError,
        "^mask: its squares leave the range of float64",
    ),
    "init kind": (
        lambda: SOLVER.encode(Y, 1.0, init=np.zeros(SHAPE)),
        TypeError,
        "^init: expected SparseMaps",
    ),
    "init shape": (
        lambda: SOLVER.encode(Y[:, :8], 1.0, init=MAPS),
        ValueError,
        r"^init: expected maps of shape \(3, 11, 12\), got \(3, 12, 12\)",
    ),
    "maps kind": (
        lambda: SOLVER.synthesize(np.zeros(SHAPE), (9, 8)),
        TypeError,
        "^maps: expected SparseMaps",
    ),
    "maps shape": (lambda: SOLVER.synthesize(MAPS, (9, 9)), ValueError, "^maps: expected maps of shape"),
    "small size": (
        lambda: SOLVER.synthesize(start([0], [1], (3, 6, 12)), (3, 8)),
        ValueError,
        "^size: filters of 4 x 5 do not fit into 3 x 8 pixels",
    ),
    "one size": (
        lambda: SOLVER.synthesize(MAPS, 20),
        TypeError,
        r"^size: expected \(height, width\), got 20",
    ),
    "size in words": (lambda: SOLVER.synthesize(MAPS, "ab"), TypeError, r"^size: expected \(height, width\)"),
    "a size in words": (lambda: SOLVER.synthesize(MAPS, (9, "b")), TypeError, "^size: expected an integer"),
    "three sizes": (
        lambda: SOLVER.synthesize(MAPS, (1, 9, 8)),
        ValueError,
        r"^size: expected \(height, width\)",
    ),
    "positive": (lambda: solver_of(positive="no"), ValueError, "^positive: expected one of False, True"),
}

BAD_MAPS = {
    "beyond": (start([3, 3 * 144], [1, 1]), "indices"),
    "negative": (start([-1, 3], [1, 1]), "indices"),
    "twice": (start([3, 3], [1, 1]), "indices"),
    "falling": (start([4, 3], [1, 1]), "indices"),
    "fractions": (start([1.5], [1]), "integers"),
    "more indices": (start([3, 4], [1]), "as many"),
    "axes": (start([[3, 4]], [1, 1]), "dimension"),
    "axes of values": (start([3, 4], [[1, 1]]), "dimension"),
    "NaN": (start([3], [np.nan]), "finite"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_named(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("case", BAD_MAPS)
def test_bad_maps_are_named(case):
    maps, message = BAD_MAPS[case]
    calls = {
        "init": [lambda name=name: solver_of(solver=name).encode(Y, 1.0, init=maps) for name in SOLVERS],
        "maps": [
            lambda: SOLVER.certify(Y, 1.0, maps),
            lambda: SOLVER.synthesize(maps, (9, 8)),
            lambda: SOLVER.filter_gradient(Y, maps),
            lambda: SOLVER.add_statistics(Y, maps, np.zeros((3, 3, 7, 9)), np.zeros(F.shape)),
        ],
    }
    for name, group in calls.items():
        for call in group:
            with pytest.raises(ValueError, match=rf"^{name}: .*{message}"):
                call()


@pytest.mark.parametrize("name", SOLVERS)
def test_negative_maps_where_codes_are_positive(name):
    """Their gap would say nothing: the penalty does not know that they are forbidden."""
    solver = solver_of(solver=name, positive=True, n_jobs=1)
    with pytest.raises(ValueError, match=r"^init: expected values >= 0"):
        solver.encode(-Y, 1.0, init=start([3], [-1]))
    with pytest.raises(ValueError, match=r"^maps: expected values >= 0"):
        solver.certify(-Y, 1.0, start([3], [-1]))


@pytest.mark.parametrize(
    ("A", "B", "error", "message"),
    [
        (np.zeros((3, 3, 7, 8)), np.zeros(F.shape), ValueError, "^A: expected shape"),
        (np.zeros((3, 3, 7, 9)), np.zeros((3, 2, 4, 4)), ValueError, "^B: expected shape"),
        (np.zeros((3, 3, 7, 9), np.float32), np.zeros(F.shape), TypeError, "^A: expected a float64 ndarray"),
        (np.zeros((3, 3, 7, 9)), np.zeros(F.shape).tolist(), TypeError, "^B: expected a float64 ndarray"),
        (np.zeros((9, 7, 3, 3)).T, np.zeros(F.shape), ValueError, "^A: expected a C-contiguous"),
    ],
)
def test_bad_statistics_are_named(A, B, error, message):
    with pytest.raises(error, match=message):
        SOLVER.add_statistics(Y, MAPS, A, B)


def test_the_kernels_check_shapes_themselves():
    from thalweg._native import cpu

    options, boundary = cpu.CscOptions(), cpu.Boundary.valid
    none, one = np.empty(0, np.int64), np.ones(3)
    empty = np.empty(0)
    with pytest.raises(ValueError, match=r"^filters: expected 2 channel"):
        cpu.csc_encode(Y, None, F[:, :1].copy(), one, boundary, False, none, empty, options)
    with pytest.raises(ValueError, match=r"^filters: expected to fit"):
        cpu.csc_encode(Y[:, :2].copy(), None, F, one, boundary, False, none, empty, options)
    with pytest.raises(ValueError, match=r"^weights: expected shape"):
        cpu.csc_encode(Y, Y[:1].copy(), F, one, boundary, False, none, empty, options)
    with pytest.raises(ValueError, match=r"^alpha: "):
        cpu.csc_encode(Y, None, F, one[:2], boundary, False, none, empty, options)
    with pytest.raises(ValueError, match=r"^value: "):
        cpu.csc_encode(Y, None, F, one, boundary, False, none, one, options)
    with pytest.raises(ValueError, match=r"^codes: expected increasing indices below 432, got 432"):
        cpu.csc_encode(Y, None, F, one, boundary, False, np.array([432]), np.ones(1), options)
    with pytest.raises(ValueError, match=r"^codes: expected a writeable array of shape"):
        cpu.csc_fista(Y, None, F, one, boundary, False, 1.0, np.zeros((3, 12, 11)), options)
    with pytest.raises(ValueError, match=r"^gradient: "):
        cpu.csc_filter_gradient(Y, None, F, one, boundary, none, empty, np.zeros(5), 1)
    with pytest.raises(ValueError, match=r"^a: "):
        cpu.csc_statistics(Y, F, one, boundary, none, empty, np.zeros(5), np.zeros(F.size), 1)
