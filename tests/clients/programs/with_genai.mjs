// @google/genai: the words of a model of Gemini.

import { GoogleGenAI } from "@google/genai";

const client = new GoogleGenAI({ apiKey: "none", httpOptions: { baseUrl: process.argv[2] } });
for await (const answer of await client.models.generateContentStream({ model: "m", contents: "count" })) {
  console.log(answer.text);
}
