"""FactorGraph: energies by hand, names, what is refused and in which words, observation, derivatives."""

import numpy as np
import pytest

from random_graphs import joint, random_loopy
from reference import factor_graph as reference
from thalweg._base import FactorEnergy
from thalweg._factors import FactorKind, check_structure
from thalweg.energies import FactorGraph

INF = np.inf


def all_states(graph):
    return np.indices(tuple(graph.structure.cardinalities)).reshape(graph.n_variables, -1).T


def test_every_kind_is_what_its_formula_says():
    graph = FactorGraph([3, 4])
    table = np.arange(12.0).reshape(3, 4)
    graph.add_table([0, 1], table)
    graph.add_table([1, 0], 100 * table.reshape(4, 3))
    graph.add_potts([0, 1], 0.7)
    graph.add_truncated_linear([0, 1], 0.5, 0.9)
    graph.add_truncated_quadratic([1, 0], 0.5, 2.5)
    graph.add_product([0, 1], -0.3)
    graph.add_unary(1, [1.0, 2.0, 3.0, 4.0])
    wanted = table + 100 * table.reshape(4, 3).T + reference.potts(3, 4, 0.7)
    wanted += reference.truncated_linear(3, 4, 0.5, 0.9) + reference.truncated_quadratic(3, 4, 0.5, 2.5)
    wanted += reference.product(3, 4, -0.3) + np.arange(1.0, 5.0)
    np.testing.assert_allclose(graph.energy(all_states(graph)).reshape(3, 4), wanted, rtol=1e-14)
    assert graph.structure.kinds.tolist() == [0, 0, 1, 2, 3, 4, 0]
    assert graph.energy_starts().tolist() == [0, 12, 24, 25, 27, 29, 30, 34]
    np.testing.assert_array_equal(graph.energies[24:30], [0.7, 0.5, 0.9, 0.5, 2.5, -0.3])


def test_logical_factors_forbid_what_is_false():
    graph = FactorGraph([2] * 4)
    graph.add_or([0, 1, 2], 3)
    np.testing.assert_array_equal(
        graph.energy(all_states(graph)).reshape((2,) * 4), reference.logical(4, any)
    )
    graph = FactorGraph([2] * 4)
    graph.add_and([[0, 1], [2, 1]], [3, 0])
    states = all_states(graph)
    holds = ((states[:, 0] & states[:, 1]) == states[:, 3]) & ((states[:, 2] & states[:, 1]) == states[:, 0])
    np.testing.assert_array_equal(graph.energy(states), np.where(holds, 0.0, INF))


@pytest.mark.parametrize("seed", range(5))
def test_energies_of_random_graphs(seed):
    rng = np.random.default_rng(seed)
    graph, factors = random_loopy(rng, 5, 7, forbid=True)
    energy = graph.energy(all_states(graph)).reshape(tuple(graph.structure.cardinalities))
    np.testing.assert_allclose(energy, joint(graph, factors), rtol=1e-12)
    check_structure(graph.structure)
    assert isinstance(graph, FactorEnergy)


def test_many_factors_in_one_call_are_the_same_as_one_by_one(rng):
    pairs = np.array([[0, 1], [1, 2], [3, 2]])
    own, shared = rng.normal(size=(3, 3, 3)), rng.normal(size=(3, 3))
    at_once, one_by_one = FactorGraph([3] * 4), FactorGraph([3] * 4)
    assert at_once.add_tables(pairs, own) == range(0, 3)
    assert at_once.add_tables(pairs, shared) == range(3, 6)
    assert at_once.add_potts(pairs, [1.0, 2.0, 3.0]) == range(6, 9)
    assert at_once.add_unary([0, 3], np.eye(2, 3)) == range(9, 11)
    assert at_once.add_unary(range(4), [0.0, 1.0, 2.0]) == range(11, 15)
    for pair, table in zip(pairs.tolist(), own):
        one_by_one.add_table(pair, table)
    for pair in pairs.tolist():
        one_by_one.add_table(pair, shared)
    for pair, weight in zip(pairs, (1.0, 2.0, 3.0)):
        one_by_one.add_potts(pair, weight)
    one_by_one.add_unary(0, np.eye(2, 3)[0])
    one_by_one.add_unary(3, np.eye(2, 3)[1])
    for v in range(4):
        one_by_one.add_unary(v, [0.0, 1.0, 2.0])
    np.testing.assert_array_equal(at_once.energies, one_by_one.energies)
    np.testing.assert_array_equal(at_once.structure.scope_variables, one_by_one.structure.scope_variables)
    np.testing.assert_array_equal(at_once.structure.kinds, one_by_one.structure.kinds)


