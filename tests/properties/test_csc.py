import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference import csc as reference
from thalweg import ops
from thalweg.inference.csc import BOUNDARIES, ConvolutionalLassoSolver, SparseMaps
from thalweg.inference.lasso import LassoSolver
from thalweg.models._convolutional_filters import FilterStatistics

BOTH = ("active_set", "fista")


def image_and_filters(rng, channels, image, n_filters, size, boundary, dtype=np.float64, density=0.03):
    """Unit filters, and an image of a few of their atoms and noise."""
    f = rng.normal(size=(n_filters, channels, *size))
    f /= np.sqrt((f**2).sum(axis=(1, 2, 3), keepdims=True))
    shape = ConvolutionalLassoSolver(f, boundary=boundary).code_shape(*image)
    z = np.where(rng.random(shape) < density, 3 * rng.normal(size=shape), 0)
    y = ops.convolve(z[None], f, boundary=boundary)[0] + 0.1 * rng.normal(size=(channels, *image))
    return y.astype(dtype), f.astype(dtype)


def largest_alpha(y, f, boundary, M=None):
    """Above it all codes are zero."""
    y, w = reference.weighted(y, M)
    return float(np.abs(reference.analysis(w * y, np.asarray(f, np.float64), boundary)).max())


@st.composite
def problems(draw, most=28, dtypes=(np.float32, np.float64)):
    boundary = draw(st.sampled_from(BOUNDARIES))
    is_signal = draw(st.booleans())
    size = (1 if is_signal else draw(st.integers(1, 8)), draw(st.integers(1, 10)))
    image = (1 if is_signal else draw(st.integers(size[0], most)), draw(st.integers(size[1], most + 20)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    channels, n_filters = draw(st.integers(1, 3)), draw(st.integers(1, 6))
    dtype = draw(st.sampled_from(dtypes))
    y, f = image_and_filters(rng, channels, image, n_filters, size, boundary, dtype)
    M = None
    if draw(st.booleans()):
        M = (rng.random(image) < 0.7) * rng.uniform(0.5, 2, image)
        M.flat[0] = 1.0
    alpha = draw(st.sampled_from([0.05, 0.2, 0.6])) * largest_alpha(y, f, boundary, M)
    return y, f, boundary, M, alpha


def half_square(y, M):
    y, w = reference.weighted(y, M)
    return 0.5 * float((w * y**2).sum())


@given(problems(), st.sampled_from(BOTH), st.booleans())
def test_the_optimality_conditions_hold(problem, name, positive):
    """Coordinate descent meets them within what the gap permits for a code: r' f is that far from alpha."""
    y, f, boundary, M, alpha = problem
    tol = 1e-5 if y.dtype == np.float32 else 1e-8
    solver = ConvolutionalLassoSolver(
        f, boundary=boundary, positive=positive, solver=name, tol=tol, max_iter=20_000, n_jobs=1
    )
    maps, info = solver.encode(y, alpha, mask=M)
    assert info.is_converged
    assert not positive or maps.value.min(initial=0) >= 0
    # A step along one violated code alone lowers E by violation^2 / 2 L: the gap leaves no more than that.
    codes = maps.toarray().astype(np.float64)
    violated = alpha * reference.violation(y, f, codes, alpha, boundary, M, positive)
    heaviest = reference.weighted(y, M)[1].max() * float(
        (f.astype(np.float64) ** 2).sum(axis=(1, 2, 3)).max()
    )
    left = info.gap * half_square(y, M)
    smallest = np.abs(codes[codes != 0]).min(initial=np.inf)
    if violated > heaviest * smallest:  # such a step would pass through zero, where the penalty has its kink
        assert 0.5 * violated * smallest <= 1.01 * left
    else:
        assert violated**2 / (2 * heaviest) <= 1.01 * left + 1e-9 * half_square(y, M)


@given(problems(dtypes=(np.float64,)), st.sampled_from(BOTH), st.sampled_from([1e-1, 1e-2, 1e-4]))
def test_the_gap_bounds_the_excess(problem, name, tol):
    y, f, boundary, M, alpha = problem
    options = {"boundary": boundary, "max_iter": 50_000, "n_jobs": 1}
    rough = ConvolutionalLassoSolver(f, solver=name, tol=tol, **options).encode(y, alpha, mask=M)[1]
    fine = ConvolutionalLassoSolver(f, tol=1e-9, **options).encode(y, alpha, mask=M)[1]
    unit = half_square(y, M)
    assert rough.gap <= tol
    assert rough.objective - fine.objective <= rough.gap * unit + 1e-12 * unit
    assert fine.objective - rough.objective <= fine.gap * unit + 1e-12 * unit
    assert rough.objective <= unit * (1 + 1e-12) + (name == "fista") * rough.gap * unit


@given(
    st.integers(1, 4),
    st.integers(1, 12),
    st.sampled_from([(1, 1), (5, 7), (1, 40), (34, 36)]),
    st.sampled_from(BOUNDARIES),
    st.sampled_from(BOTH),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_filters_of_one_pixel_are_the_lasso(channels, n_filters, image, boundary, name, positive, seed):
    rng = np.random.default_rng(seed)
    y, f = rng.normal(size=(channels, *image)), rng.normal(size=(n_filters, channels, 1, 1))
    alpha = 0.3 * np.abs(np.einsum("kc,cyx->kyx", f[..., 0, 0], y)).max()
    solver = ConvolutionalLassoSolver(
        f, boundary=boundary, positive=positive, solver=name, tol=1e-9, max_iter=50_000, n_jobs=1
    )
    maps, info = solver.encode(y, alpha)
    pixels = y.reshape(channels, -1).T
    rows, _ = LassoSolver(f[..., 0, 0], positive=positive, tol=1e-11, max_iter=50_000, n_jobs=1).encode(
        pixels, alpha
    )
    objective = 0.5 * ((pixels - rows @ f[..., 0, 0]) ** 2).sum() + alpha * np.abs(rows).sum()
    np.testing.assert_allclose(info.objective, objective, rtol=1e-8)
    # Where atoms outnumber the channels codes need not be unique: their images are.
    codes = maps.toarray().reshape(n_filters, -1).T
    np.testing.assert_allclose(codes @ f[..., 0, 0], rows @ f[..., 0, 0], atol=1e-3 * np.abs(y).max(), rtol=0)


@given(
    st.sampled_from(["valid", "same", "full"]),
    st.integers(0, 9),
    st.integers(0, 9),
    st.sampled_from(BOTH),
    st.integers(0, 2**32 - 1),
)
def test_what_lies_away_from_the_border_moves_with_the_image(boundary, down, across, name, seed):
    rng = np.random.default_rng(seed)
    patch, f = image_and_filters(rng, 1, (14, 15), 3, (4, 3), "valid")
    solver = ConvolutionalLassoSolver(f, boundary=boundary, solver=name, tol=1e-11, max_iter=50_000, n_jobs=1)

    def code(y, x):
        image = np.zeros((1, 14 + 27, 15 + 25))
        image[:, y : y + 14, x : x + 15] = patch
        return solver.encode(image, 0.3 * largest_alpha(patch, f, "valid"))[0].toarray()

    # Twice a filter's size off the border there are codes of the patch alone, or none.
    here, there = code(9, 8), code(9 + down, 8 + across)
    scale = np.abs(here).max()
    np.testing.assert_allclose(np.roll(here, (down, across), (1, 2)), there, rtol=0, atol=1e-3 * scale)


@given(st.integers(0, 60), st.integers(0, 60), st.sampled_from(BOTH), st.integers(0, 2**32 - 1))
def test_circular_codes_roll_with_the_image(down, across, name, seed):
    rng = np.random.default_rng(seed)
    y, f = image_and_filters(rng, 2, (23, 37), 3, (4, 5), "circular")
    alpha = 0.3 * largest_alpha(y, f, "circular")
    solver = ConvolutionalLassoSolver(
        f, boundary="circular", solver=name, tol=1e-10, max_iter=50_000, n_jobs=1
    )
    plain, rolled = solver.encode(y, alpha), solver.encode(np.roll(y, (down, across), (1, 2)), alpha)
    np.testing.assert_allclose(rolled[1].objective, plain[1].objective, rtol=1e-8)
    codes = plain[0].toarray()
    np.testing.assert_allclose(
        rolled[0].toarray(), np.roll(codes, (down, across), (1, 2)), rtol=0, atol=1e-3 * np.abs(codes).max()
    )


@given(
    problems(),
    st.sampled_from(BOTH),
    st.sampled_from([0.0, -1e30, 1e300, np.nan, np.inf, -np.inf]),
    st.integers(0, 2**32 - 1),
)
def test_what_is_masked_has_no_influence(problem, name, value, seed):
    y, f, boundary, _, alpha = problem
    rng = np.random.default_rng(seed)
    M = (rng.random(y.shape) < 0.6).astype(float)
    M.flat[-1] = 1
    spoilt = np.where(M > 0, y.astype(np.float64), value)
    solver = ConvolutionalLassoSolver(f, boundary=boundary, solver=name, tol=1e-2, max_iter=2000, n_jobs=1)
    maps, info = solver.encode(y, alpha, mask=M)
    with np.errstate(over="ignore"):
        other, other_info = solver.encode(spoilt, alpha, mask=M)
    np.testing.assert_array_equal(other.index, maps.index)
    np.testing.assert_array_equal(other.value, maps.value)
    assert other_info == info
    plain, other = (solver.filter_gradient(image, maps, mask=M) for image in (y, spoilt.clip(-1e30, 1e30)))
    assert plain[0] == other[0]
    np.testing.assert_array_equal(plain[1], other[1])


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("is_masked", [False, True])
def test_tiles_are_as_good_as_the_whole(boundary, is_masked):
    """FISTA knows no tiles: the objectives are equal within the gaps, also where atoms cross the seams."""
    rng = np.random.default_rng(0)
    y, f = image_and_filters(rng, 1, (97, 71), 4, (7, 9), boundary)
    M = (rng.random((97, 71)) < 0.8).astype(float) if is_masked else None
    alpha = 0.05 * largest_alpha(y, f, boundary, M)
    infos = {
        name: ConvolutionalLassoSolver(
            f, boundary=boundary, solver=name, tol=1e-6, max_iter=20_000, n_jobs=1
        ).encode(y, alpha, mask=M)[1]
        for name in BOTH
    }
    assert all(info.is_converged for info in infos.values())
    difference = infos["active_set"].objective - infos["fista"].objective
    assert abs(difference) <= 1e-6 * half_square(y, M)


def some_maps(rng, shape, dtype, density):
    return np.where(rng.random(shape) < density, rng.normal(size=shape), 0).astype(dtype)


@given(problems(most=45), st.sampled_from([0.0, 0.01, 0.3, 1.0]), st.integers(0, 2**32 - 1))
def test_synthesis_is_the_convolution(problem, density, seed):
    y, f, boundary, _, _ = problem
    solver = ConvolutionalLassoSolver(f, boundary=boundary, n_jobs=1)
    z = some_maps(np.random.default_rng(seed), solver.code_shape(*y.shape[1:]), f.dtype, density)
    got = solver.synthesize(SparseMaps.from_dense(z), y.shape[1:])
    expected = ops.convolve(z[None], f, boundary=boundary)[0]
    assert got.dtype == expected.dtype
    np.testing.assert_allclose(
        got, expected, rtol=0, atol=200 * np.finfo(f.dtype).eps * (1 + np.abs(z).max())
    )


@given(problems(dtypes=(np.float64,)), st.integers(0, 2**32 - 1))
def test_the_filter_gradient_is_the_slope(problem, seed):
    """The error is a quadratic of the filters: differences of any length give its slope exactly."""
    y, f, boundary, M, _ = problem
    rng = np.random.default_rng(seed)
    solver = ConvolutionalLassoSolver(f, boundary=boundary, n_jobs=1)
    maps = SparseMaps.from_dense(some_maps(rng, solver.code_shape(*y.shape[1:]), f.dtype, 0.2))
    _, gradient = solver.filter_gradient(y, maps, mask=M)
    direction = rng.normal(size=f.shape)
    ahead, behind = (
        ConvolutionalLassoSolver(f + sign * direction, boundary=boundary, n_jobs=1).filter_gradient(
            y, maps, mask=M
        )[0]
        for sign in (1, -1)
    )
    np.testing.assert_allclose(
        (gradient * direction).sum(), (ahead - behind) / 2, atol=1e-11 * (ahead + behind)
    )


@given(problems(), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_statistics_give_the_filter_gradient(problem, n_images, seed):
    """Of any filters, where all atoms lie inside the image; so does the quadratic form itself."""
    y, f, _, _, _ = problem
    rng = np.random.default_rng(seed)
    solver = ConvolutionalLassoSolver(f, boundary="full", n_jobs=1)
    K, _, h, w = f.shape
    A, B = np.zeros((K, K, 2 * h - 1, 2 * w - 1)), np.zeros(f.shape)
    images = [rng.normal(size=y.shape).astype(f.dtype) for _ in range(n_images)]
    maps = [
        SparseMaps.from_dense(some_maps(rng, solver.code_shape(*y.shape[1:]), f.dtype, 0.2)) for _ in images
    ]
    for image, codes in zip(images, maps, strict=True):
        solver.add_statistics(image, codes, A, B)
    np.testing.assert_allclose(
        A, A.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1], rtol=0, atol=1e-12 * (1 + A.max())
    )
    statistics = FilterStatistics(A, B)
    others = rng.normal(size=f.shape).astype(f.dtype)
    for filters in (f, others):
        there = ConvolutionalLassoSolver(filters, boundary="full", n_jobs=1)
        expected = sum(there.filter_gradient(*pair)[1] for pair in zip(images, maps, strict=True))
        got = statistics.gradient(filters.astype(np.float64))
        scale = 1 + np.abs(A).sum()
        np.testing.assert_allclose(got, expected, rtol=0, atol=20 * np.finfo(f.dtype).eps * scale)
    used = [
        any((codes.index // (codes.shape[1] * codes.shape[2]) == k).any() for codes in maps) for k in range(K)
    ]
    np.testing.assert_array_equal(A[range(K), range(K), h - 1, w - 1] > 0, used)
