"""What is written down to be told is told, again and again until it is heard or given up."""

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog

from service.clock import Clock
from service.metrics import Metrics
from service.settings import Settings
from service.store import views, webhooks
from service.store.session import Database
from service.store.tables import Job
from service.store.webhooks import Claim
from service.webhooks import signing
from service.webhooks.retrying import pause_after
from service.webhooks.sending import Answer, Sender

log = structlog.get_logger(__name__)

_AT_ONCE = 20
_CLAIM_TTL_S = 60.0
"""Longer than a try can take, so that two never make the same one; the wait after a crash in the middle of one."""
POLL_S = 1.0


class Deliverer:
    """Runs in every control plane; each takes what no other has in hand."""

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
        """Try all that is due, some at once; returns how many."""
        async with self._database.reading() as session:
            if not await webhooks.are_due(session, self._clock()):
                return 0
        async with self._database.writing() as session:
            claims = await webhooks.claim(session, limit=_AT_ONCE, ttl_s=_CLAIM_TTL_S, now=self._clock())
        answers = await asyncio.gather(*(self._try(claim) for claim in claims))
        await self._settle(list(zip(claims, answers, strict=True)))
        return len(claims)

    async def _try(self, claim: Claim) -> Answer:
        body = _told(claim, self._settings.lasting_url)
        headers = signing.headers(claim.secret, claim.delivery_id, self._clock(), body)
        try:
            return await self._sender.send(claim.url, body, headers)
        except Exception as error:
            # One delivery that we make a mistake about must not keep all the others from being made.
            log.exception("webhook_not_sent", delivery_id=claim.delivery_id)
            return Answer(delivered=False, status=None, error=f"a mistake of this server: {type(error).__name__}")

    async def _settle(self, made: Sequence[tuple[Claim, Answer]]) -> None:
        async with self._database.writing() as session:
            for claim, answer in made:
                now = self._clock()
                pause_s = None if answer.delivered else pause_after(claim.number)
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


def body_of_test(message_id: str, at: datetime) -> bytes:
    """For a try by hand."""
    return json.dumps({"id": message_id, "type": "webhook.test", "at": at.isoformat(), "job": None}).encode()


def _told(claim: Claim, base: str) -> bytes:
    job: Job = claim.job
    state, at = job.state, job.ended_at
    if claim.event is not None:
        # The job may have been queued again since then; what is told is that end.
        state, at = claim.event.data.get("to_state", job.state), claim.event.at
    summary = views.summary(job).model_dump(mode="json")
    told = {
        "id": claim.delivery_id,
        "type": f"job.{state}",
        "at": at.isoformat() if at is not None else None,
        "job": summary | {"state": state, "url": f"{base}/v1/jobs/{job.id}"},
    }
    return json.dumps(told).encode()
