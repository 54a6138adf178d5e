"""Chains that sample exp(-E) of real vectors, by moves of Langevin's and of Hamilton's dynamics."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from .. import _check, _rng
from .._base import Draws
from .._check import FloatArray, float_array, is_device_array, real_number, thread_number, whole_number
from .._device import as_device_array, give_back

_MOST_HALVINGS = 20


class SampledEnergy(Protocol):
    """What the samplers ask of an energy of real rows."""

    def value(self, X: FloatArray) -> tuple[FloatArray, Any]:
        """E(x) of every row, shape (n,), and a tape that is not used here."""
        ...

    def score_function(self, X: FloatArray) -> FloatArray:
        """-dE/dx, of the shape of `X`."""
        ...


@dataclass(frozen=True)
class Chains:
    """Where the chains of a run ended, and how they got there.

    Attributes
    ----------
    X : array of shape (n_chains, n_features)
        The last states, in the dtype of the first: NumPy's, or where those were on a device of their library.
    acceptance : float
        Mean probability of taking a move, over chains and the moves after the warm-up; 1 without a test.
    chain_acceptance : ndarray of float64, shape (n_chains,)
        The same chain by chain.
    step_size : float
        That of the moves after the warm-up.
    n_halvings : int
        How often the step was halved because a chain diverged.
    """

    X: Any
    acceptance: float
    chain_acceptance: NDArray[np.float64]
    step_size: float
    n_halvings: int


@dataclass(frozen=True)
class Trajectory:
    """A move: leapfrog steps of length `epsilon` from a random momentum, and Metropolis's test."""

    epsilon: float
    n_leapfrog: int = 1
    is_tested: bool = True
    hidden_weight: float = 1.0  # of an energy that has a native form


@dataclass(frozen=True)
class Moved:
    """What `move` did to each chain."""

    acceptance: NDArray[np.float64]  # mean probability
    diverged: NDArray[np.int64]  # trajectories that left the finite numbers, or soared, and were not taken


def native_form(energy: Any, dtype: Any, device: str = "cpu") -> Any:
    """The compiled form of `energy` in this dtype; None where it has none, ValueError for other devices."""
    make = getattr(energy, "native_density", None)
    if make is not None:
        return make(dtype, device)
    if device != "cpu":
        raise ValueError(
            f"device: {device!r} moves chains of energies with compiled kernels only, as DeepEnergy, got a "
            f"{type(energy).__name__}"
        )
    return None


def move(
    energy: SampledEnergy,
    X: FloatArray,
    kind: Trajectory,
    n_steps: int,
    draws: Draws,
    n_jobs: int = 0,
    device: str = "cpu",
) -> Moved:
    """Moves the chains `X` in place by `n_steps` trajectories; natively, where the energy can be."""
    native = native_form(energy, X.dtype, device)
    if native is None:
        return _move(energy, X, kind, n_steps, draws, n_jobs)
    return move_natively(native, X, kind, n_steps, draws, n_jobs)


def move_natively(
    native: Any, X: FloatArray, kind: Trajectory, n_steps: int, draws: Draws, n_jobs: int = 0
) -> Moved:
    """`move` of a compiled density."""
    acceptance = np.zeros(len(X))
    accepted, diverged = np.zeros(len(X), np.int64), np.zeros(len(X), np.int64)
    native.move(
        X,
        kind.epsilon,
        kind.n_leapfrog,
        kind.is_tested,
        n_steps,
        draws.seed & (2**64 - 1),
        draws.stream,
        draws.first_row,
        draws.step & (2**32 - 1),
        acceptance,
        accepted,
        diverged,
        kind.hidden_weight,
        n_jobs,
    )
    return Moved(acceptance, diverged)


