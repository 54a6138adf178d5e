"""The page of `thalweg learn conv-sparse-coding` and `thalweg learn conv-autoencoder`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..plots import plot_atom_usage, plot_curves
from . import page, sections
from .convolutional_model import AUTOENCODER, SPARSE_CODING
from .convolutional_results import Results, filters_png
from .pictures import data_uri

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TITLES = {
    SPARSE_CODING: ("Convolutional sparse coding of photographs", "convolutional sparse coding"),
    AUTOENCODER: ("Convolutional sparse auto-encoder", "convolutional sparse auto-encoder"),
}


def report_html(results: Results) -> str:
    """The page."""
    metrics = results.metrics
    parts = [
        _head(results),
        _tiles(results),
        _filters(results),
        _objective(results),
        _prediction(metrics["held_out"]) if results.job == AUTOENCODER and "held_out" in metrics else "",
        _usage(results),
        _comparisons(results),
        "" if results.gap is None else sections.gaps(results.gap, metrics["held_out"], "strip", "strips"),
        page.settings(metrics, ("photographs", page.base_names(metrics["photographs"]))),
    ]
    return page.page(_TITLES[results.job][1], parts)


def _head(results: Results) -> str:
    metrics = results.metrics
    options, n_photographs = metrics["options"], len(metrics["photographs"])
    size, kind = options["filter_size"], "colour" if options["color"] else "gray"
    words = (
        f"{options['n_components']} filters of {size} × {size} pixels ({kind}), whose sparse code maps "
        f"explain whole images, learnt from {n_photographs} photograph{'s' * (n_photographs != 1)}. What is "
        f"learnt from was prepared: {metrics['preprocessing']}."
    )
    held_out = metrics.get("held_out")
    if held_out and held_out["n_pixels_left_out"]:
        n_all = held_out["n_pixels"] + held_out["n_pixels_left_out"]
        words += (
            f" As the run was interrupted, the figures of what was held out are those of "
            f"{held_out['n_pixels']:,} of its {n_all:,} pixels."
        )
    return page.head(_TITLES[results.job][0], words, metrics)


def _tiles(results: Results) -> str:
    metrics = results.metrics
    tiles = []
    if held_out := metrics.get("held_out"):
        tiles = _tiles_of_codes(held_out) if results.job == SPARSE_CODING else _tiles_of_encoder(held_out)
    tiles += [
        (f"{metrics['n_steps']:,}", "steps"),
        (f"{metrics['seconds']:.1f} s", "of learning"),
    ]
    return page.tiles(tiles)


def _tiles_of_codes(held_out: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (f"{held_out['objective']:.4g}", "objective per pixel, held-out strips"),
        (f"{100 * held_out['explained']:.1f} %", "of their variance explained"),
        (f"{100 * held_out['density']:.2g} %", "of the codes are not zero"),
        (f"{held_out['worst_gap']:.1e}", "worst optimality gap"),
    ]


def _tiles_of_encoder(held_out: dict[str, Any]) -> list[tuple[str, str]]:
    encoder, exact = held_out["encoder"], held_out["exact"]
    return [
        (f"{encoder['energy']:.4g}", "energy per pixel, held-out strips, encoder alone"),
        (f"{exact['energy']:.4g}", "energy of the best codes"),
        (f"{100 * encoder['explained']:.1f} %", "of their variance explained by the encoder's codes"),
        (f"{encoder['nonzeros_per_pixel']:.2f}", "of these codes in use per pixel"),
    ]


def _filters(results: Results) -> str:
    order = "" if results.usage is None else ", most used first"
    words = (
        f"As they are convolved with the code maps{order}. Gray is zero; every filter is stretched to its "
        "own greatest magnitude."
    )
    uri = data_uri(filters_png(results.filters))
    if results.encoder_filters is None:
        body = f'<img class="atoms" src="{uri}" alt="the filters, side by side">'
        return page.section("Filters", words, body)
    words += (
        " The encoder correlates the image with its own filters, each in the same place as its decoder's."
    )
    uris = (data_uri(filters_png(results.encoder_filters)), uri)
    return page.section("Filters", words, page.pair(uris, ("encoder", "decoder")))


def _objective(results: Results) -> str:
    metrics = results.metrics
    history, batch_size = metrics["history"], metrics["options"]["batch_size"]
    if results.job == AUTOENCODER:
        return _parts_over_time(history)
    n_photographs = len(metrics["photographs"])
    in_pass = -(-n_photographs // batch_size) if isinstance(batch_size, int) else 1
    n_passes = metrics["n_steps"] // in_pass
    words = "Squared error (halved) plus the penalty on the codes, per pixel. It falls as the filters adapt."
    if n_passes < 2:
        return sections.objective(history, words)
    # Photographs differ more from each other than passes do.
    steps = np.reshape(history["objective"][: n_passes * in_pass], (n_passes, in_pass))
    seconds = history["seconds"][in_pass - 1 : n_passes * in_pass : in_pass]
    by_pass = {"objective": steps.mean(axis=1), "seconds": seconds}
    return sections.objective(by_pass, f"{words} Each point is a pass.", "a pass", is_smooth=True)


def _parts_over_time(history: dict[str, Any]) -> str:
    width = sections.smoothing_width(len(history["step"]))
    names = {"objective": "sum", "reconstruction": "reconstruction", "sparsity": "sparsity"}
    curves = {
        label: sections.running_mean(np.asarray(history[name], np.float64), width)
        for name, label in {**names, "prediction": "distance from the prediction"}.items()
    }

    def draw(dark: bool) -> Figure:
        return plot_curves(
            curves, x=history["seconds"], x_label="seconds of learning", y_label="energy per pixel", dark=dark
        )

    means = f", means of {width} steps" if width > 1 else ""
    return page.section(
        "Parts of the loss over time",
        "Squared error (halved), penalty on the codes, and the weighted distance of the codes from what the "
        f"encoder predicts, per pixel of the crops{means}.",
        page.figure(draw, "the parts of the loss over time"),
    )


def _prediction(held_out: dict[str, Any]) -> str:
    """The encoder's codes against the best ones."""
    none, best = held_out["no_codes"], held_out["exact"]["energy"]
    reached = (none - held_out["encoder"]["energy"]) / (none - best) if none > best else 1.0
    columns = {
        "energy": "energy",
        "reconstruction": "reconstruction",
        "sparsity": "sparsity",
        "prediction": "distance from the prediction",
    }
    heads = ["codes", *columns.values(), "variance explained", "non-zeros per pixel"]
    rows = [[f"<th>{head}</th>" for head in heads]]
    for name, label in {"encoder": "the encoder alone", "exact": "the minimum of the energy"}.items():
        figures = held_out[name]
        cells = [label, *(f"{figures[column]:.4g}" for column in columns)]
        cells += [f"{100 * figures['explained']:.1f} %", f"{figures['nonzeros_per_pixel']:.3g}"]
        rows.append([f"<td>{cell}</td>" for cell in cells])
    table = "".join(f"<tr>{''.join(cells)}</tr>" for cells in rows)
    return page.section(
        "How well the encoder predicts",
        f"One pass of the encoder takes {100 * reached:.1f} % of the way from no codes (energy {none:.4g}) "
        f"to the minimum, which iterations find within {held_out['tolerance']:g} of the energy of no codes. "
        f"Per pixel, {held_out['n_strips']} held-out strips.",
        f"<table>{table}</table>",
    )


