import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.signal

from reference import conv as reference
from thalweg import ops

BOUNDARIES = ("valid", "same", "full", "circular")

# n, channels, image, filters, filter sizes: tiles and blocks that are full, cut, and of a single pixel
SHAPES = [
    (1, 1, (1, 1), 1, (1, 1)),
    (3, 2, (1, 1), 5, (1, 1)),
    (1, 1, (45, 130), 9, (8, 8)),
    (2, 3, (37, 23), 17, (5, 3)),
    (1, 1, (20, 61), 33, (12, 12)),
    (2, 1, (9, 5), 2, (9, 5)),
    (1, 12, (18, 19), 3, (2, 7)),
    (2, 1, (1, 700), 6, (1, 37)),
    (1, 2, (300, 1), 4, (16, 1)),
    (1, 40, (40, 9), 11, (3, 4)),
]


def problem(rng, shape, boundary, dtype=np.float64):
    n, channels, image, n_filters, size = shape
    X = rng.normal(size=(n, channels, *image)).astype(dtype)
    filters = rng.normal(size=(n_filters, channels, *size)).astype(dtype)
    Z = rng.normal(size=(n, n_filters, *reference.code_shape(image, size, boundary))).astype(dtype)
    return X, filters, Z


def assert_close(got, expected, terms, dtype):
    """Within the rounding of chains of so many standard normal products, whose partial sums grow by roots."""
    assert got.dtype == dtype
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=np.finfo(dtype).eps * (2 * terms + 30))


# Every shape takes part in one boundary or another where the device is emulated.
SHAPES_OF_BACKEND = [
    *(("cpu", shape, boundary) for shape in SHAPES for boundary in BOUNDARIES),
    *(("cuda", shape, BOUNDARIES[(i + j) % 4]) for i, shape in enumerate(SHAPES) for j in range(2)),
    ("cuda", (1, 3, (5, 70), 70, (18, 3)), "same"),  # filters in several blocks, rows in several passes
    ("cuda", (1, 1, (30, 21), 3, (21, 20)), "full"),  # taps in several boxes
    ("cuda", (1, 1, (2, 300), 2, (2, 170)), "circular"),
    ("cuda", (2, 3, (14, 30), 64, (5, 5)), "circular"),  # narrow: the warps of a block share the filters
    ("cuda", (1, 1, (100, 5), 2, (33, 1)), "full"),  # codes that end above a segment of the image
]


@pytest.mark.parametrize(("backend", "shape", "boundary"), SHAPES_OF_BACKEND, ids=str, indirect=["backend"])
def test_native_is_the_reference(rng, dtype, shape, boundary, backend):
    X, filters, Z = problem(rng, shape, boundary, dtype)
    size = filters.shape[2:]
    taps = filters[0].size
    assert_close(
        ops.correlate(X, filters, boundary=boundary, device=backend),
        reference.correlate(X, filters, boundary),
        taps,
        dtype,
    )
    assert_close(
        ops.convolve(Z, filters, boundary=boundary, device=backend),
        reference.convolve(Z, filters, X.shape[2:], boundary),
        taps * len(filters),
        dtype,
    )
    assert_close(
        ops.filter_gradient(Z, X, size, boundary=boundary, device=backend),
        reference.filter_gradient(Z, X, size, boundary),
        Z[:, 0].size,
        dtype,
    )


@pytest.mark.parametrize("boundary", ["same", "circular", "valid"])
def test_filters_may_be_larger_than_the_image(rng, dtype, boundary, backend):
    X, filters, Z = problem(rng, (2, 1, (3, 4), 10, (9, 14)), boundary, dtype)
    assert_close(
        ops.correlate(X, filters, boundary=boundary, device=backend),
        reference.correlate(X, filters, boundary),
        126,
        dtype,
    )
    expected = reference.convolve(Z, filters, (3, 4), boundary)
    assert_close(ops.convolve(Z, filters, boundary=boundary, device=backend), expected, 1260, dtype)
    expected = reference.filter_gradient(Z, X, (9, 14), boundary)
    assert_close(ops.filter_gradient(Z, X, (9, 14), boundary=boundary, device=backend), expected, 12, dtype)


