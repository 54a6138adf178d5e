"""What a learnt deep energy is used for: features, filters, samples, modes, and its normaliser."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from .. import _rng
from .._base import Draws
from .._blas import one_blas_thread
from .._check import (
    FloatArray,
    float_array,
    is_device_array,
    one_of,
    real_number,
    refuse_device_array,
    whole_number,
)
from .._device import as_device_array, device_operand, give_back, to_host
from ..energies import DeepEnergy
from ..inference.annealing import LogPartition
from ..inference.annealing import temperatures as path_temperatures
from ..inference.continuous import minimise_continuous
from ..inference.density_annealing import anneal_density
from ..inference.langevin import Chains, HamiltonianMonteCarlo, Langevin, MetropolisAdjustedLangevin
from ._density import blocks
from ._density_learning import DensityLearner

SAMPLERS = ("hmc", "mala", "langevin")
METHODS = ("ais", "exact")

_DEVICE_ROWS = 65536  # that travel there at once
_MOST_UNITS = 20  # whose states are enumerated where nobody has chosen a method
_FIRST_STEP = {"hmc": 0.5, "mala": 0.1, "langevin": 0.1}  # in units of sigma, or of its square


class DeepDensity(DensityLearner):
    """A density exp(-E(x)) / Z with a `DeepEnergy`."""

    energy_: DeepEnergy
    device: str = "cpu"

    # --- energies

    def free_energy(self, X: Any) -> Any:
        """E(x) = -log p(x) - log Z of every row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            With `device="cuda"` also an array on the device.

        Returns
        -------
        array of shape (n_samples,), float64
            Of the library of `X` where that is on the device, otherwise NumPy's.
        """
        if self.device == "cpu":
            return super().free_energy(X)
        rows = self._rows(X)
        if is_device_array(rows):
            return give_back(self._working_energy().energies(rows), like=X)
        parts = [self._working_energy().energies(rows[block]) for block in blocks(len(rows), _DEVICE_ROWS)]
        return np.concatenate(parts)

    def score_samples(self, X: Any) -> Any:
        """-E(x) = log p(x) + log Z of every row: the log density but for a constant, which is not known.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            With `device="cuda"` also an array on the device.

        Returns
        -------
        array of shape (n_samples,), float64
            As `free_energy`.
        """
        return _minus(self.free_energy(X))

    def score_function(self, X: Any) -> Any:
        """The gradient of log p(x) in x, of every row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            With `device="cuda"` also an array on the device.

        Returns
        -------
        array of shape (n_samples, n_features)
            float32 where X is, float64 otherwise; of the library of `X` where that is on the device.
        """
        if self.device == "cpu":
            return super().score_function(X)
        rows = self._rows(X)
        if is_device_array(rows):
            return give_back(self._working_energy().score_function(rows), like=X)
        out = np.empty_like(rows)
        for block in blocks(len(rows), _DEVICE_ROWS):
            out[block] = self._working_energy().score_function(rows[block])
        return out

    # --- features

    def set_params(self, **params: Any) -> Any:
        """Sets parameters, of `n_jobs` also for what was learnt.

        Parameters
        ----------
        **params : dict

        Returns
        -------
        self : estimator
        """
        super().set_params(**params)
        if "n_jobs" in params and hasattr(self, "energy_"):
            self.__dict__["energy_"] = self.energy_.with_n_jobs(self.n_jobs)
        return self

    def transform(self, X: Any) -> Any:
        """sigmoid(w_k' g(x) + c_k) of every row: how far each top unit is on.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            With `device="cuda"` also an array on the device.

        Returns
        -------
        array of shape (n_samples, n_components)
            float32 where X is, float64 otherwise; of the library of `X` where that is on the device.
        """
        rows = self._rows(X)
        working = self._working_energy()
        if is_device_array(rows):
            return give_back(working.top_probabilities(rows), like=X)
        out = np.empty((len(rows), working.n_components), rows.dtype)
        with one_blas_thread:
            for block in blocks(len(rows), *([] if self.device == "cpu" else [_DEVICE_ROWS])):
                out[block] = working.top_probabilities(rows[block])
        return out

    @property
    def filters_(self) -> FloatArray:
        """Rows of the lowest weights: what each lowest hidden unit looks for, (n_units, n_features)."""
        check_is_fitted(self, "energy_")
        filters: FloatArray = self.energy_.network.parameters["weights_0"]
        return filters

    @property
    def sigma_(self) -> float:
        """sigma, given or learnt."""
        check_is_fitted(self, "energy_")
        return float(self.energy_.sigma)

    @property
    def _n_features_out(self) -> int:
        return int(self.energy_.n_components)

    # --- samples and modes

    def sample(
        self,
        n: int | None = None,
        n_steps: int = 200,
        *,
        init: Any = None,
        sampler: str = "hmc",
        step_size: float | None = None,
        n_leapfrog: int = 10,
        warm_up: int = 100,
        random_state: Any = None,
    ) -> Any:
        """States of independent chains.

        Parameters
        ----------
        n : int, default=None
            Number of chains; None stands for as many as `init` has, or 1.
        n_steps : int, default=200
            Steps of every chain, after the warm-up.
        init : array-like of shape (n, n_features), default=None
            Where the chains begin, with `device="cuda"` also an array on the device; None draws the features
            independently with the training data's means and deviations.
        sampler : {"hmc", "mala", "langevin"}, default="hmc"
            Hamiltonian Monte Carlo, Langevin's steps with acceptance, or without, whose bias falls with the
            step; see `thalweg.inference`.
        step_size : float, default=None
            Of "hmc" in the units of the data, of the others in their square. None begins the warm-up at
            `sigma_` / 2, or `sigma_`^2 / 10.
        n_leapfrog : int, default=10
            Leapfrog steps of a step of "hmc".
        warm_up : int, default=100
            Steps before, in which the size is adapted to a usual acceptance ("langevin" keeps its own).
        random_state : int, RandomState or Generator, default=None
            Seed of the draws; None goes on with the estimator's own sequence, so that calls differ.

        Returns
        -------
        array of shape (n, n_features)
            In the dtype of the parameters; of the library of `init` where that is on the device.

        Raises
        ------
        FloatingPointError
            Chains leave the finite numbers however small the step.
        """
        seed = self._next_seed(random_state)
        return self.run_chains(
            self._first_states(n, init, seed),
            n_steps,
            sampler=sampler,
            step_size=step_size,
            n_leapfrog=n_leapfrog,
            warm_up=warm_up,
            random_state=seed,
        ).X

    def run_chains(
        self,
        init: Any,
        n_steps: int = 200,
        *,
        sampler: str = "hmc",
        step_size: float | None = None,
        n_leapfrog: int = 10,
        warm_up: int = 0,
        random_state: Any = None,
    ) -> Chains:
        """Chains from these states, with all that their sampler tells: acceptance, step size, divergences.

        Parameters
        ----------
        init : array-like of shape (n, n_features)
        n_steps, sampler, step_size, n_leapfrog, warm_up, random_state
            As in `sample`.

        Returns
        -------
        Chains
            `X` of shape (n, n_features), `acceptance`, `chain_acceptance`, `step_size`, `n_halvings`.
        """
        check_is_fitted(self, "energy_")
        whole_number(n_steps, "n_steps", minimum=1)
        whole_number(warm_up, "warm_up")
        if step_size is not None:
            real_number(step_size, "step_size", above=0.0)
        states = self._states(init)
        if states.shape[1] != self.n_features_in_:
            raise ValueError(f"init: expected {self.n_features_in_} features, got shape {states.shape}")
        made = make_sampler(sampler, step_size, self.sigma_, n_leapfrog, self.device)
        draws = Draws(self._next_seed(random_state), _rng.STREAM_SAMPLES)
        with one_blas_thread:
            chains: Chains = made.run(
                self.energy_, states, n_steps, draws, warm_up=warm_up, n_jobs=self.n_jobs
            )
        return chains if states is init else replace(chains, X=give_back(chains.X, like=init))

    def modes(self, X: Any, *, max_iter: int = 1000, tol: float = 1e-4) -> Any:
        """Climbs log p from every row of X to a mode, by spectral projected gradients.

        The search is the host's; energies and scores are those of `device`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Where to begin. With `device="cuda"` also an array on the device.
        max_iter : int, default=1000
        tol : float, default=1e-4
            A row has arrived when no element of its score exceeds it.

        Returns
        -------
        array of shape (n_samples, n_features)
            Of the library of `X` where that is on the device.

        Warns
        -----
        ConvergenceWarning
            Rows that had not arrived after `max_iter` steps.
        """
        rows = self._rows_on_host(X)
        working = self._working_energy()

        def energy(x: NDArray[np.float64], _: NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
            return working.value(x)[0], -working.score_function(x)

        found = minimise_continuous(
            energy, rows.astype(np.float64), method="projected-gradient", max_iter=max_iter, tol=tol
        )
        missed = int(np.count_nonzero(~found.converged))
        if missed:
            warnings.warn(
                f"{missed} of {len(rows)} rows did not reach a mode within max_iter={max_iter} steps to "
                f"tol={tol:g}",
                ConvergenceWarning,
                stacklevel=2,
            )
        ends = found.x.astype(rows.dtype)
        return give_back(device_operand(ends, "X"), like=X) if is_device_array(X) else ends

    def _first_states(self, n: int | None, init: Any, seed: int) -> FloatArray:
        check_is_fitted(self, "energy_")
        start = None if init is None else self._states(init)
        if n is None:
            n = 1 if start is None else len(start)
        whole_number(n, "n", minimum=1)
        shape = (n, self.n_features_in_)
        if start is not None:
            if start.shape != shape:
                raise ValueError(f"init: expected shape {shape}, got {start.shape}")
            return init if is_device_array(init) else start
        normals = _rng.normals(seed, _rng.STREAM_BASE_MODEL, 0, n * shape[1]).reshape(shape)
        states: FloatArray = (self._mean + self._deviation * normals).astype(self._dtype)
        return states

    # --- the normaliser

    def log_partition(
        self,
        method: str | None = None,
        *,
        n_runs: int = 100,
        temperatures: Any = 1000,
        n_leapfrog: int = 10,
        random_state: Any = None,
    ) -> LogPartition:
        """log Z, by annealed importance sampling from the Gaussian that is left without the top units.

        Parameters
        ----------
        method : {"ais", "exact"}, default=None
            "ais" is on average too small, which makes likelihoods look too good. "exact" sums over the states
            of the top units, where g is the identity: then the density is a mixture of 2^n_components
            Gaussians. None takes "exact" where that is at most 2^20.
        n_runs : int, default=100
            Independent runs.
        temperatures : int or array-like, default=1000
            Steps of the path, most of them near the energy, or inverse temperatures from 0 to 1.
        n_leapfrog : int, default=10
            Leapfrog steps of the Hamiltonian move at every temperature.
        random_state : int, RandomState or Generator, default=None
            As in `sample`.

        Returns
        -------
        LogPartition
            `log_z`, `std_error`, `method`, `log_weights` of the runs, and `log_z_base`.

        Raises
        ------
        ValueError
            Where "exact" is asked for and there are hidden layers, or more than 25 top units.
        """
        check_is_fitted(self, "energy_")
        if method is None:
            method = "exact" if self._is_rbm() and self.energy_.n_components <= _MOST_UNITS else "ais"
        one_of(method, "method", METHODS)
        if method == "exact":
            if not self._is_rbm():
                raise ValueError(
                    'method: "exact" needs a model without hidden layers, whose sum is a finite one'
                )
            wide = {name: p.astype(np.float64) for name, p in self.energy_.parameters.items()}
            return LogPartition.exactly(self.energy_.with_parameters(wide).log_partition())
        whole_number(n_runs, "n_runs", minimum=2)
        t = path_temperatures(temperatures)
        bias = self.energy_.parameters.get("visible_bias", np.zeros(self.n_features_in_))
        base_mean = self.sigma_**2 * bias.astype(np.float64)
        with one_blas_thread:
            return anneal_density(
                self.energy_,
                base_mean,
                self.sigma_,
                t,
                n_runs,
                self._next_seed(random_state),
                n_leapfrog=n_leapfrog,
                dtype=self._dtype,
                device=self.device,
                n_jobs=self.n_jobs,
            )

    # --- devices

    def _working_energy(self) -> Any:
        return self.energy_.on(self.device)

    def _rows(self, X: Any, *, reset: bool = False) -> FloatArray:
        """X checked: on the device where it is there, otherwise as scikit-learn has it."""
        if self.device == "cpu":
            refuse_device_array(X, "X")
        if not is_device_array(X):
            return super()._rows(X, reset=reset)
        if not reset:
            check_is_fitted(self, "energy_")
        rows: FloatArray = as_device_array(X, "X", ndim=2)
        n, d = rows.shape
        if n == 0 or d == 0:
            raise ValueError(f"X: expected at least one row and one feature, got shape {rows.shape}")
        if reset:
            self.__dict__.pop("feature_names_in_", None)
            self.n_features_in_ = d
        elif d != self.n_features_in_:
            raise ValueError(
                f"X has {d} features, but {type(self).__name__} is expecting {self.n_features_in_} features "
                "as input"
            )
        return rows

    def _rows_on_host(self, X: Any, *, reset: bool = False) -> FloatArray:
        rows = self._rows(X, reset=reset)
        return to_host(rows) if is_device_array(rows) else rows

    def _states(self, init: Any) -> FloatArray:
        """First states of chains, in the dtype of the parameters."""
        if self.device == "cpu" or not is_device_array(init):
            return float_array(init, "init", ndim=2, dtype=self._dtype)
        states: FloatArray = as_device_array(init, "init", ndim=2, dtype=self._dtype)
        return states

    def _is_rbm(self) -> bool:
        return len(self.energy_.network.activations) == 1


def _minus(values: Any) -> Any:
    """-values; by the host where the array's library has no arithmetic."""
    if hasattr(values, "__neg__"):
        return -values
    return device_operand(-to_host(values), "energies")


def make_sampler(
    name: str, step_size: float | None, sigma: float, n_leapfrog: int, device: str = "cpu"
) -> Any:
    """A sampler of `thalweg.inference` by its name here; its first step is by sigma, where none is given."""
    one_of(name, "sampler", SAMPLERS)
    whole_number(n_leapfrog, "n_leapfrog", minimum=1)
    # Of Langevin's steps the size is the square of a length.
    size = _FIRST_STEP[name] * (sigma if name == "hmc" else sigma**2) if step_size is None else step_size
    if name == "hmc":
        return HamiltonianMonteCarlo(size, n_leapfrog, device=device)
    return (MetropolisAdjustedLangevin if name == "mala" else Langevin)(size, device=device)
