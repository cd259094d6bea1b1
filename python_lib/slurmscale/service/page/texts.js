// The texts of the page, in the language of the reader, and how it writes times and numbers.

const LANGUAGES = ["en", "zh"];
let texts = {};
export let language = "en";

function preferred() {
  const chosen = localStorage.getItem("language");
  return LANGUAGES.includes(chosen) ? chosen : navigator.language.startsWith("zh") ? "zh" : "en";
}

export async function load() {
  const answer = await fetch(new URL("strings.json", import.meta.url));
  texts = await answer.json();
  use(preferred());
}

function use(chosen) {
  language = chosen;
  document.documentElement.lang = chosen === "zh" ? "zh-CN" : "en";
}

export function switchLanguage() {
  use(language === "en" ? "zh" : "en");
  localStorage.setItem("language", language);
}

const lookup = (key) => texts[key]?.[LANGUAGES.indexOf(language)];

// A text; "{n} node|{n} nodes" has a form for one and a form for all other numbers.
export function t(key, values = {}) {
  const forms = (lookup(key) ?? key).split("|");
  const form = forms.length > 1 && values.n !== 1 ? forms[1] : forms[0];
  return form.replace(/\{(\w+)\}/g, (_, name) => (name === "n" ? number(values.n) : values[name] ?? ""));
}

const numbers = Object.fromEntries(LANGUAGES.map((one) => [one, new Intl.NumberFormat(one)]));
export const number = (value) => numbers[language].format(value);

// What programs write, such as a status, in the language of the reader; as it is when nobody translated it.
export function word(kind, value) {
  return lookup(`${kind}_${value}`) ?? value ?? "";
}

export function moment(iso) {
  if (!iso) return "";
  const time = new Date(iso);
  const today = time.toDateString() === new Date().toDateString();
  return new Intl.DateTimeFormat(language, { timeStyle: "short", hourCycle: "h23", ...(!today && { dateStyle: "medium" }) }).format(time);
}

export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return t("seconds", { n: whole });
  if (whole < 3600) return t("minutes", { n: Math.round(whole / 60) });
  return t("hours", { h: Math.floor(whole / 3600), m: Math.floor((whole % 3600) / 60) });
}
