"""Workers as jobs on a SLURM cluster, through submitit. They share work like all other workers: see docs/cluster.md."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ganzoo.errors import GanzooError
from ganzoo.files import child_python


def submit(command: Sequence[str], workers: int, parameters: Mapping[str, Any], folder: Path) -> list[str]:
    """Submit identical workers, each for the same arguments of ``ganzoo``, as one job array; returns the job IDs.

    ``parameters`` are options of ``sbatch``, without dashes. Every machine must see the folder, which gets submitit's
    files and the jobs' logs.

    Raises:
        GanzooError: submitit or SLURM is missing, or SLURM refuses the jobs.
    """
    try:
        import submitit
        from submitit.helpers import DelayedSubmission
    except ImportError as error:
        raise GanzooError("--launcher slurm needs submitit.", "pip install 'ganzoo-bench[cluster]'") from error
    if shutil.which("sbatch") is None:
        raise GanzooError(
            "sbatch is not installed here.", "Submit from a machine in the cluster, or leave out --launcher."
        )

    class Worker:
        def __call__(self) -> None:
            subprocess.run(child_python("ganzoo", *command), check=True)  # noqa: S603

        def checkpoint(
            self,
        ) -> DelayedSubmission:  # what is queued if the cluster preempts it: finished work is recorded
            return DelayedSubmission(self)

    executor = submitit.SlurmExecutor(folder=folder.resolve())
    try:
        executor.update_parameters(**{"job_name": "ganzoo", "time": 24 * 60, **parameters})
        with executor.batch():
            jobs = [executor.submit(Worker()) for _ in range(workers)]
    except (submitit.core.utils.FailedJobError, TypeError, ValueError) as error:
        raise GanzooError(f"SLURM did not accept the jobs: {' '.join(str(error).split())}.", "See --slurm.") from error
    return [job.job_id for job in jobs]
