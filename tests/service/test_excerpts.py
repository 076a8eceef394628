"""Stored driver logs have a limited size."""

import json

import pytest

from service.dispatcher.excerpts import HEAD_BYTES, TAIL_BYTES, Excerpt, Gap
from service.dispatcher.json_log import JsonLog
from tests.service.memory_cluster import excerpt_of

LONG = HEAD_BYTES + TAIL_BYTES + 1000


class TestExcerpt:
    def test_a_short_log_is_kept_whole(self) -> None:
        log = b"\xff\xfe no text\n" * 1000
        assert excerpt_of(log).stored == log

    def test_a_long_log_keeps_its_beginning_and_end_with_a_note(self) -> None:
        excerpt = excerpt_of(b"begin ", b"x" * LONG, b" end")
        assert excerpt.stored.startswith(b"begin xxx")
        assert excerpt.stored.endswith(b"xxx end")
        assert b"1010 bytes of this log are left out" in excerpt.stored
        assert excerpt.size_bytes == LONG + 10
        assert Gap.read(excerpt.stored[HEAD_BYTES:]) == Gap(1010)

    def test_offsets_after_the_gap_are_those_of_the_whole_log(self) -> None:
        whole = b"".join(b"%9d\n" % number for number in range(LONG // 10))
        excerpt = excerpt_of(whole)
        assert excerpt.read(30, 10) == (30, whole[30:40])
        assert excerpt.read(len(whole) - 10, 99) == (len(whole) - 10, whole[-10:])
        behind = HEAD_BYTES + excerpt.gap.num_bytes
        assert excerpt.read(HEAD_BYTES + 1, 10) == (behind, whole[behind : behind + 10])

    def test_the_last_lines_are_bounded(self) -> None:
        assert excerpt_of(b"one\ntwo\nthree\n").last_lines(2) == ["two", "three"]
        assert sum(map(len, excerpt_of(b"x" * LONG).last_lines(20))) <= 8192


class TestJsonLog:
    @pytest.mark.parametrize("block_bytes", [1, 2, 3, 5, 7, 1000])
    def test_the_size_of_the_blocks_does_not_matter(self, block_bytes: int) -> None:
        text = 'a "quoted" \\ud83d \\\\ back\\slash, ü, \U0001f600\n\t\x00' * 3
        log = JsonLog()
        answer = json.dumps({"logs": text, "more": "}"}).encode()
        for start in range(0, len(answer), block_bytes):
            log.add(answer[start : start + block_bytes])
        assert log.excerpt() == excerpt_of(text.encode())

    def test_half_a_surrogate_pair_is_replaced(self) -> None:
        log = JsonLog()
        log.add(b'{"logs": "a \\ud83d b"}')
        assert str(log.excerpt()) == "a \ufffd b"

    def test_an_answer_without_a_log_is_empty(self) -> None:
        log = JsonLog()
        log.add(b'{"logs": null}')
        assert log.excerpt() == Excerpt()

    @pytest.mark.parametrize("answer", [b"<html>" * 1000, b'{"logs": "no end', b""])
    def test_an_answer_that_is_not_a_log_is_refused(self, answer: bytes) -> None:
        log = JsonLog()
        with pytest.raises(ValueError, match="log"):
            log.add(answer)
            log.excerpt()
