"""Minimal cuts: against the table of all configurations, and what has none."""

import numpy as np
import pytest

from random_graphs import joint
from reference import factor_graph as reference
from thalweg.energies import FactorGraph
from thalweg.inference import min_cut

INF = np.inf


def test_a_large_potts_grid_by_its_certificate():
    # every variable's field agrees with its state in the minimum of a weak coupling
    rng = np.random.default_rng(0)
    graph = FactorGraph([2] * 900)
    numbers = np.arange(900).reshape(30, 30)
    graph.add_potts(np.stack([numbers[:, :-1].ravel(), numbers[:, 1:].ravel()], axis=1), 0.01)
    fields = rng.normal(size=900)
    fields += np.sign(fields)
    graph.add_unary(range(900), np.stack([np.zeros(900), fields], axis=1))
    np.testing.assert_array_equal(min_cut(graph).states, fields < 0)


def test_whole_numbers_and_fractions_of_two_are_exact():
    graph = FactorGraph([2, 2, 2])
    graph.add_unary(range(3), [[0.5, 0.0], [0.0, 0.25], [0.0, 1.0]])
    graph.add_potts([[0, 1], [1, 2]], 0.125)
    found = min_cut(graph)
    assert (found.states.tolist(), found.energy, found.bound) == ([1, 0, 0], 0.125, 0.0)


def test_a_scale_far_from_one_keeps_its_bound():
    for scale in (1e-200, 1e-9, 1.0, 1e9, 1e200):
        graph = FactorGraph([2, 2])
        graph.add_unary([0, 1], scale * np.array([[0.1, 0.7], [0.9, 0.3]]))
        graph.add_potts([0, 1], scale * 0.4)
        found = min_cut(graph)
        assert found.states.tolist() == [0, 1] or found.states.tolist() == [0, 0]
        assert found.energy == pytest.approx(0.8 * scale)
        assert 0 <= found.bound < 1e-8 * scale


def test_sums_beyond_float64():
    graph = FactorGraph([2, 2, 2])
    graph.add_unary([0, 1, 2], [[0, 1.5e308], [1.5e308, 0], [1.0, 0]])
    graph.add_potts([[0, 1], [1, 2]], 1.5e308)
    found = min_cut(graph)
    assert found.energy == graph.energy(found.states) == 1.5e308
    assert 0 <= found.bound < 1e300
    graph.add_unary([1, 2], [[0.0, 1.5e308], [1.5e308, 0.0]])
    graph.add_unary([1, 2], [[1.5e308, 1.5e308], [1.5e308, 1.5e308]])
    with pytest.raises(ValueError, match=r"^energies: the least energy overflows float64$"):
        min_cut(graph)
    repelling = FactorGraph([2, 2])
    repelling.add_table([0, 1], [[1.5e308, 0.0], [0.0, 1.0]])
    with pytest.raises(ValueError, match=r"E\(0, 0\) \+ E\(1, 1\) = 1\.5e\+308 exceeds"):
        min_cut(repelling)


def test_of_several_minima_the_one_with_the_fewest_ones():
    graph = FactorGraph([2, 2])
    graph.add_potts([0, 1], 1.0)
    assert min_cut(graph).states.tolist() == [0, 0]
    assert min_cut(FactorGraph([2])).states.tolist() == [0]


FORBIDDEN = {
    "differ": [[0.0, INF], [1.0, -1.0]],
    "equal": [[0.5, INF], [INF, 0.0]],
    "first is one": [[INF, INF], [0.3, 0.0]],
    "second is zero": [[0.0, INF], [2.0, INF]],
    "both one": [[INF, INF], [INF, 3.0]],
    "both zero": [[3.0, INF], [INF, INF]],
    "the other way": [[0.0, 1.0], [INF, 0.5]],
}


