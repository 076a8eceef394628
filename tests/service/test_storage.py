"""Both kinds of storage behave the same way."""

import hashlib
import os
import resource
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import IncompleteReadError
from botocore.response import StreamingBody

from fgd_core.errors import StorageError
from service.settings import Settings
from service.settings.groups import StorageSettings
from service.storage import paths
from service.storage.base import Storage
from service.storage.choosing import check_at_startup, storage_of
from service.storage.errors import FileChangedError, FileGoneError, StorageAwayError, StorageRefusedError
from service.storage.s3 import S3Storage

BIG = os.urandom(1 << 20) * 18
"""Content that S3 receives in more than two parts."""


@pytest.fixture
def settings(tmp_path: Path, stored: dict[str, Any]) -> Settings:
    return Settings(home=tmp_path).model_copy(update=stored)


@pytest.fixture
def storage(settings: Settings) -> Storage:
    storage = storage_of(settings)
    storage.check()
    return storage


def names(storage: Storage, folder: str = "") -> list[str]:
    return sorted(file.path for file in storage.listing(folder))


class TestFiles:
    def test_a_written_file_can_be_read(self, storage: Storage) -> None:
        storage.write("jobs/a/notes.txt", b"hello")
        assert storage.read("jobs/a/notes.txt") == b"hello"
        found = storage.find("jobs/a/notes.txt")
        assert found is not None
        assert found.size_bytes == 5
        assert abs(datetime.now(UTC) - found.modified_at) < timedelta(seconds=60)

    def test_a_newer_file_replaces_an_older_one(self, storage: Storage) -> None:
        storage.write("a", b"old and long")
        storage.write("a", b"new")
        assert storage.read("a") == b"new"

    @pytest.mark.parametrize("content", [b"", b"x", BIG], ids=["nothing", "a byte", "in parts"])
    def test_a_file_written_in_blocks_is_complete(self, storage: Storage, content: bytes) -> None:
        with storage.writing("jobs/a/file", size_bytes=len(content)) as incoming:
            for start in range(0, len(content), 1 << 20):
                incoming.write(content[start : start + (1 << 20)])
            assert storage.find("jobs/a/file") is None
            incoming.commit()
        assert storage.read("jobs/a/file") == content

    @pytest.mark.parametrize("content", [b"x", BIG], ids=["a byte", "in parts"])
    def test_an_upload_without_commit_leaves_nothing(self, storage: Storage, content: bytes) -> None:
        storage.write("jobs/a/file", b"before")
        with pytest.raises(ZeroDivisionError), storage.writing("jobs/a/file", size_bytes=1) as incoming:
            incoming.write(content)
            raise ZeroDivisionError
        assert names(storage) == ["jobs/a/file"]
        assert storage.read("jobs/a/file") == b"before"
        if isinstance(storage, S3Storage):
            assert storage.abort_uploads(before=datetime.now(UTC) + timedelta(days=1)) == 0

    def test_any_part_of_a_file_can_be_read(self, storage: Storage) -> None:
        storage.write("file", BIG)
        with storage.open("file").file as file:
            file.seek(10_000_001)
            assert file.read(7) == BIG[10_000_001:10_000_008]

    def test_the_digest_is_of_the_content(self, storage: Storage) -> None:
        storage.write("file", b"hello")
        assert storage.sha256("file") == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"

    @pytest.mark.parametrize("path", ["jobs", "jobs/a", "jobs/none", "jobs/a/file/below"])
    def test_a_path_without_a_file_raises_file_gone(self, storage: Storage, path: str) -> None:
        storage.write("jobs/a/file", b"x")
        assert storage.find(path) is None
        for read in (storage.open, storage.read, storage.sha256):
            with pytest.raises(FileGoneError):
                read(path)
        with pytest.raises(FileGoneError), storage.local_copy(path):
            pass

    def test_a_reader_never_mixes_two_versions_of_a_file(self, storage: Storage) -> None:
        storage.write("file", b"a" * len(BIG))
        with storage.open("file").file as file:
            assert file.read(1) == b"a"
            storage.write("file", b"b" * len(BIG))
            file.seek(len(BIG) - 1)
            try:
                assert file.read(1) == b"a"
            except FileChangedError:
                assert isinstance(storage, S3Storage)

    def test_a_local_copy_is_a_file_on_this_machine(self, storage: Storage, tmp_path: Path) -> None:
        storage.write("file", b"hello")
        with storage.local_copy("file", near=tmp_path) as path:
            assert path.read_bytes() == b"hello"
        assert storage.read("file") == b"hello"
        with pytest.raises(FileGoneError), storage.local_copy("file", max_bytes=4):
            pass


