"""The walk of docs/guide/the-page.md: from the address to why a student is worse than without distillation."""

from drawn_comparison import ends
from page_server import OpenPage, PageServer, distill_spec, train_spec
from playwright.sync_api import expect


def test_five_clicks_lead_to_the_reason(server: PageServer, open_page: OpenPage) -> None:
    teacher = server.started("walk teacher")
    teacher.saves("best.pt", b"weights")
    teacher.ends()
    plain = server.run_of(server.submit_spec(train_spec("walk plain")))
    distilled = server.run_of(server.submit_spec(distill_spec("walk distilled", teacher.job_id)))
    for run, name, values in ((plain, "good", {}), (distilled, "poor", {"distill/total": [8.0] * 50})):
        run.trains(range(50), total=50, epochs=1, **{"task/box": [1.0] * 50, "loss": [9.0] * 50} | values)
        means = {name: each[0] for name, each in values.items()} | {"task/box": 1.0, "loss": 9.0}
        speed = {"images_per_s": 4.0, "eta_s": 0.0, "learning_rate": 0.01}
        run.report(
            {"kind": "epoch_finished", "epoch": 1, "epochs": 1, "step": 49, "steps": 50, "values": means} | speed
        )
        ends(run, name, seed=1)

    page = open_page("/?q=walk")
    for name in ("walk distilled", "walk plain"):
        page.locator("tbody tr", has_text=name).get_by_role("checkbox").check()
    page.get_by_role("link", name="Compare", exact=True).last.click()
    expect(page.locator(".headline")).to_contain_text("walk distilled reaches AP")
    # The parts that only one of them has are one row each, and the student stands beside the plain detector.
    differing = page.locator(".fields tbody th").all_inner_texts()
    assert {"kind", "teacher", "method"} <= {*differing} and not any(path.startswith("student") for path in differing)
    page.locator(".runs tbody a", has_text="walk distilled").click()
    page.get_by_role("tab", name="Results").click()
    expect(page.get_by_text("so it drowns the detector's own losses")).to_be_visible()
