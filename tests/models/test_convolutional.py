"""ConvolutionalSparseCoder and ConvolutionalDictionaryLearning: images, masks, learning, resumption."""

from __future__ import annotations

import pickle
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from reference import csc as reference
from thalweg import ConvolutionalDictionaryLearning, ConvolutionalSparseCoder, ops
from thalweg.inference.csc import BOUNDARIES, ConvolutionalLassoSolver, SparseMaps
from thalweg.models._convolutional_filters import worst_patches
from thalweg.persistence import load_model, save_model

RNG = np.random.default_rng(0)
SHAPES = {  # filters, images
    "gray": ((4, 1, 3, 5), (3, 12, 14)),
    "channels": ((4, 3, 3, 5), (2, 3, 12, 14)),
    "signals": ((4, 1, 7), (3, 40)),
    "signals of channels": ((4, 2, 7), (3, 2, 40)),
}
MASKED = (12, 14)


def filters_of(shape: Any) -> Any:
    f = np.random.default_rng(1).normal(size=shape)
    return f / np.sqrt((f**2).sum(axis=tuple(range(1, f.ndim)), keepdims=True))


def images_of(shape: Any, seed: int = 2) -> Any:
    return np.random.default_rng(seed).normal(size=shape)


F, X = filters_of((4, 1, 3, 5)), images_of((3, *MASKED))


def coder(f: Any = F, **arguments: Any) -> ConvolutionalSparseCoder:
    return ConvolutionalSparseCoder(f, **{"alpha": 0.8, "n_jobs": 1, **arguments})


def planted(n: int = 4, size: tuple[int, int] = (28, 30), seed: int = 0) -> Any:
    """Images of atoms of three filters, and noise."""
    rng = np.random.default_rng(seed)
    f = filters_of((3, 1, 5, 5))
    shape = (n, 3, size[0] + 4, size[1] + 4)
    z = (rng.random(shape) < 0.01) * rng.uniform(2, 4, shape) * rng.choice([-1.0, 1.0], shape)
    return ops.convolve(z, f, n_jobs=1)[:, 0] + 0.05 * rng.normal(size=(n, *size))


def learner(**arguments: Any) -> ConvolutionalDictionaryLearning:
    given: dict[str, Any] = {
        "n_components": 4,
        "filter_size": 5,
        "alpha": 0.3,
        "max_iter": 5,
        "tol": 0.0,
        "random_state": 0,
        "n_jobs": 1,
    }
    return ConvolutionalDictionaryLearning(**{**given, **arguments})


MODES: dict[str, dict[str, Any]] = {"batch": {}, "online": {"batch_size": 2}}
each_mode = pytest.mark.parametrize("mode", MODES)


def state(model: Any) -> dict[str, bytes]:
    tensors, values = model._get_state()
    return {**{name: a.tobytes() for name, a in tensors.items()}, "values": repr(values).encode()}


def both() -> list[Any]:
    """One of each, over filters of F's shape, able to transform."""
    fitted = learner(filter_size=(3, 5), dict_init=F, max_iter=1, transform_alpha=0.8).fit(X)
    return [coder(), fitted]


each_model = pytest.mark.parametrize("place", range(2), ids=["coder", "learner"])


# ------------------------------------------------------------------------------- forms of images and codes


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_codes_of_a_batch(shape: Any, boundary: str) -> None:
    f, images = filters_of(shape[0]), images_of(shape[1])
    model = coder(f, boundary=boundary, tol=1e-6).fit(images)
    codes, infos = model.encode(images, return_info=True)
    assert_array_equal(codes, model.transform(images))
    as4d, f4d = images, f
    if f.ndim == 3:
        f4d, as4d = f[:, :, None], images[..., None, :]
    as4d = as4d if as4d.ndim == 4 else as4d[:, None]
    expected = ops.correlate(as4d, f4d, boundary=boundary).shape
    assert codes.shape == (expected if f.ndim == 4 else (*expected[:2], expected[3]))
    for z, y, info in zip(codes.reshape(expected), as4d, infos, strict=True):
        assert_allclose(info.objective, reference.objective(y, f4d, z, 0.8, boundary), rtol=1e-10)
        assert info.is_converged
        assert info.gap <= 1e-6
    back = model.inverse_transform(codes)
    assert_allclose(back, ops.convolve(codes, f, boundary=boundary), atol=1e-12)
    assert back.shape[-f.ndim + 2 :] == images.shape[-f.ndim + 2 :]
    sparse = model.encode(images, sparse_output=True)
    assert [maps.nnz for maps in sparse] == [np.count_nonzero(z) for z in codes]
    for a, b in zip(model.inverse_transform(sparse), back, strict=True):
        assert_array_equal(a, b)


@pytest.mark.parametrize("has_channels", [False, True])
def test_codes_of_a_list_of_unequal_sizes(has_channels: bool) -> None:
    images = [images_of((9 + 5 * i, 17 - 3 * i), i) for i in range(3)]
    given = [image[None] for image in images] if has_channels else images
    model = coder()
    codes = model.transform(given)
    assert isinstance(codes, list)
    for z, image in zip(codes, images, strict=True):
        assert_array_equal(z, model.transform(image[None])[0])
    back = model.inverse_transform(codes)
    assert [image.shape for image in back] == [(1, *image.shape) for image in images]


@each_model
def test_dtypes(place: int) -> None:
    model = both()[place]
    single = model.transform(X.astype(np.float32))
    assert single.dtype == np.float32
    assert model.inverse_transform(single).dtype == np.float32
    assert_allclose(single, model.transform(X), atol=0.05)
    counts = (1000 * np.abs(X)).astype(np.uint16)
    for images in (counts, counts.astype(np.int16), X > 0, X.astype(np.float16), counts.tolist()):
        codes = model.transform(images)
        assert np.asarray(codes).dtype == np.float64
        assert_array_equal(codes, model.transform(np.asarray(images, np.float64)))


def test_codes_of_integers_decode() -> None:
    """Filters are not rounded to the kind of the codes."""
    z = np.zeros((4, 14, 18), int)
    z[1, 5, 6] = 3
    expected = coder().inverse_transform(z[None].astype(float))
    assert_array_equal(coder().inverse_transform(z[None]), expected)
    assert_array_equal(coder().inverse_transform([SparseMaps.from_dense(z)])[0], expected[0])


@each_model
def test_transform_changes_nothing(place: int) -> None:
    model = both()[place]
    images, mask = X.copy(), np.ones(MASKED)
    images.flags.writeable = mask.flags.writeable = False
    before = pickle.dumps(model)
    codes = model.transform(images, mask=mask)
    model.encode(images, sparse_output=True, return_info=True)
    model.inverse_transform(codes)
    assert pickle.dumps(model) == before


