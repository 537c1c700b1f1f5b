// The reviewer's verdicts: kept by the browser where it may, downloaded as a CSV for cli train --relabel.
// A verdict is {kind: "right" | "wrong" | "out", to: class index of a wrong label}.
const verdicts = new Map();
const verdictKey = `earmark-verdicts-${data.id}`;
const rowOf = new Map(data.clips.name.map((name, i) => [name, i]));
let downloaded = "";

/** Only training clips can be relabelled. */
const canJudge = (row) => data.clips.split[row] === "r" && data.clips.truth[row] >= 0;

function packVerdicts() {
  return JSON.stringify([...verdicts].sort((a, b) => a[0] - b[0]).map(([row, v]) => [data.clips.name[row], v.kind, v.kind === "wrong" ? data.classes[v.to] : ""]));
}

function unpackVerdicts(text) {
  for (const [name, kind, label] of JSON.parse(text)) {
    const row = rowOf.get(name), to = data.classes.indexOf(label);
    if (row === undefined || !canJudge(row) || !["right", "wrong", "out"].includes(kind) || (kind === "wrong" && to < 0)) continue;
    verdicts.set(row, { kind, to });
  }
}

function verdictWords(row) {
  const verdict = verdicts.get(row);
  if (!verdict) return "";
  return { right: "label is right", wrong: `is ${className(verdict.to)}`, out: "leave out" }[verdict.kind];
}

function setVerdict(row, verdict) {
  if (verdict) verdicts.set(row, verdict);
  else verdicts.delete(row);
  keepVerdicts();
}

function keepVerdicts() {
  const kept = store.set(verdictKey, packVerdicts());
  const unsaved = packVerdicts() !== (downloaded || "[]");
  const where = kept ? (unsaved ? "not downloaded yet" : "downloaded") : "not kept by this browser: download before you leave";
  $("verdict-count").textContent = verdicts.size ? `${plural(verdicts.size, "verdict")}, ${where}.` : "No verdicts yet.";
  $("verdict-save").disabled = $("verdict-clear").disabled = !verdicts.size;
}

const csvCell = (text) => (/[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

function verdictCsv() {
  const lines = [...verdicts].sort((a, b) => a[0] - b[0]).map(([row, v]) => {
    const label = v.kind === "right" ? data.classes[data.clips.truth[row]] : v.kind === "wrong" ? data.classes[v.to] : "";
    return [data.clips.name[row], label, v.kind === "out" ? "" : "1", v.kind].map(csvCell).join(",");
  });
  return ["fname,label,manually_verified,verdict", ...lines, ""].join("\r\n");
}

function saveVerdicts() {
  const address = URL.createObjectURL(new Blob([verdictCsv()], { type: "text/csv;charset=utf-8" }));
  const link = el("a", { href: address, download: "verdicts.csv" });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
  downloaded = packVerdicts();
  store.set(verdictKey + "-downloaded", downloaded);
  keepVerdicts();
}

/** Read CSV as rows of cells: quoted cells may hold commas, line ends and doubled quotes. */
function parseCsv(text) {
  const rows = [[]];
  let cell = "", quoted = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (quoted) {
      if (c === '"' && text[i + 1] === '"') { cell += '"'; i++; }
      else if (c === '"') quoted = false;
      else cell += c;
    } else if (c === '"' && cell === "") quoted = true;
    else if (c === ",") { rows.at(-1).push(cell); cell = ""; }
    else if (c === "\n") { rows.at(-1).push(cell); cell = ""; rows.push([]); }
    else if (c !== "\r") cell += c;
  }
  rows.at(-1).push(cell);
  return rows.filter((row) => row.some((value) => value !== ""));
}

/** Take the verdicts of a CSV; return how many were taken and how many rows say nothing that this page can hold. */
function loadVerdicts(text) {
  const [head = [], ...rows] = parseCsv(text.replace(/^\ufeff/, ""));
  const [name, label, verified] = ["fname", "label", "manually_verified"].map((column) => head.indexOf(column));
  if (name < 0 || label < 0) return null;
  let taken = 0;
  for (const cells of rows) {
    const row = rowOf.get(cells[name]), to = data.classes.indexOf(cells[label] ?? "");
    if (row === undefined || !canJudge(row) || (to < 0 && cells[label] !== "")) continue;
    const same = to === data.clips.truth[row];
    if (same && verified >= 0 && cells[verified] !== "1") continue;
    verdicts.set(row, { kind: to < 0 ? "out" : same ? "right" : "wrong", to });
    taken++;
  }
  return [taken, rows.length - taken];
}

function setUpVerdicts(redraw) {
  try { unpackVerdicts(store.get(verdictKey) || "[]"); } catch { /* what another version kept */ }
  downloaded = store.get(verdictKey + "-downloaded") || "";
  $("verdict-save").addEventListener("click", saveVerdicts);
  $("verdict-clear").addEventListener("click", () => {
    if (!confirm(`Forget ${plural(verdicts.size, "verdict")}?`)) return;
    verdicts.clear();
    keepVerdicts();
    redraw();
  });
  $("verdict-file").addEventListener("change", async (event) => {
    const [file] = event.target.files;
    if (!file) return;
    const result = loadVerdicts(await file.text());
    event.target.value = "";
    keepVerdicts();
    redraw();
    $("verdict-count").textContent = result
      ? `${plural(result[0], "verdict")} loaded${result[1] ? `; ${plural(result[1], "row")} passed over: no training clip, class or verdict of this report` : ""}.`
      : "This file has no columns fname and label: give a CSV that this page or cli corpus issues wrote.";
  });
  // Another window of this report wrote: take its verdicts, so that neither overwrites the other's.
  addEventListener("storage", (event) => {
    if (event.key !== verdictKey) return;
    verdicts.clear();
    try { unpackVerdicts(event.newValue || "[]"); } catch { /* what another version kept */ }
    keepVerdicts();
    redraw();
  });
  addEventListener("beforeunload", (event) => {
    if (verdicts.size && packVerdicts() !== downloaded) event.preventDefault();
  });
  keepVerdicts();
}
