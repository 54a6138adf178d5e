"""Paths through a chain by enumeration: float64 NumPy."""

from __future__ import annotations

from itertools import product

import numpy as np


def paths(length: int, k: int) -> np.ndarray:
    """(k ** length, length): all of them, in lexicographic order."""
    return np.array(list(product(range(k), repeat=length)))


def energy(unary: np.ndarray, pairwise: np.ndarray, path: np.ndarray) -> float:
    steps = pairwise[path[:-1], path[1:]].sum() if len(path) > 1 else 0.0
    return float(unary[np.arange(len(path)), path].sum() + steps)


def energies(unary: np.ndarray, pairwise: np.ndarray) -> np.ndarray:
    return np.array([energy(unary, pairwise, path) for path in paths(*unary.shape)])


def free_energy(unary: np.ndarray, pairwise: np.ndarray, beta: float) -> float:
    return float(-np.logaddexp.reduce(-beta * energies(unary, pairwise)) / beta)


def marginals(unary: np.ndarray, pairwise: np.ndarray, beta: float) -> tuple[np.ndarray, np.ndarray]:
    """P(y_t), and the expected number of times that j follows i."""
    length, k = unary.shape
    weights = np.exp(-beta * (energies(unary, pairwise) - free_energy(unary, pairwise, beta)))
    of_positions, of_pairs = np.zeros((length, k)), np.zeros((k, k))
    for weight, path in zip(weights, paths(length, k), strict=True):
        of_positions[np.arange(length), path] += weight
        np.add.at(of_pairs, (path[:-1], path[1:]), weight)
    return of_positions, of_pairs
