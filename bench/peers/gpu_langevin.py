"""Hamiltonian Monte Carlo of a deep energy on the GPU, 784 pixels, H = 64 sigmoid units below K = 64.

Chain moves a second, ten leapfrog steps each with Metropolis's test, of 100 and of 65,536 chains whose states
stay on the device, beside PyTorch: closed-form scores, everything batched, TF32 off; for few chains also with
a move recorded as a CUDA graph. The floor of a move counts multiply-adds and bytes as cpp/cuda/langevin.cu
does, at the card's measured rates; the larger time is the floor.

    python bench/peers/gpu_langevin.py --out bench/results/gpu_langevin
    python bench/peers/gpu_langevin.py --small     # the checks alone, also on the emulated device
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

import gpu_common as common
from thalweg import _native
from thalweg._base import Draws
from thalweg.energies import DeepEnergy
from thalweg.inference.langevin import HamiltonianMonteCarlo

D, H, K, LEAPFROG = 784, 64, 64, 10
EPSILON = 0.15
CHAINS = (100, 65_536)
BAR = 3.0  # times PyTorch


def energy_of(d: int, h: int, k: int) -> DeepEnergy:
    """With weights that bend the density, in float32."""
    made = DeepEnergy.random(d, (h,), k, "sigmoid", random_state=0, dtype=np.float32)
    rng = np.random.default_rng(1)
    moved = {
        name: (p + rng.normal(0, 0.3 / math.sqrt(p.shape[-1]), p.shape)).astype(np.float32)
        for name, p in made.parameters.items()
    }
    return made.with_parameters(moved)


class TorchChains:
    """As a good user of PyTorch would write them."""

    def __init__(self, energy: DeepEnergy, device: str) -> None:
        p = {name: torch.tensor(value, device=device) for name, value in energy.parameters.items()}
        self.V, self.d = p["weights_0"], p["bias_0"]
        self.W, self.c, self.b = p["top_weights"], p["top_bias"], p["visible_bias"]
        self.beta = 1 / energy.sigma**2

    def energy_and_score(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        g = torch.sigmoid(torch.addmm(self.d, x, self.V.T))
        z = torch.addmm(self.c, g, self.W.T)
        visible = (x.double().square() * (0.5 * self.beta)).sum(dim=1) - (x @ self.b).double()
        energy = visible - F.softplus(z).sum(dim=1, dtype=torch.float64)
        return energy, self._descended(x, g, z)

    def score(self, x: torch.Tensor) -> torch.Tensor:
        g = torch.sigmoid(torch.addmm(self.d, x, self.V.T))
        return self._descended(x, g, torch.addmm(self.c, g, self.W.T))

    def _descended(self, x: torch.Tensor, g: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        pull = (torch.sigmoid(z) @ self.W) * (g * (1 - g))
        return torch.addmm(self.b - self.beta * x, pull, self.V)

    def move(
        self, x: torch.Tensor, energy: torch.Tensor, score: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """States, energies and scores after a move, and its mean acceptance."""
        p = torch.randn_like(x)
        kinetic = 0.5 * p.double().square().sum(dim=1)
        end, p = x, torch.add(p, score, alpha=0.5 * EPSILON)
        for step in range(LEAPFROG):
            end = torch.add(end, p, alpha=EPSILON)
            if step + 1 < LEAPFROG:
                p.add_(self.score(end), alpha=EPSILON)
        after, pull = self.energy_and_score(end)
        p.add_(pull, alpha=0.5 * EPSILON)
        rise = after - energy + 0.5 * p.double().square().sum(dim=1) - kinetic
        probability = torch.exp(-rise.clamp(min=0))
        taken = torch.rand_like(probability) < probability
        row = taken[:, None]
        return (
            torch.where(row, end, x),
            torch.where(taken, after, energy),
            torch.where(row, pull, score),
            probability.mean(),
        )


class TorchGraph:
    """A move of PyTorch's, recorded once."""

    def __init__(self, chains: TorchChains, x: torch.Tensor) -> None:
        self.state = [x.clone(), *chains.energy_and_score(x)]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                chains.move(*self.state)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            for held, new in zip(self.state, chains.move(*self.state)[:3]):
                held.copy_(new)

    def moves(self, n: int) -> None:
        for _ in range(n):
            self.graph.replay()


