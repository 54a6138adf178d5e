"""White noise removed from a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _check
from ._convolutional_denoising import denoise_planes as by_filters
from ._images import (
    FLOAT32_STEP,
    Planes,
    channels_of,
    from_opponent,
    picture,
    picture_from,
    scaled_channels,
    to_opponent,
)
from ._method import method_options
from ._patch_denoising import denoise_planes as by_patches
from ._patches import PatchOptions
from ._progress import Callback, check_callback
from .noise import estimate_noise

_GREATEST_SIGMA = 2.0**64  # over the greatest magnitude of the picture: far beyond, it vanishes in float32


def denoise(
    image: Any,
    sigma: float | None = None,
    *,
    method: str = "auto",
    dictionary: Any = None,
    patch_size: int = 8,
    n_components: int | None = None,
    random_state: Any = None,
    callback: Callback | None = None,
    n_jobs: int | None = None,
    device: str = "cpu",
) -> NDArray[Any]:
    r"""Removes white Gaussian noise from a picture by sparse codes over a dictionary learnt from it.

    **Patches.** Every patch x_i of the noisy picture, at every pixel, is brought to the fewest atoms that
    explain it to the level of the noise,

    .. math:: \min \lVert z_i \rVert_0 \quad\text{with}\quad
              \lVert x_i - \bar x_i - z_i D \rVert_2^2 \le \sigma^2 \, (n - 1 + 1.2 \sqrt{2 (n - 1)}),

    by orthogonal matching pursuit; n = patch_size^2 and the mean of the patch is kept. Of patches of
    pure noise, seven in eight stay under the bound. Estimates overlap and are averaged, each weighted by one
    over the number of its parameters. D is learnt from random patches of the noisy picture, coded likewise
    with 3 in the place of 1.2, from an overcomplete cosine dictionary on.

    **Convolutional.** The high frequencies y of the picture
    (:func:`thalweg.preprocessing.split_frequencies`, weight 5; the low ones stay) are brought to the maps of

    .. math:: \min_z \tfrac12 \lVert y - \textstyle\sum_k f_k * z_k \rVert^2
              + 3.2\, \sigma \lVert z \rVert_1 \quad\text{with}\quad \lVert f_k \rVert_2 = 1

    where a code of pure noise would have the deviation sigma. Half-way between what these maps give and the
    least squares fit of their non-zeros lies the estimate; eight such, over dictionaries that are learnt from
    eight random beginnings with 4 sigma, are averaged.

    In colour, brightness and two opponent colours are treated so, each with dictionaries of its own.

    Parameters
    ----------
    image : array-like of shape (height, width) or (height, width, 3)
        Finite, of any real kind and range.
    sigma : float or None
        Standard deviation of the noise, in the units of the image, the same in all channels; 0 leaves the
        picture as it is. Otherwise from 2^-24 of the image's range, which is what float32 tells apart, to
        2^64 times its magnitude. None takes `estimate_noise(image)`, and an estimate below that for 0.
    method : {"auto", "patches", "convolutional"}
        "auto" is the method that `dictionary` is for, and "patches" where there is none, the better one by
        measurement (see Notes).
    dictionary : array-like or None
        Of shape (n_atoms, patch_size^2), atoms for square patches of one channel less their means, of any
        norm, taken as they are; or of shape (n_filters, 1, height, width), filters, which are brought to unit
        norms, and then one estimate stands alone. Their size and number then set `patch_size` and
        `n_components`. None learns from the image.
    patch_size : int
        Side of a patch, or of a filter, in pixels, at least 2. Images smaller than it are mirrored at their
        borders.
    n_components : int or None
        Number of atoms, or of filters, to learn; None takes 256 atoms, or 16 filters.
    random_state : None, int, RandomState or Generator
        Seed of the patches that the dictionary is learnt from, or of the first filters. The same seed gives
        the same bits, whatever the number of threads.
    callback : callable or None
        Called now and then with the share of the work that is done, up to 1.
    n_jobs : int or None
        Threads; None takes OpenMP's default.
    device : {"cpu", "cuda"}
        Where codes and filters are computed. "cuda" has the convolutional method alone, solved by FISTA: the
        orthogonal matching pursuit of patches has no kernels there. "auto" chooses no other method for it.

    Returns
    -------
    restored : ndarray of the shape of `image`
        Of its dtype where that is float32 or a kind of integer (rounded then, and kept in its range),
        float64 otherwise. Coded is in float32, in units of sigma.

    Raises
    ------
    TypeError, ValueError
        Where an argument is of the wrong kind, shape or range, the image is not finite, or the device has no
        kernels for the method.
    RuntimeError
        device="cuda", and no GPU can be used: the message says what is missing.

    Notes
    -----
    On photographs patches measure better than convolutional codes, and take less time: the figures for those
    of the Kodak collection are in bench/results/restoration.md.

    See Also
    --------
    estimate_noise : What is taken for sigma.

    References
    ----------
    M. Elad, M. Aharon, "Image denoising via sparse and redundant representations over learned dictionaries",
    IEEE Transactions on Image Processing 15, 2006. D. Simon, M. Elad, "Rethinking the CSC model for natural
    images", NeurIPS 2019: where plain convolutional codes fall short, and what averages bring.

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
    options = method_options(method, dictionary, patch_size, n_components, random_state, n_jobs, device)
    check_callback(callback)
    scaled, exponent = scaled_channels(channels, given)
    planes = to_opponent(scaled)
    offsets = planes.mean(axis=(1, 2), keepdims=True)
    planes -= offsets
    deviation = _deviation(sigma, given, planes, exponent)
    if deviation == 0:
        return picture_from(channels, given)
    planes /= deviation
    if isinstance(options, PatchOptions):
        restored = by_patches(planes, options, callback)
    else:
        restored = by_filters(planes, options, callback)
    return picture_from(np.ldexp(from_opponent(restored * deviation + offsets), exponent), given)


def _deviation(sigma: float | None, given: NDArray[Any], planes: Planes, exponent: int) -> float:
    """The noise of planes without their means, which are 2^-exponent of the picture; 0 for none to remove."""
    spread = float(np.abs(planes).max())
    least, greatest = FLOAT32_STEP * spread, _GREATEST_SIGMA
    if sigma is None:
        estimate = float(np.ldexp(estimate_noise(given), -exponent))
        return estimate if estimate >= least else 0.0
    number = _check.real_number(sigma, "sigma", minimum=0.0)
    if number == 0 or spread == 0:
        return 0.0
    with np.errstate(over="ignore"):
        deviation = float(np.ldexp(number, -exponent))
    if not least <= deviation <= greatest:
        low, high = np.ldexp([least, 1.0], exponent)
        raise ValueError(
            f"sigma: expected 0, or at least {low:.3g} for an image of this range (2^-24 of what lies on "
            f"either side of its mean) and at most 2^64 times {high:.3g}, got {number:.3g}"
        )
    return deviation
