"""``ganzoo watch``: what its server answers, and its page in a real Chromium while another process trains."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path

import pytest

from ganzoo.errors import Interrupted
from ganzoo.runs.folder import RunFolder, locked
from ganzoo_reports import run_pages
from ganzoo_reports.watch import RunPage, _Server


@contextmanager
def served(path, zoo):
    """Asks a server for something; each answer has its text as an attribute."""
    with _Server(0, RunPage(path, zoo)) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()

        def ask(what="/", method="GET", **headers):
            connection = HTTPConnection("127.0.0.1", server.server_port, timeout=60)
            connection.request(method, what, headers=headers)
            answer = connection.getresponse()
            answer.content = answer.read()
            connection.close()
            return answer

        yield ask
        server.shutdown()


def test_a_page_waits_for_its_run_and_changes_with_it(run, toy_zoo, tmp_path):
    folder = tmp_path / "runs" / "toy"
    with served(folder, toy_zoo) as ask:
        assert f"Waiting for {folder}: no training has begun there yet." in ask().content.decode()
        shutil.copytree(run, folder)
        while b"<h1>toy-gan</h1>" not in (page := ask()).content:
            time.sleep(0.02)
        version = {"If-None-Match": page.headers["ETag"]}
        assert (ask(**version).status, ask(**version).content) == (304, b"")
        RunFolder.open(folder).log({"event": "train", "images": 4321, "seconds": 9.0, "generator.loss": 1.0})
        while (page := ask(**version)).status == 304:
            time.sleep(0.02)
        assert b"<dd>4,321</dd>" in page.content
        *_, link = re.findall(r'src="(samples/(\d+\.png)\?\d+)"', page.content.decode())
        assert ask(f"/{link[0]}").content == (folder / "samples" / link[1]).read_bytes()


def test_only_this_machine_is_answered_and_only_with_the_page(copy, toy_zoo):
    with served(copy, toy_zoo) as ask:
        for host in ("localhost", "localhost:8000", "127.0.0.1:1", "[::1]:8000"):  # a forwarded port may be another
            assert ask(Host=host).status == 200
        for host in ("", "rebound.example", "localhost.example:8000", "127.0.0.1.example"):
            assert ask(Host=host).status == 403
        picture = next((copy / "samples").glob("*.png")).name
        assert ask(f"/samples/{picture}?1").status == 200
        assert ask(f"/samples/{picture}?1", Host="rebound.example").status == 403
        for suffix, status in ((".wav", 200), (".svg", 404), (".html", 404), ("", 404)):
            (copy / "samples" / f"7{suffix}").write_bytes(b"a sound")
            assert ask(f"/samples/7{suffix}?1").status == status
        assert ask("/samples/7.wav?1").headers["Content-Type"].startswith("audio/")
        for what in ("/run.json", "/samples/../run.json", "/samples/7.png?1", f"/{picture}?1", "/x"):
            assert ask(what).status == 404
        assert ask(method="POST").status == 501


@pytest.mark.parametrize("linked", ["samples", "samples/000000000001.png"])
def test_a_link_to_the_readers_own_files_is_not_followed(linked, copy, toy_zoo, tmp_path):
    (tmp_path / "000000000001.png").write_text("secret")
    if linked == "samples":
        shutil.rmtree(copy / linked)
    (copy / linked).symlink_to(tmp_path if linked == "samples" else tmp_path / "000000000001.png")
    with served(copy, toy_zoo) as ask:
        assert f"{copy / linked} is a link" in ask().content.decode()
        assert ask("/samples/000000000001.png?1").status == 404


def test_files_that_cannot_be_read_are_named_on_the_page(copy, toy_zoo):
    (copy / "scores.jsonl").write_text(
        '{"schema": 99, "metric": "m", "value": 1.0, "weights": "raw", "images": 1, "protocol": {}}\n'
    )
    with served(copy, toy_zoo) as ask:
        assert "was made by a newer ganzoo (schema 99" in ask().content.decode()
        (copy / "scores.jsonl").unlink()
        (copy / "scores.jsonl").mkdir()
        while "Is a directory" not in ask().content.decode():
            time.sleep(0.02)


def test_a_file_is_no_run_folder(copy, call):
    code, _, err = call("watch", copy / "run.json")
    assert (code, "run.json' is a file." in err) == (2, True)


def test_a_folder_of_runs_shows_the_newest_and_stays_with_it(run, toy_zoo, tmp_path):
    for name in ("old", "new", "later"):
        if name == "later":
            page = RunPage(tmp_path, toy_zoo)
            page.latest()
        shutil.copytree(run, tmp_path / name, copy_function=shutil.copy)
    page.latest()
    assert page.run.path == tmp_path / "new"


def test_curves_take_a_small_share_of_a_core_and_are_complete_at_the_end(copy, toy_zoo, monkeypatch):
    drawn = []

    def loss_plots(events):
        began = time.thread_time()
        while time.thread_time() < began + 0.02:
            pass
        drawn.append(len(events))
        return []

    monkeypatch.setattr(run_pages, "loss_plots", loss_plots)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    page, run = RunPage(copy, toy_zoo), RunFolder.open(copy)
    run.update(status="running")

    def log_after(seconds):
        nonlocal now
        now += seconds
        run.log({"event": "train", "images": 500, "generator.loss": 1.0})
        page.latest()

    with locked(copy):
        log_after(0)
        log_after(1)
        log_after(1)
        assert len(drawn) == 1  # for 20 ms, a share of 1% would be due after 2 s
        log_after(60)
        log_after(1)
        assert len(drawn) == 2
    run.update(status="done")
    now += 10
    page.latest()
    assert drawn[2:] == [len(run.events())]


def test_a_port_that_is_taken_is_named(copy, toy_zoo, call):
    with _Server(0, RunPage(copy, toy_zoo)) as server:
        code, _, err = call("watch", copy, "--port", server.server_port)
    sentence = f"Port {server.server_port} cannot be used (Address already in use). Give another --port, or none."
    assert (code, sentence in err) == (2, True)


GANZOO = [sys.executable, "-m", "ganzoo"]
ENDLESS = ["--set=train.images=100000000", "--set=train.log_every=12800", "--set=evaluate.every_images=25600"]
ENDLESS += ["--set=evaluate.metrics=[]", "--set=train.threads=1", "--set=train.checkpoint_seconds=0", "--device=cpu"]


@contextmanager
def started(*words):
    """A command in a process of its own, which has ended afterwards."""
    process = subprocess.Popen([*GANZOO, *map(str, words)], stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def address(process):
    """Where it says that the page is."""
    for line in process.stderr:
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            return found[0]
    raise AssertionError("no address")


def seconds_of(process):
    """The processor time that a process has taken."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.full  # starts three processes that import torch
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="This system does not say what a process has taken.")
def test_the_page_follows_a_training_that_is_killed_and_resumed(browser, tmp_path):
    run, seen, complaints = tmp_path / "run", [], []
    with started("watch", run) as watch:
        url = address(watch)
        page = browser.new_page()
        page.on("request", lambda request: seen.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(url)
        assert "no training has begun there yet" in page.locator("main").inner_text()
        with started("run", "vanilla-ring", *ENDLESS, "--out", run):
            first = run / "samples" / "000000000000.png"
            while not first.exists():
                page.wait_for_timeout(20)
            on_disk = time.time()
            page.wait_for_selector(".frames img, #plane")
            delay = time.time() - on_disk
            page.wait_for_function("() => document.querySelector('#plane') && document.querySelector('.curves svg')")
            assert page.locator("header .facts dd").first.inner_text() == "Running"
            page.get_by_label("Training progress in points").press("Home")
            stage = page.locator("#stage")
            assert stage.inner_text() == "After 0 points"
            before, began = seconds_of(watch), time.monotonic()
            page.wait_for_timeout(10_000)
            share = (seconds_of(watch) - before) / (time.monotonic() - began)
            assert stage.inner_text() == "After 0 points"  # where the reader left it
        page.get_by_text("Killed; can be resumed").wait_for()
        shown = "() => Number(document.querySelectorAll('.facts dd')[1].textContent.replaceAll(',', ''))"
        at = page.evaluate(shown)
        with started("run", "--resume", run):
            page.get_by_text("Running", exact=True).wait_for(timeout=60_000)
            page.wait_for_function(f"{shown} > {at}", timeout=60_000)
        assert complaints == []
        assert all(one.startswith(f"{url}/") for one in seen)
        watch.send_signal(signal.SIGINT)
        assert (watch.wait(60), "Traceback" in watch.stderr.read()) == (Interrupted.exit_code, False)
        page.get_by_text("No answer: ganzoo watch has ended").wait_for()
        page.close()
    print(f"{delay:.2f} s until the first samples; {share:.1%} of a core")
    assert (
        delay < 20
    )  # on a busy machine, everything takes more time: at most 2 s, and 2% of a core, are for an idle one
    assert share < 0.1


@pytest.mark.full  # starts three processes that import torch
def test_a_run_with_a_page_says_where_it_is_and_its_server_ends_with_it(tmp_path):
    run = tmp_path / "run"
    with started("run", "vanilla-ring", *ENDLESS, "--out", run, "--watch") as training:
        host, port = address(training).removeprefix("http://").split(":")

        def ask():
            with closing(HTTPConnection(host, int(port), timeout=60)) as connection:
                connection.request("GET", "/")
                return connection.getresponse().read().decode()

        while '<dd class="">Running</dd>' not in ask():
            time.sleep(0.1)
        training.send_signal(signal.SIGINT)
        assert training.wait(120) == Interrupted.exit_code
        while "Interrupted; can be resumed" not in ask():  # the last page
            time.sleep(0.1)
        with suppress(ConnectionError):
            while ask():
                time.sleep(0.1)
