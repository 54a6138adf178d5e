import os
import subprocess
import sys
import threading
import time
import warnings
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import mpmath
import numpy as np
import pytest
from scipy import sparse

from reference import elementwise as reference
from thalweg import _native, ops

SMOOTH = ("softplus", "sigmoid", "log_sigmoid", "d_softplus", "d_sigmoid", "d_log_sigmoid")
THRESHOLDS = ("shrink", "shrink_nonneg", "hard_shrink")
POWERS = (0.5, 2 / 3, 0.1, 0.3, 0.9, 0.99)
LIMIT = {  # units in the last place
    **dict.fromkeys(("softplus", "sigmoid", "log_sigmoid"), 2),
    **dict.fromkeys(("d_softplus", "d_sigmoid", "d_log_sigmoid"), 4),
    **dict.fromkeys(THRESHOLDS, 1),
    "prox_lq": 8,
}
DEVICE_LIMIT = {2: 4, 4: 6}  # what is promised of a device, whose exponential is itself within one


@pytest.fixture
def here(backend):
    """The functions of ops on the backend's device."""
    names = (*SMOOTH, *THRESHOLDS, "prox_lq")
    return SimpleNamespace(**{name: partial(getattr(ops, name), device=backend) for name in names})


# --- accuracy against mpmath


def whole_line(dtype, count):
    """Random bit patterns, NaN and infinity left out."""
    info = np.finfo(dtype)
    integers = np.random.default_rng(1).integers(0, 2**info.bits, count, dtype=f"u{info.bits // 8}")
    numbers = integers.view(dtype)
    return numbers[np.isfinite(numbers)]


def grid(dtype):
    """Dense where the functions bend, change branch or leave the normal numbers."""
    top = 110 if dtype == np.float32 else 750
    underflow = 103.3 if dtype == np.float32 else 744.5
    tiny = 88 if dtype == np.float32 else 708.4
    powers = np.ldexp(1.0, np.arange(-160 if dtype == np.float32 else -1080, 10, 3))
    points = [
        np.linspace(-top, top, 1201),
        np.linspace(-40, 40, 1201),
        np.linspace(-2, 2, 801),
        np.linspace(15, 25, 101),
        np.linspace(-tiny - 3, -tiny + 3, 151),
        np.linspace(-underflow - 3, -underflow + 3, 151),
        powers,
        np.random.default_rng(2).normal(0, 3, 2000),
    ]
    both = np.concatenate([*points, *(-p for p in points)]).astype(dtype)
    return np.unique(np.concatenate([both, whole_line(dtype, 500)]))


def exact_smooth(name, u):
    u = mpmath.mpf(float(u))
    if name in ("log_sigmoid", "d_log_sigmoid"):
        u = -u
    e = mpmath.exp(-abs(u))
    if name in ("softplus", "log_sigmoid"):
        value = max(u, 0) + mpmath.log1p(e)
        return -value if name == "log_sigmoid" else value
    if name == "d_sigmoid":
        return e / (1 + e) ** 2
    return (1 if u > 0 else e) / (1 + e)


class Truth:
    """Exact results as multiples of the dtype's unit in the last place there, high and low parts."""

    def __init__(self, exact, dtype):
        rounded = np.array([float(r) for r in exact]).astype(dtype)
        info = np.finfo(dtype)
        exponent = np.frexp(np.where(rounded == 0, info.smallest_subnormal, rounded))[1] - (info.nmant + 1)
        self.exponent = np.maximum(exponent, info.minexp - info.nmant)
        units = [mpmath.ldexp(r, -int(e)) for r, e in zip(exact, self.exponent, strict=True)]
        self.high = np.array([float(m) for m in units])
        self.low = np.array([float(m - h) for m, h in zip(units, self.high, strict=True)])

    def error(self, got):
        return np.abs((np.ldexp(got.astype(np.float64), -self.exponent) - self.high) - self.low)


@pytest.fixture(scope="module")
def smooth_truth():
    """By dtype: the points, and the exact values of each function there."""
    made = {}
    with mpmath.workprec(160):
        for dtype in (np.dtype(np.float32), np.dtype(np.float64)):
            points = grid(dtype)
            exact = {name: [exact_smooth(name, u) for u in points] for name in SMOOTH}
            made[dtype] = points, {name: Truth(values, dtype) for name, values in exact.items()}
    return made


