"""Engines compute the same results; what cannot be compiled runs eagerly, with a message."""

import pytest
import torch
import torch._inductor.config as inductor

from ganzoo.errors import GanzooError
from ganzoo.training.trainer import build_engine

SMALL = ("networks.generator.hidden=[16, 16]", "train.precision=fp32")


@pytest.fixture
def begin(trainer, few):
    return lambda recipe, engine, *overrides: trainer(
        *SMALL, f"train.engine={engine}", *overrides, recipe=recipe, dataset=few
    )


def curve(trainer, steps=5):
    found = []
    for _ in range(steps):
        trainer.step()
        found.append(trainer.flush())
    return found


def test_traced_losses_follow_the_same_curve(begin, told, monkeypatch):
    """All of the engine but the compiler, which takes half a minute: without it, what torch traced is executed."""
    compiler = torch.compile

    def trace(loss, *, options, **given):
        assert options == {"fallback_random": True}
        return compiler(loss, backend="aot_eager", **given)

    monkeypatch.setattr(torch, "compile", trace)
    assert_follows_the_eager_curve(begin, told, "vanilla-mnist")


@pytest.mark.usefixtures("compiler")
@pytest.mark.full
@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "overrides"),
    [
        ("wgan-gp-mnist", ["networks.generator.norm=batch", "phases={discriminator: {repeat: 2}}"]),
        (
            "infogan-mnist",
            ["networks.generator={name: mlp, hidden: [16, 16]}", "networks.discriminator={name: mlp, hidden: [16]}"],
        ),
        ("vanilla-mnist", []),
        ("r1-mnist", ["augmentation={name: ada, start: 0.5, noise: true, cutout: true}"]),
        ("r1-mnist", ["augmentation=diffaugment"]),
    ],
    ids=[
        "batch-norm-and-gradient-penalty",
        "own-phases",
        "shared-fakes",
        "penalty-through-ada",
        "penalty-through-diffaugment",
    ],
)
def test_compiled_losses_follow_the_same_curve(begin, told, recipe, overrides):
    assert_follows_the_eager_curve(begin, told, recipe, *overrides)


def assert_follows_the_eager_curve(begin, told, recipe, *overrides):
    # One after the other, because each begins by seeding the generator that both draw from.
    expected = begin(recipe, "eager", *overrides)
    wanted = curve(expected)
    compiled = begin(recipe, "compile", *overrides)
    found = curve(compiled)
    assert told == []
    assert compiled.engine.name == "compile"
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-4)
    assert torch.equal(drawn(compiled), drawn(expected))


def drawn(trainer):
    """The state of torch's generator after one more step from a known state, which shows what the losses drew."""
    torch.manual_seed(1)
    trainer.step()
    return torch.get_rng_state()


@pytest.mark.slow
def test_without_a_compiler_everything_runs_eagerly_to_the_same_bits(begin, told, monkeypatch):
    # A width that no other test has compiled.
    overrides = ("networks.generator.hidden=[12, 12]", "train.share_fakes=false")
    wanted = curve(begin("vanilla-mnist", "eager", *overrides), 3)
    monkeypatch.setattr(inductor.cpp, "cxx", ("no-such-compiler",))
    compiled = begin("vanilla-mnist", "compile", *overrides)
    assert curve(compiled, 3) == wanted
    assert compiled.engine.name == "eager"
    assert [sentence.partition(",")[0] for sentence in told] == [
        "The phase 'discriminator' runs eagerly",
        "The phase 'generator' runs eagerly",
    ]


def test_a_loss_that_cannot_be_traced_runs_as_written(begin, told):
    overrides = ("networks.generator.norm=batch", "networks.discriminator.norm=batch")
    wanted = curve(begin("vanilla-mnist", "eager", *overrides), 3)
    compiled = begin("vanilla-mnist", "compile", *overrides)
    generate = compiled.objective.generate
    compiled.objective.generate = torch.compiler.disable(generate)
    assert curve(compiled, 3) == wanted
    assert compiled.engine.name == "eager"
    assert len(told) == 2
    assert all("cannot compile its loss (Unsupported" in sentence for sentence in told)


def chosen(name, told):
    return build_engine(name, torch.device("cpu"), torch.Generator(), told.append)


def test_auto_falls_back_to_eager_and_says_why(told):
    assert chosen("auto", told).name == chosen("eager", told).name == "eager"
    assert len(told) == 1
    assert "on a CPU" in told[0]


def test_cuda_graphs_are_refused_without_a_gpu(told):
    with pytest.raises(GanzooError, match="needs a CUDA device, but this run trains on cpu"):
        chosen("cudagraph", told)
