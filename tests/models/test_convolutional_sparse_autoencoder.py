"""ConvolutionalSparseAutoencoder and its energy: derivatives, exact codes, learning, resumption, refusals."""

from __future__ import annotations

import pickle
import signal
from functools import cache
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_sample_images
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from reference import convolutional_autoencoder as reference
from reference.conv import code_shape
from test_device import ForeignArray
from thalweg import ConvolutionalSparseAutoencoder, _native
from thalweg.energies import PredictiveSparseDecompositionEnergy
from thalweg.inference.proximal_gradient import minimise
from thalweg.models import _autoencoder_step
from thalweg.models._crops import crops_of_pass
from thalweg.persistence import load_model, save_model
from thalweg.preprocessing import split_frequencies

BOUNDARIES = ("valid", "same", "full", "circular")
PARAMETERS = ("filters", "encoder_filters", "intercept", "gain", "threshold")


# ------------------------------------------------------------------------------- the energy


def problem(
    nonlinearity: str, boundary: str, *, channels: int = 2, size: Any = (3, 4), image: Any = (9, 8)
) -> Any:
    """Parameters by name, images, codes."""
    rng = np.random.default_rng(5)
    shape = (4, channels, *size)
    parameters = {
        "filters": rng.normal(size=shape) / 3,
        "encoder_filters": rng.normal(size=shape) / 3,
        "intercept": rng.normal(size=4) / 3,
        "gain": rng.uniform(0.5, 1.5, size=4),
        "threshold": rng.uniform(0.2, 0.6, size=4) if nonlinearity == "shrinkage" else None,
    }
    X = rng.normal(size=(2, channels, *image))
    Z = rng.normal(size=(2, 4, *code_shape(image, size, boundary)))
    return parameters, X, Z * (rng.random(Z.shape) < 0.4)


def energy(parameters: Any, boundary: str, **options: Any) -> PredictiveSparseDecompositionEnergy:
    given = {"alpha": 0.3, "prediction_weight": 0.7, **options}
    return PredictiveSparseDecompositionEnergy(*parameters.values(), boundary=boundary, **given)


@pytest.mark.parametrize("nonlinearity", ["tanh", "shrinkage"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_energy_is_the_reference(nonlinearity: str, boundary: str, dtype: Any, rtol: float) -> None:
    parameters, X, Z = problem(nonlinearity, boundary)
    values = parameters.values()
    model = energy({k: v if v is None else v.astype(dtype) for k, v in parameters.items()}, boundary)
    Xd, Zd = X.astype(dtype), Z.astype(dtype)
    weights = {"beta": 0.7, "boundary": boundary}
    expected = reference.energy(X, Z, *values, alpha=0.3, **weights)
    np.testing.assert_allclose(model.value(Xd, Zd), expected, rtol=rtol)
    assert model.value(Xd, Zd).dtype == np.float64
    np.testing.assert_allclose(sum(model.given(Xd).terms(Zd)), expected, rtol=rtol)
    np.testing.assert_allclose(
        model.given(Xd).value_of_zero(), reference.energy(X, 0 * Z, *values, alpha=0.3, **weights), rtol=rtol
    )
    tolerance = {"rtol": 0, "atol": 20 * rtol}
    prediction = reference.predict(X, *list(values)[1:], boundary)
    np.testing.assert_allclose(model.predict(Xd), prediction, **tolerance)
    gradient = model.gradient(Xd, Zd)
    assert gradient.dtype == dtype
    np.testing.assert_allclose(gradient, reference.code_gradient(X, Z, *values, **weights), **tolerance)
    expected_gradients = reference.parameter_gradients(X, Z, *values, **weights)
    for got, wanted in zip(model.parameter_gradients(Xd, Zd), expected_gradients, strict=True):
        if wanted is None:
            assert got is None
        else:
            assert got is not None
            assert got.dtype == dtype
            np.testing.assert_allclose(got, wanted, rtol=0, atol=200 * rtol)


@pytest.mark.parametrize("nonlinearity", ["tanh", "shrinkage"])
@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_gradients_are_finite_differences(nonlinearity: str, name: str) -> None:
    parameters, X, Z = problem(nonlinearity, "valid")
    gradient = getattr(energy(parameters, "valid").parameter_gradients(X, Z), name)
    if parameters[name] is None:
        assert gradient is None
        return
    direction = np.random.default_rng(1).normal(size=gradient.shape)
    ends = [
        energy({**parameters, name: parameters[name] + h * direction}, "valid").value(X, Z).sum()
        for h in (-1e-5, 1e-5)
    ]
    np.testing.assert_allclose((gradient * direction).sum(), np.diff(ends)[0] / 2e-5, rtol=1e-7)


@pytest.mark.parametrize("name", PARAMETERS)
def test_gradients_at_the_best_codes_are_those_of_the_loss(name: str) -> None:
    parameters, X, _ = problem("shrinkage", "same")

    def solved(parameters: Any) -> Any:
        model = energy(parameters, "same")
        observed = model.given(X)
        codes, _ = minimise(observed, observed.prediction, max_iter=3000, tolerance=np.full(2, 1e-22))
        return model, codes

    model, codes = solved(parameters)
    gradient = getattr(model.parameter_gradients(X, codes), name)
    direction = np.random.default_rng(1).normal(size=gradient.shape)
    ends = []
    for h in (-1e-5, 1e-5):
        moved, best = solved({**parameters, name: parameters[name] + h * direction})
        ends.append(moved.value(X, best).sum())
    np.testing.assert_allclose((gradient * direction).sum(), np.diff(ends)[0] / 2e-5, rtol=1e-5)


def test_signals_are_images_of_height_one() -> None:
    parameters, X, Z = problem("shrinkage", "valid", size=(1, 5), image=(1, 20))
    flat = {k: v[:, :, 0] if v.ndim == 4 else v for k, v in parameters.items()}
    of_images, of_signals = energy(parameters, "valid"), energy(flat, "valid")
    np.testing.assert_array_equal(of_images.value(X, Z), of_signals.value(X[:, :, 0], Z[:, :, 0]))
    assert of_images.lipschitz == pytest.approx(of_signals.lipschitz)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("channels", [1, 3])
def test_lipschitz_constant_bounds_the_norm_and_is_near_it(boundary: str, channels: int) -> None:
    parameters, X, Z = problem("tanh", boundary, channels=channels, image=(40, 40))
    filters = np.random.default_rng(0).normal(size=parameters["filters"].shape)
    model = energy({**parameters, "filters": filters}, boundary)
    observed, zero = model.given(0 * X[:1]), model.given(0 * X[:1]).gradient(0 * Z[:1])
    codes = np.random.default_rng(0).normal(size=Z[:1].shape)
    for _ in range(60):
        codes /= np.linalg.norm(codes)
        codes = observed.gradient(codes) - zero
    assert 0.75 * model.lipschitz < np.linalg.norm(codes) <= model.lipschitz


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("filters", np.ones((3, 3)), "filters: expected shape"),
        ("encoder_filters", np.ones((4, 2, 3, 3)), "encoder_filters: expected"),
        ("intercept", np.zeros(3), r"intercept: expected shape \(4,\)"),
        ("gain", np.zeros((4, 1)), r"gain: expected shape \(4,\)"),
        ("threshold", -np.ones(4), "threshold: expected finite numbers >= 0"),
    ],
)
def test_energy_refuses_what_does_not_fit(name: str, value: Any, message: str) -> None:
    parameters, _, _ = problem("shrinkage", "valid")
    with pytest.raises(ValueError, match=message):
        energy({**parameters, name: value}, "valid")