def test_names_may_be_anything_hashable():
    graph = FactorGraph({("x", 0): 2, ("x", 1): 2, "z": 3})
    graph.add_potts([("x", 0), ("x", 1)], 2.0)
    graph.add_potts([[("x", 0), "z"], [("x", 1), "z"]], 1.0)
    graph.add_unary(("x", 0), [0.0, 0.5])
    graph.add_unary([("x", 0), ("x", 1)], [[0.0, 0.1], [0.0, 0.2]])
    assert graph.energy({("x", 0): 1, ("x", 1): 0, "z": 1}) == pytest.approx(2 + 1 + 0.5 + 0.1)
    assert graph.by_name([5, 6, 7]) == {("x", 0): 5, ("x", 1): 6, "z": 7}
    assert repr(graph) == "FactorGraph(n_variables=3, n_factors=6)"


def test_float32_stays_float32():
    graph = FactorGraph([2, 2], dtype=np.float32)
    graph.add_table([0, 1], [[0, 1], [2, INF]])
    assert graph.energies.dtype == graph.dtype == np.float32
    assert graph.energy([1, 0]) == 2.0
    with pytest.raises(ValueError, match=r"^energies: overflows float32"):
        graph.add_table([0, 1], [[0, 1], [2, 1e300]])


def test_the_energies_cannot_be_written_to_and_are_no_view_of_what_was_given():
    given = np.zeros((2, 2))
    graph = FactorGraph([2, 2])
    graph.add_table([0, 1], given)
    given[:] = 5
    assert graph.energies.tolist() == [0, 0, 0, 0]
    with pytest.raises(ValueError, match="read-only"):
        graph.energies[0] = 1


def two():
    graph = FactorGraph({"a": 2, "b": 3})
    graph.add_potts(["a", "b"], 1.0)
    return graph


def wide():
    graph = FactorGraph([3, 3])
    graph.add_product([0, 1], 1.0)
    return graph


