"""Laws that hold for any value: what is written is read back the same."""

import json
import tempfile
from pathlib import Path

import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ganzoo.config.loading import Override, apply_overrides, load_recipe
from ganzoo.files import parse_json
from ganzoo.registry.loading import load_zoo
from ganzoo.registry.strict import dump, parse
from ganzoo.runs.records import read_checkpoint, save_checkpoint
from ganzoo_studies.records import Ledger, RunRecord, ScoredRun, read_runs

few = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
text = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=20)
names = text.filter(lambda name: name.strip() == name and name)
prose = st.text(st.characters(codec="utf-8"), max_size=50).filter(str.strip)
numbers = st.floats(-1e30, 1e30, allow_subnormal=False)
whole = st.integers(-(2**63), 2**63 - 1)
plain = st.recursive(
    st.none() | st.booleans() | whole | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
schedules = st.fixed_dictionaries(
    {
        "start": st.floats(1e-9, 1.0),
        "end": st.floats(1e-9, 1.0),
        "shape": st.sampled_from(["linear", "cosine", "exponential"]),
        "images": st.none() | st.integers(1, 10**12),
        "delay": st.integers(0, 10**12),
    }
)
SETTINGS = {
    "train.images": st.integers(70_000, 10**12),
    "train.batch_size": st.integers(1, 65_536),
    "train.ema": st.none() | st.floats(0, 1, exclude_min=True, exclude_max=True),
    "train.seed": st.integers(0, 2**63 - 1),
    "train.precision": st.sampled_from(["auto", "fp32", "bf16"]),
    "optimizers.default.lr": st.floats(1e-300, 1e30) | schedules,
    "optimizers.default.betas": st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)).map(list),
    "networks.generator.hidden": st.lists(st.integers(1, 4096), min_size=1, max_size=4),
    "networks.discriminator.spectral_norm": st.booleans(),
    "prior.dim": st.integers(1, 65_536),
    "summary": prose,
    "paper": st.none() | prose,
}
some_settings = st.fixed_dictionaries({}, optional=SETTINGS)


@few
@given(some_settings)
def test_a_recipe_with_overrides_is_the_recipe_of_its_own_file(chosen):
    zoo = load_zoo()
    recipe = load_recipe("vanilla-mnist", zoo, [f"{path}={dump(value)}" for path, value in chosen.items()])
    for path, value in chosen.items():
        found = recipe.plain()
        for key in path.split("."):
            found = found[key]
        assert found == (" ".join(value.split()) if path in ("summary", "paper") and value else value)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "vanilla-mnist.yaml")
        path.write_text(recipe.to_yaml(), "utf-8")
        assert load_recipe(path, zoo) == recipe
        assert load_recipe(path, zoo).to_yaml() == recipe.to_yaml()


@few
@given(
    st.dictionaries(st.sampled_from(["a", "b", "c"]), plain, max_size=3), st.sampled_from(["a", "b.c", "d.e.f"]), plain
)
def test_an_override_is_found_where_it_was_put_and_leaves_what_was_given_alone(data, path, value):
    data = {key: inner for key, inner in data.items() if isinstance(inner, dict) or "." not in path}
    before = json.dumps(data)
    found = apply_overrides(data, [Override(f"{path}=...", tuple(path.split(".")), value)], load_zoo())
    for key in path.split("."):
        found = found[key]
    assert found == value
    assert json.dumps(data) == before


@few
@given(st.floats(allow_nan=False), st.sampled_from(["{!r}", "{:e}", "{:E}", "{:.3e}", "{:g}", "{:+.2E}"]))
def test_what_looks_like_a_number_is_never_text(number, form):
    written = form.format(number).replace("inf", ".inf").replace("INF", ".INF")
    found = parse(f"key: {written}", "here")["key"]
    assert isinstance(found, (int, float)), written
    assert found == float(written.replace(".inf", "inf").replace(".INF", "inf"))


@few
@given(st.text(st.characters(codec="utf-8"), max_size=40) | plain)
def test_yaml_is_read_back_to_the_same_value_and_type(value):
    found = parse(dump({"key": value}), "here")["key"]
    assert found == value
    assert type(found) is type(value)


KINDS = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool]


@few
@given(
    st.dictionaries(
        text.filter(lambda name: name != "__metadata__"),
        st.tuples(st.sampled_from(KINDS), st.lists(st.integers(0, 4), max_size=4), st.integers(0, 2**31)),
        max_size=5,
    ),
    st.dictionaries(text, plain, max_size=3),
    st.integers(0, 10**12),
)
def test_checkpoints_keep_names_shapes_types_and_bits(described, state, images):
    tensors = {
        name: torch.randint(0, 200, shape, generator=torch.Generator().manual_seed(seed)).to(kind)
        for name, (kind, shape, seed) in described.items()
    }
    state = {**state, "images": images, "steps": 3, "seconds": 0.5}
    with tempfile.TemporaryDirectory() as folder:
        found = read_checkpoint(save_checkpoint(Path(folder), tensors, state))
    assert found.state == state
    assert found.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert torch.equal(found.tensors[name], tensor)


positive = st.floats(0, 1e12, allow_subnormal=False)
scores = st.fixed_dictionaries(
    {
        "metric": text,
        "value": numbers,
        "floor": st.none() | numbers,
        "weights": text,
        "images": st.integers(0, 10**15),
        "seconds": positive,
        "protocol": st.dictionaries(text, plain, max_size=3),
    }
)
names = st.from_regex(r"[a-z0-9]+(-[a-z0-9]+)?", fullmatch=True)
records = st.builds(
    RunRecord,
    recipe=names,
    dataset=names,
    seed=st.integers(0, 2**63 - 1),
    digest=st.text("0123456789abcdef", min_size=1, max_size=64),
    plugin=st.none() | text,
    summary=text,
    paper=st.none() | text,
    loss=text,
    conditional=st.booleans(),
    status=st.sampled_from(["done", "failed"]),
    error=st.none() | text,
    images=st.integers(0, 10**15),
    seconds=positive,
    wall_seconds=st.none() | positive,
    images_per_second=st.none() | numbers,
    parameters=st.dictionaries(text, st.integers(0, 10**12), max_size=2),
    flops_per_image=st.none() | numbers,
    engine=st.none() | text,
    precision=st.none() | text,
    threads=st.integers(1, 1000),
    environment=st.dictionaries(text, plain, max_size=2),
    samples=st.none(),
    finished=text,
    command=text,
    started=st.none() | text,
    protocol=st.dictionaries(text, plain, max_size=2),
)


@few
@given(
    st.lists(
        st.tuples(records, st.lists(scores, max_size=3, unique_by=repr)),
        max_size=4,
        unique_by=lambda put: put[0].key,
    )
)
def test_a_ledger_gives_back_what_was_put_into_it(put):
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder))
        for record, curve in put:
            ledger.append(record, curve)
        runs = [ScoredRun(record, tuple(curve)) for record, curve in put]
        assert read_runs(Path(folder)) == runs
        for one in (ledger, Ledger(Path(folder))):
            assert {run.record.key: run for run in one.runs} == {run.record.key: run for run in runs}


@few
@given(plain)
def test_json_is_read_back(value):
    assert parse_json(json.dumps(value).encode()) == value
