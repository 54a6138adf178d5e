"""Figures and pictures of convolutional models: held-out strips, and photographs from their codes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..persistence import write_bytes
from ..plots import filter_mosaic
from .convolutional_images import Images, first_photographs
from .convolutional_model import SPARSE_CODING, ConvolutionalModel
from .pictures import mosaic_png
from .sections import Comparison, finite_psnr

_N_COMPARED = 3  # photographs that are shown beside their reconstructions
_COMPARED_SIDE = 512  # pixels
_PIXELS_WHEN_INTERRUPTED = 2**15  # of the held-out strips: who presses Ctrl-C does not wait for all of them


@dataclass
class Results:
    """What the page shows: `metrics` as in metrics.json, and arrays for its pictures.

    Filters come most used first. Without held-out strips there is no ``metrics["held_out"]``, they come as
    they are, and `usage` and `gap` are None; an auto-encoder has no `gap`.
    """

    job: str
    metrics: dict[str, Any]
    filters: NDArray[Any]
    encoder_filters: NDArray[Any] | None
    usage: NDArray[np.float64] | None
    gap: NDArray[np.float64] | None
    comparisons: list[Comparison]


def results_of(model: ConvolutionalModel, data: Images) -> Results:
    """How the model does on what was held out, and on the first photographs."""
    metrics, usage, gap = _metrics(model, data), None, None
    if data.held_out:
        evaluate = _sparse_coding if model.job == SPARSE_CODING else _autoencoder
        strips = data.held_out
        if not metrics["finished"]:
            strips = first_pixels(strips, _PIXELS_WHEN_INTERRUPTED, 2 * metrics["options"]["filter_size"])
        metrics["held_out"], usage, gap = evaluate(model, strips)
        metrics["held_out"]["n_pixels"] = _n_pixels(strips)
        metrics["held_out"]["n_pixels_left_out"] = _n_pixels(data.held_out) - _n_pixels(strips)
    comparisons = _comparisons(model, data.files)
    metrics["psnr"] = {c.name: finite_psnr(c.original, c.reconstruction) for c in comparisons}
    metrics["psnr_without_codes"] = {
        c.name: finite_psnr(c.original, c.without_codes) for c in comparisons if c.without_codes is not None
    }
    learner = model.learner
    order = slice(None) if usage is None else np.argsort(-usage, kind="stable")
    encoder = getattr(learner, "encoder_components_", None)
    return Results(
        job=model.job,
        metrics=metrics,
        filters=learner.components_[order],
        encoder_filters=None if encoder is None else encoder[order],
        usage=usage,
        gap=gap,
        comparisons=comparisons,
    )


def first_pixels(strips: list[NDArray[Any]], count: int, least_side: int) -> list[NDArray[Any]]:
    """The upper parts of the first strips, about `count` pixels together, with sides of `least_side` or more.

    Strips that are smaller stay as they are.
    """
    kept = []
    for strip in strips:
        if count <= 0:
            break
        rows = min(strip.shape[1], max(least_side, count // strip.shape[2]))
        columns = max(least_side, -(-count // rows))
        kept.append(np.ascontiguousarray(strip[:, :rows, :columns]))
        count -= kept[-1][0].size
    return kept


def write(results: Results, page: str, out: Path) -> None:
    """The results beside the model, in the folder `out`."""
    write_bytes(out / "metrics.json", json.dumps(results.metrics, indent=1).encode())
    write_bytes(out / "filters.png", filters_png(results.filters))
    write_bytes(out / "report.html", page.encode(errors="backslashreplace"))  # a file's name may be no UTF-8


def filters_png(filters: NDArray[Any]) -> bytes:
    """The filters side by side, in full rows where their number allows."""
    n = len(filters)
    columns = next((c for c in range(max(1, isqrt(n - 1) + 1), 2 * isqrt(n) + 1) if n % c == 0), None)
    return mosaic_png(filter_mosaic(filters, n_columns=columns))


def _metrics(model: ConvolutionalModel, data: Images) -> dict[str, Any]:
    run = model.run
    return {
        "options": run["options"],
        "preprocessing": model.preprocessing.in_words(),
        "photographs": [str(file) for file in data.files],
        "builds": run["builds"],
        "finished": run["finished"],
        "n_steps": int(model.learner.n_steps_),
        "seconds": model.seconds,
        "history": model.history_by_name(),
    }


def _sparse_coding(
    model: ConvolutionalModel, strips: list[NDArray[Any]]
) -> tuple[dict[str, Any], NDArray[np.float64], NDArray[np.float64]]:
    learner = model.learner
    maps, infos = learner.encode(strips, sparse_output=True, return_info=True)
    gap = np.array([info.gap for info in infos])
    counts, places = _counts([each.toarray() for each in maps])
    figures = {
        "n_strips": len(strips),
        "objective": sum(info.objective for info in infos) / _n_pixels(strips),
        "explained": _explained(strips, learner.inverse_transform(maps)),
        "nonzeros_per_pixel": int(counts.sum()) / _n_pixels(strips),
        "density": int(counts.sum()) / (places * len(counts)),
        "unused_filters": int(np.sum(counts == 0)),
        "criterion": "duality gap",
        "tolerance": learner.transform_tol,
        "worst_gap": float(gap.max()),
        "median_gap": float(np.median(gap)),
    }
    return figures, counts / places, gap


def _autoencoder(
    model: ConvolutionalModel, strips: list[NDArray[Any]]
) -> tuple[dict[str, Any], NDArray[np.float64], None]:
    learner = model.learner
    predicted, exact = (learner.transform(strips, exact=exact) for exact in (False, True))
    counts, places = _counts(exact)
    figures = {
        "n_strips": len(strips),
        "encoder": _figures_of_codes(model, strips, predicted, is_prediction=True),
        "exact": _figures_of_codes(model, strips, exact, is_prediction=False),
        "no_codes": float(learner.energy(strips, [np.zeros_like(z) for z in exact]).sum())
        / _n_pixels(strips),
        "unused_filters": int(np.sum(counts == 0)),
        "tolerance": learner.transform_tol,
    }
    return figures, counts / places, None


def _figures_of_codes(
    model: ConvolutionalModel, strips: list[NDArray[Any]], codes: list[NDArray[Any]], is_prediction: bool
) -> dict[str, float]:
    """The energy of codes and its parts for one pixel, and what they explain."""
    learner, n_pixels = model.learner, _n_pixels(strips)
    back = learner.inverse_transform(codes)
    energy = float(learner.energy(strips, codes).sum()) / n_pixels
    error = (
        0.5 * sum(float(np.square(x - y, dtype=np.float64).sum()) for x, y in zip(strips, back)) / n_pixels
    )
    sparsity = learner.alpha * sum(float(np.abs(z).sum(dtype=np.float64)) for z in codes) / n_pixels
    return {
        "energy": energy,
        "reconstruction": error,
        "sparsity": sparsity,
        "prediction": 0.0 if is_prediction else energy - error - sparsity,
        "explained": _explained(strips, back),
        "nonzeros_per_pixel": int(_counts(codes)[0].sum()) / n_pixels,
    }


def _n_pixels(strips: list[NDArray[Any]]) -> int:
    return sum(strip[0].size for strip in strips)


def _counts(codes: list[NDArray[Any]]) -> tuple[NDArray[np.int64], int]:
    """How many codes of every filter are not zero, and how many there are."""
    counts = sum(np.count_nonzero(z, axis=(1, 2)) for z in codes)
    return np.asarray(counts), sum(z[0].size for z in codes)


def _explained(strips: list[NDArray[Any]], back: list[NDArray[Any]]) -> float:
    """Share of the strips' squares."""
    left = sum(float(np.square(x - y, dtype=np.float64).sum()) for x, y in zip(strips, back))
    return 1.0 - left / (sum(float(np.square(x, dtype=np.float64).sum()) for x in strips) or 1.0)


def _comparisons(model: ConvolutionalModel, files: list[Path]) -> list[Comparison]:
    """The first photographs, shrunk for the page, beside what their codes give back."""
    options, preprocessing, learner = model.run["options"], model.preprocessing, model.learner
    found = []
    for path, photograph in first_photographs(files, preprocessing, options, _N_COMPARED, _COMPARED_SIDE):
        details = preprocessing.details(photograph)
        if model.job == SPARSE_CODING:
            codes = learner.encode([details.image], sparse_output=True)
        else:
            codes = learner.transform([details.image])
        (image,) = learner.inverse_transform(codes)
        back = preprocessing.photograph(details._replace(image=image))
        nothing = preprocessing.photograph(details._replace(image=np.zeros_like(image)))
        found.append(Comparison(path.name, photograph, back, nothing))
    return found