def test_starts() -> None:
    model = coder(tol=1e-4)
    first, infos = model.encode(X, sparse_output=True, return_info=True)
    again, at_once = model.encode(X, init=first, sparse_output=True, return_info=True)
    assert max(info.n_iter for info in infos) > 0
    assert all(info.n_iter == 0 for info in at_once)
    for a, b in zip(first, again, strict=True):
        assert_array_equal(a.value, b.value)


def test_out_of_iterations_warns() -> None:
    with pytest.warns(
        ConvergenceWarning, match=r"^3 of 3 images did not reach tol=1e-09: .* after 1 iterations"
    ):
        coder(tol=1e-9, max_iter=1).transform(X)


def test_alpha_of_each_filter_and_positive_codes() -> None:
    codes = coder(alpha=[0.5, 0.5, 1e3, 0.5], positive_code=True).transform(X)
    assert codes.min() == 0
    assert codes.max() > 0
    assert not codes[:, 2].any()


# ------------------------------------------------------------------------------- scikit-learn's customs


def test_clone_and_parameters() -> None:
    for model in (coder(), learner()):
        copied = clone(model)
        assert copied is not model
        for name, value in model.get_params().items():
            assert np.array_equal(getattr(copied, name), value), name
        assert copied.set_params(boundary="same").boundary == "same"


def test_in_a_pipeline() -> None:
    half = FunctionTransformer(lambda images: images / 2)
    codes = make_pipeline(half, coder()).fit(X).transform(X)
    assert_array_equal(codes, coder().transform(X / 2))
    model = make_pipeline(half, learner(filter_size=3)).fit(X)
    assert_array_equal(model.transform(X), model[-1].transform(X / 2))
    assert "ConvolutionalDictionaryLearning" in repr(model)


def test_a_coder_needs_no_fit_and_a_learner_does() -> None:
    assert coder().__sklearn_tags__().requires_fit is False
    assert coder().__sklearn_tags__().input_tags.three_d_array
    for call in (learner().transform, learner().encode, learner().inverse_transform, learner().resume):
        with pytest.raises(NotFittedError):
            call(X)


@each_model
def test_fit_transform_keeps_the_mask(place: int) -> None:
    model = clone(both()[place])
    mask = np.random.default_rng(0).random(MASKED) < 0.7
    expected = clone(model).fit(X, mask=mask).transform(X, mask=mask)
    assert_array_equal(model.fit_transform(X, mask=mask), expected)
    hidden = np.where(mask, X, np.nan)
    assert_array_equal(clone(model).fit_transform(hidden, mask=mask), expected)
    assert_array_equal(clone(model).fit_transform(X), clone(model).fit(X).transform(X))


# ------------------------------------------------------------------------------- masks


@each_model
def test_masks_of_all_forms(place: int) -> None:
    model = both()[place]
    masks = np.random.default_rng(0).random((3, *MASKED)) < 0.7
    each = [model.transform(x[None], mask=m)[0] for x, m in zip(X, masks, strict=True)]
    assert np.abs(each[0] - model.transform(X)[0]).max() > 1e-3
    for form in (masks, list(masks), masks[:, None], masks.astype(np.uint8), masks.astype(np.float32)):
        assert_array_equal(model.transform(X, mask=form), each)
    one = [model.transform(x[None], mask=masks[0])[0] for x in X]
    for form in (masks[0], masks[:1], masks[0].astype(float), np.asfortranarray(masks[0])):
        assert_array_equal(model.transform(X, mask=form), one)


def test_masks_of_channels_and_of_signals() -> None:
    f, images = filters_of((4, 3, 3, 5)), images_of((2, 3, *MASKED))
    masks = np.random.default_rng(0).random((2, 3, *MASKED)) < 0.7
    model = coder(f)
    each = [model.transform(images[i : i + 1], mask=masks[i])[0] for i in range(2)]
    assert_array_equal(model.transform(images, mask=masks), each)
    shared = model.transform(images, mask=masks[0])
    assert_array_equal(shared[0], each[0])
    assert_array_equal(shared, model.transform(images, mask=np.stack([masks[0]] * 2)))
    f, signals = filters_of((4, 1, 7)), images_of((3, 40))
    masks = np.random.default_rng(0).random((3, 40)) < 0.7
    model = coder(f)
    each = [model.transform(signals[i : i + 1], mask=masks[i])[0] for i in range(3)]
    assert_array_equal(model.transform(signals, mask=masks), each)
    assert_array_equal(model.transform(signals, mask=masks[0])[0], each[0])
    sizes = [images_of((9, 8)), images_of((12, 20))]
    listed = [np.ones((9, 8)), np.random.default_rng(0).random((12, 20)) < 0.5]
    assert_array_equal(
        coder().transform(sizes, mask=listed)[1], coder().transform(sizes[1:], mask=listed[1:])[0]
    )


@each_model
@pytest.mark.parametrize("value", [np.nan, np.inf, -1e300])
def test_what_a_mask_hides_may_be_anything(place: int, value: float) -> None:
    model = both()[place]
    mask = np.random.default_rng(0).random(MASKED) < 0.7
    spoilt = np.where(mask, X, value)
    assert_array_equal(model.transform(spoilt, mask=mask), model.transform(X, mask=mask))
    one, other = (clone(model).fit(images, mask=mask) for images in (spoilt, X))
    assert state(one) == state(other)
    if not np.isfinite(value):
        for call in (model.transform, clone(model).fit):
            with pytest.raises(ValueError, match=r"^X: every element must be finite"):
                call(spoilt)


def test_learning_fills_in_what_is_missing() -> None:
    """Filters from some of the pixels explain the others."""
    images = planted()
    mask = np.random.default_rng(5).random(images.shape) < 0.6
    model = learner(n_components=5, filter_size=8, max_iter=25)
    model.fit(np.where(mask, images, np.nan), mask=mask)
    filled = model.inverse_transform(model.transform(np.where(mask, images, np.nan), mask=mask))[:, 0]
    error = ((filled - images)[~mask] ** 2).mean()
    assert error < 0.5 * (images[~mask] ** 2).mean()


# ------------------------------------------------------------------------------- what is learnt


