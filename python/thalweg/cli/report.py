"""The report: one HTML page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..plots import plot_atom_usage, plot_curves, plot_gaps, psnr
from .pictures import atoms_png, data_uri, figure_png, image_from, jpeg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = """
:root { color-scheme: light dark; --paper: #f4f5f7; --card: #ffffff; --ink: #23272e; --faint: #67707d;
  --line: #e1e4e9; --accent: #2166ac; }
@media screen and (prefers-color-scheme: dark) { :root { --paper: #0e1014; --card: #171a20; --ink: #d7dbe2;
  --faint: #939cab; --line: #2b3038; --accent: #6aaef0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 2.2rem 1.2rem 3rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.15rem; margin: 0 0 .2rem; }
p { margin: .2rem 0 .9rem; color: var(--faint); max-width: 72ch; }
.notice { border-left: 4px solid var(--accent); padding: .3rem .9rem; color: var(--ink); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .8rem;
  margin: 1.2rem 0; }
.tile, section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.tile { padding: .7rem .9rem; }
.tile b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
.tile span { color: var(--faint); font-size: .85rem; }
section { padding: 1.1rem 1.2rem 1.2rem; margin: 1rem 0; break-inside: avoid; }
img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
img.atoms { width: min(100%, 780px); image-rendering: pixelated; border-radius: 4px; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: .6rem; margin: .8rem 0; break-inside: avoid; }
figure { margin: 0; }
figure img { width: 100%; border-radius: 4px; }
figcaption { color: var(--faint); font-size: .85rem; padding-top: .3rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; font-size: .9rem; width: 100%; }
td { border-top: 1px solid var(--line); padding: .3rem .6rem .3rem 0; vertical-align: top;
  overflow-wrap: anywhere; }
td:first-child { color: var(--faint); width: 14rem; }
@media print { body { background: #fff; } main { max-width: none; padding: 0; }
  .tile, section { border-color: #ccc; } }
"""


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
        _settings(report.metrics),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>thalweg: sparse coding</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{''.join(parts)}</main>\n</body>\n</html>\n"
    )


def _head(metrics: dict[str, Any]) -> str:
    options = metrics["options"]
    size, n_photographs = options["patch_size"], len(metrics["photographs"])
    kind = "colour" if options["color"] else "gray"
    notice = ""
    if not metrics["finished"]:
        notice = (
            f'<p class="notice">The run was interrupted after {metrics["n_steps"]:,} steps. The page shows '
            "what was learnt until then; <code>--resume</code> goes on.</p>"
        )
    return (
        "<header><h1>Sparse coding of photographs</h1>"
        f"<p>A dictionary of {options['n_components']} atoms of {size} × {size} pixels ({kind}), learnt from "
        f"{metrics['n_patches']:,} patches of {n_photographs} photograph{'s' * (n_photographs != 1)}.</p>"
        f"{notice}</header>\n"
    )


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
    cells = "".join(f'<div class="tile"><b>{value}</b><span>{label}</span></div>' for value, label in tiles)
    return f'<div class="tiles">{cells}</div>\n'


def _atoms(report: Report) -> str:
    atoms, order = report.atoms, ""
    if report.usage is not None:
        atoms, order = atoms[np.argsort(-report.usage, kind="stable")], ", most used first"
    uri = data_uri(atoms_png(atoms))
    space = "whitened " if report.metrics["options"]["whitening"] == "zca" else ""
    return _section(
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

    return _section(
        "Objective over time",
        "Squared error (halved) plus the penalty on the codes, per patch. It falls as the dictionary adapts.",
        _figure(draw, "the objective over time"),
    )


def _running_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Means of the last `width` values; NaN where there are fewer."""
    mean = np.convolve(values, np.full(width, 1 / width), mode="valid")
    return np.concatenate([np.full(width - 1, np.nan), mean])


def _usage(held_out: dict[str, Any], usage: NDArray[np.float64]) -> str:
    unused = held_out["unused_atoms"]
    words = "None is idle." if unused == 0 else f"{unused} of them explain none of these patches."
    return _section(
        "How often each atom is used",
        f"Share of {held_out['n_patches']:,} held-out patches whose code for the atom is not zero. They come "
        f"from strips at the right of the photographs, which are not learnt from. {words}",
        _figure(lambda dark: plot_atom_usage(usage, dark=dark), "how often each atom is used"),
    )


def _comparisons(comparisons: list[Comparison]) -> str:
    pairs = []
    for pair in comparisons:
        decibels = psnr(pair.original, pair.reconstruction)
        captions = (f"{escape(pair.name)}: original", f"from its sparse codes: {decibels:.1f} dB")
        cells = [
            f'<figure><img src="{data_uri(jpeg(image_from(image)), "jpeg")}" alt="{caption}">'
            f"<figcaption>{caption}</figcaption></figure>"
            for image, caption in zip((pair.original, pair.reconstruction), captions)
        ]
        pairs.append(f'<div class="pair">{"".join(cells)}</div>')
    return _section(
        "Originals and reconstructions",
        "Left the photograph, right what the sparse codes of its overlapping patches give back: where "
        "patches overlap, their mean. The peak signal-to-noise ratio says how close they are.",
        "".join(pairs),
    )


def _gaps(held_out: dict[str, Any], gap: NDArray[np.float64]) -> str:
    what, tolerance = f"relative {held_out['criterion']}", held_out["tolerance"]
    solved = int(np.sum(gap <= tolerance))
    return _section(
        "Optimality gaps",
        f"The {escape(what)} of every held-out patch's code, a certificate: {solved:,} of "
        f"{len(gap):,} codes are within the tolerance of {tolerance:g}.",
        _figure(
            lambda dark: plot_gaps(gap, tol=tolerance, label=what, dark=dark),
            "a histogram of the optimality gaps",
        ),
    )


def _settings(metrics: dict[str, Any]) -> str:
    rows = [(name.replace("_", " "), str(value)) for name, value in metrics["options"].items()]
    build = metrics["builds"][-1]
    rows.append(("build", ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in build.items())))
    rows.append(
        ("photographs", ", ".join(p.replace("\\", "/").rpartition("/")[2] for p in metrics["photographs"]))
    )
    cells = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in rows)
    return _section("Settings", "", f"<table>{cells}</table>")


def _section(title: str, words: str, body: str) -> str:
    text = f"<p>{words}</p>" if words else ""
    return f"<section><h2>{title}</h2>{text}{body}</section>\n"


def _figure(draw: Callable[[bool], Figure], description: str) -> str:
    """A figure for light and one for dark paper; the reader's browser picks."""
    light, dark = (data_uri(figure_png(draw(d))) for d in (False, True))
    return (
        f'<picture><source srcset="{dark}" media="screen and (prefers-color-scheme: dark)">'
        f'<img src="{light}" alt="{description}"></picture>'
    )
