"""The page of `thalweg learn deep-energy`."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..plots import filter_mosaic, image_mosaic, plot_curves, plot_histograms
from . import page
from .density_metrics import GAUSSIAN, Monitored
from .density_model import DensityModel
from .density_scores import in_figures, in_words
from .pictures import data_uri, mosaic_png
from .rbm_metrics import spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_N_SHOWN = 64  # patches and samples of the Gaussian that are shown

_SCORES = {
    "log_p": "log p",
    "log_ratio": "log p − log p of the Gaussian",
    "log_p_gaussian": "log p of the Gaussian",
}
_FILTERS = {
    "filters": "the rows of V, which meet the whitened patches",
    "analysis": "V P: what each unit takes from pixels",
    "synthesis": "V P⁻¹: the pixels that each unit stands for",
}


@dataclass
class Report:
    """What the page shows: `metrics` as in metrics.json, and arrays for its pictures."""

    model: DensityModel
    metrics: dict[str, Any]
    rows: Monitored
    scores: dict[str, dict[str, NDArray[np.float64]]]
    filters: dict[str, NDArray[Any]]


def report_html(report: Report) -> str:
    """The page."""
    metrics = report.metrics
    parts = [
        _head(report),
        _tiles(report),
        _filters(report),
        _table(report),
        _histograms(report),
        _over_the_epochs(metrics),
        _patches(report),
        page.settings(metrics, ("learnt from", page.base_names(metrics["names"]))),
    ]
    return page.page("deep energy model", parts)


def _head(report: Report) -> str:
    metrics, options = report.metrics, report.metrics["options"]
    height, width = report.model.shape
    layers = [*options["hidden_layer_sizes"], options["n_components"]]
    n_images = len(metrics["names"])
    dropped = f"; {metrics['n_constant']:,} of one gray were dropped" if metrics["n_constant"] else ""
    words = (
        f"A density of {height} × {width} patches without its normaliser: layers of "
        f"{', '.join(map(str, layers))} units, learnt by {options['loss'].replace('_', ' ')} from "
        f"{metrics['n_learnt']:,} {'whitened ' * report.model.is_whitened}patches of {n_images} "
        f"photograph{'s' * (n_images != 1)}{dropped}."
    )
    return page.head("Deep energy model", words, metrics)


def _tiles(report: Report) -> str:
    metrics = report.metrics
    areas = {kind: sets[GAUSSIAN]["auc"] for kind, sets in metrics["scores"].items()}
    tiles = [
        (
            f"{areas['log_ratio']:.3f}",
            f"AUC, {report.rows.natural} against the Gaussian, by log-ratio",
        ),
        (f"{areas['log_p']:.3f}", "the same by log p"),
        (f"{areas['log_p_gaussian']:.3f}", "the same by the Gaussian alone"),
        (f"{metrics['history']['epoch'][-1]:.4g}", "epochs"),
        (f"{metrics['seconds']:.1f} s", "of learning"),
    ]
    return page.tiles(tiles)


def _filters(report: Report) -> str:
    words = "The first layer's filters, the strongest first. Gray is zero; each has its own scale."
    if len(report.filters) == 1:
        return page.section("Filters", words, _mosaic(report.filters["filters"], "the filters, side by side"))
    parts = [
        f"<figure>{_mosaic(pictures, name)}<figcaption>{_FILTERS[name]}</figcaption></figure>"
        for name, pictures in report.filters.items()
    ]
    words += " P whitens: y = P (x − mean), so that a unit sees V y."
    return page.section("Filters", words, "".join(parts))


def _mosaic(pictures: NDArray[Any], words: str) -> str:
    return f'<img class="atoms" src="{data_uri(mosaic_png(filter_mosaic(pictures)))}" alt="{words}">'


def _table(report: Report) -> str:
    heads = "".join(f"<th>{words}</th><th>AUC</th>" for words in _SCORES.values())
    lines = []
    for name in report.rows.sets:
        cells = [cell for kind in _SCORES for cell in in_words(report.metrics["scores"][kind][name])]
        lines.append("".join(f"<td>{cell}</td>" for cell in (name, *cells)))
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return page.section(
        "Is it able to tell them apart?",
        "Mean ± standard deviation over patches, and the area under the curve of telling a set from the "
        f"{report.rows.natural} patches: 1 where these always score higher, 0.5 by chance. Log p lacks its "
        "normaliser, a constant that changes no difference and no area.",
        f"<table><tr><th></th>{heads}</tr>{body}</table>",
    )


def _histograms(report: Report) -> str:
    parts = []
    for kind in ("log_p", "log_ratio"):
        sets, origin = about_median(report.scores[kind], report.rows.natural)
        label = f"{_SCORES[kind]}, less {in_figures(origin)}"
        parts.append(_histogram(sets, label))
    words = f"About the median of the {report.rows.natural} patches; linear near it, logarithmic far away."
    return page.section("Scores at the end", words, "".join(parts))


def about_median(
    sets: dict[str, NDArray[np.float64]], first: str
) -> tuple[dict[str, NDArray[np.float64]], float]:
    """Scores less the median of the set `first`, and that median."""
    origin = float(np.median(sets[first]))
    return {name: values - origin for name, values in sets.items()}, origin


def spread_of(values: NDArray[np.float64]) -> float:
    """How far from its median the middle half of a set reaches; never 0."""
    low, high = np.percentile(values, (25, 75))
    return float(high - low) or 1.0


def _histogram(sets: dict[str, NDArray[np.float64]], label: str) -> str:
    width = spread_of(next(iter(sets.values())))

    def draw(dark: bool) -> Figure:
        return plot_histograms(sets, x_label=label, linear_width=width, dark=dark)

    return page.figure(draw, f"histograms of {escape(label)}")


def _over_the_epochs(metrics: dict[str, Any]) -> str:
    columns = {name: np.array(values, np.float64) for name, values in metrics["history"].items()}
    means = {"training": columns["log_p"]}
    if metrics["n_held_out"]:
        means["held out"] = columns["log_p_held_out"]
    means[GAUSSIAN] = columns["log_p_gaussian"]
    figures = [
        ({"objective": columns["objective"]}, "objective"),
        ({"by log p": columns["auc"], "by log-ratio": columns["auc_ratio"]}, "AUC against the Gaussian"),
        (means, "log p, unnormalised"),
    ]
    words = "The objective is a mean over the epoch's batches; the others are of the same patches every time."
    drawn = [_curves(curves, columns["epoch"], label) for curves, label in figures]
    return page.section("Over the epochs", words, "".join(drawn))


def _curves(curves: dict[str, NDArray[np.float64]], epoch: NDArray[np.float64], label: str) -> str:
    def draw(dark: bool) -> Figure:
        return plot_curves(curves, x=epoch, x_label="epoch", y_label=label, dark=dark)

    return page.figure(draw, f"{label} over the epochs")


def _patches(report: Report) -> str:
    model, gaussian = report.model, report.model.fitted
    uris = [
        data_uri(
            mosaic_png(image_mosaic(model.pictures(model.pixels(spread(report.rows.sets[name], _N_SHOWN)))))
        )
        for name in (report.rows.natural, GAUSSIAN)
    ]
    active = "; it was kept positive definite, which is not where its objective is least"
    words = (
        f"The Gaussian has the patches' mean and a {gaussian.structure} precision"
        f"{active if gaussian.is_constraint_active else ''}. What its samples lack is what there is to learn."
    )
    return page.section(
        "Patches and the fitted Gaussian",
        words,
        page.pair(uris, (f"{report.rows.natural} patches", "samples of the fitted Gaussian")),
    )
