"""Restricted Boltzmann machines, 784x500: an epoch of training, and Gibbs sweeps.

Data: 60,000 binary rows of MNIST's density (thresholded blurred noise, 13 % ones). An epoch is 600 batches of
100 rows; sweeps move 512 chains, once in a machine whose states are as sparse as MNIST's and once in one
whose states are dense. The SGEMM roof is measured in the same run, in the same rounds. FLOPs count dense
products: 10 B V H a batch, 4 C V H a sweep.

    python bench/peers/rbm.py --out bench/results/rbm
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

import common
from thalweg import BernoulliRBM
from thalweg._base import Draws
from thalweg.inference.annealing import anneal_upwards, annealing_schedule
from thalweg.inference.gibbs import RbmMachine

V, H, BATCH, ROWS, CHAINS, RATE = 784, 500, 100, 60_000, 512, 0.01
DENSITY = 0.13


def _make_data() -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    rows = np.empty((ROWS, V), np.uint8)
    for first in range(0, ROWS, 5000):
        noise = gaussian_filter(rng.standard_normal((5000, 28, 28), dtype=np.float32), (0, 2, 2))
        rows[first : first + 5000] = (noise > np.quantile(noise, 1 - DENSITY)).reshape(-1, V)
    return rows


def data() -> np.ndarray:
    """(60000, 784) of 0 and 1."""
    return np.load(common.cached_path(f"rbm-{ROWS}", _make_data))


def parameters(dtype: str, visible_bias: float = -1.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights (V, H), visible and hidden biases."""
    rng = np.random.default_rng(1)
    arrays = (rng.normal(0, 0.05, (V, H)), rng.normal(visible_bias, 0.3, V), rng.normal(0, 0.1, H))
    return tuple(a.astype(dtype) for a in arrays)


class TorchRbm:
    """As a good user of PyTorch would write it: fused bias, products in place, states as numbers."""

    def __init__(self, dtype: str, visible_bias: float = -1.5) -> None:
        self.w, self.a, self.b = map(torch.from_numpy, parameters(dtype, visible_bias))
        self.random = torch.Generator().manual_seed(0)

    def draw(self, p: torch.Tensor) -> torch.Tensor:
        return torch.rand(p.shape, dtype=p.dtype, generator=self.random).lt_(p)

    def hidden(self, v: torch.Tensor) -> torch.Tensor:
        return torch.addmm(self.b, v, self.w).sigmoid_()

    def visible(self, h: torch.Tensor) -> torch.Tensor:
        return torch.addmm(self.a, h, self.w.T).sigmoid_()

    def epoch(self, x: torch.Tensor, persistent: bool) -> None:
        chain = torch.zeros(BATCH, H, dtype=self.w.dtype)
        rate = RATE / BATCH
        for first in range(0, len(x), BATCH):
            v0 = x[first : first + BATCH]
            p0 = self.hidden(v0)
            v1 = self.draw(self.visible(chain if persistent else self.draw(p0)))
            p1 = self.hidden(v1)
            self.w.addmm_(v0.T, p0, alpha=rate).addmm_(v1.T, p1, alpha=-rate)
            self.a.add_((v0 - v1).sum(0), alpha=rate)
            self.b.add_((p0 - p1).sum(0), alpha=rate)
            if persistent:
                chain = self.draw(p1)

    def sweeps(self, v: torch.Tensor, n: int) -> torch.Tensor:
        for _ in range(n):
            v = self.draw(self.visible(self.draw(self.hidden(v))))
        return v


def thalweg_rbm(dtype: str, loss: str) -> BernoulliRBM:
    """An estimator that holds `parameters` and has made no step."""
    rbm = BernoulliRBM(
        H, learning_rate=RATE, batch_size=BATCH, n_iter=1, loss=loss, random_state=0, n_jobs=common.THREADS
    )
    rbm.partial_fit(np.zeros((BATCH, V), dtype))
    w, a, b = parameters(dtype)
    rbm.components_, rbm.intercept_visible_, rbm.intercept_hidden_ = w.T.copy(), a, b
    return rbm


