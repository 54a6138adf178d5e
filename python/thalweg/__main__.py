"""`python -m thalweg`, and the command `thalweg`."""

import os
import sys


def main() -> int:
    """Runs the command of the process's arguments; the exit code.

    NumPy and the models are imported here, where Ctrl-C ends in one line as it does later.
    """
    try:
        from .cli import main as run

        return run()
    except KeyboardInterrupt:
        print("thalweg: interrupted", file=sys.stderr, flush=True)
        # Not by sys.exit: where Ctrl-C came in an exec() of text, as imports have them, Python would forget
        # the code and end itself by the signal.
        os._exit(130)


if __name__ == "__main__":
    sys.exit(main())
