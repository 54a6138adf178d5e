"""Native annealing against the reference, and its estimates of log Z against enumeration."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from reference import ais as reference
from reference import gibbs, rbm
from thalweg import _native
from thalweg._base import Draws
from thalweg.inference.gibbs import RbmMachine

KINDS = ("bernoulli", "gaussian")
DRAWS = Draws(seed=2**40 + 3, stream=12, first_row=2**33 + 1, step=7)

every_kind = pytest.mark.parametrize("kind", KINDS)


class Current:
    """The backend under test."""

    device = "cpu"

    @classmethod
    def kernels(cls) -> Any:
        return _native.kernels(cls.device)

    @classmethod
    def is_fast(cls) -> bool:
        """Whether it is no emulation."""
        return cls.device == "cpu" or not cls.kernels().is_emulated


@pytest.fixture(autouse=True)
def on_backend(backend):
    Current.device = backend
    yield
    Current.device = "cpu"


def native_machine(machine: Any, dtype: Any) -> Any:
    parameters = {name: x.astype(dtype) for name, x in machine.items()}
    return RbmMachine.of(**parameters, device=Current.device).native


def problem(kind: str, n_hidden: int, n_visible: int, seed: int = 0, scale: float = 1.0) -> Any:
    """A machine and a base model: weights from N(0, scale^2)."""
    rng = np.random.default_rng(seed)
    machine = {
        "weights": scale * rng.normal(size=(n_hidden, n_visible)),
        "visible_bias": rng.normal(size=n_visible),
        "hidden_bias": rng.normal(size=n_hidden),
    }
    base = {"visible_bias": rng.normal(size=n_visible)}
    if kind == "gaussian":
        machine["sigma"] = rng.uniform(0.5, 1.5, n_visible)
        base["sigma"] = rng.uniform(0.5, 2, n_visible)
    return machine, base


def rounded(parameters: Any, dtype: Any) -> Any:
    """What the kernels see of the parameters, in float64."""
    return {name: x.astype(dtype).astype(np.float64) for name, x in parameters.items()}


def draw_base(n: int, base: Any, seed: int = 1) -> Any:
    rng = np.random.default_rng(seed)
    if "sigma" in base:
        return base["visible_bias"] + base["sigma"] * rng.normal(size=(n, len(base["visible_bias"])))
    return (rng.random((n, len(base["visible_bias"]))) < rbm.sigmoid(base["visible_bias"])).astype(float)


def draw_machine(n: int, machine: Any, seed: int = 1) -> Any:
    """Independent visible states of the machine: h by its enumerated law, v given h."""
    rng = np.random.default_rng(seed)
    H, log_law = reference.hidden_law(machine)
    law = np.exp(log_law - rbm.log_sum_exp(log_law))
    mean = rbm.visible_expectation(H[rng.choice(len(H), n, p=law / law.sum())], machine)
    if "sigma" in machine:
        return mean + machine["sigma"] * rng.normal(size=mean.shape)
    return (rng.random(mean.shape) < mean).astype(float)


def anneal(
    V: Any,
    machine: Any,
    base: Any,
    t: Any,
    draws: Draws = DRAWS,
    *,
    dtype: Any = np.float64,
    n_jobs: int = 1,
    log_weights: Any = None,
) -> Any:
    """Log weights and last states of the native runs."""
    native = native_machine(machine, dtype)
    is_gaussian = "sigma" in machine
    visible = V.astype(dtype) if is_gaussian else gibbs.pack(V)
    log_weights = np.zeros(len(V)) if log_weights is None else log_weights
    Current.kernels().anneal(
        rbm=native,
        base_bias=None if base is None else base["visible_bias"].astype(dtype),
        base_sigma=base["sigma"].astype(dtype) if is_gaussian and base is not None else None,
        t=np.array(t, np.float64),
        visible=None if is_gaussian else visible,
        visible_real=visible if is_gaussian else None,
        seed=draws.seed,
        stream=draws.stream,
        first_row=draws.first_row,
        step=draws.step,
        log_weights=log_weights,
        n_jobs=n_jobs,
    )
    return log_weights, visible if is_gaussian else gibbs.unpack(visible, V.shape[1])


# --- the reference's runs


@every_kind
@pytest.mark.parametrize("shape", [(1, 1), (12, 12), (31, 33), (70, 100)], ids=lambda s: f"{s[0]}x{s[1]}")
@pytest.mark.parametrize("n", [1, 13, 150])
def test_runs_are_those_of_the_reference(n, shape, kind, dtype):
    machine, base = (rounded(p, dtype) for p in problem(kind, *shape, scale=0.5))
    n = n if Current.is_fast() else min(n, 70)
    V = draw_base(n, base).astype(dtype).astype(np.float64)
    is_single = dtype == np.float32
    # Gaussian visibles carry the rounding of one step to the next.
    slack = (1e-3 if kind == "bernoulli" else 1e-2) if is_single else 1e-9
    n_steps = 40 if n < 100 else 12
    for t in (np.linspace(0, 1, n_steps), np.linspace(1, 0, n_steps), np.array([0, 0.3, 0.2, 1.0])):
        t = t.astype(dtype).astype(np.float64)
        found, last = anneal(V, machine, base, t, dtype=dtype)
        expected, V_last = reference.anneal(V, machine, base, t, DRAWS, dtype)
        # A uniform within rounding of its probability takes a run another way: one in 10^7 in float32.
        same = np.abs(found - expected) <= slack
        assert (~same).sum() <= (1 if is_single and n >= 70 else 0)
        if kind == "bernoulli":
            assert_array_equal(last[same], V_last[same])
        else:
            assert_allclose(last[same], V_last[same], atol=1e-3 if is_single else 1e-10)


@every_kind
@pytest.mark.parametrize("span", [1e-4, 0.03, 1.0])
def test_weights_keep_their_precision_at_steps_of_any_size(span, kind, dtype):
    """One step is a difference of two log densities, however close they are."""
    machine, base = (rounded(p, dtype) for p in problem(kind, 40, 30, scale=3.0))
    V = draw_base(50, base).astype(dtype).astype(np.float64)
    for start in (0.0, 1 - span):
        t = np.array([start, start + span]).astype(dtype).astype(np.float64)
        found, last = anneal(V, machine, base, t, dtype=dtype)
        expected = np.zeros(50)
        ends = [reference.log_density(V.astype(np.longdouble), machine, base, s) for s in t]
        expected = (ends[1] - ends[0]).astype(np.float64)
        size = (t[1] - t[0]) * (np.abs(gibbs.hidden_logits(V, machine)).sum(axis=1) + 100)
        assert (np.abs(found - expected) <= 30 * np.finfo(dtype).eps * size + 1e-12).all()
        assert_array_equal(last, V)


@every_kind
def test_large_activations_have_finite_weights(kind, dtype):
    machine, base = (rounded(p, dtype) for p in problem(kind, 20, 30, scale=1e3))
    V = draw_base(20, base)
    found, _ = anneal(V, machine, base, np.linspace(0, 1, 30), dtype=dtype)
    assert np.isfinite(found).all()


@every_kind
def test_no_base_model_is_one_of_zeros_and_ones(kind, dtype):
    machine, base = problem(kind, 12, 20)
    base = {"visible_bias": np.zeros(20), **({"sigma": np.ones(20)} if kind == "gaussian" else {})}
    V, t = draw_base(30, base), np.linspace(0, 1, 20)
    for a, b in zip(anneal(V, machine, None, t, dtype=dtype), anneal(V, machine, base, t, dtype=dtype)):
        assert_array_equal(a, b)


# --- the same bits


@every_kind
def test_bits_do_not_depend_on_threads_or_batching(kind, dtype):
    machine, base = problem(kind, 70, 90, scale=0.3)
    n = 600 if Current.is_fast() else 70
    V, t = draw_base(n, base), np.linspace(0, 1, 8)
    expected = anneal(V, machine, base, t, dtype=dtype)
    for n_jobs in (2, 3):
        for a, b in zip(anneal(V, machine, base, t, dtype=dtype, n_jobs=n_jobs), expected):
            assert_array_equal(a, b)
    for start, stop in ((0, 1), (1, 12), (12, 40), (40, n)):
        draws = Draws(DRAWS.seed, DRAWS.stream, DRAWS.first_row + start, DRAWS.step)
        for a, b in zip(anneal(V[start:stop], machine, base, t, draws, dtype=dtype), expected):
            assert_array_equal(a, b[start:stop])


@every_kind
def test_weights_are_added_to(kind):
    machine, base = problem(kind, 5, 6)
    V, t = draw_base(20, base), np.linspace(0, 1, 9)
    plain, _ = anneal(V, machine, base, t)
    given = np.arange(20.0)
    assert_allclose(anneal(V, machine, base, t, log_weights=given)[0], np.arange(20) + plain, rtol=1e-13)


@every_kind
def test_paths_without_a_step_do_nothing(kind, dtype):
    machine, base = problem(kind, 5, 6)
    V = draw_base(20, base).astype(dtype).astype(np.float64)
    for t in ([], [0.0], [1.0], [0.5, 0.5]):
        weights, last = anneal(V, machine, base, t, dtype=dtype)
        assert_array_equal(weights, 0)
        assert_array_equal(last, V)
    assert anneal(V[:0], machine, base, [0.0, 1.0], dtype=dtype)[0].shape == (0,)


def test_a_constant_temperature_is_gibbs_sampling():
    machine, base = problem("bernoulli", 9, 14)
    V = draw_base(40, base)
    weights, last = anneal(V, machine, base, [1.0] * 5)
    assert_array_equal(weights, 0)
    _, H = gibbs.draw_hidden(V, machine, gibbs.moved(DRAWS, stream=1, step=1))
    for i in (1, 2, 3):
        _, V = gibbs.draw_visible(H, machine, gibbs.moved(DRAWS, step=i))
        _, H = gibbs.draw_hidden(V, machine, gibbs.moved(DRAWS, stream=1, step=i + 1))
    assert_array_equal(last, V)


# --- estimates of log Z


@every_kind
def test_the_exact_log_partition_is_brute_force(kind):
    for seed in range(5):
        machine, _ = problem(kind, 4, 5, seed)
        assert_allclose(rbm.log_sum_exp(reference.hidden_law(machine)[1]), rbm.log_partition(machine))


def estimate(kind: str, seed: int, *, n_runs: int = 100, n_steps: int = 1000, upwards: bool = True) -> Any:
    """Of a random machine of up to 12 + 12 units: log Z estimated, its standard error, and the exact one."""
    n_hidden, n_visible = np.random.default_rng(seed).integers(1, 13, 2)
    machine, base = problem(kind, n_hidden, n_visible, seed)
    t = np.linspace(0, 1, n_steps)
    draws = Draws(seed, 12)
    if upwards:
        weights, _ = anneal(draw_base(n_runs, base, seed + 1000), machine, base, t, draws)
    else:
        weights, _ = anneal(draw_machine(n_runs, machine, seed + 1000), machine, base, t[::-1], draws)
    log_ratio, error = reference.log_mean(weights)
    log_z = reference.log_partition_of_base(machine, base) + (log_ratio if upwards else -log_ratio)
    return log_z, error, rbm.log_sum_exp(reference.hidden_law(machine)[1])


@every_kind
@pytest.mark.parametrize("upwards", [True, False], ids=["upwards", "downwards"])
def test_log_partition_lies_within_three_standard_errors(upwards, kind):
    n_steps = 1000 if upwards else 500
    n_machines, n_runs = 100, 100
    if not Current.is_fast():
        n_steps, n_machines, n_runs = 100, 2, 30
    found = np.array(
        [estimate(kind, s, n_runs=n_runs, n_steps=n_steps, upwards=upwards) for s in range(n_machines)]
    )
    covered = np.abs(found[:, 0] - found[:, 2]) <= 3 * found[:, 1] + 1e-9
    assert covered.sum() >= 0.95 * n_machines
    assert np.median(found[:, 1]) < (0.05 if Current.is_fast() else 0.5)  # else anything would do


@every_kind
def test_upwards_and_downwards_agree(kind):
    size = {"n_runs": 200} if Current.is_fast() else {"n_runs": 30, "n_steps": 100}
    for seed in range(5 if Current.is_fast() else 1):
        up, up_error, _ = estimate(kind, seed, **size)
        down, down_error, _ = estimate(kind, seed, **size, upwards=False)
        assert abs(up - down) <= 4 * np.hypot(up_error, down_error) + 1e-9


@every_kind
def test_the_mean_weight_has_no_bias_on_few_steps(kind):
    """E[w] is the ratio of the two Z whatever the path: the mean of many runs, not of their logarithms."""
    machine, base = problem(kind, 3, 3, 5, scale=0.5)
    n_runs = 50_000 if Current.is_fast() else 2_000
    weights, _ = anneal(draw_base(n_runs, base), machine, base, np.linspace(0, 1, 6))
    log_ratio, error = reference.log_mean(weights)
    exact = rbm.log_sum_exp(reference.hidden_law(machine)[1]) - reference.log_partition_of_base(machine, base)
    assert error < 0.03 * (50_000 / n_runs) ** 0.5
    assert abs(log_ratio - exact) < 4 * error
    assert (
        abs(weights.mean() - exact) > 8 * error * (n_runs / 50_000) ** 0.5
    )  # Jensen: a mean of logarithms is another thing


# --- arguments, interrupts


def test_arguments_that_do_not_fit_are_refused(dtype):
    for kind in KINDS:
        machine, base = problem(kind, 5, 40)
        native = native_machine(machine, dtype)
        bits, real = np.zeros((2, 4), np.uint32), np.zeros((4, 40), dtype)
        good = {
            "rbm": native,
            "base_bias": base["visible_bias"].astype(dtype),
            "base_sigma": np.ones(40, dtype),
            "t": np.linspace(0, 1, 3),
            "visible": bits if kind == "bernoulli" else None,
            "visible_real": real if kind == "gaussian" else None,
            "seed": 0,
            "stream": 12,
            "first_row": 0,
            "step": 0,
            "log_weights": np.zeros(4),
            "n_jobs": 1,
        }
        Current.kernels().anneal(**good)
        states = "visible" if kind == "bernoulli" else "visible_real"
        frozen = good[states].copy()
        frozen.flags.writeable = False
        other = bits if kind == "gaussian" else real
        refused = {
            "base_bias": [np.zeros(39, dtype), np.zeros((40, 1), dtype)],
            "base_sigma": [np.zeros(41, dtype), np.zeros((1, 40), dtype)],
            "t": [np.zeros((1, 3)), np.array(0.5)],
            states: [good[states][:-1], np.zeros_like(good[states], shape=(5, 5)), good[states][0], frozen],
            "stream": [2**16 - 1, 2**16],
        }
        for name, values in refused.items():
            for value in values:
                with pytest.raises(ValueError, match=rf"^{name}: expected"):
                    Current.kernels().anneal(**{**good, name: value})
        for name, value in ((states, None), ("visible" if kind == "gaussian" else "visible_real", other)):
            with pytest.raises(ValueError, match=r"^visible: expected"):
                Current.kernels().anneal(**{**good, name: value})
        for value in (np.zeros((4, 1)), np.zeros(5), np.array(1.0)):
            with pytest.raises(ValueError, match=r"^(log_weights|visible|visible_real): expected"):
                Current.kernels().anneal(**{**good, "log_weights": value})
        for name, value in [
            ("t", np.zeros(3, np.float32)),
            ("log_weights", np.zeros(4, np.float32)),
            ("base_bias", np.zeros(40, np.int64)),
            ("rbm", None),
            ("seed", -1),
            ("step", 2**32),
        ]:
            with pytest.raises((TypeError, ValueError), match=rf"{name}: "):
                Current.kernels().anneal(**{**good, name: value})


@every_kind
def test_ctrl_c_ends_a_long_run(kind):
    machine, base = problem(kind, 100, 120, scale=0.1)
    V, t = draw_base(300 if Current.is_fast() else 3, base), np.linspace(0, 1, 100_000)
    asked, ended = [], threading.Event()

    def interrupt():
        if not ended.wait(0.6):
            asked.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            anneal(V, machine, base, t, n_jobs=2)
        returned = time.perf_counter()
    finally:
        ended.set()
    thread.join()
    assert returned - asked[0] < 0.2
