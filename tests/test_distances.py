"""Distances against their formulas, their gradients against differences, what is nearest against a search."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from reference.networks import central_differences
from thalweg.energies import AbsoluteDistance, CosineDistance, HuberDistance, SquaredDistance
from thalweg.energies.distances import DISTANCES


def huber(r: float, delta: float) -> float:
    return r**2 / 2 if abs(r) <= delta else delta * (abs(r) - delta / 2)


FORMULAS = {
    "squared": (SquaredDistance(), lambda a, b: sum((x - y) ** 2 / 2 for x, y in zip(a, b))),
    "absolute": (AbsoluteDistance(), lambda a, b: sum(abs(x - y) for x, y in zip(a, b))),
    "huber": (HuberDistance(0.7), lambda a, b: sum(huber(x - y, 0.7) for x, y in zip(a, b))),
    "cosine": (
        CosineDistance(),
        lambda a, b: 1 - sum(x * y for x, y in zip(a, b)) / np.sqrt((a * a).sum() * (b * b).sum()),
    ),
}
NAMES = list(FORMULAS)


def pair(n: int = 6, d: int = 4, dtype: Any = np.float64, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=(2, n, d)).astype(dtype)


def test_every_distance_is_here() -> None:
    assert sorted(DISTANCES) == sorted(NAMES)
    assert all(type(FORMULAS[name][0]) is kind for name, kind in DISTANCES.items())


@pytest.mark.parametrize("name", NAMES)
def test_values_are_the_formula(name: str, dtype: Any) -> None:
    distance, formula = FORMULAS[name]
    a, b = pair(dtype=dtype)
    value = distance.value(a, b)
    assert value.dtype == dtype
    expected = [formula(x, y) for x, y in zip(a.astype(float), b.astype(float))]
    assert_allclose(value, expected, rtol=1e-6 if dtype == np.float32 else 1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_central_differences(name: str) -> None:
    distance, _ = FORMULAS[name]
    a, b = pair()
    in_a, in_b = distance.gradients(a, b)
    for found, expected in (
        (in_a, central_differences(lambda x: distance.value(x, b).sum(), a)),
        (in_b, central_differences(lambda y: distance.value(a, y).sum(), b)),
    ):
        assert np.linalg.norm(found - expected) <= 1e-6 * np.linalg.norm(expected)


@pytest.mark.parametrize("name", NAMES)
def test_single_gradients_are_double_ones_rounded(name: str) -> None:
    distance, _ = FORMULAS[name]
    a, b = pair(dtype=np.float32)
    for single, double in zip(distance.gradients(a, b), distance.gradients(a.astype(float), b)):
        assert single.dtype == np.float32
        assert_allclose(single, double, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_leading_axes_give_all_pairs(name: str) -> None:
    distance, _ = FORMULAS[name]
    a, b = pair()
    b = b[:3]
    values, (in_a, in_b) = distance.value(a[:, None], b), distance.gradients(a[:, None], b)
    assert values.shape == (6, 3)
    assert in_a.shape == in_b.shape == (6, 3, 4)
    for i, j in np.ndindex(6, 3):
        assert_array_equal(values[i, j], distance.value(a[i], b[j]))
        assert_array_equal([in_a[i, j], in_b[i, j]], distance.gradients(a[i], b[j]))


@pytest.mark.parametrize("name", NAMES)
def test_laws_of_distances(name: str) -> None:
    distance, _ = FORMULAS[name]
    a, b = pair(50)
    in_a, in_b = distance.gradients(a, b)
    swapped = distance.gradients(b, a)
    assert (distance.value(a, b) > 0).all()
    assert_allclose(distance.value(a, b), distance.value(b, a), rtol=1e-14)
    assert_allclose(swapped[0], in_b, rtol=1e-13, atol=1e-14)
    assert_allclose(swapped[1], in_a, rtol=1e-13, atol=1e-14)
    assert_allclose(distance.value(a, a), 0, atol=1e-30)
    assert_allclose(np.array(distance.gradients(a, a)), 0, atol=1e-15)


def test_cosine_of_zero_vectors_is_zero() -> None:
    a, b = np.array([[0.0, 0], [0, 0], [1, 2]]), np.array([[1.0, 2], [0, 0], [0, 0]])
    assert_array_equal(CosineDistance().value(a, b), [1, 1, 1])
    assert_array_equal(CosineDistance().gradients(a, b), np.zeros((2, 3, 2)))


@pytest.mark.parametrize("scale", [1e-310, 1e-200, 1e200])
def test_cosine_of_extreme_vectors(scale: float) -> None:
    a = scale * np.array([[1.0, 2.0, -1.0]])
    b = np.array([[2.0, 1.0, 0.0]])
    assert_allclose(CosineDistance().value(a, b), 1 - 4 / np.sqrt(30), rtol=1e-12)
    assert_allclose(
        CosineDistance().gradients(a, b)[1], CosineDistance().gradients(a / scale, b)[1], rtol=1e-12
    )


def test_cosine_keeps_the_digits_of_small_angles() -> None:
    angles = np.array([1e-3, 1e-6, 1e-9])
    a, b = np.stack([np.cos(angles), np.sin(angles)], axis=1), np.tile([3.0, 0.0], (3, 1))
    assert_allclose(CosineDistance().value(a, b), 2 * np.sin(angles / 2) ** 2, rtol=1e-9)


def test_huber_is_between_its_limits() -> None:
    a, b = pair()
    assert_allclose(HuberDistance(1e9).value(a, b), SquaredDistance().value(a, b), rtol=1e-13)
    assert_allclose(HuberDistance(1e-9).value(a, b) / 1e-9, AbsoluteDistance().value(a, b), rtol=1e-8)
    single = HuberDistance(1e300).gradients(a.astype(np.float32), b)[0]
    assert_array_equal(single, SquaredDistance().gradients(a.astype(np.float32), b)[0])


# --- the nearest outside of a ball


def circle(n: int = 20_001) -> Any:
    angle = np.linspace(0, 2 * np.pi, n)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("radius", [0.05, 0.7, 1.4, 3.0])
def test_nearest_outside_is_what_a_search_of_the_circle_finds(name: str, radius: float) -> None:
    distance, _ = FORMULAS[name]
    rng = np.random.default_rng(int(100 * radius))
    center = rng.normal(size=(40, 2))
    way = rng.normal(size=(40, 2))
    way[:10, 1] *= 1e-3  # near an axis
    way *= (radius * rng.random(40) / np.linalg.norm(way, axis=1))[:, None]
    point = center + way
    found = distance.nearest_outside(center, point, radius)
    assert_allclose(np.linalg.norm(found - center, axis=1), radius, rtol=1e-12)
    value = distance.value(found, point)
    sphere = radius * circle()
    for c, p, v in zip(center, point, value):
        best = distance.value(c + sphere, p).min()
        assert v <= best + 1e-12
        assert v >= best - 1e-3 * (1 + best)  # the search has steps


@pytest.mark.parametrize("name", ["squared", "absolute", "huber"])
@pytest.mark.parametrize("radius", [0.5, 2.0, 4.0])
def test_nothing_tried_outside_is_nearer(name: str, radius: float) -> None:
    distance, _ = FORMULAS[name]
    rng = np.random.default_rng(7)
    for _ in range(10):
        center, way = rng.normal(size=(2, 4))
        point = center + radius * rng.random() * way / np.linalg.norm(way)
        found = distance.nearest_outside(center[None], point[None], radius)[0]
        value = float(distance.value(found, point))
        # All over the sphere, and around what was found.
        tried = rng.normal(size=(20_000, 4)) * np.where(np.arange(20_000) % 2, 1.0, 1e-2)[:, None]
        tried[::2] += (found - center) / radius
        tried *= radius / np.linalg.norm(tried, axis=1, keepdims=True)
        assert value <= distance.value(center + tried, point).min() + 1e-12


@pytest.mark.parametrize("name", NAMES)
def test_what_is_outside_stays(name: str) -> None:
    distance, _ = FORMULAS[name]
    center, point = pair(200)
    found = distance.nearest_outside(center, point, 2.0)
    outside = np.linalg.norm(point - center, axis=1) >= 2
    assert 20 < outside.sum() < 180
    assert_array_equal(found[outside], point[outside])
    assert (np.linalg.norm(found - center, axis=1) >= 2 * (1 - 1e-12)).all()
    assert_array_equal(distance.nearest_outside(center, point, 0.0), point)


@pytest.mark.parametrize("name", ["squared", "absolute", "huber"])
def test_at_the_center_it_goes_along_the_first_axis(name: str) -> None:
    center = np.array([[1.0, 2.0, 3.0]])
    for radius in (0.5, 2.0):
        found = FORMULAS[name][0].nearest_outside(center, center, radius)
        assert_allclose(found, np.add(center, [radius, 0, 0]), rtol=1e-14)


def test_cosine_leaves_the_ball_along_the_ray() -> None:
    center, point = pair(50)
    found = CosineDistance().nearest_outside(center, point, 4.0)
    assert_allclose(CosineDistance().value(found, point), 0, atol=1e-24)
    stretch = found / point
    assert_allclose(stretch, stretch[:, :1] * np.ones(4), rtol=1e-9)
    assert (stretch >= 1).all()
    zero = CosineDistance().nearest_outside([[3.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]], 4.0)
    assert_allclose(zero, [[-1.0, 0.0], [4.0, 0.0]])


@pytest.mark.parametrize("name", NAMES)
def test_nearest_outside_at_any_scale(name: str) -> None:
    center, point = pair()
    for scale in (1e-200, 1e-30, 1e100):
        unit, _ = FORMULAS[name]
        distance = HuberDistance(0.7 * scale) if name == "huber" else unit
        found = distance.nearest_outside(scale * center, scale * point, 5.0 * scale)
        assert_allclose(found / scale, unit.nearest_outside(center, point, 5.0), rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_nearest_outside_keeps_the_dtype_and_its_arguments(name: str) -> None:
    distance, _ = FORMULAS[name]
    center, point = pair(dtype=np.float32)
    kept = center.copy(), point.copy()
    found = distance.nearest_outside(center, point, 5.0)
    assert found.dtype == np.float32
    assert_allclose(found, distance.nearest_outside(center.astype(float), point, 5.0), rtol=1e-5, atol=1e-6)
    assert_array_equal([center, point], kept)
    assert distance.nearest_outside(np.zeros((0, 3)), np.zeros((0, 3)), 1.0).shape == (0, 3)


# --- what is refused


@pytest.mark.parametrize("name", NAMES)
def test_names_what_is_wrong(name: str) -> None:
    distance, _ = FORMULAS[name]
    a, b = pair()
    for method in (distance.value, distance.gradients):
        with pytest.raises(ValueError, match="b: expected 4 features, as a has, got shape"):
            method(a, b[:, 1:])
        with pytest.raises(ValueError, match=r"b: expected a shape that broadcasts with a of shape \(6, 4\)"):
            method(a, b[:5])
        with pytest.raises(ValueError, match=r"a: expected shape .* at least one feature"):
            method(a[:, :0], b[:, :0])
        with pytest.raises(ValueError, match="a: expected shape"):
            method(1.0, b)
        with pytest.raises(ValueError, match="b: every element must be finite"):
            method(a, b * np.nan)
    for radius, error in ((-1.0, ValueError), (np.nan, ValueError), ("1", TypeError)):
        with pytest.raises(error, match="radius: expected a"):
            distance.nearest_outside(a, b, radius)
    with pytest.raises(ValueError, match="point: expected the shape of center"):
        distance.nearest_outside(a, b[:1], 1.0)
    with pytest.raises(ValueError, match="center: expected 2 dimension"):
        distance.nearest_outside(a[0], b[0], 1.0)


def test_delta_is_positive() -> None:
    for delta, error in ((0.0, ValueError), (-1.0, ValueError), (np.inf, ValueError), (None, TypeError)):
        with pytest.raises(error, match="delta: expected a"):
            HuberDistance(delta)
