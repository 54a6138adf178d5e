"""The deep energy model: a density of real rows by a network, learnt without its normaliser."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _check, _rng, losses
from .._base import DensityEnergy, DensityLoss, Draws, NoiseDistribution, Parameters
from .._check import FloatArray, one_of, real_number, whole_number
from .._device import kernels
from ..energies import DeepEnergy, DenseNetwork
from ._covariances import add_to_diagonal, covariance_of, lacking
from ._deep_density import SAMPLERS, DeepDensity, make_sampler

ACTIVATIONS = ("sigmoid", "tanh", "softplus", "relu")
DEVICE_LOSSES = ("nce", "conditional_nce", "cd")  # that have kernels on a GPU
LOSSES = ("score_matching", "denoising", "sliced", *DEVICE_LOSSES)
NOISES = ("full", "diagonal")

_SMOOTH_LOSSES = ("score_matching", "sliced")
_DENOISING_SHARE = 0.25  # of the data's deviation, where nobody has chosen a noise
_WARM_UP = 50  # steps of the sampler before every pass


class DeepEnergyModel(DeepDensity):
    r"""A density of real rows by a network, whose normaliser is never computed.

    .. math:: \log p(x) = -\frac{\lVert x \rVert^2}{2 \sigma^2} + b^\top x
              + \sum_k S\bigl(w_k^\top g(x) + c_k\bigr) - \log Z, \qquad S(u) = \log(1 + e^u),

    with g the hidden layers, g(x) = s(V x + d) for one. Without any it is the Gaussian-Bernoulli restricted
    Boltzmann machine with b = a / sigma^2, w = W / sigma^2.

    Parameters
    ----------
    n_components : int, default=64
        Units on top, K.
    hidden_layer_sizes : int or sequence of int, default=(64,)
        Units of the layers of g, the lowest first; () makes g the identity.
    activation : {"sigmoid", "tanh", "softplus", "relu"}, default="sigmoid"
        s. With "relu" the score jumps, and the integration by parts on which "score_matching" and "sliced"
        rest fails: they refuse it.
    sigma : float or "learn", default=1.0
        > 0, in the units of the data. "learn" learns log sigma, from the root mean square deviation of the
        features on.
    hidden_bias : bool, default=True
        Whether the hidden layers have biases; the units on top always have. Without, the sum of softplus over
        odd layers has H(x) + H(-x) >= 2 H(0), and a model of sigma = 1 cannot prefer low contrast more than
        its Gaussian does.
    init_bias : float, default=2.0
        The biases of hidden layers, and of the units on top where there are such layers, begin uniform in
        [-init_bias, init_bias]. At 0 every unit is odd about the origin, and the contrast of a row, which is
        even, is learnt only after a saddle: of centred rows "nce" may stay at chance for many passes, where 2
        leaves it in the first.
    loss : str or DensityLoss, default="score_matching"
        "score_matching" (exact, in closed form), "denoising", "sliced", "nce" (noise-contrastive estimation,
        which learns log Z too), "conditional_nce", "cd" (contrastive divergence), or one of
        `thalweg.losses`.
    noise : {"full", "diagonal"} or NoiseDistribution, default="full"
        Of "nce": the Gaussian with the data's means and covariance, or variances, or any density that can be
        sampled and evaluated.
    noise_ratio : int, default=1
        nu: noise samples for every row, of "nce" and "conditional_nce".
    noise_scale : float, default=None
        Deviation of the noise that "denoising" and "conditional_nce" add, in the units of the data. None
        stands for a quarter of the features' root mean square deviation r; and for r sqrt(2 / n_features),
        which raises the energy of a white Gaussian by 1 in the mean.
    n_slices : int, default=1
        Random directions for every row, of "sliced".
    sampler : {"hmc", "mala", "langevin"}, default="hmc"
        Of "cd".
    sampler_step : float, default=None
        Its step size, of "hmc" in the units of the data, of the others in their square. None adapts it before
        every pass, in a warm-up whose states are thrown away; of "langevin" it stands for sigma^2 / 10.
    n_sampler_steps : int, default=1
        Its steps, from the data, for every step of learning.
    n_leapfrog : int, default=10
        Leapfrog steps of a step of "hmc".
    layerwise : bool, default=False
        Learn one layer after the other, each as the top of those below it, which are held; then all
        together. Each of these stages makes `n_iter` passes.
    optimizer : {"adam", "sgd"}, default="adam"
    learning_rate : float, default=0.001
    momentum : float, default=0.9
        Of "sgd", in [0, 1).
    l2 : float, default=0.0
        Weight decay: l2 times the weights is added to their gradient. Without it units keep the noise that
        they begin with; of whitened patches, 0.03 for "denoising" and 0.2 for "score_matching" leave edges.
    schedule : {"constant", "linear", "inverse"}, default="constant"
        What becomes of `learning_rate` in a stage: nothing, a linear fall to 0 at its end, or division by the
        number of the pass. `partial_fit` keeps it as it is.
    batch_size : int, default=100
        Rows of a step; no more than there are.
    n_iter : int, default=20
        Passes over the data of `fit`, of every stage.
    device : {"cpu", "cuda"}, default="cpu"
        Where energies, scores, chains and the gradients of "nce", "conditional_nce" and "cd" are computed;
        the other losses have no kernels on a GPU and are refused. With "cuda" rows and first states may be
        arrays on the device, and what is made of them stays there; `fit` brings its rows to the host, where
        batches are assembled. Fitted attributes are NumPy's.
    random_state : int, RandomState or Generator, default=None
        Seed of the first weights, of the order of the rows and of all draws. The same seed gives the same
        bits.
    n_jobs : int, default=None
        Threads; the bits do not depend on their number.
    callback : callable, default=None
        Called after every step of `fit` with a dict: `self`, `X`, `i`, `n_steps`, `epoch`. The estimator
        holds that step already, so the callback may save it.
    verbose : bool or int, default=False
        Print one line a pass.

    Attributes
    ----------
    energy_ : DeepEnergy
        The energy E with log p = -E - log Z, as it was learnt.
    filters_ : ndarray of shape (n_units, n_features)
        The lowest weights, V.
    sigma_ : float
    log_normalizer_ : float
        For "nce": log Z as it was learnt.
    loss_curve_ : ndarray
        The mean of the loss over the batches of every pass.
    n_iter_ : int
        Number of passes over the data, the last one begun.
    n_steps_ : int
        Number of batches.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X has names that are all strings.

    See Also
    --------
    GaussianBernoulliRBM : Without hidden layers, and with a sigma for every feature.
    ConstrainedGaussian : A Gaussian, whose whitening often comes before.

    References
    ----------
    J. Ngiam, Z. Chen, P. W. Koh, A. Y. Ng, Learning deep energy models, ICML 2011. A. Hyvarinen, Estimation
    of non-normalized statistical models by score matching, JMLR 6, 2005. M. Gutmann, A. Hyvarinen,
    Noise-contrastive estimation of unnormalized statistical models, JMLR 13, 2012.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg import DeepEnergyModel
    >>> rng = np.random.default_rng(0)
    >>> angle = rng.uniform(0, 2 * np.pi, (1000, 1))
    >>> ring = 2 * np.hstack([np.cos(angle), np.sin(angle)]) + 0.2 * rng.normal(size=(1000, 2))
    >>> model = DeepEnergyModel(
    ...     16, hidden_layer_sizes=16, learning_rate=0.01, n_iter=60, random_state=0
    ... ).fit(ring)
    >>> on_the_ring, outside = model.score_samples([[2.0, 0.0], [3.0, 3.0]])
    >>> bool(on_the_ring > outside)
    True
    >>> model.transform(ring).shape, model.filters_.shape
    ((1000, 16), (16, 2))
    """

    def __init__(
        self,
        n_components: int = 64,
        *,
        hidden_layer_sizes: int | Sequence[int] = (64,),
        activation: str = "sigmoid",
        sigma: Any = 1.0,
        hidden_bias: bool = True,
        init_bias: float = 2.0,
        loss: Any = "score_matching",
        noise: Any = "full",
        noise_ratio: int = 1,
        noise_scale: float | None = None,
        n_slices: int = 1,
        sampler: str = "hmc",
        sampler_step: float | None = None,
        n_sampler_steps: int = 1,
        n_leapfrog: int = 10,
        layerwise: bool = False,
        optimizer: str = "adam",
        learning_rate: float = 0.001,
        momentum: float = 0.9,
        l2: float = 0.0,
        schedule: str = "constant",
        batch_size: int = 100,
        n_iter: int = 20,
        device: str = "cpu",
        random_state: Any = None,
        n_jobs: int | None = None,
        callback: Callable[[dict[str, Any]], Any] | None = None,
        verbose: int | bool = 0,
    ) -> None:
        self.n_components = n_components
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.sigma = sigma
        self.hidden_bias = hidden_bias
        self.init_bias = init_bias
        self.loss = loss
        self.noise = noise
        self.noise_ratio = noise_ratio
        self.noise_scale = noise_scale
        self.n_slices = n_slices
        self.sampler = sampler
        self.sampler_step = sampler_step
        self.n_sampler_steps = n_sampler_steps
        self.n_leapfrog = n_leapfrog
        self.layerwise = layerwise
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.l2 = l2
        self.schedule = schedule
        self.batch_size = batch_size
        self.n_iter = n_iter
        self.device = device
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.callback = callback
        self.verbose = verbose

    _adapted: tuple[str, float] | None  # a sampler and its step size
    _noise_covariance: NDArray[np.float64] | None
    _shape: dict[str, Any]

    @property
    def log_normalizer_(self) -> float:
        """log Z as noise-contrastive estimation has learnt it."""
        own = self.__dict__.get("_own", {})
        if "log_normalizer" not in own:
            raise AttributeError(f"log_normalizer_: loss={self._loss_name()} has learnt none")
        return float(own["log_normalizer"][0])

    def _check_parameters(self) -> None:
        super()._check_parameters()
        kernels(_check.device(self.device))
        whole_number(self.n_components, "n_components", minimum=1)
        _sizes(self.hidden_layer_sizes)
        one_of(self.activation, "activation", ACTIVATIONS)
        one_of(self.hidden_bias, "hidden_bias", (False, True))
        real_number(self.init_bias, "init_bias", minimum=0.0)
        one_of(self.layerwise, "layerwise", (False, True))
        if isinstance(self.sigma, str):
            one_of(self.sigma, "sigma", ("learn",))
        else:
            real_number(self.sigma, "sigma", above=0.0)
        self._check_loss()
        whole_number(self.noise_ratio, "noise_ratio", minimum=1)
        whole_number(self.n_slices, "n_slices", minimum=1)
        one_of(self.sampler, "sampler", SAMPLERS)
        whole_number(self.n_sampler_steps, "n_sampler_steps", minimum=1)
        whole_number(self.n_leapfrog, "n_leapfrog", minimum=1)
        for name in ("noise_scale", "sampler_step"):
            if getattr(self, name) is not None:
                real_number(getattr(self, name), name, above=0.0)

    def _check_loss(self) -> None:
        if isinstance(self.loss, str):
            one_of(self.loss, "loss", LOSSES)
        elif not hasattr(self.loss, "value_and_gradient"):
            raise TypeError(
                f"loss: expected one of {', '.join(LOSSES)} or a loss of densities, got {self.loss!r}"
            )
        if self.device != "cpu" and isinstance(self.loss, str) and self.loss not in DEVICE_LOSSES:
            raise ValueError(
                f"device: loss={self.loss!r} has no kernels with device={self.device!r}; take 'nce', "
                "'conditional_nce' or 'cd', or device='cpu'"
            )
        if self.activation == "relu" and _sizes(self.hidden_layer_sizes) and self.loss in _SMOOTH_LOSSES:
            raise ValueError(
                f'activation: "relu" and loss={self.loss!r} do not go together: the score jumps where a unit '
                "switches, and the integration by parts that score matching rests on fails; take a smooth "
                'activation, or another loss, as "denoising"'
            )
        if isinstance(self.noise, str):
            one_of(self.noise, "noise", NOISES)
        elif not (hasattr(self.noise, "sample") and hasattr(self.noise, "log_density")):
            raise TypeError(
                f'noise: expected "full", "diagonal" or a density with `sample` and `log_density`, '
                f"got {self.noise!r}"
            )

    # --- the energy, stage by stage

    def _start(self, X: FloatArray) -> None:
        sigma = self._spread(X) if self.sigma == "learn" else float(self.sigma)
        self.__dict__.update(
            _adapted=None,
            _noise_covariance=None,
            _shape={
                "sizes": [*_sizes(self.hidden_layer_sizes), self.n_components],
                "activation": self.activation,
                "sigma": sigma,
                "learn_sigma": self.sigma == "learn",
                "hidden_bias": bool(self.hidden_bias),
                "init_bias": float(self.init_bias),
                "layerwise": bool(self.layerwise),
            },
        )
        super()._start(X)

    def _adopt_loss(self, X: FloatArray) -> None:
        needs_covariance = self.loss == "nce" and isinstance(self.noise, str) and self.noise == "full"
        if needs_covariance and self._noise_covariance is None:
            covariance = covariance_of(X, X.mean(axis=0, dtype=np.float64))
            made = add_to_diagonal(covariance, lacking(covariance))
            if not np.diag(made).all():
                raise ValueError(
                    'noise: "full" takes the covariance of the data, which is zero: all rows are the same; '
                    'take "diagonal" or a noise of one\'s own'
                )
            self.__dict__["_noise_covariance"] = made
        super()._adopt_loss(X)

    def _spread(self, X: FloatArray) -> float:
        """The root mean square deviation of the features; 1 where they are all constant."""
        return float(np.sqrt(np.mean(X.var(axis=0, dtype=np.float64)))) or 1.0

    def _n_stages(self) -> int:
        depth = len(self._shape["sizes"]) - 1
        return depth + 2 if self._shape["layerwise"] and depth else 1

    def _first_energy(self, X: FloatArray) -> DensityEnergy:
        return self._random_energy(0, X.shape[1], X.dtype, self._shape, self._seed)

    def _random_energy(
        self, stage: int, n_features: int, dtype: Any, shape: dict[str, Any], seed: int
    ) -> DeepEnergy:
        """An energy as deep as that of a stage."""
        sizes = shape["sizes"]
        depth = min(stage, len(sizes) - 1) if shape["layerwise"] else len(sizes) - 1
        made = DeepEnergy.random(
            n_features,
            sizes[:depth],
            sizes[depth],
            shape["activation"],
            shape["sigma"],
            learn_sigma=shape["learn_sigma"],
            random_state=seed,
            dtype=dtype,
            n_jobs=self.n_jobs,
        )
        if depth:
            made = made.with_parameters(_with_biases(made.parameters, shape["init_bias"], seed))
        # The top of a stage is a hidden layer of the next one.
        has_top_bias = depth == len(sizes) - 1
        return made if shape["hidden_bias"] else _without_hidden_biases(made, has_top_bias)

    def _next_energy(self) -> DensityEnergy:
        """With the units that were on top as the uppermost layer; at last the same, learnt as a whole."""
        stage = self._stage + 1
        old = self.energy_
        if stage == len(self._shape["sizes"]):
            return old
        made = self._random_energy(stage, self.n_features_in_, self._dtype, self._shape, self._seed)
        below = {f"weights_{stage - 1}": "top_weights", f"bias_{stage - 1}": "top_bias"}
        taken = {
            name: old.parameters.get(below.get(name, name), first)
            for name, first in made.parameters.items()
            if not name.startswith("top_")
        }
        return made.with_parameters({**made.parameters, **taken})

    def _is_held(self, name: str) -> bool:
        is_last = self._stage + 1 == self._n_stages()
        return not is_last and name.startswith(("weights_", "bias_"))

    # --- the loss

    def _loss_name(self) -> str:
        return repr(self.loss) if isinstance(self.loss, str) else type(self.loss).__name__

    def _make_loss(self) -> DensityLoss:
        if not isinstance(self.loss, str):
            own: DensityLoss = self.loss
            return own
        makers: dict[str, Callable[[], DensityLoss]] = {
            "score_matching": lambda: losses.ExactScoreMatching(),
            "denoising": lambda: losses.DenoisingScoreMatching(self._noise_scale()),
            "sliced": lambda: losses.SlicedScoreMatching(self.n_slices),
            "nce": lambda: losses.DensityNoiseContrastiveEstimation(self._noise(), self.noise_ratio),
            "conditional_nce": lambda: losses.ConditionalNoiseContrastiveEstimation(
                self._noise_scale(), self.noise_ratio
            ),
            "cd": lambda: losses.DensityContrastiveDivergence(
                _Chains(self._sampler(), self.n_sampler_steps, self.n_jobs)
            ),
        }
        return makers[self.loss]()

    def _noise_scale(self) -> float:
        if self.noise_scale is not None:
            return float(self.noise_scale)
        spread = float(np.sqrt(np.mean(np.square(self._deviation)))) or 1.0
        if self.loss == "denoising":
            return _DENOISING_SHARE * spread
        return spread * float(np.sqrt(2 / len(self._deviation)))

    def _noise(self) -> NoiseDistribution:
        if not isinstance(self.noise, str):
            own: NoiseDistribution = self.noise
            return own
        covariance = self._noise_covariance if self.noise == "full" else None
        if covariance is None:
            spread = float(np.mean(np.square(self._deviation))) or 1.0
            covariance = np.maximum(np.square(self._deviation), 1e-3 * spread)
        return losses.GaussianNoise(self._mean, covariance)

    def _sampler(self) -> Any:
        step_size = None if self.sampler_step is None else float(self.sampler_step)
        if step_size is None and self._adapted is not None and self._adapted[0] == self.sampler:
            step_size = self._adapted[1]
        return make_sampler(self.sampler, step_size, self.sigma_, self.n_leapfrog, self.device)

    def _state_of_pass(self, X: FloatArray, number: int) -> dict[str, Any]:
        """The sampler's step size, adapted on the first rows of the pass from where it always begins."""
        if self.loss != "cd" or self.sampler_step is not None or self.sampler == "langevin":
            return {}
        draws = Draws(self._seed, _rng.STREAM_WARM_UP, self._stage << 40, number * _WARM_UP)
        first = make_sampler(self.sampler, None, self.sigma_, self.n_leapfrog, self.device)
        found = first.run(self.energy_, X, 0, draws, warm_up=_WARM_UP, n_jobs=self.n_jobs)
        return {"_adapted": (self.sampler, float(found.step_size))}

    # --- state

    def _get_state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        tensors, values = super()._get_state()
        if self._noise_covariance is not None:
            tensors["_noise_covariance"] = self._noise_covariance
        return tensors, values | {"_shape": self._shape, "_adapted": self._adapted}

    def _set_state(self, tensors: dict[str, NDArray[Any]], values: dict[str, Any]) -> None:
        covariance = tensors.get("_noise_covariance")
        super()._set_state(tensors, values)
        self.__dict__.update(
            _shape=values["_shape"],
            _adapted=None if values["_adapted"] is None else tuple(values["_adapted"]),
            _noise_covariance=None if covariance is None else np.array(covariance),
        )

    def _energy_from(self, parameters: Parameters, values: dict[str, Any]) -> DensityEnergy:
        shape, dtype = values["_shape"], parameters["top_weights"].dtype
        made = self._random_energy(values["_stage"], values["n_features_in_"], dtype, shape, 0)
        return made.with_parameters(parameters)


