// The chunks of one stream in time: read from the upstream above, given to the client below, the bytes so far between.

import { age, bytes, counted, gap, number } from "./format.js";

const NS = "http://www.w3.org/2000/svg";
// Pixels from the top.
const UP = [22, 54];
const BAND = [60, 136];
const DOWN = [142, 174];
const AXIS = 192;
const HEIGHT = 214;
const SIDE = 12;
// Milliseconds of silence that are marked.
const SILENCE = 1000;

// Whether nothing came before the end of a stream whose chunks are not known. While the client took nothing it was not read.
export function endedInSilence(row) {
  return Boolean(row.outcome && !row.replay && row.first != null && row.gap * 1000 >= SILENCE && !row.stall);
}

// What a client that came back was given, in words.
export const replayed = (row) =>
  `A client that came back: it had missed ${counted(row.replayed ?? 0, "event")}, and was given ${bytes(row.bytes)} in ` +
  `${counted(row.chunks, "piece")} within ${age(row.age)}. Nothing was read from the upstream for it.`;

export function svg(tag, attributes, ...children) {
  const made = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// A picture that is drawn again and again in one place, with its words elsewhere.
export class Drawing {
  constructor(heading, caption) {
    this.svg = svg("svg", { role: "img", "aria-labelledby": heading, "aria-describedby": caption });
  }

  draw(frame, width, height, ...children) {
    const size = { viewBox: `0 0 ${width} ${height}`, width, height };
    for (const [name, value] of Object.entries(size)) this.svg.setAttribute(name, value);
    this.svg.replaceChildren(...children);
    if (!this.svg.isConnected) frame.replaceChildren(this.svg);
  }
}

const text = (x, y, className, content) => svg("text", { x: x.toFixed(1), y, class: className }, content);

export class Picture {
  constructor(frame, caption) {
    this.frame = frame;
    this.caption = caption;
    this.drawing = new Drawing("stream-heading", caption.id);
  }

  // stream: { row, head, marks, missed, pauses, heartbeats, keepalives, absences, kept }; seconds: how much is shown, 0 = all.
  draw(stream, seconds) {
    const width = Math.max(this.frame.clientWidth, 280);
    const now = stream.row.age * 1000;
    const first = stream.missed && stream.marks.length ? stream.marks[0][0] : 0;
    const from = Math.max(seconds ? now - seconds * 1000 : 0, Math.min(first, now));
    // After an end there is some room, so that what came last stands out.
    const to = Math.max(stream.row.outcome ? now + (now - from) * 0.03 : now, from + 500);
    const x = (ms) => SIDE + ((ms - from) / (to - from)) * (width - 2 * SIDE);
    const shown = stream.marks.filter(([read]) => read >= from);
    // A replay is given what is kept: whether the upstream is silent meanwhile, the stream itself tells.
    const { replay } = stream.row;
    const silences = replay ? [] : this.silences(stream, now);
    const unread = (read) => stream.absences.some(([begin, end]) => read >= begin && read < end);
    const read = replay ? [] : shown;
    const given = shown.filter(([read]) => !unread(read));
    const kept = shown.filter(([read]) => unread(read));
    this.drawing.draw(
      this.frame,
      width,
      HEIGHT,
      ...this.lanes(width, replay),
      ...this.axis(x, from, to, width),
      ...silences
        .filter(([, until]) => until >= from)
        .flatMap(([since, until]) => this.silence(x(Math.max(since, from)), x(until), until - since)),
      ...stream.pauses
        .filter(([, end]) => end >= from)
        .map(([begin, end]) => this.span("stalled", x(Math.max(begin, from)), x(end), DOWN)),
      ...stream.absences
        .filter(([, end]) => end >= from)
        .flatMap(([begin, end]) => this.absence(x(Math.max(begin, from)), x(end))),
      this.total(stream, x, from, to),
      ...this.moments(stream, x, from, now),
      svg("path", { class: "ups", d: read.map(([read]) => `M${x(read).toFixed(1)} ${UP[0]}V${UP[1]}`).join("") }),
      svg("path", {
        class: "downs",
        d: given.map(([read, delay]) => `M${x(read + delay).toFixed(1)} ${DOWN[0]}V${DOWN[1]}`).join(""),
      }),
      svg("path", { class: "kept", d: kept.map(([read]) => `M${x(read).toFixed(1)} ${DOWN[1] - 10}V${DOWN[1]}`).join("") }),
      svg("path", {
        class: "beats",
        d: stream.heartbeats
          .filter((sent) => sent >= from)
          .map((sent) => `M${x(sent).toFixed(1)} ${DOWN[0] + 9}l7 7-7 7-7-7z`)
          .join(""),
      }),
      svg("path", {
        class: "alives",
        d: stream.keepalives
          .filter((read) => read >= from)
          // Below the length of the silence that they come in.
          .map((read) => `M${x(read).toFixed(1)} ${UP[0] + 18}l7 7-7 7-7-7z`)
          .join(""),
      }),
    );
    this.describe(stream, silences, kept.length);
  }

  // What the numbers of a stream tell whose chunks were not kept: when the first and the last one came, and of those
  // between no more than a broken line. Without a stream: where one will be.
  outline(stream, why) {
    const width = Math.max(this.frame.clientWidth, 280);
    const known = stream ? this.known(stream, width) : [];
    this.drawing.draw(this.frame, width, HEIGHT, ...this.lanes(width, stream?.row.replay), ...known);
    if (this.caption.textContent !== why) this.caption.textContent = why;
  }

  known(stream, width) {
    const { row } = stream;
    const now = row.age * 1000;
    const to = Math.max(row.outcome ? now * 1.03 : now, 500);
    const x = (ms) => SIDE + (ms / to) * (width - 2 * SIDE);
    const drawn = [...this.axis(x, 0, to, width), ...this.moments(stream, x, 0, now)];
    if (row.first == null) return drawn;
    const [first, last] = [x(row.first * 1000), x(now - (row.gap ?? 0) * 1000)];
    return [
      ...drawn,
      ...(endedInSilence(row) ? this.silence(last, x(now), row.gap * 1000) : []),
      row.replay ? this.ends("downs", DOWN, first, last) : this.ends("ups", UP, first, last),
      svg("path", { class: "total-line unknown", d: `M${first.toFixed(1)} ${BAND[1]}L${last.toFixed(1)} ${BAND[0]}` }),
    ];
  }

  ends(className, [top, bottom], ...places) {
    return svg("path", { class: className, d: places.map((at) => `M${at.toFixed(1)} ${top}V${bottom}`).join("") });
  }

  lanes(width, replay) {
    return [
      svg("rect", { class: "lane", x: 0, y: UP[0] - 4, width, height: UP[1] - UP[0] + 8, rx: 4 }),
      svg("rect", { class: "lane", x: 0, y: DOWN[0] - 4, width, height: DOWN[1] - DOWN[0] + 8, rx: 4 }),
      text(width - 4, UP[0] - 9, "name up last", replay ? "kept by unbuffer" : "upstream"),
      text(width - 4, DOWN[1] + 15, "name down last", "client"),
    ];
  }

  span(className, begin, end, [top, bottom]) {
    const width = Math.max(end - begin, 1.5).toFixed(1);
    return svg("rect", { class: className, x: begin.toFixed(1), y: top - 4, width, height: bottom - top + 8 });
  }

  // Lines at round times, about one each 90 pixels.
  axis(x, from, to, width) {
    const rough = ((to - from) / width) * 90;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
    const made = [];
    for (let at = Math.ceil(from / step) * step; at <= to; at += step) {
      const seconds = at / 1000;
      const digits = step < 100 ? 2 : step < 1000 ? 1 : 0;
      const content = seconds < 120 ? `${seconds.toFixed(digits)} s` : age(seconds);
      const place = x(at);
      const label = text(place, HEIGHT - 4, "time", content);
      // The first and the last one stay inside.
      label.setAttribute("text-anchor", place < 30 ? "start" : place > width - 30 ? "end" : "middle");
      made.push(svg("line", { class: "grid", x1: place, x2: place, y1: UP[0] - 4, y2: AXIS }), label);
    }
    return made;
  }

  // From when to when the upstream said nothing. The last silence lasts until now, or is what the stream ended in.
  silences(stream, now) {
    const found = [];
    const times = [...stream.marks.map(([read]) => read), now];
    // Of what came before anybody looked only the latest time is known, until the next chunk comes.
    let before = !stream.missed ? 0 : stream.marks.length ? times[0] : now - (stream.row.gap ?? 0) * 1000;
    for (const at of times) {
      // While the client takes nothing the upstream is not read: that is no silence.
      const since = Math.max(before, ...stream.pauses.filter(([begin]) => begin < at).map(([, end]) => end));
      if (at - since >= SILENCE) found.push([since, at]);
      before = at;
    }
    return found;
  }

  silence(begin, end, lasted) {
    const band = this.span("silence", begin, end, UP);
    return end - begin > 44 ? [band, text((begin + end) / 2, UP[0] + 12, "silent", gap(lasted / 1000))] : [band];
  }

  // From when to when nobody read: what came then was kept.
  absence(begin, end) {
    const band = this.span("absent", begin, end, DOWN);
    return end - begin > 44 ? [band, text((begin + end) / 2, DOWN[0] + 12, "nobody", "nobody")] : [band];
  }

  // Stairs: how much of what came had come by then.
  total(stream, x, from, to) {
    const kept = stream.marks.reduce((sum, [, , size]) => sum + size, 0);
    let sum = stream.row.bytes - kept;
    const base = stream.marks.find(([read]) => read >= from) ? this.before(stream, from, sum) : sum;
    const y = (value) =>
      (BAND[1] - ((value - base) / Math.max(stream.row.bytes - base, 1)) * (BAND[1] - BAND[0])).toFixed(1);
    let d = `M${x(from).toFixed(1)} ${y(base)}`;
    for (const [read, , size] of stream.marks) {
      sum += size;
      if (read >= from) d += `H${x(read).toFixed(1)}V${y(sum)}`;
    }
    d += `H${x(to).toFixed(1)}`;
    return svg(
      "g",
      {},
      svg("path", { class: "total-area", d: `${d}V${BAND[1]}H${x(from).toFixed(1)}z` }),
      svg("path", { class: "total-line", d }),
    );
  }

  before(stream, from, sum) {
    for (const [read, , size] of stream.marks) if (read < from) sum += size;
    return sum;
  }

  moments(stream, x, from, now) {
    const made = [];
    if (stream.head != null && stream.head >= from) {
      const place = x(stream.head);
      made.push(
        svg("line", { class: "head", x1: place, x2: place, y1: UP[0] - 4, y2: AXIS }),
        text(place + 4, UP[0] - 9, "name", "head"),
      );
    }
    if (stream.row.outcome) {
      made.push(svg("line", { class: "end", x1: x(now), x2: x(now), y1: UP[0] - 4, y2: DOWN[1] + 4 }));
    }
    return made;
  }

  // All that the picture says, in words.
  describe({ row, marks, missed, pauses, head }, silences, kept) {
    const gaps = marks.slice(1).map(([read], i) => read - marks[i][0]).sort((a, b) => a - b);
    const words = [row.replay ? replayed(row) : `${counted(row.chunks, "chunk")}, ${bytes(row.bytes)} in ${age(row.age)}.`];
    if (head != null) words.push(`The head came after ${gap(head / 1000)}.`);
    if (gaps.length && !row.replay) {
      const middle = gap(gaps[Math.floor(gaps.length / 2)] / 1000);
      words.push(`Half of the gaps were ${middle} or less, the largest ${gap(row.max_gap ?? 0)}.`);
    }
    const [since, until] = silences.at(-1) ?? [0, 0];
    if (row.outcome && until === row.age * 1000) {
      words.push(`Then nothing came for ${gap((until - since) / 1000)}, until the end.`);
    }
    if (pauses.length) words.push(`The client stalled the stream for ${gap(row.stall)}.`);
    if (row.heartbeats) words.push(`Heartbeats sent: ${number(row.heartbeats)}.`);
    if (row.keepalives) words.push(`Keep-alives of the application: ${number(row.keepalives)}.`);
    if (row.readers != null && !row.outcome && !row.replay) words.push(`Read by ${counted(row.readers, "client")} now.`);
    if (row.absences) words.push(`Nobody read it for ${gap(row.absent ?? 0)}, ${counted(row.absences, "time")}.`);
    if (kept) words.push(`${counted(kept, "chunk")} of this picture came when nobody read, and were kept.`);
    if (row.resumes) words.push(`Clients came back: ${number(row.resumes)}; events they had missed: ${number(row.replayed ?? 0)}.`);
    if (missed) words.push(`${counted(missed, "chunk")} came before anybody looked.`);
    const content = words.join(" ");
    if (this.caption.textContent !== content) this.caption.textContent = content;
  }
}