@pytest.mark.parametrize("mode", ["valid", "same", "full"])
@pytest.mark.parametrize("size", [(8, 8), (5, 12), (1, 1)])
def test_synthesis_is_scipy_convolve(rng, mode, size):
    Z, filters = rng.normal(size=(2, 3, 30, 41)), rng.normal(size=(3, 2, *size))
    expected = [
        [sum(scipy.signal.convolve(z[k], filters[k, c], mode, "direct") for k in range(3)) for c in range(2)]
        for z in Z
    ]
    np.testing.assert_allclose(ops.convolve(Z, filters, boundary=mode), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("boundary", "mode"), [("valid", "full"), ("full", "valid")])
def test_analysis_is_scipy_correlate(rng, boundary, mode):
    X, filters = rng.normal(size=(1, 2, 30, 41)), rng.normal(size=(3, 2, 7, 4))
    expected = [
        sum(scipy.signal.correlate(X[0, c], filters[k, c], mode, "direct") for c in range(2))
        for k in range(3)
    ]
    np.testing.assert_allclose(
        ops.correlate(X, filters, boundary=boundary)[0], expected, rtol=1e-12, atol=1e-12
    )


def test_circular_synthesis_is_scipy_convolve2d(rng):
    Z, filters = rng.normal(size=(12, 9)), rng.normal(size=(4, 3))
    # convolve2d's "same" is centred; ours begins at the code's own pixel.
    centred = scipy.signal.convolve2d(Z, filters, "same", "wrap")
    expected = np.roll(centred, ((4 - 1) // 2, (3 - 1) // 2), (0, 1))
    np.testing.assert_allclose(
        ops.convolve(Z[None, None], filters[None, None], boundary="circular")[0, 0], expected, atol=1e-12
    )


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_signals_are_images_of_height_one(rng, dtype, boundary, backend):
    X, filters, Z = problem(rng, (3, 2, (1, 90), 9, (1, 20)), boundary, dtype)
    x, f, z = X[:, :, 0], filters[:, :, 0], Z[:, :, 0]
    np.testing.assert_array_equal(
        ops.correlate(x, f, boundary=boundary, device=backend),
        ops.correlate(X, filters, boundary=boundary, device=backend)[:, :, 0],
    )
    np.testing.assert_array_equal(
        ops.convolve(z, f, boundary=boundary, device=backend),
        ops.convolve(Z, filters, boundary=boundary, device=backend)[:, :, 0],
    )
    np.testing.assert_array_equal(
        ops.filter_gradient(z, x, 20, boundary=boundary, device=backend),
        ops.filter_gradient(Z, X, (1, 20), boundary=boundary, device=backend)[:, :, 0],
    )


def test_filters_of_one_pixel_are_a_matrix_product(rng, dtype, rtol, backend):
    X, filters, Z = problem(rng, (2, 7, (13, 20), 11, (1, 1)), "valid", dtype)
    D = filters[:, :, 0, 0].astype(np.float64)
    np.testing.assert_allclose(
        ops.correlate(X, filters, device=backend), np.einsum("kc,ncyx->nkyx", D, X), rtol, 10 * rtol
    )
    np.testing.assert_allclose(
        ops.convolve(Z, filters, device=backend), np.einsum("kc,nkyx->ncyx", D, Z), rtol, 10 * rtol
    )
    expected = np.einsum("nkyx,ncyx->kc", Z.astype(np.float64), X.astype(np.float64))
    np.testing.assert_allclose(
        ops.filter_gradient(Z, X, 1, device=backend)[:, :, 0, 0], expected, rtol, 30 * rtol
    )


@pytest.mark.parametrize("shape", [(5, 1, (61, 130), 40, (8, 8)), (2, 3, (1, 9000), 5, (1, 30))], ids=str)
def test_same_bits_for_any_number_of_threads(rng, dtype, shape):
    X, filters, Z = problem(rng, shape, "valid", dtype)
    size = filters.shape[2:]
    for n_jobs in (2, 3):
        np.testing.assert_array_equal(
            ops.correlate(X, filters, n_jobs=n_jobs), ops.correlate(X, filters, n_jobs=1)
        )
        np.testing.assert_array_equal(
            ops.convolve(Z, filters, n_jobs=n_jobs), ops.convolve(Z, filters, n_jobs=1)
        )
        np.testing.assert_array_equal(
            ops.filter_gradient(Z, X, size, n_jobs=n_jobs), ops.filter_gradient(Z, X, size, n_jobs=1)
        )


@pytest.mark.parametrize("shape", [(5, 1, (20, 51), 10, (6, 6)), (4, 9, (20, 51), 3, (2, 5))], ids=str)
def test_same_bits_in_any_batch(rng, dtype, shape, backend):
    X, filters, Z = problem(rng, shape, "same", dtype)
    codes, images = (
        ops.correlate(X, filters, boundary="same", device=backend),
        ops.convolve(Z, filters, boundary="same", device=backend),
    )
    for i in range(len(X)):
        alone = slice(i, i + 1)
        np.testing.assert_array_equal(
            ops.correlate(X[alone], filters, boundary="same", device=backend), codes[alone]
        )
        np.testing.assert_array_equal(
            ops.convolve(Z[alone], filters, boundary="same", device=backend), images[alone]
        )


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_sparse_codes(rng, dtype, boundary):
    X, filters, Z = problem(rng, (2, 2, (40, 110), 20, (8, 9)), boundary, dtype)
    for density in (0.0, 1e-4, 0.01):
        sparse = np.where(rng.random(Z.shape) < density, Z, 0)
        got = ops.convolve(sparse, filters, boundary=boundary)
        assert_close(got, reference.convolve(sparse, filters, X.shape[2:], boundary), 3000, dtype)
        got = ops.filter_gradient(sparse, X, (8, 9), boundary=boundary)
        assert_close(got, reference.filter_gradient(sparse, X, (8, 9), boundary), 1000, dtype)


def test_an_empty_batch(dtype, backend):
    filters = np.ones((3, 2, 4, 4), dtype)
    at = {"device": backend}
    assert ops.correlate(np.empty((0, 2, 5, 6), dtype), filters, **at).shape == (0, 3, 8, 9)
    assert ops.convolve(np.empty((0, 3, 5, 6), dtype), filters, **at).shape == (0, 2, 2, 3)
    gradient = ops.filter_gradient(
        np.empty((0, 3, 5, 6), dtype), np.empty((0, 2, 5, 6), dtype), 4, boundary="same", **at
    )
    np.testing.assert_array_equal(gradient, np.zeros((3, 2, 4, 4), dtype))


def test_integers_strides_and_read_only_arrays(rng, backend):
    X = np.asfortranarray(rng.integers(0, 255, (2, 3, 20, 22), dtype=np.uint8))[:, ::-1, ::2]
    filters = rng.normal(size=(4, 3, 5, 5)).transpose(0, 1, 3, 2)
    X.flags.writeable = False
    filters.flags.writeable = False
    got = ops.correlate(X, filters, device=backend)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, reference.correlate(X, filters, "valid"), rtol=1e-10, atol=1e-8)
    assert ops.correlate(X.astype(np.float32), filters).dtype == np.float32


IMAGES, FILTERS, CODES = np.ones((2, 3, 6, 7)), np.ones((4, 3, 2, 2)), np.ones((2, 4, 7, 8))

BAD = {
    "axes of X": (
        lambda: ops.correlate(np.ones((6, 7)), FILTERS),
        r"^X: expected \(n, channels, height, width\)",
    ),
    "axes of Z": (
        lambda: ops.convolve(np.ones(7), FILTERS),
        r"^Z: expected \(n, n_filters, height, width\) or",
    ),
    "axes of filters": (
        lambda: ops.correlate(IMAGES, FILTERS[0]),
        r"^filters: expected 4 dimensions, got shape",
    ),
    "axes differ": (
        lambda: ops.filter_gradient(CODES, IMAGES[0], 2),
        r"^X: expected 4 dimensions, got shape",
    ),
    "channels": (
        lambda: ops.correlate(IMAGES[:, :2], FILTERS),
        r"^filters: expected 2 channel\(s\) as X has, got shape \(4, 3, 2, 2\)",
    ),
    "number of filters": (
        lambda: ops.convolve(CODES[:, :3], FILTERS),
        r"^filters: expected 3 filter\(s\) as Z has, got shape \(4, 3, 2, 2\)",
    ),
    "no filters": (
        lambda: ops.correlate(IMAGES, FILTERS[:0]),
        "^filters: expected at least one filter, got shape",
    ),
    "no taps": (lambda: ops.correlate(IMAGES, FILTERS[:, :, :0]), "^filters: expected at least one element"),
    "no pixels": (lambda: ops.correlate(IMAGES[:, :, :0], FILTERS), "^X: expected at least one element"),
    "no codes": (lambda: ops.convolve(CODES[:, :, :, :0], FILTERS), "^Z: expected at least one element"),
    "boundary": (
        lambda: ops.correlate(IMAGES, FILTERS, boundary="wrap"),
        "^boundary: expected one of 'valid', ",
    ),
    "large filters": (
        lambda: ops.correlate(IMAGES, np.ones((1, 3, 7, 2)), boundary="full"),
        "^filters: with boundary='full' filters must fit into the image; 7 x 2 does not fit into 6 x 7",
    ),
    "large gradient": (
        lambda: ops.filter_gradient(CODES, IMAGES, (2, 8), boundary="full"),
        "^filter_shape: with boundary='full' filters must fit into the image; 2 x 8 does not fit into 6 x 7",
    ),
    "small codes": (
        lambda: ops.convolve(CODES, np.ones((4, 3, 8, 2))),
        "^Z: with boundary='valid' expected codes at least as large as the filters of 8 x 2, got 7 x 8",
    ),
    "codes": (
        lambda: ops.filter_gradient(CODES, IMAGES, 3),
        r"^Z: for X of shape \(2, 3, 6, 7\), filters of 3 x 3 and boundary='valid' expected shape "
        r"\(2, 4, 8, 9\), got \(2, 4, 7, 8\)",
    ),
    "images of another number": (lambda: ops.filter_gradient(CODES[:1], IMAGES, 2), "^Z: for X of shape"),
    "filter_shape": (
        lambda: ops.filter_gradient(CODES, IMAGES, (2, 2, 2)),
        "^filter_shape: expected an integer or 2",
    ),
    "no size": (
        lambda: ops.filter_gradient(CODES, IMAGES, 0),
        "^filter_shape: expected an integer >= 1, got 0",
    ),
    "NaN": (lambda: ops.convolve(CODES * np.nan, FILTERS), "^Z: every element must be finite"),
    "infinite filters": (
        lambda: ops.correlate(IMAGES, FILTERS + np.inf),
        "^filters: every element must be finite",
    ),
    "complex": (lambda: ops.correlate(IMAGES + 0j, FILTERS), "^X: Complex data not supported"),
    "device": (
        lambda: ops.correlate(IMAGES, FILTERS, device="gpu"),
        "^device: expected 'cpu' or 'cuda', got 'gpu'",
    ),
    "threads": (lambda: ops.correlate(IMAGES, FILTERS, n_jobs=0), "^n_jobs: expected a non-zero integer"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_named(case):
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("shape", ["2", (2, "2"), 2.0, None])
def test_a_filter_shape_without_integers(shape):
    with pytest.raises((TypeError, ValueError), match=r"^filter_shape: expected an integer"):
        ops.filter_gradient(CODES, IMAGES, shape)


def test_the_kernels_check_shapes_themselves(kernels):
    out = np.zeros((2, 4, 7, 8))
    for images, filters, codes in itertools.islice(
        itertools.product(
            (IMAGES, IMAGES[:, :2].copy()), (FILTERS, FILTERS[:3].copy()), (out, out[:1].copy())
        ),
        1,
        None,
    ):
        with pytest.raises(ValueError, match=r"^(codes|filters): expected"):
            kernels.correlate(images, filters, codes, kernels.Boundary.valid, 1)
    out.flags.writeable = False
    with pytest.raises(ValueError, match=r"^codes: expected a writeable array"):
        kernels.correlate(IMAGES, FILTERS, out, kernels.Boundary.valid, 1)


# --- on the device


def all_three(X, filters, Z, boundary, device="cuda"):
    return (
        ops.correlate(X, filters, boundary=boundary, device=device),
        ops.convolve(Z, filters, boundary=boundary, device=device),
        ops.filter_gradient(Z, X, filters.shape[2:], boundary=boundary, device=device),
    )


@pytest.mark.parametrize("boundary", ["valid", "circular"])
def test_same_bits_twice_and_in_any_order_of_blocks(rng, dtype, boundary, cuda, monkeypatch):
    X, filters, Z = problem(rng, (2, 2, (19, 70), 20, (6, 7)), boundary, dtype)
    found = []
    for order in ("forward", "forward", "reverse"):
        monkeypatch.setenv("THALWEG_EMULATION_ORDER", order)
        found.append(all_three(X, filters, Z, boundary))
    for again in found[1:]:
        for ours, theirs in zip(again, found[0], strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("is_signal", [False, True])
def test_arrays_on_the_device_come_and_go(rng, dtype, is_signal, cuda):
    X, filters, Z = problem(rng, (2, 2, (1, 40), 3, (1, 4)), "same", dtype)
    if is_signal:
        X, filters, Z = X[:, :, 0], filters[:, :, 0], Z[:, :, 0]
    there = [cuda.to_device(a) for a in (X, filters, Z)]
    for got, expected in zip(all_three(*there, "same"), all_three(X, filters, Z, "same"), strict=True):
        assert isinstance(got, cuda.DeviceArray)
        np.testing.assert_array_equal(got.numpy(), expected)
    got = ops.correlate(there[0], filters, boundary="same", device="cuda")  # filters travel
    np.testing.assert_array_equal(got.numpy(), ops.correlate(X, filters, boundary="same", device="cuda"))
    other = np.float64 if dtype == np.float32 else np.float32
    got = ops.correlate(there[0], cuda.to_device(filters.astype(other)), boundary="same", device="cuda")
    assert got.dtype == dtype


def test_bad_arrays_on_the_device_are_named(cuda):
    images, filters = cuda.to_device(IMAGES), cuda.to_device(FILTERS)
    with pytest.raises(TypeError, match=r"^X: an array on a CUDA device, where device='cpu'"):
        ops.correlate(images, FILTERS)
    with pytest.raises(ValueError, match=r"^X: every element must be finite, but it contains NaN"):
        ops.correlate(cuda.to_device(IMAGES * np.nan), filters, device="cuda")
    with pytest.raises(
        ValueError, match=r"^filters: expected 3 channel\(s\) as X has, got shape \(4, 2, 2, 2\)"
    ):
        ops.correlate(images, cuda.to_device(FILTERS[:, :2].copy()), device="cuda")
    with pytest.raises(ValueError, match=r"^Z: expected \(n, n_filters, height, width\) or"):
        ops.convolve(cuda.to_device(np.ones(7)), filters, device="cuda")
    with pytest.raises(ValueError, match=r"^filters: with boundary='full' filters must fit"):
        ops.correlate(images, cuda.to_device(np.ones((1, 3, 7, 2))), boundary="full", device="cuda")


def test_tiles_of_the_filters_gradient_are_under_way_while_others_are_used(cuda):
    buffers = cuda.probes.filter_gradient_buffers
    assert buffers(1, 2048, 64, 12, False) == 2
    assert buffers(3, 64, 16, 5, True) == 2


def test_a_device_of_little_shared_memory_takes_what_others_take(cuda):
    if not cuda.is_emulated:
        pytest.skip("backend cuda: a device, which has the shared memory that it has")
    tests = Path(__file__).parents[1]
    paths = [Path(ops.__file__).parents[2], tests]
    environment = {
        **os.environ,
        "THALWEG_EMULATION_SHARED": str(99 << 10),
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
    }
    subprocess.run([sys.executable, str(tests / "little_shared_memory.py")], env=environment, check=True)


def test_large_and_small_terms_keep_float32s_accuracy(rng, cuda):
    """Where terms cancel, what is lost is a few units of the largest, as in float32's own arithmetic."""
    X = (rng.normal(size=(1, 1, 20, 40)) * 10.0 ** rng.uniform(-3, 3, (1, 1, 20, 40))).astype(np.float32)
    filters = rng.normal(size=(2, 1, 9, 9)).astype(np.float32)
    moduli = reference.correlate(np.abs(X), np.abs(filters), "valid")
    error = np.abs(ops.correlate(X, filters, device="cuda") - reference.correlate(X, filters, "valid"))
    assert (error <= 8 * np.finfo(np.float32).eps * moduli).all()
