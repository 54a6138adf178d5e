"""The page of `thalweg learn rbm` and `thalweg learn gaussian-rbm`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..plots import filter_mosaic, image_mosaic, plot_chains, plot_curves, plot_histograms
from . import page
from .pictures import data_uri, mosaic_png
from .rbm_data import IMAGES, Rows
from .rbm_metrics import SWEEPS, FreeEnergies
from .rbm_model import RbmModel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_N_RECONSTRUCTED = 64  # rows that are shown beside their reconstructions
_NATS_APART = 1.0  # estimates of the likelihood that differ by more are not to be trusted

_METHODS = {
    "exact": "exact, by enumeration",
    "ais": "annealed importance sampling",
    "reverse_ais": "the same in reverse",
}


@dataclass
class Report:
    """What the page shows: `metrics` as in metrics.json, and arrays for its pictures."""

    model: RbmModel
    metrics: dict[str, Any]
    rows: Rows
    energies: FreeEnergies
    filters: NDArray[Any]
    samples: NDArray[np.float64]


def report_html(report: Report) -> str:
    """The page."""
    metrics = report.metrics
    parts = [
        _head(report),
        _tiles(report),
        _filters(report),
        _samples(report),
        _likelihood(metrics),
        _reconstructions(report),
        _over_the_epochs(metrics["history"], metrics["n_held_out"] > 0),
        _histogram(report.energies),
        page.settings(metrics, ("learnt from", page.base_names(metrics["names"]))),
    ]
    return page.page("restricted Boltzmann machine", parts)


def chain_limits(model: RbmModel, rows: Rows) -> tuple[float, float]:
    """What is drawn black and white in pictures of visible units."""
    if not model.signed:
        return 0.0, 1.0
    most = float(np.percentile(np.abs(rows.learnt), 99)) or 1.0
    return -most, most


def _head(report: Report) -> str:
    metrics, model = report.metrics, report.model
    height, width = model.shape
    kind = "Gaussian" if model.signed else "Bernoulli"
    what = metrics["source"]
    if what == IMAGES:
        n_images = len(metrics["names"])
        patches = "whitened patches" if model.signed else "gray patches"
        what = f"{patches} of {n_images} image{'s' * (n_images != 1)}"
    words = (
        f"{metrics['options']['n_components']} binary hidden units over {height} × {width} {kind} visible "
        f"ones, learnt from {metrics['n_learnt']:,} rows ({what})."
    )
    return page.head("Restricted Boltzmann machine", words, metrics)


def _tiles(report: Report) -> str:
    metrics, energies = report.metrics, report.energies
    part = "held_out" if metrics["n_held_out"] else "learnt"
    rows = {"held_out": "held-out rows", "learnt": "training rows"}[part]
    tiles = [
        (
            f"{_number(estimate[part])} <small>{_error_bar(estimate)}</small>",
            f"log-likelihood of {rows}, {_METHODS[method]}",
        )
        for method, estimate in metrics["log_likelihood"].items()
    ]
    reconstruction, history = metrics["reconstruction"], metrics["history"]
    tiles.append((f"{reconstruction[f'{part}_error']:.4g}", f"mean square error of reconstruction, {rows}"))
    if energies.held_out is not None:
        difference = float(energies.held_out.mean() - energies.learnt.mean())
        tiles.append((_number(difference, "+.2f"), "free energy, held out less training"))
    tiles += [
        (f"{history['epoch'][-1]:.4g}", "epochs"),
        (f"{metrics['seconds']:.1f} s", "of learning"),
    ]
    return page.tiles(tiles)


def _number(value: float, form: str = ".2f") -> str:
    return format(value, form).replace("-", "−")


def _error_bar(estimate: dict[str, Any]) -> str:
    return f" ± {estimate['std_error']:.2g}" if estimate["std_error"] else ""


def _filters(report: Report) -> str:
    space = " They are shown in the space of the whitened patches." if report.model.signed else ""
    return page.section(
        "Filters",
        "The weights of every hidden unit to the pixels, the strongest first. Gray is zero; every filter is "
        f"stretched to its own greatest magnitude.{space}",
        f'<img class="atoms" src="{data_uri(mosaic_png(filter_mosaic(report.filters)))}" '
        'alt="the filters of the hidden units, side by side">',
    )


def _samples(report: Report) -> str:
    limits = chain_limits(report.model, report.rows)

    def draw(dark: bool) -> Figure:
        return plot_chains(report.samples, SWEEPS, limits=limits, dark=dark)

    return page.section(
        "Samples along chains",
        "Every row is a Gibbs chain: the upper half start from noise, the lower from data. At the left is "
        "the start, then the pixels that are expected after so many sweeps. A machine that has learnt the "
        "data turns noise into pictures like them; chains that stay where they began mix badly.",
        page.figure(draw, "samples along chains"),
    )


def _likelihood(metrics: dict[str, Any]) -> str:
    estimates = metrics["log_likelihood"]
    parts = ["learnt", "held_out"] if metrics["n_held_out"] else ["learnt"]
    names = {"learnt": "training rows", "held_out": "held-out rows"}
    heads = "".join(f"<th>{name}</th>" for name in ["log Z by", *(names[p] for p in parts), "log Z"])
    lines = []
    for method, estimate in estimates.items():
        values = [*(estimate[part] for part in parts), estimate["log_z"]]
        cells = [_METHODS[method], *(f"{_number(value)}{_error_bar(estimate)}" for value in values)]
        lines.append(_table_row(cells))
    alone = metrics["independent_pixels"]
    lines.append(_table_row(["for comparison: independent pixels", *(_number(alone[p]) for p in parts), ""]))
    return page.section(
        "Log-likelihood",
        f"Mean of log p(x) = −F(x) − log Z over rows, in nats. {_on_the_estimate(estimates)} "
        f"{_on_the_data(metrics)}",
        f"<table><tr>{heads}</tr>{''.join(lines)}</table>",
    )


def _table_row(cells: list[str]) -> str:
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _on_the_estimate(estimates: dict[str, Any]) -> str:
    if "exact" in estimates:
        return "Log Z is summed over all states of the hidden units."
    apart = abs(estimates["ais"]["log_z"] - estimates["reverse_ais"]["log_z"])
    words = (
        "Annealed importance sampling that misses modes makes the likelihood look too high, and run in "
        f"reverse too low: the truth lies between. The two are {apart:.2f} nats apart"
    )
    if apart > _NATS_APART:
        return f"{words}: too far to trust either, so count on the worse, or raise --ais-temperatures."
    return f"{words}. The error bars are one standard error of log Z."


def _on_the_data(metrics: dict[str, Any]) -> str:
    if metrics["options"].get("binarize") != "none":
        return ""
    return (
        "The pixels are gray where the machine's are binary: these figures compare with others of gray "
        "pixels, and are probabilities only where --binarize makes the pixels binary."
    )


def _reconstructions(report: Report) -> str:
    held_out, metrics = report.rows.held_out, report.metrics["reconstruction"]
    part, rows = ("training", report.rows.learnt) if held_out is None else ("held-out", held_out)
    shown = rows[np.linspace(0, len(rows) - 1, min(_N_RECONSTRUCTED, len(rows))).astype(np.int64)]
    uris = [_mosaic_uri(report, values) for values in (shown, report.model.learner.reconstruct(shown))]
    errors = f"Their mean square error is {metrics['learnt_error']:.4g} for training rows"
    errors += f" ({100 * metrics['learnt_explained']:.1f} % of the variance explained)"
    if held_out is not None:
        errors += f" and {metrics['held_out_error']:.4g} for held-out rows"
        errors += f" ({100 * metrics['held_out_explained']:.1f} %)"
    return page.section(
        "Reconstructions",
        "Pixels, and what is expected of them given the probabilities of the hidden units given the pixels. "
        f"{errors}: a machine that has learnt its training rows by heart is worse on the others.",
        page.pair(uris, (f"{part} rows", "their reconstructions")),
    )


def _mosaic_uri(report: Report, rows: NDArray[Any]) -> str:
    low, high = chain_limits(report.model, report.rows)
    pictures = report.model.pictures((rows - low) / (high - low))
    return data_uri(mosaic_png(image_mosaic(pictures)))


def _over_the_epochs(history: dict[str, Any], with_held_out: bool) -> str:
    columns = {name: np.array(values, np.float64) for name, values in history.items()}
    free, error = {"training": columns["free_energy"]}, {"training": columns["error"]}
    figures = []
    words = "Means over the same rows after the first step and every epoch."
    if with_held_out:
        free["held out"], error["held out"] = columns["free_energy_held_out"], columns["error_held_out"]
        difference = {"difference": columns["free_energy_held_out"] - columns["free_energy"]}
        figures.append((difference, "free energy, held out − training"))
        words += (
            " Where the difference of the free energies begins says how the rows themselves differ; where it "
            "keeps growing, the machine overfits."
        )
    figures += [(free, "free energy"), (error, "reconstruction error")]
    drawn = [_curves(curves, columns["epoch"], label) for curves, label in figures]
    return page.section("Over the epochs", words, "".join(drawn))


def _curves(curves: dict[str, NDArray[np.float64]], epoch: NDArray[np.float64], label: str) -> str:
    def draw(dark: bool) -> Figure:
        return plot_curves(curves, x=epoch, x_label="epoch", y_label=label, dark=dark)

    return page.figure(draw, f"{label} over the epochs")


def _histogram(energies: FreeEnergies) -> str:
    sets = {"training": energies.learnt}
    if energies.held_out is not None:
        sets["held out"] = energies.held_out
    return page.section(
        "Free energies at the end",
        "One value a row, lower is more probable. Where the two histograms part, the machine tells rows "
        "that it was trained on from others.",
        page.figure(
            lambda dark: plot_histograms(sets, x_label="free energy", dark=dark),
            "histograms of the free energies",
        ),
    )
