"""Runs tests in several processes, which are forked when the tests are collected: `pytest --processes 6`.

The processes of pytest-xdist each import and collect all tests: 22 s of CPU time per process, here once for all. A
process asks for tests when it has finished its last ones, so no test waits for a long one while another process has
nothing to do.
"""

import os
import random
import warnings
from collections.abc import Iterable
from io import StringIO
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from _pytest._io import TerminalWriter


class Group(NamedTuple):
    """Tests that run in one process, one after another."""

    tests: list[int]
    """Their indices."""
    starts_ray: bool = False
    """Few such groups run at once, and all others with a lower priority: a Ray and its server that wait take a tenth
    of a core, and most of one on a slow machine. At its end the process also ends the fixtures of the session."""


_NONE = Group([])
_NICENESS = 5
_forking = get_context("fork")


def run(session: pytest.Session, groups: Iterable[Group], count: int, *, rays: int = 1) -> None:
    """Run groups of tests in `count` processes, in their order, and report the results in this process.

    Args:
        rays: number of groups with a Ray that run at once.
    Raises:
        pytest.Session.Interrupted, pytest.Session.Failed: pytest stops early, for example because of `-x`.
    """
    pool = _Pool(session, groups, rays)
    try:
        for _ in range(count):
            pool.start_process()
        while pool.processes:
            pool.answer()
    finally:
        pool.end()
    if session.shouldfail:
        raise session.Failed(session.shouldfail)
    if session.shouldstop:
        raise session.Interrupted(session.shouldstop)


class _Process:
    """A process that runs tests, as the pool sees it."""

    def __init__(self, session: pytest.Session, folder: Path, others: list[Connection]) -> None:
        self.group = _NONE
        """The tests that it has not finished."""
        self.has_low_priority = False
        """For good, so it is given no more groups with a Ray."""
        self.connection, its_end = _forking.Pipe()
        self._process = _forking.Process(target=_serve, args=(session, folder, its_end, [*others, self.connection]))
        self._process.start()
        its_end.close()

    def join(self) -> int | None:
        """Wait for the end of the process; returns its exit code, or the negative number of a signal."""
        self.connection.close()
        self._process.join()
        return self._process.exitcode


class _Pool:
    def __init__(self, session: pytest.Session, groups: Iterable[Group], rays: int) -> None:
        self.processes: dict[Connection, _Process] = {}
        self._session = session
        self._queue = [*groups]
        self._rays = rays
        self._folder: Path = session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
        self._num_started = 0

    def start_process(self) -> None:
        self._num_started += 1
        process = _Process(self._session, self._folder / f"process-{self._num_started}", list(self.processes))
        self.processes[process.connection] = process

    def answer(self) -> None:
        """Wait for messages of the processes and answer them."""
        for connection in wait(list(self.processes)):
            process = self.processes[connection]  # type: ignore[index]
            try:
                kind, data = process.connection.recv()
            except (EOFError, ConnectionError):
                self._bury(process)
            else:
                getattr(self, f"_{kind}")(process, data)

    def end(self) -> None:
        """Wait for the processes: they end when this one answers no more."""
        for process in self.processes.values():
            process.join()

    def _ready(self, process: _Process, _: None) -> None:
        # Its own group is over, and no longer takes the room of one with a Ray.
        process.group = _NONE
        stops = self._session.shouldfail or self._session.shouldstop
        process.group = _NONE if stops else self._take(process)
        process.has_low_priority = not process.group.starts_ray
        process.connection.send(process.group)

    def _take(self, process: _Process) -> Group:
        """Take the first group that may begin now in a process.

        A process for which only groups with a Ray are left may end: those that run one now will take them.
        """
        num_rays = sum(each.group.starts_ray for each in self.processes.values())
        has_room = num_rays < self._rays and not process.has_low_priority
        for index, group in enumerate(self._queue):
            if has_room or not group.starts_ray:
                return self._queue.pop(index)
        return _NONE

    def _report(self, process: _Process, data: dict[str, Any]) -> None:
        config = self._session.config
        report = config.hook.pytest_report_from_serializable(config=config, data=data)
        config.hook.pytest_runtest_logreport(report=report)
        if report.when == "teardown":
            process.group = process.group._replace(tests=process.group.tests[1:])

    def _warning(self, _: _Process, recorded: dict[str, Any]) -> None:
        self._session.config.hook.pytest_warning_recorded.call_historic(kwargs=recorded)

    def _bury(self, process: _Process) -> None:
        """If a test ended its process, report it as failed, and run the tests after it in another process."""
        del self.processes[process.connection]
        code = process.join()
        if process.group.tests:
            died, *others = process.group.tests
            if others:
                self._queue.insert(0, process.group._replace(tests=others))
            item = self._session.items[died]
            message = f"the process of this test ended with exit code {code}"
            report = pytest.TestReport(item.nodeid, item.location, {}, "failed", message, "call")
            item.config.hook.pytest_runtest_logreport(report=report)
            self.start_process()


def _serve(session: pytest.Session, folder: Path, connection: Connection, others: list[Connection]) -> None:
    """Run tests until the pool has none left or answers no more."""
    # A copy of the pool's end of a connection would keep that connection open.
    for other in others:
        other.close()
    _separate(session.config, folder)
    session.config.pluginmanager.register(_Reporter(session.config, connection))
    has_low_priority = False
    try:
        while (group := _next(connection)).tests:
            if not group.starts_ray and not has_low_priority:
                os.nice(_NICENESS)
                has_low_priority = True
            items = [session.items[index] for index in group.tests]
            # At the end of a group, pytest keeps the fixtures of what the last test and the next item share.
            for item, following in zip(items, [*items[1:], None if group.starts_ray else session], strict=True):
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
    finally:
        session._setupstate.teardown_exact(None)


def _next(connection: Connection) -> Group:
    try:
        connection.send(("ready", None))
        group: Group = connection.recv()
    except (EOFError, ConnectionError):
        return _NONE
    return group


def _separate(config: pytest.Config, folder: Path) -> None:
    """Separate what the processes must not share: terminal, files with captured output, folders, random numbers."""
    config.pluginmanager.unregister(name="terminalreporter")
    # pytest-timeout writes to the terminal before it fails a test that hangs.
    config.pluginmanager.register(SimpleNamespace(_tw=TerminalWriter(StringIO())), "terminalreporter")
    capture = config.pluginmanager.getplugin("capturemanager")
    capture.stop_global_capturing()
    capture.start_global_capturing()
    capture.suspend_global_capture()
    folder.mkdir(mode=0o700)
    config._tmp_path_factory._basetemp = folder  # type: ignore[attr-defined]
    random.seed()


class _Reporter:
    """Sends what pytest reports in this process to the pool."""

    def __init__(self, config: pytest.Config, connection: Connection) -> None:
        self._config = config
        self._connection = connection

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._connection.send(("report", data))

    def pytest_warning_recorded(
        self, warning_message: warnings.WarningMessage, when: str, nodeid: str, location: tuple[str, int, str] | None
    ) -> None:
        # Not the warning itself: it may hold objects that cannot be sent.
        text = f"{warning_message.category.__name__}: {warning_message.message}"
        sent = warnings.WarningMessage(text, UserWarning, warning_message.filename, warning_message.lineno)
        recorded = {"warning_message": sent, "when": when, "nodeid": nodeid, "location": location}
        self._connection.send(("warning", recorded))
