"use strict";
// Draws the figures in the colours of the page: light, dark, and black on white for the printer.
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
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
  for (const chart of document.querySelectorAll("[data-height-px]")) {
    chart.style.height = `${chart.dataset.heightPx}px`;
  }

  const draw = (isDark) => Promise.all(Object.entries(figures).map(([name, figure]) =>
    Plotly.react(document.getElementById(name), figure.data, themed(figure.layout, isDark), {
      responsive: true, displayModeBar: false,
    })));

  draw(dark.matches).then(() => { document.body.dataset.drawn = String(Object.keys(figures).length); });
  dark.addEventListener("change", () => draw(dark.matches));

  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    opened.forEach((element) => { element.open = true; });
    draw(false);
  });
  window.addEventListener("afterprint", () => {
    opened.forEach((element) => { element.open = false; });
    draw(dark.matches);
  });

  for (const button of document.querySelectorAll("button[data-copies]")) {
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copies).textContent);
      button.textContent = "copied";
    });
  }
})();
