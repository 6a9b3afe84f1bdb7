"""No network for the tools: on PYTHONPATH, every Python that starts reads this first.

Some fetch samples, models or send what they measured about their user; here that is an error.
"""

import socket

_connect = socket.socket.connect


def _refused(self: socket.socket, address: object) -> None:
    if self.family == getattr(socket, "AF_UNIX", None):
        _connect(self, address)  # type: ignore[arg-type]
    else:
        raise OSError(f"no network in this comparison: {address}")


socket.socket.connect = _refused  # type: ignore[method-assign,assignment]
socket.socket.connect_ex = _refused  # type: ignore[method-assign,assignment]
