// What all parts of the page share. Text from the corpus becomes text nodes only, never markup.
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const N = data.clips.name.length;

/** Show control and bidirectional characters, and spaces other than U+0020, as the escapes that Python writes. */
const visible = (text) =>
  String(text).replace(/[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu, (c) => {
    const code = c.codePointAt(0), [mark, digits] = code < 256 ? ["x", 2] : code < 65536 ? ["u", 4] : ["U", 8];
    return { "\n": "\\n", "\r": "\\r", "\t": "\\t" }[c] ?? `\\${mark}${code.toString(16).padStart(digits, "0")}`;
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

/** Mix two colours "#rrggbb" in Oklab, as color-mix does: red, green and blue from 0 to 255. */
function mixColours(low, high, share) {
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const oklab = (hex) => {
    const [r, g, b] = [1, 3, 5].map((i) => linear(parseInt(hex.slice(i, i + 2), 16) / 255));
    const [l, m, s] = [0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b, 0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b, 0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b].map(Math.cbrt);
    return [0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s, 1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s, 0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s];
  };
  const from = oklab(low), to = oklab(high), [L, A, B] = from.map((v, i) => v + share * (to[i] - v));
  const [l, m, s] = [L + 0.3963377774 * A + 0.2158037573 * B, L - 0.1055613458 * A - 0.0638541728 * B, L - 0.0894841775 * A - 1.291485548 * B].map((v) => v ** 3);
  const mixed = [4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s, -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s, -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s];
  return mixed.map((v) => 255 * Math.min(1, Math.max(0, v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055)));
}

/** The luminance of a colour by the rule of WCAG, from 0 to 1. */
const luminance = (rgb) => rgb.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
/** White stands out more than black where (1.05)/(L + 0.05) exceeds (L + 0.05)/0.05. */
const inkOn = (rgb) => ((luminance(rgb) + 0.05) ** 2 < 1.05 * 0.05 ? "#fff" : "#000");

function setUpTheme() {
  const button = $("theme"), dark = matchMedia("(prefers-color-scheme: dark)");
  const shown = () => document.documentElement.dataset.theme || (dark.matches ? "dark" : "light");
  const paint = () => {
    button.textContent = shown() === "dark" ? "Light theme" : "Dark theme";
    document.dispatchEvent(new Event("earmark-theme"));
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
