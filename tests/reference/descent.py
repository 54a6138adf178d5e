"""One step of gradient ascent with momentum and weight decay, and one of Adam, in float64."""

from __future__ import annotations

from typing import Any


def momentum_step(
    parameter: Any, velocity: Any, gradient: Any, rate: float, momentum: float, decay: float
) -> Any:
    """The next parameter and the next velocity; a velocity of 0 makes the step plain."""
    next_velocity = momentum * velocity + rate * (gradient - decay * parameter)
    return parameter + next_velocity, next_velocity


def adam_step(
    parameter: Any,
    mean: Any,
    square: Any,
    gradient: Any,
    rate: float,
    first_decay: float,
    second_decay: float,
    epsilon: float,
    step: int,
) -> Any:
    """The next parameter and the next averages of the gradient and of its square."""
    mean = first_decay * mean + (1 - first_decay) * gradient
    square = second_decay * square + (1 - second_decay) * gradient**2
    length = rate * mean / (1 - first_decay**step)
    return parameter - length / ((square / (1 - second_decay**step)) ** 0.5 + epsilon), mean, square
