"""``ganzoo sample``, ``translate``, ``eval``, ``doctor`` and ``download``: what is done with a trained run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ganzoo.cli.terminal import (
    AllowCode,
    AllowPaths,
    AsJson,
    DataDir,
    Force,
    RunPath,
    WhichCheckpoint,
    WhichWeights,
    print_json,
    refuse_missing_folder,
    refuse_out,
    say,
)
from ganzoo.errors import NO_SPACE, GanzooError, RunError, one_line, writing

N_DRAWN, N_SCORED = 64, 10_000  # images, by default
MAX_COLUMNS = 40  # up to this many classes get a column each
DATASET = "mnist"


def sample(
    run: RunPath,
    out: Annotated[
        Path,
        typer.Option(
            help="FILE.png to look at; FILE.npz for `images`, (n, h, w) if grey or (n, h, w, 3) if in colour, and "
            "`labels`."
        ),
    ],
    n: Annotated[
        int | None,
        typer.Option(
            "--n",
            "-n",
            help="Number of images; by default 64, or about as many in full rows of classes.",
            min=1,
            max=10**6,
        ),
    ] = None,
    class_: Annotated[
        str | None,
        typer.Option(
            "--class", "--label", help="Only this class, by name or number; conditional recipes only.", metavar="CLASS"
        ),
    ] = None,
    scale: Annotated[int, typer.Option(help="Enlarge a PNG by this factor.", min=1, max=32)] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the latent codes.", min=0, max=2**63 - 1)] = 0,
    truncation: Annotated[
        float,
        typer.Option(
            help="Move latent codes, or w in a generator like StyleGAN's, towards their middle: 1 not at all, 0 all "
            "the way. Images become more typical and less varied.",
            min=0.0,
            max=1.0,
        ),
    ] = 1.0,
    weights: WhichWeights = None,
    checkpoint: WhichCheckpoint = "last",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    data_dir: DataDir = None,
    allow_code: AllowCode = False,
    allow_paths: AllowPaths = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Draw images from a run's newest checkpoint. A conditional recipe's PNG has one class per column.

    An existing file is overwritten if ganzoo made it, or with --force.
    """
    refuse_out(out, "sample", force=force)
    from ganzoo.api.dataset import png
    from ganzoo.files import write_atomically
    from ganzoo.runs.generator import load

    generator = load(run, checkpoint=checkpoint, device=device)
    modality = generator.assembly.spec.modality
    if out.suffix not in modality.suffixes:
        known = " or ".join(f"--out FILE{suffix}" for suffix in modality.suffixes)
        raise GanzooError(f"Samples of this run cannot be written to {out.name}.", f"Give {known}.")
    if scale > 1 and out.suffix != ".png":
        raise GanzooError(
            f"--scale enlarges PNGs, but {out.name} is not a PNG.", "Leave it out, or give --out FILE.png."
        )
    classes = 0 if class_ is not None or generator.classes > MAX_COLUMNS else generator.classes
    n = n or (classes * max(1, round(N_DRAWN / classes)) if classes else N_DRAWN)
    images, labels = generator.sample_labelled(n, seed, class_, weights, truncation=truncation)
    with writing(f"Could not write {out}", "Give another --out."):
        if out.suffix == ".png" and (classes or scale > 1):
            picture = modality.picture(images, classes or None)
            write_atomically(out, png(picture.repeat_interleave(scale, 1).repeat_interleave(scale, 2)))
        else:
            modality.write(out, images, labels)
    facts: dict[str, Any] = {
        "out": str(out),
        "n": n,
        "shape": list(images.shape[1:]),
        "seed": seed,
        "truncation": truncation,
        "class": None if class_ is None else generator.class_number(class_),
        "weights": weights or generator.weights[0],
        "images": generator.checkpoint.state["images"],
    }
    if as_json:
        print_json(facts)
    else:
        age = f"{facts['weights']} weights after {facts['images']:,} training images"
        of = "" if class_ is None else f" of class {generator.class_names[facts['class']]}"
        cut = "" if truncation == 1 else f", truncation {truncation:g}"
        say(f"Saved {n:,} images{of} to {out} ({age}, seed {seed}{cut}).", err=True)
        if out.suffix == ".png" and classes and not all(name.isdecimal() for name in generator.class_names):
            say(f"Columns: {', '.join(generator.class_names)}", err=True)


