"""The building blocks of CUDA kernels, on a device or on its emulation, and that emulation itself."""

from __future__ import annotations

import numpy as np
import pytest


def exact(x):
    return np.asarray(x, np.float64)


def rounded(x, bits):
    """float32 numbers to so many leading bits, ties as hardware breaks them: tf32 away, bfloat16 to even."""
    raw = np.asarray(x, np.float32).view(np.uint32)
    dropped = np.uint32(24 - bits)
    half = np.uint32(1) << (dropped - np.uint32(1))
    extra = half if bits == 11 else half - np.uint32(1) + (raw >> dropped & np.uint32(1))
    return ((raw + extra) >> dropped << dropped).view(np.float32)


@pytest.mark.parametrize("k", [16, 80])
def test_tensor_core_products_have_the_fragments_of_the_manual(k, rng, cuda):
    kinds = cuda.probes.MmaKind
    a = rng.normal(size=(16, k)).astype(np.float32)
    b = rng.normal(size=(k, 8)).astype(np.float32)
    c = np.empty((16, 8), np.float32)
    size = np.abs(exact(a)) @ np.abs(exact(b))
    for kind, bits in ((kinds.tf32, 11), (kinds.bf16, 8)):
        cuda.probes.mma(kind, a, b, c)
        expected = exact(rounded(a, bits)) @ exact(rounded(b, bits))
        assert np.max(np.abs(c - expected) / size) < 1e-6
        assert np.max(np.abs(c - exact(a) @ exact(b)) / size) > 1e-6
    cuda.probes.mma(kinds.tf32_split, a, b, c)
    assert np.max(np.abs(c - exact(a) @ exact(b)) / size) < 1e-6
    wide = np.empty((16, 8))
    cuda.probes.mma(kinds.real64, exact(a), exact(b), wide)
    np.testing.assert_allclose(wide, exact(a) @ exact(b), rtol=0, atol=1e-14 * size.max())


@pytest.mark.parametrize("n", [1, 5, 1023, 1024, 1030, 70_001])
def test_asynchronous_copies_arrive_and_fill_with_zeros(n, rng, cuda):
    x = rng.normal(size=n).astype(np.float32)
    tiles = cuda.probes.tiles(n, 1024)
    out = np.empty(1024 * tiles, np.float32)
    cuda.probes.async_tiles(x, out)
    padded = np.zeros(1024 * tiles, np.float32)
    padded[:n] = x
    np.testing.assert_array_equal(out.reshape(tiles, 1024), padded.reshape(tiles, 1024)[:, ::-1])


def test_block_sums(rng, dtype, cuda):
    for shape in ((1, 1), (3, 127), (5, 1000)):
        x = rng.normal(size=shape).astype(dtype)
        out = np.empty(shape[0], dtype)
        cuda.probes.row_sums(x, out)
        np.testing.assert_allclose(out, exact(x).sum(axis=1), atol=50 * np.finfo(dtype).eps)
        again = np.empty_like(out)
        cuda.probes.row_sums(x, again)
        np.testing.assert_array_equal(out, again)


def test_a_graph_does_its_work_at_every_launch(cuda):
    x = np.arange(300, dtype=np.float32)
    cuda.probes.graph(x, 4)
    np.testing.assert_array_equal(x, np.arange(300) + 12)
    cuda.probes.graph(x, 0)
    np.testing.assert_array_equal(x, np.arange(300) + 12)


@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_matrix_products_are_of_row_major_matrices(transpose_a, transpose_b, rng, dtype, rtol, cuda):
    batch, m, n, k = 3, 5, 7, 11
    a = rng.normal(size=(batch, k, m) if transpose_a else (batch, m, k)).astype(dtype)
    b = rng.normal(size=(batch, n, k) if transpose_b else (batch, k, n)).astype(dtype)
    c = rng.normal(size=(batch, m, n)).astype(dtype)
    left = a.swapaxes(1, 2) if transpose_a else a
    right = b.swapaxes(1, 2) if transpose_b else b
    expected = 2 * (exact(left) @ exact(right)) - 0.5 * exact(c)
    cuda.probes.product(a, transpose_a, b, transpose_b, 2.0, -0.5, c, False)
    np.testing.assert_allclose(c, expected, atol=20 * rtol)
    c[...] = np.nan  # with beta = 0 it is not read
    cuda.probes.product(a, transpose_a, b, transpose_b, 1.0, 0.0, c, True)
    np.testing.assert_allclose(c, exact(left) @ exact(right), atol=2e-2 if dtype == np.float32 else 1e-12)


# --- what is decided on the host, where no device is needed


@pytest.mark.parametrize("item_bytes", [4, 8])
def test_elementwise_plans_cover_every_element_once(item_bytes, cuda_module):
    pack = 16 // item_bytes
    for past in range(-1, pack):
        for n in (0, 1, 3, 255, 257, 4095, 4096, 4099, 10_000, 2**40 + 1):
            head, tiles, tile, tail, blocks = cuda_module.probes.elementwise_plan(n, item_bytes, past)
            assert tile == 256 * 4 * pack
            assert head + tiles * tile + tail == n
            assert min(head, tiles, tail) >= 0
            if tiles:
                assert past >= 0
                assert (past + head) % pack == 0  # whole packs begin on their boundary
                assert head < pack
                assert tail < tile
                assert blocks == tiles
            else:
                assert 256 * (blocks - 1) < n <= 256 * blocks
            assert tiles > 0 or past < 0 or n < tile + pack


def test_the_module_knows_without_a_device_whether_there_is_one(cuda_module):
    fault = cuda_module.device_fault()
    assert isinstance(fault, str)
    if cuda_module.is_emulated:
        assert fault == ""
    if fault:
        with pytest.raises(RuntimeError, match=r"^CUDA: .* \(cudaError\w+ at cpp/cuda/\w+\.cpp:\d+\)$"):
            cuda_module.device_properties()
        with pytest.raises(RuntimeError, match=r"^CUDA: "):
            cuda_module.empty((3,), np.float32)


# --- the emulation finds what a device would leave undefined


@pytest.fixture
def faulty(cuda):
    if not cuda.is_emulated:
        pytest.skip("backend cuda: a device, which leaves faults undefined")
    return cuda.faulty


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("overrun", "wrote beyond its device memory"),
        ("beyond_shared", "wrote beyond its shared memory"),
        ("lonely_barrier", "waits in vain|has left"),
        ("left_early", "waits in vain|has left"),
        ("part_of_a_mask", "without a full mask"),
    ],
)
def test_faults_of_kernels_are_errors(name, words, faulty, cuda):
    with pytest.raises(RuntimeError, match=words):
        getattr(faulty, name)()
    test_a_graph_does_its_work_at_every_launch(cuda)  # and the next kernel is not harmed


@pytest.mark.parametrize("name", ["no_wait", "writes_nothing"])
def test_what_was_never_written_is_nan(name, faulty):
    assert np.isnan(getattr(faulty, name)())


@pytest.mark.parametrize("order", ["forward", "reverse"])
def test_a_missing_barrier_shows(order, faulty, monkeypatch):
    monkeypatch.setenv("THALWEG_EMULATION_ORDER", order)
    # The first thread reads what the second one has not yet written, unless threads run in reverse.
    assert np.isnan(faulty.no_barrier()) == (order == "forward")
