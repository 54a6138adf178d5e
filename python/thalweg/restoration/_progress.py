"""How far a long work has got."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Callback = Callable[[float], object]


def check_callback(callback: Any) -> Callback | None:
    """A function to be told the share of the work that is done, or None."""
    if callback is not None and not callable(callback):
        raise TypeError(f"callback: expected a function or None, got {type(callback).__name__}")
    return callback  # type: ignore[no-any-return]


class Progress:
    """Tells `callback`, if there is one, the share of `total` units of work that is done."""

    def __init__(self, callback: Callback | None, total: float) -> None:
        self._callback, self._total, self._done = callback, total, 0.0

    def add(self, units: float) -> None:
        """So many units more are done."""
        self._done += units
        if self._callback is not None:
            self._callback(min(1.0, self._done / self._total))
