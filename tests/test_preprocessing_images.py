"""Frequency split, local contrast normalisation and colours against their definitions."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.sparse.linalg import spsolve
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_info, threadpool_limits

from thalweg import datasets
from thalweg.preprocessing import (
    LocalContrastNormalization,
    LocalContrastStatistics,
    normalize_local_contrast,
    opponent_to_rgb,
    restore_local_contrast,
    rgb_to_opponent,
    rgb_to_ycbcr,
    split_frequencies,
    to_gray,
    ycbcr_to_rgb,
)

SEEDS = st.integers(0, 2**32 - 1)
SIDES = st.integers(1, 12)
WEIGHTS = st.floats(0.05, 200.0)


def roughness(plane):
    """grad^T grad of a signal or an image, as a sparse matrix."""
    total = sp.csc_matrix((np.prod(plane), np.prod(plane)))
    for axis, n in enumerate(plane):
        grad = sp.diags([-np.ones(n - 1), np.ones(n - 1)], [0, 1], shape=(n - 1, n))
        before, after = int(np.prod(plane[:axis])), int(np.prod(plane[axis + 1 :]))
        total = total + sp.kron(sp.kron(sp.eye(before), grad.T @ grad), sp.eye(after))
    return total


def tikhonov(plane, weight, mask):
    """The low frequencies by a direct solve; the mask is of the plane's shape."""
    fidelity = sp.diags(np.square(mask).ravel().astype(float))
    matrix = (fidelity + weight * roughness(mask.shape)).tocsc()
    return spsolve(matrix, fidelity @ plane.ravel()).reshape(plane.shape)


# Frequencies


@given(SEEDS, SIDES, SIDES, WEIGHTS)
def test_low_is_the_direct_solution(seed, height, width, weight):
    image = np.random.default_rng(seed).normal(size=(2, height, width))
    low, high = split_frequencies(image, weight)
    for plane, smooth in zip(image, low):
        np.testing.assert_allclose(smooth, tikhonov(plane, weight, np.ones(plane.shape)), atol=1e-12)
    np.testing.assert_allclose(low + high, image, atol=1e-15)


@given(SEEDS, SIDES, SIDES, WEIGHTS, st.floats(0.1, 1.0), st.booleans(), st.booleans())
def test_low_of_a_masked_image_is_the_direct_solution(seed, height, width, weight, share, soft, shared):
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(2, height, width))
    mask = (rng.random((height, width) if shared else image.shape) < share).astype(float)
    mask[..., rng.integers(height), rng.integers(width)] = 1.0
    if soft:
        mask *= rng.uniform(0.5, 1.0, mask.shape)
    low, high = split_frequencies(image, weight, mask=mask, tol=1e-13)
    masks = np.broadcast_to(mask, image.shape)
    for plane, weights, smooth in zip(image, masks, low):
        np.testing.assert_allclose(smooth, tikhonov(plane, weight, weights), atol=1e-9)
    np.testing.assert_allclose((low + high)[masks > 0], image[masks > 0], atol=1e-15)
    assert not high[masks == 0].any()


@given(SEEDS, st.integers(1, 40), WEIGHTS)
def test_signals(seed, length, weight):
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=(3, length))
    low, _ = split_frequencies(signal, weight, spatial_ndim=1)
    wanted = np.stack([tikhonov(channel, weight, np.ones(length)) for channel in signal])
    np.testing.assert_allclose(low, wanted, atol=1e-12)
    np.testing.assert_array_equal(split_frequencies(signal[0], weight, spatial_ndim=1)[0], low[0])
    mask = rng.random(length) < 0.7
    mask[0] = True
    low, _ = split_frequencies(signal, weight, mask=mask, spatial_ndim=1, tol=1e-13)
    wanted = np.stack([tikhonov(channel, weight, mask) for channel in signal])
    np.testing.assert_allclose(low, wanted, atol=1e-9)


@given(SEEDS, WEIGHTS)
def test_an_image_all_observed_is_split_as_one_without_a_mask(seed, weight):
    image = np.random.default_rng(seed).normal(size=(7, 9))
    plain = split_frequencies(image, weight)
    for masked, unmasked in zip(split_frequencies(image, weight, mask=np.ones((7, 9), bool)), plain):
        np.testing.assert_allclose(masked, unmasked, atol=1e-13)


