"""``python -m ganzoo``, which torchrun also starts."""

import os
import sys

# Python puts the working folder first on the path, where a file called yaml.py would shadow a library. Remove it before
# any other import.
if sys.path[0] in ("", os.getcwd()) and not getattr(sys.flags, "safe_path", False):  # noqa: PTH109
    del sys.path[0]

from ganzoo.cli import main

main()
