// The clips: filtered, sorted, and drawn a page at a time, as cards with spectrograms or as a table.
const SIZES = { cards: 8, table: 50 };
const shownLists = Object.entries(data.lists);
let found = [], page = 0, opened = null, backwards = false;

const filters = { list: $("f-list"), truth: $("f-truth"), top: $("f-top"), split: $("f-split"), verified: $("f-verified"), scored: $("f-scored"), text: $("f-text"), order: $("f-order"), view: $("f-view") };

function setUpReview() {
  const lists = [...shownLists.map(([id, list]) => [id, `${list.title} (${list.rows.length.toLocaleString("en")})`]), ["all", `All clips (${N.toLocaleString("en")})`], ["judged", "With a verdict"], ["quarantined", "Quarantined"]];
  for (const [id, title] of lists) if (id !== "quarantined" || Object.keys(data.quarantined).length) filters.list.append(el("option", { value: id }, title));
  const firstUseful = shownLists.find(([, list]) => list.rows.length)?.[0] ?? "all";
  for (const option of filters.list.options) option.defaultSelected = option.value === firstUseful;
  filters.list.value = firstUseful;
  const byName = data.classes.map((name, k) => [k, name]).sort((a, b) => a[1].localeCompare(b[1]));
  for (const select of [filters.truth, filters.top]) {
    select.append(el("option", { value: "" }, "any"), ...byName.map(([k]) => el("option", { value: String(k) }, className(k))));
  }
  const anew = (event) => { page = 0; opened = null; if (event?.target === filters.order || event?.type === "reset") backwards = false; redraw(); };
  for (const filter of Object.values(filters)) filter.addEventListener(filter === filters.text ? "input" : "change", anew);
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("filters").addEventListener("reset", (event) => setTimeout(() => anew(event)));
  redraw();
}

/** List the clips of a class, or of a cell of the matrix. */
function listClips({ truth = "", top = "", split = "", scored = "" }) {
  filters.list.value = "all";
  filters.truth.value = String(truth);
  filters.top.value = String(top);
  filters.split.value = split;
  filters.scored.value = scored;
  filters.verified.value = filters.text.value = "";
  filters.order.value = truth === top || top === "" ? "pl" : "p1";
  backwards = false;
  page = 0;
  opened = null;
  redraw();
  $("h-clips").focus({ preventScroll: true });
  $("clips").scrollIntoView();
}

function select() {
  const c = data.clips, list = filters.list.value, [truth, top, verified, scored] = [filters.truth, filters.top, filters.verified, filters.scored].map((f) => (f.value === "" ? null : Number(f.value)));
  const text = filters.text.value.toLowerCase(), split = filters.split.value;
  const base = data.lists[list] ? data.lists[list].rows : list === "quarantined" ? Object.keys(data.quarantined).map(Number) : list === "judged" ? [...verdicts.keys()].sort((a, b) => a - b) : [...Array(N).keys()];
  const rows = base.filter((i) =>
    (truth === null || c.truth[i] === truth) && (top === null || c.top[3 * i] === top) && (!split || c.split[i] === split) &&
    (verified === null || c.verified[i] === verified) && (scored === null || c.scored[i] === scored) && (!text || c.name[i].toLowerCase().includes(text)));
  const sign = backwards ? -1 : 1;
  // Clips without a prediction stand last either way.
  const byShare = (share, way) => (a, b) => (share(a) < 0) - (share(b) < 0) || way * (share(a) - share(b)) || sign * (a - b);
  const orders = {
    name: (a, b) => sign * (c.name[a] < c.name[b] ? -1 : 1),
    truth: (a, b) => sign * className(c.truth[a]).localeCompare(className(c.truth[b])) || sign * (a - b),
    pl: byShare((i) => c.pl[i], sign),
    p1: byShare((i) => c.p[3 * i], -sign),
  };
  return orders[filters.order.value] ? rows.sort(orders[filters.order.value]) : rows;
}

