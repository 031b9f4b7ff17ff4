// JavaScript's readers of event-streams: `read.mjs NAME` reads each URL of standard input and prints what was given, as
// JSON. A list has the events in their order, each as the library gives it; a text says how reading failed.

import { text } from "node:stream/consumers";

const collect = async (events, of) => {
  const given = [];
  for await (const event of events) given.push(of(event));
  return given;
};

// An EventSource would reconnect after the end.
const listened = (source) =>
  new Promise((done) => {
    const given = [];
    source.onmessage = ({ type, data, lastEventId }) => given.push([type, data, lastEventId]);
    source.onerror = () => {
      source.close();
      done(given);
    };
  });

const readers = {
  openai: async (url) => {
    const { default: OpenAI } = await import("openai");
    const client = new OpenAI({ apiKey: "none", baseURL: url, maxRetries: 0 });
    const messages = [{ role: "user", content: "count" }];
    const chunks = await client.chat.completions.create({ model: "m", messages, stream: true });
    return collect(chunks, (chunk) => chunk.choices[0].delta.content);
  },
  genai: async (url) => {
    const { GoogleGenAI } = await import("@google/genai");
    const client = new GoogleGenAI({ apiKey: "none", httpOptions: { baseUrl: url } });
    return collect(await client.models.generateContentStream({ model: "m", contents: "count" }), (one) => one.text);
  },
  generative_ai: async (url) => {
    const { GoogleGenerativeAI } = await import("@google/generative-ai");
    const model = new GoogleGenerativeAI("none").getGenerativeModel({ model: "m" }, { baseUrl: url });
    return collect((await model.generateContentStream("count")).stream, (one) => one.text());
  },
  eventsource: async (url) => {
    const { EventSource } = await import("eventsource");
    return listened(new EventSource(url));
  },
  extended_eventsource: async (url) => {
    const { EventSource } = await import("extended-eventsource");
    return listened(new EventSource(url));
  },
  event_source_polyfill: async (url) => {
    const { default: polyfill } = await import("event-source-polyfill");
    return listened(new polyfill.EventSourcePolyfill(url));
  },
  eventsource_parser: async (url) => {
    const { EventSourceParserStream } = await import("eventsource-parser/stream");
    const { body } = await fetch(url);
    const events = body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream());
    return collect(events, ({ event, data, id }) => [event, data, id]);
  },
  fetch_event_stream: async (url) => {
    const { events } = await import("fetch-event-stream");
    return collect(events(await fetch(url)), ({ event, data, id }) => [event, data, id]);
  },
  parse_sse: async (url) => {
    const { parseServerSentEvents } = await import("parse-sse");
    return collect(parseServerSentEvents(await fetch(url)), ({ type, data, lastEventId }) => [type, data, lastEventId]);
  },
  // It is made for pages: these two are all that it asks of one here.
  fetch_event_source: async (url) => {
    globalThis.window ??= globalThis;
    globalThis.document ??= { hidden: false, addEventListener() {}, removeEventListener() {} };
    const { fetchEventSource } = await import("@microsoft/fetch-event-source");
    const given = [];
    await fetchEventSource(url, {
      onmessage: ({ event, data, id }) => given.push([event, data, id]),
      onerror: (error) => {
        throw error;
      },
    });
    return given;
  },
  // No library: two readers that many write by hand.
  by_hand_lines: async (url) => {
    const given = [];
    for (const line of (await (await fetch(url)).text()).split(/\r\n|\n|\r/))
      if (line.startsWith("data: ")) given.push(line.slice(6));
    return given;
  },
  by_hand_pieces: async (url) => {
    const given = [];
    for (const piece of (await (await fetch(url)).text()).replaceAll("\r\n", "\n").split("\n\n"))
      if (piece.startsWith("data: ")) given.push(piece.slice(6));
    return given;
  },
};

console.warn = console.error = () => {};
// @google/generative-ai reads a stream twice at once, and waits for one of the two only.
process.on("unhandledRejection", () => {});
for (const url of (await text(process.stdin)).split("\n").filter(Boolean)) {
  let given;
  try {
    given = await readers[process.argv[2]](url);
  } catch (error) {
    given = `${error.name}: ${error.message}`.slice(0, 200);
  }
  console.log(JSON.stringify(given));
}
process.exit();
