"""2D images: every format that they come in, what is refused, and the way to a volume and back."""

import pickle
import struct
import zlib

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from brainuad.errors import InputError
from brainuad.volumes.nifti import read_volume, write_volume
from brainuad.volumes.planes import (
    Plane,
    image_of,
    plane_volume,
    read_plane,
    read_plane_mask,
    write_png,
    write_result_pngs,
)


def grey(dtype=np.uint8):
    """`(6, 5)`, every pixel another value; of 16 bits beyond 255."""
    step = 8 if dtype == np.uint8 else 2000
    return (np.arange(30).reshape(6, 5) * step).astype(dtype)


def bone(values):
    """A colour map that rises, as plotting libraries paint masks and slices."""
    share = values[..., None] / 255
    colours = np.concatenate([share**1.2, share, share**0.8, np.ones_like(share)], -1)
    return np.rint(colours * 255).astype(np.uint8)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "A.TIFF", "a.npy"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_values_come_as_they_are(tmp_path, name, dtype):
    path = tmp_path / name
    if name.endswith(".npy"):
        np.save(path, grey(dtype))
    else:
        Image.fromarray(grey(dtype)).save(path)
    found = read_plane(path).array
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, grey(dtype))


def test_floats_of_a_tiff_come_as_they_are(tmp_path):
    values = np.linspace(-1, 3, 30, dtype=np.float32).reshape(6, 5)
    Image.fromarray(values).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_plane(tmp_path / "a.tif").array, values)


def test_a_jpeg_is_nearly_what_it_was(tmp_path):
    Image.fromarray(np.repeat(grey(), 8, 0).repeat(8, 1)).save(tmp_path / "a.jpg", quality=95)
    found = read_plane(tmp_path / "a.jpg").array
    assert np.abs(found - np.repeat(grey(), 8, 0).repeat(8, 1)).max() < 12


def test_grey_colours_are_grey_and_alpha_is_dropped(tmp_path):
    for kind, channels in (("LA", [grey()]), ("RGB", [grey()] * 3), ("RGBA", [grey()] * 3)):
        alpha = [np.full_like(grey(), 7)] if kind.endswith("A") else []
        Image.fromarray(np.stack([*channels, *alpha], -1), kind).save(tmp_path / f"{kind}.png")
        np.testing.assert_array_equal(read_plane(tmp_path / f"{kind}.png").array, grey())


def test_a_palette_is_its_colours(tmp_path):
    Image.fromarray(grey()).convert("P").save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_plane(tmp_path / "a.png").array, grey())


def test_a_colour_map_becomes_luminance_that_rises_with_it(tmp_path):
    Image.fromarray(bone(grey())).save(tmp_path / "a.png")
    found = read_plane(tmp_path / "a.png").array
    assert (np.diff(found.ravel()) > 0).all()
    red, green, blue = (bone(grey())[..., i].astype(float) for i in range(3))
    np.testing.assert_allclose(found, 0.299 * red + 0.587 * green + 0.114 * blue, atol=1e-3)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 1, 2, 4], [False, True, True, True]),
        ([0, 0, 255, 255], [False, False, True, True]),
        ([0, 3, 127, 255], [False, False, False, True]),
        ([0, 0, 0, 0], [False] * 4),
        ([0, 5, 16, 16], [False, True, True, True]),
        ([0.0, 0.2, 0.6, 1.0], [False, False, True, True]),
    ],
    ids=["classes", "picture", "smoothed", "empty", "sixteen", "shares"],
)
def test_masks_are_classes_or_pictures_of_masks(tmp_path, values, expected):
    array = np.repeat(np.array(values)[:, None], 5, 1)
    np.save(tmp_path / "m.npy", array)
    found = read_plane_mask(tmp_path / "m.npy", Plane(array.astype(np.float32)))
    np.testing.assert_array_equal(found, np.repeat(np.array(expected)[:, None], 5, 1))


def test_a_mask_through_a_colour_map_is_cut_at_half(tmp_path):
    mask = np.zeros((6, 5), np.uint8)
    mask[2:4, 1:3] = 255
    Image.fromarray(bone(mask)).save(tmp_path / "m.png")
    found = read_plane_mask(tmp_path / "m.png", Plane(grey().astype(np.float32)))
    np.testing.assert_array_equal(found, mask > 0)


def test_channels_lie_along_the_last_axis_if_it_is_the_shortest_else_along_the_first(tmp_path):
    stack = np.stack([grey(), grey() + 1, grey() + 2])
    np.save(tmp_path / "first.npy", stack)
    np.save(tmp_path / "last.npy", np.moveaxis(stack, 0, -1))
    for name in ("first", "last"):
        np.testing.assert_array_equal(read_plane(tmp_path / f"{name}.npy", 1).array, grey() + 1)
    np.save(tmp_path / "one.npy", stack[:1])
    np.testing.assert_array_equal(read_plane(tmp_path / "one.npy").array, grey())


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 1), (5, 1, 6), (1, 5, 6)])
def test_a_nifti_of_one_plane_is_shown_upright(tmp_path, shape):
    array = np.arange(30, dtype=np.float32).reshape(shape)
    nib.save(nib.nifti1.Nifti1Image(array, np.diag([2, 2, 2, 1])), tmp_path / "a.nii.gz")
    found = read_plane(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(found.array, array.reshape(5, 6)[:, ::-1].T)
    assert found.pixel_mm == (2, 2)


def _pickled(path):
    path.write_bytes(pickle.dumps([1, 2]))


def _objects(path):
    np.save(path, np.array([{}, 1], dtype=object), allow_pickle=True)


def _stack(path):
    frames = [Image.fromarray(grey())] * 3
    frames[0].save(path, save_all=True, append_images=frames[1:])


def _huge_header(path):
    header = np.lib.format.magic(1, 0)
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (90000, 90000), }\n"
    path.write_bytes(header + struct.pack("<H", len(text)) + text + b"\0" * 64)


