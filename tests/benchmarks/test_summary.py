"""What the suite prints at its end."""

from summary import summary

STEP = {
    "recipe": "vanilla-mnist",
    "engine": "eager",
    "precision": "fp32",
    "images_per_second": 10_000.0,
    "flops_per_image": 2e7,
    "share_of_gemm_peak": 0.625,
}
SCORE = {
    "recipe": "a-long-name-mnist",
    "metric": "fid@mnist-cnn",
    "score": 12.345,
    "floor": 0.1,
    "training_images": 50_000,
    "training_seconds": 6.04,
}
PEER = {
    "peer": "tutorial",
    "recipe": "vanilla-mnist",
    "ours": {"precision": "fp32"},
    "images_per_second": 8_000.0,
    "peer_images_per_second": 4_000.0,
    "ratio": 2.0,
    "flops_ratio": 2.25,
}


def test_each_table_tells_what_was_noted():
    lines = [line.split() for line in summary([{"generator": "mlp"}, PEER, SCORE, STEP])]
    assert ["vanilla-mnist", "eager", "fp32", "10,000", "200", "62%"] in lines
    assert ["a-long-name-mnist", "fid@mnist-cnn", "12.35", "0.10", "50,000", "6.0"] in lines
    assert ["tutorial", "vanilla-mnist", "fp32", "8,000", "4,000", "2.00", "2.25"] in lines
    assert sum(not line for line in lines) == 3


def test_columns_are_aligned_and_empty_tables_left_out():
    heading, first, second, end = summary([STEP, {**STEP, "recipe": "x", "images_per_second": 5.0}])
    assert first.index("10,000") + len("10,000") == second.index(" 5 ") + len(" 5")
    assert heading.index("images/s") + len("images/s") == first.index("10,000") + len("10,000")
    assert end == ""
    assert summary([{"generator": "mlp"}]) == []
