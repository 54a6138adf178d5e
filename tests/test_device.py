"""Arrays on a device: DLPack both ways, what is refused, and functions that take and give them."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from thalweg import _check, _device, _native, ops

KINDS = ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")


class ForeignArray:
    """Another library's array on the device: a capsule of ours behind a door of its own."""

    def __init__(self, array, device=(2, 0), version=(1, 0)):
        self.array = array
        self.device = device
        self.version = version
        self.streams = []

    @classmethod
    def of(cls, x, cuda, **kwargs):
        return cls(cuda.to_device(np.asarray(x)), **kwargs)

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, *, stream=None, **kwargs):
        if self.version is None and kwargs:
            raise TypeError("__dlpack__() got an unexpected keyword argument 'max_version'")
        self.streams.append(stream)
        return self.array.__dlpack__(stream=-1, **kwargs)

    def __array_namespace__(self):
        return ForeignNamespace


class ForeignNamespace:
    @staticmethod
    def from_dlpack(x):
        assert x.__dlpack_device__() == (2, 0)
        x.__dlpack__(stream=1)  # ours lets the default stream wait
        return ForeignArray(x)


# --- DeviceArray


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(), (0,), (7,), (3, 0, 2), (2, 3, 4)])
def test_arrays_go_there_and_back(kind, shape, cuda):
    x = (np.arange(int(np.prod(shape))) % 2).reshape(shape).astype(kind)
    a = cuda.to_device(x)
    assert (a.shape, a.dtype, a.ndim, a.size, a.itemsize, a.nbytes) == (
        x.shape,
        x.dtype,
        x.ndim,
        x.size,
        x.itemsize,
        x.nbytes,
    )
    back = a.numpy()
    assert back.dtype == x.dtype
    np.testing.assert_array_equal(back, x)
    np.testing.assert_array_equal(cuda.from_dlpack(a).numpy(), x)


def test_rows_and_shapes_are_views(rng, cuda):
    x = rng.normal(size=(6, 4))
    a = cuda.to_device(x)
    np.testing.assert_array_equal(a[1:4].numpy(), x[1:4])
    np.testing.assert_array_equal(a[-2:].numpy(), x[-2:])
    np.testing.assert_array_equal(a[4:2].numpy(), x[4:2])
    np.testing.assert_array_equal(a.reshape((-1, 3)).numpy(), x.reshape(-1, 3))
    rows = a[2:5]
    ops.shrink(rows, 0.5, out=rows, device="cuda")
    expected = x.copy()
    expected[2:5] = ops.shrink(x[2:5], 0.5)
    np.testing.assert_array_equal(a.numpy(), expected)
    assert len(a) == 6
    assert repr(a) == "DeviceArray(shape=(6, 4), dtype=float64)"
    separate = a.copy()
    ops.shrink(a, 10.0, out=a, device="cuda")
    assert not a.numpy().any()
    np.testing.assert_array_equal(separate.numpy(), expected)


def test_misuse_of_arrays_is_named(cuda):
    a = cuda.to_device(np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"^rows: expected a slice of step 1, got 2"):
        a[::2]
    with pytest.raises(ValueError, match=r"^shape: expected 12 element\(s\), got shape \(5,\)"):
        a.reshape((5,))
    with pytest.raises(ValueError, match=r"^shape: expected sizes >= 0 and at most one -1"):
        a.reshape((-1, -1))
    with pytest.raises(ValueError, match=r"^shape: expected sizes >= 0"):
        cuda.empty((3, -1), np.float32)
    for dtype in ("c8", "U3", "V2", "O"):
        with pytest.raises(ValueError, match=r"^dtype: expected real numbers"):
            cuda.empty((3,), dtype)
    with pytest.raises(TypeError, match=r"no length"):
        len(a.reshape((12,))[:1].reshape(()))
    with pytest.raises(ValueError, match=r"^dtype: expected float32 or float64"):
        a.astype("i4")


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_are_converted_on_the_device(kind, dtype, rng, cuda):
    x = rng.normal(0, 30, 500)
    if kind[0] in "u?":
        x = np.abs(x)
    x = x.astype(kind)
    np.testing.assert_array_equal(cuda.to_device(x).astype(dtype).numpy(), x.astype(dtype))


def test_half_precision_is_read_exactly(cuda):
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    np.testing.assert_array_equal(cuda.to_device(every).astype("f4").numpy(), every.astype(np.float32))


