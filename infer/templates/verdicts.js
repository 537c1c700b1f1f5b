// The reviewer's verdicts: kept by the browser where it may, downloaded as a CSV for cli train --relabel.
// A verdict is {kind: "right" | "wrong" | "out", to: class index of a wrong label, flag: "1", or "0" or "" where a file
// said so of its label}.
const verdicts = new Map();
const verdictKey = `earmark-verdicts-${data.id}`;
const rowOf = new Map(data.clips.name.map((name, i) => [name, i]));
let downloaded = "";

/** Only training clips can be relabelled. */
const canJudge = (row) => data.clips.split[row] === "r" && data.clips.truth[row] >= 0;

function packVerdicts() {
  return JSON.stringify([...verdicts].sort((a, b) => a[0] - b[0]).map(([row, v]) => [data.clips.name[row], v.kind, v.kind === "wrong" ? data.classes[v.to] : "", v.flag ?? "1"]));
}

function unpackVerdicts(text) {
  for (const [name, kind, label, flag = "1"] of JSON.parse(text)) {
    const row = rowOf.get(name), to = data.classes.indexOf(label);
    if (row === undefined || !canJudge(row) || !["right", "wrong", "out"].includes(kind) || (kind === "wrong" && to < 0)) continue;
    verdicts.set(row, { kind, to, flag });
  }
}

function verdictWords(row) {
  const verdict = verdicts.get(row);
  if (!verdict) return "";
  return { right: "label is right", wrong: `is ${className(verdict.to)}${verdict.flag === "0" ? ", not verified" : ""}`, out: "leave out" }[verdict.kind];
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
    return [data.clips.name[row], label, v.kind === "out" ? "" : v.flag ?? "1", v.kind].map(csvCell).join(",");
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

/** Read CSV as rows of cells, by the rules of cli train --relabel; a broken rule is thrown as words. */
function parseCsv(text) {
  const rows = [[]];
  let cell = "", state = "start";
  const endCell = () => { rows.at(-1).push(cell); cell = ""; state = "start"; };
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (state === "quoted") {
      if (c === '"' && text[i + 1] === '"') { cell += '"'; i++; }
      else if (c === '"') state = "closed";
      else cell += c;
    } else if (c === ",") endCell();
    else if (c === "\n" || c === "\r") { if (c === "\r" && text[i + 1] === "\n") i++; endCell(); rows.push([]); }
    else if (state === "closed") throw `row ${rows.length} has text after a quoted cell`;
    else if (c === '"' && state === "start") state = "quoted";
    else { cell += c; state = "plain"; }
  }
  if (state === "quoted") throw `row ${rows.length} has a quote that never closes`;
  endCell();
  return rows.filter((row) => row.some((value) => value.trim() !== ""));
}

const FLAGS = { "": "", 0: "0", 1: "1", false: "0", true: "1" };

/** Give a file's rows as [name, label, flag], a clip once; what --relabel refuses is thrown as words. */
function relabelRows(text) {
  const [head = [], ...rows] = parseCsv(text), columns = head.map((column) => column.trim());
  const [name, label, verified] = ["fname", "label", "manually_verified"].map((column) => columns.indexOf(column));
  if (name < 0 || label < 0) throw "it has no columns fname and label: give a CSV that this page or cli corpus issues wrote";
  const byName = new Map();
  for (const cells of rows) {
    if (cells.length !== columns.length) throw `a row of ${visible(cells[name] ?? cells[0])} has ${plural(cells.length, "cell")}, the header ${columns.length}`;
    const flag = FLAGS[(verified < 0 ? "" : cells[verified]).trim().toLowerCase()], to = cells[label].trim(), other = byName.get(cells[name]);
    if (flag === undefined) throw `manually_verified of ${visible(cells[name])} must be 0, 1, true or false`;
    if (other && (other[0] !== to || (flag && other[1] && flag !== other[1]))) throw `its rows disagree on ${visible(cells[name])}: keep the one that is right`;
    byName.set(cells[name], [to, flag || other?.[1] || ""]);
  }
  return [...byName].map(([clip, [to, flag]]) => [clip, to, flag]);
}

/** Take the verdicts of a CSV; return how many were taken, and of how many rows each reason kept another one out. */
function loadVerdicts(text) {
  const passed = new Map(), rows = relabelRows(text);
  const pass = (reason) => passed.set(reason, (passed.get(reason) || 0) + 1);
  let taken = 0;
  for (const [name, label, flag] of rows) {
    const row = rowOf.get(name), to = data.runClasses.find((k) => data.classes[k] === label) ?? -1;
    if (row === undefined || !canJudge(row)) { pass("no training clip of this report"); continue; }
    if (to < 0 && label !== "") { pass("no class of its training clips"); continue; }
    const same = to === data.clips.truth[row];
    if (same && flag !== "1") { pass("no verdict, as the label is the corpus’s and not called verified"); continue; }
    verdicts.set(row, { kind: to < 0 ? "out" : same ? "right" : "wrong", to, flag: same ? "1" : flag });
    taken++;
  }
  return [taken, passed];
}

async function loadFile(file) {
  const read = async () => {
    try { return new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer()); } catch { throw "it is not UTF-8: save it as CSV UTF-8"; }
  };
  try {
    const [taken, passed] = loadVerdicts(await read()), count = [...passed.values()].reduce((a, b) => a + b, 0);
    const reasons = [...passed].map(([reason, n]) => (passed.size > 1 ? `${reason} (${n})` : reason)).join(", ");
    return `${plural(taken, "verdict")} loaded${count ? `; ${plural(count, "row")} passed over: ${reasons}` : ""}.`;
  } catch (words) {
    if (typeof words !== "string") throw words;
    return `Nothing loaded from this file: ${words}.`;
  }
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
    const words = await loadFile(file);
    event.target.value = "";
    keepVerdicts();
    redraw();
    $("verdict-count").textContent = words;
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
