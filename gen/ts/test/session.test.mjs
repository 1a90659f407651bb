// Tests of sessions against the real server, through a proxy that loses requests and answers.
import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import {
  createApiKey,
  createGateway,
  createSensor,
  getCurrentApiKey,
  getCurrentUser,
  getGateway,
  getHealth,
  listGateways,
  logout,
  ProblemType,
  revokeApiKey,
  writeReadings,
} from '@oei-ms/client';
import {
  connect,
  isProblem,
  NetworkError,
  OeiError,
  ProblemError,
  SessionEndedError,
  TimeoutError,
} from '@oei-ms/client/session';
import { startProxy } from './proxy.mjs';
import { admin, startServer } from './server.mjs';

const refresh = '/api/auth/refresh';
const sessions = [];
let server, proxy;

before(async () => {
  server = await startServer();
  proxy = await startProxy(server.origin);
});
after(async () => {
  for (const session of sessions) session.close();
  await proxy?.close();
  await server?.stop();
});
beforeEach(() => proxy.reset());

/** Connects through the proxy. */
async function open(options = {}) {
  const session = await connect({ url: proxy.origin, login: admin, ...options });
  sessions.push(session);
  return session;
}

// The client's clock. Tokens are valid for 30 minutes.
const realNow = Date.now;
let offset = 0;
Date.now = () => realNow() + offset;
const advance = (minutes) => (offset += minutes * 60_000);

/** Returns what a promise rejects with. */
const rejection = (promise) =>
  promise.then(
    (value) => assert.fail(`did not reject, but: ${JSON.stringify(value)}`),
    (err) => err,
  );

test('a session logs in and calls', async () => {
  const oei = await open();
  const { data } = await getCurrentUser({ client: oei.client });
  assert.equal(data.username, admin.username);
  assert.equal(oei.url, proxy.origin);
  assert.match(await oei.token(), /^ey/);
});

test('connect refuses a wrong password, an address without scheme, and two logins', async () => {
  const login = { ...admin, password: 'wrong' };
  const wrong = await rejection(connect({ url: proxy.origin, login }));
  assert.ok(isProblem(wrong, 'not-authenticated'), wrong);
  assert.equal(proxy.count('POST', '/api/auth/login'), 1);
  const relative = await rejection(connect({ url: 'localhost:8000', login: admin }));
  assert.match(relative.message, /localhost:8000 begins with neither http/);
  const unset = await rejection(connect({ login: admin }));
  assert.match(unset.message, /url \/ is not an address such as http/);
  await assert.rejects(connect({ url: proxy.origin, login: admin, apiKey: 'k' }), TypeError);
  const none = await rejection(connect({ url: proxy.origin }));
  assert.ok(none instanceof SessionEndedError, none);
});

test('many calls share one refresh', async () => {
  const oei = await open();
  advance(30);
  await Promise.all(Array.from({ length: 50 }, () => listGateways({ client: oei.client })));
  assert.equal(proxy.count('POST', refresh), 1);
  assert.equal(proxy.count('GET', '/api/gateways'), 50);
});

test('a token that is about to expire is refreshed while calls go on', async () => {
  const oei = await open();
  const first = await oei.token();
  advance(27);
  assert.equal(await oei.token(), first);
  await new Promise((resolve) => oei.on('token', resolve));
  assert.notEqual(await oei.token(), first);
  assert.equal(proxy.count('POST', refresh), 1);
});

test('calls that were refused share one refresh, and are sent again once', async () => {
  const oei = await open();
  const stale = await oei.token();
  proxy.rule = ({ headers }) =>
    headers.authorization === `Bearer ${stale}`
      ? { status: 401, headers: { 'WWW-Authenticate': 'Bearer error="invalid_token"' } }
      : undefined;
  await Promise.all(Array.from({ length: 10 }, () => getCurrentUser({ client: oei.client })));
  assert.equal(proxy.count('POST', refresh), 1);
  assert.equal(proxy.count('GET', '/api/auth/me'), 20);
  proxy.reset();
  proxy.rule = ({ path }) => (path === '/api/auth/me' ? { status: 401 } : undefined);
  const err = await rejection(getCurrentUser({ client: oei.client }));
  assert.deepEqual([err.name, err.status, err.type], ['ProblemError', 401, 'about:blank']);
  assert.equal(proxy.count('GET', '/api/auth/me'), 2);
});

