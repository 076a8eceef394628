import asyncio
import base64
import hashlib
import hmac
import ipaddress
from collections.abc import AsyncIterator
from typing import Any

import pytest
from control_plane import ControlPlane, ManualClock, train_spec
from memory_cluster import MemoryCluster
from webhook_receiver import Received, Receiver, receiver

from fgd_core.errors import SpecError
from service.settings import Settings
from service.settings.groups import WebhookSettings
from service.webhooks.addresses import is_public, target
from service.webhooks.delivery import RETRIES, Deliverer
from service.webhooks.sending import Sender

DAY_S = 24 * 3600


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(
        update={
            "webhooks": WebhookSettings(allow_private=True),
            "public_url": "http://api:8321",
            "external_url": "https://fgd.example.org",
        }
    )


@pytest.fixture
async def listener() -> AsyncIterator[Receiver]:
    async with receiver() as listener:
        yield listener


def deliverer(plane: ControlPlane, **sending: Any) -> Deliverer:
    sender = Sender(allow_private=True, **sending)
    return Deliverer(plane.services.database, plane.settings, plane.clock, sender, plane.services.metrics)


async def hook(plane: ControlPlane, url: str, **fields: Any) -> dict[str, Any]:
    answer = await plane.http.post("/v1/webhooks", json={"url": url} | fields)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def cancelled_job(plane: ControlPlane, **changes: Any) -> str:
    job_id = await plane.submit(train_spec(**changes))
    await plane.http.post(f"/v1/jobs/{job_id}/cancel")
    return job_id


