"""Laws of Gibbs sampling: chains against the enumerated distributions, and what draws do not depend on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from reference import ais, gibbs, rbm
from thalweg._base import Bits, Draws
from thalweg.inference.gibbs import RbmMachine

N_CHAINS = 20_000
# A fault moves probabilities by far more than chance does; chance goes below this once in 10,000 seeds.
LEAST_P = 1e-4

every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])


def parameters(kind: str, n_hidden: int, n_visible: int, seed: int, scale: float = 1.0) -> Any:
    rng = np.random.default_rng(seed)
    made = {
        "weights": scale * rng.normal(size=(n_hidden, n_visible)),
        "visible_bias": scale * rng.normal(size=n_visible),
        "hidden_bias": scale * rng.normal(size=n_hidden),
    }
    return {**made, "sigma": rng.uniform(0.5, 1.5, n_visible)} if kind == "gaussian" else made


def machine_of(exact: Any, dtype: Any, n_jobs: int = 1) -> RbmMachine:
    return RbmMachine.of(**{name: x.astype(dtype) for name, x in exact.items()}, n_jobs=n_jobs)


def base_of(exact: Any, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    base = {"visible_bias": rng.normal(size=len(exact["visible_bias"]))}
    return {**base, "sigma": rng.uniform(0.5, 2, len(base["visible_bias"]))} if "sigma" in exact else base


def tempering(t: float, base: Any, n: int, dtype: Any) -> Any:
    sigma = base["sigma"].astype(dtype) if "sigma" in base else None
    return {"t": np.full(n, t, dtype), "base_bias": base["visible_bias"].astype(dtype), "base_sigma": sigma}


def p_value(counts: Any, law: Any) -> float:
    """Of Pearson's test, the states expected fewer than five times taken together."""
    expected = law / law.sum() * counts.sum()
    rare = expected < 5
    if rare.any():
        counts = np.append(counts[~rare], counts[rare].sum())
        expected = np.append(expected[~rare], expected[rare].sum())
    return float(stats.chisquare(counts, expected).pvalue)


def counts_of(bits: Bits) -> Any:
    """How often each state occurs, in the order of `rbm.states`: a word is its number."""
    return np.bincount(bits.words[0], minlength=2**bits.units)


