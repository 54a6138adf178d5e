import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.estimator_checks import parametrize_with_checks

from thalweg.preprocessing import Whitening


@parametrize_with_checks([Whitening("zca"), Whitening("pca"), Whitening("pca", eps=0.0, n_components=1)])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_conformance(estimator, check):
    check(estimator)


def data(seed, n_samples=200, n_features=6):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_samples, n_features)) @ rng.normal(size=(n_features, n_features)) + 3.0


@given(st.integers(0, 2**32 - 1), st.sampled_from(["zca", "pca"]))
def test_covariance_becomes_the_identity(seed, kind):
    X = data(seed)
    Y = Whitening(kind, eps=0.0).fit_transform(X)
    np.testing.assert_allclose(np.cov(Y, rowvar=False, bias=True), np.eye(6), atol=1e-5)
    np.testing.assert_allclose(Y.mean(axis=0), 0, atol=1e-8)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["zca", "pca"]), st.integers(1, 6))
def test_inverse_after_transform_is_the_projection_on_what_was_kept(seed, kind, kept):
    X = data(seed)
    whitening = Whitening(kind, n_components=kept).fit(X)
    directions = whitening.components_
    wanted = (X - whitening.mean_) @ directions.T @ directions + whitening.mean_
    np.testing.assert_allclose(whitening.inverse_transform(whitening.transform(X)), wanted, atol=1e-8)


def test_zca_is_symmetric_and_closest(rng):
    X = data(1)
    whitening = Whitening("zca", eps=0.0).fit(X)
    matrix = whitening.transform(np.eye(6) + whitening.mean_)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-10)
    centred = X - X.mean(axis=0)
    pca = Whitening("pca", eps=0.0).fit_transform(X)
    assert np.linalg.norm(centred - whitening.transform(X)) <= np.linalg.norm(centred - pca)


def test_float32_stays_and_agrees():
    X = data(2)
    single = Whitening().fit_transform(X.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, Whitening().fit_transform(X), atol=1e-3)


def test_n_components_as_a_share_of_the_variance():
    X = data(3)
    whitening = Whitening("pca", n_components=0.9).fit(X)
    values = Whitening("pca").fit(X).explained_variance_
    share = values[: whitening.n_components_].sum() / values.sum()
    assert share >= 0.9
    assert values[: whitening.n_components_ - 1].sum() / values.sum() < 0.9
    assert len(whitening.get_feature_names_out()) == whitening.n_components_


def test_directions_without_variance_do_no_harm():
    X = np.repeat(data(4)[:, :3], 2, axis=1)
    for eps in (0.0, 1e-2):
        assert np.isfinite(Whitening("zca", eps=eps).fit_transform(X)).all()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"kind": "other"}, ValueError),
        ({"eps": -1.0}, ValueError),
        ({"eps": "small"}, TypeError),
        ({"n_components": 7}, ValueError),
        ({"n_components": 0}, ValueError),
        ({"n_components": 1.5}, ValueError),
    ],
)
def test_bad_options_are_named(options, error):
    with pytest.raises(error, match=next(iter(options))):
        Whitening(**options).fit(data(5))


@pytest.mark.parametrize(("dtype", "scale"), [(np.float64, 1e200), (np.float64, 1e308), (np.float32, 1e25)])
def test_squares_that_overflow_are_named(dtype, scale):
    X = (data(6) / 1e2 * scale).astype(dtype)
    with pytest.raises(ValueError, match=rf"^X: the squares of its elements overflow {np.dtype(dtype)}"):
        Whitening().fit(X)


def test_large_numbers_whose_squares_fit_are_whitened():
    X = data(6)
    np.testing.assert_allclose(Whitening().fit_transform(1e150 * X), Whitening().fit_transform(X), atol=1e-8)


def test_a_mask_is_not_dropped():
    X = np.ma.masked_greater(data(7), 4.0)
    with pytest.raises(ValueError, match=r"^X: expected no masked elements"):
        Whitening().fit(X)
    whitening = Whitening().fit(data(7))
    for method in (whitening.transform, whitening.inverse_transform):
        with pytest.raises(ValueError, match=r"^X: expected no masked elements"):
            method(X)
    none_masked = np.ma.masked_array(data(7))
    np.testing.assert_array_equal(whitening.transform(none_masked), whitening.transform(data(7)))