class TestLists:
    def test_a_listing_includes_subfolders_and_sizes(self, storage: Storage) -> None:
        storage.write("jobs/a/attempts/1/best.pt", b"xx")
        storage.write("jobs/a/log", b"x")
        storage.write("jobs/ab/other", b"x")
        found = {file.path: file.size_bytes for file in storage.listing("jobs/a")}
        assert found == {"attempts/1/best.pt": 2, "log": 1}
        assert storage.folder_names("jobs") == ["a", "ab"]
        assert names(storage) == ["jobs/a/attempts/1/best.pt", "jobs/a/log", "jobs/ab/other"]

    def test_the_listing_of_a_missing_folder_is_empty(self, storage: Storage) -> None:
        assert storage.listing("jobs/none") == []
        assert storage.folder_names("none") == []

    def test_a_listing_of_more_than_one_page_is_complete(self, storage: Storage) -> None:
        for number in range(1003):
            storage.write(f"jobs/a/{number}", b"")
        assert len(storage.listing("jobs/a")) == 1003
        storage.delete_folder("jobs/a")
        assert storage.listing() == []


class TestDeletion:
    def test_deleting_a_file_twice_is_no_error_and_deletes_nothing_else(self, storage: Storage) -> None:
        storage.write("jobs/a/one", b"x")
        storage.write("jobs/a/two", b"x")
        for _ in range(2):
            storage.delete("jobs/a/one")
        assert names(storage) == ["jobs/a/two"]

    def test_a_file_replaced_meanwhile_is_not_deleted(self, storage: Storage) -> None:
        storage.write("file", b"x")
        found = storage.find("file")
        assert found is not None
        storage.delete("file", modified_at=found.modified_at - timedelta(hours=1))
        assert storage.find("file") is not None
        storage.delete("file", modified_at=found.modified_at)
        assert storage.find("file") is None

    def test_deleting_a_folder_keeps_folders_with_the_same_prefix(self, storage: Storage) -> None:
        for job in ("a", "ab"):
            storage.write(f"jobs/{job}/deep/file", b"x")
        for _ in range(2):
            storage.delete_folder("jobs/a")
        assert names(storage) == ["jobs/ab/deep/file"]


class TestNames:
    def test_a_uri_converts_back_to_its_path(self, storage: Storage) -> None:
        for path in ("jobs/a/best.pt", "jobs/a b/ü%20.txt", "jobs/a/#1?x=2"):
            assert storage.path_of(storage.uri_of(path)) == path
        assert storage.uri_of("x").startswith(storage.uri)

    @pytest.mark.parametrize("end", ["../x", "jobs/../../x", "jobs//x", "jobs/./x", "", "jobs/a\nb", "/etc/passwd"])
    def test_a_uri_that_leaves_the_storage_has_no_path(self, storage: Storage, end: str) -> None:
        assert storage.path_of(f"{storage.uri}/{end}") is None

    def test_a_uri_of_another_storage_has_no_path(self, storage: Storage) -> None:
        for uri in (f"{storage.uri}2/x", "s3://other/kept/here/x", "file:///elsewhere/x", "https://example.org/x", ""):
            assert storage.path_of(uri) is None

    def test_a_job_has_only_its_own_files(self, storage: Storage) -> None:
        uri = storage.uri_of("jobs/a/attempts/1/best.pt")
        assert paths.of_job(storage, "a", uri) == "jobs/a/attempts/1/best.pt"
        for other in ("b", "", "a/attempts", ".."):
            assert paths.of_job(storage, other, uri) is None or other == "a/attempts"


