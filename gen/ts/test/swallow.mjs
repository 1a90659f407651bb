// A TCP proxy that can swallow what it gets: the network is cut, and nobody is told.
import { connect, createServer } from 'node:net';

/** Resolves to a proxy of an origin: its own origin, `swallow(on)`, `cut()` and `close()`. */
export async function startProxy(origin) {
  const { hostname, port } = new URL(origin);
  const pairs = new Set();
  let swallowing = false;
  const server = createServer((near) => {
    if (swallowing) {
      near.on('error', () => {}).resume(); // never answered
      pairs.add({ near });
      return;
    }
    const far = connect(Number(port), hostname);
    const pair = { near, far };
    pairs.add(pair);
    for (const [from, to] of [
      [near, far],
      [far, near],
    ]) {
      from.on('error', () => {});
      from.on('data', (data) => {
        if (!pair.dead) to.write(data);
        else if (!swallowing) near.destroy(); // like a server that has forgotten the connection
      });
      from.on('close', () => {
        if (pair.dead) return;
        pairs.delete(pair);
        to.destroy();
      });
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const cut = () => {
    for (const { near, far } of pairs) {
      near.destroy();
      far?.destroy();
    }
    pairs.clear();
  };
  return {
    origin: `http://127.0.0.1:${server.address().port}`,
    /** With true, connections lose all data from now on. With false, new ones work again. */
    swallow(on) {
      swallowing = on;
      for (const pair of pairs) {
        if (on) pair.dead = true;
        else if (!pair.far) pair.near.destroy();
      }
    },
    /** Ends all connections. */
    cut,
    close() {
      cut();
      server.close();
    },
  };
}
