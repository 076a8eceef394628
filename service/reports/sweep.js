"use strict";
// The table of trials sorts and is searched; a spec is saved as a file. All inside the page.
(() => {
  const table = document.getElementById("trials");
  if (table) {
    const body = table.tBodies[0];
    const headings = [...table.tHead.rows[0].cells];
    const keyOf = (row, index) => row.cells[index].dataset.key;

    // Numbers by size, words behind them, and what is not known at the end, whichever way.
    const compare = (one, other, isDown) => {
      if (one === "" || other === "") return (one === "") - (other === "");
      const [a, b] = [Number(one), Number(other)];
      const order = Number.isNaN(a) || Number.isNaN(b) ? one.localeCompare(other, "en", { numeric: true }) : a - b;
      return isDown ? -order : order;
    };

    headings.forEach((heading, index) => heading.querySelector("button").addEventListener("click", () => {
      const isDown = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", isDown ? "descending" : "ascending");
      body.append(...[...body.rows].sort((a, b) => compare(keyOf(a, index), keyOf(b, index), isDown)));
    }));

    const find = document.getElementById("find-trial");
    const found = document.getElementById("found-trials");
    find.addEventListener("input", () => {
      const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
      let count = 0;
      for (const row of body.rows) {
        row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
        count += row.hidden ? 0 : 1;
      }
      found.textContent = words.length ? `${count} of ${body.rows.length}` : "";
    });
  }

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
