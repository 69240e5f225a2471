"""Inception: its weights are found, fetched or missed with a sentence, never unpickled blindly."""

import hashlib

import pytest
import torch
from torch_fidelity import feature_extractor_inceptionv3 as theirs

from ganzoo.errors import GanzooError
from ganzoo.evaluation import extractors
from ganzoo.plugins import Zoo

FILE = "weights-inception-2015-12-05-{}.pth"


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A network of the right architecture with random weights, and its file: the true ones are a download."""
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
    """torch's own cache of weights, empty; downloads come from a folder beside it, also empty."""
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


def test_grey_images_are_tiled_and_judged_at_their_own_size(network, torch_cache, tmp_path, monkeypatch, noise):
    found, file = network
    name = offer(monkeypatch, tmp_path, file.read_bytes())
    extractor = extractors.find("inception-v3-compat", Zoo(), (1, 28, 28))
    assert (torch_cache / name).read_bytes() == file.read_bytes()
    assert extractor.digest == hashlib.sha256(file.read_bytes()).hexdigest()
    images = noise(2, size=28)
    with torch.no_grad():
        features, logits = extractor(images)
        (expected,) = found(images.repeat(1, 3, 1, 1))
    assert torch.equal(features, expected)
    assert logits.shape == (2, extractor.classes)


def test_weights_that_cannot_be_had_are_one_sentence_with_place_and_checksum(torch_cache):
    with pytest.raises(GanzooError, match="'inception-v3-compat' cannot be had") as caught:
        extractors.find("inception-v3-compat", Zoo(), (1, 28, 28))
    assert str(torch_cache / FILE.format("0" * 8)) in caught.value.remedy
    assert "SHA-256 begins with 00000000" in caught.value.remedy


def test_a_download_of_another_checksum_is_not_kept(torch_cache, tmp_path, monkeypatch):
    offer(monkeypatch, tmp_path, b"something else", checksum="12345678")
    with pytest.raises(GanzooError, match="cannot be had"):
        extractors.find("inception-v3-compat", Zoo(), (1, 28, 28))
    assert not list(torch_cache.iterdir())


def test_a_weights_file_that_would_run_code_is_refused(torch_cache):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was loaded",))

    torch_cache.mkdir(parents=True)
    torch.save({"fc.bias": Bomb()}, torch_cache / FILE.format("0" * 8))
    with pytest.raises(GanzooError, match="not tensors alone"):
        extractors.find("inception-v3-compat", Zoo(), (1, 28, 28))


def test_weights_of_another_network_are_refused(torch_cache):
    torch_cache.mkdir(parents=True)
    torch.save({"fc.bias": torch.zeros(1008)}, torch_cache / FILE.format("0" * 8))
    with pytest.raises(GanzooError, match="are damaged"):
        extractors.find("inception-v3-compat", Zoo(), (1, 28, 28))
