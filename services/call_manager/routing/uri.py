"""Small things about SIP URIs. Apart from launch.py, whose imports no worker needs. Pure."""

from __future__ import annotations


def host(address: str) -> str:
    """An address as it stands in a URI: IPv6 in brackets."""
    return f"[{address}]" if ":" in address else address
