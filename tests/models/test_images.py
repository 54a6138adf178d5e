"""Images at the door of convolutional models: what is taken, how results are given back, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from thalweg.models._images import as_images


def pixels(*shape: int, dtype: Any = np.float64) -> Any:
    return np.arange(np.prod(shape), dtype=dtype).reshape(shape)


@pytest.mark.parametrize("ndim", [1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_batch_comes_and_goes(ndim: int, dtype: Any) -> None:
    X = pixels(4, 3, *(5, 6)[:ndim], dtype=dtype)
    images, layout = as_images(X, ndim=ndim)
    assert [image.shape for image in images] == [(3, 5, 6) if ndim == 2 else (3, 1, 5)] * 4
    assert all(image.dtype == dtype and np.shares_memory(image, X) for image in images)
    np.testing.assert_array_equal(layout.images(images), X)
    np.testing.assert_array_equal(layout.maps(images), X)
    gray, layout = as_images(X[:, 0], ndim=ndim)
    assert gray[0].shape == ((1, 5, 6) if ndim == 2 else (1, 1, 5))
    np.testing.assert_array_equal(layout.images(gray), X[:, 0])
    np.testing.assert_array_equal(layout.maps(gray), X[:, :1])


def test_a_list_comes_and_goes() -> None:
    X = [pixels(2, 4, 5), pixels(2, 6, 3)]
    images, layout = as_images(X)
    back = layout.images(images)
    assert isinstance(back, list)
    assert all(np.array_equal(a, b) for a, b in zip(back, X))
    gray, layout = as_images([image[0] for image in X])
    assert [image.shape for image in gray] == [(1, 4, 5), (1, 6, 3)]
    assert [image.shape for image in layout.images(gray)] == [(4, 5), (6, 3)]
    assert [image.shape for image in layout.maps(gray)] == [(1, 4, 5), (1, 6, 3)]


def test_the_dtype_is_that_of_all() -> None:
    single, double = pixels(3, 3, dtype=np.float32), pixels(3, 3)
    assert {image.dtype for image in as_images([single, single])[0]} == {np.dtype(np.float32)}
    assert {image.dtype for image in as_images([single, double])[0]} == {np.dtype(np.float64)}
    assert {image.dtype for image in as_images([single, double], dtype=np.float32)[0]} == {
        np.dtype(np.float32)
    }
    assert as_images(pixels(2, 3, 3).astype(np.uint8))[0][0].dtype == np.float64
    assert as_images([[[1, 2], [3, 4]]])[0][0].tolist() == [[[1.0, 2.0], [3.0, 4.0]]]


def test_any_strides_are_taken() -> None:
    X = pixels(2, 6, 8)[:, ::2, ::-1]
    images, _ = as_images(X)
    assert all(image.flags.c_contiguous for image in images)
    np.testing.assert_array_equal(images[1][0], X[1])


@pytest.mark.parametrize(
    ("X", "options", "error", "message"),
    [
        (pixels(4, 4), {}, ValueError, r"X: expected shape \(n, channels, height, width\) or \(n, height"),
        (pixels(2, 2, 2, 4, 4), {}, ValueError, "X: expected shape"),
        (pixels(2, 0, 4), {}, ValueError, "X: expected at least one pixel"),
        (pixels(0, 4, 4), {}, ValueError, "X: expected at least one image"),
        ([], {}, ValueError, "X: expected at least one image"),
        ([pixels(4)], {}, ValueError, r"X\[0\]: expected shape \(channels, height, width\) or \(height"),
        ([pixels(4, 4), pixels(1, 4, 4)], {}, ValueError, r"X\[1\]: expected 2 dimensions, as X\[0\] has"),
        ([pixels(1, 4, 4), pixels(3, 4, 4)], {}, ValueError, r"X\[1\]: expected 1 channel"),
        (pixels(2, 3, 4, 4), {"channels": 1}, ValueError, r"X: expected 1 channel"),
        (pixels(2, 4, 4) * np.nan, {}, ValueError, "X: every element must be finite"),
        (pixels(2, 4, 4) * 1j, {}, ValueError, "X: Complex data not supported"),
        (["an", "image"], {}, ValueError, r"X\[0\]: expected shape"),
        (None, {}, ValueError, "X: expected shape"),
        (pixels(3), {"ndim": 1}, ValueError, r"X: expected shape \(n, channels, length\) or \(n, length\)"),
        ([pixels(2, 2, 2)], {"ndim": 1}, ValueError, r"X\[0\]: expected shape \(channels, length\) or"),
    ],
)
def test_what_is_no_image_is_refused(X: Any, options: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        as_images(X, **options)


def test_pixels_that_are_not_finite_pass_where_asked() -> None:
    X = pixels(2, 3, 3)
    X[0, 1, 1] = np.nan
    images, _ = as_images(X, is_finite=False)
    np.testing.assert_array_equal(images[0][0], X[0])
    with pytest.raises(ValueError, match="X: Complex data"):
        as_images(X * 1j, is_finite=False)