@each_mode
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_finds_what_was_planted(mode: str, dtype: Any) -> None:
    images = planted().astype(dtype)
    arguments = {"n_components": 6, "filter_size": 8, "alpha": 0.4}
    model = learner(max_iter=25, **arguments, **MODES[mode]).fit(images)
    assert model.components_.dtype == dtype
    assert model.components_.shape == (6, 1, 8, 8)
    assert (np.sqrt((model.components_.astype(float) ** 2).sum(axis=(1, 2, 3))) <= 1 + 1e-6).all()
    ideal = coder(filters_of((3, 1, 5, 5)), alpha=0.4)
    least, start, found = (
        sum(info.objective for info in each.encode(planted(seed=3), return_info=True)[1])
        for each in (ideal, learner(max_iter=1, filter_steps=1, **arguments).fit(images), model)
    )
    assert found <= 1.1 * least < 1.2 * least < start


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("is_masked", [False, True])
def test_the_objective_never_rises(boundary: str, is_masked: bool) -> None:
    images = planted()
    mask = np.random.default_rng(5).random(images.shape[1:]) < 0.8 if is_masked else None
    model = learner(boundary=boundary, max_iter=12, coding_tol=1e-3, n_components=6, filter_size=(4, 7))
    model.fit(images, mask=mask)
    unit = 0.5 * float((images[:, mask] ** 2).sum() if is_masked else (images**2).sum())
    assert len(model.error_) == 12
    assert (np.diff(model.error_) <= 1e-3 * unit).all()
    assert model.error_[-1] < model.error_[0]
    assert (model.gap_ <= 1e-3).all()


def test_learning_stops_by_tol() -> None:
    images = planted()
    model = learner(tol=0.05, max_iter=50).fit(images)
    falls = -np.diff(model.error_) / model.error_[1:]
    assert 2 <= model.n_iter_ == model.n_steps_ == len(model.error_) < 50
    assert falls[-1] < 0.05
    assert (falls[:-1] >= 0.05).all()
    kept = state(model)
    assert state(model.resume(images)) == kept


@pytest.mark.parametrize(("tol", "n_steps"), [(0.0, 5), (1e-12, 3)])
def test_a_tol_of_zero_does_not_stop_where_the_objective_rises(tol: float, n_steps: int) -> None:
    images = planted()
    model = learner(tol=0.0, max_iter=3).fit(images)
    model.error_[-1] = 2 * model.error_[-2]  # as a filter that is born again may leave it
    model.set_params(tol=tol, max_iter=5).resume(images)
    assert model.n_steps_ == n_steps


@each_mode
@pytest.mark.parametrize("shape", [(5, 20, 22), (5, 2, 20, 22), (5, 60), (5, 3, 60)], ids=str)
def test_shapes(mode: str, shape: Any) -> None:
    images = images_of(shape)
    is_signal = shape[-1] == 60
    channels = shape[1] if len(shape) == 4 - is_signal else 1
    model = learner(filter_size=(7,) if is_signal else (3, 6), alpha=1.0, **MODES[mode]).fit(images)
    assert model.components_.shape == (4, channels, *((7,) if is_signal else (3, 6)))
    codes = model.transform(images)
    assert codes.shape == ((5, 4, 66) if is_signal else (5, 4, 22, 27))
    assert model.inverse_transform(codes).shape == (5, channels, *shape[(1 if channels == 1 else 2) :])
    assert model.n_steps_ == len(model.error_) == (5 if mode == "batch" else 15)
    assert model.n_iter_ == 5


@each_mode
def test_a_list_of_unequal_sizes_and_a_lazy_sequence(mode: str) -> None:
    images = [planted(1, (20 + 4 * i, 30 - 3 * i), i)[0] for i in range(5)]

    class Lazy:
        def __len__(self) -> int:
            return 5

        def __getitem__(self, i: int) -> Any:
            return images[i]

    model = learner(**MODES[mode]).fit(images)
    assert [z.shape for z in model.transform(images)] == [(4, 24 + 4 * i, 34 - 3 * i) for i in range(5)]
    assert state(learner(**MODES[mode]).fit(Lazy())) == state(model)
    assert state(learner(**MODES[mode]).fit(tuple(images))) == state(model)


@each_mode
def test_constraints(mode: str) -> None:
    images = np.abs(planted())
    model = learner(positive_dict=True, positive_code=True, **MODES[mode]).fit(images)
    assert model.components_.min() >= 0
    assert model.transform(images).min() >= 0
    model = learner(zero_mean_dict=True, **MODES[mode]).fit(np.stack([images, images[:, ::-1]], 1))
    assert_allclose(model.components_.sum(axis=(2, 3)), 0, atol=1e-12)
    for each in (model, learner(dict_init=5 * np.ones((4, 1, 5, 5)), **MODES[mode]).fit(images)):
        assert (np.sqrt((each.components_**2).sum(axis=(1, 2, 3))) <= 1 + 1e-12).all()


@each_mode
def test_first_filters_are_those_given(mode: str) -> None:
    given = 0.5 * filters_of((4, 1, 5, 5))
    seen = []
    model = learner(dict_init=given, alpha=1e3, filter_steps=1, max_iter=1, **MODES[mode])
    model.set_params(callback=lambda step: seen.append(step["n_steps"]))
    model.fit(0 * planted())
    assert_array_equal(model.components_, given)
    assert seen == ([1] if mode == "batch" else [1, 2])
    assert_allclose(model.error_, 0)


