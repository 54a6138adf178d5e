"""Learning the numbers of factor graphs."""

from __future__ import annotations

from itertools import pairwise, product
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from random_graphs import random_loopy, random_tree
from thalweg import FactorGraphModel
from thalweg.energies import FactorGraph
from thalweg.losses import HingeLoss, MarginLoss, NegativeLogLikelihoodLoss
from thalweg.models._energy_learning import LOSSES
from thalweg.models._factor_answers import FactorAnswers
from thalweg.models._factor_inference import GraphInference
from thalweg.persistence import load_model, save_model

OPTIONS: dict[str, Any] = {"damping": 0.3, "max_iter": 2000, "tol": 1e-12, "n_jobs": 1}


def inference_on(graph: FactorGraph, way: str = "auto") -> GraphInference:
    return GraphInference(graph.structure, way, 2**22, OPTIONS, is_quiet=True)


def all_states(graph: FactorGraph) -> np.ndarray:
    return np.array(list(product(*(range(k) for k in graph.structure.cardinalities))))


def context_energy(graph: FactorGraph, context: np.ndarray, states: np.ndarray) -> np.ndarray:
    starts = np.concatenate([[0], np.cumsum(graph.structure.cardinalities)[:-1]])
    return context[starts + states].sum(axis=-1)


def soft_minimum(energies: np.ndarray, beta: float) -> tuple[float, np.ndarray]:
    """The value, and its derivative in each energy."""
    least = energies.min()
    if np.isinf(beta):
        return least, np.eye(len(energies))[energies.argmin()]
    p = np.exp(-beta * (energies - least))
    return least - np.log(p.sum()) / beta, p / p.sum()


