"""Belief propagation in loopy graphs: thalweg beside PGMax (JAX) on two threads, float32.

Sweeps, in milliseconds, the median of --reps interleaved runs of so many sweeps each; compilation and wiring
are not counted. "agree": the share of variables that both decode alike after these sweeps.

  ising    200x200 on a torus, couplings 0.8, Gumbel fields: PGMax's own example, 16 times as large
  denoise  256x256, 16 gray levels, truncated linear: the camera man, halved, with Gaussian noise of 0.1

Restricted Boltzmann machines: PGMax's own comparison, 50 random ones of 12 + 12 units, drawn as its
`benchmark/rbm.py` draws them, 200 sweeps, damping 0.5, at zero temperature: how often the states of least
energy are found, which enumeration over one side gives. "As published": that script takes its minimum from
`numpy.meshgrid`, whose first two axes are exchanged (indexing="xy"), and so compares with states in which the
first two hidden units have changed places; the published 21 of 50 are counted so.

    pip install pgmax jax
    python bench/peers/factor_graphs.py --out bench/results/factor_graphs
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import numpy as np
from pgmax import fgraph, fgroup, infer, vgroup
from sklearn.exceptions import ConvergenceWarning

import common
from thalweg._native import cpu
from thalweg.energies import FactorGraph
from thalweg.inference import BeliefPropagation, belief_propagation

DAMPING = 0.5
SWEEPS = {"ising": 20, "denoise": 5}
N_RBMS, N_UNITS, RBM_SWEEPS = 50, 12, 200
LEVELS, NOISE, SLOPE, CAP = 16, 0.1, 1.0, 3.0
common.PEERS = (*common.PEERS, "pgmax", "jax", "jaxlib", "numba")


# --- graphs, as pairs of variables, one table of energies for all pairs, and unary energies


def torus_pairs(n: int) -> np.ndarray:
    number = np.arange(n * n).reshape(n, n)
    after = [np.roll(number, -1, axis) for axis in (0, 1)]
    return np.concatenate([np.stack([number.ravel(), a.ravel()], axis=1) for a in after])


def grid_pairs(n: int) -> np.ndarray:
    number = np.arange(n * n).reshape(n, n)
    down = np.stack([number[:-1].ravel(), number[1:].ravel()], axis=1)
    return np.concatenate([down, np.stack([number[:, :-1].ravel(), number[:, 1:].ravel()], axis=1)])


def ising() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    table = -0.8 * np.array([[1.0, -1.0], [-1.0, 1.0]])
    return torus_pairs(200), table, -np.random.default_rng(0).gumbel(size=(200 * 200, 2))


def noisy_camera_man() -> tuple[np.ndarray, np.ndarray]:
    """The photograph (256, 256) in [0, 1], and the same with noise."""
    from skimage.data import camera

    whole = camera().astype(np.float64) / 255
    clean = whole.reshape(256, 2, 256, 2).mean(axis=(1, 3))
    return clean, clean + np.random.default_rng(0).normal(scale=NOISE, size=clean.shape)


def denoising() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    _, noisy = noisy_camera_man()
    levels = (np.arange(LEVELS) + 0.5) / LEVELS
    unary = 0.5 * ((noisy.reshape(-1, 1) - levels) / NOISE) ** 2
    labels = np.arange(LEVELS)
    return grid_pairs(256), np.minimum(SLOPE * np.abs(labels[:, None] - labels), CAP), unary


# --- competitors: sweeps from zero messages, then states


class Thalweg:
    def __init__(self, case: str, beta: float) -> None:
        pairs, table, unary = CASES[case]()
        graph = FactorGraph([len(table)] * len(unary), dtype=np.float32)
        if case == "ising":
            graph.add_tables(pairs, table)
        else:
            graph.add_truncated_linear(pairs, SLOPE, CAP)
        self.beta, self.count, self.n_variables = beta, SWEEPS[case], len(unary)
        s = graph.structure
        native = cpu.MessageGraph(s.cardinalities, s.kinds, s.scope_starts, s.scope_variables)
        fields = np.ascontiguousarray(unary.reshape(1, -1), dtype=np.float32)
        self.passer = cpu.message_passer(native, graph.energies, fields)

    def sweeps(self) -> None:
        self.passer.reset()
        self.passer.flood(self.beta, DAMPING, self.count, 0.0, common.THREADS)

    def states(self) -> np.ndarray:
        out = np.empty((1, self.n_variables), np.int64)
        self.passer.decode(self.beta, out)
        return out[0]


class PGMax:
    def __init__(self, case: str, beta: float) -> None:
        pairs, table, unary = CASES[case]()
        temperature = 0.0 if np.isinf(beta) else 1.0 / beta
        self.variables = vgroup.NDVarArray(num_states=len(table), shape=(len(unary),))
        graph = fgraph.FactorGraph(variable_groups=self.variables)
        scopes = [[self.variables[int(i)], self.variables[int(j)]] for i, j in pairs]
        graph.add_factors(
            fgroup.PairwiseFactorGroup(variables_for_factors=scopes, log_potential_matrix=-table)
        )
        self.inferer = infer.build_inferer(graph.bp_state, backend="bp")
        self.arrays = self.start = self.inferer.init(evidence_updates={self.variables: -unary})
        options = {"num_iters": SWEEPS[case], "damping": DAMPING, "temperature": temperature}
        self.run = jax.jit(partial(self.inferer.run, **options))  # compiled in the round that is not timed

    def sweeps(self) -> None:
        self.arrays = jax.block_until_ready(self.run(self.start))

    def states(self) -> np.ndarray:
        beliefs = self.inferer.get_beliefs(self.arrays)
        return np.asarray(infer.decode_map_states(beliefs)[self.variables]).ravel()


CASES: dict[str, Callable[[], tuple[np.ndarray, np.ndarray, np.ndarray]]] = {
    "ising": ising,
    "denoise": denoising,
}
COMPETITORS = {"thalweg": Thalweg, "PGMax": PGMax}


def run_sweeps(case: str, beta: float, args: Any) -> list[dict[str, Any]]:
    """One row a competitor."""
    count = SWEEPS[case]
    who = {name: make(case, beta) for name, make in COMPETITORS.items() if common.chosen(name, args.only)}
    times, _ = common.interleaved({n: c.sweeps for n, c in who.items()}, args.reps)
    states = {name: c.states() for name, c in who.items()}
    agree = float(np.mean(states["thalweg"] == states["PGMax"])) if len(states) == 2 else None
    rows = []
    for name in who:
        ms = 1e3 * common.median(times[name]) / count
        rows.append(
            {
                "case": case,
                "beta": str(beta),
                "name": name,
                "ms_per_sweep": ms,
                "agree": agree,
                "seconds": times[name],
            }
        )
        print(f"{case} beta {beta:g} {name:10s} {ms:9.3f} ms a sweep", flush=True)
    return rows


# --- restricted Boltzmann machines


def machines() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """W (hidden, visible), hidden and visible biases, as `benchmark/rbm.py` of PGMax draws them."""
    random = np.random.RandomState(0)
    found = []
    for _ in range(N_RBMS):
        weights = random.randn(N_UNITS, N_UNITS)
        found.append((weights, random.logistic(size=N_UNITS), random.logistic(size=N_UNITS)))
        # what that script's PGMax and pgmpy runs draw before the next machine
        random.gumbel(size=(2, N_UNITS, 2))
        random.logistic(size=2 * N_UNITS)
    return found


def least_states(weights: np.ndarray, hidden: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """argmin E(v, h) by all states of the hidden units; the visible ones are then free of each other."""
    h = (np.arange(2**N_UNITS)[:, None] >> np.arange(N_UNITS)) & 1
    best = h[int(np.argmin(-h @ hidden - np.maximum(visible + h @ weights, 0).sum(axis=1)))]
    return np.concatenate([best, visible + best @ weights > 0]).astype(np.int64)


def energy_of(machine: tuple[np.ndarray, ...], states: np.ndarray) -> float:
    weights, hidden, visible = machine
    h, v = states[:N_UNITS], states[N_UNITS:]
    return float(-h @ hidden - v @ visible - h @ weights @ v)


def rbm_graph(machine: tuple[np.ndarray, ...]) -> FactorGraph:
    weights, hidden, visible = machine
    graph = FactorGraph([2] * (2 * N_UNITS))
    biases = np.concatenate([hidden, visible])
    graph.add_unary(range(2 * N_UNITS), np.stack([np.zeros_like(biases), -biases], axis=1))
    pairs = np.stack(np.meshgrid(range(N_UNITS), range(N_UNITS, 2 * N_UNITS), indexing="ij"), axis=-1)
    graph.add_product(pairs.reshape(-1, 2), -weights.ravel())
    return graph


def by_thalweg(machine: tuple[np.ndarray, ...], **options: Any) -> np.ndarray:
    """The states of the fewest energy on the way."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return belief_propagation(rbm_graph(machine), beta=np.inf, max_iter=RBM_SWEEPS, **options).states


