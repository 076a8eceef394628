"use strict";
// The table of trials: its rows are made when they are needed, sorted and searched; a spec is saved as a file.
(() => {
  const SHOWN_AT_ONCE = 200;

  const manage = async (table) => {
    // Each row is { trial, look, cells }; a cell is its text, or [text, key to sort by].
    const rows = JSON.parse(await unpacked("trial-rows"));
    const headings = [...table.tHead.rows[0].cells];
    const left = headings.map((heading) => heading.classList.contains("left"));
    const textOf = (cell) => (Array.isArray(cell) ? cell[0] : cell);
    const keyOf = (cell) => (Array.isArray(cell) ? cell[1] : cell);
    const body = table.tBodies[0];
    const more = document.getElementById("more-trials");
    const found = document.getElementById("found-trials");
    let chosen = rows;

    const element = ({ trial, look, cells }) => {
      const row = document.createElement("tr");
      row.dataset.trial = trial;
      row.className = look;
      cells.forEach((cell, index) => {
        const place = row.insertCell();
        place.textContent = textOf(cell);
        if (left[index]) place.className = "left";
      });
      return row;
    };
    const showMore = () => {
      const shown = body.rows.length;
      body.append(...chosen.slice(shown, shown + SHOWN_AT_ONCE).map(element));
      more.hidden = body.rows.length >= chosen.length;
      more.textContent = `show more (${body.rows.length} of ${chosen.length} are shown)`;
    };
    const showAgain = () => {
      body.replaceChildren();
      showMore();
    };

    // Numbers by size, words behind them, and what is not known at the end, whichever way.
    const compare = (one, other, isDown) => {
      if (one === "" || other === "") return (one === "") - (other === "");
      const [a, b] = [Number(one), Number(other)];
      const order = Number.isNaN(a) || Number.isNaN(b)
        ? String(one).localeCompare(String(other), "en", { numeric: true }) : a - b;
      return isDown ? -order : order;
    };

    headings.forEach((heading, index) => heading.querySelector("button").addEventListener("click", () => {
      const isDown = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", isDown ? "descending" : "ascending");
      const byKey = (a, b) => compare(keyOf(a.cells[index]), keyOf(b.cells[index]), isDown);
      rows.sort(byKey);
      if (chosen !== rows) chosen.sort(byKey);
      showAgain();
    }));

    const find = document.getElementById("find-trial");
    find.addEventListener("input", () => {
      const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
      const has = (row, word) => row.cells.some((cell) => textOf(cell).toLowerCase().includes(word));
      chosen = words.length ? rows.filter((row) => words.every((word) => has(row, word))) : rows;
      found.textContent = words.length ? `${chosen.length} of ${rows.length}` : "";
      showAgain();
    });
    more.addEventListener("click", showMore);
    showAgain();
    table.dataset.rows = String(rows.length);
  };

  const table = document.getElementById("trials");
  if (table) manage(table);

  for (const button of document.querySelectorAll("button[data-saves]")) {
    button.addEventListener("click", () => {
      const text = document.getElementById(button.dataset.saves).textContent;
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([text], { type: "application/yaml" }));
      link.download = button.dataset.as;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
  }
})();