for (const fate of ['lose', 'cut', 'hang', 'refuse']) {
  test(`a refresh whose answer does not arrive (${fate}) does not end the session`, async () => {
    const oei = await open();
    proxy.rule = ({ path, count }) => (path === refresh && count === 1 ? fate : undefined);
    advance(30);
    await getCurrentUser({ client: oei.client });
    assert.equal(proxy.count('POST', refresh), 2);
    advance(30);
    await getCurrentUser({ client: oei.client });
  });
}

test('an answer to a refresh that is not from the server does not end the session', async () => {
  const oei = await open();
  const page = { 'Content-Type': 'text/html' };
  const portal = [
    { status: 200, headers: page, body: '<h1>Welcome to our Wi-Fi</h1>' },
    { status: 403, headers: page, body: 'no' },
    { status: 200, headers: { 'Content-Type': 'application/json' }, body: '{"half":' },
  ];
  proxy.rule = ({ path, count }) => (path === refresh ? portal[count - 1] : undefined);
  advance(30);
  await getCurrentUser({ client: oei.client });
  assert.equal(proxy.count('POST', refresh), 4);
});

test('a session that the server has ended emits end once, and its calls reject', async () => {
  const oei = await open();
  const other = await open({ token: await oei.token(), login: undefined });
  const ends = [];
  oei.on('end', (err) => ends.push(err));
  await logout({ client: other.client });
  const errors = await Promise.all(
    Array.from({ length: 5 }, () => rejection(getCurrentUser({ client: oei.client }))),
  );
  for (const err of errors) assert.ok(err instanceof SessionEndedError, err);
  assert.ok(isProblem(ends[0].cause, 'not-authenticated'));
  assert.equal(ends.length, 1);
  await assert.rejects(oei.token(), SessionEndedError);
});

test('a function logs in again after the end of the session', async () => {
  let asked = 0;
  const login = async () => (asked++, admin);
  const oei = await open({ login });
  const { client } = await open({ token: await oei.token(), login: undefined });
  await logout({ client });
  await Promise.all(Array.from({ length: 5 }, () => getCurrentUser({ client: oei.client })));
  assert.equal(asked, 2);
});

test('logout ends the session on the server and here', async () => {
  const oei = await open();
  const token = await oei.token();
  const ended = new Promise((resolve) => oei.on('end', resolve));
  await oei.logout();
  assert.equal((await ended).message, 'Logged out');
  await assert.rejects(getCurrentUser({ client: oei.client }), SessionEndedError);
  const other = await open({ token, login: undefined });
  assert.ok(isProblem(await rejection(getCurrentUser({ client: other.client }))));
});

test('a storage continues the session, until logout', async () => {
  const values = new Map();
  const storage = {
    getItem: (name) => values.get(name) ?? null,
    setItem: (name, value) => values.set(name, value),
    removeItem: (name) => values.delete(name),
  };
  const first = await open({ storage });
  advance(30);
  const second = await open({ storage, login: undefined });
  await getCurrentUser({ client: second.client });
  await getCurrentUser({ client: first.client }); // takes the tokens that the second has stored
  assert.equal(proxy.count('POST', '/api/auth/login'), 1);
  assert.equal(proxy.count('POST', refresh), 1);
  await second.logout();
  assert.equal(values.size, 0);
  values.set(`oei-ms ${proxy.origin}`, '{"not": "tokens"}');
  await assert.rejects(open({ storage, login: undefined }), SessionEndedError);
});

test('calls survive a restart of the server', async () => {
  const oei = await open();
  let stopped = false;
  const calls = Array.from({ length: 8 }, async () => {
    for (let n = 0; !stopped; n++) {
      await getCurrentUser({ client: oei.client });
      await listGateways({ client: oei.client });
    }
  });
  await server.restart();
  await getCurrentUser({ client: oei.client });
  stopped = true;
  await Promise.all(calls);
});

