// openai: the words of a chat completion at each URL.

import OpenAI from "openai";

const messages = [{ role: "user", content: "count" }];
for (const baseURL of process.argv.slice(2)) {
  const client = new OpenAI({ apiKey: "none", baseURL, maxRetries: 0 });
  for await (const chunk of await client.chat.completions.create({ model: "m", messages, stream: true })) {
    console.log(chunk.choices[0].delta.content);
  }
}
