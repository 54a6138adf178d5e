import os
import signal
import threading
import time

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from reference import messages as reference
from reference.messages import AND, OR, POTTS, PRODUCT, TABLE, TRUNCATED_LINEAR, TRUNCATED_QUADRATIC
from thalweg._native import cpu as _cpu

BETAS = [0.6, 3.0, np.inf]
BATCHES = [1, 2, 5, 19]


# --- graphs


def graph_of(cardinalities, factors):
    scopes = [scope for _, scope in factors]
    starts = np.cumsum([0, *map(len, scopes)])
    return _cpu.MessageGraph(
        np.array(cardinalities, np.int64),
        np.array([kind for kind, _ in factors], np.int64),
        starts.astype(np.int64),
        np.array([i for scope in scopes for i in scope], np.int64),
    )


def sizes_of(cardinalities, factors):
    return [reference.n_numbers(kind, [cardinalities[i] for i in scope]) for kind, scope in factors]


def random_numbers(rng, cardinalities, factors, scale=1.0):
    out = []
    for (kind, _), size in zip(factors, sizes_of(cardinalities, factors), strict=True):
        numbers = rng.normal(size=size) * scale
        if kind in (TRUNCATED_LINEAR, TRUNCATED_QUADRATIC):
            numbers[1] = np.abs(numbers[1]) * 2
        out.append(numbers)
    return out


def random_unary(rng, cardinalities, scale=1.0):
    return [rng.normal(size=k) * scale for k in cardinalities]


def flat(parts, dtype):
    return np.concatenate([np.empty(0), *parts]).astype(dtype)


class Batch:
    """Graphs of one structure with their energies, their native passer, and each one's reference."""

    def __init__(self, rng, cardinalities, factors, dtype, n_graphs=1, own=True, scale=1.0):
        self.cardinalities, self.factors, self.dtype = list(cardinalities), factors, dtype
        self.graph = graph_of(cardinalities, factors)
        shared = random_numbers(rng, cardinalities, factors, scale)
        if own:
            numbers = [random_numbers(rng, cardinalities, factors, scale) for _ in range(n_graphs)]
        unary = [random_unary(rng, cardinalities, scale) for _ in range(n_graphs)]
        self.unary = np.array([flat(u, dtype) for u in unary])
        self.energies = np.array([flat(n, dtype) for n in numbers]) if own else flat(shared, dtype)
        self.starts = np.cumsum([0, *self.cardinalities])
        self.number_starts = np.cumsum([0, *sizes_of(cardinalities, factors)])

    @property
    def n_graphs(self):
        return len(self.unary)

    def passer(self):
        return _cpu.message_passer(self.graph, self.energies, self.unary)

    def numbers_of(self, g):
        row = np.atleast_2d(self.energies)[g if self.energies.ndim == 2 else 0].astype(float)
        return np.split(row, self.number_starts[1:-1]) if self.factors else []

    def unary_of(self, g):
        return np.split(self.unary[g].astype(float), self.starts[1:-1])

    def reference(self, g):
        return reference.Propagation(self.cardinalities, self.factors, self.numbers_of(g), self.unary_of(g))

    def total(self, g):
        return reference.total(self.cardinalities, self.factors, self.numbers_of(g), self.unary_of(g))

    def expectations(self, g, energy, beta):
        numbers = self.numbers_of(g)
        return reference.statistics(self.cardinalities, self.factors, numbers, energy, beta)

    # What a passer says, in new arrays.

    def beliefs(self, passer, beta, **options):
        out = np.empty_like(self.unary)
        passer.beliefs(beta, out, **options)
        return out

    def statistics(self, passer, beta, **options):
        out = np.empty((self.n_graphs, self.graph.n_energies), self.dtype)
        passer.statistics(beta, out, **options)
        return out

    def log_partition(self, passer, beta, **options):
        out = np.empty(self.n_graphs)
        passer.log_partition(beta, out, **options)
        return out

    def decode(self, passer, beta, **options):
        out = np.empty((self.n_graphs, len(self.cardinalities)), np.int64)
        passer.decode(beta, out, **options)
        return out

    def energy(self, states):
        out = np.empty(self.n_graphs)
        _cpu.graph_energy(self.graph, self.energies, self.unary, states, out)
        return out


def tree():
    """A forest of every kind of factor, one isolated variable, and factors of one variable."""
    cardinalities = [2, 3, 4, 2, 2, 5, 2, 3, 1, 4, 2]
    factors = [
        (TABLE, [0, 1]),
        (POTTS, [2, 1]),
        (TABLE, [1]),
        (OR, [0, 3, 4]),
        (TRUNCATED_LINEAR, [2, 5]),
        (PRODUCT, [4, 6]),
        (TABLE, [3, 7, 8]),
        (TRUNCATED_QUADRATIC, [9, 7]),
        (TABLE, [5]),
        (TABLE, [1]),
    ]
    return cardinalities, factors