def by_thalweg_at_the_end(machine: tuple[np.ndarray, ...]) -> np.ndarray:
    """The states that the messages of the last sweep say, as PGMax reads them."""
    graph = rbm_graph(machine)
    native = BeliefPropagation(graph)._graph
    passer = cpu.message_passer(native, graph.energies, np.zeros((1, 4 * N_UNITS)))
    passer.flood(np.inf, DAMPING, RBM_SWEEPS, 0.0, 1)
    states = np.empty((1, 2 * N_UNITS), np.int64)
    passer.decode(np.inf, states)
    return states[0]


@cache
def pgmax_machine() -> tuple[Any, ...]:
    """The wiring, built once: sides, groups of factors (biases are such, as there), inferer, compiled run."""
    sides = [vgroup.NDVarArray(num_states=2, shape=(N_UNITS,)) for _ in range(2)]
    graph = fgraph.FactorGraph(variable_groups=sides)
    groups = [
        fgroup.EnumFactorGroup(
            variables_for_factors=[[side[i]] for i in range(N_UNITS)],
            factor_configs=np.arange(2)[:, None],
            log_potentials=np.zeros((N_UNITS, 2)),
        )
        for side in sides
    ]
    scopes = [[sides[0][i], sides[1][j]] for i in range(N_UNITS) for j in range(N_UNITS)]
    potentials = np.zeros((N_UNITS**2, 2, 2))
    groups.append(fgroup.PairwiseFactorGroup(variables_for_factors=scopes, log_potential_matrix=potentials))
    graph.add_factors(groups)
    inferer = infer.build_inferer(graph.bp_state, backend="bp")
    run = jax.jit(partial(inferer.run, num_iters=RBM_SWEEPS, damping=DAMPING, temperature=0.0))
    return sides, groups, inferer, run