def _move(
    energy: SampledEnergy, X: FloatArray, kind: Trajectory, n_steps: int, draws: Draws, n_jobs: int
) -> Moved:
    """The same by NumPy, from the same draws."""
    acceptance, diverged = np.zeros(len(X)), np.zeros(len(X), np.int64)
    score, value = energy.score_function(X), _energies(energy, X)
    for i in range(n_steps):
        key = (draws.seed, draws.stream, draws.step + i)
        momentum = _rng.normal_rows(*key, X.shape, X.dtype, draws.first_row, n_jobs)
        uniform = _rng.uniform_rows(key[0], key[1] + 1, key[2], len(X), draws.first_row)
        with np.errstate(over="ignore", invalid="ignore"):
            kinetic = _kinetic(momentum)
            x, psi, after = _trajectory(energy, X, score, momentum, kind)
            end_kinetic = _kinetic(momentum)
            rise = after - value
            if kind.is_tested:
                rise += end_kinetic - kinetic
        is_lost = ~np.isfinite(end_kinetic) | ~np.isfinite(rise) | (rise > 1000 + X.shape[1])
        diverged += is_lost
        probability = np.where(is_lost, 0.0, 1.0)
        if kind.is_tested:
            probability *= np.exp(-np.where(is_lost, 0.0, np.maximum(0.0, rise)))
        acceptance += probability
        taken = uniform < probability
        X[taken] = x[taken]
        score, value = np.where(taken[:, None], psi, score), np.where(taken, after, value)
    return Moved(acceptance / max(1, n_steps), diverged)


def _trajectory(
    energy: SampledEnergy, X: FloatArray, score: FloatArray, momentum: FloatArray, kind: Trajectory
) -> tuple[FloatArray, FloatArray, NDArray[np.float64]]:
    """Ends, their scores and energies, NaN of chains that are lost; `momentum` becomes that of the ends."""
    kick = X.dtype.type(0.5 * kind.epsilon)
    is_lost = np.zeros(len(X), bool)
    x, psi = X, score
    try:
        for _ in range(kind.n_leapfrog):
            momentum += kick * psi
            x = x + X.dtype.type(kind.epsilon) * momentum
            is_lost |= ~np.isfinite(x).all(axis=1)
            x = np.where(is_lost[:, None], X, x)  # energies refuse what is not finite
            psi = energy.score_function(x)
            momentum += kick * psi
        after = _energies(energy, x)
    except FloatingPointError:  # an energy says of all rows at once that it overflows
        return X, score, np.full(len(X), np.nan)
    return x, psi, np.where(is_lost, np.nan, after)


def _energies(energy: SampledEnergy, X: FloatArray) -> NDArray[np.float64]:
    return np.asarray(energy.value(X)[0], np.float64)


def _kinetic(momentum: FloatArray) -> NDArray[np.float64]:
    made: NDArray[np.float64] = 0.5 * np.einsum("nd,nd->n", momentum, momentum, dtype=np.float64)
    return made


class DualAveraging:
    """Steps whose acceptance approaches a target, on a logarithmic scale.

    References
    ----------
    M. D. Hoffman, A. Gelman, The No-U-Turn sampler, JMLR 15, 2014, section 3.2, with its constants.
    """

    def __init__(self, step: float, target: float) -> None:
        self.step = step
        self._target = target
        self._center = math.log(10 * step)
        self._error = 0.0
        self._mean = 0.0
        self._n = 0

    def update(self, acceptance: float) -> None:
        """Sets `step` for the next move, given how the last one was accepted."""
        self._n += 1
        weight = 1 / (self._n + 10)
        self._error += weight * (self._target - acceptance - self._error)
        logarithm = self._center - math.sqrt(self._n) / 0.05 * self._error
        share = self._n**-0.75
        self._mean += share * (logarithm - self._mean)
        self.step = math.exp(min(max(logarithm, -300.0), 300.0))

    @property
    def final(self) -> float:
        """The averaged step, for use after the adaptation."""
        return math.exp(self._mean) if self._n else self.step