def logical_tree():
    cardinalities = [2] * 8
    return cardinalities, [(AND, [0, 1, 2]), (OR, [3, 2, 4, 5]), (AND, [5, 6]), (OR, [7, 6])]


def loopy():
    """Cycles through every kind of factor, with several of each, so that blocks of lanes are not all full."""
    cardinalities = [3, 3, 2, 4, 2, 3, 2, 4, 3, 2, 2, 4]
    by_states = {k: [i for i, c in enumerate(cardinalities) if c == k] for k in (2, 3, 4)}
    two, three, four = by_states[2], by_states[3], by_states[4]
    factors = [(POTTS, [a, b]) for a, b in zip(three, three[1:] + three[:1], strict=True)]
    factors += [(TABLE, [a, b]) for a in two for b in three]
    factors += [(TRUNCATED_LINEAR, [a, b]) for a in four for b in four if a < b]
    factors += [(TRUNCATED_QUADRATIC, [a, b]) for a in four for b in three]
    factors += [(PRODUCT, [a, b]) for a in two for b in two if a < b]
    factors += [(TABLE, [two[0], four[0], three[0]]), (TABLE, [two[1], three[1], two[2], four[1]])]
    factors += [(POTTS, [three[0], four[2]]), (TRUNCATED_LINEAR, [two[3], four[0]])]
    factors += [(TABLE, [0]), (TABLE, [7])]
    return cardinalities, factors


def grid(height, width, states, kind):
    at = np.arange(height * width).reshape(height, width)
    pairs = [*zip(at[:, :-1].ravel(), at[:, 1:].ravel(), strict=True)]
    pairs += zip(at[:-1].ravel(), at[1:].ravel(), strict=True)
    return [states] * (height * width), [(kind, [int(a), int(b)]) for a, b in pairs]


def chain(length, states, kind):
    return [states] * length, [(kind, [i, i + 1]) for i in range(length - 1)]


def tolerance(dtype, beta):
    return (2e-4 if dtype == np.float32 else 1e-9) * (beta if np.isfinite(beta) else 1.0)


# --- two passes


@pytest.mark.parametrize("make", [tree, logical_tree])
@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("n_graphs", BATCHES)
@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
def test_two_passes_are_exact_on_forests(rng, dtype, make, beta, n_graphs, own):
    batch = Batch(rng, *make(), dtype, n_graphs, own)
    assert batch.graph.is_forest
    passer = batch.passer()
    passer.two_pass(beta)
    atol = tolerance(dtype, beta)
    beliefs, log_z = batch.beliefs(passer, beta), batch.log_partition(passer, beta)
    states = batch.decode(passer, beta)
    statistics = batch.statistics(passer, beta)
    for g in range(n_graphs):
        energy = batch.total(g)
        wanted = np.concatenate(reference.marginals(energy, beta))
        assert_array_equal(np.isinf(beliefs[g]), np.isinf(wanted))
        assert_allclose(beliefs[g], wanted, atol=atol)
        if np.isinf(beta):
            assert_allclose(log_z[g], -energy.min(), atol=atol)
            assert_allclose(energy[tuple(states[g])], energy.min(), atol=atol)
            p = np.zeros_like(energy)
            p[tuple(states[g])] = 1.0
            one_hot = np.where(p > 0, 0.0, np.inf)
            assert_allclose(statistics[g], batch.expectations(g, one_hot, 1.0), atol=atol)
        else:
            assert_allclose(log_z[g], reference.log_partition(energy, beta), atol=20 * atol)
            assert_allclose(statistics[g], batch.expectations(g, energy, beta), atol=10 * atol)


@pytest.mark.parametrize("n_graphs", [1, 20])
def test_a_long_chain_does_not_underflow(rng, dtype, n_graphs):
    n = 400
    batch = Batch(rng, *chain(n, 3, TABLE), dtype, n_graphs, own=False, scale=30)
    passer = batch.passer()
    passer.two_pass(1.0)
    numbers, log_z = batch.numbers_of(0), batch.log_partition(passer, 1.0)
    for g in range(n_graphs):
        message = np.zeros(3)
        for i, u in enumerate(batch.unary_of(g)):
            forward = message + u
            if i < n - 1:
                message = reference.soft_minimum(forward[:, None] + numbers[i].reshape(3, 3), 1.0, 0)
        rtol = 5e-6 if dtype == np.float32 else 1e-12
        assert_allclose(log_z[g], -reference.soft_minimum(forward, 1.0), rtol=rtol)


