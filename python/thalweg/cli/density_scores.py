"""How well a density tells sets apart: the area under the curve, and words for a table."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata


def auc(typical: NDArray[Any], other: NDArray[Any]) -> float:
    """How often a score of the first set is above one of the second; ties count half.

    The area under the receiver operating characteristic: 1 where every score of `typical` is the higher, 1/2
    where both are alike.
    """
    n, m = len(typical), len(other)
    ranks = rankdata(np.concatenate([typical, other]))
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def summary(scores: NDArray[Any], first: NDArray[Any] | None) -> dict[str, float | None]:
    """Mean and standard deviation, and the AUC of telling them from those of the first set (None: these)."""
    return {
        "mean": float(scores.mean()),
        "std": float(scores.std()),
        "auc": None if first is None else auc(first, scores),
    }


def in_words(found: dict[str, float | None]) -> tuple[str, str]:
    """'mean ± deviation' and the AUC."""
    mean, std, area = found["mean"], found["std"], found["auc"]
    assert mean is not None
    assert std is not None
    return f"{in_figures(mean)} ± {in_figures(std)}", "" if area is None else f"{area:.3f}"


def in_figures(value: float) -> str:
    """With two decimals, where it is not large."""
    digits = 2 if abs(value) < 1000 else 0
    return f"{value:,.{digits}f}".replace("-", "−")


def table(header: list[str], lines: list[list[str]]) -> str:
    """Columns under their heads, the first to the left and all others to the right."""
    rows = [header, *lines]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    aligned = ([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows)
    return "\n".join("  ".join(cells).rstrip() for cells in aligned)
