import threading

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from ganzoo.config.checking import canonical, check_optimizer, known
from ganzoo.config.schema import ScheduleConfig
from ganzoo.errors import GanzooError
from ganzoo.training.optim import Ema, RoleOptimizer


def trained(network, optimizer, steps, seed=0):
    random = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        optimizer.inner.zero_grad()
        network(torch.randn(4, 3, generator=random)).square().mean().backward()
        optimizer.inner.step()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("adam", {"lr": 1e-2, "betas": (0.5, 0.999)}),
        ("adamw", {"lr": 1e-2, "weight_decay": 0.1}),
        ("sgd", {"lr": 1e-2, "momentum": 0.9}),
        ("sgd", {"lr": 1e-2}),
        ("rmsprop", {"lr": 1e-2}),
        *((name, {"lr": 1e-2}) for name in sorted(known()) if name not in ("adam", "adamw", "sgd", "rmsprop", "muon")),
    ],
)
def test_a_restored_optimizer_continues_to_the_same_bits(name, options):
    torch.manual_seed(0)
    first = nn.Linear(3, 2)
    optimizer = RoleOptimizer(first, name, options)
    trained(first, optimizer, 3)
    second = nn.Linear(3, 2)
    second.load_state_dict(first.state_dict())
    restored = RoleOptimizer(second, name, options)
    restored.load({key: value.clone() for key, value in optimizer.tensors().items()})
    trained(first, optimizer, 3, seed=1)
    trained(second, restored, 3, seed=1)
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(first.bias, second.bias)


def test_every_optimizer_that_steps_without_a_closure_is_known():
    wanted = "adadelta adafactor adagrad adam adamax adamw asgd nadam radam rmsprop rprop sgd"
    assert set(wanted.split()) <= set(known())
    assert not {"lbfgs", "sparseadam", "optimizer"} & set(known())


@pytest.mark.parametrize("spelling", ["AdamW", "adamw", "adam-w", "ADAM_W"])
def test_names_in_any_case_and_hyphenation(spelling):
    assert canonical(spelling) == "adamw"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("LBFGS", "The optimizer 'LBFGS' cannot train a GAN here: it evaluates the loss several times in each step."),
        ("sparse-adam", "The optimizer 'sparse-adam' cannot train a GAN here: it only takes sparse gradients."),
        ("nadamm", "Unknown optimizer 'nadamm'. Did you mean 'nadam'?"),
    ],
)
def test_optimizers_that_are_refused(name, sentence):
    with pytest.raises(GanzooError) as caught:
        canonical(name)
    assert str(caught.value).startswith(sentence)


def test_defaults_are_torch_s_and_switches_that_are_off_are_left_out():
    assert check_optimizer("adam", {"lr": 1}) == {
        "lr": 1.0,
        "decay": "constant",
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "weight_decay": 0.0,
    }
    assert check_optimizer("sgd", {"lr": 1, "nesterov": True, "momentum": 0.9})["nesterov"] is True
    assert check_optimizer("adafactor", {"lr": 1})["eps"] == (None, 1e-3)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("adam", {"lr": 1e-3, "bettas": [0, 0.9]}, "has no option 'bettas'. Did you mean 'betas'?"),
        ("adam", {"lr": 1e-3, "foreach": True}, "has no option 'foreach'."),
        ("adam", {}, "needs the option 'lr'."),
        ("adam", {"lr": 0}, "lr must be greater than 0, not 0."),
        ("adam", {"lr": 1, "betas": [0.5, 1]}, "betas.1 must be less than 1, not 1."),
        ("adam", {"lr": 1, "betas": [0.5]}, "betas"),
        ("adam", {"lr": 1, "amsgrad": 1}, "amsgrad must be true or false, not 1."),
        ("rprop", {"lr": 1, "etas": [0.5]}, "etas"),
        ("sgd", {"lr": 1, "weight_decay": 1e7}, "weight_decay must be at most 1e+06, not 10000000.0."),
    ],
)
def test_options_are_checked_against_the_constructor(name, options, words):
    with pytest.raises(GanzooError) as caught:
        check_optimizer(name, options)
    assert words in str(caught.value)


