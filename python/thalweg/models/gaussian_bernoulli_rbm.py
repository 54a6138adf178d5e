"""The restricted Boltzmann machine with real-valued visible and binary hidden units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._check import FloatArray, one_of, real_number, real_operand
from ._rbm import RestrictedBoltzmannMachine
from ._rbm_training import RbmParameters

SIGMA_TYPES = ("diagonal", "scalar")

_LEAST_SIGMA = 0.05  # relative to the data's deviation over all features


class GaussianBernoulliRBM(RestrictedBoltzmannMachine):
    r"""Restricted Boltzmann machine with real-valued visible and binary hidden units.

    .. math:: \log p(x, h) = -\sum_j \frac{(x_j - a_j)^2}{2 \sigma_j^2}
              + \sum_{kj} h_k W_{kj} \frac{x_j}{\sigma_j^2} + b' h - \log Z

    so that x given h is normal with mean a + W' h and variances sigma^2, and x alone a mixture of such
    normals. sigma is learnt in the log: it cannot become negative.

    Parameters
    ----------
    n_components : int, default=256
        Number of hidden units.
    learning_rate : float, default=0.01
        Of the mean gradient of a batch.
    batch_size : int, default=10
        Rows of a step; no more than there are.
    n_iter : int, default=10
        Passes over the data of `fit`.
    verbose : bool or int, default=False
        Print one line a pass.
    random_state : int, RandomState or Generator, default=None
        Seed of the first weights, of the order of the rows and of all draws. The same seed gives the same
        bits.
    loss : {"cd", "pcd", "fpcd", "pt", "nce", "score_matching"}, default="pcd"
        Contrastive divergence, its persistent form, the same with fast weights, parallel tempering,
        noise-contrastive estimation, or score
        matching; see `thalweg.losses`.
    n_gibbs_steps : int, default=1
        Sweeps that the chains make for a step: the k of CD-k.
    n_chains : int, default=None
        Persistent chains; None stands for `batch_size`.
    n_temperatures : int, default=10
        Of "pt", evenly spaced from the base model, which has the data's means, to the machine.
    momentum : float, default=0.0
        In [0, 1).
    l2 : float, default=0.0
        Weight decay: l2 times the weights is taken from their gradient.
    sparsity_target : float, default=None
        Wanted mean activity of every hidden unit, in (0, 1).
    sparsity_cost : float, default=0.0
        Weight of the pull towards it.
    centering : bool, default=False
        Take the gradient about moving means of both sides.
    schedule : {"constant", "linear", "inverse"}, default="constant"
        What becomes of `learning_rate`: nothing, a linear fall to 0 at the end of `n_iter`, or division by
        the number of the pass. `partial_fit` keeps it as it is.
    sample_hidden : bool, default=False
        Take drawn hidden states in the gradient in the place of their probabilities.
    max_grad_norm : float, default=None
        Largest Frobenius norm of the weights' gradient; a larger one is scaled down.
    init_std : float, default=0.01
        Standard deviation of the first weights.
    init_visible : {"zeros", "base_rates"}, default="base_rates"
        First visible biases: zeros, or the features' means.
    visible_learning_rate : float, default=None
        Of the visible biases; None stands for `learning_rate`.
    init_sigma : float or array-like of shape (n_features,), default=None
        First sigma; None stands for the standard deviations of the features.
    sigma_type : {"diagonal", "scalar"}, default="diagonal"
        One sigma for each feature, or one for all.
    learn_sigma : bool, default=True
        Learn sigma; it stays above a twentieth of the deviation of all the data.
    sigma_learning_rate : float, default=None
        Of log sigma; None stands for `learning_rate`.
    device : {"cpu", "cuda"}, default="cpu"
        Where states are drawn, chains run, and the gradient's statistics and free energies are summed. On
        "cuda" arrays of the device are taken too, and results are arrays of their kind; steps of the
        parameters are made, and other energies and gradients of rows computed, on the host. The first machine
        of a fit is that of "cpu" bit for bit, and so are draws wherever the probabilities are equal.
    n_jobs : int, default=None
        Threads; the bits do not depend on their number.
    callback : callable, default=None
        Called after every step of `fit` with a dict: `self`, `X`, `i`, `n_steps`, `epoch`. The estimator
        holds that step already, so the callback may save it. Parameters that it sets count from the next
        call of `fit` or `resume` on.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        The weights W.
    intercept_hidden_ : ndarray of shape (n_components,)
        The hidden biases b.
    intercept_visible_ : ndarray of shape (n_features,)
        The visible biases a.
    sigma_ : ndarray of shape (n_features,)
        The deviations sigma.
    h_samples_ : ndarray of shape (n_chains, n_components)
        Hidden states of the persistent chains, where the loss keeps such.
    log_normalizer_ : float
        For "nce": log Z as it was learnt.
    swap_rates_ : ndarray of shape (n_temperatures - 1,)
        For "pt": how often neighbours traded places.
    n_iter_ : int
        Number of passes over the data, the last one begun.
    n_steps_ : int
        Number of batches.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X has names that are all strings.

    See Also
    --------
    BernoulliRBM : Binary features.

    References
    ----------
    J. Melchior, N. Wang, L. Wiskott, Gaussian-binary restricted Boltzmann machines for modeling natural image
    statistics, PLoS ONE 12, 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg import GaussianBernoulliRBM
    >>> rng = np.random.default_rng(0)
    >>> X = np.where(rng.random((500, 1)) < 0.5, -2.0, 2.0) + 0.5 * rng.normal(size=(500, 3))
    >>> rbm = GaussianBernoulliRBM(4, loss="cd", n_iter=20, batch_size=50, random_state=0).fit(X)
    >>> rbm.sample(5, n_steps=100).shape, bool((rbm.sigma_ > 0).all())
    ((5, 3), True)
    >>> rbm.log_partition("exact").std_error
    0.0
    """

    def __init__(
        self,
        n_components: int = 256,
        *,
        learning_rate: float = 0.01,
        batch_size: int = 10,
        n_iter: int = 10,
        verbose: int | bool = 0,
        random_state: Any = None,
        loss: str = "pcd",
        n_gibbs_steps: int = 1,
        n_chains: int | None = None,
        n_temperatures: int = 10,
        momentum: float = 0.0,
        l2: float = 0.0,
        sparsity_target: float | None = None,
        sparsity_cost: float = 0.0,
        centering: bool = False,
        schedule: str = "constant",
        sample_hidden: bool = False,
        max_grad_norm: float | None = None,
        init_std: float = 0.01,
        init_visible: str = "base_rates",
        visible_learning_rate: float | None = None,
        init_sigma: Any = None,
        sigma_type: str = "diagonal",
        learn_sigma: bool = True,
        sigma_learning_rate: float | None = None,
        device: str = "cpu",
        n_jobs: int | None = None,
        callback: Callable[[dict[str, Any]], Any] | None = None,
    ) -> None:
        self.n_components = n_components
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.n_iter = n_iter
        self.verbose = verbose
        self.random_state = random_state
        self.loss = loss
        self.n_gibbs_steps = n_gibbs_steps
        self.n_chains = n_chains
        self.n_temperatures = n_temperatures
        self.momentum = momentum
        self.l2 = l2
        self.sparsity_target = sparsity_target
        self.sparsity_cost = sparsity_cost
        self.centering = centering
        self.schedule = schedule
        self.sample_hidden = sample_hidden
        self.max_grad_norm = max_grad_norm
        self.init_std = init_std
        self.init_visible = init_visible
        self.visible_learning_rate = visible_learning_rate
        self.init_sigma = init_sigma
        self.sigma_type = sigma_type
        self.learn_sigma = learn_sigma
        self.sigma_learning_rate = sigma_learning_rate
        self.device = device
        self.n_jobs = n_jobs
        self.callback = callback

    _LOSSES = ("cd", "pcd", "fpcd", "pt", "nce", "score_matching")

    sigma_: FloatArray
    _log_sigma: FloatArray
    _least_sigma: float

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """log p(x) + log Z = -F(x) of every row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,), float64
        """
        return self._given_back(-self._free_energy(self._visible_rows(X)), like=X)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        one_of(self.sigma_type, "sigma_type", SIGMA_TYPES)
        one_of(self.learn_sigma, "learn_sigma", (False, True))
        if self.sigma_learning_rate is not None:
            real_number(self.sigma_learning_rate, "sigma_learning_rate", minimum=0.0)

    def _start_visible(self, mean: NDArray[Any], deviation: NDArray[Any], dtype: Any) -> dict[str, Any]:
        overall = float(np.sqrt(np.mean(np.square(deviation, dtype=np.float64)))) or 1.0
        least = _LEAST_SIGMA * overall
        if self.init_sigma is None:
            is_constant = (deviation < least) | (self.sigma_type == "scalar")
            sigma = np.where(is_constant, overall, deviation)
        else:
            sigma = real_operand(self.init_sigma, "init_sigma", dtype=np.float64)
            if (
                sigma.ndim > 1
                or sigma.shape not in ((), mean.shape)
                or not (np.isfinite(sigma) & (sigma > 0)).all()
            ):
                raise ValueError(
                    f"init_sigma: expected a number > 0 or one for each of {len(mean)} features, "
                    f"got {self.init_sigma!r}"
                )
            if self.sigma_type == "scalar" and sigma.ndim:
                raise ValueError('init_sigma: expected one number where sigma_type="scalar", got an array')
            sigma = np.broadcast_to(sigma, mean.shape)
        bias = mean if self.init_visible == "base_rates" else np.zeros(len(mean))
        with np.errstate(over="ignore", under="ignore"):
            if not is_scale(sigma.astype(dtype)):
                name = "X" if self.init_sigma is None else "init_sigma"
                raise ValueError(
                    f"{name}: deviations from {sigma.min():g} to {sigma.max():g}, whose squares leave the "
                    f"range of {np.dtype(dtype)}; scale the data"
                )
        return {
            "intercept_visible_": bias.astype(dtype),
            "sigma_": sigma.astype(dtype),
            "_log_sigma": np.log(sigma.astype(dtype)),
            "_least_sigma": min(least, float(sigma.min())),
        }

    def _held_log_sigma(self) -> FloatArray:
        # log(exp(x)) is not always x: the logarithm is held too, unless somebody has set sigma_ meanwhile.
        if np.array_equal(np.exp(self._log_sigma), self.sigma_):
            return self._log_sigma
        log_sigma: FloatArray = np.log(np.asarray(self.sigma_, self.components_.dtype))
        return log_sigma

    def _more_rates(self) -> dict[str, tuple[float, float]]:
        own = self.sigma_learning_rate
        rate = self.learning_rate if own is None else own
        return {"log_sigma": (rate if self.learn_sigma else 0.0, 0.0)}

    def _constrain(self, parameters: RbmParameters, before: RbmParameters) -> bool:
        assert parameters.log_sigma is not None
        assert before.log_sigma is not None
        log_sigma = parameters.log_sigma
        if not self.learn_sigma:
            log_sigma[:] = before.log_sigma
        if self.sigma_type == "scalar":
            # One number: the mean of the features' steps, of which all begin at the same place.
            log_sigma[:] = log_sigma.mean(dtype=np.float64)
        np.maximum(log_sigma, log_sigma.dtype.type(np.log(self._least_sigma)), out=log_sigma)
        return is_scale(np.exp(log_sigma))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def is_scale(sigma: FloatArray) -> bool:
    """Whether sigma^2 and 1 / sigma^2 are finite, in its dtype."""
    with np.errstate(over="ignore", divide="ignore", under="ignore"):
        square = np.square(sigma)
        return bool(np.isfinite(square).all() and np.isfinite(1 / square).all())
