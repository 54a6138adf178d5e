"""The auto-encoder of one layer that score matching trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import _rng, losses
from .._base import DensityEnergy, DensityLoss, Parameters
from .._blas import one_blas_thread
from .._check import FloatArray, float_array, real_number, whole_number
from ..energies import AutoencoderDensityEnergy
from ._deep_density import DeepDensity
from ._density import blocks


class ScoreMatchingAutoencoder(DeepDensity):
    r"""An auto-encoder with tied weights that is a density, learnt by score matching.

    .. math:: -\log p(x) = \tfrac12 \lVert x \rVert^2 - \sum_k S(w_k^\top x) + \log Z

    whose score is the error of a reconstruction, :math:`\psi(x) = W s(W^\top x) - x`. What is lowered is

    .. math:: \frac1n \sum_i \tfrac12 \lVert x_i - W s(W^\top x_i) \rVert^2
              + \sum_k \lVert w_k \rVert^2 s'(w_k^\top x_i),

    less the number of features; printed elsewhere is 1/2 before the second sum, which is a slip. The rows are
    taken as they are: whiten them, or at least give them unit variance, before.

    Parameters
    ----------
    n_components : int, default=64
        Units of the code, the number of w_k.
    init_std : float, default=0.01
        Standard deviation of the first weights.
    optimizer : {"adam", "sgd"}, default="adam"
    learning_rate : float, default=0.001
    momentum : float, default=0.9
        Of "sgd", in [0, 1).
    l2 : float, default=0.0
        Weight decay: l2 times the weights is added to their gradient.
    schedule : {"constant", "linear", "inverse"}, default="constant"
        What becomes of `learning_rate`: nothing, a linear fall to 0 at the end of `n_iter`, or division by
        the number of the pass. `partial_fit` keeps it as it is.
    batch_size : int, default=100
        Rows of a step; no more than there are.
    n_iter : int, default=20
        Passes over the data of `fit`.
    random_state : int, RandomState or Generator, default=None
        Seed of the first weights, of the order of the rows and of all draws. The same seed gives the same
        bits.
    n_jobs : int, default=None
        Threads; the bits do not depend on their number.
    callback : callable, default=None
        Called after every step of `fit` with a dict: `self`, `X`, `i`, `n_steps`, `epoch`.
    verbose : bool or int, default=False
        Print one line a pass.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        W', its rows the w_k.
    energy_ : AutoencoderDensityEnergy
    loss_curve_ : ndarray
        The mean of the objective over the batches of every pass.
    n_iter_ : int
        Number of passes over the data, the last one begun.
    n_steps_ : int
        Number of batches.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X has names that are all strings.

    See Also
    --------
    DeepEnergyModel : With biases, a sigma, and hidden layers.

    References
    ----------
    K. Swersky, M. Ranzato, D. Buchman, B. Marlin, N. de Freitas, On autoencoders and score matching for
    energy based models, ICML 2011. P. Vincent, A connection between score matching and denoising
    autoencoders, Neural Comput. 23, 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg import ScoreMatchingAutoencoder
    >>> rng = np.random.default_rng(0)
    >>> X = rng.laplace(size=(2000, 4))
    >>> model = ScoreMatchingAutoencoder(8, learning_rate=0.01, n_iter=20, random_state=0).fit(X)
    >>> model.transform(X).shape, model.reconstruct(X).shape
    ((2000, 8), (2000, 4))
    >>> bool(model.loss_curve_[-1] < model.loss_curve_[0])
    True
    """

    def __init__(
        self,
        n_components: int = 64,
        *,
        init_std: float = 0.01,
        optimizer: str = "adam",
        learning_rate: float = 0.001,
        momentum: float = 0.9,
        l2: float = 0.0,
        schedule: str = "constant",
        batch_size: int = 100,
        n_iter: int = 20,
        random_state: Any = None,
        n_jobs: int | None = None,
        callback: Callable[[dict[str, Any]], Any] | None = None,
        verbose: int | bool = 0,
    ) -> None:
        self.n_components = n_components
        self.init_std = init_std
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.l2 = l2
        self.schedule = schedule
        self.batch_size = batch_size
        self.n_iter = n_iter
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.callback = callback
        self.verbose = verbose

    energy_: AutoencoderDensityEnergy

    @property
    def components_(self) -> FloatArray:
        """The weights, rows w_k, shape (n_components, n_features)."""
        return self.filters_

    def reconstruct(self, X: Any) -> FloatArray:
        """W s(W'x) of every row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            float32 where X is, float64 otherwise.
        """
        rows = self._rows(X)
        out = np.empty_like(rows)
        with one_blas_thread:
            for block in blocks(len(rows)):
                out[block] = self.energy_.reconstruct(rows[block])
        return out

    def inverse_transform(self, codes: Any) -> FloatArray:
        """W z of every code.

        Parameters
        ----------
        codes : array-like of shape (n_samples, n_components)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        weights = self.components_
        rows = float_array(codes, "codes", ndim=2)
        if rows.shape[1] != len(weights):
            raise ValueError(f"codes: expected {len(weights)} columns, got shape {rows.shape}")
        with one_blas_thread:
            return np.asarray(rows @ weights.astype(rows.dtype, copy=False))

    def _check_parameters(self) -> None:
        super()._check_parameters()
        whole_number(self.n_components, "n_components", minimum=1)
        real_number(self.init_std, "init_std", minimum=0.0)

    def _first_energy(self, X: FloatArray) -> DensityEnergy:
        shape = (self.n_components, X.shape[1])
        normals = _rng.normals(self._seed, _rng.STREAM_INITIAL_WEIGHTS, 0, shape[0] * shape[1])
        with np.errstate(over="ignore"):
            weights = (self.init_std * normals.reshape(shape)).astype(X.dtype)
        if not np.isfinite(weights).all():
            raise ValueError(f"init_std: the first weights overflow {X.dtype}, got {self.init_std:g}")
        return AutoencoderDensityEnergy(weights, n_jobs=self.n_jobs)

    def _make_loss(self) -> DensityLoss:
        return losses.ExactScoreMatching()

    def _loss_name(self) -> str:
        return "score matching"

    def _energy_from(self, parameters: Parameters, values: dict[str, Any]) -> DensityEnergy:
        return AutoencoderDensityEnergy(parameters["top_weights"], n_jobs=self.n_jobs)