@each_mode
def test_dead_filters_are_born_again(mode: str, capsys: Any) -> None:
    images = planted()
    start = filters_of((4, 1, 5, 5))
    start[2:] *= 1e-9  # no correlation reaches alpha
    n_steps = {"batch": 1, "online": 10}[mode]
    model = learner(dict_init=start, verbose=True, **MODES[mode])
    model.set_params(max_iter=n_steps if mode == "batch" else n_steps // 2).fit(images)
    n_reborn = [line.split(", ")[1] for line in capsys.readouterr().out.splitlines()]
    assert n_reborn == ["0 reborn"] * (n_steps - 1) + ["2 reborn"]
    assert_allclose(np.sqrt((model.components_[2:] ** 2).sum(axis=(1, 2, 3))), 1, rtol=0.2)
    model = learner(dict_init=start, max_iter=10, **MODES[mode]).fit(images)
    assert (np.abs(model.transform(images)).sum(axis=(0, 2, 3)) > 0).all()


def test_online_filters_that_were_used_once_are_born_again(tmp_path: Path) -> None:
    """Sums fade and never reach zero; the old filter's leave with it; a saved model remembers the wait."""
    images, start = np.zeros((4, 2, 28, 30)), np.zeros((4, 2, 5, 5))
    images[:2, 0], images[2:, 1] = planted(2), planted(2, seed=1)
    start[:2, 0] = start[2:, 1] = filters_of((2, 5, 5))
    model = learner(dict_init=start).partial_fit(images)
    assert_array_equal(model._idle, 0)
    for _ in range(9):
        model.partial_fit(images[:2])
    assert_array_equal(model._idle, [0, 0, 9, 9])
    assert (np.abs(model._A[2:, 2:]).max(axis=(1, 2, 3)) > 0).all()
    assert not model.components_[2:, 0].any()
    save_model(model, tmp_path / "m")
    loaded = load_model(tmp_path / "m")
    for each in (loaded, model):
        each.partial_fit(images[:2])
        assert_array_equal(each._idle, 0)
        assert not any(sums.any() for sums in (each._A[2:], each._A[:, 2:], each._B[2:]))
        assert all(sums.any() for sums in (each._A[:2, :2], each._B[:2]))
        assert_allclose(np.sqrt((each.components_[2:, 0] ** 2).sum(axis=(1, 2))), 1)
    assert state(loaded) == state(model)
    assert (np.abs(model.transform(images[:2])).sum(axis=(0, 2, 3)) > 0).all()


def test_online_a_filter_that_few_images_need_is_not_thrown_away(capsys: Any) -> None:
    """One image of sixteen uses it: a pass is waited for."""
    one, rare = np.zeros((2, 12, 12))
    one[3:8, 3:8], rare[4:9, 4:9] = 1.0, np.eye(5)
    start = np.stack([one[3:8, 3:8] / 5, rare[4:9, 4:9] / np.sqrt(5)])[:, None]
    images = np.stack([one] * 15 + [rare])
    arguments = {"n_components": 2, "dict_init": start, "boundary": "full", "batch_size": 1, "alpha": 1.5}
    model = learner(**arguments, max_iter=2, shuffle=False, verbose=True).fit(images)
    assert capsys.readouterr().out.count(" 0 reborn") == 32
    assert np.vdot(model.components_[1], start[1]) > 0.99


@each_mode
@pytest.mark.parametrize("positive_code", [False, True])
def test_filters_born_again_keep_to_the_constraints(mode: str, positive_code: bool) -> None:
    """Of images < 0 patches turned round are filters >= 0, unless codes must be positive too."""
    start = 1e-9 * np.abs(filters_of((4, 1, 5, 5)))
    arguments = {"dict_init": start, "positive_dict": True, "positive_code": positive_code, **MODES[mode]}
    model = learner(max_iter=3 if mode == "batch" else 6, **arguments).fit(-np.abs(planted()))
    if positive_code:
        assert_array_equal(model.components_, start)
    else:
        assert model.components_.min() >= 0
        assert_allclose(np.sqrt((model.components_**2).sum(axis=(1, 2, 3))), 1, rtol=0.2)
        assert model.error_[-1] < model.error_[0]


@each_mode
def test_more_dead_filters_than_patches_with_an_error(mode: str) -> None:
    """All but one spot is zero: the rest of the filters stay as they are."""
    images = np.zeros((2, 30, 30))
    images[0, 3, 4] = 1e-3
    start = 0.9 * filters_of((8, 1, 5, 5))
    model = learner(n_components=8, dict_init=start, alpha=1.0, **MODES[mode])
    model.set_params(max_iter=3 if mode == "batch" else 10).fit(images)
    assert np.isfinite(model.components_).all()
    assert_array_equal(model.components_[1:], start[1:])
    assert np.count_nonzero(model.components_[0]) == 1


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (4, 5), (2, 9), (9, 12)])
def test_worst_patches_are_the_worst(size: tuple[int, int]) -> None:
    residuals = [images_of((2, 9, 12), seed) for seed in range(3)]
    residuals[1][:, 2:6, 3:8] *= 10
    norms = [
        np.array([[(r[:, y : y + size[0], x : x + size[1]] ** 2).sum() for x in range(13 - size[1])]
                  for y in range(10 - size[0])])
        for r in residuals
    ]  # fmt: skip
    i = int(np.argmax([n.max() for n in norms]))
    y, x = np.unravel_index(norms[i].argmax(), norms[i].shape)
    first, *others = worst_patches(residuals, (7, 2, *size), 7)
    expected = residuals[i][:, y : y + size[0], x : x + size[1]]
    assert_allclose(first, expected / np.linalg.norm(expected))
    assert all(np.linalg.norm(patch) == pytest.approx(1) for patch in others)
    assert worst_patches([0 * r for r in residuals], (7, 2, *size), 7) == []


def test_one_online_step_is_a_step_on_the_batch_where_atoms_lie_inside() -> None:
    """The same codes, and sums that give the same gradients."""
    images = planted()
    arguments = {"boundary": "full", "max_iter": 1, "dict_init": filters_of((4, 1, 5, 5))}
    batch = learner(**arguments).fit(images)
    online = learner(batch_size=len(images), shuffle=False, **arguments).fit(images)
    assert_allclose(online.error_, batch.error_, rtol=1e-12)
    assert_allclose(online.components_, batch.components_, atol=1e-6)


@pytest.mark.parametrize("rho", [0.0, 1.0, 3.0])
def test_statistics_weigh_batches_by_rho(rho: float) -> None:
    images = planted(6)
    model = learner(batch_size=2, shuffle=False, rho=rho, max_iter=1, filter_steps=1)
    used = []
    model.set_params(callback=lambda step: used.append(step["self"].components_)).fit(images)
    expected = 0.0
    filters = [first_of(learner(batch_size=2), images), *used[:-1]]
    for t, f in enumerate(filters, 1):
        solver = ConvolutionalLassoSolver(f, tol=model.coding_tol, n_jobs=1)
        A, B = np.zeros((4, 4, 9, 9)), np.zeros((4, 1, 5, 5))
        for image in images[2 * t - 2 : 2 * t, None]:
            solver.add_statistics(image, solver.encode(image, model.alpha)[0], A, B)
        expected = (1 - 1 / t) ** rho * expected + A
    assert_allclose(model._A, expected, rtol=1e-9, atol=1e-9)


def first_of(model: Any, images: Any) -> Any:
    """The filters that learning begins with."""
    kept = []
    encode = ConvolutionalLassoSolver.encode

    def stop(self: Any, *args: Any, **kwargs: Any) -> Any:
        kept.append(self.filters)
        raise _Halt

    try:
        ConvolutionalLassoSolver.encode = stop  # type: ignore[method-assign]
        with pytest.raises(_Halt):
            model.fit(images)
    finally:
        ConvolutionalLassoSolver.encode = encode  # type: ignore[method-assign]
    return kept[0]


# ------------------------------------------------------------------------------- seeds, threads, resumption


class _Halt(Exception):
    pass


