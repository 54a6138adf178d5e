"""Short forms of the reproductions under bench/papers: each runs to its table, and learns what is sound."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

PAPERS = Path(__file__).resolve().parents[1] / "bench" / "papers"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, data_root: Path) -> Any:
    """Imports a script as it is run: with its folder first on the path, and the data found."""
    monkeypatch.setenv("THALWEG_DATA", str(data_root))
    monkeypatch.syspath_prepend(str(PAPERS))

    def module(name: str) -> Any:
        monkeypatch.delitem(sys.modules, "common", raising=False)
        spec = importlib.util.spec_from_file_location(f"papers_{name}", PAPERS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        made = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(made)
        return made

    yield module
    sys.modules.pop("common", None)


SHORT = ["--epochs", "2", "--rows", "2000", "--threads", "1"]
ANNEALED = ["--runs", "20", "--temperatures", "300"]


def agree(likelihoods: dict[str, tuple[float, float]], nats: float) -> None:
    """Annealing up and down tell the same story."""
    (up, up_error), (down, down_error) = likelihoods["ais"], likelihoods["reverse_ais"]
    assert abs(up - down) < nats + 4 * (up_error + down_error)


def test_rbm_mnist_16(load: Any, mnist_root: Path, tmp_path: Path) -> None:
    script = load("rbm_mnist_16")
    results = script.main([*SHORT, "--work", str(tmp_path), "--out", str(tmp_path / "r")])
    assert len(results) == 6
    for r in results:
        assert -206.5 * 1.1 < r["test"] < -140  # the base rates alone give -206
    assert json.loads((tmp_path / "r.json").read_text())["results"][0]["test"] == results[0]["test"]
    assert (tmp_path / "r.md").read_text().count("|") > 30
    again = script.main([*SHORT, "--work", str(tmp_path)])  # goes on from the checkpoints: nothing left to do
    assert [r["test"] for r in again] == [r["test"] for r in results]


def test_rbm_mnist_500(load: Any, mnist_root: Path) -> None:
    results = load("rbm_mnist_500").main([*SHORT, *ANNEALED])
    for r in results:
        agree(r["test"], 5.0)


def test_rbm_mnist_cd25(load: Any, mnist_root: Path) -> None:
    script = load("rbm_mnist_cd25")
    assert [script.gibbs_steps(share) for share in (0.0, 0.2, 0.5, 0.99)] == [1, 5, 10, 25]
    result = script.main([*SHORT, *ANNEALED])
    agree(result["test"], 5.0)
    assert result["test"]["ais"][0] < -86.34  # two epochs are not two hundred


def test_deep_energy(load: Any, natural_root: Path, mnist_root: Path, tmp_path: Path) -> None:
    script = load("deep_energy")
    script.SIDE, script.N_TEST = 8, 300
    script.CHOSEN = {name: {"init_bias": 2.0} for name in script.CHOSEN}
    digits = [
        rows.reshape(-1, 28, 28)[:, 10:18, 10:18].reshape(-1, 64)[:2000] for rows in script.common.mnist()
    ]
    script.common.mnist = lambda: digits
    rest = ["--losses", "NCE,score matching", "--structure", "full", "--discriminator-epochs", "1", *ANNEALED]
    result = script.main([*SHORT, *rest, "--out", str(tmp_path / "r")])
    cells = [(r["space"], r["sigma"], r["loss"]) for r in result["rows"]]
    assert len(cells) == len(set(cells)) == 2 * (3 * 2 + 2)
    for r in result["rows"]:
        for kind in {"log_p", "log_ratio"} & set(r):
            assert 0 <= r[kind]["MNIST"]["auc"] <= 1
    (norms,) = (r for r in result["rows"] if r["loss"] == "−‖x‖² alone" and r["space"] == "whitened")
    assert norms["log_p"]["fitted Gaussian"]["auc"] > 0.6
    assert (tmp_path / "r.md").read_text().count("upside down") > 10
    assert (tmp_path / "r-whitened-nce-modes.png").exists()


def test_vnce(load: Any, tmp_path: Path) -> None:
    result = load("vnce").main(["--seeds", "2", "--sizes", "300,1500,7500", "--out", str(tmp_path / "r")])
    bound, known, plugged_in = (
        [r["error"] for r in result["rows"] if r["loss"] == name]
        for name in ("VNCE", "NCE, of the marginal", "one z, plugged in")
    )
    assert bound[0] > 1.2 * bound[1] > 1.44 * bound[2]
    assert bound[2] < 0.2
    # Nearly what NCE finds, which knows the marginal; and far better than one z without inference.
    assert all(v < 1.5 * e for v, e in zip(bound, known))
    assert all(v < 0.5 * p for v, p in zip(bound[1:], plugged_in[1:]))
    assert (tmp_path / "r.md").read_text().count("|") > 15


def test_grbm_natural(load: Any, natural_root: Path) -> None:
    script = load("grbm_natural")
    script.N_TRAIN, script.N_TEST = 2000, 500
    result = script.main([*SHORT, *ANNEALED])
    assert 0 < result["activity"] < 0.1
    assert result["sigma"][0] > 0