def zeros(n: int, n_units: int) -> Bits:
    return Bits(np.zeros((-(-n_units // 32), n), np.uint32), n_units)


# --- the law of chains


@every_dtype
@pytest.mark.parametrize("shape", [(3, 3), (2, 5), (5, 1)], ids=str)
def test_chains_reach_the_enumerated_law(shape, dtype):
    exact = parameters("bernoulli", *shape, seed=1)
    hidden = zeros(N_CHAINS, shape[0])
    visible, _ = machine_of(exact, dtype).sweep(hidden, 50, Draws(1, 8))
    law = rbm.joint(exact)
    assert p_value(counts_of(visible), law.sum(axis=1)) > LEAST_P
    assert p_value(counts_of(hidden), law.sum(axis=0)) > LEAST_P
    both = Bits(visible.words | hidden.words << np.uint32(visible.units), visible.units + hidden.units)
    assert p_value(counts_of(both), law.T.ravel()) > LEAST_P


@every_dtype
@pytest.mark.parametrize("t", [0.0, 0.35, 0.8])
def test_tempered_chains_reach_the_enumerated_law(t, dtype):
    exact = parameters("bernoulli", 3, 3, seed=2, scale=1.5)
    base = base_of(exact, 3)
    hidden = zeros(N_CHAINS, 3)
    visible, _ = machine_of(exact, dtype).sweep(
        hidden, 50, Draws(2, 8), **tempering(t, base, N_CHAINS, dtype)
    )
    law = rbm.joint(gibbs.tempered(exact, t, base))
    assert p_value(counts_of(visible), law.sum(axis=1)) > LEAST_P
    assert p_value(counts_of(hidden), law.sum(axis=0)) > LEAST_P
    untempered = rbm.joint(exact)
    assert p_value(counts_of(visible), untempered.sum(axis=1)) < 1e-6  # the test can tell


@every_dtype
@pytest.mark.parametrize("t", [0.3, 1.0])
def test_gaussian_chains_reach_the_enumerated_law(t, dtype):
    exact = parameters("gaussian", 3, 3, seed=4, scale=0.7)
    base = base_of(exact, 5)
    hidden = zeros(N_CHAINS, 3)
    tempered = {} if t == 1 else tempering(t, base, N_CHAINS, dtype)
    visible, _ = machine_of(exact, dtype).sweep(hidden, 50, Draws(3, 8), **tempered)
    machine = gibbs.tempered(exact, t, base)
    H, log_law = ais.hidden_law(machine)
    law = np.exp(log_law - rbm.log_sum_exp(log_law))
    assert p_value(counts_of(hidden), law) > LEAST_P
    # Each visible unit is a mixture of normals, one a hidden state.
    for j in range(3):
        means, deviation = machine["visible_bias"][j] + H @ machine["weights"][:, j], machine["sigma"][j]

        def cumulative(x: Any, means: Any = means, deviation: Any = deviation) -> Any:
            return stats.norm.cdf(np.asarray(x)[..., None], means, deviation) @ law

        assert stats.kstest(visible[:, j].astype(np.float64), cumulative).pvalue > LEAST_P


@every_dtype
def test_one_sweep_is_the_enumerated_transition(dtype):
    """From a fixed start, over many rows and over many steps of one row."""
    exact = parameters("bernoulli", 4, 3, seed=6)
    machine, T = machine_of(exact, dtype), rbm.transition(exact)
    for start in range(8):
        visible = Bits(np.full((1, N_CHAINS), start, np.uint32), 3)
        _, hidden = machine.draw_hidden(visible, Draws(4, 9, first_row=start * N_CHAINS))
        then = machine.draw_visible(hidden, Draws(4, 8, first_row=start * N_CHAINS))
        assert p_value(counts_of(then), T[start]) > LEAST_P
    visible, counts = Bits(np.full((1, 1), 5, np.uint32), 3), np.zeros(8, int)
    for step in range(3000):
        _, hidden = machine.draw_hidden(visible, Draws(4, 9, step=step))
        counts[machine.draw_visible(hidden, Draws(4, 8, step=step)).words[0, 0]] += 1
    assert p_value(counts, T[5]) > LEAST_P


def test_draws_of_neighbouring_keys_are_independent():
    """Of a fair coin: pairs of units, rows, steps, streams and seeds agree half the time."""
    machine = RbmMachine.of(np.zeros((64, 1)), np.zeros(1), np.zeros(64))
    visible = zeros(5000, 1)

    def coins(**by: int) -> Any:
        draws = gibbs.moved(Draws(seed=7, stream=8, step=3), **by)
        return gibbs.unpack(machine.draw_hidden(visible, draws)[1].words, 64)

    first = coins()
    others = [coins(step=1), coins(stream=1), coins(seed=1), coins(seed=2**32), coins(first_row=5000)]
    pairs = [(first, other) for other in others]
    pairs += [(first[:-1], first[1:]), (first[:, :-1], first[:, 1:]), (first[:, :32], first[:, 32:])]
    for a, b in pairs:
        assert abs((a == b).mean() - 0.5) < 5 * 0.5 / np.sqrt(a.size)
    assert_array_equal(coins(first_row=1)[:-1], first[1:])


# --- the reference's own laws, which the tests above lean on


sizes = st.integers(1, 4)
seeds = st.integers(0, 2**32 - 2)
scales = st.sampled_from([0.0, 0.3, 1.0, 3.0])


@given(sizes, sizes, seeds, scales)
def test_sweeps_satisfy_detailed_balance(n_hidden: int, n_visible: int, seed: int, scale: float) -> None:
    exact = parameters("bernoulli", n_hidden, n_visible, seed, scale)
    law, T = rbm.joint(exact).sum(axis=1), rbm.transition(exact)
    flow = law[:, None] * T
    assert_allclose(T.sum(axis=1), 1, atol=1e-12)
    assert_allclose(flow, flow.T, atol=1e-13)
    assert_allclose(law @ T, law, atol=1e-12)


@given(sizes, sizes, seeds, scales, st.floats(0.01, 1.0))
def test_tempered_conditionals_are_those_of_one_machine(
    n_hidden: int, n_visible: int, seed: int, scale: float, t: float
) -> None:
    H = rbm.states(n_hidden)
    for kind in ("bernoulli", "gaussian"):
        exact = parameters(kind, n_hidden, n_visible, seed, scale)
        base = base_of(exact, seed + 1)
        machine = gibbs.tempered(exact, t, base)
        X = np.random.default_rng(seed).normal(size=(5, n_visible))
        assert_allclose(gibbs.hidden_logits(X, exact, t), gibbs.hidden_logits(X, machine), atol=1e-9)
        if kind == "bernoulli":
            V = rbm.states(n_visible)
            assert_allclose(
                gibbs.visible_logits(H, exact, t, base), gibbs.visible_logits(H, machine), atol=1e-10
            )
        else:
            V = X
            for a, b in zip(gibbs.visible_normal(H, exact, t, base), gibbs.visible_normal(H, machine)):
                assert_allclose(a, b, rtol=1e-9, atol=1e-9)
        # base^(1 - t) machine^t, but for a constant
        path = ais.log_density(V, exact, base, t) + rbm.free_energy(V, machine)
        assert_allclose(path, path[0], rtol=1e-8, atol=1e-8)


# --- what bits do not depend on, for any machine


kinds = st.sampled_from(["bernoulli", "gaussian"])
dtypes = st.sampled_from([np.float32, np.float64])
wide = st.integers(1, 80)


@given(kinds, dtypes, wide, wide, st.integers(1, 60), seeds, st.data())
def test_a_chain_does_not_depend_on_its_batch(
    kind: str, dtype: Any, n_hidden: int, n_visible: int, n: int, seed: int, data: Any
) -> None:
    """Nor on threads, nor on where its sweeps are cut."""
    exact = parameters(kind, n_hidden, n_visible, seed)
    rng = np.random.default_rng(seed)
    H = rng.random((n, n_hidden)) < 0.5
    t = rng.random(n).astype(dtype)
    base = base_of(exact, seed + 1)
    bases = tempering(0.5, base, n, dtype)

    def run(rows: slice, cuts: list[int], n_jobs: int) -> list[Any]:
        hidden = Bits(gibbs.pack(H[rows]), n_hidden)
        step = 2**32 - 3
        for k in cuts:
            draws = Draws(seed, 8, 2**32 - 5 + rows.start, step % 2**32)
            chosen = {**bases, "t": t[rows].copy()}
            visible, mean = machine_of(exact, dtype, n_jobs).sweep(hidden, k, draws, **chosen)
            step += k
        return [hidden.words.T, visible.words.T if isinstance(visible, Bits) else visible, mean]

    whole = run(slice(0, n), [4], 1)
    for a, b in zip(run(slice(0, n), data.draw(st.sampled_from([[1, 3], [2, 2], [3, 1]])), 2), whole):
        assert_array_equal(a, b)
    first = data.draw(st.integers(0, n - 1))
    last = data.draw(st.integers(first + 1, n))
    for a, b in zip(run(slice(first, last), [4], 1), whole):
        assert_array_equal(a, b[first:last])


@given(dtypes, wide, wide, st.integers(1, 40), seeds)
def test_real_rows_do_not_depend_on_the_others(
    dtype: Any, n_hidden: int, n_visible: int, n: int, seed: int
) -> None:
    """Rows of any density among rows of any other, binary ones among them."""
    machine = machine_of(parameters("bernoulli", n_hidden, n_visible, seed), dtype)
    rng = np.random.default_rng(seed)
    X = rng.random((n, n_visible)) * (rng.random((n, n_visible)) < rng.random((n, 1)))
    X[rng.random(n) < 0.3] = X[rng.random(n).argmax()] > 0
    X = X.astype(dtype)
    logits = machine.hidden_logits(X)
    for r in rng.permutation(n)[:5]:
        assert_array_equal(machine.hidden_logits(X[r : r + 1])[0], logits[r])
    order = rng.permutation(n)
    assert_array_equal(machine.hidden_logits(X[order]), logits[order])
    binary = (X > 0).astype(dtype)
    assert_array_equal(
        machine.hidden_logits(binary), machine.hidden_logits(Bits(gibbs.pack(binary), n_visible))
    )
