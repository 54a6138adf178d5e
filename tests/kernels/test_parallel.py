"""Ctrl-C, forks and concurrent calls: what every kernel that runs on several threads has to bear."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from thalweg import ops
from thalweg.inference.csc import ConvolutionalLassoSolver
from thalweg.inference.lasso import LassoSolver
from thalweg.inference.omp import omp_encode
from thalweg.optim import accumulate_statistics, update_dictionary


def problem(n_samples=400, n_components=64, n_features=32):
    rng = np.random.default_rng(5)
    D = rng.standard_normal((n_components, n_features))
    return rng.standard_normal((n_samples, n_features)), D / np.linalg.norm(D, axis=1, keepdims=True)


def long_fista():
    X, D = problem(5_000, 512, 256)
    LassoSolver(D, solver="fista", tol=0, max_iter=100_000, n_jobs=2).encode(X, 0.1)


def long_active_set():
    X, D = problem(20_000, 1024, 256)
    LassoSolver(D, tol=1e-6, n_jobs=2).encode(X, 0.1)


def long_coordinate_descent():
    X, D = problem(5_000, 512, 256)
    LassoSolver(D, solver="cd", tol=1e-14, max_iter=10**8, n_jobs=2).encode(X, 1e-3)


def long_omp():
    X, D = problem(20_000, 1024, 256)
    omp_encode(X, D, n_nonzero_coefs=128, n_jobs=2)


def long_omp_of_one_row():
    D = np.random.default_rng(7).standard_normal((3000, 2000))
    X = np.random.default_rng(8).standard_normal((1, 2000))
    omp_encode(X, D / np.linalg.norm(D, axis=1, keepdims=True), n_nonzero_coefs=1500)


def long_dictionary_update():
    X, D = problem(2_000, 1500, 700)
    Z = np.where(np.random.default_rng(6).uniform(size=(len(X), len(D))) < 0.2, 1.0, 0.0)
    A, B = np.zeros((len(D), len(D))), np.zeros(D.shape)
    accumulate_statistics(Z, X, A, B)
    for _ in range(10_000):
        update_dictionary(D, A, B, n_jobs=2)


LARGE_FILTERS = (96, 96)


def images_and_filters():
    rng = np.random.default_rng(9)
    return rng.standard_normal((2, 1, 300, 300)), rng.standard_normal((64, 1, *LARGE_FILTERS))


def long_correlation():
    X, filters = images_and_filters()
    ops.correlate(X, filters, boundary="same", n_jobs=2)


def long_convolution():
    Z, filters = images_and_filters()
    ops.convolve(np.repeat(Z, 64, axis=1), filters, boundary="same", n_jobs=2)


def long_filter_gradient():
    X, _ = images_and_filters()
    ops.filter_gradient(np.repeat(X, 64, axis=1), X, LARGE_FILTERS, boundary="same", n_jobs=2)


def image_and_filters():
    rng = np.random.default_rng(9)
    return rng.standard_normal((1, 600, 600)), rng.standard_normal((32, 1, 12, 12)) / 12


def long_convolutional_fista():
    image, filters = image_and_filters()
    ConvolutionalLassoSolver(filters, solver="fista", tol=0, max_iter=10**6, n_jobs=2).encode(image, 0.3)


def long_convolutional_descent():
    image, filters = image_and_filters()
    ConvolutionalLassoSolver(filters, tol=0, max_iter=10**6, n_jobs=2).encode(image, 0.3)


@pytest.mark.parametrize(
    "long_call",
    [
        long_fista,
        long_active_set,
        long_coordinate_descent,
        long_omp,
        long_omp_of_one_row,
        long_dictionary_update,
        long_correlation,
        long_convolution,
        long_filter_gradient,
        long_convolutional_fista,
        long_convolutional_descent,
    ],
)
def test_ctrl_c_ends_a_long_call(long_call):
    asked = []

    def interrupt():
        time.sleep(0.6)
        asked.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        long_call()
    returned = time.perf_counter()
    thread.join()
    assert returned - asked[0] < 0.2
    X, D = problem()
    assert (LassoSolver(D, n_jobs=2).encode(X, 0.3)[1].status == 0).all()


def codes():
    X, D = problem()
    return LassoSolver(D, n_jobs=2).encode(X, 0.3)[0]


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_computes_the_same():
    expected = codes()  # the parent has started its threads, which the child will lack
    with multiprocessing.get_context("fork").Pool(2) as pool:
        results = [pool.apply_async(codes) for _ in range(4)]
        for result in results:
            assert_array_equal(result.get(timeout=60), expected)


def test_concurrent_calls_compute_the_same():
    expected = codes()
    X, D = problem()
    solver = LassoSolver(D, n_jobs=2)  # prepared once, whoever comes first
    with ThreadPoolExecutor(4) as pool:
        for Z, _ in pool.map(lambda _: solver.encode(X, 0.3), range(16)):
            assert_array_equal(Z, expected)


def test_more_threads_than_the_system_starts_are_not_asked_for():
    x = np.ones(2_000_000, np.float32)
    assert_array_equal(ops.shrink(x, 0.25, n_jobs=2**15), np.float32(0.75))


def test_the_interpreter_may_end_while_a_daemon_thread_computes():
    program = (
        "import threading, time, numpy as np\n"
        "from thalweg.inference.lasso import LassoSolver\n"
        "rng = np.random.default_rng(0)\n"
        "X, D = rng.normal(size=(3000, 128)), rng.normal(size=(256, 128))\n"
        "solver = LassoSolver(D, solver='fista', tol=0, max_iter=10**6, n_jobs=2)\n"
        "threading.Thread(target=solver.encode, args=(X, 0.1), daemon=True).start()\n"
        "time.sleep(0.5)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