@dataclass(frozen=True)
class _Sampler:
    """Runs of chains by trajectories."""

    step_size: float
    n_moves: int = field(default=1, kw_only=True)
    device: str = field(default="cpu", kw_only=True)

    needs: ClassVar[frozenset[str]] = frozenset({"value", "score"})  # of the energy
    _target: ClassVar[float | None] = None  # acceptance, where moves are tested

    def __post_init__(self) -> None:
        real_number(self.step_size, "step_size", above=0.0)
        whole_number(self.n_moves, "n_moves", minimum=1)
        _check.device(self.device)

    def run(
        self,
        energy: SampledEnergy,
        X: Any,
        n_steps: int,
        draws: Draws,
        *,
        warm_up: int = 0,
        n_jobs: int | None = None,
    ) -> Chains:
        """Moves chains, a row each.

        A move diverges where its energy or momentum is not finite at its end, or where H = E + ||p||^2 / 2,
        of moves without a test E, rises by more than 1000 + n_features: the step is too large.

        Parameters
        ----------
        energy : object with `value` and `score_function`
            Where it has `native_density(dtype, device)` the chains are moved by compiled code; with
            `device="cuda"` it must have that.
        X : array-like of shape (n_chains, n_features)
            First states; not written to. With `device="cuda"` also an array on the device.
        n_steps : int
            Moves after the warm-up.
        draws : Draws
            Move i of chain r draws from (seed, stream and the one after it, first_row + r, step + i), those
            of the warm-up first.
        warm_up : int, default=0
            Moves before; where moves are tested, the step adapts to the target acceptance meanwhile, and only
            then.
        n_jobs : int, default=None
            Threads of compiled code.

        Returns
        -------
        Chains

        Warns
        -----
        RuntimeWarning
            A chain diverged, but while the step adapted, and the moves were made again with half of it.

        Raises
        ------
        FloatingPointError
            A chain still diverged after 20 halvings.
        ValueError
            `device="cuda"`, and the energy has no kernels there.
        """
        states = self._states(X)
        n_steps, warm_up = whole_number(n_steps, "n_steps"), whole_number(warm_up, "warm_up")
        threads = thread_number(n_jobs)
        step_size, halvings = self.step_size, 0
        if warm_up and self._target is not None:
            step_size = self._adapted(energy, states, warm_up, draws, threads)
        elif warm_up:
            states, step_size, halvings, _ = self._moved(energy, states, step_size, warm_up, draws, threads)
        after = replace(draws, step=draws.step + warm_up)
        states, step_size, more, acceptance = self._moved(energy, states, step_size, n_steps, after, threads)
        halvings += more
        if halvings:
            warnings.warn(
                f"{type(self).__name__}: a chain diverged; step_size was halved {halvings} time(s), to "
                f"{step_size:.3g}",
                RuntimeWarning,
                stacklevel=2,
            )
        mean = float(acceptance.mean()) if len(states) else 1.0
        return Chains(give_back(states, like=X), mean, acceptance, step_size, halvings)

    def step(self, energy: SampledEnergy, X: Any, draws: Draws, *, n_jobs: int | None = None) -> FloatArray:
        """The chains `X` after `n_moves` moves, as in `run`; those of step s begin with draws n_moves s."""
        now = replace(draws, step=self.n_moves * draws.step)
        moved: FloatArray = self.run(energy, X, self.n_moves, now, n_jobs=n_jobs).X
        return moved

    def _states(self, X: Any) -> FloatArray:
        """A copy of `X`, on the device where it is to be moved there."""
        made: FloatArray
        if self.device == "cpu":
            made = float_array(X, "X", ndim=2).copy()
        else:
            made = as_device_array(X, "X", ndim=2)
            if is_device_array(X):
                made = made.copy()
        return made

    def _trajectory(self, step_size: float) -> Trajectory:
        raise NotImplementedError

    def _adapted(
        self, energy: SampledEnergy, X: FloatArray, n_steps: int, draws: Draws, n_jobs: int
    ) -> float:
        """Moves the chains and returns the step that they adapted to; divergent moves are refused ones."""
        assert self._target is not None
        adaptation = DualAveraging(self.step_size, self._target)
        for i in range(n_steps):
            kind = self._trajectory(adaptation.step)
            moved = move(energy, X, kind, 1, replace(draws, step=draws.step + i), n_jobs, self.device)
            adaptation.update(float(moved.acceptance.mean()) if len(X) else self._target)
        return adaptation.final

    def _moved(
        self, energy: SampledEnergy, X: FloatArray, step_size: float, n_steps: int, draws: Draws, n_jobs: int
    ) -> tuple[FloatArray, float, int, NDArray[np.float64]]:
        """The chains moved by a step at which none diverges, the step, its halvings, the acceptance."""
        for halvings in range(_MOST_HALVINGS + 1):
            states = X.copy()
            kind = self._trajectory(step_size)
            moved = move(energy, states, kind, n_steps, draws, n_jobs, self.device)
            if not moved.diverged.any():
                return states, step_size, halvings, moved.acceptance if n_steps else np.ones(len(X))
            if halvings < _MOST_HALVINGS:
                step_size /= 2
        raise FloatingPointError(
            f"{type(self).__name__}: chain {int(moved.diverged.argmax())} diverges even at step_size="
            f"{step_size:.3g}, after {_MOST_HALVINGS} halvings"
        )


