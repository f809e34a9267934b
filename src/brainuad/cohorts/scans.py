"""Scans as they came, and what was found where somebody pointed."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from brainuad.cohorts.names import check_names
from brainuad.cohorts.tree import Aside
from brainuad.machine.files import sizes


@dataclass(frozen=True)
class RawScan:
    """A scan as it came.

    Attributes:
        subject: a person.
        sequence: `T1w`, `T2w`, `FLAIR`, … .
        image: NIfTI of any axis order and spacing, or a folder with a DICOM series.
        brain_mask: on the grid of `image`; None to take what is not background.
        lesion_mask: on the grid of `image`; None when there is no label.
        healthy: no lesion.
        split: `train`, `val`, `test`, or empty to be drawn.
        site: site of the acquisition.
        pathology: free text, for grouping the scores.
    """

    subject: str
    sequence: str
    image: Path
    healthy: bool
    brain_mask: Path | None = None
    lesion_mask: Path | None = None
    split: str = ""
    site: str = ""
    pathology: str = ""

    def __post_init__(self) -> None:
        """Refuse names that cannot name a file: a prepared scan's do."""
        check_names(self)

    @property
    def who(self) -> str:
        """The person."""
        return self.subject


@dataclass
class Found:
    """The scans of a source, and an account of every other file in it.

    Attributes:
        kind: kind of source, in words.
        scans: as they came.
        aside: files that are not used, with the reason.
        notes: remarks for the owner, one line each.
        assumed: images of unknown sequence, which get the requested one.
        visits: image to the visit in its name.
        bids: whether results are to be named as BIDS derivatives.
    """

    kind: str
    scans: list[RawScan] = field(default_factory=list)
    aside: list[Aside] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    assumed: set[Path] = field(default_factory=set)
    visits: dict[Path, str] = field(default_factory=dict)
    bids: bool = False


def file_stamp(scan: RawScan) -> str:
    """A scan's row, and its files' sizes and times."""
    row = {key: str(value) for key, value in asdict(scan).items() if key != "split"}
    paths = [path for path in (scan.image, scan.brain_mask, scan.lesion_mask) if path]
    return "\n".join([json.dumps(row, sort_keys=True), *sizes(paths)])
