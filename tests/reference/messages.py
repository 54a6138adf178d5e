"""Factor graphs by enumeration of all configurations, and belief propagation as its formulas say, in float64.

A graph is the list of its variables' cardinalities and a list of factors (kind, scope); `numbers` holds one
array of energies for each factor, `unary` one array for each variable.
"""

from __future__ import annotations

import itertools

import numpy as np

TABLE, POTTS, TRUNCATED_LINEAR, TRUNCATED_QUADRATIC, PRODUCT, OR, AND = range(7)


def n_numbers(kind, cardinalities):
    if kind == TABLE:
        return int(np.prod(cardinalities))
    return {POTTS: 1, TRUNCATED_LINEAR: 2, TRUNCATED_QUADRATIC: 2, PRODUCT: 1, OR: 0, AND: 0}[kind]


def growth(kind, cardinalities):
    x, y = np.indices(cardinalities).astype(float)
    return np.abs(x - y) if kind == TRUNCATED_LINEAR else (x - y) ** 2


def table(kind, numbers, cardinalities):
    """The factor's energy of every configuration."""
    numbers = np.asarray(numbers, float)
    if kind == TABLE:
        return numbers.reshape(cardinalities)
    at = np.indices(cardinalities)
    if kind == POTTS:
        return np.where(at[0] == at[1], 0.0, numbers[0])
    if kind in (TRUNCATED_LINEAR, TRUNCATED_QUADRATIC):
        return np.minimum(numbers[0] * growth(kind, cardinalities), numbers[1])
    if kind == PRODUCT:
        return numbers[0] * at[0] * at[1]
    result = at[:-1].any(axis=0) if kind == OR else at[:-1].all(axis=0)
    return np.where(result == at[-1], 0.0, np.inf)


def features(kind, numbers, cardinalities):
    """dE/d(number) at every configuration, one array for each number."""
    if kind == TABLE:
        size = int(np.prod(cardinalities))
        return list(np.eye(size).reshape(size, *cardinalities))
    if kind in (TRUNCATED_LINEAR, TRUNCATED_QUADRATIC):
        g = growth(kind, cardinalities)
        below = numbers[0] * g <= numbers[1]
        return [np.where(below, g, 0.0), np.where(below, 0.0, 1.0)]
    at = np.indices(cardinalities)
    return {POTTS: [at[0] != at[1]], PRODUCT: [at[0] * at[1]], OR: [], AND: []}[kind]


def along(vector, axis, ndim):
    return vector.reshape([-1 if a == axis else 1 for a in range(ndim)])


def soft_minimum(energy, beta, axis=None):
    low = energy.min(axis=axis, keepdims=True)
    if np.isinf(beta):
        return low.squeeze() if axis is None else low.squeeze(axis)
    base = np.where(np.isfinite(low), low, 0.0)
    with np.errstate(divide="ignore"):
        out = base - np.log(np.exp(-beta * (energy - base)).sum(axis=axis, keepdims=True)) / beta
    return out.squeeze() if axis is None else out.squeeze(axis)


# --- by enumeration


def total(cardinalities, factors, numbers, unary):
    """E of every configuration, shape `cardinalities`."""
    n = len(cardinalities)
    energy = np.zeros(cardinalities)
    for i, u in enumerate(unary):
        energy = energy + along(np.asarray(u, float), i, n)
    for (kind, scope), numbers_of_factor in zip(factors, numbers, strict=True):
        t = table(kind, numbers_of_factor, [cardinalities[i] for i in scope])
        order = np.argsort(scope)
        t = t.transpose(order).reshape([cardinalities[i] if i in scope else 1 for i in range(n)])
        energy = energy + t
    return energy


def distribution(energy, beta):
    weights = np.exp(-beta * (energy - energy.min()))
    return weights / weights.sum()


def log_partition(energy, beta):
    return -beta * soft_minimum(energy, beta)


def marginals(energy, beta):
    """Of every variable; for an infinite beta min-marginals less their minimum."""
    axes = range(energy.ndim)
    if np.isinf(beta):
        low = [energy.min(axis=tuple(a for a in axes if a != i)) for i in axes]
        return [m - m.min() for m in low]
    p = distribution(energy, beta)
    return [p.sum(axis=tuple(a for a in axes if a != i)) for i in axes]