def test_what_numbers_lie_between_is_found_on_the_device(dtype, cuda):
    def extent(*numbers):
        return cuda.extent(cuda.to_device(np.array([*([1] * 3000), *numbers], dtype)))

    assert extent() == (False, 1, 1)
    assert extent(-2, 7) == (False, -2, 7)
    assert extent(np.nan) == (True, 1, 1)
    assert extent(np.inf) == (False, 1, np.inf)
    assert extent(-np.inf, np.nan) == (True, -np.inf, 1)
    assert cuda.extent(cuda.empty((0,), dtype)) == (False, np.inf, -np.inf)


# --- DLPack


@pytest.mark.parametrize("version", [None, (1, 0)])
def test_foreign_arrays_come_in_without_a_copy(version, rng, dtype, cuda):
    x = rng.normal(size=(5, 3)).astype(dtype)
    foreign = ForeignArray.of(x, cuda, version=version)
    a = cuda.from_dlpack(foreign)
    assert a.is_foreign
    assert a.dtype == dtype
    interface, own = a.__cuda_array_interface__, foreign.array.__cuda_array_interface__
    assert interface["data"] == own["data"]
    assert interface["shape"] == x.shape
    assert interface["typestr"] == x.dtype.str
    assert interface["version"] == 3
    assert interface["strides"] is None
    assert foreign.streams == [interface["stream"]]  # so that their work comes before ours
    np.testing.assert_array_equal(a.numpy(), x)


def test_memory_lives_as_long_as_anybody_holds_it(rng, cuda):
    x = rng.normal(size=1000)
    a = cuda.to_device(x)
    b = cuda.from_dlpack(a)
    capsule = b.__dlpack__(max_version=(1, 0))
    rows = b[10:20]
    del a, b
    gc.collect()
    np.testing.assert_array_equal(rows.numpy(), x[10:20])
    again = cuda.from_dlpack(capsule)
    del rows, capsule
    gc.collect()
    np.testing.assert_array_equal(again.numpy(), x)


def test_capsules_are_used_once(cuda):
    a = cuda.to_device(np.ones(3))
    for version in (None, (1, 0), (0, 8)):
        capsule = a.__dlpack__(max_version=version)
        cuda.from_dlpack(capsule)
        with pytest.raises(ValueError, match=r"^x: expected a DLPack capsule that nobody has used"):
            cuda.from_dlpack(capsule)
    with pytest.raises(TypeError, match=r"^u: expected an array that speaks DLPack, got .*list"):
        cuda.from_dlpack([1.0], "u")


def test_a_copy_is_one(cuda):
    a = cuda.to_device(np.ones(3))
    copied = cuda.from_dlpack(a.__dlpack__(copy=True, max_version=(1, 1)))
    ops.shrink(a, 1, out=a, device="cuda")
    np.testing.assert_array_equal(copied.numpy(), np.ones(3))


def test_the_streams_of_the_protocol(cuda):
    a = cuda.to_device(np.ones(3))
    for stream in (None, -1, 1, 2):
        cuda.from_dlpack(a.__dlpack__(stream=stream))
    for stream in (0, -2):
        with pytest.raises(ValueError, match=r"^stream: "):
            a.__dlpack__(stream=stream)
    with pytest.raises(BufferError, match=r"^dl_device: the array stays on its device"):
        a.__dlpack__(dl_device=(1, 0))
    cuda.from_dlpack(a.__dlpack__(dl_device=(2, 0)))


def test_other_devices_are_refused(cuda):
    a = ForeignArray.of(np.ones(3), cuda, device=(2, 1))
    with pytest.raises(
        ValueError, match=r"^u: expected an array on CUDA device 0, got one on device \(2, 1\)"
    ):
        ops.sigmoid(a, device="cuda")
    with pytest.raises(
        ValueError, match=r"^x: expected an array on CUDA device 0, got one on device \(1, 0\)"
    ):
        cuda.from_dlpack(np.ones(3))
    # A producer that does not say the truth is found out before its memory is read.
    liar = ForeignArray(LyingAboutDevice())
    with pytest.raises(ValueError, match=r"^u: expected an array on CUDA device 0"):
        ops.sigmoid(liar, device="cuda")


class LyingAboutDevice:
    def __dlpack__(self, **kwargs):
        return np.ones(3).__dlpack__()


# --- functions of arrays there


