// Tests of Live in a browser whose page or machine sleeps, and whose network changes.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { createGateway, createSensor, listReadings, writeReadings } from '@oei-ms/client';
import { startBrowser } from './browser.mjs';
import { admin, logIn, startServer } from './server.mjs';
import { startProxy } from './swallow.mjs';

let server, proxy, browser, gateway;
before(async () => {
  server = await startServer();
  proxy = await startProxy(server.origin);
  browser = await startBrowser(proxy.origin, {
    ignoreDefaultArgs: ['--disable-back-forward-cache'],
  });
  await logIn(server.origin);
  gateway = (await createGateway({ body: { key: 'page', name: 'Page' } })).data;
});
after(async () => {
  await browser?.close();
  proxy?.close();
  await server?.stop();
});

let page, cdp, sensor;
const begin = Date.now() - 600_000;
beforeEach(async ({ name }) => {
  const body = {
    name,
    key: name.replace(/\W+/g, '-').slice(0, 60),
    type: 'temperature',
    gateway_id: gateway.id,
  };
  sensor = (await createSensor({ body })).data.id;
  ({ page } = await browser.open());
  cdp = await page.context().newCDPSession(page);
  await page.route('**/client/**', async (route) => {
    const path = new URL(route.request().url()).pathname.slice('/client/'.length);
    const body = await readFile(new URL(`../dist/${path}`, import.meta.url));
    await route.fulfill({ contentType: 'text/javascript', body });
  });
  const html = '<!doctype html><link rel="icon" href="data:,">';
  await page.route('**/*.html', (route) => route.fulfill({ contentType: 'text/html', body: html }));
  await page.goto('/live.html');
  await page.evaluate(
    async ({ admin, topic }) => {
      const { connect } = await import('/client/session.js');
      const { Live } = await import('/client/live.js');
      const session = await connect({ url: '/', login: admin });
      const live = new Live({ session });
      Object.assign(window, { live, states: [], values: [], persisted: undefined });
      const note = (s) => window.states.push({ ...s, at: performance.now() });
      live.on('state', note);
      window.addEventListener('pageshow', (e) => (window.persisted = e.persisted));
      const onReading = (e) => window.values.push(e.value);
      await live.subscribe(topic, { gapless: true, onReading }).ready;
      note(live.state);
    },
    { admin, topic: `sensors/${sensor}` },
  );
});
afterEach(() => page.context().close());

let written = 0;
async function write(n) {
  const readings = Array.from({ length: n }, () => {
    written++;
    return {
      sensor_id: sensor,
      timestamp: new Date(begin + written).toISOString(),
      value: written,
    };
  });
  await writeReadings({ body: { readings } });
}

/** Waits until the page has every stored reading once and in order, and then a live one. */
async function assertComplete() {
  const { data } = await listReadings({
    query: { sensor_id: [sensor], order: 'asc', limit: 1000 },
  });
  const values = data.map((r) => r.value);
  await when((n) => window.values.length >= n, values.length);
  assert.deepEqual(await page.evaluate(() => window.values), values);
  await write(1);
  await when((v) => window.values.at(-1) === v, written);
}

/** Waits until a function of the page holds; also while the page counts as hidden. */
const when = (holds, arg) => page.waitForFunction(holds, arg, { polling: 50, timeout: 30_000 });

const pass = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until the page is live, and returns how many ms that took. */
async function untilLive(since) {
  await when(() => window.live.state.state === 'live');
  const took = Date.now() - since;
  assert.ok(took < 15_000, `took ${took} ms`);
  return took;
}

// While the machine sleeps, the server ends the connection after 12 s of silence.
const sleepMs = 15_000;

test('a page that stood still for ten minutes is live at once', async (t) => {
  await write(5);
  await when(() => window.values.length === 5);
  await page.evaluate((missing) => {
    const now = Date.now;
    let last = now();
    let slept = 0;
    Date.now = () => {
      if (now() - last > 10_000) slept += missing;
      last = now();
      return last + slept;
    };
  }, 600_000 - sleepMs);
  const renderer = (name) => signal(name, /--type=renderer/);
  renderer('SIGSTOP');
  try {
    proxy.swallow(true);
    await write(600);
    await pass(sleepMs);
    proxy.swallow(false);
  } finally {
    renderer('SIGCONT');
  }
  const woken = Date.now();
  await when(() => window.states.some((s) => s.state === 'connecting'));
  const live = await untilLive(woken);
  await when(() => window.values.length >= 605);
  t.diagnostic(`live after ${live} ms, the gap was read after ${Date.now() - woken} ms`);
  await assertComplete();
});

test('a machine that slept is live at once', async (t) => {
  await write(5);
  await when(() => window.values.length === 5);
  signal('SIGSTOP', /chrom/i);
  try {
    await write(300);
    await pass(sleepMs);
  } finally {
    signal('SIGCONT', /chrom/i);
  }
  const woken = Date.now();
  await when(() => window.states.some((s) => s.state === 'connecting'));
  const live = await untilLive(woken);
  await when(() => window.values.length >= 305);
  t.diagnostic(`live after ${live} ms, the gap was read after ${Date.now() - woken} ms`);
  await assertComplete();
});

test('a page without network is offline, and live when the network is back', async (t) => {
  await write(5);
  await when(() => window.values.length === 5);
  const network = (offline) => {
    proxy.swallow(offline);
    const conditions = { offline, latency: 0, downloadThroughput: -1, uploadThroughput: -1 };
    return cdp.send('Network.emulateNetworkConditions', conditions);
  };
  await network(true);
  await write(300);
  await when(() => window.live.state.state === 'offline');
  assert.equal(typeof (await page.evaluate(() => window.live.state.since)), 'number');
  await pass(3000);
  await network(false);
  const back = Date.now();
  t.diagnostic(`live after ${await untilLive(back)} ms`);
  await assertComplete();
});

test('a page from the back/forward cache is live at once', async (t) => {
  await write(5);
  await when(() => window.values.length === 5);
  await page.goto('/other.html');
  await write(100);
  const back = Date.now();
  await page.evaluate(() => setTimeout(() => history.back())); // goBack waits for a load
  await when(() => window.persisted === true);
  t.diagnostic(`live after ${await untilLive(back)} ms`);
  await assertComplete();
});

test('a page that is shown again checks the connection', async () => {
  await write(5);
  await when(() => window.values.length === 5);
  await page.evaluate(() => {
    const now = Date.now;
    Date.now = () => now() + 10_000; // so long ago is the last message
  });
  proxy.swallow(true);
  await page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
  await when(() => window.live.state.state === 'connecting');
  proxy.swallow(false);
  await page.evaluate(() => window.live.retry());
  await assertComplete();
});

/** Sends a signal to the processes of the browser whose command line matches. */
function signal(name, pattern) {
  const rows = execFileSync('ps', ['-A', '-o', 'pid=,ppid=,args='], { encoding: 'utf8' })
    .split('\n')
    .map((row) => /^ *(\d+) +(\d+) +(.*)/.exec(row)?.slice(1) ?? []);
  const below = (parent) =>
    rows.filter(([, ppid]) => ppid === String(parent)).flatMap((r) => [r, ...below(r[0])]);
  const found = below(process.pid).filter(([, , args]) => pattern.test(args));
  assert.ok(found.length > 0);
  for (const [pid] of found) process.kill(Number(pid), name);
}
