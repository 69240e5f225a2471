"""What the suite prints at its end."""

from types import SimpleNamespace

from summary import summary

TIMES = SimpleNamespace(median=0.5, q1=0.4, q3=0.625)
STEP = {
    "recipe": "vanilla-mnist",
    "engine": "eager",
    "precision": "fp32",
    "images": 5_000,
    "flops_per_image": 2e7,
    "share_of_gemm_peak": 0.625,
}
SCORE = {
    "recipe": "a-long-name-mnist",
    "scores": {"fid@mnist-ae": [10.0, 12.0, 14.0], "fid@mnist-cnn": [3.0]},
    "floors": {"fid@mnist-ae": 0.1, "fid@mnist-cnn": 0.2},
    "seeds": [0, 1, 2],
    "images": 50_000,
}
PEER = {
    "peer": "tutorial",
    "recipe": "vanilla-mnist",
    "ours": {"precision": "fp32"},
    "images": 4_000,
    "peer_images_per_second": 4_000.0,
    "ratio": 2.0,
    "flops_ratio": 2.25,
}
OTHER = {"what": "batches", "images": 100}


def test_each_table_tells_what_was_noted():
    found = [({"generator": "mlp"}, TIMES), *((one, TIMES) for one in (PEER, OTHER, SCORE, STEP))]
    lines = [line.split() for line in summary(found)]
    assert ["vanilla-mnist", "eager", "fp32", "10,000", "8,000", "to", "12,500", "200", "62%"] in lines
    assert ["a-long-name-mnist", "fid@mnist-ae", "12.00", "2.00", "0.10", "3", "50,000", "0.5"] in lines
    assert ["a-long-name-mnist", "fid@mnist-cnn", "3.00", "0.00", "0.20", "3", "50,000", "0.5"] in lines
    assert ["tutorial", "vanilla-mnist", "fp32", "8,000", "4,000", "2.00", "2.25"] in lines
    assert ["batches", "200", "160", "to", "250"] in lines
    assert sum(not line for line in lines) == 4


def test_columns_are_aligned_and_empty_tables_left_out():
    slow = {**STEP, "recipe": "x", "images": 2.5}
    heading, first, second, end = summary([(STEP, TIMES), (slow, TIMES)])
    assert first.index("10,000") + len("10,000") == second.index(" 5 ") + len(" 5")
    assert heading.index("images/s") + len("images/s") == first.index("10,000") + len("10,000")
    assert end == ""
    assert summary([({"generator": "mlp"}, TIMES)]) == []
