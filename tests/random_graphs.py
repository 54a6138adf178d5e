"""Random factor graphs for tests, each with the same energy as scopes and tables of the reference."""

import numpy as np

from reference import factor_graph as reference
from thalweg._factors import FactorKind
from thalweg.energies import FactorGraph

KINDS = ("table", "potts", "truncated_linear", "truncated_quadratic", "product")


def add_random_pair(graph, factors, rng, pair, kind):
    """Adds a factor of this kind over a pair of variables to both."""
    k, m = (int(graph.structure.cardinalities[v]) for v in pair)
    if kind == "table":
        table = rng.normal(size=(k, m))
        graph.add_table(pair, table)
    elif kind in ("potts", "product"):
        weight = float(rng.normal())
        getattr(graph, f"add_{kind}")(pair, weight)
        table = getattr(reference, kind)(k, m, weight)
    else:
        slope, cap = float(rng.uniform(0.1, 1)), float(rng.uniform(0.2, 2))
        getattr(graph, f"add_{kind}")(pair, slope, cap)
        table = getattr(reference, kind)(k, m, slope, cap)
    factors.append((tuple(pair), table))


def add_random_unary(graph, factors, rng):
    for v, k in enumerate(graph.structure.cardinalities):
        if rng.random() < 0.8:
            table = rng.normal(size=int(k))
            graph.add_unary(v, table)
            factors.append(((v,), table))


def random_tree(rng, n_variables, forest=False, forbid=False):
    """A graph without a loop, perhaps of several components, some factors of three variables."""
    cardinalities = rng.integers(1, 4, n_variables)
    graph, factors = FactorGraph(cardinalities), []
    add_random_unary(graph, factors, rng)
    fresh = list(rng.permutation(n_variables))
    reached = [int(fresh.pop())]
    while fresh:
        leaf, root = int(fresh.pop()), int(rng.choice(reached))
        reached.append(leaf)
        if forest and rng.random() < 0.3:
            continue
        if fresh and rng.random() < 0.3:
            other = int(fresh.pop())
            reached.append(other)
            scope = [int(v) for v in rng.permutation([leaf, root, other])]
            table = rng.normal(size=tuple(cardinalities[scope]))
            if forbid:
                table[rng.random(table.shape) < 0.2] = np.inf
            graph.add_table(scope, table)
            factors.append((tuple(scope), table))
        else:
            pair = [int(v) for v in rng.permutation([leaf, root])]
            add_random_pair(graph, factors, rng, pair, str(rng.choice(KINDS)))
    return graph, factors


def random_loopy(rng, n_variables, n_factors, forbid=False):
    """Any factors of up to three variables, some variables perhaps in none."""
    cardinalities = rng.integers(1, 4, n_variables)
    graph, factors = FactorGraph(cardinalities), []
    add_random_unary(graph, factors, rng)
    for _ in range(n_factors):
        if n_variables > 2 and rng.random() < 0.3:
            scope = [int(v) for v in rng.choice(n_variables, 3, replace=False)]
            table = rng.normal(size=tuple(cardinalities[scope]))
            if forbid:
                table[rng.random(table.shape) < 0.2] = np.inf
            graph.add_table(scope, table)
            factors.append((tuple(scope), table))
        else:
            pair = [int(v) for v in rng.choice(n_variables, 2, replace=False)]
            add_random_pair(graph, factors, rng, pair, str(rng.choice(KINDS)))
    return graph, factors


def joint(graph, factors):
    """E of all configurations by the reference."""
    return reference.joint_energy(graph.structure.cardinalities, factors)


def check_exact(found, graph, factors, beta, tolerance=1e-9):
    """Beliefs, states, energy and log Z against the table of all configurations."""
    energy = joint(graph, factors)
    for v, belief in enumerate(found.marginals):
        wanted = reference.marginal(energy, (v,), beta)
        np.testing.assert_allclose(belief, wanted, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(found.energy, energy[tuple(found.states)], rtol=tolerance, atol=tolerance)
    assert found.is_exact
    if np.isinf(beta):
        np.testing.assert_allclose(found.energy, energy.min(), rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(found.log_partition, -energy.min(), rtol=tolerance, atol=tolerance)
    else:
        wanted = reference.log_partition(energy, beta)
        np.testing.assert_allclose(found.log_partition, wanted, rtol=tolerance, atol=tolerance)
    if found.statistics is not None and not np.isinf(beta):
        check_factor_marginals(found, energy, factors, beta, graph, tolerance)


def check_factor_marginals(found, energy, factors, beta, graph, tolerance):
    """Expectations of dE/d(number) of every factor; `factors` are in the order of the graph's."""
    starts, marginals = graph.energy_starts(), found.factor_marginals
    for f, (scope, _) in enumerate(factors):
        p = reference.marginal(energy, scope, beta)
        numbers = graph.energies[starts[f] : starts[f + 1]]
        wanted = expected_derivatives(int(graph.structure.kinds[f]), numbers, p)
        np.testing.assert_allclose(marginals[f], wanted, rtol=tolerance, atol=tolerance)


def expected_derivatives(kind, numbers, p):
    """Under the marginal p of a factor; the table's own derivatives are p itself."""
    if kind == FactorKind.TABLE:
        return p
    if kind in (FactorKind.OR, FactorKind.AND):
        return []
    x, y = np.indices(p.shape)
    if kind == FactorKind.POTTS:
        return [p[x != y].sum()]
    if kind == FactorKind.PRODUCT:
        return [(p * x * y).sum()]
    distance = np.abs(x - y) ** (1 if kind == FactorKind.TRUNCATED_LINEAR else 2)
    is_sloped = numbers[0] * distance <= numbers[1]
    return [(p * distance * is_sloped).sum(), p[~is_sloped].sum()]
