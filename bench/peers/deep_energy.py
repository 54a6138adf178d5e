"""Deep energies, 784 pixels, H = 64 sigmoid units below K = 64: an epoch of score matching, and one of NCE.

Data: 50,000 rows of normal numbers (both sides' time does not depend on the values), batches of 100, Adam.
An epoch is all that a user waits for: batches, objective, gradient, step; for NCE also the noise, one row for
each row of data. PyTorch computes the same objectives: score matching with the same closed-form Laplacian,
batched, with one backward pass; and, for information and for a few batches only, with the Laplacian by double
backward, a pass for every pixel.

    python bench/peers/deep_energy.py --out bench/results/deep_energy_speed
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

import common
from thalweg import DeepEnergyModel
from thalweg.energies import DeepEnergy, DenseNetwork
from thalweg.losses import GaussianNoise

D, H, K, BATCH, ROWS, RATE = 784, 64, 64, 100, 50_000, 1e-3
OBJECTIVES = ("score matching", "NCE")
LOSSES = {"score matching": "score_matching", "NCE": "nce"}
NAIVE_BATCHES = 1
BAR = 0.5


def data(rows: int, dtype: str) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, D)).astype(dtype)


def first_parameters(dtype: str) -> dict[str, np.ndarray]:
    """V (H, D), d (H,), W (K, H), c (K,), b (D,)."""
    rng = np.random.default_rng(1)
    made = {
        "V": rng.normal(0, D**-0.5, (H, D)),
        "d": rng.normal(0, 0.1, H),
        "W": rng.normal(0, H**-0.5, (K, H)),
        "c": rng.normal(0, 0.1, K),
        "b": np.zeros(D),
    }
    return {name: value.astype(dtype) for name, value in made.items()}


class TorchDeepEnergy:
    """As a good user of PyTorch would write it: closed forms, everything batched, fused Adam."""

    def __init__(self, dtype: str) -> None:
        arrays = first_parameters(dtype)
        self.p = {name: torch.tensor(value, requires_grad=True) for name, value in arrays.items()}
        self.log_z = torch.zeros((), dtype=self.p["V"].dtype, requires_grad=True)
        self.adam = torch.optim.Adam([*self.p.values(), self.log_z], lr=RATE, fused=True)
        self.random = torch.Generator().manual_seed(0)

    def log_p(self, x: torch.Tensor) -> torch.Tensor:
        p = self.p
        g = torch.addmm(p["d"], x, p["V"].T).sigmoid()
        top = F.softplus(torch.addmm(p["c"], g, p["W"].T)).sum(1)
        return -0.5 * x.square().sum(1) + x @ p["b"] + top

    def score_matching(self, x: torch.Tensor) -> torch.Tensor:
        """Mean of 1/2 ||psi||^2 + div psi, the divergence in closed form."""
        V, d, W, c, b = (self.p[name] for name in "VdWcb")
        g = torch.addmm(d, x, V.T).sigmoid()
        slope = g * (1 - g)
        on = torch.addmm(c, g, W.T).sigmoid()
        back = on @ W
        psi = b - x + (slope * back) @ V
        gram = V @ V.T
        a = slope[:, None, :] * W
        quadratic = ((a.reshape(-1, H) @ gram).reshape(a.shape) * a).sum(2)
        bend = slope * (1 - 2 * g) * gram.diagonal()
        divergence = (on * (1 - on) * quadratic).sum(1) + (bend * back).sum(1) - D
        return (0.5 * psi.square().sum(1) + divergence).mean()

    def naive_score_matching(self, x: torch.Tensor) -> torch.Tensor:
        """The same, the divergence by a backward pass for every pixel."""
        x = x.detach().requires_grad_()
        (psi,) = torch.autograd.grad(self.log_p(x).sum(), x, create_graph=True)
        divergence = x.new_zeros(len(x))
        for j in range(D):
            (row,) = torch.autograd.grad(psi[:, j].sum(), x, create_graph=True)
            divergence = divergence + row[:, j]
        return (0.5 * psi.square().sum(1) + divergence).mean()

    def nce(self, x: torch.Tensor) -> torch.Tensor:
        """Minus the mean of log h(x) + log(1 - h(noise)); the noise is standard normal, one row for one."""
        noise = torch.randn(x.shape, dtype=x.dtype, generator=self.random)
        both = torch.cat([x, noise])
        log_noise = -0.5 * both.square().sum(1) - 0.5 * D * float(np.log(2 * np.pi))
        logit = self.log_p(both) - self.log_z - log_noise
        return (F.softplus(-logit[: len(x)]).sum() + F.softplus(logit[len(x) :]).sum()) / len(x)

    def epoch(self, x: torch.Tensor, objective: Callable[[torch.Tensor], torch.Tensor]) -> None:
        for first in range(0, len(x), BATCH):
            self.adam.zero_grad(set_to_none=True)
            objective(x[first : first + BATCH]).backward()
            self.adam.step()


def thalweg_model(loss: str, X: np.ndarray) -> DeepEnergyModel:
    """An estimator that has made its first step."""
    model = DeepEnergyModel(
        K,
        hidden_layer_sizes=(H,),
        loss=loss,
        noise=GaussianNoise(np.zeros(D), np.ones(D)),
        learning_rate=RATE,
        batch_size=BATCH,
        random_state=0,
        n_jobs=common.THREADS,
    )
    return model.partial_fit(X[:BATCH])


def check(dtype: str) -> None:
    """That PyTorch's two ways to the divergence agree, with each other and with thalweg's objective."""
    x = data(5, dtype)
    theirs = TorchDeepEnergy(dtype)
    closed, naive = (
        float(objective(torch.from_numpy(x)).detach())
        for objective in (theirs.score_matching, theirs.naive_score_matching)
    )
    p = first_parameters(dtype)
    energy = DeepEnergy(DenseNetwork([p["V"]], [p["d"]], ["sigmoid"]), p["W"], p["c"], p["b"])
    ours = float(energy.score_matching(x)[0].mean(dtype=np.float64))
    tolerance = 1e-4 if dtype == "float32" else 1e-10
    if not max(abs(closed - naive), abs(ours - naive)) <= tolerance * abs(naive):
        raise RuntimeError(f"closed form {closed}, double backward {naive}, thalweg {ours}")


def timed(objective: str, dtype: str, args: Any) -> list[dict[str, Any]]:
    """An epoch of one objective by everyone, interleaved."""
    x = data(args.rows, dtype)
    xt = torch.from_numpy(x)
    ours, theirs = thalweg_model(LOSSES[objective], x), TorchDeepEnergy(dtype)
    is_score_matching = objective == "score matching"
    calls: dict[str, Callable[[], Any]] = {
        "thalweg": partial(ours.partial_fit, x),
        "PyTorch": partial(theirs.epoch, xt, theirs.score_matching if is_score_matching else theirs.nce),
    }
    calls = {name: call for name, call in calls.items() if common.chosen(name, args.only)}
    times, _ = common.interleaved(calls, args.reps)
    scale = dict.fromkeys(times, ROWS / args.rows)
    if is_score_matching and common.chosen("PyTorch, double backward", args.only):
        name = "PyTorch, double backward"
        naive = TorchDeepEnergy(dtype)
        few = xt[: NAIVE_BATCHES * BATCH]
        times[name] = [common.once(partial(naive.epoch, few, naive.naive_score_matching))[0]]
        scale[name] = ROWS / len(few)
    rows = []
    for name, seconds in times.items():
        each = [scale[name] * s for s in seconds]
        rows.append({"objective": objective, "dtype": dtype, "name": name, "seconds": each})
        print(f"{dtype} {objective:14s} {name:26s} {common.median(each):9.2f} s an epoch", flush=True)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        case = (row["objective"], row["dtype"])
        same = {r["name"]: r for r in rows if (r["objective"], r["dtype"]) == case}
        time, ours = common.median(row["seconds"]), same.get("thalweg")
        share = "" if ours in (None, row) else f"{common.median(ours['seconds']) / time:.3f}"
        bar = f"{BAR:.2f}" if row["name"] == "PyTorch" and row["dtype"] == "float32" else ""
        lines.append([row["objective"], row["dtype"], row["name"], f"{time:.2f} s", share, bar])
    return common.markdown_table(
        ["objective", "dtype", "name", "an epoch", "thalweg's time over it", "bar"], lines
    )


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--dtypes", default="float32,float64")
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of an epoch that are timed (all)")
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for dtype in args.dtypes.split(","):
        check(dtype)
        for objective in OBJECTIVES:
            rows += timed(objective, dtype, args)
    common.report(args.out, "Deep energies, 784 pixels, 64 units over 64", table(rows), rows)


if __name__ == "__main__":
    main()