function redraw() {
  found = select();
  drawPage();
}

function drawPage() {
  const size = SIZES[filters.view.value], pages = Math.max(1, Math.ceil(found.length / size));
  page = Math.min(Math.max(0, page), pages - 1);
  const rows = found.slice(page * size, (page + 1) * size);
  $("found").textContent = plural(found.length, "clip");
  for (const id of ["pager", "pager-end"]) drawPager($(id), pages, id === "pager-end");
  if (!rows.length) $("list").replaceChildren(el("p", { className: "empty" }, "No clip is like this: reset the filters, or choose another list."));
  else if (filters.view.value === "table") $("list").replaceChildren(clipTable(rows));
  else $("list").replaceChildren(...rows.map(card));
}

function drawPager(holder, pages, below) {
  holder.hidden = pages < 2;
  const go = (step) => () => {
    page += step;
    opened = null;
    drawPage();
    if (below) $("filters").scrollIntoView();
  };
  const back = el("button", { type: "button", className: "quiet", disabled: page === 0, "aria-label": "Previous page" }, "←");
  const next = el("button", { type: "button", className: "quiet", disabled: page >= pages - 1, "aria-label": "Next page" }, "→");
  back.addEventListener("click", go(-1));
  next.addEventListener("click", go(1));
  const focused = holder.contains(document.activeElement) && document.activeElement.getAttribute("aria-label");
  holder.replaceChildren(back, `page ${page + 1} of ${pages}`, next);
  if (focused) (holder.querySelector(`button[aria-label="${focused}"]:not(:disabled)`) || holder.querySelector("button:not(:disabled)")).focus();
}

function chips(row) {
  const c = data.clips, made = [[c.split[row] === "r" ? "training" : "test", ""]];
  if (c.split[row] === "r" && c.verified[row] >= 0) made.push(c.verified[row] ? ["verified", "yes"] : ["not verified", "no"]);
  if (c.fold[row] >= 0) made.push([`fold ${c.fold[row]}`, ""]);
  if (c.usage[row] >= 0) made.push([visible(data.usages[c.usage[row]]), ""]);
  if (c.group[row] >= 0) made.push([`group ${visible(data.groups[c.group[row]])}`, ""]);
  return el("p", { className: "chips" }, ...made.map(([words, style]) => el("span", { className: `chip ${style}` }, words)));
}

function card(row) {
  const c = data.clips, label = c.truth[row];
  const about = el("div", { className: "about" },
    el("div", {}, el("h3", {}, el("bdi", {}, visible(c.name[row]))), chips(row)),
    el("p", {}, el("span", { className: "muted" }, "Label "), el("bdi", {}, label < 0 ? "unknown" : className(label)), label >= 0 && c.pl[row] >= 0 ? el("span", { className: "muted" }, ` · ${percent(c.pl[row])}`) : null),
    tops(row), player(row), verdictForm(row));
  const pictures = el("div", { className: "pictures" }, ...spectrograms(row));
  const made = el("article", { className: "card", "aria-label": visible(c.name[row]) }, about, pictures);
  made.dataset.row = row;
  return made;
}

function tops(row) {
  const c = data.clips;
  if (data.quarantined[row]) return el("p", {}, `Quarantined: ${visible(data.quarantined[row])}`);
  if (c.top[3 * row] < 0) return el("p", { className: "muted" }, `No prediction: ${data.unpredicted[c.split[row] === "r" ? "train" : "test"]}.`);
  const made = el("div", { className: "tops", role: "group", "aria-label": "Likeliest classes" });
  for (let rank = 0; rank < 3 && c.top[3 * row + rank] >= 0; rank++) {
    const k = c.top[3 * row + rank], bar = el("i");
    bar.style.width = `${c.p[3 * row + rank] / 100}%`;
    made.append(el("bdi", { className: k === c.truth[row] ? "truth" : "" }, className(k)), el("span", { className: "track", "aria-hidden": "true" }, bar), el("span", {}, percent(c.p[3 * row + rank])));
  }
  return made;
}

