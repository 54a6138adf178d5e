"""Pictures of what was learnt. Every function takes arrays and returns a matplotlib figure of its own.

Nothing here touches pyplot's global state: show a figure by naming it in a notebook, or save it with
``figure.savefig("name.png")``. matplotlib is imported when the first figure is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._check import float_array, one_of, real_number, whole_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "Surface",
    "filter_mosaic",
    "image_mosaic",
    "plot_atom_usage",
    "plot_chains",
    "plot_codes",
    "plot_curves",
    "plot_energy_surfaces",
    "plot_filters",
    "plot_gaps",
    "plot_histograms",
    "plot_reconstructions",
    "psnr",
]

_PAPER = ("#ffffff", "#171a20")  # light, dark
_INK = ("#23272e", "#d7dbe2")
_FAINT = ("#d5d9df", "#3a404a")
_LINES = (
    ("#2166ac", "#c2571a", "#2e8b57", "#8a4fa3"),
    ("#6aaef0", "#f0975a", "#62c18e", "#c08fd9"),
)
_SMALLEST_GAP = 1e-16  # where gaps of 0 are drawn on a logarithmic axis
_ROUNDING = 1e-12  # a difference of nearly equal numbers, so a gap may fall below 0 by this much


def filter_mosaic(
    filters: Any, *, n_columns: int | None = None, scale: str = "each", border: int = 1
) -> NDArray[np.float64]:
    """One picture of many filters, side by side; zero is mid-gray.

    Parameters
    ----------
    filters : array-like of shape (n_filters, height, width) or (n_filters, channels, height, width)
        With one channel (gray) or three (colour).
    n_columns : int, default=None
        Filters in a row; None makes the picture about as wide as high.
    scale : {"each", "common"}, default="each"
        Whether each filter is stretched to its own greatest magnitude, or all to that of all.
    border : int, default=1
        Pixels between filters.

    Returns
    -------
    picture : ndarray of shape (rows, columns) for gray, (rows, columns, 3) for colour
        Values in [0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.plots import filter_mosaic
    >>> filter_mosaic(np.ones((6, 8, 8)), n_columns=3).shape
    (19, 28)
    """
    images = _channels_last(filters, "filters")
    one_of(scale, "scale", ("each", "common"))
    magnitude = np.abs(images).max(axis=(1, 2, 3), keepdims=True)
    if scale == "common":
        magnitude = np.full_like(magnitude, magnitude.max())
    return _tiled(0.5 + 0.5 * images / np.where(magnitude > 0, magnitude, 1.0), n_columns, border)


def image_mosaic(images: Any, *, n_columns: int | None = None, border: int = 1) -> NDArray[np.float64]:
    """One picture of many images, side by side.

    Parameters
    ----------
    images : array-like of shape (n_images, height, width) or (n_images, channels, height, width)
        With one channel (gray) or three (colour). Values in [0, 1]; what lies beyond is cut off.
    n_columns, border
        As in `filter_mosaic`.

    Returns
    -------
    picture : ndarray of shape (rows, columns) for gray, (rows, columns, 3) for colour
        Values in [0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.plots import image_mosaic
    >>> image_mosaic(np.zeros((6, 8, 8)), n_columns=3).shape
    (19, 28)
    """
    return _tiled(np.clip(_channels_last(images, "images"), 0.0, 1.0), n_columns, border)


def plot_filters(
    filters: Any, *, n_columns: int | None = None, scale: str = "each", title: str = "", dark: bool = False
) -> Figure:
    """Filters or atoms as a grid of small pictures, gray or in colour.

    Parameters
    ----------
    filters, n_columns, scale
        As in `filter_mosaic`. A dictionary of patches: ``components_.reshape(-1, channels, height, width)``.
    title : str, default=""
    dark : bool, default=False
        Light ink on dark paper; so for all figures here.

    Returns
    -------
    figure : matplotlib.figure.Figure

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.plots import plot_filters
    >>> figure = plot_filters(np.random.default_rng(0).normal(size=(16, 8, 8)), title="atoms")
    >>> len(figure.axes)
    1
    """
    picture = filter_mosaic(filters, n_columns=n_columns, scale=scale)
    width = 7.0
    figure = _figure(width, width * picture.shape[0] / picture.shape[1] + (0.4 if title else 0.0), dark)
    axes = figure.add_subplot()
    _show_image(axes, picture, smooth=False)
    _dress(axes, dark, title=title)
    return figure


def plot_codes(codes: Any, *, max_rows: int = 64, title: str = "", dark: bool = False) -> Figure:
    """Codes as a picture: one row a sample, one column an atom; white is zero, red positive, blue negative.

    Parameters
    ----------
    codes : array-like of shape (n_samples, n_components)
    max_rows : int, default=64
        Only so many samples are shown, the first.
    title, dark
        As in `plot_filters`.

    Returns
    -------
    figure : matplotlib.figure.Figure

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.plots import plot_codes
    >>> figure = plot_codes(np.eye(5))
    >>> len(figure.axes)  # the picture and its scale
    2
    """
    shown = _rows(codes, "codes")[: whole_number(max_rows, "max_rows", minimum=1)]
    limit = float(np.abs(shown).max()) or 1.0
    figure = _figure(8.0, 1.2 + 5.0 * min(1.0, len(shown) / 64), dark)
    axes = figure.add_subplot()
    image = axes.imshow(shown, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
    bar = figure.colorbar(image, ax=axes, label="code")
    _dress(bar.ax, dark)
    _dress(axes, dark, title=title, x_label="atom", y_label="sample")
    return figure


def plot_curves(
    curves: Mapping[str, Any],
    *,
    x: Any = None,
    x_label: str = "step",
    y_label: str = "",
    log: bool = False,
    faint: Sequence[str] = (),
    title: str = "",
    dark: bool = False,
) -> Figure:
    """Lines over a common axis, such as an objective over time.

    Parameters
    ----------
    curves : mapping of str to array-like of shape (n_points,)
        By name; a legend is drawn where there are several. NaN leaves a gap.
    x : array-like of shape (n_points,), default=None
        None stands for 1, 2, ...
    x_label, y_label : str
    log : bool, default=False
        A logarithmic vertical axis.
    faint : sequence of str, default=()
        Names of curves that are drawn pale, as a background to the others.
    title, dark
        As in `plot_filters`.

    Returns
    -------
    figure : matplotlib.figure.Figure

    Examples
    --------
    >>> from thalweg.plots import plot_curves
    >>> figure = plot_curves({"objective": [3.0, 2.0, 1.5]}, log=True)
    >>> len(figure.axes)
    1
    """
    if not curves:
        raise ValueError("curves: expected at least one")
    lines = {name: _vector(values, f"curves[{name!r}]", allow_nan=True) for name, values in curves.items()}
    lengths = {len(line) for line in lines.values()}
    places = np.arange(1, max(lengths) + 1) if x is None else _vector(x, "x")
    if lengths != {len(places)}:
        raise ValueError(f"curves: expected lines of one length, {len(places)}, got {sorted(lengths)}")
    figure = _figure(8.0, 3.4, dark)
    axes = figure.add_subplot()
    for i, (name, line) in enumerate(lines.items()):
        width, opacity = (0.8, 0.45) if name in faint else (1.8, 1.0)
        marker = "o" if len(line) == 1 else None
        color = _LINES[dark][i % 4]
        axes.plot(places, line, color=color, linewidth=width, alpha=opacity, marker=marker, label=name)
    if log:
        axes.set_yscale("log")
    if len(lines) > 2:  # too many for a free corner: above the axes
        figure.legend(frameon=False, labelcolor=_INK[dark], loc="outside upper right", ncols=len(lines))
    elif len(lines) > 1:
        axes.legend(frameon=False, labelcolor=_INK[dark])
    _dress(axes, dark, title=title, x_label=x_label, y_label=y_label)
    _grid(axes, dark)
    return figure


def plot_atom_usage(
    usage: Any,
    *,
    x_label: str = "atom, most used first",
    y_label: str = "patches that use it (%)",
    title: str = "",
    dark: bool = False,
) -> Figure:
    """How often each atom is used, most used first.

    Parameters
    ----------
    usage : array-like of shape (n_components,)
        Share of the samples whose code for the atom is not zero: ``(codes != 0).mean(axis=0)``.
    x_label, y_label : str
    title, dark
        As in `plot_filters`.

    Returns
    -------
    figure : matplotlib.figure.Figure

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.plots import plot_atom_usage
    >>> figure = plot_atom_usage(np.array([0.1, 0.4, 0.02]))
    >>> len(figure.axes)
    1
    """
    shares = np.sort(_vector(usage, "usage"))[::-1]
    if shares[-1] < 0 or shares[0] > 1:
        raise ValueError(f"usage: expected shares in [0, 1], got {shares[-1]:g} to {shares[0]:g}")
    figure = _figure(8.0, 3.0, dark)
    axes = figure.add_subplot()
    edges = np.arange(len(shares) + 1) + 0.5
    axes.stairs(100 * shares, edges, fill=True, color=_LINES[dark][0])
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(bottom=0)
    _dress(axes, dark, title=title, x_label=x_label, y_label=y_label)
    _grid(axes, dark)
    return figure


def plot_reconstructions(
    originals: Sequence[Any], reconstructions: Sequence[Any], *, title: str = "", dark: bool = False
) -> Figure:
    """Originals beside what codes give back, with the peak signal-to-noise ratio of each pair.

    Parameters
    ----------
    originals, reconstructions : sequences of array-like, (height, width) or (height, width, 3)
        Pairs of equal shapes, values in [0, 1]; what lies beyond is cut off for the picture.
    title, dark
        As in `plot_filters`.

    Returns
    -------
    figure : matplotlib.figure.Figure

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.plots import plot_reconstructions
    >>> image = np.linspace(0, 1, 64).reshape(8, 8)
    >>> figure = plot_reconstructions([image], [0.9 * image])
    >>> len(figure.axes)  # the original and what the codes give
    2
    """
    firsts = [float_array(image, f"originals[{i}]") for i, image in enumerate(originals)]
    seconds = [float_array(image, f"reconstructions[{i}]") for i, image in enumerate(reconstructions)]
    if not firsts or [a.shape for a in firsts] != [b.shape for b in seconds]:
        raise ValueError("reconstructions: expected one for every original, of its shape")
    heights = [3.8 * a.shape[0] / a.shape[1] + 0.35 for a in firsts]
    figure = _figure(8.0, sum(heights) + (0.4 if title else 0.0), dark)
    grid = figure.subplots(len(firsts), 2, squeeze=False, gridspec_kw={"height_ratios": heights})
    for row, first, second in zip(grid, firsts, seconds):
        for axes, image in zip(row, (first, second)):
            _show_image(axes, np.clip(image, 0.0, 1.0), smooth=True)
        _dress(row[0], dark, title="original")
        _dress(row[1], dark, title=f"from codes, {psnr(first, second):.1f} dB")
    if title:
        figure.suptitle(title, color=_INK[dark])
    return figure


def plot_gaps(
    gap: Any,
    *,
    tol: float | None = None,
    label: str = "relative duality gap",
    y_label: str = "rows",
    title: str = "",
    dark: bool = False,
) -> Figure:
    """How well each row was solved: a histogram of gaps on a logarithmic axis.

    Parameters
    ----------
    gap : array-like of shape (n_samples,)
        As `encode(X, return_info=True)` returns it, >= 0; NaN (rows not solved) is left out.
    tol : float, default=None
        Drawn as a line.
    label : str
        What the gap is.
    y_label : str
        What is counted.
    title, dark
        As in `plot_filters`.

    Returns
    -------
    figure : matplotlib.figure.Figure

    Examples
    --------
    >>> from thalweg.plots import plot_gaps
    >>> figure = plot_gaps([1e-5, 3e-5, 9e-5], tol=1e-4)
    >>> len(figure.axes)
    1
    """
    gaps = _vector(gap, "gap", allow_nan=True)
    gaps = gaps[~np.isnan(gaps)]
    if not len(gaps) or gaps.min() < -_ROUNDING:
        raise ValueError("gap: expected at least one number, all >= 0 but for rounding")
    exponents = np.log10(np.maximum(gaps, _SMALLEST_GAP))
    low, high = np.floor(exponents.min()), np.floor(exponents.max()) + 1
    figure = _figure(8.0, 3.0, dark)
    axes = figure.add_subplot()
    counts, edges = np.histogram(exponents, bins=np.linspace(low, high, 61))
    axes.stairs(counts, 10.0**edges, fill=True, color=_LINES[dark][0])
    axes.set_xscale("log")
    if tol is not None and real_number(tol, "tol", minimum=0.0) > 0:
        axes.axvline(tol, color=_LINES[dark][1], linewidth=1.4, label=f"tolerance {tol:g}")
        axes.legend(frameon=False, labelcolor=_INK[dark], loc="upper center")
    _dress(axes, dark, title=title, x_label=label, y_label=y_label)
    _grid(axes, dark)
    return figure


def plot_histograms(
    sets: Mapping[str, Any],
    *,
    bins: int = 60,
    linear_width: float | None = None,
    x_label: str = "",
    title: str = "",
    dark: bool = False,
) -> Figure:
    """How the values of several sets are spread, over common bins; each set counts as 100 %.

    Parameters
    ----------
    sets : mapping of str to array-like of shape (n_values,)
        By name; they may differ in size.
    bins : int, default=60
    linear_width : float, default=None
        How far from 0 axis and bins are about linear; beyond they are logarithmic, so that sets far apart
        share one picture. None makes them linear throughout.
    x_label : str
    title, dark
        As in `plot_filters`.

    Returns
    -------
    figure : matplotlib.figure.Figure

    Examples
    --------
    >>> from thalweg.plots import plot_histograms
    >>> figure = plot_histograms({"training": [1.0, 2.0, 2.5], "held out": [1.5, 3.0]}, bins=4)
    >>> len(figure.axes)
    1
    """
    if not sets:
        raise ValueError("sets: expected at least one")
    values = {name: _vector(given, f"sets[{name!r}]") for name, given in sets.items()}
    bins = whole_number(bins, "bins", minimum=1)
    if linear_width is not None:
        real_number(linear_width, "linear_width", above=0.0)
    edges = _edges(np.concatenate(list(values.values())), bins, linear_width)
    figure = _figure(8.0, 3.0, dark)
    axes = figure.add_subplot()
    for i, (name, each) in enumerate(values.items()):
        shares = 100 * np.histogram(each, edges)[0] / len(each)
        color, style = _LINES[dark][i % 4], ("-", "--", ":")[i // 4 % 3]
        axes.stairs(shares, edges, fill=True, color=color, alpha=0.25)
        axes.stairs(shares, edges, color=color, linewidth=1.6, linestyle=style, label=name)
    if linear_width is not None:
        axes.set_xscale("asinh", linear_width=linear_width)
    axes.set_ylim(bottom=0)
    if len(values) > 1:
        axes.legend(frameon=False, labelcolor=_INK[dark])
    _dress(axes, dark, title=title, x_label=x_label, y_label="rows (%)")
    _grid(axes, dark)
    return figure


def _edges(values: NDArray[Any], bins: int, linear_width: float | None) -> NDArray[np.float64]:
    """Of bins that hold all values and look equally wide on the axis."""
    wide = values.astype(np.float64, copy=False)
    if linear_width is None:
        return np.asarray(np.histogram_bin_edges(wide, bins))
    edges = linear_width * np.sinh(np.histogram_bin_edges(np.arcsinh(wide / linear_width), bins))
    edges[0], edges[-1] = min(edges[0], wide.min()), max(edges[-1], wide.max())  # but for rounding
    return np.asarray(edges)


def plot_chains(
    states: Any,
    sweeps: Sequence[int],
    *,
    limits: tuple[float, float] = (0.0, 1.0),
    title: str = "",
    dark: bool = False,
) -> Figure:
    """Images along Markov chains: every row a chain, every column so many sweeps after its start.

    Parameters
    ----------
    states : array-like of shape (n_chains, n_times, height, width)
    sweeps : sequence of int
        How many sweeps each of the n_times states is away from the start.
    limits : (float, float), default=(0, 1)
        The values that are drawn black and white.
    title, dark
        As in `plot_filters`.

    Returns
    -------
    figure : matplotlib.figure.Figure

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.plots import plot_chains
    >>> figure = plot_chains(np.random.default_rng(0).random((4, 3, 8, 8)), [0, 10, 100])
    >>> len(figure.axes)
    1
    """
    images = float_array(states, "states", ndim=4).astype(np.float64, copy=False)
    if 0 in images.shape:
        raise ValueError(f"states: expected at least one chain, time and pixel, got shape {images.shape}")
    n_times, height, width = images.shape[1:]
    if len(sweeps) != n_times:
        raise ValueError(f"sweeps: expected one number for each of the {n_times} times, got {len(sweeps)}")
    low, high = (real_number(limit, "limits") for limit in limits)
    if low >= high:
        raise ValueError(f"limits: expected black below white, got {low:g} and {high:g}")
    shades = np.clip((images - low) / (high - low), 0.0, 1.0)
    border = max(1, width // 10)
    mosaic = _tiled(shades.reshape(-1, height, width, 1), n_times, border, fill=np.nan)  # paper shows through
    figure = _figure(8.0, 7.75 * mosaic.shape[0] / mosaic.shape[1] + (0.8 if title else 0.5), dark)
    axes = figure.add_subplot()
    axes.imshow(mosaic, cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
    centres = border + np.arange(n_times) * (width + border) + (width - 1) / 2
    axes.set_xticks(centres, [f"{n:,}" for n in sweeps])
    axes.set_yticks([])
    axes.tick_params(length=0)
    _dress(axes, dark, title=title, x_label="sweeps")
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


@dataclass(frozen=True)
class Surface:
    """An energy over a grid, shape (n_y, n_x), least y first, with a word about it and an alarm.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.plots import Surface
    >>> Surface(np.zeros((3, 4)), "refused", is_flat=True).note
    'refused'
    """

    energy: NDArray[np.float64]
    note: str = ""
    is_flat: bool = False


def plot_energy_surfaces(
    rows: Mapping[str, Mapping[str, Surface]],
    *,
    extent: tuple[float, float, float, float],
    points: tuple[Any, Any] | None = None,
    dark: bool = False,
) -> Figure:
    """Energies E(x, y) as small maps, dark where they are low, with the least one over y as a line.

    Each map has its own scale, from its least energy to its greatest; one that is flat is drawn so, and said
    to be.

    Parameters
    ----------
    rows : mapping of str to mapping of str to Surface
        Rows of maps, by name.
    extent : tuple of float
        Least and greatest x, least and greatest y.
    points : tuple of array-like, default=None
        x and y of the samples, drawn as dots.
    dark
        As in `plot_filters`.

    Returns
    -------
    figure : matplotlib.figure.Figure

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.plots import Surface, plot_energy_surfaces
    >>> y, x = np.mgrid[-1:1:21j, -1:1:21j]
    >>> surfaces = {"regressor": {"before": Surface(abs(y - x)), "after": Surface(abs(y - x**2))}}
    >>> len(plot_energy_surfaces(surfaces, extent=(-1, 1, -1, 1)).axes)
    2
    """
    n_columns = max((len(row) for row in rows.values()), default=0)
    if n_columns == 0:
        raise ValueError("rows: expected at least one surface")
    figure = _figure(1.35 * n_columns + 0.4, 1.75 * len(rows), dark)
    grid = figure.subplots(len(rows), n_columns, squeeze=False, sharex=True, sharey=True)
    for axes_of_row, (name, row) in zip(grid, rows.items(), strict=True):
        for axes in axes_of_row[len(row) :]:
            axes.set_visible(False)
        for axes, (title, surface) in zip(axes_of_row, row.items(), strict=False):
            _draw_surface(axes, surface, extent, points, dark)
            _dress(axes, dark, title=title.replace("_", "-"), y_label=name if axes is axes_of_row[0] else "")
            axes.title.set_fontsize(8)
            axes.set_xticks([])
            axes.set_yticks([])
            words = ", ".join(word for word in (surface.note, "flat" if surface.is_flat else "") if word)
            axes.set_xlabel(words or " ", color=_LINES[dark][1], fontsize=8)
    return figure


def _draw_surface(
    axes: Axes, surface: Surface, extent: tuple[float, float, float, float], points: Any, dark: bool
) -> None:
    energy = float_array(surface.energy, "energy", ndim=2).astype(np.float64, copy=False)
    low, high = float(energy.min()), float(energy.max())
    if surface.is_flat:
        low, high = low - 1.0, high + 1.0
    axes.imshow(
        energy,
        origin="lower",
        extent=extent,
        aspect="auto",
        cmap="viridis",
        vmin=low,
        vmax=max(high, low + 1e-12),
    )
    if not surface.is_flat:
        x = np.linspace(extent[0], extent[1], energy.shape[1])
        y = np.linspace(extent[2], extent[3], energy.shape[0])
        axes.plot(x, y[energy.argmin(axis=0)], color="white", linewidth=1.0)
    if points is not None:
        axes.plot(*points, ".", color=_LINES[1][1], markersize=1.5)


def psnr(original: Any, reconstruction: Any) -> float:
    """Peak signal-to-noise ratio in decibels, -10 log10 of the mean squared error, for values in [0, 1].

    Parameters
    ----------
    original, reconstruction : array-like of one shape

    Returns
    -------
    float
        inf where they are equal.

    Examples
    --------
    >>> from thalweg.plots import psnr
    >>> round(psnr([[0.5, 0.5]], [[0.6, 0.4]]), 6)
    20.0
    """
    first, second = (np.asarray(a, np.float64) for a in (original, reconstruction))
    if first.shape != second.shape:
        raise ValueError(f"reconstruction: expected the original's shape {first.shape}, got {second.shape}")
    error = float(np.mean((first - second) ** 2))
    return float("inf") if error == 0 else float(-10.0 * np.log10(error))


def _channels_last(filters: Any, name: str) -> NDArray[np.float64]:
    array = float_array(filters, name).astype(np.float64, copy=False)
    if array.ndim == 3:
        array = array[:, np.newaxis]
    if array.ndim != 4 or array.shape[1] not in (1, 3) or 0 in array.shape:
        count = f"n_{name}"
        raise ValueError(
            f"{name}: expected shape ({count}, height, width) or ({count}, channels, height, width) "
            f"with 1 or 3 channels, got {np.shape(filters)}"
        )
    return np.transpose(array, (0, 2, 3, 1))


def _tiled(
    shades: NDArray[np.float64], n_columns: int | None, border: int, fill: float = 1.0
) -> NDArray[np.float64]:
    """Pictures (count, height, width, channels) in rows of `n_columns`, with borders of the shade `fill`."""
    whole_number(border, "border")
    count, height, width, channels = shades.shape
    columns = whole_number(
        int(np.ceil(np.sqrt(count * height / width))) if n_columns is None else n_columns,
        "n_columns",
        minimum=1,
    )
    columns = min(columns, count)
    rows = -(-count // columns)
    cells = np.full((rows * columns, height + border, width + border, channels), fill)
    cells[:count, border:, border:] = shades
    stacked = cells.reshape(rows, columns, height + border, width + border, channels)
    tiled = stacked.transpose(0, 2, 1, 3, 4).reshape(rows * (height + border), -1, channels)
    picture = np.pad(tiled, ((0, border), (0, border), (0, 0)), constant_values=fill)
    return picture[..., 0] if channels == 1 else picture


def _rows(values: Any, name: str) -> NDArray[Any]:
    array = float_array(values, name, ndim=2)
    if 0 in array.shape:
        raise ValueError(f"{name}: expected at least one row and one column, got shape {array.shape}")
    return array


def _vector(values: Any, name: str, *, allow_nan: bool = False) -> NDArray[np.float64]:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or not len(array):
        raise ValueError(f"{name}: expected a vector of at least one number, got shape {array.shape}")
    return array if allow_nan and not np.isinf(array).any() else float_array(array, name)


def _figure(width: float, height: float, dark: bool) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120, layout="constrained", facecolor=_PAPER[dark])
    FigureCanvasAgg(figure)
    return figure


def _show_image(axes: Axes, image: NDArray[Any], *, smooth: bool) -> None:
    interpolation = "antialiased" if smooth else "nearest"
    axes.imshow(image, cmap="gray", vmin=0.0, vmax=1.0, interpolation=interpolation)
    axes.set_axis_off()


def _dress(axes: Axes, dark: bool, *, title: str = "", x_label: str = "", y_label: str = "") -> None:
    """Paper, ink and words; two spines only."""
    ink = _INK[dark]
    axes.set_facecolor(_PAPER[dark])
    axes.tick_params(colors=ink, which="both", labelsize=9)
    for side, spine in axes.spines.items():
        spine.set_color(_FAINT[dark])
        spine.set_visible(side in ("left", "bottom"))
    if title:
        axes.set_title(title, color=ink, fontsize=11)
    if x_label:
        axes.set_xlabel(x_label, color=ink)
    if y_label:
        axes.set_ylabel(y_label, color=ink)
    axes.yaxis.label.set_color(ink)


def _grid(axes: Axes, dark: bool) -> None:
    axes.grid(True, color=_FAINT[dark], linewidth=0.6)
    axes.set_axisbelow(True)
