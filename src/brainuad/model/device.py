"""The device and the precision that a model computes with."""

from functools import cache

import torch

from brainuad.errors import InputError

PRECISIONS = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
"""Precisions of detection, in Lightning's words; `auto` becomes one of them."""


def chosen_precision(name: str, place: str = "cpu") -> str:
    """Return the precision to compute in.

    Args:
        name: one of PRECISIONS, or `auto`. `auto` becomes bf16-mixed where the device computes in
            bfloat16 (a CPU with avx512_bf16 or AMX), else 32-true, because emulated half precision
            is slower.
        place: device by its name in torch.

    Raises:
        InputError: no such precision.
    """
    if name == "auto":
        return "bf16-mixed" if _has_bfloat16(place) else "32-true"
    if name not in PRECISIONS:
        raise InputError(f"precision is {name}; use one of auto, {', '.join(PRECISIONS)}")
    return name


def _has_bfloat16(place: str) -> bool:
    if place.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return place == "cpu" and (
        torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )


@cache
def device(name: str) -> str:
    """Return the device of a name, once it is known to be usable.

    Args:
        name: name of torch, or `auto` for the accelerator of this machine.

    Raises:
        InputError: no such device, or one that cannot be used.
    """
    place = ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
    try:
        made = torch.device(place)
        if made.type == "cuda" and torch.cuda.is_available():
            # No tensor is put there, because each rank would take memory of the first GPU.
            torch.cuda.get_device_properties(made)
        else:
            torch.zeros(1, device=made).item()
    # A missing driver, a wrong number and a wrong name raise errors of different types.
    except Exception as error:
        line = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(
            f"device {name} cannot be used ({line:.200}); use cpu, or cuda or cuda:1 where there "
            "is such a GPU"
        ) from None
    return place
