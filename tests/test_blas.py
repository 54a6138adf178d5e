"""BLAS has one thread inside `one_blas_thread`, whichever threads enter and leave, and all of them after."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from thalweg._blas import one_blas_thread


def blas_threads() -> list[int]:
    # One that is built on OpenMP, as peers bring along, takes its number from OpenMP.
    blas = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    return [pool["num_threads"] for pool in blas if pool.get("threading_layer") != "openmp"]


@pytest.fixture
def two_threads():
    with threadpool_limits(2, user_api="blas"):
        if not blas_threads() or set(blas_threads()) != {2}:
            pytest.skip("BLAS has no threads here")
        yield


@pytest.mark.usefixtures("two_threads")
def test_one_thread_inside_and_all_after() -> None:
    with one_blas_thread, one_blas_thread:
        assert set(blas_threads()) == {1}
    assert set(blas_threads()) == {2}


@pytest.mark.usefixtures("two_threads")
def test_the_thread_that_enters_first_may_leave_first() -> None:
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        first.submit(one_blas_thread.__enter__).result()
        second.submit(one_blas_thread.__enter__).result()
        assert set(blas_threads()) == {1}
        first.submit(one_blas_thread.__exit__).result()
        assert set(blas_threads()) == {1}
        second.submit(one_blas_thread.__exit__).result()
    assert set(blas_threads()) == {2}


def test_a_limit_around_is_kept() -> None:
    before = blas_threads()
    with threadpool_limits(2, user_api="blas"):
        inside = blas_threads()
        with ThreadPoolExecutor(1) as other:
            other.submit(one_blas_thread.__enter__).result()
            other.submit(one_blas_thread.__exit__).result()
        assert blas_threads() == inside
    assert blas_threads() == before
