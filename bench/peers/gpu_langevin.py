"""Hamiltonian Monte Carlo of a deep energy on the GPU, 784 pixels, H = 64 sigmoid units below K = 64.

Chain moves a second, ten leapfrog steps each with Metropolis's test, of 100 and of 65,536 chains whose states
stay on the device, beside PyTorch: closed-form scores, everything batched, TF32 off; for few chains also with
a move recorded as a CUDA graph. The floor of a move counts multiply-adds and bytes as cpp/cuda/langevin.cu
does, at the card's measured rates; the larger time is the floor.

    python bench/peers/gpu_langevin.py --out bench/results/gpu_langevin
    python bench/peers/gpu_langevin.py --small     # on any device, the emulated one too: checks, no figures
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
from thalweg._base import Draws
from thalweg.energies import DeepEnergy
from thalweg.inference.langevin import HamiltonianMonteCarlo

D, H, K, LEAPFROG = 784, 64, 64, 10
EPSILON = 0.15
CHAINS = (100, 65_536)
SMALL = (30, 8, 6)
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


def floor(n: int, size: tuple[int, int, int], limits: dict[str, float]) -> float:
    """Seconds that a move of n chains takes at the least, by what the kernels do."""
    d, h, k = size
    adds = 4 * d * h + (LEAPFROG - 1) * (2 * h * k + h * h) + 2 * h * k
    numbers = 13 * d + 2 * 10 * h
    return n * max(2 * adds / limits["float32"], 4 * numbers / limits["copy"])


def run(report: common.Report, n: int, size: tuple[int, int, int], n_left: int) -> None:
    """Rows of all competitors, for one of `n_left` numbers of chains."""
    moves = 2 if report.is_small else 100 if n < 1000 else 10
    energy = energy_of(*size)
    x = torch.randn(n, size[0], device=common.DEVICE)
    chains = TorchChains(energy, common.DEVICE)
    sampler, draws = HamiltonianMonteCarlo(EPSILON, LEAPFROG, device="cuda"), Draws(seed=0, stream=30)
    calls: dict[str, Callable[[], Any]] = {
        "thalweg": partial(sampler.run, energy, x if x.is_cuda else x.numpy(), moves, draws),
        "PyTorch": partial(torch_moves, chains, x, moves),
    }
    if n < 1000 and x.is_cuda:
        calls["PyTorch, graph"] = lambda: graph.moves(moves)
    ours = None
    for done, (name, call) in enumerate(calls.items()):
        if not report.has_time(f"{n} chains, {name}"):
            continue
        if name == "PyTorch, graph":
            graph = TorchGraph(chains, x)
        most = 0.05 if report.is_small else min(5.0, report.share(3 * n_left - done))
        taken = common.seconds(call, most=most) / moves
        row = {"chains": n, "name": name, "moves_per_s": n / taken, "us_per_move": 1e6 * taken}
        row["percent_of_roof"] = 100 * floor(n, size, report.limits) / taken
        if ours is not None:
            row["times"] = ours["moves_per_s"] / row["moves_per_s"]
        report.add(row)
        ours = ours or row


def main() -> None:
    given = common.parser(__doc__).parse_args()
    size, chains, n_checked = (SMALL, (64,), 64) if given.small else ((D, H, K), CHAINS, 1000)
    report = common.Report(given)
    torch.backends.cuda.matmul.allow_tf32 = False
    rng = np.random.default_rng(0)
    check(energy_of(*size), rng.normal(size=(n_checked, size[0])).astype(np.float32), common.DEVICE)
    common.measure_limits(report, "copy", "float32")
    for i, n in enumerate(chains):
        if report.has_time(f"{n} chains", 1.0):
            run(report, n, size, len(chains) - i)
    report.close()
    for row in report.rows if not given.small else ():
        if "times" in row and row["times"] < BAR:
            print(f"below the bar of {BAR:g} times {row['name']}: {row['chains']} chains, {row['times']:.2f}")


if __name__ == "__main__":
    main()
