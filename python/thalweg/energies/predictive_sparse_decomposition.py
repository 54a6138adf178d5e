"""The energy of predictive sparse decomposition: convolutional sparse codes that are predicted."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _check, _device, ops
from .._blas import one_blas_thread
from .._check import FloatArray, float_array, is_device_array, non_negative, one_of, real_number
from ..ops.conv import NATIVE_BOUNDARIES, code_sizes, with_height

BOUNDARIES = ("valid", "same", "full", "circular")


class EnergyTerms(NamedTuple):
    """The summands of the energy of every image, each (n,) and float64."""

    reconstruction: NDArray[np.float64]
    sparsity: NDArray[np.float64]
    prediction: NDArray[np.float64]


class ParameterGradients(NamedTuple):
    """Derivatives of the energy, summed over the images; `threshold` is None for tanh."""

    filters: FloatArray
    encoder_filters: FloatArray
    intercept: FloatArray
    gain: FloatArray
    threshold: FloatArray | None


class ParameterCurvatures(NamedTuple):
    """For every map the mean of the Hessian's diagonal over the elements of a parameter, each (n_filters,).

    Of the Gauss-Newton approximation, with what lies beyond the borders, and with images that are white.
    """

    filters: NDArray[np.float64]
    encoder_filters: NDArray[np.float64]
    intercept: NDArray[np.float64]
    gain: NDArray[np.float64]
    threshold: NDArray[np.float64] | None


class Fit(NamedTuple):
    """What there is to know of codes: for learning, from one reconstruction."""

    terms: EnergyTerms
    gradients: ParameterGradients
    curvatures: ParameterCurvatures
    residual: FloatArray  # sum_k K_k * z_k - y


class PredictiveSparseDecompositionEnergy:
    r"""Energy of an image y and its code z, where an encoder predicts the code.

    .. math:: E(y, z) = \tfrac12 \Big\lVert y - \sum_k K_k * z_k \Big\rVert^2 + \alpha \lVert z \rVert_1
              + \tfrac{\beta}{2} \lVert z - p(y) \rVert^2,
              \qquad p_k(y) = g_k\, s\big( (W \star y)_k + b_k \big)

    with the correlation :math:`\star`, and s either tanh or, where thresholds are given, shrinkage by
    :math:`\theta_k`. In z the energy is strongly convex with modulus :math:`\beta`: there is one best code.

    Parameters
    ----------
    filters : array-like of shape (n_filters, channels, kh, kw)
        K of the linear decoder; (n_filters, channels, l) for signals.
    encoder_filters : array-like of the shape of `filters`
        W.
    intercept, gain : array-like of shape (n_filters,)
        b and g.
    threshold : array-like of shape (n_filters,), default=None
        theta >= 0 of the shrinkage; None stands for tanh.
    alpha : float, default=1.0
        Weight of the l1 norm, >= 0.
    prediction_weight : float, default=1.0
        beta > 0.
    boundary : {"valid", "same", "full", "circular"}, default="valid"
        As in `thalweg.ops.convolve`.
    n_jobs : int, default=None
        Threads. Says nothing on the GPU.
    device : {"cpu", "cuda"}, default="cpu"
        Where to convolve. With "cuda" images and codes may be arrays in the memory of the GPU too: `predict`
        and `reconstruct` leave them there and give arrays of the same library, all else is computed from
        copies of them and is NumPy's, as are the parameters.

    Raises
    ------
    TypeError, ValueError
        Where an argument is of the wrong kind, shape or range, by name.
    RuntimeError
        device="cuda", and no GPU can be used: the message says what is missing.
    MemoryError
        The GPU's memory does not suffice.

    References
    ----------
    K. Kavukcuoglu, M. Ranzato, Y. LeCun, Fast inference in sparse coding algorithms with applications to
    object recognition, 2008. K. Kavukcuoglu, P. Sermanet, Y-L. Boureau, K. Gregor, M. Mathieu, Y. LeCun,
    Learning convolutional feature hierarchies for visual recognition, NIPS 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.energies import PredictiveSparseDecompositionEnergy
    >>> one = np.ones((1, 1, 1))
    >>> energy = PredictiveSparseDecompositionEnergy(one, one, [0.0], [1.0], [0.5], alpha=0.5)
    >>> energy.predict([[[3.0, 0.2, -1.0]]])
    array([[[ 2.5,  0. , -0.5]]])
    >>> energy.value([[[3.0, 0.2, -1.0]]], [[[2.5, 0.0, 0.0]]])
    array([2.02])
    """

    def __init__(
        self,
        filters: Any,
        encoder_filters: Any,
        intercept: Any,
        gain: Any,
        threshold: Any = None,
        *,
        alpha: float = 1.0,
        prediction_weight: float = 1.0,
        boundary: str = "valid",
        n_jobs: int | None = None,
        device: str = "cpu",
    ) -> None:
        self.device = _check.device(device)
        _device.kernels(self.device)  # or an error at once
        self.filters = float_array(filters, "filters")
        if self.filters.ndim not in (3, 4) or self.filters.size == 0:
            raise ValueError(
                "filters: expected shape (n_filters, channels, kh, kw) or (n_filters, channels, l), "
                f"got {self.filters.shape}"
            )
        self.encoder_filters = float_array(encoder_filters, "encoder_filters", dtype=self.filters.dtype)
        self.intercept = self._one_a_map(intercept, "intercept")
        self.gain = self._one_a_map(gain, "gain")
        self.threshold = None
        if threshold is not None:
            non_negative(threshold, "threshold", self.filters.dtype)
            self.threshold = self._one_a_map(threshold, "threshold")
        if self.encoder_filters.shape != self.filters.shape:
            raise ValueError(
                f"encoder_filters: expected {self.filters.shape}, the shape of filters, "
                f"got {self.encoder_filters.shape}"
            )
        self.alpha = real_number(alpha, "alpha", minimum=0.0)
        self.prediction_weight = real_number(prediction_weight, "prediction_weight", above=0.0)
        self.boundary = one_of(boundary, "boundary", BOUNDARIES)
        self.n_jobs = n_jobs

    def predict(self, X: Any) -> FloatArray:
        """The encoder's p(y) of images X (n, channels, height, width), shape (n, n_filters, Hc, Wc)."""
        made: FloatArray = _device.give_back(self.given(X).prediction, X)
        return made

    def reconstruct(self, Z: Any) -> FloatArray:
        """The decoder's sum_k K_k * z_k of codes Z, shape (n, channels, height, width)."""
        return ops.convolve(Z, self.filters, **self.convolution)

    def value(self, X: Any, Z: Any) -> NDArray[np.float64]:
        """E(y, z) of every image, shape (n,), accumulated in float64."""
        return self.given(X).value(Z)

    def gradient(self, X: Any, Z: Any) -> FloatArray:
        """Gradient in z of the smooth part; the l1 norm is left to its proximal map. The shape of `Z`."""
        return self.given(X).gradient(Z)

    def parameter_gradients(self, X: Any, Z: Any) -> ParameterGradients:
        """Derivatives of sum E(y, z) with the codes held; at the best codes, of sum min_z E(y, z).

        Of the shrinkage, whose corners lie at its thresholds, the derivative there is that of its flat side.
        """
        return self.given(X).parameter_gradients(Z)

    def given(self, X: Any) -> ObservedEnergy:
        """The energy as a function of the code alone, for images X (n, channels, height, width)."""
        images: FloatArray
        if self.device == "cuda" and is_device_array(X):
            images = _device.as_device_array(X, "X", ndim=self.filters.ndim)
        else:
            images = float_array(X, "X", ndim=self.filters.ndim)
        if images.shape[1] != self.filters.shape[1]:
            raise ValueError(f"X: expected {self.filters.shape[1]} channel(s), got shape {images.shape}")
        return ObservedEnergy(self, images)

    def code_shape(self, *sizes: int) -> tuple[int, ...]:
        """(n_filters, Hc, Wc) of the codes of an image of so many rows and columns, or of a signal."""
        n_filters, _, *taps = self.filters.shape
        return n_filters, *code_sizes(sizes, tuple(taps), self.boundary, "filters")

    @property
    def convolution(self) -> dict[str, Any]:
        """How to convolve: the keywords of the functions of `thalweg.ops`."""
        return {"boundary": self.boundary, "n_jobs": self.n_jobs, "device": self.device}

    @cached_property
    def lipschitz(self) -> float:
        """A Lipschitz constant of the gradient in z, for images of any size."""
        return _squared_norm_bound(self.filters) + self.prediction_weight

    def _one_a_map(self, value: Any, name: str) -> FloatArray:
        array = float_array(value, name, dtype=self.filters.dtype)
        if array.shape != (len(self.filters),):
            raise ValueError(f"{name}: expected shape ({len(self.filters)},), got {array.shape}")
        return array