def test_ties_are_decoded_consistently(dtype):
    n = 9
    batch = Batch(np.random.default_rng(0), *chain(n, 2, PRODUCT), dtype)
    batch.unary[:] = np.tile([0.0, -1.0], n)
    batch.energies[:] = 1.0  # a 1 beside a 1 is worth nothing
    passer = batch.passer()
    passer.two_pass(np.inf)
    states = batch.decode(passer, np.inf)
    assert batch.energy(states)[0] == batch.total(0).min()
    # Every state of a variable is as good as the others, but not beside its neighbour's.
    torn = Batch(np.random.default_rng(0), *chain(n, 3, POTTS), dtype)
    torn.unary[:] = 0
    torn.energies[:] = -1.0
    passer = torn.passer()
    passer.two_pass(np.inf)
    assert torn.energy(torn.decode(passer, np.inf))[0] == -(n - 1)


@pytest.mark.parametrize("kind", [OR, AND])
def test_ties_of_logical_factors(dtype, kind):
    for result in range(4):
        batch = Batch(np.random.default_rng(0), [2] * 4, [(kind, [1, 0, 3, 2])], dtype)
        batch.unary[:] = 0
        batch.unary[0, 2 * result] = 1.0  # variable `result` prefers 1
        passer = batch.passer()
        passer.two_pass(np.inf)
        assert batch.energy(batch.decode(passer, np.inf))[0] == 0


def test_two_passes_need_a_forest(rng, dtype):
    passer = Batch(rng, *grid(2, 2, 2, POTTS), dtype).passer()
    with pytest.raises(ValueError, match="two_pass: expected a forest"):
        passer.two_pass(1.0)


def test_a_graph_without_factors(rng, dtype):
    batch = Batch(rng, [2, 3], [], dtype, 4)
    passer = batch.passer()
    steps, residual = passer.flood(1.0, 0.0, 10, 0.0)
    assert_array_equal(steps, 1)
    assert_array_equal(residual, 0)
    assert_array_equal(passer.residual(1.0, 0.0, 10, 0.0)[0], 0)
    passer.two_pass(1.0)
    wanted = [reference.log_partition(batch.total(g), 1.0) for g in range(4)]
    assert_allclose(batch.log_partition(passer, 1.0), wanted, rtol=1e-5)


# --- flooding


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("n_graphs", BATCHES)
@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
@pytest.mark.parametrize("damping", [0.0, 0.4])
def test_flooding_is_what_the_formulas_say(rng, dtype, beta, n_graphs, own, damping):
    batch = Batch(rng, *loopy(), dtype, n_graphs, own, scale=0.5)
    passer = batch.passer()
    steps, residual = passer.flood(beta, damping, 4, 0.0)
    assert_array_equal(steps, 4)
    beliefs, log_z = batch.beliefs(passer, beta), batch.log_partition(passer, beta)
    for g in range(0, n_graphs, 3):
        wanted = batch.reference(g)
        last = [wanted.flood(beta, damping) for _ in range(4)][-1]
        atol = 20 * tolerance(dtype, beta)
        assert_allclose(residual[g], last, atol=atol)
        assert_allclose(beliefs[g], np.concatenate(wanted.marginals(beta)), atol=atol)
        if np.isfinite(beta):
            assert_allclose(log_z[g], wanted.log_bethe(beta), rtol=1e-4 if dtype == np.float32 else 1e-10)


@pytest.mark.parametrize("kind", [TABLE, POTTS, TRUNCATED_LINEAR, TRUNCATED_QUADRATIC, PRODUCT])
@pytest.mark.parametrize("beta", [1.0, np.inf])
@pytest.mark.parametrize("shape", [(5, 23, 2), (4, 9, 7)])
def test_grids(rng, dtype, kind, beta, shape):
    batch = Batch(rng, *grid(*shape, kind), dtype)
    wanted = batch.reference(0)
    passer = batch.passer()
    passer.flood(beta, 0.3, 5, 0.0)
    for _ in range(5):
        wanted.flood(beta, 0.3)
    atol = 20 * tolerance(dtype, beta)
    assert_allclose(batch.beliefs(passer, beta)[0], np.concatenate(wanted.marginals(beta)), atol=atol)


@pytest.mark.parametrize("kind", [POTTS, TRUNCATED_LINEAR, TRUNCATED_QUADRATIC, TABLE])
@pytest.mark.parametrize("beta", [1.0, np.inf])
def test_factors_that_are_all_the_same(rng, dtype, kind, beta):
    batch = Batch(rng, *grid(4, 13, 5, kind), dtype)
    batch.energies = np.tile(batch.energies[0, : batch.number_starts[1]], len(batch.factors)).astype(dtype)
    wanted, passer = batch.reference(0), batch.passer()
    passer.flood(beta, 0.0, 3, 0.0)
    for _ in range(3):
        wanted.flood(beta)
    atol = 20 * tolerance(dtype, beta)
    assert_allclose(batch.beliefs(passer, beta)[0], np.concatenate(wanted.marginals(beta)), atol=atol)


