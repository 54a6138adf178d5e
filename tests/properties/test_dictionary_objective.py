"""Laws of dictionary learning, for any data."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg import DictionaryLearning


@st.composite
def data(draw: Any) -> Any:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_samples, n_features = draw(st.integers(2, 40)), draw(st.integers(1, 10))
    X = rng.normal(size=(n_samples, n_features)) * 10.0 ** rng.integers(-2, 3, size=(n_samples, 1))
    if draw(st.booleans()):
        X = np.round(X)  # ties, rows of zeros, duplicates
    return X


@settings(max_examples=60, deadline=None)
@given(
    X=data(),
    n_components=st.integers(1, 14),
    alpha=st.floats(0.01, 3.0),
    positive_code=st.booleans(),
    positive_dict=st.booleans(),
    coding_tol=st.sampled_from([1e-3, 1e-6]),
)
def test_the_objective_never_rises_beyond_the_coding_tolerance(
    X: Any, n_components: int, alpha: float, positive_code: bool, positive_dict: bool, coding_tol: float
) -> None:
    model = DictionaryLearning(
        n_components,
        alpha=alpha,
        max_iter=15,
        tol=0,
        positive_code=positive_code,
        positive_dict=positive_dict,
        coding_tol=coding_tol,
    ).fit(X)
    energy = 0.5 * (X**2).sum()
    assert (np.diff(model.error_) <= coding_tol * energy + 1e-9 * energy).all()
    assert (model.gap_ <= coding_tol).all()
    assert (np.linalg.norm(model.components_, axis=1) <= 1 + 1e-9).all()
    assert model.error_[-1] <= energy * (1 + coding_tol + 1e-9)
