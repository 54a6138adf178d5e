"""Sections that the pages of several models have."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..plots import plot_curves, plot_gaps, psnr
from . import page
from .pictures import data_uri, image_from, jpeg

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass
class Comparison:
    """A photograph beside what its codes give back, and, if it is known, what is there without any code."""

    name: str
    original: NDArray[Any]
    reconstruction: NDArray[Any]
    without_codes: NDArray[Any] | None = None


def objective(
    history: dict[str, Any], words: str, each: str = "each batch, before its step", is_smooth: bool = False
) -> str:
    """The objective over time, a point for `each`; many that are not smooth are pale, beside their mean."""
    points = np.asarray(history["objective"], np.float64)
    width = 1 if is_smooth else smoothing_width(len(points))
    curves = {each: points}
    if width > 1:
        curves[f"mean of {width} batches"] = running_mean(points, width)

    def draw(dark: bool) -> Figure:
        return plot_curves(
            curves,
            x=history["seconds"],
            x_label="seconds of learning",
            y_label="objective",
            faint=[each] if width > 1 else [],
            dark=dark,
        )

    return page.section("Objective over time", words, page.figure(draw, "the objective over time"))


def smoothing_width(n_steps: int) -> int:
    """Of how many steps curves show means."""
    return max(1, min(25, n_steps // 8))


def running_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Means of the last `width` values; NaN where there are fewer."""
    mean = np.convolve(values, np.full(width, 1 / width), mode="valid")
    return np.concatenate([np.full(width - 1, np.nan), mean])


def originals_and_reconstructions(comparisons: list[Comparison], words: str) -> str:
    pairs = []
    for each in comparisons:
        caption = f"from its sparse codes: {psnr(each.original, each.reconstruction):.1f} dB"
        if each.without_codes is not None:
            caption += f" (without any code: {psnr(each.original, each.without_codes):.1f} dB)"
        images = (each.original, each.reconstruction)
        uris = [data_uri(jpeg(image_from(image)), "jpeg") for image in images]
        pairs.append(page.pair(uris, (f"{each.name}: original", caption)))
    return page.section("Originals and reconstructions", words, "".join(pairs))


def gaps(gap: NDArray[np.float64], held_out: dict[str, Any], what: str, counted: str) -> str:
    """The certificates of the codes of what was held out: of each `what`, counted as `counted`."""
    label, tolerance = f"relative {held_out['criterion']}", held_out["tolerance"]
    solved = int(np.sum(gap <= tolerance))
    return page.section(
        "Optimality gaps",
        f"The {escape(label)} of every held-out {what}'s code, a certificate: {solved:,} of "
        f"{len(gap):,} codes are within the tolerance of {tolerance:g}.",
        page.figure(
            lambda dark: plot_gaps(gap, tol=tolerance, label=label, y_label=counted, dark=dark),
            "a histogram of the optimality gaps",
        ),
    )


def finite_psnr(original: NDArray[Any], reconstruction: NDArray[Any]) -> float | None:
    """None where the reconstruction is perfect, for JSON has no infinity."""
    value = psnr(original, reconstruction)
    return value if np.isfinite(value) else None
