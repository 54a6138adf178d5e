"""What an estimator is asked about x: the inputs of least energy, and samples of inputs, within bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from .. import _rng
from .._check import float_array, real_number, seed_number, whole_number
from ..inference.continuous import EnergyAndGradient, box_of, langevin, minimise_continuous


def best_inputs(
    energy: EnergyAndGradient,
    shape: tuple[int, int],
    bounds: Any,
    *,
    start: Any = None,
    n_restarts: int = 4,
    max_iter: int = 200,
) -> NDArray[np.float64]:
    """Rows (n_rows, n_features) of least energy; `start` is one row for all, None the middle of the box.

    Raises ValueError, naming `bounds`, where the box is open and no minimum was found in it.
    """
    low, high = box_of(bounds, shape[1])
    if start is None:
        first = _middle(low, high)
    else:
        first = float_array(start, "start", dtype=np.float64)
        if first.shape != shape[1:]:
            raise ValueError(f"start: expected shape {shape[1:]}, got {first.shape}")
    found = minimise_continuous(
        energy,
        np.repeat(first[None], shape[0], axis=0),
        bounds=(low, high),
        n_restarts=n_restarts,
        max_iter=max_iter,
    )
    is_open = not (np.isfinite(low).all() and np.isfinite(high).all())
    if is_open and not found.converged.all():
        raise ValueError(
            f"bounds: expected finite ones, as no minimum was found in max_iter={max_iter} steps"
        )
    return found.x


def sampled_inputs(
    energy: EnergyAndGradient,
    shape: tuple[int, int],
    bounds: Any,
    *,
    n_steps: int,
    step: float,
    beta: float,
    random_state: Any,
) -> NDArray[np.float64]:
    """Rows (n_rows, n_features) of exp(-beta E) within finite bounds, one Langevin chain each."""
    low, high = box_of(bounds, shape[1])
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise ValueError(f"bounds: expected finite ones, got {bounds!r}")
    seed = seed_number(random_state)
    uniform = _rng.uniform(seed, _rng.STREAM_SAMPLES, 0, shape[0] * shape[1]).reshape(shape)
    return langevin(
        energy,
        low + uniform * (high - low),
        n_steps=n_steps,
        step=step,
        beta=real_number(beta, "beta", above=0.0),
        bounds=(low, high),
        seed=seed,
    )


class InputQuestions:
    """Of an estimator whose `_energy_of_inputs(y)` gives energies and gradients of rows x for one answer."""

    beta: float
    n_features_in_: int
    _energy_of_inputs: Callable[[Any], EnergyAndGradient]

    def sample_inputs(
        self,
        y: Any,
        n_samples: int,
        bounds: Any,
        *,
        n_steps: int = 500,
        step: float = 1e-3,
        beta: float | None = None,
        random_state: Any = None,
    ) -> NDArray[np.float64]:
        """Samples of P(x | y), proportional to exp(-beta E(x, y)), within bounds by Langevin's dynamics.

        Parameters
        ----------
        y : answer
        n_samples : int
            Chains, each begun at random in the box.
        bounds : tuple of array_like
            Least and greatest value of every feature, finite.
        n_steps : int, default=500
        step : float, default=1e-3
            Of the dynamics: the smaller, the slower, and the nearer to the distribution.
        beta : float, default=None
            Inverse temperature; None takes the estimator's.
        random_state : int, RandomState or None

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        return sampled_inputs(
            self._energy_of_inputs(y),
            (sample_count(n_samples), self._n_features()),
            bounds,
            n_steps=n_steps,
            step=step,
            beta=self.beta if beta is None else beta,
            random_state=random_state,
        )

    def _n_features(self) -> int:
        check_is_fitted(self, "energy_")
        return int(self.n_features_in_)


def sample_count(n_samples: Any) -> int:
    """`n_samples` as an int >= 1."""
    return whole_number(n_samples, "n_samples", minimum=1)


def _middle(low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the box; where it is open zero, or the bound that is nearest to zero."""
    is_closed = np.isfinite(low) & np.isfinite(high)
    with np.errstate(invalid="ignore"):
        return np.where(is_closed, 0.5 * (low + high), np.clip(0.0, low, high))
