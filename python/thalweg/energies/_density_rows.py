"""What the densities' methods take beside rows: one number a row, one direction a row, their own tapes."""

from __future__ import annotations

from typing import Any, TypeVar

from .._check import FloatArray, float_array, real_operand

Tape = TypeVar("Tape")


def tape_of(tape: Any, kind: type[Tape]) -> Tape:
    """`tape`, which must be of this kind."""
    if not isinstance(tape, kind):
        raise TypeError(f"tape: expected what the energy returned, got {type(tape).__name__}")
    return tape


def weights_of_rows(values: Any, name: str, rows: FloatArray) -> FloatArray:
    """`values` as one number for each row, in their dtype."""
    made = real_operand(values, name, dtype=rows.dtype)
    if made.shape != (len(rows),):
        raise ValueError(f"{name}: expected shape ({len(rows)},), got {made.shape}")
    return made


def directions_of_rows(V: Any, name: str, rows: FloatArray) -> FloatArray:
    """`V` as one direction for each row, in their dtype."""
    made = float_array(V, name, dtype=rows.dtype)
    if made.shape != rows.shape:
        raise ValueError(f"{name}: expected shape {rows.shape}, as X has, got {made.shape}")
    return made
