"""Factor graphs by the table of all configurations."""

import itertools

import numpy as np


def potts(k, m, w):
    return np.array([[w * (x != y) for y in range(m)] for x in range(k)], np.float64)


def truncated_linear(k, m, slope, cap):
    return np.array([[min(slope * abs(x - y), cap) for y in range(m)] for x in range(k)], np.float64)


def truncated_quadratic(k, m, slope, cap):
    return np.array([[min(slope * (x - y) ** 2, cap) for y in range(m)] for x in range(k)], np.float64)


def product(k, m, w):
    return np.array([[w * x * y for y in range(m)] for x in range(k)], np.float64)


def logical(arity, function):
    """`function` is any or all."""
    table = np.empty((2,) * arity)
    for states in itertools.product((0, 1), repeat=arity):
        table[states] = 0.0 if states[-1] == int(function(states[:-1])) else np.inf
    return table


def joint_energy(cardinalities, factors):
    """E of all configurations, shape `cardinalities`; factors are pairs of scope and table."""
    energy = np.zeros(tuple(cardinalities))
    for states in itertools.product(*(range(k) for k in cardinalities)):
        for scope, table in factors:
            energy[states] += table[tuple(states[v] for v in scope)]
    return energy


def log_partition(energy, beta):
    least = energy.min()
    return -beta * least + np.log(np.exp(-beta * (energy - least)).sum())


def probabilities(energy, beta):
    p = np.exp(-beta * (energy - energy.min()))
    return p / p.sum()


def marginal(energy, scope, beta):
    """Of the variables of a scope, in its order; for infinite beta min-marginals less the minimum."""
    others = tuple(v for v in range(energy.ndim) if v not in scope)
    if np.isinf(beta):
        kept = energy.min(axis=others) - energy.min()
    else:
        kept = probabilities(energy, beta).sum(axis=others)
    order = np.argsort(np.argsort(scope))
    return kept.transpose(order)