@given(SEEDS, st.sampled_from([np.nan, np.inf, -1e30, 7.0]), WEIGHTS)
def test_missing_pixels_have_no_influence(seed, filling, weight):
    rng = np.random.default_rng(seed)
    image, mask = rng.normal(size=(2, 8, 6)), rng.random((8, 6)) < 0.5
    mask[3, 2] = True
    before = split_frequencies(image, weight, mask=mask)
    after = split_frequencies(np.where(mask, image, filling), weight, mask=mask)
    for a, b in zip(before, after):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("exponent", [-900, -60, 900])
def test_the_split_scales_with_the_image(rng, masked, exponent):
    image = rng.normal(size=(9, 5))
    mask = rng.random((9, 5)) < 0.6 if masked else None
    low, high = split_frequencies(image, mask=mask)
    scaled_low, scaled_high = split_frequencies(np.ldexp(image, exponent), mask=mask)
    np.testing.assert_array_equal(scaled_low, np.ldexp(low, exponent))
    np.testing.assert_array_equal(scaled_high, np.ldexp(high, exponent))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("weight", [1e-12, 5.0, 1e12, 1.7e308])
def test_a_constant_is_low_for_every_weight(masked, weight):
    mask = np.eye(6) if masked else None
    low, high = split_frequencies(np.full((6, 6), 0.3), weight, mask=mask)
    np.testing.assert_allclose(low, 0.3, atol=1e-15)
    np.testing.assert_allclose(high, 0.0, atol=1e-15)


def test_a_heavy_weight_leaves_the_weighted_mean(rng):
    image, mask = rng.normal(size=(8, 8)), rng.random((8, 8))
    low, _ = split_frequencies(image, 1e300, mask=mask)
    np.testing.assert_allclose(low, np.average(image, weights=mask**2), atol=1e-14)
    np.testing.assert_allclose(split_frequencies(image, 1e300)[0], image.mean(), atol=1e-14)


def test_nothing_wraps_around():
    image = np.zeros((5, 64))
    image[:, :8] = 1.0
    assert np.abs(split_frequencies(image, 5.0)[0][:, -8:]).max() < 1e-8


@pytest.mark.parametrize("masked", [False, True])
def test_the_split_keeps_float32_and_its_input(rng, masked):
    image = rng.normal(size=(3, 20, 30)).astype(np.float32)
    mask = rng.random((20, 30)).astype(np.float32) if masked else None
    kept = image.copy(), None if mask is None else mask.copy()
    single = split_frequencies(image, mask=mask)
    double = split_frequencies(image.astype(np.float64), mask=mask)
    for a, b in zip(single, double):
        assert (a.dtype, b.dtype) == (np.float32, np.float64)
        np.testing.assert_allclose(a, b, atol=2e-6)
    np.testing.assert_array_equal(image, kept[0])
    np.testing.assert_array_equal(mask, kept[1])
    image.flags.writeable = False
    np.testing.assert_array_equal(split_frequencies(image[:, ::2], mask=None)[0].shape, (3, 10, 30))


def test_the_bits_do_not_depend_on_threads(rng):
    # Large enough for threads in BLAS's scalar products.
    image, mask = rng.normal(size=(160, 160)), rng.random((160, 160)) < 0.5
    with threadpool_limits(1, user_api="blas"):
        alone = split_frequencies(image, mask=mask)[0]
    before = [pool["num_threads"] for pool in threadpool_info()]
    with ThreadPoolExecutor(3) as pool:
        lows = list(pool.map(lambda _: split_frequencies(image, mask=mask)[0], range(6)))
    assert all(np.array_equal(low, alone) for low in lows)
    assert [pool["num_threads"] for pool in threadpool_info()] == before


def test_conjugate_gradients_that_do_not_arrive_warn(rng):
    image, mask = rng.normal(size=(30, 30)), np.zeros((30, 30))
    mask[:4] = 1.0
    with pytest.warns(ConvergenceWarning, match=r"relative residual of .* in 2 iterations"):
        split_frequencies(image, 0.1, mask=mask, max_iter=2)


