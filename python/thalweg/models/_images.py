"""Images and signals at the door of convolutional models: a batch, or a list of unequal sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _check, _device
from .._check import FloatArray, is_device_array

_SIZES = {1: "length", 2: "height, width"}


@dataclass(frozen=True)
class Layout:
    """How X came, which is how results are given back."""

    ndim: int  # 2 for images, 1 for signals
    is_stacked: bool  # one array, where a list of images may have unequal sizes
    has_channels: bool  # gray images may come without that axis

    def maps(self, results: list[FloatArray]) -> Any:
        """Results of shape (maps, height, width), one for each image: codes, say."""
        return self._given_back(results)

    def images(self, results: list[FloatArray]) -> Any:
        """Images of shape (channels, height, width), with the axis of the channels where X had it."""
        return self._given_back(results if self.has_channels else [result[0] for result in results])

    def _given_back(self, results: list[FloatArray]) -> Any:
        if self.ndim == 1:
            results = [result[..., 0, :] for result in results]
        return np.stack(results) if self.is_stacked else results


class MapsThere:
    """Maps of every image, shapes `(maps, height, width)`, in the memory of the GPU, given back as X came.

    Those of a stack there are made in one array.
    """

    def __init__(self, X: Any, layout: Layout, shapes: list[tuple[int, ...]], dtype: Any) -> None:
        self._X, self._layout, self._shapes, self._dtype = X, layout, shapes, dtype
        self._made: list[Any] = []
        is_whole = layout.is_stacked and is_device_array(X)
        self._whole = _device.output(None, (len(shapes), *shapes[0]), dtype) if is_whole else None

    def room(self) -> Any:
        """Where the maps of the next image go, (1, maps, height, width)."""
        i = len(self._made)
        if self._whole is not None:
            return self._whole[i : i + 1]
        return _device.output(None, (1, *self._shapes[i]), self._dtype)

    def keep(self, maps: Any) -> None:
        """What `room` gave, now filled; of an image of the host they are brought there."""
        i = len(self._made)
        if self._whole is None:
            shape = self._shapes[i] if self._layout.ndim == 2 else (self._shapes[i][0], self._shapes[i][2])
            maps = _device.give_back(maps.reshape(shape), None if self._layout.is_stacked else self._X[i])
        self._made.append(maps)

    def given_back(self) -> Any:
        """All of them."""
        if self._whole is not None:
            n, maps, height, width = self._whole.shape
            shape = (n, maps, height, width) if self._layout.ndim == 2 else (n, maps, width)
            return _device.give_back(self._whole.reshape(shape), self._X)
        return np.stack(self._made) if self._layout.is_stacked else self._made


def as_images(
    X: Any,
    *,
    channels: int | None = None,
    ndim: int = 2,
    dtype: Any = None,
    name: str = "X",
    is_finite: bool = True,
    device: str = "cpu",
) -> tuple[list[FloatArray], Layout]:
    """X as a list of C-contiguous images (channels, height, width), and how to give results back.

    Parameters
    ----------
    X : array-like of shape (n, channels, height, width) or (n, height, width), or list of such images
        With `ndim` 1 signals, (n, channels, length) or (n, length), or a list, which become images of
        height 1.
        The images of a list may have unequal sizes, and have the same number of channels.
    channels : int, default=None
        Number of channels to ask for; None takes any.
    ndim : {2, 1}, default=2
        Axes of an image, or of a signal, apart from its channels.
    dtype : dtype, default=None
        float32 or float64; None stands for float32 where all images are float32, else float64.
    name : str, default="X"
        What messages call X.
    is_finite : bool, default=True
        Whether pixels that are not finite are refused.
    device : {"cpu", "cuda"}, default="cpu"
        With "cuda" arrays in the memory of the GPU are let through, and stay there.

    Returns
    -------
    images : list of array of shape (channels, height, width)
        Not copied where an image is C-contiguous and of that dtype.
    layout : Layout

    Raises
    ------
    TypeError, ValueError
        Where X is no array of numbers and no list of images, has no image or an image has no pixel, a number
        of axes or of channels is wrong, or a pixel is not finite.
    """
    is_stacked = not isinstance(X, list | tuple)
    if is_stacked:
        X = _array(X, name, device, dtype)
        _check_axes(X.shape[1:], X.shape, f"(n, channels, {_SIZES[ndim]}) or (n, {_SIZES[ndim]})", ndim, name)
    if len(X) == 0:
        raise ValueError(f"{name}: expected at least one image, got none")
    names = [name if is_stacked else f"{name}[{i}]" for i in range(len(X))]
    if isinstance(X, np.ndarray):
        given = list(X)
    elif is_stacked:
        given = [X[i : i + 1].reshape(tuple(X.shape[1:])) for i in range(len(X))]
    else:
        given = [_array(x, at, device, dtype) for x, at in zip(X, names)]
    if dtype is None:
        dtype = np.float32 if all(x.dtype == np.float32 for x in given) else np.float64
    has_channels = given[0].ndim == ndim + 1
    images: list[FloatArray] = []
    for x, at in zip(given, names):
        _check_axes(x.shape, x.shape, f"(channels, {_SIZES[ndim]}) or ({_SIZES[ndim]},)", ndim, at)
        if (x.ndim == ndim + 1) is not has_channels:
            raise ValueError(f"{at}: expected {given[0].ndim} dimensions, as {name}[0] has, got {x.shape}")
        image = _float_image(x, at, dtype, is_finite)
        image = image if has_channels else image.reshape((1, *image.shape))
        expected = images[0].shape[0] if images and channels is None else channels
        if expected is not None and image.shape[0] != expected:
            raise ValueError(f"{at}: expected {expected} channel(s), got shape {x.shape}")
        images.append(image if ndim == 2 else image.reshape((image.shape[0], 1, image.shape[1])))
    return images, Layout(ndim, is_stacked, has_channels)


def _array(x: Any, name: str, device: str, dtype: Any) -> Any:
    if device == "cuda" and is_device_array(x):
        return _device.device_operand(x, name, dtype=dtype)
    return _check.array_of(x, name)


def _float_image(x: Any, name: str, dtype: Any, is_finite: bool) -> FloatArray:
    if not isinstance(x, np.ndarray):
        image: FloatArray = _device.device_operand(x, name, dtype=dtype)
        if is_finite:
            _device.refuse_not_finite(image, name)
        return image
    if is_finite:
        return _check.float_array(x, name, dtype=dtype)
    return np.ascontiguousarray(_check.real_operand(x, name, dtype=dtype))


def _check_axes(image: tuple[int, ...], shape: tuple[int, ...], expected: str, ndim: int, name: str) -> None:
    """ValueError where `image`, the sizes of one of X's images, is no image."""
    if len(image) not in (ndim, ndim + 1):
        raise ValueError(f"{name}: expected shape {expected}, got {shape}")
    if 0 in image:
        raise ValueError(f"{name}: expected at least one pixel, got shape {shape}")


def sizes_of(value: Any, name: str) -> tuple[int, ...]:
    """Height and width from an integer or a pair; a length from one in a sequence."""
    is_sequence = isinstance(value, Sequence | np.ndarray) and not isinstance(value, str)
    sizes = tuple(value) if is_sequence else (value, value)
    if len(sizes) not in (1, 2):
        raise ValueError(f"{name}: expected an integer, (height, width) or (length,), got {value!r}")
    return tuple(_check.whole_number(size, name, minimum=1) for size in sizes)


def pixel_sizes(images: list[FloatArray]) -> NDArray[np.int64]:
    """Height and width of every image, shape (n, 2)."""
    return np.array([image.shape[1:] for image in images], np.int64).reshape(-1, 2)
