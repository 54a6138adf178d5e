"""Convolutional sparse auto-encoder: predictive sparse decomposition of images and signals."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from math import ceil
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils.validation import check_is_fitted

from .. import _check, _device
from .._check import (
    FloatArray,
    is_device_array,
    one_of,
    real_number,
    seed_number,
    thread_number,
    whole_number,
)
from ..energies import PredictiveSparseDecompositionEnergy
from ..energies.predictive_sparse_decomposition import BOUNDARIES
from ..inference.proximal_gradient import ProximalInfo, minimise, minimise_there
from ._autoencoder_step import (
    Parameters,
    Progress,
    energy_of,
    first_parameters,
    first_progress,
    power_of_two_scale,
    scaled,
    take_step,
)
from ._crops import crops_of_pass, stacks
from ._images import Layout, MapsThere, as_images, pixel_sizes, sizes_of
from ._learning import unchanged_by_errors

NONLINEARITIES = ("tanh", "shrinkage")

# Attributes, in the order of the energy's parameters; the last one for shrinkage only.
_PARAMETERS = (
    "components_",
    "encoder_components_",
    "encoder_intercept_",
    "encoder_gain_",
    "encoder_threshold_",
)
_VALUES = ("n_steps_", "n_iter_", "_seed", "_scale", "_has_channels", "_batch")

_CROP_FILTERS = 5  # side of a crop, in filters, unless the user says otherwise


class _Terms(NamedTuple):
    """The summands of the energy of a batch, for one pixel."""

    reconstruction: float
    sparsity: float
    prediction: float


class ConvolutionalSparseAutoencoder(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    r"""Learns filters that describe images sparsely, and an encoder that predicts the codes.

    Minimises over filters K in the unit ball and the encoder's W, b, g, for every image y,

    .. math:: \min_z \tfrac12 \Big\lVert y - \sum_k K_k * z_k \Big\rVert^2 + \alpha \lVert z \rVert_1
              + \tfrac{\beta}{2} \lVert z - p(y) \rVert^2,
              \qquad p_k(y) = g_k\, s\big( (W \star y)_k + b_k \big)

    This is predictive sparse decomposition: the encoder is a correlation, a non-linearity s and a diagonal
    layer of gains, the decoder a linear convolution, and the two are trained jointly. A step takes random
    crops, improves the encoder's prediction of their codes by `max_inference_iter` iterations of FISTA on the
    energy, and moves all parameters down its gradient, with momentum and each map's step divided by its
    curvature. A map that no crop has used for some steps is born again from where crops are explained worst.

    Remove low frequencies beforehand (`thalweg.preprocessing.split_frequencies`): what is constant over a
    filter makes no sparse codes.

    Parameters
    ----------
    n_components : int, default=16
        Number of filters, and of maps of the code.
    filter_size : int or (int, int) or (int,), default=9
        Height and width of the filters; an integer stands for both. (l,) asks for signals, with filters of
        this length.
    alpha : float, default=0.1
        Weight of the l1 norm. It goes with the scale of the images: the default leaves 2 to 3 % non-zeros for
        photographs in [0, 1] without their low frequencies.
    prediction_weight : float, default=1.0
        beta, > 0.
    nonlinearity : {"shrinkage", "tanh"}, default="shrinkage"
        s; the thresholds of the shrinkage are learnt. Only shrinkage predicts zeros.
    boundary : {"valid", "same", "full", "circular"}, default="valid"
        What codes there are at the borders, see `thalweg.ops.convolve`. With "valid" they are larger than the
        image by a filter less one.
    n_iter : int, default=10
        Passes over the images, counted from the start of `fit`, across `resume`. A pass takes as many random
        crops of an image as would cover it.
    batch_size : int, default=8
        Crops of a step.
    crop_size : int or sequence of int, default=None
        Height and width of the crops, at least those of the filters; None stands for five times the filters'.
        A smaller image is taken whole along that axis.
    learning_rate : float, default=0.1
        Part of a Newton step that a step is. It needs no tuning to the scale of the images.
    max_inference_iter : int, default=10
        Iterations on the codes of a step.
    transform_max_iter : int, default=1000
        Most iterations on the code of an image, for `transform` with `exact=True`.
    transform_tol : float, default=1e-4
        These end where E(z) - min E is certain to be at most transform_tol * E(0).
    random_state : int, RandomState or Generator, default=None
        Seed of the first filters and of the crops. The same seed gives the same bits.
    callback : callable, default=None
        Called after every step of `fit` with a dict: `self`, `X`, `i`, `n_steps`, `batch_energy` of a pixel
        before the step, and its summands `reconstruction`, `sparsity`, `prediction`. The estimator holds that
        step already, so the callback may save it.
    verbose : bool or int, default=False
        Print one line a pass.
    n_jobs : int, default=None
        Threads; None stands for OpenMP's number. The results are the same bits for any number.
    device : {"cpu", "cuda"}, default="cpu"
        Where to compute codes and convolutions. With "cuda" images and codes may be arrays in the memory of
        the GPU (PyTorch's, CuPy's, or any that speak DLPack): what `transform` and `inverse_transform` make
        of them are then arrays of the same library. What is learnt is NumPy's, and so are the crops that it
        is learnt from. Four arrays of the codes of an image have to fit there.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, channels, kh, kw)
        K, the decoder's filters; (n_components, channels, l) for signals.
    encoder_components_ : ndarray of the same shape
        W, the encoder's filters.
    encoder_intercept_, encoder_gain_ : ndarray of shape (n_components,)
        b and g.
    encoder_threshold_ : ndarray of shape (n_components,)
        Thresholds of the shrinkage, >= 0; absent for tanh.
    n_iter_ : int
        Number of passes of `fit`, the last one begun.
    n_steps_ : int
        Number of batches.

    References
    ----------
    K. Kavukcuoglu, M. Ranzato, Y. LeCun, Fast inference in sparse coding algorithms with applications to
    object recognition, 2008. K. Kavukcuoglu, P. Sermanet, Y-L. Boureau, K. Gregor, M. Mathieu, Y. LeCun,
    Learning convolutional feature hierarchies for visual recognition, NIPS 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg import ConvolutionalSparseAutoencoder
    >>> X = np.random.default_rng(0).laplace(size=(4, 20, 30))
    >>> model = ConvolutionalSparseAutoencoder(6, 5, alpha=1.0, n_iter=2, random_state=0).fit(X)
    >>> model.components_.shape
    (6, 1, 5, 5)
    >>> predicted, best = model.transform(X), model.transform(X, exact=True)
    >>> predicted.shape, model.inverse_transform(best).shape
    ((4, 6, 24, 34), (4, 20, 30))
    >>> bool((model.energy(X, best) < model.energy(X, predicted)).all())
    True
    """

    def __init__(
        self,
        n_components: int = 16,
        filter_size: int | Sequence[int] = 9,
        *,
        alpha: float = 0.1,
        prediction_weight: float = 1.0,
        nonlinearity: str = "shrinkage",
        boundary: str = "valid",
        n_iter: int = 10,
        batch_size: int = 8,
        crop_size: int | Sequence[int] | None = None,
        learning_rate: float = 0.1,
        max_inference_iter: int = 10,
        transform_max_iter: int = 1000,
        transform_tol: float = 1e-4,
        random_state: Any = None,
        callback: Callable[[dict[str, Any]], Any] | None = None,
        verbose: int | bool = False,
        n_jobs: int | None = None,
        device: str = "cpu",
    ) -> None:
        self.n_components = n_components
        self.filter_size = filter_size
        self.alpha = alpha
        self.prediction_weight = prediction_weight
        self.nonlinearity = nonlinearity
        self.boundary = boundary
        self.n_iter = n_iter
        self.batch_size = batch_size
        self.crop_size = crop_size
        self.learning_rate = learning_rate
        self.max_inference_iter = max_inference_iter
        self.transform_max_iter = transform_max_iter
        self.transform_tol = transform_tol
        self.random_state = random_state
        self.callback = callback
        self.verbose = verbose
        self.n_jobs = n_jobs
        self.device = device

    # --- learning

    def fit(self, X: Any, y: Any = None) -> ConvolutionalSparseAutoencoder:
        """Learns from images, from the start, in `n_iter` passes over random crops.

        Interrupted by Ctrl-C or by an error, the estimator holds the last step that was completed, and
        `resume` goes on from there.

        Parameters
        ----------
        X : array-like of shape (n, channels, height, width) or (n, height, width), or list of images
            The images of a list may have unequal sizes. Where `filter_size` asks for signals, (n, channels,
            length) or (n, length). float32 is learnt in float32, every other real kind in float64.
        y : ignored

        Returns
        -------
        self : ConvolutionalSparseAutoencoder

        Raises
        ------
        TypeError, ValueError
            Where X or a parameter is of the wrong kind, shape or range, an image is smaller than a filter, or
            X is not finite.
        RuntimeError
            device="cuda", and no GPU can be used: the message says what is missing.
        MemoryError
            The GPU's memory does not suffice.
        FloatingPointError
            Where the energy or a parameter leaves the finite numbers.
        """
        self._check_parameters()
        with unchanged_by_errors(self):
            images, layout = self._images_to_learn(X, len(self._filter_sizes()))
            self._start(images, layout)
            self._sizes = pixel_sizes(images)
            self._batch = self._fit_batch()
        self._learn(images, X)
        return self

    def partial_fit(self, X: Any, y: Any = None) -> ConvolutionalSparseAutoencoder:
        """Goes once over random crops of X, in batches of `batch_size`.

        So images are learnt from that do not fit into memory together: call it with some of them at a time.

        Parameters
        ----------
        X : array-like or list of images
            As for `fit`; brought to the dtype that learning began with.
        y : ignored

        Returns
        -------
        self : ConvolutionalSparseAutoencoder

        Raises
        ------
        TypeError, ValueError, FloatingPointError
            As `fit`; the estimator keeps the last good parameters.
        """
        self._check_parameters()
        with unchanged_by_errors(self):
            if hasattr(self, "components_"):
                images = self._images_to_go_on_with(X)
            else:
                images, layout = self._images_to_learn(X, len(self._filter_sizes()))
                self._start(images, layout)
            self._sizes = np.empty((0, 2), np.int64)
            self._batch = self._fit_batch()
        crop = self._crop()
        crops = crops_of_pass(pixel_sizes(images), crop, self._seed, self.n_steps_, row=1)
        for first in range(0, len(crops), self.batch_size):
            self._step(stacks(images, crops[first : first + self.batch_size], crop))
        return self

    def resume(self, X: Any) -> ConvolutionalSparseAutoencoder:
        """Goes on with a `fit` that was interrupted, or saved by a callback and loaded: the same bits.

        `n_iter` may have been raised, and what a pass does not depend on changed, meanwhile.

        Parameters
        ----------
        X : array-like or list of images
            The same images in the same order.

        Returns
        -------
        self : ConvolutionalSparseAutoencoder

        Raises
        ------
        NotFittedError
            Where there is nothing to go on with.
        TypeError, ValueError, FloatingPointError
            As `fit`.
        """
        check_is_fitted(self, "components_")
        self._check_parameters()
        images = self._images_to_go_on_with(X)
        if len(self._sizes) == 0:
            raise NotFittedError("there is no `fit` to go on with: the last step was one of `partial_fit`")
        if not np.array_equal(pixel_sizes(images), self._sizes):
            raise ValueError(f"X: expected the {len(self._sizes)} images of fit, got images of other sizes")
        if self._fit_batch() != self._batch:
            raise ValueError(
                "batch_size, crop_size: `fit` was begun with {} crops of {} x {} a step, "
                "which cannot change on the way".format(*self._batch)
            )
        self._learn(images, X)
        return self

    def _learn(self, images: list[FloatArray], X: Any) -> None:
        """Steps of `fit`, from the one that the estimator holds."""
        crop = self._crop()
        n_crops = len(crops_of_pass(self._sizes, crop, self._seed, 0))
        steps_per_pass = ceil(n_crops / self.batch_size)
        n_steps = self.n_iter * steps_per_pass
        while self.n_steps_ < n_steps:
            epoch, place = divmod(self.n_steps_, steps_per_pass)
            crops = crops_of_pass(self._sizes, crop, self._seed, epoch)
            begun, energies = perf_counter(), []
            for first in range(place * self.batch_size, n_crops, self.batch_size):
                terms = self._step(stacks(images, crops[first : first + self.batch_size], crop), epoch + 1)
                energies.append(sum(terms))
                if self.callback is not None:
                    self.callback(self._progress(X, n_steps, terms))
            if self.verbose:
                print(
                    f"[conv_autoencoder] pass {epoch + 1}: energy of a pixel {np.mean(energies):.6g}, "
                    f"{perf_counter() - begun:.1f} s"
                )

    def _start(self, images: list[FloatArray], layout: Layout) -> None:
        scale = power_of_two_scale(images)
        self._check_weights(images[0].dtype, scale)
        seed = seed_number(self.random_state)
        parameters = first_parameters(
            images,
            self.n_components,
            self._filter_shape(),
            threshold=self.alpha / scale if self.nonlinearity == "shrinkage" else None,
            seed=seed,
        )
        self.__dict__.pop("encoder_threshold_", None)
        self.__dict__.update(
            **self._attributes(scaled(parameters, 1 / scale), layout.ndim),
            n_steps_=0,
            n_iter_=0,
            _training=first_progress(parameters),
            _seed=seed,
            _scale=scale,
            _has_channels=layout.has_channels,
        )

    def _step(self, batch: list[FloatArray], n_iter: int = 0) -> _Terms:
        """One step with these crops."""
        number = self.n_steps_ + 1
        step = take_step(
            batch,
            scaled(self._parameters(), self._scale),
            self._training,
            alpha=self.alpha / self._scale,
            number=number,
            scale=self._scale,
            model=self,
        )
        attributes = self._attributes(scaled(step.parameters, 1 / self._scale), self.components_.ndim - 2)
        # One call into C: a signal finds the old state or the new one.
        self.__dict__.update(**attributes, _training=step.progress, n_steps_=number, n_iter_=n_iter)
        return _Terms(*step.terms)

    def _progress(self, X: Any, n_steps: int, terms: _Terms) -> dict[str, Any]:
        return {
            "self": self,
            "X": X,
            "i": self.n_steps_ - 1,
            "n_steps": n_steps,
            "batch_energy": sum(terms),
            **terms._asdict(),
        }

    # --- use

    def transform(self, X: Any, exact: bool = False) -> Any:
        """Codes of images: the encoder's prediction, or the best ones.

        Parameters
        ----------
        X : array-like or list of images
            As for `fit`.
        exact : bool, default=False
            Whether to go down from the prediction to the minimum of the energy, within `transform_tol`.

        Returns
        -------
        codes : ndarray of shape (n, n_components, Hc, Wc), or list of (n_components, Hc, Wc)
            A list where X is one. float32 where X is, else float64. For signals (n, n_components, Lc). Where
            X is in the memory of the GPU, so are they, as arrays of its library.

        Raises
        ------
        NotFittedError
            Before learning.
        TypeError, ValueError, RuntimeError, MemoryError
            As `fit`.

        Warns
        -----
        ConvergenceWarning
            Where an image stopped at `transform_max_iter`, with the worst certificate.
        """
        check_is_fitted(self, "components_")
        self._check_parameters()
        one_of(exact, "exact", (False, True))
        images, layout = self._images_to_use(X)
        energy = self._energy(images[0].dtype)
        if self.device == "cuda":
            codes, worst = self._codes_there(energy, X, images, layout, exact)
        else:
            codes, worst = self._codes_here(energy, images, layout, exact)
        if worst > self.transform_tol:
            warnings.warn(
                f"transform_tol={self.transform_tol:g} was not reached within "
                f"transform_max_iter={self.transform_max_iter} iterations: the worst gap is {worst:.3g}",
                ConvergenceWarning,
                stacklevel=3,  # scikit-learn wraps this method
            )
        return codes

    def _codes_here(
        self,
        energy: PredictiveSparseDecompositionEnergy,
        images: list[FloatArray],
        layout: Layout,
        exact: bool,
    ) -> tuple[Any, float]:
        """Codes, and the worst certificate in units of E(0)."""
        codes, worst = [], 0.0
        for image in images:
            observed = energy.given(image[None])
            code = observed.prediction
            if exact:
                scale = observed.value_of_zero()
                code, info = minimise(
                    observed,
                    code,
                    max_iter=self.transform_max_iter,
                    tolerance=self.transform_tol * scale,
                    n_jobs=self.n_jobs,
                )
                worst = max(worst, _relative(info, scale))
            codes.append(code[0])
        return layout.maps(codes), worst

    def _codes_there(
        self,
        energy: PredictiveSparseDecompositionEnergy,
        X: Any,
        images: list[FloatArray],
        layout: Layout,
        exact: bool,
    ) -> tuple[Any, float]:
        """`_codes_here` on the GPU, where codes stay until they are given back as X came."""
        shapes = [energy.code_shape(*image.shape[1:]) for image in images]
        maps, worst = MapsThere(X, layout, shapes, images[0].dtype), 0.0
        for image in images:
            observed = energy.given(_device.device_operand(image.reshape((1, *image.shape)), "X"))
            scale = observed.value_of_zero() if exact else None
            code, info = minimise_there(
                observed,
                observed.prediction,
                max_iter=self.transform_max_iter if exact else 0,
                tolerance=None if scale is None else self.transform_tol * scale,
                out=maps.room(),
            )
            if scale is not None:
                worst = max(worst, _relative(info, scale))
            maps.keep(code)
        return maps.given_back(), worst

    def inverse_transform(self, Z: Any) -> Any:
        """Images from their codes, by the decoder.

        Parameters
        ----------
        Z : array-like of shape (n, n_components, Hc, Wc), or list of (n_components, Hc, Wc)
            For signals (n, n_components, Lc).

        Returns
        -------
        images : ndarray of shape (n, channels, height, width), or list of (channels, height, width)
            Without the axis of the channels where the images that were learnt from had none. float32 where Z
            is, else float64. Of the library of Z, where that is in the memory of the GPU.

        Raises
        ------
        NotFittedError
            Before learning.
        TypeError, ValueError
            Where Z is of the wrong kind or shape, or not finite.
        RuntimeError, MemoryError
            As `fit`.
        """
        check_is_fitted(self, "components_")
        codes, layout = self._codes(Z)
        energy = self._energy(codes[0].dtype)
        if any(is_device_array(code) for code in codes):
            return self._images_there(energy, Z, codes, layout)
        images = [energy.reconstruct(code[None])[0] for code in codes]
        return Layout(layout.ndim, layout.is_stacked, self._has_channels).images(images)

    def _images_there(
        self, energy: PredictiveSparseDecompositionEnergy, Z: Any, codes: list[FloatArray], layout: Layout
    ) -> Any:
        """Images from codes some of which are in the memory of the GPU, as Z came."""

        def images(batch: Any, n: tuple[int, ...], like: Any) -> Any:
            made = energy.reconstruct(batch)
            channels = made.shape[1:2] if self._has_channels else ()
            return _device.give_back(made.reshape((*n, *channels, *made.shape[4 - layout.ndim :])), like)

        if layout.is_stacked:
            whole = _device.device_operand(Z, "Z", dtype=codes[0].dtype)
            return images(whole.reshape((len(codes), *codes[0].shape)), (len(codes),), Z)
        return [images(code.reshape((1, *code.shape)), (), like) for code, like in zip(codes, Z, strict=True)]

    def energy(self, X: Any, Z: Any) -> NDArray[np.float64]:
        """E(y, z) of every image with its code.

        Parameters
        ----------
        X : array-like or list of images
            As for `fit`.
        Z : array-like or list of codes
            As `transform` gives them.

        Returns
        -------
        energies : ndarray of shape (n,), float64

        Raises
        ------
        NotFittedError
            Before learning.
        TypeError, ValueError
            Where X or Z is of the wrong kind or shape, or not finite.
        RuntimeError, MemoryError
            As `fit`.
        """
        check_is_fitted(self, "components_")
        self._check_parameters()
        images, _ = self._images_to_use(X)
        codes, _ = self._codes(Z)
        if len(codes) != len(images):
            raise ValueError(f"Z: expected {len(images)} codes, as there are images, got {len(codes)}")
        energy = self._energy(images[0].dtype)
        pairs = zip(_on_the_host(images), _on_the_host(codes))
        return np.array([energy.value(y[None], z[None])[0] for y, z in pairs])

    # --- parameters, arguments, state

    def _energy(self, dtype: Any) -> PredictiveSparseDecompositionEnergy:
        present = self._parameters().present().items()
        parameters = self._parameters()._replace(**{name: value.astype(dtype) for name, value in present})
        return energy_of(parameters, self.alpha, self)

    def _parameters(self) -> Parameters:
        """The attributes as parameters of images; signals are images of height 1."""
        values: list[Any] = [self.__dict__.get(name) for name in _PARAMETERS]
        if self.components_.ndim == 3:
            values[:2] = [self.components_[:, :, None], self.encoder_components_[:, :, None]]
        return Parameters(*values)

    @staticmethod
    def _attributes(parameters: Parameters, ndim: int) -> dict[str, FloatArray]:
        if ndim == 1:
            parameters = parameters._replace(
                filters=parameters.filters[:, :, 0], encoder_filters=parameters.encoder_filters[:, :, 0]
            )
        return {name: value for name, value in zip(_PARAMETERS, parameters) if value is not None}

    def _images(
        self, X: Any, ndim: int, channels: int | None = None, dtype: Any = None, shape: Any = None
    ) -> tuple[list[FloatArray], Layout]:
        images, layout = as_images(
            X, ndim=ndim, channels=channels, dtype=dtype, device=_check.device(self.device)
        )
        kh, kw = self._filter_shape() if shape is None else shape
        for image in images:
            if image.shape[1] < kh or image.shape[2] < kw:
                wanted, given = ((kh, kw), image.shape[1:]) if ndim == 2 else ((kw,), image.shape[2:])
                raise ValueError(
                    f"X: expected images at least as large as the filters of {_text(wanted)}, "
                    f"got one of {_text(given)}"
                )
        return images, layout

    def _images_to_learn(self, X: Any, ndim: int) -> tuple[list[FloatArray], Layout]:
        """Images to begin with, on the host, where crops are cut."""
        images, layout = self._images(X, ndim)
        return _on_the_host(images), layout

    def _images_to_use(self, X: Any, dtype: Any = None) -> tuple[list[FloatArray], Layout]:
        """Images for the filters that were learnt."""
        shape = (1, *self.components_.shape[2:])[-2:]
        images, layout = self._images(X, self.components_.ndim - 2, self.components_.shape[1], dtype, shape)
        self._check_weights(images[0].dtype, 1.0)
        return images, layout

    def _images_to_go_on_with(self, X: Any) -> list[FloatArray]:
        """Images to learn from; ValueError where the parameters ask for another model than the one begun."""
        shape = (self.n_components, *self._filter_sizes())
        begun = (len(self.components_), *self.components_.shape[2:])
        if shape != begun:
            raise ValueError(
                f"n_components, filter_size: learning began with {begun[0]} filters of {_text(begun[1:])}, "
                f"got {shape[0]} of {_text(shape[1:])}"
            )
        if (self.nonlinearity == "shrinkage") is not hasattr(self, "encoder_threshold_"):
            raise ValueError(f"nonlinearity: learning began with the other one, got {self.nonlinearity!r}")
        self._check_weights(self.components_.dtype, self._scale)
        return _on_the_host(self._images_to_use(X, self.components_.dtype)[0])

    def _codes(self, Z: Any) -> tuple[list[FloatArray], Layout]:
        return as_images(
            Z,
            ndim=self.components_.ndim - 2,
            channels=len(self.components_),
            name="Z",
            device=_check.device(self.device),
        )

    def _filter_sizes(self) -> tuple[int, ...]:
        return sizes_of(self.filter_size, "filter_size")

    def _filter_shape(self) -> tuple[int, int]:
        height, width = (1, *self._filter_sizes())[-2:]
        return height, width

    def _crop(self) -> tuple[int, int]:
        kh, kw = self._filter_shape()
        ndim = len(self._filter_sizes())
        if self.crop_size is None:
            return _CROP_FILTERS * kh if ndim == 2 else 1, _CROP_FILTERS * kw
        sizes = sizes_of(self.crop_size, "crop_size")
        if ndim == 1 and isinstance(self.crop_size, int | np.integer):
            sizes = sizes[1:]
        if len(sizes) != ndim:
            raise ValueError(f"crop_size: expected an integer or {ndim} of them, got {self.crop_size!r}")
        height, width = (1, *sizes)[-2:]
        if height < kh or width < kw:
            raise ValueError(
                f"crop_size: expected at least the size of the filters, {_text(self._filter_sizes())}, "
                f"got {self.crop_size!r}"
            )
        return height, width

    def _fit_batch(self) -> list[int]:
        """What the number of steps of a pass depends on."""
        return [int(self.batch_size), *self._crop()]

    def _check_parameters(self) -> None:
        whole_number(self.n_components, "n_components", minimum=1)
        real_number(self.alpha, "alpha", minimum=0.0)
        real_number(self.prediction_weight, "prediction_weight", above=0.0)
        one_of(self.nonlinearity, "nonlinearity", NONLINEARITIES)
        one_of(self.boundary, "boundary", BOUNDARIES)
        whole_number(self.n_iter, "n_iter")
        whole_number(self.batch_size, "batch_size", minimum=1)
        self._crop()
        real_number(self.learning_rate, "learning_rate", minimum=0.0)
        whole_number(self.max_inference_iter, "max_inference_iter")
        whole_number(self.transform_max_iter, "transform_max_iter")
        real_number(self.transform_tol, "transform_tol", above=0.0)
        if self.callback is not None and not callable(self.callback):
            raise TypeError(f"callback: expected a callable or None, got {self.callback!r}")
        thread_number(self.n_jobs)
        _device.kernels(_check.device(self.device))  # or an error at once

    def _check_weights(self, dtype: Any, scale: float) -> None:
        """ValueError where images of this dtype, or what they are divided by, are too small for a weight."""
        largest = float(np.finfo(dtype).max)
        for name, unit in (("alpha", min(scale, 1.0)), ("prediction_weight", 1.0)):
            value = float(getattr(self, name))
            if value > largest * unit:
                raise ValueError(
                    f"{name}: overflows {dtype}: expected at most {largest * unit:.3g} for these images, "
                    f"got {value:g}"
                )

    def _get_state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        check_is_fitted(self, "components_")
        tensors = {name: self.__dict__[name] for name in _PARAMETERS if name in self.__dict__}
        tensors.update(_sizes=self._sizes, **self._training.tensors())
        return tensors, {name: getattr(self, name) for name in _VALUES}

    def _set_state(self, tensors: dict[str, Any], values: dict[str, Any]) -> None:
        state = {name: np.array(tensors[name]) for name in (*_PARAMETERS, "_sizes") if name in tensors}
        n, *_ = shape = state["components_"].shape
        own = {state[name].shape for name in _PARAMETERS[2:] if name in state}
        if state["encoder_components_"].shape != shape or own != {(n,)}:
            raise ValueError("the encoder of the state does not belong to its filters")
        state.update({name: values[name] for name in _VALUES})
        self.__dict__.update(state)
        self.__dict__["_training"] = Progress.of(tensors, self._parameters())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _relative(info: ProximalInfo | None, scale: NDArray[np.float64]) -> float:
    """An image's certificate in units of E(0)."""
    assert info is not None
    return float(info.gap[0] / scale[0]) if scale[0] > 0 else 0.0


def _on_the_host(images: list[FloatArray]) -> list[FloatArray]:
    return [_device.to_host(image) if is_device_array(image) else image for image in images]


def _text(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))
