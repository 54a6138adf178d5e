"""Every exported model is a scikit-learn estimator: scikit-learn's own checks say so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from thalweg import models

# Small enough for the hundreds of fits of the checks. fit_transform returns the codes of the lasso, as
# scikit-learn's does, so that the checks which compare it with transform need a transform by the lasso.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "BernoulliRBM": {"n_components": 5},
    "GaussianBernoulliRBM": {"n_components": 5},
    "DeepEnergyModel": {"n_components": 5, "hidden_layer_sizes": (4,), "n_iter": 3},
    "DictionaryLearning": {"max_iter": 20, "transform_algorithm": "lasso_lars"},
    "MiniBatchDictionaryLearning": {"batch_size": 10, "max_iter": 5},
    "ScoreMatchingAutoencoder": {"n_components": 5, "n_iter": 3},
    "SparseCoder": {"dictionary": np.random.default_rng(0).normal(size=(5, 3))},
}

# The dictionary of a SparseCoder fixes the number of features, at 3 above, where these checks bring another.
FEATURES_OF_CHECK = {
    "check_dtype_object": 10,
    "check_estimators_dtypes": 5,
    "check_estimators_fit_returns_self": 2,
    "check_estimators_overwrite_params": 2,
    "check_fit2d_1feature": 1,
    "check_fit2d_1sample": 10,
    "check_fit_check_is_fitted": 2,
    "check_fit_idempotent": 2,
    "check_n_features_in": 2,
    "check_n_features_in_after_fitting": 4,
    "check_positive_only_tag_during_fit": 4,
    "check_readonly_memmap_input": 2,
    "check_transformers_unfitted_stateless": 5,
}

EXPECTED_FAILURES = {
    "SparseCoder": {
        name: f"the dictionary fixes 3 features, the check brings {n_features}"
        for name, n_features in FEATURES_OF_CHECK.items()
    }
}


# Its rows come in pairs, which the checks do not know how to make: fit takes two tables of rows.
PAIR_ESTIMATORS = {"EnergyMatcher"}

# Their samples are sequences and grids of labels, which the checks do not know how to make either.
STRUCTURED_ESTIMATORS = {"ChainCRF", "GridCRF"}

# Their samples are images, where scikit-learn's checks bring rows of numbers.
IMAGE_ESTIMATORS = {
    "ConvolutionalDictionaryLearning",
    "ConvolutionalSparseAutoencoder",
    "ConvolutionalSparseCoder",
}


def exported() -> list[Any]:
    names = [
        name
        for name in models.__all__
        if name not in IMAGE_ESTIMATORS | PAIR_ESTIMATORS | STRUCTURED_ESTIMATORS
    ]
    return [getattr(models, name)(**ARGUMENTS.get(name, {})) for name in names]


# The checks' data are no probabilities, of which BernoulliRBM warns.
@pytest.mark.filterwarnings("ignore:X. visible units are probabilities:UserWarning")
@parametrize_with_checks(
    exported(), expected_failed_checks=lambda model: EXPECTED_FAILURES.get(type(model).__name__, {})
)
def test_scikit_learn_checks(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize("name", FEATURES_OF_CHECK)
def test_sparse_coder_passes_with_a_dictionary_as_wide_as_the_check(name: str) -> None:
    dictionary = np.random.default_rng(0).normal(size=(5, FEATURES_OF_CHECK[name]))
    found = list(estimator_checks_generator(models.SparseCoder(dictionary), legacy=True))
    checks = [(model, check) for model, check in found if check.func.__name__ == name]
    assert checks
    for model, check in checks:
        check(model)