def statistics(cardinalities, factors, numbers, energy, beta):
    """The expectation of every feature, factor after factor."""
    p = distribution(energy, beta)
    out = []
    for (kind, scope), numbers_of_factor in zip(factors, numbers, strict=True):
        others = tuple(a for a in range(len(cardinalities)) if a not in scope)
        b = p.sum(axis=others).transpose(np.argsort(np.argsort(scope)))
        shape = [cardinalities[i] for i in scope]
        out.extend(np.sum(b * f) for f in features(kind, numbers_of_factor, shape))
    return np.array(out, float)


def configurations(cardinalities):
    return itertools.product(*(range(k) for k in cardinalities))


# --- belief propagation


class Propagation:
    """Messages m[f][s] from factor f to the variable at place s of its scope."""

    def __init__(self, cardinalities, factors, numbers, unary):
        self.cardinalities, self.factors = list(cardinalities), factors
        self.unary = [np.array(u, float) for u in unary]
        self.tables = []
        for (kind, scope), n in zip(factors, numbers, strict=True):
            t = table(kind, n, [cardinalities[i] for i in scope])
            if len(scope) == 1:
                self.unary[scope[0]] = self.unary[scope[0]] + t
                t = None
            self.tables.append(t)
        self.messages = [[np.zeros(cardinalities[i]) for i in scope] for _, scope in factors]

    def beliefs(self):
        out = [u.copy() for u in self.unary]
        for f, (_, scope) in enumerate(self.factors):
            for s, i in enumerate(scope):
                out[i] += self.messages[f][s]
        return out

    def inputs(self, f, beliefs):
        with np.errstate(invalid="ignore"):
            return [
                np.where(np.isinf(beliefs[i]), np.inf, beliefs[i] - self.messages[f][s])
                for s, i in enumerate(self.factors[f][1])
            ]

    def sent(self, f, beliefs, beta):
        """The messages of factor f, not normalised."""
        t, q = self.tables[f], self.inputs(f, beliefs)
        out = []
        for s in range(t.ndim):
            energy = t
            for other in range(t.ndim):
                if other != s:
                    energy = energy + along(q[other], other, t.ndim)
            axes = tuple(a for a in range(t.ndim) if a != s)
            out.append(soft_minimum(energy, beta, axes))
        return out

    def proposals(self, beta):
        """What every factor would send, normalised, and how much that would change."""
        beliefs = self.beliefs()
        new = []
        for f, t in enumerate(self.tables):
            sent = [] if t is None else self.sent(f, beliefs, beta)
            new.append([m - m.min() for m in sent])
        return new, [self.change(f, messages) for f, messages in enumerate(new)]

    def change(self, f, new):
        steps = [0.0]
        for m, old in zip(new, self.messages[f], strict=False):
            different = m != old
            steps.extend(np.abs(m[different] - old[different]))
        return max(steps)

    def flood(self, beta, damping=0.0):
        """One sweep; the largest change of a message."""
        new, changes = self.proposals(beta)
        for f, messages in enumerate(new):
            for s, m in enumerate(messages):
                old = self.messages[f][s]
                self.messages[f][s] = (1 - damping) * m + damping * old if damping else m
        return max(changes, default=0.0)

    def marginals(self, beta):
        beliefs = self.beliefs()
        if np.isinf(beta):
            return [b - b.min() for b in beliefs]
        return [distribution(b, beta) for b in beliefs]

    def log_bethe(self, beta):
        beliefs = self.beliefs()
        out = 0.0
        degree = np.zeros(len(self.cardinalities))
        for f, t in enumerate(self.tables):
            if t is None:
                continue
            energy = t
            for s, q in enumerate(self.inputs(f, beliefs)):
                energy = energy + along(q, s, t.ndim)
                degree[self.factors[f][1][s]] += 1
            out += log_partition(energy, beta)
        return out + sum((1 - d) * log_partition(b, beta) for d, b in zip(degree, beliefs, strict=True))
