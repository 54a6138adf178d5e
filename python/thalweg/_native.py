"""The sole importer of compiled modules: picks the best one that this processor can run, and loads CUDA's."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from types import ModuleType

from thalweg import _isa

_LEVELS = ("v2", "v3", "v4")


def available_levels() -> tuple[str, ...]:
    """Instruction-set levels that this installation was built for, lowest first."""
    names = (*_LEVELS, "base")
    return tuple(n for n in names if importlib.util.find_spec(f"thalweg._cpu_{n}") is not None)


def _runs_here(level: str) -> bool:
    best = _isa.best_level()
    if level == "base" or best == "base":
        return level == best
    return level <= best


def _choose_level() -> str:
    built = available_levels()
    runnable = [n for n in built if _runs_here(n)]
    wanted = os.environ.get("THALWEG_ISA", "")
    if wanted:
        if wanted not in built:
            names = ", ".join(built) or "none"
            raise ImportError(f"THALWEG_ISA={wanted!r}: this installation was built for {names}")
        if wanted not in runnable:
            raise ImportError(
                f"THALWEG_ISA={wanted!r}: this processor cannot run it, "
                f"its best level is {_isa.best_level()!r}"
            )
        return wanted
    if not runnable:
        raise ImportError(
            f"no compiled module of thalweg runs on this processor (level {_isa.best_level()!r}); "
            f"built: {', '.join(built) or 'none'}"
        )
    return runnable[-1]


cpu: ModuleType = importlib.import_module(f"thalweg._cpu_{_choose_level()}")


def load_cuda() -> ModuleType:
    """The module of the CUDA backend, which needs no device to be loaded.

    Raises RuntimeError where it was not built or cannot be loaded.
    """
    try:
        return importlib.import_module("thalweg._cuda")
    except ModuleNotFoundError as error:
        raise RuntimeError(
            "device='cuda': this installation was built without CUDA: "
            "pip install . -C cmake.define.THALWEG_CUDA=ON"
        ) from error
    except ImportError as error:
        raise RuntimeError(f"device='cuda': the CUDA backend cannot be loaded: {error}") from error


def cuda() -> ModuleType:
    """The module of the CUDA backend; RuntimeError, naming what is missing, where there is no device."""
    module = load_cuda()
    fault = module.device_fault()
    if fault:
        raise RuntimeError(f"device='cuda': {fault}")
    return module


def is_device_error(error: BaseException) -> bool:
    """Whether a call to CUDA has failed."""
    module = sys.modules.get("thalweg._cuda")
    return module is not None and isinstance(error, module.Error)


def kernels(device: str) -> ModuleType:
    """The module whose kernels run on "cpu" or "cuda"."""
    return cpu if device == "cpu" else cuda()
