"""Modules with buffers whose size depends on the training data and is read from a checkpoint."""

import torch
from torch import Tensor, nn


class GridBuffers(nn.Module):
    """Module that takes the sizes of the buffers in `sized_by_data` from the checkpoint."""

    sized_by_data: tuple[str, ...] = ()

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *rest: object
    ) -> None:
        """Allocate the buffers before torch compares shapes."""
        for name in self.sized_by_data:
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name]))
        super()._load_from_state_dict(state_dict, prefix, *rest)