def test_one_pixel():
    low, high = split_frequencies([[2.5]])
    np.testing.assert_allclose([low.item(), high.item()], [2.5, 0.0], atol=1e-14)
    low, high = split_frequencies([[2.5]], mask=[[0.5]])
    np.testing.assert_allclose([low.item(), high.item()], [2.5, 0.0], atol=1e-14)


IMAGE = np.ones((3, 4, 5))


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (np.ones(4), {}, r"image: expected \(height, width\) or .* got shape \(4,\)"),
        (np.ones((1, 1, 2, 2)), {}, r"image: .* got shape \(1, 1, 2, 2\)"),
        (np.ones((0, 3)), {}, "image: expected at least one pixel"),
        (IMAGE, {"spatial_ndim": 1}, r"image: expected \(length,\) or \(channels, length\)"),
        (IMAGE, {"spatial_ndim": 3}, "spatial_ndim: expected an integer <= 2"),
        (IMAGE * np.nan, {}, "image: every element must be finite"),
        (IMAGE * 1j, {}, "image: Complex data"),
        (IMAGE * 1.7e308, {}, "image: expected magnitudes of at most"),
        (IMAGE, {"weight": 0.0}, "weight: expected a number > 0"),
        (IMAGE, {"weight": np.inf}, "weight: expected a finite number"),
        (IMAGE, {"tol": 0.0}, "tol: expected a number > 0"),
        (IMAGE, {"max_iter": 0}, "max_iter: expected an integer >= 1"),
        (
            IMAGE,
            {"mask": np.zeros((4, 5))},
            "mask: expected an observed pixel in every channel, got all zeros",
        ),
        (
            IMAGE,
            {"mask": IMAGE * np.array([1, 0, 1])[:, None, None]},
            "mask: expected an observed pixel in every channel",
        ),
        (
            IMAGE,
            {"mask": np.ones((5, 4))},
            r"mask: expected shape \(3, 4, 5\) or \(4, 5\), as the image has it, got \(5, 4\)",
        ),
        (IMAGE[0], {"mask": IMAGE}, r"mask: expected shape \(4, 5\), as the image has it, got \(3, 4, 5\)"),
        (IMAGE, {"mask": np.full((4, 5), 1.5)}, r"mask: expected weights in \[0, 1\], got 1.5"),
        (IMAGE, {"mask": np.full((4, 5), -0.5)}, r"mask: expected weights in \[0, 1\], got -0.5"),
        (IMAGE, {"mask": np.full((4, 5), np.nan)}, "mask: every element must be finite"),
        (IMAGE * np.nan, {"mask": np.ones((4, 5))}, "image: every observed pixel must be finite, .* NaN"),
        (IMAGE * np.inf, {"mask": np.full((4, 5), 0.1)}, "image: every observed pixel .* infinity"),
    ],
)
def test_what_cannot_be_split_is_refused(image, options, message):
    with pytest.raises(ValueError, match=message):
        split_frequencies(image, **options)


# Local contrast


def reflected(n, radius):
    """Indices that a window of this radius reads, for each of n pixels."""
    index = np.add.outer(np.arange(n), np.arange(-radius, radius + 1)) % (2 * n)
    return np.where(index < n, index, 2 * n - 1 - index)


def blurred(plane, size, sigma):
    radius = size // 2
    window = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    window /= window.sum()
    rows, columns = reflected(plane.shape[0], radius), reflected(plane.shape[1], radius)
    patches = plane[rows[:, None, :, None], columns[None, :, None, :]]
    return np.einsum("ijpq,p,q->ij", patches, window, window)


def local_contrast(image, size, sigma, min_contrast, joint_mean):
    """The definition, for (channels, height, width)."""
    mean = np.stack([blurred(plane, size, sigma) for plane in image])
    if joint_mean:
        mean = np.broadcast_to(mean.mean(axis=0), image.shape)
    v = image - mean
    deviation = np.sqrt(np.mean([blurred(plane**2, size, sigma) for plane in v], axis=0))
    return v / np.maximum(np.maximum(deviation.mean(), deviation), min_contrast * np.abs(image).max())