/** A link as a path to read; one that is not UTF-8 stays as it is. */
function decoded(link) {
  try { return visible(decodeURIComponent(link)); } catch { return link; }
}

function player(row) {
  const sound = data.sounds[row];
  if (!sound) return el("p", { className: "muted" }, row in data.pictures ? "The sound cannot be read." : "No player in this report.");
  const made = el("audio", { controls: true, preload: "metadata", "aria-label": `Sound of ${visible(data.clips.name[row])}` });
  if (sound.link) made.src = sound.link;
  else whenLoaded(() => { made.src = `data:${sound.mime};base64,${media(`a${row}`)}`; });
  const note = el("small", {}, [sound.link ? "linked" : "", sound.note].filter(Boolean).join("; "));
  if (sound.link) made.addEventListener("error", () => { note.textContent = `${sound.note ? "this browser cannot play it, or it is " : ""}not found at ${decoded(sound.link)}: the report or the corpus was moved`; });
  return el("div", {}, made, note.textContent ? note : null);
}

function spectrograms(row) {
  const pictures = data.pictures[row];
  if (!pictures) return [el("p", { className: "empty" }, data.quarantined[row] ? "No frames." : `Without pictures: the report has them for ${plural(Object.keys(data.pictures).length, "clip")} only.`)];
  return data.modes.map((mode, m) => (pictures[m] ? spectrogram(row, m, mode, pictures[m]) : el("p", { className: "empty" }, `No frames in view ${mode.name}.`)));
}

function spectrogram(row, m, mode, [frames, columns, low, high, first, last]) {
  const seconds = frames * mode.hop_seconds, name = visible(data.clips.name[row]);
  const image = el("img", { width: columns, height: mode.n_bands, decoding: "async", alt: `Spectrogram of ${name} in view ${mode.name}: ${seconds.toFixed(1)} s, ${low} to ${high} ${mode.unit}` });
  image.style.height = `${Math.round(Math.max(96, Math.min(150, mode.n_bands * 1.2)))}px`;
  whenLoaded(() => { image.src = `data:image/webp;base64,${media(`p${row}-${m}`)}`; });
  const hz = el("div", { className: "hz", "aria-hidden": "true" }), time = el("div", { className: "s", "aria-hidden": "true" }, el("b", {}, "Time from the first stored frame (s)"));
  for (const [share, label] of mode.ticks) { const tick = el("span", {}, label); tick.style.top = `${(1 - share) * 100}%`; hz.append(tick); }
  for (const tick of ticks(0, seconds, 5)) { const mark = el("span", {}, String(tick)); mark.style.left = `${Math.min(100, ((tick + mode.hop_seconds / 2) / seconds) * 100)}%`; time.append(mark); }
  const padded = frames === mode.window_frames && (first > 1 || last < frames - 1);
  const shade = el("div", { className: "shade", "aria-hidden": "true" });
  if (padded) for (const [from, to] of [[0, first], [last, frames]]) { const part = el("i"); part.style.left = `${(100 * from) / frames}%`; part.style.width = `${(100 * (to - from)) / frames}%`; shade.append(part); }
  const lies = padded ? el("span", { className: "lies" }, `The clip lies from ${(first * mode.hop_seconds).toFixed(2)} to ${(last * mode.hop_seconds).toFixed(2)} s; around it is silence, up to a window’s length (hatched).`) : null;
  const ramp = el("div", { className: "ramp" });
  ramp.style.background = `linear-gradient(to top, ${data.ramp.join(",")})`;
  return el("figure", { className: "spectrogram" }, el("span", { className: "axis-name", "aria-hidden": "true" }, "Hz"), el("figcaption", {}, mode.title), el("span", { className: "db-name", "aria-hidden": "true" }, mode.unit), hz, image, shade, ramp,
    el("div", { className: "db", "aria-hidden": "true" }, el("span", {}, minus(high)), el("span", {}, minus(low))), time, ...(lies ? [lies] : []));
}