@pytest.mark.parametrize("size", [1, 4096, 70_001])
def test_the_same_kind_comes_out_that_went_in(size, rng, dtype, cuda):
    x = rng.normal(size=size).astype(dtype)
    alpha = rng.uniform(0, 1, size).astype(dtype)
    expected = ops.shrink(x, alpha, device="cuda")
    assert isinstance(expected, np.ndarray)
    on_device = ops.shrink(cuda.to_device(x), cuda.to_device(alpha), device="cuda")
    assert isinstance(on_device, cuda.DeviceArray)
    assert on_device.dtype == dtype
    np.testing.assert_array_equal(on_device.numpy(), expected)
    foreign = ops.shrink(ForeignArray.of(x, cuda), alpha, device="cuda")
    assert isinstance(foreign, ForeignArray)
    np.testing.assert_array_equal(foreign.array.numpy(), expected)
    mixed = ops.shrink(x, ForeignArray.of(alpha, cuda), device="cuda")
    np.testing.assert_array_equal(mixed, expected)


def test_results_go_where_they_are_asked_to(rng, dtype, cuda):
    x = rng.normal(size=(20, 30)).astype(dtype)
    expected = ops.sigmoid(x, device="cuda")
    out = cuda.empty((20, 30), dtype)
    assert ops.sigmoid(cuda.to_device(x), out=out, device="cuda") is out
    np.testing.assert_array_equal(out.numpy(), expected)
    foreign = ForeignArray.of(np.zeros((20, 30), dtype), cuda)
    assert ops.sigmoid(cuda.to_device(x), out=foreign, device="cuda") is foreign
    np.testing.assert_array_equal(foreign.array.numpy(), expected)
    same = cuda.to_device(x)
    ops.sigmoid(same, out=same, device="cuda")
    np.testing.assert_array_equal(same.numpy(), expected)


def test_overlapping_arrays_on_the_device(rng, dtype, cuda):
    x = rng.normal(size=301).astype(dtype)
    for given, target in ((slice(0, 300), slice(1, 301)), (slice(1, 301), slice(0, 300))):
        a = cuda.to_device(x)
        ops.sigmoid(a[given], out=a[target], device="cuda")
        np.testing.assert_array_equal(a[target].numpy(), ops.sigmoid(x[given], device="cuda"))


@pytest.mark.parametrize("offset", [0, 1, 2, 3])
@pytest.mark.parametrize("size", [1, 4095, 4096, 8195])
def test_rows_off_the_vectors_boundaries(offset, size, rng, dtype, cuda):
    x = rng.normal(size=size + 8).astype(dtype)
    weight = np.abs(x)
    a = cuda.to_device(x)
    expected = ops.shrink(x[offset : offset + size], weight[offset : offset + size])
    for other in (offset, 0):
        out = cuda.to_device(np.full(size + 8, np.nan, dtype))
        w = cuda.to_device(np.concatenate([weight[:other], weight[offset : offset + size]]))
        ops.shrink(a[offset : offset + size], w[other:], out=out[offset : offset + size], device="cuda")
        got = out.numpy()
        np.testing.assert_array_equal(got[offset : offset + size], expected)
        assert np.isnan(got[:offset]).all()
        assert np.isnan(got[offset + size :]).all()


@pytest.mark.parametrize("kind", ["i4", "?", "f2"])
def test_other_kinds_become_float64_there(kind, cuda):
    x = np.array([0, 1, 1, 0]).astype(kind)
    got = ops.sigmoid(cuda.to_device(x), device="cuda")
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got.numpy(), ops.sigmoid(x, device="cuda"))


@pytest.mark.parametrize("size", [(4, 1, 6), (70, 1, 901)])
def test_broadcasting_there(size, rng, dtype, cuda):
    z = rng.normal(size=size).astype(dtype)
    n, _, k = size
    for shape in ((k,), (n, 1, 1), (3, 1), (), (n, 3, k), (1, 1, 1)):
        alpha = rng.uniform(0, 1, shape).astype(dtype)
        expected = ops.shrink(z, alpha)
        got = ops.shrink(cuda.to_device(z), cuda.to_device(alpha), device="cuda")
        assert got.shape == expected.shape
        np.testing.assert_array_equal(got.numpy(), expected)


