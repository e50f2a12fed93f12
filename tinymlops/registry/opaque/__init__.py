"""Models that clients of MLflow log and register: bytes with names, which nothing here opens."""

from tinymlops.registry.opaque.logged import OpaqueModels
from tinymlops.registry.opaque.registered import RegisteredModels

__all__ = ["OpaqueModels", "RegisteredModels"]
