"""Dense and convolutional networks against the reference and against differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from threadpoolctl import threadpool_info, threadpool_limits

from command_line import devices_of_kernels, hide_cuda
from reference import networks as reference
from thalweg._base import Network
from thalweg.energies import ConvolutionalNetwork, DenseNetwork, dense

ACTIVATIONS = ["identity", "sigmoid", "tanh", "softplus", "relu"]
SMOOTH = ACTIVATIONS[:-1]
SHAPES = [[3, 1], [3, 4, 2], [6, 3, 4, 2], [2, 5, 5, 3], [1, 1, 1]]  # units of every layer, inputs first


def dense_layers(sizes: list[int], activations: list[str], seed: int = 0, dtype: Any = np.float64) -> Any:
    """Every second layer has no bias."""
    rng = np.random.default_rng(seed)
    return [
        (
            rng.normal(size=(above, below)).astype(dtype),
            None if i % 2 else rng.normal(size=above).astype(dtype),
            name,
        )
        for i, (below, above, name) in enumerate(zip(sizes, sizes[1:], activations))
    ]


def dense_of(layers: Any) -> DenseNetwork:
    return DenseNetwork(*map(list, zip(*layers)))


def of_one_activation(sizes: list[int], name: str, last: str = "identity") -> list[str]:
    return [name] * (len(sizes) - 2) + [last]


IMAGE = (2, 9, 8)


def conv_layers(name: str, seed: int = 0, dtype: Any = np.float64) -> Any:
    """Two layers; pooling crops in the first: 9 x 8 -> 7 x 7 -> 3 x 3 -> 2 x 1 -> 2 x 1."""
    rng = np.random.default_rng(seed)
    return [
        (rng.normal(size=(3, 2, 3, 2)).astype(dtype), rng.normal(size=3).astype(dtype), name, 2),
        (rng.normal(size=(4, 3, 2, 3)).astype(dtype), None, name, 1),
    ]


def conv_of(layers: Any, head: Any, **options: Any) -> ConvolutionalNetwork:
    return ConvolutionalNetwork(*map(list, zip(*layers)), dense_of(head), image_shape=IMAGE, **options)


def conv_problem(name: str = "tanh", dtype: Any = np.float64) -> tuple[Any, Any, Any]:
    """The layers, those of the head, and images."""
    X = np.random.default_rng(3).normal(size=(5, *IMAGE)).astype(dtype)
    return conv_layers(name, dtype=dtype), dense_layers([8, 3, 2], [name, "identity"], dtype=dtype), X


def relative(found: Any, expected: Any) -> float:
    """The norm of the difference over the norm."""
    return float(np.linalg.norm(found - expected) / max(np.linalg.norm(expected), 1e-8))


# --- dense: values and gradients


@pytest.mark.parametrize("sizes", SHAPES, ids=str)
@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("last", ["identity", "sigmoid"])
def test_dense_outputs_are_the_reference(sizes: list[int], name: str, last: str, dtype: Any) -> None:
    layers = dense_layers(sizes, of_one_activation(sizes, name, last), dtype=dtype)
    X = np.random.default_rng(1).normal(size=(7, sizes[0])).astype(dtype)
    network = dense_of(layers)
    G, _ = network.forward(X)
    assert isinstance(network, Network)
    assert G.dtype == dtype
    assert G.shape == (7, network.n_outputs) == (7, sizes[-1])
    tolerance = 1e-5 if dtype == np.float32 else 1e-13
    assert_allclose(G, [reference.dense(x, layers) for x in X], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("sizes", SHAPES, ids=str)
@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("last", ["identity", "softplus"])
def test_dense_gradients_are_central_differences(sizes: list[int], name: str, last: str) -> None:
    network = dense_of(dense_layers(sizes, of_one_activation(sizes, name, last)))
    rng = np.random.default_rng(1)
    X, g = rng.normal(size=(4, sizes[0])), rng.normal(size=(4, sizes[-1]))
    _, tape = network.forward(X)
    found, in_X = network.pullback(tape, g, inputs=True)
    check_parameter_gradients(network, X, g, found)
    expected = reference.central_differences(lambda x: (g * network.forward(x)[0]).sum(), X)
    assert relative(in_X, expected) <= 1e-6
    assert_allclose(network.input_gradient(X, g), in_X, rtol=1e-12, atol=1e-12)
    assert network.pullback(tape, g)[1] is None


def check_parameter_gradients(network: Any, X: Any, g: Any, found: dict[str, Any]) -> None:
    assert list(found) == list(network.parameters)
    for name, parameter in network.parameters.items():

        def value(p: Any, name: str = name) -> Any:
            G, _ = network.with_parameters({**network.parameters, name: p}).forward(X)
            return (g * G).sum()

        expected = reference.central_differences(value, parameter)
        assert found[name].shape == parameter.shape
        assert relative(found[name], expected) <= 1e-6, name


def test_one_output_gradient_serves_all_rows() -> None:
    network = DenseNetwork.random(4, 5, 3, random_state=0)
    X, c = np.random.default_rng(0).normal(size=(6, 4)), np.array([1.0, -2.0, 0.5])
    assert_array_equal(network.input_gradient(X, c), network.input_gradient(X, np.tile(c, (6, 1))))


@pytest.mark.parametrize("name", SMOOTH)
def test_slopes_keep_their_digits_where_they_are_small(name: str) -> None:
    # Against derivatives written with exponentials of negative numbers alone.
    u = np.array([-30.0, -5.0, 0.0, 5.0, 30.0])
    e = np.exp(-np.abs(u))
    sigmoid = {
        "identity": np.ones(5),
        "sigmoid": e / (1 + e) ** 2,
        "tanh": 4 * e**2 / (1 + e**2) ** 2,
        "softplus": np.where(u > 0, 1, e) / (1 + e),
    }[name]
    network = DenseNetwork([[[1.0]]], [None], [name])
    assert_allclose(network.input_gradient(u[:, None], [1.0]).ravel(), sigmoid, rtol=1e-14)


def test_relu_has_slope_0_at_0() -> None:
    network = DenseNetwork([[[1.0]]], [None], ["relu"])
    assert network.input_gradient([[-1.0], [0.0], [1.0]], [1.0]).ravel().tolist() == [0, 0, 1]


# --- Laplacian


@pytest.mark.parametrize("sizes", [*SHAPES, [7, 3, 3, 4, 2], [2, 4, 3, 5, 1]], ids=str)
@pytest.mark.parametrize("names", [["tanh"], ["sigmoid", "softplus"], ["identity", "tanh"]], ids="-".join)
@pytest.mark.parametrize("last", ["identity", "softplus"])
def test_laplacian_is_second_differences(sizes: list[int], names: list[str], last: str) -> None:
    hidden = [names[i % len(names)] for i in range(len(sizes) - 2)]
    layers = dense_layers(sizes, [*hidden, last])
    rng = np.random.default_rng(5)
    X = rng.normal(size=(3, sizes[0]))
    network = dense_of(layers)
    found = network.laplacian(X)
    expected = [reference.laplacian(lambda x: reference.dense(x, layers), x) for x in X]
    assert found.shape == (3, sizes[-1])
    assert np.linalg.norm(found - expected) <= 1e-7 * (1 + np.linalg.norm(expected))
    for c in (rng.normal(size=sizes[-1]), rng.normal(size=found.shape)):
        assert_allclose(network.laplacian(X, c), (found * c).sum(axis=1), rtol=1e-12, atol=1e-12)


def test_laplacian_of_the_exercise_is_its_formula() -> None:
    # sum_k S(w_k s(V x) + c_k): sum_k [p_k (W d)_k + p_k (1 - p_k) ||sum_h W_kh q_h v_h||^2]
    rng = np.random.default_rng(0)
    V, W, c, X = (rng.normal(size=s) for s in ((5, 9), (4, 5), 4, (6, 9)))
    network = DenseNetwork([V, W], [None, c], ["sigmoid", "softplus"])
    s = 1 / (1 + np.exp(-X @ V.T))
    q = s * (1 - s)
    d = q * (1 - 2 * s) * (V**2).sum(axis=1)
    p = 1 / (1 + np.exp(-s @ W.T - c))
    gradients = np.einsum("kh,nh,hd->nkd", W, q, V)
    expected = p * (d @ W.T) + p * (1 - p) * (gradients**2).sum(axis=2)
    assert_allclose(network.laplacian(X), expected, rtol=1e-12)
    assert_allclose(network.laplacian(X, np.ones(4)), expected.sum(axis=1), rtol=1e-12)


def test_laplacian_by_blocks_is_that_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    network = DenseNetwork.random(6, (4, 5), 2, "softplus", random_state=0)
    X = np.random.default_rng(0).normal(size=(11, 6))
    whole = network.laplacian(X)
    monkeypatch.setattr("thalweg.energies.dense._TANGENTS", 2 * 4 * 5)  # two rows a block
    assert_allclose(network.laplacian(X), whole, rtol=1e-12, atol=1e-14)


def test_a_linear_network_has_no_laplacian() -> None:
    network = DenseNetwork.random(5, (4, 4), 2, "identity", random_state=0)
    assert_array_equal(network.laplacian(np.ones((3, 5))), np.zeros((3, 2)))


def test_laplacian_refuses_relu() -> None:
    network = DenseNetwork.random(5, 4, 2, "relu", random_state=0)
    with pytest.raises(ValueError, match=r"laplacian: expected activations .* activations\[0\] is 'relu'"):
        network.laplacian(np.ones((3, 5)))


# --- convolutional


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("is_flat", [False, True])
def test_convolutional_outputs_are_the_reference(name: str, is_flat: bool, dtype: Any, backend: str) -> None:
    layers, head, X = conv_problem(name, dtype)
    network = conv_of(layers, head, device=backend)
    assert isinstance(network, Network)
    assert network.map_shapes == [(3, 3, 3), (4, 2, 1)]
    G, _ = network.forward(X.reshape(5, -1) if is_flat else X)
    assert G.dtype == dtype
    assert G.shape == (5, network.n_outputs)
    tolerance = 2e-5 if dtype == np.float32 else 1e-13
    expected = np.array([reference.convolutional(x, layers, head) for x in X])
    assert relative(G, expected) <= tolerance


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_convolutional_gradients_are_central_differences(name: str) -> None:
    layers, head, X = conv_problem(name)
    network = conv_of(layers, head)
    X, g = X[:3].reshape(3, -1), np.random.default_rng(4).normal(size=(3, 2))
    _, tape = network.forward(X)
    found, in_X = network.pullback(tape, g, inputs=True)
    check_parameter_gradients(network, X, g, found)
    expected = reference.central_differences(lambda x: (g * network.forward(x)[0]).sum(), X)
    assert in_X.shape == X.shape
    assert relative(in_X, expected) <= 1e-6
    as_images = network.input_gradient(X.reshape(3, *IMAGE), g)
    assert_allclose(as_images, in_X.reshape(3, *IMAGE), rtol=1e-12, atol=1e-12)
    assert network.pullback(tape, g)[1] is None
    # What pooling leaves out is the last row of 7; the last row of pixels is seen from there alone.
    assert_array_equal(as_images[:, :, -1], 0)


def test_convolutional_gradients_on_the_device(
    dtype: Any, rtol: float, cuda: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers, head, X = conv_problem(dtype=dtype)
    g = np.random.default_rng(4).normal(size=(5, 2))
    on_host, there = conv_of(layers, head), conv_of(layers, head, device="cuda")
    taken = devices_of_kernels(monkeypatch)
    found, in_X = there.pullback(there.forward(X)[1], g, inputs=True)
    assert "cuda" in taken
    expected, expected_in_X = on_host.pullback(on_host.forward(X)[1], g, inputs=True)
    for name, gradient in expected.items():
        assert found[name].dtype == dtype
        assert relative(found[name], gradient) <= rtol, name
    assert relative(in_X, expected_in_X) <= rtol
    assert relative(there.input_gradient(X, g), expected_in_X) <= rtol
    assert there.with_parameters(there.parameters).device == "cuda"
    nothing, tape = there.forward(X[:0])
    assert nothing.shape == (0, 2)
    assert not there.pullback(tape, nothing)[0]["filters_0"].any()


def test_convolutional_parameters_that_overflow_on_the_device_are_named(cuda: Any) -> None:
    layers, head, X = conv_problem("relu", np.float32)
    network = conv_of(layers, head, device="cuda")
    large = {name: 1e30 * p for name, p in network.parameters.items()}
    with pytest.raises(FloatingPointError, match="maps of the network are not finite in float32"):
        network.with_parameters(large).forward(X)
    with pytest.raises(TypeError, match=r"^X: expected an array of NumPy, .* got one there"):
        network.forward(cuda.to_device(X))


def test_a_network_for_a_device_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    hide_cuda(monkeypatch)
    with pytest.raises(RuntimeError, match=r"^device='cuda': .*built without CUDA"):
        ConvolutionalNetwork.random((1, 4, 4), 2, 2, device="cuda")
    with pytest.raises(ValueError, match=r"^device: expected 'cpu' or 'cuda', got 'gpu'"):
        ConvolutionalNetwork.random((1, 4, 4), 2, 2, device="gpu")


# --- both


def networks(dtype: Any = np.float64) -> dict[str, Any]:
    layers, head, _ = conv_problem(dtype=dtype)
    return {
        "dense": dense_of(dense_layers([144, 6, 2], ["tanh", "identity"], dtype=dtype)),
        "conv": conv_of(layers, head),
    }


KINDS = list(networks())


@pytest.mark.parametrize("kind", KINDS)
def test_the_dtype_is_that_of_the_rows(kind: str) -> None:
    single, double = networks(np.float32)[kind], networks()[kind]
    X = np.random.default_rng(0).normal(size=(6, 144)).astype(np.float32)
    g = np.ones((6, 2))
    results = {}
    for name, network in (("single", single), ("double", double)):
        for rows in (X, X.astype(np.float64)):
            G, tape = network.forward(rows)
            gradients, in_X = network.pullback(tape, g, inputs=True)
            made = {"G": G, "X": in_X, **gradients}
            assert {array.dtype for array in made.values()} == {rows.dtype}
            results[name, rows.dtype.name] = made
    # The parameters of one are those of the other, rounded: close in the end.
    for made in results.values():
        for name, expected in results["double", "float64"].items():
            assert relative(made[name], expected) < 1e-5, name
    assert network.forward(np.ones((2, 144), int))[0].dtype == np.float64


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_given_is_written_to(kind: str) -> None:
    network = networks()[kind]
    X, g = np.random.default_rng(0).normal(size=(2, 6, 144))
    g = g[:, :2].copy()
    kept = X.copy(), g.copy(), {name: p.copy() for name, p in network.parameters.items()}
    _, tape = network.forward(X)
    first = network.pullback(tape, g, inputs=True)
    again = network.pullback(tape, g, inputs=True)
    assert_array_equal(X, kept[0])
    assert_array_equal(g, kept[1])
    assert_array_equal(first[1], again[1])
    for name, p in network.parameters.items():
        assert_array_equal(p, kept[2][name])
        assert_array_equal(first[0][name], again[0][name])


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_give_no_outputs(kind: str) -> None:
    network = networks()[kind]
    G, tape = network.forward(np.zeros((0, 144)))
    gradients, in_X = network.pullback(tape, np.zeros((0, 2)), inputs=True)
    assert G.shape == (0, 2)
    assert in_X.shape == (0, 144)
    assert all(not gradient.any() for gradient in gradients.values())


@pytest.mark.parametrize("kind", KINDS)
def test_same_bits_whatever_the_threads(kind: str, dtype: Any) -> None:
    if kind == "dense":
        network = DenseNetwork.random(144, (200, 100), 10, "softplus", random_state=0, dtype=dtype)
    else:
        network = ConvolutionalNetwork.random(
            (1, 12, 12), (8, 12), 3, (1, 2), 50, 10, random_state=0, dtype=dtype
        )
    X = np.random.default_rng(0).normal(size=(700, 144)).astype(dtype)
    results = []
    for threads in (1, 2, 3):
        with threadpool_limits(threads):
            G, tape = network.forward(X)
            gradients, in_X = network.pullback(tape, G, inputs=True)
            made = [G, in_X, *gradients.values()]
            if kind == "dense":
                made.append(network.laplacian(X[:50]))
            results.append([array.tobytes() for array in made])
    assert results[0] == results[1] == results[2]


def test_products_have_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def blas_threads() -> set[int]:
        blas = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
        return {pool["num_threads"] for pool in blas if pool.get("threading_layer") != "openmp"}

    seen: list[set[int]] = []

    def noted(function: Any) -> Any:
        def wrapped(*arguments: Any) -> Any:
            seen.append(blas_threads())
            return function(*arguments)

        return wrapped

    monkeypatch.setattr(dense._Layer, "sums", noted(dense._Layer.sums))
    monkeypatch.setattr(dense, "pulled_back", noted(dense.pulled_back))
    network, X = networks()["dense"], np.ones((3, 144))
    with threadpool_limits(2, user_api="blas"):
        if blas_threads() != {2}:
            pytest.skip("BLAS has no threads here")
        _, tape = network.forward(X)
        network.pullback(tape, np.ones((3, 2)))
        network.input_gradient(X, np.ones(2))
        network.laplacian(X)
    assert len(seen) == 10  # two layers each way
    assert all(threads == {1} for threads in seen)


@pytest.mark.parametrize("kind", KINDS)
def test_strided_read_only_and_other_kinds_of_rows(kind: str) -> None:
    network = networks()[kind]
    X = np.random.default_rng(0).normal(size=(6, 288))[:, ::2]
    X.flags.writeable = False
    assert_array_equal(network.forward(X)[0], network.forward(X.copy())[0])
    half = X.astype(np.float16)
    assert_array_equal(network.forward(half)[0], network.forward(half.astype(float))[0])
    assert network.forward(X > 0)[0].dtype == np.float64
    assert_array_equal(network.forward(X.tolist())[0], network.forward(X)[0])


# --- random parameters


@pytest.mark.parametrize(
    ("activation", "deviation"),
    [("tanh", (2 / 500) ** 0.5), ("sigmoid", 4 * (2 / 500) ** 0.5), ("relu", 0.1), ("softplus", 0.1)],
)
def test_random_weights_are_scaled_for_the_activation(activation: str, deviation: float) -> None:
    network = DenseNetwork.random(200, 300, 100, activation, random_state=3)
    first, last = network.parameters["weights_0"], network.parameters["weights_1"]
    assert_allclose([first.std(), last.std()], [deviation, (2 / 400) ** 0.5], rtol=0.02)
    assert abs(first.mean()) < 4 * deviation / first.size**0.5
    assert network.activations == (activation, "identity")
    assert not network.parameters["bias_0"].any()


def test_random_filters_are_scaled_for_their_fans() -> None:
    network = ConvolutionalNetwork.random((4, 16, 16), (64, 32), 5, (2, 1), (), 10, "relu", random_state=3)
    filters = network.parameters["filters_0"], network.parameters["filters_1"]
    assert_allclose([f.std() for f in filters], [(2 / 100) ** 0.5, (2 / 1600) ** 0.5], rtol=0.03)
    assert network.map_shapes == [(64, 6, 6), (32, 2, 2)]
    # Every layer draws for itself.
    assert not np.intersect1d(filters[0], filters[1]).size


def test_random_parameters_follow_the_seed() -> None:
    def weights(random_state: Any, dtype: Any = np.float64) -> Any:
        made = DenseNetwork.random(5, (4,), 3, random_state=random_state, dtype=dtype)
        return made.parameters["weights_1"]

    assert_array_equal(weights(0), weights(0))
    assert (weights(0) != weights(1)).all()
    assert_array_equal(weights(0, np.float32), weights(0).astype(np.float32))
    generator = np.random.default_rng(0)
    assert (weights(generator) != weights(generator)).all()
    assert (weights(None) != weights(None)).all()


# --- what is refused


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"weights": []}, ValueError, "weights: expected at least one layer, got none"),
        ({"weights": 3}, TypeError, "weights: expected a sequence of arrays"),
        ({"weights": [np.ones((2, 3)), np.ones(2)]}, ValueError, r"weights\[1\]: expected shape"),
        ({"weights": [np.ones((0, 3)), np.ones((1, 2))]}, ValueError, r"weights\[0\]: .* at least one"),
        ({"weights": [np.ones((2, 3)), np.ones((1, 3))]}, ValueError, r"weights\[1\]: expected 2 columns"),
        ({"weights": [np.ones((2, 3)) * 1j, np.ones((1, 2))]}, ValueError, r"weights\[0\]: Complex"),
        ({"biases": [None]}, ValueError, "biases: expected 2 arrays or None, one for each layer, got 1"),
        ({"biases": [np.ones(3), None]}, ValueError, r"biases\[0\]: expected shape \(2,\), got \(3,\)"),
        ({"activations": "tanh"}, TypeError, "activations: expected a sequence of names"),
        ({"activations": ["tanh"]}, ValueError, "activations: expected 2 names"),
        ({"activations": ["tanh", "sine"]}, ValueError, r"activations\[1\]: expected one of .* 'sine'"),
    ],
)
def test_dense_names_what_is_wrong(change: dict[str, Any], error: Any, message: str) -> None:
    arguments = {
        "weights": [np.ones((2, 3)), np.ones((1, 2))],
        "biases": [None, None],
        "activations": ["tanh", "identity"],
    }
    with pytest.raises(error, match=message):
        DenseNetwork(**{**arguments, **change})


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"filters": []}, ValueError, "filters: expected at least one layer"),
        ({"filters": [np.ones((3, 3))]}, ValueError, r"filters\[0\]: expected shape \(n_filters, channels"),
        ({"filters": [np.ones((3, 1, 2, 2))]}, ValueError, r"filters\[0\]: expected 2 channel\(s\)"),
        (
            {"filters": [np.ones((3, 2, 7, 2))]},
            ValueError,
            r"filters\[0\]: .* 7 x 2 does not fit into 6 x 5",
        ),
        ({"biases": [np.ones(2)]}, ValueError, r"biases\[0\]: expected shape \(3,\)"),
        ({"activations": ["step"]}, ValueError, r"activations\[0\]: expected one of"),
        ({"pool_sizes": 2}, TypeError, "pool_sizes: expected a sequence of integers"),
        ({"pool_sizes": [0]}, ValueError, r"pool_sizes\[0\]: expected an integer >= 1"),
        ({"pool_sizes": [5]}, ValueError, r"pool_sizes\[0\]: expected at most 4 for maps of 5 x 4, got 5"),
        ({"image_shape": (6, 5)}, ValueError, "image_shape: expected"),
        ({"image_shape": (2, 6.0, 5)}, TypeError, "image_shape: expected an integer"),
        ({"dense": None}, TypeError, "dense: expected a DenseNetwork, got NoneType"),
        (
            {"dense": DenseNetwork([np.ones((1, 5))], [None], ["identity"])},
            ValueError,
            "dense: expected 12 inputs, 3 x 2 x 2 maps, got 5",
        ),
    ],
)
def test_convolutional_names_what_is_wrong(change: dict[str, Any], error: Any, message: str) -> None:
    arguments = {
        "filters": [np.ones((3, 2, 2, 2))],
        "biases": [None],
        "activations": ["tanh"],
        "pool_sizes": [2],
        "dense": DenseNetwork([np.ones((1, 12))], [None], ["identity"]),
        "image_shape": (2, 6, 5),
    }
    ConvolutionalNetwork(**arguments)
    with pytest.raises(error, match=message):
        ConvolutionalNetwork(**{**arguments, **change})


@pytest.mark.parametrize("kind", KINDS)
def test_methods_name_what_is_wrong(kind: str) -> None:
    network, X = networks()[kind], np.ones((3, 144))
    for wrong in (X[:, 1:], X[0], X[None], np.ones(())):
        with pytest.raises(ValueError, match=r"X: expected shape \(n_samples, "):
            network.forward(wrong)
    with pytest.raises(ValueError, match="X: every element must be finite, but it contains NaN"):
        network.forward(np.where(np.eye(3, 144), np.nan, X))
    with pytest.raises(ValueError, match="X: Complex"):
        network.forward(X * 1j)
    _, tape = network.forward(X)
    with pytest.raises(TypeError, match="tape: expected what `forward` returned, got list"):
        network.pullback([], np.ones((3, 2)))
    for g in (np.ones((3, 1)), np.ones(2), np.ones((2, 2))):
        with pytest.raises(ValueError, match=r"gradient: expected shape \(3, 2\)"):
            network.pullback(tape, g)
    with pytest.raises(ValueError, match="gradient: every element must be finite"):
        network.pullback(tape, np.full((3, 2), np.inf))
    with pytest.raises(ValueError, match=r"gradient: expected shape \(3, 2\)"):
        network.input_gradient(X, np.ones(3))


def test_laplacian_names_what_is_wrong() -> None:
    network, X = networks()["dense"], np.ones((3, 144))
    with pytest.raises(ValueError, match=r"output_weights: expected shape \(2,\) or \(3, 2\), got \(3,\)"):
        network.laplacian(X, np.ones(3))
    with pytest.raises(ValueError, match=r"X: expected shape \(n_samples, 144\)"):
        network.laplacian(X[:, 1:])


@pytest.mark.parametrize("kind", KINDS)
def test_with_parameters_names_what_is_wrong(kind: str) -> None:
    network = networks()[kind]
    own, first = network.parameters, next(iter(network.parameters))
    with pytest.raises(TypeError, match="parameters: expected a dict of arrays by name, got list"):
        network.with_parameters(list(own.values()))
    with pytest.raises(ValueError, match=f"parameters: expected the names {first}, .* got weights_9"):
        network.with_parameters({"weights_9": own[first]})
    for array, error, message in [
        (own[first].tolist(), TypeError, "expected an ndarray of float32 or float64, got list"),
        (own[first].astype(int), TypeError, "expected an ndarray of float32 or float64, got int64"),
        (own[first][:1], ValueError, "expected shape"),
    ]:
        with pytest.raises(error, match=rf"parameters\['{first}'\]: {message}"):
            network.with_parameters({**own, first: array})
    with pytest.raises(ValueError, match=r"expected float32, as .* is, got float64"):
        network.with_parameters({**own, first: own[first].astype(np.float32)})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_nan", [False, True])
def test_parameters_that_overflow_are_named(kind: str, is_nan: bool) -> None:
    network = networks(np.float32)[kind]
    wild = dict.fromkeys(network.parameters, np.nan) if is_nan else {"bias_0": 10.0, "weights_1": 3e38}
    changed = {name: np.full_like(network.parameters[name], value) for name, value in wild.items()}
    network = network.with_parameters({**network.parameters, **changed})
    with pytest.raises(FloatingPointError, match="not finite in float32: its parameters are too large"):
        network.forward(np.zeros((3, 144), np.float32))


def test_gradients_that_overflow_in_filters_are_named() -> None:
    network = ConvolutionalNetwork.random((1, 4, 4), 2, 2, 1, (), 1, random_state=0, dtype=np.float32)
    large = network.with_parameters({name: 100 * p for name, p in network.parameters.items()})
    _, tape = large.forward(np.zeros((1, 16), np.float32))
    with pytest.raises(FloatingPointError, match="maps of the network are not finite in float32"):
        large.pullback(tape, np.full((1, 1), 3e38, np.float32))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"n_inputs": 0}, ValueError, "n_inputs: expected an integer >= 1"),
        ({"n_outputs": 2.5}, TypeError, "n_outputs: expected an integer"),
        ({"hidden_layer_sizes": (3, 0)}, ValueError, "hidden_layer_sizes: expected an integer >= 1"),
        ({"hidden_layer_sizes": "3"}, TypeError, "hidden_layer_sizes: expected an integer"),
        ({"activation": "step"}, ValueError, "activation: expected one of"),
        ({"dtype": np.float16}, ValueError, "dtype: expected float32 or float64"),
        ({"dtype": "float"}, None, ""),
        ({"dtype": "number"}, ValueError, "dtype: expected float32 or float64, got 'number'"),
        ({"random_state": -1}, ValueError, "random_state: expected a non-negative integer"),
    ],
)
def test_random_names_what_is_wrong(change: dict[str, Any], error: Any, message: str) -> None:
    arguments = {"n_inputs": 3, "n_outputs": 2, **change}
    if error is None:
        assert DenseNetwork.random(**arguments).n_outputs == 2
        return
    with pytest.raises(error, match=message):
        DenseNetwork.random(**arguments)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"filter_sizes": (3, 3)}, ValueError, "filter_sizes: expected an integer, or 1 as n_filters are"),
        ({"filter_sizes": 9}, ValueError, r"filter_sizes\[0\]: .* 9 x 9 does not fit into 8 x 8"),
        ({"pool_sizes": 7}, ValueError, r"pool_sizes\[0\]: expected at most 6"),
        ({"n_filters": ()}, ValueError, "filters: expected at least one layer"),
        ({"n_filters": 0}, ValueError, "n_filters: expected an integer >= 1"),
        ({"image_shape": 8}, ValueError, "image_shape: expected"),
    ],
)
def test_random_convolutional_names_what_is_wrong(change: dict[str, Any], error: Any, message: str) -> None:
    arguments = {"image_shape": (1, 8, 8), "n_filters": 4, "filter_sizes": 3, **change}
    with pytest.raises(error, match=message):
        ConvolutionalNetwork.random(**arguments)