def sklearn_rbm(dtype: str) -> Any:
    from sklearn.neural_network import BernoulliRBM as Peer

    rbm = Peer(H, learning_rate=RATE, batch_size=BATCH, random_state=0)
    rbm.partial_fit(np.zeros((BATCH, V), dtype))
    w, a, b = parameters(dtype)
    rbm.components_, rbm.intercept_visible_, rbm.intercept_hidden_ = w.T.copy(), a, b
    return rbm


def sklearn_epoch(rbm: Any, x: np.ndarray) -> None:
    for first in range(0, len(x), BATCH):
        rbm.partial_fit(x[first : first + BATCH])


def sgemm(dtype: str) -> tuple[Callable[[], Any], float]:
    """The two products of a sweep of 512 chains, and their FLOPs."""
    w, _, _ = (torch.from_numpy(p) for p in parameters(dtype))
    v = torch.rand(CHAINS, V, dtype=w.dtype)
    h = torch.rand(CHAINS, H, dtype=w.dtype)
    up, down = torch.empty(CHAINS, H, dtype=w.dtype), torch.empty(CHAINS, V, dtype=w.dtype)
    transposed = w.T.contiguous()

    def call() -> None:
        for _ in range(20):
            torch.mm(v, w, out=up)
            torch.mm(h, transposed, out=down)

    return call, 20 * 4.0 * CHAINS * V * H


def _rows(
    kind: str, dtype: str, times: dict[str, list[float]], flops: float, count: float
) -> list[dict[str, Any]]:
    rows = []
    for name, seconds in times.items():
        time = common.median(seconds)
        roof = name == "SGEMM"
        row = {
            "kind": kind,
            "dtype": dtype,
            "name": name,
            "seconds": seconds,
            "each": None if roof else time / count,
            "gflops": (sgemm_flops() if roof else flops) / time / 1e9,
        }
        each = "" if roof else f"{1e3 * time / count:10.2f} ms"
        print(f"{dtype} {kind:14s} {name:22s} {each:>14s} {row['gflops']:8.1f} GFLOP/s", flush=True)
        rows.append(row)
    return rows


def sgemm_flops() -> float:
    return 20 * 4.0 * CHAINS * V * H


def training(dtype: str, args: Any) -> list[dict[str, Any]]:
    """An epoch of CD-1 and of PCD-1."""
    x8 = data()[: args.rows]
    x = x8.astype(dtype)
    xt = torch.from_numpy(x)
    roof, _ = sgemm(dtype)
    rows = []
    for loss, persistent in (("cd", False), ("pcd", True)):
        ours, theirs = thalweg_rbm(dtype, loss), TorchRbm(dtype)
        calls: dict[str, Callable[[], Any]] = {
            "thalweg": partial(ours.partial_fit, x),
            "PyTorch": partial(theirs.epoch, xt, persistent),
        }
        if persistent:
            calls["scikit-learn"] = partial(sklearn_epoch, sklearn_rbm(dtype), x)
        calls["SGEMM"] = roof
        calls = {name: call for name, call in calls.items() if common.chosen(name, args.only)}
        times, _ = common.interleaved(calls, args.reps)
        scale = ROWS / args.rows
        times = {n: t if n == "SGEMM" else [scale * s for s in t] for n, t in times.items()}
        rows += _rows(f"epoch {loss}", dtype, times, 10.0 * ROWS * V * H, 1)
    return rows