class ObservedEnergy:
    """E(y, .) of images that are given: alpha ||z||_1 and a smooth, strongly convex part.

    `lipschitz` and `strong_convexity` are constants of the smooth part's gradient, `prediction` is p(y), on
    the side where the images are. The methods give NumPy's arrays: of images in the memory of the GPU they
    take a copy.
    """

    def __init__(self, energy: PredictiveSparseDecompositionEnergy, images: FloatArray) -> None:
        self._energy = energy
        self.images = images
        self.alpha = energy.alpha
        self.strong_convexity = energy.prediction_weight
        self.boundary = energy.boundary
        self.device = energy.device

    @property
    def filters(self) -> FloatArray:
        """The decoder's, in the dtype of the images."""
        return self._in_dtype(self._energy.filters, "filters")

    @cached_property
    def prediction(self) -> FloatArray:
        if not is_device_array(self.images):
            return self._predicted
        made: FloatArray = _device.empty(self._code_shape, self.images.dtype, like=self.images)
        _device.kernels("cuda").csc_predict(
            *self._encoder(), NATIVE_BOUNDARIES[self.boundary], with_height(made)
        )
        return made

    @property
    def lipschitz(self) -> float:
        return self._energy.lipschitz

    def value(self, Z: Any) -> NDArray[np.float64]:
        """E(y, z) of every image."""
        terms = self.terms(Z)
        return terms.reconstruction + terms.sparsity + terms.prediction

    def value_of_zero(self) -> NDArray[np.float64]:
        """E(y, 0) of every image."""
        beta = self.strong_convexity
        if not is_device_array(self.images):
            return 0.5 * (_squared_norms(self.images) + beta * _squared_norms(self.prediction))
        energies = np.empty(len(self.images))
        batch = (with_height(each) for each in (self.images, self.filters, self.prediction))
        _device.kernels("cuda").csc_predicted_at_zero(
            *batch, self.alpha, beta, NATIVE_BOUNDARIES[self.boundary], energies
        )
        return energies

    def terms(self, Z: Any) -> EnergyTerms:
        """The summands of the energy of every image."""
        codes = self._codes(Z)
        return self._terms(codes, self._residual(codes))

    def gradient(self, Z: Any) -> FloatArray:
        """Gradient in z of the smooth part."""
        codes = self._codes(Z)
        gradient = self._correlated(self._residual(codes), self._energy.filters)
        offset = codes - self._predicted
        offset *= self._energy.prediction_weight
        gradient += offset
        return gradient

    def parameter_gradients(self, Z: Any) -> ParameterGradients:
        """Derivatives in the parameters, the codes held."""
        codes = self._codes(Z)
        return self._parameter_gradients(codes, self._residual(codes))

    def fit(self, Z: Any) -> Fit:
        """Energy, derivatives in the parameters, and what is left of the images."""
        codes = self._codes(Z)
        residual = self._residual(codes)
        return Fit(
            self._terms(codes, residual),
            self._parameter_gradients(codes, residual),
            self._parameter_curvatures(codes),
            residual,
        )

    def _terms(self, codes: FloatArray, residual: FloatArray) -> EnergyTerms:
        magnitude = np.abs(codes).sum(axis=tuple(range(1, codes.ndim)), dtype=np.float64)
        return EnergyTerms(
            0.5 * _squared_norms(residual),
            self.alpha * magnitude,
            0.5 * self._energy.prediction_weight * _squared_norms(codes - self._predicted),
        )

    def _parameter_gradients(self, codes: FloatArray, residual: FloatArray) -> ParameterGradients:
        energy = self._energy
        activity, slope = self._encoded
        pull = self._predicted - codes  # the derivative in p
        pull *= energy.prediction_weight
        gain = _sums(pull * activity)
        pull *= slope
        pull *= self._maps(energy.gain)
        threshold = None if energy.threshold is None else -_sums(pull * np.sign(activity))
        return ParameterGradients(
            self._filter_gradient(codes, residual),
            self._filter_gradient(pull, self._pixels),
            _sums(pull),
            gain,
            threshold,
        )

    def _parameter_curvatures(self, codes: FloatArray) -> ParameterCurvatures:
        energy = self._energy
        activity, slope_of_maps = self._encoded
        slope = np.square(energy.gain, dtype=np.float64) * _sums_of_squares(slope_of_maps)
        slope *= energy.prediction_weight
        return ParameterCurvatures(
            _sums_of_squares(codes),
            slope * float(np.square(self._pixels).mean(dtype=np.float64)),
            slope,
            energy.prediction_weight * _sums_of_squares(activity),
            None if energy.threshold is None else slope,
        )

    @cached_property
    def _code_shape(self) -> tuple[int, ...]:
        return len(self.images), *self._energy.code_shape(*self.images.shape[2:])

    # --- on the host

    @cached_property
    def _pixels(self) -> FloatArray:
        """The images."""
        return _device.to_host(self.images) if is_device_array(self.images) else self.images

    @cached_property
    def _predicted(self) -> FloatArray:
        return self._encoded[0] * self._maps(self._energy.gain)

    @cached_property
    def _encoded(self) -> tuple[FloatArray, FloatArray]:
        """s(W y + b) and its derivative."""
        energy = self._energy
        response = self._correlated(self._pixels, energy.encoder_filters)
        response += self._maps(energy.intercept)
        if energy.threshold is None:
            activity = np.tanh(response, out=response)
            return activity, 1 - activity * activity
        activity = ops.shrink(response, self._maps(energy.threshold), n_jobs=energy.n_jobs)
        return activity, (activity != 0).astype(response.dtype)

    def _maps(self, values: FloatArray) -> FloatArray:
        """One number for each map, to broadcast over images and pixels."""
        return values.reshape(-1, *(1,) * (self.images.ndim - 2))

    def _codes(self, Z: Any) -> FloatArray:
        if self.device == "cuda" and is_device_array(Z):
            Z = _device.to_host(_device.device_operand(Z, "Z"))
        codes = float_array(Z, "Z", dtype=self.images.dtype)
        if codes.shape != self._code_shape:
            raise ValueError(f"Z: expected shape {self._code_shape}, got {codes.shape}")
        return codes

    def _residual(self, codes: FloatArray) -> FloatArray:
        residual = self._energy.reconstruct(codes)
        residual -= self._pixels
        return residual

    def _correlated(self, images: FloatArray, filters: FloatArray) -> FloatArray:
        return ops.correlate(images, filters, **self._energy.convolution)

    def _filter_gradient(self, codes: FloatArray, images: FloatArray) -> FloatArray:
        energy = self._energy
        return ops.filter_gradient(codes, images, energy.filters.shape[2:], **energy.convolution)

    # --- on the GPU

    def _encoder(self) -> tuple[Any, ...]:
        """Images and the encoder's parameters as its kernel takes them."""
        energy = self._energy
        threshold = energy.threshold
        return (
            with_height(self.images),
            with_height(self._in_dtype(energy.encoder_filters, "encoder_filters")),
            self._in_dtype(energy.intercept, "intercept"),
            self._in_dtype(energy.gain, "gain"),
            None if threshold is None else self._in_dtype(threshold, "threshold"),
        )

    def _in_dtype(self, parameter: FloatArray, name: str) -> FloatArray:
        return float_array(parameter, name, dtype=self.images.dtype)


