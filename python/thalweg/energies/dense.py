"""Networks of dense layers: outputs, gradients in parameters and inputs, Laplacians."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .._blas import one_blas_thread
from .._check import FloatArray, float_array, is_finite, one_of, real_operand, seed_number, whole_number
from ._bipartite import row_blocks
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

_TANGENTS = 2**20  # elements of a block of directional derivatives: 4 MB of float32


class _Layer(NamedTuple):
    weights: FloatArray
    bias: FloatArray | None
    activation: str

    def sums(self, inputs: FloatArray) -> FloatArray:
        """What the activation is applied to."""
        made: FloatArray = inputs @ self.weights.T
        if self.bias is not None:
            made += self.bias
        return made


@dataclass(frozen=True)
class DenseTape:
    """What `DenseNetwork.forward` leaves for the way back; the arrays are not copies."""

    layers: list[_Layer]
    inputs: list[FloatArray]  # of every layer
    sums: list[FloatArray]  # to which the activations were applied


class DenseNetwork:
    r"""A network of dense layers.

    .. math:: a_0 = x, \qquad a_l = s_l(W_l a_{l-1} + b_l), \qquad G(x) = a_L

    What a method computes is of the dtype of its `X`: float32 for float32, otherwise float64; the parameters
    are taken in it. The bits do not depend on the number of threads. A row's result does not depend on its
    batch beyond rounding.

    Parameters
    ----------
    weights : sequence of array-like, each of shape (n_out, n_in)
        W_l, layer after layer; not copied where they are of one dtype, float32 or float64, that of the first.
        Nor are they checked to be finite, so that a network is cheap to make around the parameters of the
        moment.
    biases : sequence of array-like of shape (n_out,), or None
        b_l; None for a layer without.
    activations : sequence of {"identity", "sigmoid", "tanh", "softplus", "relu"}
        s_l. The derivative of "relu" at 0 is taken as 0.
    n_jobs : int, default=None
        Threads of the activations, in scikit-learn's sense; None for OpenMP's default. Products have one.

    Attributes
    ----------
    parameters : dict of str to ndarray
        "weights_0", "bias_0", "weights_1", ...: the arrays themselves.
    n_inputs, n_outputs : int
        Lengths of x and G(x).

    Raises
    ------
    TypeError, ValueError
        Where an argument, here or of a method, is of the wrong kind or shape, by name.

    See Also
    --------
    ConvolutionalNetwork : One with filters before the dense layers.

    Examples
    --------
    The exclusive or:

    >>> import numpy as np
    >>> from thalweg.energies import DenseNetwork
    >>> network = DenseNetwork(
    ...     [[[1.0, 1.0], [1.0, 1.0]], [[1.0, -2.0]]], [[0.0, -1.0], None], ["relu", "identity"]
    ... )
    >>> X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> G, tape = network.forward(X)
    >>> G.ravel()
    array([0., 1., 1., 0.])
    >>> gradients, in_X = network.pullback(tape, G - 1.0, inputs=True)  # of 1/2 sum (G - 1)^2
    >>> gradients["weights_1"], gradients["bias_0"]
    (array([[-2., -1.]]), array([-1.,  2.]))
    >>> in_X[3]
    array([1., 1.])
    """

    def __init__(self, weights: Any, biases: Any, activations: Any, *, n_jobs: int | None = None) -> None:
        matrices = listed(weights, "weights", "arrays")
        if not matrices:
            raise ValueError("weights: expected at least one layer, got none")
        vectors = listed(biases, "biases", "arrays or None", len(matrices))
        self.activations = activation_names(activations, len(matrices))
        self.n_jobs = n_jobs
        self.parameters: dict[str, FloatArray] = {}
        dtype, width = None, None
        for i, (matrix, vector) in enumerate(zip(matrices, vectors)):
            W = _matrix(matrix, f"weights[{i}]", width, dtype)
            width, dtype = len(W), W.dtype
            self.parameters[f"weights_{i}"] = W
            b = bias_of(vector, f"biases[{i}]", width, dtype)
            if b is not None:
                self.parameters[f"bias_{i}"] = b
        self.n_inputs: int = self.parameters["weights_0"].shape[1]
        self.n_outputs: int = self.parameters[f"weights_{len(matrices) - 1}"].shape[0]

    @classmethod
    def random(
        cls,
        n_inputs: int,
        hidden_layer_sizes: int | Sequence[int] = (),
        n_outputs: int = 1,
        activation: str = "tanh",
        random_state: Any = None,
        dtype: Any = np.float64,
        *,
        n_jobs: int | None = None,
    ) -> DenseNetwork:
        """A network with random weights and biases of zero; its last layer has no activation.

        The weights are normal, of variance 2 / fan_in before "relu" and "softplus" (He et al.) and otherwise
        2 / ((fan_in + fan_out) s'(0)^2) (Glorot and Bengio).

        Parameters
        ----------
        n_inputs : int
        hidden_layer_sizes : int or sequence of int, default=()
            Units of every hidden layer; none makes G linear.
        n_outputs : int, default=1
        activation : {"identity", "sigmoid", "tanh", "softplus", "relu"}, default="tanh"
            Of the hidden layers.
        random_state : None, int, RandomState or Generator
            Two networks from one integer have the same weights.
        dtype : {float32, float64}, default=float64
        n_jobs : int, default=None

        Returns
        -------
        DenseNetwork

        References
        ----------
        X. Glorot, Y. Bengio, Understanding the difficulty of training deep feedforward neural networks,
        AISTATS 2010. K. He, X. Zhang, S. Ren, J. Sun, Delving deep into rectifiers, ICCV 2015.

        Examples
        --------
        >>> from thalweg.energies import DenseNetwork
        >>> network = DenseNetwork.random(784, (100, 50), 10, "relu", random_state=0, dtype="float32")
        >>> {name: p.shape for name, p in network.parameters.items() if name.startswith("weights")}
        {'weights_0': (100, 784), 'weights_1': (50, 100), 'weights_2': (10, 50)}
        """
        return _random(
            n_inputs, hidden_layer_sizes, n_outputs, activation, seed_number(random_state), dtype, n_jobs
        )

    def forward(self, X: Any) -> tuple[FloatArray, DenseTape]:
        """G(x) of every row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_inputs)

        Returns
        -------
        outputs : ndarray of shape (n_samples, n_outputs)
        tape : DenseTape
            For `pullback`. It holds `X` itself, which has to stay as it is until then.

        Raises
        ------
        FloatingPointError
            An output is not finite: parameters are too large, or not finite themselves.
        """
        outputs = self._rows(X)
        tape = DenseTape(self._layers(outputs), [], [])
        with one_blas_thread, np.errstate(over="ignore", invalid="ignore"):
            for layer in tape.layers:
                tape.inputs.append(outputs)
                tape.sums.append(layer.sums(outputs))
                outputs = ACTIVATIONS[layer.activation].value(tape.sums[-1], self.n_jobs)
        if not is_finite(outputs):
            raise FloatingPointError(
                f"outputs of the network are not finite in {outputs.dtype}: its parameters are too large, "
                "or not finite"
            )
        return outputs, tape

    def pullback(
        self, tape: DenseTape, gradient: Any, *, inputs: bool = False
    ) -> tuple[dict[str, FloatArray], FloatArray | None]:
        """The vector-Jacobian product: from a gradient in the outputs to gradients in the parameters.

        Parameters
        ----------
        tape : DenseTape
            Of `forward`; may be used again.
        gradient : array-like of shape (n_samples, n_outputs)
            dL/dG of every row, for any scalar L.
        inputs : bool, default=False
            Whether the gradient in `X` is wanted, too.

        Returns
        -------
        parameters : dict of str to ndarray
            dL of every parameter, summed over the rows, by its name; in the dtype of the outputs.
        X : ndarray of shape (n_samples, n_inputs), or None
        """
        made: dict[str, FloatArray] = {}
        pull = _output_gradient(tape, gradient)
        with one_blas_thread, np.errstate(over="ignore", invalid="ignore"):
            for i in reversed(range(len(tape.layers))):
                layer = tape.layers[i]
                pull = pulled_back(pull, tape.sums[i], layer.activation, self.n_jobs)
                made[f"weights_{i}"] = pull.T @ tape.inputs[i]
                if layer.bias is not None:
                    made[f"bias_{i}"] = pull.sum(axis=0, dtype=np.float64).astype(pull.dtype)
                if i > 0 or inputs:
                    pull = pull @ layer.weights
        return {name: made[name] for name in self.parameters}, pull if inputs else None

    def input_gradient(self, X: Any, gradient: Any) -> FloatArray:
        """The gradient in x of sum_k gradient_k G_k(x), for every row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_inputs)
        gradient : array-like of shape (n_samples, n_outputs) or (n_outputs,)

        Returns
        -------
        ndarray of shape (n_samples, n_inputs)

        Raises
        ------
        FloatingPointError
            As `forward`.

        Examples
        --------
        >>> from thalweg.energies import DenseNetwork
        >>> network = DenseNetwork([[[1.0, 2.0]]], [None], ["softplus"])
        >>> network.input_gradient([[0.0, 0.0]], [1.0])
        array([[0.5, 1. ]])
        """
        return self._input_gradient(self.forward(X)[1], gradient)

    def laplacian(self, X: Any, output_weights: Any = None) -> FloatArray:
        r"""The Laplacian :math:`\Delta G_k(x) = \sum_j \partial^2 G_k / \partial x_j^2`, in closed form.

        Layer by layer, with u = W a + b,

        .. math:: \Delta u = W \Delta a, \qquad \nabla u = W \nabla a, \qquad
                  \Delta s(u) = s''(u) \lVert \nabla u \rVert^2 + s'(u) \Delta u.

        The gradients are kept as coordinates in an orthonormal basis of the rows of the first weights, which
        are min(n_inputs, n_hidden): for H units and K in the two layers that bend, O(K H^2) per row and one
        product of the first weights with themselves; deeper networks cost that many passes through the
        layers that follow.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_inputs)
        output_weights : array-like of shape (n_outputs,) or (n_samples, n_outputs), optional
            c, where the Laplacian of sum_k c_k G_k is wanted.

        Returns
        -------
        ndarray of shape (n_samples, n_outputs), or (n_samples,) where `output_weights` is given

        Raises
        ------
        ValueError
            An activation is "relu", whose second derivative is none: all of it sits on its corner.

        Examples
        --------
        >>> import numpy as np
        >>> from thalweg.energies import DenseNetwork
        >>> network = DenseNetwork([[[3.0, 4.0]]], [None], ["softplus"])
        >>> network.laplacian([[0.0, 0.0]])  # (3^2 + 4^2) sigmoid'(0)
        array([[6.25]])
        """
        for i, activation in enumerate(self.activations):
            if ACTIVATIONS[activation].curvature is None:
                raise ValueError(
                    f"laplacian: expected activations with a second derivative, but activations[{i}] is "
                    f"{activation!r}"
                )
        rows = self._rows(X)
        layers, width = self._layers(rows), max(map(len, self._matrices()))
        made = np.empty((len(rows), self.n_outputs), rows.dtype)
        with one_blas_thread, np.errstate(over="ignore", invalid="ignore"):
            frame = _frame(layers[0].weights)
            for block in row_blocks(len(rows), len(frame) * width, size=_TANGENTS):
                made[block] = self._laplacian(rows[block], layers, frame)
        if output_weights is None:
            return made
        c = real_operand(output_weights, "output_weights", dtype=made.dtype)
        if c.shape not in ((self.n_outputs,), made.shape):
            raise ValueError(
                f"output_weights: expected shape ({self.n_outputs},) or {made.shape}, got {c.shape}"
            )
        return np.asarray((made * c).sum(axis=1))

    def with_parameters(self, parameters: dict[str, FloatArray]) -> DenseNetwork:
        """The same architecture with other parameters.

        Parameters
        ----------
        parameters : dict of str to ndarray
            With the names and shapes of `self.parameters`, all float32 or all float64; not copied.

        Returns
        -------
        DenseNetwork

        Examples
        --------
        >>> from thalweg.energies import DenseNetwork
        >>> network = DenseNetwork([[[1.0, 2.0]]], [[0.5]], ["identity"])
        >>> step = {name: p - 1.0 for name, p in network.parameters.items()}
        >>> network.with_parameters(step).forward([[1.0, 1.0]])[0]
        array([[0.5]])
        """
        made = copy.copy(self)
        made.parameters = matched(parameters, self.parameters)
        return made

    def _input_gradient(self, tape: DenseTape, gradient: Any) -> FloatArray:
        pull = _output_gradient(tape, gradient, for_all_rows=True)
        with one_blas_thread, np.errstate(over="ignore", invalid="ignore"):
            for layer, sums in zip(reversed(tape.layers), reversed(tape.sums)):
                pull = pulled_back(pull, sums, layer.activation, self.n_jobs) @ layer.weights
        return pull

    def _matrices(self) -> list[FloatArray]:
        return [self.parameters[f"weights_{i}"] for i in range(len(self.activations))]

    def _layers(self, X: FloatArray) -> list[_Layer]:
        """The layers, in the dtype of `X`."""
        taken = {name: p.astype(X.dtype, copy=False) for name, p in self.parameters.items()}
        return [
            _Layer(taken[f"weights_{i}"], taken.get(f"bias_{i}"), activation)
            for i, activation in enumerate(self.activations)
        ]

    def _rows(self, X: Any) -> FloatArray:
        rows = float_array(X, "X")
        if rows.ndim != 2 or rows.shape[1] != self.n_inputs:
            raise ValueError(f"X: expected shape (n_samples, {self.n_inputs}), got {rows.shape}")
        return rows

    def _laplacian(self, X: FloatArray, layers: list[_Layer], frame: FloatArray) -> FloatArray:
        """Of every output. `tangents` are derivatives along the frame: (r, units), or (n, r, units)."""
        bends = [layer.activation != "identity" for layer in layers]
        outputs, tangents, laplacian = X, frame, np.empty(0)
        for i, layer in enumerate(layers):
            sums = layer.sums(outputs)
            laplacian = laplacian @ layer.weights.T if any(bends[:i]) else np.zeros_like(sums)
            if i > 0 and any(bends[i:]):
                tangents = times(tangents, layer.weights.T)
            if not bends[i]:
                outputs = sums
                continue
            activation = ACTIVATIONS[layer.activation]
            outputs, slope = activation.value(sums, self.n_jobs), activation.slope(sums, self.n_jobs)
            laplacian *= slope
            laplacian += _curved(layer.activation, sums, self.n_jobs) * _squares(tangents)
            if any(bends[i + 1 :]):
                tangents = tangents * slope[:, None]
        return laplacian


def _curved(activation: str, sums: FloatArray, n_jobs: int | None) -> FloatArray:
    curvature = ACTIVATIONS[activation].curvature
    assert curvature is not None  # refused at the door
    return curvature(sums, n_jobs)


def _frame(weights: FloatArray) -> FloatArray:
    """The gradients of the first layer's sums, one a column, in an orthonormal basis of their span."""
    n_units, n_inputs = weights.shape
    return np.asarray(weights.T if n_inputs <= n_units else np.linalg.qr(weights.T, mode="r"))


