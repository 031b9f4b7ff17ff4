// openai: the words of a chat completion.

import OpenAI from "openai";

const client = new OpenAI({ apiKey: "none", baseURL: process.argv[2], maxRetries: 0 });
const messages = [{ role: "user", content: "count" }];
for await (const chunk of await client.chat.completions.create({ model: "m", messages, stream: true })) {
  console.log(chunk.choices[0].delta.content);
}
