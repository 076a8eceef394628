"""Loads the certificates of authorities that an HTTP client trusts."""

import ssl

import httpx

from service.loopback import is_loopback


def trusted_by_client_of(url: str) -> ssl.SSLContext:
    """Load the certificates that a client of the server at `url` trusts: the environment's, or else those of httpx.

    A server on loopback without TLS shows no certificate. For such a server none are loaded, because loading them takes
    20 ms of CPU time.

    Raises:
        OSError: the environment names a file without certificates.
    """
    server = httpx.URL(url)
    if server.scheme == "http" and is_loopback(server.host):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx.create_ssl_context()