async def deliveries(plane: ControlPlane, webhook: dict[str, Any]) -> list[dict[str, Any]]:
    answer = await plane.http.get(f"/v1/webhooks/{webhook['webhook_id']}/deliveries")
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def is_signed(received: Received, secret: str) -> bool:
    """Checks the signature as a receiver does."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{received.headers['webhook-id']}.{received.headers['webhook-timestamp']}.".encode() + received.body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return received.headers["webhook-signature"] == f"v1,{expected}"


class TestDelivery:
    async def test_the_end_of_a_job_is_delivered_once_and_signed(self, plane: ControlPlane, listener: Receiver) -> None:
        made = await hook(plane, listener.url)
        job_id, run = await plane.started_job()
        await run.succeeds()
        await plane.tick()
        for _ in range(2):
            await deliverer(plane).deliver_due()
        (received,) = listener.received
        assert (received.path, received.headers["host"]) == ("/hook?a=b", f"127.0.0.1:{listener.port}")
        assert received.body_json["type"] == "job.succeeded"
        assert received.body_json["job"]["job_id"] == job_id
        assert received.body_json["job"]["url"] == f"https://fgd.example.org/v1/jobs/{job_id}"
        assert received.body_json["id"] == received.headers["webhook-id"]
        assert is_signed(received, made["secret"])
        assert not is_signed(received, "whsec_" + base64.b64encode(b"another").decode())

    async def test_a_failed_delivery_is_retried_with_the_same_id(self, plane: ControlPlane, listener: Receiver) -> None:
        made = await hook(plane, listener.url)
        await cancelled_job(plane)
        listener.answers = "500 Broken\r\n"
        await deliverer(plane).deliver_due()
        (waiting,) = await deliveries(plane, made)
        assert (waiting["state"], waiting["tries"], waiting["last_error"]) == ("waiting", 1, "answered 500")
        assert await deliverer(plane).deliver_due() == 0
        listener.answers = "200 OK\r\n"
        plane.clock.forward(RETRIES.first_pause_s)
        await deliverer(plane).deliver_due()
        (delivered,) = await deliveries(plane, made)
        assert (delivered["state"], delivered["tries"], delivered["last_error"]) == ("delivered", 2, None)
        first, second = listener.received
        assert first.headers["webhook-id"] == second.headers["webhook-id"]
        assert is_signed(second, made["secret"])

    async def test_an_error_of_ours_in_one_delivery_delays_no_other(
        self, plane: ControlPlane, listener: Receiver
    ) -> None:
        broken = await hook(plane, "http://localhost:1/")
        await hook(plane, listener.url)
        await cancelled_job(plane)

        async def resolve(host: str, port: int) -> list[str]:
            if port == 1:
                raise RuntimeError("unforeseen")
            return ["127.0.0.1"]

        await deliverer(plane, resolve=resolve).deliver_due()
        assert len(listener.received) == 1
        assert "RuntimeError" in (await deliveries(plane, broken))[0]["last_error"]

    async def test_a_redirect_is_not_followed(self, plane: ControlPlane, listener: Receiver) -> None:
        made = await hook(plane, listener.url)
        await cancelled_job(plane)
        listener.answers = f"307 Moved\r\nLocation: {listener.url}\r\n"
        await deliverer(plane).deliver_due()
        assert len(listener.received) == 1
        assert (await deliveries(plane, made))[0]["last_error"] == "answered 307"

    async def test_a_delivery_that_always_fails_is_given_up_after_about_a_day(
        self, plane: ControlPlane, listener: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = await hook(plane, listener.url)
        await cancelled_job(plane)
        listener.answers = "503 Away\r\n"
        # Pauses without their random part.
        monkeypatch.setattr("random.uniform", lambda low, high: high)
        pauses_s = [RETRIES.pause_s(number) for number in range(1, RETRIES.max_tries or 0)]
        for pause_s in (*pauses_s, DAY_S):
            assert await deliverer(plane).deliver_due() == 1
            assert pause_s is not None
            plane.clock.forward(pause_s)
        assert await deliverer(plane).deliver_due() == 0
        (delivery,) = await deliveries(plane, made)
        assert (delivery["state"], delivery["tries"]) == ("given_up", RETRIES.max_tries)
        assert 0.8 * DAY_S < sum(pause_s or 0 for pause_s in pauses_s) < 1.2 * DAY_S

    async def test_two_control_planes_deliver_once(
        self, plane: ControlPlane, settings: Settings, listener: Receiver
    ) -> None:
        await hook(plane, listener.url)
        for _ in range(5):
            await cancelled_job(plane)
        other = ControlPlane(settings, plane.cluster, plane.clock)
        made = await asyncio.gather(deliverer(plane).deliver_due(), deliverer(other).deliver_due())
        assert sum(made) == 5
        assert len({received.headers["webhook-id"] for received in listener.received}) == len(listener.received) == 5
        await other.close()

    async def test_a_delivery_of_a_killed_server_is_repeated_by_the_next(
        self, settings: Settings, cluster: MemoryCluster, clock: ManualClock, listener: Receiver
    ) -> None:
        killed = ControlPlane(settings, cluster, clock)
        made = await hook(killed, listener.url)
        await cancelled_job(killed)
        listener.is_silent = True
        sending = asyncio.create_task(deliverer(killed).deliver_due())
        await listener.was_called.wait()
        # Killed: it writes nothing any more.
        sending.cancel()
        await asyncio.wait([sending])
        await killed.close()

        listener.is_silent = False
        started = ControlPlane(settings, cluster, clock)
        clock.forward(61)
        assert await deliverer(started).deliver_due() == 1
        assert (await deliveries(started, made))[0]["state"] == "delivered"
        assert [received.body_json["type"] for received in listener.received] == ["job.cancelled"] * 2
        await started.close()

    async def test_a_delivery_reports_the_end_even_if_the_job_was_retried(
        self, plane: ControlPlane, listener: Receiver
    ) -> None:
        await hook(plane, listener.url)
        job_id = await cancelled_job(plane)
        await plane.http.post(f"/v1/jobs/{job_id}/retry")
        await deliverer(plane).deliver_due()
        (received,) = listener.received
        assert (received.body_json["type"], received.body_json["job"]["state"]) == ("job.cancelled", "cancelled")

    async def test_a_webhook_of_a_project_gets_no_jobs_of_others(self, plane: ControlPlane, listener: Receiver) -> None:
        await hook(plane, listener.url, project="mine")
        await cancelled_job(plane, project="yours")
        assert await deliverer(plane).deliver_due() == 0
        await cancelled_job(plane, project="mine")
        assert await deliverer(plane).deliver_due() == 1

    async def test_a_removed_webhook_gets_no_more_deliveries(self, plane: ControlPlane, listener: Receiver) -> None:
        made = await hook(plane, listener.url)
        await cancelled_job(plane)
        assert (await plane.http.delete(f"/v1/webhooks/{made['webhook_id']}")).status_code == 200
        assert await deliverer(plane).deliver_due() == 0
        assert listener.received == []


class TestManagement:
    async def test_a_test_message_reports_whether_it_arrived(self, plane: ControlPlane, listener: Receiver) -> None:
        made = await hook(plane, listener.url)
        answer = await plane.http.post(f"/v1/webhooks/{made['webhook_id']}/test")
        assert answer.json() == {"delivered": True, "status": 204, "error": None}
        assert listener.received[0].body_json["type"] == "webhook.test"
        assert is_signed(listener.received[0], made["secret"])

    async def test_the_secret_is_shown_once(self, plane: ControlPlane, listener: Receiver) -> None:
        made = await hook(plane, listener.url)
        assert made["secret"].startswith("whsec_")
        for path in ("/v1/webhooks", f"/v1/webhooks/{made['webhook_id']}", "/v1/audit"):
            assert made["secret"] not in (await plane.http.get(path)).text


class TestAddresses:
    @pytest.mark.parametrize(
        "address",
        [
            *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.100.100.200", "0.0.0.0"),
            *("224.0.0.1", "240.0.0.1", "255.255.255.255", "168.63.129.16", "192.0.2.1"),
            *("::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "fec0::1"),
            *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:7f00:1::"),
        ],
    )
    def test_wrapped_private_addresses_are_not_public(self, address: str) -> None:
        assert not is_public(ipaddress.ip_address(address))

    @pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "64:ff9b::808:808"])
    def test_public_addresses_are_public(self, address: str) -> None:
        assert is_public(ipaddress.ip_address(address))

    @pytest.mark.parametrize(
        "url",
        [
            *("ftp://example.org/", "file:///etc/passwd", "https://", "example.org", "https://[::1", "https://a:x/"),
            *("https://user:word@example.org/", "https://example.org/#part", "http://example.org:99999/"),
            *("https://example.org:0/", "http://8.8.8.8:0", "https://a..b/", "https://.org/", "https://-a.org/"),
            *("https://a\\\\b/", "https://%65xample.org/", "https://[fe80::1%25eth0]/", "https://exa<mple.org/"),
            f"https://{'a' * 64}.org/",
        ],
    )
    async def test_an_invalid_url_is_refused(self, url: str) -> None:
        with pytest.raises(SpecError):
            await target(url, allow_private=True, resolve=lambda host, port: found("8.8.8.8"))

    @pytest.mark.parametrize("url", ["http://127.0.0.1/", "http://2130706433/", "http://0x7f.1/", "http://localhost/"])
    async def test_every_spelling_of_the_loopback_is_refused(self, url: str) -> None:
        with pytest.raises(SpecError, match="FGD_WEBHOOKS_ALLOW_PRIVATE"):
            await target(url, allow_private=False)

    async def test_one_private_address_among_public_ones_is_refused(self) -> None:
        with pytest.raises(SpecError, match=r"10\.0\.0\.1"):
            await target("https://x.org", allow_private=False, resolve=lambda host, port: found("8.8.8.8", "10.0.0.1"))

    async def test_a_webhook_with_a_private_address_is_refused_at_creation(
        self, settings: Settings, cluster: MemoryCluster, clock: ManualClock
    ) -> None:
        plane = ControlPlane(
            settings.model_copy(update={"webhooks": WebhookSettings(allow_private=False)}), cluster, clock
        )
        answer = await plane.http.post("/v1/webhooks", json={"url": "http://169.254.169.254/latest/meta-data"})
        assert (answer.status_code, answer.json()["reasons"][0]["code"]) == (422, "private_address")
        await plane.close()

    async def test_a_name_that_now_has_a_private_address_is_not_called(self, listener: Receiver) -> None:
        sender = Sender(allow_private=False, resolve=lambda host, port: found("127.0.0.1"))
        answer = await sender.send(f"http://example.org:{listener.port}/", b"{}", {})
        assert not answer.delivered
        assert listener.received == []

    async def test_the_checked_address_is_called_and_the_name_resolved_once(self, listener: Receiver) -> None:
        looked_up: list[str] = []

        async def resolve(host: str, port: int) -> list[str]:
            looked_up.append(host)
            return ["127.0.0.1"]

        sender = Sender(allow_private=True, resolve=resolve)
        answer = await sender.send(f"http://no-such-name.invalid:{listener.port}/", b"{}", {})
        assert answer.delivered
        assert looked_up == ["no-such-name.invalid"]
        assert listener.received[0].headers["host"] == f"no-such-name.invalid:{listener.port}"

    async def test_an_endless_response_is_not_read(self, listener: Receiver) -> None:
        listener.answers = "200 OK\r\nContent-Length: 1000000000000\r\n"
        sender = Sender(allow_private=True)
        assert (await sender.send(listener.url, b"{}", {})).delivered


async def found(*addresses: str) -> list[str]:
    return list(addresses)