@given(
    SEEDS,
    SIDES,
    SIDES,
    st.integers(0, 4),
    st.floats(0.3, 5.0),
    st.sampled_from([1e-4, 0.5]),
    st.booleans(),
)
def test_local_contrast_is_its_definition(seed, height, width, radius, sigma, least, joint):
    image = np.random.default_rng(seed).normal(size=(3, height, width))
    options = {
        "window_size": 2 * radius + 1,
        "window_sigma": sigma,
        "min_contrast": least,
        "joint_mean": joint,
    }
    normalized, statistics = normalize_local_contrast(image, **options)
    wanted = local_contrast(image, 2 * radius + 1, sigma, least, joint)
    np.testing.assert_allclose(normalized, wanted, atol=1e-9)
    np.testing.assert_allclose(restore_local_contrast(normalized, statistics), image, atol=1e-13)


@given(SEEDS, st.floats(-5.0, 5.0), st.floats(1e-3, 1e3))
def test_brightness_and_contrast_of_the_whole_image_do_not_matter(seed, offset, factor):
    image = np.random.default_rng(seed).normal(size=(15, 12))
    normalized, _ = normalize_local_contrast(image, min_contrast=0.0)
    again, _ = normalize_local_contrast(factor * (image + offset), min_contrast=0.0)
    np.testing.assert_allclose(again, normalized, atol=1e-9)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e300, 1e-320])
def test_an_image_without_contrast_becomes_zero(value, dtype):
    value = min(value, 1e30) if dtype == np.float32 else value
    image = np.full((2, 16, 16), value, dtype)
    normalized, statistics = normalize_local_contrast(image)
    assert np.abs(normalized).max() <= 4 * np.finfo(dtype).eps / 1e-4
    np.testing.assert_allclose(restore_local_contrast(normalized, statistics), image, rtol=1e-6)


def test_the_joint_mean_of_gray_is_its_own(rng):
    image = rng.normal(size=(10, 12))
    own, _ = normalize_local_contrast(image)
    joint, _ = normalize_local_contrast(image, joint_mean=True)
    np.testing.assert_array_equal(own, joint)


def test_local_contrast_keeps_float32_and_its_input(rng):
    image = rng.normal(size=(3, 20, 30)).astype(np.float32)
    kept = image.copy()
    for joint in (False, True):
        single, statistics = normalize_local_contrast(image, joint_mean=joint)
        double, _ = normalize_local_contrast(image.astype(np.float64), joint_mean=joint)
        assert single.dtype == statistics.mean.dtype == statistics.divisor.dtype == np.float32
        assert double.dtype == np.float64
        np.testing.assert_allclose(single, double, atol=1e-5)
        assert restore_local_contrast(single, statistics).dtype == np.float32
    np.testing.assert_array_equal(image, kept)


@pytest.mark.parametrize("shape", [(4, 9, 11), (4, 3, 9, 11)])
def test_a_batch_is_its_images(rng, shape):
    X = rng.normal(size=shape)
    transformer = LocalContrastNormalization(window_size=5, joint_mean=True)
    Y, statistics = transformer.transform(X, return_statistics=True)
    for x, y in zip(X, Y):
        np.testing.assert_array_equal(y, normalize_local_contrast(x, window_size=5, joint_mean=True)[0])
    np.testing.assert_array_equal(transformer.transform(list(X)), Y)
    np.testing.assert_allclose(transformer.inverse_transform(Y, statistics), X, atol=1e-13)


def test_a_list_of_unequal_images(rng):
    X = [rng.normal(size=(3, 8, 9)), rng.normal(size=(5, 4)).astype(np.float32), rng.normal(size=(1, 1, 1))]
    transformer = LocalContrastNormalization()
    Y, statistics = transformer.transform(X, return_statistics=True)
    assert [(y.shape, y.dtype) for y in Y] == [(x.shape, x.dtype) for x in X]
    for x, back in zip(X, transformer.inverse_transform(Y, statistics)):
        np.testing.assert_allclose(back, x, atol=1e-6)


