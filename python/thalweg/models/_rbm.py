"""What a learnt restricted Boltzmann machine is used for: features, samples, and likelihoods."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from .. import _check, _device, _rng
from .._base import Bits, Draws
from .._blas import one_blas_thread
from .._check import (
    FloatArray,
    float_array,
    one_of,
    real_number,
    refuse_masked,
    seed_number,
    thread_number,
    whole_number,
)
from ..energies import BernoulliRBMEnergy, GaussianRBMEnergy
from ..inference.annealing import LogPartition, anneal_downwards, anneal_upwards
from ..inference.annealing import temperatures as path_temperatures
from ..inference.gibbs import RbmMachine, on_host, padded_rows, unpack
from ._rbm_learning import RbmLearner, dense_rows, moments

_BLOCK_ROWS = 4096

_PLAIN = ("components_", "intercept_hidden_", "intercept_visible_", "_mean", "_deviation", "_activity")
_VALUES = (
    "n_iter_",
    "n_steps_",
    "_seed",
    "_n_seen",
    "_n_sampled",
    "_n_rows",
    "_fit_batch_size",
    "_loss_name",
)
METHODS = ("exact", "ais", "reverse_ais")


class RestrictedBoltzmannMachine(ClassNamePrefixFeaturesOutMixin, TransformerMixin, RbmLearner):  # type: ignore[misc]
    """Inference, sampling and likelihoods of a bipartite energy."""

    _ACCEPTS_SPARSE = False
    _n_sampled: int

    # --- one side given the other

    def transform(self, X: Any) -> FloatArray:
        """p(h = 1 | x) of every row and hidden unit.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            float32 where X is, float64 otherwise.
        """
        rows = self._visible_rows(X)
        machine = self._machine(rows.dtype)
        if _device.is_device_array(rows):
            return _device.give_back(machine.hidden(rows), like=X)  # type: ignore[no-any-return]
        out = np.empty((rows.shape[0], len(self.components_)), rows.dtype)
        for block in _blocks(rows.shape[0]):
            out[block] = machine.hidden(dense_rows(rows[block], rows.dtype))
        return out

    def sample_h(self, v: Any, random_state: Any = None) -> FloatArray:
        """Hidden states drawn from p(h | v).

        Parameters
        ----------
        v : array-like of shape (n_samples, n_features)
        random_state : int, RandomState or Generator, default=None
            Seed of the draws; None goes on with the estimator's own sequence, so that calls differ.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            Of 0 and 1.
        """
        rows = self._visible_rows(v)
        machine = self._machine(rows.dtype)
        _, bits = machine.draw_hidden(_placed(machine, rows), self._next_draws(random_state))
        return self._real(machine, bits, like=v)

    def sample_v(self, h: Any, random_state: Any = None) -> FloatArray:
        """Visible states drawn from p(v | h).

        Parameters
        ----------
        h : array-like of shape (n_samples, n_components)
            States of 0 and 1, or probabilities, which stand for their mean field.
        random_state : int, RandomState or Generator, default=None
            As in `sample_h`.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        hidden = self._hidden_rows(h)
        machine = self._machine(hidden.dtype)
        drawn = machine.draw_visible(_placed(machine, hidden), self._next_draws(random_state))
        return self._real(machine, drawn, like=h)

    def gibbs(self, v: Any, n_steps: int = 1, random_state: Any = None) -> FloatArray:
        """Visible states after sweeps v -> h -> v'.

        Parameters
        ----------
        v : array-like of shape (n_samples, n_features)
            Where the chains are.
        n_steps : int, default=1
            Number of sweeps.
        random_state : int, RandomState or Generator, default=None
            As in `sample_h`.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        rows = self._visible_rows(v)
        whole_number(n_steps, "n_steps", minimum=1)
        machine = self._machine(rows.dtype)
        draws = self._next_draws(random_state)
        _, hidden = machine.draw_hidden(_placed(machine, rows), _first_hidden(draws, n_steps))
        return self._real(machine, _run_chains(machine, hidden, n_steps, draws), like=v)

    def sample(
        self, n: int | None = None, n_steps: int = 1000, *, init: Any = None, random_state: Any = None
    ) -> FloatArray:
        """Visible states of independent chains.

        Parameters
        ----------
        n : int, default=None
            Number of chains; None stands for as many as `init` has, or 1.
        n_steps : int, default=1000
            Sweeps v -> h -> v' that each chain makes.
        init : array-like of shape (n, n_features), default=None
            Where the chains begin, for instance where an earlier call left them; None draws the features
            independently with the training data's means (and deviations).
        random_state : int, RandomState or Generator, default=None
            As in `sample_h`.

        Returns
        -------
        ndarray of shape (n, n_features)
            In the dtype of the parameters.
        """
        check_is_fitted(self, "components_")
        whole_number(n_steps, "n_steps", minimum=1)
        machine = self._machine(self.components_.dtype)
        start = None if init is None else self._numbers(init, "init", machine.dtype)
        if n is None:
            n = 1 if start is None else len(start)
        whole_number(n, "n", minimum=1)
        if start is not None and start.shape != (n, machine.n_visible):
            raise ValueError(f"init: expected shape {(n, machine.n_visible)}, got {start.shape}")
        draws = self._next_draws(random_state)
        if start is None:
            base = machine.base_model(self._mean, self._deviation)
            key = Draws(draws.seed, _rng.STREAM_BASE_MODEL)
            start = machine.draw_base(n, base[0], base[1] if machine.is_gaussian else None, key)
        _, hidden = machine.draw_hidden(machine.place(start), _first_hidden(draws, n_steps))
        return self._real(machine, _run_chains(machine, hidden, n_steps, draws), like=init)

    def reconstruct(self, X: Any) -> FloatArray:
        """E[v | h] at h = p(h = 1 | x), without draws.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        rows = self._visible_rows(X)
        machine = self._machine(rows.dtype)
        if _device.is_device_array(rows):
            mean = machine.visible_mean(machine.hidden(rows))
            return _device.give_back(mean, like=X)  # type: ignore[no-any-return]
        out = np.empty(rows.shape, rows.dtype)
        for block in _blocks(rows.shape[0]):
            out[block] = machine.visible_mean(machine.hidden(dense_rows(rows[block], rows.dtype)))
        return out

    # --- energies and likelihoods

    def energy(self, v: Any, h: Any) -> NDArray[np.float64]:
        """E(v, h) of every pair of rows.

        Parameters
        ----------
        v : array-like of shape (n_samples, n_features)
        h : array-like of shape (n_samples, n_components)

        Returns
        -------
        ndarray of shape (n_samples,), float64
        """
        rows, hidden = on_host(self._visible_rows(v)), on_host(self._hidden_rows(h))
        if len(hidden) != rows.shape[0]:
            raise ValueError(f"h: expected {rows.shape[0]} rows, as v has, got shape {hidden.shape}")
        with one_blas_thread:
            return self._given_back(self._energy().value(rows, hidden), like=v)

    def free_energy(self, X: Any) -> NDArray[np.float64]:
        """F(x) = -log sum_h exp(-E(x, h)), so that log p(x) = -F(x) - log Z.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,), float64
            Finite wherever the hidden units' logits are.
        """
        rows = self._visible_rows(X)
        if _device.is_device_array(rows):
            there = self._machine(rows.dtype).free_energy_there(rows)
            return _device.give_back(there, like=X)  # type: ignore[no-any-return]
        return self._free_energy(rows)

    def score_function(self, X: Any) -> FloatArray:
        """The gradient of log p(x) in x, of every row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        rows = on_host(self._visible_rows(X))
        with one_blas_thread:
            return self._given_back(self._energy(rows.dtype).score_function(rows), like=X)

    def pseudo_likelihood(self, X: Any) -> NDArray[np.float64]:
        """The log of the pseudo-likelihood, sum_j log p(x_j | the other features), of every row.

        Over all features, without draws. J. Besag, Statistical analysis of non-lattice data, The
        Statistician 24, 1975.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,), float64
        """
        rows = on_host(self._visible_rows(X))
        with one_blas_thread:
            return self._given_back(self._energy(rows.dtype).pseudo_log_likelihood(rows), like=X)

    def log_partition(
        self,
        method: str = "ais",
        *,
        n_runs: int = 100,
        temperatures: Any = 14_500,
        X: Any = None,
        burn_in: int = 1000,
        max_units: int = 25,
        random_state: Any = None,
    ) -> LogPartition:
        """log Z, exactly or by annealed importance sampling, with its standard error.

        "ais" anneals from the base model up to the machine and is on average too small, which makes
        likelihoods look too good; "reverse_ais" anneals down from samples of the machine and is on average
        too large. The samples come from rows of X by Gibbs sweeps: where both agree, and the sweeps reach all
        that the machine has learnt, they can be trusted.

        Parameters
        ----------
        method : {"ais", "reverse_ais", "exact"}, default="ais"
            "exact" enumerates the states of the smaller side (of the hidden units, where the visible ones are
            Gaussian).
        n_runs : int, default=100
            Independent runs.
        temperatures : int or array-like, default=14500
            Steps of the path, most of them near the machine, or inverse temperatures from 0 to 1.
        X : array-like of shape (n_samples, n_features), default=None
            Data whose means (and deviations) the base model has; None takes those of the training data.
            "reverse_ais" needs it: there the burn-in begins, at the first rows first.
        burn_in : int, default=1000
            Sweeps that make samples of the machine, for "reverse_ais".
        max_units : int, default=25
            Most units whose states "exact" enumerates.
        random_state : int, RandomState or Generator, default=None
            As in `sample_h`.

        Returns
        -------
        LogPartition
            `log_z`, `std_error`, `method`, `log_weights` of the runs, and `log_z_base`.

        Raises
        ------
        ValueError
            Where "exact" would take too many states, and where an argument is out of range.
        """
        check_is_fitted(self, "components_")
        one_of(method, "method", METHODS)
        if method == "exact":
            return LogPartition.exactly(self._energy().log_partition(max_units=max_units))
        whole_number(n_runs, "n_runs", minimum=2)
        whole_number(burn_in, "burn_in")
        t = path_temperatures(temperatures)
        machine = self._machine(self.components_.dtype)
        rows = None if X is None else on_host(self._visible_rows(X))
        mean, deviation = (self._mean, self._deviation) if rows is None else moments(rows)
        base_bias, base_sigma = machine.base_model(mean, deviation)
        base = (base_bias, base_sigma if machine.is_gaussian else None)
        if method == "ais":
            return anneal_upwards(machine, *base, t, n_runs, self._next_seed(random_state))
        if rows is None:
            raise ValueError('X: "reverse_ais" needs rows to begin at, got None')
        start = dense_rows(rows[np.arange(n_runs) % rows.shape[0]], machine.dtype)
        seed = self._next_seed(random_state)
        return anneal_downwards(machine, *base, t, start, burn_in, seed)

    def log_likelihood(self, X: Any, log_partition: Any = None) -> NDArray[np.float64]:
        """log p(x) = -F(x) - log Z of every row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        log_partition : LogPartition or float, default=None
            What `log_partition` gave; None calls it: exactly where that takes at most 2^20 states, else by
            "ais".

        Returns
        -------
        ndarray of shape (n_samples,), float64
        """
        if log_partition is None:
            log_partition = self.log_partition("exact" if self._fewest_units() <= 20 else "ais")
        if isinstance(log_partition, LogPartition):
            log_partition = log_partition.log_z
        log_z = real_number(log_partition, "log_partition")
        return self._given_back(-self._free_energy(self._visible_rows(X)) - log_z, like=X)

    # --- arrays and machines

    def _machine(self, dtype: Any) -> RbmMachine:
        """The kernels around the learnt parameters, in this dtype."""
        sigma = getattr(self, "sigma_", None)
        return RbmMachine.of(
            np.ascontiguousarray(self.components_, dtype),
            np.ascontiguousarray(self.intercept_visible_, dtype),
            np.ascontiguousarray(self.intercept_hidden_, dtype),
            None if sigma is None else np.ascontiguousarray(sigma, dtype),
            n_jobs=thread_number(self.n_jobs),
            device=self.device,
        )

    def _free_energy(self, rows: Any) -> NDArray[np.float64]:
        """F(x) of checked rows, on the host."""
        machine = self._machine(rows.dtype)
        if _device.is_device_array(rows):
            return machine.free_energy(rows)
        blocks = [machine.free_energy(dense_rows(rows[b], rows.dtype)) for b in _blocks(rows.shape[0])]
        return np.concatenate(blocks) if blocks else np.empty(0)

    def _energy(self, dtype: Any = np.float64) -> BernoulliRBMEnergy | GaussianRBMEnergy:
        """The energy of the learnt parameters, in this dtype."""
        weights = np.asarray(self.components_, dtype)
        visible_bias = np.asarray(self.intercept_visible_, dtype)
        hidden_bias = np.asarray(self.intercept_hidden_, dtype)
        sigma = getattr(self, "sigma_", None)
        if sigma is None:
            return BernoulliRBMEnergy(weights, visible_bias, hidden_bias)
        return GaussianRBMEnergy(weights, visible_bias, hidden_bias, np.asarray(sigma, dtype))

    def _fewest_units(self) -> int:
        """Units of the side that "exact" enumerates."""
        n_hidden, n_visible = self.components_.shape
        return int(n_hidden if hasattr(self, "sigma_") else min(n_hidden, n_visible))

    def _visible_rows(self, X: Any, *, reset: bool = False) -> Any:
        """X checked, float32 or float64, as an array or as CSR."""
        if not reset:
            check_is_fitted(self, "components_")
        if _device.is_device_array(X):
            return self._device_rows(X, reset)
        refuse_masked(X, "X")
        accept = "csr" if self._ACCEPTS_SPARSE else False
        return validate_data(self, X, reset=reset, accept_sparse=accept, dtype=(np.float64, np.float32))

    def _hidden_rows(self, h: Any) -> FloatArray:
        check_is_fitted(self, "components_")
        hidden = self._numbers(h, "h")
        if hidden.shape[1] != len(self.components_):
            raise ValueError(f"h: expected {len(self.components_)} columns, got shape {hidden.shape}")
        return hidden  # type: ignore[no-any-return]

    def _device_rows(self, X: Any, reset: bool) -> Any:
        """Rows on the device, checked there; learning takes its batches from the host."""
        rows = self._numbers(X, "X")
        if reset:
            return validate_data(self, on_host(rows), reset=True, dtype=(np.float64, np.float32))
        if rows.shape[0] == 0:
            raise ValueError(f"X: expected at least one row, got shape {rows.shape}")
        if rows.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {rows.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input"
            )
        return rows

    def _numbers(self, x: Any, name: str, dtype: Any = None) -> Any:
        """A matrix of finite numbers, where it is; on the device only where that is asked for."""
        if not _device.is_device_array(x):
            return float_array(x, name, ndim=2, dtype=dtype)
        if _check.device(self.device) == "cpu":
            _check.refuse_device_array(x, name)
        return _device.as_device_array(x, name, ndim=2, dtype=dtype)

    def _real(self, machine: RbmMachine, states: FloatArray | Bits, *, like: Any) -> FloatArray:
        """States as numbers, where `like` is."""
        numbers = unpack(states, machine.dtype, machine.n_jobs) if isinstance(states, Bits) else states
        return _device.give_back(numbers, like=like)  # type: ignore[no-any-return]

    def _given_back(self, result: NDArray[Any], *, like: Any) -> NDArray[Any]:
        """A result on the host, where `like` is."""
        if not _device.is_device_array(like):
            return result
        return _device.give_back(_device.kernels("cuda").to_device(result), like=like)  # type: ignore[no-any-return]

    def _next_seed(self, random_state: Any) -> int:
        """The seed of one call: a given one, or the next of the estimator's own sequence."""
        if random_state is not None:
            return seed_number(random_state)
        number = self._n_sampled
        self._n_sampled = number + 1
        return int(_rng.words(self._seed, _rng.STREAM_SEEDS, 0, 1, row=number)[0] >> np.uint64(1))

    def _next_draws(self, random_state: Any) -> Draws:
        return Draws(self._next_seed(random_state), _rng.STREAM_SAMPLES)

    # --- state

    def _get_state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        check_is_fitted(self, "components_")
        tensors = {name: getattr(self, name) for name in _PLAIN}
        if hasattr(self, "sigma_"):
            tensors |= {"sigma_": self.sigma_, "_log_sigma": self._log_sigma}
            tensors["_least_sigma"] = np.array([self._least_sigma])
        tensors.update({f"loss.{name}": value for name, value in self._loss_state.items()})
        tensors.update({f"velocity.{name}": value for name, value in self._velocities().items()})
        if self._centers is not None:
            tensors["centers.visible"], tensors["centers.hidden"] = self._centers
        values = {name: getattr(self, name) for name in _VALUES}
        values["n_features_in_"] = self.n_features_in_
        names = getattr(self, "feature_names_in_", None)
        values["feature_names_in_"] = None if names is None else list(names)
        return tensors, values

    def _set_state(self, tensors: dict[str, NDArray[Any]], values: dict[str, Any]) -> None:
        held = {name: np.array(value) for name, value in tensors.items()}
        n_hidden, n_visible = held["components_"].shape
        _require_shapes(held, n_hidden, n_visible)
        state: dict[str, Any] = {name: held[name] for name in _PLAIN}
        state.update({name: values[name] for name in _VALUES})
        if "sigma_" in held:
            state |= {"sigma_": held["sigma_"], "_log_sigma": held["_log_sigma"]}
            state["_least_sigma"] = float(held["_least_sigma"][0])
        state["_loss_state"] = _with_prefix(held, "loss.")
        state["_velocity"] = _with_prefix(held, "velocity.") or None
        centers = _with_prefix(held, "centers.")
        state["_centers"] = (centers["visible"], centers["hidden"]) if centers else None
        state["n_features_in_"] = values["n_features_in_"]
        if values["feature_names_in_"] is not None:
            state["feature_names_in_"] = np.array(values["feature_names_in_"], object)
        self.__dict__.update(state)

    @property
    def h_samples_(self) -> FloatArray:
        """Hidden states of the persistent chains, shape (n_chains, n_components)."""
        check_is_fitted(self, "components_")
        if "hidden" not in self._loss_state:
            raise AttributeError(f"h_samples_: loss={self._loss_name!r} keeps no chains")
        bits = Bits(self._loss_state["hidden"], len(self.components_))
        return unpack(bits, self.components_.dtype)

    @property
    def log_normalizer_(self) -> float:
        """log Z as noise-contrastive estimation has learnt it."""
        check_is_fitted(self, "components_")
        if "log_normalizer" not in self._loss_state:
            raise AttributeError(f"log_normalizer_: loss={self._loss_name!r} learns none")
        return float(self._loss_state["log_normalizer"][0])

    @property
    def swap_rates_(self) -> NDArray[np.float64]:
        """Share of the tried swaps that were made, of every pair of temperatures, the lowest first."""
        check_is_fitted(self, "components_")
        if "swaps_tried" not in self._loss_state:
            raise AttributeError(f"swap_rates_: loss={self._loss_name!r} has no temperatures")
        rates: NDArray[np.float64] = self._loss_state["swaps_made"] / np.maximum(
            self._loss_state["swaps_tried"], 1
        )
        return rates

    @property
    def _n_features_out(self) -> int:
        return len(self.components_)


