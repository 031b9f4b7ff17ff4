// Node's own fetch: the lines of each URL.

for (const url of process.argv.slice(2)) {
  const response = await fetch(url);
  let rest = "";
  for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop();
    lines.forEach((line) => console.log(line));
  }
}