def _bomb(path):
    """A PNG of 60,000 x 60,000 pixels in a few bytes."""

    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + data + chunk(b"IEND", b""))


def _cut(path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:3000])


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("a.npy", _pickled, "numpy.save"),
        ("a.npy", _objects, "numpy.save"),
        ("a.npy", _huge_header, "no plain NPY"),
        ("a.npy", lambda p: np.save(p, np.zeros((155, 24, 24))), "one file a slice"),
        ("a.npy", lambda p: np.save(p, np.zeros(9)), "one 2D image"),
        ("a.npy", lambda p: np.save(p, np.zeros((9, 9), complex)), "expected numbers"),
        ("a.npy", lambda p: np.save(p, np.zeros((2, 9))), "check the file"),
        ("a.tif", _stack, "a stack of 3 images"),
        ("a.png", _bomb, "60000|do not trust"),
        ("a.png", _cut, "truncated"),
        ("a.png", lambda p: p.write_bytes(b""), "no image"),
        ("a.png", lambda p: None, "no such file"),
        ("a.png", lambda p: p.mkdir(), "give a file"),
        ("a.jpg", lambda p: p.write_text("<svg/>"), "no image"),
        ("a.gif", lambda p: Image.fromarray(grey()).save(p), "convert it to PNG"),
        (
            "a.nii.gz",
            lambda p: write_volume(p, np.ones((5, 6, 7)), np.eye(4)),
            "data=folder and brainuad-prepare take volumes",
        ),
    ],
)
def test_what_is_no_image_is_one_line_that_names_the_file(tmp_path, name, make, words):
    path = tmp_path / name
    make(path)
    with pytest.raises(InputError, match=words) as caught:
        read_plane(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_channel_that_is_not_there_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 9, 9)))
    Image.fromarray(grey()).save(tmp_path / "a.png")
    for path, channel in (("a.npy", 2), ("a.npy", -1), ("a.png", 1)):
        with pytest.raises(InputError, match="channel"):
            read_plane(tmp_path / path, channel)


def test_a_mask_of_another_shape_or_with_nan_is_refused(tmp_path):
    like = Plane(grey().astype(np.float32))
    np.save(tmp_path / "m.npy", np.zeros((5, 6)))
    with pytest.raises(InputError, match="its image has 6 x 5"):
        read_plane_mask(tmp_path / "m.npy", like)
    np.save(tmp_path / "n.npy", np.full((6, 5), np.nan))
    with pytest.raises(InputError, match="no NaN"):
        read_plane_mask(tmp_path / "n.npy", like)


@given(
    image=arrays.arrays(np.uint16, st.tuples(st.integers(4, 9), st.integers(4, 9))),
    pixel=st.tuples(st.floats(0.1, 5), st.floats(0.1, 5)),
)
def test_pixel_to_volume_to_nifti_to_png_is_the_identity(tmp_path_factory, image, pixel):
    folder = tmp_path_factory.mktemp("planes")
    volume = plane_volume(image.astype(np.float32), pixel)
    rows, columns = image.shape
    assert volume.array.shape == (columns, rows, 1)
    np.testing.assert_allclose(volume.spacing_mm[:2], pixel[::-1])
    write_volume(folder / "a.nii.gz", volume.array, volume.affine)
    again = read_volume(folder / "a.nii.gz")
    # The middle of the image is the origin, exactly in the plane.
    middle = again.affine @ [(columns - 1) / 2, (rows - 1) / 2, 0, 1]
    np.testing.assert_allclose(middle[:2], 0, atol=1e-4)
    assert middle[2] == 0
    write_png(folder / "a.png", image_of(again.array).astype(np.uint16))
    np.testing.assert_array_equal(read_plane(folder / "a.png").array, image)
    # A NIfTI of one plane is the image again, too.
    np.testing.assert_array_equal(read_plane(folder / "a.nii.gz").array, image)


def test_results_as_png_say_what_a_pixel_means(tmp_path):
    anomaly = np.zeros((5, 6, 1), np.float32)
    anomaly[1, 5, 0], anomaly[2, 0, 0] = 3.0, 0.5
    write_result_pngs(tmp_path / "a.png", tmp_path / "m.png", anomaly, anomaly > 1)
    with Image.open(tmp_path / "a.png") as image:
        said = image.info["Description"]
        levels = np.asarray(image).astype(float)
    assert said == "anomaly score = pixel * 4 / 65535"
    # The first column of the top row is (0, 5) of the volume.
    np.testing.assert_allclose(levels[0, 1] * 4 / 65535, 3.0, atol=1e-4)
    np.testing.assert_allclose(levels[5, 2] * 4 / 65535, 0.5, atol=1e-4)
    mask = np.asarray(Image.open(tmp_path / "m.png"))
    assert mask[0, 1] == 255
    assert mask.sum() == 255
    before = (tmp_path / "a.png").read_bytes()
    write_result_pngs(tmp_path / "a.png", tmp_path / "m.png", anomaly, anomaly > 1)
    assert (tmp_path / "a.png").read_bytes() == before
