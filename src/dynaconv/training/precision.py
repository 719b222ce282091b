"""The number format that a run computes in."""

from contextlib import AbstractContextManager

import torch


def choose_precision(precision: str, device: torch.device) -> str:
    """Return ``"float32"`` or ``"bfloat16"``.

    ``"auto"`` is bfloat16 where the device has fast instructions for it (AVX-512 BF16 or AMX; a GPU from
    NVIDIA's Ampere on) and float32 elsewhere.
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    else:
        fast = False
    return "bfloat16" if fast else "float32"


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Return the context in which convolutions and matrix products compute in ``precision``."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