def at_level(level, tmp_path, points):
    """Results of all smooth functions in a process of this instruction set."""
    source, target = tmp_path / "points.npz", tmp_path / "results.npz"
    np.savez(source, **{d.name: p for d, p in points.items()})
    code = (
        "import sys, numpy as np\nfrom thalweg import ops, _native\n"
        "level, source, target, *names = sys.argv[1:]\nassert _native.cpu.level == level\n"
        "points = np.load(source)\n"
        "np.savez(target, **{f'{n} {d}': getattr(ops, n)(points[d]) for n in names for d in points})\n"
    )
    root = Path(ops.__file__).resolve().parents[2]
    environment = {**os.environ, "THALWEG_ISA": level, "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", code, level, str(source), str(target), *SMOOTH]
    subprocess.run(command, env=environment, check=True)
    return np.load(target)


def runnable_levels():
    return [level for level in _native.available_levels() if _native._runs_here(level)]


@pytest.mark.parametrize("level", runnable_levels())
def test_smooth_functions_are_accurate_at_every_level(level, smooth_truth, tmp_path):
    results = at_level(level, tmp_path, {d: points for d, (points, _) in smooth_truth.items()})
    for dtype, (points, truths) in smooth_truth.items():
        for name, truth in truths.items():
            got = results[f"{name} {dtype.name}"]
            assert got.dtype == dtype
            error = truth.error(got)
            worst = int(np.argmax(error))
            assert error[worst] <= LIMIT[name], f"{name} {dtype} at {points[worst]!r}: {error[worst]:.2f} ULP"
    for name in ("softplus", "sigmoid"):  # subnormal results are not flushed
        for dtype in smooth_truth:
            got = results[f"{name} {dtype.name}"]
            assert np.count_nonzero((got > 0) & (got < np.finfo(dtype).tiny)) > 50


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_functions_are_accurate_on_the_device(name, smooth_truth, cuda):
    for dtype, (points, truths) in smooth_truth.items():
        error = truths[name].error(getattr(ops, name)(points, device="cuda"))
        worst = int(np.argmax(error))
        limit = DEVICE_LIMIT[LIMIT[name]]
        assert error[worst] <= limit, f"{name} {dtype} at {points[worst]!r}: {error[worst]:.2f} ULP"


def exact_prox(z, alpha, q):
    """The stationary point in extended precision, from a float64 start."""
    z, alpha = mpmath.mpf(float(abs(z))), mpmath.mpf(float(alpha))
    q = mpmath.mpf(2) / 3 if q == 2 / 3 else mpmath.mpf(q)
    x = mpmath.mpf(float(reference.prox_lq(float(z), float(alpha), float(q))))
    for _ in range(6):
        pull = alpha * q * x ** (q - 1)
        x -= (x - z + pull) / (1 - (1 - q) * pull / x)
    return x


@pytest.mark.parametrize("q", POWERS)
def test_prox_lq_is_accurate_away_from_its_jump(q, dtype, backend, here):
    rng = np.random.default_rng(3)
    z = np.exp(rng.uniform(-12, 12, 400)).astype(dtype)
    lowest = 2 * (1 - q) / (2 - q)
    largest = (1 - lowest) * lowest ** (1 - q) / q * z.astype(float) ** (2 - q)  # alpha of the jump
    alpha = (largest * rng.uniform(0, 0.999, 400) ** 3).astype(dtype)
    with mpmath.workprec(160):
        truth = Truth([exact_prox(a, b, q) for a, b in zip(z, alpha, strict=True)], dtype)
    # A device has no type that is wider than double.
    limit = LIMIT["prox_lq"] * (1 / (1 - q) if backend == "cuda" and dtype == np.float64 else 1)
    assert truth.error(here.prox_lq(z, alpha, q)).max() <= limit
    np.testing.assert_array_equal(here.prox_lq(-z, alpha, q), -here.prox_lq(z, alpha, q))
    beyond = (largest * 1.001).astype(dtype)
    assert not here.prox_lq(z, beyond, q).any()


@pytest.mark.parametrize("q", POWERS)
def test_prox_lq_holds_at_the_ends_of_the_range(q, dtype, here):
    info = np.finfo(dtype)
    huge, tiny = info.max, info.smallest_subnormal
    heavy = huge if q < 0.7 else 1  # towards q = 1 the threshold grows as alpha
    z = np.array([huge, huge, tiny, info.tiny, np.inf], dtype)
    got = here.prox_lq(z, np.array([1, heavy, 1, 0, huge], dtype), q)
    expected = np.array([huge, huge, 0, info.tiny, np.inf], dtype)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["shrink", "shrink_nonneg"])
