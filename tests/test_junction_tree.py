"""Exact inference by a junction tree: against all configurations, and its cost told beforehand."""

import tracemalloc

import numpy as np
import pytest

from random_graphs import check_exact, random_loopy
from reference import factor_graph as reference
from thalweg._base import FactorStructure
from thalweg.energies import FactorGraph
from thalweg.inference import junction_tree, tree_width
from thalweg.inference._elimination import eliminate, in_units

INF = np.inf


def grid(height, width, cardinality=2, weight=1.0):
    graph = FactorGraph([cardinality] * (height * width))
    numbers = np.arange(height * width).reshape(height, width)
    graph.add_potts(np.stack([numbers[:, :-1].ravel(), numbers[:, 1:].ravel()], axis=1), weight)
    graph.add_potts(np.stack([numbers[:-1].ravel(), numbers[1:].ravel()], axis=1), weight)
    return graph


@pytest.mark.parametrize("beta", [0.3, 1.0, 20.0, INF])
@pytest.mark.parametrize("seed", range(4))
def test_small_graphs(seed, beta):
    rng = np.random.default_rng(seed)
    graph, factors = random_loopy(rng, 6, 9)
    check_exact(junction_tree(graph, beta=beta, statistics=True), graph, factors, beta)


@pytest.mark.parametrize("beta", [1.0, INF])
def test_logical_factors(beta):
    rng = np.random.default_rng(0)
    graph, factors = FactorGraph([2] * 6), []
    graph.add_or([0, 1, 2], 3)
    graph.add_and([3, 4], 5)
    graph.add_unary(range(6), rng.normal(size=(6, 2)))
    factors = [((0, 1, 2, 3), reference.logical(4, any)), ((3, 4, 5), reference.logical(3, all))]
    factors += [((v,), graph.energies[2 * v : 2 * v + 2]) for v in range(6)]
    check_exact(junction_tree(graph, beta=beta, statistics=True), graph, factors, beta)


def test_the_cliques_make_a_junction_tree():
    rng = np.random.default_rng(1)
    for _ in range(20):
        graph, factors = random_loopy(rng, 8, 12)
        cliques = eliminate(graph.structure)
        free = {v for v, k in enumerate(graph.structure.cardinalities) if k > 1}
        for scope, _ in factors:
            assert any(set(scope) & free <= set(m) for m in cliques.members)
        for place, (parent, separator) in enumerate(zip(cliques.parents, cliques.separators)):
            assert parent == -1 or parent > place
            above = set(cliques.members[parent]) if parent >= 0 else set()
            assert set(separator) <= above & set(cliques.members[place])
            assert parent == -1 or not set(cliques.members[place]) <= above
        for v in free:  # the cliques of a variable hang together: one of them has no parent that holds it
            holders = [p for p, m in enumerate(cliques.members) if v in m]
            assert sum(v not in cliques.separators[p] for p in holders) == 1
        assert free == {v for m in cliques.members for v in m}


@pytest.mark.parametrize(("height", "width"), [(4, 4), (3, 9), (1, 50)])
def test_the_width_of_a_grid(height, width):
    cost = tree_width(grid(height, width))
    assert cost.width == min(height, width)
    assert cost.largest_clique == 2 ** (cost.width + 1)


def test_the_width_of_a_complete_graph():
    graph = FactorGraph([3] * 6)
    graph.add_potts([[i, j] for i in range(6) for j in range(i)])
    assert tree_width(graph) == tree_width(graph.structure)
    assert (tree_width(graph).width, tree_width(graph).n_cliques) == (5, 1)
    assert tree_width(graph).n_bytes == 8 * 4 * 3**6 + 16


def test_a_long_chain_and_many_components():
    n = 3000
    graph = FactorGraph([2] * (2 * n))
    pairs = np.stack([np.arange(n - 1), np.arange(1, n)], axis=1)
    graph.add_potts(pairs, 0.5)  # the second half is not linked at all
    found = junction_tree(graph, beta=2.0)
    wanted = n * np.log(2) + np.log(2) + (n - 1) * np.log(1 + np.exp(-1.0))
    assert found.log_partition == pytest.approx(wanted, rel=1e-12)


def test_what_is_too_large_is_refused_with_its_cost():
    graph = grid(12, 12)
    with pytest.raises(
        ValueError, match=r"^the junction tree needs width 1\d, .* of tables, and max_bytes allows .*; raise"
    ):
        junction_tree(graph, max_bytes=tree_width(graph).n_bytes - 1)
    with pytest.raises(ValueError, match=r"^the junction tree needs more than .* max_bytes allows 1\.0 KiB"):
        junction_tree(graph, max_bytes=1024)
    assert junction_tree(graph, max_bytes=tree_width(graph).n_bytes).is_exact


@pytest.mark.parametrize("name", ["add_or", "add_and"])
def test_logical_factors_take_the_memory_that_was_announced(name):
    graph = FactorGraph([2] * 17)
    getattr(graph, name)(list(range(16)), 16)
    tracemalloc.start()
    try:
        junction_tree(graph)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.1 * tree_width(graph).n_bytes