def by_brute_force(
    graph: FactorGraph, loss: Any, right: np.ndarray, context: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Losses, and the gradient of their sum in the graph's numbers, from tables of all answers."""
    every = all_states(graph)
    losses, gradient = [], np.zeros(len(graph.energies))
    beta = loss.beta if loss.needs == "all" else inf
    for n, row in enumerate(right):
        energies = graph.energy(every)
        if context is not None:
            energies = energies + context_energy(graph, context[n], every)
        seen = row >= 0
        answers, answer_of = np.unique(every[:, seen], axis=0, return_inverse=True)
        table, shares = np.empty(len(answers)), np.zeros(len(every))
        for a in range(len(answers)):
            is_of = answer_of.reshape(-1) == a
            table[a], shares[is_of] = soft_minimum(energies[is_of], beta)
        column = (answers == row[seen]).all(axis=1).argmax()
        value, of_answers = loss.value_and_gradient(table[None], np.array([column]))
        losses.append(value[0])
        gradient += graph.gradient(every, shares * of_answers[0][answer_of.reshape(-1)])
    return np.array(losses), gradient


def problem(kind: str, seed: int) -> tuple[FactorGraph, np.ndarray, np.ndarray]:
    """A random graph, rows of which one is whole and the others partly observed, and contexts."""
    rng = np.random.default_rng(seed)
    graph = random_tree(rng, 5, forest=True)[0] if kind == "tree" else random_loopy(rng, 5, 7)[0]
    counts = graph.structure.cardinalities
    right = rng.integers(counts, size=(4, 5))
    right[1:][rng.random((3, 5)) < 0.4] = -1
    free = np.flatnonzero((right < 0).all(axis=1))
    right[free, 0] = 0
    return graph, right, rng.normal(size=(4, int(counts.sum())))


@pytest.mark.parametrize("kind", ["tree", "loopy"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("seed", range(3))
def test_losses_and_gradients_are_those_of_a_table_of_all_answers(loss: str, kind: str, seed: int) -> None:
    graph, right, context = problem(kind, seed)
    made: Any = LOSSES[loss](0.8, 1.3)
    inference = inference_on(graph)
    assert inference.is_exact
    for own in (None, context):
        beta = made.beta if made.needs == "all" else inf
        values, _, gradient = FactorAnswers(graph, inference, right, own, beta).loss_and_gradient(made)
        expected, expected_gradient = by_brute_force(graph, made, right, own)
        np.testing.assert_allclose(values, expected, rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("loss", ["hinge", "perceptron"])
def test_smoothed_losses_and_losses_of_ones_own(loss: str) -> None:
    graph, right, context = problem("loopy", 5)
    smooth: Any = LOSSES[loss](0.8, 1.3).smoothed(2.0)  # type: ignore[attr-defined]
    own = MarginLoss(lambda e: (np.maximum(0, 1 + e) ** 2, 2 * np.maximum(0, 1 + e)))
    for made, beta in ((smooth, 2.0), (own, inf)):
        answers = FactorAnswers(graph, inference_on(graph), right, context, beta)
        values, _, gradient = answers.loss_and_gradient(made)
        expected, expected_gradient = by_brute_force(graph, made, right, context)
        np.testing.assert_allclose(values, expected, rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(gradient, expected_gradient, atol=1e-7)


@pytest.mark.parametrize("way", ["flooding", "residual"])
def test_the_gradient_of_bethes_likelihood_is_that_of_its_value(way: str) -> None:
    graph, right, context = problem("loopy", 11)
    graph = graph.with_energies(0.3 * graph.energies)
    inference = inference_on(graph, way)
    loss: Any = NegativeLogLikelihoodLoss(1.2)

    def value(numbers: np.ndarray) -> float:
        changed = graph.with_energies(numbers)
        answers = FactorAnswers(changed, inference, right, context, 1.2)
        return float(answers.loss_and_gradient(loss)[0].sum())

    _, _, gradient = FactorAnswers(graph, inference, right, context, 1.2).loss_and_gradient(loss)
    assert inference.residual == 0
    exact = by_brute_force(graph, loss, right, context)[1]
    assert np.abs(gradient - exact).max() > 1e-6  # Bethe's is another function
    h = 1e-5
    for k in np.flatnonzero(np.repeat(graph.structure.kinds == 0, np.diff(graph.energy_starts()))):
        step = h * np.eye(len(gradient))[k]
        found = (value(graph.energies + step) - value(graph.energies - step)) / (2 * h)
        np.testing.assert_allclose(gradient[k], found, atol=1e-6)


def test_loopy_messages_are_exact_on_a_tree() -> None:
    graph, right, context = problem("tree", 3)
    for name in ("nll", "mee", "hinge"):
        loss: Any = LOSSES[name](0.8, 1.3)
        beta = loss.beta if loss.needs == "all" else inf
        expected, expected_gradient = by_brute_force(graph, loss, right, context)
        answers = FactorAnswers(graph, inference_on(graph, "flooding"), right, context, beta)
        values, _, gradient = answers.loss_and_gradient(loss)
        np.testing.assert_allclose(values, expected, rtol=1e-7, atol=1e-7)
        np.testing.assert_allclose(gradient, expected_gradient, atol=1e-7)


@pytest.mark.parametrize("seed", range(4))
def test_the_offending_answer_is_never_right_and_as_low_as_one_change(seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph, right, context = random_loopy(rng, 6, 12)[0], None, None
    counts = graph.structure.cardinalities
    right, context = rng.integers(counts, size=(5, 6)), rng.normal(size=(5, int(counts.sum())))
    every = all_states(graph)
    best = every[np.argmin(graph.energy(every) + context_energy(graph, context[0], every))]
    right[0] = best
    for way in ("junction_tree", "flooding"):
        answers = FactorAnswers(graph, inference_on(graph, way), right, context, inf)
        states, energy = answers.offending()
        assert (states != right).any(axis=1).all()
        for n in range(5):
            others = every[(every != right[n]).any(axis=1)]
            costs = graph.energy(others) + context_energy(graph, context[n], others)
            is_near = (others != right[n]).sum(axis=1) == 1
            np.testing.assert_allclose(
                energy[n], graph.energy(states[n]) + context_energy(graph, context[n], states[n])
            )
            assert costs.min() - 1e-9 <= energy[n] <= costs[is_near].min() + 1e-9
            if way == "junction_tree":
                np.testing.assert_allclose(energy[n], costs.min())


def ring(n: int, weight: float, field: float) -> tuple[FactorGraph, dict[str, range]]:
    graph = FactorGraph([2] * n)
    bonds = graph.add_potts([[i, (i + 1) % n] for i in range(n)], weight)
    return graph, {"bonds": bonds, "fields": graph.add_unary(range(n), [0.0, field])}


def samples(graph: FactorGraph, n: int, seed: int, x: Any = None) -> np.ndarray:
    model = FactorGraphModel(graph, max_iter=0).fit(np.zeros((1, graph.n_variables), int))
    return model.sample(n, x, random_state=seed)


def test_samples_follow_the_distribution() -> None:
    rng = np.random.default_rng(0)
    graph = random_loopy(rng, 4, 5)[0]
    every = all_states(graph)
    model = FactorGraphModel(graph, max_iter=0).fit(every[:1])
    n = 20000
    codes = {tuple(s): k for k, s in enumerate(every.tolist())}
    x = rng.normal(size=int(graph.structure.cardinalities.sum()))
    for given in (None, [0, -1, -1, -1]):
        Y = model.sample(n, x, given=given, beta=0.7, random_state=1)
        p = np.exp(-0.7 * (graph.energy(every) + context_energy(graph, x, every)))
        p *= 1 if given is None else every[:, 0] == 0
        counts = np.bincount([codes[tuple(s)] for s in Y.tolist()], minlength=len(every))
        p /= p.sum()
        assert np.abs(counts - n * p).max() < 5 * np.sqrt(n * 0.25)
        chi = ((counts - n * p)[p > 0] ** 2 / (n * p[p > 0])).sum()
        assert chi < (p > 0).sum() + 5 * np.sqrt(2 * (p > 0).sum())
    np.testing.assert_array_equal(model.sample(3, random_state=1), model.sample(3, random_state=1))


@pytest.mark.parametrize("inference", ["auto", "flooding"])
def test_parameters_are_recovered_from_samples(inference: str) -> None:
    """Bethe's approximation of a ring of eight is good enough as well."""
    graph, groups = ring(8, 0.9, 0.4)
    Y = samples(graph, 4000, 0)
    start = graph.with_energies(np.zeros(len(graph.energies)))
    learned = np.ones(len(graph.energies), bool)
    learned[8::2] = False  # the energy of state 0 stays 0
    model = FactorGraphModel(
        start, groups=groups, inference=inference, learned=learned, inference_tol=1e-10, random_state=0
    )
    model.fit(Y)
    assert model.inference_ == {"auto": "junction_tree", "flooding": "flooding"}[inference]
    assert len(model.parameters_) == 2
    np.testing.assert_allclose(model.parameters_, [0.9, 0.4], atol=0.06)
    # what the data count is what the model expects
    marginals = model.predict_marginals().reshape(8, 2)[:, 1]
    np.testing.assert_allclose(marginals.mean(), Y.mean(), atol=1e-4)
    assert (model.graph_.energies[8::2] == 0).all()
    assert (np.diff(model.loss_curve_) <= 1e-12).all()


def test_untied_tables_reach_the_frequencies() -> None:
    """On a tree the log-likelihood has its maximum where all pairs' marginals are those of the data."""
    rng = np.random.default_rng(1)
    graph = FactorGraph({"a": 2, "b": 3, "c": 2})
    graph.add_table(["a", "b"], rng.normal(size=(2, 3)))
    graph.add_table(["b", "c"], rng.normal(size=(3, 2)))
    Y = samples(graph, 1000, 2)
    model = FactorGraphModel(graph.with_energies(np.zeros(12)), tol=1e-8).fit(
        {"a": Y[:, 0], "b": Y[:, 1], "c": Y[:, 2]}
    )
    assert model.inference_ == "tree"
    counts = np.zeros((2, 3, 2))
    np.add.at(counts, tuple(Y.T), 1)
    of_pairs = counts.sum(axis=2)[:, :, None] * counts.sum(axis=0)[None] / counts.sum(axis=(0, 2))[:, None]
    every = all_states(graph)
    found = model.predict_proba(every).reshape(2, 3, 2)
    np.testing.assert_allclose(found.sum(), 1, atol=1e-9)
    np.testing.assert_allclose(found, of_pairs / len(Y), atol=1e-6)


def test_what_is_tied_and_what_is_fixed() -> None:
    graph, groups = ring(5, 0.5, 0.3)
    Y = samples(graph, 200, 3)
    tied = FactorGraphModel(graph, groups=groups, learned=["bonds"], max_iter=5, tol=1e-3).fit(Y)
    assert len(tied.parameters_) == 1
    np.testing.assert_array_equal(tied.parameter_of_, [0] * 5 + [-1] * 10)
    np.testing.assert_array_equal(tied.graph_.energies[5:], graph.energies[5:])
    assert len(set(tied.graph_.energies[:5])) == 1
    assert tied.graph_.energies[0] != 0.5
    labels = ["bond"] * 5 + ["zero", "one"] * 5
    by_label = FactorGraphModel(graph, groups=labels, learned="bond", max_iter=5, tol=1e-3).fit(Y)
    np.testing.assert_array_equal(by_label.graph_.energies, tied.graph_.energies)
    free = FactorGraphModel(graph, max_iter=3, tol=1e2).fit(Y)
    assert len(free.parameters_) == 15
    assert graph.energies[0] == 0.5, "the graph that was given is as it was"


def test_penalties_are_those_of_parameters() -> None:
    graph, groups = ring(5, 0.5, 0.3)
    Y = samples(graph, 200, 3)
    wide = FactorGraphModel(graph, groups=groups).fit(Y)
    small = FactorGraphModel(graph, groups=groups, l2=1.0).fit(Y)
    none = FactorGraphModel(graph, groups=groups, l1=100.0).fit(Y)
    assert np.abs(small.parameters_).max() < 0.7 * np.abs(wide.parameters_).max()
    np.testing.assert_array_equal(none.parameters_, 0)
    # a stationary point of the mean loss and the penalty
    answers = FactorAnswers(small.graph_, inference_on(graph), Y, None, 1.0)
    gradient = answers.loss_and_gradient(NegativeLogLikelihoodLoss(1.0))[2] / len(Y)
    of_parameters = np.bincount(small.parameter_of_, gradient)
    np.testing.assert_allclose(of_parameters + small.parameters_, 0, atol=2e-5)


def test_forbidden_states_stay_so() -> None:
    graph = FactorGraph([2, 2, 2])
    graph.add_table([0, 1], [[0.0, 1.0], [0.5, inf]])
    graph.add_truncated_linear([1, 2], 0.5, inf)
    graph.add_or([0, 1], 2)
    Y = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 0, 1]])
    model = FactorGraphModel(graph, l2=1e-3).fit(Y)
    assert np.isinf(model.graph_.energies[[3, 5]]).all()
    assert len(model.parameters_) == 4
    np.testing.assert_allclose(model.predict_proba(Y[:3]), [0.25, 0.25, 0.5], atol=0.02)
    with pytest.raises(ValueError, match="Y: row 1 is forbidden"):
        FactorGraphModel(graph).fit([[0, 0, 0], [1, 1, 1]])
    with pytest.raises(ValueError, match="row of 0 to 1 is forbidden"):
        FactorGraphModel(graph).fit([[0, 0, 0], [1, 1, -1]])


def mixture() -> tuple[FactorGraph, np.ndarray]:
    """Five binary features of a class that is never observed, and rows with missing features."""
    rng = np.random.default_rng(4)
    graph = FactorGraph([2] * 6)
    graph.add_unary(0, [0.0, 0.3])
    graph.add_tables([[0, i] for i in range(1, 6)], 0.1 * rng.normal(size=(5, 2, 2)))
    chance = np.array([0.1, 0.85])[(rng.random(400) < 0.4).astype(int)]
    Y = (rng.random((400, 6)) < chance[:, None]).astype(int)
    Y[:, 0] = -1
    Y[:, 1:][rng.random((400, 5)) < 0.1] = -1
    Y[(Y < 0).all(axis=1), 1] = 0
    return graph, Y


def test_a_mixture_of_unobserved_classes_is_found() -> None:
    graph, Y = mixture()
    model = FactorGraphModel(graph, l2=1e-3, random_state=0).fit(Y)
    p = model.predict_marginals(given=[[0] + [-1] * 5, [1] + [-1] * 5])[:, 3::2]
    low, high = sorted(p.mean(axis=1))
    np.testing.assert_allclose([low, high], [0.1, 0.85], atol=0.06)
    every = all_states(graph)
    P = np.exp(-model.graph_.energy(every))
    for row, found in zip(Y[:5], model.log_likelihood(Y[:5]), strict=True):
        agrees = ((row < 0) | (every == row)).all(axis=1)
        np.testing.assert_allclose(found, np.log(P[agrees].sum() / P.sum()))


@pytest.mark.filterwarnings("ignore:loss. .* has a margin of zero:UserWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("loss", [n for n in LOSSES if n not in ("energy", "square_exponential")])
def test_losses_learn_a_chain_in_contexts(loss: str) -> None:
    """Labels of a chain, seen through noise: the couplings must bring more than the contexts alone.

    The square-exponential loss is for energies that are not negative, which these are.
    """
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.integers(2, size=(60, 4)), 5, axis=1)
    X = (np.eye(2)[labels] * -1.0 + 0.9 * rng.normal(size=(60, 20, 2))).reshape(60, -1)
    graph = FactorGraph([2] * 20)
    graph.add_tables(list(pairwise(range(20))), np.zeros((2, 2)))
    model = FactorGraphModel(
        graph,
        groups=["aa", "ab", "ba", "bb"] * 19,  # one table of four numbers, which all steps share
        loss=loss,
        beta=5.0 if loss == "mee" else 1.0,  # softer, whole chains that are right are too rare to pull
        l2=1e-2 if loss == "square_square" else 0.0,
        optimizer="adam",
        learning_rate=0.1,
        max_iter=15,
        random_state=0,
    ).fit(labels[:40], X[:40])
    assert len(model.parameters_) == 4
    alone = (X[40:].reshape(20, 20, 2).argmin(axis=2) != labels[40:]).mean()
    error = (model.predict(X[40:]) != labels[40:]).mean()
    assert error < 0.75 * alone


def test_the_questions() -> None:
    rng = np.random.default_rng(7)
    graph = random_loopy(rng, 4, 6)[0]
    every = all_states(graph)
    contexts = rng.normal(size=(3, int(graph.structure.cardinalities.sum())))
    model = FactorGraphModel(graph, max_iter=0, beta=0.8).fit(every[:1])
    table = np.stack([graph.energy(every) + context_energy(graph, x, every) for x in contexts])
    np.testing.assert_array_equal(model.predict(contexts), every[table.argmin(axis=1)])
    np.testing.assert_array_equal(model.predict(), every[[graph.energy(every).argmin()]])
    np.testing.assert_allclose(model.energies(every[[4, 1, 2]], contexts), table[range(3), [4, 1, 2]])
    np.testing.assert_array_equal(model.rank(every, contexts[1]), table[1].argsort(kind="stable"))
    p = np.exp(-0.8 * table)
    p /= p.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict_proba(every[[4, 1, 2]], contexts), p[range(3), [4, 1, 2]])
    q = np.exp(-0.8 * table[:, 3])
    np.testing.assert_allclose(model.input_distribution(contexts, every[3]), q / q.sum())
    np.testing.assert_array_equal(model.rank_inputs(contexts, every[3]), table[:, 3].argsort())
    np.testing.assert_allclose(model.score(every[[0, 1, 2]], contexts), np.log(p[range(3), range(3)]).mean())
    known = every[5].copy()
    known[1:3] = -1
    agrees = ((known < 0) | (every == known)).all(axis=1)
    np.testing.assert_array_equal(
        model.predict(contexts[:1], [known])[0], every[agrees][table[0, agrees].argmin()]
    )
    marginals = model.predict_marginals(contexts[:1], [known])
    own = p[0] * agrees / p[0, agrees].sum()
    starts = np.concatenate([[0], np.cumsum(graph.structure.cardinalities)])
    for v, (first, last) in enumerate(pairwise(starts)):
        expected = np.bincount(every[:, v], own, last - first)
        np.testing.assert_allclose(marginals[0, first:last], expected, atol=1e-12)
    np.testing.assert_allclose(model.energies([known], contexts[:1]), table[0, agrees].min())


def test_files_clones_and_float32(tmp_path: Path) -> None:
    graph = FactorGraph({"a": 2, "b": 3, "c": 2}, dtype=np.float32)
    graph.add_table(["a", "b"], [[0.0, 0.3, 0.1], [0.2, 0.0, inf]])
    bonds = [*graph.add_potts(["b", "c"], 0.2), *graph.add_potts(["a", "c"], 0.2)]
    Y = np.random.default_rng(0).integers(2, size=(50, 3))
    model = FactorGraphModel(graph, groups={"bonds": bonds}, l2=1e-2, tol=1e-3, random_state=0)
    model = clone(model).fit(Y)
    assert model.parameters_.dtype == model.graph_.energies.dtype == np.float32
    save_model(model, tmp_path / "graph.safetensors")
    loaded = load_model(tmp_path / "graph.safetensors")
    np.testing.assert_array_equal(loaded.graph_.energies, model.graph_.energies)
    np.testing.assert_array_equal(loaded.graph.energies, graph.energies)
    assert loaded.graph.names == ("a", "b", "c")
    assert loaded.inference_ == model.inference_
    np.testing.assert_array_equal(loaded.energies(Y), model.energies(Y))
    np.testing.assert_array_equal(loaded.fit(Y).graph_.energies, model.graph_.energies)
    save_model(clone(model).set_params(groups={"bonds": range(1, 3)}).fit(Y), tmp_path / "range.safetensors")
    assert load_model(tmp_path / "range.safetensors").groups == {"bonds": [1, 2]}


def test_the_way_of_inference_is_said() -> None:
    graph = FactorGraph([2] * 36)
    numbers = np.arange(36).reshape(6, 6)
    graph.add_potts(np.stack([numbers[:, :-1].ravel(), numbers[:, 1:].ravel()], axis=1), 0.1)
    graph.add_potts(np.stack([numbers[:-1].ravel(), numbers[1:].ravel()], axis=1), 0.1)
    Y = np.random.default_rng(0).integers(2, size=(10, 36))
    assert FactorGraphModel(graph, max_iter=0).fit(Y).inference_ == "junction_tree"
    assert FactorGraphModel(graph, max_iter=0, max_bytes=1000).fit(Y).inference_ == "flooding"
    with pytest.raises(ValueError, match="junction tree needs"):
        FactorGraphModel(graph, max_iter=0, max_bytes=1000).fit(Y).sample(2, random_state=0)
    with pytest.raises(ValueError, match="junction tree needs"):
        FactorGraphModel(graph, inference="junction_tree", max_bytes=1000).fit(Y)
    with pytest.raises(ValueError, match="has a loop"):
        FactorGraphModel(graph, inference="tree").fit(Y)
    graph.add_unary(range(36), np.random.default_rng(1).normal(size=(36, 2)))
    with pytest.warns(ConvergenceWarning, match="belief propagation did not converge"):
        FactorGraphModel(graph, inference="flooding", inference_max_iter=1, max_iter=1, tol=1e9).fit(Y)


def test_a_poor_approximation_is_warned_of() -> None:
    """Strong couplings: messages rest where both states are alike, and Bethe's sum misses the rest."""
    graph = FactorGraph([2] * 16)
    numbers = np.arange(16).reshape(4, 4)
    graph.add_potts(np.stack([numbers[:, :-1].ravel(), numbers[:, 1:].ravel()], axis=1), 3.0)
    graph.add_potts(np.stack([numbers[:-1].ravel(), numbers[1:].ravel()], axis=1), 3.0)
    Y = np.zeros((2, 16), int)
    poor = FactorGraphModel(graph, inference="flooding", max_iter=0).fit(Y)
    with pytest.warns(UserWarning, match="poor approximation"):
        assert poor.predict_proba(Y)[0] > 1
    exact = FactorGraphModel(graph, max_iter=0).fit(Y)
    np.testing.assert_allclose(exact.predict_proba(Y), 0.5, atol=0.02)
    # the gradient is there all the same: neighbours that never differ make it dearer to differ
    learnt = FactorGraphModel(graph, inference="flooding", max_iter=1, tol=1e9).fit(Y)
    answers = FactorAnswers(learnt.graph_, inference_on(graph, "flooding"), Y, None, 1.0)
    assert (answers.loss_and_gradient(NegativeLogLikelihoodLoss(1.0))[2] < 0).all()


def test_learning_does_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, groups = ring(5, 0.5, 0.3)
    Y = samples(graph, 50, 3)
    whole = FactorGraphModel(graph, groups=groups).fit(Y)
    monkeypatch.setattr(FactorGraphModel, "_block_rows", lambda self: 7)
    parts = FactorGraphModel(graph, groups=groups).fit(Y)
    np.testing.assert_allclose(parts.parameters_, whole.parameters_, atol=1e-6)


GRAPH, GROUPS = ring(4, 0.5, 0.3)
GOOD = np.zeros((3, 4), int)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": [0] * 3}, "groups: expected a label of each of the graph's 12 numbers"),
        ({"groups": [0] * 12}, "groups: numbers 0 and 4 of the graph are one parameter, but start from 0.5"),
        ({"groups": {"a": [9]}}, "groups: 'a': 9 is no factor of this graph, which has 8"),
        (
            {"groups": {"a": [0, 4]}},
            "groups: 'a': expected factors with the same count of numbers, got 1 to 2",
        ),
        ({"groups": {"a": [0, 1], "b": [1, 2]}}, "groups: 'b': a factor is in two groups"),
        ({"groups": {"a": []}}, "groups: 'a': expected the numbers of one factor or more"),
        ({"learned": ["a"], "groups": GROUPS}, "learned: 'a' is no name of `groups`"),
        ({"learned": [77]}, "learned: 77 is no label"),
        ({"learned": [True, False]}, r"learned: expected shape \(12,\)"),
        ({"learned": np.zeros(12, bool)}, "learned: no number of the graph is left"),
        ({"learned": np.arange(12) == 0, "groups": GROUPS}, "learned: numbers 0 and 1 of the graph are one"),
        ({"inference": "exact"}, "inference: expected one of"),
        ({"damping": 1.0}, "damping: expected"),
        ({"max_bytes": 0}, "max_bytes: expected"),
        ({"inference_max_iter": 0}, "inference_max_iter: expected"),
        ({"inference_tol": -1.0}, "inference_tol: expected"),
        ({"loss": "no"}, "loss: expected one of"),
        ({"loss": "energy"}, "fall without end"),
        ({"beta": 0.0}, "beta: expected"),
    ],
)
def test_bad_parameters(options: dict[str, Any], message: str) -> None:
    model = FactorGraphModel(GRAPH, **options)
    with pytest.raises(ValueError, match=message):
        model.fit(GOOD)
    assert not hasattr(model, "graph_")