def _require_shapes(held: dict[str, NDArray[Any]], n_hidden: int, n_visible: int) -> None:
    """ValueError where parts of a saved state do not belong together."""
    of_hidden, of_visible = (n_hidden,), (n_visible,)
    expected = {
        **dict.fromkeys(("intercept_hidden_", "_activity", "velocity.hidden_bias"), of_hidden),
        **dict.fromkeys(("centers.hidden", "loss.fast_hidden"), of_hidden),
        **dict.fromkeys(("intercept_visible_", "_mean", "_deviation", "velocity.visible_bias"), of_visible),
        **dict.fromkeys(("sigma_", "_log_sigma", "centers.visible", "loss.fast_visible"), of_visible),
        **dict.fromkeys(("loss.base_bias", "loss.base_sigma", "velocity.log_sigma"), of_visible),
    }
    wrong = [name for name, shape in expected.items() if name in held and held[name].shape != shape]
    wrong += [
        name
        for name in ("velocity.up", "loss.fast_up")
        if name in held and held[name].shape != padded_rows(n_visible, n_hidden, held[name].dtype).shape
    ]
    chains = held.get("loss.hidden")
    if chains is not None and (chains.shape[0] != -(-n_hidden // 32) or chains.dtype != np.uint32):
        wrong.append("loss.hidden")
    if wrong:
        raise ValueError(f"parts of the state do not belong to its weights: {', '.join(wrong)}")


def _placed(machine: RbmMachine, rows: Any) -> FloatArray | Bits:
    """Rows, sparse or not, on the machine's side."""
    return rows if _device.is_device_array(rows) else machine.place(dense_rows(rows, rows.dtype))


def _blocks(n_rows: int) -> list[slice]:
    return [slice(first, first + _BLOCK_ROWS) for first in range(0, n_rows, _BLOCK_ROWS)]


def _first_hidden(draws: Draws, n_steps: int) -> Draws:
    """Draws of the hidden states that `n_steps` sweeps begin from; the sweeps use the steps before."""
    return Draws(draws.seed, draws.stream + 1, draws.first_row, draws.step + n_steps - 1)


def _run_chains(machine: RbmMachine, hidden: Bits, n_steps: int, draws: Draws) -> FloatArray | Bits:
    """Visible states after n_steps times v ~ p(v | h), with h ~ p(h | v) between."""
    if n_steps > 1:
        machine.sweep(hidden, n_steps - 1, draws)
    last = Draws(draws.seed, draws.stream, draws.first_row, draws.step + n_steps - 1)
    return machine.draw_visible(hidden, last)


def _with_prefix(held: dict[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): value for name, value in held.items() if name.startswith(prefix)}