def test_energy_refuses_what_is_out_of_range() -> None:
    parameters, X, Z = problem("shrinkage", "valid")
    with pytest.raises(ValueError, match="alpha: expected"):
        energy(parameters, "valid", alpha=-1.0)
    with pytest.raises(ValueError, match="prediction_weight: expected a number > 0"):
        energy(parameters, "valid", prediction_weight=0.0)
    with pytest.raises(ValueError, match="boundary: expected one of"):
        energy(parameters, "wrap")
    with pytest.raises(ValueError, match="X: expected 2 channel"):
        energy(parameters, "valid").value(X[:, :1], Z)
    with pytest.raises(ValueError, match=r"Z: expected shape \(2, 4, 11, 11\)"):
        energy(parameters, "valid").value(X, Z[:, :, 1:])


# ------------------------------------------------------------------------------- the best codes


@pytest.mark.parametrize("nonlinearity", ["tanh", "shrinkage"])
@pytest.mark.parametrize("boundary", ["valid", "circular"])
def test_certificate_bounds_the_excess(nonlinearity: str, boundary: str) -> None:
    parameters, X, _ = problem(nonlinearity, boundary)
    model = energy(parameters, boundary)
    best = reference.best_codes(X, *parameters.values(), alpha=0.3, beta=0.7, boundary=boundary)
    least = model.value(X, best)
    observed = model.given(X)
    for tolerance in (1.0, 1e-3, 1e-12):
        codes, info = minimise(
            observed, observed.prediction, max_iter=2000, tolerance=np.full(len(X), tolerance)
        )
        assert info is not None
        excess = model.value(X, codes) - least
        assert (excess <= info.gap + 1e-9).all()
        assert (info.gap <= tolerance).all()
    np.testing.assert_allclose(codes, best, atol=1e-5)


def test_iterations_lower_the_energy() -> None:
    parameters, X, _ = problem("tanh", "valid")
    model = energy(parameters, "valid")
    observed = model.given(X)
    values = [
        model.value(X, minimise(observed, observed.prediction, max_iter=n)[0]) for n in (0, 1, 3, 10, 100)
    ]
    assert (np.diff(values, axis=0) < 0).all()
    np.testing.assert_array_equal(minimise(observed, observed.prediction, max_iter=0)[0], observed.prediction)


# ------------------------------------------------------------------------------- what is learnt


@cache
def photographs() -> tuple[Any, Any]:
    """Crops of scikit-learn's photographs without their low frequencies: two to learn from, one held out."""
    china, flower = (image.mean(axis=2) / 255 for image in load_sample_images().images)
    places = ((china, 60, 40), (flower, 180, 240), (china, 60, 168))
    crops = [image[top : top + 120, left : left + 120].astype(np.float32) for image, top, left in places]
    high = [split_frequencies(crop, 5.0)[1] for crop in crops]
    return np.stack(high[:2]), np.stack(high[2:])


