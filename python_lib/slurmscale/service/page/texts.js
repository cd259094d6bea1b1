// The texts of the page, in the language of the reader, and how it writes times and numbers.

const LANGUAGES = ["en", "zh"];
const texts = new Map();
export let language = "en";
let numbers, times, days;

// Each line has a key and the text in each language; an empty one is the word of programs that the key ends with.
export async function load() {
	const answer = await fetch(new URL("strings.tsv", import.meta.url));
	for (const line of (await answer.text()).split("\n")) {
		const [key, ...found] = line.split("\t");
		texts.set(key, found);
	}
	const chosen = localStorage.getItem("language");
	use(LANGUAGES.includes(chosen) ? chosen : navigator.language.startsWith("zh") ? "zh" : "en");
}

function use(chosen) {
	language = chosen;
	document.documentElement.lang = chosen === "zh" ? "zh-CN" : "en";
	numbers = new Intl.NumberFormat(chosen);
	[times, days] = [{}, { dateStyle: "medium" }].map((more) => new Intl.DateTimeFormat(chosen, { timeStyle: "short", hourCycle: "h23", ...more }));
}

export function switchLanguage() {
	use(language === "en" ? "zh" : "en");
	localStorage.setItem("language", language);
}

function lookup(key) {
	const found = texts.get(key)?.[LANGUAGES.indexOf(language)];
	return found === "" ? key.slice(key.indexOf("_") + 1) : found;
}

// A text; "{n} node|{n} nodes" has a form for one and a form for all other numbers.
export function t(key, values = {}) {
	const forms = (lookup(key) ?? key).split("|");
	const form = forms.length > 1 && values.n !== 1 ? forms[1] : forms[0];
	return form.replace(/\{(\w+)\}/g, (_, name) => (name === "n" ? number(values.n) : values[name] ?? ""));
}

export const number = (value) => numbers.format(value);

// What programs write, such as a status, in the language of the reader; as it is when nobody translated it.
export const word = (kind, value) => lookup(`${kind}_${value}`) ?? value ?? "";

export const wordsOf = (kind) => [...texts.keys()].filter((key) => key.startsWith(`${kind}_`)).map((key) => key.slice(kind.length + 1));

export function moment(iso) {
	const time = new Date(iso);
	return (time.toDateString() === new Date().toDateString() ? times : days).format(time);
}

export function duration(seconds) {
	const whole = Math.max(0, Math.round(seconds));
	if (whole < 60) return t("seconds", { n: whole });
	if (whole < 3600) return t("minutes", { n: Math.round(whole / 60) });
	return t("hours", { h: Math.floor(whole / 3600), m: Math.floor((whole % 3600) / 60) });
}
