"""python -m roigan_lib: the command line of the kit."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