def halt_after(n_steps: int, error: type[BaseException] = _Halt) -> Any:
    def callback(step: dict[str, Any]) -> None:
        if step["n_steps"] == n_steps:
            raise error

    return callback


@each_mode
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_same_seed_same_bits_for_any_number_of_threads(mode: str, dtype: Any) -> None:
    images = planted(5, (50, 61)).astype(dtype)
    one = learner(max_iter=3, **MODES[mode]).fit(images)
    two = learner(max_iter=3, n_jobs=2, **MODES[mode]).fit(images)
    assert state(one) == state(two)
    assert_array_equal(one.transform(images), two.transform(images))
    other = learner(max_iter=3, random_state=1, **MODES[mode]).fit(images)
    assert other.components_.tobytes() != one.components_.tobytes()
    drawn = [
        learner(max_iter=1, random_state=np.random.default_rng(3), **MODES[mode]).fit(images) for _ in "ab"
    ]
    assert state(drawn[0]) == state(drawn[1])


@each_mode
@pytest.mark.parametrize("n_steps", [1, 3])
def test_resume_after_an_interrupt(mode: str, n_steps: int, tmp_path: Path) -> None:
    images = planted(5)
    whole = learner(**MODES[mode]).fit(images)
    part = learner(callback=halt_after(n_steps, KeyboardInterrupt), **MODES[mode])
    with pytest.raises(KeyboardInterrupt):
        part.fit(images)
    assert part.n_steps_ == n_steps
    save_model(part, tmp_path / "m")
    loaded = load_model(tmp_path / "m")
    part.set_params(callback=None)
    for model in (part, loaded):
        assert state(model.resume(images)) == state(whole)
        assert_array_equal(model.error_, whole.error_)
    assert state(whole.resume(images)) == state(part)


@each_mode
def test_resume_with_masks_or_a_larger_max_iter(mode: str) -> None:
    images = planted(5)
    mask = {"mask": np.random.default_rng(0).random(images.shape) < 0.8} if mode == "batch" else {}
    whole = learner(max_iter=4, **MODES[mode]).fit(images, **mask)
    part = learner(max_iter=2, **MODES[mode]).fit(images, **mask)
    assert part.n_iter_ == 2
    assert state(part.set_params(max_iter=4).resume(images, **mask)) == state(whole)


@each_mode
@pytest.mark.parametrize("n_calls", [1, 4, 8])
def test_an_interrupted_step_leaves_the_last_whole_one(mode: str, n_calls: int, monkeypatch: Any) -> None:
    images = planted(4)
    encode = ConvolutionalLassoSolver.encode
    left = iter(range(n_calls - 1))

    def interrupted(self: Any, *args: Any, **kwargs: Any) -> Any:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return encode(self, *args, **kwargs)

    model = learner(**MODES[mode])
    with monkeypatch.context() as patch:
        patch.setattr(ConvolutionalLassoSolver, "encode", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.fit(images)
    assert model.n_steps_ == (n_calls - 1) // (4 if mode == "batch" else 2)
    assert state(model.resume(images)) == state(learner(**MODES[mode]).fit(images))


@each_mode
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX timers")
def test_a_signal_in_the_middle_leaves_a_whole_step(mode: str) -> None:
    images = planted(4)
    model = learner(max_iter=100_000, **MODES[mode])

    def strike(*_: Any) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, strike)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(KeyboardInterrupt):
            model.fit(images)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    reached = model.n_steps_
    again = learner(max_iter=100_000, callback=halt_after(reached), **MODES[mode])
    with pytest.raises(_Halt):
        again.fit(images)
    assert state(model) == state(again)


def test_partial_fit_is_an_online_step() -> None:
    images = planted(6)
    fitted = learner(batch_size=2, shuffle=False, max_iter=1, dict_init=filters_of((4, 1, 5, 5))).fit(images)
    model = learner(dict_init=filters_of((4, 1, 5, 5)))
    for start in (0, 2, 4):
        assert model.partial_fit(images[start : start + 2]) is model
    assert_array_equal(model.components_, fitted.components_)
    assert_array_equal(model.error_, fitted.error_)
    assert model.n_steps_ == 3
    with pytest.raises(NotFittedError, match="partial_fit"):
        model.resume(images)
    model.partial_fit(images.astype(np.float32)[:1])
    assert model.components_.dtype == np.float64


def test_partial_fit_goes_on_from_a_fit_at_once() -> None:
    images = planted(6)
    model = learner(max_iter=2).fit(images)
    before = model.components_.copy()
    model.partial_fit(images[:2])
    assert model.n_steps_ == 3
    assert np.abs(model.components_ - before).max() > 0
    assert model._A.shape == (4, 4, 9, 9)


