"""A certificate authority of the sandbox org's own, made anew at every start."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme

#: Names the org answers to. Clients with fixed hosts reach the last two through the proxy.
NAMES = ("localhost", "127.0.0.1", "*.salesforce.com", "*.my.salesforce.com")


def server_context(directory: Path) -> tuple[ssl.SSLContext, Path]:
    """Return the server's TLS context, and the path of the authority that clients are to trust.

    The private keys stay in memory; only the authority's certificate is written, to ``directory``.
    """
    authority = trustme.CA(organization_name="Sandbox Org")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*NAMES).configure_cert(context)
    ca_file = directory / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    return context, ca_file