test('a lost answer is asked for again, if the call may be repeated', async () => {
  const oei = await open();
  for (const fate of ['lose', 'cut', 'refuse']) {
    proxy.reset();
    proxy.rule = ({ count, path }) => (path !== refresh && count === 1 ? fate : undefined);
    await listGateways({ client: oei.client });
    assert.equal(proxy.count('GET', '/api/gateways'), 2, fate);
  }
  proxy.reset();
  proxy.rule = ({ path }) => (path === '/api/gateways' ? 'lose' : undefined);
  const body = { key: 'once', name: 'Once' };
  const err = await rejection(createGateway({ client: oei.client, body }));
  assert.ok(err instanceof NetworkError && err instanceof OeiError, err);
  assert.equal(err.requestId, proxy.requests.at(-1).headers['x-request-id']);
  assert.ok(err.cause instanceof Error);
  assert.equal(proxy.count('POST', '/api/gateways'), 1);
});

test('writes of readings carry an Idempotency-Key, the same in every attempt', async () => {
  const oei = await open();
  const { data: gateway } = await createGateway({
    client: oei.client,
    body: { key: 'keyed', name: 'Keyed' },
  });
  const { data: sensor } = await createSensor({
    client: oei.client,
    body: { key: 't1', name: 'T1', type: 'temperature', gateway_id: gateway.id },
  });
  const write = (headers) =>
    writeReadings({
      client: oei.client,
      body: { readings: [{ sensor_id: sensor.id, value: 1 }] },
      ...(headers && { headers }),
    });
  proxy.rule = ({ path, count }) => (path === '/api/data' && count <= 2 ? 'lose' : undefined);
  const { data, response } = await write();
  assert.equal(data.stored, 1);
  assert.equal(response.headers.get('Idempotency-Replayed'), 'true');
  const keys = () =>
    proxy.requests.filter((r) => r.path === '/api/data').map((r) => r.headers['idempotency-key']);
  assert.match(keys()[0], /^[0-9a-f]{32}$/);
  assert.deepEqual(new Set(keys()).size, 1);
  await write();
  assert.notEqual(keys()[0], keys().at(-1));
  await write({ 'Idempotency-Key': 'mine' });
  assert.equal(keys().at(-1), 'mine');
});

test('every operation that takes an Idempotency-Key gets one', async () => {
  const contract = await (await fetch(`${server.origin}/openapi.json`)).json();
  const get = (node) =>
    node.$ref
      ? node.$ref
          .split('/')
          .slice(1)
          .reduce((n, key) => n[key], contract)
      : node;
  const oei = await open();
  let checked = 0;
  for (const [url, item] of Object.entries(contract.paths)) {
    for (const method of ['get', 'put', 'post', 'delete']) {
      if (!item[method] || /^\/(ws|docs|redoc|$)/.test(url)) continue;
      const parameters = [...(item.parameters ?? []), ...(item[method].parameters ?? [])].map(get);
      const takes = parameters.some((p) => p.name === 'Idempotency-Key');
      proxy.reset();
      proxy.rule = () => ({ status: 204 });
      await oei.client[method]({ url, path: { id: 1, credential_id: 1 } });
      assert.equal('idempotency-key' in proxy.requests.at(-1).headers, takes, `${method} ${url}`);
      checked++;
    }
  }
  assert.ok(checked > 60, `${checked} operations`);
});

test('Retry-After is waited for, as seconds and as a date of the server', async (t) => {
  const oei = await open();
  const date = (ms) => new Date(realNow() + 9_999_000 + ms).toUTCString(); // of a server ahead
  const answers = [
    { status: 503, headers: { 'Retry-After': '1' } },
    { status: 429, headers: { 'Retry-After': date(2_000), Date: date(0) } },
  ];
  proxy.rule = ({ path, count }) => (path === '/api/gateways' ? answers[count - 1] : undefined);
  const timers = t.mock.method(globalThis, 'setTimeout');
  await listGateways({ client: oei.client, timeout: 0 });
  const delays = timers.mock.calls.map((call) => call.arguments[1]);
  assert.ok(delays.includes(1_000) && delays.includes(2_000), `${delays}`);
  assert.equal(proxy.count('GET', '/api/gateways'), 3);
});