FAULTS = {
    "no variable": (lambda: FactorGraph([]), r"^cardinalities: expected at least one variable, got none$"),
    "no state": (
        lambda: FactorGraph({"a": 0}),
        r"^cardinalities: variable 'a': expected an integer >= 1, got 0$",
    ),
    "dtype": (lambda: FactorGraph([2], dtype="f2"), r"^dtype: expected one of"),
    "cardinality": (
        lambda: two().add_table(["a", "b"], np.zeros((2, 2))),
        r"^factor 1 \(table over 'a', 'b'\): axis 1 .* has 2 entries, but variable 'b' has 3 states$",
    ),
    "cardinality of one of many": (
        lambda: two().add_unary(["a", "b"], np.zeros((2, 2))),
        r"^factor 2 \(table over 'b'\): axis 0 of its energies has 2 entries, but variable 'b' has 3 states$",
    ),
    "dimensions": (
        lambda: two().add_table(["a", "b"], np.zeros(6)),
        r"^factor 1 \(table over 'a', 'b'\): expected energies of shape \(2, 3\) each, got \(1, 6\) for 1$",
    ),
    "nan": (
        lambda: two().add_table(["b"], [0, np.nan, 0]),
        r"^factor 1 \(table over 'b'\): an energy must be finite or \+inf, .* got nan at states \(1,\)$",
    ),
    "minus infinity": (
        lambda: two().add_table(["b", "a"], [[0, 0], [0, -INF], [0, 0]]),
        r"^factor 1 \(table over 'b', 'a'\): an energy must be .* got -inf at states \(1, 1\)$",
    ),
    "weight": (
        lambda: two().add_potts(["a", "b"], INF),
        r"^factor 1 \(potts over 'a', 'b'\): expected a finite w",
    ),
    "slope": (
        lambda: two().add_truncated_linear([["a", "b"], ["b", "a"]], [1.0, np.nan], 1.0),
        r"^factor 2 \(truncated linear over 'b', 'a'\): expected a finite slope, got nan$",
    ),
    "large products": (
        lambda: FactorGraph([3, 3]).add_product([[0, 1], [1, 0]], [1.0, -1e308]),
        r"^factor 1 \(product over 1, 0\): weight -1e\+308 overflows float64 at the largest product of",
    ),
    "large distances": (
        lambda: FactorGraph([3, 3]).add_truncated_quadratic([0, 1], -1e308, INF),
        r"^factor 0 \(truncated quadratic over 0, 1\): slope -1e\+308 overflows float64 at the largest dist",
    ),
    "large forbids": (
        lambda: FactorGraph([5, 5], dtype=np.float32).add_truncated_linear([0, 1], 1e38, INF),
        r"^factor 0 \(truncated linear over 0, 1\): slope 1e\+38 overflows float32 at the largest distance",
    ),
    "large new numbers": (
        lambda: wide().with_energies([-1e308]),
        r"^factor 0 \(product over 0, 1\): weight -1e\+308 overflows float64",
    ),
    "large for float32": (
        lambda: FactorGraph([2], dtype=np.float32).add_unary(0, [0, 1e39]),
        r"^energies: overflows float32: an element is too large for it$",
    ),
    "weights": (
        lambda: two().add_potts(["a", "b"], [1.0, 2.0]),
        r"^weight: expected a number or shape \(1,\)",
    ),
    "arity": (
        lambda: two().add_potts(["a"], 1.0),
        r"^factor 1 \(potts over 'a'\): expected 2 variables, got 1$",
    ),
    "twice": (
        lambda: two().add_potts(["b", "b"]),
        r"^factor 1 \(potts over 'b', 'b'\): variable 'b' stands there twice$",
    ),
    "unknown": (lambda: two().add_potts(["a", "c"]), r"^variables: 'c' is no variable of this graph$"),
    "unknown to unary": (
        lambda: two().add_unary("c", [0, 0]),
        r"^variables: 'c' is no variable of this graph$",
    ),
    "unknown number": (
        lambda: FactorGraph([2, 2]).add_potts([0, 2]),
        r"^variables: 2 is no variable of this graph, which has 0 to 1$",
    ),
    "negative number": (lambda: FactorGraph([2, 2]).add_potts([0, -1]), r"^variables: -1 is no variable"),
    "no whole number": (
        lambda: FactorGraph([2, 2]).add_potts([[0, 0.5]]),
        r"^variables: expected whole numbers",
    ),
    "empty scope": (
        lambda: two().add_table([], 1.0),
        r"^variables: expected at least one scope of at least one",
    ),
    "scopes of two lengths": (
        lambda: two().add_potts([["a", "b"], ["a"]]),
        r"^variables: expected scopes of one length",
    ),
    "no binary": (
        lambda: two().add_or(["a"], "b"),
        r"^factor 1 \(or over 'a', 'b'\): variable 'b' has 3 states, expected 2$",
    ),
    "outputs": (
        lambda: FactorGraph([2] * 4).add_and([[0, 1], [1, 2]], [3]),
        r"^output: expected 2 variables, as inputs has rows, got 1$",
    ),
    "state": (
        lambda: two().energy({"a": 0, "b": 3}),
        r"^states: variable 'b' has the states 0 to 2, got 3$",
    ),
    "missing state": (
        lambda: two().energy({"a": 0}),
        r"^states: expected a state of every .* 'b' is missing$",
    ),
    "state of none": (
        lambda: two().energy({"a": 0, "b": 0, "c": 0}),
        r"^states: expected a state of every variable, but 'c' is no variable$",
    ),
    "shape of states": (
        lambda: two().energy([[0], [1]]),
        r"^states: expected shape \(2,\) or \(n, 2\), got \(2, 1\)$",
    ),
    "new numbers": (
        lambda: two().with_energies([1.0, 2.0]),
        r"^energies: expected shape \(1,\), got \(2,\)$",
    ),
    "new nan": (
        lambda: two().with_energies([np.nan]),
        r"^factor 0 \(potts over 'a', 'b'\): expected a finite",
    ),
    "all observed": (
        lambda: two().observe({"a": 0, "b": 0}),
        r"^states: expected at least one variable that is",
    ),
    "observed state": (
        lambda: two().observe({"a": 2}),
        r"^states: variable 'a' has the states 0 to 1, got 2$",
    ),
    "weights of rows": (lambda: two().gradient([0, 0], [1.0, 2.0]), r"^weight: expected shape \(1,\)"),
    "per variable": (lambda: two().by_name([1]), r"^per_variable: expected 2 elements, got 1$"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_what_is_wrong_is_named(case):
    call, message = FAULTS[case]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("given", [5, 2.5, None, "22", np.array(3)])
def test_cardinalities_are_a_sequence(given):
    with pytest.raises(TypeError, match=r"^cardinalities: expected a sequence of whole numbers, or a dict"):
        FactorGraph(given)


def test_a_cap_and_equal_states_take_any_number():
    graph = FactorGraph([3, 3])
    graph.add_truncated_quadratic([0, 1], 1e308, 1.0)
    graph.add_potts([0, 1], -1.7e308)
    assert graph.energy([0, 2]) == -1.7e308 + 1.0
    np.testing.assert_array_equal(graph.gradient([0, 2]), [0.0, 1.0, 1.0])


def test_states_are_whole_numbers():
    with pytest.raises(TypeError, match=r"^states: expected whole numbers, got dtype float64$"):
        two().energy([0.0, 1.0])
    with pytest.raises(TypeError, match=r"^states: expected a dict of name to state, got list$"):
        two().observe([0, 1])


@pytest.mark.parametrize("seed", range(8))
def test_observation_is_the_energy_of_the_rest(seed):
    rng = np.random.default_rng(seed)
    graph, factors = random_loopy(rng, 5, 8)
    seen = {
        int(v): int(rng.integers(graph.structure.cardinalities[v])) for v in rng.choice(5, 2, replace=False)
    }
    rest = graph.observe(seen)
    energy = joint(graph, factors)[tuple(seen.get(v, slice(None)) for v in range(5))]
    np.testing.assert_allclose(rest.energy(all_states(rest)).reshape(energy.shape), energy, atol=1e-12)
    assert rest.names == tuple(v for v in range(5) if v not in seen)


@pytest.mark.parametrize("kind", [FactorKind.OR, FactorKind.AND])
@pytest.mark.parametrize(
    "seen", [{0: 0}, {0: 1}, {3: 0}, {3: 1}, {0: 0, 1: 0, 2: 0}, {0: 1, 1: 1, 2: 1}, {1: 0, 3: 1}]
)
def test_observation_of_logical_factors(kind, seen):
    graph = FactorGraph([2] * 5)
    (graph.add_or if kind == FactorKind.OR else graph.add_and)([0, 1, 2], 3)
    wanted = reference.logical(4, any if kind == FactorKind.OR else all)[..., None] + np.zeros(2)
    wanted = wanted[tuple(seen.get(v, slice(None)) for v in range(5))]
    if np.isinf(wanted).all():
        with pytest.raises(ValueError, match=r"factor 0 \(and over 0, 1, 2, 3\) forbids the observed"):
            graph.observe(seen)
        return
    rest = graph.observe(seen)
    np.testing.assert_array_equal(rest.energy(all_states(rest)).reshape(wanted.shape), wanted)


def test_a_forbidden_observation_names_its_factor():
    graph = FactorGraph({"a": 2, "b": 2, "c": 2, "d": 2})
    graph.add_table(["a", "b"], [[0, INF], [1, 1]])
    graph.add_or(["a", "b"], "c")
    with pytest.raises(
        ValueError, match=r"factor 0 \(table over 'a', 'b'\) forbids the observed {'a': 0, 'b': 1}$"
    ):
        graph.observe({"a": 0, "b": 1})
    with pytest.raises(
        ValueError, match=r"factor 1 \(or over 'a', 'b', 'c'\) forbids the observed {'a': 1, 'b': 1, 'c': 0}$"
    ):
        graph.observe({"a": 1, "b": 1, "c": 0})


def test_an_output_of_very_many_inputs_is_refused_where_it_makes_a_table():
    graph = FactorGraph([2] * 40)
    graph.add_or(list(range(39)), 39)
    assert graph.energy(np.ones(40, int)) == 0
    assert graph.observe({39: 0}).energy(np.zeros(39, int)) == 0
    with pytest.raises(ValueError, match=r"a table of 2\*\*39 joint states of its free inputs"):
        graph.observe({39: 1})


def test_the_gradient_is_that_of_finite_differences():
    rng = np.random.default_rng(3)
    graph, _ = random_loopy(rng, 6, 12)
    states = np.stack([rng.integers(0, k, 20) for k in graph.structure.cardinalities], axis=1)
    weight = rng.normal(size=20)
    step, gradient = 1e-6, graph.gradient(states, weight)
    for k in range(len(graph.energies)):
        shift = step * np.eye(len(graph.energies))[k]
        up = graph.with_energies(graph.energies + shift).energy(states)
        down = graph.with_energies(graph.energies - shift).energy(states)
        assert gradient[k] == pytest.approx(weight @ (up - down) / (2 * step), abs=1e-7)


def test_a_graph_without_factors_has_no_energy():
    graph = FactorGraph([2, 3])
    assert graph.energy([1, 2]) == 0.0
    assert graph.energies.shape == (0,)
    assert graph.gradient([[1, 2]]).shape == (0,)


def test_a_graph_of_a_structure():
    graph = FactorGraph({"a": 2, "b": 3})
    graph.add_potts(["a", "b"], 0.5)
    graph.add_unary("b", [0.0, 1.0, np.inf])
    again = FactorGraph.from_structure(graph.structure, graph.energies, graph.names, 2.0)
    states = np.indices((2, 3)).reshape(2, -1).T
    np.testing.assert_array_equal(again.energy(states), 2.0 + graph.energy(states))
    assert again.names == ("a", "b")
    assert FactorGraph.from_structure(graph.structure, np.float32([1, 2, 3, 4])).dtype == np.float32
    with pytest.raises(ValueError, match="names: expected 2 different ones, got 1"):
        FactorGraph.from_structure(graph.structure, graph.energies, ["a", "a"])
    with pytest.raises(ValueError, match=r"energies: expected shape \(4,\)"):
        FactorGraph.from_structure(graph.structure, graph.energies[:2])
    with pytest.raises(ValueError, match=r"factor 0 \(potts.*finite weight"):
        FactorGraph.from_structure(graph.structure, [np.inf, 0, 0, 0])
