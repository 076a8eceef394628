"""The pages of data sets, the queue, models and settings."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from page_server import OpenPage, PageServer
from playwright.sync_api import Page, expect
from registered import dataset, model

from tests.tiers import slow

PATHS = {
    "/submit": ".card",
    "/submit?kind=distill": ".verdict li",
    "/data": "tbody",
    "/data/looked-at": "meter",
    "/queue": "tbody",
    "/models": "main p",
    "/settings": "tbody",
    "/settings?tab=tokens": "tbody",
    "/settings?tab=webhooks": "main button",
    "/settings?tab=audit": "tbody",
    "/settings?tab=housekeeping": "main button",
}


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


class TestData:
    def test_a_checked_data_set_shows_findings_counts_samples_and_who_used_it(
        self, server: PageServer, open_page: OpenPage
    ) -> None:
        dataset_id = dataset(server, "street")
        used = {"type": "registered", "name": "street"}
        job_id = server.submit("learns the street", data=used, priority=-100)
        page = open_page("/data?q=street")
        expect(page.locator("tbody")).to_contain_text("4,000")
        page.get_by_role("link", name="street").click()
        expect(page.locator("main")).to_contain_text("box without area")
        expect(page.get_by_role("region", name="Classes")).to_contain_text("traffic light")
        expect(page.get_by_role("link", name="learns the street")).to_have_attribute("href", f"/jobs/{job_id}")
        page.wait_for_function("() => document.querySelector('.samples img')?.naturalWidth === 600")
        assert server.get(f"/v1/datasets/{dataset_id}/jobs")["num_jobs"] == 2

    def test_the_button_checks_and_the_page_follows(self, server: PageServer, open_page: OpenPage) -> None:
        dataset_id = dataset(server, "unseen", is_checked=False)
        page = open_page(f"/data/{dataset_id}")
        expect(page.locator(".state").first).to_have_text("unchecked")
        page.get_by_role("button", name="Check", exact=True).click()
        expect(page.locator(".state").first).to_have_text("checking")

    def test_a_form_registers_one_and_shows_the_reasons_at_its_fields(
        self, server: PageServer, open_page: OpenPage
    ) -> None:
        page = open_page("/data")
        page.locator("summary", has_text="Register").click()
        page.get_by_role("button", name="COCO…").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Name", exact=True).fill("not a name")
        for field in ("Folder of the training images", "Annotations for training"):
            dialog.get_by_label(field).fill("/data/street")
        dialog.get_by_label("Folder of the validation images").fill("https://example.org/val")
        dialog.get_by_label("Annotations for validation").fill("/data/street/val.json")
        dialog.get_by_role("button", name="Register").click()
        expect(dialog.get_by_label("Name", exact=True)).to_have_attribute("aria-invalid", "true")
        dialog.get_by_label("Name", exact=True).fill("by-hand")
        dialog.get_by_role("button", name="Register").click()
        images = dialog.get_by_label("Folder of the validation images")
        expect(images).to_have_accessible_description(re.compile("is a URL, and fgd downloads nothing"))
        images.fill("/data/street/val")
        dialog.get_by_role("button", name="Register").click()
        expect(page.locator("h1")).to_have_text("by-hand")
        expect(page.locator(".state").first).to_have_text("checking")
        made = server.get("/v1/datasets/by-hand")
        assert made["data"]["val"] == {"images": "/data/street/val", "annotations": "/data/street/val.json"}


def test_a_webhook_is_added_tested_and_removed(server: PageServer, open_page: OpenPage) -> None:
    page = open_page("/settings?tab=webhooks")
    page.get_by_role("button", name="Add a webhook").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Address").fill("ftp://example.org/hook")
    dialog.get_by_role("button", name="Add").click()
    expect(dialog.get_by_label("Address")).to_have_attribute("aria-invalid", "true")
    # A port at which nothing listens.
    dialog.get_by_label("Address").fill("http://127.0.0.1:9/hook")
    dialog.get_by_role("button", name="Add").click()
    expect(page.get_by_text("The key that signs its messages. It is shown only now.")).to_be_visible()
    row = page.locator("tbody tr", has_text="127.0.0.1:9/hook")
    row.get_by_role("button", name="Test").click()
    expect(page.locator("#status")).to_contain_text("Not delivered")
    row.get_by_role("button", name="Remove").click()
    expect(page.get_by_text("No webhook.")).to_be_visible()
    assert server.get("/v1/webhooks")["items"] == []


def test_the_queue_says_who_holds_what_and_why_others_wait(server: PageServer, open_page: OpenPage) -> None:
    run = server.started("holds two", resources={"cpus": 2})
    waits = server.submit("too wide", resources={"cpus": 64}, priority=-100)
    page = open_page("/queue")
    expect(page.get_by_role("region", name="Jobs on the cluster").locator("tr", has_text="holds two")).to_contain_text(
        "2 CPUs"
    )
    row = page.get_by_role("region", name="Waiting jobs").locator("tr", has_text="too wide")
    expect(row).to_contain_text("64 CPUs")
    why = next(item["message"] for item in server.get("/v1/queue")["items"] if item["job_id"] == waits)
    expect(row.locator(".why")).to_have_text(why)
    run.ends()
    expect(page.get_by_role("region", name="Jobs on the cluster")).not_to_contain_text("holds two")
    server.request("POST", f"/v1/jobs/{waits}/cancel")
    expect(page.get_by_text("too wide")).to_have_count(0)


def test_a_model_shows_its_versions_and_lineage_and_gets_an_alias(server: PageServer, open_page: OpenPage) -> None:
    teacher = server.started("a teacher of signs")
    user = {"kind": "evaluate", "name": "scores the signs", "checkpoint": f"job:{teacher.job_id}/best"}
    server.submit_spec(user | {"data": {"type": "shapes"}, "priority": -100})
    model(server, teacher, "signs")
    page = open_page("/models")
    # Another file of this process may have named a model "street-signs".
    link = page.get_by_role("link", name="signs", exact=True)
    expect(page.locator("tr", has=link)).to_contain_text("production")
    link.click()
    expect(page.locator(".tree li")).to_have_count(2)
    expect(page.locator(".tree path")).to_have_count(1)
    page.get_by_role("button", name="Set an alias").click()
    page.get_by_label("Alias", exact=True).fill("Bad Alias")
    page.get_by_role("dialog").get_by_role("button", name="Set").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_be_visible()
    page.get_by_label("Alias", exact=True).fill("staging")
    page.get_by_role("dialog").get_by_role("button", name="Set").click()
    expect(page.get_by_role("region", name="Versions")).to_contain_text("staging")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download best.pt").click()
    assert download.value.path().read_bytes() == b"weights of a detector"


OF_A_READER = slow("tests/web/test_other_pages.py::TestSettings::test_a_reader_learns_why_not[Tokens]")


class TestSettings:
    def test_a_token_is_shown_once_and_can_be_revoked(self, server: PageServer, open_page: OpenPage) -> None:
        page = open_page("/settings?tab=tokens")
        page.get_by_role("button", name="Create a token").click()
        page.get_by_label("Who or what uses it").fill("a colleague")
        page.get_by_role("dialog").get_by_role("button", name="Create").click()
        secret = page.locator(".secret").inner_text()
        assert server.get("/v1/whoami", token=secret)["name"] == "a colleague"
        page.reload()
        expect(page.locator("tr", has_text="a colleague")).to_contain_text("valid until")
        assert secret not in page.content()
        page.get_by_role("button", name="Revoke a colleague").click()
        expect(page.locator("tr", has_text="a colleague")).to_contain_text("revoked")

    def test_a_project_gets_limits_and_the_audit_trail_has_them(self, server: PageServer, open_page: OpenPage) -> None:
        page = open_page("/settings")
        page.get_by_role("button", name="Set up a project").click()
        page.get_by_label("Name", exact=True).fill("lab")
        page.get_by_label("Most GPUs at once").fill("many")
        page.get_by_role("dialog").get_by_role("button", name="Save").click()
        expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("max_gpus")
        page.get_by_label("Most GPUs at once").fill("4")
        page.get_by_role("dialog").get_by_role("button", name="Save").click()
        expect(page.locator("tr", has_text="lab")).to_contain_text("4")
        assert server.get("/v1/projects/lab")["max_gpus"] == 4
        open_tab(page, "Audit")
        page.get_by_label("Text in the target").fill("projects/lab")
        page.keyboard.press("Enter")
        expect(page.locator("tbody tr")).to_have_count(2)
        expect(page).to_have_url(re.compile("target=projects"))

    def test_housekeeping_is_looked_at_before_it_is_done(self, open_page: OpenPage) -> None:
        page = open_page("/settings?tab=housekeeping")
        expect(page.get_by_role("button", name="Remove it")).to_be_disabled()
        page.get_by_role("button", name="Look what would be removed").click()
        expect(page.locator(".lead")).to_have_text(re.compile("nothing to remove|Would remove"))

    @pytest.mark.parametrize(
        "tab", ["Tokens", *(pytest.param(each, marks=OF_A_READER) for each in ("Webhooks", "Audit", "Housekeeping"))]
    )
    def test_a_reader_learns_why_not(self, server: PageServer, open_page: OpenPage, tab: str) -> None:
        page = open_page("/settings", token=server.token("read"))
        expect(page.get_by_role("button", name="Set up a project")).to_be_disabled()
        open_tab(page, tab)
        expect(page.locator(".notice")).to_have_text("This needs a token with the role admin; yours has the role read.")


def test_pages_are_accessible_and_fit_a_phone(server: PageServer, open_page: OpenPage) -> None:
    dataset(server, "looked-at")
    page = open_page("/queue")
    page.set_viewport_size({"width": 390, "height": 844})
    found = []
    for path, ready in PATHS.items():
        page.goto(f"{server.url}{path}")
        page.locator(ready).first.wait_for()
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            found += [
                (path, scheme, each["id"], [node["html"] for node in each["nodes"]])
                for each in Axe().run(page).response["violations"]
            ]
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, f"{path} scrolls sideways"
    assert found == []
