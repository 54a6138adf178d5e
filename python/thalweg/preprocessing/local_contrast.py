"""Local contrast normalisation: every pixel less its surroundings' mean, over their contrast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from sklearn.base import BaseEstimator, TransformerMixin

from thalweg import _check
from thalweg.preprocessing import _images

FloatArray = NDArray[Any]

# A window that is wider than this would only take time.
_MAX_WINDOW = 4095


@dataclass(frozen=True)
class LocalContrastStatistics:
    """What local contrast normalisation took from an image.

    Attributes
    ----------
    mean : ndarray of shape (height, width) or (channels, height, width)
        What was subtracted, of the image's shape.
    divisor : ndarray of shape (height, width)
        What all channels were divided by, > 0.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.preprocessing import normalize_local_contrast
    >>> image = np.random.default_rng(0).random((3, 20, 30))
    >>> _, statistics = normalize_local_contrast(image)
    >>> statistics.mean.shape, statistics.divisor.shape
    ((3, 20, 30), (20, 30))
    """

    mean: FloatArray
    divisor: FloatArray


def normalize_local_contrast(
    image: Any,
    *,
    window_size: int = 9,
    window_sigma: float = 2.0,
    min_contrast: float = 1e-4,
    joint_mean: bool = False,
) -> tuple[FloatArray, LocalContrastStatistics]:
    r"""Subtractive, then divisive normalisation of one image with a Gaussian window.

    With the window w, whose weights sum to 1, at pixel p and channel k,

        v[k, p]  = x[k, p] - sum_q w[q] x[k, p + q]
        sigma[p] = sqrt(mean_k sum_q w[q] v[k, p + q]^2)
        y[k, p]  = v[k, p] / max(c, sigma[p], min_contrast max |x|),    c = mean_p sigma[p]

    Images are reflected at their borders, so that the weights sum to 1 there too. y is the same for the image
    times any positive number.

    Parameters
    ----------
    image : array-like of shape (height, width) or (channels, height, width)
    window_size : int
        Side of the window, in pixels, odd.
    window_sigma : float
        Standard deviation of the Gaussian, in pixels, > 0.
    min_contrast : float
        Least divisor, in units of the largest magnitude of the image, >= 0: what is as faint as rounding
        errors is not blown up. An image without any contrast becomes 0.
    joint_mean : bool
        Subtract at every pixel one mean over window and channels, as in the paper, whose channels are
        feature maps; it leaves in y what colours differ from gray. False gives every channel its own mean.

    Returns
    -------
    normalized : ndarray of the image's shape
        float32 for a float32 image, else float64.
    statistics : LocalContrastStatistics
        What `restore_local_contrast` needs to go back.

    Raises
    ------
    TypeError, ValueError
        Where the image is no image or not finite, or a number is out of range.

    References
    ----------
    K. Jarrett, K. Kavukcuoglu, M. Ranzato, Y. LeCun, "What is the best multi-stage architecture for object
    recognition?", ICCV, 2009.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.preprocessing import normalize_local_contrast, restore_local_contrast
    >>> checks = np.indices((16, 32)).sum(axis=0) % 2 - 0.5
    >>> image = np.where(np.arange(32) < 16, 0.6 * checks, checks) + 3.0
    >>> normalized, statistics = normalize_local_contrast(image)
    >>> round(float(np.ptp(image[:, :8]) / np.ptp(image[:, 24:])), 2)
    0.6
    >>> round(float(np.ptp(normalized[:, :8]) / np.ptp(normalized[:, 24:])), 2)
    0.75
    >>> bool(np.allclose(restore_local_contrast(normalized, statistics), image))
    True
    """
    window = _window(window_size, window_sigma)
    least = _check.real_number(min_contrast, "min_contrast", minimum=0.0)
    joint = bool(_check.one_of(joint_mean, "joint_mean", (False, True)))
    return _normalized(_images.image_array(image, "image"), "image", window, least, joint)


def restore_local_contrast(normalized: Any, statistics: LocalContrastStatistics) -> FloatArray:
    """The image `divisor * normalized + mean`: the inverse of `normalize_local_contrast`.

    Parameters
    ----------
    normalized : array-like of shape (height, width) or (channels, height, width)
    statistics : LocalContrastStatistics
        As `normalize_local_contrast` gave them.

    Returns
    -------
    image : ndarray of the same shape
        float32 where `normalized` is, else float64.

    Raises
    ------
    TypeError, ValueError
        Where `normalized` is no image of the shape that the statistics are of, or not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.preprocessing import normalize_local_contrast, restore_local_contrast
    >>> image = np.random.default_rng(0).random((12, 10))
    >>> normalized, statistics = normalize_local_contrast(image)
    >>> bool(np.allclose(restore_local_contrast(normalized, statistics), image))
    True
    >>> bool(np.array_equal(restore_local_contrast(0 * normalized, statistics), statistics.mean))
    True
    """
    return _restored(normalized, "normalized", statistics, "statistics")


class LocalContrastNormalization(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    r"""Local contrast normalisation of images, each for itself.

    As `normalize_local_contrast`, whose docstring has the formula, for many images. Nothing is learnt: `fit`
    checks the parameters alone, and is not needed.

    Parameters
    ----------
    window_size : int
        Side of the Gaussian window, in pixels, odd.
    window_sigma : float
        Its standard deviation, in pixels, > 0.
    min_contrast : float
        Least divisor, in units of the largest magnitude of an image, >= 0.
    joint_mean : bool
        Subtract one mean over window and channels, or for every channel its own.

    References
    ----------
    K. Jarrett, K. Kavukcuoglu, M. Ranzato, Y. LeCun, "What is the best multi-stage architecture for object
    recognition?", ICCV, 2009.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.preprocessing import LocalContrastNormalization
    >>> X = np.random.default_rng(0).random((5, 3, 20, 30))
    >>> lcn = LocalContrastNormalization(window_size=7)
    >>> Y, statistics = lcn.transform(X, return_statistics=True)
    >>> Y.shape, bool(np.allclose(lcn.inverse_transform(Y, statistics), X))
    ((5, 3, 20, 30), True)

    Images of unequal sizes come as a list:

    >>> [y.shape for y in lcn.transform([X[0], X[1, 0, :9]])]
    [(3, 20, 30), (9, 30)]
    """

    def __init__(
        self,
        window_size: int = 9,
        window_sigma: float = 2.0,
        min_contrast: float = 1e-4,
        joint_mean: bool = False,
    ) -> None:
        self.window_size = window_size
        self.window_sigma = window_sigma
        self.min_contrast = min_contrast
        self.joint_mean = joint_mean

    def fit(self, X: Any, y: Any = None) -> LocalContrastNormalization:
        """Checks the parameters and the shape of X, and learns nothing.

        Parameters
        ----------
        X : ndarray of shape (n, height, width) or (n, channels, height, width), or a list of images
        y : ignored

        Returns
        -------
        self : LocalContrastNormalization

        Raises
        ------
        TypeError, ValueError
            Where X or a parameter is of the wrong kind, shape or range.
        """
        self._parameters()
        _listed(X, "X")
        return self

    def transform(self, X: Any, *, return_statistics: bool = False) -> Any:
        """Normalises every image.

        Parameters
        ----------
        X : ndarray of shape (n, height, width) or (n, channels, height, width), or a list of images
            The images of a list, (height, width) or (channels, height, width), may differ in size.
        return_statistics : bool
            Return what `inverse_transform` needs, too.

        Returns
        -------
        Y : ndarray of the shape of X, or a list of ndarray
        statistics : list of LocalContrastStatistics
            One for each image; only where `return_statistics`.

        Raises
        ------
        TypeError, ValueError
            Where an image is no image or not finite, or a parameter is out of range.
        """
        window, least, joint = self._parameters()
        images = _listed(X, "X")
        pairs = [
            _normalized(_images.image_array(image, name), name, window, least, joint)
            for name, image in images
        ]
        Y = _as_given(X, [normalized for normalized, _ in pairs])
        return (Y, [statistics for _, statistics in pairs]) if return_statistics else Y

    def inverse_transform(self, X: Any, statistics: Sequence[LocalContrastStatistics]) -> Any:
        """Takes normalised images back, with the statistics that `transform` returned with them.

        Parameters
        ----------
        X : ndarray of shape (n, height, width) or (n, channels, height, width), or a list of images
            Normalised images, or what a model made of them.
        statistics : list of LocalContrastStatistics
            One for each image.

        Returns
        -------
        images : ndarray of the shape of X, or a list of ndarray

        Raises
        ------
        TypeError, ValueError
            Where an image is not finite or not of its statistics' shape, or their numbers differ.
        """
        images = _listed(X, "X")
        statistics = list(statistics)
        if len(statistics) != len(images):
            raise ValueError(
                f"statistics: expected one for each of {len(images)} images, got {len(statistics)}"
            )
        restored = [
            _restored(image, name, kept, f"statistics[{i}]")
            for i, ((name, image), kept) in enumerate(zip(images, statistics))
        ]
        return _as_given(X, restored)

    def _parameters(self) -> tuple[tuple[int, float], float, bool]:
        return (
            _window(self.window_size, self.window_sigma),
            _check.real_number(self.min_contrast, "min_contrast", minimum=0.0),
            bool(_check.one_of(self.joint_mean, "joint_mean", (False, True))),
        )

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _window(size: Any, sigma: Any) -> tuple[int, float]:
    """Radius and standard deviation, in pixels."""
    size = _check.whole_number(size, "window_size", minimum=1, maximum=_MAX_WINDOW)
    if size % 2 == 0:
        raise ValueError(f"window_size: expected an odd number of pixels, got {size}")
    return size // 2, _check.real_number(sigma, "window_sigma", above=0.0)


def _listed(X: Any, name: str) -> list[tuple[str, Any]]:
    """The images with their names for messages; at least one."""
    if isinstance(X, list | tuple):
        images = list(X)
    else:
        array = _check.array_of(X, name)
        if array.ndim not in (3, 4):
            raise ValueError(
                f"{name}: expected (n, height, width), (n, channels, height, width) or a list of images, "
                f"got shape {array.shape}"
            )
        images = list(array)
    if not images:
        raise ValueError(f"{name}: expected at least one image, got none")
    return [(f"{name}[{i}]", image) for i, image in enumerate(images)]


def _as_given(X: Any, images: list[FloatArray]) -> Any:
    return images if isinstance(X, list | tuple) else np.stack(images)


def _blurred(image: FloatArray, window: tuple[int, float]) -> FloatArray:
    radius, sigma = window
    per_axis = (0.0,) * (image.ndim - 2) + (sigma, sigma)
    blurred: FloatArray = gaussian_filter(image, per_axis, mode="reflect", radius=radius)
    return blurred


def _normalized(
    image: FloatArray, name: str, window: tuple[int, float], min_contrast: float, joint_mean: bool
) -> tuple[FloatArray, LocalContrastStatistics]:
    x, exponent = _images.scaled_down(image, name)
    channels = tuple(range(image.ndim - 2))
    mean = _blurred(x, window)
    if joint_mean:
        mean = np.broadcast_to(mean.mean(axis=channels, keepdims=True), x.shape).copy()
    v = x - mean
    sigma = np.sqrt(_blurred(np.square(v).mean(axis=channels), window))
    least = max(float(sigma.mean(dtype=np.float64)), min_contrast * float(np.abs(x).max()))
    divisor = np.maximum(sigma, x.dtype.type(least))
    divisor[divisor == 0] = 1  # there v is 0 as well
    v /= divisor
    return v, LocalContrastStatistics(np.ldexp(mean, exponent), np.ldexp(divisor, exponent))


def _restored(normalized: Any, name: str, statistics: Any, statistics_name: str) -> FloatArray:
    image = _images.image_array(normalized, name)
    if not isinstance(statistics, LocalContrastStatistics):
        raise TypeError(
            f"{statistics_name}: expected LocalContrastStatistics, got {type(statistics).__name__}"
        )
    if image.shape != statistics.mean.shape:
        raise ValueError(
            f"{name}: expected shape {statistics.mean.shape}, as the statistics have it, got {image.shape}"
        )
    with np.errstate(over="ignore"):  # told below
        restored: FloatArray = image * statistics.divisor + statistics.mean
        restored = restored.astype(image.dtype, copy=False)
    if not _check.is_finite(restored):
        raise ValueError(f"{name}: its product with the divisor overflows {image.dtype}")
    return restored
