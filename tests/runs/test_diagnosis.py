"""Each diagnosis rule, just above and just below its threshold."""

import pytest

from ganzoo.runs.diagnosis import diagnose

REAL = {"samples": 500, "classes": 10.0, "spread": 0.9, "distance": 12.0, "nearest": 2.0}


SIMILAR = {"classes": 0.5, "spread": 0.3, "distance": 0.5, "nearest": 0.25}
"""Shares of what real images have, below which samples are too similar."""


def training(*losses, real=2.0, fake=-2.0, phase="discriminator"):
    return [
        {
            "event": "train",
            "images": 1000 * i,
            f"{phase}.loss": loss,
            f"{phase}.real_logits": real,
            f"{phase}.fake_logits": fake,
        }
        for i, loss in enumerate(losses, 1)
    ]


def gradients(*norms, name="generator.generator"):
    return [{"event": "health", "images": 1000 * i, "gradients": {name: norm}} for i, norm in enumerate(norms, 1)]


def evaluation(images=5000, samples=500, **shares):
    variety = {what: value * shares.get(what, 1.0) for what, value in REAL.items()} | {"samples": samples}
    return {"event": "health", "images": images, "weights": "ema", "variety": variety, "real_variety": REAL}


def score(value, weights, images=5000, metric="fid@mnist-cnn", floor=0.1, **more):
    facts = {"metric": metric, "value": value, "floor": floor, "weights": weights, **more}
    return {"event": "score", "images": images, **facts}


def kinds(events):
    return [found.kind for found in diagnose([*events, END]).findings]


END = {"event": "end", "images": 10**9}


def test_without_evidence_a_run_is_not_healthy():
    diagnosis = diagnose([{"event": "start", "images": 0}])
    assert diagnosis.verdict == "unknown"
    assert diagnosis.judged == ("divergence",)
    assert len(diagnosis.unjudged) == 5
    assert not any(line.startswith("healthy") for line in diagnosis.lines())


def test_a_healthy_verdict_says_what_was_judged_and_what_was_not():
    diagnosis = diagnose([*training(0.7, 0.7, 0.7, 0.7), *gradients(1.0, 1.2, 0.8, 1.0), END])
    assert diagnosis.verdict == "healthy"
    healthy, *rest = diagnosis.lines()
    assert healthy == "healthy: no sign of divergence, saturation or vanishing or exploding gradients."
    assert "not judged: collapse, no evaluation has measured the samples' variety yet." in rest


def test_too_few_real_images_to_compare_with_are_named():
    few = {"samples": 24, "spread": 1e-3, "nearest": 1e-3}
    event = {"event": "health", "images": 20_000, "variety": few, "real_variety": {**few, "spread": 1.0}}
    why = "not judged: collapse, 24 samples can be compared with as many real images, and that takes 25."
    assert why in diagnose([event, END]).lines()
    event["variety"] = {**few, "samples": 25}
    assert kinds([event]) == ["collapse"]


def test_divergence_names_what_is_not_finite():
    event = {"event": "diverged", "images": 1280, "broken": ["generator.loss", "discriminator.discriminator.gradient"]}
    (found,) = diagnose([event]).findings
    assert found.kind == "diverged"
    assert "1,280 images" in found.sentence
    assert "generator.loss and discriminator.discriminator.gradient were no longer finite" in found.sentence


YOUNG, LATER = evaluation(1000, spread=0.1), evaluation(2000, spread=0.15)
STILL = {"samples": 500, "distance": 0.0, "nearest": 0.0}
ALIKE = {what: value for what, value in REAL.items() if what != "classes"}


