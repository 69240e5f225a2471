"""The reported weights of every run, which a study keeps so that another metric can be scored without training again.

A kept run is a run folder without the files that only training needs. `ganzoo eval`, `sample` and `export` accept it
like the run itself; it cannot be resumed.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from ganzoo.files import refuse_links, sweep, temporary_name
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.records import save_checkpoint
from ganzoo_studies.records import RunRecord, recorded_run

COPIED = ("recipe.yaml", "scores.jsonl", "run.json")


def kept_folder(record: RunRecord, weights: Path) -> Path:
    """The folder for a recorded run's weights; another run of the same recipe and seed has its own folder.

    Args:
        record: The run.
        weights: The folder for the weights of all runs.
    """
    folder = record.folder(weights)
    return folder.with_name(f"{folder.name}-{re.sub(r'[^0-9]', '', record.started or '')}")


def kept_weights(record: RunRecord, weights: Path) -> RunFolder | None:
    """The kept run of a record, or None."""
    return recorded_run(record, kept_folder(record, weights))


def keep_weights(run: RunFolder, record: RunRecord, weights: Path) -> None:
    """Copy a finished run, without its optimizers, pictures and events, and without weights that it does not report.

    The copy appears completely or not at all.

    Args:
        run: The run folder.
        record: Its record.
        weights: The folder for the weights of all runs.

    Raises:
        GanzooError: The run has no complete checkpoint, or a path that would be written is a link.
        OSError: The disk is full, or the folder read-only.
    """
    checkpoint, folder = run.checkpoint(), refuse_links(kept_folder(record, weights), weights)
    is_averaged = any(name.startswith("ema.") for name in checkpoint.tensors)
    # An objective may need its own buffers to draw samples.
    kept = ("ema." if is_averaged else "networks.", "objective.")
    reported = {name: tensor for name, tensor in checkpoint.tensors.items() if name.startswith(kept)}
    folder.parent.mkdir(parents=True, exist_ok=True)
    sweep(folder.parent, folder.name)
    prepared = temporary_name(folder)
    try:
        save_checkpoint(prepared / "checkpoints", reported, checkpoint.state)
        for name in COPIED:
            if (run.path / name).exists():  # a run without metrics has no scores
                shutil.copyfile(run.path / name, prepared / name)
        # Another worker may have kept them in the meantime, and added scores.
        if kept_weights(record, weights) is None:
            shutil.rmtree(folder, ignore_errors=True)
            try:
                prepared.rename(folder)
            except OSError:
                if kept_weights(record, weights) is None:
                    raise
    finally:
        shutil.rmtree(prepared, ignore_errors=True)