class TestStartup:
    async def test_the_check_leaves_no_file(self, storage: Storage) -> None:
        await check_at_startup(storage, pytest.fail)
        storage.ping()
        assert names(storage) == []


class TestFolder:
    @pytest.fixture
    def stored(self, tmp_path: Path) -> dict[str, Any]:
        return {"storage": StorageSettings(dir=tmp_path / "storage")}

    def test_links_are_not_followed(self, storage: Storage, tmp_path: Path) -> None:
        root, outside = tmp_path / "storage", tmp_path / "outside"
        outside.mkdir()
        (outside / "secret").write_text("secret")
        (root / "jobs/a").mkdir(parents=True)
        (root / "jobs/a/link").symlink_to(outside / "secret")
        (root / "jobs/b").symlink_to(outside)
        for path in ("jobs/a/link", "jobs/b/secret"):
            assert storage.find(path) is None
            with pytest.raises(FileGoneError):
                storage.read(path)
        for change in (storage.delete, storage.delete_folder, lambda path: storage.write(path, b"x")):
            with pytest.raises(FileGoneError):
                change("jobs/b/secret")
        with pytest.raises(FileGoneError):
            storage.write("jobs/b/new/folder/file", b"x")
        assert (outside / "secret").read_text() == "secret"
        assert sorted(path.name for path in outside.iterdir()) == ["secret"]

    def test_a_named_pipe_is_not_a_file(self, storage: Storage, tmp_path: Path) -> None:
        (tmp_path / "storage/jobs").mkdir()
        os.mkfifo(tmp_path / "storage/jobs/pipe")
        assert storage.find("jobs/pipe") is None

    def test_the_folder_itself_may_be_behind_a_link(self, tmp_path: Path) -> None:
        (tmp_path / "disk").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "disk")
        storage = storage_of(Settings(home=tmp_path, storage=StorageSettings(dir=tmp_path / "link")))
        storage.write("jobs/a/x", b"x")
        # Runs report their files by the resolved path of the folder.
        for folder in ("disk", "link"):
            assert storage.path_of((tmp_path / folder / "jobs/a/x").as_uri()) == "jobs/a/x"
        assert storage.read("jobs/a/x") == b"x"

    def test_a_folder_that_cannot_be_listed_raises(self, storage: Storage) -> None:
        storage.write("jobs/a/last.pt", b"x")
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
        try:
            with pytest.raises(StorageError, match="Too many open files"):
                storage.listing("jobs/a")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    def test_the_folder_is_synced_before_a_commit_returns(
        self, storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        synced: list[tuple[Path, bool]] = []
        place = tmp_path / "storage/jobs/a/file"

        def fsync(descriptor: int) -> None:
            synced.append((Path(f"/proc/self/fd/{descriptor}").readlink(), place.exists()))

        monkeypatch.setattr(os, "fsync", fsync)
        storage.write("jobs/a/file", b"x")
        assert [is_there for _, is_there in synced] == [False, True]
        assert synced[-1][0] == place.parent

    def test_the_digest_of_an_upload_is_stored_until_the_file_changes(
        self, storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sha256 = hashlib.sha256(b"hello").hexdigest()
        with storage.writing("jobs/a/file", size_bytes=5, sha256=sha256) as incoming:
            incoming.write(b"hello")
            incoming.commit()
        place = tmp_path / "storage/jobs/a/file"
        try:
            os.setxattr(place, "user.fgd.test", b"x")
        except (OSError, AttributeError):
            pytest.skip("the file system of the tests, or this system, has no attributes")
        with monkeypatch.context() as unread:
            unread.setattr("service.storage.folder.digest_of", lambda file: pytest.fail("the file was read"))
            assert storage.sha256("jobs/a/file") == sha256
        place.write_bytes(b"other")
        assert storage.sha256("jobs/a/file") == hashlib.sha256(b"other").hexdigest()
        os.setxattr(place, "user.fgd.sha256", f"{place.stat().st_mtime_ns} none".encode())
        assert storage.sha256("jobs/a/file") == hashlib.sha256(b"other").hexdigest()

    def test_a_full_disk_is_reported_with_the_cure_and_leaves_nothing(self, tmp_path: Path) -> None:
        full = Path("/dev/full")
        storage = storage_of(Settings(home=tmp_path))
        incoming = storage.writing("jobs/a/x", size_bytes=1 << 20)
        with full.open("wb") as file:
            incoming._file.close()
            incoming._file = file
            with pytest.raises(StorageError, match="is full; free some space") as refused:
                incoming.write(b"x" * (1 << 20))
            incoming.discard()
        assert refused.value.http_status == 507
        assert storage.listing() == []


def in_bucket(url: str) -> Storage:
    return storage_of(Settings.model_validate({"storage": {"url": url}}))


class TestBucket:
    @pytest.fixture
    def stored(self, tmp_path: Path, bucket: str) -> dict[str, Any]:
        return {"storage": StorageSettings(dir=tmp_path, url=bucket), "run_files": "through_server"}

    async def test_a_missing_bucket_is_reported_with_the_cure(self, bucket: str) -> None:
        storage = in_bucket("s3://no-such-bucket/x")
        with pytest.raises(StorageRefusedError, match=r"no bucket 'no-such-bucket'.*create it") as refused:
            await check_at_startup(storage, pytest.fail)
        assert (refused.value.http_status, refused.value.retryable) == (503, False)

    async def test_missing_credentials_are_reported_by_name(
        self, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(variable)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        with pytest.raises(StorageRefusedError, match="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
            await check_at_startup(in_bucket(bucket), pytest.fail)

    async def test_a_server_starts_while_the_service_is_unreachable(
        self, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        storage = in_bucket(bucket)
        reported: list[str] = []
        await check_at_startup(storage, reported.append)
        assert "does not answer" in reported[0]
        with pytest.raises(StorageAwayError) as refused:
            storage.read("x")
        assert (refused.value.http_status, refused.value.retryable) == (503, True)

    def test_two_storages_in_one_bucket_do_not_see_each_other(self, storage: Storage, bucket: str) -> None:
        other = in_bucket(bucket.replace("kept/here", "kept/here2"))
        other.write("jobs/a/x", b"x")
        assert storage.listing() == []

    def test_uploads_of_a_dead_process_are_aborted(self, storage: Storage) -> None:
        storage.writing("jobs/a/x", size_bytes=len(BIG)).write(BIG)
        # The S3 server of the tests reports 2010 as the start of every upload.
        assert storage.abort_uploads(before=datetime(2010, 1, 1, tzinfo=UTC)) == 0
        assert [storage.abort_uploads(before=datetime.now(UTC)) for _ in range(2)] == [1, 0]

    def test_an_upload_that_ends_meanwhile_is_no_error(self, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
        assert isinstance(storage, S3Storage)
        upload = storage.writing("jobs/a/x", size_bytes=len(BIG))
        upload.write(BIG)
        pages = storage._bucket.pages

        def pages_then_discard(operation: str, **parameters: object) -> Iterator[Mapping[str, Any]]:
            yield from pages(operation, **parameters)
            upload.discard()

        monkeypatch.setattr(storage._bucket, "pages", pages_then_discard)
        assert storage.abort_uploads(before=datetime.now(UTC)) == 1
        assert storage.abort_uploads(before=datetime.now(UTC)) == 0

    def test_a_response_that_breaks_off_is_requested_again(
        self, storage: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        storage.write("jobs/a/x", b"content")
        bodies = [IncompleteReadError(actual_bytes=3, expected_bytes=7)]
        read = StreamingBody.read

        def break_off_once(body: StreamingBody, amt: int | None = None) -> bytes:
            if bodies:
                raise bodies.pop()
            return bytes(read(body, amt))

        monkeypatch.setattr(StreamingBody, "read", break_off_once)
        assert storage.read("jobs/a/x") == b"content"

    def test_many_threads_use_one_storage(self, storage: Storage) -> None:
        threads = [
            threading.Thread(target=storage.write, args=(f"jobs/{number}/x", str(number).encode()))
            for number in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {storage.read(f"jobs/{number}/x") for number in range(20)} == {b"%d" % n for n in range(20)}
