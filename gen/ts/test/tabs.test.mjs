// Tests of one session in several tabs of a browser, with tokens of three seconds and answers that
// are lost on the way.
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { servePackage, startBrowser } from './browser.mjs';
import { startProxy } from './proxy.mjs';
import { admin, startServer } from './server.mjs';

const login = '/api/auth/login';
const refresh = '/api/auth/refresh';
const graceTime = 30_000; // in which the server accepts a used refresh token
let server, proxy, browser;

before(async () => {
  server = await startServer({ env: { ACCESS_TOKEN_EXPIRE_MINUTES: '0.05' } }); // 3 s
  proxy = await startProxy(server.origin);
  browser = await startBrowser(proxy.origin);
});
after(async () => {
  await browser?.close();
  await proxy?.close();
  await server?.stop();
});
afterEach(() => proxy.reset());

/** Opens an empty page; `another` opens a further tab. */
async function open({ locks = true } = {}) {
  const { page, faults, another } = await browser.open();
  const context = page.context();
  await servePackage(context);
  if (!locks) await context.addInitScript(() => delete Navigator.prototype.locks);
  const tab = async (page) => {
    await page.goto('/page.html');
    assert.equal(await page.evaluate(() => 'locks' in navigator), locks);
    return page;
  };
  return {
    faults,
    first: await tab(page),
    another: async () => tab(await another()),
    close: () => context.close(),
  };
}

/** Connects in a page, and calls the server again and again. `seen` counts what happens. */
const work = (page, options) =>
  page.evaluate(async ({ storage, asks, ...options }) => {
    const { connect } = await import('/client/session.js');
    const { getCurrentUser } = await import('/client/index.js');
    const dialog = () => new Promise((resolve) => asks.user && setTimeout(resolve, 300, asks.user));
    const oei = await connect({
      ...options,
      ...(storage && { storage: window[storage] }),
      ...(asks && { login: dialog }),
    });
    const seen = { calls: 0, tokens: 0, ends: 0, failures: [] };
    Object.assign(window, { oei, seen });
    oei.on('token', () => seen.tokens++);
    oei.on('end', () => seen.ends++);
    (async () => {
      for (;;) {
        await getCurrentUser({ client: oei.client }).then(
          () => seen.calls++,
          (err) => seen.failures.push(String(err)),
        );
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    })();
  }, options);

const seenBy = (page) => page.evaluate(() => window.seen);

/** Waits until a condition holds. */
async function until(condition) {
  while (!(await condition())) await sleep(50);
}

/** Loses, cuts off and refuses some of the refreshes. */
function disturb() {
  const fates = ['lose', undefined, 'refuse', undefined, 'cut', 'lose', 'lose', undefined];
  proxy.rule = ({ path, count }) => (path === refresh ? fates[count % fates.length] : undefined);
}

/** Checks that there was one login, and that nothing failed in the tabs. */
async function checkTabs(tabs, faults) {
  for (const tab of tabs) {
    const { calls, tokens, ends, failures } = await seenBy(tab);
    assert.deepEqual([ends, failures], [0, []]);
    assert.ok(calls > 20 && tokens > 2, `${calls} calls, ${tokens} tokens`);
  }
  assert.equal(proxy.count('POST', login), 1);
  const refused = proxy.requests.filter((r) => r.path === refresh && r.status !== 200);
  assert.ok(
    refused.every((r) => r.status === undefined),
    'the server refused a refresh',
  );
  assert.deepEqual(
    faults.filter((f) => !f.startsWith('Failed to load resource: net::')),
    [],
  );
}

for (const locks of [true, false]) {
  test(`two tabs share a session through lost answers (locks: ${locks})`, async () => {
    const { first, another, faults, close } = await open({ locks });
    disturb();
    await work(first, { login: admin });
    const second = await another();
    await work(second, {});
    await until(() => proxy.count('POST', refresh) >= 15);
    await checkTabs([first, second], faults);
    await first.close();
    const third = await another(); // the second knows the session of the first
    await work(third, {});
    await until(() => proxy.count('POST', refresh) >= 30);
    await checkTabs([second, third], faults);
    await close();
  });
}

test('a tab that was frozen for longer than the grace continues the session', async () => {
  const { first, another, faults, close } = await open();
  await work(first, { login: admin });
  const frozen = await another();
  await work(frozen, {});
  await until(async () => (await seenBy(frozen)).calls > 20);
  const devtools = await frozen.context().newCDPSession(frozen);
  await devtools.send('Page.setWebLifecycleState', { state: 'frozen' });
  const before = (await seenBy(first)).tokens;
  const since = Date.now();
  await until(() => Date.now() - since > graceTime + 2_000);
  assert.ok((await seenBy(first)).tokens > before + 6);
  await devtools.send('Page.setWebLifecycleState', { state: 'active' });
  const { calls } = await seenBy(frozen);
  await until(async () => (await seenBy(frozen)).calls > calls + 20);
  await checkTabs([first, frozen], faults);
  await close();
});

test('when the session has ended, a login in one tab is enough', async () => {
  const { first, another, faults, close } = await open();
  await work(first, { asks: { user: admin } });
  const second = await another();
  await work(second, { asks: {} }); // a dialog that is never filled in
  const token = await first.evaluate(() => oei.token());
  const headers = { Authorization: `Bearer ${token}` };
  await fetch(`${server.origin}/api/auth/logout`, { method: 'POST', headers });
  await until(() => proxy.count('POST', login) === 2);
  const { calls } = await seenBy(second);
  await until(async () => (await seenBy(second)).calls > calls + 20);
  for (const tab of [first, second]) {
    const { ends, failures } = await seenBy(tab);
    assert.deepEqual([ends, failures], [0, []]);
  }
  assert.deepEqual(faults, []);
  await close();
});

test('logout in one tab ends the session in the other', async () => {
  const { first, another, close } = await open();
  await work(first, { login: admin });
  const second = await another();
  await work(second, {});
  await first.evaluate(() => window.oei.logout());
  await until(async () => (await seenBy(second)).ends === 1);
  assert.equal(
    await second.evaluate(() => oei.token().catch((err) => err.name)),
    'SessionEndedError',
  );
  await close();
});

test('a reload continues the session of sessionStorage, not one of memory', async () => {
  const { first, close } = await open();
  await work(first, { login: admin, storage: 'sessionStorage' });
  await first.reload();
  await work(first, { storage: 'sessionStorage' });
  await until(async () => (await seenBy(first)).calls > 3);
  await first.evaluate(() => window.oei.logout());
  await first.reload();
  const refused = await work(first, { storage: 'sessionStorage' }).catch((err) => err.message);
  assert.match(refused, /There is no session to continue/);
  await work(first, { login: admin });
  await first.reload();
  assert.match(
    await work(first, {}).catch((err) => err.message),
    /There is no session to continue/,
  );
  await close();
});

test('a login in another tab does not replace a session, and new tabs join the newest', async () => {
  const { first, another, close } = await open();
  await work(first, { login: admin });
  const second = await another();
  await work(second, { login: admin });
  const third = await another();
  await work(third, {});
  const session = (page) =>
    page.evaluate(async () => JSON.parse(atob((await oei.token()).split('.')[1])));
  const [a, b, c] = await Promise.all([first, second, third].map(session));
  const id = Object.keys(a).find((name) => a[name] !== b[name] && c[name] === b[name]);
  assert.ok(id, `one claim tells the sessions apart: ${JSON.stringify([a, b, c])}`);
  await close();
});