@pytest.mark.parametrize("kind", [TRUNCATED_LINEAR, TRUNCATED_QUADRATIC])
@pytest.mark.parametrize("numbers", [(1, np.inf), (0, 2), (0.5, 1), (-0.7, 1), (0.3, -1), (2, 0)])
@pytest.mark.parametrize("cardinalities", [(6, 6), (3, 8), (8, 3)])
def test_slopes_and_caps_of_any_sign(rng, dtype, kind, numbers, cardinalities):
    batch = Batch(rng, cardinalities, [(kind, [0, 1])], dtype)
    batch.energies = np.array(numbers, dtype)
    for beta in (0.8, np.inf):
        passer = batch.passer()
        passer.two_pass(beta)
        wanted = np.concatenate(reference.marginals(batch.total(0), beta))
        assert_allclose(batch.beliefs(passer, beta)[0], wanted, atol=10 * tolerance(dtype, beta))


def test_factors_without_energies_agree_with_tables(rng, dtype):
    n = 10
    for kind in (OR, AND):
        logical = Batch(rng, [2] * n, [(kind, list(range(n)))], dtype)
        numbers = reference.table(kind, [], [2] * n).ravel()
        for beta in (1.3, np.inf):
            a, b = (
                logical.passer(),
                _cpu.message_passer(
                    graph_of([2] * n, [(TABLE, list(range(n)))]), numbers.astype(dtype), logical.unary
                ),
            )
            a.two_pass(beta)
            b.two_pass(beta)
            atol = 20 * tolerance(dtype, beta)
            assert_allclose(logical.beliefs(a, beta), logical.beliefs(b, beta), atol=atol)
            log_z = logical.log_partition(b, beta)
            assert_allclose(logical.log_partition(a, beta), log_z, rtol=1e-5, atol=atol)


def test_or_of_many_variables(dtype):
    n = 3000
    unary = np.zeros((1, 2 * n), dtype)
    unary[0, 1:-2:2] = 20.0  # every input is 1 with probability e^-20
    batch = Batch(np.random.default_rng(0), [2] * n, [(OR, list(range(n)))], dtype)
    batch.unary = unary
    passer = batch.passer()
    passer.two_pass(1.0)
    some = -np.expm1(-(n - 1) * np.log1p(np.exp(-20.0)))
    assert_allclose(batch.beliefs(passer, 1.0)[0, -1], some, rtol=1e-3 if dtype == np.float32 else 1e-10)


@pytest.mark.parametrize("n_graphs", [1, 20])
def test_energies_far_apart_go_through_the_log_domain(rng, dtype, n_graphs):
    batch = Batch(rng, *tree(), dtype, n_graphs, scale=200.0)
    passer = batch.passer()
    passer.flood(1.0, 0.0, 12, 0.0)
    log_z = batch.log_partition(passer, 1.0)
    for g in range(0, n_graphs, 7):
        assert_allclose(log_z[g], reference.log_partition(batch.total(g), 1.0), rtol=1e-5)


@pytest.mark.parametrize("n_graphs", [1, 20])
def test_min_sum_is_the_limit(rng, n_graphs):
    batch = Batch(rng, *loopy(), np.float64, n_graphs)
    cold, limit = batch.passer(), batch.passer()
    cold.flood(1e7, 0.2, 6, 0.0)
    limit.flood(np.inf, 0.2, 6, 0.0)
    assert_allclose(batch.beliefs(cold, np.inf), batch.beliefs(limit, np.inf), atol=1e-5)
    assert_array_equal(batch.decode(cold, 1e7), batch.decode(limit, np.inf))


def test_a_beta_beyond_float32_is_the_limit(rng):
    batch = Batch(rng, *tree(), np.float32)
    a, b = batch.passer(), batch.passer()
    a.two_pass(1e39)
    b.two_pass(np.inf)
    assert_array_equal(batch.beliefs(a, np.inf), batch.beliefs(b, np.inf))


def test_calls_go_on_from_the_last(rng, dtype):
    batch = Batch(rng, *loopy(), dtype)
    once, twice = batch.passer(), batch.passer()
    once.flood(2.0, 0.5, 7, 0.0)
    twice.flood(2.0, 0.5, 3, 0.0)
    twice.flood(2.0, 0.5, 4, 0.0)
    assert_array_equal(batch.beliefs(once, 2.0), batch.beliefs(twice, 2.0))
    once.reset()
    once.flood(2.0, 0.5, 1, 0.0)
    again = batch.passer()
    again.flood(2.0, 0.5, 1, 0.0)
    assert_array_equal(batch.beliefs(once, 2.0), batch.beliefs(again, 2.0))


@pytest.mark.parametrize("n_graphs", [1, 20])
def test_energies_may_change(rng, dtype, n_graphs):
    batch, other = (Batch(rng, *tree(), dtype, n_graphs) for _ in range(2))
    shared = Batch(rng, *tree(), dtype, n_graphs, own=False)
    passer = batch.passer()
    passer.two_pass(1.0)
    for now in (other, shared, batch):
        passer.set_energies(now.energies, now.unary)
        passer.two_pass(1.0)
        fresh = now.passer()
        fresh.two_pass(1.0)
        assert_array_equal(now.beliefs(passer, 1.0), now.beliefs(fresh, 1.0))


