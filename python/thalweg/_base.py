"""What the summands of a model ask of each other: energies, inference, losses, and a state that can be saved.

`energies`, `inference` and `losses` never import each other; they meet in `models` through these protocols.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[Any]  # float32 or float64


@runtime_checkable
class LatentEnergy(Protocol):
    """An energy E(x, z; W) of an observation x and a latent z, one pair per row."""

    def value(self, X: FloatArray, Z: FloatArray) -> NDArray[np.float64]:
        """E(x, z) of every row, shape (n_samples,)."""
        ...

    def gradient(self, X: FloatArray, Z: FloatArray) -> FloatArray:
        """The gradient in z of the smooth part of E, shape of `Z`."""
        ...


@runtime_checkable
class Inference(Protocol):
    """Finds argmin_z E(x, z) for every row x of a batch."""

    def encode(
        self, X: FloatArray, alpha: Any, *, init: FloatArray | None = None, out: FloatArray | None = None
    ) -> tuple[FloatArray, Any]:
        """The codes, shape (n_samples, n_components), and how well each row was solved."""
        ...


@runtime_checkable
class Network(Protocol):
    """A differentiable function G(x; W), whose outputs are read by energies of decisions and of densities."""

    @property
    def parameters(self) -> dict[str, FloatArray]:
        """W by name: the arrays themselves, float32 or float64, all of one dtype."""
        ...

    @property
    def n_outputs(self) -> int:
        """The length of G(x)."""
        ...

    def forward(self, X: FloatArray) -> tuple[FloatArray, Any]:
        """G(x) of every row, shape (n_samples, n_outputs), and a tape for `pullback`."""
        ...

    def pullback(
        self, tape: Any, gradient: FloatArray, *, inputs: bool = False
    ) -> tuple[dict[str, FloatArray], FloatArray | None]:
        """From the gradient in the outputs to that in each parameter, summed over the rows.

        And, asked for, in `X`, of its shape.
        """
        ...

    def with_parameters(self, parameters: dict[str, FloatArray]) -> Network:
        """The same architecture with these arrays, which are not copied."""
        ...


@runtime_checkable
class Distance(Protocol):
    """D(a, b) of two vectors, as between an answer and what a network gives."""

    def value(self, a: FloatArray, b: FloatArray) -> FloatArray:
        """D of rows a and b (..., n_features) whose leading axes broadcast, shape (...), in their dtype."""
        ...

    def gradients(self, a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The gradients of every pair's D in a and in b, each (..., n_features)."""
        ...

    def nearest_outside(self, center: FloatArray, point: FloatArray, radius: float) -> FloatArray:
        """By row the y nearest to `point` whose Euclidean distance from `center` is at least `radius`."""
        ...


@runtime_checkable
class PersistableState(Protocol):
    """A model whose state, arrays and JSON values, suffices to predict and to go on learning exactly."""

    def _get_state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Tensors by name, and values that JSON can hold by name."""
        ...

    def _set_state(self, tensors: dict[str, NDArray[Any]], values: dict[str, Any]) -> None:
        """The inverse of `_get_state`, on an estimator with the same parameters."""
        ...


@dataclass(frozen=True, eq=False)
class FactorStructure:
    """Which variables a factor graph has and which of them each factor reads; the energies come beside it.

    Factor f has kind `kinds[f]` and the scope `scope_variables[scope_starts[f]:scope_starts[f + 1]]`. How
    many energies a kind has, and in what order, is written at `thalweg._factors.FactorKind`; the energies of
    all factors lie in one flat array, factor after factor.

    Attributes
    ----------
    cardinalities : ndarray of int64, shape (n_variables,)
        Numbers of states, at least 1.
    kinds : ndarray of int64, shape (n_factors,)
    scope_starts : ndarray of int64, shape (n_factors + 1,)
    scope_variables : ndarray of int64, shape (scope_starts[-1],)
    """

    cardinalities: NDArray[np.int64]
    kinds: NDArray[np.int64]
    scope_starts: NDArray[np.int64]
    scope_variables: NDArray[np.int64]


@runtime_checkable
class FactorEnergy(Protocol):
    """An energy that is a sum of factors: what inference asks of a graph."""

    @property
    def structure(self) -> FactorStructure:
        """Variables and scopes."""
        ...

    @property
    def energies(self) -> FloatArray:
        """The flat array of the factors' energies, shape (n_energies,); +inf forbids."""
        ...

    @property
    def constant(self) -> float:
        """What the energy of every configuration has besides."""
        ...

    @property
    def names(self) -> tuple[Hashable, ...]:
        """The variables' names; 0, 1, ... where they were given none."""
        ...