def test_what_torch_refuses_is_a_one_line_error():
    if hasattr(torch.optim, "Muon"):  # since torch 2.9
        with pytest.raises(GanzooError, match="The optimizer 'muon' cannot train this network: .*2D"):
            RoleOptimizer(nn.Conv2d(1, 1, 3), "muon", {"lr": 1e-3})
    with pytest.raises(GanzooError, match="cannot train this network: Nesterov"):
        RoleOptimizer(nn.Linear(1, 1), "sgd", {"lr": 1e-3, "nesterov": True})


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("adafactor", {}),
        ("nadam", {"betas": (ScheduleConfig(start=0.5, end=0.9), 0.9)}),
        ("adam", {"betas": (0.0, ScheduleConfig(start=0.9, end=0.99))}),
    ],
)
def test_what_cannot_be_captured_is_a_one_line_error(name, options):
    with pytest.raises(GanzooError, match="'cudagraph' cannot capture"):
        RoleOptimizer(nn.Linear(1, 1), name, {"lr": 1e-3, **options}, torch.device("cpu"))


def test_ema_follows_its_recursion_and_other_buffers_are_copied():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    network.register_buffer("seen", torch.zeros(()))
    ema = Ema({"generator": network}, decay=0.6)
    expected = network[0].weight.detach().clone()
    for step in range(8):
        with torch.no_grad():
            network[0].weight.add_(torch.randn(2, 2))
        network(torch.randn(5, 2))
        network.seen += 1
        ema.update(step)
        decay = min(0.6, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * network[0].weight.detach()
    torch.testing.assert_close(ema.networks["generator"][0].weight, expected)
    assert ema.networks["generator"].seen == 8


def test_averaged_weights_have_their_own_statistics():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), spectral_norm(nn.Linear(3, 3)), nn.BatchNorm1d(3))
    unused = nn.BatchNorm1d(1)
    ema = Ema({"generator": network, "unused": unused}, decay=0.9)
    averaged = ema.networks["generator"]
    for step in range(40):
        with torch.no_grad():
            network[0].weight.add_(torch.randn(3, 2))
            network[2].parametrizations.weight.original.add_(torch.randn(3, 3))
        network(torch.randn(5, 2))
        unused(torch.randn(5, 1))
        ema.update(step)
    inputs = torch.randn(20, 16, 2)
    ema.measure(lambda index: averaged(inputs[index]), 20)

    hidden = averaged[0](inputs)
    torch.testing.assert_close(averaged[1].running_mean, hidden.mean((0, 1)))
    torch.testing.assert_close(averaged[1].running_var, hidden.var(1).mean(0))
    assert torch.linalg.matrix_norm(averaged[2].weight, 2) == pytest.approx(1.0, abs=1e-3)
    assert not any(module.training for module in ema.networks.modules())
    assert not any(parameter.requires_grad for parameter in ema.networks.parameters())
    assert torch.equal(ema.networks["unused"].running_mean, unused.running_mean)
    # Earlier measurements leave no trace, and none of this affects the trained network.
    state = {name: buffer.clone() for name, buffer in ema.networks.named_buffers()}
    ema.measure(lambda index: averaged(100 * inputs[0]), 3)
    ema.measure(lambda index: averaged(inputs[index]), 20)
    assert all(torch.equal(buffer, state[name]) for name, buffer in ema.networks.named_buffers())
    assert network[1].momentum == averaged[1].momentum == 0.1
    assert network[1].num_batches_tracked == 40


def test_averages_from_another_training_run_are_kept():
    network = nn.Linear(1, 1)
    ema = Ema({"generator": network}, decay=0.9, ramp=False)
    before = ema.networks["generator"].weight.clone()
    with torch.no_grad():
        network.weight.add_(1.0)
    ema.update(0)
    torch.testing.assert_close(ema.networks["generator"].weight, before + 0.1)


def test_a_network_that_cannot_be_copied_is_named():
    network = nn.Linear(3, 2)
    network.lock = threading.Lock()
    sentence = "The generator, a Linear, cannot be copied for the average of its weights: TypeError: cannot pickle"
    with pytest.raises(GanzooError, match=sentence):
        Ema({"generator": network}, decay=0.9)
