"""`thalweg score`: how probable sets of patches are to models, and how well these tell the sets apart."""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..persistence import write_bytes
from ..plots import plot_histograms
from . import score_sets
from .density_scores import in_figures, in_words, summary, table
from .pictures import figure_png
from .report_deep_energy import about_median, spread_of
from .score_sets import PatchSet, of_gaussian, of_path, split_arguments
from .scored_models import ScoredModel, load_scored
from .targets import writable_folder

_SCORES = {
    "log_p": "log p",
    "log_ratio": "log p − log p_Gauss",
    "log_p_gaussian": "log p_Gauss",
}
_Scores = dict[str, dict[str, NDArray[np.float64]]]  # by what is scored, and by set


def score(args: argparse.Namespace) -> int:
    """Prints the tables and writes figures and histograms; the exit code."""
    runs, wanted = split_arguments(args.given)
    models = [load_scored(run, args.device) for run in runs]
    shape = _common_shape(models)
    sets = [_drawn(name, path, models, shape, args) for name, path in wanted.items()]
    out = writable_folder(args.out)
    found = []
    for i, model in enumerate(models):
        scores = _scores(model, sets)
        result = _summaries(model, sets, scores)
        found.append(result)
        print(_in_a_table(model, sets, result))
        for kind in ("log_p", "log_ratio"):
            if kind in scores:
                number = f"-{i + 1}" if len(models) > 1 else ""
                write_bytes(out / f"{kind.replace('_', '-')}{number}.png", _histogram(kind, scores[kind]))
    content = {"sets": [_facts(each) for each in sets], "models": found}
    write_bytes(out / "scores.json", json.dumps(content, indent=1).encode())
    print(f"AUC: how often a patch of {sets[0].name!r} scores above one of the set; histograms are in {out}")
    return 0


def _common_shape(models: list[ScoredModel]) -> tuple[int, int]:
    first = models[0]
    for other in models[1:]:
        if other.shape != first.shape:
            raise ValueError(
                f"{other.name}: its patches are of {other.shape[0]} x {other.shape[1]} pixels, those of "
                f"{first.name} of {first.shape[0]} x {first.shape[1]}; only models of one size share a table"
            )
    return first.shape


def _drawn(
    name: str, path: str | None, models: list[ScoredModel], shape: tuple[int, int], args: argparse.Namespace
) -> PatchSet:
    if path is not None:
        learnt_from = frozenset[str]().union(*(model.learnt_from for model in models))
        return of_path(name, path, shape, args.patches, args.seed, args.max_side, learnt_from)
    for model in models:
        if model.gaussian is not None:
            return of_gaussian(model.gaussian, args.patches, args.seed, model.name)
    raise ValueError(
        f"{score_sets.GAUSSIAN}: {models[0].name} was learnt without a Gaussian; name a run of "
        "`thalweg learn deep-energy` beside it"
    )


def _scores(model: ScoredModel, sets: list[PatchSet]) -> _Scores:
    by_set = {each.name: model.scores(each.pixels) for each in sets}
    kinds = [kind for kind in _SCORES if kind in by_set[sets[0].name]]
    found = {kind: {name: scores[kind] for name, scores in by_set.items()} for kind in kinds}
    for kind, values in found.items():
        for name, each in values.items():
            if not np.isfinite(each).all():
                raise FloatingPointError(f"{model.name}: {_SCORES[kind]} of set {name!r} is not finite")
    return found


def _summaries(model: ScoredModel, sets: list[PatchSet], scores: _Scores) -> dict[str, Any]:
    first = sets[0].name
    return {
        "name": model.name,
        "kind": model.kind,
        "scores": {
            kind: {name: summary(v, None if name == first else by_set[first]) for name, v in by_set.items()}
            for kind, by_set in scores.items()
        },
    }


def _in_a_table(model: ScoredModel, sets: list[PatchSet], result: dict[str, Any]) -> str:
    kinds = list(result["scores"])
    header = [f"{model.name} ({model.kind})", "patches"]
    header += [word for kind in kinds for word in (_SCORES[kind], "AUC")]
    lines = []
    for each in sets:
        words = [word for kind in kinds for word in in_words(result["scores"][kind][each.name])]
        lines.append([each.name, f"{len(each.pixels):,}", *words])
    return table(header, lines) + "\n"


def _facts(each: PatchSet) -> dict[str, Any]:
    return {
        "name": each.name,
        "source": each.source,
        "n_patches": len(each.pixels),
        "n_constant": each.n_constant,
    }


def _histogram(kind: str, by_set: dict[str, NDArray[np.float64]]) -> bytes:
    first = next(iter(by_set))
    values, origin = about_median(by_set, first)
    label = f"{_SCORES[kind]}, less {in_figures(origin)}, the median of {first}"
    return figure_png(plot_histograms(values, x_label=label, linear_width=spread_of(values[first])))