@pytest.mark.parametrize("n_graphs", [3, 40])
def test_every_graph_stops_by_itself(rng, dtype, n_graphs):
    batch = Batch(rng, *loopy(), dtype, n_graphs, scale=0.3)
    batch.unary *= 3
    tol = 1e-3
    passer = batch.passer()
    steps, residual = passer.flood(1.0, 0.1, 200, tol)
    assert (residual <= tol).all()
    assert len(set(steps)) > 1
    beliefs = batch.beliefs(passer, 1.0)
    for g in range(0, n_graphs, 9):
        alone = _cpu.message_passer(batch.graph, batch.energies[g : g + 1], batch.unary[g : g + 1])
        own_steps, own_residual = alone.flood(1.0, 0.1, 200, tol)
        out = np.empty_like(batch.unary[:1])
        alone.beliefs(1.0, out)
        assert own_steps[0] == steps[g]
        assert_allclose(own_residual[0], residual[g], rtol=1e-2)
        assert_allclose(out[0], beliefs[g], atol=tolerance(dtype, 1.0))


@pytest.mark.parametrize("schedule", ["flood", "residual"])
@pytest.mark.parametrize("n_graphs", [1, 3, 40])
def test_graphs_that_do_not_take_part_stay_as_they_are(rng, dtype, n_graphs, schedule):
    batch = Batch(rng, *loopy(), dtype, n_graphs)
    passer, other = batch.passer(), batch.passer()
    move, move_other = getattr(passer, schedule), getattr(other, schedule)
    move(1.0, 0.1, 3, 0.0)
    move_other(1.0, 0.1, 3, 0.0)
    before = batch.beliefs(passer, 1.0)
    is_going = np.arange(n_graphs) % 3 == 1
    is_going[20:36] = False  # whole vectors of graphs
    steps, residual = move(1.0, 0.1, 4, 0.0, 2, is_going)
    _, all_residuals = move_other(1.0, 0.1, 4, 0.0)
    assert_array_equal(steps, np.where(is_going, 4, 0))
    assert_array_equal(residual, np.where(is_going, all_residuals, np.inf))
    wanted = np.where(is_going[:, None], batch.beliefs(other, 1.0), before)
    assert_array_equal(batch.beliefs(passer, 1.0), wanted)
    for wrong, error in ((is_going[1:], ValueError), (np.ones(n_graphs), TypeError)):
        with pytest.raises(error):
            move(1.0, 0.1, 1, 0.0, 1, wrong)


# --- residual schedule


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("n_graphs", [1, 20])
def test_the_largest_residual_goes_first(rng, dtype, beta, n_graphs):
    batch = Batch(rng, *loopy(), dtype, n_graphs)
    passer = batch.passer()
    wanted = [batch.reference(g) for g in range(0, n_graphs, 9)]
    for _ in range(5):
        steps, residual = passer.residual(beta, 0.0, 1, 0.0)
        assert_array_equal(steps, 1)
        beliefs = batch.beliefs(passer, beta)
        for g, r in zip(range(0, n_graphs, 9), wanted, strict=True):
            new, changes = r.proposals(beta)
            first = int(np.argmax(changes))
            r.messages[first] = new[first]
            atol = 10 * tolerance(dtype, beta)
            assert_allclose(beliefs[g], np.concatenate(r.marginals(beta)), atol=atol)
            assert_allclose(residual[g], max(r.proposals(beta)[1]), atol=atol)


@pytest.mark.parametrize("n_graphs", [1, 20])
def test_both_schedules_find_the_same_fixed_point(rng, dtype, n_graphs):
    batch = Batch(rng, *loopy(), dtype, n_graphs, scale=0.25)
    a, b = batch.passer(), batch.passer()
    tol = 1e-6 if dtype == np.float32 else 1e-10
    assert (a.flood(1.0, 0.2, 500, tol)[1] <= tol).all()
    steps, residual = b.residual(1.0, 0.2, 100_000, tol)
    assert (residual <= tol).all()
    assert (steps < 100_000).all()
    assert_allclose(batch.beliefs(a, 1.0), batch.beliefs(b, 1.0), atol=100 * tol)
    rtol = 1e-5 if dtype == np.float32 else 1e-9
    assert_allclose(batch.log_partition(a, 1.0), batch.log_partition(b, 1.0), rtol=rtol)