def torch_moves(chains: TorchChains, x: torch.Tensor, n: int) -> float:
    """The mean acceptance of n moves."""
    state: list[torch.Tensor] = [x, *chains.energy_and_score(x)]
    total = torch.zeros((), device=x.device, dtype=torch.float64)
    for _ in range(n):
        *state, acceptance = chains.move(*state)
        total += acceptance
    return float(total) / max(1, n)


def check(energy: DeepEnergy, x: np.ndarray, device: str) -> None:
    """Energies and scores are those of PyTorch and of the CPU, and moves are accepted as often."""
    chains = TorchChains(energy, device)
    E, psi = (a.cpu().numpy() for a in chains.energy_and_score(torch.tensor(x, device=device)))
    there = energy.on("cuda")
    np.testing.assert_allclose(there.energies(x), E, rtol=1e-5)
    np.testing.assert_allclose(there.score_function(x), psi, atol=1e-4 * np.abs(psi).max())
    np.testing.assert_allclose(energy.energies(x), E, rtol=1e-5)
    sampler, draws = HamiltonianMonteCarlo(EPSILON, LEAPFROG, device="cuda"), Draws(seed=0, stream=30)
    found = sampler.run(energy, x, 8, draws)
    expected = HamiltonianMonteCarlo(EPSILON, LEAPFROG).run(energy, x, 8, draws)
    assert abs(found.acceptance - expected.acceptance) < 0.02, (found.acceptance, expected.acceptance)
    theirs = torch_moves(chains, torch.tensor(x, device=device), 8)
    assert abs(found.acceptance - theirs) < 0.1, (found.acceptance, theirs)


def floor(n: int, limits: dict[str, float]) -> float:
    """Seconds that a move of n chains takes at the least, by what the kernels do."""
    adds = 4 * D * H + (LEAPFROG - 1) * (2 * H * K + H * H) + 2 * H * K
    numbers = 13 * D + 2 * 10 * H
    return n * max(2 * adds / limits["float32"], 4 * numbers / limits["copy"])


def rows_of(n: int, energy: DeepEnergy, limits: dict[str, float], most: float) -> list[dict[str, Any]]:
    moves = 100 if n < 1000 else 10
    x = torch.randn(n, D, device="cuda")
    chains = TorchChains(energy, "cuda")
    sampler, draws = HamiltonianMonteCarlo(EPSILON, LEAPFROG, device="cuda"), Draws(seed=0, stream=30)
    calls: dict[str, Callable[[], Any]] = {
        "thalweg": partial(sampler.run, energy, x, moves, draws),
        "PyTorch": partial(torch_moves, chains, x, moves),
    }
    if n < 1000:
        calls["PyTorch, graph"] = partial(TorchGraph(chains, x).moves, moves)
    rows = []
    for name, call in calls.items():
        taken = common.seconds(call, most=most) / moves
        row = {"chains": n, "name": name, "moves_per_s": n / taken, "us_per_move": 1e6 * taken}
        rows.append({**row, "percent_of_roof": 100 * floor(n, limits) / taken})
    for row in rows[1:]:
        row["times"] = rows[0]["moves_per_s"] / row["moves_per_s"]
    return rows


def main() -> None:
    args = common.parser(__doc__)
    args.add_argument("--small", action="store_true", help="checks of a small density, without a figure")
    given = args.parse_args()
    rng = np.random.default_rng(0)
    if given.small:
        device = "cpu" if _native.cuda().is_emulated else "cuda"
        check(energy_of(30, 8, 6), rng.normal(size=(64, 30)).astype(np.float32), device)
        print("energies, scores and acceptance agree")
        return
    torch.backends.cuda.matmul.allow_tf32 = False
    energy = energy_of(D, H, K)
    check(energy, rng.normal(size=(1000, D)).astype(np.float32), "cuda")
    limits = {"copy": common.copy_rate(), "float32": common.matrix_rate("float32")}
    rows = [row for n in CHAINS for row in rows_of(n, energy, limits, given.seconds / 12)]
    common.report(given.out, rows, limits)
    for row in rows:
        if "times" in row and row["times"] < BAR:
            print(f"below the bar of {BAR:g} times {row['name']}: {row['chains']} chains, {row['times']:.2f}")


if __name__ == "__main__":
    main()