def learner(**arguments: Any) -> ConvolutionalSparseAutoencoder:
    given: dict[str, Any] = {"n_components": 8, "filter_size": 7, "alpha": 0.1, "n_iter": 10}
    return ConvolutionalSparseAutoencoder(**{**given, "random_state": 0, "n_jobs": 1, **arguments})


def small(**arguments: Any) -> ConvolutionalSparseAutoencoder:
    """A model of noise, quickly learnt."""
    given: dict[str, Any] = {"n_components": 4, "filter_size": 3, "alpha": 0.5, "n_iter": 3, "crop_size": 8}
    return learner(**{**given, "batch_size": 4, **arguments})


def noise(n: int = 6, *shape: int, dtype: Any = np.float64) -> Any:
    made: Any = np.random.default_rng(3).laplace(size=(n, *(shape or (12, 14)))).astype(dtype)
    return made


def bits(model: Any) -> Any:
    tensors, _ = model._get_state()
    return {name: value.tobytes() for name, value in tensors.items()}


def prediction_error(model: Any, X: Any) -> float:
    """Squared distance of the predicted codes from the best ones, relative to that of zero."""
    best = model.transform(X, exact=True)
    return float(np.sum((model.transform(X) - best) ** 2) / np.sum(best**2))


@pytest.mark.parametrize(("nonlinearity", "most"), [("tanh", 0.85), ("shrinkage", 0.65)])
def test_learns_on_photographs(nonlinearity: str, most: float) -> None:
    X, held_out = photographs()
    energies: list[float] = []
    before = learner(nonlinearity=nonlinearity, n_iter=0).fit(X)
    model = learner(
        nonlinearity=nonlinearity, n_iter=20, callback=lambda p: energies.append(p["batch_energy"])
    )
    model.fit(X)
    assert model.components_.dtype == np.float32
    assert np.linalg.norm(model.components_.reshape(8, -1), axis=1).max() <= 1 + 1e-5
    of_pass = np.reshape(energies, (20, -1)).mean(axis=1)
    assert of_pass[-3:].mean() < 0.9 * of_pass[:3].mean()

    def energy(model: Any, exact: bool) -> float:
        return float(model.energy(held_out, model.transform(held_out, exact=exact)).sum())

    assert energy(model, exact=True) < 0.85 * energy(before, exact=True)
    assert energy(model, exact=False) < 0.85 * energy(before, exact=False)
    assert prediction_error(model, held_out) < most * prediction_error(before, held_out)
    # The encoder's filters look like the decoder's.
    scalar = np.abs((model.components_ * model.encoder_components_).sum(axis=(1, 2, 3)))
    assert (scalar > 0.5 * np.linalg.norm(model.encoder_components_.reshape(8, -1), axis=1)).all()