@pytest.mark.parametrize("beta", BETAS)
def test_what_damping_leaves_beside_an_infinity_is_known(dtype, beta):
    cardinalities, factors = [2, 2], [(TABLE, [0, 1])]
    batch = Batch(np.random.default_rng(0), cardinalities, factors, dtype)
    batch.unary[:] = 0
    batch.energies[:] = [0, 2, np.inf, np.inf]
    passer = batch.passer()
    _, residual = passer.residual(beta, 0.5, 1, 0.0)
    assert_allclose(residual, 1.0)
    _, residual = passer.residual(beta, 0.25, 1, 0.0)
    assert_allclose(residual, 0.25)
    _, residual = passer.residual(beta, 0.0, 1, 0.0)
    assert_array_equal(residual, 0.0)
    wanted = np.concatenate(reference.marginals(batch.total(0), beta))
    assert_allclose(batch.beliefs(passer, beta)[0], wanted, atol=tolerance(dtype, beta))


@pytest.mark.parametrize("beta", BETAS)
def test_residuals_end_on_a_forest(rng, dtype, beta):
    batch = Batch(rng, *tree(), dtype)
    passer = batch.passer()
    tol = 1e-5 if dtype == np.float32 else 1e-12
    _, residual = passer.residual(beta, 0.0, 1000, tol)
    assert residual[0] <= tol
    wanted = np.concatenate(reference.marginals(batch.total(0), beta))
    assert_allclose(batch.beliefs(passer, beta)[0], wanted, atol=10 * tolerance(dtype, beta))


# --- forbidden states


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("n_graphs", [1, 20])
def test_forbidden_states(rng, dtype, beta, n_graphs):
    cardinalities, factors = tree()
    batch = Batch(rng, cardinalities, factors, dtype, n_graphs)
    batch.unary[:, batch.starts[1]] = np.inf
    batch.unary[:, batch.starts[5] + 2] = np.inf
    for f, (kind, _) in enumerate(factors):
        if kind == TABLE and sizes_of(cardinalities, factors)[f] > 3:
            batch.energies[:, batch.number_starts[f] + 1] = np.inf
            batch.energies[:, batch.number_starts[f] + 3] = np.inf
    passer = batch.passer()
    for schedule in (
        lambda: passer.two_pass(beta),
        lambda: passer.flood(beta, 0.0, 15, 0.0),
        lambda: passer.residual(beta, 0.0, 1000, 1e-6 if dtype == np.float32 else 1e-12),
    ):
        passer.reset()
        schedule()
        beliefs = batch.beliefs(passer, beta)
        for g in range(0, n_graphs, 9):
            energy = batch.total(g)
            wanted = np.concatenate(reference.marginals(energy, beta))
            assert_array_equal(np.isinf(beliefs[g]), np.isinf(wanted))
            assert_allclose(beliefs[g], wanted, atol=10 * tolerance(dtype, beta))


@pytest.mark.parametrize("n_graphs", [1, 2, 20])
@pytest.mark.parametrize("beta", [1.0, np.inf])
@pytest.mark.parametrize("schedule", ["flood", "residual", "two_pass"])
def test_nothing_left_is_an_error(rng, dtype, n_graphs, beta, schedule):
    batch = Batch(rng, [2, 2, 3], [(TABLE, [0, 1]), (TABLE, [1, 2])], dtype, n_graphs)
    good = batch.energies.copy()
    last = n_graphs - 1
    batch.energies[last, :4] = [0, np.inf, np.inf, 0]  # equal
    batch.unary[last, :4] = [np.inf, 0, 0, np.inf]  # 1 and 0
    passer = batch.passer()
    run = {
        "flood": lambda: passer.flood(beta, 0.0, 10, 0.0),
        "residual": lambda: passer.residual(beta, 0.0, 10, 0.0),
        "two_pass": lambda: passer.two_pass(beta),
    }[schedule]
    where = "" if n_graphs == 1 else f", in graph {last}"
    with pytest.raises(ValueError, match=rf"all configurations of variable [01] are forbidden{where}$"):
        run()
    batch.energies = good
    batch.unary[last, :4] = 0
    passer.set_energies(good, batch.unary)
    run()
    assert np.isfinite(batch.beliefs(passer, beta)).all()


def test_a_variable_without_states_left(rng, dtype):
    batch = Batch(rng, *tree(), dtype)
    batch.unary[0, batch.starts[10] : batch.starts[11]] = np.inf
    with pytest.raises(ValueError, match=r"all configurations of variable 10 are forbidden$"):
        batch.passer().flood(1.0, 0.0, 1, 0.0)


def test_a_table_that_forbids_everything(rng, dtype):
    batch = Batch(rng, [3, 3], [(TABLE, [0, 1])], dtype)
    batch.energies[:] = np.inf
    for beta in (1.0, np.inf):
        with pytest.raises(ValueError, match="all configurations of variable 0 are forbidden"):
            batch.passer().flood(beta, 0.0, 1, 0.0)


# --- energies of states


@pytest.mark.parametrize("make", [tree, logical_tree, loopy])
@pytest.mark.parametrize("own", [False, True])
def test_energy_of_states(rng, dtype, make, own):
    batch = Batch(rng, *make(), dtype, 6, own)
    states = np.array([[rng.integers(k) for k in batch.cardinalities] for _ in range(6)], np.int64)
    wanted = [batch.total(g)[tuple(states[g])] for g in range(6)]
    assert_allclose(batch.energy(states), wanted, rtol=1e-5 if dtype == np.float32 else 1e-12, atol=1e-6)