test('an answer that asks for more time than a call has is thrown at once', async () => {
  const oei = await open({ timeout: 20_000 });
  const headers = { 'Retry-After': '900', 'X-Request-ID': 'r-1' };
  proxy.rule = ({ path }) => (path === '/api/gateways' ? { status: 429, headers } : undefined);
  const err = await rejection(listGateways({ client: oei.client }));
  assert.ok(isProblem(err) && err.status === 429, err);
  assert.deepEqual([err.headers.get('Retry-After'), err.requestId], ['900', 'r-1']);
  assert.equal(proxy.count('GET', '/api/gateways'), 1);
});

test('attempts are bounded, and a call that may not be repeated is repeated after 429 only', async () => {
  const oei = await open();
  const answer = (status) => ({ status, headers: { 'Retry-After': '0' } });
  for (const [method, status, retries, attempts] of [
    ['GET', 503, undefined, 5],
    ['GET', 503, 1, 2],
    ['GET', 500, undefined, 1],
    ['POST', 503, undefined, 1],
    ['POST', 429, undefined, 5],
  ]) {
    proxy.reset();
    proxy.rule = ({ path }) => (path === '/api/gateways' ? answer(status) : undefined);
    const call =
      method === 'GET'
        ? listGateways({ client: oei.client, retries })
        : createGateway({ client: oei.client, body: { name: 'x' }, retries });
    assert.equal((await rejection(call)).status, status);
    assert.equal(proxy.count(method, '/api/gateways'), attempts, `${method} ${status} ${retries}`);
  }
});

test('a timeout ends a call, in an attempt and between attempts', async () => {
  const oei = await open();
  proxy.rule = ({ path }) => (path === '/api/gateways' ? 'hang' : undefined);
  const err = await rejection(listGateways({ client: oei.client, timeout: 300 }));
  assert.ok(err instanceof TimeoutError, err);
  assert.equal(err.requestId, proxy.requests.at(-1).headers['x-request-id']);
  assert.match(err.message, /GET http.*\/api\/gateways in 300 ms/);
  proxy.rule = ({ path }) => (path === '/api/gateways' ? { status: 503 } : undefined);
  const late = await rejection(listGateways({ client: oei.client, timeout: 300 }));
  assert.equal(late.status, 503);
});

test('an abort ends a call with the reason of the signal, also while it waits', async () => {
  const oei = await open();
  const abortAfter = async (start) => {
    const control = new AbortController();
    const rejected = rejection(start(control.signal));
    await new Promise((resolve) => setTimeout(resolve, 100));
    control.abort(new Error('enough'));
    return (await rejected).message;
  };
  const list = (signal) => listGateways({ client: oei.client, signal });
  for (const fate of ['hang', { status: 503, headers: { 'Retry-After': '30' } }]) {
    proxy.rule = ({ path }) => (path === '/api/gateways' ? fate : undefined);
    assert.equal(await abortAfter(list), 'enough');
  }
  proxy.rule = ({ path, count }) => (path === refresh && count === 1 ? 'hang' : undefined);
  advance(30);
  assert.equal(await abortAfter(list), 'enough');
  assert.equal(await abortAfter((signal) => oei.token({ signal })), 'enough');
  await getCurrentUser({ client: oei.client }); // the refresh goes on for others
  const err = await rejection(list(AbortSignal.abort(new Error('before'))));
  assert.equal(err.message, 'before');
});