def test_soft_thresholds_are_correctly_rounded(name, dtype, here):
    z = np.concatenate([whole_line(dtype, 4000), np.random.default_rng(4).normal(0, 3, 4000).astype(dtype)])
    alpha = np.resize(np.abs(np.concatenate([z[3:], z[:3]])), z.shape)
    with np.errstate(over="ignore"):
        expected = getattr(reference, name)(z, alpha)
    np.testing.assert_array_equal(getattr(here, name)(z, alpha), expected)


def test_hard_threshold_decides_by_the_rounded_edge(dtype, here):
    alpha = np.abs(whole_line(dtype, 4000))
    with mpmath.workprec(160):
        edge = np.array([float(mpmath.sqrt(2 * mpmath.mpf(float(a)))) for a in alpha]).astype(dtype)
    above = np.nextafter(edge, dtype.type(np.inf))
    np.testing.assert_array_equal(here.hard_shrink(above, alpha), above)
    assert not here.hard_shrink(edge, alpha).any()
    assert not here.hard_shrink(-edge, alpha).any()


# --- special values


@pytest.mark.parametrize("size", [1, 7, 64])
def test_smooth_functions_at_special_values(size, dtype, here):
    inf, nan = np.inf, np.nan
    expected = {
        "softplus": (inf, 0.0, np.log(2)),
        "sigmoid": (1.0, 0.0, 0.5),
        "log_sigmoid": (0.0, -inf, -np.log(2)),
        "d_softplus": (1.0, 0.0, 0.5),
        "d_sigmoid": (0.0, 0.0, 0.25),
        "d_log_sigmoid": (0.0, 1.0, 0.5),
    }
    for name, (top, bottom, middle) in expected.items():
        f = getattr(here, name)
        for u, value in ((inf, top), (-inf, bottom), (0.0, middle), (-0.0, middle), (nan, nan)):
            got = f(np.full(size, u, dtype))
            if abs(value) == np.log(2):  # rounded, and where no products are fused to a neighbour
                np.testing.assert_array_max_ulp(got, np.full(size, value).astype(dtype), maxulp=1)
            else:
                np.testing.assert_array_equal(got, np.full(size, value).astype(dtype), err_msg=f"{name}({u})")
        info = np.finfo(dtype)
        for u, value in ((info.max, top), (info.min, bottom)):
            got = f(np.full(size, u, dtype))
            finite = {inf: info.max, -inf: info.min}.get(value, value)
            np.testing.assert_array_equal(got, np.full(size, finite, dtype), err_msg=f"{name}({u})")


@pytest.mark.parametrize("alpha", [0.0, 1.5])
def test_thresholds_at_special_values(alpha, dtype, here):
    z = np.array([np.inf, -np.inf, 0.0, -0.0, np.nan] * 5, dtype)
    odd = [here.shrink, here.hard_shrink, *(partial(here.prox_lq, q=q) for q in (0, 0.3, 0.5, 2 / 3, 1))]
    for f in odd:
        got = f(z, alpha)
        np.testing.assert_array_equal(got, z)
        np.testing.assert_array_equal(
            np.signbit(got), np.signbit(z) & ~np.isnan(got) | np.signbit(got) & np.isnan(got)
        )
    got = here.shrink_nonneg(z, alpha)
    np.testing.assert_array_equal(got[:5], np.array([np.inf, 0, 0, 0, np.nan], dtype))
    assert not np.signbit(got[1:4]).any()


def test_no_floating_point_warnings(dtype):
    u = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, -100, -745, 0], dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in SMOOTH:
            getattr(ops, name)(u)
        ops.prox_lq(u, 2.0, 0.3)


# --- native is the reference


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_functions_are_the_reference(name, rng, dtype, here):
    u = rng.normal(0, 5, (37, 41)).astype(dtype)
    got = getattr(here, name)(u)
    assert got.dtype == dtype
    np.testing.assert_allclose(got, getattr(reference, name)(u.astype(float)), rtol=8 * np.finfo(dtype).eps)