def sweeping(dtype: str, args: Any) -> list[dict[str, Any]]:
    """Sweeps of 512 chains: states as sparse as MNIST's, and dense ones."""
    roof, _ = sgemm(dtype)
    rows = []
    for kind, visible_bias in (("sparse", -2.2), ("dense", 0.0)):
        w, a, b = parameters(dtype, visible_bias)
        machine = RbmMachine.of(w.T.copy(), a, b, n_jobs=common.THREADS)
        v = (np.random.default_rng(2).random((CHAINS, V)) < 0.5).astype(dtype)
        theirs = TorchRbm(dtype, visible_bias)
        calls: dict[str, Callable[[], Any]] = {
            "thalweg": partial(_thalweg_sweeps, machine, v, args.sweeps),
            "PyTorch": partial(theirs.sweeps, torch.from_numpy(v), args.sweeps),
            "SGEMM": roof,
        }
        calls = {name: call for name, call in calls.items() if common.chosen(name, args.only)}
        times, results = common.interleaved(calls, args.reps)
        density = {n: float(np.mean(np.asarray(r))) for n, r in results.items() if n != "SGEMM"}
        print(f"share of visible units that are 1: {density}")
        flops = 4.0 * CHAINS * V * H * args.sweeps
        made = _rows(f"sweep {kind}", dtype, times, flops, args.sweeps)
        rows += [{**row, "density": density.get(row["name"])} for row in made]
    return rows


def _thalweg_sweeps(machine: RbmMachine, v: np.ndarray, n: int) -> np.ndarray:
    _, hidden = machine.draw_hidden(v, Draws(0, 1))
    visible, _ = machine.sweep(hidden, n, Draws(0, 2))
    return np.unpackbits(np.ascontiguousarray(visible.words.T).view(np.uint8), axis=1, bitorder="little")[
        :, :V
    ]


def annealing(dtype: str, args: Any) -> list[dict[str, Any]]:
    """AIS with 100 runs and 15,000 temperatures."""
    w, a, b = parameters(dtype)
    machine = RbmMachine.of(w.T.copy(), a, b, n_jobs=common.THREADS)
    base = np.full(V, -1.5, dtype)
    t = annealing_schedule(args.temperatures)
    roof, _ = sgemm(dtype)
    calls = {"thalweg": partial(anneal_upwards, machine, base, None, t, 100, 0), "SGEMM": roof}
    times, _ = common.interleaved(calls, args.reps)
    return _rows("AIS", dtype, times, 4.0 * 100 * V * H * args.temperatures, 1)


BARS = {
    ("epoch cd", "PyTorch"): 0.5,
    ("epoch pcd", "PyTorch"): 0.5,
    ("epoch pcd", "scikit-learn"): 1 / 6,
    ("sweep sparse", "PyTorch"): 0.5,
    ("sweep dense", "PyTorch"): 0.7,
}


def table(rows: list[dict[str, Any]]) -> str:
    """One line a competitor: time, rate, share of the roof, and our time over theirs."""
    lines = []
    for row in rows:
        if row["name"] == "SGEMM":
            continue
        same = {r["name"]: r for r in rows if (r["kind"], r["dtype"]) == (row["kind"], row["dtype"])}
        ours, roof = same.get("thalweg"), same.get("SGEMM")
        unit = (1e3, "ms") if row["kind"].startswith("sweep") else (1, "s")
        bar = BARS.get((row["kind"], row["name"])) if row["dtype"] == "float32" else None
        lines.append(
            [
                row["kind"],
                row["dtype"],
                row["name"],
                f"{row['each'] * unit[0]:.2f} {unit[1]}",
                f"{row['gflops']:.0f}",
                f"{row['gflops'] / roof['gflops']:.2f}" if roof else "",
                f"{ours['each'] / row['each']:.3f}" if ours and row is not ours else "",
                f"{bar:.2f}" if bar else "",
            ]
        )
    header = (
        "case|dtype|name|time|GFLOP/s as dense products|share of the SGEMM rate|thalweg's time over it|bar"
    )
    return common.markdown_table(header.split("|"), lines)


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--dtypes", default="float32,float64")
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of an epoch that are timed (all)")
    parser.add_argument("--sweeps", type=int, default=1000)
    parser.add_argument("--temperatures", type=int, default=15_000)
    parser.add_argument("--parts", default="training,sweeping,annealing")
    args = parser.parse_args()
    parts = {"training": training, "sweeping": sweeping, "annealing": annealing}
    rows: list[dict[str, Any]] = []
    for dtype in args.dtypes.split(","):
        for part in args.parts.split(","):
            rows += parts[part](dtype, args)
    common.report(args.out, "Restricted Boltzmann machines, 784x500", table(rows), rows)


if __name__ == "__main__":
    main()
