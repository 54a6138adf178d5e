"""Deep energies of real rows: a Gaussian, and softplus units that look at it through a network."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _check
from .._base import Parameters
from .._blas import one_blas_thread
from .._check import (
    FloatArray,
    is_device_array,
    is_finite,
    one_of,
    real_number,
    seed_number,
    thread_number,
    whole_number,
)
from .._device import as_device_array, empty, give_back, is_finite_there, kernels
from .._native import cpu as _cpu
from ._bipartite import row_blocks
from ._density_rows import directions_of_rows, tape_of, weights_of_rows
from ._jets import Jets, jets
from ._layers import ACTIVATIONS, bias_of, first_weights, float_dtype, matched
from .dense import _TANGENTS, DenseNetwork, DenseTape, _matrix, sizes_of
from .gaussian_rbm import GaussianRBMEnergy

SMOOTH_ABILITIES = frozenset({"value", "score", "pull_score", "curvature", "score_matching"})
ANY_ABILITIES = frozenset({"value", "score", "pull_score"})
DEVICE_ABILITIES = frozenset({"value", "score"})


@dataclass(frozen=True)
class DeepTape:
    """What `DeepEnergy`'s methods leave for the way back; the arrays are not copies."""

    X: FloatArray
    network: DenseTape | None = None
    V: FloatArray | None = None
    along: Jets | None = None
    native: tuple[Any, Any] | None = None  # of `value`: the compiled density and its tape


