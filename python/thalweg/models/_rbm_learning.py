"""How the restricted Boltzmann machines learn: steps, their order, and what is kept from one to the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from .. import _check, _rng, losses, optim
from .._base import BipartiteGradient, BipartiteLoss, Draws, LossState
from .._blas import one_blas_thread
from .._check import FloatArray, is_finite, one_of, real_number, seed_number, thread_number, whole_number
from ..inference.gibbs import make_workspace
from ._learning import unchanged_by_errors
from ._rbm_training import GradientModifier, RbmParameters, TrainingMachine, Workshop

DEVICE_LOSSES = ("cd", "pcd", "fpcd", "pt", "nce")  # that have kernels on a GPU
SCHEDULES = ("constant", "linear", "inverse")
INITIAL_VISIBLE = ("zeros", "base_rates")

_CENTER_RATE = 0.01  # of the batch's means in the moving averages that are the centres
_ACTIVITY_RATE = 0.1  # likewise in the hidden units' activity
_VERBOSE_ROWS = 1000
_PLACED = ("cd", "pcd", "fpcd")  # losses that ask nothing of a batch but what kernels do
_BLOCK_ROWS = 1024


@dataclass(frozen=True)
class _Step:
    """All that a step changes."""

    parameters: RbmParameters
    velocity: RbmParameters | None
    values: dict[str, Any]


class RbmLearner(BaseEstimator):  # type: ignore[misc]
    """Training of a bipartite energy; a subclass says of which visible units."""

    n_components: int
    learning_rate: float
    batch_size: int
    n_iter: int
    verbose: int | bool
    random_state: Any
    loss: str
    n_gibbs_steps: int
    n_chains: int | None
    n_temperatures: int
    momentum: float
    l2: float
    sparsity_target: float | None
    sparsity_cost: float
    centering: bool
    schedule: str
    sample_hidden: bool
    max_grad_norm: float | None
    init_std: float
    init_visible: str
    visible_learning_rate: float | None
    device: str
    n_jobs: int | None
    callback: Callable[[dict[str, Any]], Any] | None

    components_: FloatArray
    intercept_hidden_: FloatArray
    intercept_visible_: FloatArray
    n_iter_: int
    n_steps_: int
    _seed: int
    _n_seen: int
    _n_rows: int
    _fit_batch_size: int
    _mean: FloatArray
    _deviation: FloatArray
    _loss_name: str | None
    _loss_state: LossState
    _centers: tuple[FloatArray, FloatArray] | None
    _activity: FloatArray
    _velocity: dict[str, FloatArray] | None
    _workshop: Workshop

    _LOSSES: tuple[str, ...] = ()

    # --- learning

    def fit(self, X: Any, y: Any = None) -> Any:
        """Learns from the rows of X, from the start, in `n_iter` passes over shuffled batches.

        Interrupted by Ctrl-C or by an error, the estimator holds the last step that was completed, and
        `resume` goes on from there.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            float32 is learnt in float32, every other real kind in float64. Read in batches.
        y : ignored

        Returns
        -------
        self : estimator

        Raises
        ------
        TypeError, ValueError
            Where X or a parameter is of the wrong kind, shape or range, or X is not finite.
        FloatingPointError
            Where a parameter leaves the finite numbers; the last good ones are kept.
        """
        self._check_parameters()
        with unchanged_by_errors(self):
            rows = self._visible_rows(X, reset=True)
            mean, deviation = moments(rows)
            self._start(rows.shape[1], rows.dtype, mean, deviation)
            self.__dict__["_n_rows"] = rows.shape[0]
        self._learn(rows)
        return self

    def partial_fit(self, X: Any, y: Any = None) -> Any:
        """Goes once over X in batches of `batch_size`, in the order of its rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Brought to the dtype that learning began with.
        y : ignored

        Returns
        -------
        self : estimator

        Raises
        ------
        TypeError, ValueError, FloatingPointError
            As `fit`; the estimator keeps the last good parameters.
        """
        self._check_parameters()
        begun = hasattr(self, "components_")
        with unchanged_by_errors(self):
            rows = self._visible_rows(X, reset=not begun)
            if not begun:
                mean, deviation = moments(rows)
                self._start(rows.shape[1], rows.dtype, mean, deviation)
            self._require_same_size()
        self.__dict__["_n_rows"] = 0
        with self._training():
            for first in range(0, rows.shape[0], self.batch_size):
                batch = dense_rows(rows[first : first + self.batch_size], self.components_.dtype)
                self._commit(self._step(batch, 1.0))
        return self

    def resume(self, X: Any) -> Any:
        """Goes on with a `fit` that was interrupted, or saved by a callback and loaded: the same bits.

        `n_iter` may have been raised, and other parameters of training but `batch_size` changed, meanwhile.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The same rows in the same order.

        Returns
        -------
        self : estimator

        Raises
        ------
        NotFittedError
            Where there is nothing to go on with.
        TypeError, ValueError, FloatingPointError
            As `fit`.
        """
        check_is_fitted(self, "components_")
        self._check_parameters()
        rows = self._visible_rows(X)
        if self._n_rows == 0:
            raise NotFittedError("there is no `fit` to go on with: the last step was one of `partial_fit`")
        if rows.shape[0] != self._n_rows:
            raise ValueError(f"X: expected the {self._n_rows} rows of fit, got shape {rows.shape}")
        if self.batch_size != self._fit_batch_size:
            raise ValueError(
                f"batch_size: `fit` was begun with {self._fit_batch_size}, which cannot change on the way, "
                f"got {self.batch_size}"
            )
        self._require_same_size()
        self._learn(rows)
        return self

    def _check_parameters(self) -> None:
        whole_number(self.n_components, "n_components", minimum=1)
        real_number(self.learning_rate, "learning_rate", minimum=0.0)
        if self.visible_learning_rate is not None:
            real_number(self.visible_learning_rate, "visible_learning_rate", minimum=0.0)
        whole_number(self.batch_size, "batch_size", minimum=1)
        whole_number(self.n_iter, "n_iter")
        one_of(self.loss, "loss", self._LOSSES)
        if _check.device(self.device) == "cuda" and self.loss not in DEVICE_LOSSES:
            raise ValueError(f'device: "cuda" has no kernels for loss="{self.loss}"; use device="cpu"')
        whole_number(self.n_gibbs_steps, "n_gibbs_steps", minimum=1)
        if self.n_chains is not None:
            whole_number(self.n_chains, "n_chains", minimum=1)
        whole_number(self.n_temperatures, "n_temperatures", minimum=2)
        if real_number(self.momentum, "momentum", minimum=0.0) >= 1:
            raise ValueError(f"momentum: expected a number in [0, 1), got {self.momentum:g}")
        real_number(self.l2, "l2", minimum=0.0)
        real_number(self.sparsity_cost, "sparsity_cost", minimum=0.0)
        self._check_sparsity()
        self._check_score_matching()
        if self.callback is not None and not callable(self.callback):
            raise TypeError(f"callback: expected a callable or None, got {self.callback!r}")
        one_of(self.centering, "centering", (False, True))
        one_of(self.schedule, "schedule", SCHEDULES)
        one_of(self.sample_hidden, "sample_hidden", (False, True))
        if self.max_grad_norm is not None:
            real_number(self.max_grad_norm, "max_grad_norm", above=0.0)
        real_number(self.init_std, "init_std", minimum=0.0)
        one_of(self.init_visible, "init_visible", INITIAL_VISIBLE)
        thread_number(self.n_jobs)

    def _check_sparsity(self) -> None:
        if not self.sparsity_cost:
            return
        if self.sparsity_target is None:
            raise ValueError("sparsity_target: expected a number in (0, 1) where sparsity_cost > 0, got None")
        if real_number(self.sparsity_target, "sparsity_target", above=0.0) >= 1:
            raise ValueError(f"sparsity_target: expected a number in (0, 1), got {self.sparsity_target:g}")
        if self.loss == "score_matching":
            raise ValueError('sparsity_cost: loss="score_matching" has no samples to take activities of')

    def _check_score_matching(self) -> None:
        for name in ("centering", "sample_hidden"):
            if self.loss == "score_matching" and getattr(self, name):
                raise ValueError(f'{name}: loss="score_matching" has no samples that it could apply to')

    def _start(self, n_features: int, dtype: Any, mean: NDArray[Any], deviation: NDArray[Any]) -> None:
        """Parameters before the first step."""
        with np.errstate(over="ignore"):
            mean, deviation = mean.astype(dtype), deviation.astype(dtype)
        if not (is_finite(mean) and is_finite(deviation)):
            raise ValueError("X: the squares of its elements overflow; scale it down")
        seed = seed_number(self.random_state)
        normals = _rng.normals(seed, _rng.STREAM_INITIAL_WEIGHTS, 0, self.n_components * n_features)
        with np.errstate(over="ignore"):
            weights = (self.init_std * normals.reshape(self.n_components, n_features)).astype(dtype)
        if not np.isfinite(weights).all():
            raise ValueError(f"init_std: the first weights overflow {np.dtype(dtype)}, got {self.init_std:g}")
        self.__dict__.update(
            components_=weights,
            intercept_hidden_=np.zeros(self.n_components, dtype),
            n_iter_=0,
            n_steps_=0,
            _seed=seed,
            _n_seen=0,
            _n_sampled=0,
            _fit_batch_size=self.batch_size,
            _mean=mean,
            _deviation=deviation,
            _loss_name=None,
            _loss_state={},
            _centers=None,
            _velocity=None,
            _activity=np.full(self.n_components, 0.5, dtype),
            **self._start_visible(mean, deviation, dtype),
        )
        if self.centering:
            self._start_centred()

    def _start_centred(self) -> None:
        """Biases such that the weights do nothing at the centres."""
        visible, hidden = self._mean.copy(), np.full(self.n_components, 0.5, self._mean.dtype)
        sigma = getattr(self, "sigma_", None)
        scaled = visible if sigma is None else visible / np.square(sigma)
        with one_blas_thread:
            self.__dict__.update(
                _centers=(visible, hidden),
                intercept_hidden_=self.intercept_hidden_ - self.components_ @ scaled,
                intercept_visible_=self.intercept_visible_ - hidden @ self.components_,
            )

    def _start_visible(self, mean: NDArray[Any], deviation: NDArray[Any], dtype: Any) -> dict[str, Any]:
        """The visible units' own parameters before the first step."""
        raise NotImplementedError

    @contextmanager
    def _training(self) -> Iterator[None]:
        """The parameters in the layouts of the kernels, for as long as steps are made."""
        parameters = RbmParameters.of(
            self.components_, self.intercept_visible_, self.intercept_hidden_, self._held_log_sigma()
        )
        velocity = self._held_velocity(parameters)
        workshop = Workshop(
            self._make_loss(),
            make_workspace(parameters.up.dtype, self.device),
            thread_number(self.n_jobs),
            parameters,
            velocity,
            parameters.like(),
            None if velocity is None else parameters.like(),
            self.device,
        )
        try:
            self._workshop = workshop
            # BLAS has small sums to do: with one thread their bits depend on nothing else.
            with one_blas_thread:
                self._start_loss()
                yield
        finally:
            after = {
                "components_": np.ascontiguousarray(self.components_),
                "_velocity": self._velocities() or None,
            }
            self.__dict__.update(after)
            self.__dict__.pop("_workshop", None)

    def _start_loss(self) -> None:
        """The state of the loss, where there is none that fits, and the centres."""
        workshop = self._workshop
        machine = self._machine_of(workshop.parameters)
        missing = [name for name in workshop.loss.needs if not hasattr(machine, name)]
        if missing:
            raise ValueError(f"loss: {self.loss!r} needs what this machine has not: {', '.join(missing)}")
        if self._loss_name != self.loss or not self._fits_chains():
            state = workshop.loss.start(machine, self._mean, self._deviation)
            self.__dict__.update(_loss_name=self.loss, _loss_state=state)
        if self.centering and self._centers is None:
            self._centers = (self._mean.copy(), machine.hidden(self._mean[np.newaxis])[0])

    def _fits_chains(self) -> bool:
        """Whether the chains that are held are as many as are asked for now."""
        held = self._loss_state.get("hidden")
        if held is None:
            return True
        if self.loss == "pt" and len(self._loss_state["swaps_tried"]) != self.n_temperatures - 1:
            return False
        rows = self._chain_number() * (self.n_temperatures if self.loss == "pt" else 1)
        return bool(held.shape[1] == rows)

    def _chain_number(self) -> int:
        return self.batch_size if self.n_chains is None else self.n_chains

    def _make_loss(self) -> BipartiteLoss:
        k, n_chains = self.n_gibbs_steps, self._chain_number()
        makers: dict[str, Callable[[], BipartiteLoss]] = {
            "cd": lambda: losses.ContrastiveDivergence(k),
            "pcd": lambda: losses.PersistentContrastiveDivergence(k, n_chains),
            "fpcd": lambda: losses.FastPersistentContrastiveDivergence(k, n_chains),
            "pt": lambda: losses.ParallelTempering(k, n_chains, self.n_temperatures),
            "nce": lambda: losses.NoiseContrastiveEstimation(),
            "score_matching": lambda: losses.ScoreMatching(),
        }
        return makers[self.loss]()

    def _machine_of(self, parameters: RbmParameters) -> TrainingMachine:
        visible_center, hidden_center = (self._centers if self.centering else None) or (None, None)
        modifier = GradientModifier(
            visible_center, hidden_center, self._activity, self.sparsity_target, self.sparsity_cost
        )
        samples = Draws(self._seed, _rng.STREAM_STATISTICS, 0, self.n_steps_) if self.sample_hidden else None
        return parameters.machine(self._workshop, modifier, samples)

    def _learn(self, X: Any) -> None:
        """Steps of `fit`, from the one that the estimator holds."""
        n_samples = X.shape[0]
        batch_size = min(self.batch_size, n_samples)
        steps_per_epoch = ceil(n_samples / batch_size)
        n_steps = self.n_iter * steps_per_epoch
        order: NDArray[np.int64] = np.empty(0, np.int64)
        begun = perf_counter()
        with self._training():
            while self.n_steps_ < n_steps:
                i = self.n_steps_
                epoch, place = divmod(i, steps_per_epoch)
                if place == 0 or not len(order):
                    order = _rng.permutation(self._seed, _rng.STREAM_BATCH_ORDER, epoch, n_samples)
                rows = order[place * batch_size : (place + 1) * batch_size]
                step = self._step(dense_rows(X[rows], self.components_.dtype), self._share(i, n_steps, epoch))
                self._commit(step, n_iter_=epoch + 1)
                if self.verbose and place == steps_per_epoch - 1:
                    self._report(X, epoch, perf_counter() - begun)
                    begun = perf_counter()
                if self.callback is not None:
                    self.callback({"self": self, "X": X, "i": i, "n_steps": n_steps, "epoch": epoch})

    def _share(self, i: int, n_steps: int, epoch: int) -> float:
        """What the schedule leaves of every learning rate."""
        if self.schedule == "linear":
            return 1 - i / n_steps
        if self.schedule == "inverse":
            return 1 / (1 + epoch)
        return 1.0

    def _report(self, X: Any, epoch: int, seconds: float) -> None:
        sample = dense_rows(X[: min(X.shape[0], _VERBOSE_ROWS)], self.components_.dtype)
        machine = self._machine_of(self._workshop.parameters)
        error = np.square(sample - machine.visible_mean(machine.hidden(sample))).sum(axis=1).mean()
        print(
            f"[{type(self).__name__}] Iteration {epoch + 1}, squared error of reconstruction {error:.4g}, "
            f"time = {seconds:.2f}s"
        )

    def _step(self, X: FloatArray, share: float) -> _Step:
        """One step from a batch, at this share of the learning rates; the estimator does not change."""
        rate = self.learning_rate * share
        workshop = self._workshop
        draws = Draws(self._seed, 0, self._n_seen, self.n_steps_)
        with np.errstate(over="ignore", invalid="ignore"):  # the step ends with a check
            machine = self._machine_of(workshop.parameters)
            rows: Any = machine.place(X) if self.loss in _PLACED else X
            gradient, state = workshop.loss.gradient(machine, rows, self._loss_state, draws, rate)
            self._bound(gradient)
            parameters, velocity, is_finite = self._move(gradient, share)
        if not is_finite or not all(np.isfinite(a).all() for a in state.values() if a.dtype.kind == "f"):
            raise FloatingPointError(
                f"step {self.n_steps_ + 1}: a parameter is not finite; the estimator keeps those of the step "
                "before (a smaller learning_rate may help)"
            )
        values = {
            "_loss_state": state,
            "_n_seen": self._n_seen + len(X),
            "n_steps_": self.n_steps_ + 1,
            **self._moving_averages(machine),
        }
        return _Step(parameters, velocity, values)

    def _bound(self, gradient: BipartiteGradient) -> None:
        """Shrinks the gradient of the weights to `max_grad_norm`."""
        if self.max_grad_norm is None:
            return
        weights = gradient.up[:, : len(gradient.hidden_bias)]
        norm = float(np.linalg.norm(weights))
        if norm > self.max_grad_norm:
            weights *= weights.dtype.type(self.max_grad_norm / norm)

    def _move(
        self, gradient: BipartiteGradient, share: float
    ) -> tuple[RbmParameters, RbmParameters | None, bool]:
        """Parameters and velocities after the step, in memory of their own; and whether all are finite."""
        workshop = self._workshop
        old, old_velocity = workshop.parameters, workshop.velocity
        new, new_velocity = workshop.spare_parameters, workshop.spare_velocity
        rate = self.learning_rate
        visible_rate = rate if self.visible_learning_rate is None else self.visible_learning_rate
        rates = {
            "up": (rate, self.l2),
            "hidden_bias": (rate, 0.0),
            "visible_bias": (visible_rate, 0.0),
            **self._more_rates(),
        }
        is_finite = True
        for name, (own_rate, decay) in rates.items():
            is_finite &= optim.momentum_step(
                getattr(old, name),
                None if old_velocity is None else getattr(old_velocity, name),
                getattr(gradient, name),
                share * own_rate,
                momentum=self.momentum,
                decay=decay,
                out=getattr(new, name),
                out_velocity=None if new_velocity is None else getattr(new_velocity, name),
                n_jobs=workshop.n_jobs or None,
            )
        is_finite &= self._constrain(new, old)
        new.refresh_down(workshop.n_jobs)
        return new, new_velocity, is_finite

    def _more_rates(self) -> dict[str, tuple[float, float]]:
        """Learning rates and decays of what only a subclass has."""
        return {}

    def _constrain(self, parameters: RbmParameters, before: RbmParameters) -> bool:
        """Brings new parameters back to where they are allowed; whether that succeeded."""
        return True

    def _moving_averages(self, machine: TrainingMachine) -> dict[str, Any]:
        values: dict[str, Any] = {}
        if self.sparsity_cost and machine.hidden_mean_of_data is not None:
            keep = machine.dtype.type(1 - _ACTIVITY_RATE)
            values["_activity"] = keep * self._activity + (1 - keep) * machine.hidden_mean_of_data
        if self.centering and self._centers is not None and machine.visible_mean_of_data is not None:
            keep = machine.dtype.type(1 - _CENTER_RATE)
            of_data = (machine.visible_mean_of_data, machine.hidden_mean_of_data)
            values["_centers"] = tuple(keep * c + (1 - keep) * m for c, m in zip(self._centers, of_data))
        return values

    def _commit(self, step: _Step, **more: Any) -> None:
        # The weights' memory serves again two steps later: who may keep them gets them for good.
        weights = step.parameters.weights
        attributes = {
            "components_": weights if self.callback is None else weights.copy(),
            "intercept_visible_": step.parameters.visible_bias.copy(),
            "intercept_hidden_": step.parameters.hidden_bias.copy(),
            "_workshop": self._workshop.after_step(),
            **step.values,
            **more,
        }
        if step.parameters.log_sigma is not None:
            attributes |= {"sigma_": step.parameters.sigma, "_log_sigma": step.parameters.log_sigma.copy()}
        self.__dict__.update(attributes)  # one call into C: a signal finds the old state or the new one

    def _held_velocity(self, parameters: RbmParameters) -> RbmParameters | None:
        """Zeros where momentum begins, what was held where it goes on, None without momentum."""
        if not self.momentum:
            return None
        velocity = parameters.like()
        for name, value in self._velocities().items():
            getattr(velocity, name)[...] = value
        return velocity

    def _velocities(self) -> dict[str, FloatArray]:
        """By the parameters' names; empty without momentum."""
        workshop = self.__dict__.get("_workshop")
        if workshop is None:
            return self._velocity or {}
        return {} if workshop.velocity is None else workshop.velocity.vectors()

    def __getstate__(self) -> dict[str, Any]:
        """Without what belongs to a training that is under way."""
        state: dict[str, Any] = dict(super().__getstate__())
        if state.pop("_workshop", None) is not None:
            state["_velocity"] = self._velocities() or None
        return state

    def _require_same_size(self) -> None:
        if len(self.components_) != self.n_components:
            raise ValueError(
                f"n_components: learning was begun with {len(self.components_)}, and goes on with as many, "
                f"got {self.n_components}"
            )

    def _held_log_sigma(self) -> FloatArray | None:
        """Of the sigma that is held, for Gaussian visible units."""
        return None

    def _visible_rows(self, X: Any, *, reset: bool = False) -> Any:
        """X checked, as an array or as CSR."""
        raise NotImplementedError

    def reconstruct(self, X: Any) -> FloatArray:
        """E[v | h] at h = p(h = 1 | x)."""
        raise NotImplementedError


