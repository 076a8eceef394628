"""Delivers queued webhooks, retrying until success or the retry limit."""

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog

from fgd_core.retrying import RetryPolicy
from service.clock import Clock
from service.metrics import Metrics
from service.settings import Settings
from service.store import views, webhooks
from service.store.session import Database
from service.store.tables import Job
from service.store.webhooks import Claim
from service.webhooks import signing
from service.webhooks.sending import Answer, Sender

log = structlog.get_logger(__name__)

_AT_ONCE = 20
_CLAIM_TTL_S = 60.0
"""Longer than a try can take, so that two control planes never make the same delivery. After a crash, a delivery waits
this long."""
POLL_S = 1.0
RETRIES = RetryPolicy(first_pause_s=10.0, factor=3.0, longest_pause_s=35_000.0, max_tries=11)
"""Eleven tries, over 22 hours on average."""


class Deliverer:
    """Delivers webhooks. It runs in every control plane; each claims deliveries that no other has claimed."""

    def __init__(self, database: Database, settings: Settings, clock: Clock, sender: Sender, metrics: Metrics) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock
        self._sender = sender
        self._metrics = metrics

    async def run_once(self) -> bool:
        """Deliver what is due. Returns True if more may be due now."""
        return await self.deliver_due() == _AT_ONCE

    async def deliver_due(self) -> int:
        """Try the deliveries that are due, at most `_AT_ONCE`; returns their number."""
        async with self._database.reading() as session:
            if not await webhooks.are_due(session, self._clock()):
                return 0
        async with self._database.writing() as session:
            claims = await webhooks.claim(session, limit=_AT_ONCE, ttl_s=_CLAIM_TTL_S, now=self._clock())
        # An error of ours in one delivery must not stop the others.
        answers = await asyncio.gather(*(self._try(claim) for claim in claims), return_exceptions=True)
        results = [(claim, _answer(claim, answer)) for claim, answer in zip(claims, answers, strict=True)]
        await self._settle(results)
        return len(claims)

    async def _try(self, claim: Claim) -> Answer:
        body = _body(claim, self._settings.lasting_url)
        headers = signing.headers(claim.secret, claim.delivery_id, self._clock(), body)
        return await self._sender.send(claim.url, body, headers)

    async def _settle(self, results: Sequence[tuple[Claim, Answer]]) -> None:
        async with self._database.writing() as session:
            for claim, answer in results:
                now = self._clock()
                pause_s = None if answer.delivered else RETRIES.pause_s(claim.number)
                await webhooks.settle(
                    session,
                    claim,
                    delivered_at=now if answer.delivered else None,
                    next_try_at=now + timedelta(seconds=pause_s) if pause_s is not None else None,
                    error=answer.error,
                )
                outcome = "delivered" if answer.delivered else "again" if pause_s is not None else "given_up"
                self._metrics.webhooks.labels(outcome).inc()
                log.info(
                    "webhook_called",
                    delivery_id=claim.delivery_id,
                    job_id=claim.job.id,
                    tries=claim.number,
                    delivered=answer.delivered,
                    error=answer.error,
                    again_in_s=pause_s,
                )


def _answer(claim: Claim, answer: Answer | BaseException) -> Answer:
    """Return the answer; of a try that raised, log the error and make an answer of it."""
    if isinstance(answer, Answer):
        return answer
    log.error("webhook_not_sent", delivery_id=claim.delivery_id, exc_info=answer)
    return Answer(delivered=False, status=None, error=f"an error of this server: {type(answer).__name__}")


def body_of_test(message_id: str, at: datetime) -> bytes:
    """Make the body of a test delivery, which a person starts."""
    return json.dumps({"id": message_id, "type": "webhook.test", "at": at.isoformat(), "job": None}).encode()


def _body(claim: Claim, base: str) -> bytes:
    job: Job = claim.job
    state, at = job.state, job.ended_at
    if claim.event is not None:
        # The job may have been queued again since then; the delivery reports that end.
        state, at = claim.event.data.get("to_state", job.state), claim.event.at
    summary = views.summary(job).model_dump(mode="json")
    body = {
        "id": claim.delivery_id,
        "type": f"job.{state}",
        "at": at.isoformat() if at is not None else None,
        "job": summary | {"state": state, "url": f"{base}/v1/jobs/{job.id}"},
    }
    return json.dumps(body).encode()
