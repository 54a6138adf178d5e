"""Every CUDA kernel once, small, against the CPU: what bench/gpu.sh lets compute-sanitizer watch.

compute-sanitizer --tool memcheck --error-exitcode 9 python tests/short_cuda_run.py [--seconds N] [NAME...]

With names only these functions are run. With --seconds none is begun later than that, and those left out are
named: a tool that watches the run gets to its own end, and its summary. PyTorch has no place here: its
kernels would be watched, too.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from deep_densities import empty_gradient, flat, random_density
from thalweg import ConvolutionalSparseAutoencoder, _native, ops
from thalweg._base import Draws, Phase
from thalweg.inference.annealing import anneal_upwards
from thalweg.inference.csc import ConvolutionalLassoSolver
from thalweg.inference.gibbs import RbmMachine
from thalweg.inference.lasso import LassoSolver

RUNS: list[Callable[[np.random.Generator], None]] = []


def run(function: Callable[[np.random.Generator], None]) -> Callable[[np.random.Generator], None]:
    """Makes the function one of what is run."""
    RUNS.append(function)
    return function


@run
def elementwise(rng: np.random.Generator) -> None:
    for dtype in (np.float32, np.float64):
        x = rng.normal(size=(37, 1001)).astype(dtype)
        alpha = rng.uniform(0, 1, (37, 1001)).astype(dtype)
        for name in ("softplus", "sigmoid", "log_sigmoid", "d_sigmoid", "d_log_sigmoid"):
            f = getattr(ops, name)
            np.testing.assert_allclose(f(x, device="cuda"), f(x), rtol=1e-5)
        for weight in (np.asarray(0.5, dtype), alpha, alpha[:1], alpha[:, :1]):
            for name in ("shrink", "shrink_nonneg", "hard_shrink"):
                f = getattr(ops, name)
                np.testing.assert_allclose(f(x, weight, device="cuda"), f(x, weight), rtol=1e-5)
            for q in (0.5, 2 / 3, 0.3):
                got = ops.prox_lq(x, weight, q, device="cuda")
                np.testing.assert_allclose(got, ops.prox_lq(x, weight, q), rtol=1e-4, atol=1e-5)


@run
def random_numbers(rng: np.random.Generator) -> None:
    cuda = _native.cuda()
    words, expected = np.empty(5003, np.uint32), np.empty(5003, np.uint32)
    cuda.philox_words(words, 1, 2, 3, 4)
    _native.cpu.philox_words(expected, 1, 2, 3, 4)
    np.testing.assert_array_equal(words, expected)
    for dtype in (np.float32, np.float64):
        cuda.standard_normals(np.empty(5003, dtype), 1, 2, 3, 4)


def objective(Z: Any, X: Any, D: Any, alpha: float) -> Any:
    return 0.5 * np.square(X - Z @ D).sum(axis=1) + alpha * np.abs(Z).sum(axis=1)


@run
def lasso(rng: np.random.Generator) -> None:
    # On chip, by products with a Gram matrix, and by two products with the dictionary.
    for n_components, n_features in ((200, 60), (300, 100), (200, 20)):
        D = rng.normal(size=(n_components, n_features))
        D /= np.linalg.norm(D, axis=1, keepdims=True)
        X = rng.normal(size=(70, n_features))
        for dtype, tol, alpha in (
            (np.float32, 1e-3, 0.3),
            (np.float32, 0.0, np.full((70, 1), 0.3)),
            (np.float64, 1e-4, 0.3),
        ):
            arguments = {"tol": tol, "max_iter": 2000 if tol else 20}
            there = LassoSolver(D.astype(dtype), **arguments, device="cuda")
            here = LassoSolver(D.astype(dtype), **arguments)
            got, expected = (solver.encode(X.astype(dtype), alpha) for solver in (there, here))
            np.testing.assert_array_equal(got[1].status, expected[1].status)
            # Codes within the gap may differ by much where atoms are alike.
            objectives = (objective(Z.astype(np.float64), X, D, 0.3) for Z in (got[0], expected[0]))
            np.testing.assert_allclose(*objectives, rtol=0, atol=(tol + 1e-5) * 0.5 * n_features)
    codes = rng.normal(size=(37, 50)).astype(np.float32)
    parts, rows = np.empty((37, 100), np.float32), np.empty((37, 20), np.float32)
    atoms = rng.normal(size=(50, 20)).astype(np.float32)
    cuda = _native.cuda()
    cuda.split_signs(codes, parts)
    cuda.reconstruct(parts, atoms, rows)
    np.testing.assert_allclose(rows, codes @ atoms, atol=1e-4)


@run
def conversions(rng: np.random.Generator) -> None:
    cuda = _native.cuda()
    x = rng.normal(size=(13, 77)).astype(np.float16)
    np.testing.assert_array_equal(cuda.to_device(x).astype("f4").numpy(), x.astype(np.float32))
    assert cuda.extent(cuda.to_device(np.array([1.0, np.nan, -3.0]))) == (True, -3.0, 1.0)


@run
def convolutions(rng: np.random.Generator) -> None:
    for dtype in (np.float32, np.float64):
        for boundary, size in (("valid", (12, 5)), ("circular", (3, 7))):
            X, filters = rng.normal(size=(2, 2, 19, 70)).astype(dtype), rng.normal(size=(20, 2, *size))
            Z = ops.correlate(X, filters, boundary=boundary)
            for got, expected in (
                (ops.correlate(X, filters, boundary=boundary, device="cuda"), Z),
                (
                    ops.convolve(Z, filters, boundary=boundary, device="cuda"),
                    ops.convolve(Z, filters, boundary=boundary),
                ),
                (
                    ops.filter_gradient(Z, X, size, boundary=boundary, device="cuda"),
                    ops.filter_gradient(Z, X, size, boundary=boundary),
                ),
            ):
                scale = np.abs(expected).max()
                np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * scale)


@run
def convolutional_sparse_coding(rng: np.random.Generator) -> None:
    for dtype in (np.float32, np.float64):
        image, filters = rng.normal(size=(1, 30, 41)).astype(dtype), rng.normal(size=(6, 1, 5, 4))
        there, here = (
            ConvolutionalLassoSolver(filters.astype(dtype), solver="fista", tol=1e-2, device=device)
            for device in ("cuda", "cpu")
        )
        mask = rng.random((30, 41)) < 0.8
        maps, info = there.encode(image, 5.0, mask=mask)
        np.testing.assert_allclose(info[:2], here.encode(image, 5.0, mask=mask)[1][:2], rtol=1e-3)
        sums = [(np.zeros((6, 6, 9, 7)), np.zeros((6, 1, 5, 4))) for _ in range(2)]
        for solver, (A, B) in zip((there, here), sums, strict=True):
            solver.add_statistics(image, maps, A, B)
        for got, expected in zip(*sums, strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-3)
        got, expected = (solver.filter_gradient(image, maps)[1] for solver in (there, here))
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-3)
        model = ConvolutionalSparseAutoencoder(20, (5, 4), n_iter=1, transform_tol=1e-2, random_state=0)
        model.fit(image)
        for exact in (False, True):
            expected = model.set_params(device="cpu").transform(image, exact=exact)
            got = model.set_params(device="cuda").transform(image, exact=exact)
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@run
def building_blocks(rng: np.random.Generator) -> None:
    probes = _native.cuda().probes
    a, b = rng.normal(size=(16, 32)).astype(np.float32), rng.normal(size=(32, 8)).astype(np.float32)
    c = np.empty((16, 8), np.float32)
    for kind in (probes.MmaKind.tf32, probes.MmaKind.bf16, probes.MmaKind.tf32_split):
        probes.mma(kind, a, b, c)
    np.testing.assert_allclose(c, a @ b, atol=1e-4)
    x = rng.normal(size=5000).astype(np.float32)
    probes.async_tiles(x, np.empty(5 * 1024, np.float32))
    probes.row_sums(x.reshape(5, 1000), np.empty(5, np.float32))
    probes.graph(x, 3)


@run
def deep_densities(rng: np.random.Generator) -> None:
    """Chains by both ways through the layers: in shared memory, and by products."""
    for sizes, n_top in (((33, 20), 17), ((33, 140), 5)):
        for dtype in (np.float32, np.float64):
            density = random_density(sizes, n_top, "sigmoid", dtype)
            X = rng.normal(size=(45, sizes[0])).astype(dtype)
            energies, states, gradients = [], [], []
            for device in ("cuda", "cpu"):
                made = _native.kernels(device).deep_density(**density)
                E, psi, x = np.empty(len(X)), np.empty_like(X), X.copy()
                made.energy(X, E)
                made.score(X, psi)
                report = (np.empty(len(X)), np.empty(len(X), np.int64), np.empty(len(X), np.int64))
                made.move(x, 0.1, 3, True, 5, 1, 2, 3, 4, *report)
                gradient = empty_gradient(density)
                made.pull(made.value(X, E), X, np.ones(len(X)), **gradient)
                energies.append(E)
                states.append((psi, x))
                gradients.append(flat(gradient))
            tolerance = {"rtol": 1e-3, "atol": 1e-3}
            np.testing.assert_allclose(*energies, **tolerance)
            for there, here in zip(*states):
                np.testing.assert_allclose(there, here, **tolerance)
            for there, here in zip(*gradients):
                np.testing.assert_allclose(there, here, **tolerance)


@run
def boltzmann_machines(rng: np.random.Generator) -> None:
    draws = Draws(1, 8)
    for dtype in (np.float32, np.float64):
        X = (rng.random((70, 100)) < 0.4).astype(dtype)
        for sigma in (None, np.ones(100, dtype)):
            weights, bias = 0.1 * rng.normal(size=(33, 100)), rng.normal(size=100)
            arrays = [a.astype(dtype) for a in (weights, bias, bias[:33])]
            found, expected = (RbmMachine.of(*arrays, sigma, device=d) for d in ("cuda", "cpu"))
            np.testing.assert_allclose(found.hidden(X), expected.hidden(X), atol=1e-5)
            np.testing.assert_allclose(found.hidden(0.5 * X), expected.hidden(0.5 * X), atol=1e-5)
            mean, chains = found.draw_hidden(X, draws)
            found.sweep(chains, 70, draws)  # some of them in a graph
            found.statistics([Phase(X, mean, np.ones(70, dtype))])
            base = None if sigma is None else sigma
            anneal_upwards(found, np.zeros(100, dtype), base, np.linspace(0, 1, 70), 20, 1)


def main() -> None:
    began = time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__)
    known = {function.__name__: function for function in RUNS}
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    given = parser.parse_args()
    left_out = []
    for name in given.names or known:
        start = time.perf_counter()
        if start - began > given.seconds:
            left_out.append(name)
            continue
        known[name](np.random.default_rng(0))
        print(f"{name}: {time.perf_counter() - start:.2f} s", flush=True)
    if left_out:
        print(f"left out: {', '.join(left_out)}", flush=True)


if __name__ == "__main__":
    main()