def dense_rows(rows: Any, dtype: Any) -> FloatArray:
    """Rows, sparse or not, as a contiguous array of this dtype."""
    array = rows.toarray() if issparse(rows) else rows
    with np.errstate(over="ignore"):
        made: FloatArray = np.ascontiguousarray(array, dtype)
    if made.dtype != array.dtype and not is_finite(made):
        raise ValueError(f"X: overflows {made.dtype}: an element is too large for it")
    return made


def moments(X: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of every feature, in float64; the same bits for an array and for CSR."""
    n = X.shape[0]
    blocks = [slice(first, first + _BLOCK_ROWS) for first in range(0, n, _BLOCK_ROWS)]
    total, square = np.zeros(X.shape[1]), np.zeros(X.shape[1])
    with np.errstate(over="ignore", invalid="ignore"):
        for block in blocks:
            total += dense_rows(X[block], X.dtype).sum(axis=0, dtype=np.float64)
        mean = total / n
        for block in blocks:
            centred = dense_rows(X[block], X.dtype) - mean
            square += np.einsum("ij,ij->j", centred, centred)
        deviation = np.sqrt(square / n)
    # What a mean's rounding leaves of a constant feature is none.
    return mean, np.where(deviation <= 1e-12 * np.abs(mean), 0.0, deviation)