def times(tangents: FloatArray, matrix: FloatArray) -> FloatArray:
    """tangents @ matrix as one product."""
    product: FloatArray = tangents.reshape(-1, tangents.shape[-1]) @ matrix
    return product.reshape(*tangents.shape[:-1], matrix.shape[1])


def _squares(tangents: FloatArray) -> FloatArray:
    """The squared norm of every unit's gradient."""
    return np.asarray(np.einsum("...rk,...rk->...k", tangents, tangents))


def _matrix(weights: Any, name: str, n_inputs: int | None, dtype: Any) -> FloatArray:
    """`weights` as those of a layer."""
    W = real_operand(weights, name, dtype=dtype)
    if W.ndim != 2 or W.size == 0:
        raise ValueError(f"{name}: expected shape (n_out, n_in), at least one of each, got {W.shape}")
    if n_inputs is not None and W.shape[1] != n_inputs:
        raise ValueError(
            f"{name}: expected {n_inputs} columns, as the layer before has outputs, got shape {W.shape}"
        )
    return W


def _output_gradient(tape: Any, gradient: Any, *, for_all_rows: bool = False) -> FloatArray:
    """`gradient` as one in the outputs that the tape knows."""
    if not isinstance(tape, DenseTape):
        raise TypeError(f"tape: expected what `forward` returned, got {type(tape).__name__}")
    last = tape.sums[-1]
    made = float_array(gradient, "gradient", dtype=last.dtype)
    if for_all_rows and made.shape == last.shape[1:]:
        made = np.broadcast_to(made, last.shape)
    if made.shape != last.shape:
        raise ValueError(f"gradient: expected shape {last.shape}, as the outputs have, got {made.shape}")
    return made