def test_bad_arrays_on_the_device_are_named(cuda):
    x = cuda.to_device(np.ones(3))
    for bad, words in ((np.nan, "NaN"), (np.inf, "infinity"), (-1, "a negative number")):
        alpha = cuda.to_device(np.array([1.0, bad, 1.0]))
        with pytest.raises(ValueError, match=rf"^alpha: expected finite numbers >= 0, got {words}"):
            ops.shrink(x, alpha, device="cuda")
    with pytest.raises(ValueError, match=r"^alpha: expected a shape that broadcasts with z of shape \(3,\)"):
        ops.shrink(x, cuda.to_device(np.ones(4)), device="cuda")
    with pytest.raises(TypeError, match=r"^out: expected an array on the device"):
        ops.sigmoid(x, out=np.empty(3), device="cuda")
    with pytest.raises(TypeError, match=r"^out: expected an ndarray"):
        ops.sigmoid(np.ones(3), out=x, device="cuda")
    for out in (cuda.empty((4,), "f8"), cuda.empty((3,), "f4")):
        with pytest.raises(ValueError, match=r"^out: expected an array of shape \(3,\) and dtype float64"):
            ops.sigmoid(x, out=out, device="cuda")
    with pytest.raises(ValueError, match=r"^X: every element must be finite, but it contains NaN"):
        _device.as_device_array(cuda.to_device(np.array([[1.0, np.nan]])), "X")
    with pytest.raises(ValueError, match=r"^X: expected 2 dimension\(s\), got shape \(3,\)"):
        _device.as_device_array(x, "X", ndim=2)


def test_arrays_on_the_device_are_not_taken_unasked(cuda):
    for x in (cuda.to_device(np.ones(3)), ForeignArray.of(np.ones(3), cuda)):
        with pytest.raises(TypeError, match=r"^u: an array on a CUDA device, .* set device='cuda'"):
            ops.sigmoid(x)
        with pytest.raises(TypeError, match=r"^alpha: an array on a CUDA device"):
            ops.shrink(np.ones(3), x)
        with pytest.raises(TypeError, match=r"^X: an array on a CUDA device"):
            _check.float_array(x, "X")


def test_memory_that_is_not_there_is_a_memory_error(cuda):
    bytes_there = cuda.device_properties()["memory"]
    with pytest.raises(MemoryError, match=r"out of memory: \d+ bytes were asked for, \d+ of \d+ are free"):
        cuda.empty((bytes_there,), np.float64)
    np.testing.assert_array_equal(ops.shrink(np.ones(3), 1, device="cuda"), np.zeros(3))


def test_the_native_door_of_the_device_holds(dtype, cuda):
    x, out = cuda.to_device(np.ones((3, 4), dtype)), cuda.empty((3, 5), dtype)
    with pytest.raises(ValueError, match=r"^x: expected a shape that broadcasts"):
        cuda.apply_smooth(cuda.Smooth.softplus, x, out, 1)
    frozen = np.broadcast_to(dtype.type(0), (3, 4))
    with pytest.raises(ValueError, match=r"read-only"):
        cuda.apply_smooth(cuda.Smooth.softplus, x, frozen, 1)
    with pytest.raises(TypeError):
        cuda.apply_smooth(cuda.Smooth.softplus, x, cuda.empty((3, 4), np.int32), 1)
    with pytest.raises(ValueError, match=r"^q: expected"):
        cuda.apply_prox(cuda.Prox.lq, 2.0, x, x, cuda.empty((3, 4), dtype), 1)


def test_threads_have_streams_of_their_own(rng, cuda):
    x = rng.normal(size=5000)
    a = cuda.to_device(x)
    results = {}

    def work(number):
        b = ops.sigmoid(a, device="cuda")
        for _ in range(20):
            b = ops.shrink(b, 0.01, device="cuda")
        results[number] = b

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = ops.shrink(ops.sigmoid(x, device="cuda"), 0.2)
    for b in results.values():  # by a thread whose stream is another one, after theirs have ended
        np.testing.assert_allclose(b.numpy(), expected, atol=1e-12)


def test_threads_that_ended_leave_no_memory_behind(cuda):
    """A thread that multiplies gets a workspace, of which the emulated device holds 31."""
    one = np.ones((1, 1, 1))

    def work():
        cuda.probes.product(one, False, one, False, 1.0, 0.0, np.empty_like(one), False)
        done.append(True)

    done = []
    for _ in range(40):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert len(done) == 40


