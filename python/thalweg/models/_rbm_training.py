"""The parameters of a machine while they are learnt, and what modifies the gradient on its way to them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import _rng
from .._base import BipartiteGradient, BipartiteLoss, Bits, Draws, Phase
from .._check import FloatArray
from .._native import cpu as _cpu
from ..energies import GaussianRBMEnergy
from ..inference.gibbs import RbmMachine, on_host, padded_rows


@dataclass
class RbmParameters:
    """Weights in both layouts of the kernels, rows padded, and biases.

    `up` is the transposed weights (n_visible, stride), `down` the weights (n_hidden, stride); `log_sigma` is
    None for Bernoulli visible units. Velocities have the same form, without use for `down`.
    """

    up: FloatArray
    down: FloatArray
    visible_bias: FloatArray
    hidden_bias: FloatArray
    log_sigma: FloatArray | None

    @classmethod
    def of(
        cls,
        weights: FloatArray,
        visible_bias: FloatArray,
        hidden_bias: FloatArray,
        log_sigma: FloatArray | None,
    ) -> RbmParameters:
        """Of weights (n_hidden, n_visible)."""
        n_hidden, n_visible = weights.shape
        made = cls.empty(n_visible, n_hidden, weights.dtype, log_sigma is not None)
        made.down[:, :n_visible] = weights
        _cpu.transpose(made.down[:, :n_visible], None, made.up, 1)
        made.visible_bias[:], made.hidden_bias[:] = visible_bias, hidden_bias
        made.log_sigma = None if log_sigma is None else log_sigma.copy()
        return made

    @classmethod
    def empty(cls, n_visible: int, n_hidden: int, dtype: Any, is_gaussian: bool) -> RbmParameters:
        """Zeros."""
        return cls(
            padded_rows(n_visible, n_hidden, dtype),
            padded_rows(n_hidden, n_visible, dtype),
            np.zeros(n_visible, dtype),
            np.zeros(n_hidden, dtype),
            np.zeros(n_visible, dtype) if is_gaussian else None,
        )

    def like(self) -> RbmParameters:
        """Zeros of this form."""
        return RbmParameters.empty(
            len(self.visible_bias), len(self.hidden_bias), self.up.dtype, self.log_sigma is not None
        )

    @property
    def weights(self) -> FloatArray:
        """(n_hidden, n_visible), a view."""
        return self.down[:, : len(self.visible_bias)]

    @property
    def sigma(self) -> FloatArray | None:
        return None if self.log_sigma is None else np.exp(self.log_sigma)

    def refresh_down(self, n_jobs: int) -> None:
        """Makes the weights anew from the transposed ones."""
        _cpu.transpose(self.up[:, : len(self.hidden_bias)], None, self.down, n_jobs)

    def machine(
        self, workshop: Workshop, modifier: GradientModifier, samples: Draws | None
    ) -> TrainingMachine:
        """The kernels around these parameters."""
        sigma = self.sigma
        return TrainingMachine(
            self.up if sigma is None else aligned_product(self.up, 1 / np.square(sigma)),
            self.down,
            self.visible_bias,
            self.hidden_bias,
            sigma,
            workspace=workshop.workspace,
            n_jobs=workshop.n_jobs,
            device=workshop.device,
            modifier=modifier,
            samples=samples,
        )

    def vectors(self) -> dict[str, FloatArray]:
        """What there is but `down`, by name, in memory of its own."""
        names = ("up", "visible_bias", "hidden_bias", "log_sigma")
        held = {name: getattr(self, name) for name in names}
        return {name: value.copy() for name, value in held.items() if value is not None}


@dataclass(frozen=True)
class Workshop:
    """What training holds while it lasts: the loss, parameters and velocities, and room for the next ones."""

    loss: BipartiteLoss
    workspace: Any
    n_jobs: int
    parameters: RbmParameters
    velocity: RbmParameters | None
    spare_parameters: RbmParameters
    spare_velocity: RbmParameters | None
    device: str = "cpu"

    def after_step(self) -> Workshop:
        """With what a step has written to the spare memory in the place of what it began from."""
        return replace(
            self,
            parameters=self.spare_parameters,
            velocity=self.spare_velocity,
            spare_parameters=self.parameters,
            spare_velocity=self.velocity,
        )


def aligned_product(rows: FloatArray, scale: FloatArray) -> FloatArray:
    """The rows, each times its scale, in a layout of their own."""
    made = padded_rows(len(rows), rows.shape[1], rows.dtype, zeros=False)  # a stride is its own stride
    np.multiply(rows, scale[:, None], out=made)
    return made


@dataclass
class GradientModifier:
    """Centering, and the pull of the hidden units' activity towards a target.

    Centering takes the statistics about `visible_center` and `hidden_center`, and moves the biases so that
    the centres stay what they are: with these, learning does not depend on which state of a unit is called 1.
    The pull adds cost (target - activity_k) to the gradient of hidden bias k, and times the batch's mean of
    the visible units to that of its weights.

    References
    ----------
    J. Melchior, A. Fischer, L. Wiskott, How to center deep Boltzmann machines, JMLR 17, 2016; G. Hinton, A
    practical guide to training restricted Boltzmann machines, 2010.
    """

    visible_center: FloatArray | None
    hidden_center: FloatArray | None
    activity: FloatArray
    sparsity_target: float | None
    sparsity_cost: float


class TrainingMachine(RbmMachine):
    """A machine whose statistics are those of training."""

    def __init__(
        self, *arrays: Any, modifier: GradientModifier, samples: Draws | None, **options: Any
    ) -> None:
        super().__init__(*arrays, **options)
        self._modifier = modifier
        self._samples = samples
        # The means of the data's phase, for the next step's centres and activity.
        self.visible_mean_of_data: FloatArray | None = None
        self.hidden_mean_of_data: FloatArray | None = None

    def sweep(
        self, hidden: Bits, n_sweeps: int, draws: Draws, **tempering: FloatArray | None
    ) -> tuple[FloatArray | Bits, FloatArray]:
        """As any machine's; but on a device what `statistics` takes next stays there, wherever chains are.

        Tempered chains trade places on the host.
        """
        placed = self.place(hidden)
        if placed is hidden or tempering.get("t") is not None:
            return super().sweep(hidden, n_sweeps, draws, **tempering)
        assert isinstance(placed, Bits)
        drawn = super().sweep(placed, n_sweeps, draws, **tempering)
        hidden.words[...] = on_host(placed).words
        return drawn

    def statistics(self, phases: list[Phase], extra: list[Phase] | None = None) -> BipartiteGradient:
        """The gradient, modified."""
        if not phases:
            return super().statistics(phases)
        m = self._modifier
        if m.visible_center is not None or m.sparsity_cost or self._samples is not None:
            phases = [Phase(on_host(p.visible), on_host(p.hidden), p.weight) for p in phases]
        data = phases[0]
        if m.visible_center is not None or m.sparsity_cost:
            assert isinstance(data.visible, np.ndarray)
            self.hidden_mean_of_data = data.hidden.mean(axis=0, dtype=np.float64).astype(self.dtype)
            self.visible_mean_of_data = data.visible.mean(axis=0, dtype=np.float64).astype(self.dtype)
        if self._samples is not None:
            phases = [self._sampled(p, i) for i, p in enumerate(phases)]
        extra, pull = self._pull()
        if m.visible_center is None or m.hidden_center is None:
            gradient = super().statistics(phases, extra)
        else:
            gradient = self._centred(phases, extra, m.visible_center, m.hidden_center)
        if pull is not None:
            gradient.hidden_bias += pull
        return gradient

    def _sampled(self, phase: Phase, number: int) -> Phase:
        """The phase with states in the place of hidden probabilities."""
        assert self._samples is not None
        seed, stream, step = self._samples.seed, self._samples.stream, self._samples.step
        u = _rng.uniform(seed, stream, step, phase.hidden.size, row=number).reshape(phase.hidden.shape)
        return Phase(phase.visible, (u < phase.hidden).astype(self.dtype), phase.weight)

    def _pull(self) -> tuple[list[Phase], FloatArray | None]:
        m = self._modifier
        if not m.sparsity_cost or m.sparsity_target is None:
            return [], None
        assert self.visible_mean_of_data is not None
        pull = (m.sparsity_cost * (m.sparsity_target - m.activity)).astype(self.dtype)
        one = np.ones(1, self.dtype)
        return [Phase(self.visible_mean_of_data[None], pull[None], one)], pull

    def _centred(
        self, phases: list[Phase], extra: list[Phase], visible_center: FloatArray, hidden_center: FloatArray
    ) -> BipartiteGradient:
        """With (v - m)(h - c)' in the place of v h'."""
        one = np.ones(1, self.dtype)
        centred = [Phase(p.visible, p.hidden - hidden_center, p.weight) for p in phases]
        of_hidden = sum((p.weight @ p.hidden for p in centred), np.zeros(self.n_hidden, self.dtype))
        about = Phase(visible_center[None], -of_hidden[None].astype(self.dtype), one)
        gradient = super().statistics(centred, [about, *extra])
        weights = gradient.up[:, : self.n_hidden]
        total = sum((p.weight.sum() for p in phases), self.dtype.type(0))
        scaled = visible_center if self.sigma is None else visible_center / np.square(self.sigma)
        gradient.hidden_bias = gradient.hidden_bias + total * hidden_center - scaled @ weights
        gradient.visible_bias = gradient.visible_bias - weights @ hidden_center
        return gradient

    def _log_sigma_gradient(self, phases: list[Phase]) -> FloatArray:
        m = self._modifier
        if m.hidden_center is not None:
            phases = [Phase(p.visible, p.hidden + m.hidden_center, p.weight) for p in phases]
        return super()._log_sigma_gradient(phases)

    def score_matching(self, X: FloatArray) -> BipartiteGradient:
        """The negative gradient of the score matching objective."""
        energy = GaussianRBMEnergy(
            self.down[:, : self.n_visible], self.visible_bias, self.hidden_bias, self.sigma
        )
        _, gradient = energy.score_matching(X)
        up = padded_rows(self.n_visible, self.n_hidden, self.dtype)
        _cpu.transpose(np.ascontiguousarray(-gradient["weights"]), None, up, self.n_jobs)
        return BipartiteGradient(
            up, -gradient["visible_bias"], -gradient["hidden_bias"], -gradient["log_sigma"]
        )
