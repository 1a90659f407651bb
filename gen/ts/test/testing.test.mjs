// Tests of the fake server and the fake socket: by themselves, and held to the real server.
import assert from 'node:assert/strict';
import { afterEach, mock, test } from 'node:test';
import {
  createClient,
  createGateway,
  createSensor,
  deleteGateway,
  exportReadings,
  getAlarmKpi,
  getGateway,
  getSensor,
  listReadings,
  listSensors,
  login,
  logout,
  NetworkError,
  ProblemType,
  updateSensor,
  writeReadings,
} from '@oei-ms/client';
import { Live } from '@oei-ms/client/live';
import { items } from '@oei-ms/client/pages';
import { connect } from '@oei-ms/client/session';
import { answer, fakeServer, fakeSocket, problem } from '@oei-ms/client/testing';
import { admin, startServer } from './server.mjs';

const sensor = (id) => ({
  id,
  key: `t${id}`,
  name: `T${id}`,
  type: 'temperature',
  unit: 'Cel',
  location: '',
  gateway_id: 1,
  is_active: true,
  about_gateway_id: null,
  min_value: null,
  max_value: null,
  retention_days: null,
  tags: {},
  created_at: '2026-01-01T00:00:00.000000Z',
  updated_at: '2026-01-01T00:00:00.000000Z',
});
const clientOf = ({ url, fetch }) => createClient({ baseUrl: url, fetch, throwOnError: false });

afterEach(() => mock.restoreAll());

test('a handler sees parameters and body as the contract types them', async () => {
  const server = fakeServer({
    listSensors: ({ query }) =>
      query.gateway_id === 7 && query.is_active === true ? [sensor(1)] : [],
    updateSensor: ({ path, body, headers }) => ({
      ...sensor(path.id),
      ...body,
      key: headers.get('If-Match'),
    }),
    listReadings: ({ query }) =>
      query.sensor_id.map((sensor_id) => ({ sensor_id, value: 1, quality: 'good', timestamp: '' })),
  });
  const client = clientOf(server);
  const { data: sensors } = await listSensors({
    client,
    query: { gateway_id: 7, is_active: true },
  });
  assert.deepEqual(sensors, [sensor(1)]);
  const { data: changed } = await updateSensor({
    client,
    path: { id: 3 },
    headers: { 'If-Match': 'k' },
    body: { max_value: null },
  });
  assert.deepEqual(changed, { ...sensor(3), key: 'k' });
  const { data: readings } = await listReadings({ client, query: { sensor_id: [4, 5] } });
  assert.deepEqual(
    readings.map((r) => r.sensor_id),
    [4, 5],
  );
});

test('calls are recorded', async () => {
  const server = fakeServer({ createGateway: ({ body }) => ({ id: 1, ...body }) });
  const client = clientOf(server);
  await createGateway({ client, body: { name: 'Press' } });
  await logout({ client });
  assert.deepEqual(
    server.calls.map((c) => [c.operation, c.status]),
    [
      ['createGateway', 201],
      ['logout', 204],
    ],
  );
  assert.deepEqual(
    server.callsOf('createGateway').map((c) => c.body),
    [{ name: 'Press' }],
  );
});

test('an operation without a handler fails and is named', async () => {
  const said = mock.method(console, 'error', () => {});
  const server = fakeServer();
  const { error, response } = await getAlarmKpi({ client: clientOf(server) });
  assert.equal(response.status, 501);
  assert.equal(error.detail, 'fakeServer has no handler for getAlarmKpi');
  assert.deepEqual(
    said.mock.calls.map((c) => c.arguments),
    [['fakeServer has no handler for getAlarmKpi']],
  );
  server.handle({ getAlarmKpi: () => answer({ alarms: 3 }) });
  assert.equal((await getAlarmKpi({ client: clientOf(server) })).data.alarms, 3);
});

test('a handler that throws or returns nothing fails and is named', async () => {
  const said = mock.method(console, 'error', () => {});
  const server = fakeServer({
    getSensor: () => {
      throw new Error('no such fixture');
    },
    listSensors: () => {},
  });
  const client = clientOf(server);
  const { error } = await getSensor({ client, path: { id: 1 } });
  assert.deepEqual(
    [error.status, error.detail],
    [500, 'the handler of getSensor failed: Error: no such fixture'],
  );
  assert.match((await listSensors({ client })).error.detail, /listSensors .* returned undefined/);
  assert.equal(said.mock.callCount(), 2);
});

