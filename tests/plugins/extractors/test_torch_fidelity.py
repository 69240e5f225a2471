"""Downloaded extractors: weights are found, downloaded or reported as missing, and never unpickled blindly."""

import hashlib
import importlib.util
import marshal
import os
import shutil
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
import torch_fidelity
from torch_fidelity import feature_extractor_clip as clip
from torch_fidelity import feature_extractor_inceptionv3 as theirs

from ganzoo import Dataset
from ganzoo.api.metric import allowing_code
from ganzoo.errors import GanzooError
from ganzoo.evaluation.evaluator import Evaluator
from ganzoo.evaluation.features import RealImages
from ganzoo.evaluation.requests import code_of, find_extractor
from ganzoo.registry.registry import Entry
from ganzoo_plugins.extractors import torch_fidelity as module

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))


def noise(n, seed=0, channels=1, size=8):
    """uint8 images (n, c, h, w)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, channels, size, size), generator=generator).to(torch.uint8)


FILE = "weights-inception-2015-12-05-{}.pth"


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A network of the right architecture with random weights, and its file; the real weights are a download."""
    empty = tmp_path_factory.mktemp("inception") / "empty.pth"
    torch.save({}, empty)
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(theirs.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        found = theirs.FeatureExtractorInceptionV3("random", ["2048"], feature_extractor_weights_path=str(empty))
    torch.save(found.state_dict(), empty.with_name("random.pth"))
    return found, empty.with_name("random.pth")


@pytest.fixture
def torch_cache(tmp_path, monkeypatch):
    """torch's own cache of weights, empty; downloads come from a folder next to it, also empty."""
    hub = tmp_path / "torch" / "hub"
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(theirs, "URL_INCEPTION_V3", (tmp_path / "web" / FILE.format("0" * 8)).as_uri())
    (tmp_path / "web").mkdir()
    return hub / "checkpoints"


def offer(monkeypatch, tmp_path, content, checksum=None):
    name = FILE.format(checksum or hashlib.sha256(content).hexdigest()[:8])
    (tmp_path / "web" / name).write_bytes(content)
    monkeypatch.setattr(theirs, "URL_INCEPTION_V3", (tmp_path / "web" / name).as_uri())
    return name


def test_grey_images_are_tiled_and_keep_their_own_size(network, torch_cache, tmp_path, monkeypatch, zoo):
    found, file = network
    name = offer(monkeypatch, tmp_path, file.read_bytes())
    extractor = find_extractor("inception-v3-compat", zoo)
    assert (torch_cache / name).read_bytes() == file.read_bytes()
    assert extractor.digest == hashlib.sha256(file.read_bytes()).hexdigest()
    images = noise(1, size=28)
    with torch.no_grad():
        features, logits = extractor(images)
        (expected,) = found(images.repeat(1, 3, 1, 1))
    assert torch.equal(features, expected)
    assert logits.shape == (1, extractor.classes)


def test_unavailable_weights_are_a_one_line_error_with_location_and_checksum(torch_cache, zoo):
    with pytest.raises(GanzooError, match="'inception-v3-compat' could not be downloaded") as caught:
        find_extractor("inception-v3-compat", zoo)
    assert str(torch_cache / FILE.format("0" * 8)) in caught.value.remedy
    assert "SHA-256 begins with 00000000" in caught.value.remedy


def test_a_download_with_another_checksum_is_not_kept(torch_cache, tmp_path, monkeypatch, zoo):
    offer(monkeypatch, tmp_path, b"something else", checksum="12345678")
    with pytest.raises(GanzooError, match="could not be downloaded"):
        find_extractor("inception-v3-compat", zoo)
    assert not list(torch_cache.iterdir())


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


@pytest.mark.parametrize(
    ("value", "sentence"),
    [(Bomb(), "hold more than tensors"), (torch.zeros(1008), "are damaged")],
    ids=["would run code", "of another network"],
)
def test_other_weights_are_refused(torch_cache, value, sentence, zoo):
    torch_cache.mkdir(parents=True)
    torch.save({"fc.bias": value}, torch_cache / FILE.format("0" * 8))
    with pytest.raises(GanzooError, match=sentence):
        find_extractor("inception-v3-compat", zoo)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (RuntimeError("CUDA out of memory"), "out of memory.* Free some memory"),
        (ModuleNotFoundError("No module named 'xyz'"), r"cannot be imported \(No module named 'xyz'\)"),
        (RuntimeError("bad magic number"), "are damaged"),
    ],
)
def test_only_damage_is_reported_as_damage(network, monkeypatch, error, sentence, zoo):
    def fail(*_arguments, **_options):
        raise error

    monkeypatch.setattr(module.TorchFidelity, "build", fail)
    with pytest.raises(GanzooError, match=sentence) as caught:
        find_extractor("inception-v3-compat", zoo, network[1])
    assert ("Delete the file" in str(caught.value)) == (sentence == "are damaged")


