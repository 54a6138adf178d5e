"""Random numbers by Philox 4x32-10: functions of what they are for, (seed, stream, row, step, element).

Whoever draws (models, preprocessing) names a stream; batches, threads and restarts then change nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg._native import cpu as _cpu

# Streams in use. A new user of random numbers takes the next number.
STREAM_BATCH_ORDER = 1
STREAM_INITIAL_ATOMS = 2
STREAM_PATCHES = 3
STREAM_INITIAL_WEIGHTS = 4
STREAM_NOISE = 5
STREAM_SWAPS = 6
STREAM_DATA_HIDDEN = 7
STREAM_CHAINS = 8  # of visible units; the next one belongs to their hidden units
STREAM_SAMPLES = 10  # likewise
STREAM_ANNEALING = 12  # likewise
STREAM_BASE_MODEL = 14
STREAM_STATISTICS = 15
STREAM_SEEDS = 16
STREAM_HELD_OUT = 17
STREAM_BINARY_PIXELS = 18
STREAM_DATA_CHAINS = 19  # as STREAM_CHAINS
STREAM_CROPS = 21
STREAM_RESTARTS = 22
STREAM_LANGEVIN = 23
STREAM_STATES = 24
STREAM_DENOISING = 25
STREAM_SLICES = 26
STREAM_CONDITIONAL_NOISE = 27
STREAM_DATA_LATENTS = 28
STREAM_NOISE_LATENTS = 29
STREAM_DENSITY_CHAINS = 30  # momenta; the next one belongs to their tests, the one after to pilot runs
STREAM_WARM_UP = 40  # likewise; the next one belongs to their tests
STREAM_INITIAL_BIASES = 43


def words(seed: int, stream: int, step: int, size: int, row: int = 0) -> NDArray[np.uint64]:
    """`size` 64-bit words of the sequence (seed, stream, row, step)."""
    out = np.empty(2 * size, np.uint32)
    _cpu.philox_words(out, seed & (2**64 - 1), stream, row, step)
    result: NDArray[np.uint64] = (out[0::2].astype(np.uint64) << np.uint64(32)) | out[1::2]
    return result


def uniform(seed: int, stream: int, step: int, size: int, row: int = 0) -> NDArray[np.float64]:
    """`size` numbers in [0, 1), multiples of 2^-53."""
    result: NDArray[np.float64] = (words(seed, stream, step, size, row) >> np.uint64(11)) * 2.0**-53
    return result


def integers(seed: int, stream: int, step: int, size: int, high: int, row: int = 0) -> NDArray[np.int64]:
    """`size` integers in [0, high), high < 2^53; their probabilities differ by less than high / 2^53."""
    draws = np.floor(uniform(seed, stream, step, size, row) * high).astype(np.int64)
    return np.minimum(draws, high - 1)


def normals(seed: int, stream: int, step: int, size: int, row: int = 0) -> NDArray[np.float64]:
    """`size` standard normals."""
    out = np.empty(size)
    _cpu.standard_normals(out, seed & (2**64 - 1), stream, row, step)
    return out


def normal_rows(
    seed: int,
    stream: int,
    step: int,
    shape: tuple[int, int],
    dtype: Any = np.float64,
    first_row: int = 0,
    n_jobs: int = 0,
) -> NDArray[Any]:
    """Standard normals (n, d) in float32 or float64: row r is the sequence of row `first_row` + r.

    `n_jobs` is a number of threads as `_check.thread_number` gives it.
    """
    out = np.empty(shape, dtype)
    _cpu.normal_rows(out, seed & (2**64 - 1), stream, first_row, step & (2**32 - 1), n_jobs)
    return out


def uniform_rows(seed: int, stream: int, step: int, n: int, first_row: int = 0) -> NDArray[np.float64]:
    """The first uniform in [0, 1) of the sequence of each row, from `first_row` on, shape (n,)."""
    out = np.empty(n)
    _cpu.uniform_rows(out, seed & (2**64 - 1), stream, first_row, step & (2**32 - 1))
    return out


def permutation(seed: int, stream: int, step: int, n: int, row: int = 0) -> NDArray[np.int64]:
    """A permutation of range(n)."""
    return np.argsort(words(seed, stream, step, n, row), kind="stable").astype(np.int64)
