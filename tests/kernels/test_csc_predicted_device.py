"""Codes that an encoder predicts, on the device: against the host's, and their certificates."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from reference import convolutional_autoencoder as reference
from reference.conv import code_shape
from thalweg.energies import PredictiveSparseDecompositionEnergy
from thalweg.inference.proximal_gradient import minimise, minimise_there

BOUNDARIES = ("valid", "same", "full", "circular")
BETA = 0.7

# images, channels, image, filters, filter size. A warp finishes 16 filters at 32 codes of a row, or 16.
SHAPES: dict[str, tuple[int, int, tuple[int, int], int, tuple[int, int]]] = {
    "a pixel": (1, 1, (1, 1), 2, (1, 1)),
    "odd sizes": (2, 1, (9, 7), 5, (5, 3)),
    "many filters": (1, 1, (5, 9), 70, (2, 3)),
    "a long row": (1, 1, (3, 80), 3, (2, 4)),
    "channels": (2, 3, (7, 19), 17, (3, 4)),
    "a signal": (2, 2, (1, 45), 4, (1, 9)),
    "a column": (1, 1, (37, 1), 3, (6, 1)),
    "filters as large as the image": (3, 1, (6, 5), 3, (6, 5)),
}

CASES = [
    *((shape, BOUNDARIES[i % 4]) for i, shape in enumerate(SHAPES)),
    *(("channels", boundary) for boundary in ("same", "full", "circular")),
    *(("a signal", boundary) for boundary in ("valid", "full", "circular")),
]


def problem(shape: str, dtype: Any, is_tanh: bool = False) -> Any:
    """Parameters of the energy, by its order, and images."""
    n, channels, size, n_filters, taps = SHAPES[shape]
    rng = np.random.default_rng(0)
    bank = (n_filters, channels, *taps)
    parameters = [
        rng.normal(size=bank) / np.sqrt(channels * taps[0] * taps[1]),
        rng.normal(size=bank) / 3,
        rng.normal(size=n_filters) / 3,
        rng.uniform(0.5, 1.5, size=n_filters),
        None if is_tanh else rng.uniform(0.2, 0.6, size=n_filters),
    ]
    X = (3 * rng.normal(size=(n, channels, *size))).astype(dtype)
    return [None if each is None else each.astype(dtype) for each in parameters], X


def energies(parameters: Any, boundary: str, **options: Any) -> tuple[Any, Any]:
    """The host's and the device's."""
    given = {"alpha": 0.2, "prediction_weight": BETA, "boundary": boundary, **options}
    return tuple(
        PredictiveSparseDecompositionEnergy(*parameters, **given, device=device) for device in ("cpu", "cuda")
    )


def certificates(Z: Any, parameters: Any, X: Any, boundary: str) -> Any:
    """||g||^2 / (2 beta) of the shortest subgradients g, in float64."""
    arrays = [None if each is None else each.astype(np.float64) for each in (X, Z, *parameters)]
    gradient = reference.code_gradient(*arrays, beta=BETA, boundary=boundary)
    alpha = 0.2
    shortest = np.where(
        Z != 0, gradient + alpha * np.sign(Z), np.sign(gradient) * np.maximum(np.abs(gradient) - alpha, 0)
    )
    return (shortest**2).sum(axis=(1, 2, 3)) / (2 * BETA)


@pytest.mark.parametrize(("shape", "boundary"), CASES)
@pytest.mark.parametrize("is_tanh", [False, True])
def test_predictions_on_the_device(
    shape: str, boundary: str, is_tanh: bool, dtype: Any, rtol: float, cuda: Any
) -> None:
    parameters, X = problem(shape, dtype, is_tanh)
    here, there = energies(parameters, boundary)
    got = there.predict(cuda.to_device(X))
    assert isinstance(got, cuda.DeviceArray)
    assert got.dtype == dtype
    expected = reference.predict(X.astype(np.float64), *parameters[1:], boundary)
    assert_allclose(got.numpy(), expected, rtol=0, atol=rtol * max(1, np.abs(expected).max()))
    assert_allclose(there.predict(X), here.predict(X), rtol=0, atol=rtol * max(1, np.abs(expected).max()))
    assert_allclose(
        there.given(cuda.to_device(X)).value_of_zero(), here.given(X).value_of_zero(), rtol=10 * rtol
    )


@pytest.mark.parametrize(("shape", "boundary"), CASES)
def test_codes_on_the_device_are_the_hosts(
    shape: str, boundary: str, dtype: Any, rtol: float, cuda: Any
) -> None:
    parameters, X = problem(shape, dtype)
    here, there = energies(parameters, boundary)
    on_host, on_device = here.given(X), there.given(cuda.to_device(X))
    start = on_host.prediction
    tolerance = {"rtol": 0, "atol": rtol * max(1, np.abs(start).max())}
    for n_iter in (0, 1, 3):
        expected, _ = minimise(on_host, start, max_iter=n_iter)
        codes, info = minimise(there.given(X), start, max_iter=n_iter)
        assert info is None
        assert isinstance(codes, np.ndarray)
        assert codes.dtype == dtype
        assert_allclose(codes, expected, **tolerance)
    limits = np.full(len(X), 1e-2 * float(on_host.value_of_zero().min()))
    expected, as_expected = minimise(on_host, start, max_iter=11, tolerance=limits)
    kept, as_kept = minimise(on_device, on_device.prediction, max_iter=11, tolerance=limits)
    assert isinstance(kept, cuda.DeviceArray)
    assert as_expected is not None
    assert as_kept is not None
    assert as_kept.n_iter == as_expected.n_iter
    assert_allclose(kept.numpy(), expected, **tolerance)
    found = certificates(kept.numpy(), parameters, X, boundary)
    assert_allclose(as_kept.gap, found, rtol=1e3 * rtol, atol=rtol * float(limits[0]))
    assert (kept.numpy() != 0).any()


@pytest.mark.parametrize("n_iter", [0, 1, 4, 5, 6, 10])
def test_certificates_change_no_code(n_iter: int, dtype: Any, rtol: float, cuda: Any) -> None:
    parameters, X = problem("odd sizes", dtype)
    observed = energies(parameters, "same")[1].given(X)
    start = observed.prediction
    kept = start.copy()
    plain, _ = minimise(observed, start, max_iter=n_iter)
    certified, info = minimise(observed, start, max_iter=n_iter, tolerance=np.zeros(len(X)))
    assert_array_equal(start, kept)
    strided = minimise(observed, np.asfortranarray(start), max_iter=n_iter, tolerance=np.zeros(4)[::2])
    assert_array_equal(strided[0], certified)
    assert info is not None
    assert info.n_iter == n_iter
    assert_allclose(certified, plain, rtol=0, atol=rtol)
    assert_allclose(info.gap, certificates(certified, parameters, X, "same"), rtol=1e3 * rtol)


def test_codes_end_where_every_image_is_certain(cuda: Any) -> None:
    parameters, X = problem("filters as large as the image", np.float64)
    here, there = energies(parameters, "valid")
    X[1] *= 30
    limits = np.full(3, 1e-6)
    results = [minimise(e.given(X), e.predict(X), max_iter=500, tolerance=limits) for e in (here, there)]
    (expected, as_expected), (codes, info) = results
    assert info is not None
    assert as_expected is not None
    assert 0 < info.n_iter == as_expected.n_iter < 500
    assert (info.gap <= limits).all()
    assert_allclose(codes, expected, atol=1e-9)
    best = reference.best_codes(X, *parameters, alpha=0.2, beta=BETA, boundary="valid")
    excess = here.value(X, codes) - here.value(X, best)
    assert (excess <= info.gap + 1e-8).all()
    again = minimise(there.given(X), codes, max_iter=500, tolerance=limits)
    assert again[1] is not None
    assert again[1].n_iter == 0
    assert_array_equal(again[0], codes)


def test_an_image_does_not_depend_on_its_batch(dtype: Any, rtol: float, cuda: Any) -> None:
    parameters, X = problem("odd sizes", dtype)
    there = energies(parameters, "circular")[1]
    batch = np.concatenate([X, X[:1], 2 * X])
    options = {"max_iter": 7, "tolerance": np.zeros(5)}
    whole, of_whole = minimise(there.given(batch), there.predict(batch), **options)
    options["tolerance"] = np.zeros(1)
    for i in (0, 4):
        alone, of_alone = minimise(there.given(batch[i : i + 1]), there.predict(batch[i : i + 1]), **options)
        assert_allclose(whole[i], alone[0], rtol=0, atol=rtol)
        assert of_whole is not None
        assert of_alone is not None
        assert_allclose(of_whole.gap[i], of_alone.gap[0], rtol=1e3 * rtol)
    assert_array_equal(whole[2], whole[0])


@pytest.mark.parametrize("boundary", ["valid", "circular"])
def test_same_bits_twice_and_in_any_order_of_blocks(
    boundary: str, dtype: Any, cuda: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters, X = problem("channels", dtype)
    there = energies(parameters, boundary)[1]

    def everything(order: str) -> list[Any]:
        monkeypatch.setenv("THALWEG_EMULATION_ORDER", order)
        observed = there.given(cuda.to_device(X))
        codes, info = minimise(observed, observed.prediction, max_iter=6, tolerance=np.zeros(2))
        assert info is not None
        return [observed.prediction.numpy(), codes.numpy(), info.gap, observed.value_of_zero()]

    alone = everything("forward")
    for order in ("forward", "reverse"):
        for ours, theirs in zip(alone, everything(order), strict=True):
            assert_array_equal(ours, theirs)


def test_signals_without_a_height(dtype: Any, rtol: float, cuda: Any) -> None:
    parameters, X = problem("a signal", dtype)
    flat = [each[:, :, 0] if each.ndim == 4 else each for each in parameters]
    there, flat_there = energies(parameters, "valid")[1], energies(flat, "valid")[1]
    signals = cuda.to_device(X[:, :, 0])
    assert_allclose(flat_there.predict(signals).numpy(), there.predict(X)[:, :, 0], rtol=0, atol=10 * rtol)
    observed = flat_there.given(signals)
    codes, _ = minimise(observed, observed.prediction, max_iter=4)
    expected, _ = minimise(there.given(X), there.predict(X), max_iter=4)
    assert_allclose(codes.numpy(), expected[:, :, 0], rtol=0, atol=10 * rtol)
    assert_allclose(observed.value(codes), there.value(X, expected), rtol=10 * rtol)


def test_the_energy_of_zero_of_large_images(dtype: Any, rtol: float, cuda: Any) -> None:
    X = np.random.default_rng(0).normal(size=(2, 1, 130, 131)).astype(dtype)  # more than a block sums up
    here, there = energies([np.full((2, 1, 1, 1), 0.5), np.ones((2, 1, 1, 1)), *np.ones((2, 2))], "valid")
    got = there.given(cuda.to_device(X)).value_of_zero()
    assert_allclose(got, here.given(X).value_of_zero(), rtol=rtol)


def test_codes_go_where_they_are_asked_to(dtype: Any, cuda: Any) -> None:
    parameters, X = problem("odd sizes", dtype)
    observed = energies(parameters, "valid")[1].given(cuda.to_device(X))
    start = observed.prediction
    out = cuda.empty(start.shape, dtype)
    for n_iter in (0, 3):
        codes, _ = minimise_there(observed, start, max_iter=n_iter, out=out)
        assert codes is out
        assert_array_equal(out.numpy(), minimise(observed, start, max_iter=n_iter)[0].numpy())
    assert_array_equal(start.numpy(), observed.prediction.numpy())
    with pytest.raises(ValueError, match=r"^out: expected an array of shape"):
        minimise_there(observed, start, max_iter=1, out=cuda.empty(start.shape[1:], dtype))


def test_no_images(cuda: Any) -> None:
    parameters, X = problem("odd sizes", np.float64)
    observed = energies(parameters, "valid")[1].given(cuda.to_device(X[:0]))
    codes, info = minimise(observed, observed.prediction, max_iter=3, tolerance=np.zeros(0))
    assert codes.shape == (0, 5, *code_shape((9, 7), (5, 3), "valid"))
    assert info is not None
    assert info.n_iter == 0
    assert observed.value_of_zero().shape == (0,)


@pytest.mark.parametrize("is_there", [False, True])
def test_codes_that_leave_the_finite_numbers_are_refused(is_there: bool, cuda: Any) -> None:
    parameters, X = problem("odd sizes", np.float32)
    observed = energies(parameters, "valid")[1].given(X)
    start = np.full_like(observed.prediction, 3e38)
    with pytest.raises(ValueError, match=r"^Z: every element must be finite"):
        minimise(observed, cuda.to_device(start) if is_there else start, max_iter=2)


def test_what_the_energy_of_the_device_refuses(cuda: Any) -> None:
    parameters, X = problem("channels", np.float64)
    here, there = energies(parameters, "valid")
    on_device = cuda.to_device(X)
    with pytest.raises(TypeError, match=r"^X: an array on a CUDA device, where device='cpu'"):
        here.predict(on_device)
    with pytest.raises(TypeError, match=r"^Z: an array on a CUDA device, where device='cpu'"):
        here.value(X, on_device)
    with pytest.raises(ValueError, match=r"^device: expected 'cpu' or 'cuda', got 'gpu'"):
        PredictiveSparseDecompositionEnergy(*parameters, device="gpu")
    with pytest.raises(ValueError, match=r"^X: every element must be finite, but it contains NaN"):
        there.predict(cuda.to_device(X * np.nan))
    with pytest.raises(ValueError, match=r"^X: expected 3 channel\(s\)"):
        there.predict(cuda.to_device(X[:, :2].copy()))
    with pytest.raises(ValueError, match=r"^X: expected 4 dimension\(s\)"):
        there.predict(cuda.to_device(X[0]))
    with pytest.raises(ValueError, match=r"^Z: expected shape \(2, 17, 9, 22\)"):
        there.value(on_device, on_device)


def test_the_kernels_check_their_arrays_themselves(cuda: Any) -> None:
    parameters, X = problem("channels", np.float64)
    observed = energies(parameters, "valid")[1].given(X)
    start = observed.prediction

    def run(**changed: Any) -> None:
        given = {
            "images": X,
            "filters": parameters[0],
            "prediction": start,
            "alpha": 0.2,
            "weight": BETA,
            "boundary": cuda.Boundary.valid,
            "lipschitz": 3.0,
            "start": start,
            "tolerance": None,
            "max_iter": 1,
            "codes": np.empty_like(start),
            "gap": np.empty(2),
        }
        cuda.csc_predicted_fista(**{**given, **changed})

    run()
    frozen = np.empty_like(start)
    frozen.flags.writeable = False
    for changed, message in (
        ({"filters": parameters[0][:, :2].copy()}, r"^filters: expected 3 channel\(s\)"),
        ({"prediction": start[:, 1:].copy()}, r"^codes: expected shape \(2, 17, 9, 22\)"),
        ({"start": start[:1].copy()}, r"^start: expected shape"),
        ({"codes": start[:1].copy()}, r"^codes: expected shape"),
        ({"codes": frozen}, r"^codes: expected a writeable array"),
        ({"gap": np.empty(3)}, r"^gap: expected 2 element\(s\)"),
        ({"tolerance": np.empty(1)}, r"^tolerance: expected 2 element\(s\)"),
        ({"max_iter": -1}, r"^max_iter: expected an integer >= 0"),
    ):
        with pytest.raises(ValueError, match=message):
            run(**changed)


@pytest.mark.parametrize("tolerance", [None, np.full(2, -1.0)])
def test_ctrl_c_ends_a_long_run_on_the_device(tolerance: Any, cuda: Any) -> None:
    parameters, X = problem("odd sizes", np.float32)
    observed = energies(parameters, "valid")[1].given(X)
    asked: list[float] = []
    ended = threading.Event()

    def interrupt() -> None:
        if not ended.wait(0.3):
            asked.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            minimise(observed, observed.prediction, max_iter=10**9, tolerance=tolerance)
        returned = time.perf_counter()
    finally:
        ended.set()
    thread.join()
    assert returned - asked[0] < 0.2
    minimise(observed, observed.prediction, max_iter=1)  # all is in order afterwards
