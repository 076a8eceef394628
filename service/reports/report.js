"use strict";
// Gives each chart its figure, and makes the page ready for the printer.
(() => {
  const charts = [...document.querySelectorAll("fgd-figure")];

  const show = async () => {
    const { charts: figures, labels } = JSON.parse(await unpacked("figures"));
    for (const chart of charts) chart.show(figures[chart.id], labels);
  };
  const drawn = new Set();
  document.addEventListener("drawn", ({ target }) => {
    drawn.add(target);
    document.body.dataset.drawn = String(drawn.size);
  });
  if (charts.length) {
    show().catch((error) => charts.forEach((chart) => { chart.textContent = `This browser cannot draw the chart: ${error.message}`; }));
  }

  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    opened.forEach((element) => { element.open = true; });
    charts.forEach((chart) => chart.print(true));
  });
  window.addEventListener("afterprint", () => {
    opened.forEach((element) => { element.open = false; });
    charts.forEach((chart) => chart.print(false));
  });

  for (const button of document.querySelectorAll("button[data-copies]")) {
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copies).textContent);
      button.textContent = "copied";
    });
  }
})();
