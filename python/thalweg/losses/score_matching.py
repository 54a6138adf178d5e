"""Score matching: the model's score against the data's, without a normaliser."""

from __future__ import annotations

from .._base import BipartiteGradient, BipartiteMachine, Draws, LossState
from .._check import FloatArray


class ScoreMatching:
    """E[1/2 ||psi||^2 + div psi] is to become small, psi(x) = d log p(x) / dx; in closed form.

    Needs of the machine: `score_matching`, the objective with its gradient.

    References
    ----------
    A. Hyvarinen, Estimation of non-normalized statistical models by score matching, JMLR 6, 2005.
    """

    needs = ("score_matching",)

    def start(self, machine: BipartiteMachine, mean: FloatArray, deviation: FloatArray) -> LossState:
        """Nothing is kept from step to step."""
        return {}

    def gradient(
        self, machine: BipartiteMachine, X: FloatArray, state: LossState, draws: Draws, rate: float
    ) -> tuple[BipartiteGradient, LossState]:
        """The objective's negative gradient."""
        return machine.score_matching(X), {}
