"""The page of `thalweg learn sparse-coding`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..plots import plot_atom_usage
from . import page, sections
from .pictures import atoms_png, data_uri
from .sections import Comparison


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
    return sections.objective(
        metrics["history"],
        "Squared error (halved) plus the penalty on the codes, per patch. It falls as the dictionary adapts.",
    )


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
    return sections.originals_and_reconstructions(
        comparisons,
        "Left the photograph, right what the sparse codes of its overlapping patches give back: where "
        "patches overlap, their mean. The peak signal-to-noise ratio says how close they are.",
    )


def _gaps(held_out: dict[str, Any], gap: NDArray[np.float64]) -> str:
    return sections.gaps(gap, held_out, "patch", "rows")
