"""How energies for decisions learn: an objective, an optimiser, and what is kept when something fails."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning

from .. import _rng, losses, optim
from .._base import AnswerLoss, Parameters
from .._blas import one_blas_thread
from .._check import FloatArray, one_of, real_number, seed_number, whole_number

OPTIMIZERS = ("lbfgs", "sgd", "adam")
SCHEDULES = ("constant", "linear", "inverse")

# By the names that a user gives, with what they are made of.
LOSSES: dict[str, Callable[[float, float], AnswerLoss]] = {
    "energy": lambda margin, beta: losses.EnergyLoss(),
    "perceptron": lambda margin, beta: losses.PerceptronLoss(),
    "hinge": lambda margin, beta: losses.HingeLoss(margin),
    "log": lambda margin, beta: losses.LogLoss(),
    "lvq2": lambda margin, beta: losses.LVQ2Loss(margin),
    "mce": lambda margin, beta: losses.MinimumClassificationErrorLoss(),
    "square_square": lambda margin, beta: losses.SquareSquareLoss(margin),
    "square_exponential": lambda margin, beta: losses.SquareExponentialLoss(),
    "nll": lambda margin, beta: losses.NegativeLogLikelihoodLoss(beta),
    "mee": lambda margin, beta: losses.MinimumEmpiricalErrorLoss(beta),
}

# Value, summed over rows, and its gradients at these parameters for the rows with these numbers.
RowsObjective = Callable[[Parameters, NDArray[np.int64], AnswerLoss], tuple[float, Parameters]]

_BLOCK_ROWS = 4096
_PATIENCE = 10  # passes without progress
_SHARPENING = 10.0
_SHARPER = tuple(_SHARPENING**k for k in range(1, 6))  # inverse temperatures of a smoothed loss, times margin


class EnergyLearner(BaseEstimator):  # type: ignore[misc]
    """Training of the parameters of an energy by gradients; a subclass says of which energy."""

    loss: Any
    margin: float
    beta: float
    l2: float
    l1: float
    optimizer: str
    learning_rate: float
    momentum: float
    schedule: str
    batch_size: int
    max_iter: int
    tol: float
    allow_collapse: bool
    random_state: Any
    callback: Callable[[dict[str, Any]], Any] | None

    n_iter_: int
    loss_curve_: NDArray[np.float64]
    _seed: int

    def _check_learning_parameters(self) -> None:
        if isinstance(self.loss, str):
            one_of(self.loss, "loss", tuple(LOSSES))
        else:
            _require_loss(self.loss)
        real_number(self.margin, "margin", above=0.0)
        real_number(self.beta, "beta", above=0.0)
        real_number(self.l2, "l2", minimum=0.0)
        real_number(self.l1, "l1", minimum=0.0)
        one_of(self.optimizer, "optimizer", OPTIMIZERS)
        real_number(self.learning_rate, "learning_rate", above=0.0)
        if real_number(self.momentum, "momentum", minimum=0.0) >= 1:
            raise ValueError(f"momentum: expected a number in [0, 1), got {self.momentum:g}")
        one_of(self.schedule, "schedule", SCHEDULES)
        whole_number(self.batch_size, "batch_size", minimum=1)
        whole_number(self.max_iter, "max_iter")
        real_number(self.tol, "tol", minimum=0.0)
        one_of(self.allow_collapse, "allow_collapse", (False, True))
        if self.l1 > 0 and self.optimizer != "lbfgs":
            raise ValueError(f'l1: expected 0 unless optimizer="lbfgs", got {self.l1:g}')
        if self.callback is not None and not callable(self.callback):
            raise TypeError(f"callback: expected a callable or None, got {self.callback!r}")

    def _make_loss(self) -> AnswerLoss:
        made: AnswerLoss = self.loss
        if isinstance(self.loss, str):
            made = LOSSES[self.loss](float(self.margin), float(self.beta))
        return made

    # --- the optimisers

    def _learn(self, parameters: Parameters, objective: RowsObjective, n_rows: int) -> None:
        """Lowers the mean objective and the penalties from these parameters on; see `_commit`."""
        self.__dict__.update(n_iter_=0, loss_curve_=np.empty(0), _seed=seed_number(self.random_state))
        loss = self._make_loss()
        learn = self._learn_full_batch if self.optimizer == "lbfgs" else self._learn_in_batches
        # Once for all steps: waking BLAS's other threads again in every step takes longer than the step.
        with one_blas_thread:
            learn(parameters, objective, n_rows, loss)

    def _commit(self, parameters: Parameters, value: float) -> None:
        """Takes over the parameters of a pass that went well."""
        self._take(parameters)
        self.__dict__["loss_curve_"] = np.append(self.loss_curve_, value)
        self.__dict__["n_iter_"] += 1
        if self.callback is not None:
            self.callback({"n_iter": self.n_iter_, "loss": value, "estimator": self})

    def _take(self, parameters: Parameters) -> None:
        raise NotImplementedError

    def _mean_objective(
        self, parameters: Parameters, objective: RowsObjective, n_rows: int, loss: AnswerLoss
    ) -> tuple[float, Parameters]:
        """Mean over all rows, with the l2 penalty, and its gradients, added up in float64."""
        total, gradients = 0.0, {name: np.zeros(p.shape) for name, p in parameters.items()}
        for rows in _blocks(n_rows, self._block_rows()):
            value, of_rows = objective(parameters, rows, loss)
            total += value
            for name, gradient in of_rows.items():
                gradients[name] += gradient
        value = total / n_rows + self._l2_penalty(parameters)
        return value, {
            name: g / n_rows + self._l2_of(parameters[name]) * parameters[name]
            for name, g in gradients.items()
        }

    def _block_rows(self) -> int:
        """Rows whose objective is taken at once where all are."""
        return _BLOCK_ROWS

    def _l2_of(self, parameter: FloatArray) -> float:
        """Intercepts are not penalised."""
        return float(self.l2) if parameter.ndim > 1 else 0.0

    def _l2_penalty(self, parameters: Parameters) -> float:
        return sum(
            0.5 * self._l2_of(p) * float(np.einsum("i,i", p.ravel(), p.ravel(), dtype=np.float64))
            for p in parameters.values()
        )

    def _learn_full_batch(
        self, parameters: Parameters, objective: RowsObjective, n_rows: int, loss: AnswerLoss
    ) -> None:
        packing = Packing(parameters)
        l1 = packing.flat(
            {k: np.full(p.shape, self.l1 if p.ndim > 1 else 0.0) for k, p in parameters.items()}
        )
        minima, last, converged = [packing.flat(parameters)], np.inf, True
        for stage in self._stages(loss):

            def of_vector(v: NDArray[np.float64], stage: AnswerLoss = stage) -> tuple[float, Any]:
                nonlocal last
                value, gradients = self._mean_objective(packing.unpacked(v), objective, n_rows, stage)
                last = value
                return value, packing.flat(gradients)

            def after_iteration(v: NDArray[np.float64]) -> None:
                if not (np.isfinite(last) and np.isfinite(v).all()):
                    raise FloatingPointError(self._not_finite())
                self._commit(packing.unpacked(v), last + float(l1 @ np.abs(v)))

            if self.max_iter == 0:
                break
            x, _, converged = optim.minimise_lbfgs(
                of_vector,
                _next_start(minima),
                l1=l1,
                max_iter=self.max_iter,
                tol=self.tol,
                callback=after_iteration,
            )
            if not np.isfinite(x).all() or not np.isfinite(last):
                raise FloatingPointError(self._not_finite())
            minima.append(x)
        self._take(packing.unpacked(minima[-1]))
        if not converged:
            warnings.warn(
                f"lbfgs did not bring the gradient to tol={self.tol:g}: it made max_iter={self.max_iter} "
                "iterations, or stands at a kink",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _stages(self, loss: AnswerLoss) -> list[AnswerLoss]:
        """The loss itself; one with kinks is approached by ever sharper smooth ones."""
        smoothed = getattr(loss, "smoothed", None)
        return [loss] if smoothed is None else [smoothed(beta / self.margin) for beta in _SHARPER]

    def _learn_in_batches(
        self, parameters: Parameters, objective: RowsObjective, n_rows: int, loss: AnswerLoss
    ) -> None:
        steps = _Steps(parameters, self.optimizer, float(self.momentum))
        best, without = np.inf, 0
        for epoch in range(self.max_iter):
            order = _rng.permutation(self._seed, _rng.STREAM_BATCH_ORDER, epoch, n_rows)
            total = 0.0
            for first in range(0, n_rows, self.batch_size):
                rows = np.sort(order[first : first + self.batch_size])
                value, gradients = objective(parameters, rows, loss)
                total += value
                rate = self._rate(epoch + first / n_rows)
                mean = {
                    name: g / len(rows) + parameters[name].dtype.type(self._l2_of(g)) * parameters[name]
                    for name, g in gradients.items()
                }
                parameters = steps.made(parameters, mean, rate)
                if not (np.isfinite(value) and all(np.isfinite(p).all() for p in parameters.values())):
                    raise FloatingPointError(self._not_finite())
            mean_loss = total / n_rows + self._l2_penalty(parameters)
            self._commit(parameters, mean_loss)
            without = 0 if mean_loss < best - self.tol else without + 1
            best = min(best, mean_loss)
            if without >= _PATIENCE:
                return
        if self.max_iter and self.tol > 0:
            warnings.warn(
                f"{self.optimizer} made max_iter={self.max_iter} passes and the loss was still falling",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _rate(self, passes: float) -> float:
        """The learning rate after so many passes."""
        rate = float(self.learning_rate)
        if self.schedule == "linear":
            return rate * max(1 - passes / self.max_iter, 0.0)
        return rate / (1 + passes) if self.schedule == "inverse" else rate

    def _not_finite(self) -> str:
        return (
            f"pass {self.n_iter_ + 1}: the loss or a parameter is not finite: lower learning_rate, scale X. "
            "The estimator keeps the parameters of the pass before"
        )


class _Steps:
    """What an optimiser remembers from batch to batch."""

    def __init__(self, parameters: Parameters, optimizer: str, momentum: float) -> None:
        self._adam = optimizer == "adam"
        self._momentum = momentum
        self._count = 0
        self._velocity = {name: np.zeros_like(p) for name, p in parameters.items()}
        self._moments: optim.Moments = {}  # of "adam"

    def made(self, parameters: Parameters, gradients: Parameters, rate: float) -> Parameters:
        """New parameters; the old ones are not changed."""
        self._count += 1
        moved = {name: gradients[name].astype(p.dtype, copy=False) for name, p in parameters.items()}
        if self._adam:
            after, self._moments, _ = optim.adam_step(parameters, self._moments, moved, rate, self._count)
            return after
        after = {}
        for name, parameter in parameters.items():
            kind = parameter.dtype.type
            self._velocity[name] = kind(self._momentum) * self._velocity[name] - kind(rate) * moved[name]
            after[name] = parameter + self._velocity[name]
        return after


class Packing:
    """Parameters as one vector in float64, and back in their own dtype and shapes."""

    def __init__(self, parameters: Parameters) -> None:
        self._shapes = {name: (p.shape, p.dtype) for name, p in parameters.items()}

    def flat(self, parameters: Parameters) -> NDArray[np.float64]:
        parts = [np.asarray(parameters[name], np.float64).ravel() for name in self._shapes]
        return np.concatenate(parts) if parts else np.empty(0)

    def unpacked(self, vector: NDArray[np.float64]) -> Parameters:
        made, first = {}, 0
        for name, (shape, dtype) in self._shapes.items():
            size = int(np.prod(shape))
            made[name] = vector[first : first + size].reshape(shape).astype(dtype)
            first += size
        return made


def _next_start(minima: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Where the next, sharper stage begins, after the first start and the minima of the stages so far.

    Minima of smoothed losses lie nearly on a line in the temperature, which falls by one factor each time.
    """
    if len(minima) < 3:
        return minima[-1]
    return minima[-1] + (minima[-1] - minima[-2]) / _SHARPENING