# --- threads, interrupts


@pytest.mark.parametrize("beta", [1.0, np.inf])
@pytest.mark.parametrize(("shape", "n_graphs"), [((80, 90, 3), 1), ((6, 6, 2), 300), ((30, 31, 4), 5)])
def test_same_bits_for_any_number_of_threads(rng, dtype, beta, shape, n_graphs):
    cardinalities, factors = grid(*shape, TABLE)
    batch = Batch(rng, cardinalities, factors, dtype, n_graphs)
    results = []
    for n_jobs in (1, 2, 3):
        passer = batch.passer()
        flooded = passer.flood(beta, 0.1, 4, 0.0, n_jobs)
        readouts = [f(passer, beta, n_jobs=n_jobs) for f in (batch.beliefs, batch.statistics, batch.decode)]
        results.append([*flooded, *readouts, batch.log_partition(passer, beta, n_jobs=n_jobs)])
        results[-1].extend(passer.residual(beta, 0.1, 30, 0.0, n_jobs))
        results[-1].append(batch.beliefs(passer, beta, n_jobs=n_jobs))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert_array_equal(a, b)


def test_same_bits_of_two_passes_for_any_number_of_threads(rng, dtype):
    batch = Batch(rng, *chain(30, 9, TABLE), dtype, 200, own=False)
    results = []
    for n_jobs in (1, 2, 3):
        passer = batch.passer()
        passer.two_pass(1.0, n_jobs)
        results.append(batch.beliefs(passer, 1.0, n_jobs=n_jobs))
    assert_array_equal(results[0], results[1])
    assert_array_equal(results[0], results[2])


def long_flood():
    batch = Batch(np.random.default_rng(0), *grid(200, 200, 2, POTTS), np.float32, scale=5)
    return lambda: batch.passer().flood(1.0, 0.5, 10**9, 0.0, 2)


def long_residual():
    batch = Batch(np.random.default_rng(0), *grid(60, 60, 4, POTTS), np.float64, scale=5)
    return lambda: batch.passer().residual(1.0, 0.5, 10**9, 0.0, 2)


def long_flood_of_many():
    batch = Batch(np.random.default_rng(0), *grid(6, 6, 2, POTTS), np.float32, 1000, scale=5)
    return lambda: batch.passer().flood(1.0, 0.5, 10**9, 0.0, 2)


def long_message():
    n = 18
    batch = Batch(np.random.default_rng(0), [2] * n, [(TABLE, list(range(n)))], np.float64)
    return lambda: batch.passer().flood(1.0, 0.5, 10**9, 0.0, 2)


def long_two_passes():
    batch = Batch(np.random.default_rng(0), *chain(600, 30, TABLE), np.float64, 64, own=False)
    passer = batch.passer()

    def run():
        for _ in range(1000):
            passer.two_pass(1.0, 2)

    return run


@pytest.mark.parametrize(
    "prepare", [long_flood, long_residual, long_flood_of_many, long_message, long_two_passes]
)
def test_ctrl_c_ends_a_long_call(prepare):
    long_call = prepare()
    asked = []

    def interrupt():
        time.sleep(0.4)
        asked.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        long_call()
    returned = time.perf_counter()
    thread.join()
    assert returned - asked[0] < 0.2


def test_calls_of_several_threads_take_turns(rng):
    batch = Batch(rng, *grid(20, 20, 3, TABLE), np.float64)
    passer, alone = batch.passer(), batch.passer()
    threads = [threading.Thread(target=passer.flood, args=(1.0, 0.2, 25, 0.0)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone.flood(1.0, 0.2, 100, 0.0)
    assert_array_equal(batch.beliefs(passer, 1.0), batch.beliefs(alone, 1.0))


# --- errors


def array(*values):
    return np.array(values, np.int64)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((array(2, 0), array(), array(0), array()), "cardinalities: variable 1: expected at least 1 state"),
        ((array(2, 2), array(9), array(0, 2), array(0, 1)), "kinds: factor 0: expected a kind below 7"),
        ((array(2, 2), array(-1), array(0, 2), array(0, 1)), "kinds: factor 0"),
        ((array(2, 2), array(1), array(0), array(0, 1)), "scope_starts: expected 2 element"),
        ((array(2, 2), array(1), array(1, 2), array(0, 1)), "scope_starts: expected to begin with 0"),
        ((array(2, 2), array(1), array(0, 3), array(0, 1)), "to end with 2, got 0 and 3"),
        ((array(2, 2), array(0, 0), array(0, 3, 2), array(0, 1)), "scope_starts: factor 1: expected at"),
        ((array(2, 2), array(1), array(0, 2), array(0, 2)), "scope_variables: factor 0: expected"),
        ((array(2, 2), array(1), array(0, 2), array(0, -1)), "scope_variables: factor 0: .* got -1"),
        ((array(2, 2), array(1), array(0, 2), array(1, 1)), "scope_variables: factor 0 has variable 1 twice"),
        ((array(2, 2), array(1), array(0, 1), array(1)), "factor 0, POTTS: expected 2 variables, got 1"),
        ((array(2, 2), array(5), array(0, 1), array(1)), "factor 0, OR: expected at least 2 var"),
        ((array(2, 3), array(6), array(0, 2), array(0, 1)), "factor 0, AND: expected variable 1 to"),
        ((np.full(9, 10**6), array(0), array(0, 9), np.arange(9)), "factor 0: expected a table of at most"),
        ((np.ones((2, 2), np.int64), array(), array(0), array()), "cardinalities: expected 1 dimension"),
    ],
)
def test_structures_that_are_none(arguments, message):
    with pytest.raises(ValueError, match=message):
        _cpu.MessageGraph(*arguments)


