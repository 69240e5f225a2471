"""What figures were measured on."""

import json

import torch

from ganzoo.runs.environment import environment, in_words


def test_an_environment_is_json_and_tells_what_the_processor_multiplies_with():
    found = environment(torch.device("cpu"))
    assert json.loads(json.dumps(found)) == found
    assert ("AVX512" in found["instructions"]) == torch.cpu._is_avx512_supported()
    assert ("AMX" in found["instructions"]) == torch.cpu._is_amx_tile_supported()
    assert found["versions"]["torch"] == torch.__version__


def test_in_words_with_and_without_instructions():
    facts = {"cpu": "A CPU", "threads": 2, "versions": {"torch": "2.13.0"}}
    assert in_words(facts) == "A CPU, threads: 2, torch 2.13.0"
    assert in_words({**facts, "instructions": ["AVX2", "AMX"]}) == "A CPU (AVX2, AMX), threads: 2, torch 2.13.0"
