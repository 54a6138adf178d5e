"""The command line, `thalweg`: faults of the user end in one line and exit code 2, Ctrl-C in 130."""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from .arguments import parser
from .devices import is_device_error, require_device


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Parameters
    ----------
    argv : sequence of str, default=None
        Arguments; None takes those of the process.

    Returns
    -------
    int
        The exit code.
    """
    _print_every_name()
    args = parser().parse_args(argv)
    with warnings.catch_warnings():
        warnings.filterwarnings("always", category=UserWarning)
        warnings.showwarning = _print_warning
        try:
            require_device(getattr(args, "device", "cpu"))
            code: int = args.run(args)
        except KeyboardInterrupt:
            return _complain("interrupted", 130)
        except OSError as error:
            return _complain(_in_words(error), 2)
        except (ValueError, FloatingPointError) as error:
            return _complain(str(error), 2)
        except RuntimeError as error:
            if not is_device_error(error):
                raise
            return _complain(str(error), 1)
        except MemoryError as error:
            return _complain(f"out of memory ({error})", 2)
    return code


def _print_every_name() -> None:
    """A file may have a name that is no UTF-8 or that the terminal cannot show: then it is escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _in_words(error: OSError) -> str:
    """What happened to which file, without the number of the error."""
    if error.strerror is None:
        return str(error)
    return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"


def _complain(message: str, code: int) -> int:
    print(f"thalweg: {' '.join(message.split())}", file=sys.stderr)
    return code


def _print_warning(message: Any, category: Any, *where: Any, **more: Any) -> None:
    print(f"thalweg: warning: {' '.join(str(message).split())}", file=sys.stderr)