@pytest.mark.parametrize("name", FORBIDDEN)
@pytest.mark.parametrize("seed", range(3))
def test_forbidden_states(name, seed):
    rng = np.random.default_rng(seed)
    fields, table = rng.normal(size=(3, 2)), np.array(FORBIDDEN[name])
    graph = FactorGraph([2, 2, 2])
    graph.add_table([0, 2], table)
    graph.add_potts([1, 2], 0.4)
    graph.add_unary(range(3), fields)
    factors = [((0, 2), table), ((1, 2), reference.potts(2, 2, 0.4))] + [((v,), fields[v]) for v in range(3)]
    found, energy = min_cut(graph), joint(graph, factors)
    assert (
        found.energy == energy[tuple(found.states)] or abs(found.energy - energy[tuple(found.states)]) < 1e-12
    )
    assert found.energy <= energy.min() + found.bound + 1e-12


def chain(*factors):
    graph = FactorGraph({"a": 2, "b": 2, "c": 2})
    for scope, table in factors:
        graph.add_table(scope, table)
    return graph


def many():
    graph = FactorGraph([2, 3])
    graph.add_potts([0, 1])
    return graph


SAME, OTHER = [[0, INF], [INF, 0]], [[INF, 0], [0, INF]]
FAULTS = {
    "not submodular": (
        lambda: chain((["a", "b"], [[0, 1], [1, 0]]), (["b", "c"], [[1, 0], [0.5, 0]])),
        r"^factor 1 \(table over 'b', 'c'\) is not submodular: E\(0, 0\) \+ E\(1, 1\) = 1 exceeds .* = 0\.5$",
    ),
    "forbidden equality": (
        lambda: chain((["a", "b"], OTHER)),
        r"^factor 0 \(table over 'a', 'b'\) is not submod",
    ),
    "three": (
        lambda: chain((["a", "b", "c"], np.zeros((2, 2, 2)))),
        r"^factor 0 \(table over 'a', 'b', 'c'\) has 3 variables, a minimal cut takes at most 2$",
    ),
    "not binary": (many, r"^graph: variable 1 has 3 states, a minimal cut needs 2$"),
    "forbidden by one": (
        lambda: chain((["b"], [INF, INF])),
        r"^all configurations of variable 'b' are forbidden$",
    ),
    "forbidden by a table": (
        lambda: chain((["a", "b"], [[INF, INF], [INF, INF]])),
        r"^all configurations of variable 'a' are forbidden$",
    ),
    "forbidden together": (
        lambda: chain((["a", "b"], SAME), (["b", "c"], SAME), (["a"], [0, INF]), (["c"], [INF, 0])),
        r"^all configurations are forbidden",
    ),
    "forbidden many times": (
        lambda: chain(
            *[(p, SAME) for p in (["a", "b"], ["b", "c"], ["a", "c"])],
            (["a"], [0, INF]),
            (["b"], [0, INF]),
            (["c"], [INF, 0]),
        ),
        r"^all configurations are forbidden",
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_what_has_no_cut_is_named(case):
    make, message = FAULTS[case]
    with pytest.raises(ValueError, match=message):
        min_cut(make())


def test_negative_potts_is_refused_and_negative_product_is_not():
    graph = FactorGraph([2, 2])
    graph.add_product([0, 1], -1.0)
    graph.add_unary([0, 1], [[0.0, 0.4], [0.0, 0.4]])
    assert min_cut(graph).states.tolist() == [1, 1]
    graph.add_potts([0, 1], -0.1)
    with pytest.raises(ValueError, match=r"^factor 3 \(potts over 0, 1\) is not submodular"):
        min_cut(graph)


def test_tables_that_are_modular_but_for_rounding():
    rng = np.random.default_rng(1)
    for _ in range(50):
        a, b = rng.normal(size=(2, 2))
        graph = FactorGraph([2, 2])
        graph.add_table([0, 1], a[:, None] + b)
        found = min_cut(graph)
        assert found.energy == pytest.approx(a.min() + b.min(), abs=1e-7)
