"""Laws of the lasso: optimality, descent, the gap as a bound, scaling, permutations, threads, and peers."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import sparse_encode
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ElasticNet

from reference import lasso as reference
from thalweg.inference.lasso import LassoSolver

L1_METHODS = ("active_set", "cd", "fista", "ista")
MANY = 100_000  # iterations, where the law is about the answer


@dataclass(frozen=True)
class Problem:
    """Samples, atoms and weights that follow from a few numbers."""

    n_samples: int
    n_components: int
    n_features: int
    seed: int
    share: float  # alpha over the median of max_j |<x, d_j>|
    unit_norm: bool
    per_sample: bool
    repeated: bool  # whether atoms come twice, once with the other sign
    positive: bool
    l2: float

    @property
    def samples(self):
        rng = np.random.default_rng(self.seed)
        X = rng.normal(size=(self.n_samples, self.n_features))
        return X * 10.0 ** rng.uniform(-1, 1, (self.n_samples, 1))

    @property
    def dictionary(self):
        rng = np.random.default_rng(self.seed + 1)
        D = rng.normal(size=(self.n_components, self.n_features))
        if self.unit_norm:
            D /= np.linalg.norm(D, axis=1, keepdims=True)
        if self.repeated:
            third = self.n_components // 3
            D[third : 2 * third] = D[:third]
            D[2 * third : 3 * third] = -D[:third]
        return D

    @property
    def alpha(self):
        peaks = np.abs(self.samples @ self.dictionary.T).max(axis=1)
        return self.share * (peaks[:, None] if self.per_sample else np.float64(np.median(peaks)))

    @property
    def kinds(self):
        return {"positive": self.positive, "l2": self.l2}

    def energy(self, Z):
        return reference.energy(self.samples, self.dictionary, Z, self.alpha, l2=self.l2)


problems = st.builds(
    Problem,
    n_samples=st.integers(1, 60),
    n_components=st.integers(1, 40),
    n_features=st.integers(1, 24),
    seed=st.integers(0, 2**32 - 2),
    share=st.sampled_from([0.03, 0.1, 0.3, 0.7]),
    unit_norm=st.booleans(),
    per_sample=st.booleans(),
    repeated=st.booleans(),
    positive=st.booleans(),
    l2=st.sampled_from([0.0, 0.5]),
)
SAMPLE = Problem(50, 33, 20, 0, 0.1, True, False, False, False, 0.0)
dtypes = st.sampled_from([np.float64, np.float32])
methods = st.sampled_from(L1_METHODS)


def encode(problem, dtype=np.float64, **options):
    solver = LassoSolver(problem.dictionary.astype(dtype), **{**problem.kinds, **options})
    return solver.encode(problem.samples.astype(dtype), np.asarray(problem.alpha).astype(dtype))


def unit(X):
    """What the certificate of l1 is relative to."""
    return 0.5 * (np.asarray(X, np.float64) ** 2).sum(axis=1)


# --- optimality


@given(problem=problems, method=st.sampled_from(["active_set", "cd", "fista"]))
@example(problem=SAMPLE, method="active_set")
def test_kkt_conditions_hold_at_the_answer(problem, method):
    Z, info = encode(problem, solver=method, tol=1e-10, max_iter=MANY)
    # Coordinate descent may need more sweeps than this where atoms are nearly dependent, and then says so.
    assert (info.status == 0).all() or method == "cd"
    X, D = problem.samples, problem.dictionary
    # E exceeds its minimum by half the squared distance of the residuals at the least: the gap bounds what
    # every correlation lacks, rounding of the gap itself included.
    error = np.sqrt(2 * (np.maximum(info.gap, 0) + 1e-15) * unit(X))[:, None] * np.sqrt(
        (D**2).sum(axis=1) + problem.l2
    )
    rounding = 1e-12 * np.abs(X @ D.T).max(axis=1, keepdims=True)
    violation = reference.kkt_violation(X, D, Z, problem.alpha, **problem.kinds)
    assert (np.where(Z == 0, violation, 0) <= error + rounding).all()
    # Where z is not zero, alpha |z| - c z is a part of the gap.
    slack = (reference.weights(problem.alpha, X, D) * np.abs(Z)).sum(axis=1) - (
        reference.correlations(X, D, Z, problem.l2) * Z
    ).sum(axis=1)
    assert (np.abs(slack) <= 3 * np.sqrt(np.maximum(info.gap, 1e-10)) * unit(X)).all()
    if problem.positive:
        assert (Z >= 0).all()


@given(problem=problems, method=methods, max_iter=st.integers(1, 60), dtype=dtypes)
@example(problem=SAMPLE, method="active_set", max_iter=1, dtype=np.float32)
@example(problem=SAMPLE, method="fista", max_iter=30, dtype=np.float64)
def test_gap_bounds_the_excess(problem, method, max_iter, dtype):
    Z, info = encode(problem, dtype, solver=method, tol=1e-6, max_iter=max_iter)
    X, D = problem.samples.astype(dtype), problem.dictionary.astype(dtype)
    alpha = np.asarray(problem.alpha).astype(dtype)
    best, certified = LassoSolver(D.astype(np.float64), tol=1e-10, max_iter=MANY, **problem.kinds).encode(
        X, alpha
    )
    assert (certified.status == 0).all()
    excess = reference.energy(X, D, Z, alpha, l2=problem.l2) - reference.energy(
        X, D, best, alpha, l2=problem.l2
    )
    assert (excess <= (info.gap + 1e-12) * unit(X)).all()
    assert (excess >= -2e-10 * unit(X)).all()
    assert (info.gap >= -1e-12).all()


@given(problem=problems, penalty=st.sampled_from(list(reference.EXPONENTS)))
@example(problem=SAMPLE, penalty="l1/2")
def test_ista_never_raises_the_energy(problem, penalty):
    X, D, q = problem.samples, problem.dictionary, reference.EXPONENTS[penalty]
    solver = LassoSolver(D, solver="ista", penalty=penalty, max_iter=1, tol=0, **problem.kinds)
    Z = np.zeros((len(X), len(D)))
    before = reference.energy(X, D, Z, problem.alpha, q, problem.l2)
    for _ in range(12):
        Z, _ = solver.encode(X, problem.alpha, init=Z)
        after = reference.energy(X, D, Z, problem.alpha, q, problem.l2)
        assert (after <= before + 1e-12 * unit(X)).all()
        before = after


@given(problem=problems, penalty=st.sampled_from(list(reference.EXPONENTS)))
def test_coordinate_descent_never_raises_the_energy(problem, penalty):
    X, D, q = problem.samples, problem.dictionary, reference.EXPONENTS[penalty]
    solver = LassoSolver(D, solver="cd", penalty=penalty, max_iter=1, tol=0, **problem.kinds)
    Z = np.zeros((len(X), len(D)))
    before = reference.energy(X, D, Z, problem.alpha, q, problem.l2)
    for _ in range(6):
        Z, _ = solver.encode(X, problem.alpha, init=Z)
        after = reference.energy(X, D, Z, problem.alpha, q, problem.l2)
        assert (after <= before + 1e-12 * unit(X)).all()
        before = after


# --- scaling and permutations


@given(problem=problems, method=methods, power=st.integers(-30, 30), dtype=dtypes)
@example(problem=SAMPLE, method="active_set", power=-30, dtype=np.float32)
def test_powers_of_two_scale_exactly(problem, method, power, dtype):
    """codes(c X, c alpha) = c codes(X, alpha), bit for bit."""
    X, alpha = problem.samples.astype(dtype), np.asarray(problem.alpha).astype(dtype)
    c = dtype(2.0**power)
    solver = LassoSolver(
        problem.dictionary.astype(dtype), solver=method, tol=1e-4, max_iter=200, **problem.kinds
    )
    Z, info = solver.encode(X, alpha)
    scaled, scaled_info = solver.encode(c * X, c * alpha)
    assert_array_equal(scaled, c * Z)
    for a, b in zip(info[:3], scaled_info[:3]):
        assert_array_equal(a, b)


@given(problem=problems, method=methods, power=st.integers(-30, 30), dtype=dtypes)
def test_powers_of_two_of_the_dictionary_scale_exactly(problem, method, power, dtype):
    """codes(X, c alpha) over c D = codes(X, alpha) / c, with l2 c^2."""
    D, alpha = problem.dictionary.astype(dtype), np.asarray(problem.alpha).astype(dtype)
    X, c = problem.samples.astype(dtype), dtype(2.0**power)
    options = {"solver": method, "tol": 1e-4, "max_iter": 200, "positive": problem.positive}
    Z, info = LassoSolver(D, l2=problem.l2, **options).encode(X, alpha)
    scaled, scaled_info = LassoSolver(c * D, l2=problem.l2 * float(c) ** 2, **options).encode(X, c * alpha)
    assert_array_equal(scaled, Z / c)
    assert_array_equal(info.n_iter, scaled_info.n_iter)


@given(problem=problems, penalty=st.sampled_from(list(reference.EXPONENTS)), factor=st.floats(1e-6, 1e6))
def test_any_factor_scales_within_rounding(problem, penalty, factor):
    """codes(c X, c^(2 - q) alpha) = c codes(X, alpha)."""
    q = reference.EXPONENTS[penalty]
    solver = LassoSolver(
        problem.dictionary, solver="ista", penalty=penalty, tol=0, max_iter=8, **problem.kinds
    )
    Z, _ = solver.encode(problem.samples, problem.alpha)
    scaled, _ = solver.encode(factor * problem.samples, factor ** (2 - q) * problem.alpha)
    size = np.abs(Z).max(axis=1, keepdims=True) + 1e-300
    # Below q = 1 rounding can take a coefficient over the jump.
    far = (np.abs(scaled / factor - Z) > 1e-11 * size).any(axis=1)
    assert far.sum() <= (penalty != "l1") * (1 + len(Z) // 20)


@given(problem=problems, method=methods, dtype=dtypes, seed=st.integers(0, 1000))
@example(problem=SAMPLE, method="active_set", dtype=np.float32, seed=0)
def test_a_row_does_not_depend_on_its_batch(problem, method, dtype, seed):
    X = problem.samples.astype(dtype)
    alpha = np.broadcast_to(np.asarray(problem.alpha).astype(dtype), (len(X), 1))
    solver = LassoSolver(
        problem.dictionary.astype(dtype), solver=method, tol=1e-4, max_iter=500, **problem.kinds
    )
    Z, info = solver.encode(X, alpha)
    order = np.random.default_rng(seed).permutation(len(X))
    shuffled, shuffled_info = solver.encode(X[order], alpha[order])
    few = order[: 1 + len(order) // 3]
    part, part_info = solver.encode(X[few], alpha[few])
    tolerance = 1e-12 if dtype == np.float64 else 1e-5
    size = np.abs(Z).max(initial=1e-30)
    assert_allclose(shuffled, Z[order], atol=tolerance * size, rtol=0)
    assert_allclose(part, Z[few], atol=tolerance * size, rtol=0)
    assert_array_equal(shuffled_info.status, info.status[order])
    assert_array_equal(part_info.status, info.status[few])


@given(problem=problems, method=st.sampled_from(["active_set", "cd", "fista"]), seed=st.integers(0, 1000))
def test_permuted_atoms_permute_the_codes(problem, method, seed):
    order = np.random.default_rng(seed).permutation(problem.n_components)
    options = {"solver": method, "tol": 1e-11, "max_iter": MANY, **problem.kinds}
    Z, info = LassoSolver(problem.dictionary, **options).encode(problem.samples, problem.alpha)
    permuted, permuted_info = LassoSolver(problem.dictionary[order], **options).encode(
        problem.samples, problem.alpha
    )
    assert (info.status == 0).all()
    assert (permuted_info.status == 0).all()
    back = np.empty_like(Z)
    back[:, order] = permuted
    assert_allclose(problem.energy(back), problem.energy(Z), rtol=0, atol=1e-10 * unit(problem.samples).max())
    # Codes may differ where atoms depend on each other; what they reconstruct may not.
    distance = np.linalg.norm((back - Z) @ problem.dictionary, axis=1)
    assert (distance <= 2 * np.sqrt(2e-11 * 2 * unit(problem.samples)) + 1e-12).all()


# --- threads and precision


@settings(max_examples=15)
@given(problem=problems, method=methods, dtype=dtypes, penalty=st.sampled_from(list(reference.EXPONENTS)))
@example(problem=SAMPLE, method="active_set", dtype=np.float32, penalty="l1")
@example(problem=SAMPLE, method="active_set", dtype=np.float64, penalty="l1")
def test_any_number_of_threads_gives_the_same_bits(problem, method, dtype, penalty):
    if method == "active_set":
        penalty = "l1"
    X = np.tile(problem.samples.astype(dtype), (6, 1)) * np.linspace(0.5, 2, 6 * problem.n_samples)[:, None]
    X = X.astype(dtype)
    alpha = np.asarray(np.median(problem.alpha)).astype(dtype)
    results = []
    for n_jobs in (1, 2, 3):
        solver = LassoSolver(
            problem.dictionary.astype(dtype),
            **{"solver": method, "penalty": penalty, "tol": 1e-4, "max_iter": 60, "n_jobs": n_jobs},
            **problem.kinds,
        )
        Z, info = solver.encode(X, alpha)
        results.append((solver.lipschitz, Z.tobytes(), *(a.tobytes() for a in info[:3])))
    assert results[0] == results[1] == results[2]


@given(problem=problems)
@example(problem=SAMPLE)
def test_single_precision_reaches_the_same_energy(problem):
    exact, _ = encode(problem, tol=1e-10, max_iter=MANY)
    single, info = encode(problem, np.float32, tol=1e-5)
    assert (info.status == 0).all()
    assert (problem.energy(single) - problem.energy(exact) <= 2e-5 * unit(problem.samples)).all()


# --- peers


@settings(max_examples=15)
@given(problem=problems)
@example(problem=SAMPLE)
def test_energy_equals_that_of_scikit_learn(problem):
    Z, _ = encode(problem, tol=1e-10, max_iter=MANY)
    X, D = problem.samples, problem.dictionary
    alpha = np.broadcast_to(problem.alpha, (len(X), 1))[:, 0]
    n = problem.n_features
    for x, a, z in list(zip(X, alpha, Z))[:10]:
        weight = a + problem.l2
        peer = ElasticNet(
            alpha=weight / n,
            l1_ratio=a / weight,
            fit_intercept=False,
            positive=problem.positive,
            tol=1e-10,
            max_iter=200_000,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            code = peer.fit(D.T, x).coef_
        ours, theirs = (reference.energy(x[None], D, c[None], a, l2=problem.l2)[0] for c in (z, code))
        assert ours <= theirs + 1e-10 * unit(x[None])[0]
        assert_allclose(ours, theirs, rtol=1e-5)


@pytest.mark.parametrize("algorithm", ["lasso_lars", "lasso_cd"])
def test_energy_equals_that_of_sparse_encode(algorithm):
    X, D = SAMPLE.samples, SAMPLE.dictionary
    alpha = float(SAMPLE.alpha)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        theirs = sparse_encode(X, D, algorithm=algorithm, alpha=alpha, max_iter=10_000)
    Z, _ = encode(SAMPLE, tol=1e-10)
    assert_allclose(SAMPLE.energy(Z), SAMPLE.energy(theirs), rtol=1e-6)


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("l2", [0.0, 0.5])
def test_energy_equals_that_of_spams(l2, positive):
    spams = pytest.importorskip("spams")
    X, D = SAMPLE.samples, SAMPLE.dictionary
    alpha = float(SAMPLE.alpha)
    if l2 > 0:
        D = D[: X.shape[1]]  # with more atoms than features SPAMS misses the elastic net's optimum
    theirs = spams.lasso(
        np.asfortranarray(X.T),
        D=np.asfortranarray(D.T),
        **{"lambda1": alpha, "lambda2": l2, "mode": 2, "pos": positive},
    )
    Z, info = LassoSolver(D, tol=1e-11, max_iter=MANY, l2=l2, positive=positive).encode(X, alpha)
    ours, peers = (reference.energy(X, D, z, alpha, l2=l2) for z in (Z, theirs.toarray().T))
    assert (info.status == 0).all()
    assert (ours <= peers + 1e-10 * unit(X)).all()
    assert_allclose(ours, peers, rtol=1e-6)


# --- on the GPU, or its emulation

few_rows = st.builds(lambda problem, n: replace(problem, n_samples=n), problems, st.integers(1, 12))
on_device = settings(max_examples=12, suppress_health_check=list(HealthCheck), deadline=None)


@on_device
@given(problem=few_rows, method=st.sampled_from(["fista", "ista"]), dtype=dtypes)
@example(problem=replace(SAMPLE, n_samples=9), method="fista", dtype=np.float32)
@example(
    problem=replace(SAMPLE, n_components=20, n_samples=9, per_sample=True), method="fista", dtype=np.float32
)
def test_codes_of_the_device_are_certified_and_no_worse(problem, method, dtype, cuda):
    Z, info = encode(problem, dtype, solver=method, tol=1e-4, max_iter=400, device="cuda")
    here, its_info = encode(problem, dtype, solver=method, tol=1e-4, max_iter=400)
    X, D = problem.samples.astype(dtype), problem.dictionary.astype(dtype)
    alpha = np.asarray(problem.alpha).astype(dtype)
    assert_allclose(info.gap, reference.duality_gap(X, D, Z, alpha, **problem.kinds), rtol=1e-6, atol=1e-11)
    assert_array_equal(info.status == 0, info.gap <= 1e-4)
    energy, best = (reference.energy(X, D, codes, alpha, l2=problem.l2) for codes in (Z, here))
    # Both within their gaps of the minimum.
    assert (energy <= best + (np.maximum(info.gap, 0) + 1e-12) * unit(X)).all()
    assert (best <= energy + (np.maximum(its_info.gap, 0) + 1e-12) * unit(X)).all()
    if problem.positive:
        assert (Z >= 0).all()
    # What a correlation lacks is bounded by the gap: see test_kkt_conditions_hold_at_the_answer.
    atoms = np.sqrt((D.astype(np.float64) ** 2).sum(axis=1) + problem.l2)
    error = np.sqrt(2 * (np.maximum(info.gap, 0) + 1e-11) * unit(X))[:, None] * atoms
    violation = reference.kkt_violation(X, D, Z, alpha, **problem.kinds)
    assert (np.where(Z == 0, violation, 0) <= error * 1.001 + 1e-9).all()


@on_device
@given(problem=few_rows, dtype=dtypes, power=st.integers(-30, 30))
def test_powers_of_two_scale_exactly_on_the_device(problem, dtype, power, cuda):
    X, alpha = problem.samples.astype(dtype), np.asarray(problem.alpha).astype(dtype)
    c = dtype(2.0**power)
    solver = LassoSolver(
        problem.dictionary.astype(dtype), tol=1e-4, max_iter=60, device="cuda", **problem.kinds
    )
    Z, info = solver.encode(X, alpha)
    scaled, scaled_info = solver.encode(c * X, c * alpha)
    assert_array_equal(scaled, c * Z)
    for a, b in zip(info[:3], scaled_info[:3]):
        assert_array_equal(a, b)
    again, again_info = solver.encode(X, alpha)
    assert_array_equal(again, Z)
    for a, b in zip(info[:3], again_info[:3]):
        assert_array_equal(a, b)
