"""BLAS with one thread, where results must have the same bits whatever the machine is."""

from __future__ import annotations

import sys
import threading
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

import threadpoolctl


class _OneBlasThread(AbstractContextManager[None]):
    """The limit on BLAS's threads belongs to the process: the first to enter sets it, the last lifts it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._limit: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                _free_control()
                self._limit = _blas().limit(limits=1)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                _free_control()
                self._limit.restore_original_limits()
                _free_control()


# BLAS works with one thread inside: what it computes then has the same bits whatever the machine is.
one_blas_thread = _OneBlasThread()


def _blas() -> threadpoolctl.ThreadpoolController:
    # A module imported since may have brought a library of its own.
    return _libraries(len(sys.modules))


@lru_cache(maxsize=1)
def _libraries(_: int) -> threadpoolctl.ThreadpoolController:
    # Finding the libraries takes a millisecond, which a step of learning would notice.
    return threadpoolctl.ThreadpoolController().select(user_api="blas")


def _free_control() -> None:
    """Lets this thread set OpenBLAS's limit, and after it any other.

    Newer threadpoolctl gives the limit to the first thread that sets it and ignores all others; but who lifts
    the limit here need not be who set it.
    """
    openblas = getattr(threadpoolctl, "OpenBLASController", None)
    clear = getattr(openblas, "clear_controlling_thread", None)
    if clear is not None:
        clear(force=True)
