import numpy as np
import pytest

from reference import patches as reference
from thalweg.preprocessing import extract_patches, reconstruct_from_patches


@pytest.mark.parametrize("shape", [(20, 31), (20, 31, 3), (5, 7), (9, 5, 1)])
@pytest.mark.parametrize(("size", "step"), [((5, 5), 1), ((3, 4), 2), ((1, 1), 1), ((5, 3), 3)])
def test_native_is_the_reference(rng, dtype, shape, size, step):
    image = rng.normal(size=shape).astype(dtype)
    patches, grid = extract_patches(image, size, step=step)
    positions = reference.grid(shape, size, step)
    assert patches.dtype == dtype
    assert grid.n_patches == len(positions)
    np.testing.assert_array_equal(patches, reference.extract(image, size, positions))
    noisy = patches + rng.normal(size=patches.shape).astype(dtype)
    back = reconstruct_from_patches(noisy, grid)
    assert back.dtype == dtype
    np.testing.assert_allclose(back, reference.average(noisy, shape, size, positions), rtol=1e-6, atol=1e-6)


def test_several_images_of_different_size(rng):
    images = [rng.random((12, 9)), rng.random((7, 20)).astype(np.float32)]
    patches, grids = extract_patches(images, 4, step=3)
    assert [g.n_patches for g in grids] == [4 * 3, 2 * 7]
    back = reconstruct_from_patches(patches, grids)
    for image, copy in zip(images, back, strict=True):
        np.testing.assert_allclose(copy, image, rtol=1e-15)


def test_random_patches_come_from_the_images(rng):
    images = [np.full((10, 10), 1.0), np.full((30, 40), 2.0)]
    patches, grid = extract_patches(images, 5, max_patches=4000, random_state=1)
    assert grid is None
    assert patches.shape == (4000, 25)
    share = np.mean(patches[:, 0] == 1.0)
    expected = 36 / (36 + 26 * 36)
    assert abs(share - expected) < 5 * np.sqrt(expected / 4000)
    again, _ = extract_patches(images, 5, max_patches=4000, random_state=1)
    np.testing.assert_array_equal(patches, again)
    other, _ = extract_patches(images, 5, max_patches=4000, random_state=2)
    assert (other != patches).any()


def test_same_bits_for_any_number_of_threads(rng, dtype):
    image = rng.random((64, 48, 3)).astype(dtype)
    results = []
    for n_jobs in (1, 2, 3):
        patches, grid = extract_patches(image, 8, n_jobs=n_jobs)
        results.append(reconstruct_from_patches(patches * dtype.type(1.1), grid, n_jobs=n_jobs))
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_integers_strides_and_read_only_images(rng):
    image = rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)
    patches, _ = extract_patches(image[::2, ::-1], 4)
    assert patches.dtype == np.float64
    image.flags.writeable = False
    assert extract_patches(image, 4, dtype=np.float32)[0].dtype == np.float32


@pytest.mark.parametrize(
    ("images", "size", "options", "message"),
    [
        (np.zeros((4, 4)), 5, {}, r"images\[0\]: a patch of 5 x 5 does not fit into 4 x 4"),
        (np.zeros(4), 2, {}, r"images"),
        ([], 2, {}, "at least one image"),
        ([np.zeros((4, 4)), np.zeros((4, 4, 3))], 2, {}, "same number of channels"),
        (np.zeros((4, 4)), 0, {}, "patch_size"),
        (np.zeros((4, 4)), (2, 2, 2), {}, "patch_size"),
        (np.zeros((4, 4)), 2, {"step": 0}, "step"),
        (np.zeros((4, 4)), 2, {"max_patches": 0}, "max_patches"),
        (np.full((4, 4), np.nan), 2, {}, "NaN"),
        (np.zeros((4, 4), complex), 2, {}, "Complex"),
        (
            np.zeros((4, 4)),
            2,
            {"dtype": np.float16},
            "^dtype: expected float32, float64 or None, got .*float16",
        ),
        (np.zeros((4, 4)), 2, {"dtype": "pixels"}, "^dtype: expected float32, float64 or None, got 'pixels'"),
        (np.full((4, 4), 1e300), 2, {"dtype": np.float32}, r"^images\[0\]: overflows float32"),
        ([[[0.0, 1.0], [2.0]]], 2, {}, r"^images\[0\]: expected an array of numbers"),
        (np.ma.masked_less(np.eye(4), 1), 2, {}, r"^images\[0\]: expected no masked elements"),
    ],
)
def test_bad_images_are_named(images, size, options, message):
    with pytest.raises(ValueError, match=message):
        extract_patches(images, size, **options)


def test_a_grid_with_holes_cannot_be_put_back():
    patches, grid = extract_patches(np.zeros((9, 9)), 2, step=3)
    with pytest.raises(ValueError, match="grid rows: "):
        reconstruct_from_patches(patches, grid)


def test_patches_that_do_not_fit_the_grid():
    patches, grid = extract_patches(np.zeros((6, 6)), 3)
    with pytest.raises(ValueError, match=r"patches: expected shape \(16, 9\)"):
        reconstruct_from_patches(patches[:-1], grid)
