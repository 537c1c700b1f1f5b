// Line and point charts as SVG, drawn anew for each width, so that letters keep their size.
function svg(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes || {})) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Give round numbers that cover a range with about so many steps. */
function ticks(low, high, count) {
  const raw = (high - low) / count, size = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * size).find((s) => s >= raw * 0.999);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-6; i++) found.push(Number((i * step).toPrecision(12)));
  return found;
}

/** Draw again where the width changes. */
function responsive(holder, draw) {
  let width = 0;
  const paint = () => {
    const now = Math.floor(holder.clientWidth);
    if (!now || now === width) return;
    width = now;
    holder.replaceChildren(draw(now));
  };
  new ResizeObserver(paint).observe(holder);
  paint();
}

const key = (line, words) => el("span", { className: "key" }, svg("svg", { width: 26, height: 10, "aria-hidden": "true" }, line), words);

function drawScores(holder) {
  const parts = [["out_of_fold", "Out of fold"]];
  const scores = data.scores;
  if (scores.some((row) => row.test.all)) parts.push(["test", "Test"]);
  const point = (row, part) => (part === "test" ? row.test.all : row.out_of_fold);
  const values = scores.flatMap((row) => [
    ...Object.values(row.folds).map((s) => s.map3),
    ...parts.flatMap(([part]) => { const s = point(row, part); return s ? [s.map3 - (s.se ?? 0), s.map3 + (s.se ?? 0)] : []; }),
  ]);
  const low = Math.max(0, Math.floor((Math.min(...values) - 0.02) * 20) / 20), high = Math.min(1, Math.ceil(Math.max(...values) * 20) / 20 || 1);
  const several = scores.some((row) => Object.keys(row.folds).length > 1);
  const caption = el("figcaption", {}, "mAP@3 of each view ",
    key(svg("circle", { cx: 13, cy: 5, r: 4, class: "f0" }), "out of fold ± standard error"),
    parts.length > 1 ? key(svg("rect", { x: 9, y: 1, width: 8, height: 8, class: "f1" }), "test ± standard error") : null,
    several ? key(svg("circle", { cx: 13, cy: 5, r: 3, class: "s0 hollow" }), "one fold") : null);
  const body = el("div");
  holder.replaceChildren(caption, body);
  responsive(body, (width) => {
    const left = Math.min(110, width * 0.25), right = 24, step = parts.length > 1 ? 46 : 34, height = scores.length * step + 30;
    const x = (value) => left + ((value - low) / (high - low || 1)) * (width - left - right);
    const root = svg("svg", { width, height, role: "img", "aria-label": "mAP@3 of each view; the numbers stand in the table above" });
    for (const tick of ticks(low, high, Math.max(2, width / 130))) {
      root.append(svg("line", { x1: x(tick), x2: x(tick), y1: 0, y2: height - 24, class: "tick" }),
        svg("text", { x: x(tick), y: height - 8, "text-anchor": "middle" }, tick.toFixed(2)));
    }
    scores.forEach((row, i) => {
      const middle = i * step + step / 2;
      root.append(svg("text", { x: left - 12, y: middle + 4, "text-anchor": "end", class: "strong" }, row.view));
      parts.forEach(([part], place) => {
        const s = point(row, part), y = parts.length > 1 ? middle - 9 + place * 18 : middle;
        if (!s) return;
        if (part === "out_of_fold" && several) for (const fold of Object.values(row.folds)) root.append(svg("circle", { cx: x(fold.map3), cy: y, r: 3.2, class: "s0 hollow" }));
        const se = s.se ?? 0;
        root.append(svg("line", { x1: x(Math.max(low, s.map3 - se)), x2: x(Math.min(high, s.map3 + se)), y1: y, y2: y, class: `mark s${place}` }),
          part === "test" ? svg("rect", { x: x(s.map3) - 5, y: y - 5, width: 10, height: 10, class: "f1" }) : svg("circle", { cx: x(s.map3), cy: y, r: 5.5, class: "f0" }));
      });
    });
    return root;
  });
}

