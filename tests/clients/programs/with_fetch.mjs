// Node's own fetch: the lines of a URL.

const response = await fetch(process.argv[2]);
let rest = "";
for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
  const lines = (rest + text).split("\n");
  rest = lines.pop();
  lines.forEach((line) => console.log(line));
}