test('an address outside of the contract fails and is named', async () => {
  mock.method(console, 'error', () => {});
  const client = clientOf(fakeServer());
  const { error } = await client.get({ url: '/api/nothing' });
  assert.match(error.detail, /GET http:\/\/oei.test\/api\/nothing$/);
});

test('a literal path comes before one with a parameter, and a sub path is honoured', async () => {
  const server = fakeServer(
    {
      getAlarmKpi: () => ({ alarms: 1 }),
      getAlarm: ({ path }) => ({ id: path.id }),
    },
    { url: 'https://plant.example/oei/' },
  );
  const client = clientOf(server);
  assert.deepEqual((await getAlarmKpi({ client })).data, { alarms: 1 });
  assert.equal(server.url, 'https://plant.example/oei');
});

test('a problem has the status of its type', async () => {
  const server = fakeServer({
    getSensor: () => problem('not-found'),
    createSensor: () =>
      problem('invalid-request', { errors: [{ field: 'key', reason: 'too long' }] }),
    writeReadings: () => problem('unavailable', { retryAfter: 7, detail: 'the database is away' }),
  });
  const client = clientOf(server);
  const missing = await getSensor({ client, path: { id: 1 } });
  assert.deepEqual([missing.error.type, missing.error.status], [ProblemType.NOT_FOUND, 404]);
  assert.equal(missing.response.headers.get('X-Request-ID'), missing.error.instance);
  const invalid = await createSensor({ client, body: {} });
  assert.deepEqual(invalid.error.errors, [{ field: 'key', reason: 'too long' }]);
  const away = await writeReadings({ client, body: { readings: [] } });
  assert.deepEqual(
    [away.response.status, away.response.headers.get('Retry-After'), away.error.detail],
    [503, '7', 'the database is away'],
  );
});

test('a delay is waited for, and an abort ends it', async () => {
  const server = fakeServer({ getSensor: () => answer(sensor(1), { delay: 3_600_000 }) });
  const abort = new AbortController();
  const pending = getSensor({ client: clientOf(server), path: { id: 1 }, signal: abort.signal });
  await new Promise(setImmediate);
  assert.deepEqual(
    server.calls.map((c) => [c.operation, c.status]),
    [['getSensor', 0]],
  );
  abort.abort();
  assert.equal((await pending).error.name, 'AbortError');

  mock.timers.enable({ apis: ['setTimeout'] });
  try {
    const slow = fakeServer({ getSensor: () => sensor(1) }, { delay: 200 });
    let data;
    const done = getSensor({ client: clientOf(slow), path: { id: 1 } }).then(
      (r) => (data = r.data),
    );
    await new Promise(setImmediate);
    mock.timers.tick(199);
    await new Promise(setImmediate);
    assert.equal(data, undefined);
    mock.timers.tick(1);
    await done;
    assert.equal(data.id, 1);
  } finally {
    mock.timers.reset();
  }
});

test('the network can fail', async () => {
  const server = fakeServer({ getSensor: () => Response.error() });
  const { error } = await getSensor({ client: clientOf(server), path: { id: 1 } });
  assert.ok(error instanceof NetworkError && error.cause instanceof TypeError);
});

// Connects a session to the fake server, and Live to the fake socket.
async function connectFakes(t, handlers = {}, options = {}) {
  const server = fakeServer(handlers);
  const sockets = fakeSocket(options);
  const login = { username: 'ada', password: 'secret' };
  const oei = await connect({ url: server.url, fetch: server.fetch, login, tabs: false });
  const live = new Live({ session: oei, WebSocket: sockets.WebSocket });
  t.after(() => {
    live.close();
    oei.close();
  });
  return { server, sockets, oei, live };
}

const started = Date.now();
const seconds = (n) => new Date(started + n * 1000).toISOString();
const pushed = (sensor_id, value, second) => ({
  type: 'sensor_data',
  sensor_id,
  gateway_id: 1,
  data: { value, timestamp: seconds(second), quality: 'good' },
});

