"""One batch of fakes per step for both players: exactly the tutorial's loop."""

import pytest
import torch
from torch.nn.functional import softplus

from ganzoo.config.loading import load_recipe
from ganzoo.errors import GanzooError
from ganzoo.registry.loading import load_zoo
from ganzoo.training.trainer import Trainer

SMALL = [
    "networks.generator.hidden=[32, 32]",
    "networks.discriminator.hidden=[16]",
    "train.batch_size=16",
    "train.precision=fp32",
    "train.share_fakes=true",
]
LAZY = "regularizers=[{name: r1, every_steps: 2}]"


def trainer(mnist, *overrides, recipe="vanilla-mnist"):
    zoo = load_zoo()
    return Trainer(load_recipe(recipe, zoo, [*SMALL, *overrides]), zoo, dataset=mnist)


def tutorial_step(twin):
    """The loop in tutorials, with the networks, optimizers, images and latent codes of a trainer that takes no step."""
    generator, discriminator = twin.networks["generator"], twin.networks["discriminator"]
    real = twin.sampler.next()["image"]
    fake = generator(twin._draw_latents())

    optimizer = twin.optimizers["discriminator"].inner
    optimizer.zero_grad()
    (softplus(-discriminator(real)).mean() + softplus(discriminator(fake.detach())).mean()).backward()
    optimizer.step()

    optimizer = twin.optimizers["generator"].inner
    optimizer.zero_grad()
    softplus(-discriminator(fake)).mean().backward()
    optimizer.step()


def test_a_step_matches_the_tutorial_even_with_batch_normalisation(mnist):
    trained, twin = trainer(mnist), trainer(mnist)
    for _ in range(5):
        trained.step()
        tutorial_step(twin)
    expected = twin.networks.state_dict()
    for name, value in trained.networks.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-6, msg=name)
    # Running statistics reflect one pass per step; two would have moved them further.
    assert twin.networks["generator"].state_dict()["trunk.3.num_batches_tracked"] == 5


def test_without_sharing_each_player_draws_its_own_fakes(mnist):
    trained, twin = trainer(mnist, "train.share_fakes=false"), trainer(mnist)
    trained.step()
    tutorial_step(twin)
    weight = "generator.trunk.0.weight"
    assert not torch.allclose(trained.networks.state_dict()[weight], twin.networks.state_dict()[weight], atol=1e-6)


@pytest.mark.parametrize(("kind", "own_fakes"), [("r1", 0), ("r2", 1)])
def test_a_lazy_regularizer_draws_its_own_fakes_if_it_reads_any_and_changes_no_other_step(mnist, kind, own_fakes):
    plain, lazy = trainer(mnist), trainer(mnist, LAZY.replace("r1", kind))
    calls = []
    generate = lazy.objective.generate
    lazy.objective.generate = lambda *given: (calls.append(1), generate(*given))[1]
    own = {f"discriminator/{kind}.loss", f"discriminator/{kind}.penalty"}
    for calls_so_far, own_keys in ((1 + own_fakes, own), (2 + own_fakes, set())):
        plain.step()
        lazy.step()
        assert len(calls) == calls_so_far
        assert lazy.flush().keys() ^ plain.flush().keys() == own_keys


def test_losses_and_gradients_are_logged_under_each_player_s_name(mnist):
    trained = trainer(mnist)
    trained.step()
    assert {"discriminator.loss", "discriminator.real_logits", "generator.loss"} <= trained.flush().keys()
    assert trained.gradients.flush().keys() == {"discriminator.discriminator", "generator.generator"}


@pytest.mark.parametrize("change", ["{discriminator: {repeat: 2}}", "{generator: {every_steps: 2}}"])
def test_a_phase_that_shares_fakes_cannot_run_more_or_less_often(mnist, change):
    with pytest.raises(
        GanzooError, match=r"The phase '(discriminator|generator)' .* must run once in every step"
    ) as refused:
        trainer(mnist, f"phases={change}")
    assert "train.share_fakes: false" in str(refused.value)


def test_a_lazy_regularizer_keeps_its_own_interval_since_its_strength_depends_on_it(mnist):
    with pytest.raises(GanzooError) as refused:
        trainer(mnist, LAZY, "phases={discriminator/r1: {every_steps: 3}}")
    assert str(refused.value) == (
        "Recipe 'vanilla-mnist' sets every_steps of the phase 'discriminator/r1', but its penalty is multiplied by the "
        "regularizer's own every_steps. Set the regularizer's every_steps instead."
    )
    trained = trainer(mnist, LAZY, "phases={discriminator/r1: {begin: 0.5}}", "train.images=128")
    ran = []
    for _ in range(8):
        trained.step()
        ran.append("discriminator/r1.penalty" in trained.flush())
    assert ran == [False] * 4 + [True, False] * 2


def test_an_objective_with_its_own_phases_decides_for_itself(mnist):
    with pytest.raises(GanzooError, match="The loss 'infogan' has its own phases") as refused:
        trainer(mnist, "networks.generator=mlp", "networks.discriminator=mlp", recipe="infogan-mnist")
    assert "no train.share_fakes. Remove them" in str(refused.value)