def test_a_weights_file_may_be_anywhere_and_need_not_be_the_published_one(network, torch_cache, caplog, zoo):
    found, file = network
    extractor = find_extractor("inception-v3-compat", zoo, file)
    assert not torch_cache.exists()
    assert extractor.resizing == "bilinear to 299x299 as TensorFlow 1"
    assert "is not the published file of 'inception-v3-compat'" in caplog.text
    images = noise(1, channels=3)
    with torch.no_grad():
        assert torch.equal(extractor(images)[0], found(images)[0])


def test_a_score_from_inception_says_how_images_were_resized(network, zoo):
    def few(split, folder):
        return Dataset("few", split, noise(2, seed=len(split)))

    entry = Entry("dataset", "few", few, "Noise", None, "tests", "tests 0")
    names = ["kid@inception-v3-compat"]
    evaluator = Evaluator(names, entry, {}, None, zoo, CPU, extractor_weights=network[1])
    (score,) = evaluator.score(noise(2))
    assert score.protocol["resizing"] == "grey tiled to RGB, bilinear to 299x299 as TensorFlow 1"
    assert score.protocol["extractor_digest"] == hashlib.sha256(network[1].read_bytes()).hexdigest()


def test_a_missing_weights_file_is_refused_with_its_source(tmp_path, zoo):
    with pytest.raises(GanzooError, match=r"No such file: .*nothing\.pth.*is published at http"):
        find_extractor("clip-vit-b-32", zoo, tmp_path / "nothing.pth")


def test_extractors_with_built_in_weights_take_no_file(zoo, tmp_path):
    for name in ("mnist-cnn", "dinov2-vit-s-14"):
        with pytest.raises(GanzooError, match=f"'{name}' has its own weights.*inception-v3-compat, .*clip-rn50"):
            find_extractor(name, zoo, tmp_path / "a.pth")


def test_every_name_is_torch_fidelity_s_with_the_file_it_looks_for(zoo):
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

    ours = {entry.name: entry.factory for entry in zoo.extractors if entry.plugin == "torch-fidelity"}
    brought = {
        name for name, kind in FEATURE_EXTRACTORS_REGISTRY.items() if kind.__module__.startswith("torch_fidelity")
    }
    assert ours.keys() == brought - {"vgg16"}  # whose features are for perceptual distances
    for name, kind in ours.items():
        network = FEATURE_EXTRACTORS_REGISTRY[name]
        assert set(kind.layers) <= set(network.get_provided_features_list())
        url, file, checksum = kind.published(kind)
        assert checksum == "" or checksum in file
        assert (kind.name, kind.downloads, kind.domains, url[:8]) == (name, True, (), "https://")


def test_the_version_of_torch_fidelity_is_part_of_the_key_of_cached_features(zoo, network):
    extractor = find_extractor("inception-v3-compat", zoo, network[1])
    assert (code_of("inception-v3-compat", zoo), extractor.versions) == (
        {},
        {"torch_fidelity": torch_fidelity.__version__},
    )
    images = Dataset("few", "test", noise(2))
    key = RealImages(images, {}, "inception-v3-compat", extractor, CPU).key
    assert key["torch_fidelity"] == torch_fidelity.__version__
    assert key["resizing"] == "grey tiled to RGB, bilinear to 299x299 as TensorFlow 1"


class Whole(torch.nn.Module):
    """Built like CLIP's file: the image side, and parameters that only the text side uses."""

    def __init__(self):
        super().__init__()
        self.visual = clip.VisionTransformer(64, 32, width=64, layers=1, heads=1, output_dim=10)
        self.text_projection = torch.nn.Parameter(torch.zeros(4, 10))

    def forward(self, x):
        return x + self.text_projection.sum()


def test_clip_is_read_from_torchscript_and_its_width_from_the_file(torch_cache, tmp_path, caplog, zoo):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # CLIP's files are TorchScript nevertheless
        torch.jit.save(torch.jit.trace(Whole().eval(), torch.zeros(1)), tmp_path / "clip.pt")
    with pytest.raises(GanzooError, match="a TorchScript program other than the published one.*--allow-code"):
        find_extractor("clip-vit-b-32", zoo, tmp_path / "clip.pt")
    with allowing_code():
        extractor = find_extractor("clip-vit-b-32", zoo, tmp_path / "clip.pt")
    with torch.no_grad():
        features, logits = extractor(noise(3, size=28))
    assert (extractor.width, features.shape, logits) == (10, (3, 10), None)
    assert features.std(0).min() > 0
    assert extractor.digest == hashlib.sha256((tmp_path / "clip.pt").read_bytes()).hexdigest()
    assert "is not the published file" in caplog.text


def test_clip_weights_that_are_a_pickle_are_refused(torch_cache, tmp_path, zoo):
    torch.save({"visual.proj": Bomb()}, tmp_path / "clip.pt")
    with allowing_code(), pytest.raises(GanzooError, match="'clip-rn50' at .* are damaged"):
        find_extractor("clip-rn50", zoo, tmp_path / "clip.pt")


