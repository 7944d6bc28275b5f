"""Features from the encoder of another machine (`sampath serve`)."""

from .client import RemoteEncoder, connect

__all__ = ["RemoteEncoder", "connect"]