@each_mode
def test_saved_models_come_back(mode: str, tmp_path: Path) -> None:
    fitted = learner(filter_size=(4, 5), dict_init=filters_of((4, 1, 4, 5)), **MODES[mode]).fit(planted())
    for model in (fitted, coder(filters_of((4, 1, 4, 5)), alpha=[0.1, 0.2, 0.3, 0.4])):
        save_model(model, tmp_path / "m")
        loaded = load_model(tmp_path / "m")
        assert type(loaded) is type(model)
        assert state(loaded) == state(model)
        assert_array_equal(loaded.transform(X), model.transform(X))
        save_model(loaded, tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == (tmp_path / "m").read_bytes()
    more, less = load_model(tmp_path / "m"), coder(filters_of((4, 1, 4, 5)))
    assert more.alpha == [0.1, 0.2, 0.3, 0.4]
    assert less.get_params().keys() == more.get_params().keys()


def test_numbers_that_overflow_raise_and_keep_the_last_good_parameters() -> None:
    images = planted()
    model = learner().fit(images).set_params(transform_max_iter=5)
    good = state(model)
    for scale in (1e200, 1e300):
        with pytest.raises(FloatingPointError, match="step 6: "):
            model.partial_fit(images * scale)
    assert state(model) == good


@each_mode
@pytest.mark.parametrize("scale", [1e200, 1e300])
def test_images_that_overflow_raise_and_warn_of_nothing(mode: str, scale: float) -> None:
    with pytest.raises(FloatingPointError, match="step 1: "):
        learner(transform_max_iter=5, **MODES[mode]).fit(scale * planted())


def test_a_gradient_that_overflows_float32_raises_where_the_objective_does_not() -> None:
    with pytest.raises(FloatingPointError, match="step 1: "):
        learner(alpha=1e29).fit(np.float32(1e30) * planted().astype(np.float32))
    online = learner(alpha=1e29, batch_size=2).fit(np.float32(1e30) * planted().astype(np.float32))
    assert online.error_[-1] < online.error_[0]


@each_mode
def test_a_callback_keeps_its_own_warnings(mode: str) -> None:
    seen = []
    learner(callback=lambda _: seen.append(np.geterr()), **MODES[mode]).fit(planted())
    assert all(each == np.geterr() for each in seen)


# ------------------------------------------------------------------------------- bad input


def bad_images() -> dict[str, tuple[Any, type[Exception], str]]:
    spoilt = X.copy()
    spoilt[1, 2, 3] = np.nan
    return {
        "one image": (X[0], ValueError, r"^X(\[\d\])?: expected shape \(n?.*channels, height, width\)"),
        "five axes": (
            X[None, None],
            ValueError,
            r"^X(\[\d\])?: expected shape \(n?.*channels, height, width\)",
        ),
        "no images": (X[:0], ValueError, "^X: expected at least one image, got none"),
        "no list": ([], ValueError, "^X: expected at least one image, got none"),
        "no pixels": (X[:, :0], ValueError, r"^X(\[\d\])?: expected at least one pixel"),
        "nan": (spoilt, ValueError, r"^X(\[\d\])?: every element must be finite, but it contains NaN"),
        "nan in a list": (list(spoilt), ValueError, r"^X\[1\]: every element must be finite"),
        "inf": (X * np.inf, ValueError, r"^X(\[\d\])?: every element must be finite"),
        "complex": (X + 0j, ValueError, r"^X(\[\d\])?: Complex data not supported"),
        "text": (X.astype(str), ValueError, r"^X(\[\d\])?: expected real numbers"),
        "sparse": (csr_matrix(X[0]), TypeError, "^X: "),
        "number": (3.0, (TypeError, ValueError), "^X: expected "),
        "nothing": (None, (TypeError, ValueError), "^X: expected "),
        "masked": (np.ma.masked_less(X, 0), ValueError, r"^X(\[\d\])?: expected no masked elements"),
        "unequal axes": ([X[0], X[1][None]], ValueError, r"^X\[1\]: expected 2 dimensions, as X\[0\] has"),
        "small": (X[:, :2], ValueError, r"^X: filters of 3 x 5 do not fit into X\[0\] of 2 x 14 pixels"),
        "narrow": ([X[0], X[1][:, :4]], ValueError, r"^X: filters of 3 x 5 do not fit into X\[1\] of 12 x 4"),
        "a pixel": (np.ones((1, 1, 1)), ValueError, r"^X: filters of 3 x 5 do not fit into X\[0\] of 1 x 1"),
    }


@each_model
@pytest.mark.parametrize("case", bad_images())
def test_bad_images_are_named(place: int, case: str) -> None:
    images, error, message = bad_images()[case]
    model = both()[place]
    kept = pickle.dumps(model)
    calls = [model.transform, model.fit]
    if place == 1:
        calls += [model.partial_fit, clone(model).fit, clone(model).set_params(batch_size=2).fit]
    for call in calls:
        with pytest.raises(error, match=message):
            call(images)
    assert pickle.dumps(model) == kept


@each_model
def test_other_channels_are_named(place: int) -> None:
    with pytest.raises(ValueError, match=r"^X: expected 1 channel\(s\), got shape \(3, 12, 14\)"):
        both()[place].transform(np.stack([X, X, X], 1))


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_images_of_one_pixel(boundary: str) -> None:
    f = np.array([2.0, -1.0]).reshape(2, 1, 1, 1)
    codes = coder(f, alpha=1.0, tol=1e-12, boundary=boundary).transform(np.full((2, 1, 1), 3.0))
    assert_allclose(codes[:, 0], 3 / 2 - 1 / 4, atol=1e-6)
    assert_allclose(codes[:, 1], 0, atol=1e-6)
    for mode in MODES.values():
        model = learner(n_components=2, filter_size=1, boundary=boundary, **mode).fit(np.full((2, 1, 1), 3.0))
        assert_allclose(np.abs(model.components_), 1)


BAD_MASKS: dict[str, tuple[Any, str]] = {
    "other shape": (np.ones((14, 12)), r"^mask: expected shape \(12, 14\) or \(1, 12, 14\), got \(14, 12\)"),
    "a row": (np.ones((1, 14)), "^mask: expected shape"),
    "a number": (1.0, "^mask: expected shape"),
    "zeros": (np.zeros(MASKED), "^mask: expected at least one pixel that is observed"),
    "one of zeros": (
        [np.ones(MASKED), np.zeros(MASKED), np.ones(MASKED)],
        r"^mask\[1\]: expected at least one",
    ),
    "too few": ([np.ones(MASKED)] * 2, "^mask: expected one for each of 3 images, got 2"),
    "too few stacked": (np.ones((2, 1, *MASKED)), "^mask: expected one for each of 3 images, got 2"),
    "negative": (-np.ones(MASKED), "^mask: expected finite numbers >= 0"),
    "nan": (np.full(MASKED, np.nan), "^mask: expected finite numbers >= 0"),
    "complex": (np.ones(MASKED) + 0j, "^mask: Complex data not supported"),
    "text": (np.full(MASKED, "a"), "^mask: expected real numbers"),
}


@each_model
@pytest.mark.parametrize("case", BAD_MASKS)
def test_bad_masks_are_named(place: int, case: str) -> None:
    mask, message = BAD_MASKS[case]
    model = both()[place]
    kept = pickle.dumps(model)
    for call in (model.transform, model.fit, clone(model).fit):
        with pytest.raises(ValueError, match=message):
            call(X, mask=mask)
    assert pickle.dumps(model) == kept


@each_model
def test_a_pixel_that_is_observed_and_not_finite_is_named(place: int) -> None:
    spoilt = X.copy()
    spoilt[1, 2, 3] = np.nan
    model = both()[place]
    for call in (model.transform, model.fit):
        with pytest.raises(ValueError, match=r"^X\[1\]: every pixel that the mask does not hide"):
            call(spoilt, mask=np.ones(MASKED))


BAD_ARGUMENTS: dict[str, list[Any]] = {
    "boundary": ["wrap", None, 3],
    "solver": ["cd", None],
    "device": ["gpu", None],
    "positive_code": ["yes", None],
    "alpha": [0.0, -1.0, np.nan, "a"],
    "max_iter": [0, 2.5, None],
    "tol": [-1.0, np.nan, "a"],
    "n_jobs": [0, 1.5],
    "n_components": [0, 2.5, None],
    "filter_size": [0, 2.5, (3, 3, 3), (), (3, "4"), None],
    "batch_size": [0, 2.5],
    "positive_dict": ["yes"],
    "zero_mean_dict": ["yes"],
    "dict_init": [
        np.ones((4, 1, 3, 4)),
        np.ones((3, 5)),
        np.full((4, 1, 3, 5), np.nan),
        np.ones((3, 1, 3, 5)),
    ],
    "filter_steps": [0, 1.5],
    "coding_tol": [0.0, -1.0, None],
    "transform_alpha": [0.0, "a"],
    "transform_tol": [-1.0, None],
    "transform_max_iter": [0, 1.5],
    "rho": [-1.0, None],
    "shuffle": ["yes"],
    "random_state": ["seed", -1],
    "callback": [5],
}
UNFITTED = (coder(), learner(filter_size=(3, 5)))
TAKEN = [(model, name) for model in UNFITTED for name in BAD_ARGUMENTS if name in model.get_params()]


@pytest.mark.parametrize(
    ("model", "name"), TAKEN, ids=[f"{type(model).__name__}-{name}" for model, name in TAKEN]
)
def test_bad_arguments_are_named(model: Any, name: str) -> None:
    for value in BAD_ARGUMENTS[name]:
        with pytest.raises((ValueError, TypeError), match=rf"^{name}: "):
            clone(model).set_params(**{name: value}).fit(X)


def test_every_bad_argument_is_taken_by_a_model() -> None:
    assert {name for _, name in TAKEN} == set(BAD_ARGUMENTS)
    known = {name for model in UNFITTED for name in model.get_params()}
    assert known - set(BAD_ARGUMENTS) == {"dictionary", "verbose"}


@each_model
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("boundary", "wrap"),
        ("positive_code", "yes"),
        ("solver", "cd"),
        ("n_jobs", 0),
        ("tol", -1),
        ("max_iter", 0),
    ],
)
def test_bad_arguments_of_a_transform_are_named(place: int, name: str, value: Any) -> None:
    model = both()[place]
    prefix = "transform_" if place and name in ("tol", "max_iter") else ""
    model.set_params(**{prefix + name: value})
    with pytest.raises(ValueError, match=rf"^{prefix}{name}: "):
        model.transform(X)


