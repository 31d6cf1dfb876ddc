"""The daemon in the foreground: ``python supervisor.py [--config F] [--set a.b=c]...``."""

import sys

from supervision.app import main

if __name__ == "__main__":
    sys.exit(main())