@pytest.mark.parametrize(
    ("Y", "X", "message"),
    [
        (GOOD[:, :3], None, r"Y: expected shape \(n_samples, 4\)"),
        (GOOD[0], None, r"Y: expected shape \(n_samples, 4\)"),
        (GOOD[:0], None, r"Y: expected shape \(n_samples, 4\)"),
        (GOOD + 2, None, "Y: variable 0 has the states 0 to 1, and -1 where it was not observed, got 2"),
        (GOOD - 2, None, "got -2"),
        (GOOD - 1, None, "Y: row 0 observes no variable"),
        ({9: [0]}, None, "Y: 9 is no variable"),
        ({0: [0, 1], 1: [0]}, None, r"Y: variable 1: expected shape \(2,\)"),
        (GOOD, np.zeros((3, 7)), r"X: expected shape \(n_samples, 8\)"),
        (GOOD, np.zeros((2, 8)), "Y: expected 2 rows, as X has, got 3"),
        (GOOD, np.full((3, 8), np.nan), "X: an energy must be finite"),
        (GOOD, np.full((3, 8), inf), "Y: row 0 is forbidden"),
    ],
)
def test_bad_samples(Y: Any, X: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FactorGraphModel(GRAPH, groups=GROUPS).fit(Y, X)


def test_bad_kinds_and_questions() -> None:
    with pytest.raises(TypeError, match="graph: expected a FactorGraph"):
        FactorGraphModel(5).fit(GOOD)
    with pytest.raises(TypeError, match="Y: expected whole numbers"):
        FactorGraphModel(GRAPH).fit(GOOD + 0.5)
    with pytest.raises(TypeError, match="groups: expected whole numbers or strings"):
        FactorGraphModel(GRAPH, groups=np.zeros(12)).fit(GOOD)
    with pytest.raises(TypeError, match="loss"):
        FactorGraphModel(GRAPH, loss=HingeLoss).fit(GOOD)
    with pytest.raises(NotFittedError):
        FactorGraphModel(GRAPH).predict()
    model = FactorGraphModel(GRAPH, max_iter=0).fit(GOOD)
    with pytest.raises(ValueError, match="beta"):
        model.predict_marginals(beta=inf)
    with pytest.raises(ValueError, match=r"x: expected shape \(8,\)"):
        model.rank(GOOD, np.zeros(7))
    with pytest.raises(ValueError, match="given: expected 2 rows"):
        model.predict(np.zeros((2, 8)), GOOD)
    with pytest.raises(ValueError, match="n_samples"):
        model.sample(0)
    with pytest.warns(UserWarning, match="margin of zero"):
        FactorGraphModel(GRAPH, loss="perceptron", max_iter=0).fit(GOOD)
