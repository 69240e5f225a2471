"""Records of jobs that were never trained, for tests of what studies make of them."""

import hashlib

from ganzoo.runs.records import own_protocol
from ganzoo_studies.matrix import Job
from ganzoo_studies.records import RunRecord


def recorded(
    ledger,
    job: Job,
    values,
    *,
    error=None,
    split="test",
    metric="fid@mnist-cnn",
    cpu="Test CPU",
    images=0,
    digest="old",
    started=None,
    **more,
):
    """Record a job with evenly spaced scores, at one second per thousand images; an error counts as divergence."""
    protocol = {**own_protocol(job.recipe), "split": split, "extractor_digest": digest, **more}
    images = images or job.recipe.train.images
    scores = [
        {
            "metric": metric,
            "weights": "ema",
            "value": value,
            "floor": 0.1,
            "images": images * (i + 1) // len(values),
            "seconds": images * (i + 1) / len(values) / 1000,
            "protocol": {"metric": metric.partition("@")[0], **protocol},
        }
        for i, value in enumerate(values)
    ]
    record = RunRecord.model_validate(
        {
            "schema": 3,
            "recipe": job.recipe.name,
            "dataset": job.recipe.dataset.name,
            "seed": job.seed,
            "digest": job.digest,
            "plugin": None,
            "summary": "A run",
            "paper": None,
            "loss": job.recipe.loss.name,
            "conditional": False,
            "status": "failed" if error else "done",
            "error": error,
            "images": images,
            "seconds": images / 1000,
            "wall_seconds": None,
            "images_per_second": 1000.0,
            "parameters": {},
            "flops_per_image": None,
            "engine": "eager",
            "precision": "fp32",
            "threads": 1,
            "environment": {"cpu": cpu, "gpu": None, "versions": {"torch": "2"}},
            "samples": None,
            "finished": "2026-01-01T00:00:00+00:00",
            "command": job.command,
            "started": started or f"2026-01-01T00:00:{job.seed % 60:02}+00:00",
            "protocol": protocol,
            "diverged": error is not None and "diverged" in error,
        }
    )
    return ledger.append(record, scores)


def noisy(value, job):
    """A score that depends on row and seed, and is the same each time."""
    spread = int(hashlib.sha256(f"{job.digest}{job.seed}".encode()).hexdigest()[:4], 16) / 2**16 - 0.5
    return value * (1 + 0.06 * spread)
