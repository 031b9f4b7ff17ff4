// @google/genai: the words of a model of Gemini at each URL.

import { GoogleGenAI } from "@google/genai";

for (const baseUrl of process.argv.slice(2)) {
  const client = new GoogleGenAI({ apiKey: "none", httpOptions: { baseUrl } });
  for await (const answer of await client.models.generateContentStream({ model: "m", contents: "count" })) {
    console.log(answer.text);
  }
}
