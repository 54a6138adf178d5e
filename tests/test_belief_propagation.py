"""Belief propagation: exact on forests, Bethe's approximation and its convergence on the others."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from random_graphs import check_exact, joint, random_loopy, random_tree
from reference import factor_graph as reference
from thalweg.energies import FactorGraph
from thalweg.inference import BeliefPropagation, belief_propagation, junction_tree

INF = np.inf


def ring(n, weight, cardinality=2, field=0.3):
    graph = FactorGraph([cardinality] * n)
    graph.add_potts([[i, (i + 1) % n] for i in range(n)], weight)
    graph.add_unary(0, field * np.arange(cardinality))
    return graph


@pytest.mark.parametrize("beta", [0.3, 1.0, 20.0, INF])
@pytest.mark.parametrize("seed", range(4))
def test_trees_are_exact(seed, beta):
    rng = np.random.default_rng(seed)
    graph, factors = random_tree(rng, 7, forest=seed % 2 == 1)
    check_exact(belief_propagation(graph, beta=beta, statistics=True), graph, factors, beta)


@pytest.mark.parametrize("schedule", ["flooding", "residual"])
@pytest.mark.parametrize("beta", [1.0, INF])
def test_every_schedule_finds_what_two_passes_find_on_a_tree(schedule, beta):
    graph, _ = random_tree(np.random.default_rng(11), 8)
    exact = belief_propagation(graph, beta=beta)
    found = belief_propagation(graph, beta=beta, schedule=schedule, damping=0.0, tol=1e-10)
    assert exact.is_exact
    assert found.converged
    assert not found.is_exact
    np.testing.assert_allclose(found.beliefs, exact.beliefs, atol=1e-8)
    assert found.log_partition == pytest.approx(exact.log_partition, abs=1e-8)


def test_float32(rng):
    graph, factors = random_tree(rng, 7)
    single = FactorGraph(graph.structure.cardinalities, dtype=np.float32)
    for scope, table in factors:
        single.add_table(scope, table)
    found = belief_propagation(single, statistics=True)
    assert found.beliefs.dtype == found.statistics.dtype == np.float32
    check_exact(found, single, factors, 1.0, tolerance=2e-5)


def test_loopy_beliefs_are_near_where_couplings_are_weak():
    graph = ring(6, 0.2)
    exact, found = junction_tree(graph), belief_propagation(graph)
    assert found.converged
    assert not found.is_exact
    assert found.residual <= 1e-5
    np.testing.assert_allclose(found.beliefs, exact.beliefs, atol=1e-3)
    assert found.log_partition == pytest.approx(exact.log_partition, abs=1e-3)
    assert found.free_energy == -found.log_partition


def test_one_loop_at_infinite_beta_finds_the_minimum():
    graph = ring(7, 1.0, cardinality=3)
    found = belief_propagation(graph, beta=INF)
    assert found.energy == 0.0
    assert found.states.tolist() == [0] * 7
    assert found.log_partition == 0.0


def test_what_did_not_converge_is_warned_of_with_its_residual():
    graph = ring(5, 2.0)
    with pytest.warns(
        ConvergenceWarning, match=r"messages did not reach tol=1e-12: .* after 2 sweeps; raise"
    ) as seen:
        found = belief_propagation(graph, max_iter=2, tol=1e-12)
    assert found.n_iter == 2
    assert not found.converged
    assert f"{found.residual:.2e}" in str(seen[0].message)
    assert seen[0].filename == __file__
    with pytest.warns(ConvergenceWarning, match=r"2 of 2 graphs did not reach tol") as seen:
        BeliefPropagation(graph, max_iter=1, tol=0.0).infer(graph, np.tile(np.linspace(0, 1, 10), (2, 1)))
    assert seen[0].filename == __file__


def test_a_frustrated_graph_keeps_the_lowest_states_on_its_way():
    # a complete graph of repelling variables: plain min-sum goes to and fro
    graph = FactorGraph([2] * 6)
    graph.add_potts([[i, j] for i in range(6) for j in range(i)], -1.0)
    graph.add_unary(range(6), np.random.default_rng(0).normal(scale=0.01, size=(6, 2)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = belief_propagation(graph, beta=INF, damping=0.0, max_iter=50)
        shorter = belief_propagation(graph, beta=INF, damping=0.0, max_iter=10)
    assert found.energy == pytest.approx(graph.energy(found.states))
    assert found.energy <= shorter.energy


def test_a_batch_is_graph_by_graph():
    rng = np.random.default_rng(2)
    graph, _ = random_tree(rng, 6)
    rows = rng.normal(size=(5, len(graph.energies)))
    unary = rng.normal(size=(5, int(graph.structure.cardinalities.sum())))
    for beta in (1.0, INF):
        solver = BeliefPropagation(graph, beta=beta)
        batch = solver.infer(rows, unary, statistics=True)
        for b in range(5):
            one = solver.infer(rows[b], unary[b], statistics=True)
            np.testing.assert_array_equal(batch.beliefs[b], one.beliefs)
            np.testing.assert_array_equal(batch.states[b], one.states)
            np.testing.assert_array_equal(batch.statistics[b], one.statistics)
            assert (batch.energy[b], batch.log_partition[b]) == (one.energy, one.log_partition)
        assert batch.converged.all()
        assert batch.marginals[0].shape == (5, graph.structure.cardinalities[0])
        assert batch.factor_marginals[0].shape[0] == 5
        assert batch.assignment[0].shape == (5,)


@pytest.mark.parametrize("schedule", ["flooding", "residual"])
def test_a_loopy_batch_stops_graph_by_graph(schedule):
    graph = ring(5, 0.5)
    rng = np.random.default_rng(4)
    unary = rng.normal(size=(4, 10))
    for beta in (1.0, INF):
        solver = BeliefPropagation(graph, beta=beta, schedule=schedule, max_iter=400)
        batch = solver.infer(graph, unary)
        for b in range(4):
            one = solver.infer(graph, unary[b])
            np.testing.assert_array_equal(batch.states[b], one.states)
            np.testing.assert_array_equal(batch.beliefs[b], one.beliefs)
            assert (batch.n_iter[b], batch.residual[b]) == (one.n_iter, one.residual)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("schedule", ["flooding", "residual"])
def test_of_a_batch_each_graph_stops_where_it_would_alone(schedule, rng):
    # a coarse tol: messages that went on after their graph's end would show
    graph = FactorGraph([3] * 16)
    numbers = np.arange(16).reshape(4, 4)
    pairs = [*zip(numbers[:, :-1].ravel(), numbers[:, 1:].ravel(), strict=True)]
    pairs += [*zip(numbers[:-1].ravel(), numbers[1:].ravel(), strict=True)]
    graph.add_tables(pairs, rng.normal(size=(len(pairs), 3, 3)))
    unary = rng.normal(size=(3, 48))
    for beta in (1.0, INF):
        solver = BeliefPropagation(graph, beta=beta, schedule=schedule, tol=1e-2)
        batch = solver.infer(graph, unary)
        for b in range(3):
            one = solver.infer(graph, unary[b])
            np.testing.assert_array_equal(batch.beliefs[b], one.beliefs)
            assert (batch.n_iter[b], batch.residual[b]) == (one.n_iter, one.residual)
            assert batch.energy[b] == one.energy
        assert len(set(batch.n_iter)) > 1


def test_threads_change_no_bit():
    rng = np.random.default_rng(6)
    graph, _ = random_loopy(rng, 30, 60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        one, two = (belief_propagation(graph, max_iter=20, n_jobs=n) for n in (1, 2))
    np.testing.assert_array_equal(one.beliefs, two.beliefs)
    assert one.log_partition == two.log_partition


def test_names_and_constant():
    graph = FactorGraph({"a": 2, "b": 2, "c": 3})
    graph.add_table(["a", "b"], [[0.0, 1.0], [2.0, 0.5]])
    graph.add_truncated_linear(["b", "c"], 1.0, 1.5)
    rest = graph.observe({"b": 1})
    found = belief_propagation(rest, beta=2.0)
    energy = np.array([1.0, 0.5])[:, None] + np.array([1.0, 0.0, 1.0])
    assert found.log_partition == pytest.approx(np.log(np.exp(-2 * energy).sum()))
    assert list(found.marginals) == ["a", "c"]
    assert found.assignment == {"a": 1, "c": 1}
    assert belief_propagation(rest, beta=INF).energy == 0.5


def test_forbidden_states_are_kept_forbidden():
    rng = np.random.default_rng(8)
    done = 0
    while done < 6:
        graph, factors = random_tree(rng, 7, forbid=True)
        if np.isinf(joint(graph, factors)).all():
            continue
        for beta in (1.0, INF):
            check_exact(belief_propagation(graph, beta=beta, statistics=True), graph, factors, beta)
        done += 1


@pytest.mark.parametrize("beta", [1.0, INF])
def test_residuals_count_what_damping_left_beside_a_forbidden_state(beta):
    pair = FactorGraph([2, 2])
    pair.add_table([0, 1], [[0.0, 2.0], [INF, INF]])
    ring = FactorGraph([2, 2, 2, 3, 2])
    ring.add_potts([[0, 1], [1, 2], [0, 2]], 0.3)
    ring.add_table([3, 4], [[0.0, 2.0], [3.0, INF], [INF, INF]])
    for graph in (pair, ring):
        exact = junction_tree(graph, beta=beta)
        found = belief_propagation(graph, beta=beta, schedule="residual", damping=0.5)
        assert found.converged
        np.testing.assert_allclose(found.beliefs, exact.beliefs, atol=1e-4)


@pytest.mark.parametrize("beta", [1.0, INF])
def test_damped_schedules_agree_where_states_are_forbidden(beta):
    options = {"beta": beta, "damping": 0.5, "tol": 1e-9, "max_iter": 2000}
    n_forbidden = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        graph, table = FactorGraph([3] * 5), rng.normal(size=(3, 3, 3))
        table[rng.random(table.shape) < 0.5] = INF
        table[:, 0, 0] = 0.0
        graph.add_tables([[0, 1], [1, 2], [3, 4]], table)
        n_forbidden += int(np.isinf(table).all(axis=2).sum())
        residual, flooding = (
            belief_propagation(graph, schedule=schedule, **options) for schedule in ("residual", "flooding")
        )
        np.testing.assert_allclose(residual.beliefs, flooding.beliefs, atol=1e-7)
    assert n_forbidden > 10


def float32_pair(beta=1.0, **options):
    graph = FactorGraph([2, 2], dtype=np.float32)
    graph.add_table([0, 1], [[1.0, 3.0], [2.0, 4.0]])
    return belief_propagation(graph, beta=beta, **options)


@pytest.mark.parametrize("schedule", ["tree", "flooding", "residual"])
def test_a_beta_that_is_none_of_float32(schedule):
    message = r"^beta: 1e\+39 overflows the energies' float32: expected at most 3\.40282e\+38, or infinity$"
    with pytest.raises(ValueError, match=message):
        float32_pair(1e39, schedule=schedule)
    assert float32_pair(3e38, schedule=schedule).log_partition == pytest.approx(-3e38, rel=1e-6)
    assert float32_pair(INF, schedule=schedule).energy == 1.0
    wide = FactorGraph([2])
    wide.add_unary(0, [1.0, 2.0])
    assert belief_propagation(wide, beta=1e39).log_partition == -1e39


def test_energies_that_overflow_are_refused():
    narrow = FactorGraph([2, 2], dtype=np.float32)
    narrow.add_potts([0, 1], 1.0)
    for infer in (belief_propagation, junction_tree):
        with pytest.raises(ValueError, match=r"^unary: overflows float32"):
            infer(narrow, unary=[1e39, 0.0, 0.0, 0.0])
    given = np.array([INF, 0.0, 0.0, 1.0])
    np.testing.assert_array_equal(belief_propagation(narrow, unary=given).marginals[0], [0.0, 1.0])
    product = FactorGraph([3, 3])
    product.add_product([0, 1], -1.0)
    for infer in (belief_propagation, junction_tree):
        with pytest.raises(
            ValueError,
            match=r"^energies: factor 0 \(product over 0, 1\): weight -1e\+308 overflows float64",
        ):
            infer(product, energies=[-1e308])
        assert infer(product, energies=[-4e307], beta=INF).states.tolist() == [2, 2]


@pytest.mark.parametrize("beta", [1e-3, INF])
def test_a_cap_bounds_a_slope_that_overflows(beta):
    graph = FactorGraph([4, 4])
    graph.add_truncated_quadratic([0, 1], 1e308, 2.0)
    graph.add_unary(0, [0.0, 1.0, 2.0, 3.0])
    table = graph.energy(np.indices((4, 4)).reshape(2, -1).T).reshape(4, 4)
    np.testing.assert_array_equal(table, 2.0 * (1 - np.eye(4)) + np.arange(4.0)[:, None])
    check_exact(belief_propagation(graph, beta=beta), graph, [((0, 1), table)], beta)


@pytest.mark.parametrize("beta", [1.0, INF])
@pytest.mark.parametrize("schedule", ["tree", "flooding", "residual"])
def test_all_forbidden_is_an_error(beta, schedule):
    graph = FactorGraph([2, 2])
    graph.add_table([0, 1], [[0.0, INF], [INF, 0.0]])
    graph.add_unary([0, 1], [[0.0, INF], [INF, 0.0]])
    with pytest.raises(ValueError, match=r"all configurations of variable \d are forbidden"):
        belief_propagation(graph, beta=beta, schedule=schedule)


def test_graphs_without_factors_or_links():
    found = belief_propagation(FactorGraph([2, 3]), beta=2.0)
    assert found.log_partition == pytest.approx(np.log(6))
    np.testing.assert_allclose(found.marginals[1], 1 / 3)
    apart = FactorGraph([2] * 4)
    apart.add_potts([[0, 1], [2, 3]], 1.0)
    assert belief_propagation(apart).log_partition == pytest.approx(2 * np.log(2 + 2 * np.exp(-1)))


def test_logical_factors():
    graph = FactorGraph([2] * 5)
    graph.add_or([0, 1, 2], 3)
    graph.add_and([3, 4][:1], 4)
    rng = np.random.default_rng(0)
    fields = rng.normal(size=(5, 2))
    graph.add_unary(range(5), fields)
    factors = [((0, 1, 2, 3), reference.logical(4, any)), ((3, 4), reference.logical(2, all))]
    factors += [((v,), fields[v]) for v in range(5)]
    for beta in (0.7, INF):
        check_exact(belief_propagation(graph, beta=beta), graph, factors, beta)


ARGUMENTS = {
    "beta": ({"beta": -1.0}, ValueError, r"^beta: expected a number > 0 or infinity, got -1$"),
    "beta nan": ({"beta": np.nan}, ValueError, r"^beta: expected a number > 0"),
    "schedule": ({"schedule": "random"}, ValueError, r"^schedule: expected one of"),
    "tree": (
        {"schedule": "tree"},
        ValueError,
        r'^schedule: "tree" is for forests, but this graph has a loop$',
    ),
    "damping": ({"damping": 1.0}, ValueError, r"^damping: expected a number in \[0, 1\), got 1$"),
    "max_iter": ({"max_iter": 0}, ValueError, r"^max_iter: expected an integer >= 1, got 0$"),
    "tol": ({"tol": -1}, ValueError, r"^tol: expected a number >= 0, got -1$"),
    "n_jobs": ({"n_jobs": 0}, ValueError, r"^n_jobs: "),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_arguments(case):
    arguments, error, message = ARGUMENTS[case]
    with pytest.raises(error, match=message):
        belief_propagation(ring(4, 1.0), **arguments)


def test_another_structure_is_refused():
    solver = BeliefPropagation(ring(4, 1.0))
    with pytest.raises(
        ValueError, match=r"^graph: its structure is not the one that this object was made for$"
    ):
        solver.infer(ring(5, 1.0))
    with pytest.raises(ValueError, match=r"^unary: expected 3 rows, as energies has, got 2$"):
        solver.infer(np.zeros((3, 6)), np.zeros((2, 8)))
    with pytest.raises(TypeError, match=r"^structure: expected a FactorGraph"):
        BeliefPropagation([2, 2])
    assert solver.infer(ring(4, 0.5)).converged
    with pytest.raises(ValueError, match=r"^factor_marginals: ask for them by statistics=True$"):
        _ = solver.infer(ring(4, 0.5)).factor_marginals
