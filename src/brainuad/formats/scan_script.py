"""The whole way from a prepared scan to its score map, as TorchScript.

A scripted module holds the traced network of a tile and repeats around it, in the words that
TorchScript knows, what `brainuad.model.detect` and `brainuad.postprocess` do: intensities, the grid
of the training scans, tiles, mirror image, smoothing. It is saved in one file that torch loads
without brainuad and that holds no Python.
"""

import torch
from torch import Tensor, nn

from brainuad.formats.script_grids import lay, lost
from brainuad.formats.script_steps import eroded, median, quantile

Settings = dict[str, float]


class ScanScript(nn.Module):
    """The way from a prepared scan on any grid to its post-processed map.

    Args:
        tile: traced network, from tiles and masks to anomaly maps.
        settings: numbers by name. `normalise`: 0 for none, 1 for quantiles, 2 for mean and standard
            deviation, 3 for a maximum, with `low` and `high`, of the volume or of the voxels
            `inside` the brain (2: above 0); `from_low`, `clips` and `range` say what is done with
            the two. `bright`: the quantile of `bright_quantile`, or -1. `batch`: tiles at once.
            The others are those of tiling and card.
        axes: axes that slices fix, 0 to 2, several are averaged; -1 for volumes.
        frame: lengths of a tile; empty for tiles as they come.
        grid: shape of the training scans' grid; empty for the scan's own.
        grid_affine: `(4, 4)` float64 of that grid.
        steps: names of the steps on the map, see `postprocess`.
        values: numbers of each step.
    """

    # TorchScript reads the types of empty lists here.
    settings: dict[str, float]
    axes: list[int]
    frame: list[int]
    grid: list[int]
    grid_affine: Tensor
    steps: list[str]
    values: list[list[float]]

    def __init__(
        self,
        tile: torch.jit.ScriptModule,
        settings: Settings,
        axes: list[int],
        frame: list[int],
        grid: list[int],
        grid_affine: Tensor,
        steps: list[str],
        values: list[list[float]],
    ) -> None:
        super().__init__()
        self.tile = tile
        self.settings = settings
        self.axes = axes
        self.frame = frame
        self.grid = grid
        self.register_buffer("grid_affine", grid_affine)
        self.steps = steps
        self.values = values

    def forward(self, image: Tensor, brain_mask: Tensor, affine: Tensor) -> Tensor:
        """Return the map that the threshold applies to.

        Args:
            image: `(1, C, D, H, W)`, prepared, RAS.
            brain_mask: `(1, 1, D, H, W)`, above 0.5 in the brain.
            affine: `(4, 4)`, voxel to world in mm.

        Returns:
            `(1, 1, D, H, W)` float32.
        """
        inside = brain_mask[0] > 0.5
        world = affine.to(torch.float64).to(image.device)
        seen = self.normalised(image[0].float(), inside)
        found = self.placed(seen, inside, world)
        spacing = world[:3, :3].square().sum(0).sqrt()
        return self.postprocessed(found[0], inside[0], spacing)[None, None]

    def normalised(self, image: Tensor, inside: Tensor) -> Tensor:
        """Return the channels `(C, D, H, W)` as the method sees them, 0 outside the brain."""
        kind, low, high = (
            int(self.settings["normalise"]),
            self.settings["low"],
            self.settings["high"],
        )
        channels: list[Tensor] = []
        for number in range(image.shape[0]):
            channel = torch.where(inside[0], image[number], torch.zeros_like(image[number]))
            where = int(self.settings["inside"])
            if where == 0 and kind == 1:
                channel = channel.clamp_min(0)
            values = channel.flatten()
            if where == 1:
                values = channel[inside[0]]
            elif where == 2:
                values = values[values > 0]
            bottom, top = torch.zeros(()).double(), torch.ones(()).double()
            if kind == 1:
                bottom, top = quantile(values, low), quantile(values, high)
            elif kind == 2:
                mean = values.double().mean()
                deviation = values.double().std(unbiased=False)
                bottom, top = mean + low * deviation, mean + high * deviation
            elif kind == 3:
                top = values.clamp_max(float(quantile(values, high))).max().double()
                channel = channel.clamp_max(float(top))
            if bool(self.settings["range"]):
                channel = (channel.double().clamp(bottom, top) / (top - bottom)).float()
            elif kind > 0:
                if not bool(self.settings["from_low"]):
                    bottom = torch.zeros_like(bottom)
                channel = ((channel.double() - bottom) / (top - bottom)).float()
                if bool(self.settings["clips"]):
                    channel = channel.clamp(0, 1)
            channels.append(torch.where(inside[0], channel, torch.zeros_like(channel)))
        return torch.stack(channels)

    def placed(self, seen: Tensor, inside: Tensor, world: Tensor) -> Tensor:
        """Detect on the grid of the training scans, if the model has one."""
        if len(self.grid) == 0:
            return self.detected(seen, inside)
        if lost(inside[0], world, self.grid_affine, self.grid) > 0.02:
            raise RuntimeError("the brain lies outside the grid of the training scans: register it")
        mask = lay(inside[0].float(), world, self.grid_affine, self.grid)[None] >= 0.5
        channels: list[Tensor] = []
        for number in range(seen.shape[0]):
            channels.append(lay(seen[number], world, self.grid_affine, self.grid))
        image = torch.stack(channels)
        found = self.detected(torch.where(mask, image, torch.zeros_like(image)), mask)
        back = lay(found[0], self.grid_affine, world, list(inside.shape[1:]))[None]
        return torch.where(inside, back, torch.zeros_like(back))

    def detected(self, image: Tensor, inside: Tensor) -> Tensor:
        """Return the map `(1, D, H, W)`, averaged with that of the mirror image if wanted."""
        found = self.joined(image, inside)
        if bool(self.settings["flips"]):
            found = (found + self.joined(image.flip(1), inside.flip(1)).flip(1)) / 2
        share = self.settings["bright"]
        if share >= 0:
            brightness = image.mean(0, keepdim=True)
            bright = brightness >= quantile(brightness.flatten(), share).float()
            found = torch.where(bright, found, torch.zeros_like(found))
        return found

    def joined(self, image: Tensor, inside: Tensor) -> Tensor:
        """Cut, score and join; the mean over the planes."""
        total = torch.zeros(inside.shape, dtype=torch.float64, device=image.device)
        for axis in self.axes:
            if axis < 0:
                total += self.tiled(image[None], inside[None])[0]
            else:
                slices = self.tiled(image.movedim(axis + 1, 0), inside.movedim(axis + 1, 0))
                total += slices.movedim(0, axis + 1)
        return (total / len(self.axes)).float()

    def tiled(self, images: Tensor, inside: Tensor) -> Tensor:
        """Score `(N, C, *S)` frame by frame, averaged where they overlap; float64."""
        none: list[int] = []
        corners = [none]
        for axis in range(len(self.frame)):
            longer: list[list[int]] = []
            for corner in corners:
                for start in starts(
                    images.shape[axis + 2], self.frame[axis], bool(self.settings["crop"])
                ):
                    longer.append(corner + [start])  # noqa: RUF005
            corners = longer
        total = torch.zeros_like(inside, dtype=torch.float64)
        count = torch.zeros_like(total)
        for corner in corners:
            found = self.scored(
                window(images, corner, self.frame), window(inside, corner, self.frame)
            )
            into, counted = total, count
            for axis in range(len(corner)):
                low = max(corner[axis], 0)
                high = min(corner[axis] + self.frame[axis], images.shape[axis + 2])
                into = into.narrow(axis + 2, low, high - low)
                counted = counted.narrow(axis + 2, low, high - low)
                found = found.narrow(axis + 2, low - corner[axis], high - low)
            into += found.double()
            counted += 1
        return total / count.clamp_min(1)

    def scored(self, tiles: Tensor, inside: Tensor) -> Tensor:
        """Score the tiles that have brain, a few at a time."""
        found = torch.zeros(inside.shape, device=tiles.device)
        wanted = torch.nonzero(inside.flatten(1).any(1))[:, 0]
        if bool(self.settings["keeps_background"]):
            wanted = torch.arange(tiles.shape[0], device=tiles.device)
        for part in wanted.split(int(self.settings["batch"])):
            found[part] = self.tile(tiles[part], inside[part])
        return found

    def postprocessed(self, found: Tensor, inside: Tensor, spacing: Tensor) -> Tensor:
        """Apply the steps on the map `(D, H, W)`."""
        found = torch.where(inside, found, torch.zeros_like(found))
        for number, step in enumerate(self.steps):
            value = self.values[number]
            if step == "Median":
                found = median(found, inside, spacing, value[0], value[1] > 0)
            elif step == "ErodeBrainMask":
                kept = eroded(inside, spacing, value[0])
                found = torch.where(kept, found, torch.zeros_like(found))
            elif step == "Clip":
                found = found.clamp(0, value[0]) / value[0]
            elif step == "Saturate":
                found = torch.where(found > value[0], torch.ones_like(found), found)
        return found


def starts(length: int, frame: int, crop: bool) -> list[int]:
    """Return the starts of the frames along an axis, as `brainuad.volumes.tiling`."""
    if length <= frame:
        return [-((frame - length) // 2)]
    if crop:
        return [(length - frame) // 2]
    count = (length + frame - 1) // frame
    return [int(round(i * (length - frame) / (count - 1))) for i in range(count)]  # noqa: RUF046


def window(tiles: Tensor, corner: list[int], frame: list[int]) -> Tensor:
    """Return the frame at a corner of the last axes, zero outside."""
    for axis in range(len(corner)):
        length = tiles.shape[axis + 2]
        low, high = max(corner[axis], 0), min(corner[axis] + frame[axis], length)
        tiles = tiles.narrow(axis + 2, low, high - low)
        before = list(tiles.shape)
        before[axis + 2] = low - corner[axis]
        behind = list(tiles.shape)
        behind[axis + 2] = corner[axis] + frame[axis] - high
        empty, rest = tiles.new_zeros(before), tiles.new_zeros(behind)
        tiles = torch.cat([empty, tiles, rest], axis + 2)
    return tiles
