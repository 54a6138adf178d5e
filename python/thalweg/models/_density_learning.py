"""How unnormalised densities learn: batches, an optimiser, and what is kept from one step to the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from .. import _rng, optim
from .._base import DensityEnergy, DensityLoss, Draws, Parameters
from .._blas import one_blas_thread
from .._check import (
    FloatArray,
    is_finite,
    one_of,
    real_number,
    seed_number,
    thread_number,
    whole_number,
)
from ..losses._density import NoNoiseDensityError
from ._density import UnnormalisedDensity
from ._learning import unchanged_by_errors
from ._rbm_learning import moments

OPTIMIZERS = ("adam", "sgd")
SCHEDULES = ("constant", "linear", "inverse")

_FIRST_ROWS = 1000  # of those that a loss sees before the first step
_OWN = "own."  # before the names of what a loss learns beside the energy's parameters

Averages = dict[str, tuple[FloatArray, ...]]  # what the optimiser remembers of every parameter


@dataclass(frozen=True)
class _Step:
    """All that a step changes."""

    parameters: Parameters
    averages: Averages
    value: float
    n_rows: int


class DensityLearner(UnnormalisedDensity):
    """Training of an unnormalised density by gradients; a subclass says of which energy, by which loss."""

    optimizer: str
    learning_rate: float
    momentum: float
    l2: float
    schedule: str
    batch_size: int
    n_iter: int
    random_state: Any
    n_jobs: int | None
    callback: Callable[[dict[str, Any]], Any] | None
    verbose: int | bool

    loss_curve_: NDArray[np.float64]
    n_iter_: int
    n_steps_: int
    _n_seen: int
    _n_rows: int
    _fit_batch_size: int
    _mean: NDArray[np.float64]
    _deviation: NDArray[np.float64]
    _stage: int
    _stage_steps: int
    _own: Parameters
    _own_of: str
    _averages: Averages
    _averages_of: str
    _averaged: int
    _pass_loss: float
    _pass_rows: int

    # --- learning

    def fit(self, X: Any, y: Any = None) -> Any:
        """Learns from the rows of X, from the start, in `n_iter` passes over shuffled batches.

        Interrupted by Ctrl-C or by an error, the estimator holds the last step that was completed, and
        `resume` goes on from there.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            float32 is learnt in float32, every other real kind in float64.
        y : ignored

        Returns
        -------
        self : estimator

        Raises
        ------
        TypeError, ValueError
            Where X or a parameter is of the wrong kind, shape or range, or X is not finite.
        FloatingPointError
            Where the loss or a parameter leaves the finite numbers; the last good ones are kept.
        """
        self._check_parameters()
        with unchanged_by_errors(self):
            rows = self._rows_on_host(X, reset=True)
            self._start(rows)
            self.__dict__["_n_rows"] = len(rows)
        self._learn(rows)
        return self

    def partial_fit(self, X: Any, y: Any = None) -> Any:
        """Goes once over X in batches of `batch_size`, in the order of its rows.

        What is taken from the data before the first step (their moments, and noise by them) is taken from the
        rows of the first call.

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
        begun = hasattr(self, "energy_")
        with unchanged_by_errors(self):
            rows = self._rows_on_host(X, reset=not begun)
            if not begun:
                self._start(rows)
            if not begun and self._n_stages() > 1:
                raise ValueError(
                    "layerwise: expected False where learning begins with `partial_fit`, which knows no last "
                    "pass of a layer, got True"
                )
        self.__dict__.update(_n_rows=0, _pass_loss=0.0, _pass_rows=0)
        rows, number = rows.astype(self._dtype, copy=False), self.n_iter_ + 1
        starts = range(0, len(rows), self.batch_size)
        with one_blas_thread:
            self._adopt_loss(rows)
            loss = self._loss_of_pass(rows, 0)
            for first in starts:
                batch = np.arange(first, min(first + self.batch_size, len(rows)))
                step = self._step(loss, rows, batch, 1.0)
                self._commit(step, ends_pass=first == starts[-1], n_iter_=number)
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
        check_is_fitted(self, "energy_")
        self._check_parameters()
        rows = self._rows_on_host(X)
        if self._n_rows == 0:
            raise NotFittedError("there is no `fit` to go on with: the last step was one of `partial_fit`")
        if len(rows) != self._n_rows:
            raise ValueError(f"X: expected the {self._n_rows} rows of fit, got shape {rows.shape}")
        if self.batch_size != self._fit_batch_size:
            raise ValueError(
                f"batch_size: `fit` was begun with {self._fit_batch_size}, which cannot change on the way, "
                f"got {self.batch_size}"
            )
        self._learn(rows.astype(self._dtype, copy=False))
        return self

    def _rows_on_host(self, X: Any, *, reset: bool = False) -> FloatArray:
        """X checked, on the host, where batches are assembled."""
        return self._rows(X, reset=reset)

    def _check_parameters(self) -> None:
        one_of(self.optimizer, "optimizer", OPTIMIZERS)
        real_number(self.learning_rate, "learning_rate", minimum=0.0)
        if real_number(self.momentum, "momentum", minimum=0.0) >= 1:
            raise ValueError(f"momentum: expected a number in [0, 1), got {self.momentum:g}")
        real_number(self.l2, "l2", minimum=0.0)
        one_of(self.schedule, "schedule", SCHEDULES)
        whole_number(self.batch_size, "batch_size", minimum=1)
        whole_number(self.n_iter, "n_iter")
        thread_number(self.n_jobs)
        if self.callback is not None and not callable(self.callback):
            raise TypeError(f"callback: expected a callable or None, got {self.callback!r}")

    # --- what a subclass says

    def _first_energy(self, X: FloatArray) -> DensityEnergy:
        """The energy before the first step."""
        raise NotImplementedError

    def _make_loss(self) -> DensityLoss:
        """The loss, in the state of the moment."""
        raise NotImplementedError

    def _loss_name(self) -> str:
        """What messages call the loss."""
        raise NotImplementedError

    def _n_stages(self) -> int:
        """How many times `n_iter` passes are made, each over an energy of its own."""
        return 1

    def _next_energy(self) -> DensityEnergy:
        """The energy that the next stage begins with."""
        raise NotImplementedError

    def _is_held(self, name: str) -> bool:
        """Whether this parameter stays as it is in the stage of the moment."""
        return False

    def _state_of_pass(self, X: FloatArray, number: int) -> dict[str, Any]:
        """What is adapted before a pass and then held."""
        return {}

    # --- the course of learning

    def _start(self, X: FloatArray) -> None:
        """Everything before the first step."""
        mean, deviation = moments(X)
        if not (is_finite(mean.astype(X.dtype)) and is_finite(np.square(deviation).astype(X.dtype))):
            raise ValueError("X: the squares of its elements overflow; scale it down")
        self.__dict__.update(
            _seed=seed_number(self.random_state),
            _n_seen=0,
            _n_sampled=0,
            _fit_batch_size=self.batch_size,
            _mean=mean,
            _deviation=deviation,
            n_iter_=0,
            n_steps_=0,
            loss_curve_=np.empty(0),
        )
        self.__dict__.update(self._stage_state(0, self._first_energy(X)))
        with one_blas_thread:
            self._adopt_loss(X)

    def _stage_state(self, stage: int, energy: DensityEnergy) -> dict[str, Any]:
        return {
            "energy_": energy,
            "_stage": stage,
            "_stage_steps": 0,
            "_own": {},
            "_own_of": "",
            "_averages": {},
            "_averages_of": self.optimizer,
            "_averaged": 0,
            "_pass_loss": 0.0,
            "_pass_rows": 0,
        }

    def _adopt_loss(self, X: FloatArray) -> None:
        """What the loss learns beside the energy's parameters, unless it is that of the steps before."""
        name = self._loss_name()
        if self._own_of == name:
            return
        loss = self._make_loss()
        energy = self._working_energy()
        require_abilities(loss, name, energy)
        own = loss.first_parameters(energy, X[:_FIRST_ROWS])
        # What the optimiser remembers of another loss's gradients is of no use to this one.
        self.__dict__.update(_own=own, _own_of=name, _averages={}, _averaged=0)

    def _learn(self, X: FloatArray) -> None:
        """Steps of `fit`, from the one that the estimator holds."""
        # Once for all steps: waking BLAS's other threads again in every step takes longer than the step.
        with one_blas_thread:
            self._adopt_loss(X)
            self._learn_stage(X)
            while self._stage + 1 < self._n_stages():
                before = self.__dict__.copy()
                self.__dict__.update(self._stage_state(self._stage + 1, self._next_energy()))
                try:
                    self._adopt_loss(X)
                except BaseException:
                    self.__dict__ = before
                    raise
                self._learn_stage(X)

    def _learn_stage(self, X: FloatArray) -> None:
        n_samples = len(X)
        size = min(self.batch_size, n_samples)
        per_pass = ceil(n_samples / size)
        n_steps = self.n_iter * per_pass
        loss: DensityLoss | None = None
        order: NDArray[np.int64] = np.empty(0, np.int64)
        begun = perf_counter()
        while self._stage_steps < n_steps:
            number, place = divmod(self._stage_steps, per_pass)
            epoch = self._stage * self.n_iter + number
            if loss is None or place == 0:
                # By stage and pass, not by `epoch`: `n_iter` may be raised on the way.
                order = _rng.permutation(
                    self._seed, _rng.STREAM_BATCH_ORDER, number, n_samples, row=self._stage
                )
                loss = self._loss_of_pass(X[order[:size]], number) if place == 0 else self._make_loss()
            rows = order[place * size : (place + 1) * size]
            step = self._step(loss, X, rows, self._share(number, self._stage_steps / n_steps))
            ends_pass = place == per_pass - 1
            self._commit(step, ends_pass=ends_pass, n_iter_=epoch + 1)
            if ends_pass:
                self._report(perf_counter() - begun)
                begun = perf_counter()
            self._call_back(X, n_steps, epoch)

    def _call_back(self, X: FloatArray, n_steps: int, epoch: int) -> None:
        if self.callback is not None:
            total = self._n_stages() * n_steps
            self.callback({"self": self, "X": X, "i": self.n_steps_ - 1, "n_steps": total, "epoch": epoch})

    def _loss_of_pass(self, X: FloatArray, number: int) -> DensityLoss:
        """The loss of a pass that begins with these rows."""
        self.__dict__.update(self._state_of_pass(X, number))
        return self._make_loss()

    def _share(self, number: int, done: float) -> float:
        """What the schedule leaves of the learning rate."""
        if self.schedule == "linear":
            return 1 - done
        return 1 / (1 + number) if self.schedule == "inverse" else 1.0

    def _step(self, loss: DensityLoss, X: FloatArray, rows: NDArray[np.int64], share: float) -> _Step:
        """A step from these rows of X, at this share of the learning rate; the estimator does not change."""
        draws = Draws(self._seed, 0, self._n_seen, self.n_steps_)
        with np.errstate(over="ignore", invalid="ignore"):  # the step ends with a check
            try:
                found = loss.value_and_gradient(self._working_energy(), self._own, X[rows], draws)
            except FloatingPointError as error:
                raise FloatingPointError(self._diverged(str(error))) from error
            except NoNoiseDensityError as error:
                raise ValueError(error.at(int(rows[error.row]))) from error
            value, of_energy, of_own = found
            gradients = {**of_energy, **{_OWN + name: g for name, g in of_own.items()}}
            parameters, averages, is_finite = self._moved(gradients, self.learning_rate * share)
        if not (np.isfinite(value) and is_finite):
            raise FloatingPointError(self._diverged("the loss or a parameter is not finite"))
        return _Step(parameters, averages, float(value), len(rows))

    def _diverged(self, what: str) -> str:
        return (
            f"step {self.n_steps_ + 1}: {what}; the estimator keeps the parameters of the step before (a "
            "smaller learning_rate may help)"
        )

    def _moved(self, gradients: Parameters, rate: float) -> tuple[Parameters, Averages, bool]:
        """Parameters and what the optimiser remembers of them after a step; whether they are finite."""
        before = {**self.energy_.parameters, **{_OWN + name: p for name, p in self._own.items()}}
        is_new = self._averages_of != self.optimizer
        averages: Averages = {} if is_new else dict(self._averages)
        moving = {name: p for name, p in before.items() if not self._is_held(name)}
        down = {name: self._with_decay(gradients[name], p) for name, p in moving.items()}
        if self.optimizer == "adam":
            number = (0 if is_new else self._averaged) + 1
            after, held, all_finite = optim.adam_step(
                moving, averages, down, rate, number, n_jobs=self.n_jobs
            )
            return {**before, **after}, {**averages, **held}, all_finite
        after = dict(before)
        for name, parameter in moving.items():
            velocity = averages[name][0] if name in averages else np.zeros_like(parameter)
            kind = parameter.dtype.type
            velocity = kind(self.momentum) * velocity - kind(rate) * down[name]
            after[name], averages[name] = parameter + velocity, (velocity,)
        return after, averages, all(map(is_finite, after.values()))

    def _with_decay(self, gradient: FloatArray, parameter: FloatArray) -> FloatArray:
        """The gradient in the parameter's dtype, with that of `l2` where it has weights."""
        made: FloatArray = gradient.astype(parameter.dtype, copy=False)
        if self.l2 and parameter.ndim > 1:
            made = made + parameter.dtype.type(self.l2) * parameter
        return made

    def _commit(self, step: _Step, *, ends_pass: bool, **more: Any) -> None:
        own = {n.removeprefix(_OWN): p for n, p in step.parameters.items() if n.startswith(_OWN)}
        of_energy = {n: p for n, p in step.parameters.items() if not n.startswith(_OWN)}
        is_new = self._averages_of != self.optimizer
        loss, rows = self._pass_loss + step.value * step.n_rows, self._pass_rows + step.n_rows
        if ends_pass:
            more["loss_curve_"] = np.append(self.loss_curve_, loss / rows)
            loss, rows = 0.0, 0
        # One call into C: a signal finds the old state or the new one.
        self.__dict__.update(
            energy_=self.energy_.with_parameters(of_energy),
            _own=own,
            _averages=step.averages,
            _averages_of=self.optimizer,
            _averaged=(0 if is_new else self._averaged) + 1,
            _n_seen=self._n_seen + step.n_rows,
            n_steps_=self.n_steps_ + 1,
            _stage_steps=self._stage_steps + 1,
            _pass_loss=loss,
            _pass_rows=rows,
            **more,
        )

    def _report(self, seconds: float) -> None:
        if self.verbose:
            print(
                f"[{type(self).__name__}] Iteration {self.n_iter_}, loss {self.loss_curve_[-1]:.6g}, "
                f"time = {seconds:.2f}s"
            )

    @property
    def _dtype(self) -> Any:
        return next(iter(self.energy_.parameters.values())).dtype

    # --- state

    def _get_state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        check_is_fitted(self, "energy_")
        tensors = {f"parameter.{name}": p for name, p in self.energy_.parameters.items()}
        tensors |= {_OWN + name: p for name, p in self._own.items()}
        for name, held in self._averages.items():
            tensors |= {f"average{i}.{name}": a for i, a in enumerate(held)}
        tensors |= {name: getattr(self, name) for name in ("_mean", "_deviation", "loss_curve_")}
        values = {name: getattr(self, name) for name in _VALUES if hasattr(self, name)}
        names = getattr(self, "feature_names_in_", None)
        values["feature_names_in_"] = None if names is None else list(names)
        return tensors, values

    def _set_state(self, tensors: dict[str, NDArray[Any]], values: dict[str, Any]) -> None:
        held = {name: np.array(value) for name, value in tensors.items()}
        averages: Averages = {}
        for i in (0, 1):
            for name, value in with_prefix(held, f"average{i}.").items():
                averages[name] = (*averages.get(name, ()), value)
        state = {name: values[name] for name in _VALUES if name in values}
        state |= {name: held[name] for name in ("_mean", "_deviation", "loss_curve_")}
        state |= {"_own": with_prefix(held, _OWN), "_averages": averages}
        if values["feature_names_in_"] is not None:
            state["feature_names_in_"] = np.array(values["feature_names_in_"], object)
        state["energy_"] = self._energy_from(with_prefix(held, "parameter."), values)
        self.__dict__.update(state)

    def _energy_from(self, parameters: Parameters, values: dict[str, Any]) -> DensityEnergy:
        """The energy of saved parameters."""
        raise NotImplementedError


_VALUES = (
    "n_iter_",
    "n_steps_",
    "n_features_in_",
    "_seed",
    "_n_seen",
    "_n_sampled",
    "_n_rows",
    "_fit_batch_size",
    "_stage",
    "_stage_steps",
    "_own_of",
    "_averages_of",
    "_averaged",
    "_pass_loss",
    "_pass_rows",
)


def require_abilities(loss: DensityLoss, loss_name: str, energy: DensityEnergy) -> None:
    """ValueError unless the energy offers what the loss needs."""
    missing = sorted(loss.needs - energy.offers)
    device = getattr(energy, "device", "cpu")
    where = "here" if device == "cpu" else f"with device={device!r}"
    if missing:
        raise ValueError(
            f"loss: {loss_name} needs {', '.join(map(repr, missing))} of the energy, which "
            f"{type(energy).__name__} does not offer {where} (it offers {', '.join(sorted(energy.offers))})"
        )


def with_prefix(held: dict[str, Any], prefix: str) -> dict[str, Any]:
    """What has names that begin so, by the rest of its name."""
    return {name.removeprefix(prefix): value for name, value in held.items() if name.startswith(prefix)}