def _blocks(n_rows: int, size: int) -> Iterator[NDArray[np.int64]]:
    for first in range(0, n_rows, size):
        yield np.arange(first, min(first + size, n_rows))


def loss_name(loss: Any) -> str:
    """What messages call it."""
    return repr(loss) if isinstance(loss, str) else type(loss).__name__


def _require_loss(loss: Any) -> None:
    """TypeError or ValueError unless it is a loss of answers."""
    members = ("guarantee", "needs", "value_and_gradient")
    if isinstance(loss, type) or not all(hasattr(loss, name) for name in members):
        raise TypeError(f"loss: expected one of {', '.join(LOSSES)} or a loss of answers, got {loss!r}")
    one_of(loss.guarantee, "loss.guarantee", ("none", "zero", "positive"))
    one_of(loss.needs, "loss.needs", ("pair", "all"))


def require_members(energy: Any, names: tuple[str, ...], protocol: str) -> None:
    """TypeError unless an energy of one's own has the members of its protocol."""
    missing = [name for name in names if isinstance(energy, type) or not hasattr(energy, name)]
    if missing:
        raise TypeError(f"energy: expected the members of {protocol}, {missing[0]!r} is missing: {energy!r}")


def require_no_collapse(
    loss: AnswerLoss, answer_side: str, name: str, allow: bool, *, is_finite: bool = False
) -> None:
    """ValueError, or a warning, where a loss does not keep such energies apart.

    `is_finite`: the answers are finitely many, which a "fixed" side that is nowhere near them leaves level.
    """
    is_safe = answer_side == "fixed" and (loss.guarantee == "none" or not is_finite)
    if allow or is_safe or loss.guarantee == "positive":
        return
    if loss.guarantee == "none":
        fate = "all energies become equal" if answer_side == "learned" else "energies fall without end"
        raise ValueError(
            f"loss: {name} pushes no answer's energy up, and with this architecture {fate}; "
            "take a loss with a margin, or allow_collapse=True to see it happen"
        )
    if answer_side == "learned":
        raise ValueError(
            f"loss: {name} has a margin of zero: energies that are all equal minimise it, which this "
            "architecture can reach; take a loss with a margin, or allow_collapse=True to see it happen"
        )
    warnings.warn(
        f"loss: {name} has a margin of zero: energies that are all equal minimise it",
        UserWarning,
        stacklevel=4,
    )