def test_the_transformer_is_one_of_scikit_learn(rng):
    X = rng.normal(size=(4, 3, 9, 11))
    transformer = clone(LocalContrastNormalization(window_size=5, window_sigma=1.5))
    assert transformer.get_params() == {
        "window_size": 5,
        "window_sigma": 1.5,
        "min_contrast": 1e-4,
        "joint_mean": False,
    }
    Y = transformer.transform(X)
    assert transformer.fit(X) is transformer
    assert set(vars(transformer)) == set(transformer.get_params())
    np.testing.assert_array_equal(make_pipeline(transformer).fit_transform(X), Y)
    np.testing.assert_array_equal(
        transformer.set_params(window_size=7).transform(X), transformer.fit_transform(X)
    )


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"window_size": 4}, "window_size: expected an odd number of pixels, got 4"),
        ({"window_size": 0}, "window_size: expected an integer >= 1"),
        ({"window_size": 2**20 + 1}, "window_size: expected an integer <= 4095"),
        ({"window_sigma": 0.0}, "window_sigma: expected a number > 0"),
        ({"min_contrast": -1.0}, "min_contrast: expected a number >= 0"),
        ({"joint_mean": "yes"}, "joint_mean: expected one of False, True"),
    ],
)
def test_windows_that_are_none_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        normalize_local_contrast(IMAGE, **parameters)
    for call in (LocalContrastNormalization.fit, LocalContrastNormalization.transform):
        with pytest.raises(ValueError, match=message):
            call(LocalContrastNormalization(**parameters), IMAGE)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.ones((4, 5)), r"X: expected \(n, height, width\), .* got shape \(4, 5\)"),
        (3.0, r"X: expected \(n, height, width\)"),
        ([], "X: expected at least one image"),
        (np.ones((0, 3, 4)), "X: expected at least one image"),
        (np.ones((2, 0, 4)), r"X\[0\]: expected at least one pixel"),
        ([IMAGE, IMAGE[0, 0]], r"X\[1\]: expected \(height, width\)"),
        ([IMAGE, IMAGE * np.nan], r"X\[1\]: every element must be finite"),
        ([IMAGE, IMAGE * 1e308], r"X\[1\]: expected magnitudes of at most"),
    ],
)
def test_what_are_no_images_is_refused(X, message):
    with pytest.raises(ValueError, match=message):
        LocalContrastNormalization().transform(X)


def test_statistics_of_other_images_are_refused(rng):
    X = rng.normal(size=(3, 6, 7))
    transformer = LocalContrastNormalization()
    Y, statistics = transformer.transform(X, return_statistics=True)
    with pytest.raises(ValueError, match="statistics: expected one for each of 3 images, got 2"):
        transformer.inverse_transform(Y, statistics[:2])
    with pytest.raises(ValueError, match=r"X\[0\]: expected shape \(6, 7\), as the statistics have it"):
        transformer.inverse_transform(Y[:, :5], statistics)
    with pytest.raises(TypeError, match=r"statistics\[1\]: expected LocalContrastStatistics, got int"):
        transformer.inverse_transform(Y, [statistics[0], 1, statistics[2]])
    large = LocalContrastStatistics(np.zeros((6, 7)), np.full((6, 7), 1e308))
    with pytest.raises(ValueError, match="normalized: its product with the divisor overflows float64"):
        restore_local_contrast(100 * np.ones((6, 7)), large)


# Colours


PAIRS = [(rgb_to_ycbcr, ycbcr_to_rgb), (rgb_to_opponent, opponent_to_rgb)]


@pytest.mark.parametrize(("there", "back"), PAIRS)
@pytest.mark.parametrize(("shape", "axis"), [((3, 5, 4), -3), ((2, 3, 5, 4), -3), ((5, 4, 3), -1), ((3,), 0)])
def test_colours_come_back(rng, dtype, there, back, shape, axis):
    image = rng.random(shape).astype(dtype)
    for first, second in ((there, back), (back, there)):
        made = first(image, channel_axis=axis)
        assert made.shape == shape
        assert made.dtype == dtype
        assert made.flags.c_contiguous
        returned = second(made, channel_axis=axis)
        np.testing.assert_allclose(returned, image, rtol=0, atol=8 * np.finfo(dtype).eps)


@pytest.mark.parametrize("convert", [*(f for pair in PAIRS for f in pair), to_gray])
def test_the_axis_of_the_channels_is_where_it_is_said_to_be(rng, convert):
    image = rng.random((3, 5, 4))
    last = convert(np.moveaxis(image, 0, -1), channel_axis=-1)
    wanted = convert(image)
    np.testing.assert_array_equal(last, wanted if convert is to_gray else np.moveaxis(wanted, 0, -1))
    np.testing.assert_array_equal(convert(image[None])[0], wanted)


