"""Figures are drawn from arrays, leave pyplot alone, and refuse what they cannot draw."""

from __future__ import annotations

import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from thalweg import plots

RNG = np.random.default_rng(0)

FIGURES = {
    "filters": lambda **o: plots.plot_filters(RNG.normal(size=(10, 6, 6)), **o),
    "color filters": lambda **o: plots.plot_filters(RNG.normal(size=(10, 3, 6, 4)), scale="common", **o),
    "codes": lambda **o: plots.plot_codes(RNG.normal(size=(90, 30)), **o),
    "no codes": lambda **o: plots.plot_codes(np.zeros((2, 3), np.float32), **o),
    "curve": lambda **o: plots.plot_curves({"objective": [3.0, 2.0, np.nan]}, y_label="objective", **o),
    "curves": lambda **o: plots.plot_curves(
        {"a": [3, 2], "b": [1, 2]}, x=[0.5, 1], log=True, faint=["a"], **o
    ),
    "usage": lambda **o: plots.plot_atom_usage([0.0, 1.0, 0.5], **o),
    "one atom": lambda **o: plots.plot_atom_usage([0.0], **o),
    "pairs": lambda **o: plots.plot_reconstructions(
        [RNG.random((8, 12)), RNG.random((9, 7, 3))], [np.zeros((8, 12)), np.full((9, 7, 3), 2.0)], **o
    ),
    "histograms": lambda **o: plots.plot_histograms(
        {"training": RNG.normal(size=80), "held out": RNG.normal(1, size=30)}, x_label="free energy", **o
    ),
    "one value": lambda **o: plots.plot_histograms({"training": [2.0]}, **o),
    "chains": lambda **o: plots.plot_chains(RNG.random((3, 4, 5, 7)), [0, 1, 10, 1000], **o),
    "signed chains": lambda **o: plots.plot_chains(RNG.normal(size=(2, 1, 5, 7)), [1], limits=(-2, 2), **o),
    "gaps": lambda **o: plots.plot_gaps([0.0, 1e-5, 1e-3, np.nan], tol=1e-3, **o),
    "one gap": lambda **o: plots.plot_gaps([1e-4], **o),
}


def pixels(figure: Figure) -> np.ndarray:
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_drawn_on_light_and_dark_paper(name: str) -> None:
    light, dark = (pixels(FIGURES[name](title="a title", dark=d)) for d in (False, True))
    assert light.std() > 1
    assert tuple(light[0, 0, :3]) == (255, 255, 255)
    assert dark[0, 0, :3].max() < 40


def test_pyplot_is_left_alone() -> None:
    code = (
        "import sys, thalweg.plots as p\n"
        "assert 'matplotlib' not in sys.modules\n"
        "p.plot_gaps([1e-3])\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    before = dict(matplotlib.rcParams)
    pixels(FIGURES["gaps"]())
    assert dict(matplotlib.rcParams) == before


def test_mosaic_places_every_filter() -> None:
    filters = RNG.normal(size=(5, 3, 2, 4))
    picture = plots.filter_mosaic(filters, n_columns=3, border=1)
    assert picture.shape == (2 * 3 + 1, 3 * 5 + 1, 3)
    for i, filter_ in enumerate(filters):
        row, column = divmod(i, 3)
        cell = picture[row * 3 + 1 : row * 3 + 3, column * 5 + 1 : column * 5 + 5]
        expected = 0.5 + 0.5 * filter_ / np.abs(filter_).max()
        assert np.allclose(cell, expected.transpose(1, 2, 0))
    assert np.all(picture[::3] == 1)
    assert np.all(picture[4:, 11:] == 1)


def test_mosaic_scales_together_or_apart_and_never_divides_by_zero() -> None:
    filters = np.stack([np.zeros((2, 2)), np.eye(2), 4 * np.eye(2)])
    each = plots.filter_mosaic(filters, n_columns=3, border=0)
    common = plots.filter_mosaic(filters, n_columns=3, border=0, scale="common")
    assert each[0].tolist() == [0.5, 0.5, 1.0, 0.5, 1.0, 0.5]
    assert common[0].tolist() == [0.5, 0.5, 0.625, 0.5, 1.0, 0.5]


def test_images_keep_their_shades() -> None:
    images = np.array([[[0.0, 0.25]], [[1.0, 0.5]], [[-1.0, 2.0]]])
    assert plots.image_mosaic(images, n_columns=3, border=0).tolist() == [[0, 0.25, 1, 0.5, 0, 1]]
    assert plots.image_mosaic(images, n_columns=1).tolist()[:3] == [[1, 1, 1, 1], [1, 0, 0.25, 1], [1] * 4]


def test_histograms_show_the_share_of_each_set() -> None:
    axes = plots.plot_histograms({"a": [0.0, 1.0, 1.0, 4.0], "b": [3.0]}, bins=4).axes[0]
    _, a, _, b = (patch.get_data() for patch in axes.patches)
    assert a.edges.tolist() == b.edges.tolist() == [0, 1, 2, 3, 4]
    assert a.values.tolist() == [25, 50, 0, 25]
    assert b.values.tolist() == [0, 0, 0, 100]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]