def by_pgmax(machine: tuple[np.ndarray, ...]) -> np.ndarray:
    weights, hidden, visible = machine
    sides, groups, inferer, run = pgmax_machine()
    biases = [np.stack([np.zeros_like(bias), bias], axis=1) for bias in (hidden, visible)]
    potentials = np.zeros((N_UNITS**2, 4))
    potentials[:, 3] = weights.ravel()
    arrays = inferer.init(log_potentials_updates=dict(zip(groups, [*biases, potentials])))
    states = infer.decode_map_states(inferer.get_beliefs(run(arrays)))
    return np.concatenate([np.asarray(states[side]) for side in sides])


SOLVERS: dict[str, Callable[[tuple[np.ndarray, ...]], np.ndarray]] = {
    "PGMax": by_pgmax,
    "thalweg, flooding, last sweep": by_thalweg_at_the_end,
    "thalweg, flooding": lambda m: by_thalweg(m, schedule="flooding"),
    "thalweg, residual": lambda m: by_thalweg(m, schedule="residual"),
}


def run_machines(args: Any) -> list[dict[str, Any]]:
    """One row a solver: how many of the machines it solved."""
    given = machines()
    best = np.array([least_states(*m) for m in given])
    least = np.array([energy_of(m, s) for m, s in zip(given, best)])
    published = best[:, [1, 0, *range(2, 2 * N_UNITS)]]
    rows = []
    for name, solve in SOLVERS.items():
        if not common.chosen(name, args.only):
            continue
        start = time.perf_counter()
        states = np.array([solve(m) for m in given])
        seconds = time.perf_counter() - start
        excess = np.array([energy_of(m, s) for m, s in zip(given, states)]) - least
        if (excess < -1e-6).any():
            raise RuntimeError(f"{name}: an energy below the least one")
        row = {
            "case": "rbm",
            "name": name,
            "found": int((excess < 1e-6).sum()),
            "found_as_published": int((states == published).all(axis=1).sum()),
            "of": len(given),
            "mean_excess": float(excess.mean()),
            "seconds": seconds,
        }
        print(f"rbm {name:32s} {row['found']} of {row['of']}, mean excess {excess.mean():.3f}", flush=True)
        rows.append(row)
    return rows


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--cases", default="rbm,ising,denoise")
    args = parser.parse_args()
    cases = args.cases.split(",")
    machines_rows = run_machines(args) if "rbm" in cases else []
    sweep_rows = [
        row
        for case in CASES
        if case in cases
        for beta in (np.inf, 1.0)
        for row in run_sweeps(case, beta, args)
    ]
    tables = []
    if sweep_rows:
        lines = [
            [
                r["case"],
                "min-sum" if r["beta"] == "inf" else "sum-product",
                r["name"],
                f"{r['ms_per_sweep']:.3f}",
                "" if r["agree"] is None else f"{r['agree']:.2%}",
            ]
            for r in sweep_rows
        ]
        tables.append(common.markdown_table(["graph", "messages", "who", "ms a sweep", "agree"], lines))
    if machines_rows:
        lines = [
            [r["name"], str(r["found"]), f"{r['mean_excess']:.3f}", str(r["found_as_published"])]
            for r in machines_rows
        ]
        header = ["50 random RBMs", "minimum found", "mean excess of energy", "found as published"]
        tables.append(common.markdown_table(header, lines))
    common.report(args.out, "Factor graphs", "\n\n".join(tables), [*sweep_rows, *machines_rows])


if __name__ == "__main__":
    main()
