import copy
from contextlib import nullcontext

import pytest
import torch

from ganzoo import Dataset, Phase
from ganzoo.config.loading import load_recipe
from ganzoo.errors import GanzooError
from ganzoo.training.distributed import Processes, SyncedBatchNorm, sync_batch_norm
from ganzoo.training.step import PhaseStep
from ganzoo.training.trainer import Trainer


def weights(trainer, role):
    return torch.cat([p.detach().flatten().clone() for p in trainer.networks[role].parameters()])


def test_images_count_the_real_images_of_every_repeat(trainer):
    trained = trainer("phases={discriminator: {repeat: 3}}", "train.images=1000", "train.share_fakes=false")
    assert (trained.images_per_step, trained.total_steps) == (48, 21)
    trained.step()
    assert trained.images == 48


def test_only_the_seed_decides(trainer, different):
    first, same, other = (trainer(f"train.seed={seed}") for seed in (1, 1, 2))
    for trained in (first, same, other):
        torch.manual_seed(0)  # trainers in one process share torch's own generator
        trained.step()
    assert different(first, same) == []
    assert {"sampler.order", "latents", "networks.generator.trunk.0.weight"} <= set(different(first, other))


def test_a_checkpoint_of_other_networks_is_refused(trainer):
    saved, state = trainer().checkpoint()
    with pytest.raises(GanzooError, match="does not fit the recipe 'vanilla-mnist'"):
        trainer("networks.generator.hidden=[8]").restore(saved, state)


def test_unknown_phases_and_roles_are_refused(trainer):
    with pytest.raises(GanzooError, match="'discriminater'.*Did you mean 'discriminator'"):
        trainer("phases={discriminater: {repeat: 3}}")
    with pytest.raises(GanzooError, match="'generater'.*Did you mean 'generator'"):
        trainer("optimizers.generater={name: adam, lr: 1e-3}")


def test_frozen_parameters_are_those_that_patterns_match(trainer):
    trained = trainer('train.freeze=["generator.trunk.0.*", "discriminator.*.bias"]')
    before = {name: p.detach().clone() for name, p in trained.networks.named_parameters()}
    trained.step()
    same = {name for name, p in trained.networks.named_parameters() if torch.equal(p, before[name])}
    first = {"generator.trunk.0.weight", "generator.trunk.0.bias"}
    assert same == first | {"discriminator.trunk.0.bias", "discriminator.head.linear.bias"}


@pytest.mark.parametrize(
    ("patterns", "sentence"),
    [
        (
            ["generator.*", "nothing"],
            "train.freeze: no parameter is called 'nothing'. Parameters are generator.trunk.0",
        ),
        (["generator.trunk.0.wieght"], "no parameter is called .* Did you mean 'generator.trunk.0.weight'"),
        (["generator.*"], "leaves the phase 'generator' nothing to train. Freeze fewer parameters."),
    ],
)
def test_freezing_nothing_or_everything_is_refused(trainer, patterns, sentence):
    with pytest.raises(GanzooError, match=sentence):
        trainer(f"train.freeze={patterns}")


def test_a_step_moves_the_average(trainer):
    trained = trainer("train.ema=0.5")
    before = trained.ema.networks["generator"].state_dict()["trunk.0.weight"].clone()
    trained.step()
    assert not torch.equal(trained.ema.networks["generator"].state_dict()["trunk.0.weight"], before)


def test_each_phase_shares_its_own_gradients_and_the_last_of_a_group_the_buffers(trainer):
    class Recorder:
        def average_gradients(self, parameters, *, buffers):
            shared.append(([id(parameter) for parameter in parameters], buffers))

    for overrides, buffers in (("train.share_fakes=true", [False, True]), ("train.share_fakes=false", [True, True])):
        trained, shared = trainer(overrides), []
        trained._step_state.replicas = Recorder()
        trained.step()
        own = [[id(p) for p in trained.networks[role].parameters()] for role in ("discriminator", "generator")]
        assert shared == list(zip(own, buffers, strict=True))


def test_without_ema_only_raw_weights_are_scored(trainer):
    trained = trainer("train.ema=null")
    assert trained.kinds_of_weights == ("raw",)
    assert trained.sampling_networks("raw")["generator"] is trained.networks["generator"]


def test_measuring_the_average_s_statistics_does_not_change_training(trainer, different):
    looked_at, left_alone = (trainer("networks.generator.hidden=[8, 8]") for _ in range(2))
    for trained in (looked_at, left_alone):
        for _ in range(6):
            trained.step()
            if trained is looked_at:
                trained.sampling_networks("ema")
    assert different(looked_at, left_alone) == []
    tensors, _ = looked_at.checkpoint()
    measured = [name for name in tensors if name.startswith("ema.") and name.endswith("running_var")]
    assert measured
    assert not any(torch.equal(tensors[name], tensors[name.replace("ema.", "networks.")]) for name in measured)


def test_an_averaged_encoder_s_statistics_come_from_training_images(zoo, mnist):
    recipe = load_recipe("aae-mnist", zoo, ["train.batch_size=64", "train.threads=1"])
    trained = Trainer(recipe, zoo, dataset=mnist)
    for _ in range(3):
        trained.step()
    networks = trained.sampling_networks("ema")
    rows = torch.arange(2048) * len(mnist) // 2048
    images, trunk = mnist.modality.to_network(mnist.images[rows]), networks["encoder"].trunk
    norm = next(module for module in networks["encoder"].modules() if isinstance(module, torch.nn.BatchNorm1d))
    seen = []
    norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        trunk.features(images)
    torch.testing.assert_close(norm.running_mean, seen[0].mean(0), rtol=1e-3, atol=1e-3)


