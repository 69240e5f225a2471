"""The file that ``benchmarks/gpu.py`` makes, by a short run on a CPU that is interrupted, and what it refuses."""

import json
import re
import socket
import zipfile
from pathlib import Path

import pytest
import torch

import gpu
from ganzoo.files import read_lines

RECIPE = "cdcgan-mnist"


def outcome(*words):
    with pytest.raises(SystemExit) as ended:
        gpu.main(words)
    return ended.value.code


def test_without_a_gpu_one_sentence_names_the_remedy(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert outcome("--quick") == 2
    told = capsys.readouterr()
    assert re.fullmatch(r"This needs a CUDA GPU, and torch \S+ finds none: check the driver with .*\.\n", told.err)
    assert told.out == ""
    assert outcome("--device", "cpu") == 2
    assert capsys.readouterr().err == "These recipes need a CUDA GPU. For a trial on a CPU, add --quick.\n"


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("Error in '/home/jo/my-zoo/x.py', line 3, of 1/2 images/s", "Error in 'x.py', line 3, of 1/2 images/s"),
        (r"data=C:\Users\jo\x.png", "data=x.png"),
        ("samples/x.png: https://arxiv.org/abs/1812.04948", "samples/x.png: https://arxiv.org/abs/1812.04948"),
        ("one\ntwo\nthree", "one\ntwo\nthree"),
    ],
)
def test_folders_are_left_out(said, left):
    assert json.loads(gpu.FOLDERS.sub("", json.dumps(said))) == left


@pytest.mark.full
@pytest.mark.timeout(900)
def test_an_interrupted_run_continues_and_its_file_can_be_sent(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gpu, "RECIPES", (RECIPE,))
    monkeypatch.setattr(gpu, "ENGINES", {"cpu": ("eager", "cudagraph")})
    monkeypatch.setattr(gpu, "TESTS", "tests/data/test_sampler.py")

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as stopped:
        stopped.setattr(gpu, "speed", stop)
        assert outcome("--device", "cpu", "--quick") == 130
    assert capsys.readouterr().err.endswith("Stopped. The same command continues.\n")
    gpu.main(["--device", "cpu", "--quick"])
    told = capsys.readouterr()
    assert f"  {RECIPE}, 512 images: more than 0.0 minutes\n" in told.out
    assert "0 to train, 1 already done" in told.err
    file = Path("runs", "gpu", "ganzoo-gpu-quick.zip")
    assert told.out.endswith(f"Saved to {file}, the file to send.\n")

    (recorded,) = read_lines(Path("runs", "gpu", "results", "runs.jsonl"))
    with zipfile.ZipFile(file) as archive:
        assert sorted(archive.namelist()) == ["report.json", recorded["samples"]]
        assert archive.read(recorded["samples"]).startswith(b"\x89PNG")
        text = archive.read("report.json").decode()
    for private in (r"(?<![\w.:/])/\w+/", rf"\b{re.escape(socket.gethostname())}\b"):
        assert not re.search(private, text)
    content = json.loads(text)
    assert content["command"] == "python benchmarks/gpu.py --device cpu --quick"
    assert content["environment"]["versions"]["torch"] == torch.__version__
    assert min(content["gemm_peak"].values()) > 0
    assert re.fullmatch(
        r"\d+ skipped, \d+ deselected in .*|\d+ passed, \d+ deselected in .*", content["tests"]["summary"]
    )
    (run,) = content["runs"]
    assert (run["recipe"], run["digest"], run["status"]) == (RECIPE, recorded["digest"], "done")
    assert "MNIST" in run["summary"]
    assert {"fid@mnist-ae", "accuracy@mnist-cnn"} <= {score["metric"] for score in run["scores"]}
    eager, captured = content["speeds"]
    assert (eager["requested"], eager["engine"], eager["digest"]) == ("eager", "eager", run["digest"])
    assert eager["precision"] in ("fp32", "bf16")
    assert eager["images_per_second"] > 0
    assert captured["error"].startswith("The engine 'cudagraph' needs a CUDA device")
