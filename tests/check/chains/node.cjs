// Proxies as people write them with Express: `node node.cjs MODE HOST PORT UPSTREAM`.
const http = require("node:http");
const express = require("express");
const { createProxyMiddleware, responseInterceptor } = require("http-proxy-middleware");

const [mode, host, port, upstream] = process.argv.slice(2);
const app = express();
app.disable("x-powered-by");

if (mode === "compression") {
  // Express's own middleware, which flushes only when it is told to.
  app.use(require("compression")({ filter: () => true }));
}
if (mode === "interceptor") {
  app.use(
    createProxyMiddleware({
      target: upstream,
      selfHandleResponse: true,
      on: { proxyRes: responseInterceptor(async (body) => body) },
    }),
  );
} else {
  app.use((request, response) => {
    const { accept: _, ...rest } = request.headers;
    const headers = { ...rest, "accept-encoding": "identity" };
    const options = { method: request.method, headers };
    const asked = http.request(new URL(request.originalUrl, upstream), options, (answer) => {
      const { "transfer-encoding": _chunked, connection: _connection, ...fields } = answer.headers;
      response.writeHead(answer.statusCode, fields);
      response.flushHeaders();
      answer.pipe(response);
    });
    request.pipe(asked);
  });
}
app.listen(Number(port), host);