def test_a_hopeless_graph_is_refused_at_once():
    graph = FactorGraph([2] * 400)
    graph.add_potts([[i, j] for i in range(400) for j in range(i)])
    with pytest.raises(ValueError, match=r"^the junction tree needs more than about 1e12\d bytes of tables"):
        junction_tree(graph)


def test_all_forbidden():
    graph = FactorGraph([2, 2, 2])
    graph.add_tables([[0, 1], [1, 2], [2, 0]], [[INF, 0], [0, INF]])  # three that all differ from one another
    for beta in (1.0, INF):
        with pytest.raises(ValueError, match="all configurations are forbidden"):
            junction_tree(graph, beta=beta)


@pytest.mark.parametrize("beta", [0.5, INF])
def test_forbidden_states(beta):
    rng = np.random.default_rng(5)
    done = 0
    while done < 5:
        graph, factors = random_loopy(rng, 6, 7, forbid=True)
        try:
            found = junction_tree(graph, beta=beta, statistics=True)
        except ValueError:
            continue
        check_exact(found, graph, factors, beta)
        done += 1


def test_unary_energies_besides_names_and_a_constant():
    graph = FactorGraph({"a": 2, "b": 2, "c": 1})
    graph.add_potts(["a", "b"], 1.0)
    graph.add_unary("c", [0.25])
    found = junction_tree(graph, unary=[0.0, 2.0, 3.0, 0.0, 5.0], beta=INF)
    assert found.assignment == {"a": 0, "b": 1, "c": 0}
    assert found.energy == found.free_energy == 6.25
    np.testing.assert_array_equal(found.marginals["a"], [0.0, 1.0])
    rest = graph.observe({"a": 1})
    whole = junction_tree(rest, energies=rest.energies, beta=2.0)
    assert whole.log_partition == pytest.approx(np.log(np.exp(-2 * (0.25 + np.array([1.0, 0.0]))).sum()))


def structure(**changes):
    parts = {
        "cardinalities": [2, 2],
        "kinds": [1],
        "scope_starts": [0, 2],
        "scope_variables": [0, 1],
    } | changes
    return FactorStructure(**{k: np.array(v, np.int64) for k, v in parts.items()})


FAULTS = {
    "no energies": (structure(), None, r"^energies: a structure has none of its own"),
    "energies": (
        structure(),
        [1.0, 2.0],
        r"^energies: expected shape \(1,\) or \(n_graphs, 1\), got \(2,\)$",
    ),
    "nan": (
        structure(),
        [np.nan],
        r"^energies: factor 0 \(potts over 0, 1\): expected a finite weight, got nan$",
    ),
    "batch": (structure(), [[1.0], [2.0]], r"^energies: a junction tree takes one graph at a time, got 2$"),
    "cardinality": (
        structure(cardinalities=[2, 0]),
        [1.0],
        r"variable 1: expected a cardinality >= 1, got 0$",
    ),
    "kind": (structure(kinds=[7]), [1.0], r"^factor 0: expected a kind from 0 to 6, got 7$"),
    "variable": (structure(scope_variables=[0, 2]), [1.0], r"^factor 0: variable 2 is none of the 2$"),
    "starts": (
        structure(scope_starts=[0, 1]),
        [1.0],
        r"^structure\.scope_starts: expected n_factors \+ 1 places",
    ),
    "empty scope": (
        structure(kinds=[1, 0], scope_starts=[0, 2, 2]),
        [1.0],
        r"^factor 1: expected at least one variable, got an empty scope$",
    ),
    "arity": (
        structure(kinds=[1], scope_starts=[0, 1], scope_variables=[0]),
        [1.0],
        r"expected 2 variables, got 1$",
    ),
    "twice": (structure(scope_variables=[1, 1]), [1.0], r"variable 1 stands there twice$"),
    "logical": (structure(kinds=[5], cardinalities=[2, 3]), [], r"expected binary variables"),
    "no variable": (
        structure(cardinalities=[], kinds=[], scope_starts=[0], scope_variables=[]),
        [],
        r"^structure: expected at least one variable",
    ),
    "huge": (
        structure(kinds=[0], cardinalities=[2**31, 2**31]),
        [1.0],
        r"a table of .* joint states is too large$",
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_what_is_wrong_is_named(case):
    graph, energies, message = FAULTS[case]
    with pytest.raises(ValueError, match=message):
        junction_tree(graph, energies)


def test_unary_faults():
    with pytest.raises(
        ValueError, match=r"^unary: variable 1: an energy must be finite or \+inf, .* got -inf$"
    ):
        junction_tree(structure(), [1.0], [0.0, 0.0, -INF, 0.0])
    with pytest.raises(ValueError, match=r"^beta: expected a number > 0 or infinity, got 0$"):
        junction_tree(structure(), [1.0], beta=0)
    with pytest.raises(TypeError, match=r"^beta: expected a real number"):
        junction_tree(structure(), [1.0], beta="warm")
    with pytest.raises(TypeError, match=r"^graph: expected a FactorGraph or a FactorStructure, got list$"):
        tree_width([2, 2])


@pytest.mark.parametrize(
    ("count", "words"),
    [(10, "10 bytes"), (2048, "2.0 KiB"), (3 * 2**30, "3.0 GiB"), (10**30, "about 1e30 bytes")],
)
def test_units(count, words):
    assert in_units(count) == words
