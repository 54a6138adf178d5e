"""SPORCO's solvers and learners with the options of its examples, in float32 unless said, on two threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numexpr
import numpy as np
import sporco.fft
from sporco.admm import cbpdn as admm_cbpdn
from sporco.dictlrn import cbpdndl, onlinecdl, prlcnscdl
from sporco.pgm import cbpdn as pgm_cbpdn

import common

sporco.fft.pyfftw_threads = common.THREADS
numexpr.set_num_threads(common.THREADS)

Watch = Callable[[np.ndarray], bool]  # sees the codes after an iteration; True ends the run
Snapshot = Callable[[np.ndarray], Any]  # sees the filters (kh, kw, K) after an iteration
NEVER = {"RelStopTol": 0.0, "FastSolve": True}  # no objective is computed, no run ends before its iterations


def prepare(image: np.ndarray, filters: np.ndarray, dtype: Any = np.float32) -> tuple[np.ndarray, np.ndarray]:
    """Filters (kh, kw, K) and image (H, W) from (K, 1, kh, kw) and (1, H, W)."""
    bank = np.ascontiguousarray(np.moveaxis(filters[:, 0], 0, -1), dtype)
    return bank, np.ascontiguousarray(image[0], dtype)


def maps(x: np.ndarray) -> np.ndarray:
    """(K, H, W) from SPORCO's layout."""
    return np.moveaxis(x[:, :, 0, 0, :], -1, 0)


def _callback(watch: Watch | None, name: str) -> Callable[[Any], bool] | None:
    return None if watch is None else lambda solver: watch(maps(getattr(solver, name)))


def admm(
    state: tuple[np.ndarray, np.ndarray],
    alpha: float,
    n_iter: int,
    watch: Watch | None = None,
    options: dict[str, Any] | None = None,
) -> np.ndarray:
    """The shrunk variable Y after `n_iter` iterations: the one that is sparse."""
    opt = {"MaxMainIter": n_iter, "DataType": np.float32, "Callback": _callback(watch, "Y")}
    opt.update(NEVER)
    opt.update(options or {})
    solver = admm_cbpdn.ConvBPDN(*state, alpha, admm_cbpdn.ConvBPDN.Options(opt), dimK=0)
    solver.solve()
    return maps(solver.Y)


def pgm(
    state: tuple[np.ndarray, np.ndarray],
    alpha: float,
    n_iter: int,
    watch: Watch | None = None,
    backtrack: Callable[[], Any] | None = None,
) -> np.ndarray:
    opt = {"MaxMainIter": n_iter, "DataType": np.float32, "Callback": _callback(watch, "X"), "L": 1.0}
    opt.update(NEVER)
    if backtrack is not None:
        opt["Backtrack"] = backtrack()
    solver = pgm_cbpdn.ConvBPDN(*state, alpha, pgm_cbpdn.ConvBPDN.Options(opt), dimK=0)
    solver.solve()
    return maps(solver.X)


# --- learning: images (H, W, N), first filters (kh, kw, K), float32 if the images are


def _snapshots(see: Snapshot | None) -> Callable[[Any], None] | None:
    if see is None:
        return None

    def callback(solver: Any) -> None:
        see(np.squeeze(solver.getdict()))

    return callback


def learn_batch(
    images: np.ndarray, start: np.ndarray, alpha: float, n_iter: int, see: Snapshot | None = None
) -> np.ndarray:
    """ADMM with the consensus update of the filters, as in the example `cbpdndl_cns_gry`."""
    opt = cbpdndl.ConvBPDNDictLearn.Options(
        {
            "MaxMainIter": n_iter,
            "Callback": _snapshots(see),
            "CBPDN": {"rho": 50.0 * alpha + 0.5},
            "CCMOD": {"rho": 10.0, "ZeroMean": True},
        },
        dmethod="cns",
    )
    learner = cbpdndl.ConvBPDNDictLearn(start.astype(images.dtype), images, alpha, opt, dmethod="cns")
    return np.squeeze(learner.solve())


def learn_parallel(
    images: np.ndarray, start: np.ndarray, alpha: float, n_iter: int, see: Snapshot | None = None
) -> np.ndarray:
    """The consensus update with one process a thread, as in the example `cbpdndl_parcns_gry`."""
    opt = prlcnscdl.ConvBPDNDictLearn_Consensus.Options(
        {
            "MaxMainIter": n_iter,
            "Callback": _snapshots(see),
            "CBPDN": {"rho": 50.0 * alpha + 0.5},
            "CCMOD": {"rho": 1.0, "ZeroMean": True},
        }
    )
    learner = prlcnscdl.ConvBPDNDictLearn_Consensus(
        start.astype(images.dtype), images, alpha, opt, nproc=common.THREADS
    )
    return np.squeeze(learner.solve())


def learn_online(
    images: np.ndarray, start: np.ndarray, alpha: float, n_iter: int, see: Snapshot | None = None
) -> np.ndarray:
    """One image drawn at random an iteration, as in the example `onlinecdl_gry`."""
    coding = {
        "rho": 5.0,
        "AutoRho": {"Enabled": True},
        "RelaxParam": 1.8,
        "RelStopTol": 1e-4,
        "MaxMainIter": 50,
        "FastSolve": False,
        "DataType": np.float32,
    }
    opt = onlinecdl.OnlineConvBPDNDictLearn.Options(
        {"ZeroMean": False, "eta_a": 10.0, "eta_b": 20.0, "DataType": np.float32, "CBPDN": coding}
    )
    learner = onlinecdl.OnlineConvBPDNDictLearn(start.astype(images.dtype), alpha, opt)
    rng = np.random.default_rng(0)
    for _ in range(n_iter):
        i = int(rng.integers(images.shape[-1]))
        learner.solve(images[..., [i]])
        if see is not None:
            see(np.squeeze(learner.getdict()))
    return np.squeeze(learner.getdict())
