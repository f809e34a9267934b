"""Modules whose buffers have the size of the training scans, which only a checkpoint knows."""

import torch
from torch import Tensor, nn


class GridBuffers(nn.Module):
    """Takes the sizes of the buffers named in `sized_by_data` from the checkpoint."""

    sized_by_data: tuple[str, ...] = ()
    of_places: bool = False
    """Whether what is measured adds scans voxel by voxel, so that they have to lie on one grid."""
    needs_places: bool = False
    """Whether it means nothing of scans that lie in several worlds."""

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *rest: object
    ) -> None:
        """Makes room before torch compares shapes."""
        for name in self.sized_by_data:
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name]))
        super()._load_from_state_dict(state_dict, prefix, *rest)
