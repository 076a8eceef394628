import subprocess
import sys

import psutil

from tests.postgres import PostgresServer, running


def test_a_fresh_database_is_empty(postgres: PostgresServer, postgres_url: str) -> None:
    name = postgres_url.rpartition("@/")[2].partition("?")[0]
    assert postgres.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", name) == "0"


def test_a_killed_server_restarts_with_all_committed_rows() -> None:
    with running(durable=True) as server:
        server.create("kept")
        server.execute("CREATE TABLE t AS SELECT 7 AS value", "kept")
        server.kill()
        server.start()
        assert server.execute("SELECT value FROM t", "kept") == "7"


def test_a_server_ends_when_its_tests_are_killed() -> None:
    code = (
        "import time; from tests.postgres import running\nwith running() as s: print(s.pid, flush=True); time.sleep(60)"
    )
    tests = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert tests.stdout is not None
    server = psutil.Process(int(tests.stdout.readline()))
    tests.kill()
    tests.communicate()
    psutil.wait_procs([server], timeout=240)
    assert not server.is_running()
