// The list of streams. Rows are made once and changed in place, so that focus, selection and scrolling stay.

import { age, bytes, counted, ending, gap, label, number, rate, verdict } from "./format.js";

const COLUMNS = ["State", "Verdict", "First chunk", "Age", "Chunks", "Bytes", "Rate", "Last gap", "Largest gap", "Client stall"];
// Seconds from which on a value stands out.
const NOTABLE = 1;

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

function element(tag, role, name) {
  const made = document.createElement(tag);
  if (role) made.setAttribute("role", role);
  if (name) made.className = name;
  return made;
}

// Writes only what has changed: a screen reader is not told the same again.
function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

class Row {
  constructor(stream, choose) {
    this.tr = element("tr", "row");
    const head = element("th", "rowheader");
    head.scope = "row";
    this.button = element("button");
    this.button.type = "button";
    this.button.tabIndex = -1;
    const method = element("span", "", "method");
    const path = element("span", "", "path");
    method.textContent = stream.method;
    path.textContent = stream.path;
    this.button.append(method, " ", path);
    this.button.title = stream.path;
    this.about = element("small");
    head.append(this.button, this.about);
    this.tr.append(head);
    this.tr.addEventListener("click", () => {
      this.button.focus({ preventScroll: true });
      choose(stream.id);
    });
    this.cells = COLUMNS.map((name) => {
      const cell = element("td", "cell");
      cell.dataset.label = name;
      this.tr.append(cell);
      return cell;
    });
    this.before = null;
    this.rate = null;
  }

  update(stream, now) {
    this.countRate(stream, now);
    const runs = !stream.outcome;
    const answer = stream.status || (runs ? "no answer yet" : "no answer");
    const about = [stream.route, stream.kind, answer];
    if (stream.replay) about.push(`replay of ${counted(stream.replayed ?? 0, "event")}`);
    if (!runs) about.push(`ended ${clock.format(stream.ended * 1000)}`);
    write(this.about, about.join(" · "));
    const state = !runs ? stream.outcome : stream.paused ? "stalled by client" : stream.status ? "running" : "waiting";
    const values = [
      stream.unsaid ? "no last word" : label(state),
      stream.verdict ? verdict(stream.verdict) : "–",
      stream.first == null ? "–" : gap(stream.first),
      runs ? age(stream.age) : gap(stream.age),
      number(stream.chunks),
      bytes(stream.bytes),
      this.rate === null ? "–" : rate(this.rate),
      stream.gap == null ? "–" : gap(stream.gap),
      stream.max_gap == null ? "–" : gap(stream.max_gap),
      stream.stall ? gap(stream.stall) : "–",
    ];
    values.forEach((value, i) => write(this.cells[i], value));
    this.tr.dataset.ending = ending(stream);
    this.cells[0].dataset.state = state;
    this.cells[1].dataset.verdict = stream.verdict ?? "";
    // What was not read, because the client took nothing, was no silence.
    const stalled = runs ? stream.paused : stream.stall > 0;
    this.cells[7].classList.toggle("notable", stream.gap >= NOTABLE && !stalled);
    this.cells[8].classList.toggle("notable", stream.max_gap >= NOTABLE);
    this.cells[9].classList.toggle("notable", stream.stall >= NOTABLE);
  }

  // Chunks a second since the last time; of a stream that has ended, over all of it.
  countRate(stream, now) {
    if (stream.outcome) this.rate = stream.chunks > 1 ? stream.chunks / stream.age : null;
    else if (this.before && now > this.before.now) {
      this.rate = (stream.chunks - this.before.chunks) / (now - this.before.now);
    }
    this.before = { now, chunks: stream.chunks };
  }
}

export class Table {
  constructor(running, ended, text, choose) {
    this.bodies = [running, ended];
    this.text = text;
    this.choose = choose;
    this.rows = new Map();
    // Where the picture of a chosen stream stands on a phone: under its row.
    this.under = element("tr", "row", "under");
    this.cell = element("td", "cell");
    this.cell.colSpan = COLUMNS.length + 1;
    this.under.append(this.cell);
    running.parentElement.addEventListener("keydown", (event) => this.move(event));
  }

  show(running, ended, unlisted, chosen, now, nothing) {
    const focused = document.activeElement;
    const seen = new Set();
    [running, ended].forEach((streams, i) => {
      let place = this.bodies[i].firstElementChild;
      for (const stream of streams) {
        seen.add(stream.id);
        if (place === this.under) place = place.nextElementSibling;
        const row = this.row(stream);
        row.update(stream, now);
        row.tr.toggleAttribute("data-chosen", stream.id === chosen);
        row.button.setAttribute("aria-pressed", String(stream.id === chosen));
        if (row.tr === place) place = place.nextElementSibling;
        else this.bodies[i].insertBefore(row.tr, place);
      }
    });
    for (const [id, row] of this.rows) {
      if (!seen.has(id)) {
        row.tr.remove();
        this.rows.delete(id);
      }
    }
    // A row that has moved has lost the focus.
    if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
    this.keepOneStop();
    const more = unlisted ? `${number(unlisted)} more are running; the newest are listed. ` : "";
    write(this.text, seen.size ? more : nothing);
  }

  // Puts this element under the row of a stream; false: there is no such row.
  put(element, id) {
    const row = this.rows.get(id);
    if (!row) return false;
    if (element.parentElement !== this.cell) this.cell.append(element);
    if (row.tr.nextElementSibling !== this.under) row.tr.after(this.under);
    return true;
  }

  row(stream) {
    if (!this.rows.has(stream.id)) this.rows.set(stream.id, new Row(stream, this.choose));
    return this.rows.get(stream.id);
  }

  buttons() {
    return this.bodies.flatMap((body) => [...body.querySelectorAll("th button")]);
  }

  // One stop for the tab key in the whole list, however long it is.
  keepOneStop(wanted) {
    const all = this.buttons();
    const stop =
      wanted ??
      all.find((button) => button === document.activeElement) ??
      all.find((button) => button.tabIndex === 0) ??
      all[0];
    for (const button of all) button.tabIndex = button === stop ? 0 : -1;
  }

  move(event) {
    const all = this.buttons();
    const at = all.indexOf(document.activeElement);
    if (at < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const wanted = all[Math.min(Math.max(to, 0), all.length - 1)];
    this.keepOneStop(wanted);
    wanted.focus();
  }
}
