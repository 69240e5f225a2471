"""Every registered study: all its trainings are valid, and each claim cites its paper."""

import re

import pytest

from ganzoo.registry.loading import load_zoo
from ganzoo_studies.findings import Finding
from ganzoo_studies.study import load_study
from ganzoo_studies.verdicts import Outcome, Verdict

NAMES = [entry.name for entry in load_zoo().studies]


@pytest.fixture(scope="module", params=NAMES)
def study(request, zoo):
    return load_study(request.param, zoo)


def test_all_trainings_are_valid_and_different(study, zoo):
    for one in (study, study.scaled_down()):
        cells, trials = one.cells(zoo), one.trials(zoo)
        digests = [cell.jobs[0].digest for cell in cells]
        # In small, a row that trains longer may be the baseline. A D without batch normalisation is the baseline's
        # where that has none.
        alike = sum(cell.row == "without batch norm of D" and cell.setting.endswith("no norm") for cell in cells)
        if one is study:
            assert len(set(digests)) == len(digests) - alike
        else:
            assert len(set(digests)) >= 2
            small = [job for cell in cells for job in cell.jobs] + [job for trial in trials for job in trial.jobs]
            assert max(job.recipe.train.images for job in small) <= 6400
        assert all(job.recipe.train.threads == 1 for cell in cells for job in cell.jobs)
        assert {trial.row for trial in trials} == (set(one.rows) if one.is_tuned else set())


def test_each_claim_cites_its_paper(study):
    papers = [claim.paper for claim in study.claims if claim.paper is not None]  # None: our own hypothesis
    assert papers or not study.claims
    for paper in papers:
        assert re.search(r"(19|20)\d\d, .+, arXiv:\d{4}\.\d{4,5}", paper), paper
    assert all(claim.says.endswith(".") for claim in study.claims)


def test_a_claim_fits_into_a_line_of_a_plot(study):
    for claim in study.claims:
        assert claim.method
        assert len(Finding(study, claim, Verdict(Outcome.OPEN)).label) <= 50


def test_the_questions_of_the_zoo_are_there():
    assert {"losses", "stability", "regularizers", "few-images", "modes", "ring", "grid", "labels", "codes"} < set(
        NAMES
    )
    assert {"networks", "average-and-time", "clothes", "speed", "flagship", "flagship-search"} < set(NAMES)