HUB = """
import torch
import torch_fidelity

dependencies = ["torch"]


def dinov2_vits14():
    model = torch.nn.Sequential(torch.nn.AvgPool2d(56), torch.nn.Flatten(), torch.nn.Linear(48, 384))
    path = torch.hub.get_dir() + "/checkpoints/dinov2_vits14_pretrain.pth"
    model[2].load_state_dict(torch.load(path, weights_only=True))
    return model
"""


@pytest.fixture
def dinov2_code(torch_cache, monkeypatch):
    """A repository with a smaller network and the same entry point, in torch.hub's cache and pinned as expected."""
    repository = torch_cache.parent / f"facebookresearch_dinov2_{module.DINOV2_COMMIT}"
    (repository / "dinov2").mkdir(parents=True)
    (repository / "hubconf.py").write_text(HUB)
    (repository / "dinov2" / "__init__.py").write_text("")
    command = "find hubconf.py dinov2 -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
    digest = subprocess.run(command, shell=True, cwd=repository, capture_output=True, text=True, check=True).stdout
    monkeypatch.setattr(module, "DINOV2_DIGEST", digest.split()[0])
    torch_cache.mkdir(parents=True)
    torch.save(torch.nn.Linear(48, 384).state_dict(), torch_cache / "dinov2_vits14_pretrain.pth")
    return repository


def test_dinov2_comes_from_torch_hubs_cache(dinov2_code, torch_cache, tmp_path, zoo):
    weights = torch_cache / "dinov2_vits14_pretrain.pth"
    with pytest.raises(GanzooError, match="runs code that is not part of ganzoo.*--allow-code"):
        find_extractor("dinov2-vit-s-14", zoo)
    with allowing_code():
        extractor = find_extractor("dinov2-vit-s-14", zoo)
    with torch.no_grad():
        features, logits = extractor(noise(3, size=28))
    assert (features.shape, logits, extractor.width) == ((3, 384), None, 384)
    assert extractor.digest == hashlib.sha256(weights.read_bytes()).hexdigest()


@pytest.mark.parametrize("change", ["appended", "added", "removed", "huge"])
def test_cached_code_that_differs_from_the_pinned_commit_is_not_run(dinov2_code, change, zoo):
    hubconf, package = dinov2_code / "hubconf.py", dinov2_code / "dinov2"
    if change == "appended":
        hubconf.write_text(HUB + "import pytest\npytest.fail('ran')\n")
    elif change == "added":
        (package / "os.pyc").write_bytes(b"")
    elif change == "removed":
        shutil.rmtree(package)
    else:
        with (package / "huge.py").open("wb") as file:
            file.truncate(2**40)
    with (
        allowing_code(),
        pytest.raises(GanzooError, match="is not DINOv2's at commit e1277af2.* is not run|is too large"),
    ):
        find_extractor("dinov2-vit-s-14", zoo)


def test_only_regular_files_of_the_cached_code_are_read(dinov2_code, zoo):
    os.mkfifo(dinov2_code / "dinov2" / "pipe.py")
    (dinov2_code / "dinov2" / "loop.py").symlink_to("loop.py")
    with allowing_code():
        find_extractor("dinov2-vit-s-14", zoo)


def test_bytecode_next_to_the_code_is_not_run_or_written(dinov2_code, monkeypatch, zoo):
    """Python uses it for a source file whose size and time it names."""
    hubconf, hostile = dinov2_code / "hubconf.py", "import pytest\npytest.fail('ran')\n"
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    planted = Path(importlib.util.cache_from_source(str(hubconf)))
    planted.parent.mkdir()
    facts, code = hubconf.stat(), compile(hostile, str(hubconf), "exec")
    header = struct.pack("<4sLLL", importlib.util.MAGIC_NUMBER, 0, int(facts.st_mtime), facts.st_size)
    planted.write_bytes(header + marshal.dumps(code))
    with allowing_code():
        find_extractor("dinov2-vit-s-14", zoo)
    assert [path.name for path in dinov2_code.rglob("*.pyc")] == [planted.name]


def test_the_code_is_downloaded_once_and_checked(dinov2_code, monkeypatch, tmp_path, zoo):
    made = tmp_path / f"dinov2-{module.DINOV2_COMMIT}"
    shutil.copytree(dinov2_code, made)
    shutil.rmtree(dinov2_code)
    archive = shutil.make_archive(str(tmp_path / "code"), "zip", tmp_path, made.name)
    monkeypatch.setattr(module, "DINOV2_URL", Path(archive).as_uri())
    with allowing_code():
        find_extractor("dinov2-vit-s-14", zoo)
        Path(archive).unlink()
        find_extractor("dinov2-vit-s-14", zoo)
        shutil.rmtree(dinov2_code)
        with pytest.raises(
            GanzooError,
            match="code of 'dinov2-vit-s-14' could not be downloaded.*Unpack file:.* and move the folder in it to ",
        ):
            find_extractor("dinov2-vit-s-14", zoo)
    assert [path.name for path in dinov2_code.parent.iterdir()] == ["checkpoints"]
