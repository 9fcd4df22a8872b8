"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { rows, texts, classes } = data;
  // A class that is a digit has that key, so that no other class is chosen by it.
  const digits = [..."123456789"].filter((digit) => !classes.includes(digit));
  const keyOf = new Map(
    classes.map((name) => [name, /^[0-9]$/.test(name) ? name : digits.shift()]),
  );
  const perPage = 25;
  const mostShown = 400; // characters, before the whole text is asked for
  const element = (id) => document.getElementById(id);
  const body = document.querySelector("#table tbody");
  const heads = [...document.querySelectorAll("#table th[data-key]")];
  const filters = { given: element("given"), suggested: element("suggested") };
  const fields = ["given", "suggested", "search", "replaced", "open", "keys"].map(element);
  const byIndex = new Map(rows.map((row) => [row.index, row]));
  const lists = {
    draw: data.toCheck.map((index) => byIndex.get(index)),
    worst: rows.slice(0, data.nWorst),
  };
  const textOf = (row) => texts[row.index];
  const numberOf = (row) => row.index + data.firstRow;
  const isDrawn = (row) => row.probability < 1; // what is 1 was taken in any case

  // What is kept: where one is, and {label, note} by row; the label is null if skipped.
  let state = { list: lists.draw.length ? "draw" : "worst", page: 0 };
  let decisions = new Map();
  let undone = []; // [row, what was decided before], the last one at the end
  const storageKey = `skdygen report ${data.key}`;

  function load() {
    try {
      const kept = JSON.parse(localStorage.getItem(storageKey));
      decisions = new Map(kept.decisions.filter(([index]) => byIndex.has(index)));
      undone = kept.undone.filter(([index]) => byIndex.has(index));
      state = kept.state;
      for (const field of fields) Object.assign(field, kept.fields[field.id]);
    } catch { /* nothing is kept here, or nothing can be */ }
  }

  function save() {
    const kept = { decisions: [...decisions], undone, state, fields: {} };
    for (const field of fields) {
      const name = field.type === "checkbox" ? "checked" : "value";
      kept.fields[field.id] = { [name]: field[name] };
    }
    try {
      localStorage.setItem(storageKey, JSON.stringify(kept));
    } catch { /* decisions last as long as the page */ }
  }

  // Rows decided on stay where they are until others are asked for.
  let found = [];

  function choose() {
    const words = element("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    found = lists[state.list].filter((row) => {
      if (element("replaced").checked && !row.replaced) return false;
      if (element("open").checked && isDecided(row)) return false;
      for (const [key, select] of Object.entries(filters)) {
        if (select.selectedIndex > 0 && row[key] !== select.value) return false;
      }
      const shown = (row.shown || []).map(([, cell]) => cell);
      const text = [textOf(row), row.id || "", ...shown].join("\n").toLowerCase();
      return words.every((word) => text.includes(word));
    });
    const value = state.key === "text" ? textOf : (row) => row[state.key] ?? "";
    const order = (a, b) =>
      typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(b);
    const sign = state.descending ? -1 : 1;
    if (state.key) found.sort((a, b) => sign * order(value(a), value(b)));
  }

  // ---- what is shown; always as text, never as HTML

  function makeLine(row) {
    const line = element("line").content.firstElementChild.cloneNode(true);
    const fill = (name, content) => {
      const place = line.querySelector(`[data-fill=${name}]`);
      if (content) place.textContent = content;
      else if (place.tagName !== "TD") place.remove();
    };
    line.dataset.index = row.index;
    fill("number", String(numberOf(row)));
    fill("id", row.id);
    const part = isDrawn(row) ? "drawn at random" : "taken in any case";
    fill("part", row.probability && part);
    fill("given", row.given ?? "no label");
    fill("quality", row.quality?.toFixed(2));
    fill("suggested", row.suggested + (row.replaced ? " ●" : ""));
    fill("confidence", row.confidence.toFixed(2));
    const same = "the same words are elsewhere labelled";
    fill("elsewhere", row.elsewhere && `${same} ${row.elsewhere}`);
    fill("alike", row.alike && `nearly the same text, and labelled ${row.suggested}`);
    const whole = line.querySelector("[data-act=whole]");
    if (textOf(row).length <= mostShown + 1) whole.remove();
    else whole.addEventListener("click", () => fillText(line, row, whole));
    fillText(line, row);
    const pairs = line.querySelector("dl");
    for (const [name, cell] of row.shown || []) {
      const pair = pairs.appendChild(document.createElement("div"));
      pair.appendChild(document.createElement("dt")).textContent = name;
      pair.appendChild(document.createElement("dd")).textContent = cell;
    }
    for (const near of line.querySelectorAll("[data-near]")) {
      const name = row[near.dataset.near];
      const at = row[`near_${near.dataset.near}`];
      near.appendChild(document.createElement("b")).textContent = name ?? "";
      near.append(" ", at < 0 ? "none" : shorten(texts[at]));
    }
    const [given, suggested] = line.querySelectorAll("[data-near]");
    if (row.given === undefined || row.given === row.suggested) {
      (row.given === undefined ? given : suggested).remove();
    }
    const group = line.querySelector(".decide div");
    if (row.verified !== undefined) group.replaceWith(`verified: ${row.verified}`);
    else makeControls(row, line, group);
    return line;
  }

  const shorten = (text) =>
    text.length > mostShown + 1 ? `${text.slice(0, mostShown)}…` : text;

  function fillText(line, row, button) {
    const isWhole = button?.getAttribute("aria-expanded") === "false";
    const all = textOf(row).trim() ? textOf(row) : "(no text)";
    const text = isWhole ? all : shorten(all);
    line.querySelector("[data-fill=text]").textContent = text;
    button?.setAttribute("aria-expanded", isWhole);
    if (button) button.textContent = isWhole ? "less" : "whole text";
  }

  function makeControls(row, line, group) {
    group.setAttribute("aria-label", `right label of row ${numberOf(row)}`);
    for (const act of ["accept", "keep", "skip"]) {
      const button = group.querySelector(`[data-act=${act}]`);
      button.addEventListener("click", () => actOn(row, act));
    }
    group.querySelector("[data-act=accept]").hidden = row.given === row.suggested;
    group.querySelector("[data-act=keep]").hidden = row.given === undefined;
    const select = group.querySelector("select");
    for (const name of classes) select.add(new Option(name, name));
    select.addEventListener("change", () => {
      if (select.selectedIndex) decide(row, { label: classes[select.selectedIndex - 1] });
      else refresh(row);
    });
    const note = group.querySelector("input");
    note.addEventListener("change", () => decide(row, { note: note.value }));
    line.addEventListener("focusin", () => setCurrent(row.index));
    line.addEventListener("click", () => setCurrent(row.index));
    refresh(row, line);
  }

  function refresh(row, line = lineOf(row.index)) {
    if (!line || row.verified !== undefined) return;
    const { label, note } = decisions.get(row.index) || {};
    const meant = { accept: row.suggested, keep: row.given, skip: null };
    for (const [act, own] of Object.entries(meant)) {
      const pressed = label !== undefined && label === own;
      line.querySelector(`[data-act=${act}]`).setAttribute("aria-pressed", pressed);
    }
    const isOther = label !== undefined && !Object.values(meant).includes(label);
    line.querySelector("select").selectedIndex = isOther ? classes.indexOf(label) + 1 : 0;
    line.querySelector(".decide input").value = note || "";
    line.classList.toggle("decided", label !== undefined);
  }

  function show() {
    const pages = Math.max(1, Math.ceil(found.length / perPage));
    state.page = Math.min(state.page, pages - 1);
    const first = state.page * perPage;
    const shown = found.slice(first, first + perPage);
    body.replaceChildren(...shown.map(makeLine));
    if (!shown.some((row) => row.index === state.current)) state.current = shown[0]?.index;
    setCurrent(state.current);
    element("count").textContent = `${found.length} of ${lists[state.list].length} labels`;
    element("page").textContent = `page ${state.page + 1} of ${pages}`;
    element("previous").disabled = state.page === 0;
    element("next").disabled = state.page === pages - 1;
    for (const head of heads) {
      const direction = state.descending ? "descending" : "ascending";
      head.setAttribute("aria-sort", head.dataset.key === state.key ? direction : "none");
    }
    for (const name of Object.keys(lists)) {
      element(name).setAttribute("aria-pressed", name === state.list);
    }
    tell("");
  }

  // ---- decisions

  const isDecided = (row) =>
    row.verified !== undefined || decisions.get(row.index)?.label !== undefined;
  // Was not drawn, and is read all the same.
  const isExtra = (row) =>
    row.probability === undefined && decisions.get(row.index)?.label !== undefined;

  function actOn(row, act) {
    const label = { accept: row.suggested, keep: row.given, skip: null }[act];
    if (label !== undefined) decide(row, { label });
  }

  function decide(row, change) {
    if (row.verified !== undefined) return;
    const before = decisions.get(row.index);
    undone.push([row.index, before]);
    decisions.set(row.index, { ...before, ...change });
    refresh(row);
    const { label, note } = decisions.get(row.index);
    const said = label === null ? "skipped" : label ?? `note: ${note}`;
    tell(`Row ${numberOf(row)}: ${said}. `);
  }

  function undo() {
    if (!undone.length) return;
    const [index, before] = undone.pop();
    if (before) decisions.set(index, before);
    else decisions.delete(index);
    refresh(byIndex.get(index));
    goTo(index);
    tell(`Row ${numberOf(byIndex.get(index))}: undone. `);
  }

  function tell(what) {
    const checked = lists.draw.filter(isDecided).length;
    const others = rows.filter(isExtra).length;
    const more = others ? `, and ${others} others` : "";
    const ends = noiseInterval()?.map((end) => `${Math.round(100 * end)} %`);
    const noise = ends ? `; noise so far ${ends.join(" to ")}` : "";
    const progress = `${checked} of ${lists.draw.length} checked${more}${noise}`;
    element("progress").textContent = what + progress;
    element("undo").disabled = undone.length === 0;
    element("download").disabled = decisions.size === 0;
    save();
  }

  function noiseInterval() {
    // Wilson's interval for as many draws of equal weights as have the same variance.
    let [total, squares, wrong] = [0, 0, 0];
    for (const row of lists.draw) {
      const label = decisions.get(row.index)?.label;
      if (typeof label !== "string" || row.given === undefined || !isDrawn(row)) continue;
      const weight = 1 / row.probability;
      total += weight;
      squares += weight ** 2;
      wrong += label === row.given ? 0 : weight;
    }
    if (!total) return null;
    const [n, share, z] = [total ** 2 / squares, wrong / total, 1.96];
    const middle = share + z ** 2 / (2 * n);
    const half = z * Math.sqrt(share * (1 - share) / n + z ** 2 / (4 * n ** 2));
    return [middle - half, middle + half].map((end) => end / (1 + z ** 2 / n));
  }

  function probabilities() {
    // Down to the last one that was decided among the worst, a row that was drawn stands
    // for those only that nobody has read; if all were read, for itself.
    const depth = lists.worst.findLastIndex(isExtra) + 1;
    const read = lists.worst.slice(0, depth);
    const factor = depth / Math.max(depth - read.filter(isExtra).length, 1);
    const found = new Map(lists.draw.map((row) => [row, row.probability]));
    for (const row of read) found.set(row, Math.min(1, (row.probability ?? 1) * factor));
    return (row) => found.get(row) ?? 1;
  }

  function download() {
    const quote = (cell) => `"${String(cell ?? "").replaceAll('"', '""')}"`;
    const names = ["row", "id", "given", "verified", "probability", "note", "text"];
    if (!rows.some((row) => row.id !== undefined)) names.splice(1, 1);
    const probability = probabilities();
    const lines = [...decisions.keys()].sort((a, b) => a - b).map((index) => {
      const row = byIndex.get(index);
      const { label, note } = decisions.get(index);
      // By its text `clean` knows a row again; a file has no halves of characters.
      const isWhole = !row.cut && !/[\ud800-\udfff]/u.test(textOf(row));
      const cells = {
        ...row, row: index, verified: label, probability: probability(row), note,
        text: isWhole ? textOf(row) : "",
      };
      return names.map((name) => quote(cells[name])).join(",");
    });
    const link = document.createElement("a");
    const content = [names.join(","), ...lines, ""].join("\n");
    link.href = URL.createObjectURL(new Blob([content], { type: "text/csv" }));
    link.download = "decisions.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  // ---- moving about

  const lineOf = (index) => body.querySelector(`tr[data-index="${index}"]`);

  function setCurrent(index) {
    state.current = index;
    body.querySelector("[aria-current]")?.removeAttribute("aria-current");
    lineOf(index)?.setAttribute("aria-current", "true");
  }

  function goTo(index) {
    const place = found.findIndex((row) => row.index === index);
    if (place < 0) return;
    if (!lineOf(index)) change(() => { state.page = Math.floor(place / perPage); });
    setCurrent(index);
    lineOf(index).focus();
  }

  function move(step) {
    const place = found.findIndex((row) => row.index === state.current) + step;
    if (found[place]) goTo(found[place].index);
  }

  function help() {
    element("help").open = !element("help").open;
    if (element("help").open) element("help").querySelector("summary").focus();
  }

  document.addEventListener("keydown", (event) => {
    const isTyped = event.target.closest("input, select");
    if (isTyped && event.key === "Escape") event.target.closest("tr")?.focus();
    const isMore = event.ctrlKey || event.metaKey || event.altKey;
    if (isTyped || isMore || !element("keys").checked) return;
    const row = byIndex.get(state.current);
    const acts = { j: () => move(1), k: () => move(-1), u: undo, "?": help };
    if (row) {
      Object.assign(acts, {
        a: () => actOn(row, "accept"),
        d: () => actOn(row, "keep"),
        s: () => actOn(row, "skip"),
        n: () => lineOf(row.index)?.querySelector(".decide input")?.focus(),
      });
      for (const [label, key] of keyOf) {
        if (key) acts[key] = () => decide(row, { label });
      }
    }
    if (acts[event.key]) {
      event.preventDefault();
      acts[event.key]();
    }
  });

  function change(alter) {
    alter();
    show();
    body.closest(".scroll").scrollTop = 0;
  }

  for (const head of heads) {
    head.querySelector("button").addEventListener("click", () => change(() => {
      const same = state.key === head.dataset.key;
      state.descending = same ? !state.descending : head.dataset.key === "confidence";
      state.key = head.dataset.key;
      state.page = 0;
      choose();
    }));
  }
  for (const name of Object.keys(lists)) {
    element(name).addEventListener("click", () => change(() => {
      state = { list: name, page: 0 };
      choose();
    }));
  }
  const restart = () => change(() => {
    state.page = 0;
    choose();
  });
  element("filters").addEventListener("input", restart);
  element("filters").addEventListener("submit", (event) => event.preventDefault());
  element("filters").addEventListener("reset", () => setTimeout(restart));
  element("previous").addEventListener("click", () => change(() => { state.page -= 1; }));
  element("next").addEventListener("click", () => change(() => { state.page += 1; }));
  element("keys").addEventListener("change", save);
  element("undo").addEventListener("click", undo);
  element("download").addEventListener("click", download);

  for (const [key, select] of Object.entries(filters)) {
    for (const name of classes) {
      if (rows.some((row) => row[key] === name)) select.add(new Option(name, name));
    }
  }
  const keyed = classes.map((name) => {
    const key = keyOf.get(name);
    return key ? `${key}: ${name}` : name;
  });
  element("classes").textContent = keyed.join(", ");
  load();
  choose();
  show();
})();