def test_ycbcr_is_that_of_jpeg(rng):
    pixels = rng.integers(0, 256, (40, 50, 3)).astype(np.uint8)
    pixels[0, :8] = np.indices((2, 2, 2)).reshape(3, 8).T * 255
    eight_bits = np.asarray(Image.fromarray(pixels).convert("YCbCr")).astype(float)
    # Neutral chroma is 128 there, and Pillow, which works with 6 bits more, cuts the fraction off.
    fraction = 255 * rgb_to_ycbcr(pixels / 255, channel_axis=-1) + [0.0, 0.5, 0.5] - eight_bits
    assert fraction.min() >= -0.05
    assert fraction.max() <= 1.05


@given(SEEDS)
def test_ycbcr_stays_within_its_range(seed):
    rng = np.random.default_rng(seed)
    image = np.clip(rng.normal(0.5, 1.0, (3, 6, 6)), 0.0, 1.0)
    made = rgb_to_ycbcr(image)
    assert made.min() >= -1e-15
    assert made.max() <= 1.0 + 1e-15
    np.testing.assert_allclose(made[0], to_gray(image), atol=1e-15)
    gray = rgb_to_ycbcr(np.broadcast_to(image[:1], image.shape))
    np.testing.assert_allclose(gray[1:], 0.5, atol=1e-15)


def test_gray_is_that_of_the_data_sets():
    for color, gray in zip(datasets.sample_images(), datasets.sample_images(color=False)):
        # Read as gray, values are rounded to 8 bits.
        assert np.abs(to_gray(color, channel_axis=-1) - gray).max() <= 0.51 / 255


@given(SEEDS)
def test_opponent_colours_keep_lengths(seed):
    image = np.random.default_rng(seed).normal(size=(3, 5, 5))
    made = rgb_to_opponent(image)
    np.testing.assert_allclose((made**2).sum(axis=0), (image**2).sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(made[0], image.sum(axis=0) / np.sqrt(3), atol=1e-14)
    gray = rgb_to_opponent(np.broadcast_to(image[:1], image.shape))
    np.testing.assert_allclose(gray[1:], 0.0, atol=1e-14)


@pytest.mark.parametrize(
    ("color", "signs"),
    [
        ([1.0, 0, 0], (1, 1, -1)),
        ([0, 1.0, 0], (1, -1, -1)),
        ([0, 0, 1.0], (1, 0, 1)),
        ([1.0, 1, 0], (1, 0, -1)),
    ],
)
def test_signs_of_opponent_colours(color, signs):
    assert tuple(np.sign(rgb_to_opponent(color, channel_axis=0).round(12)).astype(int)) == signs


@pytest.mark.parametrize("convert", [*(f for pair in PAIRS for f in pair), to_gray])
def test_what_has_no_colours_is_refused(convert):
    with pytest.raises(ValueError, match=r"image: expected 3 channels on axis channel_axis=-3, got 2"):
        convert(np.ones((2, 4, 4)))
    with pytest.raises(
        ValueError, match=r"image: expected an axis channel_axis=-3 of 3 channels, .* \(3, 3\)"
    ):
        convert(np.ones((3, 3)))
    with pytest.raises(ValueError, match="image: every element must be finite"):
        convert(np.full((3, 2, 2), np.inf))
    with pytest.raises(TypeError, match="channel_axis: expected an integer"):
        convert(IMAGE, channel_axis=1.0)


@pytest.mark.parametrize("convert", [rgb_to_ycbcr, ycbcr_to_rgb])
def test_chroma_wants_white_at_one(convert):
    with pytest.raises(ValueError, match="image: expected white at 1, got uint8 up to 255"):
        convert(np.full((3, 2, 2), 255, np.uint8))
    np.testing.assert_array_equal(convert(np.ones((3, 2, 2), np.uint8)), convert(np.ones((3, 2, 2))))


def test_colours_that_overflow_are_refused():
    image = np.full((3, 2, 2), 3e38, np.float32)
    for convert in (rgb_to_opponent, opponent_to_rgb, ycbcr_to_rgb):
        with pytest.raises(ValueError, match="its colours overflow float32"):
            convert(image)
    assert np.isfinite(rgb_to_ycbcr(image)).all()