def test_constraints_that_exclude_each_other_and_masks_online() -> None:
    with pytest.raises(ValueError, match=r"^zero_mean_dict: "):
        learner(positive_dict=True, zero_mean_dict=True).fit(X)
    for size in (1, (1, 1)):
        with pytest.raises(ValueError, match=r"^zero_mean_dict: a filter of one pixel"):
            learner(zero_mean_dict=True, filter_size=size).fit(X)
    with pytest.raises(ValueError, match=r"^mask: online learning"):
        learner(batch_size=2).fit(X, mask=np.ones(MASKED))


@pytest.mark.parametrize(
    ("dictionary", "error"),
    [
        (F[0, 0], ValueError),
        (F[:0], ValueError),
        (F * np.nan, ValueError),
        (F + 0j, ValueError),
        (csr_matrix(F[0, 0]), TypeError),
        (F[None], ValueError),
        ("filters", ValueError),
    ],
)
def test_bad_dictionaries_are_named(dictionary: Any, error: type[Exception]) -> None:
    for method in ("fit", "transform", "inverse_transform"):
        with pytest.raises(error, match=r"^dictionary: "):
            getattr(coder(dictionary), method)(X)


def test_a_dictionary_that_overflows_the_dtype_of_the_images_is_named() -> None:
    with pytest.raises(ValueError, match=r"^dictionary: overflows float32"):
        coder(1e300 * F).transform(X.astype(np.float32))


def test_bad_codes_and_starts_are_named() -> None:
    model = coder()
    codes = model.encode(X, sparse_output=True)
    dense = model.transform(X)
    for bad, error, message in [
        ([], ValueError, "^codes: expected at least one image"),
        (dense[:0], ValueError, "^codes: expected at least one image"),
        (dense[:, :3], ValueError, r"^codes: expected 4 channel\(s\)"),
        (dense[:, :, :4], ValueError, "^codes: maps of 4 x 18 belong to no image that filters of 3 x 5 fit"),
        (dense * np.nan, ValueError, "^codes: every element must be finite"),
        (dense[0, 0, 0], ValueError, "^codes: expected shape"),
        (3.0, ValueError, "^codes: expected shape"),
        ([codes[0], dense[1]], TypeError, "^codes: expected SparseMaps throughout"),
    ]:
        with pytest.raises(error, match=message):
            model.inverse_transform(bad)
    for bad, error, message in [
        (codes[:2], ValueError, "^init: expected 3 maps, one an image, got 2"),
        (codes[0], TypeError, "^init: expected a list of SparseMaps, got SparseMaps"),
        (list(dense), TypeError, "^init: expected SparseMaps, got ndarray"),
        ([SparseMaps.from_dense(dense[0][:3])] * 3, ValueError, "^init: expected maps of shape"),
    ]:
        with pytest.raises(error, match=message):
            model.encode(X, init=bad)


def test_resume_wants_the_images_of_fit() -> None:
    images = planted()
    model = learner(max_iter=2).fit(images).set_params(max_iter=4)
    with pytest.raises(ValueError, match=r"^X: expected the 4 images of fit, got 3"):
        model.resume(images[1:])
    with pytest.raises(
        ValueError, match=r"^X\[2\]: expected the image of fit, of 28 x 30 pixels, got one of 27"
    ):
        model.resume([*images[:2], images[2, 1:], images[3]])