@dataclass(frozen=True)
class Draws:
    """Which random numbers a call draws: element e of row r from (seed, stream, first_row + r, step, e)."""

    seed: int
    stream: int
    first_row: int = 0
    step: int = 0


@dataclass(frozen=True)
class Bits:
    """Rows of states of 0 and 1 by 32 units to a word; `words` is (n_words, n_rows)."""

    words: NDArray[np.uint32]
    units: int

    def __len__(self) -> int:
        return int(self.words.shape[1])

    def copy(self) -> Bits:
        return Bits(self.words.copy(), self.units)


@dataclass(frozen=True)
class Phase:
    """Rows of states of both sides, each with its weight in a sum of gradients."""

    visible: FloatArray | Bits
    hidden: FloatArray
    weight: FloatArray


@dataclass
class BipartiteGradient:
    """Derivatives of an objective that is to grow; `up` is that of the transposed weights, rows padded."""

    up: FloatArray
    visible_bias: FloatArray
    hidden_bias: FloatArray
    log_sigma: FloatArray | None = None


class SweepingMachine(Protocol):
    """What moves chains."""

    def sweep(
        self,
        hidden: Bits,
        n_sweeps: int,
        draws: Draws,
        *,
        t: FloatArray | None = None,
        base_bias: FloatArray | None = None,
        base_sigma: FloatArray | None = None,
    ) -> tuple[FloatArray | Bits, FloatArray]:
        """Moves the chains in place; the last visible states, and p(h = 1 | v) there."""
        ...


class BipartiteMachine(SweepingMachine, Protocol):
    """A bipartite energy with its conditional distributions: what losses and samplers ask of it.

    The base model has no hidden units: independent Bernoulli units of log-odds `base_bias`, or Gaussian units
    of mean `base_bias` and deviation `base_sigma`.
    """

    n_visible: int
    n_hidden: int
    dtype: np.dtype[Any]
    is_gaussian: bool

    def hidden(self, visible: FloatArray | Bits) -> FloatArray:
        """p(h = 1 | v), shape (n, n_hidden)."""
        ...

    def draw_hidden(self, visible: FloatArray | Bits, draws: Draws) -> tuple[FloatArray, Bits]:
        """p(h = 1 | v), and states drawn with it."""
        ...

    def statistics(self, phases: list[Phase]) -> BipartiteGradient:
        """The sum over all rows of weight times the gradient of -E(v, h)."""
        ...

    def shifted(self, up: FloatArray, visible_bias: FloatArray, hidden_bias: FloatArray) -> SweepingMachine:
        """The machine with these added to its transposed weights and its biases."""
        ...

    def free_energy(self, visible: FloatArray | Bits) -> NDArray[np.float64]:
        """-log sum_h exp(-E(v, h)), shape (n,)."""
        ...

    def joint_energy(self, visible: FloatArray | Bits, hidden: Bits) -> NDArray[np.float64]:
        """E(v, h), shape (n,)."""
        ...

    def score_matching(self, X: FloatArray) -> BipartiteGradient:
        """The negative gradient of the score matching objective."""
        ...

    def log_partition_without_weights(self) -> float:
        """log Z of the machine whose weights are zero."""
        ...

    def base_model(self, mean: FloatArray, deviation: FloatArray) -> tuple[FloatArray, FloatArray]:
        """`base_bias` and `base_sigma` for features of this mean and deviation."""
        ...

    def log_base(
        self,
        visible: FloatArray | Bits,
        base_bias: FloatArray,
        base_sigma: FloatArray | None,
        *,
        normalized: bool = False,
    ) -> NDArray[np.float64]:
        """The log density of the base model, shape (n,)."""
        ...

    def draw_base(
        self, n: int, base_bias: FloatArray, base_sigma: FloatArray | None, draws: Draws
    ) -> FloatArray:
        """Rows drawn from the base model, shape (n, n_visible)."""
        ...


LossState = dict[str, NDArray[Any]]  # what a loss keeps from step to step


class BipartiteLoss(Protocol):
    """A loss of a bipartite machine: the gradient that a batch gives, and what is kept for the next one."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The methods of the machine that it calls."""
        ...

    def start(self, machine: BipartiteMachine, mean: FloatArray, deviation: FloatArray) -> LossState:
        """The state before the first step; mean and deviation are the features' own."""
        ...

    def gradient(
        self, machine: BipartiteMachine, X: FloatArray, state: LossState, draws: Draws, rate: float
    ) -> tuple[BipartiteGradient, LossState]:
        """Ascent direction of the batch, and the next state; `state` is not changed.

        `draws.step` counts the steps made before, `draws.first_row` the rows seen; `rate` is the step's
        learning rate.
        """
        ...


