"""Convolutional dictionary learning, on all images at once or online."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from .. import _device, _rng, optim
from .._blas import one_blas_thread
from .._check import FloatArray, is_device_array, one_of, real_number, seed_number, whole_number
from ..inference.csc import CscInfo, SparseMaps, warn_unconverged
from ._convolutional import (
    ConvolutionalTransformer,
    check_filters,
    filters_as_images,
    masks_of,
    require_room,
)
from ._convolutional_filters import (
    FilterStatistics,
    first_filters,
    project_filters,
    worst_patches,
)
from ._images import Layout, as_images, pixel_sizes, sizes_of
from ._learning import require_finite_step, unchanged_by_errors

# Online, the fewest steps without a code after which a filter is dead: a batch may be one image, and a good
# filter is missing from many an image. `fit` waits for a whole pass too, which shows all images.
_PATIENCE = 10


class _Coded(NamedTuple):
    images: list[FloatArray]
    masks: list[FloatArray | None]
    maps: list[SparseMaps]
    infos: list[CscInfo]

    @property
    def objective(self) -> float:
        return float(sum(info.objective for info in self.infos))

    @property
    def gap(self) -> NDArray[np.float64]:
        return np.array([info.gap for info in self.infos])

    def used(self, n_filters: int) -> NDArray[np.bool_]:
        """Which filters some code uses."""
        used = np.zeros(n_filters, bool)
        for maps in self.maps:
            used[np.unique(maps.index // (maps.shape[1] * maps.shape[2]))] = True
        return used


class ConvolutionalDictionaryLearning(ConvolutionalTransformer):
    r"""Learns filters whose sparse code maps explain whole images (or signals).

    .. math:: \min_{z, f} \sum_y \tfrac12 \lVert M (y - \textstyle\sum_k f_k * z_k) \rVert^2
              + \alpha \lVert z \rVert_1 \quad\text{with}\quad \lVert f_k \rVert_2 \le 1

    Codes and filters in turns. With `batch_size` None every iteration codes all images, from their last
    codes on, and then makes `filter_steps` steps of projected descent on the filters; the objective never
    rises by more than what `coding_tol` grants. With a `batch_size` learning is online: the codes of a batch
    enter sums that make the error a quadratic form of the filters, older batches fading, so that images need
    not fit into memory. A filter that no code uses, online for 10 steps and a whole pass of `fit`, is born
    again from a patch that is explained worst.

    Remove low frequencies first (:func:`thalweg.preprocessing.split_frequencies`): sparse codes of filters
    this small have no use for them.

    Parameters
    ----------
    n_components : int, default=32
        Number of filters.
    filter_size : int or tuple of int, default=8
        Side of a filter in pixels, or (height, width), or (length,) for signals.
    alpha : float, default=0.1
        Weight of the penalty, > 0, in the images' units.
    max_iter : int, default=50
        Passes over the images, counted from the start of `fit`, across `resume`.
    batch_size : int, default=None
        Images in a step; None takes all in every step.
    tol : float, default=1e-4
        Without batches, learning ends when an iteration lowers the objective by less than tol * objective; 0:
        not before `max_iter`.
    boundary : {"valid", "same", "full", "circular"}, default="valid"
        How atoms meet the border; see :class:`ConvolutionalSparseCoder`.
    positive_code, positive_dict : bool, default=False
        Codes, filters >= 0.
    zero_mean_dict : bool, default=False
        Whether every channel of a filter sums to zero.
    dict_init : ndarray of shape (n_components, channels, height, width), default=None
        First filters; None takes noise under a Gaussian window.
    filter_steps : int, default=10
        Steps on the filters after each coding.
    coding_tol : float, default=3e-2
        Relative duality gap that ends the coding of an image while learning.
    transform_alpha : float, default=None
        alpha of the transform; None stands for `alpha`.
    transform_tol : float, default=1e-3
        Relative duality gap that ends an image in `transform` and `encode`.
    transform_max_iter : int, default=500
        Most iterations of an image, while learning too.
    solver : {"auto", "active_set", "fista"}, default="auto"
        The method for the codes; on the GPU "fista" is the only one.
    rho : float, default=1.0
        Online, the sums before step t are multiplied by (1 - 1/t)^rho.
    shuffle : bool, default=True
        Online, whether every pass takes the images in a new order.
    callback : callable, default=None
        Called after every step with a dict: `self`, `n_steps`, `objective` (of the images of the step, which
        have `n_pixels`) and `gap`. The estimator holds that step already, so the callback may save it.
    device : {"cpu", "cuda"}, default="cpu"
        Where codes, gradients and sums are computed. With "cuda" images may be arrays in the memory of the
        GPU, and codes of `transform` are then arrays of the same library; what is learnt is NumPy's.
    verbose : bool or int, default=False
        Print one line a step.
    random_state : int, RandomState or Generator, default=None
        Seed of the first filters and of the order.
    n_jobs : int, default=None
        Threads; None stands for OpenMP's number. The results are the same bits for any number.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, channels, height, width)
        The filters; (n_components, channels, length) of signals.
    error_ : ndarray of shape (n_steps_,)
        Objective of the images of each step, as coded before the filters' step.
    gap_ : ndarray of float64
        Relative duality gaps of the codes of the last step.
    n_iter_ : int
        Number of passes, the last one begun.
    n_steps_ : int
        Number of steps: of passes, or of batches.

    See Also
    --------
    ConvolutionalSparseCoder : Codes over given filters.
    MiniBatchDictionaryLearning : Dictionaries of patches.

    References
    ----------
    M. D. Zeiler, D. Krishnan, G. W. Taylor, R. Fergus, Deconvolutional networks, CVPR 2010. J. Liu, C.
    Garcia-Cardona, B. Wohlberg, W. Yin, First- and second-order methods for online convolutional dictionary
    learning, SIAM J. Imaging Sci. 11, 2018. J. Mairal et al., Online learning for matrix factorization and
    sparse coding, JMLR 11, 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg import ConvolutionalDictionaryLearning
    >>> images = np.random.default_rng(0).normal(size=(2, 20, 20))
    >>> learner = ConvolutionalDictionaryLearning(3, 4, alpha=1.0, max_iter=5, random_state=0).fit(images)
    >>> learner.components_.shape
    (3, 1, 4, 4)
    >>> bool(learner.error_[-1] < learner.error_[0])
    True
    """

    _filters_name = "components_"
    _transform_prefix = "transform_"

    components_: FloatArray
    error_: NDArray[np.float64]
    gap_: NDArray[np.float64]
    n_iter_: int
    n_steps_: int
    _n_images: int  # of `fit`, 0 after `partial_fit`
    _batch_size: int | None  # of `fit`
    _sizes: NDArray[np.int64]  # height and width of the images of `fit`; none are kept online
    _maps: list[SparseMaps]  # of the training images, for `resume`
    _A: NDArray[np.float64]
    _B: NDArray[np.float64]
    _idle: NDArray[np.int64]  # online, steps since a code last used each filter

    def __init__(
        self,
        n_components: int = 32,
        filter_size: Any = 8,
        *,
        alpha: float = 0.1,
        max_iter: int = 50,
        batch_size: int | None = None,
        tol: float = 1e-4,
        boundary: str = "valid",
        positive_code: bool = False,
        positive_dict: bool = False,
        zero_mean_dict: bool = False,
        dict_init: Any = None,
        filter_steps: int = 10,
        coding_tol: float = 3e-2,
        transform_alpha: float | None = None,
        transform_tol: float = 1e-3,
        transform_max_iter: int = 500,
        solver: str = "auto",
        rho: float = 1.0,
        shuffle: bool = True,
        callback: Callable[[dict[str, Any]], Any] | None = None,
        device: str = "cpu",
        verbose: int | bool = False,
        random_state: Any = None,
        n_jobs: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.filter_size = filter_size
        self.alpha = alpha
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.tol = tol
        self.boundary = boundary
        self.positive_code = positive_code
        self.positive_dict = positive_dict
        self.zero_mean_dict = zero_mean_dict
        self.dict_init = dict_init
        self.filter_steps = filter_steps
        self.coding_tol = coding_tol
        self.transform_alpha = transform_alpha
        self.transform_tol = transform_tol
        self.transform_max_iter = transform_max_iter
        self.solver = solver
        self.rho = rho
        self.shuffle = shuffle
        self.callback = callback
        self.device = device
        self.verbose = verbose
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any = None, *, mask: Any = None) -> ConvolutionalDictionaryLearning:
        """Learns filters from images, from the start.

        Interrupted by Ctrl-C or by an error, the estimator holds the last step that was completed, and
        `resume` goes on from there.

        Parameters
        ----------
        X : array-like of shape (n, channels, height, width) or (n, height, width), or list of images
            For a `filter_size` of one number in a tuple, signals (n, channels, length) or (n, length). A list
            may hold unequal sizes. float32 is learnt in float32, every other real kind in float64. Online,
            any object with a length whose elements are images, which are then read when their turn comes.
        y : ignored
        mask : as for `transform`; not online
            M: which pixels are observed.

        Returns
        -------
        self : ConvolutionalDictionaryLearning

        Raises
        ------
        TypeError, ValueError
            Where X, mask or a parameter is of the wrong kind, shape or range, or an observed pixel is not
            finite.
        FloatingPointError
            Where the objective or a filter leaves the finite numbers.

        Warns
        -----
        ConvergenceWarning
            Where images of the last step stopped at `transform_max_iter`, with the worst gap reached.
        """
        self._check_learning_parameters(mask)
        with unchanged_by_errors(self):
            n_images = _number_of(X)
            rows = None if self.batch_size is None else np.arange(min(n_images, max(self.batch_size, 8)))
            images, _, layout = self._fetch(X, rows, mask, None)
            self._start(images, layout.ndim)
            self._n_images = n_images
            self._batch_size = None if self.batch_size is None else int(self.batch_size)
            self._sizes = pixel_sizes(images if self.batch_size is None else [])
        self._learn(X, mask)
        return self

    def partial_fit(self, X: Any, y: Any = None) -> ConvolutionalDictionaryLearning:
        """Makes one online step with X as the batch, whatever `batch_size` is.

        Parameters
        ----------
        X : array-like of shape (n, channels, height, width) or (n, height, width), or list of images
            Brought to the dtype that learning began with.
        y : ignored

        Returns
        -------
        self : ConvolutionalDictionaryLearning

        Raises
        ------
        TypeError, ValueError, FloatingPointError
            As `fit`; the estimator is left as it was.

        Warns
        -----
        ConvergenceWarning
            As `fit`.
        """
        self._check_learning_parameters(None)
        with unchanged_by_errors(self), one_blas_thread:
            begun = hasattr(self, "components_")
            if begun:
                self._check_filters_begun()
            dtype = self.components_.dtype if begun else None
            images, _, layout = self._fetch(X, None, None, dtype)
            if not begun:
                self._start(images, layout.ndim)
            self._n_images, self._batch_size, self._sizes = 0, None, pixel_sizes([])
            coded = self._online_step(images)
        warn_unconverged(coded.infos, self.coding_tol, stacklevel=2)
        return self

    def resume(self, X: Any, *, mask: Any = None) -> ConvolutionalDictionaryLearning:
        """Goes on with a `fit` that was interrupted, or saved by a callback and loaded: the same bits.

        `max_iter` may have been raised meanwhile, and what filters, steps and codes that are kept do not
        depend on changed. Does nothing where `fit` had come to its end, by `tol` or `max_iter`.

        Parameters
        ----------
        X, mask
            The same images in the same order, and their masks.

        Returns
        -------
        self : ConvolutionalDictionaryLearning

        Raises
        ------
        NotFittedError
            Where there is nothing to go on with.
        TypeError, ValueError, FloatingPointError
            As `fit`.
        """
        check_is_fitted(self, "components_")
        self._check_learning_parameters(mask)
        if self._n_images == 0:
            raise NotFittedError("there is no `fit` to go on with: the last step was one of `partial_fit`")
        if _number_of(X) != self._n_images:
            raise ValueError(f"X: expected the {self._n_images} images of fit, got {len(X)}")
        self._check_filters_begun()
        if self.batch_size != self._batch_size:
            raise ValueError(
                f"batch_size: `fit` was begun with {self._batch_size}, which cannot change on the way, "
                f"got {self.batch_size}"
            )
        self._learn(X, mask)
        return self

    # --- the course of learning

    def _learn(self, X: Any, mask: Any) -> None:
        # BLAS enters the online gradient: with one thread its bits do not depend on the machine.
        with one_blas_thread:
            infos = self._learn_in_batches(X) if self.batch_size is not None else self._learn_at_once(X, mask)
        warn_unconverged(infos, self.coding_tol, stacklevel=4)

    def _learn_at_once(self, X: Any, mask: Any) -> list[CscInfo]:
        images, masks, _ = self._fetch(X, None, mask, self.components_.dtype)
        self._check_codes_kept(images)
        infos: list[CscInfo] = []
        while self.n_steps_ < self.max_iter and not self._has_converged():
            with np.errstate(over="ignore", invalid="ignore"):  # the step ends with a check
                coded = self._code(images, masks, self._maps or None)
                filters, step = self._descend(coded)
                reborn = self._reborn(filters, coded, ~coded.used(len(filters)))
                self._commit(filters, coded, n_iter_=self.n_steps_ + 1, _maps=coded.maps, _step=step)
            self._tell(coded, len(reborn))
            infos = coded.infos
        return infos

    def _learn_in_batches(self, X: Any) -> list[CscInfo]:
        n = len(X)
        size = min(whole_number(self.batch_size, "batch_size", minimum=1), n)
        steps_per_pass = ceil(n / size)
        infos: list[CscInfo] = []
        while self.n_steps_ < self.max_iter * steps_per_pass:
            epoch, place = divmod(self.n_steps_, steps_per_pass)
            order = np.arange(n)
            if self.shuffle:
                order = _rng.permutation(self._seed, _rng.STREAM_BATCH_ORDER, epoch, n)
            rows = order[place * size : (place + 1) * size]
            images, _, _ = self._fetch(X, rows, None, self.components_.dtype)
            patience = max(_PATIENCE, steps_per_pass)
            infos = self._online_step(images, patience, n_iter_=epoch + 1).infos
        return infos

    def _online_step(self, images: list[FloatArray], patience: int = _PATIENCE, **more: Any) -> _Coded:
        """Codes of a batch, statistics, filters."""
        with np.errstate(over="ignore", invalid="ignore"):  # the step ends with a check
            coded, reborn = self._online_update(images, patience, **more)
        self._tell(coded, len(reborn))
        return coded

    def _online_update(
        self, images: list[FloatArray], patience: int, **more: Any
    ) -> tuple[_Coded, list[int]]:
        """The step itself; which filters were born again."""
        coded = self._code(images, [None] * len(images), None)
        t = self.n_steps_ + 1
        decay = (1.0 - 1.0 / t) ** self.rho
        solver = self._coding_solver()
        K, _, h, w = solver.filters.shape
        A, B = np.zeros((K, K, 2 * h - 1, 2 * w - 1)), np.zeros(solver.filters.shape)
        if self._A.size:
            A, B = decay * self._A, decay * self._B
        for image, maps in zip(images, coded.maps, strict=True):
            solver.add_statistics(image, maps, A, B)
        require_finite_step(t, A, B)  # else the descent would stay where it is, without a word
        statistics = FilterStatistics(A, B)
        filters, step = optim.projected_descent(
            solver.filters.astype(np.float64),
            statistics.gradient,
            self._project,
            n_steps=self.filter_steps,
            step=self._step,
        )
        idle = np.where(coded.used(K), 0, self._idle + 1)
        reborn = self._reborn(filters, coded, idle >= patience)
        # What the sums say of a filter that died is not true of the one that takes its place.
        A[reborn], A[:, reborn], B[reborn], idle[reborn] = 0.0, 0.0, 0.0, 0
        self._commit(filters, coded, _A=A, _B=B, _idle=idle, _step=step, **more)
        return coded, reborn

    def _code(
        self, images: list[FloatArray], masks: list[FloatArray | None], start: list[SparseMaps] | None
    ) -> _Coded:
        solver = self._coding_solver()
        found = [
            solver.encode(image, self.alpha, mask=m, init=None if start is None else start[i])
            for i, (image, m) in enumerate(zip(images, masks, strict=True))
        ]
        return _Coded(images, masks, [maps for maps, _ in found], [info for _, info in found])

    def _descend(self, coded: _Coded) -> tuple[NDArray[np.float64], float | None]:
        """The filters after their steps, with the codes as they are."""
        filters = filters_as_images(self.components_)

        def gradient(at: NDArray[np.float64]) -> NDArray[np.float64]:
            solver = self._solver(at.astype(filters.dtype), self.coding_tol, self.transform_max_iter)
            total = np.zeros(at.shape)
            for image, maps, m in zip(coded.images, coded.maps, coded.masks, strict=True):
                total += solver.filter_gradient(image, maps, mask=m)[1]
            # Where it is not finite the descent would stay where it is, without a word.
            require_finite_step(self.n_steps_ + 1, total)
            return total

        return optim.projected_descent(
            filters.astype(np.float64), gradient, self._project, n_steps=self.filter_steps, step=self._step
        )

    def _reborn(self, filters: NDArray[np.float64], coded: _Coded, dead: NDArray[np.bool_]) -> list[int]:
        """Puts the worst-explained patches in the place of dead filters; of which ones."""
        places = np.flatnonzero(dead)
        reborn: list[int] = []
        if places.size == 0:
            return reborn
        patches = worst_patches(self._residuals(coded), filters.shape, places.size)
        for k, patch in zip(places, patches, strict=False):
            # Codes of either sign take a patch or its negative: what `positive_dict` keeps more of.
            if self.positive_dict and not self.positive_code and -patch.min() > patch.max():
                patch = -patch
            born = self._project(patch[None])[0]
            if born.any():
                filters[k] = born
                reborn.append(int(k))
        return reborn

    def _residuals(self, coded: _Coded) -> list[FloatArray]:
        solver = self._coding_solver()
        residuals = []
        for image, maps, m in zip(coded.images, coded.maps, coded.masks, strict=True):
            pixels = _device.to_host(image) if is_device_array(image) else image
            residual = pixels - solver.synthesize(maps, (image.shape[1], image.shape[2]))
            residuals.append(
                residual if m is None else np.where(np.broadcast_to(m, image.shape) > 0, residual, 0)
            )
        return residuals

    def _project(self, filters: NDArray[np.float64]) -> NDArray[np.float64]:
        return project_filters(filters, positive=self.positive_dict, zero_mean=self.zero_mean_dict)

    def _has_converged(self) -> bool:
        if self.tol == 0 or len(self.error_) < 2:
            return False
        before, now = self.error_[-2:]
        return bool(before - now < self.tol * now)

    def _commit(self, filters: NDArray[np.float64], coded: _Coded, **more: Any) -> None:
        components = filters.astype(self.components_.dtype).reshape(self.components_.shape)
        require_finite_step(self.n_steps_ + 1, components, coded.objective)
        # One call into C: a signal finds the old state or the new one.
        self.__dict__.update(
            components_=components,
            error_=np.append(self.error_, coded.objective),
            gap_=coded.gap,
            n_steps_=self.n_steps_ + 1,
            **more,
        )

    def _tell(self, coded: _Coded, n_reborn: int) -> None:
        if self.verbose:
            print(
                f"[conv_dict_learning] step {self.n_steps_}: objective {coded.objective:.6g}, "
                f"{n_reborn} reborn"
            )
        if self.callback is not None:
            self.callback(
                {
                    "self": self,
                    "n_steps": self.n_steps_,
                    "objective": coded.objective,
                    "n_pixels": sum(image.shape[1] * image.shape[2] for image in coded.images),
                    "gap": coded.gap,
                }
            )

    # --- the start

    def _check_learning_parameters(self, mask: Any) -> None:
        whole_number(self.n_components, "n_components", minimum=1)
        self._size()
        real_number(self.alpha, "alpha", above=0.0)
        if self.transform_alpha is not None:
            real_number(self.transform_alpha, "transform_alpha", above=0.0)
        whole_number(self.max_iter, "max_iter", minimum=1)
        real_number(self.tol, "tol", minimum=0.0)
        real_number(self.coding_tol, "coding_tol", above=0.0)
        whole_number(self.filter_steps, "filter_steps", minimum=1)
        real_number(self.rho, "rho", minimum=0.0)
        for name in ("positive_dict", "zero_mean_dict", "shuffle"):
            one_of(getattr(self, name), name, (False, True))
        if self.positive_dict and self.zero_mean_dict:
            raise ValueError("zero_mean_dict: filters >= 0 that sum to zero are zero; set one of the two")
        if self.zero_mean_dict and max(self._size()) == 1:
            raise ValueError("zero_mean_dict: a filter of one pixel that sums to zero is zero")
        if self.batch_size is not None:
            whole_number(self.batch_size, "batch_size", minimum=1)
            if mask is not None:
                raise ValueError("mask: online learning (batch_size) takes whole images; set batch_size=None")
        if self.callback is not None and not callable(self.callback):
            raise TypeError(f"callback: expected a callable or None, got {self.callback!r}")
        seed_number(self.random_state)
        self._check_coding_parameters()

    def _check_filters_begun(self) -> None:
        """ValueError where the parameters ask for other filters than those that learning began with."""
        n_components, _, *size = self.components_.shape
        if self.n_components != n_components:
            raise ValueError(
                f"n_components: learning began with {n_components} filters, got {self.n_components}"
            )
        if self._size() != tuple(size):
            raise ValueError(
                f"filter_size: learning began with filters of {tuple(size)}, got {self.filter_size!r}"
            )

    def _check_codes_kept(self, images: list[FloatArray]) -> None:
        """ValueError where these are not the images of `fit`, or their last codes are none any more."""
        sizes = pixel_sizes(images).tolist()
        for i, (now, begun) in enumerate(zip(sizes, self._sizes.tolist(), strict=True)):
            if now != begun:
                raise ValueError(
                    f"X[{i}]: expected the image of fit, of {begun[0]} x {begun[1]} pixels, "
                    f"got one of {now[0]} x {now[1]}"
                )
        solver = self._coding_solver()
        for image, maps in zip(images, self._maps, strict=False):  # none before the first step
            shape = solver.code_shape(image.shape[1], image.shape[2])
            if shape != maps.shape:
                raise ValueError(
                    "boundary: the codes of `fit`, which `resume` goes on from, are maps of "
                    f"{maps.shape[1:]}, but {self.boundary!r} asks for {shape[1:]}"
                )
            if self.positive_code and maps.value.min(initial=0) < 0:
                raise ValueError(
                    "positive_code: the codes of `fit`, which `resume` goes on from, are not all >= 0"
                )

    def _size(self) -> tuple[int, ...]:
        return sizes_of(self.filter_size, "filter_size")

    def _fetch(
        self, X: Any, rows: NDArray[np.int64] | None, mask: Any, dtype: Any
    ) -> tuple[list[FloatArray], list[FloatArray | None], Layout]:
        """Those images of X, or all, and their masks."""
        if self.device == "cuda" and is_device_array(X):
            X = _device.device_operand(X, "X", dtype=dtype)
            if rows is not None:
                X = [X[int(i) : int(i) + 1].reshape(tuple(X.shape[1:])) for i in rows]
        elif rows is not None or not isinstance(X, np.ndarray | list | tuple):
            X = [X[int(i)] for i in (range(_number_of(X)) if rows is None else rows)]
        images, layout = as_images(
            X, ndim=len(self._size()), dtype=dtype, is_finite=mask is None, device=self.device
        )
        if dtype is not None:  # learning has begun
            if layout.ndim != self.components_.ndim - 2:
                raise ValueError(f"X: expected images as the filters have them, {self.components_.shape}")
            require_room(images, filters_as_images(self.components_).shape[2:], "X")
        return images, masks_of(mask, images, layout), layout

    def _start(self, images: list[FloatArray], ndim: int) -> None:
        seed = seed_number(self.random_state)
        size = self._size()
        shape = (self.n_components, images[0].shape[0], *((1, *size) if ndim == 1 else size))
        require_room(images, shape[2:], "X")
        if self.dict_init is None:
            filters = first_filters(shape, seed)
        else:
            filters = filters_as_images(check_filters(self.dict_init, "dict_init")).astype(np.float64)
            if filters.shape != shape:
                raise ValueError(f"dict_init: expected filters of shape {shape}, got {filters.shape}")
        filters = self._project(filters).astype(images[0].dtype)
        self.__dict__.update(
            components_=filters if ndim == 2 else filters[:, :, 0],
            error_=np.empty(0),
            gap_=np.empty(0),
            n_iter_=0,
            n_steps_=0,
            _seed=seed,
            _step=None,
            _maps=[],
            _A=np.zeros(0),  # online it has its shape with the first step
            _B=np.zeros(0),
            _idle=np.zeros(self.n_components, np.int64),
        )

    # --- what the base class and files ask for

    def _filters(self) -> FloatArray:
        check_is_fitted(self, "components_")
        return self.components_

    def _coding_solver(self) -> Any:
        filters = self._filters_in(self.components_.dtype)
        return self._solver(filters, self.coding_tol, self.transform_max_iter)

    def _transform_settings(self) -> tuple[Any, float, int]:
        alpha = self.alpha if self.transform_alpha is None else self.transform_alpha
        return alpha, self.transform_tol, self.transform_max_iter

    def _get_state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        check_is_fitted(self, "components_")
        tensors = {name: getattr(self, name) for name in _TENSORS}
        for i, maps in enumerate(self._maps):
            tensors[f"maps_{i}_index"], tensors[f"maps_{i}_value"] = maps.index, maps.value
        values = {name: getattr(self, name) for name in _VALUES}
        return tensors, {**values, "map_shapes": [list(maps.shape) for maps in self._maps]}

    def _set_state(self, tensors: dict[str, NDArray[Any]], values: dict[str, Any]) -> None:
        state: dict[str, Any] = {name: np.array(tensors[name]) for name in _TENSORS}
        state["_maps"] = [
            SparseMaps(
                (int(shape[0]), int(shape[1]), int(shape[2])),
                np.array(tensors[f"maps_{i}_index"]),
                np.array(tensors[f"maps_{i}_value"]),
            )
            for i, shape in enumerate(values["map_shapes"])
        ]
        self.__dict__.update(state, **{name: values[name] for name in _VALUES})


def _number_of(X: Any) -> int:
    try:
        return len(X)
    except TypeError:
        raise TypeError(f"X: expected an array or a list of images, got {type(X).__name__}") from None


_TENSORS = ("components_", "error_", "gap_", "_A", "_B", "_idle", "_sizes")
_VALUES = ("n_iter_", "n_steps_", "_n_images", "_batch_size", "_seed", "_step")