@pytest.mark.parametrize("name", [*THRESHOLDS, *(f"prox_lq {q:.3g}" for q in (0, *POWERS, 1))])
def test_proximal_maps_are_the_reference(name, rng, dtype, here):
    name, _, q = name.partition(" ")
    rest = {"q": {"0.667": 2 / 3}.get(q, float(q))} if q else {}
    z = rng.normal(0, 2, (50, 20)).astype(dtype)
    for alpha in (0.7, rng.uniform(0, 2, 20), rng.uniform(0, 2, (50, 1)), rng.uniform(0, 2, (50, 20))):
        weight = np.asarray(alpha, dtype)
        if rest == {"q": 1.0}:
            expected = reference.shrink(z.astype(float), weight.astype(float))
        else:
            expected = getattr(reference, name)(z.astype(float), weight.astype(float), **rest)
        got = getattr(here, name)(z, alpha, **rest)
        assert got.dtype == dtype
        np.testing.assert_allclose(got, expected, rtol=1e-5 if dtype == np.float32 else 1e-11, atol=1e-6)


# --- the kernels of every backend


@pytest.mark.parametrize("name", ["softplus", "sigmoid", "log_sigmoid", "d_sigmoid", "d_log_sigmoid"])
@pytest.mark.parametrize("size", [0, 1, 7, 4096, 9001])
def test_smooth_kernels_of_every_backend(name, size, rng, dtype, kernels):
    x = rng.normal(0, 8, size).astype(dtype)
    out = np.empty_like(x)
    kernels.apply_smooth(getattr(kernels.Smooth, name), x, out, 0)
    expected = getattr(reference, name)(x.astype(float))
    np.testing.assert_allclose(out, expected, rtol=8 * np.finfo(dtype).eps, atol=np.finfo(dtype).tiny)


# --- shapes, strides, dtypes, out


def layouts(x):
    wide = np.zeros((2 * x.shape[0], 3 * x.shape[1]), x.dtype)
    wide[::2, ::3] = x
    padded = np.zeros((x.shape[0], x.shape[1] + 5), x.dtype)
    padded[:, 2:-3] = x
    record = np.zeros(x.shape, [("odd", "u1"), ("value", x.dtype)])
    record["value"] = x
    frozen = x.copy()
    frozen.flags.writeable = False
    return {
        "C": x.copy(),
        "Fortran": np.asfortranarray(x),
        "strided": wide[::2, ::3],
        "padded": padded[:, 2:-3],
        "reversed": x[::-1, ::-1].copy()[::-1, ::-1],
        "unaligned": record["value"],
        "swapped": x.astype(x.dtype.newbyteorder()),
        "read-only": frozen,
    }


@pytest.mark.parametrize("shape", [(3, 5), (70, 700)])
def test_any_strides_give_the_same_bits(shape, rng, dtype, here):
    x = rng.normal(0, 5, shape).astype(dtype)
    alpha = rng.uniform(0, 2, shape[1]).astype(dtype)
    for f in (
        here.softplus,
        here.sigmoid,
        partial(here.shrink, alpha=alpha),
        partial(here.prox_lq, alpha=0.3, q=0.5),
    ):
        expected = f(x)
        for kind, view in layouts(x).items():
            before = view.copy()
            got = f(view)
            np.testing.assert_array_equal(view, before)
            if kind == "swapped":
                # Not the native float32: treated as any other real kind.
                assert got.dtype == np.float64
                continue
            np.testing.assert_array_equal(got, expected, err_msg=kind)
            for target in (
                np.empty(shape, dtype),
                np.empty(shape[::-1], dtype).T,
                np.empty((*shape, 2), dtype)[..., 1],
            ):
                assert f(view, out=target) is target
                np.testing.assert_array_equal(target, expected, err_msg=kind)


def test_more_axes_and_broadcasting(rng, dtype, here):
    z = rng.normal(size=(4, 1, 6, 5)).astype(dtype)
    alpha = rng.uniform(0, 1, (3, 1, 5))
    expected = reference.shrink(z, alpha.astype(dtype))
    np.testing.assert_array_equal(here.shrink(z, alpha), expected)
    np.testing.assert_array_equal(
        here.shrink(z.transpose(3, 1, 0, 2), 0.5), here.shrink(z, 0.5).transpose(3, 1, 0, 2)
    )
    assert here.shrink(dtype.type(2), np.ones((2, 3))).shape == (2, 3)
    assert here.softplus(np.empty((0, 3), dtype)).shape == (0, 3)
    assert here.shrink(np.empty((0, 3), dtype), np.ones(3)).shape == (0, 3)