def test_chains_are_rows_and_sweeps_are_columns() -> None:
    states = np.arange(6.0).reshape(2, 3, 1, 1)
    axes = plots.plot_chains(states, [0, 5, 1000], limits=(0, 10)).axes[0]
    (picture,) = axes.get_images()
    assert np.allclose(picture.get_array()[1::2, 1::2], [[0.0, 0.1, 0.2], [0.3, 0.4, 0.5]])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "5", "1,000"]
    assert axes.get_xticks().tolist() == [1, 3, 5]


def test_usage_is_sorted() -> None:
    (patch,) = plots.plot_atom_usage([0.1, 0.3, 0.2]).axes[0].patches
    assert np.allclose(patch.get_data().values, [30, 20, 10])


def test_histograms_of_sets_far_apart_share_an_axis() -> None:
    sets = {"near": [-1.0, 0.0, 1.0], "far": [-1e6, -1e5], "a": [0.5], "b": [2.0], "fifth": [3.0]}
    axes = plots.plot_histograms(sets, linear_width=1.0).axes[0]
    assert axes.get_xscale() == "asinh"
    lines = [p for p in axes.patches if not p.get_fill()]
    for line, values in zip(lines, sets.values()):
        shares, edges, _ = line.get_data()
        assert shares.sum() == pytest.approx(100)
        assert edges[0] <= min(values)
        assert max(values) <= edges[-1]
        assert np.allclose(np.diff(np.arcsinh(edges)), np.diff(np.arcsinh(edges)).mean())
    assert len({line.get_linestyle() for line in lines}) == 2  # there are four colours


def test_gap_histogram_counts_every_row() -> None:
    axes = plots.plot_gaps([-1e-15, 1e-5, 1e-5, 1e-3, 1.0], tol=1e-3).axes[0]
    assert axes.patches[0].get_data().values.sum() == 5
    assert axes.get_legend().get_texts()[0].get_text() == "tolerance 0.001"


def test_psnr() -> None:
    assert plots.psnr(np.zeros((2, 2)), np.full((2, 2), 0.1)) == pytest.approx(20)
    assert plots.psnr([1.0], [1.0]) == np.inf
    with pytest.raises(ValueError, match="original's shape"):
        plots.psnr([1.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.plot_filters(np.zeros((3, 2, 4, 4))), "filters: expected shape"),
        (lambda: plots.plot_filters(np.zeros((0, 4, 4))), "filters: expected shape"),
        (lambda: plots.plot_filters(np.full((1, 4, 4), np.nan)), "filters: every element"),
        (lambda: plots.plot_filters(np.zeros((1, 4, 4)), n_columns=0), "n_columns"),
        (lambda: plots.plot_filters(np.zeros((1, 4, 4)), scale="none"), "scale"),
        (lambda: plots.plot_codes(np.zeros((0, 4))), "codes"),
        (lambda: plots.plot_codes(np.zeros(4)), "codes"),
        (lambda: plots.plot_curves({}), "curves"),
        (lambda: plots.plot_curves({"a": [1, 2], "b": [1]}), "one length"),
        (lambda: plots.plot_curves({"a": [np.inf]}), "infinity"),
        (lambda: plots.plot_atom_usage([1.5]), r"shares in \[0, 1\]"),
        (lambda: plots.image_mosaic(np.zeros((3, 2, 4, 4))), "images: expected shape"),
        (lambda: plots.plot_histograms({}), "sets"),
        (lambda: plots.plot_histograms({"a": []}), r"sets\['a'\]"),
        (lambda: plots.plot_histograms({"a": [np.nan]}), r"sets\['a'\]: every"),
        (lambda: plots.plot_histograms({"a": [1.0]}, bins=0), "bins"),
        (lambda: plots.plot_histograms({"a": [1.0]}, linear_width=0), "linear_width"),
        (lambda: plots.plot_chains(np.zeros((2, 3, 4)), [1, 2, 3]), "states"),
        (lambda: plots.plot_chains(np.zeros((0, 3, 4, 4)), [1, 2, 3]), "states"),
        (lambda: plots.plot_chains(np.zeros((2, 3, 4, 4)), [1, 2]), "sweeps"),
        (lambda: plots.plot_chains(np.zeros((2, 1, 4, 4)), [1], limits=(1, 1)), "limits"),
        (lambda: plots.plot_gaps([np.nan]), "gap"),
        (lambda: plots.plot_gaps([-1.0]), "gap"),
        (lambda: plots.plot_reconstructions([], []), "reconstructions"),
        (lambda: plots.plot_reconstructions([np.zeros((2, 2))], [np.zeros((2, 3))]), "reconstructions"),
    ],
)
def test_what_cannot_be_drawn_is_refused(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
