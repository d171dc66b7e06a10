"use strict";
/* Sorting, maps, copying, and coming back to the same place after a reload. The page is whole without it. */
(() => {
  const KEY = "vprdist " + location.pathname;
  const all = (selector, root) => [...(root || document).querySelectorAll(selector)];

  const value = (row, column) => {
    const text = row.cells[column].dataset.sort;
    return text === "" ? null : isNaN(text) ? text : Number(text);
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true });

  function sort(table, column, direction) {
    const sign = direction === "ascending" ? 1 : -1, body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [value(row, column), row]);
    /* Rows without a value stand last either way. */
    rows.sort(([a], [b]) => (a === null ? (b === null ? 0 : 1) : b === null ? -1 : sign * compare(a, b)));
    body.append(...rows.map(([, row]) => row));
    all("th[aria-sort]", table.tHead).forEach((th) => th.removeAttribute("aria-sort"));
    table.tHead.rows[0].cells[column].setAttribute("aria-sort", direction);
  }
  all("table.sortable").forEach((table) =>
    all("thead button", table).forEach((button, column) =>
      button.addEventListener("click", () => {
        const now = button.closest("th").getAttribute("aria-sort");
        const first = button.closest("th").dataset.first || (column === 0 ? "ascending" : "descending");
        sort(table, column, now === null ? first : now === "ascending" ? "descending" : "ascending");
      })));

  /* Tables that do not fit say so; in a closed section nothing is known of their width until it is opened. */
  function tell(node) {
    const hint = node.previousElementSibling;
    if (hint && hint.matches(".hint")) hint.hidden = node.scrollWidth <= node.clientWidth;
  }
  all(".scroll").forEach(tell);
  const widths = new ResizeObserver((seen) => seen.forEach((each) => tell(each.target)));
  all(".scroll").forEach((node) => widths.observe(node));

  const KINDS = { 11: "both", 10: "gained", "01": "lost", "00": "neither" };
  function paint(form) {
    const number = form.dataset.map, found = JSON.parse(document.getElementById("found" + number).textContent);
    const row = found[form.elements.row.value], other = found[form.elements.baseline.value];
    for (const name of ["row", "baseline"])
      form.nextElementSibling.querySelector("[data-of=" + name + "]").textContent = form.elements[name].selectedOptions[0].text;
    all("#maps" + number + " figure").forEach((figure) => {
      const city = figure.querySelector("svg").dataset.city, counts = { both: 0, gained: 0, lost: 0, neither: 0 };
      all("circle", figure).forEach((circle, index) => {
        const kind = KINDS[row[city][index] + other[city][index]];
        counts[kind] += 1;
        circle.setAttribute("class", kind);
      });
      all("[data-count]", figure).forEach((span) => { span.textContent = counts[span.dataset.count]; });
    });
  }
  all("form.pick").forEach((form) => form.addEventListener("change", () => paint(form)));

  function select(node) {
    const range = document.createRange();
    range.selectNodeContents(node);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
  }
  all("button.copy").forEach((button) =>
    button.addEventListener("click", async () => {
      const text = document.getElementById(button.dataset.copy), told = button.parentNode.querySelector("[role=status]");
      try {
        await navigator.clipboard.writeText(text.textContent);
        told.textContent = "Copied.";
      } catch {
        select(text);
        told.textContent = document.execCommand("copy") ? "Copied." : "Selected: press Ctrl-C.";
      }
    }));

  /* Paper has what is open, and little more: a report is a few pages. */
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = all("details.paper:not([open])");
    opened.forEach((details) => { details.open = true; });
  });
  addEventListener("afterprint", () => opened.forEach((details) => { details.open = false; }));

  /* A watched page reloads; it must not lose the reader's place. Rows may have changed theirs: they go by name. */
  const FOCUSABLE = "a, button, select, summary, [tabindex]";
  const nameOf = (details) => details.dataset.name || details.id;
  function focused() {
    const node = document.querySelector("main :focus-visible"), root = node && node.closest("[id]");
    return root && [root.id, all(FOCUSABLE, root).indexOf(node)];
  }
  function save() {
    const sorts = all("table.sortable").flatMap((table) =>
      all("thead th", table).flatMap((th, column) => (th.ariaSort ? [[table.id, column, th.ariaSort]] : [])));
    const state = {
      sorts,
      /* A choice that nobody made follows the leaderboard. */
      picks: all("form.pick option:checked").map((option) => (option.defaultSelected ? null : option.text)),
      open: all("details").map((details) => [nameOf(details), details.open]),
      across: all(".scroll").map((node) => [node.scrollLeft, node.scrollTop]),
      at: [scrollX, scrollY],
      focus: focused(),
    };
    try { sessionStorage.setItem(KEY, JSON.stringify(state)); } catch { /* storage is off: the page starts anew */ }
  }
  function restore() {
    let state = null;
    try { state = JSON.parse(sessionStorage.getItem(KEY)); } catch { return; }
    if (!state) return;
    for (const [id, column, direction] of state.sorts) {
      const table = document.getElementById(id);
      if (table && column < table.tHead.rows[0].cells.length) sort(table, column, direction);
    }
    all("form.pick select").forEach((node, index) => {
      const option = [...node.options].find((each) => each.text === state.picks[index]);
      if (option) option.selected = true;
    });
    all("form.pick").forEach(paint);
    const open = new Map(state.open);
    all("details").forEach((details) => { details.open = open.get(nameOf(details)) ?? details.open; });
    all(".scroll").forEach((node, index) => { [node.scrollLeft, node.scrollTop] = state.across[index] || [0, 0]; });
    const root = state.focus && document.getElementById(state.focus[0]);
    if (root) (all(FOCUSABLE, root)[state.focus[1]] || root).focus({ preventScroll: true });
    scrollTo(...state.at);
  }
  /* The last page of a watched sweep is reloaded to and no longer reloads. */
  history.scrollRestoration = "manual";
  if (performance.getEntriesByType("navigation")[0]?.type !== "navigate") restore();
  addEventListener("pagehide", save);
  const seconds = Number(document.body.dataset.refresh);
  if (seconds) {
    setInterval(() => {
      const busy = document.hidden || String(getSelection()) || document.activeElement.matches("select");
      if (!busy) { save(); location.reload(); }
    }, seconds * 1000);
  }
})();
