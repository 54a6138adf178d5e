"""The native lasso kernels against the reference: iterates, certificates, odd shapes, bad arguments."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from scipy import sparse
from sklearn.datasets import load_sample_images
from sklearn.exceptions import ConvergenceWarning

from conftest import CUDA_FAULT
from reference import lasso as reference
from thalweg.inference import lasso
from thalweg.inference.lasso import LassoSolver, warn_unconverged

DTYPES = (np.float64, np.float32)
PENALTIES = tuple(reference.EXPONENTS)
# (n_samples, n_components, n_features). The proximal methods take two products in place of the Gram matrix
# where 2 n_features < n_components.
SHAPES = {"overcomplete": (7, 13, 11), "very overcomplete": (50, 30, 5), "undercomplete": (3, 9, 40)}
MANY = 50_000  # iterations: enough for ISTA on the problems below
UNIT = {np.float64: 1e-13, np.float32: 1e-6}  # rounding of a few dozen operations on numbers near 1


def ways(*methods, on_device=("fista", "ista")):
    """Solvers on the CPU, and those of them that the GPU has there: arguments of LassoSolver."""
    absent = pytest.mark.skipif(CUDA_FAULT is not None, reason=f"backend cuda: {CUDA_FAULT}")
    here = [pytest.param({"solver": m}, id=m) for m in methods]
    there = [
        pytest.param({"solver": m, "device": "cuda"}, id=f"{m}-cuda", marks=absent)
        for m in methods
        if m in on_device
    ]
    return here + there


def problem(n_samples, n_components, n_features, dtype=np.float64, seed=0):
    """Samples, and a dictionary of atoms of unit length."""
    rng = np.random.default_rng(seed)
    D = rng.normal(size=(n_components, n_features))
    D /= np.linalg.norm(D, axis=1, keepdims=True)
    return rng.normal(size=(n_samples, n_features)).astype(dtype), D.astype(dtype)


def reference_certificate(solver, X, D, Z, alpha, penalty="l1", positive=False, l2=0.0):
    q = reference.EXPONENTS[penalty]
    return reference.certificate(X, D, Z, alpha, q, solver.lipschitz, positive, l2)


def assert_certified(solver, X, D, Z, info, alpha, **kinds):
    """The reported certificates are those of the returned codes, and the status is what they say."""
    expected = reference_certificate(solver, X, D, Z, np.asarray(alpha, D.dtype), **kinds)
    assert_allclose(info.gap, expected, rtol=1e-6, atol=1e-12)
    assert info.gap.dtype == np.float64
    assert info.n_iter.dtype == np.int32
    assert info.status.dtype == np.int8
    if solver.tol > 0:
        assert_array_equal(info.status == lasso.CONVERGED, info.gap <= solver.tol)
        assert set(info.status) <= {lasso.CONVERGED, lasso.NOT_CONVERGED}


# --- tol=0: the textbook's iterates


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize(
    ("way", "restart"),
    [
        pytest.param(*way.values, restart, id=f"{way.id}-{restart}", marks=way.marks)
        for way in ways("ista", "fista", "cd")
        for restart in (False, True)
        if way.id.startswith("fista") or not restart
    ],
)
def test_iterates_are_those_of_the_reference(way, restart, penalty, shape, dtype):
    method = way["solver"]
    n_iter = 25 if method != "cd" else 8
    X, D = problem(*shape, dtype)
    X, alpha, q = X[:8], 0.2, reference.EXPONENTS[penalty]
    for positive, l2 in itertools.product((False, True), (0.0, 0.3)):
        kinds = {"positive": positive, "l2": l2}
        solver = LassoSolver(D, **way, penalty=penalty, max_iter=n_iter, tol=0, restart=restart, **kinds)
        Z, info = solver.encode(X, alpha)
        single = float(dtype(alpha))
        if method == "cd":
            expected = reference.coordinate_descent(X, D, single, n_iter, q=q, **kinds)
        elif method == "ista":
            expected = reference.ista(X, D, single, n_iter, L=solver.lipschitz, q=q, **kinds)
        else:
            expected = reference.fista(
                X, D, single, n_iter, L=solver.lipschitz, q=q, restart=restart, **kinds
            )
        assert Z.dtype == dtype
        far = np.abs(Z - expected).max(axis=1) > 100 * UNIT[dtype]
        # Below q = 1 the proximal maps jump: rounding can take a coefficient to the other side.
        assert far.sum() <= (penalty != "l1" and dtype == np.float32)
        assert_certified(solver, X, D, Z, info, alpha, penalty=penalty, **kinds)
        assert_array_equal(info.status, lasso.FIXED_ITERATIONS)
        assert_array_equal(info.n_iter, n_iter)


@pytest.mark.parametrize("way", ways("ista", "fista", "cd"))
def test_iterates_from_a_warm_start(way):
    X, D = problem(*SHAPES["overcomplete"])
    init = np.random.default_rng(5).normal(size=(len(X), len(D)))
    solver = LassoSolver(D, **way, max_iter=9, tol=0, restart=False)
    Z, _ = solver.encode(X, 0.2, init=init)
    if way["solver"] == "cd":
        expected = reference.coordinate_descent(X, D, 0.2, 9, init=init)
    else:
        expected = getattr(reference, way["solver"])(X, D, 0.2, 9, L=solver.lipschitz, init=init)
    assert_allclose(Z, expected, atol=1e-12)


def test_restart_changes_the_iterates():
    """So that the test above tells the two apart."""
    X, D = problem(*SHAPES["overcomplete"])
    plain, restarted = (
        LassoSolver(D, solver="fista", max_iter=25, tol=0, restart=restart).encode(X, 0.2)[0]
        for restart in (False, True)
    )
    assert np.abs(plain - restarted).max() > 1e-4


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("l2", [0.0, 0.7])
def test_step_size_is_safe_and_tight(shape, l2, dtype, backend):
    D = problem(*shape, dtype)[1] * dtype(3.7)
    largest = reference.lipschitz(D, l2)
    L = LassoSolver(D, l2=l2, device=backend).lipschitz
    assert largest <= L * (1 + 1e-12)
    assert largest * (1 + 1e-8) >= L


# --- proximal maps, through problems of one atom


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("way", ways("ista", "cd", "auto"))
@pytest.mark.parametrize("dtype", DTYPES)
def test_one_unit_atom_gives_the_proximal_map(way, penalty, positive, dtype):
    rng = np.random.default_rng(3)
    q = reference.EXPONENTS[penalty]
    v = rng.normal(size=60) * 10.0 ** rng.uniform(-2, 2, 60)
    threshold = np.abs(v) ** (2 - q) * rng.uniform(0.01, 1.2, 60)
    v, threshold = v.astype(dtype)[:, None], threshold.astype(dtype)[:, None]
    # One step solves a problem of one atom, up to L's margin; more would not from a jump's other side.
    kinds = {"max_iter": 1, "tol": 0} if way["solver"] != "auto" else {}
    solver = LassoSolver(np.ones((1, 1), dtype), penalty=penalty, positive=positive, **way, **kinds)
    Z = solver.encode(v, threshold)[0]
    exact = np.array(
        [reference.prox_by_search(float(a), float(t), q, positive) for a, t in zip(v[:, 0], threshold[:, 0])]
    )
    loss = reference.prox_energy(Z[:, 0].astype(np.float64), v[:, 0], threshold[:, 0].astype(np.float64), q)
    best = reference.prox_energy(exact, v[:, 0], threshold[:, 0].astype(np.float64), q)
    assert_allclose(loss, best, rtol=1e-4 if way["solver"] == "auto" else 30 * UNIT[dtype] + 1e-9)
    assert (Z != 0).sum() > 8
    assert (Z == 0).sum() > 5
    if positive:
        assert (Z >= 0).all()


# --- every solver on every kind of problem

KINDS = [
    pytest.param(*way.values, penalty, id=f"{way.id}-{penalty}", marks=way.marks)
    for way in ways("auto", "active_set", "cd", "fista", "ista", on_device=["fista"])
    for penalty in PENALTIES
    if way.id != "active_set" or penalty == "l1"
]


def alpha_of_shape(kind, n_samples, n_components):
    rng = np.random.default_rng(9)
    shapes = {
        "number": (),
        "per atom": (n_components,),
        "per sample": (n_samples, 1),
        "whole": (n_samples, n_components),
    }
    return rng.uniform(0.1, 0.4, shapes[kind])


@pytest.mark.parametrize("alpha_kind", ["number", "per atom", "per sample", "whole"])
@pytest.mark.parametrize(("way", "penalty"), KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_certificate_is_that_of_the_returned_codes(way, penalty, alpha_kind, dtype):
    X, D = problem(53, 19, 11, dtype)
    X[3] = 0
    alpha = alpha_of_shape(alpha_kind, len(X), len(D))
    for positive, l2 in itertools.product((False, True), (0.0, 0.3)):
        kinds = {"penalty": penalty, "positive": positive, "l2": l2}
        solver = LassoSolver(D, **way, tol=1e-5, max_iter=MANY, **kinds)
        Z, info = solver.encode(X, alpha)
        assert_certified(solver, X, D, Z, info, alpha, **kinds)
        assert_array_equal(info.status, lasso.CONVERGED)
        assert info.n_iter.max() < MANY
        assert info.gap[3] == 0
        assert not Z[3].any()
        assert not positive or (Z >= 0).all()
        assert info.criterion == ("duality gap" if penalty == "l1" else "fixed-point residual")


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("l2", [0.0, 0.3])
@pytest.mark.parametrize("way", ways("active_set", "cd", "fista", "ista", on_device=["fista"]))
def test_l1_codes_are_the_optimum(way, l2, positive):
    X, D = problem(40, 19, 11)
    alpha = alpha_of_shape("whole", *(len(a) for a in (X, D)))
    Z, info = LassoSolver(D, **way, tol=1e-11, max_iter=100_000, positive=positive, l2=l2).encode(X, alpha)
    best = reference.solve(X, D, alpha, positive=positive, l2=l2)
    assert_array_equal(info.status, lasso.CONVERGED)
    assert_allclose(
        reference.energy(X, D, Z, alpha, l2=l2), reference.energy(X, D, best, alpha, l2=l2), rtol=1e-10
    )
    assert_allclose(Z, best, atol=1e-4)


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("way", ways("auto", "cd", "fista", "ista"))
@pytest.mark.parametrize("dtype", DTYPES)
def test_zero_weights_are_judged_by_the_optimality_residual(way, dtype, positive):
    X, D = problem(30, 9, 14, dtype)
    for alpha in (0.0, np.where(np.arange(9) % 3, 0.2, 0.0)):
        solver = LassoSolver(D, **way, positive=positive, tol=1e-5, max_iter=20_000)
        Z, info = solver.encode(X, alpha)
        assert info.criterion == "optimality residual"
        assert_array_equal(info.status, lasso.CONVERGED)
        assert_certified(solver, X, D, Z, info, alpha, positive=positive)
    if not positive:
        plain, _ = solver.encode(X, 0.0)
        least_squares = np.linalg.lstsq(D.T.astype(np.float64), X.T.astype(np.float64), rcond=None)[0].T
        assert_allclose(plain, least_squares, atol=1e-3)


# --- stopping


@pytest.mark.parametrize("way", ways("auto", "cd", "fista", "ista"))
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_out_of_iterations_say_so(way, dtype):
    X, D = problem(60, 40, 20, dtype)
    X[::7] *= 1e-3  # all of alpha's making: the code is 0 at once
    solver = LassoSolver(D, **way, max_iter=1, tol=1e-6)
    Z, info = solver.encode(X, 0.1)
    assert_certified(solver, X, D, Z, info, 0.1)
    assert (info.status == lasso.NOT_CONVERGED).sum() > 30
    assert (info.status[::7] == lasso.CONVERGED).all()
    assert info.n_iter.max() <= 1
    with pytest.warns(ConvergenceWarning, match=r"of 60 rows did not reach tol=1e-06.*duality gap"):
        warn_unconverged(info, 1e-6)


def test_converged_rows_do_not_warn():
    X, D = problem(10, 12, 8)
    warn_unconverged(LassoSolver(D).encode(X, 0.1)[1], 1e-4)


@pytest.mark.parametrize("way", ways("cd", "fista", "ista", on_device=["fista"]))
def test_each_row_stops_on_its_own(way):
    X, D = problem(60, 40, 20)
    X[::2] *= 0.1  # few atoms in use, few iterations
    info = LassoSolver(D, **way, max_iter=MANY, tol=1e-5).encode(X, 0.1)[1]
    assert_array_equal(info.status, lasso.CONVERGED)
    assert info.n_iter[::2].mean() < 0.5 * info.n_iter[1::2].mean()


def test_single_precision_ends_where_it_can_do_no_more():
    """1e-8 lies below what float32 codes can reach: a few rounds tell, not a million."""
    X, D = problem(200, 64, 30, np.float32)
    start = time.perf_counter()
    solver = LassoSolver(D, tol=1e-8, max_iter=1_000_000)
    Z, info = solver.encode(X, 0.02)
    assert time.perf_counter() - start < 2
    assert_certified(solver, X, D, Z, info, 0.02)
    assert (info.status == lasso.NOT_CONVERGED).any()
    assert info.gap.max() < 1e-6
    assert info.n_iter.max() < 1000


@pytest.mark.parametrize("way", ways("active_set", "cd", "fista"))
@pytest.mark.parametrize("dtype", DTYPES)
def test_warm_start_at_the_optimum_is_left_alone(way, dtype):
    X, D = problem(40, 30, 20, dtype)
    solver = LassoSolver(D, **way, tol=1e-5, max_iter=5000)
    Z, _ = solver.encode(X, 0.1)
    kept = Z.copy()
    again, info = solver.encode(X, 0.1, init=Z)
    assert_array_equal(again, kept)
    assert_array_equal(Z, kept)
    assert_array_equal(info.n_iter, 0)
    assert_array_equal(info.status, lasso.CONVERGED)


@pytest.mark.parametrize("init_scale", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize("way", ways("active_set", "cd", "fista", "ista", on_device=["fista"]))
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_any_warm_start_reaches_the_optimum(way, init_scale, positive, dtype):
    X, D = problem(20, 30, 20, dtype)
    init = init_scale * np.random.default_rng(1).normal(size=(20, 30))
    solver = LassoSolver(D, **way, positive=positive, tol=1e-4, max_iter=MANY)
    Z, info = solver.encode(X, 0.1, init=init)
    assert_array_equal(info.status, lasso.CONVERGED)
    assert_certified(solver, X, D, Z, info, 0.1, positive=positive)
    assert not positive or (Z >= 0).all()


@pytest.mark.parametrize("way", ways("active_set", "cd", "fista", "ista", on_device=["fista"]))
@pytest.mark.parametrize("dtype", DTYPES)
def test_repeated_calls_give_the_same_bits(way, dtype):
    """Nor does what the heap held before leak into a result: 19 atoms are no whole number of vectors."""
    X, D = problem(53, 19, 11, dtype)
    results = set()
    rng = np.random.default_rng(0)
    for _ in range(30 if way.get("device") != "cuda" else 4):
        dirt = [np.full(size, rng.normal()) for size in rng.integers(1, 20_000, 20)]
        del dirt[::2]
        Z, info = LassoSolver(D, **way, tol=1e-5).encode(X, 0.2)
        results.add((Z.tobytes(), *(a.tobytes() for a in info[:3])))
    assert len(results) == 1


# --- forms of input and output


@pytest.mark.parametrize("dtype", DTYPES)
def test_out_receives_the_codes(dtype):
    X, D = problem(30, 12, 8, dtype)
    solver = LassoSolver(D)
    out = np.full((30, 12), np.nan, dtype)
    Z, _ = solver.encode(X, 0.1, out=out)
    assert Z is out
    assert_array_equal(out, solver.encode(X, 0.1)[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_memory_mapped_samples_in_blocks(tmp_path, dtype, monkeypatch):
    X, D = problem(2500, 12, 8, dtype)
    path = tmp_path / "x.npy"
    np.save(path, X)
    mapped = np.load(path, mmap_mode="r")
    solver = LassoSolver(D)
    expected = solver.encode(X, 0.1)[0]
    monkeypatch.setattr(lasso, "BLOCK_BYTES", 1)
    alpha = np.full((2500, 1), 0.1)
    init = np.zeros((2500, 12))
    assert_array_equal(solver.encode(mapped, 0.1)[0], expected)
    assert_array_equal(solver.encode(mapped, alpha)[0], expected)
    assert solver.encode(mapped, alpha, init=init)[1].status.max() == lasso.CONVERGED


def test_arrays_of_any_real_kind_are_taken():
    X, D = problem(6, 5, 4)
    X = np.round(4 * X)
    expected = LassoSolver(D).encode(X, 0.1)[0]
    read_only = X.copy()
    read_only.flags.writeable = False
    strided = np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3]
    forms = (
        X.tolist(), X.astype(np.int8), X.astype(np.float16), read_only, strided, np.asfortranarray(X),
        X[::-1][::-1], X.astype(object), X.astype(">f8"), X.astype(np.float32),
    )  # fmt: skip
    for form in forms:
        assert_array_equal(LassoSolver(D).encode(form, 0.1)[0], expected)
    assert_array_equal(LassoSolver(np.asfortranarray(D)).encode(X, 0.1)[0], expected)
    flags = LassoSolver(D).encode(X > 0, 0.1)[0]
    assert_array_equal(flags, LassoSolver(D).encode((X > 0).astype(float), 0.1)[0])


def test_the_dictionary_decides_the_dtype_of_the_result():
    X, D = problem(6, 5, 4, np.float32)
    assert LassoSolver(D).encode(X.astype(np.float64), 0.1)[0].dtype == np.float32
    assert LassoSolver(D.astype(np.float64)).encode(X, 0.1)[0].dtype == np.float64
    assert LassoSolver(D.astype(np.float16)).encode(X, 0.1)[0].dtype == np.float64


def test_inputs_are_not_written_to():
    X, D = problem(30, 12, 8)
    init = np.ones((30, 12))
    alpha = np.full((30, 12), 0.1)
    before = [a.copy() for a in (X, D, init, alpha)]
    for way in ways("active_set", "cd", "fista", "ista"):
        if not way.marks or CUDA_FAULT is None:
            LassoSolver(D, **way.values[0]).encode(X, alpha, init=init)
    for a, b in zip((X, D, init, alpha), before):
        assert_array_equal(a, b)


# --- unusual shapes and values

UNUSUAL = [
    (1, 1, 1), (4, 1, 1), (5, 7, 1), (5, 1, 7), (9, 6, 20), (9, 20, 6), (40, 33, 16), (3, 100, 64),
    (3, 17, 65), (2, 15, 31), (49, 31, 15), (97, 65, 3),
]  # fmt: skip


@pytest.mark.parametrize("shape", UNUSUAL, ids=str)
@pytest.mark.parametrize("way", ways("active_set", "cd", "fista", "ista", on_device=["fista"]))
@pytest.mark.parametrize("dtype", DTYPES)
def test_unusual_shapes(way, shape, dtype):
    X, D = problem(*shape, dtype)
    for positive, l2 in itertools.product((False, True), (0.0, 0.5)):
        tol = 1e-5 if way["solver"] != "ista" else 1e-3
        solver = LassoSolver(D, **way, positive=positive, l2=l2, tol=tol, max_iter=MANY)
        Z, info = solver.encode(X, 0.2)
        assert_array_equal(info.status, lasso.CONVERGED)
        assert_certified(solver, X, D, Z, info, 0.2, positive=positive, l2=l2)


@pytest.mark.parametrize("way", ways("active_set", "cd", "fista", "ista"))
def test_no_samples(way):
    _, D = problem(1, 5, 4)
    solver = LassoSolver(D, **way)
    for alpha in (0.1, np.full(5, 0.1), np.empty((0, 1)), np.empty((0, 5))):
        Z, info = solver.encode(np.empty((0, 4)), alpha)
        assert Z.shape == (0, 5)
        assert all(len(a) == 0 for a in info[:3])


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("way", ways("auto", "cd", "fista", "ista", on_device=["fista"]))
@pytest.mark.parametrize("dtype", DTYPES)
def test_zero_samples_and_zero_atoms(way, penalty, dtype):
    X, D = problem(30, 20, 12, dtype)
    X[[0, 7]] = 0
    D[[2, 19]] = 0
    solver = LassoSolver(D, **way, penalty=penalty, tol=1e-5, max_iter=20_000)
    for init in (None, np.ones((30, 20))):
        Z, info = solver.encode(X, 0.1, init=init)
        assert_array_equal(info.status, lasso.CONVERGED)
        if init is None:
            assert not Z[[0, 7]].any()
            assert_array_equal(info.gap[[0, 7]], 0)
            assert not Z[:, [2, 19]].any()


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("way", ways("auto", "cd", "fista", "ista"))
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_dictionary_of_zeros_explains_nothing(way, penalty, dtype):
    X, _ = problem(30, 20, 12, dtype)
    Z, info = LassoSolver(np.zeros((20, 12), dtype), **way, penalty=penalty).encode(X, 0.1)
    assert_array_equal(Z, 0)
    assert_allclose(info.gap, 0, atol=1e-12)
    assert_array_equal(info.status, lasso.CONVERGED)


@pytest.mark.parametrize("way", ways("active_set", "cd", "fista", "ista", on_device=["fista"]))
@pytest.mark.parametrize("dtype", DTYPES)
def test_duplicate_atoms_and_their_negatives(way, dtype):
    X, D = problem(50, 24, 12, dtype)
    D[12:18] = D[:6]
    D[18:] = -D[:6]
    for positive in (False, True):
        solver = LassoSolver(D, **way, positive=positive, tol=1e-5, max_iter=20_000)
        for init in (None, np.ones((50, 24))):
            Z, info = solver.encode(X, 0.1, init=init)
            assert_array_equal(info.status, lasso.CONVERGED)
            assert_certified(solver, X, D, Z, info, 0.1, positive=positive)


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_atoms_of_very_different_norms(dtype, positive):
    X, D = problem(40, 33, 16, dtype)
    D *= (10.0 ** np.linspace(-3, 3, 33)).astype(dtype)[:, None]
    solver = LassoSolver(D, positive=positive, tol=1e-4)
    Z, info = solver.encode(X, 0.2)
    assert_certified(solver, X, D, Z, info, 0.2, positive=positive)
    assert_array_equal(info.status, lasso.CONVERGED)


def test_single_precision_does_no_worse_than_rounding_the_optimum():
    X, D = problem(40, 33, 16, np.float32)
    D *= (10.0 ** np.linspace(-3, 3, 33)).astype(np.float32)[:, None]
    alpha = np.float32(0.2)
    exact = LassoSolver(D.astype(np.float64), tol=1e-11, max_iter=100_000).encode(X, alpha)[0]
    rounded = reference.duality_gap(X, D, exact.astype(np.float32), alpha)
    info = LassoSolver(D, tol=1e-9).encode(X, alpha)[1]
    assert np.median(info.gap) <= 2 * np.median(rounded)
    assert info.gap.max() <= 2 * rounded.max()


@pytest.mark.parametrize("dictionary_scale", [-15, 0, 15])
@pytest.mark.parametrize("sample_scale", [-30, -10, 10, 30])
@pytest.mark.parametrize("way", ways("active_set", "cd", "fista"))
@pytest.mark.parametrize("dtype", DTYPES)
def test_extreme_scales(way, sample_scale, dictionary_scale, dtype):
    if dtype == np.float32 and abs(sample_scale + dictionary_scale) > 36:
        pytest.skip("alpha is no normal float32")
    X, D = problem(30, 12, 8)
    X = (X * 10.0**sample_scale).astype(dtype)
    D = (D * 10.0**dictionary_scale).astype(dtype)
    alpha = 0.2 * 10.0 ** (sample_scale + dictionary_scale)
    if dtype == np.float32 and abs(sample_scale - dictionary_scale) > 36:
        pytest.skip("the codes are no normal float32")
    solver = LassoSolver(D, **way, tol=1e-5, max_iter=5000)
    Z, info = solver.encode(X, alpha)
    assert_array_equal(info.status, lasso.CONVERGED)
    assert_certified(solver, X, D, Z, info, alpha)
    assert Z.any(axis=1).all()


# --- bad arguments


def encode(X=None, alpha=0.1, *, dictionary=None, init=None, out=None, **options):
    samples, D = problem(6, 5, 4)
    solver = LassoSolver(D if dictionary is None else dictionary, **options)
    return solver.encode(samples if X is None else X, alpha, init=init, out=out)


X6 = problem(6, 5, 4)[0]


def spoiled(value):
    X = X6.copy()
    X[3, 2] = value
    return X


BAD_VALUES = {
    "NaN sample": ({"X": spoiled(np.nan)}, "X: .*NaN"),
    "infinite sample": ({"X": spoiled(-np.inf)}, "X: .*infinity"),
    "complex samples": ({"X": X6 + 1j}, "X: Complex data not supported"),
    "text": ({"X": np.full((6, 4), "a")}, "X: expected real numbers"),
    "features": ({"X": X6[:, :3]}, "X: expected 4 features.*got 3"),
    "one sample as a vector": ({"X": X6[0]}, r"X: expected 2 dimensions.*\(4,\)"),
    "three dimensions": ({"X": X6[None]}, "X: expected 2 dimensions"),
    "NaN atom": ({"dictionary": np.full((5, 4), np.nan)}, "dictionary: .*NaN"),
    "complex dictionary": ({"dictionary": np.ones((5, 4), complex)}, "dictionary: Complex data"),
    "dictionary of one dimension": ({"dictionary": np.ones(4)}, r"dictionary: expected 2 dimension"),
    "no atoms": ({"dictionary": np.ones((0, 4))}, "dictionary: expected at least one atom"),
    "no features": ({"dictionary": np.ones((5, 0)), "X": np.ones((6, 0))}, "dictionary: expected at least"),
    "negative alpha": ({"alpha": -0.1}, "alpha: expected numbers >= 0, got -0.1"),
    "negative alpha of one atom": ({"alpha": [0.1, 0.1, -2, 0.1, 0.1]}, "alpha: .*-2"),
    "NaN alpha": ({"alpha": np.nan}, "alpha: .*NaN"),
    "complex alpha": ({"alpha": 1j}, "alpha: Complex data not supported"),
    "alpha per feature": ({"alpha": np.ones(4)}, r"alpha: expected a number.*got shape \(4,\)"),
    "alpha of other samples": ({"alpha": np.ones((5, 1))}, r"alpha: .*got shape \(5, 1\)"),
    "alpha of three dimensions": ({"alpha": np.ones((1, 6, 5))}, "alpha: .*got shape"),
    "active set without alpha": ({"alpha": 0, "solver": "active_set"}, "alpha: solver='active_set' needs"),
    "active set, alpha 0 of one atom": (
        {"alpha": [0.1, 0, 0.1, 0.1, 0.1], "solver": "active_set"},
        "alpha: solver='active_set' needs",
    ),
    "active set, q < 1": ({"penalty": "l1/2", "solver": "active_set"}, "solver: 'active_set' needs"),
    "active set, tol = 0": ({"tol": 0, "solver": "active_set"}, "solver: 'active_set' needs"),
    "init of other shape": ({"init": np.ones((6, 4))}, "init: expected shape"),
    "init of other samples": ({"init": np.ones((7, 5))}, "init: expected shape"),
    "init not finite": ({"init": np.full((6, 5), np.nan)}, "init: .*NaN"),
    "out of other shape": ({"out": np.ones((6, 4))}, "out: expected a writeable C-contiguous float64"),
    "out of other dtype": ({"out": np.ones((6, 5), np.float32)}, "out: .*got float32"),
    "out strided": ({"out": np.ones((6, 10))[:, ::2]}, "out: .*C-contiguous"),
    "out in Fortran's order": ({"out": np.ones((5, 6)).T}, "out: .*C-contiguous"),
    "unknown solver": ({"solver": "lars"}, "solver: expected one of.*got 'lars'"),
    "unknown penalty": ({"penalty": "l3"}, "penalty: expected one of.*got 'l3'"),
    "no iterations": ({"max_iter": 0}, "max_iter: expected an integer >= 1, got 0"),
    "negative tol": ({"tol": -1e-3}, "tol: expected a number >= 0"),
    "NaN tol": ({"tol": np.nan}, "tol: expected a finite number"),
    "negative l2": ({"l2": -1}, "l2: expected a number >= 0"),
    "infinite l2": ({"l2": np.inf}, "l2: expected a finite number"),
    "no threads": ({"n_jobs": 0}, "n_jobs: expected a non-zero integer"),
}

BAD_KINDS = {
    "sparse samples": ({"X": sparse.csr_matrix(X6)}, r"X: a dense array is required.*X\.toarray\(\)"),
    "sparse dictionary": ({"dictionary": sparse.eye(4)}, "dictionary: a dense array is required"),
    "samples of objects": ({"X": np.full((6, 4), object())}, "X: expected real numbers"),
    "out a list": ({"out": [[0.0] * 5] * 6}, "out: expected an ndarray, got list"),
    "max_iter a float": ({"max_iter": 10.0}, "max_iter: expected an integer, got 10.0"),
    "tol a text": ({"tol": "small"}, "tol: expected a real number"),
    "n_jobs a float": ({"n_jobs": 2.0}, "n_jobs: expected an integer"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD_VALUES.values(), ids=BAD_VALUES)
def test_bad_values(arguments, message):
    with pytest.raises(ValueError, match=message):
        encode(**arguments)


@pytest.mark.parametrize(("arguments", "message"), BAD_KINDS.values(), ids=BAD_KINDS)
def test_bad_kinds(arguments, message):
    with pytest.raises(TypeError, match=message):
        encode(**arguments)


def test_read_only_out_is_refused():
    out = np.ones((6, 5))
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out: expected a writeable"):
        encode(out=out)


# --- numbers at the ends of the range


@pytest.mark.parametrize("way", ways("active_set", "cd", "fista"))
@pytest.mark.parametrize(("up", "down"), [(1e25, 1e-25), (1e20, 1e-20), (1e-20, 1e20)])
def test_the_certificate_is_of_the_codes_as_returned(way, up, down):
    X, D = problem(12, 16, 8, np.float32)
    X, D = X * np.float32(down), D * np.float32(up)
    alpha = float(0.3 * np.abs(X.astype(np.float64) @ D.T.astype(np.float64)).max())
    # float32 holds these codes badly or not at all, as the gap must say.
    Z, info = LassoSolver(D, **way, tol=1e-6, max_iter=100).encode(X, alpha)
    held = np.isfinite(Z).all(axis=1)
    x, d, z = (a.astype(np.float64) for a in (X[held], D, Z[held]))
    true_gap = reference.duality_gap(x, d, z, alpha)
    assert_allclose(info.gap[held], true_gap, rtol=1e-3, atol=1e-9)
    assert (info.status[~held] == lasso.NOT_CONVERGED).all()


@pytest.mark.parametrize("way", ways("active_set", "cd", "fista"))
@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_far_below_and_above_the_samples(way, dtype):
    size = 1e20 if dtype == np.float32 else 1e140
    solver = LassoSolver(np.eye(3, dtype=dtype), **way)
    X = np.array([[size, 2 * size, 1], [1, 2, 3], [0, 0, 0]], dtype)
    Z, info = solver.encode(X, 1 / size)
    assert_array_equal(info.status, lasso.CONVERGED)
    assert_allclose(Z, X, rtol=1e-3, atol=1e-3 * size * (X > 3).any())
    Z, info = solver.encode(X / size / size, 1.0)
    assert_array_equal(info.status, lasso.CONVERGED)
    assert_array_equal(Z, 0)


def test_a_row_whose_square_vanishes_is_no_zero_row():
    X = np.array([[1e-200, 2e-200]])
    Z, info = LassoSolver(np.eye(2)).encode(X, 0.0)
    assert_allclose(Z, X, rtol=1e-3)
    assert info.gap[0] <= 1e-4
    Z, info = LassoSolver(np.eye(2)).encode(X, np.array([1.0, 1e-250]))
    assert_allclose(Z, [[0, 2e-200]], rtol=1e-3)
    assert info.gap[0] <= 1e-4


@pytest.mark.parametrize("way", ways("active_set", "cd", "fista"))
def test_great_numbers_do_not_become_nan(way):
    X, D = problem(48, 20, 12)
    expected = LassoSolver(D, **way).encode(X, 0.3)[0]
    Z, info = LassoSolver(D, **way).encode(X * 2.0**500, 0.3 * 2.0**500)
    assert_array_equal(info.status, lasso.CONVERGED)
    assert_allclose(Z, expected * 2.0**500, rtol=1e-12)


@pytest.mark.parametrize("way", ways("cd", "fista", "ista"))
@pytest.mark.parametrize("max_iter", [1, 7])
def test_zero_rows_owe_nothing_to_their_neighbours(way, max_iter):
    X, D = problem(48, 20, 12)
    X = np.concatenate([X, np.zeros_like(X), X[:5]])
    Z, info = LassoSolver(D, **way, tol=0, max_iter=max_iter, n_jobs=1).encode(X, 0.1)
    assert_array_equal(Z[48:96], 0)
    assert_array_equal(info.gap[48:96], 0)
    assert_array_equal(Z[96:], Z[:5])


def test_no_row_takes_more_iterations_than_asked_for():
    D = np.repeat(problem(1, 10, 6)[1], 3, axis=0)
    X = problem(200, 10, 6)[0]
    for max_iter in (3, 17, 103):
        info = LassoSolver(D, tol=1e-15, max_iter=max_iter).encode(X, 1e-9)[1]
        assert info.n_iter.max() <= max_iter


def test_out_may_overlap_the_inputs():
    _, D = problem(1, 8, 8)
    buffer = np.random.default_rng(3).standard_normal((200, 8))
    samples = buffer[:-1].copy()
    expected = LassoSolver(D).encode(samples, 0.5)[0]
    assert_array_equal(LassoSolver(D).encode(buffer[:-1], 0.5, out=buffer[1:])[0], expected)
    start = np.concatenate([expected[:1], expected])
    warm = LassoSolver(D).encode(samples, 0.5, init=expected)[0]
    assert_array_equal(LassoSolver(D).encode(samples, 0.5, init=start[1:], out=start[:-1])[0], warm)


# --- real patches


def whitened_patches(images, width=8, n_patches=3000):
    """Random patches less their means, ZCA-whitened, of unit deviation: float64."""
    rng = np.random.default_rng(0)
    drawn = []
    for image in images:
        gray = np.asarray(image, np.float64).mean(axis=2)
        windows = np.lib.stride_tricks.sliding_window_view(gray, (width, width))
        rows, cols = (rng.integers(0, n, n_patches // len(images)) for n in windows.shape[:2])
        drawn.append(windows[rows, cols].reshape(-1, width * width))
    x = np.concatenate(drawn)
    x -= x.mean(axis=1, keepdims=True)
    values, vectors = np.linalg.eigh(x.T @ x / len(x))
    x = x @ (vectors / np.sqrt(np.maximum(values, 0) + 1e-2 * values.mean())) @ vectors.T
    return x / x.std()


def photographs(source, request):
    if source == "scikit-learn":
        return load_sample_images().images
    files = sorted(request.getfixturevalue("natural_root").glob("kodim*.png"))
    return [np.asarray(Image.open(f)) for f in files[::4]]


@pytest.fixture(
    scope="module",
    params=["scikit-learn", "Kodak"],
)
def patches(request):
    """Whitened 8x8 patches, and 256 of them at unit length as atoms: of rank 63, as their means are 0."""
    x = whitened_patches(photographs(request.param, request))
    x = x[np.random.default_rng(1).permutation(len(x))]
    atoms = x[np.linalg.norm(x, axis=1) > 1][-256:]
    return x[:2000], atoms / np.linalg.norm(atoms, axis=1, keepdims=True)


@pytest.mark.parametrize("tol", [1e-3, 1e-6])
@pytest.mark.parametrize("share", [0.2, 0.4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_row_of_real_patches_reaches_its_gap(patches, share, tol, dtype):
    X, D = (a.astype(dtype) for a in patches)
    alpha = share * np.median(np.abs(X @ D.T).max(axis=1))
    for positive in (False, True):
        solver = LassoSolver(D, positive=positive, tol=tol)
        Z, info = solver.encode(X, alpha)
        assert_array_equal(info.status, lasso.CONVERGED)
        assert_certified(solver, X, D, Z, info, alpha, positive=positive)


def test_methods_agree_on_real_patches(patches):
    X, D = patches
    X = X[:100]
    alpha = 0.3 * np.median(np.abs(X @ D.T).max(axis=1))
    energies = []
    for method in ("active_set", "cd", "fista"):
        Z, info = LassoSolver(D, solver=method, tol=1e-7, max_iter=MANY).encode(X, alpha)
        assert_array_equal(info.status, lasso.CONVERGED)
        energies.append(reference.energy(X, D, Z, alpha))
    assert_allclose(energies[1:], energies[:-1], rtol=1e-8)


# --- on the GPU, or its emulation

# (n_samples, n_components, n_features) of every way to compute, in single precision: tiles of one warp and of
# several, with rows left over; products with the Gram matrix; two products, with codes in registers and not.
DEVICE_SHAPES = {
    "tile": (70, 29, 12),
    "wide tile": (33, 100, 40),
    "several chunks": (200, 12, 8),
    "Gram matrix": (6, 270, 90),
    "two products": (35, 60, 12),
}
MANY_ATOMS = {"many atoms": (3, 2100, 6), "more atoms than registers": (2, 8300, 3)}
each_device_shape = pytest.mark.parametrize("shape", DEVICE_SHAPES.values(), ids=DEVICE_SHAPES)


@pytest.mark.parametrize("shape", [*DEVICE_SHAPES.values(), *MANY_ATOMS.values()], ids=str)
@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_device_goes_the_cpus_way(shape, restart, dtype, cuda):
    """Not to the letter, in single precision: 15 iterations from an anchor, and one certificate between."""
    X, D = problem(*shape, dtype)
    X = X[:4]
    alpha = 0.3 * np.abs(X @ D.T).max(axis=1, keepdims=True)
    arguments = {"solver": "fista", "restart": restart, "tol": 1e-15, "max_iter": 15}
    Z, info = LassoSolver(D, **arguments, device="cuda").encode(X, alpha)
    expected, _ = LassoSolver(D, **arguments).encode(X, alpha)
    size = np.abs(expected).max()
    assert_allclose(Z, expected, atol=(4e-2 if dtype == np.float32 else 1e-12) * size)
    gap = reference.duality_gap(X, D, Z, np.asarray(alpha, dtype))
    assert_allclose(info.gap, gap, rtol=1e-6, atol=1e-12)
    assert_array_equal(info.status, lasso.NOT_CONVERGED)
    assert_array_equal(info.n_iter, 15)


@each_device_shape
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_device_does_no_worse_than_the_cpu(shape, dtype, cuda):
    X, D = problem(*shape, dtype)
    arguments = {"solver": "fista", "tol": 1e-4, "max_iter": 5000}
    peak = np.abs(X @ D.T).max(axis=1, keepdims=True)
    for alpha in (0.3 * float(np.median(peak)), 0.3 * peak):
        Z, info = LassoSolver(D, **arguments, device="cuda").encode(X, alpha)
        here = LassoSolver(D, **arguments).encode(X, alpha)
        assert_array_equal(info.status, lasso.CONVERGED)
        gap = reference.duality_gap(X, D, Z, np.asarray(alpha, dtype))
        assert_allclose(info.gap, gap, rtol=1e-6, atol=1e-12)
        energy, best = (reference.energy(X, D, codes, np.asarray(alpha, dtype)) for codes in (Z, here[0]))
        unit = 0.5 * (X.astype(np.float64) ** 2).sum(axis=1)
        assert (energy <= best + 1.0001e-4 * unit).all()
        # Of single precision the iterations are others, but no more.
        assert info.n_iter.mean() <= 1.1 * here[1].n_iter.mean() + 10


@pytest.mark.parametrize("shape", ["tile", "Gram matrix", "two products"])
def test_single_precision_reaches_a_gap_of_1e_6(shape, cuda):
    X, D = problem(*DEVICE_SHAPES[shape], np.float32)
    solver = LassoSolver(D, tol=1e-6, max_iter=20_000, device="cuda")
    alpha = 0.3 * np.abs(X @ D.T).max(axis=1, keepdims=True)
    Z, info = solver.encode(X[:20], alpha[:20])
    assert_array_equal(info.status, lasso.CONVERGED)
    assert (reference.duality_gap(X[:20], D, Z, alpha[:20]) <= 1.001e-6).all()


def test_products_of_bfloat16_alone_would_not_do():
    """What the anchor is for: a gradient of that precision ends far from 1e-6."""
    X, D = (a.astype(np.float64) for a in problem(*DEVICE_SHAPES["tile"]))
    alpha = 0.3 * np.abs(X @ D.T).max(axis=1, keepdims=True)
    L = reference.lipschitz(D)

    def rough(a):
        bits = np.ascontiguousarray(a, np.float32).view(np.uint32)
        return (
            ((bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)).view(np.float32).astype(np.float64)
        )

    Z, gram = np.zeros((len(X), len(D))), rough(D @ D.T)
    for _ in range(3000):
        Z = reference.prox(Z + (X @ D.T - rough(Z) @ gram) / L, alpha / L, 1.0)
    assert np.median(reference.duality_gap(X, D, Z, alpha)) > 1e-5


@each_device_shape
def test_a_row_owes_nothing_to_its_neighbours_on_the_device(shape, cuda):
    X, D = problem(*shape, np.float32)
    solver = LassoSolver(D, tol=1e-4, max_iter=5000, device="cuda")
    alpha = 0.3 * np.abs(X @ D.T).max(axis=1, keepdims=True)
    whole, info = solver.encode(X, alpha)
    order = np.random.default_rng(0).permutation(len(X))
    shuffled, again = solver.encode(X[order], alpha[order])
    last, alone = solver.encode(X[-1:], alpha[-1:])
    # Beyond rounding, which on a device depends on the number of rows, and one certificate more or less.
    assert_allclose(shuffled, whole[order], atol=0.02)
    assert_allclose(last[0], whole[-1], atol=0.02)
    assert (np.abs(again.n_iter - info.n_iter[order]) <= 50).all()
    assert abs(alone.n_iter[0] - info.n_iter[-1]) <= 50


@pytest.mark.parametrize("shape", [*DEVICE_SHAPES.values(), *MANY_ATOMS.values()], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_order_of_threads_does_not_show(shape, dtype, cuda, monkeypatch):
    X, D = problem(*shape, dtype)
    solver = LassoSolver(D, tol=1e-3, max_iter=40, device="cuda")
    alpha = 0.3 * np.abs(X @ D.T).max(axis=1, keepdims=True)
    results = []
    for order in ("forward", "reverse", "forward"):
        monkeypatch.setenv("THALWEG_EMULATION_ORDER", order)
        Z, info = solver.encode(X, alpha)
        results.append([Z.tobytes(), *(a.tobytes() for a in info[:3])])
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_on_the_device_stay_there(dtype, cuda):
    X, D = problem(40, 20, 12, dtype)
    alpha = np.full((40, 1), 0.2, dtype)
    init = np.random.default_rng(2).normal(size=(40, 20)).astype(dtype)
    expected = LassoSolver(D, device="cuda").encode(X, alpha, init=init)
    there = [cuda.to_device(a) for a in (X, D, alpha, init)]
    Z, info = LassoSolver(there[1], device="cuda").encode(there[0], there[2], init=there[3])
    assert isinstance(Z, cuda.DeviceArray)
    assert_array_equal(Z.numpy(), expected[0])
    for a, b in zip(info, expected[1]):
        assert_array_equal(a, b)
    for a, before in zip(there, (X, D, alpha, init)):
        assert_array_equal(a.numpy(), before)
    # Weights and starts on the device serve samples on the host too.
    mixed, _ = LassoSolver(D, device="cuda").encode(X, there[2], init=there[3])
    assert_array_equal(mixed, expected[0])
    none, _ = LassoSolver(D, device="cuda").encode(there[0][:0], 0.1)
    assert none.shape == (0, 20)


def test_codes_take_the_place_of_others_on_the_device(dtype, cuda):
    X, D = problem(10, 8, 8, dtype)
    solver = LassoSolver(D, device="cuda")
    init = np.random.default_rng(2).normal(size=(10, 8)).astype(dtype)
    expected, warm = solver.encode(X, 0.2)[0], solver.encode(X, 0.2, init=init)[0]
    out = cuda.to_device(np.full((10, 8), np.nan, dtype))
    codes, _ = solver.encode(cuda.to_device(X), 0.2, out=out)
    assert codes is out
    assert_array_equal(out.numpy(), expected)
    samples = cuda.to_device(X)
    solver.encode(samples, 0.2, out=samples)
    assert_array_equal(samples.numpy(), expected)
    buffer = cuda.to_device(np.vstack([init, init[:1]]))
    solver.encode(cuda.to_device(X), 0.2, init=buffer[:-1], out=buffer[1:])
    assert_array_equal(buffer[1:].numpy(), warm)


def test_weights_of_zero_are_noticed_on_the_device(cuda):
    X, D = problem(10, 8, 8)
    alpha = np.full((10, 1), 0.2)
    solver = LassoSolver(D, device="cuda")
    there = cuda.to_device(X)
    assert solver.encode(there, cuda.to_device(alpha))[1].criterion == "duality gap"
    alpha[3] = 0
    codes, info = solver.encode(there, cuda.to_device(alpha))
    assert info.criterion == "optimality residual"
    assert_array_equal(codes.numpy(), solver.encode(X, alpha)[0])


DEVICE_FAULTS = {
    "coordinate descent": ({"solver": "cd"}, "solver: device='cuda' has 'auto', 'fista', 'ista', got 'cd'"),
    "active set": ({"solver": "active_set"}, "solver: device='cuda' has .*got 'active_set'"),
    "unknown device": ({"device": "gpu"}, "device: expected 'cpu' or 'cuda', got 'gpu'"),
    "no device": ({"device": None}, "device: expected 'cpu' or 'cuda'"),
}


@pytest.mark.parametrize(("arguments", "message"), DEVICE_FAULTS.values(), ids=DEVICE_FAULTS)
def test_what_no_device_has_is_refused(arguments, message):
    """Before a device is asked for."""
    with pytest.raises(ValueError, match=message):
        LassoSolver(np.eye(3), **{"device": "cuda", **arguments})


def test_bad_arrays_on_the_device(cuda):
    X, D = problem(6, 5, 4)
    solver = LassoSolver(D, device="cuda")
    there = cuda.to_device(X)
    spoilt = {value: cuda.to_device(spoiled(value)) for value in (np.nan, np.inf)}
    for x, keywords, message in [
        (spoilt[np.nan], {}, "X: .*NaN"),
        (spoilt[np.inf], {}, "X: .*infinity"),
        (cuda.to_device(X[:, :3].copy()), {}, "X: expected 4 features.*got 3"),
        (cuda.to_device(X[0]), {}, r"X: expected 2 dimension.*\(4,\)"),
        (there, {"alpha": -1.0}, "alpha: expected numbers >= 0, got -1"),
        (there, {"alpha": np.ones((5, 1))}, r"alpha: .*got shape \(5, 1\)"),
        (there, {"init": np.ones((6, 4))}, "init: expected shape"),
        (there, {"init": np.full((6, 5), np.nan)}, "init: .*NaN"),
        (there, {"out": cuda.to_device(np.ones((6, 4)))}, r"out: expected an array of shape \(6, 5\)"),
        (there, {"out": cuda.to_device(np.ones((6, 5), np.float32))}, "out: .*dtype float64"),
        (there, {"alpha": cuda.to_device(np.array([0.1, -1.0]))}, "alpha: expected .*>= 0.*negative"),
        (there, {"alpha": cuda.to_device(np.full((6, 1), np.nan))}, "alpha: expected .*NaN"),
        (there, {"alpha": cuda.to_device(np.ones((5, 1)))}, r"alpha: .*got shape \(5, 1\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            solver.encode(x, **{"alpha": 0.1, **keywords})
    for call in (lambda: LassoSolver(D).encode(there, 0.1), lambda: LassoSolver(there)):
        with pytest.raises(TypeError, match="set device='cuda'"):
            call()
    with pytest.raises(TypeError, match=r"out: expected an array on the device.*got ndarray"):
        solver.encode(there, 0.1, out=np.ones((6, 5)))


def test_the_compiled_twin_checks_what_memory_needs(cuda):
    X, D = problem(6, 5, 4)
    good = {
        "x": X,
        "alpha": np.full((1, 1), 0.1),
        "codes": np.zeros((6, 5)),
        "gap": np.zeros(6),
        "n_iter": np.zeros(6, np.int32),
        "status": np.zeros(6, np.int8),
    }
    options = cuda.LassoOptions()
    twin = cuda.CodingDictionary64(D, 0.0, 0)
    with pytest.raises(ValueError, match="solver: device='cuda' has"):
        twin.encode(**good, options=options)  # the default is the active set
    options.method = cuda.LassoMethod.fista
    twin.encode(**good, options=options)
    assert (good["status"] == lasso.CONVERGED).all()
    for name, bad in [
        ("x", X[:, :3].copy()),
        ("alpha", np.ones((2, 1))),
        ("codes", np.zeros((6, 4))),
        ("gap", np.zeros(5)),
        ("n_iter", np.zeros(7, np.int32)),
        ("status", np.zeros((6, 1), np.int8)),
    ]:
        with pytest.raises(ValueError, match="expected"):
            twin.encode(**{**good, name: bad}, options=options)
    for kind, wrong in ((cuda.CodingDictionary64, np.float32), (cuda.CodingDictionary32, np.float64)):
        with pytest.raises(TypeError):
            kind(D.astype(wrong), 0.0, 0)
    with pytest.raises(ValueError, match="dictionary: expected at least one atom"):
        cuda.CodingDictionary64(np.empty((0, 4)), 0.0, 0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_split_codes_and_reconstruct(dtype, cuda):
    D = problem(7, 9, 5, dtype)[1]
    codes = np.random.default_rng(1).normal(size=(7, 9)).astype(dtype)
    codes[codes < 0.3] -= 0.3
    parts, rows = np.empty((7, 18), dtype), np.empty((7, 5), dtype)
    cuda.split_signs(codes, parts)
    assert_array_equal(parts, np.hstack([np.maximum(codes, 0), np.maximum(-codes, 0)]))
    for given in (codes, parts):
        cuda.reconstruct(given, D, rows)
        assert_allclose(rows, codes @ D, atol=20 * UNIT[dtype])
    with pytest.raises(ValueError, match="codes: expected 9 columns, or twice as many, got 8"):
        cuda.reconstruct(codes[:, :8].copy(), D, rows)
    with pytest.raises(ValueError, match=r"out: expected shape \(7, 18\)"):
        cuda.split_signs(codes, rows)


@pytest.mark.parametrize("dtype", DTYPES)
def test_ctrl_c_ends_a_long_run_on_the_device(dtype, cuda):
    X, D = problem(20, 12, 8, dtype)
    solver = LassoSolver(D, solver="ista", tol=0, max_iter=100_000_000, device="cuda")
    asked, ended = [], threading.Event()

    def interrupt():
        if not ended.wait(0.5):
            asked.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            solver.encode(X, 0.1)
        returned = time.perf_counter()
    finally:
        ended.set()
    thread.join()
    assert returned - asked[0] < 0.2
    codes, _ = LassoSolver(D, device="cuda").encode(X, 0.1)  # all is in order afterwards
    assert np.isfinite(codes).all()
