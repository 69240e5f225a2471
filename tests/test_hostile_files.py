"""Pictures and arrays made to hang the command, to fill memory or to choose another reader: refused in a sentence."""

import ctypes
import gzip
import os
import re
import shutil
import struct
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

pytestmark = pytest.mark.timeout(120)
BYTES = 500 * 10**6
"""By how much one command may make this process grow."""


def peak_memory():
    """The most memory that this process has had, in bytes."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024


@pytest.fixture
def ganzoo(call, tmp_path, monkeypatch):
    """The command's sentence, after it was refused as a user's mistake within the limits."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments):
        # What other tests have freed counts as growth only once the system has it back.
        if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
            libc.malloc_trim(0)
        with suppress(OSError):  # not every container allows it; then only growth beyond an earlier peak counts
            Path("/proc/self/clear_refs").write_text("5")  # forgets the most that it had
        before = peak_memory()
        code, _, err = call(*arguments)
        assert code == 2, err
        assert peak_memory() - before < BYTES
        return " ".join(err.split())

    return command


@pytest.fixture
def train_on(ganzoo):
    def train(pictures, *settings):
        overrides = [
            "dataset.name=image-folder",
            f"dataset.path={pictures}",
            "train.images=32",
            "train.batch_size=16",
            *settings,
        ]
        return ganzoo("run", "vanilla-mnist", *(word for one in overrides for word in ("--set", one)))

    return train


def picture(path, mode="L", size=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path)
    return path


@pytest.fixture
def pictures(tmp_path):
    """So few that none may be left out."""
    for number in range(8):
        picture(tmp_path / "pictures" / "class" / f"{number}.png")
    return tmp_path / "pictures"


def test_links_in_circles_end(pictures, train_on):
    # Two of them: a search that follows links would take 2 to the power of 40 steps until the system gives up.
    for name in ("one", "two"):
        (pictures / "class" / name).symlink_to(pictures / "class")
    assert "is a link to a folder, which may lead in circles" in train_on(pictures)


def test_a_pipe_among_the_pictures_is_not_waited_for(pictures, train_on):
    os.mkfifo(pictures / "class" / "5.png.png")
    assert "5.png.png is not a regular file" in train_on(pictures)


def test_a_pipe_in_the_place_of_a_file_of_a_dataset_is_not_waited_for(tmp_path, ganzoo):
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        os.mkfifo(tmp_path / name)
    said = ganzoo("run", "vanilla-mnist", "--set", "dataset=fashion-mnist", "--data-dir", tmp_path)
    assert "The files of dataset 'fashion-mnist' are not in" in said


def test_a_program_called_a_picture_reaches_no_interpreter(pictures, tmp_path, train_on, monkeypatch):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("gs", "gswin64c"):
        (tools / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/ghostscript-ran\nexit 1\n")
        (tools / name).chmod(0o755)
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
    (pictures / "class" / "0.png").write_bytes(eps)
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)
    assert "it is not a PNG, JPEG, WEBP, BMP, PPM or TIFF file" in train_on(pictures)
    assert not (tmp_path / "ghostscript-ran").exists()


def test_a_few_kilobytes_that_are_a_hundred_million_pixels_are_not_decoded(pictures, train_on):
    bomb = picture(pictures / "class" / "00.png", "1", (12_000, 12_000))
    assert bomb.stat().st_size < 30_000
    for number in range(1, 12):
        shutil.copy(bomb, pictures / "class" / f"0{number}.png")
    assert "00.png is 12000x12000, but at most 67,108,864 pixels are read" in train_on(pictures, "dataset.size=8")


def test_a_picture_that_is_next_to_nothing_compressed_is_not_decoded(tmp_path, ganzoo):
    bomb = picture(tmp_path / "folder" / "0.png", "L", (8000, 8000))
    for number in range(1, 40):
        shutil.copy(bomb, bomb.with_name(f"{number}.png"))
    assert "claims to be 8000x8000, in a file of only" in ganzoo("eval", bomb.parent)


def test_a_description_of_hundreds_of_megabytes_is_not_read(tmp_path, ganzoo):
    length = 600 * 10**6
    head = b"\x93NUMPY\x02\x00" + struct.pack("<I", length)
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (4, 8, 8)}"
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", head + header + b" " * length)
    assert (tmp_path / "x.npz").stat().st_size < 10**6
    assert "The array 'images' in" in ganzoo("eval", tmp_path / "x.npz")


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_of_a_dataset_that_says_more_than_it_holds_takes_no_memory(tmp_path, ganzoo, packed):
    content = struct.pack(">HBBIII", 0, 8, 3, 3_000_000, 28, 28) + bytes(784)
    labels = struct.pack(">HBBI", 0, 8, 1, 1) + b"\x00"
    for name, whole in (("images-idx3", content), ("labels-idx1", labels)):
        file = tmp_path / f"train-{name}-ubyte{'.gz' if packed else ''}"
        file.write_bytes(gzip.compress(whole) if packed else whole)
    said = ganzoo("run", "vanilla-mnist", "--set", "dataset=fashion-mnist", "--data-dir", tmp_path)
    assert "The files of dataset 'fashion-mnist'" in said
    assert "it holds less than it claims" in said


def test_a_report_draws_no_picture_that_its_run_was_given(tmp_path):
    """A stranger's run folder, whose pictures of samples are a pipe and a bomb."""
    from ganzoo_reports.run_figures import frames

    picture(tmp_path / "000000000000.png")
    os.mkfifo(tmp_path / "000000000064.png")
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(10_000))), (b"IEND", b""))
    (tmp_path / "000000000128.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks)
    )
    assert [frame["images"] for frame in frames(tmp_path, [])] == [0]