test('errors are classes that are narrowed by kind', async () => {
  const oei = await open();
  const err = await rejection(getGateway({ client: oei.client, path: { id: 999_999 } }));
  assert.ok(isProblem(err, 'conflict', 'not-found') && !isProblem(err, 'conflict'));
  assert.ok(err instanceof ProblemError && err instanceof OeiError && err instanceof Error);
  assert.deepEqual([err.status, err.type], [404, ProblemType.NOT_FOUND]);
  assert.deepEqual([err.requestId, err.errors], [err.headers.get('X-Request-ID'), []]);
  assert.match(err.message, /no gateway 999999/);
  const invalid = await rejection(createGateway({ client: oei.client, body: { name: '' } }));
  assert.ok(isProblem(invalid, 'invalid-request') && invalid.errors[0].field === 'name', invalid);
  const path = { id: 999_999 };
  const { data, error } = await getGateway({ client: oei.client, path, throwOnError: false });
  assert.ok(data === undefined && isProblem(error, 'not-found'));
  proxy.rule = () => ({ status: 502, headers: { 'Content-Type': 'text/html' }, body: '<h1>' });
  const gateway = await rejection(getHealth({ client: oei.client, retries: 0 }));
  assert.deepEqual(
    [gateway.name, gateway.type, gateway.status],
    ['ProblemError', 'about:blank', 502],
  );
});

test('a deprecated operation is warned of once', async (t) => {
  const warn = t.mock.method(console, 'warn', () => {});
  const oei = await open();
  const headers = {
    Deprecation: '@1767225600',
    Sunset: 'Fri, 01 Jan 2027 00:00:00 GMT',
    Link: '</api/gateways?cursor=2>; rel="next", </docs/guide/api>; rel="deprecation"; type="text/html"',
  };
  proxy.rule = ({ path }) => (path === '/api/gateways' ? { status: 204, headers } : undefined);
  for (let n = 0; n < 3; n++) await listGateways({ client: oei.client });
  assert.deepEqual(
    warn.mock.calls.map((c) => c.arguments),
    [
      [
        'OEI-MS: GET /api/gateways is deprecated and ends Fri, 01 Jan 2027 00:00:00 GMT, see /docs/guide/api',
      ],
    ],
  );
});

test('interceptors of the program change what is sent in every attempt', async () => {
  const oei = await open();
  oei.client.interceptors.request.use((request) => {
    const headers = new Headers(request.headers);
    headers.set('X-Plant', 'north');
    return new Request(request, { headers });
  });
  proxy.rule = ({ path, count }) => (path === '/api/gateways' && count === 1 ? 'lose' : undefined);
  await listGateways({ client: oei.client });
  const sent = proxy.requests.filter((r) => r.path === '/api/gateways');
  assert.deepEqual(
    sent.map((r) => r.headers['x-plant']),
    ['north', 'north'],
  );
});

test('what a token function throws is thrown by the call', async () => {
  const token = () => Promise.reject(new RangeError('no token today'));
  const oei = await open({ token, login: undefined });
  const err = await rejection(listGateways({ client: oei.client }));
  assert.ok(err instanceof RangeError, err);
});

test('a session with an API key calls, and is not refreshed', async () => {
  const oei = await open();
  const body = { name: 'Kiosk', role: 'viewer' };
  const { data: created } = await createApiKey({ client: oei.client, body });
  const kiosk = await open({ apiKey: created.key, login: undefined });
  await listGateways({ client: kiosk.client });
  assert.equal((await getCurrentApiKey({ client: kiosk.client })).data.name, 'Kiosk');
  assert.equal(await kiosk.token(), created.key);
  const err = await rejection(createGateway({ client: kiosk.client, body: { name: 'No' } }));
  assert.ok(isProblem(err, 'forbidden'), err);
  await revokeApiKey({ client: oei.client, path: { id: created.id } });
  proxy.reset();
  const revoked = await rejection(listGateways({ client: kiosk.client }));
  assert.ok(isProblem(revoked, 'not-authenticated'), revoked);
  assert.equal(proxy.requests.length, 1);
  await kiosk.logout();
  await assert.rejects(kiosk.token(), SessionEndedError);
});

test('a token function is asked for every call, and again when its token is refused', async () => {
  const oei = await open();
  let asked = 0;
  const token = async () => (asked++ === 0 ? 'stale' : oei.token());
  const other = await open({ token, login: undefined });
  await getCurrentUser({ client: other.client });
  assert.equal(asked, 2);
});