def _without_hidden_biases(energy: DeepEnergy, has_top_bias: bool) -> DeepEnergy:
    p, names = energy.parameters, energy.network.activations[:-1]
    layers = [p[f"weights_{i}"] for i in range(len(names))]
    return DeepEnergy(
        DenseNetwork(layers, [None] * len(names), names) if names else None,
        p["top_weights"],
        p["top_bias"] if has_top_bias else None,
        p["visible_bias"],
        energy.sigma,
        learn_sigma="log_sigma" in p,
        n_jobs=energy.network.n_jobs,
    )


@dataclass(frozen=True)
class _Chains:
    """What contrastive divergence asks of a sampler: the states after so many steps."""

    sampler: Any
    n_steps: int
    n_jobs: int | None

    def step(self, energy: DensityEnergy, X: FloatArray, draws: Draws) -> FloatArray:
        """States that the chains which begin at X reach."""
        states: FloatArray = self.sampler.run(energy, X, self.n_steps, draws, n_jobs=self.n_jobs).X
        return states


def _with_biases(parameters: Parameters, width: float, seed: int) -> Parameters:
    """Parameters whose hidden biases are uniform in [-width, width]."""
    made = dict(parameters)
    names = [name for name in parameters if name.startswith("bias_") or name == "top_bias"]
    for i, name in enumerate(names if width else ()):
        drawn = _rng.uniform(seed, _rng.STREAM_INITIAL_BIASES, i, parameters[name].size)
        made[name] = (width * (2 * drawn - 1)).astype(parameters[name].dtype)
    return made


def _sizes(value: Any) -> list[int]:
    """`hidden_layer_sizes` as a list."""
    several = isinstance(value, Sequence) or (isinstance(value, np.ndarray) and value.ndim == 1)
    several = several and not isinstance(value, str)
    return [whole_number(n, "hidden_layer_sizes", minimum=1) for n in (value if several else [value])]
