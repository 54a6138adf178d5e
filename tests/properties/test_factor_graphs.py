"""Laws of inference in factor graphs: exactness, the limit of infinite beta, bounds of the free energy."""

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from random_graphs import check_exact, joint, random_loopy, random_tree
from reference import factor_graph as reference
from thalweg.energies import FactorGraph
from thalweg.inference import belief_propagation, junction_tree, min_cut

seeds = st.integers(0, 2**32 - 1)
betas = st.one_of(st.floats(0.05, 50.0), st.just(np.inf))


@given(seeds, st.integers(1, 7), betas, st.booleans())
def test_belief_propagation_on_forests_is_enumeration(seed, n, beta, forbid):
    graph, factors = random_tree(np.random.default_rng(seed), n, forest=True, forbid=forbid)
    assume(np.isfinite(joint(graph, factors)).any())
    check_exact(belief_propagation(graph, beta=beta, statistics=True), graph, factors, beta, tolerance=1e-8)


@given(seeds, st.integers(2, 6), st.integers(0, 10), betas, st.booleans())
def test_a_junction_tree_is_enumeration(seed, n, n_factors, beta, forbid):
    graph, factors = random_loopy(np.random.default_rng(seed), n, n_factors, forbid=forbid)
    assume(np.isfinite(joint(graph, factors)).any())
    check_exact(junction_tree(graph, beta=beta, statistics=True), graph, factors, beta, tolerance=1e-8)


@given(seeds, st.integers(2, 7))
def test_sums_tend_to_minima(seed, n):
    graph, _ = random_tree(np.random.default_rng(seed), n)
    n_states = np.prod(graph.structure.cardinalities)
    least = belief_propagation(graph, beta=np.inf)
    for beta in (1e2, 1e4, 1e6):
        warm = belief_propagation(graph, beta=beta)
        # min-marginals less the minimum are what -log p / beta tends to, both within log|Y| / beta
        with np.errstate(divide="ignore"):
            soft = -np.log(warm.beliefs) / beta
        seen = warm.beliefs > 1e-200
        assert np.abs(soft - least.beliefs)[seen].max() <= np.log(n_states) / beta + 1e-9
        assert abs(warm.free_energy - least.energy) <= np.log(n_states) / beta + 1e-9


@given(seeds, st.integers(1, 6), st.floats(0.05, 50.0))
def test_the_free_energy_bounds_the_minimum(seed, n, beta):
    graph, factors = random_tree(np.random.default_rng(seed), n, forest=True)
    energy = joint(graph, factors)
    for infer in (belief_propagation, junction_tree):
        free = infer(graph, beta=beta).free_energy
        assert free <= energy.min() + 1e-9
        assert energy.min() <= free + np.log(energy.size) / beta + 1e-9


@given(seeds, st.integers(3, 6), st.floats(0.1, 5.0))
def test_conditioning_is_what_is_left_of_the_joint_distribution(seed, n, beta):
    rng = np.random.default_rng(seed)
    graph, factors = random_loopy(rng, n, 2 * n)
    v = int(rng.integers(n))
    energy, seen = joint(graph, factors), {v: int(rng.integers(graph.structure.cardinalities[v]))}
    rest = np.take(energy, seen[v], axis=v)
    found = junction_tree(graph.observe(seen), beta=beta)
    assert abs(found.log_partition - reference.log_partition(rest, beta)) < 1e-8
    whole = junction_tree(graph, beta=beta)
    rests = [graph.observe({v: s}) for s in range(energy.shape[v])]
    sums = np.array([junction_tree(rest, beta=beta).log_partition for rest in rests])
    np.testing.assert_allclose(whole.marginals[v], np.exp(sums - whole.log_partition), atol=1e-8)


@given(seeds, st.floats(0.1, 5.0))
def test_what_is_not_linked_adds_up(seed, beta):
    rng = np.random.default_rng(seed)
    parts = [random_loopy(rng, 4, 4), random_loopy(rng, 3, 2)]
    cardinalities = np.concatenate([g.structure.cardinalities for g, _ in parts])
    both = FactorGraph(cardinalities)
    for k, (_, factors) in enumerate(parts):
        for scope, table in factors:
            both.add_table([v + 4 * k for v in scope], table)
    wanted = [junction_tree(g, beta=beta) for g, _ in parts]
    found = junction_tree(both, beta=beta)
    assert abs(found.log_partition - sum(w.log_partition for w in wanted)) < 1e-8
    np.testing.assert_allclose(found.beliefs, np.concatenate([w.beliefs for w in wanted]), atol=1e-9)


@given(seeds, st.integers(1, 7), st.integers(0, 14), st.sampled_from([1e-6, 1.0, 1e6]))
def test_a_minimal_cut_is_the_minimum_within_its_bound(seed, n, n_factors, scale):
    rng = np.random.default_rng(seed)
    graph, factors = FactorGraph([2] * n), []
    for v in range(n):
        table = scale * rng.normal(size=2)
        graph.add_unary(v, table)
        factors.append(((v,), table))
    for _ in range(n_factors if n > 1 else 0):
        pair = tuple(int(v) for v in rng.choice(n, 2, replace=False))
        table = scale * rng.normal(size=(2, 2))
        table[0, 1] += max(0.0, table[0, 0] + table[1, 1] - table[0, 1] - table[1, 0]) + scale * rng.random()
        graph.add_table(pair, table)
        factors.append((pair, table))
    found, energy = min_cut(graph), joint(graph, factors)
    assert abs(found.energy - energy[tuple(found.states)]) <= 1e-9 * scale
    assert found.energy - energy.min() <= found.bound + 1e-9 * scale
    assert found.bound <= 1e-6 * scale


@given(seeds, st.integers(2, 6), st.floats(0.1, 5.0))
def test_a_constant_added_to_a_factor_moves_the_free_energy_alone(seed, n, beta):
    rng = np.random.default_rng(seed)
    graph, factors = random_tree(rng, n)
    moved = FactorGraph(graph.structure.cardinalities)
    shift = rng.normal(size=len(factors))
    for (scope, table), c in zip(factors, shift, strict=True):
        moved.add_table(scope, table + c)
    before, after = belief_propagation(graph, beta=beta), belief_propagation(moved, beta=beta)
    np.testing.assert_allclose(after.beliefs, before.beliefs, atol=1e-8)
    assert abs(after.free_energy - before.free_energy - shift.sum()) < 1e-8
