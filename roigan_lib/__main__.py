"""python -m roigan_lib: the command line of the kit."""

import os
import signal
import sys
import threading


def main(argv=None) -> int:
    """`cli.main`; Ctrl-C while its modules load ends the program at once, as nothing is begun."""
    hears = threading.current_thread() is threading.main_thread()  # no other gets signals
    before = signal.signal(signal.SIGINT, lambda *_: os._exit(130)) if hears else None
    try:
        from .cli import main
    finally:
        if hears:
            signal.signal(signal.SIGINT, before)
    return main(argv)


if __name__ == "__main__":
    sys.exit(main())
