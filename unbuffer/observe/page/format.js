// Numbers for people.

const whole = new Intl.NumberFormat("en");
const compact = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

export const number = (value) => whole.format(value);

export const counted = (value, what) => `${number(value)} ${what}${value === 1 ? "" : "s"}`;

export function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${compact.format(value)} ${units[unit]}`;
}

export function rate(value) {
  return value < 0.05 ? "0/s" : `${value < 9.95 ? value.toFixed(1) : whole.format(Math.round(value))}/s`;
}

// A gap: from microseconds to minutes.
export function gap(seconds) {
  if (seconds < 0.00001) return "< 10 µs";
  if (seconds < 0.001) return `${compact.format(seconds * 1e6)} µs`;
  if (seconds < 0.9995) return `${compact.format(seconds * 1000)} ms`;
  return age(seconds);
}

// A time that runs: it keeps its width.
export function age(seconds) {
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(Math.round(seconds) / 60);
  if (minutes < 60) return `${minutes} min ${Math.round(seconds) % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

const words = {
  streamed: "streamed",
  lump: "one lump",
  bursts: "bursts",
  headers_withheld: "head withheld",
  first_bytes_held: "first bytes held",
  blocked_loop: "waited for others",
  whole: "whole, after a wait",
  short: "too short to judge",
};

// Verdicts of streams that came by what a collector makes of them.
export const BUFFERED = ["lump", "bursts", "headers_withheld", "first_bytes_held", "blocked_loop"];

export const verdict = (name) => words[name] ?? name;

// How a stream ended, in a word for its colour: in no way yet, well, because the client left, or badly.
export const ending = ({ outcome, unsaid }) =>
  !outcome ? "" : unsaid ? "badly" : { completed: "well", client_disconnect: "left", abandoned: "left", cancelled: "left" }[outcome] ?? "badly";

export const label = (name) => name.replaceAll("_", " ");