@pytest.mark.parametrize("nonlinearity", ["tanh", "shrinkage"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_exact_codes_have_less_energy_than_predicted_ones(nonlinearity: str, boundary: str) -> None:
    X = noise()
    model = small(nonlinearity=nonlinearity, boundary=boundary).fit(X)
    predicted, best = model.transform(X), model.transform(X, exact=True)
    assert predicted.shape == best.shape == (6, 4, *code_shape((12, 14), (3, 3), boundary))
    assert (model.energy(X, best) < model.energy(X, predicted)).all()
    W, b, g = model.encoder_components_, model.encoder_intercept_, model.encoder_gain_
    theta = getattr(model, "encoder_threshold_", None)
    expected = reference.predict(X[:, None], W, b, g, theta, boundary)
    np.testing.assert_allclose(predicted, expected, atol=1e-10)
    closer = model.set_params(transform_tol=1e-12).transform(X, exact=True)
    excess = model.energy(X, best) - model.energy(X, closer)
    assert (excess <= 1e-4 * model.energy(X, 0 * best)).all()


def test_images_of_any_kind() -> None:
    colour = noise(3, 3, 11, 12)
    model = small().fit(colour)
    assert model.components_.shape == (4, 3, 3, 3)
    assert model.inverse_transform(model.transform(colour)).shape == colour.shape
    unequal = [noise(1, 12, 14)[0], noise(1, 9, 20)[0], noise(1, 5, 8)[0]]
    model = small().fit(unequal)
    codes = model.transform(unequal)
    assert [code.shape for code in codes] == [(4, 14, 16), (4, 11, 22), (4, 7, 10)]
    assert [image.shape for image in model.inverse_transform(codes)] == [image.shape for image in unequal]
    np.testing.assert_array_equal(codes[0], model.transform(unequal[0][None])[0])
    signals = noise(4, 2, 40)
    model = small(filter_size=(5,), crop_size=None).fit(signals)
    assert model.components_.shape == model.encoder_components_.shape == (4, 2, 5)
    assert model.transform(signals, exact=True).shape == (4, 4, 44)
    assert model.inverse_transform(model.transform(signals)).shape == signals.shape
    assert small(filter_size=(2, 5)).fit(noise()).components_.shape == (4, 1, 2, 5)


def test_reconstruction_is_the_decoders() -> None:
    X = noise()
    model = small(alpha=0.01, prediction_weight=1e-3, n_iter=10).fit(X)
    back = model.inverse_transform(model.transform(X, exact=True))
    assert np.sum((back - X) ** 2) < 0.05 * np.sum(X**2)


def test_dtypes() -> None:
    X = noise()
    single = small().fit(X.astype(np.float32))
    assert {single.__dict__[name].dtype for name in single.__dict__ if name.endswith("components_")} == {
        np.dtype(np.float32)
    }
    assert single.transform(X.astype(np.float32), exact=True).dtype == np.float32
    assert single.transform(X).dtype == np.float64
    assert single.partial_fit(X).components_.dtype == np.float32
    double = small().fit(X)
    np.testing.assert_allclose(single.fit(X.astype(np.float32)).components_, double.components_, atol=1e-3)


def test_learning_does_not_depend_on_the_scale_of_the_images() -> None:
    X = noise()
    model, larger = small().fit(X), small(alpha=0.5 * 256).fit(256 * X)
    np.testing.assert_array_equal(model.components_, larger.components_)
    np.testing.assert_array_equal(256 * model.transform(X, exact=True), larger.transform(256 * X, exact=True))
    tiny = small(alpha=0.5e-30).fit(1e-30 * X)
    assert np.isfinite(tiny.components_).all()


def test_parameters_are_not_written_to_and_clone() -> None:
    X = noise()
    X.flags.writeable = False
    model = small(filter_size=(3, 4), crop_size=(8, 9)).fit(X)
    assert clone(model).get_params() == model.get_params()
    assert bits(pickle.loads(pickle.dumps(model))) == bits(model)
    kept = bits(model)
    model.transform(X, exact=True)
    assert bits(model) == kept


def test_the_encoders_filters_are_normalised_where_that_changes_nothing() -> None:
    X = noise()
    model = small().fit(X)
    np.testing.assert_allclose(
        np.linalg.norm(model.encoder_components_.reshape(4, -1), axis=1) * model._scale, 1
    )
    parameters, progress = model._parameters(), model._training
    norms = np.array([0.5, 1.0, 3.0, 10.0])
    longer = parameters._replace(
        encoder_filters=parameters.encoder_filters * norms.reshape(-1, 1, 1, 1) * model._scale,
        intercept=parameters.intercept * norms,
        gain=parameters.gain / norms / model._scale,
        threshold=parameters.threshold * norms,
    )
    balanced, after = _autoencoder_step._balanced(longer, progress)
    for got, wanted in zip(balanced, _autoencoder_step.scaled(parameters, model._scale)):
        np.testing.assert_allclose(got, wanted, rtol=1e-12)
    # Derivatives in weights that are so many times smaller are so many times greater.
    np.testing.assert_allclose(after.velocities["intercept"], progress.velocities["intercept"] * norms)
    np.testing.assert_allclose(after.velocities["gain"], progress.velocities["gain"] / norms)
    np.testing.assert_allclose(after.curvatures["threshold"], progress.curvatures["threshold"] * norms**2)


# ------------------------------------------------------------------------------- maps without use


def test_dead_maps_are_born_again_where_crops_are_explained_worst() -> None:
    X = noise()
    model = small(n_iter=30).fit(X)
    parameters, progress = model._parameters(), model._training
    dead = progress._replace(idle=np.array([0, 19, 3, 25]))
    residuals = [np.zeros((2, 1, 8, 8))]
    bump = np.array([[1.0, -2.0, 1.0], [0.0, 3.0, 0.0], [0.0, 0.0, 1.0]])
    residuals[0][1, 0, 2:5, 3:6] = bump
    batch = _autoencoder_step._Batch({}, {}, np.zeros(3), np.zeros(4, bool), residuals, 128)
    following, after = _autoencoder_step._revived(parameters, dead, batch, 0.5)
    np.testing.assert_allclose(following.filters[3, 0], bump / np.linalg.norm(bump))
    np.testing.assert_array_equal(following.filters[:3], parameters.filters[:3])
    assert after.idle.tolist() == [0, 19, 3, 0]
    assert following.gain[3] == pytest.approx(parameters.gain[:3].mean())
    assert not after.velocities["filters"][3].any()
    assert dead.idle.tolist() == [0, 19, 3, 25]


def test_a_map_that_nothing_uses_comes_back() -> None:
    X = noise(10)
    model = small(n_iter=1).fit(X)
    for name in ("components_", "encoder_components_", "encoder_intercept_"):
        getattr(model, name)[2] = 0
    for velocity in model._training.velocities.values():
        velocity[2] = 0
    model.partial_fit(X)  # ten steps
    assert not model.components_[2].any()
    model.partial_fit(X)
    assert model.components_[2].any()
    assert (model.transform(X, exact=True)[:, 2] != 0).any()


def test_images_without_anything_leave_a_sound_model() -> None:
    X = np.zeros((3, 10, 10))
    model = small(n_iter=30).fit(X)
    assert np.isfinite(model.components_).all()
    assert not model.transform(X, exact=True).any()
    X[0, 4, 4] = 1.0
    assert np.isfinite(small(alpha=100.0, n_iter=30).fit(X).components_).all()


# ------------------------------------------------------------------------------- seeds, threads, crops


def test_same_seed_same_bits_for_any_number_of_threads() -> None:
    X = noise(4, 20, 30, dtype=np.float32)
    one = small().fit(X)
    assert bits(one) == bits(small().fit(X))
    assert bits(one) == bits(small(n_jobs=3).fit(X))
    assert bits(one) != bits(small(random_state=1).fit(X))
    np.testing.assert_array_equal(
        one.transform(X, exact=True), clone(one).set_params(n_jobs=2).fit(X).transform(X, exact=True)
    )


def test_a_pass_takes_crops_in_proportion_to_the_images() -> None:
    sizes = np.array([[10, 10], [21, 5], [8, 40]])
    crops = crops_of_pass(sizes, (8, 8), seed=1, epoch=0)
    assert np.bincount(crops[:, 0]).tolist() == [4, 3, 5]
    assert (crops[:, 1:] >= 0).all()
    assert (crops[:, 1:] + np.minimum(8, sizes[crops[:, 0]]) <= sizes[crops[:, 0]]).all()
    assert not np.array_equal(crops, crops_of_pass(sizes, (8, 8), seed=1, epoch=1))
    places = np.concatenate([crops_of_pass(sizes[:1], (8, 8), seed=1, epoch=e) for e in range(40)])
    assert set(map(tuple, places[:, 1:])) == {(i, j) for i in range(3) for j in range(3)}


def test_callback_and_verbose(capsys: Any) -> None:
    seen: list[Any] = []

    def callback(progress: dict[str, Any]) -> None:
        terms = [progress[name] for name in ("reconstruction", "sparsity", "prediction")]
        assert progress["batch_energy"] == pytest.approx(sum(terms))
        seen.append((progress["i"], progress["self"].n_steps_, progress["n_steps"]))

    model = small(n_iter=2, callback=callback, verbose=True).fit(noise())
    assert seen == [(i, i + 1, 12) for i in range(12)]
    assert model.n_iter_ == 2
    assert capsys.readouterr().out.count("energy of a pixel") == 2


# ------------------------------------------------------------------------------- interruption, files


class _Halt(Exception):
    pass


def halt_after(n_steps: int) -> Any:
    def callback(progress: dict[str, Any]) -> None:
        if progress["i"] + 1 == n_steps:
            raise _Halt

    return callback


@pytest.mark.parametrize("nonlinearity", ["tanh", "shrinkage"])
@pytest.mark.parametrize("n_steps", [1, 6, 10])
def test_resuming_is_never_having_stopped(nonlinearity: str, n_steps: int, tmp_path: Any, dtype: Any) -> None:
    X = noise(dtype=dtype)
    whole = small(nonlinearity=nonlinearity).fit(X)
    stopped = small(nonlinearity=nonlinearity, callback=halt_after(n_steps))
    with pytest.raises(_Halt):
        stopped.fit(X)
    assert stopped.n_steps_ == n_steps
    save_model(stopped.set_params(callback=None), tmp_path / "model.safetensors")
    for model in (load_model(tmp_path / "model.safetensors"), stopped):
        model.resume(X)
        assert bits(model) == bits(whole)
        assert model.n_iter_ == whole.n_iter_ == 3
    assert bits(stopped.set_params(n_iter=5).resume(X)) == bits(
        small(nonlinearity=nonlinearity, n_iter=5).fit(X)
    )


@pytest.mark.parametrize("signals", [False, True])
def test_files_keep_everything(signals: bool, tmp_path: Any) -> None:
    X = noise(4, 30) if signals else noise()
    model = small(**({"filter_size": (5,)} if signals else {})).fit(X)
    save_model(model, tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    assert bits(loaded) == bits(model)
    np.testing.assert_array_equal(loaded.transform(X, exact=True), model.transform(X, exact=True))
    assert loaded.inverse_transform(model.transform(X)).shape == X.shape
    assert bits(loaded.partial_fit(X)) == bits(model.partial_fit(X))


def test_partial_fit_goes_on(tmp_path: Any) -> None:
    X = noise()
    model = small()
    for first in range(0, 6, 2):
        model.partial_fit(X[first : first + 2])
    assert model.n_steps_ == 6
    assert model.n_iter_ == 0
    with pytest.raises(NotFittedError, match="partial_fit"):
        model.resume(X)
    fitted = small().fit(X)
    steps = fitted.n_steps_
    assert fitted.partial_fit(X).n_steps_ == steps + 6
    with pytest.raises(NotFittedError, match="partial_fit"):
        fitted.resume(X)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX timers")
def test_a_signal_in_the_middle_leaves_a_whole_step() -> None:
    X = noise()
    model = small(n_iter=100_000)

    def strike(*_: Any) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, strike)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            model.fit(X)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    again = small(n_iter=100_000, callback=halt_after(model.n_steps_))
    with pytest.raises(_Halt):
        again.fit(X)
    assert bits(model) == bits(again)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_that_overflow_raise_and_keep_the_last_good_parameters(dtype: Any) -> None:
    X = noise(dtype=dtype)
    model = small().fit(X)
    kept = bits(model)
    with pytest.raises(FloatingPointError, match="step 19: the objective"):
        model.partial_fit(X * (dtype(1e30) if dtype == np.float32 else 1e200))
    assert {**bits(model), "_sizes": b""} == {**kept, "_sizes": b""}


@pytest.mark.parametrize("nonlinearity", ["tanh", "shrinkage"])
@pytest.mark.parametrize("scale", [1e200, 1e300])
def test_images_whose_energy_overflows_raise_at_the_first_step(nonlinearity: str, scale: float) -> None:
    model = small(nonlinearity=nonlinearity)
    with pytest.raises(FloatingPointError, match="step 1: the objective"):
        model.fit(scale * noise())
    assert model.n_steps_ == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("learning_rate", [1e100, 1e300])
def test_learning_that_diverges_raises(dtype: Any, learning_rate: float) -> None:
    model = small(learning_rate=learning_rate)
    with pytest.raises(FloatingPointError, match=r"step \d: the objective"):
        model.fit(noise(dtype=dtype))
    assert all(np.isfinite(value).all() for value in model._parameters().present().values())


@pytest.mark.parametrize("nonlinearity", ["tanh", "shrinkage"])
@pytest.mark.parametrize("name", ["alpha", "prediction_weight"])
def test_weights_that_overflow_the_dtype_of_the_images_are_named(nonlinearity: str, name: str) -> None:
    X = noise(dtype=np.float32)
    model = small(nonlinearity=nonlinearity).fit(X)
    codes = model.transform(X)
    model.set_params(**{name: 1e300})
    for call, given in (
        (model.transform, (X,)),
        (model.energy, (X, codes)),
        (model.partial_fit, (X,)),
        (model.resume, (X,)),
        (clone(model).fit, (X,)),
        (clone(model).partial_fit, (X,)),
    ):
        with pytest.raises(ValueError, match=rf"^{name}: overflows float32: .* got 1e\+300"):
            call(*given)
    assert np.isfinite(model.transform(X.astype(np.float64))).all()
    assert np.isfinite(model.inverse_transform(codes)).all()


def test_alpha_that_overflows_in_units_of_small_images_is_named() -> None:
    with pytest.raises(ValueError, match=r"^alpha: overflows float32: expected at most .*e\+18 for these"):
        small(alpha=1e30).fit(noise(dtype=np.float32) * np.float32(1e-20))


def test_a_step_that_leaves_the_finite_numbers_keeps_the_step_before(monkeypatch: pytest.MonkeyPatch) -> None:
    X = noise()
    whole = small(callback=halt_after(5))
    with pytest.raises(_Halt):
        whole.fit(X)
    step = _autoencoder_step.optim.curvature_step
    left = iter(range(5 * 5))

    def failing(*args: Any, **options: Any) -> Any:
        parameter, velocity = step(*args, **options)
        return parameter if next(left, None) is not None else parameter * np.nan, velocity

    monkeypatch.setattr(_autoencoder_step.optim, "curvature_step", failing)
    model = small()
    with pytest.raises(FloatingPointError, match="step 6"):
        model.fit(X)
    assert bits(model) == bits(whole)


# ------------------------------------------------------------------------------- on the device


def tiny(**arguments: Any) -> ConvolutionalSparseAutoencoder:
    """A model of few steps."""
    return small(**{"n_iter": 1, "max_inference_iter": 3, "transform_tol": 1e-2, **arguments})


@pytest.mark.parametrize("nonlinearity", ["tanh", "shrinkage"])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_learning_on_the_device(nonlinearity: str, boundary: str, dtype: Any, cuda: Any) -> None:
    X = noise(2, dtype=dtype)
    given = {"nonlinearity": nonlinearity, "boundary": boundary}
    host, model = tiny(**given).fit(X), tiny(**given, device="cuda").fit(X)
    assert model.n_steps_ == host.n_steps_ == 2
    rounding = 1e-4 if dtype == np.float32 else 1e-10
    expected, _ = host._get_state()
    for name, value in model._get_state()[0].items():
        assert isinstance(value, np.ndarray)
        assert value.dtype == expected[name].dtype
        np.testing.assert_allclose(value, expected[name], rtol=rounding, atol=rounding)
    assert bits(tiny(**given, device="cuda").fit(cuda.to_device(X))) == bits(model)
    for exact in (False, True):
        codes = model.transform(X, exact=exact)
        assert isinstance(codes, np.ndarray)
        np.testing.assert_allclose(codes, host.transform(X, exact=exact), atol=10 * rounding)
        np.testing.assert_allclose(model.energy(X, codes), host.energy(X, codes), rtol=10 * rounding)
        np.testing.assert_allclose(
            model.inverse_transform(codes), host.inverse_transform(codes), atol=10 * rounding
        )


@pytest.mark.parametrize("kind", ["gray", "colour", "signals", "signals of channels"])
@pytest.mark.parametrize("exact", [False, True])
def test_arrays_on_the_device_give_arrays_there(kind: str, exact: bool, dtype: Any, cuda: Any) -> None:
    shape = {"gray": (9, 8), "colour": (3, 8, 9), "signals": (30,), "signals of channels": (2, 30)}[kind]
    arguments: Any = {"filter_size": (5,), "crop_size": None} if "signals" in kind else {}
    X = noise(2, *shape, dtype=dtype)
    model = tiny(**arguments, device="cuda").fit(X)
    codes, back = model.transform(X, exact=exact), model.inverse_transform(model.transform(X, exact=exact))
    there = cuda.to_device(X)
    kept = model.transform(there, exact=exact)
    assert isinstance(kept, cuda.DeviceArray)
    assert kept.dtype == dtype
    np.testing.assert_array_equal(kept.numpy(), codes)
    images = model.inverse_transform(kept)
    assert isinstance(images, cuda.DeviceArray)
    assert images.shape == X.shape
    np.testing.assert_array_equal(images.numpy(), back)
    np.testing.assert_array_equal(model.energy(there, kept), model.energy(X, codes))
    # A list may hold both kinds and unequal sizes.
    mixed = [there[:1].reshape(X.shape[1:]), X[1][..., :7].copy()]
    made = model.transform(mixed, exact=exact)
    assert isinstance(made[0], cuda.DeviceArray)
    assert isinstance(made[1], np.ndarray)
    np.testing.assert_array_equal(made[0].numpy(), codes[0])
    np.testing.assert_array_equal(made[1], model.transform(mixed[1][None], exact=exact)[0])
    pair = model.inverse_transform(made)
    assert isinstance(pair[0], cuda.DeviceArray)
    assert isinstance(pair[1], np.ndarray)
    np.testing.assert_array_equal(pair[0].numpy(), back[0])
    assert pair[1].shape == mixed[1].shape


def test_codes_on_the_device_come_back_as_the_library_of_the_images(cuda: Any) -> None:
    X = noise(2)
    model = tiny(device="cuda").fit(ForeignArray.of(X, cuda))
    codes = model.transform(ForeignArray.of(X, cuda))
    assert isinstance(codes, ForeignArray)
    np.testing.assert_array_equal(codes.array.numpy(), model.transform(X))
    back = model.inverse_transform(codes)
    assert isinstance(back, ForeignArray)
    assert back.array.shape == X.shape


def test_going_on_on_the_device(tmp_path: Any, cuda: Any) -> None:
    X = noise(2, 8, 9)
    there = cuda.to_device(X)
    whole = tiny(device="cuda", n_iter=2).fit(X)
    stopped = tiny(device="cuda", n_iter=2, callback=halt_after(1))
    with pytest.raises(_Halt):
        stopped.fit(there)
    save_model(stopped.set_params(callback=None), tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    assert loaded.device == clone(loaded).device == "cuda"
    for model in (loaded, stopped):
        assert bits(model.resume(there)) == bits(whole)
    assert bits(tiny(device="cuda").partial_fit(there)) == bits(tiny(device="cuda").partial_fit(X))
    assert bits(whole.partial_fit(there)) == bits(loaded.partial_fit(X))
    # What is learnt is NumPy's: the same model codes on either side.
    np.testing.assert_allclose(
        loaded.transform(X), clone_of(loaded, device="cpu").transform(X), rtol=0, atol=1e-12
    )


def clone_of(model: Any, **arguments: Any) -> Any:
    """A fitted copy with other parameters."""
    return pickle.loads(pickle.dumps(model)).set_params(**arguments)


def test_codes_on_the_device_that_stop_early_warn(cuda: Any) -> None:
    X = noise(2)
    model = tiny(transform_max_iter=2, transform_tol=1e-9).fit(X)
    with pytest.warns(ConvergenceWarning) as here:
        model.transform(X, exact=True)
    with pytest.warns(ConvergenceWarning) as there:
        model.set_params(device="cuda").transform(X, exact=True)
    assert str(there[0].message) == str(here[0].message)


def test_what_the_device_refuses(cuda: Any) -> None:
    X = noise(2)
    there = cuda.to_device(X)
    host, model = tiny().fit(X), tiny(device="cuda").fit(X)
    kept = bits(model)
    for call in (host.fit, host.partial_fit, host.resume, host.transform, host.inverse_transform):
        with pytest.raises(TypeError, match=r"^[XZ]: an array on a CUDA device, where device='cpu'"):
            call(there)
    with pytest.raises(TypeError, match=r"^X: an array on a CUDA device, where device='cpu'"):
        host.energy(there, host.transform(X))
    for call in (model.fit, model.transform, model.partial_fit):
        with pytest.raises(ValueError, match=r"^X: every element must be finite, but it contains NaN"):
            call(cuda.to_device(X * np.nan))
    with pytest.raises(ValueError, match=r"^X: expected 1 channel\(s\)"):
        model.transform(cuda.to_device(noise(2, 3, 12, 12)))
    with pytest.raises(ValueError, match=r"^X: expected images at least as large as the filters of 3 x 3"):
        model.transform(cuda.to_device(noise(2, 2, 12)))
    with pytest.raises(ValueError, match=r"^Z: expected 4 channel"):
        model.inverse_transform(cuda.to_device(noise(2, 3, 12, 12)))
    with pytest.raises(ValueError, match=r"^Z: with boundary='valid' expected codes at least"):
        model.inverse_transform(cuda.to_device(noise(2, 4, 2, 12)))
    with pytest.raises(FloatingPointError, match=r"^step 3: the objective"):
        model.partial_fit(1e200 * X)
    assert {**bits(model), "_sizes": b""} == {**kept, "_sizes": b""}


def test_a_device_that_is_not_there_is_told_at_the_door(monkeypatch: pytest.MonkeyPatch) -> None:
    X = noise(2)
    model = tiny().fit(X)
    codes, kept = model.transform(X), bits(model)

    def missing(device: str) -> Any:
        raise RuntimeError(f"device={device!r}: no NVIDIA GPU is visible")

    model.set_params(device="cuda")
    monkeypatch.setattr(_native, "kernels", missing)
    for call, given in (
        (clone(model).fit, (X,)),
        (model.fit, (X,)),
        (model.partial_fit, (X,)),
        (model.resume, (X,)),
        (model.transform, (X,)),
        (model.inverse_transform, (codes,)),
        (model.energy, (X, codes)),
    ):
        with pytest.raises(RuntimeError, match=r"^device='cuda': no NVIDIA GPU is visible"):
            call(*given)
    assert bits(model) == kept


# ------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_components": 0}, ValueError, "n_components: expected an integer >= 1"),
        ({"filter_size": 0}, ValueError, "filter_size: expected an integer >= 1"),
        ({"filter_size": (3, 3, 3)}, ValueError, "filter_size: expected an integer, "),
        ({"filter_size": 2.5}, TypeError, "filter_size: expected an integer"),
        ({"filter_size": "3x3"}, TypeError, "filter_size: expected an integer"),
        (
            {"filter_size": 13},
            ValueError,
            "crop_size: expected at least the size of the filters, 13 x 13, got 8",
        ),
        (
            {"filter_size": 13, "crop_size": None},
            ValueError,
            "X: expected images at least as large as the filters of 13 x 13, got one of 12 x 14",
        ),
        ({"crop_size": (8,)}, ValueError, "crop_size: expected an integer or 2 of them"),
        ({"alpha": -1.0}, ValueError, "alpha: expected a number >= 0"),
        ({"prediction_weight": 0.0}, ValueError, "prediction_weight: expected a number > 0"),
        ({"nonlinearity": "relu"}, ValueError, "nonlinearity: expected one of"),
        ({"boundary": "wrap"}, ValueError, "boundary: expected one of"),
        ({"n_iter": -1}, ValueError, "n_iter: expected an integer >= 0"),
        ({"batch_size": 0}, ValueError, "batch_size: expected an integer >= 1"),
        ({"learning_rate": np.nan}, ValueError, "learning_rate: expected a finite number"),
        ({"max_inference_iter": 1.5}, TypeError, "max_inference_iter: expected an integer"),
        ({"transform_tol": 0.0}, ValueError, "transform_tol: expected a number > 0"),
        ({"callback": 3}, TypeError, "callback: expected a callable"),
        ({"n_jobs": 0}, ValueError, "n_jobs: expected a non-zero"),
        ({"random_state": -1}, ValueError, "random_state: expected"),
        ({"device": "gpu"}, ValueError, "device: expected 'cpu' or 'cuda', got 'gpu'"),
        ({"device": None}, ValueError, "device: expected 'cpu' or 'cuda', got None"),
    ],
)
def test_parameters_out_of_range_are_refused(arguments: Any, error: Any, message: str) -> None:
    model = small(**arguments)
    with pytest.raises(error, match=message):
        model.fit(noise())
    assert not hasattr(model, "components_")


def test_images_that_do_not_fit_are_refused() -> None:
    X = noise()
    with pytest.raises(NotFittedError):
        small().transform(X)
    with pytest.raises(NotFittedError):
        small().resume(X)
    with pytest.raises(NotFittedError):
        small().inverse_transform(X)
    model = small().fit(X)
    kept = bits(model)
    with pytest.raises(ValueError, match="X: every element must be finite"):
        model.fit(X * np.nan)
    with pytest.raises(ValueError, match=r"X: expected 1 channel\(s\)"):
        model.transform(noise(2, 3, 12, 12))
    with pytest.raises(ValueError, match="X: expected images at least as large as the filters of 3 x 3"):
        model.transform(noise(2, 2, 12))
    with pytest.raises(ValueError, match="X: expected shape"):
        model.transform(X[0, 0])
    with pytest.raises(ValueError, match="exact: expected one of"):
        model.transform(X, exact="yes")
    with pytest.raises(ValueError, match="Z: expected 4 channel"):
        model.inverse_transform(noise(2, 3, 12, 12))
    with pytest.raises(ValueError, match="Z: with boundary='valid' expected codes at least"):
        model.inverse_transform(noise(2, 4, 2, 12))
    with pytest.raises(ValueError, match="Z: expected 6 codes, as there are images, got 5"):
        model.energy(X, model.transform(X)[1:])
    with pytest.raises(ValueError, match="X: expected the 6 images of fit"):
        model.resume(X[1:])
    with pytest.raises(
        ValueError, match="batch_size, crop_size: `fit` was begun with 4 crops of 8 x 8 a step"
    ):
        model.set_params(batch_size=2).resume(X)
    with pytest.raises(ValueError, match="n_components, filter_size: learning began with 4 filters of 3 x 3"):
        model.set_params(batch_size=4, filter_size=5).partial_fit(X)
    with pytest.raises(ValueError, match="nonlinearity: learning began with the other one"):
        model.set_params(filter_size=3, nonlinearity="tanh").resume(X)
    assert bits(model) == kept


def test_exact_codes_that_stop_early_warn() -> None:
    model = small().fit(noise())
    with pytest.warns(
        ConvergenceWarning, match=r"within transform_max_iter=2 iterations: the worst gap is \d"
    ) as noted:
        model.set_params(transform_max_iter=2, transform_tol=1e-9).transform(noise(), exact=True)
    assert noted[0].filename == __file__


def test_a_state_that_does_not_fit_together_is_refused() -> None:
    tensors, values = small().fit(noise())._get_state()
    with pytest.raises(ValueError, match="does not belong to its filters"):
        small()._set_state({**tensors, "encoder_gain_": np.ones(3)}, values)
    with pytest.raises(ValueError, match="do not belong to its parameters"):
        small()._set_state({**tensors, "idle": np.zeros(3)}, values)
