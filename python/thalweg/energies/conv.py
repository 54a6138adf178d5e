"""Networks of convolutional layers, then dense ones: outputs, and gradients in parameters and inputs."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .. import _check, _device, ops
from .._check import (
    FloatArray,
    float_array,
    is_device_array,
    one_of,
    real_operand,
    seed_number,
    whole_number,
)
from ._layers import (
    ACTIVATIONS,
    activation_names,
    bias_of,
    first_weights,
    float_dtype,
    listed,
    matched,
    pulled_back,
)
from .dense import DenseNetwork, DenseTape, _random, sizes_of

_BOUNDARY = "full"  # every filter lies inside the image


class _Layer(NamedTuple):
    filters: FloatArray
    bias: FloatArray | None
    activation: str
    pool_size: int


@dataclass(frozen=True)
class ConvolutionalTape:
    """What `ConvolutionalNetwork.forward` leaves for the way back; the arrays are not copies."""

    layers: list[_Layer]
    inputs: list[FloatArray]  # of every layer, (n, channels, height, width)
    sums: list[FloatArray]  # to which the activations were applied
    dense: DenseTape
    input_shape: tuple[int, ...]  # of the images as they were given


class ConvolutionalNetwork:
    r"""A network of convolutional layers, whose last maps a dense network reads.

    .. math:: a_0 = x, \qquad a_l = \mathrm{pool}_{p_l}\bigl( s_l(F_l \star a_{l-1} + b_l) \bigr), \qquad
              G(x) = D(a_L)

    Filters are correlated with the maps below and lie inside of them, so that maps of height h shrink to
    h - kh + 1 rows. Pooling then takes the means of windows of p x p that do not overlap; rows at the bottom
    and columns on the right that fill no window are left out, and :math:`\lfloor (h - k_h + 1) / p \rfloor`
    rows remain. The last maps come to the dense network as rows in the order (filter, row, column).

    What a method computes is of the dtype of its `X`: float32 for float32, otherwise float64; the parameters
    are taken in it. The bits do not depend on the number of threads. A row's result does not depend on its
    batch beyond rounding.

    Parameters
    ----------
    filters : sequence of array-like, each of shape (n_filters, channels, kh, kw)
        F_l, layer after layer; not copied where they are of one dtype, float32 or float64, that of the first.
    biases : sequence of array-like of shape (n_filters,), or None
        b_l, one number for each filter; None for a layer without.
    activations : sequence of {"identity", "sigmoid", "tanh", "softplus", "relu"}
        s_l.
    pool_sizes : sequence of int
        p_l >= 1; 1 leaves the maps as they are.
    dense : DenseNetwork
        D. A linear classifier of the maps is one with a single layer without activation.
    image_shape : tuple of int
        (channels, height, width) of x.
    n_jobs : int, default=None
        Threads of the convolutional layers, in scikit-learn's sense; None for OpenMP's default.
    device : {"cpu", "cuda"}, default="cpu"
        Where the maps are correlated and convolved with the filters. Arrays are NumPy's with "cuda" too: maps
        travel there and back in every layer, and all else is computed on the host.

    Attributes
    ----------
    parameters : dict of str to ndarray
        "filters_0", "filter_bias_0", "filters_1", ..., then those of `dense`: the arrays themselves.
    n_inputs, n_outputs : int
        Numbers in an image, and the length of G(x).
    map_shapes : list of tuple of int
        (n_filters, height, width) of the maps that every layer gives.

    Raises
    ------
    TypeError, ValueError
        Where an argument, here or of a method, is of the wrong kind or shape, by name.
    RuntimeError
        device="cuda", and no GPU can be used: the message says what is missing.

    See Also
    --------
    DenseNetwork : One of dense layers alone.

    References
    ----------
    Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Gradient-based learning applied to document recognition,
    Proc. IEEE 86, 1998.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.energies import ConvolutionalNetwork, DenseNetwork
    >>> edge = np.array([[[[-1.0, 1.0]]]])
    >>> total = DenseNetwork([np.ones((1, 2))], [None], ["identity"])
    >>> network = ConvolutionalNetwork([edge], [None], ["relu"], [2], total, image_shape=(1, 2, 5))
    >>> network.map_shapes
    [(1, 1, 2)]
    >>> X = np.array([[[[0.0, 0.0, 3.0, 1.0, 1.0], [0.0, 0.0, 3.0, 1.0, 9.0]]]])
    >>> G, tape = network.forward(X)
    >>> G  # 3 and 3, and 8: each a quarter of its window
    array([[3.5]])
    >>> network.pullback(tape, [[1.0]])[0]["filters_0"]
    array([[[[0.25, 3.75]]]])
    """

    def __init__(
        self,
        filters: Any,
        biases: Any,
        activations: Any,
        pool_sizes: Any,
        dense: DenseNetwork,
        *,
        image_shape: tuple[int, int, int],
        n_jobs: int | None = None,
        device: str = "cpu",
    ) -> None:
        self.device = _check.device(device)
        _device.kernels(self.device)  # that it is there
        banks = listed(filters, "filters", "arrays")
        if not banks:
            raise ValueError("filters: expected at least one layer, got none")
        vectors = listed(biases, "biases", "arrays or None", len(banks))
        pools = listed(pool_sizes, "pool_sizes", "integers", len(banks))
        self.activations = activation_names(activations, len(banks))
        self.pool_sizes = tuple(whole_number(p, f"pool_sizes[{i}]", minimum=1) for i, p in enumerate(pools))
        self.image_shape = _image_shape(image_shape)
        self.n_jobs = n_jobs
        self.map_shapes: list[tuple[int, int, int]] = []
        self.parameters: dict[str, FloatArray] = {}
        shape, dtype = self.image_shape, None
        for i, (bank, vector) in enumerate(zip(banks, vectors)):
            F = _bank(bank, f"filters[{i}]", shape, dtype)
            shape, dtype = _map_shape(shape, F.shape, self.pool_sizes[i], i), F.dtype
            self.map_shapes.append(shape)
            self.parameters[f"filters_{i}"] = F
            b = bias_of(vector, f"biases[{i}]", len(F), dtype)
            if b is not None:
                self.parameters[f"filter_bias_{i}"] = b
        self.dense = _reader(dense, shape, dtype)
        self.parameters |= self.dense.parameters
        self.n_inputs = math.prod(self.image_shape)
        self.n_outputs = self.dense.n_outputs

    @classmethod
    def random(
        cls,
        image_shape: tuple[int, int, int],
        n_filters: int | Sequence[int],
        filter_sizes: int | Sequence[int],
        pool_sizes: int | Sequence[int] = 1,
        hidden_layer_sizes: int | Sequence[int] = (),
        n_outputs: int = 1,
        activation: str = "tanh",
        random_state: Any = None,
        dtype: Any = np.float64,
        *,
        n_jobs: int | None = None,
        device: str = "cpu",
    ) -> ConvolutionalNetwork:
        """A network with random filters and weights, and biases of zero; its last layer has no activation.

        Scaled as those of `DenseNetwork.random`; a filter's fans are channels kh kw and n_filters kh kw.

        Parameters
        ----------
        image_shape : tuple of int
            (channels, height, width).
        n_filters : int or sequence of int
            Filters of every convolutional layer.
        filter_sizes : int or sequence of int
            Their heights, which are their widths; an integer stands for all layers.
        pool_sizes : int or sequence of int, default=1
            Likewise.
        hidden_layer_sizes : int or sequence of int, default=()
            Units of every hidden dense layer.
        n_outputs : int, default=1
        activation : {"identity", "sigmoid", "tanh", "softplus", "relu"}, default="tanh"
            Of all layers but the last.
        random_state : None, int, RandomState or Generator
            Two networks from one integer have the same parameters.
        dtype : {float32, float64}, default=float64
        n_jobs : int, default=None
        device : {"cpu", "cuda"}, default="cpu"

        Returns
        -------
        ConvolutionalNetwork

        Examples
        --------
        >>> from thalweg.energies import ConvolutionalNetwork
        >>> network = ConvolutionalNetwork.random((1, 28, 28), (6, 16), 5, 2, 120, 10, random_state=0)
        >>> network.map_shapes
        [(6, 12, 12), (16, 4, 4)]
        >>> network.parameters["weights_0"].shape
        (120, 256)
        """
        counts = sizes_of(n_filters, "n_filters")
        sizes = _for_layers(filter_sizes, "filter_sizes", len(counts))
        pools = _for_layers(pool_sizes, "pool_sizes", len(counts))
        one_of(activation, "activation", tuple(ACTIVATIONS))
        made_of, seed = float_dtype(dtype), seed_number(random_state)
        shape, banks = _image_shape(image_shape), []
        for i, (count, size) in enumerate(zip(counts, sizes)):
            bank_shape = (count, shape[0], size, size)
            _require_fit(bank_shape, f"filter_sizes[{i}]", shape)
            banks.append(first_weights(seed, i, bank_shape, activation, made_of))
            shape = _map_shape(shape, bank_shape, pools[i], i)
        dense = _random(
            math.prod(shape), hidden_layer_sizes, n_outputs, activation, seed, made_of, n_jobs, len(counts)
        )
        biases = [np.zeros(count, made_of) for count in counts]
        return cls(
            banks,
            biases,
            [activation] * len(counts),
            pools,
            dense,
            image_shape=image_shape,
            n_jobs=n_jobs,
            device=device,
        )

    def forward(self, X: Any) -> tuple[FloatArray, ConvolutionalTape]:
        """G(x) of every image.

        Parameters
        ----------
        X : array-like of shape (n_samples, channels, height, width) or (n_samples, n_inputs)
            A flat row holds an image in the order (channel, row, column).

        Returns
        -------
        outputs : ndarray of shape (n_samples, n_outputs)
        tape : ConvolutionalTape
            For `pullback`. It holds `X` itself, which has to stay as it is until then.

        Raises
        ------
        FloatingPointError
            A map or an output is not finite: parameters are too large, or not finite themselves.
        """
        if self.device == "cuda" and is_device_array(X):
            raise TypeError("X: expected an array of NumPy, whose maps travel to the device, got one there")
        images = float_array(X, "X")
        input_shape, maps = images.shape, self._images(images)
        layers, inputs, sums = self._layers(maps), [], []
        with _overflow_named(maps.dtype):
            for layer in layers:
                inputs.append(maps)
                u = ops.correlate(maps, layer.filters, **self._how())
                if layer.bias is not None:
                    u += layer.bias[:, None, None]
                sums.append(u)
                maps = _pooled(ACTIVATIONS[layer.activation].value(u, self.n_jobs), layer.pool_size)
        outputs, tape = self._forward_dense(maps)
        return outputs, ConvolutionalTape(layers, inputs, sums, tape, input_shape)

    def pullback(
        self, tape: ConvolutionalTape, gradient: Any, *, inputs: bool = False
    ) -> tuple[dict[str, FloatArray], FloatArray | None]:
        """The vector-Jacobian product: from a gradient in the outputs to gradients in the parameters.

        Parameters
        ----------
        tape : ConvolutionalTape
            Of `forward`; may be used again.
        gradient : array-like of shape (n_samples, n_outputs)
            dL/dG of every row, for any scalar L.
        inputs : bool, default=False
            Whether the gradient in `X` is wanted, too.

        Returns
        -------
        parameters : dict of str to ndarray
            dL of every parameter, summed over the rows, by its name; in the dtype of the outputs.
        X : ndarray of the shape in which the images were given, or None

        Raises
        ------
        FloatingPointError
            A gradient overflows on its way through the convolutional layers.
        """
        _require_tape(tape)
        made, pull = self.dense.pullback(tape.dense, gradient, inputs=True)
        assert pull is not None  # it was asked for
        with _overflow_named(pull.dtype):
            for i in reversed(range(len(tape.layers))):
                pull = self._unpooled(tape, i, pull)
                layer = tape.layers[i]
                made[f"filters_{i}"] = ops.filter_gradient(
                    pull, tape.inputs[i], layer.filters.shape[2:], **self._how()
                )
                if layer.bias is not None:
                    by_map = pull.sum(axis=(2, 3))
                    made[f"filter_bias_{i}"] = by_map.sum(axis=0, dtype=np.float64).astype(pull.dtype)
                if i > 0 or inputs:
                    pull = self._through_filters(layer, pull)
        in_X = pull.reshape(tape.input_shape) if inputs else None
        return {name: made[name] for name in self.parameters}, in_X

    def input_gradient(self, X: Any, gradient: Any) -> FloatArray:
        """The gradient in x of sum_k gradient_k G_k(x), for every image.

        Parameters
        ----------
        X : array-like of shape (n_samples, channels, height, width) or (n_samples, n_inputs)
        gradient : array-like of shape (n_samples, n_outputs) or (n_outputs,)

        Returns
        -------
        ndarray of the shape of `X`

        Raises
        ------
        FloatingPointError
            As `forward` and `pullback`.
        """
        _, tape = self.forward(X)
        pull = self.dense._input_gradient(tape.dense, gradient)
        with _overflow_named(pull.dtype):
            for i in reversed(range(len(tape.layers))):
                pull = self._through_filters(tape.layers[i], self._unpooled(tape, i, pull))
        return pull.reshape(tape.input_shape)

    def with_parameters(self, parameters: dict[str, FloatArray]) -> ConvolutionalNetwork:
        """The same architecture with other parameters.

        Parameters
        ----------
        parameters : dict of str to ndarray
            With the names and shapes of `self.parameters`, all float32 or all float64; not copied.

        Returns
        -------
        ConvolutionalNetwork
        """
        made = copy.copy(self)
        made.parameters = matched(parameters, self.parameters)
        made.dense = self.dense.with_parameters({n: made.parameters[n] for n in self.dense.parameters})
        return made

    def _images(self, X: FloatArray) -> FloatArray:
        """`X` as (n, channels, height, width)."""
        if X.shape[1:] not in (self.image_shape, (self.n_inputs,)):
            channels, height, width = self.image_shape
            raise ValueError(
                f"X: expected shape (n_samples, {channels}, {height}, {width}) or "
                f"(n_samples, {self.n_inputs}), got {X.shape}"
            )
        return X.reshape(len(X), *self.image_shape)

    def _layers(self, images: FloatArray) -> list[_Layer]:
        """The convolutional layers, in the dtype of the images."""
        taken = {name: p.astype(images.dtype, copy=False) for name, p in self.parameters.items()}
        return [
            _Layer(taken[f"filters_{i}"], taken.get(f"filter_bias_{i}"), activation, pool_size)
            for i, (activation, pool_size) in enumerate(zip(self.activations, self.pool_sizes))
        ]

    def _forward_dense(self, maps: FloatArray) -> tuple[FloatArray, DenseTape]:
        with _overflow_named(maps.dtype):
            return self.dense.forward(maps.reshape(len(maps), self.dense.n_inputs))

    def _unpooled(self, tape: ConvolutionalTape, i: int, gradient: FloatArray) -> FloatArray:
        """The gradient in the pooled maps of layer i, in any shape, as one in what is activated."""
        layer, sums = tape.layers[i], tape.sums[i]
        pull = gradient.reshape(len(sums), *self.map_shapes[i])
        return pulled_back(_spread(pull, layer.pool_size, sums.shape), sums, layer.activation, self.n_jobs)

    def _through_filters(self, layer: _Layer, gradient: FloatArray) -> FloatArray:
        return ops.convolve(gradient, layer.filters, **self._how())

    def _how(self) -> dict[str, Any]:
        """What the convolutions of all layers have in common."""
        return {"boundary": _BOUNDARY, "n_jobs": self.n_jobs, "device": self.device}


@contextmanager
def _overflow_named(dtype: np.dtype[Any]) -> Iterator[None]:
    """FloatingPointError in the place of the ValueError of `ops`.

    Kinds and shapes are checked before, so that it can only be about numbers that are not finite.
    """
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            yield
    except ValueError as error:
        raise FloatingPointError(
            f"maps of the network are not finite in {dtype}: its parameters are too large, or not finite "
            f"({error})"
        ) from error


def _pooled(maps: FloatArray, size: int) -> FloatArray:
    """The means of windows of size x size."""
    if size == 1:
        return maps
    height, width = maps.shape[2] // size * size, maps.shape[3] // size * size
    pooled: FloatArray = maps[:, :, 0:height:size, 0:width:size].copy()
    for i, j in list(np.ndindex(size, size))[1:]:
        pooled += maps[:, :, i:height:size, j:width:size]
    pooled /= size * size
    return pooled


def _spread(gradient: FloatArray, size: int, shape: tuple[int, ...]) -> FloatArray:
    """The adjoint of `_pooled` for maps of this shape."""
    if size == 1:
        return gradient
    height, width = shape[2] // size * size, shape[3] // size * size
    spread = np.zeros(shape, gradient.dtype)
    share = gradient / (size * size)
    for i, j in np.ndindex(size, size):
        spread[:, :, i:height:size, j:width:size] = share
    return spread


def _require_tape(tape: Any) -> None:
    if not isinstance(tape, ConvolutionalTape):
        raise TypeError(f"tape: expected what `forward` returned, got {type(tape).__name__}")


def _image_shape(value: Any) -> tuple[int, int, int]:
    if not isinstance(value, Sequence | np.ndarray) or len(value) != 3:
        raise ValueError(f"image_shape: expected (channels, height, width), got {value!r}")
    channels, height, width = (whole_number(size, "image_shape", minimum=1) for size in value)
    return channels, height, width


def _for_layers(value: Any, name: str, length: int) -> list[int]:
    """An integer for all layers, or one for each."""
    sizes = sizes_of(value, name)
    if isinstance(value, Sequence | np.ndarray) and len(sizes) != length:
        raise ValueError(f"{name}: expected an integer, or {length} as n_filters are, got {value!r}")
    return sizes if len(sizes) == length else sizes * length


def _bank(filters: Any, name: str, below: tuple[int, int, int], dtype: Any) -> FloatArray:
    """`filters` as those of a layer that sees maps of the shape `below`."""
    bank = real_operand(filters, name, dtype=dtype)
    if bank.ndim != 4 or bank.size == 0:
        raise ValueError(
            f"{name}: expected shape (n_filters, channels, kh, kw), at least one of each, got {bank.shape}"
        )
    if bank.shape[1] != below[0]:
        raise ValueError(f"{name}: expected {below[0]} channel(s), as below, got shape {bank.shape}")
    _require_fit(bank.shape, name, below)
    return bank


def _require_fit(bank_shape: tuple[int, ...], name: str, below: tuple[int, int, int]) -> None:
    _, height, width = below
    kh, kw = bank_shape[2:]
    if kh > height or kw > width:
        raise ValueError(
            f"{name}: filters must fit into the maps below; {kh} x {kw} does not fit into {height} x {width}"
        )


def _map_shape(
    below: tuple[int, int, int], bank_shape: tuple[int, ...], pool_size: int, layer: int
) -> tuple[int, int, int]:
    """(n_filters, height, width) after filters that fit and pooling."""
    height, width = below[1] - bank_shape[2] + 1, below[2] - bank_shape[3] + 1
    if pool_size > min(height, width):
        raise ValueError(
            f"pool_sizes[{layer}]: expected at most {min(height, width)} for maps of {height} x {width}, "
            f"got {pool_size}"
        )
    return bank_shape[0], height // pool_size, width // pool_size


def _reader(dense: Any, shape: tuple[int, int, int], dtype: Any) -> DenseNetwork:
    """`dense`, which reads maps of this shape, with parameters of this dtype."""
    if not isinstance(dense, DenseNetwork):
        raise TypeError(f"dense: expected a DenseNetwork, got {type(dense).__name__}")
    if dense.n_inputs != math.prod(shape):
        raise ValueError(
            f"dense: expected {math.prod(shape)} inputs, {' x '.join(map(str, shape))} maps, "
            f"got {dense.n_inputs}"
        )
    return dense.with_parameters({n: p.astype(dtype, copy=False) for n, p in dense.parameters.items()})