function verdictForm(row) {
  const c = data.clips;
  if (!canJudge(row)) return null;
  const now = verdicts.get(row), name = `verdict-${row}`;
  const guess = [0, 1].map((rank) => c.top[3 * row + rank]).find((k) => k >= 0 && k !== c.truth[row]);
  const choice = el("select", { "aria-label": "Right class" }, ...data.runClasses.filter((k) => k !== c.truth[row]).map((k) => el("option", { value: String(k) }, className(k))));
  choice.value = String(now?.kind === "wrong" ? now.to : guess ?? choice.options[0]?.value);
  const radio = (kind, ...words) => {
    const input = el("input", { type: "radio", name, value: kind, checked: (now?.kind ?? "") === kind });
    input.addEventListener("change", () => judge(kind));
    return el("label", {}, input, ...words);
  };
  const judge = (kind) => {
    setVerdict(row, kind ? { kind, to: Number(choice.value), flag: "1" } : null);
    const said = $("list").querySelector(`tr[data-row="${row}"] .said`);
    if (said) said.textContent = verdictWords(row);
  };
  const form = el("fieldset", { className: "verdict" }, el("legend", {}, "Your verdict"), radio("", "undecided"), radio("right", "label is right"), radio("wrong", "is ", choice), radio("out", "leave out of training"));
  if (!choice.options.length) form.querySelector("input[value=wrong]").disabled = true;
  choice.addEventListener("change", () => { form.querySelector("input[value=wrong]").checked = true; judge("wrong"); });
  return form;
}

function clipTable(rows) {
  const c = data.clips, body = el("tbody");
  for (const row of rows) {
    const open = el("button", { type: "button", className: "link", "aria-expanded": String(opened === row) }, el("bdi", {}, visible(c.name[row])));
    open.addEventListener("click", () => { opened = opened === row ? null : row; drawPage(); document.querySelector(`#list tr[data-row="${row}"] button`)?.focus(); });
    const top = c.top[3 * row];
    const line = el("tr", { "data-row": String(row) }, el("th", { scope: "row", className: "name" }, open), el("td", {}, c.split[row] === "r" ? "training" : "test"), el("td", {}, c.verified[row] < 0 ? "–" : c.verified[row] ? "yes" : "no"),
      el("td", { className: "word" }, el("bdi", {}, className(c.truth[row]))), el("td", {}, c.pl[row] < 0 ? "–" : percent(c.pl[row])), el("td", { className: "word" }, el("bdi", {}, className(top))), el("td", {}, top < 0 ? "–" : percent(c.p[3 * row])), el("td", { className: "said" }, verdictWords(row)));
    body.append(line);
    if (opened === row) body.append(el("tr", {}, el("td", { colSpan: 8 }, card(row))));
  }
  const heads = [["Clip", "name"], ["Split", ""], ["Verified", ""], ["Label", "truth"], ["p(label)", "pl"], ["Likeliest", ""], ["p", "p1"], ["Verdict", ""]].map(([words, order]) => {
    if (!order) return el("th", { scope: "col" }, words);
    const button = el("button", { type: "button", "data-order": order }, words), now = filters.order.value === order;
    button.addEventListener("click", () => {
      backwards = now && !backwards;
      filters.order.value = order;
      page = 0;
      redraw();
      $("list").querySelector(`button[data-order="${order}"]`)?.focus();
    });
    return el("th", { scope: "col", "aria-sort": now ? ((order === "p1") !== backwards ? "descending" : "ascending") : null }, button);
  });
  const table = el("table", { className: "sortable" }, el("thead", {}, el("tr", {}, ...heads)), body);
  return el("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": "Clips" }, table);
}
