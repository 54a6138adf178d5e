"""The page of `thalweg learn sparse-coding`."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..plots import plot_atom_usage, plot_curves, plot_gaps, psnr
from . import page
from .pictures import atoms_png, data_uri, image_from, jpeg

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass
class Comparison:
    """A photograph beside what its codes give back."""

    name: str
    original: NDArray[Any]
    reconstruction: NDArray[Any]


@dataclass
class Report:
    """What the page shows: `metrics` as in metrics.json, and arrays for its pictures.

    Without held-out patches there is no ``metrics["held_out"]``, and `usage` and `gap` are None.
    """

    metrics: dict[str, Any]
    atoms: NDArray[Any]
    usage: NDArray[np.float64] | None
    gap: NDArray[np.float64] | None
    comparisons: list[Comparison]


def report_html(report: Report) -> str:
    """The page."""
    parts = [
        _head(report.metrics),
        _tiles(report.metrics),
        _atoms(report),
        _objective(report.metrics),
        "" if report.usage is None else _usage(report.metrics["held_out"], report.usage),
        _comparisons(report.comparisons),
        "" if report.gap is None else _gaps(report.metrics["held_out"], report.gap),
        page.settings(report.metrics, ("photographs", page.base_names(report.metrics["photographs"]))),
    ]
    return page.page("sparse coding", parts)


def _head(metrics: dict[str, Any]) -> str:
    options = metrics["options"]
    size, n_photographs = options["patch_size"], len(metrics["photographs"])
    kind = "colour" if options["color"] else "gray"
    words = (
        f"A dictionary of {options['n_components']} atoms of {size} × {size} pixels ({kind}), learnt from "
        f"{metrics['n_patches']:,} patches of {n_photographs} photograph{'s' * (n_photographs != 1)}."
    )
    return page.head("Sparse coding of photographs", words, metrics)


def _tiles(metrics: dict[str, Any]) -> str:
    tiles = []
    if held_out := metrics.get("held_out"):
        tiles += [
            (f"{held_out['objective']:.4g}", "objective, held-out patches"),
            (f"{100 * held_out['explained']:.1f} %", "of their variance explained"),
            (f"{held_out['nonzeros_per_patch']:.1f}", "atoms in use per patch"),
            (f"{held_out['worst_gap']:.1e}", "worst optimality gap"),
        ]
    tiles += [
        (f"{metrics['n_steps']:,}", "steps"),
        (f"{metrics['seconds']:.1f} s", "of learning"),
    ]
    return page.tiles(tiles)


def _atoms(report: Report) -> str:
    atoms, order = report.atoms, ""
    if report.usage is not None:
        atoms, order = atoms[np.argsort(-report.usage, kind="stable")], ", most used first"
    uri = data_uri(atoms_png(atoms))
    space = "whitened " if report.metrics["options"]["whitening"] == "zca" else ""
    return page.section(
        "Atoms",
        f"The dictionary, in the space of {space}patches{order}. Gray is zero; every atom is "
        "stretched to its own greatest magnitude.",
        f'<img class="atoms" src="{uri}" alt="the atoms of the dictionary, side by side">',
    )


def _objective(metrics: dict[str, Any]) -> str:
    history = metrics["history"]
    batch = np.asarray(history["objective"], np.float64)
    width = max(1, min(25, len(batch) // 8))
    each = "each batch, before its step"
    curves = {each: batch}
    if width > 1:
        curves[f"mean of {width} batches"] = _running_mean(batch, width)

    def draw(dark: bool) -> Figure:
        return plot_curves(
            curves,
            x=history["seconds"],
            x_label="seconds of learning",
            y_label="objective",
            faint=[each] if width > 1 else [],
            dark=dark,
        )

    return page.section(
        "Objective over time",
        "Squared error (halved) plus the penalty on the codes, per patch. It falls as the dictionary adapts.",
        page.figure(draw, "the objective over time"),
    )


def _running_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Means of the last `width` values; NaN where there are fewer."""
    mean = np.convolve(values, np.full(width, 1 / width), mode="valid")
    return np.concatenate([np.full(width - 1, np.nan), mean])


def _usage(held_out: dict[str, Any], usage: NDArray[np.float64]) -> str:
    unused = held_out["unused_atoms"]
    words = "None is idle." if unused == 0 else f"{unused} of them explain none of these patches."
    return page.section(
        "How often each atom is used",
        f"Share of {held_out['n_patches']:,} held-out patches whose code for the atom is not zero. They come "
        f"from strips at the right of the photographs, which are not learnt from. {words}",
        page.figure(lambda dark: plot_atom_usage(usage, dark=dark), "how often each atom is used"),
    )


def _comparisons(comparisons: list[Comparison]) -> str:
    pairs = []
    for each in comparisons:
        decibels = psnr(each.original, each.reconstruction)
        captions = (f"{each.name}: original", f"from its sparse codes: {decibels:.1f} dB")
        images = (each.original, each.reconstruction)
        pairs.append(page.pair([data_uri(jpeg(image_from(i)), "jpeg") for i in images], captions))
    return page.section(
        "Originals and reconstructions",
        "Left the photograph, right what the sparse codes of its overlapping patches give back: where "
        "patches overlap, their mean. The peak signal-to-noise ratio says how close they are.",
        "".join(pairs),
    )


def _gaps(held_out: dict[str, Any], gap: NDArray[np.float64]) -> str:
    what, tolerance = f"relative {held_out['criterion']}", held_out["tolerance"]
    solved = int(np.sum(gap <= tolerance))
    return page.section(
        "Optimality gaps",
        f"The {escape(what)} of every held-out patch's code, a certificate: {solved:,} of "
        f"{len(gap):,} codes are within the tolerance of {tolerance:g}.",
        page.figure(
            lambda dark: plot_gaps(gap, tol=tolerance, label=what, dark=dark),
            "a histogram of the optimality gaps",
        ),
    )