@pytest.mark.parametrize(
    ("events", "found"),
    [
        *(([evaluation(**{what: least + 0.01})], []) for what, least in SIMILAR.items()),
        *(([evaluation(**{what: least - 0.01})], ["collapse"]) for what, least in SIMILAR.items()),
        # Growing variety is no collapse, but falling variety is.
        ([YOUNG, LATER], []),
        ([LATER, {**YOUNG, "images": 3000}], ["collapse"]),
        ([YOUNG, evaluation(2000, spread=0.12)], ["collapse"]),
        (
            [YOUNG, evaluation(2000, spread=0.15, classes=0.1), evaluation(4000, spread=0.2, classes=0.1)],
            ["collapse"],
        ),
        ([YOUNG, LATER, LATER], []),  # an evaluation repeated after resume does not hide growth
        # It grows however often it is measured, and what goes up and down does not grow.
        ([evaluation(1000 * i, spread=0.02 * i) for i in range(1, 11)], []),
        ([evaluation(1000 * i, spread=0.1 + 0.1 * (i % 2)) for i in range(1, 6)], ["collapse"]),
        ([evaluation(1000), YOUNG | {"images": 2000}, LATER | {"images": 4000}], ["collapse"]),  # not what it once had
        ([evaluation(1000, classes=0.1), evaluation(2000)], []),  # recovered
        ([{"event": "health", "images": 1000, "variety": STILL, "real_variety": STILL}], []),
        # A measure on one side only is not compared.
        ([evaluation(classes=0.1) | {"variety": ALIKE}], []),
        ([evaluation(classes=0.1) | {"real_variety": ALIKE}], []),
    ],
)
def test_samples_that_are_too_similar_have_collapsed(events, found):
    assert kinds(events) == found


def test_a_collapse_is_reported_with_its_numbers():
    (found,) = diagnose([evaluation(classes=0.12, spread=0.2, distance=0.3, nearest=0.05), END]).findings
    assert "1.2 classes and real images 10.0" in found.sentence
    assert "they vary 20% as much" in found.sentence
    assert "two of them differ 30% as much" in found.sentence
    assert "5% of the distance" in found.sentence


def test_lost_variety_is_a_collapse_at_once_and_the_last_good_evaluation_is_named():
    varied = [evaluation(1000), evaluation(2000), evaluation(3000, spread=0.1)]
    (found,) = diagnose([*trained(1.5), *varied]).findings
    assert found.sentence.endswith(" They were varied after 2,000 images.")
    varied[1]["good"] = True  # its checkpoint is kept, which runs of earlier versions did not
    (found,) = diagnose([*trained(1.5), *varied]).findings
    assert found.sentence.endswith(" after 2,000 images, and `--checkpoint good` draws from there.")


def test_a_run_that_has_seen_few_images_is_young_however_slow_it_is():
    few = diagnose([*trained(1000.0, images=9999), evaluation(9999, spread=0.01), END | {"images": 9999}])
    assert (few.verdict, few.young) == ("young", "it has seen 9,999 images")
    assert few.unjudged["collapse"].startswith("as every run begins like this: ")


def test_a_single_evaluation_says_nothing_before_the_end():
    events = [*trained(1000.0), evaluation(spread=0.01)]
    assert (diagnose(events).verdict, kinds(events)) == ("young", ["collapse"])
    assert diagnose(events).lines()[0].startswith("too young to say: there is one evaluation. So far, no sign of ")


def test_collapse_comes_before_saturation():
    assert kinds([*training(*[1e-9] * 4), evaluation(spread=0.01)]) == ["collapse", "saturation"]


def modes(*counts, weights="raw"):
    return [score(n, weights, 100_000 * i, metric="modes@ring", floor=8.0) for i, n in enumerate(counts, 1)]


@pytest.mark.parametrize(
    ("events", "found"),
    [
        (modes(0, 0), ["collapse"]),
        (modes(1, 0, 1), ["collapse"]),  # it moves from mode to mode
        (modes(8, 3), ["collapse"]),
        (modes(0), []),  # every generator starts like this
        (modes(1, 3), []),  # growing
        (modes(3, 4), []),
        ([*modes(8, 8), *modes(0, 0, weights="ema")], ["collapse"]),  # the reported weights
        ([*modes(0, 0), *modes(8, 8, weights="ema")], []),
    ],
)
@pytest.mark.parametrize("seconds", [5.0, 60.0])
def test_missing_most_of_the_known_modes_twice_is_a_collapse_after_seconds(events, found, seconds):
    assert [one for one in kinds([*trained(seconds), *events]) if one != "poor"] == found


