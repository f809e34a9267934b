"""Any folder of DICOM files: read with the geometry that was drawn, or refused in one line.

`pytest -m fuzz` draws 300 folders.
"""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from dicom_files import (
    mosaic_corner,
    mosaic_fields,
    mosaic_of,
    tags_of,
    write_csa,
    write_enhanced,
    write_mosaic,
    write_slice,
)
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from brainuad.cohorts.find import find_all
from brainuad.errors import InputError
from brainuad.volumes.read import read_raw

FLIP = np.diag([-1.0, -1, 1, 1])


class Drawn:
    """A series of slices of a world in which each point has a value of its own.

    Attributes:
        slices: `[pixels, tags]` of the volume, in order.
        others: further `[pixels, tags]` in the same folder.
        files: names and bytes of files that are no slices.
        read: whether it has to be read; else it has to be refused.
        note: a part of a note that has to be there.
    """

    def __init__(self, seed):
        self.rng = rng = np.random.default_rng(seed)
        rotation = Rotation.random(random_state=int(rng.integers(2**31))).as_matrix()
        if rng.random() < 0.3:
            rotation = np.round(rotation @ np.linalg.inv(rotation))
        self.rows, self.columns = rng.choice(np.arange(8, 14), 2, replace=False)
        count = int(rng.integers(9, 15))
        self.spacing = rng.uniform(2, 6, 2)
        self.step = float(rng.uniform(1, 8))
        self.axes, self.corner = rotation, rng.uniform(-80, 80, 3)
        self.centres = self.corner + rng.uniform(-150, 150, (4, 3))
        self.digits = int(rng.choice([1, 2, 3, 6]))
        self.thickness = float(self.step * rng.choice([0.5, 0.9, 1, 1.2]))
        self.slices = [self.slice_at(k) for k in range(count)]
        self.others, self.files, self.read, self.notes = [], {}, True, set()
        self.cut = False

    def value(self, points):
        """The value at `(…, 3)` LPS mm."""
        distances = [np.linalg.norm(points - c, axis=-1) for c in self.centres]
        return 100 + sum(w * d for w, d in zip((5, 4, 3, 2), distances, strict=True))

    def slice_at(self, k, series="1.2.3.4"):
        """The slice at index k, a fraction of one too."""
        place = self.corner + self.axes[2] * self.step * k
        row = np.arange(self.columns)[:, None] * self.spacing[1] * self.axes[0]
        column = np.arange(self.rows)[:, None] * self.spacing[0] * self.axes[1]
        pixels = np.rint(self.value(place + column[:, None] + row[None]))
        orientation = np.round(self.axes[:2].ravel(), max(self.digits, 3))
        tags = tags_of(int(k) + 1, np.round(place, self.digits), orientation, self.spacing)
        tags |= {"SliceThickness": self.thickness, "SeriesInstanceUID": series}
        tags["SOPInstanceUID"] = f"{series}.{self.rng.integers(2**31)}"
        return [pixels.astype("u2"), tags]

    def copy(self, one, **tags):
        """Another image of a slice, under a UID of its own."""
        return [one[0], one[1] | {"SOPInstanceUID": f"1.2.9.{self.rng.integers(2**31)}"} | tags]

    def inner(self, count=1):
        """Indices of slices that are neither the first nor the last."""
        return self.rng.choice(np.arange(1, len(self.slices) - 1), count, replace=False)


def gap(drawn):
    start, size = int(drawn.rng.integers(2, 4)), int(drawn.rng.integers(1, 4))
    del drawn.slices[start : start + size]
    return False


def holes(drawn):
    for k in sorted(drawn.inner(2), reverse=True):
        del drawn.slices[k]
    return False


def ends(drawn):
    del drawn.slices[-1], drawn.slices[0]
    return True


def copies(drawn):
    drawn.others += [drawn.slices[k] for k in drawn.inner(int(drawn.rng.integers(1, 5)))]
    drawn.notes.add("copied slices are passed over")
    return True