class Langevin(_Sampler):
    r"""Langevin's dynamics without a test.

    .. math:: x \leftarrow x - \tfrac{\varepsilon}{2} \nabla E(x) + \sqrt{\varepsilon}\, n,
              \qquad n \sim N(0, I)

    What is sampled differs from exp(-E) by O(step_size).

    Parameters
    ----------
    step_size : float
        The epsilon above, > 0, in squared units of x.
    n_moves : int, default=1
        Moves that `step` makes.
    device : {"cpu", "cuda"}, default="cpu"
        Where the chains are moved. "cuda" needs an energy with kernels there, as `DeepEnergy`.

    References
    ----------
    G. O. Roberts, R. L. Tweedie, Exponential convergence of Langevin distributions, Bernoulli 2, 1996.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg._base import Draws
    >>> from thalweg.inference.langevin import Langevin
    >>> class Normal:
    ...     def value(self, X):
    ...         return 0.5 * (X**2).sum(axis=1), None
    ...     def score_function(self, X):
    ...         return -X
    >>> x = Langevin(0.1).run(Normal(), np.zeros((5000, 1)), 200, Draws(seed=0, stream=30)).X
    >>> bool(abs(x.var() - 1 / (1 - 0.1 / 4)) < 0.1)  # the bias of a normal is known
    True
    """

    def _trajectory(self, step_size: float) -> Trajectory:
        return Trajectory(math.sqrt(step_size), is_tested=False)


class MetropolisAdjustedLangevin(_Sampler):
    """Langevin's move, taken or left by Metropolis's test: exp(-E) is invariant.

    Parameters
    ----------
    step_size : float
        As of `Langevin`, > 0; the warm-up adapts it to an acceptance of 0.574.
    n_moves : int, default=1
        Moves that `step` makes.
    device : {"cpu", "cuda"}, default="cpu"
        Where the chains are moved. "cuda" needs an energy with kernels there, as `DeepEnergy`.

    References
    ----------
    G. O. Roberts, J. S. Rosenthal, Optimal scaling of discrete approximations to Langevin diffusions,
    J. R. Stat. Soc. B 60, 1998.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg._base import Draws
    >>> from thalweg.inference.langevin import MetropolisAdjustedLangevin
    >>> class Normal:
    ...     def value(self, X):
    ...         return 0.5 * (X**2).sum(axis=1), None
    ...     def score_function(self, X):
    ...         return -X
    >>> sampler = MetropolisAdjustedLangevin(0.01)
    >>> chains = sampler.run(Normal(), np.zeros((5000, 1)), 50, Draws(seed=0, stream=30), warm_up=100)
    >>> bool(abs(chains.X.var() - 1) < 0.1 and abs(chains.acceptance - 0.574) < 0.1)
    True
    """

    _target = 0.574

    def _trajectory(self, step_size: float) -> Trajectory:
        return Trajectory(math.sqrt(step_size))


@dataclass(frozen=True)
class HamiltonianMonteCarlo(_Sampler):
    """Leapfrog trajectories from normal momenta, their ends taken or left: exp(-E) is invariant.

    Parameters
    ----------
    step_size : float
        Of a leapfrog step, > 0, in units of x; the warm-up adapts it to an acceptance of 0.65.
    n_leapfrog : int, default=10
        Steps of a trajectory.
    n_moves : int, default=1
        Moves that `step` makes.
    device : {"cpu", "cuda"}, default="cpu"
        Where the chains are moved. "cuda" needs an energy with kernels there, as `DeepEnergy`.

    References
    ----------
    S. Duane, A. D. Kennedy, B. J. Pendleton, D. Roweth, Hybrid Monte Carlo, Phys. Lett. B 195, 1987.
    R. M. Neal, MCMC using Hamiltonian dynamics, Handbook of Markov Chain Monte Carlo, 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg._base import Draws
    >>> from thalweg.inference.langevin import HamiltonianMonteCarlo
    >>> class Normal:
    ...     def value(self, X):
    ...         return 0.5 * (X**2).sum(axis=1), None
    ...     def score_function(self, X):
    ...         return -X
    >>> sampler = HamiltonianMonteCarlo(0.3, 5)
    >>> chains = sampler.run(Normal(), np.zeros((5000, 2)), 20, Draws(seed=0, stream=30))
    >>> bool(np.abs(np.cov(chains.X.T) - np.eye(2)).max() < 0.1 and chains.acceptance > 0.9)
    True
    """

    n_leapfrog: int = 10

    _target = 0.65

    def __post_init__(self) -> None:
        super().__post_init__()
        whole_number(self.n_leapfrog, "n_leapfrog", minimum=1)

    def _trajectory(self, step_size: float) -> Trajectory:
        return Trajectory(step_size, self.n_leapfrog)