test('a session logs in to the fake server, and retries what may be repeated', async (t) => {
  let attempts = 0;
  const { server, oei } = await connectFakes(t, {
    listSensors: () => (++attempts === 1 ? problem('unavailable', { retryAfter: 0 }) : [sensor(1)]),
  });
  assert.deepEqual(server.callsOf('login')[0].body, { username: 'ada', password: 'secret' });
  const { data } = await listSensors({ client: oei.client });
  assert.deepEqual(data, [sensor(1)]);
  const [first, second] = server.callsOf('listSensors');
  assert.deepEqual([first.status, second.status], [503, 200]);
  assert.equal(second.headers.get('Authorization'), `Bearer ${await oei.token()}`);
});

test('lists are iterated over, page by page', async (t) => {
  const { server, oei } = await connectFakes(t, { listSensors: () => [1, 2, 3, 4, 5].map(sensor) });
  const ids = [];
  const query = { limit: 2 };
  for await (const { id } of items(listSensors, { client: oei.client, query })) ids.push(id);
  assert.deepEqual(ids, [1, 2, 3, 4, 5]);
  assert.equal(server.callsOf('listSensors').length, 3);
});

test('the fake socket logs in, accepts topics and carries messages', async (t) => {
  const { oei, live, sockets } = await connectFakes(t);
  const seen = [];
  live.subscribe(['sensors/1', 'alarms'], { onReading: (e) => seen.push(e) });
  const socket = await sockets.connected();
  assert.equal(socket.url, 'ws://oei.test/ws');
  assert.equal((await socket.message('auth')).token, await oei.token());
  await socket.message('subscribe', (m) => m.topics.includes('sensors/1'));
  assert.deepEqual([...socket.topics].sort(), ['alarms', 'sensors/1']);
  socket.push(pushed(1, 21.5, 0));
  assert.deepEqual(
    seen.map((e) => [e.sensor_id, e.value]),
    [[1, 21.5]],
  );
  live.close();
  assert.equal(socket.isOpen, false);
  assert.throws(() => socket.push(pushed(1, 22, 1)), /not open/);
});

test('after a close the client comes back and reads what it missed', async (t) => {
  const missed = { sensor_id: 1, timestamp: seconds(1), value: 22, quality: 'good' };
  const { live, sockets } = await connectFakes(t, { listReadings: () => [missed] });
  const states = [];
  live.on('state', (s) => states.push(s.state));
  const seen = [];
  const readings = live.subscribe('sensors/1', { gapless: true, onReading: (e) => seen.push(e) });
  const first = await sockets.connected();
  await first.message('subscribe');
  first.push(pushed(1, 21, 0));
  first.close(4413, 'too slow');
  assert.equal(states.at(-1), 'waiting');
  live.retry();
  const second = await sockets.connected();
  assert.notEqual(second, first);
  await second.message('subscribe');
  second.push(pushed(1, 23, 2));
  await until(() => seen.length === 3);
  assert.deepEqual(
    seen.map((e) => [e.value, e.origin]),
    [
      [21, 'live'],
      [22, 'gap'],
      [23, 'live'],
    ],
  );
  readings.unsubscribe();
});

test('a manual socket opens and answers only when the test does', async (t) => {
  const { live, sockets } = await connectFakes(t, {}, { manual: true });
  await until(() => sockets.connections.length === 1);
  const [socket] = sockets.connections;
  assert.deepEqual([socket.isOpen, socket.received], [false, []]);
  socket.open();
  await socket.message('auth');
  assert.equal(live.state.state, 'connecting');
  const expires_at = new Date(Date.now() + 60_000).toISOString();
  socket.push({ type: 'authenticated', user_id: 1, expires_at });
  assert.equal(live.state.state, 'live');
});