def test_integers_of_another_kind():
    with pytest.raises(TypeError):
        _cpu.MessageGraph(np.array([2], np.int32), array(), array(0), array())


def test_wrong_arrays_are_named(rng, dtype):
    batch = Batch(rng, *tree(), dtype, 3)
    graph, energies, unary = batch.graph, batch.energies, batch.unary
    passer = batch.passer()
    with pytest.raises(ValueError, match=r"unary: expected shape \(n_graphs, 30\), got \(3, 29\)"):
        _cpu.message_passer(graph, energies, unary[:, :-1].copy())
    with pytest.raises(ValueError, match="unary: expected 2 dimension"):
        _cpu.message_passer(graph, energies, unary[0])
    with pytest.raises(ValueError, match=r"energies: expected shape \(\d+,\) or \(3, \d+\), got \(2, \d+\)"):
        _cpu.message_passer(graph, energies[:2], unary)
    with pytest.raises(ValueError, match="energies: expected shape"):
        _cpu.message_passer(graph, energies[0, 1:], unary)
    with pytest.raises(ValueError, match=r"unary: expected 3 graph\(s\)"):
        passer.set_energies(energies[:2], unary[:2])
    other = np.float64 if dtype == np.float32 else np.float32
    with pytest.raises(TypeError):
        _cpu.message_passer(graph, energies.astype(other), unary)
    with pytest.raises(TypeError):
        passer.beliefs(1.0, unary.astype(other))
    with pytest.raises(ValueError, match=r"out: expected shape \(3, 30\)"):
        passer.beliefs(1.0, unary[:2].copy())
    with pytest.raises(ValueError, match="out: expected 3 element"):
        passer.log_partition(1.0, np.empty(2))
    with pytest.raises(ValueError, match="out: expected shape"):
        passer.statistics(1.0, unary.copy())
    with pytest.raises(TypeError):
        passer.decode(1.0, np.empty((3, 11), np.int32))
    frozen = np.empty_like(unary)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="out: expected a writeable array"):
        passer.beliefs(1.0, frozen)
    states = np.zeros((3, 11), np.int64)
    states[2, 4] = 2
    with pytest.raises(ValueError, match="states: variable 4: expected a state below 2, got 2, in graph 2"):
        batch.energy(states)
    with pytest.raises(ValueError, match="states: expected shape"):
        batch.energy(states[:, 1:].copy())


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_numbers_that_are_none(rng, dtype, value):
    batch = Batch(rng, *tree(), dtype, 2)
    unary, energies = (batch.unary, 3, "unary: variable 1"), (batch.energies, 7, "energies: factor 2")
    for array_, at, name in (unary, energies):
        kept = array_[1, at]
        array_[1, at] = value
        with pytest.raises(ValueError, match=name):
            batch.passer()
        array_[1, at] = kept
    batch.energies[0, 6] = np.inf
    with pytest.raises(ValueError, match="energies: factor 1: expected a finite number"):
        batch.passer()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((0.0, 0.0, 1, 0.0), "beta: expected a positive number"),
        ((-1.0, 0.0, 1, 0.0), "beta"),
        ((np.nan, 0.0, 1, 0.0), "beta"),
        ((1.0, 1.0, 1, 0.0), r"damping: expected a number in \[0, 1\)"),
        ((1.0, -0.1, 1, 0.0), "damping"),
        ((1.0, np.nan, 1, 0.0), "damping"),
        ((1.0, 0.0, -1, 0.0), "max_(sweeps|updates): expected at least 0"),
        ((1.0, 0.0, 1, -1.0), "tol: expected at least 0"),
        ((1.0, 0.0, 1, np.nan), "tol"),
    ],
)
def test_options_out_of_range(rng, options, message):
    passer = Batch(rng, *tree(), np.float64).passer()
    for schedule in (passer.flood, passer.residual):
        with pytest.raises(ValueError, match=message):
            schedule(*options)
