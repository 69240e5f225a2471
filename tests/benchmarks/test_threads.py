"""The benchmark of the automatic number of threads: which trainings it compares, and beside which other program."""

import subprocess

import pytest

import threads


def test_each_arm_in_turns_and_the_two_ratios(monkeypatch):
    rates = {
        "1": [700.0, 500.0, 600.0],
        "2": [1000.0, 800.0, 2000.0],
        "auto": [900.0, 950.0, 10.0],
        "beside": [450.0, 400.0, 460.0],
    }
    beside, order = [], []

    class Busy:
        def __enter__(self):
            beside.append(True)

        def __exit__(self, *_):
            beside.pop()

    def trained(recipe, number, images):
        if images == threads.TRIAL_IMAGES:
            return {"images_per_second": 1000.0, "precision": "fp32", "environment": {"cores": 2}}
        arm = "beside" if beside else number
        order.append((arm, images))
        return {"images_per_second": rates[arm].pop(0)}

    monkeypatch.setattr(threads, "busy_process", Busy)
    monkeypatch.setattr(threads, "trained", trained)
    monkeypatch.setattr(threads, "available_cores", lambda: 2)
    found = threads.compared("some-recipe", rounds=3, seconds=20)
    assert order == 3 * [("1", 20_000), ("2", 20_000), ("auto", 20_000), ("beside", 20_000)]
    assert found["of_best_fixed"] == pytest.approx(0.9)
    assert found["kept_beside_another"] == pytest.approx(0.5)


def test_the_other_program_runs_meanwhile_and_ends():
    with threads.busy_process() as process, pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.2)
    assert process.returncode is not None


def test_a_number_of_threads_in_the_environment_does_not_decide_for_auto(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    given = []

    def run(command, env, **_):
        given.append(env)
        return subprocess.CompletedProcess(command, 2, stderr="refused")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(SystemExit, match="refused"):
        threads.trained("some-recipe", "auto", 100)
    assert "PATH" in given[0]
    assert "OMP_NUM_THREADS" not in given[0]


@pytest.mark.full
def test_trains_for_real(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["threads.py", "vanilla-ring", "--rounds", "1", "--seconds", "0.1"])
    threads.main()
    assert '"recipe": "vanilla-ring", "precision": "fp32"' in capsys.readouterr().out
