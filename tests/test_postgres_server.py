from tests.postgres import PostgresServer, running


def test_a_fresh_database_is_empty(postgres: PostgresServer, postgres_url: str) -> None:
    name = postgres_url.rpartition("@/")[2].partition("?")[0]
    assert postgres.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", name) == "0"


def test_a_killed_server_comes_back_with_what_was_committed() -> None:
    with running(durable=True) as server:
        server.create("kept")
        server.execute("CREATE TABLE t AS SELECT 7 AS value", "kept")
        server.kill()
        server.start()
        assert server.execute("SELECT value FROM t", "kept") == "7"
