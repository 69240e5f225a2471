"""Pictures from other sources: read as they are, or refused with a message."""

import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from ganzoo.errors import GanzooError
from ganzoo.evaluation.evaluate import Pictures, read_pictures

GREY = np.arange(5 * 4 * 6, dtype=np.uint8).reshape(5, 4, 6)


def save_pngs(folder, arrays):
    folder.mkdir(exist_ok=True)
    for index, array in enumerate(arrays):
        Image.fromarray(array).save(folder / f"{index:03d}.png")
    return folder


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def npy_header(descr, shape):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue()


def test_pngs_are_read_in_the_order_of_their_names_with_their_channels(tmp_path):
    pictures = read_pictures(save_pngs(tmp_path / "grey", GREY))
    assert torch.equal(pictures.images, torch.from_numpy(GREY)[:, None])
    assert pictures.notes == ("5 PNGs, 4x6 grey.",)
    colours = np.stack([GREY, GREY + 1, GREY + 2], axis=3)
    found = read_pictures(save_pngs(tmp_path / "rgb", colours)).images
    assert torch.equal(found, torch.from_numpy(colours).permute(0, 3, 1, 2))


def test_equal_channels_become_grey_with_a_note(tmp_path):
    pictures = read_pictures(save_pngs(tmp_path / "p", np.stack([GREY] * 3, axis=3))).fitted((1, 4, 6))
    assert torch.equal(pictures.images, torch.from_numpy(GREY)[:, None])
    assert "one is kept" in pictures.notes[-1]


def test_fitting_pictures_are_unchanged_and_grey_ones_tiled_for_a_coloured_dataset():
    images = torch.from_numpy(GREY)[:, None]
    assert Pictures(images).fitted((1, 4, 6)).images is images
    pictures = Pictures(images).fitted((3, 4, 6))
    assert torch.equal(pictures.images, images.repeat(1, 3, 1, 1))
    assert "tiled" in pictures.notes[-1]


BORDERED = torch.nn.functional.pad(torch.from_numpy(GREY)[:, None], (2, 2, 2, 2))


def spotted(images, *place):
    """The images with a single bright pixel more."""
    images = images.clone()
    images[place] = 1
    return images


def test_a_black_border_is_cut_off_if_the_user_says_so():
    pictures = Pictures(BORDERED, torch.arange(5)).fitted((1, 4, 6), crop=True)
    assert torch.equal(pictures.images, torch.from_numpy(GREY)[:, None])
    assert pictures.labels.tolist() == [0, 1, 2, 3, 4]
    assert pictures.notes[-1] == "A black border was cut off, leaving 4x6 grey."


@pytest.mark.parametrize(
    ("images", "shape", "crop", "sentence"),
    [
        (BORDERED, (1, 4, 6), False, "4x6 grey, and the border is black .* Cut it off with --crop"),
        (spotted(BORDERED, 3, 0, 0, 5), (1, 4, 6), True, "border is not black in all pictures"),
        # Only a border of the same width on both sides is cut off.
        (BORDERED, (1, 5, 6), True, "Nothing is resampled"),
        (BORDERED, (1, 9, 10), True, "Nothing is resampled"),
        (BORDERED, (1, 4, 12), True, "Nothing is resampled"),
        (torch.from_numpy(GREY)[:, None], (1, 8, 8), False, "4x6 grey, but the dataset's are 8x8 grey"),
        (
            spotted(torch.zeros(3, 3, 4, 6, dtype=torch.uint8), 1, 2, 0, 0),
            (1, 4, 6),
            False,
            "coloured, but the dataset is grey",
        ),
    ],
)
def test_pictures_are_never_resampled_or_turned_into_grey_ones(images, shape, crop, sentence):
    with pytest.raises(GanzooError, match=sentence):
        Pictures(images).fitted(shape, crop=crop)


def test_coloured_pictures_are_cropped_and_then_judged_by_their_channels():
    found = Pictures(BORDERED.repeat(1, 3, 1, 1)).fitted((1, 4, 6), crop=True)
    assert torch.equal(found.images, torch.from_numpy(GREY)[:, None])


def image(mode="L", size=(4, 4), kind="PNG", **options):
    """The bytes of a picture's file."""
    file = io.BytesIO()
    Image.effect_noise(size, 50).convert(mode).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({}, "holds no PNGs"),
        (
            {"a.png": image(), "b.png": image(size=(3, 4))},
            r"b\.png is 4x3 grey, but the first picture in the folder is 4x4 grey",
        ),
        ({"a.png": image(), "b.png": image("RGB")}, r"b\.png is 4x4 RGB"),
        ({"a.png": image("P")}, "of mode P"),
        ({"a.png": image("1")}, "of mode 1"),
        ({"a.png": image("RGBA")}, "of mode RGBA"),
        ({"a.png": image("I;16")}, "of mode I;16"),
        (
            {"a.png": image("RGB", transparency=(1, 2, 3))},
            "a transparent colour.*without a palette or transparency",
        ),
        ({"a.png": image(), "x.jpg": image(kind="JPEG")}, r"1 pictures that are not PNGs, such as x\.jpg"),
        ({"a.png": image(kind="JPEG")}, r"a\.png cannot be read"),
        ({"a.png": image(size=(64, 64))[:2000]}, r"a\.png cannot be read"),
    ],
)
def test_folders_of_other_pictures_are_refused(tmp_path, files, sentence):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(GanzooError, match=sentence):
        read_pictures(tmp_path)


