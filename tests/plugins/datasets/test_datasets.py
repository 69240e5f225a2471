"""MNIST from its archive, files that are already there, downloads that fail, and folders of pictures."""

import gzip
import lzma
import os
import struct
import urllib.request
import zipfile
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from PIL import Image

from ganzoo import GanzooError
from ganzoo_plugins.datasets.datasets import (
    FASHION_MNIST,
    cifar10,
    emnist,
    fashion_mnist,
    image_folder,
    kmnist,
    mnist,
)
from ganzoo_plugins.datasets.mnist.archive import PACKED, SHA256, unpack
from ganzoo_plugins.datasets.mnist.pack import main as pack_main
from ganzoo_plugins.datasets.mnist.pack import pack


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """The four raw files, unpacked by the code under test."""
    folder = tmp_path_factory.mktemp("data") / "MNIST" / "raw"
    unpack(folder)
    return folder


@pytest.fixture
def no_network(monkeypatch):
    """Every request goes to a proxy on a port where nobody listens."""
    for scheme in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(scheme, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    urllib.request.install_opener(None)
    yield
    urllib.request.install_opener(None)


def write_idx(path: Path, values: torch.Tensor) -> None:
    """An IDX file of bytes, written from the format's description."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(f">BBBB{values.dim()}I", 0, 0, 8, values.dim(), *values.shape)
    path.write_bytes(header + bytes(values.flatten().tolist()))


class TestArchive:
    def test_unpacks_the_four_original_files(self, raw):
        assert {path.name: sha256(path.read_bytes()).hexdigest() for path in raw.iterdir()} == SHA256

    def test_a_damaged_cache_is_repaired(self, raw):
        labels, images = raw / "t10k-labels-idx1-ubyte", raw / "t10k-images-idx3-ubyte"
        with labels.open("r+b") as file:
            file.seek(100)
            file.write(b"\xff")
        os.truncate(images, 1000)
        (raw / f".{labels.name}.tmp").write_bytes(b"left by a killed process")
        unpack(raw)
        for path in (labels, images):
            assert sha256(path.read_bytes()).hexdigest() == SHA256[path.name]
        assert sorted(path.name for path in raw.iterdir()) == sorted(SHA256)

    def test_of_several_at_once_one_unpacks(self, tmp_path, monkeypatch):
        small = {name: digest for name, digest in SHA256.items() if "labels" in name}
        monkeypatch.setattr("ganzoo_plugins.datasets.mnist.archive.SHA256", small)
        read, archives = lzma.decompress, []
        monkeypatch.setattr(lzma, "decompress", lambda content: archives.append(content) or read(content))
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(unpack, [tmp_path / "raw"] * 8))
        assert len(archives) == len(small)
        assert sorted(path.name for path in (tmp_path / "raw").iterdir()) == sorted(small)

    @pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes.")
    def test_other_users_can_read_a_shared_cache(self, raw):
        (raw / "t10k-labels-idx1-ubyte").unlink()
        before = os.umask(0o022)
        try:
            unpack(raw)
        finally:
            os.umask(before)
        assert (raw / "t10k-labels-idx1-ubyte").stat().st_mode & 0o777 == 0o644

    @pytest.mark.parametrize("damage", ["truncated", "other content", "missing"])
    def test_a_damaged_archive_is_an_error_and_leaves_no_file(self, tmp_path, damage):
        content = (PACKED / "train-images-idx3-ubyte.xz").read_bytes()
        archive = tmp_path / "train-images-idx3-ubyte.xz"
        if damage == "truncated":
            archive.write_bytes(content[:10_000])
        elif damage == "other content":
            archive.write_bytes(lzma.compress(b"not MNIST"))
        with pytest.raises(GanzooError, match=r"train-images-idx3-ubyte\.xz is damaged"):
            unpack(tmp_path / "raw", packed=tmp_path)
        assert not (tmp_path / "raw").exists()

    def test_packing_refuses_files_that_are_not_mnists(self, tmp_path):
        (tmp_path / "train-images-idx3-ubyte").write_bytes(b"something else")
        with pytest.raises(GanzooError, match="is not MNIST's file"):
            pack(tmp_path, packed=tmp_path)
        with pytest.raises(GanzooError, match="is not MNIST's file"):
            pack_main([str(tmp_path)])

    def test_what_is_packed_unpacks_to_the_same_bytes(self, raw, tmp_path, monkeypatch):
        small = {name: digest for name, digest in SHA256.items() if "labels" in name}
        monkeypatch.setattr("ganzoo_plugins.datasets.mnist.pack.SHA256", small)
        written = pack(raw, packed=tmp_path)
        assert [path.name for path in written] == [f"{name}.xz" for name in small]
        for path in written:
            assert sha256(lzma.decompress(path.read_bytes())).hexdigest() == small[path.stem]


class TestMnist:
    def test_a_fresh_machine_gets_every_digit(self, cache):
        for split, count, first, of_each in (
            ("train", 60_000, [5, 0, 4], [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]),
            ("test", 10_000, [7, 2, 1], [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]),
        ):
            dataset = mnist(split, None)
            assert dataset.images.shape == (count, 1, 28, 28)
            assert dataset.images.dtype == torch.uint8
            assert dataset.labels[:3].tolist() == first
            assert dataset.labels.bincount().tolist() == of_each
            assert dataset.classes == tuple("0123456789")
        assert sorted(path.name for path in (cache / "mnist" / "MNIST" / "raw").iterdir()) == sorted(SHA256)

    def test_torchvision_reads_the_unpacked_folder_to_the_same_images(self, raw):
        from torchvision.datasets import MNIST

        theirs = MNIST(str(raw.parents[1]), train=False, download=False)
        ours = mnist("test", raw.parents[1])
        assert torch.equal(ours.images[:, 0], theirs.data)
        assert torch.equal(ours.labels, theirs.targets)

    @pytest.mark.parametrize("up", [0, 1, 2])
    def test_files_of_the_users_are_found_at_any_usual_depth(self, raw, cache, up):
        folder = [raw, *raw.parents][up]
        assert len(mnist("test", folder)) == 10_000
        assert not cache.exists()

    def test_other_files_under_its_name_are_refused(self, tmp_path):
        write_idx(tmp_path / "t10k-images-idx3-ubyte", torch.zeros(2, 28, 28, dtype=torch.uint8))
        write_idx(tmp_path / "t10k-labels-idx1-ubyte", torch.zeros(2, dtype=torch.uint8))
        with pytest.raises(GanzooError, match="is not MNIST's file of that name"):
            mnist("test", tmp_path)

    def test_its_zipped_files_are_read_and_checked_too(self, raw, tmp_path):
        for name in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
            (tmp_path / f"{name}.gz").write_bytes(gzip.compress((raw / name).read_bytes(), 1))
        assert torch.equal(mnist("test", tmp_path).images, mnist("test", raw).images)
        (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"something else"))
        with pytest.raises(GanzooError, match="is not MNIST's file of that name"):
            mnist("test", tmp_path)

    def test_a_folder_without_the_files_is_refused_and_says_which(self, tmp_path):
        with pytest.raises(GanzooError, match=r"not in .*train-images-idx3-ubyte, train-labels-idx1-ubyte"):
            mnist("train", tmp_path)


class TestRelatives:
    @pytest.mark.parametrize("packed", [False, True])
    @pytest.mark.parametrize(
        ("factory", "home", "eighth"), [(fashion_mnist, "FashionMNIST", "Bag"), (kmnist, "KMNIST", "re")]
    )
    def test_files_that_are_there_are_read(self, tmp_path, factory, home, eighth, packed):
        images, raw = torch.arange(2 * 28 * 28).remainder(251).to(torch.uint8).view(2, 28, 28), tmp_path / home / "raw"
        write_idx(raw / "t10k-images-idx3-ubyte", images)
        write_idx(raw / "t10k-labels-idx1-ubyte", torch.tensor([8, 3], dtype=torch.uint8))
        if packed:  # and read as they are
            for plain in list(raw.iterdir()):
                plain.with_name(f"{plain.name}.gz").write_bytes(gzip.compress(plain.read_bytes()))
                plain.unlink()
        dataset = factory("test", tmp_path)
        assert torch.equal(dataset.images, images.unsqueeze(1))
        assert dataset.labels.tolist() == [8, 3]
        assert (dataset.classes[8], len(dataset.classes), len(list(raw.iterdir()))) == (eighth, 10, 2)

    @pytest.mark.parametrize("damage", ["cut", "flipped", "not gzip"])
    def test_a_damaged_zipped_file_is_one_sentence(self, tmp_path, damage):
        write_idx(tmp_path / "t10k-labels-idx1-ubyte", torch.zeros(2, dtype=torch.uint8))
        write_idx(tmp_path / "plain", torch.randint(256, (2, 28, 28), dtype=torch.uint8))
        content = bytearray(gzip.compress((tmp_path / "plain").read_bytes()))
        if damage == "flipped":
            content[len(content) // 2] ^= 255
        made = {"cut": content[:500], "flipped": content, "not gzip": b"nothing of the kind"}[damage]
        (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(made)
        with pytest.raises(GanzooError, match=r"'fashion-mnist' in .* are damaged"):
            fashion_mnist("test", tmp_path)

    @pytest.mark.skipif(not FASHION_MNIST.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed.")
    def test_debians_package_is_found(self, cache):
        dataset = fashion_mnist("test", None)
        assert dataset.images.shape == (10_000, 1, 28, 28)
        assert dataset.labels.bincount().tolist() == [1000] * 10
        assert dataset.labels[:3].tolist() == [9, 2, 1]
        assert not cache.exists()

    def test_a_pickle_in_the_users_folder_is_never_read(self, tmp_path):
        processed = tmp_path / "KMNIST" / "processed"
        processed.mkdir(parents=True)
        for name in ("training.pt", "test.pt"):
            torch.save((torch.zeros(1, 28, 28, dtype=torch.uint8), torch.zeros(1)), processed / name)
        with pytest.raises(GanzooError, match="not in"):
            kmnist("test", tmp_path)

    def test_emnist_is_turned_upright(self, tmp_path):
        stored = torch.zeros(1, 28, 28, dtype=torch.uint8)
        stored[0, 3, 20] = 200
        write_idx(tmp_path / "emnist-balanced-train-images-idx3-ubyte", stored)
        write_idx(tmp_path / "emnist-balanced-train-labels-idx1-ubyte", torch.tensor([46], dtype=torch.uint8))
        dataset = emnist("train", tmp_path)
        assert dataset.images[0, 0, 20, 3] == 200
        assert dataset.images.sum() == 200
        assert len(dataset.classes) == 47
        assert dataset.classes[46] == "t"

    def test_emnists_letters_are_counted_from_zero(self, tmp_path):
        blank, labels = torch.zeros(2, 28, 28), torch.tensor([1, 26])
        write_idx(tmp_path / "emnist-letters-test-images-idx3-ubyte", blank.to(torch.uint8))
        write_idx(tmp_path / "emnist-letters-test-labels-idx1-ubyte", labels.to(torch.uint8))
        dataset = emnist("test", tmp_path, part="letters")
        assert [dataset.classes[label] for label in dataset.labels.tolist()] == ["a", "z"]
        assert len(dataset.classes) == 26


class TestCifar10:
    def test_the_binary_version_is_read(self, tmp_path):
        folder = tmp_path / "cifar-10-batches-bin"
        folder.mkdir()
        for part in range(1, 6):
            red, green, blue = bytes([part]) * 1024, bytes([10 * part]) * 1024, bytes(range(32)) * 32
            (folder / f"data_batch_{part}.bin").write_bytes(bytes([part]) + red + green + blue)
        dataset = cifar10("train", tmp_path)
        assert dataset.images.shape == (5, 3, 32, 32)
        assert dataset.images[:, 0, 0, 0].tolist() == [1, 2, 3, 4, 5]
        assert dataset.images[2, 1].unique().tolist() == [30]
        assert dataset.images[4, 2, 7].tolist() == list(range(32))
        assert [dataset.classes[label] for label in dataset.labels.tolist()][:2] == ["automobile", "bird"]

    @pytest.mark.parametrize(
        ("name", "content", "sentence"),
        [
            (
                "cifar-10-batches-py/test_batch",
                b"cos\nsystem\n(S'false'\ntR.",
                r"Put test_batch\.bin into it, or leave",
            ),
            ("test_batch.bin.gz", gzip.compress(bytes(3073)), r"Put test_batch\.bin into it, or leave"),
            ("test_batch.bin", bytes(3072), r"'cifar10' in .* are damaged"),
        ],
        ids=["pickled", "zipped", "truncated"],
    )
    def test_other_files_are_not_read(self, tmp_path, name, content, sentence):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
        with pytest.raises(GanzooError, match=sentence):
            cifar10("test", tmp_path)


class TestDownloads:
    """With a stand-in for torchvision, which writes straight under the final names."""

    FILES = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

    @pytest.fixture
    def calls(self, monkeypatch):
        import torchvision.datasets

        calls: list[str] = []

        class KMNIST:
            classes = torchvision.datasets.KMNIST.classes

            def __init__(self, root, download):
                calls.append(root)
                images, labels = (Path(root) / "KMNIST" / "raw" / file for file in TestDownloads.FILES)
                write_idx(images, torch.zeros(2, 28, 28, dtype=torch.uint8))
                if len(calls) == 1 and getattr(KMNIST, "killed", False):
                    raise KeyboardInterrupt
                write_idx(labels, torch.zeros(2, dtype=torch.uint8))

        monkeypatch.setattr(torchvision.datasets, "KMNIST", KMNIST)
        return calls, KMNIST

    def test_of_several_at_once_one_downloads(self, calls, cache):
        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(kmnist, ["test"] * 8, [None] * 8))
        assert [len(dataset) for dataset in found] == [2] * 8
        assert len(calls[0]) == 1
        assert sorted(path.name for path in (cache / "kmnist").iterdir() if path.is_dir()) == ["KMNIST"]

    def test_one_that_is_cut_off_leaves_nothing_behind(self, calls, cache):
        calls[1].killed = True
        with pytest.raises(KeyboardInterrupt):
            kmnist("test", None)
        assert not (cache / "kmnist" / "KMNIST").exists()
        (cache / "kmnist" / ".download-killed" / "KMNIST").mkdir(parents=True)
        assert len(kmnist("test", None)) == 2
        assert not list((cache / "kmnist").glob(".download-*"))

    def test_a_damaged_file_in_the_cache_is_named_with_what_to_delete(self, calls, cache):
        kmnist("test", None)
        raw = cache / "kmnist" / "KMNIST" / "raw"
        os.truncate(raw / self.FILES[0], 100)
        with pytest.raises(GanzooError, match="are damaged") as caught:
            kmnist("test", None)
        assert caught.value.remedy == f"Delete {raw}, and they will be downloaded again."


@pytest.mark.parametrize(
    ("factory", "place", "file"),
    [
        (fashion_mnist, "fashion-mnist/FashionMNIST/raw", "t10k-images-idx3-ubyte"),
        (kmnist, "kmnist/KMNIST/raw", "t10k-labels-idx1-ubyte"),
        (emnist, "emnist/EMNIST/raw", "emnist-balanced-test-images-idx3-ubyte"),
        (cifar10, "cifar10/cifar-10-batches-bin", "cifar-10-binary.tar.gz"),
    ],
)
def test_where_there_is_no_network_a_sentence_says_which_files_go_where(
    cache, no_network, capsys, monkeypatch, tmp_path, factory, place, file
):
    monkeypatch.setattr("ganzoo_plugins.datasets.datasets.FASHION_MNIST", tmp_path / "not installed")
    with pytest.raises(GanzooError, match="cannot be downloaded") as caught:
        factory("test", None)
    assert str(cache / place) in caught.value.remedy
    assert file in caught.value.remedy
    assert "--data-dir" in caught.value.remedy
    assert ("apt install dataset-fashion-mnist" in caught.value.remedy) == (factory is fashion_mnist)
    assert capsys.readouterr().out == ""


class TestImageFolder:
    @staticmethod
    def picture(path, colour, size=(6, 4)):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, colour).save(path)

    def pictures(self, folder, count, colour=(9, 9, 9)):
        for number in range(count):
            self.picture(folder / f"{number}.png", colour)

    def test_subfolders_are_classes(self, tmp_path):
        for split, count in (("train", 3), ("test", 1)):
            self.pictures(tmp_path / split / "cat", count, (255, 0, 0))
            self.pictures(tmp_path / split / "dog", count, (0, 0, 255))
        dataset = image_folder("train", None, path=str(tmp_path))
        assert dataset.images.shape == (6, 3, 4, 6)
        assert dataset.classes == ("cat", "dog")
        assert dataset.labels.tolist() == [0, 0, 0, 1, 1, 1]
        assert dataset.images[0, :, 0, 0].tolist() == [255, 0, 0]
        assert dataset.images[5, :, 0, 0].tolist() == [0, 0, 255]
        assert len(image_folder("test", None, path=str(tmp_path))) == 2

    def test_undivided_pictures_are_divided_nine_to_one_without_overlap(self, tmp_path):
        for number in range(20):
            self.picture(tmp_path / "own" / f"{number:02}.png", (number, number, number))
        train = image_folder("train", tmp_path, path="own", channels=1)
        test = image_folder("test", tmp_path, path="own", channels=1)
        shown = [split.images[:, 0, 0, 0].tolist() for split in (train, test)]
        assert [len(part) for part in shown] == [18, 2]
        assert sorted(shown[0] + shown[1]) == list(range(20))
        assert train.labels is None
        assert train.classes == ()
        assert torch.equal(train.images, image_folder("train", tmp_path, path="own", channels=1).images)

    @pytest.mark.parametrize(
        ("copies", "trained_on", "sizes"),
        [([1, 4] * 15, 30, (68, 7)), ([1] * 10, 8, (8, 2))],
        ids=["leaves every class a picture", "two of ten all the same"],
    )
    def test_the_test_split_of_small_classes(self, tmp_path, copies, trained_on, sizes):
        for number, count in enumerate(copies):
            for copy in range(count):
                self.picture(tmp_path / f"{number:02}" / f"{copy}.png", (number, copy, 0))
        train, test = (image_folder(split, None, path=str(tmp_path)) for split in ("train", "test"))
        assert len(train.labels.unique()) == trained_on
        assert (len(train), len(test)) == sizes
        pixels = torch.cat([train.images, test.images])[:, :, 0, 0]
        assert len(pixels.unique(dim=0)) == sum(copies)

    def test_pictures_of_two_sizes_are_refused_unless_a_size_is_set(self, tmp_path):
        self.pictures(tmp_path, 19)
        self.picture(tmp_path / "odd.png", (9, 9, 9), size=(30, 20))
        with pytest.raises(GanzooError, match=r"odd\.png is 30 pixels wide and 20 high, but .*dataset\.size"):
            image_folder("train", None, path=str(tmp_path))
        images = image_folder("train", None, path=str(tmp_path), size=8).images
        assert images.shape == (18, 3, 8, 8)
        assert images.unique().tolist() == [9]

    def test_the_middle_is_kept_where_a_picture_is_cropped(self, tmp_path):
        wide = Image.new("L", (12, 4), 0)
        wide.paste(255, (4, 0, 8, 4))
        for number in range(10):
            wide.save(tmp_path / f"{number}.png")
        images = image_folder("test", None, path=str(tmp_path), size=4, channels=1).images
        assert images.unique().tolist() == [255]

    @pytest.mark.parametrize(
        ("split", "path", "files", "sentence"),
        [
            (
                "train",
                "",
                {f"{number}.png": b"not a picture" for number in range(10)},
                r"picture .*\.png cannot be",
            ),
            ("train", "nowhere", {}, "nowhere cannot be read"),
            ("train", "", {}, r"has no pictures\. ganzoo reads files that end in"),
            ("test", "", {"only.png": None}, r"no pictures for 'test'\. It has 1; .* at least two\."),
            ("test", "", {"train/cat/0.png": None, "test/dog/0.png": None}, "different classes"),
            ("test", "", {"train/0.png": None, "test/a.txt": b""}, "The folder test in .* has no pictures"),
            ("train", "0.png", {"0.png": b"a"}, r"0\.png is neither a folder nor a zip archive\. Give the folder that"),
            ("train", "a.npy", {"a.npy": b"a"}, r"a\.npy is neither a folder nor a zip archive\. Give a folder of"),
        ],
        ids=["no picture", "nowhere", "empty", "too few", "classes", "empty split", "one picture", "one file"],
    )
    def test_what_is_no_folder_of_pictures_is_named(self, tmp_path, split, path, files, sentence):
        for name, content in files.items():
            self.picture((tmp_path / name).with_suffix(".png"), (0, 0, 0))
            if content is not None:
                (tmp_path / name).with_suffix(".png").rename(tmp_path / name)
                (tmp_path / name).write_bytes(content)
        with pytest.raises(GanzooError, match=sentence):
            image_folder(split, tmp_path, path=path or str(tmp_path))

    @pytest.mark.parametrize("packed", [False, True])
    def test_files_that_are_not_read_are_counted_by_their_endings(self, tmp_path, packed, caplog):
        for name in ("a.gif", "b.GIF", "c/d.gif", "c/e.heic", "train-images", ".hidden.gif", "c/Thumbs.db"):
            (tmp_path / "own" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "own" / name).write_bytes(b"something")
        path = zipped(tmp_path / "own") if packed else tmp_path / "own"
        found = r"own\.zip has no pictures, but 5 files" if packed else "c is a class without pictures, but 2 files"
        kinds = ".gif, .heic, no ending" if packed else ".gif, .heic"
        with pytest.raises(GanzooError, match=rf"{found} \({kinds}\)\. .*files that end in \.jpg, .* or \.webp\."):
            image_folder("train", None, path=str(path))
        self.pictures(tmp_path / "own" / "c", 10)
        path = zipped(tmp_path / "own") if packed else tmp_path / "own"
        for split in ("train", "test"):
            image_folder(split, None, path=str(path))
        (warning,) = (record.getMessage() for record in caplog.records)
        assert warning.startswith(
            f"Not read in {path}: 5 files (.gif, .heic, no ending). ganzoo reads files that end in"
        )

    def test_paths_that_climb_in_an_archive_are_named(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "own.zip", "w") as archive:
            archive.writestr("../../0.png", b"something")
        with pytest.raises(GanzooError, match=r"own\.zip has files with '\.\.' in their paths"):
            image_folder("train", None, path=str(tmp_path / "own.zip"))

    def test_hidden_folders_inside_a_class_are_not_read(self, tmp_path):
        self.pictures(tmp_path / "cat", 10)
        for hidden in (".ipynb_checkpoints", ".thumbnails", "__MACOSX"):
            self.picture(tmp_path / "cat" / hidden / "0.png", (200, 0, 0))
            self.picture(tmp_path / "cat" / "young" / hidden / "0.png", (200, 0, 0))
        splits = [image_folder(split, None, path=str(tmp_path)) for split in ("train", "test")]
        assert [len(split) for split in splits] == [8, 2]
        assert all(split.images.unique().tolist() == [9] for split in splits)

    @pytest.mark.parametrize(
        ("names", "packed"), [(("train", "val"), False), (("Train", "Test"), True), (("training", "testing"), False)]
    )
    def test_subfolders_that_are_named_like_splits_are_no_classes(self, tmp_path, names, packed):
        for name in names:
            self.pictures(tmp_path / "own" / name, 10)
        path = zipped(tmp_path / "own") if packed else tmp_path / "own"
        with pytest.raises(GanzooError, match=f"named like splits, not like classes: {', '.join(sorted(names))}"):
            image_folder("train", None, path=str(path))
        self.picture(tmp_path / "own" / "bus" / "0.png", (9, 9, 9))
        path = zipped(tmp_path / "own") if packed else tmp_path / "own"
        assert image_folder("train", None, path=str(path)).classes == tuple(sorted(("bus", *names)))

    @pytest.mark.parametrize("packed", [False, True])
    def test_a_third_split_is_named(self, tmp_path, packed, caplog):
        for name in ("train", "test", "val", "notes"):
            self.picture(tmp_path / "own" / name / "0.png", (9, 9, 9))
        path = zipped(tmp_path / "own") if packed else tmp_path / "own"
        assert len(image_folder("train", None, path=str(path))) == 1
        assert [record.getMessage() for record in caplog.records] == [
            f"{path / 'val'} is not read: ganzoo takes validation images from train."
        ]

    def test_the_name_of_a_class_must_be_text(self, tmp_path):
        folder = tmp_path / os.fsdecode(b"caf\xe9")
        try:
            self.picture(folder / "0.png", (9, 9, 9))
        except OSError:
            pytest.skip("This file system has no such names.")
        with pytest.raises(GanzooError, match=r"class folder .*caf.* is not UTF-8\. Rename the folder"):
            image_folder("train", None, path=str(tmp_path))

    def test_an_archive_is_divided_like_its_folder(self, tmp_path):
        for number, place in enumerate(("cat/z", "cat/a/b", "cat/a-b/c", "cat-2/a", "cat/b", "cat-2/z/y")):
            for copy in range(4):
                self.picture(tmp_path / "own" / f"{place}{copy}.png", (10 * number, copy, 0))
        for split in ("train", "test"):
            ours = image_folder(split, None, path=str(zipped(tmp_path / "own")))
            theirs = image_folder(split, None, path=str(tmp_path / "own"))
            assert torch.equal(ours.images, theirs.images)
            assert torch.equal(ours.labels, theirs.labels)

    @pytest.mark.parametrize(
        ("prefix", "separator", "classes"),
        [("", "\\", ("cat", "dog")), ("a/b/", "/", ("cat", "dog")), ("a\\b\\c\\", "\\", ("cat", "dog"))],
    )
    def test_paths_in_archives(self, tmp_path, prefix, separator, classes):
        self.picture(tmp_path / "0.png", (9, 9, 9))
        with zipfile.ZipFile(tmp_path / "own.zip", "w") as archive:
            for name in ("cat", "dog"):
                for number in range(10):
                    archive.write(tmp_path / "0.png", f"{prefix}{name}{separator}{number}.png")
        assert image_folder("train", None, path=str(tmp_path / "own.zip")).classes == classes

    @pytest.mark.parametrize("ending", ["tif", "jpg", "png"])
    def test_pictures_of_an_upright_camera_are_of_one_size(self, tmp_path, ending):
        turned = Image.Exif()
        turned[0x0112] = 6
        for number in range(10):
            Image.new("L", (20, 30)).save(tmp_path / f"{number}.{ending}")
        for number in range(10, 20):
            Image.new("L", (30, 20)).save(tmp_path / f"{number}.{ending}", exif=turned)
        images = image_folder("train", None, path=str(tmp_path), size="auto", channels="auto").images
        assert images.shape == (18, 1, 30, 20)

    def test_archives_are_read_picture_by_picture(self, tmp_path, monkeypatch):
        for number in range(40):
            self.picture(tmp_path / "own" / f"{number}.png", (number, 0, 0))
        packed = zipped(tmp_path / "own")
        monkeypatch.setattr("ganzoo.api.reading.max_bytes", lambda: 4000)
        assert packed.stat().st_size > 4000
        assert len(image_folder("train", None, path=str(packed))) == 36

    @pytest.mark.parametrize(
        ("mode", "level", "sentence"),
        [
            ("F", 0.5, "has 32 bits per channel"),
            ("I", 200, "has 32 bits per channel"),
            ("I", 70_000, "has 32 bits per channel"),
            ("I;16", 4095, r"brightest level is 4,095 of 65,535\. Scale them"),
        ],
    )
    def test_levels_of_an_unknown_white_are_refused(self, tmp_path, mode, level, sentence):
        for number in range(10):
            Image.new(mode, (4, 4), level).save(tmp_path / f"{number}.tif")
        with pytest.raises(GanzooError, match=sentence):
            image_folder("train", None, path=str(tmp_path))

    def test_one_dark_picture_of_16_bits_is_no_mistake(self, tmp_path):
        for number in range(10):
            Image.new("I;16", (4, 4), 65_535 if number else 100).save(tmp_path / f"{number}.tif")
        found = [image_folder(split, None, path=str(tmp_path), channels=1) for split in ("train", "test")]
        levels = torch.cat([split.images for split in found])[:, 0, 0, 0].tolist()
        assert sorted(levels) == [0] + [255] * 9


def zipped(folder: Path) -> Path:
    """A zip archive of a folder, beside it."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.rglob("*"):
            archive.write(file, file.relative_to(folder))
    return path


@pytest.mark.parametrize(("dataset", "name"), [(fashion_mnist, "fashion-mnist"), (kmnist, "kmnist")])
def test_digits_are_no_clothes_and_no_hiragana(raw, dataset, name):
    """All three have files of the same names, and a folder of MNIST's may well be called `raw`."""
    with pytest.raises(GanzooError, match=f"are those of dataset 'mnist', not of '{name}'"):
        dataset("test", raw)
