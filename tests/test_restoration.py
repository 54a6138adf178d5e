"""Noise measured and removed, missing pixels filled: on photographs, and at the edges of what is accepted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from command_line import devices_of_kernels, hide_cuda
from thalweg import plots
from thalweg.inference.csc import SparseMaps
from thalweg.preprocessing import split_frequencies
from thalweg.restoration import (
    _conjugate_gradients,
    _convolutional,
    _convolutional_denoising,
    _convolutional_inpainting,
    _fill,
    _images,
    _patches,
    _progress,
    denoise,
    estimate_noise,
    inpaint,
)


@pytest.fixture(scope="module")
def photograph():
    """A colour photograph of 72 x 80 pixels, uint8."""
    from sklearn.datasets import load_sample_images

    return load_sample_images().images[1][150:222, 200:280]


@pytest.fixture(scope="module")
def gray(photograph):
    return photograph @ np.array([0.299, 0.587, 0.114])


def psnr(truth, image):
    """In decibels, for values in [0, 255]."""
    return plots.psnr(truth / 255.0, image / 255.0)


def gaussian(shape, sigma, seed=0):
    return np.random.default_rng(seed).normal(scale=sigma, size=shape)


def half(shape, seed=0):
    return np.random.default_rng(seed).random(shape) < 0.5


# --- noise


@pytest.mark.parametrize("sigma", [5, 15, 25, 50])
def test_noise_of_a_photograph_is_measured(sigma):
    from sklearn.datasets import load_sample_images

    image = load_sample_images().images[1][:256, :256].mean(axis=2)
    noisy = image + gaussian(image.shape, sigma)
    assert estimate_noise(noisy) == pytest.approx(sigma, rel=0.05)


def test_noise_scales_with_the_image_and_ignores_its_level(gray):
    noisy = gray + gaussian(gray.shape, 10)
    assert estimate_noise(noisy / 255 - 3) == pytest.approx(estimate_noise(noisy) / 255, rel=1e-6)


def test_noise_is_not_read_where_the_picture_is_clipped():
    image = np.full((128, 128), 100.0)
    image[:, :64] = 400
    noisy = np.clip(image + gaussian(image.shape, 10), 0, 255).astype(np.uint8)
    assert estimate_noise(noisy) == pytest.approx(10, rel=0.08)


def test_noise_of_colour_is_that_of_its_channels():
    noisy = gaussian((96, 96, 3), 1) * [3, 4, 5]
    assert estimate_noise(noisy) == pytest.approx(np.sqrt(50 / 3), rel=0.05)


def test_a_constant_picture_has_no_noise():
    assert estimate_noise(np.full((9, 5), 7, np.uint8)) == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1, 3)])
def test_noise_needs_squares(shape):
    with pytest.raises(ValueError, match="2 x 2"):
        estimate_noise(np.ones(shape))


# --- denoising


def test_denoising_gains_on_a_photograph(gray):
    noisy = gray + gaussian(gray.shape, 25)
    restored = denoise(noisy, 25, random_state=0)
    assert psnr(gray, restored) > psnr(gray, noisy) + 6
    blind = denoise(noisy, random_state=0)
    assert psnr(gray, blind) > psnr(gray, restored) - 0.3


def test_a_learnt_dictionary_is_better_than_cosines(gray):
    noisy = gray + gaussian(gray.shape, 20)
    cosines = denoise(noisy, 20, dictionary=_patches.overcomplete_dct(8, 256))
    assert psnr(gray, denoise(noisy, 20, random_state=0)) > psnr(gray, cosines) + 0.2


def test_denoising_gains_in_colour(photograph):
    noisy = photograph + gaussian(photograph.shape, 25)
    options = {"n_components": 64, "random_state": 0}
    apart = np.stack([denoise(noisy[..., c], 25, **options) for c in range(3)], axis=2)
    together = denoise(noisy, 25, **options)
    assert psnr(photograph, together) > psnr(photograph, apart) + 0.2  # channels have edges in common


def test_denoising_follows_scale_and_level(gray):
    noisy = gray + gaussian(gray.shape, 25)
    options = {"n_components": 64, "random_state": 0}
    one = denoise(noisy, 25, **options)
    other = denoise(noisy / 255 + 10, 25 / 255, **options)
    assert psnr(one, (other - 10) * 255) > 50


@pytest.mark.parametrize("value", [0.0, 1.0, -3e5, 1 / 3])
def test_constants_stay(value):
    image = np.full((20, 13), value)
    np.testing.assert_allclose(denoise(image, 0.1, random_state=0), image, rtol=1e-14)
    np.testing.assert_array_equal(denoise(image), image)  # no noise is found
    np.testing.assert_allclose(inpaint(image, half(image.shape)), image, rtol=1e-14)


def test_no_noise_to_remove_returns_a_copy(gray):
    restored = denoise(gray, 0)
    np.testing.assert_array_equal(restored, gray)
    assert not np.shares_memory(restored, gray)


@pytest.mark.parametrize("shape", [(1, 1), (1, 20), (9, 2), (1, 1, 3), (7, 8)])
def test_pictures_smaller_than_a_patch(shape):
    image = gaussian(shape, 10) + 100
    restored = denoise(image, 10, n_components=16, random_state=0)
    assert restored.shape == shape
    assert np.isfinite(restored).all()
    if image[..., 0].size > 1:
        assert np.std(restored - 100) < np.std(image - 100)
    mask = np.ones(shape[:2])
    np.testing.assert_array_equal(inpaint(image, mask), image)
    mask[1:] = 0
    filled = inpaint(image, mask, n_components=16, random_state=0)
    assert np.isfinite(filled).all()
    np.testing.assert_array_equal(filled[0], image[0])


# --- inpainting


def test_inpainting_gains_on_the_smooth_fill(gray):
    mask = half(gray.shape)
    damaged = np.where(mask, gray, np.nan)
    smooth = inpaint(damaged, mask, max_iter=0)
    filled = inpaint(damaged, mask, random_state=0)
    assert psnr(gray, filled) > psnr(gray, smooth) + 0.5
    np.testing.assert_array_equal(filled[mask], gray[mask])
    np.testing.assert_array_equal(smooth[mask], gray[mask])


def test_what_is_missing_has_no_influence(gray):
    image, mask = gray[:40, :40], half((40, 40))
    options = {"n_components": 32, "max_iter": 2, "random_state": 0}
    one = inpaint(np.where(mask, image, np.nan), mask, **options)
    other = inpaint(np.where(mask, image, np.inf), mask.astype(float), **options)
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(one, inpaint(image, mask, **options))


@pytest.mark.parametrize("per_channel", [False, True])
def test_inpainting_in_colour(photograph, per_channel):
    mask = half(photograph.shape if per_channel else photograph.shape[:2])
    observed = np.broadcast_to(mask if per_channel else mask[..., np.newaxis], photograph.shape)
    damaged = np.where(observed, photograph, 0).astype(np.uint8)
    filled = inpaint(damaged, mask, n_components=64, max_iter=5, random_state=0)
    assert filled.dtype == np.uint8
    np.testing.assert_array_equal(filled[observed], photograph[observed])
    smooth = inpaint(damaged, mask, max_iter=0)
    assert psnr(photograph, filled) > psnr(photograph, smooth) + 0.3


def test_a_wide_hole_is_filled_within_the_range_of_the_rest(gray):
    mask = np.ones(gray.shape)
    mask[20:50, 20:60] = 0
    filled = inpaint(gray, mask, max_iter=2, random_state=0)
    seen = gray[mask == 1]
    smooth = inpaint(gray, mask, max_iter=0)
    assert seen.min() <= smooth.min()
    assert smooth.max() <= seen.max()
    np.testing.assert_array_equal(filled[mask == 1], seen)
    assert seen.min() <= filled.min()
    assert filled.max() <= seen.max()


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-4), (np.float64, 1e-10)])
def test_conjugate_gradients_solve_equations(dtype, tolerance):
    A = gaussian((9, 6), 1)
    A, exact = (A.T @ A).astype(dtype), gaussian(6, 1).astype(dtype)

    def operator(x):
        return A @ x

    found = _conjugate_gradients.conjugate_gradients(operator, A @ exact, 12)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, exact, atol=tolerance)
    wanted = A @ exact
    rough = _conjugate_gradients.conjugate_gradients(operator, wanted, 12, reduction=0.1)
    left = np.linalg.norm(wanted - A @ rough) / np.linalg.norm(wanted)
    assert 1e-3 < left <= 0.1
    np.testing.assert_array_equal(_conjugate_gradients.conjugate_gradients(operator, 0 * wanted, 12), 0)


def test_the_smooth_fill_solves_its_equations():
    # The Laplacian as a matrix with reflecting borders, and least squares over the free pixels.
    height, width = 6, 7
    laplacian = np.zeros((height * width,) * 2)
    for i in range(height):
        for j in range(width):
            for k, m in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
                if 0 <= k < height and 0 <= m < width:
                    laplacian[i * width + j, k * width + m] += 1
                    laplacian[i * width + j, i * width + j] -= 1
    rng = np.random.default_rng(3)
    image, mask = rng.normal(size=(height, width)), rng.random((height, width)) < 0.7
    free = ~mask.ravel()
    known = laplacian[:, ~free] @ image.ravel()[~free]
    exact = image.copy()
    exact[~mask] = np.linalg.lstsq(laplacian[:, free], -known, rcond=None)[0]
    exact = np.clip(exact, image[mask].min(), image[mask].max())
    np.testing.assert_allclose(_fill.biharmonic_fill(image, mask), exact, atol=5e-3)


# --- convolutional


def test_convolutional_denoising_gains(gray):
    noisy = gray + gaussian(gray.shape, 25)
    restored = denoise(noisy, 25, method="convolutional", random_state=0)
    assert psnr(gray, restored) > psnr(gray, noisy) + 5
    # What averaging over dictionaries brings: one alone is a good deal worse.
    (first,) = learnt_banks(noisy / 25, 1)
    alone = denoise(noisy, 25, dictionary=first)
    assert psnr(gray, restored) > psnr(gray, alone) + 0.15


def learnt_banks(plane, count):
    options = _convolutional.filter_options(None, 8, 16, 0, 1)
    _, high = split_frequencies((plane - plane.mean()).astype(np.float32))
    return [_convolutional.learn(high, 4.0, 12, options, seed) for seed in range(count)]


def test_convolutional_inpainting_gains_on_the_smooth_fill():
    from sklearn.datasets import load_sample_images

    gray = load_sample_images().images[0][150:222, 200:280].mean(axis=2)
    mask = half(gray.shape)
    damaged = np.where(mask, gray, np.nan)
    filled = inpaint(damaged, mask, method="convolutional", random_state=0)
    smooth = inpaint(damaged, mask, method="convolutional", max_iter=0)
    np.testing.assert_array_equal(smooth, inpaint(damaged, mask, max_iter=0))
    assert psnr(gray, filled) > psnr(gray, smooth) + 1
    np.testing.assert_array_equal(filled[mask], gray[mask])


def test_convolutional_repairs_of_colour_keep_kinds_and_what_is_observed(photograph):
    options = {"method": "convolutional", "n_components": 4, "patch_size": 5, "random_state": 0}
    image = photograph[:40, :40]
    noisy = np.clip(image + gaussian(image.shape, 25), 0, 255).astype(np.uint8)
    restored = denoise(noisy, 25, **options)
    assert restored.dtype == np.uint8
    assert psnr(image, restored) > psnr(image, noisy) + 4
    mask = half(image.shape)
    filled = inpaint(np.where(mask, image, 0).astype(np.float32), mask, max_iter=2, **options)
    assert filled.dtype == np.float32
    np.testing.assert_array_equal(filled[mask], image[mask])
    other = inpaint(np.where(mask, image, np.nan).astype(np.float32), mask, max_iter=2, **options)
    np.testing.assert_array_equal(filled, other)


def test_convolutional_seeds_and_threads(gray):
    image, mask = gray[:40, :44] + gaussian((40, 44), 20), half((40, 44))
    for repair in (
        lambda **options: denoise(image, 20, **options),
        lambda **options: inpaint(image, mask, max_iter=2, **options),
    ):
        options = {"method": "convolutional", "n_components": 6, "patch_size": 6}
        one = repair(random_state=1, n_jobs=1, **options)
        np.testing.assert_array_equal(one, repair(random_state=1, n_jobs=2, **options))
        assert not np.array_equal(one, repair(random_state=2, **options))


def test_filters_of_the_user_are_taken_with_unit_norms(gray):
    filters = _patches.overcomplete_dct(5, 12).reshape(12, 1, 5, 5)
    image, mask = gray[:32, :32] + gaussian((32, 32), 20), half((32, 32))
    for repair in (
        lambda **options: denoise(image, 20, **options),
        lambda **options: inpaint(image, mask, max_iter=2, random_state=0, **options),
    ):
        one = repair(dictionary=filters)  # "auto" sees that they are filters
        scaled = repair(dictionary=7.0 * filters, method="convolutional", patch_size=3)
        assert psnr(one, scaled) > 80
        assert not np.array_equal(one, repair(dictionary=filters[:6]))
        assert not np.array_equal(one, repair())


@pytest.mark.parametrize("shape", [(1, 1), (1, 20), (9, 2), (1, 1, 3), (7, 8)])
def test_pictures_smaller_than_a_filter(shape):
    image = gaussian(shape, 10) + 100
    options = {"method": "convolutional", "n_components": 3, "random_state": 0}
    assert np.isfinite(denoise(image, 10, **options)).all()
    mask = np.ones(shape[:2])
    mask[1:] = 0
    filled = inpaint(image, mask, max_iter=2, **options)
    assert np.isfinite(filled).all()
    np.testing.assert_array_equal(filled[0], image[0])


def test_the_refit_is_least_squares_on_the_support(gray):
    rng = np.random.default_rng(0)
    image = (gray[:14, :15] - gray.mean()).astype(np.float32)
    filters = _convolutional.with_unit_norms(rng.normal(size=(3, 1, 4, 3)).astype(np.float32))
    options = _convolutional.filter_options(filters, 4, 3, 0, 1)
    solver = options.solver(filters)
    maps, _ = solver.encode(image[np.newaxis], 60.0)
    assert 3 < maps.nnz < 60
    columns = [
        solver.synthesize(SparseMaps(maps.shape, maps.index[i : i + 1], np.ones(1, np.float32)), image.shape)
        for i in range(maps.nnz)
    ]
    A = np.stack(columns, axis=-1).reshape(image.size, -1).astype(np.float64)
    best = A @ np.linalg.lstsq(A, image.ravel(), rcond=None)[0]
    found = _convolutional.refit(image, maps, solver, 1)
    shrunk = solver.synthesize(maps, image.shape)
    rest = np.linalg.norm(image.ravel() - best)
    assert np.linalg.norm(image - found) < rest + 0.02 * (np.linalg.norm(image - shrunk) - rest)


# --- both


@pytest.mark.parametrize("method", ["patches", "convolutional"])
@pytest.mark.parametrize("exponent", [-1000, -664, 664, 1010])
def test_pictures_of_odd_scale(gray, method, exponent):
    image, mask = gray[:24, :20], half((24, 20))
    odd = np.ldexp(image, exponent)
    options = {"method": method, "n_components": 8, "random_state": 0, "patch_size": 6}
    assert estimate_noise(odd) == np.ldexp(estimate_noise(image), exponent)
    for one, other in [
        (denoise(image, 20, **options), denoise(odd, np.ldexp(20.0, exponent), **options)),
        (inpaint(image, mask, max_iter=2, **options), inpaint(odd, mask, max_iter=2, **options)),
    ]:
        np.testing.assert_array_equal(np.ldexp(one, exponent), other)


def test_scales_that_are_no_powers_of_two(gray):
    image, mask = gray[:24, :20], half((24, 20))
    filled, tiny = (inpaint(a, mask, n_components=64, random_state=0) for a in (image, image * 1e-200))
    np.testing.assert_allclose(tiny * 1e200, filled, atol=0.1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pictures_too_large_for_their_kind(gray, dtype):
    image = (gray / 255 * np.finfo(dtype).max).astype(dtype)
    for repair in (estimate_noise, denoise, lambda a: inpaint(a, half(a.shape))):
        with pytest.raises(ValueError, match="image: expected magnitudes of at most"):
            repair(image)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float16", "float32", "float64"])
def test_dtypes(gray, dtype):
    image = gray[:24, :24].astype(dtype)
    wanted = dtype if dtype != "float16" else "float64"
    before = image.copy()
    assert denoise(image, 10, n_components=16, random_state=0).dtype == wanted
    filled = inpaint(image, half(image.shape), n_components=16, max_iter=1, random_state=0)
    assert filled.dtype == wanted
    np.testing.assert_array_equal(image, before)


def test_whole_numbers_stay_in_their_range():
    checks = (np.indices((24, 24)).sum(axis=0) // 6 % 2 * 255).astype(np.uint8)
    filled = inpaint(checks, half(checks.shape), n_components=32, random_state=0)
    assert set(np.unique(filled)) >= {0, 255}
    assert _images.picture_from(np.array([[[-7.0, 254.5, 254.6, 300.0]]]), checks[:1, :4]).tolist() == [
        [0, 254, 255, 255]
    ]


def test_seeds_and_threads(gray):
    image = gray[:48, :48] + gaussian((48, 48), 20)
    options = {"n_components": 64}
    one = denoise(image, 20, random_state=1, n_jobs=1, **options)
    np.testing.assert_array_equal(one, denoise(image, 20, random_state=1, n_jobs=2, **options))
    assert not np.array_equal(one, denoise(image, 20, random_state=2, **options))
    mask = half(image.shape)
    options["max_iter"] = 2
    one = inpaint(image, mask, random_state=1, n_jobs=1, **options)
    np.testing.assert_array_equal(one, inpaint(image, mask, random_state=1, n_jobs=2, **options))
    assert not np.array_equal(one, inpaint(image, mask, random_state=2, **options))


@pytest.mark.parametrize("dictionary", [None, _patches.overcomplete_dct(8, 32)])
def test_the_callback_is_told_of_the_whole_work(photograph, dictionary):
    options = {"n_components": 32, "dictionary": dictionary, "random_state": 0}
    filters = {"method": "convolutional", "n_components": 2, "random_state": 0}
    image, mask = photograph[:30, :20], half((30, 20))
    for repair in (
        lambda callback: denoise(image, 10, callback=callback, **options),
        lambda callback: inpaint(image, mask, max_iter=2, callback=callback, **options),
        lambda callback: denoise(image, 10, callback=callback, **filters),
        lambda callback: inpaint(image, mask, max_iter=2, callback=callback, **filters),
    ):
        shares = []
        np.testing.assert_array_equal(repair(shares.append), repair(None))
        assert len(shares) > 2
        assert shares == sorted(shares)
        assert shares[-1] == pytest.approx(1)
        assert 0 < shares[0] < 0.6


def test_a_dictionary_of_the_user_is_taken_as_it_is(gray):
    atoms = _patches.overcomplete_dct(6, 100)
    image = gray[:32, :32] + gaussian((32, 32), 20)
    one = denoise(image, 20, dictionary=atoms)
    np.testing.assert_array_equal(one, denoise(image, 20, dictionary=atoms, patch_size=5, n_components=3))
    assert not np.array_equal(one, denoise(image, 20, dictionary=atoms[:50]))
    mask = half(image.shape)
    filled = inpaint(image, mask, dictionary=atoms, max_iter=2, random_state=0)
    assert not np.array_equal(filled, inpaint(image, mask, max_iter=2, n_components=50, random_state=0))


def test_cosines_are_distinct_unit_and_without_mean():
    atoms = _patches.overcomplete_dct(8, 256)
    assert atoms.shape == (256, 64)
    np.testing.assert_allclose(np.linalg.norm(atoms, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(atoms.mean(axis=1), 0, atol=1e-7)
    assert np.abs(atoms @ atoms.T - np.eye(256)).max() < 0.999
    assert _patches.overcomplete_dct(2, 1).shape == (1, 4)


def test_codes_that_float32_loses_are_found(gray):
    rng = np.random.default_rng(0)
    atoms = rng.normal(size=(60, 64)) + rng.normal(size=(1, 64)) * 8  # nearly parallel
    atoms = (atoms / np.linalg.norm(atoms, axis=1, keepdims=True)).astype(np.float32)
    rows = (rng.normal(size=(200, 60)) * 50 @ atoms).astype(np.float32)
    codes, n_atoms = _patches._pursue(rows, atoms, 0.5, 1)
    errors = np.sum((rows - codes.astype(np.float64) @ atoms) ** 2, axis=1)
    assert errors.max() < 0.6
    np.testing.assert_array_equal(np.count_nonzero(codes, axis=1), n_atoms)


def test_the_weighted_mean_is_that_of_the_patches(gray, monkeypatch):
    """Bands, steps and pixels that are not wanted, against a loop over all patches."""
    monkeypatch.setattr(_patches, "_BLOCK", 40)
    plane = (gray[:21, :26] - gray.mean()).astype(np.float32)
    options = _patches.patch_options(None, 5, 20, 0, 1)
    atoms = options.first_dictionary()
    wanted = np.random.default_rng(5).random(plane.shape) < 0.05
    for step in (1, 3):
        grid = _patches.PatchGrid(plane.shape, (5, 5), step)
        sums, weights = np.zeros(plane.shape), np.zeros(plane.shape)
        for i in grid.rows:
            for j in grid.columns:
                place = np.s_[i : i + 5, j : j + 5]
                if not wanted[place].any():
                    continue
                estimate, n_atoms = _patches._estimates(plane[place].reshape(1, -1), atoms, 500.0, 1)
                sums[place] += estimate.reshape(5, 5) / (n_atoms[0] + 1)
                weights[place] += 1 / (n_atoms[0] + 1)
        expected = np.where(weights > 0, sums / np.where(weights > 0, weights, 1), plane)
        found = _patches.average_of_estimates(
            plane, atoms, 500.0, options, _progress.Progress(None, 1), wanted=wanted, step=step
        )
        np.testing.assert_allclose(found, expected, atol=1e-3)
        assert (weights[wanted] > 0).all()


@pytest.mark.parametrize("repair", [denoise, lambda image, **k: inpaint(image, np.ones((9, 9)), **k)])
@pytest.mark.parametrize(
    ("image", "options", "error", "message"),
    [
        (np.ones(9), {}, ValueError, "image: expected .height, width"),
        (np.ones((9, 9, 4)), {}, ValueError, "image: expected .height, width"),
        (np.ones((0, 9)), {}, ValueError, "at least one pixel"),
        (np.ones((9, 9)) * 1j, {}, ValueError, "image: Complex"),
        (np.full((9, 9), np.nan), {}, ValueError, "NaN"),
        (np.full((9, 9), np.inf), {}, ValueError, "infinit|infinity"),
        (
            np.ones((9, 9)),
            {"method": "magic"},
            ValueError,
            "method: expected one of 'auto', 'patches', 'conv",
        ),
        (
            np.ones((9, 9)),
            {"method": "patches", "dictionary": np.ones((2, 1, 3, 3))},
            ValueError,
            "dictionary",
        ),
        (np.ones((9, 9)), {"method": "convolutional", "dictionary": np.eye(4)}, ValueError, "dictionary"),
        (np.ones((9, 9)), {"dictionary": np.ones((2, 3, 3, 3))}, ValueError, "dictionary: expected filters"),
        (np.ones((9, 9)), {"dictionary": np.ones((0, 1, 3, 3))}, ValueError, "dictionary: expected filters"),
        (np.ones((9, 9)), {"dictionary": np.full((1, 1, 3, 3), np.inf)}, ValueError, "dictionary"),
        (np.ones((9, 9)), {"patch_size": 1}, ValueError, "patch_size"),
        (np.ones((9, 9)), {"n_components": 0}, ValueError, "n_components"),
        (np.ones((9, 9)), {"n_components": 2.5}, TypeError, "n_components"),
        (np.ones((9, 9)), {"dictionary": np.ones((4, 60))}, ValueError, "dictionary: expected atoms"),
        (np.ones((9, 9)), {"dictionary": np.ones((0, 64))}, ValueError, "dictionary: expected atoms"),
        (np.ones((9, 9)), {"dictionary": np.full((4, 64), np.nan)}, ValueError, "dictionary"),
        (np.ones((9, 9)), {"random_state": -1}, ValueError, "random_state"),
        (np.ones((9, 9)), {"callback": 3}, TypeError, "callback"),
        (np.ones((9, 9)), {"n_jobs": 0}, ValueError, "n_jobs"),
    ],
)
def test_bad_arguments(repair, image, options, error, message):
    with pytest.raises(error, match=message):
        repair(image, **options)


def test_bad_sigma():
    with pytest.raises(ValueError, match="sigma"):
        denoise(np.ones((9, 9)), -1)
    with pytest.raises(ValueError, match="sigma"):
        denoise(np.ones((9, 9)), np.nan)
    with pytest.raises(TypeError, match="sigma"):
        denoise(np.ones((9, 9)), "25")


@pytest.mark.parametrize("sigma", [1e-300, 1e-6, 1e22, 1e300])
def test_a_sigma_far_from_the_range_of_the_picture(gray, sigma):
    with pytest.raises(ValueError, match=r"^sigma: expected 0, or at least"):
        denoise(gray, sigma)


def test_an_estimate_that_float32_cannot_tell_apart_is_no_noise():
    image = np.add.outer(np.arange(24.0), np.where(np.arange(24) < 12, 0, 1e9)) + gaussian((24, 24), 1e-3)
    np.testing.assert_array_equal(denoise(image), image)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones((9, 8)), "mask: expected shape"),
        (np.ones((9, 9, 1)), "mask: expected shape"),
        (np.zeros((9, 9)), "observed pixel or more"),
        (np.full((9, 9), 255), "1 .observed. and 0"),
        (np.full((9, 9), np.nan), "1 .observed. and 0"),
        (np.full((9, 9), 0.5), "1 .observed. and 0"),
    ],
)
def test_bad_masks(mask, message):
    with pytest.raises(ValueError, match=message):
        inpaint(np.ones((9, 9)), mask)


def test_a_mask_that_empties_one_channel():
    mask = np.ones((9, 9, 3))
    mask[..., 1] = 0
    with pytest.raises(ValueError, match="observed pixel or more in every channel"):
        inpaint(np.ones((9, 9, 3)), mask)


def test_nan_is_an_error_where_it_is_observed_alone():
    image = np.ones((9, 9))
    image[3, 4] = np.nan
    mask = np.ones((9, 9))
    with pytest.raises(ValueError, match="observed pixel must be finite"):
        inpaint(image, mask)
    mask[3, 4] = 0
    np.testing.assert_allclose(inpaint(image, mask), 1, rtol=1e-14)


def test_kodak_photograph(natural_root: Path):
    from PIL import Image

    with Image.open(natural_root / "kodim23.png") as file:
        clean = np.asarray(file.convert("L"), float)[100:228, 100:228]
    noisy = clean + gaussian(clean.shape, 25)
    assert psnr(clean, denoise(noisy, 25, random_state=0)) > psnr(clean, noisy) + 8


# --- devices


REPAIRS = {
    "denoise": lambda image, **options: denoise(image, 20, random_state=0, **options),
    "inpaint": lambda image, **options: inpaint(
        image, half(image.shape[:2]), max_iter=2, random_state=0, **options
    ),
}


@pytest.mark.parametrize("repair", REPAIRS.values(), ids=REPAIRS)
@pytest.mark.parametrize("channels", [(), (3,)], ids=["gray", "colour"])
def test_filters_on_the_device(repair, channels, cuda, monkeypatch):
    monkeypatch.setattr(_convolutional, "_CODING_GAP", 1e-4)
    image = gaussian((8, 9, *channels), 30) + 100
    options = {"dictionary": gaussian((2, 1, 3, 2), 1, seed=1)}
    on_host = repair(image, **options)
    taken = devices_of_kernels(monkeypatch)
    there = repair(image, device="cuda", **options)
    assert taken == {"cuda"}
    assert np.abs(on_host - image).max() > 5
    np.testing.assert_allclose(there, on_host, atol=1.0)


@pytest.mark.parametrize("repair", REPAIRS.values(), ids=REPAIRS)
def test_filters_are_learnt_on_the_device(repair, cuda, monkeypatch):
    for module in (_convolutional_denoising, _convolutional_inpainting):
        monkeypatch.setattr(module, "_BANKS", 1)
        monkeypatch.setattr(module, "_STEPS", 1)
    monkeypatch.setattr(_convolutional_inpainting, "_FIRST_STEPS", 1)
    image = gaussian((8, 9), 30) + 100
    taken = devices_of_kernels(monkeypatch)
    there = repair(image, device="cuda", method="convolutional", patch_size=2, n_components=2)
    assert taken == {"cuda"}
    assert np.abs(there - image).max() > 1


@pytest.mark.parametrize("repair", REPAIRS.values(), ids=REPAIRS)
def test_patches_have_no_kernels_on_the_device(repair, cuda, gray):
    for options in ({}, {"method": "patches"}, {"dictionary": np.eye(16)}):
        with pytest.raises(ValueError, match=r"^device: 'cuda' has no kernels for method 'patches'.*'convol"):
            repair(gray, device="cuda", **options)


@pytest.mark.parametrize("repair", REPAIRS.values(), ids=REPAIRS)
def test_a_device_that_is_not_there_is_an_error(repair, gray, monkeypatch):
    hide_cuda(monkeypatch)
    for method in ("convolutional", "patches"):
        with pytest.raises(RuntimeError, match=r"^device='cuda': .*built without CUDA"):
            repair(gray, device="cuda", method=method)
    with pytest.raises(ValueError, match=r"^device: expected 'cpu' or 'cuda', got 'gpu'"):
        repair(gray, device="gpu")
