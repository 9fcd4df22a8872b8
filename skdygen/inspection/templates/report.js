"use strict";
(() => {
  const { rows, texts } = JSON.parse(document.getElementById("data").textContent);
  const perPage = 25;
  const element = (id) => document.getElementById(id);
  const body = document.querySelector("#table tbody");
  const heads = [...document.querySelectorAll("#table th[data-key]")];
  const filters = { given: element("given"), suggested: element("suggested") };
  const state = { key: "quality", descending: false, page: 0 };
  const textOf = (row) => texts[row.index];

  for (const [key, select] of Object.entries(filters)) {
    const counts = new Map();
    for (const row of rows) counts.set(row[key], (counts.get(row[key]) || 0) + 1);
    for (const name of [...counts.keys()].sort((a, b) => a.localeCompare(b))) {
      select.add(new Option(`${name} (${counts.get(name)})`, name));
    }
  }

  function chosen() {
    const words = element("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = rows.filter((row) => {
      if (element("replaced").checked && !row.replaced) return false;
      for (const [key, select] of Object.entries(filters)) {
        if (select.selectedIndex > 0 && row[key] !== select.value) return false;
      }
      const text = textOf(row).toLowerCase();
      return words.every((word) => text.includes(word));
    });
    const value = state.key === "text" ? textOf : (row) => row[state.key];
    const order = (a, b) =>
      typeof a === "number" ? a - b : a.localeCompare(b);
    found.sort((a, b) => order(value(a), value(b)) * (state.descending ? -1 : 1));
    return found;
  }

  function cell(line, content, kind) {
    const made = line.insertCell();
    made.className = kind;
    made.textContent = content; // never as HTML
  }

  function show() {
    const found = chosen();
    const pages = Math.max(1, Math.ceil(found.length / perPage));
    state.page = Math.min(state.page, pages - 1);
    body.replaceChildren();
    const first = state.page * perPage;
    for (const row of found.slice(first, first + perPage)) {
      const line = body.insertRow();
      cell(line, row.index, "number");
      cell(line, textOf(row), "text");
      cell(line, row.given, "class");
      cell(line, row.quality.toFixed(2), "number");
      cell(line, row.suggested + (row.replaced ? " ●" : ""), "class");
      cell(line, row.confidence.toFixed(2), "number");
      cell(line, row.near_given < 0 ? "none" : texts[row.near_given], "near");
      cell(line, row.near_suggested < 0 ? "none" : texts[row.near_suggested], "near");
    }
    element("count").textContent = `${found.length} of ${rows.length} labels`;
    element("page").textContent = `page ${state.page + 1} of ${pages}`;
    element("previous").disabled = state.page === 0;
    element("next").disabled = state.page === pages - 1;
    for (const head of heads) {
      const direction = state.descending ? "descending" : "ascending";
      head.setAttribute("aria-sort", head.dataset.key === state.key ? direction : "none");
    }
  }

  function change(alter) {
    alter();
    show();
  }

  for (const head of heads) {
    head.querySelector("button").addEventListener("click", () => change(() => {
      const same = state.key === head.dataset.key;
      state.descending = same ? !state.descending : head.dataset.key === "confidence";
      state.key = head.dataset.key;
      state.page = 0;
    }));
  }
  const restart = () => change(() => { state.page = 0; });
  element("filters").addEventListener("input", restart);
  element("filters").addEventListener("submit", (event) => event.preventDefault());
  element("filters").addEventListener("reset", () => setTimeout(restart));
  element("previous").addEventListener("click", () => change(() => { state.page -= 1; }));
  element("next").addEventListener("click", () => change(() => { state.page += 1; }));
  show();
})();
