"""White noise removed from a picture."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from .. import _check
from ._images import channels_of, from_opponent, picture, picture_from, to_opponent
from ._patch_denoising import denoise_planes
from ._patches import patch_options
from ._progress import Callback, check_callback
from .noise import estimate_noise

METHODS = ("auto", "patches")


def denoise(
    image: Any,
    sigma: float | None = None,
    *,
    method: str = "auto",
    dictionary: Any = None,
    patch_size: int = 8,
    n_components: int = 256,
    random_state: Any = None,
    callback: Callback | None = None,
    n_jobs: int | None = None,
) -> NDArray[Any]:
    r"""Removes white Gaussian noise from a picture by sparse codes over a dictionary learnt from it.

    Every patch x_i of the noisy picture, at every pixel, is brought to the fewest atoms that explain it to
    the level of the noise,

    .. math:: \min \lVert z_i \rVert_0 \quad\text{with}\quad
              \lVert x_i - \bar x_i - z_i D \rVert_2^2 \le \sigma^2 \, (n - 1 + 1.2 \sqrt{2 (n - 1)}),

    by orthogonal matching pursuit; n = patch_size^2 and the mean of the patch is kept. Of patches of
    pure noise, seven in eight stay under the bound. Estimates overlap and are averaged, each weighted by one
    over the number of its parameters. D is learnt from random patches of the noisy picture, coded likewise
    with 3 in the place of 1.2, from an overcomplete cosine dictionary on. In colour, brightness and two
    opponent colours are treated so, each with a dictionary of its own.

    Parameters
    ----------
    image : array-like of shape (height, width) or (height, width, 3)
        Finite, of any real kind and range.
    sigma : float or None
        Standard deviation of the noise, in the units of the image, the same in all channels; 0 leaves the
        picture as it is. None takes `estimate_noise(image)`.
    method : {"auto", "patches"}
        "auto" stands for "patches".
    dictionary : array-like of shape (n_atoms, patch_size^2) or None
        Atoms for square patches of one channel less their means, of any norm, taken as they are; their size
        then sets `patch_size` and `n_components`. None learns them from the image.
    patch_size : int
        Side of a patch in pixels, at least 2. Images smaller than it are mirrored at their borders.
    n_components : int
        Number of atoms to learn.
    random_state : None, int, RandomState or Generator
        Seed of the patches that the dictionary is learnt from. The same seed gives the same bits, whatever
        the number of threads.
    callback : callable or None
        Called now and then with the share of the work that is done, up to 1.
    n_jobs : int or None
        Threads; None takes OpenMP's default.

    Returns
    -------
    restored : ndarray of the shape of `image`
        Of its dtype where that is float32 or a kind of integer (rounded then, and kept in its range),
        float64 otherwise. Patches are coded in float32, in units of sigma.

    Raises
    ------
    TypeError, ValueError
        Where an argument is of the wrong kind, shape or range, or the image is not finite.

    See Also
    --------
    estimate_noise : What is taken for sigma.

    References
    ----------
    M. Elad, M. Aharon, "Image denoising via sparse and redundant representations over learned dictionaries",
    IEEE Transactions on Image Processing 15, 2006.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.restoration import denoise
    >>> clean = np.add.outer(np.arange(24.0), np.where(np.arange(24) < 12, 0, 100))
    >>> noisy = clean + np.random.default_rng(0).normal(scale=10, size=clean.shape)
    >>> restored = denoise(noisy, sigma=10, n_components=64, random_state=0)
    >>> bool(np.std(restored - clean) < 0.4 * np.std(noisy - clean))
    True
    """
    given = picture(image)
    channels = channels_of(given)
    if not _check.is_finite(channels):
        raise ValueError("image: every element must be finite, but it contains NaN or infinity")
    _check.one_of(method, "method", METHODS)
    check_callback(callback)
    options = patch_options(dictionary, patch_size, n_components, random_state, n_jobs)
    deviation = estimate_noise(given) if sigma is None else _check.real_number(sigma, "sigma", minimum=0.0)
    if deviation == 0:
        return picture_from(channels, given)
    planes = to_opponent(channels)
    offsets = planes.mean(axis=(1, 2), keepdims=True)
    restored = denoise_planes((planes - offsets) / deviation, options, callback)
    return picture_from(from_opponent(restored * deviation + offsets), given)
