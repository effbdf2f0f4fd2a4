"""Whether somebody listens where an address points: clients say that nobody answers, this says which port, and how.

What listens may still be something else: that is for whoever speaks its protocol to find out.
"""

from __future__ import annotations

import re
import socket
import urllib.request
from urllib.parse import urlsplit

from pipeline.doctor.diagnosis import Unwell

# A server that is there answers within a round trip.
_SECONDS = 5.0


def reach(setting: str, url: str, usual_port: int, remedy: str) -> str:
    """HOST:PORT of `url`, which took a connection; or whose scheme goes through a proxy, which is not looked behind.

    Raises Unwell, saying which `setting` has the address: nothing listens, no answer comes, or there is no such host.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", usual_port if parts.port is None else parts.port
    except ValueError:  # its text may have a part of a password in it
        host, port = "", 0
    if not host or not port:
        raise Unwell(f"{setting} is {shown(url)}, which is no address", "write SCHEME://HOST:PORT")
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host):
        return address
    try:
        socket.create_connection((host, port), _SECONDS).close()
    except OSError as error:
        raise Unwell(f"{setting} is {shown(url)}, and {_why(error, host, port, address)}", remedy) from error
    return address


def shown(url: str) -> str:
    """A URL, or a text with URLs in it, as it may be printed: without a user's name and password."""
    return re.sub(r"//[^/\s]*@", "//", url)


def _why(error: OSError, host: str, port: int, address: str) -> str:
    if isinstance(error, socket.gaierror):
        return f"no host {host} is known here ({error.strerror})"
    if isinstance(error, ConnectionRefusedError):
        return f"the connection to {address} is refused: nothing listens on port {port}"
    if isinstance(error, TimeoutError):
        return f"{address} does not answer within {_SECONDS:g} s: the host is down, or a firewall drops port {port}"
    return f"{address} cannot be reached: {error.strerror or error}"
