"use strict";
// Draws each figure when it comes into view, in the colours of the page: light, dark, and black on white for the printer.
(() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const axes = (layout) => Object.keys(layout).filter((key) => /^[xy]axis\d*$/.test(key));

  const themed = (layout, isDark) => {
    const ink = isDark ? "#e8eaed" : "#1a1c1f";
    const grid = isDark ? "#363b42" : "#e3e6ea";
    const copy = { ...layout, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink, family: "system-ui, sans-serif", size: 12 } };
    for (const axis of axes(layout)) {
      copy[axis] = { ...layout[axis], gridcolor: grid, zerolinecolor: grid, linecolor: grid };
    }
    return copy;
  };

  // plotly writes styles as attributes, which the page's policy refuses; as properties it takes them.
  const setAttribute = Element.prototype.setAttribute;
  Element.prototype.setAttribute = function (name, value) {
    if (name === "style") this.style.cssText = value;
    else setAttribute.call(this, name, value);
  };

  // Not as attributes: the page's policy lets in no styles but its own.
  const charts = [...document.querySelectorAll("[data-height-px]")];
  for (const chart of charts) {
    chart.style.height = `${chart.dataset.heightPx}px`;
  }

  let loading = null;
  let content = null;
  const load = async () => {
    const [script, figures] = await Promise.all([unpacked("plotly"), unpacked("figures")]);
    const element = document.createElement("script");
    element.textContent = script;
    document.head.append(element);
    element.remove();
    content = JSON.parse(figures);
  };
  const loaded = () => (loading ??= load());

  // The text under the pointer of a trial is stored once, although the trial is in several figures.
  const labelled = (trace) => trace.customdata && !trace.text && trace.hovertemplate?.includes("%{text}")
    ? { ...trace, text: [trace.customdata].flat().map((key) => content.labels[key]) }
    : trace;

  const drawn = new Set();
  const draw = async (chart, isDark = dark.matches) => {
    const figure = content.charts[chart.id];
    await Plotly.react(chart, figure.data.map(labelled), themed(figure.layout, isDark), {
      responsive: true, displayModeBar: false,
    });
    drawn.add(chart);
    document.body.dataset.drawn = String(drawn.size);
  };

  const show = (chart) => loaded().then(() => draw(chart)).catch((error) => {
    chart.textContent = `This browser cannot draw the chart: ${error.message}`;
  });
  const MARGIN_PX = 400;
  const seen = new IntersectionObserver((entries) => {
    for (const { target } of entries.filter((entry) => entry.isIntersecting)) {
      seen.unobserve(target);
      show(target);
    }
  }, { rootMargin: `${MARGIN_PX}px` });
  for (const chart of charts) {
    // What is in view at once does not wait for the first frame.
    if (chart.getBoundingClientRect().top < window.innerHeight + MARGIN_PX) show(chart);
    else seen.observe(chart);
  }
  // The printer does not wait, so plotly must be there before.
  if (charts.length) (window.requestIdleCallback ?? setTimeout)(() => loaded().catch(() => {}));

  dark.addEventListener("change", () => drawn.forEach((chart) => draw(chart)));

  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    opened.forEach((element) => { element.open = true; });
    if (content) charts.forEach((chart) => draw(chart, false));
  });
  window.addEventListener("afterprint", () => {
    opened.forEach((element) => { element.open = false; });
    drawn.forEach((chart) => draw(chart));
  });

  for (const button of document.querySelectorAll("button[data-copies]")) {
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copies).textContent);
      button.textContent = "copied";
    });
  }
})();
