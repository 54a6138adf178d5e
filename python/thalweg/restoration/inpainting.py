"""Missing pixels of a picture filled."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _check
from ._convolutional_inpainting import inpaint_planes as by_filters
from ._images import channels_of, picture, picture_from, scaled_channels
from ._method import method_options
from ._patch_inpainting import inpaint_planes as by_patches
from ._patches import PatchOptions
from ._progress import Callback, check_callback

_PATCH_ITERATIONS, _FILTER_ITERATIONS = 12, 6


def inpaint(
    image: Any,
    mask: Any,
    *,
    method: str = "auto",
    dictionary: Any = None,
    patch_size: int = 8,
    n_components: int | None = None,
    max_iter: int | None = None,
    random_state: Any = None,
    callback: Callback | None = None,
    n_jobs: int | None = None,
    device: str = "cpu",
) -> NDArray[Any]:
    r"""Fills the missing pixels of a picture by sparse codes over a dictionary learnt from it.

    It begins with the surface of least curvature through what is observed,

    .. math:: \min_u \sum (\Delta u)^2 \quad\text{with}\quad u = y \text{ where } m = 1.

    **Patches.** Every iteration then brings all patches x_i that have a missing pixel, at every place, to the
    fewest atoms within an error,

    .. math:: \min \lVert z_i \rVert_0 \quad\text{with}\quad
              \lVert x_i - \bar x_i - z_i D \rVert_2^2 \le n\, \epsilon_t^2,

    by orthogonal matching pursuit, averages the overlapping estimates, each weighted by one over the number
    of its parameters, moves the missing pixels 1.9 times the way there (in the last iteration all of it
    once), and leaves those observed. The error falls geometrically, from 2 to 1/4 times that which the smooth
    fill makes on a tenth of the observed pixels, hidden from it. D is learnt on meanwhile from patches of the
    picture as it stands, from an overcomplete cosine dictionary on.

    **Convolutional.** Every iteration brings the high frequencies h of the picture as it stands
    (:func:`thalweg.preprocessing.split_frequencies`, weight 2; the low ones stay) to the maps of

    .. math:: \min_z \tfrac12 \lVert M (h - \textstyle\sum_k f_k * z_k) \rVert^2
              + \alpha_t \lVert z \rVert_1 \quad\text{with}\quad \lVert f_k \rVert_2 = 1

    with M = 1 where a pixel is observed, and 0.3 where it is filled: codes hold on to what was filled before,
    but not much. alpha falls geometrically from the error of the smooth fill to a tenth of it. The filters
    are learnt on with the same M; four estimates, from as many random beginnings, are averaged.

    In colour, brightness and two opponent colours are coded so, each with dictionaries of its own.

    Parameters
    ----------
    image : array-like of shape (height, width) or (height, width, 3)
        Of any real kind and range; what is missing may be anything, NaN for one.
    mask : array-like of the shape of `image`, or of shape (height, width)
        1 or True where a pixel is observed, 0 or False where it is missing. Every channel needs one observed.
    method : {"auto", "patches", "convolutional"}
        "auto" is the method that `dictionary` is for, and "patches" where there is none, the better one by
        measurement (see Notes).
    dictionary : array-like or None
        Of shape (n_atoms, patch_size^2), atoms for square patches of one channel less their means, of any
        norm, taken as they are; or of shape (n_filters, 1, height, width), filters, which are brought to unit
        norms, and then one estimate stands alone. Their size and number then set `patch_size` and
        `n_components`. None learns from the image.
    patch_size : int
        Side of a patch, or of a filter, in pixels, at least 2. Holes wider than it keep the smooth fill
        inside. Images smaller than it are mirrored at their borders.
    n_components : int or None
        Number of atoms, or of filters, to learn; None takes 256 atoms, or 16 filters.
    max_iter : int or None
        Number of iterations; 0 returns the smooth fill. None takes 12 with patches, 6 with filters.
    random_state : None, int, RandomState or Generator
        Seed of the patches that the dictionary is learnt from, or of the first filters, and of the pixels
        hidden. The same seed gives the same bits, whatever the number of threads.
    callback : callable or None
        Called now and then with the share of the work that is done, up to 1.
    n_jobs : int or None
        Threads; None takes OpenMP's default.
    device : {"cpu", "cuda"}
        Where codes and filters are computed. "cuda" has the convolutional method alone, solved by FISTA: the
        orthogonal matching pursuit of patches has no kernels there. "auto" chooses no other method for it.

    Returns
    -------
    filled : ndarray of the shape of `image`
        Of its dtype where that is float32 or a kind of integer (rounded then, and kept in its range),
        float64 otherwise. Observed pixels are those of `image`. Coded is in float32.

    Raises
    ------
    TypeError, ValueError
        Where an argument is of the wrong kind, shape or range, an observed pixel is not finite, a channel has
        none, or the device has no kernels for the method.
    RuntimeError
        device="cuda", and no GPU can be used: the message says what is missing.

    Notes
    -----
    On photographs patches measure better than convolutional codes, and take less time: the figures for those
    of the Kodak collection are in bench/results/restoration.md.

    References
    ----------
    M. Elad, J.-L. Starck, P. Querre, D. Donoho, "Simultaneous cartoon and texture image inpainting using
    morphological component analysis", Applied and Computational Harmonic Analysis 19, 2005: thresholds that
    fall. J. Mairal, M. Elad, G. Sapiro, "Sparse representation for color image restoration", IEEE
    Transactions on Image Processing 17, 2008: dictionaries learnt from the picture.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.restoration import inpaint
    >>> picture = np.sin(np.add.outer(np.arange(24.0), 2 * np.arange(24)))
    >>> observed = np.random.default_rng(0).random(picture.shape) < 0.6
    >>> damaged = np.where(observed, picture, np.nan)
    >>> filled = inpaint(damaged, observed, n_components=64, random_state=0)
    >>> smooth = inpaint(damaged, observed, max_iter=0)
    >>> bool(np.std(filled - picture) < 0.5 * np.std(smooth - picture))
    True
    """
    given = picture(image)
    channels = channels_of(given)
    observed = _observed(mask, channels.shape)
    if not np.isfinite(channels[observed]).all():
        raise ValueError("image: every observed pixel must be finite, but one is NaN or infinite")
    options = method_options(method, dictionary, patch_size, n_components, random_state, n_jobs, device)
    check_callback(callback)
    default = _PATCH_ITERATIONS if isinstance(options, PatchOptions) else _FILTER_ITERATIONS
    n_iter = default if max_iter is None else _check.whole_number(max_iter, "max_iter")
    known, exponent = scaled_channels(np.where(observed, channels, 0.0), given)
    if isinstance(options, PatchOptions):
        filled = by_patches(known, observed, n_iter, options, callback)
    else:
        filled = by_filters(known, observed, n_iter, options, callback)
    return picture_from(np.where(observed, channels, np.ldexp(filled, exponent)), given)


def _observed(mask: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The mask of every channel, of shape (channels, height, width)."""
    array = _check.array_of(mask, "mask")
    n_channels, *size = shape
    if array.shape not in (tuple(size), (*size, n_channels)) or (array.ndim == 3 and n_channels == 1):
        expected = f"{tuple(size)}" + (f" or {(*size, n_channels)}" if n_channels > 1 else "")
        raise ValueError(f"mask: expected shape {expected}, as the image has, got {array.shape}")
    if array.dtype.kind not in "biuf" or not np.isin(array, (0, 1)).all():
        raise ValueError("mask: expected 1 (observed) and 0 (missing) alone")
    planes = array[np.newaxis] if array.ndim == 2 else np.moveaxis(array, 2, 0)
    observed = np.array(np.broadcast_to(planes, shape), bool)
    if not observed.any(axis=(1, 2)).all():
        raise ValueError("mask: expected an observed pixel or more in every channel, got zeros alone")
    return observed