async function until(holds) {
  for (let tries = 0; !holds(); tries++) {
    assert.ok(tries < 500, `waited 5 s for ${holds}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

// The same calls on the fake and on the real server: statuses, headers and types of members agree.
test('the fake server answers as the real one does', async (t) => {
  const real = await startServer();
  t.after(() => real.stop());
  const client = createClient({ baseUrl: real.origin, throwOnError: false });
  const { data: tokens } = await login({ client, body: admin, throwOnError: true });
  client.setConfig({ auth: tokens.access_token });
  const onReal = await tour(client);

  // The fake plant is the smallest one that answers these calls.
  const sensors = [];
  const gateway = onReal.gateway.data;
  const onFake = await tour(
    clientOf(
      fakeServer({
        createGateway: ({ body }) => ({ ...gateway, ...body }),
        getGateway: ({ path }) => (path.id === gateway.id ? gateway : problem('not-found')),
        createSensor: ({ body }) => {
          if (sensors.some((s) => s.key === body.key)) return problem('conflict');
          const created = { ...sensor(sensors.length + 1), ...body };
          sensors.push(created);
          return created;
        },
        listSensors: ({ query }) => sensors.filter((s) => !query.type || s.type === query.type),
        getSensor: ({ path }) => sensors.find((s) => s.id === path.id) ?? problem('not-found'),
        writeReadings: ({ body }) => ({
          stored: body.readings.length,
          duplicates: 0,
          conflicts: 0,
          rejected: 0,
          results: body.readings.map(() => ({ status: 'stored' })),
        }),
        listReadings: () =>
          [3, 2, 1].map((value) => ({
            sensor_id: 1,
            timestamp: '2026-01-02T03:04:05Z',
            value,
            quality: 'good',
          })),
        exportReadings: () => 'sensor_id,timestamp,value,quality,status_code\n',
        deleteGateway: () => problem('conflict'),
      }),
    ),
  );
  for (const [step, answer] of Object.entries(onReal)) {
    assert.deepEqual(shape(onFake[step]), shape(answer), step);
  }
});

async function tour(client) {
  const steps = {};
  const gateway = await createGateway({ client, body: { name: 'Tour', location: 'Hall 1' } });
  steps.gateway = gateway;
  steps.readGateway = await getGateway({ client, path: { id: gateway.data.id } });
  for (const key of ['a', 'b', 'c']) {
    const body = { key, name: key, type: 'tour', gateway_id: gateway.data.id };
    steps[`create ${key}`] = await createSensor({ client, body });
  }
  const { data: first } = steps['create a'];
  steps.taken = await createSensor({ client, body: { ...bodyOf(first), key: 'a' } });
  steps.readSensor = await getSensor({ client, path: { id: first.id } });
  steps.missing = await getSensor({ client, path: { id: 2_000_000_001 } });
  const query = { type: 'tour', limit: 2, count: true };
  steps.page = await listSensors({ client, query });
  const [, next] = /<([^>]+)>; rel="next"/.exec(steps.page.response.headers.get('Link'));
  const { searchParams } = new URL(next, 'http://any');
  steps.lastPage = await listSensors({
    client,
    query: { ...query, cursor: searchParams.get('cursor') },
  });
  const at = Date.now();
  const readings = [1, 2, 3].map((value) => ({
    sensor_id: first.id,
    value,
    timestamp: new Date(at - 1000 + value).toISOString(),
  }));
  steps.written = await writeReadings({ client, body: { readings } });
  steps.readings = await listReadings({ client, query: { sensor_id: [first.id], limit: 2 } });
  steps.csv = await exportReadings({
    client,
    query: { sensor_id: [first.id], start: new Date(at + 3_600_000).toISOString() },
    parseAs: 'text',
  });
  steps.refused = await deleteGateway({ client, path: { id: gateway.data.id } });
  steps.logout = await logout({ client });
  return steps;
}

const bodyOf = ({ name, type, gateway_id }) => ({ name, type, gateway_id });

// What both servers must agree on: status, headers, and the types of all members.
function shape({ data, error, response }) {
  const { headers } = response;
  const present = ['Content-Type', 'ETag', 'X-Request-ID', 'X-Next-Cursor'];
  return {
    status: response.status,
    present: present.filter((name) => headers.has(name)),
    type: headers.get('Content-Type')?.split(';')[0],
    location: headers.get('Location')?.replace(/\d+/, 'ID'),
    link: headers.get('Link')?.replace(/cursor=[^&>]+/, 'cursor=…'),
    total: headers.get('X-Total-Count'),
    truncated: headers.get('X-Truncated'),
    problem: error && [error.type, error.status, error.instance === headers.get('X-Request-ID')],
    data: kinds(data),
  };
}

function kinds(value) {
  if (Array.isArray(value)) return value.map(kinds);
  if (value === null || typeof value !== 'object') return value === null ? 'null' : typeof value;
  return Object.fromEntries(
    Object.keys(value)
      .sort()
      .map((key) => [key, kinds(value[key])]),
  );
}
