"""The element that draws the figures of reports and of the live page: each kind of mark, by its pixels."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from service.web import assets

pytestmark = pytest.mark.one_database

RED, BLUE = "#ff0000", "#0000ff"
Show = Callable[..., None]
# Of the pixels of one colour: their number and the box around them, in CSS pixels.
_PIXELS = """(blue) => {
    const canvas = document.querySelector("canvas");
    const { data, width } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const found = { count: 0, left: 1e9, right: -1, top: 1e9, bottom: -1 };
    for (let at = 0; at < data.length; at += 4) {
        const [red, green, other, alpha] = data.slice(at, at + 4);
        if (alpha < 40 || green > 60 || (blue ? red > 60 || other < 150 : other > 60 || red < 150)) continue;
        const [x, y] = [(at / 4) % width, Math.floor(at / 4 / width)];
        found.count += 1;
        found.left = Math.min(found.left, x); found.right = Math.max(found.right, x);
        found.top = Math.min(found.top, y); found.bottom = Math.max(found.bottom, y);
    }
    return found;
}"""


@pytest.fixture(scope="module")
def window(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 600, "height": 500})
    page.set_content("<style>body { margin: 0 }</style><fgd-figure></fgd-figure>")
    page.add_style_tag(content=assets.text("style/0_colours.css") + assets.text("style/4_figure.css"))
    page.add_script_tag(content=assets.bundle("ui/figure.js"))
    yield page
    page.close()


@pytest.fixture
def show(window: Page) -> Show:
    """Shows traces in a new element, of which one is drawn before it returns."""

    def show(*traces: dict[str, Any], labels: dict[str, str] | None = None, **layout: Any) -> None:
        figure = {"data": list(traces), "layout": {"height": 330} | layout}
        window.evaluate(
            """([figure, labels]) => {
                const element = document.createElement("fgd-figure");
                document.querySelector("fgd-figure").replaceWith(element);
                element.show(figure, labels);
            }""",
            [figure, labels or {}],
        )

    return show


def pixels(window: Page, colour: str = RED) -> dict[str, int]:
    found: dict[str, int] = window.evaluate(_PIXELS, colour == BLUE)
    return found


def scatter(x: list[Any], y: list[Any], colour: str = RED, **more: Any) -> dict[str, Any]:
    look = {"line": {"color": colour, "width": 2}, "marker": {"color": colour, "size": 8}}
    return {"type": "scatter", "mode": "lines", "name": "a", "x": x, "y": y} | look | more


def bar(x: list[Any], y: list[Any], colour: str = RED, **more: Any) -> dict[str, Any]:
    return {"type": "bar", "name": "a", "x": x, "y": y, "marker": {"color": colour}} | more


class TestMarks:
    def test_a_line_goes_from_its_first_to_its_last_point(self, show: Show, window: Page) -> None:
        show(scatter([0, 1], [0, 1]))
        found = pixels(window)
        assert found["right"] - found["left"] > 450
        assert found["bottom"] - found["top"] > 200

    def test_a_missing_value_leaves_a_gap(self, show: Show, window: Page) -> None:
        show(scatter([0, 1, 2, 3], [0, 0, 0, 0]))
        whole = pixels(window)["count"]
        show(scatter([0, 1, 2, 3], [0, None, 0, 0]))
        assert pixels(window)["count"] == pytest.approx(whole / 3, rel=0.1)

    def test_a_step_keeps_its_value_until_the_next_point(self, show: Show, window: Page) -> None:
        show(scatter([0, 1], [0, 1]))
        direct = pixels(window)["count"]
        show(scatter([0, 1], [0, 1], line={"color": RED, "width": 2, "shape": "hv"}))
        assert pixels(window)["count"] > 1.15 * direct

    def test_each_symbol_is_a_mark_of_its_size(self, show: Show, window: Page) -> None:
        for symbol in ("circle", "circle-open", "x", *(f"triangle-{way}" for way in ("up", "down", "left", "right"))):
            show(scatter([1], [1], mode="markers", marker={"color": RED, "size": 20, "symbol": symbol}))
            found = pixels(window)
            assert 14 <= found["right"] - found["left"] <= 24, symbol
            assert 14 <= found["bottom"] - found["top"] <= 24, symbol

    def test_an_interval_reaches_from_its_low_to_its_high_end(self, show: Show, window: Page) -> None:
        ends = {"array": [2], "arrayminus": [8], "visible": True}
        show(scatter([0], [0], mode="markers", error_x=ends), scatter([-10, 10], [1, 1], BLUE, mode="markers"))
        found, scale = pixels(window), pixels(window, BLUE)
        assert (found["right"] - found["left"]) / (scale["right"] - scale["left"] - 8) == pytest.approx(0.5, abs=0.02)

    def test_bars_are_as_long_as_their_values(self, show: Show, window: Page) -> None:
        show(bar(["a"], [1]), bar(["a"], [3], BLUE))
        assert pixels(window, BLUE)["count"] / pixels(window)["count"] == pytest.approx(3, rel=0.05)
        show(bar([1, 0], ["a", "b"], orientation="h"), bar([3, 0], ["a", "b"], BLUE, orientation="h"))
        assert pixels(window, BLUE)["count"] / pixels(window)["count"] == pytest.approx(3, rel=0.05)

    def test_a_stack_lies_on_the_line_below(self, show: Show, window: Page) -> None:
        show(scatter([0, 1], [1, 1], stackgroup="s"), scatter([0, 1], [1, 1], BLUE, stackgroup="s"))
        assert pixels(window, BLUE)["top"] < pixels(window)["top"] - 80

    def test_a_cell_is_the_fainter_the_smaller_its_share(self, show: Show, window: Page) -> None:
        scale = [[0, "#ffffff"], [1, RED]]
        show({"type": "heatmap", "x": ["a", "b"], "y": ["c"], "z": [[0, 1]], "zmin": 0, "zmax": 1, "colorscale": scale})
        assert pixels(window)["left"] > 280

    def test_a_map_has_the_colours_of_its_values_and_gaps(self, show: Show, window: Page) -> None:
        surface = {"type": "contour", "x": [0, 1, 2, 3], "y": [0, 1], "colorscale": [[0, BLUE], [1, RED]]}
        show(surface | {"z": [[0, 0, 1, 1], [0, 0, 1, None]]})
        low, high = pixels(window, BLUE), pixels(window)
        assert low["right"] < high["left"]
        assert low["count"] > high["count"] > 1000


class TestAxes:
    def test_a_logarithmic_axis_places_powers_evenly(self, show: Show, window: Page) -> None:
        middle = scatter([1, 10, 100], [1, 1, 1], mode="markers")
        show(middle, xaxis={"type": "log"})
        at = window.evaluate("() => document.querySelector('fgd-figure').places.map(({ x }) => x)")
        assert at[1] - at[0] == pytest.approx(at[2] - at[1], abs=0.01)

    def test_panels_that_match_share_their_range(self, show: Show, window: Page) -> None:
        left = {"domain": [0, 0.45]}
        right = {"domain": [0.55, 1], "anchor": "y2"}
        second = scatter([0], [1], BLUE, mode="markers", xaxis="x2", yaxis="y2")
        show(scatter([0, 0], [0, 9], mode="markers"), second, xaxis=left, xaxis2=right, yaxis2={"matches": "y"})
        found, other = pixels(window), pixels(window, BLUE)
        assert other["left"] > found["right"]
        assert other["top"] > (found["top"] + found["bottom"]) / 2


class TestUse:
    def test_text_under_the_pointer_stays_text(self, show: Show, window: Page) -> None:
        hostile = "<img src=x onerror='window.hit = 1'><br>%{x}"
        trace = scatter([1], [2], mode="markers", name=hostile, customdata=[7])
        show(
            trace | {"hovertemplate": "%{y:.2f} at %{x}<br>%{text}<extra>%{fullData.name}</extra>"},
            labels={"7": hostile},
        )
        found = pixels(window)
        window.mouse.move((found["left"] + found["right"]) / 2, (found["top"] + found["bottom"]) / 2)
        assert window.locator(".tip").inner_text() == f"2.00 at 1\n{hostile}\n{hostile}"
        assert window.locator("fgd-figure img").count() == 0

    def test_a_drag_zooms_and_a_double_click_shows_everything(self, show: Show, window: Page) -> None:
        show(scatter([0, 1, 2], [0, 0, 0], mode="markers"))
        window.mouse.move(250, 60)
        window.mouse.down()
        window.mouse.move(400, 250)
        window.mouse.up()
        window.wait_for_function("() => document.querySelector('fgd-figure').places[0].x < 0")
        assert pixels(window)["count"] < 70
        window.mouse.dblclick(300, 100)
        window.wait_for_function("() => document.querySelector('fgd-figure').places[0].x > 0")

    def test_the_legend_hides_a_line(self, show: Show, window: Page) -> None:
        show(scatter([0, 1], [0, 1], name="first"), scatter([0, 1], [1, 0], BLUE, name="second"))
        window.get_by_role("button", name="second").click()
        window.wait_for_function("() => document.querySelector('fgd-figure').drawn.traces.length === 1")
        assert pixels(window, BLUE)["count"] == 0

    def test_a_selection_fades_the_other_points(self, show: Show, window: Page) -> None:
        show(scatter([0, 1], [0, 0], mode="markers", customdata=[1, 2]))
        before = pixels(window)
        window.evaluate("""() => {
            document.querySelector("fgd-figure").select(new Set([2]));
            return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
        }""")
        assert pixels(window)["left"] > before["left"] + 400

    def test_a_click_on_a_point_picks_its_trial(self, show: Show, window: Page) -> None:
        show(scatter([0], [0], mode="markers", customdata=[41]))
        window.evaluate("() => addEventListener('pick', ({ detail }) => { window.picked = detail; }, { once: true })")
        found = pixels(window)
        window.mouse.click(found["left"] + 4, found["top"] + 4)
        assert window.evaluate("window.picked") == 41