def test_ctrl_c_ends_long_work_on_the_device(cuda):
    x = np.zeros(1000, np.float32)
    asked = []

    def interrupt():
        time.sleep(0.3)
        asked.append(time.perf_counter())
        os.kill(os.getpid(), 2)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        cuda.probes.graph(x, 10**9)
    assert time.perf_counter() - asked[0] < 0.2
    thread.join()
    assert not x.any()
    np.testing.assert_array_equal(ops.shrink(np.ones(3), 1, device="cuda"), np.zeros(3))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_is_told(cuda):
    cuda.to_device(np.ones(3))
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads that the child does not have
        child = os.fork()
    if child == 0:
        try:
            cuda.to_device(np.ones(3))
        except RuntimeError as error:
            os.write(writer, str(error).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        assert pipe.read().startswith("CUDA cannot be used in a process forked after its first use")
    os.waitpid(child, 0)


# --- without a device


@pytest.mark.parametrize("value", ["gpu", "CUDA", "cuda:0", None, 0, True, ["cpu"]])
def test_unknown_devices_are_named(value):
    with pytest.raises(ValueError, match=r"^device: expected 'cpu' or 'cuda', got"):
        ops.sigmoid(np.ones(3), device=value)


def test_a_device_that_is_not_there_is_an_error(monkeypatch):
    class Faulty:
        @staticmethod
        def device_fault():
            return "no NVIDIA GPU is visible (no CUDA-capable device is detected)"

    monkeypatch.setitem(sys.modules, "thalweg._cuda", Faulty)
    with pytest.raises(RuntimeError, match=r"^device='cuda': no NVIDIA GPU is visible"):
        ops.sigmoid(np.ones(3), device="cuda")
    monkeypatch.setitem(sys.modules, "thalweg._cuda", None)
    with pytest.raises(RuntimeError, match=r"^device='cuda': .*built without CUDA: pip install \. -C cmake"):
        ops.sigmoid(np.ones(3), device="cuda")


def test_importing_the_package_loads_no_cuda():
    code = "import sys, thalweg, thalweg.ops; sys.exit('thalweg._cuda' in sys.modules)"
    root = Path(_native.__file__).resolve().parents[1]
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(root)}, check=True)


# --- PyTorch and CuPy, where there is a GPU


def library(name, cuda):
    if cuda.is_emulated:
        pytest.skip(f"{name}: backend cuda is emulated, and it needs a GPU")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what others say while they are imported
        found = pytest.importorskip(name, reason=f"{name} is not installed")
    is_there = found.cuda.is_available() if name == "torch" else found.cuda.runtime.getDeviceCount() > 0
    if not is_there:
        pytest.skip(f"{name} sees no GPU")
    return found


@pytest.mark.parametrize("name", ["torch", "cupy"])
def test_arrays_of_real_libraries(name, rng, dtype, cuda):
    lib = library(name, cuda)
    x = rng.normal(size=(1000, 300)).astype(dtype)
    given = lib.from_numpy(x).cuda() if name == "torch" else lib.asarray(x)
    got = ops.sigmoid(given, device="cuda")
    assert type(got) is type(given)
    assert got.dtype == given.dtype
    on_host = got.cpu().numpy() if name == "torch" else lib.asnumpy(got)
    np.testing.assert_array_equal(on_host, ops.sigmoid(x, device="cuda"))
    turned = ops.sigmoid(given.T, device="cuda")  # strided: gathered on the device
    on_host = turned.cpu().numpy() if name == "torch" else lib.asnumpy(turned)
    np.testing.assert_array_equal(on_host, ops.sigmoid(x, device="cuda").T)
    out = lib.empty_like(given)
    assert ops.sigmoid(given, out=out, device="cuda") is out
    assert (out == got).all()
    with pytest.raises(ValueError, match=r"^out: expected an array in C order"):
        ops.sigmoid(given.T, out=lib.empty_like(given).T, device="cuda")
    with pytest.raises(TypeError, match=r"set device='cuda'"):
        ops.sigmoid(given)


def test_results_are_ordered_after_work_of_pytorch(cuda):
    torch = library("torch", cuda)
    for _ in range(20):
        x = torch.randn(4096, 4096, device="cuda")
        big = x @ x  # still under way when we begin
        got = ops.shrink(big, 0.5, device="cuda")
        total = (got - torch.nn.functional.softshrink(big, 0.5)).abs().max()
        del x, big
        assert float(total) < 1e-4
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        y = torch.randn(2048, 2048, device="cuda") @ torch.randn(2048, 2048, device="cuda")
        assert torch.equal(ops.shrink(y, 0.0, device="cuda"), y)
