"""The restricted Boltzmann machine with binary units on both sides."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

from .._check import is_device_array
from .._device import extent
from ._rbm import RestrictedBoltzmannMachine


class BernoulliRBM(RestrictedBoltzmannMachine):
    r"""Restricted Boltzmann machine with binary visible and hidden units.

    .. math:: p(v, h) \propto \exp(h' W v + a' v + b' h), \qquad
              \log p(x) = a' x + \sum_k S(W_k x + b_k) - \log Z

    with the softplus S. Stands in for :class:`sklearn.neural_network.BernoulliRBM`: same parameters,
    attributes and methods. Grayscale data in [0, 1] count as probabilities.

    Parameters
    ----------
    n_components : int, default=256
        Number of hidden units.
    learning_rate : float, default=0.1
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
    loss : {"cd", "pcd", "fpcd", "pt", "nce"}, default="pcd"
        Contrastive divergence, its persistent form, the same with fast weights, parallel tempering,
        noise-contrastive estimation; see `thalweg.losses`.
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
    init_visible : {"zeros", "base_rates"}, default="zeros"
        First visible biases: zeros, or the log-odds of the features' means.
    visible_learning_rate : float, default=None
        Of the visible biases; None stands for `learning_rate`.
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
    GaussianBernoulliRBM : Real-valued features.

    Notes
    -----
    `fit` shuffles the rows, which scikit-learn's does not; `partial_fit` makes a step for every `batch_size`
    of its rows, where scikit-learn's makes one; `gibbs` returns numbers of the data's dtype where
    scikit-learn's returns booleans; `score_samples` is a sum over all features where scikit-learn's draws one
    of them.

    References
    ----------
    P. Smolensky, Information processing in dynamical systems, in Parallel Distributed Processing 1, 1986; G.
    Hinton, A practical guide to training restricted Boltzmann machines, 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg import BernoulliRBM
    >>> X = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 1]])
    >>> rbm = BernoulliRBM(n_components=2, n_iter=100, random_state=0).fit(X)
    >>> rbm.transform(X).shape
    (4, 2)
    >>> log_z = rbm.log_partition("exact")
    >>> all_states = (np.arange(8)[:, None] >> np.arange(3)) & 1
    >>> round(float(np.exp(rbm.log_likelihood(all_states, log_z)).sum()), 6)
    1.0
    """

    def __init__(
        self,
        n_components: int = 256,
        *,
        learning_rate: float = 0.1,
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
        init_visible: str = "zeros",
        visible_learning_rate: float | None = None,
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
        self.device = device
        self.n_jobs = n_jobs
        self.callback = callback

    _LOSSES = ("cd", "pcd", "fpcd", "pt", "nce")
    _ACCEPTS_SPARSE = True

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """The log of the pseudo-likelihood of every row: `pseudo_likelihood`, as scikit-learn has it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,), float64
        """
        return self.pseudo_likelihood(X)

    def _visible_rows(self, X: Any, *, reset: bool = False) -> Any:
        rows = super()._visible_rows(X, reset=reset)
        if is_device_array(rows):
            _, low, high = extent(rows)
        else:
            values = rows.data if issparse(rows) else rows
            low, high = (values.min(), values.max()) if values.size else (0, 0)
        if low < 0 or high > 1:
            warnings.warn(
                f"X: visible units are probabilities, in [0, 1]; this data lies in [{low:g}, {high:g}]",
                UserWarning,
                stacklevel=3,
            )
        return rows

    def _start_visible(self, mean: NDArray[Any], deviation: NDArray[Any], dtype: Any) -> dict[str, Any]:
        bias = np.zeros(len(mean), dtype)
        if self.init_visible == "base_rates":
            rates = 0.01 + 0.98 * np.clip(mean, 0, 1)  # away from 0 and 1
            bias = np.log(rates / (1 - rates)).astype(dtype)
        return {"intercept_visible_": bias}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
