"""``python -m clients.adapters.livekit``: a worker that brings avatars into rooms when agents ask for them."""

from __future__ import annotations

import argparse
import functools
import ipaddress
import os

import zmq.auth
from aiohttp import web

from clients.adapters.livekit.dispatcher import AVATARS, Dispatcher
from clients.adapters.livekit.worker import Worker
from clients.keys import Keys

TOKEN = "MUSECAST_WORKER_TOKEN"


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m clients.adapters.livekit", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="where requests come in (default %(default)s)")
    parser.add_argument("--port", type=int, default=28889, help="(default %(default)s)")
    parser.add_argument("--control", default="tcp://127.0.0.1:28880", help="the daemon's control socket")
    parser.add_argument("--stream", default="tcp://127.0.0.1:28881", help="the daemon's stream")
    parser.add_argument("--key-file", help="of `musecast keys new`, where the daemon has keys on")
    parser.add_argument("--server-key", help="what `musecast keys show` prints; with --key-file")
    parser.add_argument("--avatars", type=int, default=AVATARS, help="so many at once (default %(default)s)")
    options = parser.parse_args()
    token = os.environ.get(TOKEN, "")
    if not token and not _loopback(options.host):
        parser.error(f"{options.host} is reached from other machines: set {TOKEN}, which agents then send")
    if bool(options.key_file) != bool(options.server_key):
        parser.error("--key-file and --server-key belong together")
    keys = None
    if options.key_file:
        try:
            public, secret = zmq.auth.load_certificate(options.key_file)
        except (OSError, ValueError) as error:
            parser.error(f"{options.key_file} is no key: {error}")
        if secret is None:
            parser.error(f"{options.key_file} has no secret key in it: name the file that ends in .key_secret")
        keys = Keys(options.server_key.encode(), public, secret)
    make = functools.partial(Worker, options.control, options.stream, keys)
    web.run_app(Dispatcher(make, token, options.avatars).app(), host=options.host, port=options.port)


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


if __name__ == "__main__":
    main()
