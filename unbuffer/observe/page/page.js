// The page: takes the updates, keeps what they say, and shows it. Nothing is loaded but this site's own files.

import { age, BUFFERED, bytes, counted, ending, gap, label, number, rate, verdict } from "./format.js";
import { Filter } from "./filter.js";
import { Heatmap, within } from "./heatmap.js";
import { endedInSilence, Picture, replayed } from "./picture.js";
import { Table } from "./table.js";

// Milliseconds before a connection that was refused is tried again.
const RETRY = 3000;
// Updates over which the rates and the delay of all streams are taken.
const SPAN = 10;
// Rows of each part of the list that a phone shows at first; page.css counts them, too.
const FEW = 12;

const $ = (id) => document.getElementById(id);

const picture = new Picture($("picture"), $("picture-text"));
const heatmap = new Heatmap($("heatmap"), $("heatmap-text"));
const filter = new Filter(() => news && show());
const phone = matchMedia("(max-width: 900px)");
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const table = new Table($("running"), $("ended"), $("list-text"), choose);

let hello = null;
let news = null;
let stream = null; // the chosen one, with all marks of it that have come
let ended = [];
let columns = [];
let history = []; // the latest updates' sums
let pinned = 0;
let paused = false;
let source = null;
const leaving = []; // sources of updates that another one takes over from
let everything = false; // on a phone: the whole list

function write(node, words) {
  if (node.textContent !== words) node.textContent = words;
}

// -- updates

function connect() {
  if (source) leaving.push(source);
  const updates = new URL("updates", import.meta.url);
  if (pinned) updates.searchParams.set("stream", pinned);
  const own = new EventSource(updates);
  source = own;
  own.addEventListener("hello", (event) => {
    if (own !== source) return;
    leave();
    hello = JSON.parse(event.data);
    stream = null;
    ended = [];
    columns = [];
    history = [];
  });
  own.addEventListener("news", (event) => own === source && take(JSON.parse(event.data)));
  own.addEventListener("error", () => {
    if (own !== source) return;
    leave();
    gone();
    // What was refused for good the browser does not try again.
    if (own.readyState === EventSource.CLOSED) setTimeout(() => own === source && connect(), RETRY);
  });
}

// What came before is closed only now: chunks are kept for as long as somebody looks.
function leave() {
  for (const former of leaving.splice(0)) former.close();
}

function take(update) {
  news = update;
  ended = keep([...(update.ended ?? []).reverse(), ...ended]);
  columns = [...columns, ...(update.columns ?? [])].slice(-hello.columns);
  history = [...history, { now: update.now, ...update.sums }].slice(-SPAN - 1);
  takeChosen(update.chosen);
  if (!paused) show();
}

// The latest, and of what ended badly as many again: a busy process has a hundred good ones in a second.
function keep(streams) {
  let failures = 0;
  return streams.filter((row, i) => {
    const counts = row.failed && (failures += 1) <= hello.recent;
    return counts || i < hello.recent;
  });
}

function takeChosen(chosen) {
  if (!chosen) {
    stream = null;
    return;
  }
  const before = stream?.row.id === chosen.row.id ? stream : null;
  const ends = before && !before.row.outcome && chosen.row.outcome;
  const got = chosen.picture;
  stream = {
    row: chosen.row,
    head: chosen.head,
    pinned: chosen.pinned,
    kept: Boolean(got),
    marks: [...(before?.marks ?? []), ...(got?.marks ?? [])].slice(-hello.length),
    missed: got?.missed ?? 0,
    pauses: got?.pauses ?? [],
    heartbeats: got?.heartbeats ?? [],
    keepalives: got?.keepalives ?? [],
    absences: got?.absences ?? [],
  };
  if (ends && chosen.pinned) {
    const judged = chosen.row.verdict ? `, ${verdict(chosen.row.verdict)}` : "";
    $("news").textContent = `${chosen.row.method} ${chosen.row.path} ended: ${label(chosen.row.outcome)}${judged}.`;
  }
}

// -- what is shown

function show() {
  const shown = stream?.row.id;
  const listed = [...news.running, ...ended];
  filter.offer(listed);
  const nothing = listed.length ? "No stream is like that." : "No stream yet.";
  table.show(filter.of(news.running), filter.of(ended), news.unlisted ?? 0, shown, news.now, nothing);
  place(shown);
  $("more").hidden = !phone.matches || everything || Math.max(...["running", "ended"].map((b) => $(b).rows.length)) <= FEW;
  showState();
  showSums();
  showStream();
  heatmap.draw(columns, hello.gap_bounds, hello.column, hello.columns);
}

function showState() {
  write($("process"), `${hello.host} · ${hello.version} · up ${age(news.now - hello.started).replace(/\.\d s$/, " s")}`);
  document.title = `${hello.host}: streams of unbuffer`;
  document.body.classList.remove("gone");
  $("gone").hidden = true;
  if (paused) tell("paused", "paused");
  else if (news.state !== "ready") tell(news.state, news.state);
  else if (news.upstream) tell("down", `upstream down: ${news.upstream}`);
  else if (news.blocked) tell("blocked", "upstream blocked now");
  else tell("live", "live, upstream up");
}

// What is seen is of then. It must not look as if it were so now.
function gone() {
  tell("lost", "no connection");
  if (!news) {
    write($("gone"), "unbuffer does not answer: it has ended, or too many of these pages are open.");
  } else {
    const then = clock.format(news.now * 1000);
    write($("gone"), `${hello.host} has not answered since ${then}: unbuffer has ended, or cannot be reached. The page shows how things were then.`);
  }
  $("gone").hidden = false;
  document.body.classList.toggle("gone", Boolean(news));
}