def test_every_length_gives_the_same_bits(rng, dtype):
    u = rng.normal(0, 30, 300).astype(dtype)
    for name in SMOOTH:
        f = getattr(ops, name)
        whole = f(u)
        for n in range(0, 140):
            np.testing.assert_array_equal(f(u[n : 2 * n]), whole[n : 2 * n])


def test_an_element_does_not_depend_on_its_neighbours(dtype, here):
    rng = np.random.default_rng(5)
    u = np.concatenate([rng.normal(0, 3, 400), rng.normal(0, 60, 400)]).astype(dtype)
    crowd = np.array([np.nan, np.inf, -90, 1e30, -750, 0], dtype)
    for name in SMOOTH:
        f = getattr(here, name)
        alone = np.concatenate([f(u[i : i + 1]) for i in range(len(u))])
        mixed = f(np.stack([u, *(np.full_like(u, c) for c in crowd)], axis=1))[:, 0]
        np.testing.assert_array_equal(f(u), alone)
        np.testing.assert_array_equal(mixed, alone)


def test_the_same_bits_for_any_number_of_threads(rng, dtype):
    u = rng.normal(0, 5, 300_001).astype(dtype)
    for f in (
        *(getattr(ops, n) for n in SMOOTH),
        partial(ops.shrink, alpha=1),
        partial(ops.prox_lq, alpha=1, q=0.5),
    ):
        one = f(u, n_jobs=1)
        for n_jobs in (2, 3):
            np.testing.assert_array_equal(f(u, n_jobs=n_jobs), one)


def test_arrays_beyond_the_caches(rng, dtype):
    u = rng.normal(0, 3, (40 << 20) // dtype.itemsize // 2 + 5).astype(dtype)
    picked = np.r_[0:40, len(u) - 40 : len(u), rng.integers(0, len(u), 2000)]
    for f in (ops.softplus, ops.sigmoid, partial(ops.shrink, alpha=1)):
        expected = f(u[picked])
        out = np.empty(len(u) + 3, dtype)[3:]  # not on a vector's boundary
        np.testing.assert_array_equal(f(u)[picked], expected)
        np.testing.assert_array_equal(f(u, out=out)[picked], expected)
        again = u.copy()
        np.testing.assert_array_equal(f(again, out=again)[picked], expected)


def test_in_place_and_overlapping(rng, dtype, here):
    x = rng.normal(0, 5, 2000).astype(dtype)
    expected = here.sigmoid(x)
    same = x.copy()
    assert here.sigmoid(same, out=same) is same
    np.testing.assert_array_equal(same, expected)
    shifted = np.append(x, x[:1])
    here.sigmoid(shifted[:-1], out=shifted[1:])
    np.testing.assert_array_equal(shifted[1:], expected)
    turned = x.copy()
    here.sigmoid(turned[::-1], out=turned)
    np.testing.assert_array_equal(turned, expected[::-1])
    weight = np.abs(x)
    expected = here.shrink(x, weight)
    here.shrink(x, weight, out=weight)
    np.testing.assert_array_equal(weight, expected)


@pytest.mark.parametrize("kind", ["f2", "?", "i1", "u8", "i8", "g", "O"])
def test_other_real_kinds_become_float64(kind, here):
    x = np.array([0, 1, 1, 0, 1]).astype(kind)
    got = here.softplus(x)
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got, here.softplus(x.astype(np.float64)))
    assert here.shrink(np.float32([1, 2, 3, 4, 5]), x).dtype == np.float32


def test_scalars_give_scalars(here):
    assert type(here.softplus(1)) is np.float64
    assert type(here.softplus(np.float32(1))) is np.float32
    assert type(here.softplus(np.array(1.0))) is np.float64
    assert type(here.shrink(2.0, 0.5)) is np.float64
    assert here.shrink(2.0, 0.5) == 1.5
    out = np.empty(())
    assert here.softplus(0.0, out=out) is out


def test_a_fresh_result_is_nobody_elses(rng, dtype):
    u = rng.normal(size=3_000_000).astype(dtype)
    first = ops.sigmoid(u)
    kept = first.copy()
    second = ops.softplus(u)
    assert not np.shares_memory(first, second)
    np.testing.assert_array_equal(first, kept)
    part = ops.sigmoid(u)[::2]  # outlives the array that it views
    ops.softplus(u)
    np.testing.assert_array_equal(part, kept[::2])
    assert first.flags.writeable


# --- faults


