"""Laws of the restricted Boltzmann machines' energies, for any machine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from reference import rbm as reference
from thalweg.energies import BernoulliRBMEnergy, GaussianRBMEnergy


@dataclass(frozen=True)
class Machine:
    """Parameters that follow from a few numbers."""

    is_gaussian: bool
    n_hidden: int
    n_visible: int
    scale: float
    seed: int

    @cached_property
    def parameters(self) -> dict[str, Any]:
        rng = np.random.default_rng(self.seed)
        made = {
            "weights": self.scale * rng.normal(size=(self.n_hidden, self.n_visible)),
            "visible_bias": self.scale * rng.normal(size=self.n_visible),
            "hidden_bias": self.scale * rng.normal(size=self.n_hidden),
        }
        return {**made, "sigma": rng.uniform(0.5, 2, self.n_visible)} if self.is_gaussian else made

    def energy(self, dtype: Any = np.float64, **changes: Any) -> Any:
        kind = GaussianRBMEnergy if self.is_gaussian else BernoulliRBMEnergy
        return kind(**{name: x.astype(dtype) for name, x in {**self.parameters, **changes}.items()})

    def rows(self, n: int = 6) -> Any:
        rng = np.random.default_rng(self.seed + 1)
        if self.is_gaussian:
            return 2 * rng.normal(size=(n, self.n_visible))
        return (rng.random((n, self.n_visible)) < 0.5).astype(float)


def machines_of(kinds: Any) -> Any:
    return st.builds(
        Machine,
        is_gaussian=kinds,
        n_hidden=st.integers(1, 9),
        n_visible=st.integers(1, 9),
        scale=st.sampled_from([0.0, 0.1, 1.0, 5.0]),
        seed=st.integers(0, 2**32 - 2),
    )


machines = machines_of(st.booleans())
bernoullis = machines_of(st.just(False))
gaussians = machines_of(st.just(True))


def close(found: Any, expected: Any, tolerance: float = 1e-10) -> None:
    assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@given(machines)
def test_log_partition_is_brute_force(machine: Machine) -> None:
    close(machine.energy().log_partition(), reference.log_partition(machine.parameters))


@given(bernoullis)
def test_probabilities_sum_to_one(machine: Machine) -> None:
    energy, V = machine.energy(), reference.states(machine.n_visible)
    close(np.exp(-energy.free_energy(V) - energy.log_partition()).sum(), 1)


@given(machines)
def test_free_energy_sums_the_hidden_states_out(machine: Machine) -> None:
    energy, X, H = machine.energy(), machine.rows(), reference.states(machine.n_hidden)
    pairs = np.stack([energy.value(X, np.tile(h, (len(X), 1))) for h in H], axis=1)
    free = energy.free_energy(X)
    close(free, -reference.log_sum_exp(-pairs, axis=1))
    assert (free <= pairs.min(axis=1) + 1e-9).all()
    assert (free >= pairs.min(axis=1) - machine.n_hidden * np.log(2) - 1e-9).all()


@given(machines)
def test_units_may_come_in_any_order(machine: Machine) -> None:
    rng, p = np.random.default_rng(machine.seed), machine.parameters
    hidden, visible = rng.permutation(machine.n_hidden), rng.permutation(machine.n_visible)
    changes = {
        "weights": p["weights"][hidden][:, visible],
        "visible_bias": p["visible_bias"][visible],
        "hidden_bias": p["hidden_bias"][hidden],
    }
    if machine.is_gaussian:
        changes["sigma"] = p["sigma"][visible]
    one, other, X = machine.energy(), machine.energy(**changes), machine.rows()
    moved = np.ascontiguousarray(X[:, visible])
    close(other.log_partition(), one.log_partition())
    close(other.free_energy(moved), one.free_energy(X))
    close(other.pseudo_log_likelihood(moved), one.pseudo_log_likelihood(X))
    close(other.score_function(moved), one.score_function(X)[:, visible])
    w = rng.normal(size=len(X))
    close(other.dlog_density(moved, w)["weights"], one.dlog_density(X, w)["weights"][hidden][:, visible])


@given(machines, st.data())
def test_a_hidden_unit_may_be_turned_over(machine: Machine, data: Any) -> None:
    # h_k -> 1 - h_k: the visible bias takes what the unit gave while it was on; e(v) moves by a constant.
    k, p = data.draw(st.integers(0, machine.n_hidden - 1)), machine.parameters
    W, b = p["weights"].copy(), p["hidden_bias"].copy()
    W[k], b[k] = -W[k], -b[k]
    moved = {"weights": W, "hidden_bias": b, "visible_bias": p["visible_bias"] + p["weights"][k]}
    X = machine.rows()
    one, other = machine.energy(), machine.energy(**moved)

    def log_density(energy: Any) -> Any:
        return -energy.free_energy(X) - energy.log_partition()

    close(log_density(other), log_density(one), 1e-8)
    close(other.hidden_mean(X)[:, k], 1 - one.hidden_mean(X)[:, k], 1e-8)
    close(other.pseudo_log_likelihood(X), one.pseudo_log_likelihood(X), 1e-8)


@given(machines, machines)
def test_machines_side_by_side_add(first: Machine, second: Machine) -> None:
    second = replace(second, is_gaussian=first.is_gaussian)
    p, q = first.parameters, second.parameters
    both = {name: np.concatenate([p[name], q[name]]) for name in p if name != "weights"}
    corner = np.zeros((first.n_hidden, second.n_visible)), np.zeros((second.n_hidden, first.n_visible))
    W = np.block([[p["weights"], corner[0]], [corner[1], q["weights"]]])
    energy, X, Y = first.energy(weights=W, **both), first.rows(), second.rows()
    XY = np.hstack([X, Y])
    for method in ("free_energy", "pseudo_log_likelihood"):
        close(
            getattr(energy, method)(XY),
            getattr(first.energy(), method)(X) + getattr(second.energy(), method)(Y),
        )
    close(energy.log_partition(), first.energy().log_partition() + second.energy().log_partition())
    if first.is_gaussian:
        alone = first.energy().score_matching(X)[0] + second.energy().score_matching(Y)[0]
        close(energy.score_matching(XY)[0], alone)


@given(machines)
def test_of_one_feature_the_pseudo_likelihood_is_the_likelihood(machine: Machine) -> None:
    machine = replace(machine, n_visible=1)
    energy, X = machine.energy(), machine.rows()
    close(energy.pseudo_log_likelihood(X), -energy.free_energy(X) - energy.log_partition())


@given(machines)
def test_pseudo_log_likelihood_is_the_reference(machine: Machine) -> None:
    X = machine.rows()
    close(machine.energy().pseudo_log_likelihood(X), reference.pseudo_log_likelihood(X, machine.parameters))


@given(gaussians, st.sampled_from([1e-3, 0.3, 20.0]))
def test_the_units_of_the_data_do_not_matter(machine: Machine, unit: float) -> None:
    p, X = machine.parameters, machine.rows()
    changes = {name: unit * p[name] for name in ("weights", "visible_bias", "sigma")}
    one, other = machine.energy(), machine.energy(**changes)
    shift = machine.n_visible * np.log(unit)
    close(other.free_energy(unit * X), one.free_energy(X))
    close(other.log_partition(), one.log_partition() + shift)
    close(other.pseudo_log_likelihood(unit * X), one.pseudo_log_likelihood(X) - shift, 1e-9)
    close(unit * other.score_function(unit * X), one.score_function(X))
    w = np.ones(len(X))
    close(other.dlog_density(unit * X, w)["log_sigma"], one.dlog_density(X, w)["log_sigma"])
    first, second = one.score_matching(X), other.score_matching(unit * X)
    close(second[0] * unit**2, first[0])


@given(machines)
def test_rows_add_in_the_gradient(machine: Machine) -> None:
    energy, X = machine.energy(), machine.rows(7)
    w = np.random.default_rng(machine.seed).normal(size=7)
    whole = energy.dlog_density(X, w)
    parts = energy.dlog_density(X[:3], w[:3]), energy.dlog_density(X[3:], w[3:])
    for name in whole:
        close(whole[name], parts[0][name] + parts[1][name])


@given(machines)
def test_the_mean_gradient_under_the_model_is_that_of_log_partition(machine: Machine) -> None:
    # E[d(-F)] = d log Z: over all visible states, or for one real feature over a fine grid.
    if machine.is_gaussian:
        machine = replace(machine, n_visible=1, scale=min(machine.scale, 1.0))
    V = np.arange(-60, 60, 0.2)[:, None] if machine.is_gaussian else reference.states(machine.n_visible)
    energy = machine.energy()
    law = np.exp(-energy.free_energy(V) - energy.log_partition()) * (0.2 if machine.is_gaussian else 1)
    found = energy.dlog_density(V, law)
    slope = reference.numerical_gradient(reference.log_partition, machine.parameters)
    assert found.keys() == slope.keys()
    for name in found:
        assert_allclose(found[name], slope[name], atol=1e-6, rtol=1e-6, err_msg=name)


@given(bernoullis)
def test_minus_the_free_energy_is_convex(machine: Machine) -> None:
    energy, rng = machine.energy(), np.random.default_rng(machine.seed)
    X, Y = rng.normal(size=(2, 8, machine.n_visible))
    middle = -energy.free_energy((X + Y) / 2)
    ends = -(energy.free_energy(X) + energy.free_energy(Y)) / 2
    assert (middle <= ends + 1e-9 * (1 + np.abs(ends))).all()


@given(machines)
def test_float32_agrees_with_float64(machine: Machine) -> None:
    single = {name: x.astype(np.float32) for name, x in machine.parameters.items()}
    X = machine.rows().astype(np.float32)
    one, other = machine.energy(np.float32, **single), machine.energy(**single)
    # Rounding of the logits is relative to the sizes of what they are sums of.
    precision = single["sigma"] ** -2 if machine.is_gaussian else 1
    size = 1 + (np.abs(X * precision) @ np.abs(single["weights"]).T).sum(axis=1)
    assert (np.abs(one.free_energy(X) - other.free_energy(X.astype(float))) <= 1e-5 * size).all()
    assert one.log_partition() == other.log_partition()
    np.testing.assert_array_equal(one.pseudo_log_likelihood(X), other.pseudo_log_likelihood(X.astype(float)))