class DeepEnergy:
    r"""An unnormalised density of real rows, by a network with softplus units on top.

    .. math:: E(x) = \frac{\lVert x \rVert^2}{2 \sigma^2} - b^\top x - \sum_k S(w_k^\top g(x) + c_k),
              \qquad \log p(x) = -E(x) - \log Z,

    S the softplus and g the layers of a `DenseNetwork`, or the identity. The integral of :math:`e^{-E}` is
    always finite: every layer and S are Lipschitz, so the sum grows at most linearly in x, and the Gaussian's
    tails win. With g the identity it is the Gaussian-Bernoulli restricted Boltzmann machine with its hidden
    units summed out, see `from_gaussian_rbm`.

    Without hidden biases H(x) + H(-x) >= 2 H(0) for H the sum of softplus over odd layers about 0, hence at
    sigma = 1 such an energy cannot prefer low contrast.

    What a method computes is of the dtype of its `X`: float32 for float32, otherwise float64.

    Parameters
    ----------
    layers : DenseNetwork or None
        g, (n_samples, n_features) to (n_samples, n_hidden); its parameters are taken over, not copied. None
        is the identity.
    weights : array-like of shape (n_components, n_hidden)
        w_k, float32 or float64; not copied where they are of the dtype of `layers`.
    bias : array-like of shape (n_components,), optional
        c.
    visible_bias : array-like of shape (n_features,), optional
        b.
    sigma : float, default=1.0
        > 0, in the units of the data.
    learn_sigma : bool, default=False
        Whether log sigma is a parameter.
    device : {"cpu", "cuda"}, default="cpu"
        Where `value`, `energies`, `pullback`, `score_function` and `top_probabilities` compute. With "cuda"
        their rows may be arrays on the device, of PyTorch, CuPy or whatever else speaks DLPack, and what they
        return for rows is then of the same library. The methods that have no kernels there refuse;
        `log_partition` is the host's in any case. Parameters are NumPy's.
    n_jobs : int, default=None
        Threads of the elementwise functions, in scikit-learn's sense; None for OpenMP's default.

    Attributes
    ----------
    parameters : dict of str to ndarray
        "weights_0", "bias_0", "weights_1", ... of the layers, "top_weights", and as far as there are any
        "top_bias", "visible_bias", and "log_sigma" of shape (1,): the arrays themselves.
    n_features, n_components : int
    network : DenseNetwork
        The layers, and the softplus units as the last of them.
    offers : frozenset of str
        "value", "score", "pull_score"; and "curvature" and "score_matching", unless a layer is of ReLU: its
        second derivative sits on corners, so that integration by parts, on which score matching rests, fails.
        On a GPU "value" and "score" only.
    device : str

    Raises
    ------
    TypeError, ValueError
        Where an argument, here or of a method, is of the wrong kind or shape, by name.
    FloatingPointError
        By methods: the parameters are too large, or not finite.

    References
    ----------
    J. Ngiam, Z. Chen, P. W. Koh, A. Y. Ng, Learning deep energy models, ICML 2011. U. Koster, A. Hyvarinen,
    A two-layer model of natural stimuli estimated with score matching, Neural Comput. 22, 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.energies import DeepEnergy, DenseNetwork
    >>> layers = DenseNetwork([[[1.0, -1.0]]], [None], ["tanh"])
    >>> energy = DeepEnergy(layers, [[2.0]], visible_bias=[1.0, 0.0])
    >>> E, tape = energy.value([[0.0, 0.0], [1.0, 1.0]])
    >>> E - np.log(0.5)
    array([0., 0.])
    >>> energy.score_function([[0.0, 0.0]])  # b + tanh'(0) sigmoid(0) 2 (1, -1)
    array([[ 2., -1.]])
    >>> energy.pullback(tape, [0.0, 1.0])["visible_bias"]
    array([-1., -1.])
    """

    def __init__(
        self,
        layers: DenseNetwork | None,
        weights: Any,
        bias: Any = None,
        visible_bias: Any = None,
        sigma: float = 1.0,
        *,
        learn_sigma: bool = False,
        device: str = "cpu",
        n_jobs: int | None = None,
    ) -> None:
        self.device = _check.device(device)
        if layers is not None and not isinstance(layers, DenseNetwork):
            raise TypeError(f"layers: expected a DenseNetwork or None, got {type(layers).__name__}")
        below = {} if layers is None else layers.parameters
        names = () if layers is None else layers.activations
        depth = len(names)
        dtype = None if layers is None else below["weights_0"].dtype
        top = _matrix(weights, "weights", None if layers is None else layers.n_outputs, dtype)
        self.network = DenseNetwork(
            [*(below[f"weights_{i}"] for i in range(depth)), top],
            [*(below.get(f"bias_{i}") for i in range(depth)), bias_of(bias, "bias", len(top), top.dtype)],
            [*names, "softplus"],
            n_jobs=n_jobs,
        )
        self.n_features, self.n_components = self.network.n_inputs, self.network.n_outputs
        self._top = {f"weights_{depth}": "top_weights", f"bias_{depth}": "top_bias"}
        self.parameters: Parameters = self._named(self.network.parameters)
        b = bias_of(visible_bias, "visible_bias", self.n_features, top.dtype)
        if b is not None:
            self.parameters["visible_bias"] = b
        self._sigma = real_number(sigma, "sigma", above=0.0)
        if learn_sigma:
            self.parameters["log_sigma"] = np.full(1, math.log(self._sigma), top.dtype)

    @classmethod
    def random(
        cls,
        n_features: int,
        hidden_layer_sizes: int | Sequence[int] = (),
        n_components: int = 64,
        activation: str = "sigmoid",
        sigma: float = 1.0,
        *,
        hidden_bias: bool = True,
        learn_sigma: bool = False,
        device: str = "cpu",
        random_state: Any = None,
        dtype: Any = np.float64,
        n_jobs: int | None = None,
    ) -> DeepEnergy:
        """An energy with random weights and biases of zero.

        Parameters
        ----------
        n_features : int
        hidden_layer_sizes : int or sequence of int, default=()
            Units of every layer of g; none makes it the identity.
        n_components : int, default=64
        activation : {"sigmoid", "tanh", "softplus", "relu"}, default="sigmoid"
            Of the layers of g.
        sigma : float, default=1.0
        hidden_bias : bool, default=True
            Whether the layers of g, and the units on top, have biases.
        learn_sigma : bool, default=False
        device : {"cpu", "cuda"}, default="cpu"
        random_state : None, int, RandomState or Generator
            The weights are those of `DenseNetwork.random` with one layer more.
        dtype : {float32, float64}, default=float64
        n_jobs : int, default=None

        Returns
        -------
        DeepEnergy

        Examples
        --------
        >>> from thalweg.energies import DeepEnergy
        >>> energy = DeepEnergy.random(784, (64,), 64, sigma=0.1, random_state=0)
        >>> {name: p.shape for name, p in energy.parameters.items()}
        {'weights_0': (64, 784), 'bias_0': (64,), 'top_weights': (64, 64), 'top_bias': (64,),
         'visible_bias': (784,)}
        """
        sizes = [
            whole_number(n_features, "n_features", minimum=1),
            *sizes_of(hidden_layer_sizes, "hidden_layer_sizes"),
            whole_number(n_components, "n_components", minimum=1),
        ]
        made_of, seed = float_dtype(dtype), seed_number(random_state)
        one_of(activation, "activation", tuple(ACTIVATIONS))
        names = [activation] * (len(sizes) - 2) + ["softplus"]
        weights = [
            first_weights(seed, i, (above, below), name, made_of)
            for i, (below, above, name) in enumerate(zip(sizes, sizes[1:], names))
        ]
        biases = [np.zeros(size, made_of) if hidden_bias else None for size in sizes[1:]]
        layers = DenseNetwork(weights[:-1], biases[:-1], names[:-1]) if len(sizes) > 2 else None
        visible_bias = np.zeros(sizes[0], made_of)
        return cls(
            layers,
            weights[-1],
            biases[-1],
            visible_bias,
            sigma,
            learn_sigma=learn_sigma,
            device=device,
            n_jobs=n_jobs,
        )

    @classmethod
    def from_gaussian_rbm(cls, rbm: GaussianRBMEnergy) -> DeepEnergy:
        r"""The energy that is the free energy of a Gaussian-Bernoulli RBM of one sigma, up to a constant.

        With b = a / sigma^2 and w = W / sigma^2, :math:`E(x) = F(x) - \lVert a \rVert^2 / (2 \sigma^2)`.

        Parameters
        ----------
        rbm : GaussianRBMEnergy

        Returns
        -------
        DeepEnergy

        Raises
        ------
        ValueError
            The features of `rbm` differ in sigma.

        Examples
        --------
        >>> from thalweg.energies import DeepEnergy, GaussianRBMEnergy
        >>> rbm = GaussianRBMEnergy([[4.0, 0.0]], [2.0, 0.0], [-8.0], [2.0, 2.0])
        >>> energy = DeepEnergy.from_gaussian_rbm(rbm)
        >>> X = [[1.0, 3.0], [-2.0, 5.0]]
        >>> rbm.free_energy(X) - energy.value(X)[0]
        array([0.5, 0.5])
        """
        if not isinstance(rbm, GaussianRBMEnergy):
            raise TypeError(f"rbm: expected a GaussianRBMEnergy, got {type(rbm).__name__}")
        if np.ptp(rbm.sigma):
            raise ValueError(
                "rbm: expected one sigma for all features, got values from "
                f"{rbm.sigma.min():g} to {rbm.sigma.max():g}"
            )
        sigma = float(rbm.sigma[0])
        beta = rbm.weights.dtype.type(1 / sigma**2)
        return cls(None, rbm.weights * beta, rbm.hidden_bias, rbm.visible_bias * beta, sigma)

    def gaussian_rbm(self) -> GaussianRBMEnergy:
        """The Gaussian-Bernoulli RBM that this is, up to a constant; the inverse of `from_gaussian_rbm`.

        Returns
        -------
        GaussianRBMEnergy

        Raises
        ------
        ValueError
            There are hidden layers.
        """
        if len(self.network.activations) > 1:
            raise ValueError("gaussian_rbm: an energy with hidden layers is no restricted Boltzmann machine")
        W = self.parameters["top_weights"]
        bias = self.parameters.get("top_bias", np.zeros(self.n_components, W.dtype))
        variance = W.dtype.type(self.sigma**2)
        return GaussianRBMEnergy(
            W * variance, self._visible_bias(W.dtype) * variance, bias, np.full(self.n_features, self.sigma)
        )

    def log_partition(self, *, max_units: int = 25) -> float:
        """log Z of an energy without hidden layers, exactly, by `GaussianRBMEnergy.log_partition`.

        Parameters
        ----------
        max_units : int, default=25
            The most units on top whose states are enumerated.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            There are hidden layers, or more than `max_units` units on top.
        """
        rbm = self.gaussian_rbm()
        a = rbm.visible_bias.astype(np.float64)
        return rbm.log_partition(max_units=max_units) + 0.5 * float(a @ a) / self.sigma**2

    @property
    def offers(self) -> frozenset[str]:
        """What losses may ask of it."""
        if self.device == "cuda":
            return DEVICE_ABILITIES
        return SMOOTH_ABILITIES if _is_smooth(self.network) else ANY_ABILITIES

    def on(self, device: str) -> DeepEnergy:
        """The same energy, with the same parameters, for another device.

        Parameters
        ----------
        device : {"cpu", "cuda"}

        Returns
        -------
        DeepEnergy
            Of the class of `self`; `self` where it is for that device.
        """
        if _check.device(device) == self.device:
            return self
        made = copy.copy(self)
        made.device = device
        return made

    @property
    def sigma(self) -> float:
        """The Gaussian's standard deviation, as it is now."""
        return self._power_of_sigma(1.0)

    def with_parameters(self, parameters: Parameters) -> DeepEnergy:
        """The same architecture with other parameters.

        Parameters
        ----------
        parameters : dict of str to ndarray
            With the names and shapes of `self.parameters`, all float32 or all float64; not copied.

        Returns
        -------
        DeepEnergy
            Of the class of `self`.
        """
        made = copy.copy(self)
        made.parameters = matched(parameters, self.parameters)
        own = {ours: theirs for theirs, ours in self._top.items()}
        made.network = self.network.with_parameters(
            {
                own.get(name, name): p
                for name, p in made.parameters.items()
                if own.get(name, name) in self.network.parameters
            }
        )
        return made

    def with_n_jobs(self, n_jobs: int | None) -> DeepEnergy:
        """The same energy, computed by so many threads.

        Parameters
        ----------
        n_jobs : int or None

        Returns
        -------
        DeepEnergy
            Of the class of `self`.
        """
        made = copy.copy(self)
        made.network = copy.copy(self.network)
        made.network.n_jobs = n_jobs
        return made

    def top_probabilities(self, X: Any) -> FloatArray:
        """sigmoid(w_k' g(x) + c_k) of every unit on top.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_components)
        """
        rows = self._rows(X)
        density = self.native_density(rows.dtype, self.device)
        tape = density.value(rows, empty((len(rows),), np.float64, like=rows), self._n_threads)
        made = empty((len(rows), self.n_components), rows.dtype, like=rows)
        tape.top_probabilities(made)
        returned: FloatArray = give_back(made, like=X)
        return returned

    def value(self, X: Any) -> tuple[FloatArray, DeepTape]:
        """E(x) of every row, without log Z.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        energies : ndarray of shape (n_samples,)
            In the dtype of `X`; summed in float64.
        tape : DeepTape
            For `pullback`.
        """
        rows = self._rows(X)
        density = self.native_density(rows.dtype, self.device)
        energies = empty((len(rows),), np.float64, like=rows)
        tape = density.value(rows, energies, self._n_threads)
        _refuse_overflow(energies, rows.dtype)
        with np.errstate(over="ignore"):
            made = energies.astype(rows.dtype)
        return give_back(made, like=X), DeepTape(rows, native=(density, tape))

    def energies(self, X: Any) -> FloatArray:
        """E(x) of every row, as `value` gives it, in float64 and without a tape.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,), float64
        """
        rows = self._rows(X)
        made = empty((len(rows),), np.float64, like=rows)
        self.native_density(rows.dtype, self.device).energy(rows, made, n_jobs=self._n_threads)
        _refuse_overflow(made, rows.dtype)
        returned: FloatArray = give_back(made, like=X)
        return returned

    def pullback(self, tape: DeepTape, gradient: Any) -> Parameters:
        """The gradient of sum_n gradient_n E(x_n) in every parameter.

        Parameters
        ----------
        tape : DeepTape
            Of `value`.
        gradient : array-like of shape (n_samples,)

        Returns
        -------
        dict of str to ndarray
            In the dtype of `X`.
        """
        g = weights_of_rows(gradient, "gradient", tape_of(tape, DeepTape).X)
        if tape.native is None:
            raise TypeError("tape: expected what `value` returned")
        density, native_tape = tape.native
        into = _NativeGradient(self, g.dtype)
        of_log_sigma = density.pull(
            native_tape,
            tape.X,
            g.astype(np.float64),
            into.weights,
            into.bias,
            *into.top,
            n_jobs=self._n_threads,
        )
        return into.completed(of_log_sigma)

    def score_function(self, X: Any) -> FloatArray:
        """psi(x) = -dE/dx = d log p / dx of every row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        rows = self._rows(X)
        psi = empty(rows.shape, rows.dtype, like=rows)
        self.native_density(rows.dtype, self.device).score(rows, psi, n_jobs=self._n_threads)
        _refuse_overflow(psi, rows.dtype)
        returned: FloatArray = give_back(psi, like=X)
        return returned

    def native_density(self, dtype: Any, device: str = "cpu") -> Any:
        """The density with its parameters as they are now, packed for compiled code.

        Parameters
        ----------
        dtype : {float32, float64}
        device : {"cpu", "cuda"}, default="cpu"

        Returns
        -------
        DeepDensityFloat32 or DeepDensityFloat64
            What moves chains in `thalweg.inference.langevin`.
        """
        own, depth = self.network.parameters, len(self.network.activations) - 1
        taken = {name: np.ascontiguousarray(p, dtype) for name, p in own.items()}
        top = taken[f"weights_{depth}"]
        return kernels(_check.device(device)).deep_density(
            [taken[f"weights_{i}"] for i in range(depth)],
            [taken.get(f"bias_{i}") for i in range(depth)],
            list(self.network.activations[:-1]),
            top,
            taken.get(f"bias_{depth}", np.zeros(len(top), top.dtype)),
            np.ascontiguousarray(self._visible_bias(top.dtype)),
            self._finite_beta(),
        )

    def score(self, X: Any) -> tuple[FloatArray, DeepTape]:
        """`score_function`, and a tape for `pull_score`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        psi : ndarray of shape (n_samples, n_features)
        tape : DeepTape
        """
        self._refuse_device("score")
        tape = self.network.forward(X)[1]
        return self._psi(tape), DeepTape(tape.inputs[0], tape)

    def pull_score(self, tape: DeepTape, V: Any) -> Parameters:
        """The gradient of sum_n v_n . psi(x_n) in every parameter, where `V` is constant.

        Parameters
        ----------
        tape : DeepTape
            Of `score`.
        V : array-like of shape (n_samples, n_features)

        Returns
        -------
        dict of str to ndarray
        """
        self._refuse_device("pull_score")
        v = directions_of_rows(V, "V", tape_of(tape, DeepTape).X)
        if tape.network is None:
            raise TypeError("tape: expected what `score` returned")
        with one_blas_thread, np.errstate(over="ignore", invalid="ignore"):
            along = jets(tape.network, v[:, None], self.network.n_jobs, second=False)
            made = self._named(along.pullback(np.ones((1, 1, 1), v.dtype), None))
            return self._completed(made, v.sum(axis=0), 2 * self._beta * float(np.vdot(v, tape.X)))

    def curvature(self, X: Any, V: Any) -> tuple[FloatArray, FloatArray, DeepTape]:
        """v' (d psi/dx) v of every row, psi, and a tape for `pull_curvature`.

        Parameters
        ----------
        X, V : array-like of shape (n_samples, n_features)

        Returns
        -------
        curvature : ndarray of shape (n_samples,)
        psi : ndarray of shape (n_samples, n_features)
        tape : DeepTape

        Raises
        ------
        ValueError
            A layer is of ReLU.
        """
        self._refuse_device("curvature")
        self._refuse_corners("curvature")
        tape = self.network.forward(X)[1]
        rows = tape.inputs[0]
        v = directions_of_rows(V, "V", rows)
        with one_blas_thread, np.errstate(over="ignore", invalid="ignore"):
            along = jets(tape, v[:, None], self.network.n_jobs)
            assert along.second is not None
            curved = along.second.sum(axis=1, dtype=np.float64)
            curved -= self._beta * np.einsum("ij,ij->i", v, v)
        return curved.astype(rows.dtype), self._psi(tape), DeepTape(rows, tape, v, along)

    def pull_curvature(self, tape: DeepTape, weight: Any, of_score: Any) -> Parameters:
        """The gradient of sum_n weight_n v_n' (d psi/dx_n) v_n + of_score_n . psi(x_n) in every parameter.

        Parameters
        ----------
        tape : DeepTape
            Of `curvature`.
        weight : array-like of shape (n_samples,)
        of_score : array-like of shape (n_samples, n_features)
            Constant, as the weights and directions are.

        Returns
        -------
        dict of str to ndarray
        """
        w = weights_of_rows(weight, "weight", tape_of(tape, DeepTape).X)
        if tape.along is None or tape.V is None:
            raise TypeError("tape: expected what `curvature` returned")
        made = self.pull_score(tape, of_score)
        with one_blas_thread, np.errstate(over="ignore", invalid="ignore"):
            bent = self._named(tape.along.pullback(None, w[:, None]))
            spread = 2 * self._beta * float(w @ np.einsum("ij,ij->i", tape.V, tape.V))
        return _sum(made, self._completed(bent, np.zeros(self.n_features, w.dtype), spread))

    def score_matching(self, X: Any) -> tuple[FloatArray, Parameters]:
        r"""The score-matching objective of every row, and the gradient of its sum.

        .. math:: J(x) = \tfrac12 \lVert \psi(x) \rVert^2 + \operatorname{div} \psi(x), \qquad
                  \operatorname{div} \psi = -d / \sigma^2 + \sum_k \Delta S_k(x),

        the Laplacians in closed form: for H units below K in O(K H^2) a row, of deeper networks in
        min(n_features, H) passes, H the units of the first layer.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        objective : ndarray of shape (n_samples,)
        gradient : dict of str to ndarray

        Raises
        ------
        ValueError
            A layer is of ReLU.

        References
        ----------
        A. Hyvarinen, Estimation of non-normalized statistical models by score matching, JMLR 6, 2005.
        """
        self._refuse_device("score_matching")
        self._refuse_corners("score_matching")
        rows = self.network._rows(X)
        if len(self.network.activations) == 2 and len(rows):
            return self._native_score_matching(rows)
        objective = np.empty(len(rows), rows.dtype)
        total = {name: np.zeros(p.shape, rows.dtype) for name, p in self.parameters.items()}
        with one_blas_thread, np.errstate(over="ignore", invalid="ignore"):
            first = self.network.parameters["weights_0"].astype(rows.dtype, copy=False)
            frame = orthonormal_frame(first)
            for block in row_blocks(len(rows), self._width_of_derivatives(), size=_TANGENTS):
                objective[block], made = self._score_matching(rows[block], frame)
                total = _sum(total, made)
        return objective, total

    def _native_score_matching(self, X: FloatArray) -> tuple[FloatArray, Parameters]:
        """That of one hidden layer."""
        own = {name: np.ascontiguousarray(p, X.dtype) for name, p in self.network.parameters.items()}
        objective, into = np.empty(len(X)), _NativeGradient(self, X.dtype)
        of_log_sigma = _cpu.density_score_matching(
            own["weights_0"],
            own.get("bias_0"),
            self.network.activations[0],
            own["weights_1"],
            own.get("bias_1", np.zeros(self.n_components, X.dtype)),
            np.ascontiguousarray(self._visible_bias(X.dtype)),
            self._finite_beta(),
            X,
            objective,
            into.weights[0],
            into.bias[0],
            *into.top,
            self._n_threads,
        )
        _refuse_overflow(objective, X.dtype)
        with np.errstate(over="ignore"):
            return objective.astype(X.dtype), into.completed(of_log_sigma)

    def _width_of_derivatives(self) -> int:
        """Elements of one row in the largest array of derivatives; in the first layer rows share them."""
        sizes = [len(matrix) for matrix in self.network._matrices()]
        return max(sizes) * (min(self.n_features, sizes[0]) if len(sizes) > 1 else 1)

    def _score_matching(
        self, X: FloatArray, frame: tuple[FloatArray, FloatArray]
    ) -> tuple[FloatArray, Parameters]:
        tape = self.network.forward(X)[1]
        psi = self._psi(tape)
        around = jets(tape, frame[0][None], self.network.n_jobs, sums=frame[1][None])
        assert around.second is not None
        objective = 0.5 * np.einsum("ij,ij->i", psi, psi, dtype=np.float64) - self.n_features * self._beta
        objective += around.second.sum(axis=1, dtype=np.float64)
        made = self._named(around.pullback(None, np.ones((1, 1), X.dtype)))
        spread = 2.0 * len(X) * self.n_features * self._beta
        divergence = self._completed(made, np.zeros(self.n_features, X.dtype), spread)
        return objective.astype(X.dtype), _sum(self.pull_score(DeepTape(X, tape), psi), divergence)

    def _psi(self, tape: DenseTape) -> FloatArray:
        X = tape.inputs[0]
        psi = self.network._input_gradient(tape, np.ones(self.n_components, X.dtype))
        psi -= X * X.dtype.type(self._beta)
        psi += self._visible_bias(X.dtype)
        return psi

    def _named(self, of_network: Parameters) -> Parameters:
        return {self._top.get(name, name): array for name, array in of_network.items()}

    def _completed(self, made: Parameters, of_visible_bias: FloatArray, of_log_sigma: float) -> Parameters:
        """Gradients with those of the Gaussian part, as far as it is learnt."""
        if "visible_bias" in self.parameters:
            made["visible_bias"] = of_visible_bias
        if "log_sigma" in self.parameters:
            made["log_sigma"] = np.full(1, of_log_sigma, made["top_weights"].dtype)
        return {name: made[name] for name in self.parameters}

    def _visible_bias(self, dtype: Any) -> FloatArray:
        bias = self.parameters.get("visible_bias")
        return np.zeros(self.n_features, dtype) if bias is None else bias.astype(dtype, copy=False)

    @property
    def _n_threads(self) -> int:
        return thread_number(self.network.n_jobs)

    @property
    def _beta(self) -> float:
        return self._power_of_sigma(-2.0)

    def _finite_beta(self) -> float:
        beta = self._beta
        if not 0 < beta < math.inf:
            raise FloatingPointError(
                f"1 / sigma^2 is {beta:g}: sigma is too small or too large, or not finite"
            )
        return beta

    def _power_of_sigma(self, power: float) -> float:
        learned = self.parameters.get("log_sigma")
        log_sigma = math.log(self._sigma) if learned is None else float(learned[0])
        with np.errstate(over="ignore", under="ignore"):
            return float(np.exp(power * np.float64(log_sigma)))

    def _rows(self, X: Any) -> FloatArray:
        """Checked rows, on the device where they come from there."""
        if self.device == "cpu" or not is_device_array(X):
            return self.network._rows(X)
        rows: FloatArray = as_device_array(X, "X", ndim=2)
        if rows.shape[1] != self.n_features:
            raise ValueError(f"X: expected shape (n_samples, {self.n_features}), got {rows.shape}")
        return rows

    def _refuse_device(self, what: str) -> None:
        if self.device != "cpu":
            raise ValueError(f"{what}: has no kernels with device={self.device!r}; take `on('cpu')`")

    def _refuse_corners(self, what: str) -> None:
        if what not in self.offers:
            raise ValueError(
                f"{what}: expected layers with a second derivative, but one is of 'relu': all of it sits on "
                "corners, where integration by parts fails"
            )


class _NativeGradient:
    """Arrays for the gradient in every parameter, in the order in which compiled code takes them."""

    def __init__(self, energy: DeepEnergy, dtype: Any) -> None:
        self._energy = energy
        own, depth = energy.network.parameters, len(energy.network.activations) - 1
        self._made = {name: np.empty(p.shape, dtype) for name, p in own.items()}
        self.weights = [self._made[f"weights_{i}"] for i in range(depth)]
        self.bias = [self._made.get(f"bias_{i}") for i in range(depth)]
        top_bias = self._made.get(f"bias_{depth}", np.empty(energy.n_components, dtype))
        self._visible_bias = np.empty(energy.n_features, dtype)
        self.top = (self._made[f"weights_{depth}"], top_bias, self._visible_bias)

    def completed(self, of_log_sigma: float) -> Parameters:
        """The gradients by name, of what is learnt."""
        return self._energy._completed(self._energy._named(self._made), self._visible_bias, of_log_sigma)


def _refuse_overflow(values: FloatArray, dtype: Any) -> None:
    if not (is_finite_there(values) if is_device_array(values) else is_finite(values)):
        raise FloatingPointError(
            f"outputs of the energy are not finite in {dtype}: its parameters are too large, or not finite"
        )


def orthonormal_frame(weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Orthonormal rows Q whose span holds those of `weights`, and Q weights'."""
    n_units, n_inputs = weights.shape
    if n_inputs <= n_units:
        return np.eye(n_inputs, dtype=weights.dtype), weights.T
    columns, coordinates = np.linalg.qr(weights.T, mode="reduced")
    return np.ascontiguousarray(columns.T), coordinates


def _is_smooth(network: DenseNetwork) -> bool:
    return all(ACTIVATIONS[name].curvature is not None for name in network.activations)


def _sum(a: Parameters, b: Parameters) -> Parameters:
    return {name: a[name] + b[name] for name in a}