ONE_ARGUMENT = [getattr(ops, n) for n in SMOOTH]
TWO_ARGUMENTS = [*(getattr(ops, n) for n in THRESHOLDS), partial(ops.prox_lq, q=0.5)]
EVERY = [*ONE_ARGUMENT, *(partial(f, alpha=1.0) for f in TWO_ARGUMENTS)]


@pytest.mark.parametrize("f", EVERY)
def test_bad_input_is_named(f):
    with pytest.raises(TypeError, match=r"sparse"):
        f(sparse.csr_matrix(np.eye(3)))
    with pytest.raises(ValueError, match=r"Complex data not supported"):
        f(np.ones(3, complex))
    with pytest.raises(ValueError, match=r"expected real numbers"):
        f(np.array(["a"]))
    with pytest.raises(TypeError, match=r"expected real numbers"):
        f(np.array([object()]))
    with pytest.raises(TypeError, match=r"n_jobs"):
        f(np.ones(3), n_jobs=1.5)
    with pytest.raises(ValueError, match=r"n_jobs"):
        f(np.ones(3), n_jobs=0)
    x = np.ones(3)
    frozen = np.empty(3)
    frozen.flags.writeable = False
    for out in (
        np.empty(4),
        np.empty(3, np.float32),
        frozen,
        np.empty((3, 1)),
        np.zeros(25, np.uint8)[1:].view("f8"),
    ):
        with pytest.raises(ValueError, match=r"^out: expected"):
            f(x, out=out)
    with pytest.raises(TypeError, match=r"^out: expected an ndarray"):
        f(x, out=[0.0, 0.0, 0.0])


@pytest.mark.parametrize("f", TWO_ARGUMENTS)
@pytest.mark.parametrize("alpha", [-1, np.nan, np.inf, [1, -1, 1], [1, np.nan, 1], [1, 1, np.inf]])
def test_bad_alpha_is_named(f, alpha):
    with pytest.raises(ValueError, match=r"^alpha: expected finite numbers >= 0"):
        f(np.ones(3), alpha)


def test_other_faults_are_named():
    for f in TWO_ARGUMENTS:
        with pytest.raises(
            ValueError, match=r"^alpha: expected a shape that broadcasts with z of shape \(3,\)"
        ):
            f(np.ones(3), np.ones(4))
        with pytest.raises(ValueError, match=r"^alpha: Complex"):
            f(np.ones(3), 1j)
        with pytest.raises(TypeError, match=r"^alpha: .*sparse"):
            f(np.ones(3), sparse.csr_matrix(np.eye(3)))
        with pytest.raises(ValueError, match=r"^alpha: expected finite"):
            f(np.ones(3, np.float32), 1e300)
    for q in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match=r"^q: "):
            ops.prox_lq(np.ones(3), 1, q)
    with pytest.raises(TypeError, match=r"^q: "):
        ops.prox_lq(np.ones(3), 1, "half")


def test_the_native_door_holds(dtype):
    cpu = _native.cpu
    x = np.ones((3, 4), dtype)
    with pytest.raises(ValueError, match=r"^x: expected a shape that broadcasts"):
        cpu.apply_smooth(cpu.Smooth.softplus, x, np.empty((3, 5), dtype), 1)
    with pytest.raises(ValueError, match=r"^x: expected a shape that broadcasts"):
        cpu.apply_smooth(cpu.Smooth.softplus, x, np.empty(4, dtype), 1)
    frozen = np.broadcast_to(dtype.type(0), (3, 4))
    with pytest.raises(ValueError, match=r"read-only"):
        cpu.apply_smooth(cpu.Smooth.softplus, x, frozen, 1)
    with pytest.raises(TypeError):
        cpu.apply_smooth(cpu.Smooth.softplus, x, np.empty((3, 4), np.int32), 1)
    with pytest.raises(ValueError, match=r"^q: expected"):
        cpu.apply_prox(cpu.Prox.lq, 2.0, x, x, np.empty((3, 4), dtype), 1)


def test_ctrl_c_ends_a_long_call():
    z = np.full(20_000_000, 3.0)
    out = np.empty_like(z)
    asked = []

    def interrupt():
        time.sleep(0.3)
        asked.append(time.perf_counter())
        os.kill(os.getpid(), 2)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        ops.prox_lq(z, 0.5, 0.3, out=out)
    assert time.perf_counter() - asked[0] < 0.2
    thread.join()
