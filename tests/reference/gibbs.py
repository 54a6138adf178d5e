"""Gibbs sampling of restricted Boltzmann machines in float64, with a Philox 4x32-10 of its own.

Machines are the dicts of `reference.rbm`; the base model of tempered ones is a dict of the same kind with
visible_bias and, for Gaussian visible units, sigma. A draw has seed, stream, first_row and step: element e of
row r comes from the words of (seed, stream, first_row + r, step).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference.rbm import sigmoid

LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)


# --- random numbers


def philox(counter: Any, key: Any) -> Any:
    """The bijection: counters (..., 4) of 32-bit words and a key of two to words (..., 4)."""
    c0, c1, c2, c3 = np.moveaxis(np.asarray(counter, np.uint64), -1, 0)
    k0, k1 = (int(k) for k in key)
    for _ in range(10):
        product0, product1 = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0 = (product1 >> HALF) ^ c1 ^ np.uint64(k0)
        c2 = (product0 >> HALF) ^ c3 ^ np.uint64(k1)
        c1, c3 = product1 & LOW, product0 & LOW
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return np.stack([c0, c1, c2, c3], axis=-1)


def words(draw: Any, n_rows: int, n_words: int) -> Any:
    """The first words of n_rows sequences, (n_rows, n_words)."""
    n_blocks = -(-n_words // 4)
    row = np.uint64(draw.first_row) + np.arange(n_rows, dtype=np.uint64)
    counter = np.empty((n_rows, n_blocks, 4), np.uint64)
    counter[..., 0] = np.arange(n_blocks)
    counter[..., 1] = (row & LOW)[:, None]
    counter[..., 2] = draw.step % 2**32
    counter[..., 3] = (np.uint64(draw.stream << 16) | row >> HALF)[:, None]
    blocks = philox(counter, (draw.seed % 2**32, draw.seed >> 32))
    return blocks.reshape(n_rows, 4 * n_blocks)[:, :n_words]


def uniforms(draw: Any, n_rows: int, n_units: int, dtype: Any = np.float64) -> Any:
    """In [0, 1): 24 bits of a word each for float32, 53 bits of two for float64."""
    if np.dtype(dtype) == np.float32:
        return (words(draw, n_rows, n_units) >> np.uint64(8)) * 2.0**-24
    pairs = words(draw, n_rows, 2 * n_units)
    return ((pairs[:, 0::2] << HALF | pairs[:, 1::2]) >> np.uint64(11)) * 2.0**-53


def normals(draw: Any, n_rows: int, n_units: int, dtype: Any = np.float64) -> Any:
    """Box and Muller: each pair of uniforms is a radius and an angle."""
    n_pairs = -(-n_units // 2)
    if np.dtype(dtype) == np.float32:
        pairs = words(draw, n_rows, 2 * n_pairs)
        # In (0, 1], as single precision rounds it.
        u = pairs[:, 0::2].astype(np.float32) * np.float32(2.0**-32) + np.float32(2.0**-33)
        radius = np.sqrt(-2 * np.log(u.astype(np.float64)))
        angle = 2 * np.pi * (pairs[:, 1::2] >> np.uint64(8)) * 2.0**-24
    else:
        u = uniforms(draw, n_rows, 2 * n_pairs)
        radius = np.sqrt(-2 * np.log1p(-u[:, 0::2]))
        angle = 2 * np.pi * u[:, 1::2]
    both = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    return both.reshape(n_rows, 2 * n_pairs)[:, :n_units]


# --- states as bits


def pack(states: Any) -> Any:
    """Unit j of row r is bit j % 32 of word (j // 32, r)."""
    n_rows, n_units = states.shape
    out = np.zeros((-(-n_units // 32), n_rows), np.uint32)
    for j in range(n_units):
        out[j // 32] |= (states[:, j] != 0).astype(np.uint32) << np.uint32(j % 32)
    return out


def unpack(bits: Any, n_units: int) -> Any:
    unit = np.arange(n_units)
    return (bits[unit // 32] >> (unit % 32).astype(np.uint32)[:, None] & np.uint32(1)).T.astype(np.float64)


# --- one side given the other


def hidden_logits(X: Any, machine: Any, t: Any = 1.0) -> Any:
    """t (W v + b), with v / sigma^2 in the place of v for Gaussian units; t is a number, or one a row."""
    scaled = X / machine["sigma"] ** 2 if "sigma" in machine else X
    return _column(t) * (scaled @ machine["weights"].T + machine["hidden_bias"])


def visible_logits(H: Any, machine: Any, t: Any = 1.0, base: Any = None) -> Any:
    """t (W' h + a) + (1 - t) a0 of Bernoulli visible units."""
    base_bias = 0.0 if base is None else base["visible_bias"]
    return _column(t) * (H @ machine["weights"] + machine["visible_bias"]) + (1 - _column(t)) * base_bias


def visible_normal(H: Any, machine: Any, t: Any = 1.0, base: Any = None) -> Any:
    """Mean and deviation of Gaussian visible units."""
    base_bias, base_sigma = (0.0, 1.0) if base is None else (base["visible_bias"], base["sigma"])
    own, other = _column(t) / machine["sigma"] ** 2, (1 - _column(t)) / base_sigma**2
    mean = (own * (machine["visible_bias"] + H @ machine["weights"]) + other * base_bias) / (own + other)
    return mean, np.broadcast_to(1 / np.sqrt(own + other), mean.shape)


def _column(t: Any) -> Any:
    return np.reshape(t, (-1, 1))


def draw_hidden(X: Any, machine: Any, draw: Any, t: Any = 1.0, dtype: Any = np.float64) -> Any:
    """p(h = 1 | v), and states: u < p."""
    mean = sigmoid(hidden_logits(X, machine, t))
    return mean, (uniforms(draw, *mean.shape, dtype) < mean).astype(np.float64)


def draw_visible(
    H: Any, machine: Any, draw: Any, t: Any = 1.0, base: Any = None, dtype: Any = np.float64
) -> Any:
    """E[v | h], and states: u < p, or mean + deviation * normal."""
    if "sigma" in machine:
        mean, deviation = visible_normal(H, machine, t, base)
        return mean, mean + deviation * normals(draw, *mean.shape, dtype)
    mean = sigmoid(visible_logits(H, machine, t, base))
    return mean, (uniforms(draw, *mean.shape, dtype) < mean).astype(np.float64)


def sweeps(
    H: Any, machine: Any, draw: Any, n_sweeps: int, t: Any = 1.0, base: Any = None, dtype: Any = np.float64
) -> Any:
    """v, h and p(h = 1 | v) after n_sweeps of v ~ p(v | h), h ~ p(h | v); h draws from the next stream."""
    for i in range(n_sweeps):
        _, V = draw_visible(H, machine, moved(draw, step=i), t, base, dtype)
        mean, H = draw_hidden(V, machine, moved(draw, step=i, stream=1), t, dtype)
    return V, H, mean


def moved(draw: Any, **by: int) -> Any:
    """The draw with these added to its fields."""
    fields = {name: getattr(draw, name) for name in ("seed", "stream", "first_row", "step")}
    return type(draw)(**{name: value + by.get(name, 0) for name, value in fields.items()})


def tempered(machine: Any, t: float, base: Any = None) -> Any:
    """The machine whose joint density is base^(1 - t) machine^t but for a constant, 0 < t <= 1."""
    a0 = np.zeros_like(machine["visible_bias"]) if base is None else base["visible_bias"]
    if "sigma" not in machine:
        return {
            "weights": t * machine["weights"],
            "visible_bias": t * machine["visible_bias"] + (1 - t) * a0,
            "hidden_bias": t * machine["hidden_bias"],
        }
    own = t / machine["sigma"] ** 2
    other = (1 - t) / (np.ones_like(a0) if base is None else base["sigma"]) ** 2
    return {
        "weights": machine["weights"] * own / (own + other),
        "visible_bias": (own * machine["visible_bias"] + other * a0) / (own + other),
        "hidden_bias": t * machine["hidden_bias"],
        "sigma": 1 / np.sqrt(own + other),
    }


# --- the gradient's statistics


def phase_statistics(phases: Any, n_extra: int = 0, scale: Any = None) -> Any:
    """Sums of weight v h' (V, H), its rows times scale, and of weight v and weight h over (v, h, weight).

    The last n_extra phases count in the first sum alone.
    """
    up = sum(weight * np.outer(v, h) for phase in phases for v, h, weight in zip(*phase))
    counted = phases[: len(phases) - n_extra]
    visible = sum(weight * v for V, _, weights in counted for v, weight in zip(V, weights))
    hidden = sum(weight * h for _, H, weights in counted for h, weight in zip(H, weights))
    return (up if scale is None else up * scale[:, None]), visible, hidden
