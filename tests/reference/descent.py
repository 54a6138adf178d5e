"""One step of gradient ascent with momentum and weight decay, in float64."""

from __future__ import annotations

from typing import Any


def momentum_step(
    parameter: Any, velocity: Any, gradient: Any, rate: float, momentum: float, decay: float
) -> Any:
    """The next parameter and the next velocity; a velocity of 0 makes the step plain."""
    next_velocity = momentum * velocity + rate * (gradient - decay * parameter)
    return parameter + next_velocity, next_velocity
