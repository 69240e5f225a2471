"""What is installed and released: the wheel, the citation, the release workflow."""

import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

tomllib = pytest.importorskip("tomllib")  # Python 3.11
ROOT = Path(__file__).parents[1]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]


@pytest.mark.slow
def test_the_wheel_is_small_and_names_where_the_rest_is(tmp_path):
    from hatchling.builders.wheel import WheelBuilder

    (wheel,) = map(Path, WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"]))
    assert wheel.stat().st_size <= 20e6
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    folder = "ganzoo_plugins/pretrained"
    kept = {path.stem for path in (tmp_path / "site" / folder).glob("*.safetensors")}
    assert kept == {"dcgan-mnist", "flagship-mnist"}
    assert {path.name for path in (tmp_path / "site" / folder).glob("*.json")} == {
        path.name for path in (ROOT / "plugins" / folder).glob("*.json")
    }
    places = {"PYTHONPATH": str(tmp_path / "site"), "GANZOO_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    for name, code, said in (
        ("flagship-mnist", 0, "Saved 64"),
        ("r1-mnist", 2, "leaves out the weights of zoo:r1-mnist"),
    ):
        words = ["-m", "ganzoo", "sample", f"zoo:{name}", "--n", "64", "--out", "a.png"]
        done = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env={**os.environ, **places}, capture_output=True, text=True
        )
        assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert f"save r1-mnist.safetensors as {tmp_path / 'cache' / 'pretrained' / 'r1-mnist-'}" in done.stderr


def test_the_citation_is_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert (cited["cff-version"], cited["version"], cited["license"]) == ("1.2.0", VERSION, "Apache-2.0")
    assert {"message", "title", "authors"} <= cited.keys()


@pytest.fixture(scope="module")
def release():
    return yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text("utf-8"))


def test_a_release_needs_no_secret_and_each_job_only_its_own_permission(release):
    assert release[True] == {"push": {"tags": ["v*"]}}  # YAML 1.1 reads the key `on` as true
    jobs = release["jobs"]
    assert (release["permissions"], "permissions" in jobs["build"]) == ({"contents": "read"}, False)
    assert {name: jobs[name]["permissions"] for name in ("publish", "weights")} == {
        "publish": {"id-token": "write"},
        "weights": {"contents": "write"},
    }
    assert [step["uses"] for step in jobs["publish"]["steps"]][-1].startswith("pypa/gh-action-pypi-publish@")
    assert (jobs["publish"]["needs"], jobs["weights"]["needs"]) == ("build", "publish")
    assert "secrets." not in yaml.safe_dump(release)


def test_a_release_names_its_repository_and_a_clone_no_host(release, tmp_path):
    before = (ROOT / "pyproject.toml").read_text("utf-8")
    assert "urls" not in tomllib.loads(before)["project"]
    (tmp_path / "pyproject.toml").write_text(before)
    (step,) = [one for one in release["jobs"]["build"]["steps"] if one.get("name") == "Name the repository"]
    assert step["env"] == {"REPOSITORY": "${{ github.server_url }}/${{ github.repository }}"}
    values = {"REPOSITORY": "https://forge.test/them/theirs", "GITHUB_REF_NAME": f"v{VERSION}"}
    subprocess.run(["bash", "-euc", step["run"]], cwd=tmp_path, env={**os.environ, **values}, check=True)
    after = tomllib.loads((tmp_path / "pyproject.toml").read_text())
    assert after["project"].pop("urls") == {
        "Repository": "https://forge.test/them/theirs",
        "Documentation": "https://forge.test/them/theirs/deployments",
        "Changelog": f"https://forge.test/them/theirs/blob/v{VERSION}/CHANGELOG.md",
        "Issues": "https://forge.test/them/theirs/issues",
    }
    assert after == tomllib.loads(before)


def test_the_release_checks_the_version_that_the_tag_names(release):
    (step,) = [
        one for one in release["jobs"]["build"]["steps"] if one.get("name") == "Compare the tag with the version"
    ]
    (path,) = set(re.findall(r"\.venv/bin/python", step["run"]))
    script = step["run"].replace(path, shlex.quote(sys.executable))
    for tag, code in ((f"v{VERSION}", 0), ("v9.9.9", 1)):
        done = subprocess.run(["bash", "-c", script], env={**os.environ, "GITHUB_REF_NAME": tag})
        assert done.returncode == code