def test_missing_modes_say_nothing_in_the_first_seconds():
    diagnosis = diagnose([*trained(0.2), *modes(4, 3)])  # as measured in a healthy run that is evaluated very often
    assert (diagnosis.verdict, "collapse" in diagnosis.unjudged) == ("young", True)


def test_missing_modes_say_nothing_of_the_first_points():
    assert "collapse" not in kinds([event | {"images": event["images"] // 4} for event in modes(1, 0, 1)])


def test_missing_modes_are_counted():
    found, *_ = diagnose([*trained(5.0), *modes(1, 0)]).findings
    assert found.sentence == "The samples are in 0 of 8 modes, and were in 1 at the previous evaluation."


def test_few_samples_are_not_judged():
    diagnosis = diagnose([evaluation(samples=99, classes=0.1)])
    assert diagnosis.findings == ()
    assert "collapse" in diagnosis.unjudged


@pytest.mark.parametrize(
    ("events", "found"),
    [
        (training(0.7, 0.01, 0.01, 0.01), ["saturation"]),
        (training(0.7, 0.03, 0.03, 0.03), []),
        (training(0.7, 0.01, 0.01), []),  # too few log points
        # Only the last quarter counts, and spikes do not.
        (training(*[0.01] * 9, *[0.7] * 3), []),
        (training(*[0.7] * 9, 0.01, 5.0, 0.01), ["saturation"]),
        # A Wasserstein critic that is far ahead: the generator still gets a gradient of one.
        (training(*[-20.0] * 6, real=14.0, fake=-10.0), []),
        (training(*[0.0] * 6, real=664.0, fake=664.0), []),  # a critic that knows nothing but has large logits
        (training(*[0.01] * 6, real=0.0, fake=0.01), []),
    ],
)
def test_a_discriminator_that_makes_no_mistakes_is_saturated(events, found):
    assert kinds(events) == found


def test_saturation_is_reported_with_its_loss():
    (found,) = diagnose(training(0.7, 3e-11, 3e-11, 3e-11, phase="critic")).findings
    assert "The critic makes no mistakes: its loss fell to 3e-11" in found.sentence


def test_phases_without_logits_are_not_judged():
    events = [{"event": "train", "images": i, "autoencoder.loss": 0.0} for i in range(8)]
    assert "saturation" in diagnose(events).unjudged


SATURATED, FLAT = training(*[1e-9] * 4), gradients(1.0, *[1e-9] * 3, name="discriminator.discriminator")


@pytest.mark.parametrize(
    ("events", "found"),
    [
        (gradients(1.0, 2e-3, 2e-3, 2e-3), []),
        (gradients(1.0, 5e-4, 5e-4, 5e-4), ["vanishing"]),
        (gradients(1.0, 900, 900, 900), []),
        (gradients(1.0, 1100, 1100, 1100), ["exploding"]),
        (gradients(0.0, 0.0, 0.0, 0.0), ["vanishing"]),
        (gradients(0.0, 0.2, 0.3, 0.2), []),  # started at zero
        (gradients(1.0, 5e-4, 5e-4), []),  # too few log points
        (gradients(1.0, *[1e-9] * 4, name="discriminator/r1.discriminator"), []),  # a satisfied penalty
        # Saturation is reported once.
        ([*SATURATED, *FLAT], ["saturation"]),
        ([*SATURATED, *FLAT, *gradients(1.0, *[1e-9] * 3)], ["saturation", "vanishing"]),
        ([*training(*[0.7] * 4), *FLAT], ["vanishing"]),
    ],
)
def test_vanishing_and_exploding_gradients(events, found):
    assert kinds(events) == found


def test_the_network_and_its_phase_are_named():
    (own,) = diagnose(gradients(2.0, *[1e-6] * 3)).findings
    assert own.sentence == "The gradient of the generator vanished: its norm went from 2 to 1e-06."
    (shared,) = diagnose(gradients(2.0, *[1e6] * 3, name="generator.recognition")).findings
    assert shared.sentence.startswith("The gradient of the recognition in the generator's phase exploded")


AE = {"metric": "fid@mnist-ae"}


@pytest.mark.parametrize(
    ("events", "found"),
    [
        ([score(12.4, "ema"), score(10.0, "raw")], []),
        ([score(12.6, "ema"), score(10.0, "raw")], ["ema-lag"]),
        ([score(0.3, "ema"), score(0.2, "raw")], []),  # within the floor
        ([score(99.0, "ema"), score(1.0, "raw"), score(1.0, "ema", 9000), score(1.0, "raw", 9000)], []),
        ([score(9.0, "ema", metric="is@mnist-cnn"), score(2.0, "raw", metric="is@mnist-cnn")], []),
        # They are compared by one metric.
        ([score(5.0, "ema"), score(0.5, "ema", **AE), score(0.5, "raw", **AE), score(5.0, "raw")], []),
        ([score(0.5, "ema", **AE), score(0.5, "raw", **AE), score(9.0, "ema"), score(5.0, "raw")], ["ema-lag"]),
    ],
)
def test_lagging_averaged_weights(events, found):
    assert kinds(events) == found


def test_half_an_evaluation_is_not_judged():
    events = [score(99.0, "ema"), score(1.0, "raw"), score(99.0, "ema", 9000)]
    assert "lagging averaged weights" in diagnose(events).unjudged


def test_every_finding_has_a_number_and_advice():
    sick = [
        {"event": "diverged", "images": 5000, "broken": ["generator.loss"]},
        *training(*[1e-9] * 4),
        *gradients(1.0, *[1e6] * 3),
        *gradients(1.0, *[1e-6] * 3, name="encoder.encoder"),
        evaluation(classes=0.1),
        score(90.0, "ema"),
        score(1.0, "raw"),
        END,
    ]
    diagnosis = diagnose(sick)
    found = ["diverged", "collapse", "saturation", "exploding", "vanishing", "ema-lag"]
    assert [finding.kind for finding in diagnosis.findings] == found
    assert diagnosis.verdict == "sick"
    for finding in diagnosis.findings:
        assert any(character.isdigit() for character in finding.sentence)
        assert finding.advice.count(".") - finding.advice.count("train.") == 1


def trained(seconds, images=150_000):
    return [*training(0.7, 0.7, 0.7, 0.7), {"event": "train", "images": images, "seconds": seconds}]


@pytest.mark.parametrize(("seconds", "verdict"), [(30.0, "young"), (44.9, "young"), (45.1, "healthy")])
def test_after_half_a_minute_it_is_too_early_to_judge(seconds, verdict):
    diagnosis = diagnose(trained(seconds))
    assert diagnosis.verdict == verdict
    assert diagnosis.lines()[0].startswith(
        {"young": f"too young to say: it has trained for {seconds:.0f} s.", "healthy": "healthy:"}[verdict]
    )


@pytest.mark.parametrize(
    ("seen", "what"),
    [
        ([{**evaluation(spread=0.1), "images": 1000}, END], "collapse"),
        ([score(90.0, "ema", 1000), score(1.0, "raw", 1000)], "lagging averaged weights"),
        ([score(90.0, "raw", 1000), score(90.0, "raw", 2000)], "poor samples that no longer improve"),
    ],
)
def test_what_every_run_shows_at_first_is_no_finding_after_seconds(seen, what):
    young, old = diagnose([*trained(1.5), *seen]), diagnose([*trained(60.0), *seen])
    assert (young.verdict, young.findings) == ("young", ())
    assert young.unjudged[what].startswith("as every run begins like this: the ")
    assert f"not judged: {what}, {young.unjudged[what]}." in young.lines()
    assert young.lines(unjudged=False) == young.lines()[:1]
    assert (old.verdict, len(old.findings)) == ("sick", 1)


def test_a_bad_but_falling_score_is_still_improving_and_never_healthy():
    curve = [score(80.0, "raw", 100_000), score(44.8, "raw", 150_000)]
    diagnosis = diagnose([*trained(60.0), *curve])
    assert diagnosis.verdict == "improving"
    assert diagnosis.lines()[0].startswith(
        "still improving: its fid@mnist-cnn went from 80 to 44.8 between 100,000 and 150,000 images, and real images "
        "score 0.1."
    )


def test_a_tiny_but_rising_recall_is_still_improving():
    recall = {"metric": "recall@mnist-cnn", "floor": 0.86}
    diagnosis = diagnose([*trained(60.0), score(0.0, "raw", 1000, **recall), score(0.3, "raw", 2000, **recall)])
    assert diagnosis.verdict == "improving"


@pytest.mark.parametrize(
    ("metric", "floor", "before", "last", "told"),
    [
        ("fid@mnist-cnn", 0.1, 44.0, 44.8, "its fid@mnist-cnn is 44.8, 448 times what real images score"),
        ("recall@mnist-cnn", 0.86, 0.005, 0.005, "its recall@mnist-cnn is 0.005, and real images score 0.86"),
    ],
)
def test_a_bad_score_is_a_finding_if_it_has_stalled_and_too_early_to_judge_alone(metric, floor, before, last, told):
    points = [score(value, "raw", images, metric, floor) for value, images in ((before, 1000), (last, 2000))]
    rested = diagnose([*trained(60.0), *points])
    assert [found.kind for found in rested.findings] == ["poor"]
    assert told in rested.findings[0].sentence
    alone = diagnose([*trained(60.0), points[1]])
    assert (alone.verdict, alone.findings) == ("young", ())
    assert told in alone.lines()[0]


@pytest.mark.parametrize(
    ("before", "last", "verdict"),
    [
        (10.0, 9.99, "healthy"),
        (10.5, 10.1, "sick"),
        (5.1, 4.7, "healthy"),
        (5.1, 4.5, "improving"),  # 0.9 of a distance of 5
        (0.5, 0.3, "healthy"),  # within five times real vs real, where scores are noise
    ],
)
def test_the_thresholds_of_far_and_of_improvement(before, last, verdict):
    assert diagnose([*trained(60.0), score(before, "raw", 1000), score(last, "raw", 2000)]).verdict == verdict


@pytest.mark.parametrize(("sd", "verdict"), [(0.0001, "healthy"), (0.00007, "sick")])
def test_a_ratio_to_a_possibly_zero_floor_decides_nothing(sd, verdict):
    kl = {"metric": "kl@ring", "floor": 0.0004, "sd": sd}
    rested = [score(0.05, "raw", images, **kl) for images in (1000, 2000)]
    assert diagnose([*trained(60.0), *rested]).verdict == verdict


def test_the_reported_weights_are_judged():
    raw = [score(80.0, "raw", 1000), score(20.0, "raw", 2000)]
    ema = [score(3.0, "ema", 1000), score(3.0, "ema", 2000)]
    assert diagnose([*trained(60.0), *raw, *ema]).verdict == "healthy"


@pytest.mark.parametrize(
    ("shares", "verdict"),
    [((0.04, 0.06, 0.09), "young"), ((0.004, 0.006, 0.009), "sick"), ((0.06, 0.06, 0.06), "sick")],
)
def test_low_variety_is_young_while_it_grows_unless_there_is_next_to_none(shares, verdict):
    evaluations = [
        evaluation(spread=share, nearest=0.5) | {"images": 10_000 * number} for number, share in enumerate(shares, 1)
    ]
    assert diagnose([*trained(60.0), *evaluations, END]).verdict == verdict