@each_mode
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n_components": 7}, "^n_components: learning began with 4 filters, got 7"),
        ({"filter_size": (4, 5)}, r"^filter_size: learning began with filters of \(5, 5\), got \(4, 5\)"),
        ({"filter_size": (5,)}, r"^filter_size: learning began with filters of \(5, 5\), got \(5,\)"),
        ({"batch_size": 1}, "^batch_size: `fit` was begun with .*, which cannot change on the way, got 1"),
        ({"batch_size": None}, "^batch_size: `fit` was begun with 2, .* got None"),
        ({"boundary": "same"}, r"^boundary: the codes of `fit`.* maps of \(32, 34\), but 'same' .*28, 30"),
        ({"positive_code": True}, "^positive_code: the codes of `fit`.* are not all >= 0"),
    ],
)
def test_learning_goes_on_with_the_parameters_that_it_began_with(
    mode: str, changed: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """Unless they do not matter to what is kept: online no codes are."""
    images = planted()
    model = learner(max_iter=1, **MODES[mode]).fit(images)
    save_model(model, tmp_path / "m")
    (name,) = changed
    for each in (model, load_model(tmp_path / "m")):
        each.set_params(max_iter=2, **changed)
        kept = state(each)
        is_fine = (
            name in ("boundary", "positive_code") if mode == "online" else changed == {"batch_size": None}
        )
        if is_fine:
            assert each.resume(images).n_iter_ == 2
            continue
        with pytest.raises(ValueError, match=message):
            each.resume(images)
        if name in ("n_components", "filter_size"):
            with pytest.raises(ValueError, match=message):
                each.partial_fit(images[:, 0] if changed == {"filter_size": (5,)} else images)
        assert state(each) == kept


def test_codes_that_are_kept_may_fit_another_boundary() -> None:
    images = np.abs(planted())
    model = learner(max_iter=1, boundary="same", positive_code=True).fit(images)
    model.set_params(max_iter=2, boundary="circular", positive_code=False).resume(images)
    assert model.n_iter_ == 2
    assert model.resume(images).n_iter_ == 2


# ------------------------------------------------------------------------------------------- on the device


def on_device(f: Any = F, **arguments: Any) -> ConvolutionalSparseCoder:
    return coder(f, **{"device": "cuda", "tol": 1e-2, **arguments})


@pytest.mark.parametrize("name", SHAPES)
def test_codes_on_the_device(name: str, cuda: Any) -> None:
    f, images = (make(shape) for make, shape in zip((filters_of, images_of), SHAPES[name]))
    images = images[:2]
    host = coder(f, solver="fista", tol=1e-2)
    model = on_device(f).fit(images)
    codes, infos = model.encode(images, return_info=True)
    assert isinstance(codes, np.ndarray)
    assert_allclose(codes, host.transform(images), atol=1e-10)
    assert all(info.is_converged for info in infos)
    there = cuda.to_device(images)
    kept, as_kept = model.encode(there, return_info=True)
    assert isinstance(kept, cuda.DeviceArray)
    assert_array_equal(kept.numpy(), codes)
    assert as_kept == infos
    back = model.inverse_transform(kept)
    assert isinstance(back, cuda.DeviceArray)
    assert_allclose(back.numpy(), host.inverse_transform(codes), atol=1e-10)
    sparse = model.encode(there, sparse_output=True)
    assert_allclose(np.stack([maps.toarray() for maps in sparse]).reshape(codes.shape), codes, atol=1e-12)
    warm = model.encode(there, init=sparse, return_info=True)[1]
    assert [info.n_iter for info in warm] == [0, 0]


def test_lists_and_masks_on_the_device(cuda: Any) -> None:
    model, host = on_device(alpha=1.5), coder(alpha=1.5, solver="fista", tol=1e-2)
    given = [X[0], X[1][:9].astype(np.float32)]
    there = [cuda.to_device(image) for image in given]
    codes = model.transform(there)
    for got, expected in zip(codes, host.transform(given), strict=True):
        assert isinstance(got, cuda.DeviceArray)
        assert got.dtype == np.float64
        assert_allclose(got.numpy(), expected, atol=1e-6)
    for got, expected in zip(model.inverse_transform(codes), given, strict=True):
        assert got.shape == (1, *expected.shape)
    seen = np.ones(MASKED, bool)
    seen[3:6, 2:9] = False
    spoilt = np.where(seen, X[:1], np.nan)
    got = model.transform(cuda.to_device(spoilt), mask=seen)
    assert_allclose(got.numpy(), host.transform(spoilt, mask=seen), atol=1e-10)
    with pytest.raises(ValueError, match=r"^X: every element must be finite"):
        model.transform(cuda.to_device(spoilt))
    with pytest.raises(ValueError, match=r"^image: every pixel that the mask does not hide must be finite"):
        model.transform(cuda.to_device(spoilt), mask=np.ones(MASKED))


@each_mode
def test_learning_on_the_device(mode: str, cuda: Any) -> None:
    images = planted(2, (14, 15)).astype(np.float32)
    given = {"max_iter": 2, "alpha": 1.0, "filter_steps": 3, "solver": "fista", **MODES[mode]}
    host = learner(**given).fit(images)
    model = learner(**given, device="cuda").fit(images)
    assert isinstance(model.components_, np.ndarray)
    assert model.components_.dtype == np.float32
    assert_allclose(model.components_, host.components_, atol=1e-3)
    assert_allclose(model.error_, host.error_, rtol=1e-4)
    there = learner(**given, device="cuda").fit(cuda.to_device(images))
    assert state(there) == state(model)
    assert isinstance(there.transform(cuda.to_device(images[:1])), cuda.DeviceArray)
    again = clone(there)
    assert again.get_params()["device"] == "cuda"
    if mode == "online":
        again.partial_fit(cuda.to_device(images))
        assert_array_equal(again.components_, learner(**given, device="cuda").partial_fit(images).components_)


def test_dead_filters_are_born_again_on_the_device(cuda: Any) -> None:
    images = planted(1, (14, 15))
    dead = np.concatenate([filters_of((3, 1, 5, 5)), np.zeros((1, 1, 5, 5))])
    given = {"max_iter": 1, "alpha": 1.0, "dict_init": dead, "filter_steps": 1, "device": "cuda"}
    model = learner(**given).fit(cuda.to_device(images))
    assert model.components_[3].any()
    assert_array_equal(model.components_, learner(**given).fit(images).components_)


def test_what_the_device_refuses(cuda: Any) -> None:
    there = cuda.to_device(X)
    with pytest.raises(TypeError, match=r"^X: an array on a CUDA device, where device='cpu'"):
        coder().transform(there)
    with pytest.raises(ValueError, match=r"^device: expected 'cpu' or 'cuda', got 'gpu'"):
        coder(device="gpu").transform(X)
    with pytest.raises(ValueError, match=r"^device: expected 'cpu' or 'cuda', got None"):
        learner(device=None).fit(X)
    for model in (on_device(solver="active_set"), learner(solver="active_set", device="cuda")):
        with pytest.raises(ValueError, match=r"^solver: 'active_set', coordinate descent, has no kernels"):
            model.fit(X)
    with pytest.raises(ValueError, match=r"^X: expected 1 channel\(s\), got shape \(3, 12, 14\)"):
        on_device().transform(cuda.to_device(X[None]))
    with pytest.raises(ValueError, match=r"^X: filters of 3 x 5 do not fit into X\[0\] of 2 x 14 pixels"):
        on_device().transform(cuda.to_device(X[:, :2].copy()))
    with pytest.raises(ValueError, match=r"^codes: maps of 3 x 18 belong to no image"):
        on_device().inverse_transform(cuda.to_device(np.zeros((1, 4, 3, 18))))