def renamed_copies(drawn):
    drawn.others += [drawn.copy(drawn.slices[k], InstanceNumber=99) for k in drawn.inner(2)]
    drawn.notes.add("copied slices are passed over")
    return True


def copied_place(drawn):
    one, other = sorted(drawn.inner(2))
    drawn.slices[one][1]["ImagePositionPatient"] = drawn.slices[other][1]["ImagePositionPatient"]
    return False


def echoes(drawn):
    for one in drawn.slices:
        one[1] |= {"EchoTime": 5, "EffectiveEchoTime": 5.0, "EchoNumbers": 1}
    more = {"EchoTime": 80, "EffectiveEchoTime": 80.0, "EchoNumbers": 2}
    drawn.others += [drawn.copy([s[0] // 2, s[1]], **more) for s in drawn.slices]
    return False


def an_echo_in_between(drawn):
    for i, one in enumerate(drawn.slices):
        time = 5.0 + 50 * (i % 2)
        one[1] |= {"EchoTime": time, "EffectiveEchoTime": time}
    return False


def time_points(drawn):
    drawn.others += [drawn.copy([s[0] + 1, s[1]]) for s in drawn.slices]
    return False


def one_changed_copy(drawn):
    pixels, tags = drawn.slices[int(drawn.inner()[0])]
    drawn.others.append(drawn.copy([pixels // 2 + 1, tags]))
    return False


def phase(drawn):
    kind = str(drawn.rng.choice(["P", "R", "I", "PHASE MAP"]))
    kind = ["ORIGINAL", "PRIMARY", kind, "ND"]
    drawn.others += [
        drawn.copy([s[0] * 7 % 4096, s[1]], ImageType=kind, FrameType=kind) for s in drawn.slices
    ]
    drawn.notes.add("images of the series are left out")
    return True


def a_tilted_slice(drawn):
    tags = drawn.slices[int(drawn.inner()[0])][1]
    turn = Rotation.from_rotvec(drawn.rng.choice([-1, 1]) * 0.1 * drawn.axes[2]).as_matrix()
    tags["ImageOrientationPatient"] = list(np.round((drawn.axes[:2] @ turn.T).ravel(), 6))
    return False


def flipped_rows(drawn):
    for k in drawn.inner(3):
        drawn.slices[k][1]["ImageOrientationPatient"] = list(np.round(-drawn.axes[:2].ravel(), 6))
    return False


def planes(drawn):
    for i, one in enumerate(drawn.slices):
        own = np.roll(drawn.axes, i % 3, axis=0)
        one[1]["ImageOrientationPatient"] = list(np.round(own[:2].ravel(), 6))
    return False


def sheared(drawn):
    for k, (_, tags) in enumerate(drawn.slices):
        place = drawn.corner + drawn.step * k * (drawn.axes[2] + 0.2 * drawn.axes[1])
        tags["ImagePositionPatient"] = list(np.round(place, 6))
    return False


def moved(drawn):
    k, share = int(drawn.inner()[0]), drawn.rng.uniform(0.3, 0.7) * drawn.rng.choice([-1, 1])
    drawn.slices[k] = drawn.slice_at(k + share)
    return False


def moved_aside(drawn):
    tags = drawn.slices[int(drawn.inner()[0])][1]
    tags["ImagePositionPatient"] = list(
        np.round(tags["ImagePositionPatient"] + drawn.axes[0] * (drawn.step + 1), 3)
    )
    return False


def two_distances(drawn):
    half = len(drawn.slices) // 2
    drawn.slices[half:] = [drawn.slice_at(half + 1.6 * k) for k in range(half)]
    return False


def every_other(drawn):
    for one in drawn.slices:
        one[1] |= {"SliceThickness": drawn.step, "SpacingBetweenSlices": drawn.step}
    drawn.slices = drawn.slices[::2]
    return False


def no_geometry(drawn):
    tag = drawn.rng.choice(["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
    some = drawn.inner() if drawn.rng.random() < 0.5 else range(len(drawn.slices))
    if tag != "ImagePositionPatient":
        some = range(len(drawn.slices))
    for k in some:
        drawn.slices[k][1].pop(str(tag), None)
    return False


def little_told(drawn):
    names = ["InstanceNumber", "SliceThickness", "SeriesDescription", "PatientID", "ImageType",
             "Modality", "StudyInstanceUID"]  # fmt: skip
    for name in drawn.rng.choice(names, 3, replace=False):
        for _, tags in drawn.slices:
            tags.pop(str(name), None)
    return True


def shuffled_numbers(drawn):
    order = drawn.rng.permutation(len(drawn.slices))
    for k, (_, tags) in zip(order, drawn.slices, strict=True):
        tags["InstanceNumber"] = int(k)
    return True


def backwards(drawn):
    drawn.slices.reverse()
    return True


def scaled(drawn):
    """Each slice with a slope of its own."""
    for one in drawn.slices:
        slope = float(np.round(drawn.rng.uniform(0.1, 0.2), 3))
        one[0] = np.rint(one[0] / slope).astype("u2")
        one[1] |= {"RescaleSlope": slope, "RescaleIntercept": 0}
    return True


def another_modality(drawn):
    for _, tags in drawn.slices:
        tags["Modality"] = str(drawn.rng.choice(["CT", "PT", "NM", "XA"]))
    return False


def another_kind(drawn):
    kinds = ["PROJECTION IMAGE", "MIP", "LOCALIZER", "SCREEN SAVE", "MIP_SAG", "MOSAIC", "P", "ADC"]
    kind = ["DERIVED", "SECONDARY", str(drawn.rng.choice(kinds))]
    for _, tags in drawn.slices:
        tags |= {"ImageType": kind, "FrameType": kind}
    return False


def two_sizes(drawn):
    one = drawn.slices[int(drawn.inner()[0])]
    one[0] = one[0][:-1]
    drawn.single = True
    return False


def two_voxel_sizes(drawn):
    tags = drawn.slices[int(drawn.inner()[0])][1]
    tags["PixelSpacing"] = [x * 1.2 for x in tags["PixelSpacing"]]
    drawn.single = True
    return False


def two_people(drawn):
    drawn.slices[int(drawn.inner()[0])][1]["PatientID"] = "P2"
    drawn.single = True
    return False


def another_series(drawn):
    drawn.others += [drawn.slice_at(k, "1.2.3.5") for k in range(int(drawn.rng.integers(5, 9)))]
    drawn.single = True
    return False


def a_localizer_beside(drawn):
    for k in range(6):
        pixels, tags = drawn.slice_at(k, "1.2.3.6")
        own = np.roll(drawn.axes, k % 3, axis=0)
        tags["ImageOrientationPatient"] = list(np.round(own[:2].ravel(), 6))
        drawn.others.append([pixels, tags | {"SeriesDescription": "localizer"}])
    drawn.single = True
    drawn.notes.add("another series is left out: a localizer")
    return True


def cut_short(drawn):
    drawn.cut = True
    return False


def junk(drawn):
    drawn.files |= {"notes.txt": b"notes", "README": b"read me", "viewer.exe": b"MZ" + bytes(300)}
    return True


FAULTS = [
    gap, holes, ends, copies, renamed_copies, copied_place, echoes, an_echo_in_between, time_points,
    one_changed_copy, phase, a_tilted_slice, flipped_rows, planes, sheared, moved, moved_aside,
    two_distances, every_other, no_geometry, little_told, shuffled_numbers, backwards, scaled,
    another_modality, another_kind, two_sizes, two_voxel_sizes, two_people, another_series,
    a_localizer_beside, cut_short, junk,
]  # fmt: skip
HARMLESS = [ends, copies, renamed_copies, phase, little_told, shuffled_numbers, backwards, scaled,
            a_localizer_beside, junk]  # fmt: skip


@st.composite
def folders(draw):
    """A seed, one fault or none, and harmless habits."""
    fault = draw(st.one_of(st.none(), st.sampled_from(FAULTS)))
    habits = draw(st.lists(st.sampled_from(HARMLESS), max_size=3, unique=True))
    return draw(st.integers(0, 2**31)), fault, habits


def build(folder, seed, fault, habits):
    """Write the folder; the drawn series, `read` told."""
    drawn = Drawn(seed)
    drawn.single = False
    # What changes the slices comes before what copies them.
    last = {copies, renamed_copies, phase, echoes, time_points, one_changed_copy}
    own = [fault] if fault else []
    steps = list(dict.fromkeys([*habits, *own]))
    for step in sorted(steps, key=lambda s: (s is not ends, s in last, s in own)):
        drawn.read &= step(drawn)
    slices = [*drawn.slices, *drawn.others]
    enhanced = drawn.rng.random() < 0.3 and not drawn.single
    if enhanced:
        shared = ("PixelSpacing",) if "PixelSpacing" in drawn.slices[0][1] else ()
        write_enhanced(folder / "IM0001", slices, shared=shared)
    else:
        ending = drawn.rng.choice(["", ".dcm", ".IMA"])
        for number, (pixels, tags) in zip(drawn.rng.permutation(len(slices)), slices, strict=True):
            write_slice(folder / f"IM{number:04d}{ending}", pixels, tags)
    if drawn.cut:
        path = sorted(folder.iterdir())[int(drawn.rng.integers(len(list(folder.iterdir()))))]
        data = path.read_bytes()
        # Behind the header, within it, within the preamble, or nothing.
        kept = drawn.rng.choice([0, 100, 140, 200, 400, len(data) // 2, len(data) - 20])
        path.write_bytes(data[: int(kept)])
    for name, data in drawn.files.items():
        (folder / name).write_bytes(data)
    return drawn


def read(folder, source):
    """The scan, or None and why it is none."""
    try:
        (scan,) = find_all(source, "T1w", every=True).scans
        assert scan.image == folder
        return read_raw(folder), ""
    except InputError as error:
        return None, str(error)


def check_drawn(raw, drawn):
    assert raw.volume.array.shape == (drawn.columns, drawn.rows, len(drawn.slices))
    for note in drawn.notes:
        assert any(note in one for one in raw.notes), (note, raw.notes)
    index = np.indices(raw.volume.array.shape).reshape(3, -1)
    world = FLIP @ raw.volume.affine @ np.vstack([index, np.ones(index.shape[1])])
    expected = drawn.value(world[:3].T).reshape(raw.volume.array.shape)
    # Each mm changes a value by 14 at most.
    off = 1 + 14 * 10.0**-drawn.digits
    assert np.abs(raw.volume.array - expected).max() < off


def drawn_often(count):
    """So many draws; a smaller folder than one that fails would tell no more."""
    return settings(
        max_examples=count,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
    )


def test_value_tells_every_place():
    drawn = Drawn(1)
    points = np.random.default_rng(0).uniform(-100, 100, (200, 3))
    assert len(np.unique(np.round(drawn.value(points), 3))) == 200


@pytest.mark.slow
@pytest.mark.parametrize(
    "count", [30, pytest.param(300, marks=pytest.mark.fuzz)], ids=["few", "many"]
)
def test_any_dicom_folder_is_read_as_drawn_or_refused_in_one_line(count):
    @drawn_often(count)
    @given(folders())
    def check(case):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "in" / "anna" / "T1w"
            drawn = build(folder, *case)
            raw, said = read(folder, Path(name) / "in")
            assert bool(raw) == drawn.read, said
            if raw is None:
                assert "\n" not in said
                assert name in said
                return
            check_drawn(raw, drawn)

    check()


MOSAICS = {
    "": True, "copy": True, "phase": True, "scaled": True, "csa noise": None, "csa cut": False,
    "no csa": False, "time point": False, "moved": False, "behind": False, "count": False,
    "sheared": False, "wider": False, "file cut": False,
}  # fmt: skip
"""Faults of mosaics, and whether one is read: None for whatever comes, but in one line."""


def build_mosaic(folder, seed, fault):
    """Write a mosaic of drawn slices, along their normal or against it."""
    drawn = Drawn(seed)
    rng, count, turned = drawn.rng, len(drawn.slices), int(drawn.rng.choice([1, -1]))
    tiles = np.stack([pixels for pixels, _ in drawn.slices[::turned]])
    first, axes = drawn.slices[::turned][0][1], drawn.axes
    pixels = mosaic_of(tiles)
    tags = first | {"SpacingBetweenSlices": drawn.step}
    place = drawn.corner + (turned < 0) * (count - 1) * drawn.step * axes[2]
    corner = mosaic_corner(place, axes[:2], drawn.spacing, tiles[0].shape, pixels.shape)
    # Rounded cosines move the corner of a mosaic by its size.
    tags["ImageOrientationPatient"] = list(np.round(axes[:2].ravel(), 6))
    tags["ImagePositionPatient"] = list(np.round(corner, drawn.digits))
    csa = write_csa(mosaic_fields(count, turned * axes[2]))
    if fault == "csa cut":
        csa = csa[: int(rng.integers(1, len(csa) - 400))]
    elif fault == "csa noise":
        noisy = np.frombuffer(csa, "u1").copy()
        noisy[rng.integers(0, len(csa), 5)] = rng.integers(0, 256, 5)
        csa = noisy.tobytes()
    elif fault == "behind":
        # A tile behind the last; 9 slices leave none.
        pixels[-1, -1] = 7
        if count == 9:
            csa = None
    elif fault == "wider":
        pixels = np.pad(pixels, ((0, 0), (0, 1)))
    elif fault == "sheared":
        csa = write_csa(mosaic_fields(count, axes[2] + 0.3 * axes[1]))
    elif fault == "scaled":
        pixels = pixels * 4
        tags |= {"RescaleSlope": 0.25, "RescaleIntercept": 0}
    told = count + (fault == "count")
    write_mosaic(folder / "1.IMA", pixels, tags, None if fault == "no csa" else csa, told)
    more = tags | {"SOPInstanceUID": "1.2.3.5"}
    if fault == "copy":
        write_mosaic(folder / "2.IMA", pixels, more, csa, told)
        drawn.notes.add("copied slices are passed over")
    elif fault == "phase":
        kind = {"ImageType": ["ORIGINAL", "PRIMARY", "P", "MOSAIC"]}
        write_mosaic(folder / "2.IMA", pixels, more | kind, csa, told)
        drawn.notes.add("phase images of the series are left out")
    elif fault == "time point":
        write_mosaic(folder / "2.IMA", np.where(pixels, pixels + 1, 0), more, csa, told)
    elif fault == "moved":
        more["ImagePositionPatient"] = list(np.round(corner + drawn.step / 2 * axes[2], 3))
        write_mosaic(folder / "2.IMA", pixels, more, csa, told)
    elif fault == "file cut":
        data = (folder / "1.IMA").read_bytes()
        (folder / "1.IMA").write_bytes(data[: int(rng.choice([0, 140, 400, len(data) - 20]))])
    drawn.read = MOSAICS[fault]
    return drawn


@pytest.mark.parametrize(
    "count", [20, pytest.param(200, marks=pytest.mark.fuzz)], ids=["few", "many"]
)
def test_any_mosaic_is_read_as_drawn_or_refused_in_one_line(count):
    @drawn_often(count)
    @given(st.integers(0, 2**31), st.sampled_from(list(MOSAICS)))
    def check(seed, fault):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "in" / "anna" / "T1w"
            drawn = build_mosaic(folder, seed, fault)
            raw, said = read(folder, Path(name) / "in")
            if raw is None:
                assert "\n" not in said
                assert name in said
            assert drawn.read in (None, bool(raw)), (fault, said)
            if drawn.read:
                check_drawn(raw, drawn)

    check()
