"""Memory that is reused between steps."""

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource
import torch
from ganzoo.training.device import keep_freed_memory

torch.set_num_threads(1)
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def step():
    block = torch.zeros(16 * 2**20)  # 64 MiB: glibc by itself returns any block of more than 32
    del block

def pages():
    step()
    before = faults()
    for _ in range(5):
        step()
    return faults() - before

given_back = pages()
assert keep_freed_memory()
print(given_back, pages())
"""


@pytest.mark.full
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_freed_memory_is_reused_without_asking_the_system():
    # In a separate process, because its setting is never undone.
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    given_back, kept = map(int, done.stdout.split())
    assert given_back >= 5  # at least one huge page per block; usually 16,384 pages
    assert kept < given_back / 5
