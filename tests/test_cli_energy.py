"""`thalweg energy` end to end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from command_line import complaint
from thalweg.cli import main
from thalweg.plots import Surface, plot_energy_surfaces


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("energy")
    losses = ["energy", "perceptron", "square_square", "nll"]
    arguments = [
        "energy",
        "--out",
        str(out),
        "--points",
        "100",
        "--passes",
        "120",
        "--quiet",
        "--losses",
        *losses,
    ]
    assert main(arguments) == 0
    return out


def rows(out: Path) -> dict[tuple[str, str], dict]:
    models = json.loads((out / "surfaces.json").read_text())["models"]
    return {(row["architecture"], row["loss"]): row for row in models}


def test_the_picture_and_the_figures_are_written(found: Path) -> None:
    assert len(rows(found)) == 8
    with Image.open(found / "surfaces.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 10


def test_a_regressor_learns_under_every_loss(found: Path) -> None:
    for (architecture, _), row in rows(found).items():
        if architecture == "regressor":
            assert row["mean_error_of_best_answer"] < 0.15
            assert not row["collapsed"]
            assert not row["refused"]


def test_a_matcher_collapses_without_a_push(found: Path) -> None:
    models = rows(found)
    assert "equal" in models["matcher", "energy"]["refused"]
    assert (
        models["matcher", "energy"]["spread_over_answers"]
        < 0.1 * models["matcher", "energy"]["spread_before"]
    )
    assert "margin of zero" in models["matcher", "perceptron"]["refused"]
    for loss in ("square_square", "nll"):
        assert not models["matcher", loss]["refused"]
        assert models["matcher", loss]["mean_error_of_best_answer"] < 0.15


def test_faults_end_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    taken = tmp_path / "file"
    taken.write_text("")
    assert "file" in complaint(capsys, ["energy", "--out", taken])
    for arguments in (["--losses", "zero-one"], ["--points", "1"], ["--passes", "0"]):
        with pytest.raises(SystemExit) as end:
            main(["energy", *arguments])
        assert end.value.code == 2


@pytest.mark.parametrize("dark", [False, True])
def test_surfaces(dark: bool) -> None:
    slope = np.mgrid[:5, :7][0].astype(float)
    panels = {
        "above": {"before": Surface(slope), "after": Surface(0 * slope, "refused", True)},
        "below": {"before": Surface(slope)},
    }
    figure = plot_energy_surfaces(panels, extent=(-1, 1, 0, 2), points=([0.0], [1.0]), dark=dark)
    words = [axes.get_xlabel() for axes in figure.axes]
    assert words[1] == "refused, flat"
    line = figure.axes[0].lines[0]
    np.testing.assert_array_equal(line.get_ydata(), np.zeros(7))
    assert len(figure.axes[1].lines) == 1  # the points alone


def test_no_surface_is_an_error() -> None:
    with pytest.raises(ValueError, match="rows"):
        plot_energy_surfaces({}, extent=(0, 1, 0, 1))
    with pytest.raises(ValueError, match="energy"):
        plot_energy_surfaces({"a": {"b": Surface(np.zeros(3))}}, extent=(0, 1, 0, 1))
