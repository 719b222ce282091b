"""Networks built from dynamic convolutions, by name."""

from dynaconv.models.registry import create_model, list_models, register_model
from dynaconv.models.seven_block import seven_block

__all__ = ["create_model", "list_models", "register_model", "seven_block"]