def test_spectral_norm_bounds_every_layer(trainer):
    trained = trainer("networks.discriminator.spectral_norm=true")
    for _ in range(20):
        trained.step()
    network = trained.networks["discriminator"].eval()
    layers = [m for m in network.modules() if isinstance(m, torch.nn.Linear)]
    assert layers
    for layer in layers:
        assert torch.linalg.matrix_norm(layer.weight.detach(), 2) == pytest.approx(1.0, abs=0.15)


def test_bf16_computes_in_bf16_and_stores_in_fp32(trainer):
    trained = trainer("train.precision=bf16")
    reference = trainer("train.precision=fp32")
    types = set()
    for network in trained.networks.values():
        network.trunk[0].register_forward_hook(lambda module, given, out: types.add(out.dtype))
    trained.step()
    reference.step()
    assert types == {torch.bfloat16}
    assert all(p.dtype == torch.float32 for p in trained.networks.parameters())
    assert not torch.equal(weights(trained, "generator"), weights(reference, "generator"))
    # Weights would not do: Adam's first step is as long as its learning rate, whatever the gradient.
    assert trained.flush() == pytest.approx(reference.flush(), rel=0.02, abs=0.02)
    assert trained.gradients.flush() == pytest.approx(reference.gradients.flush(), rel=0.05)


def test_a_phase_that_returns_a_bare_loss_is_a_one_line_error():
    phase = Phase("main", (), lambda networks, batch: torch.tensor(1.0))
    with pytest.raises(GanzooError) as caught:
        PhaseStep(phase, torch.nn.ModuleDict(), (), nullcontext).loss(None)
    assert str(caught.value) == "The phase 'main' returns a Tensor, not a mapping. Return {\"loss\": ...}."


def test_synced_batch_normalisation_keeps_its_layer_s_type_and_needs_no_group_in_evaluation():
    tracking = torch.nn.BatchNorm1d(3, device="meta", dtype=torch.float64)
    bare = torch.nn.BatchNorm2d(3, affine=False, track_running_stats=False)
    network = copy.deepcopy(torch.nn.Sequential(tracking, bare))
    sync_batch_norm(network)
    assert all(isinstance(layer, SyncedBatchNorm) for layer in network)
    for name, tensor in tracking.state_dict().items():
        found = network[0].state_dict()[name]
        assert (found.device, found.dtype) == (tensor.device, tensor.dtype)
    images = torch.randn(4, 3, 2, 2)
    # No process group is needed in evaluation or outside a step.
    torch.testing.assert_close(network[1].eval()(images), bare(images))
    torch.testing.assert_close(network[1].train()(images), bare.train()(images))


def test_batches_of_one_image_are_refused_with_batch_normalisation(trainer):
    with pytest.raises(GanzooError, match=r"needs at least two images.* Set train\.batch_size to at least 2\."):
        trainer("train.batch_size=1", "networks.generator={name: mlp, hidden: [8, 8], norm: batch}")
    trainer("train.batch_size=1", "networks.generator.norm=none").step()


def test_steps_beyond_the_end_act_like_the_last_since_a_rehearsal_may_take_some(trainer):
    trained = trainer("train.images=16", "train.batch_size=16")
    trained.step()
    before = weights(trained, "generator")
    with trained.rehearsal():
        trained.step()
        assert not torch.equal(weights(trained, "generator"), before)
    assert torch.equal(weights(trained, "generator"), before)


def test_the_average_s_statistics_cover_every_class_in_full_precision(trainer):
    images = torch.randint(256, (300, 1, 28, 28), dtype=torch.uint8)
    many = Dataset("many", "train", images, torch.arange(300), tuple(map(str, range(300))))
    trained = trainer("conditional=true", "networks.generator.hidden=[8, 8]", dataset=many)
    labels, formats, generate = [], set(), trained.objective.generate_from

    def noted(networks, codes, label, columns):
        labels.append(label)
        formats.add((torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32))
        return generate(networks, codes, label, columns)

    trained.objective.generate_from = noted
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        trained.sampling_networks("ema")
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.cat(labels).unique().tolist() == list(range(300))
    assert formats == {("highest", False)}


class Pair(Processes):
    """Two processes, as the first of them sees them when nothing is exchanged."""

    def broadcast(self, tensors):
        pass


def test_image_counters_account_for_other_processes(trainer):
    settings = ["augmentation=ada", "regularizers=[top-k]", "networks.generator.norm=none"]
    trained = trainer(*settings, processes=Pair(0, 2))
    assert (trained.objective.augmentation.processes, trained.objective.regularizers[0].processes) == (2, 2)
    assert trainer(*settings).objective.augmentation.processes == 1


def test_a_device_too_full_for_a_checkpoint_is_not_reported_as_a_misfit(trainer):
    class TooMuch(dict):
        def items(self):
            raise torch.OutOfMemoryError("CUDA out of memory.")

    trained = trainer()
    with pytest.raises(torch.OutOfMemoryError):
        trained.restore(TooMuch(), {})