// A phone has no room for picture and list at once: the picture of a chosen stream stands under its row.
function place(shown) {
  const card = $("stream");
  if (pinned && phone.matches && table.put(card, shown)) return;
  table.under.remove();
  if (card.parentElement !== $("main")) $("main").insertBefore(card, $("gaps"));
}

function tell(state, words) {
  $("state").dataset.state = state;
  write($("state"), words);
}

function showSums() {
  const last = history.at(-1);
  const first = history[0];
  const seconds = last.now - first.now;
  put("streams", number(last.streams));
  put("chunks", seconds ? rate((last.chunks - first.chunks) / seconds).replace("/s", "") : "–");
  put("bytes", seconds ? `${bytes((last.bytes - first.bytes) / seconds)}/s` : "–");
  const delays = last.relay.map((count, i) => count - first.relay[i]);
  const all = delays.reduce((a, b) => a + b, 0);
  put("relay", all ? within(delays, hello.relay_bounds, all * 0.99).replace("within ", "≤ ").replace("beyond ", "> ") : "–");
  const judged = Object.entries(last.verdicts).filter(([name]) => name !== "short" && name !== "whole");
  const judgedCount = judged.reduce((sum, [, count]) => sum + count, 0);
  const buffered = judged.reduce((sum, [name, count]) => sum + (BUFFERED.includes(name) ? count : 0), 0);
  put("failed", number(last.failed), last.failed > 0);
  put("buffered", judgedCount ? `${number(buffered)} of ${number(judgedCount)}` : "–", buffered > 0);
  put("blocked", last.blocked ? counted(last.blocked, "time") : "never", last.blocked > 0);
}

function put(name, words, notable = false) {
  const place = $(`sum-${name}`);
  write(place, words);
  place.classList.toggle("notable", notable);
}

function showStream() {
  $("follow").hidden = !pinned;
  if (!stream) {
    $("window").hidden = true;
    picture.outline(null, "Its picture appears here as soon as one runs.");
    return;
  }
  const { row } = stream;
  write($("stream-heading"), `${row.method} ${row.path}`);
  showVerdict(row);
  // One that had all its chunks before the page was opened, and only ended since, has none to draw.
  const drawable = stream.kept && (stream.marks.length || !row.outcome || !row.chunks);
  $("window").hidden = !drawable;
  if (drawable) picture.draw(stream, Number(document.querySelector("#window input:checked").value));
  else picture.outline(stream, unkept(row));
}

// What is known of a stream whose chunks are not kept, in words.
function unkept(row) {
  if (!row.outcome) return "Its picture begins with the next chunk.";
  if (row.replay) return `An outline: chunks are kept only while this page is open. ${replayed(row)}`;
  const gaps = row.max_gap == null ? "" : ` The largest gap was ${gap(row.max_gap)}.`;
  const first = row.first == null ? "" : `, the first one after ${gap(row.first)}`;
  const silence = endedInSilence(row) ? ` Then nothing came for ${gap(row.gap)}, until the end.` : "";
  return (
    `An outline: chunks are kept only while this page is open, of the latest streams and of the chosen one. ` +
    `It had ${counted(row.chunks, "chunk")}, ${bytes(row.bytes)}${first}.${gaps}${silence}`
  );
}

function showVerdict(row) {
  const place = $("verdict");
  place.dataset.ending = ending(row);
  place.dataset.verdict = row.verdict ?? "";
  const parts = [];
  // How it ended weighs more than how it came. Of an end as it should be there is nothing to say.
  if (row.outcome && row.outcome !== "completed") {
    parts.push(bold(label(row.outcome)), ` ${hello.outcomes[row.outcome]} `);
  }
  if (row.unsaid) {
    parts.push(
      bold("no last word"),
      " It ended cleanly, but without the last word of nearly all others of its route: the application may have failed. ",
    );
  }
  if (row.verdict) {
    const seen = row.seen ? `, ${row.seen}` : "";
    const sure = row.finding ? (row.sure ? " (sure)" : " (likely)") : "";
    parts.push(bold(verdict(row.verdict) + seen), `${sure} ${hello.advice[row.verdict]}`);
    (row.causes ?? []).forEach((cause, i) => {
      parts.push(i ? " Or " : " Likeliest cause: ", bold(label(cause)), ` ${hello.remedies[cause]}`);
    });
    if (row.finding) parts.push(" More: ", more(row.finding), ".");
  }
  place.replaceChildren(...parts);
}

// Where to read more of a finding: a link, where what runs here knows its repository.
function more(finding) {
  if (!hello.docs) return `docs/lump.md#${finding} in unbuffer's repository`;
  const made = document.createElement("a");
  made.href = `${hello.docs}#${finding}`;
  made.target = "_blank"; // the stream that is looked at stays
  made.textContent = `lump.md#${finding}`;
  return made;
}

function bold(words) {
  const made = document.createElement("b");
  made.textContent = words;
  return made;
}

// -- what a person does

function choose(id) {
  if (paused) pause();
  pinned = id;
  connect();
}

$("more").addEventListener("click", () => {
  everything = true;
  $("list").classList.add("everything");
  $("more").hidden = true;
});

$("follow").addEventListener("click", () => choose(0));

$("pause").addEventListener("click", pause);

function pause() {
  paused = !paused;
  $("pause").textContent = paused ? "Go on" : "Pause";
  if (news) show();
}

$("window").addEventListener("change", showStream);

let width = 0;
new ResizeObserver(() => {
  if (width !== document.body.clientWidth && news) show();
  width = document.body.clientWidth;
}).observe(document.body);

connect();
