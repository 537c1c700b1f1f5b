// The matrix of confusions: counted here from the clips, so that it follows what is chosen; one cell can be reached by Tab.
const PART = 48;

function confusionsOf(kind) {
  const counts = new Map(), { truth, top, split, scored } = data.clips;
  for (let i = 0; i < N; i++) {
    if (truth[i] < 0 || top[3 * i] < 0) continue;
    if (kind === "test" ? split[i] !== "t" || !scored[i] : split[i] !== "r" || (kind === "oof" && !scored[i])) continue;
    const place = truth[i] * data.classes.length + top[3 * i];
    counts.set(place, (counts.get(place) || 0) + 1);
  }
  return counts;
}

function setUpMatrix(onCell) {
  const of = $("matrix-of"), part = $("matrix-part"), holder = $("matrix"), status = $("matrix-status");
  const K = data.classes.length, kinds = [["oof", "out of fold, scored"], ["all", "out of fold, all"], ["test", "test"]];
  const sizes = new Map(kinds.map(([kind]) => [kind, [...confusionsOf(kind).values()].reduce((a, b) => a + b, 0)]));
  for (const [kind, words] of kinds) {
    if (!sizes.get(kind) || (kind === "all" && sizes.get("all") === sizes.get("oof"))) continue;
    of.append(el("option", { value: kind }, `${words} (${sizes.get(kind).toLocaleString("en")})`));
  }
  of.value = sizes.get("test") > sizes.get("oof") ? "test" : of.options[0]?.value ?? "";
  const parts = Math.ceil(K / PART);
  for (let p = 0; p < parts; p++) {
    const own = data.order.slice(Math.floor((p * K) / parts), Math.floor(((p + 1) * K) / parts));
    part.append(el("option", { value: String(p) }, `${className(own[0])} … ${className(own[own.length - 1])}`));
  }
  $("matrix-part-label").hidden = parts < 2;
  $("matrix-legend").append("0\u00a0%", el("i"), "100\u00a0%");
  const draw = () => drawMatrix(of.value, Number(part.value || 0), parts);
  of.addEventListener("change", draw);
  part.addEventListener("change", draw);

  document.addEventListener("earmark-theme", paint);

  /** Colour the cells anew: the theme's two colours, and the ink that stands out the more. */
  function paint() {
    const style = getComputedStyle(document.documentElement);
    const [low, high] = ["--cell-low", "--cell-high"].map((name) => style.getPropertyValue(name).trim());
    const mixed = (share) => mixColours(low, high, share).map((v) => Math.round(v));
    $("matrix-legend").querySelector("i").style.background = `linear-gradient(to right, ${[0, 0.25, 0.5, 0.75, 1].map((t) => `rgb(${mixed(t)})`).join(",")})`;
    for (const cell of holder.querySelectorAll("td[data-strength]")) {
      const rgb = mixed(Number(cell.dataset.strength));
      cell.style.background = `rgb(${rgb})`;
      cell.style.color = inkOn(rgb);
    }
  }

  function told(row, column, n) {
    const words = `${className(row)} predicted as ${className(column)}: ${plural(n, "clip")}`;
    return { "aria-label": words, title: words };
  }

  function drawMatrix(kind, p, count) {
    const counts = confusionsOf(kind), own = data.order.slice(Math.floor((p * K) / count), Math.floor(((p + 1) * K) / count));
    const at = (row, column) => counts.get(row * K + column) || 0;
    const totals = new Map(), inside = new Set(own);
    for (const [place, n] of counts) totals.set(Math.floor(place / K), (totals.get(Math.floor(place / K)) || 0) + n);
    const head = el("tr", {}, el("th", { scope: "col" }, "label ↓ predicted →"), ...own.map((k) => el("th", { scope: "col" }, className(k))));
    if (count > 1) head.append(el("th", { scope: "col", title: "predicted as classes outside this part" }, "elsewhere"));
    head.append(el("th", { scope: "col" }, "clips"));
    const rows = own.map((row) => {
      const total = totals.get(row) || 0;
      const line = el("tr", {}, el("th", { scope: "row", title: className(row) }, className(row)));
      for (const column of own) {
        const n = at(row, column), strength = total ? Math.sqrt(n / total) : 0;
        const cell = el("td", { role: "gridcell", tabIndex: -1, ...told(row, column, n) }, n ? String(n) : "");
        cell.dataset.row = row; cell.dataset.column = column;
        if (n) cell.dataset.strength = strength.toFixed(3);
        if (row === column) cell.classList.add("same");
        line.append(cell);
      }
      const within = own.reduce((sum, column) => sum + at(row, column), 0);
      if (count > 1) line.append(el("td", { className: "total" }, total - within ? String(total - within) : ""));
      line.append(el("td", { className: "total" }, String(total)));
      return line;
    });
    const table = el("table", { className: own.length > 30 ? "matrix small" : "matrix", role: "grid", "aria-label": "Confusions" }, el("thead", {}, head), el("tbody", {}, ...rows));
    const first = table.querySelector("td[role=gridcell]");
    if (first) first.tabIndex = 0;
    holder.replaceChildren(table);
    paint();
    drawPairs(counts, totals, kind);
    status.textContent = "";
  }

  function drawPairs(counts, totals, kind) {
    const pairs = [...counts].map(([place, n]) => [Math.floor(place / K), place % K, n]).filter(([row, column]) => row !== column);
    pairs.sort((a, b) => b[2] - a[2] || b[2] / totals.get(b[0]) - a[2] / totals.get(a[0]) || a[0] - b[0]);
    if (!pairs.length) { $("pairs").replaceChildren(el("p", { className: "empty" }, "No clip’s likeliest class is another than its label.")); return; }
    const rows = pairs.slice(0, 10).map(([row, column, n]) => {
      const button = el("button", { className: "link", type: "button", "aria-label": `List the clips labelled ${className(row)} and predicted as ${className(column)}` }, "list");
      button.addEventListener("click", () => onCell(row, column, kind));
      return el("tr", {}, el("td", { className: "word" }, el("bdi", {}, className(row))), el("td", { className: "word" }, el("bdi", {}, className(column))), el("td", {}, String(n)), el("td", {}, `${Math.round((100 * n) / totals.get(row))}\u00a0%`), el("td", {}, button));
    });
    $("pairs").replaceChildren(el("table", { className: "pairs" }, el("thead", {}, el("tr", {}, ...["Label", "Predicted", "Clips", "Share", ""].map((t) => el("th", { scope: "col" }, t)))), el("tbody", {}, ...rows)));
  }

  const tell = (cell) => { status.textContent = cell.getAttribute("aria-label"); };
  const choose = (cell) => onCell(Number(cell.dataset.row), Number(cell.dataset.column), of.value);
  holder.addEventListener("click", (event) => { const cell = event.target.closest("td[role=gridcell]"); if (cell) choose(cell); });
  holder.addEventListener("mouseover", (event) => { const cell = event.target.closest("td[role=gridcell]"); if (cell) tell(cell); });
  holder.addEventListener("keydown", (event) => {
    const cell = event.target.closest("td[role=gridcell]");
    if (!cell) return;
    const [down, right] = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] }[event.key] || [0, 0];
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(cell); return; }
    if (!down && !right) return;
    event.preventDefault();
    const next = cell.parentElement.parentElement.rows[cell.parentElement.sectionRowIndex + down]?.cells[cell.cellIndex + right];
    if (!next || next.getAttribute("role") !== "gridcell") return;
    cell.tabIndex = -1; next.tabIndex = 0; next.focus(); tell(next);
  });
  if (of.options.length) draw();
  else $("confusions").hidden = true;
}
