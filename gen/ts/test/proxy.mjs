// A reverse proxy between client and server that loses requests and answers, as a bad network does.
import { createServer, request as forward } from 'node:http';

/**
 * Starts a proxy in front of a server. For each request, `rule({ method, path, body, count })`
 * says what becomes of it; `count` is the number of requests with this method and path so far:
 * - nothing: it is passed on
 * - 'refuse': the connection ends before the server has the request
 * - 'lose': the server carries it out, and the connection ends without an answer
 * - 'cut': the connection ends in the middle of the answer's body
 * - 'hang': the server carries it out, and there is no answer
 * - { status, headers }: the proxy answers
 */
export async function startProxy(origin) {
  const proxy = { rule: () => undefined, requests: [] };
  const held = new Set();
  const server = createServer(async (req, res) => {
    const chunks = [];
    for await (const chunk of req) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    const { method, url, headers } = req;
    const path = url.split('?')[0];
    const count = 1 + proxy.requests.filter((r) => r.method === method && r.path === path).length;
    const seen = { method, path, url, headers, body: body.toString(), count };
    proxy.requests.push(seen);
    const fate = proxy.rule(seen);
    if (fate === 'refuse') return req.socket.destroy();
    if (typeof fate === 'object') return res.writeHead(fate.status, fate.headers).end(fate.body);
    const upstream = forward(new URL(url, origin), { method, headers, agent: false }, (answer) => {
      const parts = [];
      answer.on('data', (part) => parts.push(part));
      answer.on('error', () => req.socket.destroy());
      answer.on('end', () => {
        const whole = Buffer.concat(parts);
        seen.status = answer.statusCode;
        if (fate === 'lose') return req.socket.destroy();
        if (fate === 'hang') return held.add(req.socket);
        res.writeHead(answer.statusCode, answer.headers);
        if (fate !== 'cut') return res.end(whole);
        res.write(whole.subarray(0, whole.length / 2), () => req.socket.destroy());
      });
    });
    upstream.on('error', () => req.socket.destroy());
    upstream.end(body);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  proxy.origin = `http://127.0.0.1:${server.address().port}`;
  proxy.count = (method, path) =>
    proxy.requests.filter((r) => r.method === method && r.path === path).length;
  proxy.reset = () => {
    proxy.rule = () => undefined;
    proxy.requests.length = 0;
  };
  proxy.close = () => {
    for (const socket of held) socket.destroy();
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  };
  return proxy;
}
