"""``pytest --ganzoo-plugin NAME``: one test for each check of everything that a plugin registers.

Without the option it imports and collects nothing. ``-p no:ganzoo`` disables it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ganzoo_checks.checking import Check


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.getgroup("ganzoo").addoption(
        "--ganzoo-plugin",
        action="append",
        default=[],
        metavar="NAME",
        help="Check everything that an installed ganzoo plugin registers, one test per check.",
    )


@pytest.hookimpl(tryfirst=True)  # before -k and xdist select tests
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Append the checks to the collected tests."""
    for name in config.getoption("--ganzoo-plugin"):
        from ganzoo.errors import GanzooError
        from ganzoo.registry.loading import load_zoo
        from ganzoo_checks.contract import plugin_checks

        try:
            checks = plugin_checks(name, load_zoo())
        except GanzooError as error:
            raise pytest.UsageError(f"--ganzoo-plugin: {error}") from error
        for check in checks:
            test = f"{check.thing}::{check.name}"
            item = CheckItem.from_parent(session, name=test, nodeid=f"ganzoo-plugin[{name}]::{test}")
            item.check = check
            items.append(item)


class CheckItem(pytest.Item):
    """One check."""

    check: Check

    def runtest(self) -> None:
        """Run it."""
        self.check.run()

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> str:
        """What is wrong and what to do, without a traceback."""
        return str(excinfo.value)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        """Named after the plugin rather than a file."""
        return self.path, None, f"{self.check.plugin}: {self.name}"