def translate(
    run: RunPath,
    pictures: Annotated[list[Path], typer.Argument(help="Pictures of any size.", metavar="PICTURE...")],
    out: Annotated[Path, typer.Option(help="Folder for the results, which are PNGs of the same names.")] = Path(
        "translated"
    ),
    invert: Annotated[
        bool,
        typer.Option("--invert", help="Swap black and white first: for dark lines on paper, if the run's are light."),
    ] = False,
    weights: WhichWeights = None,
    checkpoint: WhichCheckpoint = "last",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    allow_code: AllowCode = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Translate pictures by a run whose generator starts from a picture.

    An existing file is overwritten if ganzoo made it, or with --force.
    """
    from ganzoo.api.dataset import png
    from ganzoo.data import read_picture
    from ganzoo.files import MADE, begins_like, refuse_to_overwrite, write_atomically
    from ganzoo.runs.generator import load

    if missing := next((picture for picture in pictures if not picture.exists()), None):
        raise GanzooError(f"There is no picture {missing}.", "Check its name.")
    results = {picture: out / f"{picture.stem}.png" for picture in pictures}
    if len({*results.values()}) < len(pictures):
        raise GanzooError(
            "The results of two pictures would have the same name.", "Translate them one by one, with another --out."
        )
    for result in results.values():
        ours = force or begins_like(result, MADE)
        refuse_to_overwrite(result, ours=ours, command="translate", remedy="Give another --out, or add --force.")
    generator = load(run, checkpoint=checkpoint, device=device)
    channels = generator.source_shape[0]
    for picture, result in results.items():
        image = read_picture(picture, "L" if channels == 1 else "RGB")[None]
        translated = generator.translate(255 - image if invert else image, weights)[0]
        with writing(f"Could not write {result}", "Give another --out."):
            out.mkdir(parents=True, exist_ok=True)
            write_atomically(result, png(translated))
    if as_json:
        print_json({"out": [str(result) for result in results.values()], "weights": weights or generator.weights[0]})
    else:
        many = "picture" if len(results) == 1 else "pictures"
        say(f"Translated {len(results):,} {many}: {', '.join(map(str, results.values()))}", err=True)


def evaluate(
    what: Annotated[
        str,
        typer.Argument(
            help="A run folder, zoo:NAME, a folder of PNGs, an .npz with uint8 `images` (and `labels`), or "
            "module:function, which is called as function(n, seed) and returns uint8 images."
        ),
    ],
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Reference: a dataset's name, or a folder or zip archive of your own pictures; by default the run's "
            "own, or mnist."
        ),
    ] = None,
    split: Annotated[
        Literal["test", "train", "validation"] | None,
        typer.Option(
            help="Which of its images to compare with; validation means the training images that dataset.validation "
            "holds out. By default the split that the run itself was scored against, or test."
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="Metric to compute, such as fid@mnist-cnn; may be repeated. all@mnist-cnn means every metric that "
            "applies, headline the dataset's headline metrics. By default the run's own metrics, or headline."
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every metric that applies, with every requested extractor.")
    ] = False,
    samples: Annotated[
        int | None,
        typer.Option(help="Number of images to score; by default the run's own, or 10000.", min=2, max=1_000_000),
    ] = None,
    weights: Annotated[
        Literal["ema", "raw"] | None, typer.Option(help="Averaged (ema) or raw weights of a run; both by default.")
    ] = None,
    checkpoint: WhichCheckpoint = "last",
    extractor_weights: Annotated[
        Path | None, typer.Option(help="File with the weights of a downloaded extractor.", metavar="FILE")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the samples.", min=0, max=2**63 - 1)] = 0,
    interval: Annotated[
        bool, typer.Option("--interval/--no-interval", help="Compute the 95% interval of each score.")
    ] = True,
    anyway: Annotated[
        bool,
        typer.Option(
            "--anyway", help="Also use extractors that were fitted to another dataset; this marks the scores for good."
        ),
    ] = False,
    crop: Annotated[bool, typer.Option("--crop", help="Crop a border that is black in all images.")] = False,
    against: Annotated[
        Path | None,
        typer.Option(help="A run or scores file to compare with; scores measured differently are not compared."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Append the scores to this file as JSON lines, which say what was scored.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    data_dir: DataDir = None,
    allow_code: AllowCode = False,
    allow_paths: AllowPaths = False,
    as_json: AsJson = False,
) -> None:
    """Score generated images against real ones. The scores of a run are appended to its scores.jsonl."""
    from ganzoo.cli.console import show_scores
    from ganzoo.config.checking import required_headline
    from ganzoo.config.loading import find_dataset
    from ganzoo.data import VALIDATION
    from ganzoo.evaluation.evaluate import call, is_function, read_pictures
    from ganzoo.evaluation.evaluate import evaluate as evaluate_images
    from ganzoo.evaluation.evaluator import Evaluator
    from ganzoo.evaluation.protocol import counterparts
    from ganzoo.evaluation.requests import parse_metrics
    from ganzoo.files import locked_append, read_lines
    from ganzoo.registry.loading import load_zoo
    from ganzoo.registry.registry import HEADLINE
    from ganzoo.reproducibility import resolve_device
    from ganzoo.runs.folder import RunFolder, scores_in
    from ganzoo.runs.generator import load, refuse_name
    from ganzoo.runs.pretrained import card_of
    from ganzoo.training.tuning import settle_threads

    for name in metric or ():
        if "," in name:
            apart = " ".join(f"--metric {one.strip()}" for one in name.split(",") if one.strip())
            raise GanzooError(f"--metric takes one metric, not '{name}'.", f"Repeat it: {apart}.")
    if out is not None:  # before minutes are spent on scores
        refuse_missing_folder(out)
        known = out.is_file() and out.stat().st_size
        if out.is_dir() or (known and not read_lines(out, lambda record: "metric" in record)):
            raise GanzooError(f"{out} holds something other than scores, so none are appended.", "Give another --out.")
    others = [] if against is None else scores_in(against)

    def warn_of_missing(coming: Sequence[tuple[str, Any]]) -> None:
        """Name the scores that cannot be compared, before minutes are spent on them."""
        if against is not None:
            for sentence in counterparts(coming, others, against)[1]:
                _warn(sentence)

    def in_full(metrics: Sequence[str], reference: str) -> Sequence[str]:
        """The metrics, or with --all every metric of their extractors; ``headline`` means the dataset's headlines."""
        names = [one for name in metrics for one in (required_headline(reference, zoo) if name == HEADLINE else [name])]
        if not everything:
            return names
        by_extractor = [name for name in names if "@" in name] or required_headline(reference, zoo)
        extractors = dict.fromkeys(name.partition("@")[2] for name in by_extractor)
        return [*(f"all@{extractor}" for extractor in extractors), *(name for name in names if "@" not in name)]

    zoo, place = load_zoo(), resolve_device(device)
    if place.type == "cpu":
        settle_threads()
    run: RunFolder | None = None
    is_published = card_of(what, zoo) is not None
    if is_published or (Path(what) / "run.json").exists():
        if crop:
            raise GanzooError(f"--crop is for pictures from elsewhere, but {what} is a run.", "Leave it out.")
        generator = load(what, checkpoint=checkpoint, zoo=zoo, device=place)
        zoo = generator.zoo
        run = None if is_published else generator.run  # a card never changes
        recipe, state = generator.recipe, generator.checkpoint.state
        real, options, own = zoo.datasets.get(recipe.dataset.name), recipe.dataset.options, True
        if dataset not in (None, real.name):
            real, options = find_dataset(dataset, zoo)
            own = real.name == recipe.dataset.name and options["path"] == recipe.dataset.options["path"]
        default = () if metric else (own and recipe.evaluate.metrics) or required_headline(real.name, zoo)
        evaluator = Evaluator(
            in_full(metric or default, real.name),
            real,
            recipe.dataset.options if own else options,
            generator.run.data_dir(recipe) if own else data_dir,
            zoo,
            place,
            split=split or (recipe.dataset.scored_split if own else "test"),
            validation=recipe.dataset.validation if own else VALIDATION if split == "validation" else 0,
            count=recipe.dataset.count if own else 0,
            anyway=anyway or recipe.evaluate.anyway,
            extractor_weights=extractor_weights,
            objective=generator.assembly.objective,
        )
        n = samples or recipe.evaluate.samples
        for sentence in () if metric or everything else evaluator.leave_out(n):
            say(sentence, err=True)
        kinds = (weights,) if weights else generator.weights
        warn_of_missing(
            [(one.name, evaluator.protocol(one, n, seed, kind)) for kind in kinds for one in evaluator.requests]
        )
        seconds = round(float(state.get("seconds", 0.0)), 3)
        records = []
        for kind in kinds:
            images, labels = generator.sample_labelled(n, seed=seed, weights=kind)
            scores = evaluator.score(
                images,
                sample_seed=seed,
                weights=kind,
                labels=labels,
                interval=interval,
                model=generator.model(kind),
            )
            records += [score.record(images=state["images"], seconds=seconds) for score in scores]
    else:
        if weights is not None or checkpoint != "last":
            lacks = f"'{weights}' weights" if weights else "checkpoints"
            raise GanzooError(f"{what} is not a run, so it has no {lacks}.", "Leave --weights and --checkpoint out.")
        refuse_name(what, zoo)
        names = in_full(metric or (HEADLINE,), find_dataset(dataset or DATASET, zoo)[0].name)
        parse_metrics(names, zoo)  # refuse a misspelt name before a function spends minutes on drawing
        function, n = is_function(what), samples or N_SCORED
        pictures = call(what, n, seed) if function else read_pictures(Path(what))
        scores = evaluate_images(
            pictures.at_most(n, seed, "requested" if samples else "default"),
            names if metric or everything else None,
            dataset or DATASET,
            split=split or "test",
            anyway=anyway,
            device=place,
            data_dir=data_dir,
            sample_seed=seed if function else None,
            interval=interval,
            crop=crop,
            extractor_weights=extractor_weights,
            note=partial(say, err=True),
            check=warn_of_missing,
        )
        records = [score.record() for score in scores]
    # Saved before they are shown, since standard output may be closed by now.
    unsaved = None if run is None else _failure(partial(run.append_score, *records), f"added to {run.path}", records)
    unwritten = None
    if out is not None:
        unwritten = _failure(
            partial(locked_append, out, [{"what": what, **record} for record in records], durable=True),
            f"written to {out}",
            records,
        )
    if as_json:
        print_json({"scores": records})
    elif against is None:
        show_scores(records, None, "")
    else:
        compared, _ = counterparts([(one["metric"], one["protocol"]) for one in records], others, against)
        show_scores(records, compared, str(against))
    if unsaved and (unwritten or not isinstance(unsaved, RunError)):
        _warn(str(unsaved))  # the run may be one that this user can only read
        unsaved = None
    if error := unwritten or unsaved:
        raise error


def _failure(append: Callable[[], object], where: str, records: Sequence[object]) -> GanzooError | None:
    try:
        append()
    except GanzooError as error:
        return error
    except OSError as error:
        kind = RunError if error.errno in NO_SPACE else GanzooError
        return kind(
            f"None of the {len(records)} scores were {where} ({error.strerror}).",
            "They are shown above; --out FILE writes them elsewhere.",
        )
    return None


def _warn(sentence: str) -> None:
    say(one_line(sentence), err=True, colour="yellow")


def download(
    name: Annotated[str, typer.Argument(help="The pretrained generator, as `ganzoo list pretrained` shows it.")],
) -> None:
    """Download the weights of a pretrained generator that the installed package leaves out."""
    from ganzoo.runs.pretrained import download

    say(f"The weights of {name} are at {download(name)}.", err=True)


def doctor(
    run: Annotated[Path, typer.Argument(help="A run folder, finished or not.")], as_json: AsJson = False
) -> None:
    """Report what is wrong with a run, and what to do about it."""
    from ganzoo.runs.diagnosis import diagnose
    from ganzoo.runs.folder import RunFolder

    folder = RunFolder.open(run)
    diagnosis = diagnose(folder.events())
    try:
        folder.refuse_another_recipe()
    except GanzooError as error:  # the diagnosis needs no recipe
        _warn(str(error))
    recipe, status = folder.info["recipe"], folder.info["status"]
    images = max((event.get("images", 0) for event in folder.events()), default=0)
    if as_json:
        facts = {"run": str(folder.path), "recipe": recipe, "status": status, "images": images}
        print_json({**facts, "verdict": diagnosis.verdict, **asdict(diagnosis)})
        return
    for line in (f"{recipe}: {status} after {images:,} images", *diagnosis.lines()):
        say(one_line(line))
