"""The description of the hardware and software that results were measured on."""

import json

import pytest
import torch

from ganzoo.runs.provenance import environment, hardware_in_words, in_words


def test_an_environment_is_json_with_the_cpu_instructions():
    found = environment(torch.device("cpu"))
    assert json.loads(json.dumps(found)) == found
    assert ("AVX512" in found["instructions"]) == torch.cpu._is_avx512_supported()
    assert ("AMX" in found["instructions"]) == torch.cpu._is_amx_tile_supported()
    assert found["versions"]["torch"] == torch.__version__


def test_in_words_with_and_without_instructions():
    facts = {"cpu": "A CPU", "threads": 2, "versions": {"torch": "2.13.0"}}
    assert in_words(facts) == "A CPU, threads: 2, torch 2.13.0"
    assert in_words({**facts, "instructions": ["AVX2", "AMX"]}) == "A CPU (AVX2, AMX), threads: 2, torch 2.13.0"


@pytest.mark.parametrize("facts", [{}, {"threads": None, "versions": None}, {"versions": {}}])
def test_an_untrusted_record_may_lack_threads_and_versions(facts):
    assert in_words({"cpu": "A CPU", **facts}) == "A CPU, threads: unknown, torch unknown"


@pytest.mark.parametrize("instructions", [None, 5, "AMX", {"AMX": 1}, []])
def test_an_untrusted_record_may_contain_anything_as_cpu_instructions(instructions):
    assert hardware_in_words({"cpu": "A CPU", "gpu": None, "instructions": instructions}) == "A CPU"
    assert hardware_in_words({"instructions": instructions}) == "None"


def test_with_a_gpu_it_is_named_as_what_computes():
    assert hardware_in_words({"cpu": "A CPU", "gpu": "A GPU", "instructions": ["AMX"]}) == "A GPU"
