"""The gateway: HTTP, WebSocket and the page. An ordinary client of the two public sockets, without own state.

``python -m clients.gateway`` is started by the supervisor; it may be killed at any moment.
"""
