"""Online dictionary learning: the held-out objective against training time.

100,000 whitened 12x12 patches, 256 atoms, the same random patches to start from and the same alpha (about
5 % non-zeros) for everyone. The held-out objective is the mean of min_z 1/2 ||x - z D||^2 + alpha ||z||_1
over 2,000 patches that nobody trained on, with atoms of unit length, solved exactly by SPAMS LARS in
float64. Judging is off the clock. thalweg and scikit-learn learn by `partial_fit` and are judged every
quarter of a second; SPAMS takes a budget of whole seconds, so each of its points is a run of its own. The
median of --reps runs.

    python bench/peers/dictionary_learning.py --out bench/results/dictionary_learning
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import spams

import common
from thalweg import MiniBatchDictionaryLearning

N_TRAIN, N_HELD_OUT, WIDTH, N_COMPONENTS = 100_000, 2_000, 12, 256
EVERY = 0.25  # seconds of learning between two judgements


Curve = list[tuple[float, float]]  # (seconds, held-out objective)


class Judge:
    """The held-out objective of a dictionary."""

    def __init__(self, x: np.ndarray, alpha: float) -> None:
        self.x, self.alpha = x, alpha
        self.columns = np.asfortranarray(x.T)

    def __call__(self, atoms: np.ndarray) -> float:
        unit = atoms.astype(np.float64)
        unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
        codes = spams.lasso(
            self.columns, D=np.asfortranarray(unit.T), lambda1=self.alpha, mode=2, numThreads=common.THREADS
        )
        return float(common.lasso_gaps(self.x, unit, self.alpha, codes.T.tocsr())[0].mean())


def by_partial_fit(learner: Any, x: np.ndarray, batch_size: int, budget: float, judge: Judge) -> Curve:
    """One run, judged whenever another quarter of a second of learning has gone by."""
    order = np.random.default_rng(0).permutation(len(x))
    elapsed, first = 0.0, 0
    curve: Curve = []
    while elapsed < budget:
        if first + batch_size > len(x):
            first = 0
        batch = x[order[first : first + batch_size]]
        first += batch_size
        start = time.perf_counter()
        learner.partial_fit(batch)
        elapsed += time.perf_counter() - start
        if elapsed >= EVERY * (len(curve) + 1):
            curve.append((elapsed, judge(learner.components_)))
    return curve


def thalweg_run(x: np.ndarray, start: np.ndarray, alpha: float, judge: Judge, args: Any) -> Curve:
    learner = MiniBatchDictionaryLearning(
        N_COMPONENTS,
        alpha=alpha,
        batch_size=args.batch_size,
        dict_init=start.astype(x.dtype),
        random_state=0,
        n_jobs=common.THREADS,
    )
    return by_partial_fit(learner, x, args.batch_size, args.seconds, judge)


def spams_run(x: np.ndarray, start: np.ndarray, alpha: float, judge: Judge, args: Any) -> Curve:
    columns = np.asfortranarray(x.T)
    atoms = np.asfortranarray(start.T, dtype=x.dtype)
    curve: Curve = []
    for budget in (b for b in (1, 2, 4, 8, 16) if b <= args.seconds):
        learnt = spams.trainDL(
            columns,
            D=atoms,
            lambda1=alpha,
            iter=-budget,
            batchsize=512,
            numThreads=common.THREADS,
            verbose=False,
        )
        curve.append((float(budget), judge(learnt.T)))
    return curve


def sklearn_run(x: np.ndarray, start: np.ndarray, alpha: float, judge: Judge, args: Any) -> Curve:
    from sklearn.decomposition import MiniBatchDictionaryLearning as SklearnLearner

    learner = SklearnLearner(
        N_COMPONENTS,
        alpha=alpha,
        batch_size=1024,
        dict_init=start.astype(x.dtype),
        fit_algorithm="cd",
        random_state=0,
        n_jobs=common.THREADS,
    )
    return by_partial_fit(learner, x, 1024, args.seconds, judge)


COMPETITORS = {"thalweg": thalweg_run, "SPAMS trainDL": spams_run, "scikit-learn cd": sklearn_run}


def value_at(curve: Curve, seconds: float) -> float:
    """The last objective judged by that time."""
    return next((v for t, v in reversed(curve) if t <= seconds), float("nan"))


def time_to(curve: Curve, objective: float) -> float:
    """The first judged time at which the objective is reached; infinite if it never is."""
    return next((t for t, v in curve if v <= objective), float("inf"))


def table(rows: list[dict[str, Any]], seconds: int) -> str:
    """Medians over the runs; the last column is the time to where SPAMS stands in the end."""
    marks = [m for m in (0.5, 1, 2, 4, 8, 16) if m <= seconds]
    lines = []
    for dtype in dict.fromkeys(r["dtype"] for r in rows):
        group = [r for r in rows if r["dtype"] == dtype]
        goals = [value_at(c, seconds) for r in group if r["name"].startswith("SPAMS") for c in r["curves"]]
        goal = common.median(goals) if goals else float("nan")
        for r in group:
            values = [common.median(value_at(c, m) for c in r["curves"]) for m in marks]
            reached = common.median(time_to(c, goal) for c in r["curves"])
            cells = [f"{v:.2f}" if v == v else "" for v in values]
            lines.append([r["name"], dtype, *cells, f"{reached:.2f}" if np.isfinite(reached) else "never"])
    header = ["learner", "dtype", *(f"{m:g} s" for m in marks), f"seconds to SPAMS at {seconds} s"]
    return common.markdown_table(header, lines)


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--dtypes", default="float32,float64")
    parser.add_argument("--seconds", type=int, default=8, help="budget of each run (default 8)")
    parser.add_argument("--batch-size", type=int, default=512, help="thalweg's batches (default 512)")
    args = parser.parse_args()
    everything = common.patches(WIDTH, N_TRAIN + N_HELD_OUT)
    train, held_out = everything[:N_TRAIN], everything[N_TRAIN:]
    alpha = common.alpha_for_density(held_out, common.dictionary(WIDTH, N_COMPONENTS), 0.05)
    start = common.random_atoms(train, N_COMPONENTS)
    judge = Judge(held_out, alpha)
    print(f"alpha {alpha}, held-out objective at the start {judge(start):.2f}", flush=True)
    rows = []
    for dtype in args.dtypes.split(","):
        x = train.astype(dtype)
        names = [name for name in COMPETITORS if common.chosen(name, args.only)]
        curves: dict[str, list[Curve]] = {name: [] for name in names}
        for _ in range(args.reps):
            for name in names:
                curves[name].append(COMPETITORS[name](x, start, alpha, judge, args))
                shown = ", ".join(f"{t:.2f} s {v:.2f}" for t, v in curves[name][-1])
                print(f"{dtype} {name:16s} {shown}", flush=True)
        rows += [{"dtype": dtype, "name": name, "alpha": alpha, "curves": curves[name]} for name in names]
    common.report(args.out, "Online dictionary learning", table(rows, args.seconds), rows)


if __name__ == "__main__":
    main()