# What a loss of answers says of its minima: that right answers lie below the others by a margin ("positive"),
# that they may lie level with them ("zero"), or nothing ("none").
Guarantee = Literal["none", "zero", "positive"]

# What parameters can do to the energies of answers. "fixed": the least one over all answers is the same
# whatever the parameters are, as of D(y, G(x)); "learned": all can become equal, as of a matcher;
# "unbounded": they can fall without end, as those of a linear classifier.
AnswerSide = Literal["fixed", "learned", "unbounded"]

Parameters = dict[str, FloatArray]  # by name; of one dtype, float32 or float64


class AnswerLoss(Protocol):
    """A loss of the energies that a model gives to answers, the right one and the others."""

    @property
    def guarantee(self) -> Guarantee:
        """What its minima guarantee."""
        ...

    @property
    def needs(self) -> str:
        """ "pair": the energies of the right and the most offending answer; "all": those of all answers."""
        ...

    def value_and_gradient(self, energies: Any, right: Any) -> tuple[FloatArray, FloatArray]:
        """Losses (n,) of energies (n, n_answers) with the right answer's column, and their gradients."""
        ...


class AnswerEnergy(Protocol):
    """E(x, y; W), or E(x, y, z; W), for every y of a finite set: what `EnergyClassifier` learns.

    A user's own energy is any object with these members; it is checked before learning begins.
    """

    @property
    def parameters(self) -> Parameters:
        """W by name: the arrays themselves."""
        ...

    @property
    def n_answers(self) -> int:
        """How many answers there are."""
        ...

    @property
    def answer_side(self) -> AnswerSide:
        """What W can do to the energies of answers."""
        ...

    def energies(self, X: FloatArray) -> tuple[FloatArray, Any]:
        """Energies of rows X, and a tape: whatever `pullback` needs.

        Of shape (n, n_answers), with latent states (n, n_answers, n_latents), of the dtype of X; +inf
        forbids.
        """
        ...

    def pullback(
        self, tape: Any, gradient: FloatArray, *, inputs: bool = False
    ) -> tuple[Parameters, FloatArray | None]:
        """The gradients of sum(gradient * energies) in every parameter, and where asked for in X."""
        ...

    def with_parameters(self, parameters: Parameters) -> AnswerEnergy:
        """The same architecture with these arrays, which are not copied."""
        ...


class PairEnergy(Protocol):
    """E(x, y; W), or E(x, y, z; W), of a continuous y, one pair a row: what `EnergyRegressor` learns.

    A user's own energy is any object with these members; it is checked before learning begins.
    """

    @property
    def parameters(self) -> Parameters:
        """W by name: the arrays themselves."""
        ...

    @property
    def answer_side(self) -> AnswerSide:
        """What W can do to the energies of answers."""
        ...

    @property
    def gradients(self) -> frozenset[str]:
        """Which of "answers", "latents" and "inputs" `pullback` gives beside "parameters"."""
        ...

    @property
    def n_latents(self) -> int:
        """Elements of z; 0 where there is none."""
        ...

    def value(self, X: FloatArray, Y: FloatArray, Z: FloatArray | None = None) -> tuple[FloatArray, Any]:
        """Energies (n,) of rows X (n, n_inputs) with answers Y (n, n_outputs) and latents Z, and a tape."""
        ...

    def pullback(self, tape: Any, gradient: FloatArray, wrt: tuple[str, ...]) -> dict[str, Any]:
        """By each name of `wrt`, "parameters" among them, the gradient of sum(gradient * energies)."""
        ...

    def with_parameters(self, parameters: Parameters) -> PairEnergy:
        """The same architecture with these arrays, which are not copied."""
        ...


