// What all parts of the page share. Text from the corpus becomes text nodes only, never markup.
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const N = data.clips.name.length;

/** Show control and bidirectional characters as escapes, so that a name looks as it is. */
const visible = (text) =>
  String(text).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (c) => {
    const code = c.codePointAt(0);
    return code < 256 ? "\\x" + code.toString(16).padStart(2, "0") : "\\u" + code.toString(16).padStart(4, "0");
  });

/** Make an element: properties by name, "aria-…" and "data-…" as attributes, children as nodes or text. */
function el(tag, properties, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties || {})) {
    if (value === undefined || value === null) continue;
    if (name.includes("-") || name === "role" || name === "for" || name === "scope") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const percent = (tenThousandths) => {
  const words = tenThousandths < 10 ? "<0.1" : tenThousandths > 9990 ? ">99.9" : (tenThousandths / 100).toFixed(1);
  return words + "\u00a0%";
};
const minus = (number) => String(number).replace("-", "−");
const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
const className = (index) => (index < 0 ? "–" : visible(data.classes[index]));

/** Browsers may refuse storage, to pages from disk above all; memory serves for as long as the page is open. */
const store = {
  get(key) {
    try { return localStorage.getItem(key); } catch { return null; }
  },
  set(key, value) {
    try { localStorage.setItem(key, value); return true; } catch { return false; }
  },
};

const media = (id) => document.getElementById(id)?.textContent ?? "";
/** Embedded pictures and sounds stand at the end of the file: wait until they are there. */
const whenLoaded = (action) =>
  document.readyState === "loading" ? document.addEventListener("DOMContentLoaded", action, { once: true }) : action();

function setUpTheme() {
  const button = $("theme"), dark = matchMedia("(prefers-color-scheme: dark)");
  const shown = () => document.documentElement.dataset.theme || (dark.matches ? "dark" : "light");
  const paint = () => {
    button.textContent = shown() === "dark" ? "Light theme" : "Dark theme";
  };
  const kept = store.get("earmark-theme");
  if (kept === "dark" || kept === "light") document.documentElement.dataset.theme = kept;
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = shown() === "dark" ? "light" : "dark";
    store.set("earmark-theme", document.documentElement.dataset.theme);
    paint();
  });
  dark.addEventListener("change", paint);
  paint();
}

/** Sort a table by the column whose heading is pressed; numbers fall, words rise at first. */
function setUpSorting(table, onName) {
  const heads = [...table.tHead.rows[0].cells];
  const value = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent;
  table.tHead.addEventListener("click", (event) => {
    const head = event.target.closest("th"), column = heads.indexOf(head);
    if (column < 0) return;
    const text = head.dataset.kind === "text";
    const old = head.getAttribute("aria-sort");
    const rising = old ? old !== "ascending" : text;
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const rows = [...table.tBodies[0].rows];
    const compare = text
      ? (a, b) => value(a, column).localeCompare(value(b, column))
      : (a, b) => Number(value(a, column)) - Number(value(b, column));
    rows.sort((a, b) => (rising ? compare(a, b) : compare(b, a)));
    table.tBodies[0].append(...rows);
  });
  table.tBodies[0].addEventListener("click", (event) => {
    const button = event.target.closest("button[data-class]");
    if (button) onName(Number(button.dataset.class));
  });
}