def sizes_of(value: Any, name: str) -> list[int]:
    """An integer, or several, as sizes of layers."""
    several = isinstance(value, Sequence | np.ndarray) and not isinstance(value, str)
    return [whole_number(size, name, minimum=1) for size in (value if several else [value])]


def _random(
    n_inputs: Any,
    hidden_layer_sizes: Any,
    n_outputs: Any,
    activation: str,
    seed: int,
    dtype: Any,
    n_jobs: int | None,
    first_layer: int = 0,
) -> DenseNetwork:
    """`DenseNetwork.random`; `first_layer` layers have drawn from the seed before."""
    sizes = [
        whole_number(n_inputs, "n_inputs", minimum=1),
        *sizes_of(hidden_layer_sizes, "hidden_layer_sizes"),
        whole_number(n_outputs, "n_outputs", minimum=1),
    ]
    made_of = float_dtype(dtype)
    one_of(activation, "activation", tuple(ACTIVATIONS))
    names = activation_names([activation] * (len(sizes) - 2) + ["identity"], len(sizes) - 1)
    weights = [
        first_weights(seed, first_layer + i, (sizes[i + 1], sizes[i]), name, made_of)
        for i, name in enumerate(names)
    ]
    return DenseNetwork(weights, [np.zeros(size, made_of) for size in sizes[1:]], names, n_jobs=n_jobs)
