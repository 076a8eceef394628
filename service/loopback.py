"""Recognises the loopback addresses of this machine."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to a server at this host."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
