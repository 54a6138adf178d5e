"""Batch orthogonal matching pursuit on whitened photograph patches: thalweg beside SPAMS and scikit-learn.

Times are microseconds per sample with two threads, the median of --reps interleaved runs. "differ": the share
of rows whose support is not scikit-learn's.

    python bench/peers/omp.py --out bench/results/omp
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import spams
from sklearn.linear_model import orthogonal_mp_gram

import common
from thalweg.inference.omp import omp_encode

NON_ZEROS = (5, 20)
SLOW_ROWS = 500  # scikit-learn goes row by row in Python


def _thalweg(x: np.ndarray, atoms: np.ndarray, k: int) -> np.ndarray:
    return omp_encode(x, atoms, n_nonzero_coefs=k, n_jobs=common.THREADS)[0]


def _spams(x: np.ndarray, atoms: np.ndarray, k: int) -> np.ndarray:
    return spams.omp(x, D=atoms, L=k, numThreads=common.THREADS).T


def _sklearn(x: np.ndarray, atoms: np.ndarray, k: int) -> np.ndarray:
    return orthogonal_mp_gram(atoms @ atoms.T, atoms @ x.T, n_nonzero_coefs=k).T


def run_cell(case: str, dtype: str, k: int, args: Any) -> list[dict[str, Any]]:
    """One row a competitor."""
    width, n_components = common.CASES[case]
    x, atoms = common.patches(width).astype(dtype), common.dictionary(width, n_components).astype(dtype)
    columns = np.asfortranarray(x.T), np.asfortranarray(atoms.T)
    everyone = {
        "thalweg": (partial(_thalweg, x, atoms, k), len(x)),
        "SPAMS": (partial(_spams, *columns, k), len(x)),
        "scikit-learn": (partial(_sklearn, x[:SLOW_ROWS], atoms, k), SLOW_ROWS),
    }
    calls = {name: call for name, (call, _) in everyone.items() if common.chosen(name, args.only)}
    times, results = common.interleaved(calls, args.reps)
    truth = _sklearn(x[:SLOW_ROWS], atoms, k) != 0
    rows = []
    for name in calls:
        z = results[name][:SLOW_ROWS]
        support = np.asarray(z.toarray() if hasattr(z, "toarray") else z) != 0
        rows.append(
            {
                "case": case,
                "dtype": dtype,
                "n_nonzero": k,
                "name": name,
                "us_per_sample": 1e6 * common.median(times[name]) / everyone[name][1],
                "differ": float((support != truth).any(axis=1).mean()),
                "seconds": times[name],
            }
        )
    return rows


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--cases", default=",".join(common.CASES))
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for case in args.cases.split(","):
        for dtype in ("float32", "float64"):
            for k in NON_ZEROS:
                rows += run_cell(case, dtype, k, args)
    header = ["patches", "dtype", "non-zeros", "who", "us a sample", "rows that differ"]
    lines = [
        [
            r["case"],
            r["dtype"],
            str(r["n_nonzero"]),
            r["name"],
            f"{r['us_per_sample']:.1f}",
            f"{r['differ']:.1%}",
        ]
        for r in rows
    ]
    common.report(args.out, "Orthogonal matching pursuit", common.markdown_table(header, lines), rows)


if __name__ == "__main__":
    main()