@runtime_checkable
class DensityEnergy(Protocol):
    """An unnormalised density exp(-E(x; W)) of real rows x.

    Which of the abilities below an energy has, `offers` says by name: "value" (`value`, `pullback`), "score"
    (`score_function`), "pull_score" (`score`, `pull_score`), "curvature" (`curvature`, `pull_curvature`) and
    "score_matching". Where one is missing its methods may raise ValueError, or not be there.
    """

    @property
    def parameters(self) -> Parameters:
        """W by name: the arrays themselves, float32 or float64, all of one dtype."""
        ...

    @property
    def n_features(self) -> int:
        """The length of x."""
        ...

    @property
    def offers(self) -> frozenset[str]:
        """Which of the abilities it has, by their names."""
        ...

    def with_parameters(self, parameters: Parameters) -> DensityEnergy:
        """The same architecture with these arrays, which are not copied."""
        ...

    def value(self, X: FloatArray) -> tuple[FloatArray, Any]:
        """E(x) of every row, (n,), in the dtype of `X` but summed in float64; and a tape for `pullback`."""
        ...

    def pullback(self, tape: Any, gradient: FloatArray) -> Parameters:
        """The gradient of sum_n gradient_n E(x_n) in every parameter."""
        ...

    def score_function(self, X: FloatArray) -> FloatArray:
        """psi(x) = -dE/dx = d log p / dx of every row, of the shape of `X`."""
        ...

    def score(self, X: FloatArray) -> tuple[FloatArray, Any]:
        """psi, and a tape for `pull_score`."""
        ...

    def pull_score(self, tape: Any, V: FloatArray) -> Parameters:
        """The gradient of sum_n v_n . psi(x_n) in every parameter, `V` (n, n_features) being constant."""
        ...

    def curvature(self, X: FloatArray, V: FloatArray) -> tuple[FloatArray, FloatArray, Any]:
        """v' (d psi/dx) v of every row, (n,); psi, of the shape of `X`; and a tape for `pull_curvature`."""
        ...

    def pull_curvature(self, tape: Any, weight: FloatArray, of_score: FloatArray) -> Parameters:
        """The gradient of sum_n weight_n v_n' (d psi/dx_n) v_n + of_score_n . psi(x_n) in every parameter."""
        ...

    def score_matching(self, X: FloatArray) -> tuple[FloatArray, Parameters]:
        """1/2 ||psi||^2 + div psi of every row, (n,), and the gradient of their sum in every parameter."""
        ...


class DensityLoss(Protocol):
    """A loss of an unnormalised density, the mean over the rows of a batch; it is to be made small."""

    @property
    def needs(self) -> frozenset[str]:
        """The abilities of the energy that it uses; models refuse at the door where one is missing."""
        ...

    def first_parameters(self, energy: DensityEnergy, X: FloatArray) -> Parameters:
        """What is learnt beside the energy's own parameters, as it is before the first step; {} mostly."""
        ...

    def value_and_gradient(
        self, energy: DensityEnergy, own: Parameters, X: FloatArray, draws: Draws
    ) -> tuple[float, Parameters, Parameters]:
        """The loss, and its gradients in the energy's parameters and in `own`.

        Of `draws` count `seed`, `step` (the number of the batch so far) and `first_row` (how many rows were
        seen before); the loss names its streams itself.
        """
        ...


class NoiseDistribution(Protocol):
    """A normalised density that can be sampled and evaluated.

    Where it has a `sample_with_log_density` of the arguments of `sample`, losses call that.
    """

    def sample(self, n: int, draws: Draws, dtype: Any) -> FloatArray:
        """Rows (n, n_features) of this dtype."""
        ...

    def log_density(self, X: FloatArray) -> NDArray[np.float64]:
        """log p(x) of every row, (n,); -inf where the density is zero."""
        ...


class LatentDensity(Protocol):
    """An unnormalised density phi(x, z; W) of rows x and latents z; it offers "log_joint"."""

    @property
    def parameters(self) -> Parameters:
        """W by name: the arrays themselves, float32 or float64, all of one dtype."""
        ...

    @property
    def offers(self) -> frozenset[str]:
        """ "log_joint", and what else it has of a `DensityEnergy`."""
        ...

    def with_parameters(self, parameters: Parameters) -> LatentDensity:
        """The same architecture with these arrays, which are not copied."""
        ...

    def log_joint(self, X: FloatArray, Z: FloatArray) -> tuple[FloatArray, Any]:
        """log phi(x, z) of every pair of rows, (n,); and a tape for `pull_log_joint`."""
        ...

    def pull_log_joint(self, tape: Any, gradient: FloatArray) -> tuple[Parameters, FloatArray | None]:
        """The gradient of sum_n gradient_n log phi(x_n, z_n) in every parameter, and in `Z`.

        The latter is None where z is discrete.
        """
        ...


class Posterior(Protocol):
    """A normalised distribution q(z | x; W) of latents given rows."""

    @property
    def parameters(self) -> Parameters:
        """W by name: the arrays themselves, float32 or float64, all of one dtype."""
        ...

    @property
    def is_enumerated(self) -> bool:
        """Whether `latents` gives every z there is, rather than samples."""
        ...

    def with_parameters(self, parameters: Parameters) -> Posterior:
        """The same architecture with these arrays, which are not copied."""
        ...

    def latents(self, X: FloatArray, n_latents: int, draws: Draws) -> tuple[FloatArray, FloatArray, Any]:
        """Z (n, n_latents, n_z), log q (n, n_latents) and a tape; row i draws as `draws.first_row` + i.

        Enumerated, the second axis has all of them, whatever `n_latents` is.
        """
        ...

    def pullback(self, tape: Any, of_log_q: FloatArray, of_Z: FloatArray | None) -> Parameters:
        """From gradients in log q and in Z to that in every parameter, the random numbers held."""
        ...
