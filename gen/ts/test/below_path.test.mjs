// Tests of the package and the documentation pages below a path, https://host/oei/, through a proxy
// that takes the path off and knows no other.
import assert from 'node:assert/strict';
import { createServer, request as forward } from 'node:http';
import { after, before, test } from 'node:test';
import { createGateway, createSensor, listSensors, writeReadings } from '@oei-ms/client';
import { Live } from '@oei-ms/client/live';
import { items } from '@oei-ms/client/pages';
import { connect } from '@oei-ms/client/session';
import { startBrowser } from './browser.mjs';
import { admin, startServer } from './server.mjs';

const prefix = '/oei';
let server, proxy, browser, session, live;

before(async () => {
  server = await startServer({ env: { OEI_SERVER_TRUSTED_PROXIES: '127.0.0.1' } });
  proxy = await startPrefixProxy(server.origin);
  browser = await startBrowser(proxy.origin);
});
after(async () => {
  live?.close();
  session?.close();
  await browser?.close();
  await proxy?.close();
  await server?.stop();
});

/** Starts the proxy; `strays` are the requests that were not below the path. */
async function startPrefixProxy(origin) {
  const strays = [];
  const sockets = new Set();
  const upstream = ({ method, url, headers }) => {
    if (!url.startsWith(`${prefix}/`)) {
      strays.push(`${method} ${url}`);
      return undefined;
    }
    const to = new URL(url.slice(prefix.length), origin);
    return forward(to, { method, headers: { ...headers, 'x-forwarded-prefix': prefix } });
  };
  const proxied = createServer((req, res) => {
    const out = upstream(req);
    if (!out) return res.writeHead(404).end();
    out.on('response', (answer) => {
      res.writeHead(answer.statusCode, answer.headers);
      answer.pipe(res);
    });
    out.on('error', () => res.destroy());
    req.pipe(out);
  });
  proxied.on('upgrade', (req, socket) => {
    const out = upstream(req);
    if (!out) return socket.destroy();
    out.on('response', () => socket.destroy());
    out.on('error', () => socket.destroy());
    out.on('upgrade', (answer, inner) => {
      const headers = Object.entries(answer.headers).map(([name, value]) => `${name}: ${value}`);
      socket.write(['HTTP/1.1 101 Switching Protocols', ...headers, '', ''].join('\r\n'));
      for (const [from, to] of [
        [inner, socket],
        [socket, inner],
      ]) {
        sockets.add(from);
        from.on('error', () => to.destroy()).pipe(to);
      }
    });
    out.end();
  });
  await new Promise((resolve) => proxied.listen(0, '127.0.0.1', resolve));
  return {
    strays,
    origin: `http://127.0.0.1:${proxied.address().port}`,
    close: () => {
      for (const socket of sockets) socket.destroy();
      proxied.closeAllConnections();
      return new Promise((resolve) => proxied.close(resolve));
    },
  };
}

test('session, pages and Live stay below the path', async () => {
  session = await connect({ url: `${proxy.origin}${prefix}/`, login: admin });
  const { client } = session;
  const gateway = await createGateway({ client, body: { name: 'Press' }, throwOnError: true });
  assert.match(gateway.response.headers.get('Location'), /^\/oei\/api\/gateways\/\d+$/);
  const created = [];
  for (const key of ['t1', 't2', 't3']) {
    const body = { key, name: key, type: 'temperature', gateway_id: gateway.data.id };
    created.push((await createSensor({ client, body, throwOnError: true })).data.id);
  }
  const listed = [];
  for await (const sensor of items(listSensors, { client, query: { limit: 1 } })) {
    listed.push(sensor.id);
  }
  assert.deepEqual(listed, created);

  live = new Live({ session });
  const received = new Promise((resolve) => {
    live.subscribe([`sensors/${created[0]}`], { snapshot: true, onReading: resolve });
  });
  const readings = [{ sensor_id: created[0], value: 21.5 }];
  await writeReadings({ client, body: { readings }, throwOnError: true });
  assert.equal((await received).value, 21.5);
  assert.deepEqual(proxy.strays, []);
});

test('the documentation pages lead to each other, log in and call below the path', async () => {
  const { page, faults } = await browser.open();
  await page.goto(`${prefix}/`);
  assert.equal(new URL(page.url()).pathname, `${prefix}/docs`);
  await page.locator('.btn.authorize').first().click();
  const dialog = page.locator('.auth-container', { hasText: 'OAuth2, password' });
  await dialog.locator('#oauth_username').fill(admin.username);
  await dialog.locator('#oauth_password').fill(admin.password);
  await dialog.locator('button.authorize').click();
  await dialog.getByText('Logout').waitFor();
  await page.locator('.btn-done').first().click();
  const version = page.locator('#operations-system-getVersion');
  await version.locator('.opblock-summary').click();
  await version.getByRole('button', { name: 'Try it out' }).click();
  await version.getByRole('button', { name: 'Execute' }).click();
  const answer = version.locator('.live-responses-table');
  await answer.waitFor();
  assert.match(await answer.innerText(), /200/);
  assert.match(await version.locator('.request-url').innerText(), /\/oei\/version/);

  const guide = `${proxy.origin}${prefix}/docs/guide/live`;
  const linked = () =>
    page
      .getByRole('link', { name: 'live data' })
      .first()
      .evaluate((a) => a.href);
  assert.equal(await linked(), guide); // Swagger UI opens it in a new tab
  await page.goto(guide);
  await page.getByRole('link', { name: 'API reference' }).click();
  await page.getByRole('heading', { name: 'OEI-MS' }).first().waitFor();
  assert.equal(await linked(), guide);
  await page.goto(`${prefix}/asyncapi`);
  await page.getByRole('heading', { name: 'OEI-MS' }).first().waitFor();
  assert.deepEqual(faults, []);
  assert.deepEqual(proxy.strays, []);
});
