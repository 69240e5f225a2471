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


def test_grey_pngs_are_read_in_the_order_of_their_names(tmp_path):
    pictures = read_pictures(save_pngs(tmp_path / "p", GREY))
    assert torch.equal(pictures.images, torch.from_numpy(GREY)[:, None])
    assert pictures.notes == ("5 PNGs, 4x6 grey.",)


def test_rgb_pngs_keep_their_channels(tmp_path):
    colours = np.stack([GREY, GREY + 1, GREY + 2], axis=3)
    pictures = read_pictures(save_pngs(tmp_path / "p", colours))
    assert torch.equal(pictures.images, torch.from_numpy(colours).permute(0, 3, 1, 2))


def test_equal_channels_become_grey_with_a_note(tmp_path):
    pictures = read_pictures(save_pngs(tmp_path / "p", np.stack([GREY] * 3, axis=3))).fitted((1, 4, 6))
    assert torch.equal(pictures.images, torch.from_numpy(GREY)[:, None])
    assert "one is kept" in pictures.notes[-1]


def test_coloured_pictures_are_not_turned_into_grey_ones():
    images = torch.zeros(3, 3, 4, 6, dtype=torch.uint8)
    images[1, 2, 0, 0] = 1
    with pytest.raises(GanzooError, match="coloured, but the dataset is grey"):
        Pictures(images).fitted((1, 4, 6))


def test_grey_pictures_are_tiled_for_a_coloured_dataset():
    images = torch.from_numpy(GREY)[:, None]
    pictures = Pictures(images).fitted((3, 4, 6))
    assert torch.equal(pictures.images, images.repeat(1, 3, 1, 1))
    assert "tiled" in pictures.notes[-1]


def test_pictures_of_another_size_are_never_resampled():
    with pytest.raises(GanzooError, match="4x6 grey, but the dataset's are 8x8 grey"):
        Pictures(torch.from_numpy(GREY)[:, None]).fitted((1, 8, 8))


def bordered(width=2):
    images = torch.from_numpy(GREY)[:, None]
    return torch.nn.functional.pad(images, (width, width, width, width)), images


def test_a_black_border_is_cut_off_if_the_user_says_so():
    padded, images = bordered()
    pictures = Pictures(padded, torch.arange(5)).fitted((1, 4, 6), crop=True)
    assert torch.equal(pictures.images, images)
    assert pictures.labels.tolist() == [0, 1, 2, 3, 4]
    assert pictures.notes[-1] == "A black border was cut off, leaving 4x6 grey."
    with pytest.raises(GanzooError, match="4x6 grey, and the border is black .* Cut it off with --crop"):
        Pictures(padded).fitted((1, 4, 6))


def test_a_border_that_is_not_black_in_every_picture_is_never_cut_off():
    padded, _ = bordered()
    padded[3, 0, 0, 5] = 1
    with pytest.raises(GanzooError, match="border is not black in all pictures"):
        Pictures(padded).fitted((1, 4, 6), crop=True)


def test_only_a_border_of_the_same_width_on_both_sides_is_cut_off():
    padded, _ = bordered()
    for size in ((1, 5, 6), (1, 9, 10), (1, 4, 12)):
        with pytest.raises(GanzooError, match="Nothing is resampled"):
            Pictures(padded).fitted(size, crop=True)


def test_coloured_pictures_are_cropped_and_then_judged_by_their_channels():
    padded, images = bordered()
    assert torch.equal(Pictures(padded.repeat(1, 3, 1, 1)).fitted((1, 4, 6), crop=True).images, images)


def test_fitting_pictures_are_unchanged():
    pictures = Pictures(torch.from_numpy(GREY)[:, None])
    assert pictures.fitted((1, 4, 6)) is pictures


def test_mixed_sizes_are_refused(tmp_path):
    folder = save_pngs(tmp_path / "p", [GREY[0], GREY[1], GREY[2][:3]])
    with pytest.raises(GanzooError, match=r"002\.png is 3x6 grey, but the first picture in the folder is 4x6 grey"):
        read_pictures(folder)


def test_mixed_kinds_are_refused(tmp_path):
    folder = save_pngs(tmp_path / "p", [GREY[0], np.stack([GREY[0]] * 3, axis=2)])
    with pytest.raises(GanzooError, match=r"001\.png is 4x6 RGB"):
        read_pictures(folder)


@pytest.mark.parametrize("mode", ["P", "1", "RGBA", "I;16"])
def test_palettes_transparency_and_other_depths_are_refused(tmp_path, mode):
    Image.new(mode, (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(GanzooError, match=f"of mode {mode}"):
        read_pictures(tmp_path)


def test_a_transparent_colour_is_refused(tmp_path):
    Image.new("RGB", (4, 4), (1, 2, 3)).save(tmp_path / "a.png", transparency=(1, 2, 3))
    with pytest.raises(GanzooError, match="a transparent colour.*without a palette or transparency"):
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


def test_other_picture_formats_alongside_pngs_are_refused(tmp_path):
    save_pngs(tmp_path, GREY)
    Image.fromarray(GREY[0]).save(tmp_path / "x.jpg")
    with pytest.raises(GanzooError, match=r"1 pictures that are not PNGs, such as x\.jpg"):
        read_pictures(tmp_path)


def test_another_format_called_png_is_refused(tmp_path):
    Image.fromarray(GREY[0]).save(tmp_path / "a.png", "JPEG")
    with pytest.raises(GanzooError, match=r"a\.png cannot be read"):
        read_pictures(tmp_path)


def test_a_truncated_png_is_refused(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:2000])
    with pytest.raises(GanzooError, match=r"a\.png cannot be read"):
        read_pictures(tmp_path)


def test_an_empty_folder_and_a_missing_path_are_refused(tmp_path):
    with pytest.raises(GanzooError, match="holds no PNGs"):
        read_pictures(tmp_path)
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


def test_an_array_that_holds_less_than_it_declares_is_refused(tmp_path):
    path = tmp_path / "short.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", npy_header("|u1", (1000, 28, 28)) + bytes(100))
    with pytest.raises(GanzooError, match="cannot be read"):
        read_pictures(path)


def test_a_truncated_archive_is_refused(tmp_path):
    path = npz(tmp_path / "a.npz", images=GREY)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(GanzooError, match="cannot be read"):
        read_pictures(path)


@pytest.mark.parametrize("packing", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_an_archive_with_other_bytes_in_its_middle_is_refused(tmp_path, packing):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", packing) as archive:
        archive.writestr("images.npy", npy_header("|u1", (100, 28, 28)) + np.random.default_rng(0).bytes(78_400))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[60:90] = b"\xff" * 30
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(GanzooError, match="The array 'images' in .* cannot be read"):
        read_pictures(tmp_path / "a.npz")


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