/** One plot: thin lines for folds, a thick one for their mean over the epochs that all have. */
function linePlot(holder, mode, folds, kinds, label) {
  const lines = kinds.flatMap(([name]) => Object.values(folds).flatMap((fold) => fold[name])).filter((v) => v !== null && isFinite(v));
  const last = Math.max(...Object.values(folds).flatMap((fold) => fold.epoch));
  if (!lines.length) return;
  const unit = kinds[0][0] === "map3", low = unit ? 0 : Math.min(0, ...lines), high = unit ? 1 : Math.max(...lines);
  responsive(holder, (width) => {
    const height = 230, left = 40, right = 16, top = 10, bottom = 40;
    const x = (epoch) => (last > 1 ? left + ((epoch - 1) / (last - 1)) * (width - left - right) : (left + width - right) / 2);
    const y = (value) => height - bottom - ((value - low) / (high - low || 1)) * (height - bottom - top);
    const root = svg("svg", { width, height, role: "img", "aria-label": `${label} of view ${mode} over ${last} epochs, a line a fold and their mean` });
    for (const tick of ticks(low, high, 5)) root.append(svg("line", { x1: left, x2: width - right, y1: y(tick), y2: y(tick), class: "tick" }), svg("text", { x: left - 7, y: y(tick) + 4, "text-anchor": "end" }, unit ? tick.toFixed(1) : String(tick)));
    for (const tick of ticks(1, Math.max(2, last), Math.max(2, width / 90)).filter((t) => Number.isInteger(t) && t >= 1 && t <= last)) root.append(svg("text", { x: x(tick), y: height - bottom + 17, "text-anchor": "middle" }, String(tick)));
    root.append(svg("text", { x: (left + width - right) / 2, y: height - 4, "text-anchor": "middle" }, "Epoch"));
    kinds.forEach(([name, , style]) => {
      const path = (epochs, values) => {
        let pen = "M";
        return epochs.map((epoch, i) => {
          if (values[i] === null) { pen = "M"; return ""; }
          const step = `${pen}${x(epoch).toFixed(1)} ${y(values[i]).toFixed(1)}`;
          pen = "L";
          return step;
        }).join("");
      };
      const all = Object.values(folds);
      const dots = (epochs, values, r, kind) => { if (epochs.length === 1 && values[0] !== null) root.append(svg("circle", { cx: x(epochs[0]), cy: y(values[0]), r, class: kind })); };
      if (all.length > 1) for (const fold of all) {
        root.append(svg("path", { d: path(fold.epoch, fold[name]), class: `mark faint ${style}` }));
        dots(fold.epoch, fold[name], 3, `${style.split(" ")[0]} hollow`);
      }
      const shared = Math.min(...all.map((fold) => fold.epoch.length));
      const epochs = all[0].epoch.slice(0, shared);
      const mean = epochs.map((_, i) => (all.some((fold) => fold[name][i] === null) ? null : all.reduce((sum, fold) => sum + fold[name][i], 0) / all.length));
      root.append(svg("path", { d: path(epochs, mean), class: `mark ${style}` }));
      dots(epochs, mean, 5, style.split(" ")[0].replace("s", "f"));
    });
    return root;
  });
}

function drawCurves(holder) {
  const line = (style) => svg("line", { x1: 0, x2: 26, y1: 5, y2: 5, class: `mark ${style}` });
  for (const [mode, folds] of Object.entries(data.curves)) {
    const count = Object.keys(folds).length;
    if (!count) continue;
    const losses = el("div"), scores = el("div"), thin = count > 1 ? "; thin: each fold" : "";
    const hasValid = Object.values(folds).some((fold) => fold.valid_loss.some((v) => v !== null));
    const kinds = [["loss", "training", "s0"]].concat(hasValid ? [["valid_loss", "held fold", "s1 dash"]] : []);
    holder.append(el("figure", {}, el("div", { className: "pair" },
      el("div", {}, el("figcaption", {}, `View ${mode}: loss `, ...kinds.map(([, words, style], i) => key(line(style), (count > 1 ? "mean, " : "") + words + (i ? "" : thin)))), losses),
      el("div", {}, el("figcaption", {}, `View ${mode}: mAP@3 `, key(line("s2"), (count > 1 ? "mean, " : "") + "held fold" + thin)), scores))));
    linePlot(losses, mode, folds, kinds, "Loss");
    linePlot(scores, mode, folds, [["map3", "", "s2"]], "mAP@3 of the held fold");
  }
}