def _squared_norms(arrays: FloatArray) -> NDArray[np.float64]:
    """The squared norm of each."""
    flat = arrays.reshape(len(arrays), -1)
    norms: NDArray[np.float64] = np.square(flat).sum(axis=1, dtype=np.float64)
    return norms


def _sums(maps: FloatArray) -> FloatArray:
    """Sums over images and pixels, one for each map."""
    total: FloatArray = maps.sum(axis=_all_but_maps(maps), dtype=np.float64).astype(maps.dtype)
    return total


def _sums_of_squares(maps: FloatArray) -> NDArray[np.float64]:
    total: NDArray[np.float64] = np.square(maps).sum(axis=_all_but_maps(maps), dtype=np.float64)
    return total


def _all_but_maps(maps: FloatArray) -> tuple[int, ...]:
    return (0, *range(2, maps.ndim))


_OVERSAMPLING = 8


def _squared_norm_bound(filters: FloatArray) -> float:
    """An upper bound of the squared norm of z -> sum_k K_k * z_k; 1.17 of it at most, for large images.

    That norm is the largest eigenvalue of the filters' Gram matrix (channels x channels) over all
    frequencies. Its quadratic forms are trigonometric polynomials of degree d = size - 1 along each axis;
    between 8 d equidistant samples they rise by a factor of 1 / cos(pi / 8) at most (Ehlich, Zeller, 1964).
    """
    sizes = filters.shape[2:]
    samples = [max(1, _OVERSAMPLING * (size - 1)) for size in sizes]
    spectra = np.fft.rfftn(filters.astype(np.float64), s=samples, axes=tuple(range(2, filters.ndim)))
    spectra = spectra.reshape(*filters.shape[:2], -1)
    if filters.shape[1] == 1:
        largest = np.square(np.abs(spectra)).sum(axis=(0, 1)).max()
    else:
        with one_blas_thread:
            gram = np.einsum("kcf,kdf->fcd", spectra, spectra.conj())
            largest = np.linalg.eigvalsh(gram)[:, -1].max()
    n_axes = sum(size > 1 for size in sizes)
    return float(largest / np.cos(np.pi / _OVERSAMPLING) ** n_axes)
