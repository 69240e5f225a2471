"""How much memory a process may use, and archives within limits."""

import os
import zipfile

import pytest

from ganzoo.api import reading
from ganzoo.errors import GanzooError

MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("group", "limits", "memory"),
    [
        ("", {}, MACHINE),
        ("0::/\n", {"sys/fs/cgroup/memory.max": "max\n"}, MACHINE),
        ("0::/\n", {"sys/fs/cgroup/memory.max": "3000000\n"}, 3_000_000),
        ("0::/a/b\n", {"sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/memory.max": "2000000\n"}, 2_000_000),
        ("4:memory:/a/b\n", {"sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": "1000000\n"}, 1_000_000),
        ("4:memory:/a\n", {"sys/fs/cgroup/memory/memory.limit_in_bytes": "4000000\n"}, 4_000_000),
        ("4:memory:/\n", {"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, MACHINE),
        ("0::/a\n", {"sys/fs/cgroup/b/memory.max": "1\n"}, MACHINE),
    ],
)
def test_memory_is_the_machines_or_that_of_the_tightest_control_group(tmp_path, group, limits, memory):
    for name, text in {"proc/self/cgroup": group, **limits}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert reading.machine_memory(tmp_path) == memory


def test_an_encrypted_archive_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.png", b"secret")
    content = bytearray((tmp_path / "x.zip").read_bytes())
    # Bit 0 of the flags, in the file's own header and in the archive's list of files, means encryption.
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "x.zip").write_bytes(content)
    with (
        reading.ZippedFiles(tmp_path / "x.zip") as archive,
        pytest.raises(
            GanzooError, match=r"a\.png in .*x\.zip cannot be read .*encrypted.* Pack it again, without a password\."
        ),
    ):
        archive.read("a.png")
