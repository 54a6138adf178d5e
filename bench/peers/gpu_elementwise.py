"""Elementwise functions on the GPU, beside PyTorch's, as a share of the bandwidth of a copy in its memory.

Bytes read and written count alike. `out`: into an array that is there already, all on the device. `tensor`: a
PyTorch tensor in and a new one out, by DLPack.

    python bench/peers/gpu_elementwise.py --out bench/results/gpu_elementwise
    python bench/peers/gpu_elementwise.py --small    # on any device, the emulated one too: checks, no figures
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

import gpu_common as common
from thalweg import _native, ops

ALPHA = 0.5
BAR = 90  # per cent of the copy, float32, with `out`
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "shrink": partial(ops.shrink, alpha=ALPHA, device="cuda"),
    "softplus": partial(ops.softplus, device="cuda"),
    "sigmoid": partial(ops.sigmoid, device="cuda"),
    "log_sigmoid": partial(ops.log_sigmoid, device="cuda"),
    "prox_lq 1/2": partial(ops.prox_lq, alpha=ALPHA, q=0.5, device="cuda"),
}
_functional = torch.nn.functional
PEERS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "shrink": partial(_functional.softshrink, lambd=ALPHA),
    "softplus": _functional.softplus,
    "sigmoid": torch.sigmoid,
    "log_sigmoid": _functional.logsigmoid,
}
DTYPES = ("float32", "float64")
MOST = 0.4  # seconds of a figure


def check(x: torch.Tensor, dtype: np.dtype) -> None:
    """The device's results are the CPU's."""
    part = x[:100_003]
    on_host = part.cpu().numpy()
    for name, f in FUNCTIONS.items():
        got = common.host(f(part))
        expected = f(on_host, device="cpu")
        np.testing.assert_allclose(got, expected, rtol=16 * np.finfo(dtype).eps, atol=1e-30, err_msg=name)


def run(report: common.Report, dtype: str, n_bytes: int) -> None:
    cuda = _native.cuda()
    kind = np.dtype(dtype)
    x = torch.randn(n_bytes // kind.itemsize, device=common.DEVICE, dtype=getattr(torch, dtype)) * 3
    check(x, kind)
    given = common.on_device(x)
    out = cuda.empty(given.shape, kind)
    limit = common.copy_rate(n_bytes)
    report.limits[f"copy_{dtype}"] = limit

    def add(function: str, name: str, call: Callable[[], Any]) -> None:
        if report.has_time(f"{dtype} {function}, {name}"):
            rate = 2 * n_bytes / common.seconds(call, most=MOST)
            row = {"function": function, "dtype": dtype, "name": name, "gb_per_s": rate / 1e9}
            report.add({**row, "percent": 100 * rate / limit})

    for name, f in FUNCTIONS.items():
        add(name, "thalweg, out", partial(f, given, out=out))
        if name in PEERS:
            add(name, "PyTorch", partial(PEERS[name], x))
        add(name, "thalweg, tensor", partial(f, x))


def main() -> None:
    args = common.parser(__doc__)
    args.add_argument("--bytes", type=int, default=2**30, help="of the array (default 1 GiB)")
    given = args.parse_args()
    report = common.Report(given)
    for dtype in DTYPES:
        if report.has_time(dtype, 1.0):
            run(report, dtype, 2**14 if given.small else given.bytes)
    report.close()
    for row in report.rows if not given.small else ():
        if row["dtype"] == "float32" and row["name"] == "thalweg, out" and row["percent"] < BAR:
            print(f"below the bar of {BAR} %: {row['function']} {row['percent']:.0f} %")


if __name__ == "__main__":
    main()
