"""The page that submits a job: the form and the YAML are one spec, which the server checks."""

import re

from page_server import OpenPage, PageServer
from playwright.sync_api import expect


def test_form_and_text_write_the_same_spec_and_submit_it(server: PageServer, open_page: OpenPage) -> None:
    page = open_page("/submit?kind=train")
    text = page.get_by_label("The spec in YAML")
    expect(text).to_have_value(re.compile("name: my teacher"))
    page.get_by_label("name", exact=True).fill("made in the page")
    page.get_by_label("epochs", exact=True).fill("0")
    expect(text).to_have_value(re.compile("name: made in the page(.|\n)*epochs: 0"))
    fault = "input should be greater than or equal to 1, and not 0"
    expect(page.locator(".verdict")).to_contain_text(f"training.epochs {fault}")
    expect(page.get_by_label("epochs", exact=True)).to_have_attribute("aria-invalid", "true")
    expect(page.locator(".line-numbers .marked")).to_have_attribute("title", fault)
    expect(page.get_by_role("button", name="Submit", exact=True)).to_be_disabled()

    text.fill(text.input_value().replace("epochs: 0", "epochs: 2  # few"))
    expect(page.get_by_label("epochs", exact=True)).to_have_value("2")
    page.get_by_label("Find a setting").fill("batch_size")
    page.get_by_label("batch size").fill("4")
    expect(text).to_have_value(re.compile("epochs: 2  # few\n  batch_size: 4"))
    expect(page.locator(".verdict")).to_contain_text("ost of 1 training")
    page.get_by_role("button", name="Submit", exact=True).click()
    expect(page.locator("h1")).to_have_text("made in the page")
    job_id = page.url.rpartition("/")[2]
    spec = server.get(f"/v1/jobs/{job_id}")["spec"]
    assert (spec["training"]["epochs"], spec["training"]["batch_size"]) == (2, 4)


def test_another_entry_removes_what_it_does_not_have(server: PageServer, open_page: OpenPage) -> None:
    job_id = server.submit("a pattern", priority=-100, detector={"type": "retinanet", "head_norm": "group"})
    page = open_page(f"/submit?like={job_id}")
    text = page.get_by_label("The spec in YAML")
    expect(text).to_have_value(re.compile("head_norm: group"))
    page.get_by_label("detector", exact=True).select_option("fcos")
    expect(text).to_have_value(re.compile("type: fcos"))
    assert "head_norm" not in text.input_value()
    expect(page.locator(".verdict .good")).to_have_text("Ready")
    # The new job knows which job its spec was made from, and what has changed.
    page.get_by_role("button", name="Submit", exact=True).click()
    page.get_by_role("tab", name="Files and spec").click()
    line = page.locator(".lineage > div > ol > li")
    expect(line).to_have_count(2)
    expect(line.first.get_by_role("link")).to_have_attribute("href", f"/jobs/{job_id}")
    expect(line.last).to_contain_text("detector.type retinanet → fcos")


def test_a_reader_is_told_what_is_missing(server: PageServer, open_page: OpenPage) -> None:
    page = open_page("/submit?kind=train", token=server.token("read"))
    expect(page.locator(".notice")).to_contain_text("needs a token with the role submit; yours has the role read")