def test_16_bits_per_channel_are_refused(tmp_path):
    """Pillow cannot write them, and drops their lower bytes when it reads them."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" + bytes(range(12)))
    content = chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == "RGB"
    with pytest.raises(GanzooError, match="has 16 bits per channel.*Save it as 8-bit grey or RGB"):
        read_pictures(tmp_path)


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_picture_with_a_rotation_tag_is_refused(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(GREY[0]).save(tmp_path / "a.png", exif=exif)
    if orientation == 1:
        assert torch.equal(read_pictures(tmp_path).images[0, 0], torch.from_numpy(GREY[0]))
    else:
        with pytest.raises(GanzooError, match="stored rotated or mirrored"):
            read_pictures(tmp_path)


def test_what_is_neither_a_folder_nor_an_archive_is_refused(tmp_path):
    with pytest.raises(GanzooError, match="No such file or folder: "):
        read_pictures(tmp_path / "nothing")
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(GanzooError, match="is not a run, a folder of PNGs or an .npz file"):
        read_pictures(tmp_path / "a.txt")


def test_npz_of_grey_and_of_coloured_images(tmp_path):
    pictures = read_pictures(npz(tmp_path / "grey.npz", images=GREY, labels=np.array([3, 1, 4, 1, 5], np.uint8)))
    assert torch.equal(pictures.images, torch.from_numpy(GREY)[:, None])
    assert pictures.labels.tolist() == [3, 1, 4, 1, 5]
    colours = np.stack([GREY, GREY + 1, GREY + 2], axis=3)
    for array in (colours, colours.transpose(0, 3, 1, 2)):
        pictures = read_pictures(npz(tmp_path / "rgb.npz", images=array))
        assert torch.equal(pictures.images, torch.from_numpy(colours).permute(0, 3, 1, 2))
    assert pictures.labels is None


@pytest.mark.parametrize("packing", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda content: content[:60] + b"\xff" * 30 + content[90:], "The array 'images' in .* cannot be read"),
        (lambda content: content[:-40], "cannot be read"),
    ],
    ids=["other bytes in its middle", "truncated"],
)
def test_a_damaged_archive_is_refused(tmp_path, packing, damage, sentence):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", packing) as archive:
        archive.writestr("images.npy", npy_header("|u1", (100, 28, 28)) + np.random.default_rng(0).bytes(78_400))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(GanzooError, match=sentence):
        read_pictures(path)


def test_an_array_that_holds_less_than_it_declares_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "short.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", npy_header("|u1", (1000, 28, 28)) + bytes(100))
    with pytest.raises(GanzooError, match="cannot be read"):
        read_pictures(tmp_path / "short.npz")


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"pictures": GREY}, "has no array called 'images'"),
        ({"images": GREY.astype(np.float32)}, "float32"),
        ({"images": GREY[0]}, r"\(4, 6\)"),
        ({"images": np.stack([GREY] * 2, axis=1)}, r"\(5, 2, 4, 6\)"),
        ({"images": np.zeros((5, 3, 6, 3), np.uint8)}, r"shape \(5, 3, 6, 3\), in which the channels could be"),
        ({"images": GREY[:0]}, r"\(0, 4, 6\)"),
        ({"images": GREY, "labels": np.zeros(4, np.int64)}, r"holds labels .* \(4,\)"),
        ({"images": GREY, "labels": np.zeros(5)}, "holds labels of type torch.float64"),
    ],
)
def test_malformed_arrays_are_refused(tmp_path, arrays, sentence):
    with pytest.raises(GanzooError, match=sentence):
        read_pictures(npz(tmp_path / "a.npz", **arrays))


def test_a_choice_of_pictures_is_seeded_and_keeps_labels_with_images():
    images = torch.arange(50).to(torch.uint8).reshape(50, 1, 1, 1)
    pictures = Pictures(images, torch.arange(50))
    chosen = pictures.at_most(20, seed=1)
    assert torch.equal(chosen.images.flatten().long(), chosen.labels)
    assert len(chosen.labels.unique()) == 20
    assert torch.equal(chosen.labels, pictures.at_most(20, seed=1).labels)
    assert not torch.equal(chosen.labels, pictures.at_most(20, seed=2).labels)
    assert pictures.at_most(50, seed=1) is pictures
    assert pictures.at_most(60, seed=1).notes == ("Scoring all 50 images (requested: 60).",)
