"""Other packages' processes: the communication with them, for a peer made for the test and for the installed ones."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from peers.catalogue import HERE, PEERS, REQUIREMENTS, Package
from peers.install import reason
from peers.talk import PeerError, PeerProcess, mnist_folder
from test_peers import compare

# It draws a flat picture: as bright as the steps it has taken, in a white frame where the padding is. And it refuses to
# draw in training mode, or to train in evaluation mode.
ADAPTER = f"""
import sys
sys.path.insert(0, {str(HERE)!r})
import torch
from serving import Loader, Peer, padded_mnist, serve

def build(args, device, scratch):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1024, 1))
    taken = []

    def draw(n):
        assert not network.training, "draws in training mode"
        images = torch.ones(n, 1, 32, 32)
        images[:, :, 2:-2, 2:-2] = len(taken) * 2 / 255 - 1
        return images

    def train(loader):
        print("a package may print what it likes")
        for real, _ in loader:
            assert network.training, "trains in evaluation mode"
            assert real.shape == (args.batch, 1, 32, 32)
            if len(taken) == 7:
                raise RuntimeError("the seventh step was the last")
            network.zero_grad()
            network(real).sum().backward()
            taken.append(real)

    return Peer("torch", {{"discriminator": network}}, draw, train,
                Loader(padded_mnist(args.data), batch_size=args.batch, drop_last=True), "made for a test", 2)

serve(build, 4)
"""


class Local(Package):
    """A peer that needs no environment of its own."""

    python = property(lambda self: Path(sys.executable))  # type: ignore[assignment]


@pytest.fixture
def local(tmp_path: Path) -> Package:
    adapter = tmp_path / "made_up_peer.py"
    adapter.write_text(ADAPTER, encoding="utf-8")
    return Local("made-up", str(adapter), "dcgan-mnist")


@pytest.mark.full
def test_a_peer_takes_exactly_the_steps_that_were_ordered_and_says_why_it_breaks(local: Package) -> None:
    with PeerProcess(local, mnist_folder(), threads=1) as peer:
        assert (peer.batch, peer.images_per_step) == (4, 8)
        assert peer.greeting["threads"] == 1
        assert peer.greeting["parameters"] == {"discriminator": 1025}
        assert peer.sample(1, seed=0).unique().tolist() == [0]
        assert peer.train(2) > 0
        images = peer.sample(3, seed=0)
        assert images.shape == (3, 1, 28, 28)
        assert images.unique().tolist() == [4]  # two steps of two batches; and the frame is cut off
        # A product forward and one for the weight's gradient, each 2 x 1024 operations an image.
        assert peer.flops_per_image() == 4 * 1024
        assert peer.sample(1, seed=0).unique().tolist() == [6]
        with pytest.raises(PeerError, match="made-up.*the seventh step was"):
            peer.train(1)


def test_a_peer_that_cannot_start_says_why(local: Package, tmp_path: Path) -> None:
    Path(local.adapter).write_text("import no_such_module", encoding="utf-8")
    with pytest.raises(PeerError, match="No module named 'no_such_module'"):
        PeerProcess(local, tmp_path)
    with pytest.raises(PeerError, match="cannot be started"):
        PeerProcess(Package("nowhere", "nowhere.py", "dcgan-mnist"), tmp_path)


def test_a_peer_that_is_not_there_is_missed_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peers.catalogue.ENVIRONMENTS", tmp_path)
    package = PEERS["torchgan"]
    assert "python benchmarks/peers/install.py torchgan" in str(package.missing())
    package.folder.mkdir()
    package.outcome.write_text(json.dumps({"works": False, "reason": "no wheel for this Python"}), encoding="utf-8")
    assert package.missing() == "torchgan does not run here: no wheel for this Python"
    package.outcome.write_text(json.dumps({"works": True}), encoding="utf-8")
    assert package.missing() is None
    assert replace(package, name="other").missing() is not None


def test_a_failed_installation_has_a_reason_where_the_command_said_nothing() -> None:
    silent = subprocess.CalledProcessError(1, ["python", "-m", "ensurepip"], output=b"")
    assert "ensurepip" in reason(silent)
    assert reason(subprocess.CalledProcessError(1, ["pip"], stderr="a\nno such wheel\n")) == "no such wheel"


@pytest.mark.parametrize("name", list(PEERS))
def test_an_installed_peer_trains_and_draws(name: str) -> None:
    if missing := PEERS[name].missing():
        pytest.skip(missing)
    with PeerProcess(PEERS[name], mnist_folder(), batch=3) as peer:
        assert peer.batch == 3
        before = peer.sample(2, seed=1)
        assert peer.sample(2, seed=1).equal(before)
        assert peer.train(1) > 0
        after = peer.sample(2, seed=1)
        assert after.shape == (2, 1, 28, 28)
        assert not after.equal(before)
        assert peer.flops_per_image() > 1e6


def test_speeds_are_compared_round_by_round() -> None:
    report = compare([100.0, 50.0, 80.0], [50.0, 25.0, 20.0], our_work=10.0, their_work=40.0)
    assert report["ratio"] == 2  # of 2, 2 and 4: a slow round slows both
    assert report["flops_ratio"] == 0.5
    assert report["peer_images_per_second"] == 25
    assert (report["flops_per_second"], report["peer_flops_per_second"]) == (800, 1000)


@pytest.mark.parametrize("name", [*PEERS, "setuptools"])
def test_every_requirement_of_a_peer_is_pinned_with_hashes(name: str) -> None:
    """As pip reads the file; it refuses the whole of it where one has no hash."""
    text = (REQUIREMENTS / f"{name}.txt").read_text(encoding="utf-8")
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]
    assert lines
    for line in lines:
        assert re.fullmatch(r"[\w.-]+==[\w.]+(\s+--hash=sha256:[0-9a-f]{64})+\s*", line), line
    assert any(line.startswith(f"{name}==") for line in lines)