def _usage(results: Results) -> str:
    usage = results.usage
    if usage is None:
        return ""
    held_out = results.metrics["held_out"]
    n_strips, unused = held_out["n_strips"], held_out["unused_filters"]
    words = "None is idle." if unused == 0 else f"{unused} of them are not used there."
    return page.section(
        "How often each filter is used",
        f"Share of the places of {n_strips} held-out strip{'s' * (n_strips != 1)} where the best code of the "
        "filter is not zero. The strips come from the right of the photographs and are not learnt from. "
        f"{words}",
        page.figure(
            lambda dark: plot_atom_usage(
                usage, x_label="filter, most used first", y_label="places that use it (%)", dark=dark
            ),
            "how often each filter is used",
        ),
    )


def _comparisons(results: Results) -> str:
    codes = "the encoder's codes" if results.job == AUTOENCODER else "its sparse codes"
    options = results.metrics["options"]
    kept = ["low frequencies"] if options["low_pass"] > 0 else []
    kept += ["local means and contrasts"] if options["contrast_normalization"] else []
    added = f" The original's {' and '.join(kept)} are added back." if kept else ""
    return sections.originals_and_reconstructions(
        results.comparisons,
        f"Left the photograph, right what {codes} give back.{added} The peak signal-to-noise ratio says how "
        "close they are, and in brackets what it is without any code.",
    )
