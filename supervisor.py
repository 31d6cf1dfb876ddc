"""The daemon in the foreground: ``python supervisor.py [--config F] [--set a.b=c]...``."""

import signal
import sys

if __name__ == "__main__":
    interrupt = signal.getsignal(signal.SIGINT)
    if interrupt is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while modules load needs no stack
    try:
        from supervision.app import main
    except ModuleNotFoundError as error:
        print(f"musecast: the module {error.name} is missing. Run `make install` in the checkout", file=sys.stderr)
        sys.exit(78)
    signal.signal(signal.SIGINT, interrupt)
    sys.exit(main())
