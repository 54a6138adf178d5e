"""Convolutions where a block may have 99 KB of shared memory, as on devices of sm_86, sm_89 and sm_120.

THALWEG_EMULATION_SHARED=101376 python tests/little_shared_memory.py
"""

from __future__ import annotations

import itertools
import os

import numpy as np

from reference import conv as reference
from thalweg import _native, ops
from thalweg.inference.csc import ConvolutionalLassoSolver

# channels, image, filters, filter sizes, each more than fits in one dtype or both as larger devices take it
SHAPES = [
    (1, (21, 30), 49, (12, 12)),
    (3, (9, 40), 50, (7, 7)),
    (64, (6, 35), 49, (5, 5)),
    (1, (3, 260), 17, (2, 18)),
    (21, (5, 36), 3, (3, 3)),
    (1, (200, 5), 2, (192, 1)),
    (1, (2, 300), 2, (2, 170)),
]


def assert_close(got: np.ndarray, expected: np.ndarray, terms: int) -> None:
    eps = np.finfo(got.dtype).eps
    np.testing.assert_allclose(got, expected, rtol=0, atol=eps * (2 * terms + 30))


def check(
    rng: np.random.Generator, dtype: type, channels: int, image: tuple, n_filters: int, size: tuple
) -> None:
    X = rng.normal(size=(1, channels, *image)).astype(dtype)
    filters = rng.normal(size=(n_filters, channels, *size)).astype(dtype)
    Z = rng.normal(size=(1, n_filters, *image)).astype(dtype)
    at = {"boundary": "same", "device": "cuda"}
    taps = filters[0].size
    assert_close(ops.correlate(X, filters, **at), reference.correlate(X, filters, "same"), taps)
    expected = reference.convolve(Z, filters, image, "same")
    assert_close(ops.convolve(Z, filters, **at), expected, taps * n_filters)
    expected = reference.filter_gradient(Z, X, size, "same")
    assert_close(ops.filter_gradient(Z, X, size, **at), expected, Z[0, 0].size)


def plan(dtype: type, channels: int, image: tuple, n_filters: int, size: tuple) -> None:
    """An empty batch: all that is decided by sizes is decided."""
    X, Z = np.empty((0, channels, *image), dtype), np.empty((0, n_filters, *image), dtype)
    filters = np.ones((n_filters, channels, *size), dtype)
    at = {"boundary": "same", "device": "cuda"}
    ops.correlate(X, filters, **at)
    ops.convolve(Z, filters, **at)
    ops.filter_gradient(Z, X, size, **at)


def main() -> None:
    wanted = int(os.environ["THALWEG_EMULATION_SHARED"])
    assert _native.cuda().probes.shared_per_block() == wanted
    buffers = [_native.cuda().probes.filter_gradient_buffers(1, 64, 64, 12, wide) for wide in (False, True)]
    assert buffers == [2, 1]  # one tile of float64 fills the memory
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        for shape in SHAPES:
            check(rng, dtype, *shape)
        for channels, image, n_filters, size in itertools.product(
            (1, 3, 40), ((1, 700), (8, 64), (5, 200), (300, 3)), (5, 100), ((1, 1), (3, 3), (8, 40), (30, 2))
        ):
            plan(dtype, channels, image, n_filters, size)
        # Certificates are of float64 in either case.
        filters = rng.normal(size=(64, 1, 12, 12)).astype(dtype) / 12
        y = rng.normal(size=(1, 15, 14)).astype(dtype)
        infos = [
            ConvolutionalLassoSolver(filters, device=device, solver="fista", tol=1e3).encode(y, 2.0)[1]
            for device in ("cpu", "cuda")
        ]
        np.testing.assert_allclose(infos[0][:2], infos[1][:2], rtol=500 * np.finfo(dtype).eps)


if __name__ == "__main__":
    main()
