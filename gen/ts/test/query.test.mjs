// Tests of ./pages and ./query: lists over pages, and TanStack Query with live data, against the
// real server.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import {
  acknowledgeAlarm,
  createAlarm,
  createClient,
  createCredential,
  createGateway,
  createSensor,
  getGateway,
  getSensor,
  listAlarms,
  listGateways,
  listLatestReadings,
  listReadings,
  listSensors,
  updateSensor,
  writeReadings,
} from '@oei-ms/client';
import { Live } from '@oei-ms/client/live';
import { items, pages } from '@oei-ms/client/pages';
import {
  followLive,
  infiniteQueryOptions,
  mutationOptions,
  queryKey,
  queryOptions,
} from '@oei-ms/client/query';
import { connect, isProblem } from '@oei-ms/client/session';
import { publish } from './mqtt.mjs';
import { admin, startServer } from './server.mjs';

const queryCore = new URL(
  '../../../tools/node_modules/@tanstack/query-core/build/modern/index.js',
  import.meta.url,
);
const { CancelledError, InfiniteQueryObserver, MutationObserver, QueryClient, QueryObserver } =
  await import(queryCore);

const queryClient = new QueryClient();
let server, oei, client, gateway, sensors;

before(async () => {
  server = await startServer();
  oei = await connect({ url: server.origin, login: admin });
  client = oei.client;
  gateway = (await createGateway({ client, body: { key: 'press', name: 'Press' } })).data;
  sensors = [];
  for (const key of ['t1', 't2', 't3', 't4', 't5']) {
    const body = { key, name: key, type: 'temperature', gateway_id: gateway.id };
    sensors.push((await createSensor({ client, body })).data);
  }
});
after(async () => {
  queryClient.clear();
  oei?.close();
  await server?.stop();
});

const write = (sensor, value) =>
  writeReadings({ client, body: { readings: [{ sensor_id: sensor.id, value }] } });

/** Resolves with the result of an observer for which the condition holds. */
function until(observer, condition) {
  let stop;
  return new Promise((resolve) => {
    const check = (result) => condition(result) && resolve(result);
    stop = observer.subscribe(check);
    check(observer.getCurrentResult());
  }).finally(() => stop());
}

test('items and pages go over a list by its Link', async () => {
  const query = { gateway_id: gateway.id, limit: 2 };
  const sizes = [];
  for await (const page of pages(listSensors, { client, query })) sizes.push(page.length);
  assert.deepEqual(sizes, [2, 2, 1]);
  const keys = [];
  for await (const { key } of items(listSensors, { client, query })) keys.push(key);
  assert.deepEqual(keys, ['t1', 't2', 't3', 't4', 't5']);
});

test('items keep parameters with several values and times over pages', async () => {
  const day = new Date(Date.now() - 60_000);
  const at = (second) => new Date(day.getTime() + second * 1000).toISOString();
  const readings = sensors
    .slice(0, 2)
    .flatMap(({ id }) =>
      [0, 1, 2].map((second) => ({ sensor_id: id, timestamp: at(second), value: second })),
    );
  await writeReadings({ client, body: { readings } });
  const sensor_id = sensors.slice(0, 2).map((s) => s.id);
  const query = { sensor_id, start: at(0), end: at(3), order: 'asc', limit: 2 };
  const read = [];
  for await (const r of items(listReadings, { client, query })) read.push([r.sensor_id, r.value]);
  assert.deepEqual(
    new Set(read.map(String)),
    new Set(readings.map((r) => `${r.sensor_id},${r.value}`)),
  );
  assert.equal(read.length, 6);
});

test('items stop at break, at an abort, and with the error of a page', async () => {
  let requests = 0;
  const counting = createClient({
    ...client.getConfig(),
    fetch: async (request) => (requests++, fetch(request)),
    auth: () => oei.token(),
  });
  const query = { gateway_id: gateway.id, limit: 1 };
  for await (const sensor of items(listSensors, { client: counting, query })) {
    if (sensor.key === 't2') break;
  }
  assert.equal(requests, 2);
  const control = new AbortController();
  const list = items(listSensors, { client: counting, query, signal: control.signal });
  await list.next();
  control.abort(new Error('enough'));
  await assert.rejects(list.next(), { message: 'enough' });
  assert.equal(requests, 3);
  const wrong = items(listSensors, { client, query: { cursor: 'x' } });
  await assert.rejects(wrong.next(), (err) => isProblem(err, 'invalid-request'));
});

test('a Link to another server or to the same page is refused', async () => {
  let link,
    asked = 0;
  const other = createServer((_, res) => res.end(String(asked++)));
  const hostile = createServer((req, res) => {
    res.writeHead(200, { 'Content-Type': 'application/json', Link: link(req) }).end('[1]');
  });
  await Promise.all([other, hostile].map((s) => new Promise((r) => s.listen(0, '127.0.0.1', r))));
  const baseUrl = `http://127.0.0.1:${hostile.address().port}`;
  const list = async () => {
    const read = [];
    const plain = createClient({ baseUrl, auth: 'secret' });
    for await (const item of items(listSensors, { client: plain })) read.push(item);
    return read;
  };
  for (const target of [
    `http://127.0.0.1:${other.address().port}/api/sensors?cursor=x`,
    '//evil/?c=1',
    'file:///x',
  ]) {
    link = () => `<${target}>; rel="next"`;
    await assert.rejects(list(), /on another server/);
  }
  link = (req) => `<${req.url}>; rel="next"`;
  await assert.rejects(list(), /same page/);
  assert.equal(asked, 0);
  link = (req) => (req.url.includes('cursor') ? '' : '</below/a/path?cursor=2>; rel="next"');
  assert.deepEqual(await list(), [1, 1]);
  for (const s of [other, hostile]) {
    s.closeAllConnections();
    s.close();
  }
});

test('keys name operations by their path', () => {
  const path = { id: 7 };
  assert.deepEqual(queryKey(getSensor), ['oei', '/api/sensors/{id}']);
  assert.deepEqual(queryKey(getSensor, { client, path }), [
    'oei',
    '/api/sensors/{id}',
    { server: server.origin, path },
  ]);
});

test('a query reads, is found by its key, and can be aborted', async () => {
  const options = queryOptions(getSensor, { client, path: { id: sensors[0].id } });
  const sensor = await queryClient.fetchQuery(options);
  assert.equal(sensor.key, 't1');
  assert.equal(queryClient.getQueryData(options.queryKey), sensor);
  const missing = queryOptions(getSensor, { client, path: { id: 999_999 } });
  await assert.rejects(queryClient.fetchQuery(missing), (err) => isProblem(err, 'not-found'));
  const aborted = queryClient.fetchQuery(queryOptions(listGateways, { client }));
  await queryClient.cancelQueries({ queryKey: queryKey(listGateways) });
  await assert.rejects(aborted, (err) => err instanceof CancelledError);
});

test('an infinite query reads page by page', async () => {
  const query = { gateway_id: gateway.id, limit: 2 };
  const observer = new InfiniteQueryObserver(
    queryClient,
    infiniteQueryOptions(listSensors, { client, query }),
  );
  const read = ({ data }) => data.pages.flatMap((page) => page.items.map((s) => s.key));
  const first = await until(observer, (result) => result.isSuccess);
  assert.deepEqual([read(first), first.hasNextPage], [['t1', 't2'], true]);
  await observer.fetchNextPage();
  const last = await observer.fetchNextPage();
  assert.deepEqual([read(last), last.hasNextPage], [['t1', 't2', 't3', 't4', 't5'], false]);
  const again = await observer.refetch();
  assert.deepEqual(read(again), ['t1', 't2', 't3', 't4', 't5']);
});

test('a mutation changes, and its list is invalidated by key', async () => {
  const path = { id: sensors[4].id };
  const observer = new QueryObserver(queryClient, queryOptions(listSensors, { client }));
  await until(observer, (result) => result.isSuccess);
  const stop = observer.subscribe(() => {});
  const mutation = new MutationObserver(queryClient, {
    ...mutationOptions(updateSensor, { client }),
    onSuccess: () => queryClient.invalidateQueries({ queryKey: queryKey(listSensors) }),
  });
  const changed = await mutation.mutate({ path, body: { name: 'Motor' } });
  assert.equal(changed.name, 'Motor');
  assert.ok(observer.getCurrentResult().data.some((s) => s.name === 'Motor'));
  stop();
  const refused = mutation.mutate({ path, body: { name: '' } });
  await assert.rejects(refused, (err) => isProblem(err, 'invalid-request'));
});

test('queries follow live readings, alarms and status', async () => {
  const [sensor] = sensors;
  await write(sensor, 1);
  const rule = {
    name: 'Hot',
    kind: 'threshold',
    severity: 'major',
    limits: { high: { value: 80 } },
  };
  await createAlarm({ client, body: { sensor_id: sensor.id, rule } });
  const observe = (operation, query = {}) => {
    const observer = new QueryObserver(queryClient, queryOptions(operation, { client, query }));
    observer.subscribe(() => {});
    return observer;
  };
  const latest = observe(listLatestReadings);
  const paged = new InfiniteQueryObserver(
    queryClient,
    infiniteQueryOptions(listLatestReadings, { client, query: { limit: 1 } }),
  );
  paged.subscribe(() => {});
  const alarms = observe(listAlarms);
  const readings = queryOptions(listReadings, { client, query: { sensor_id: [sensor.id] } });
  await queryClient.fetchQuery(readings);
  for (const observer of [latest, paged, alarms]) await until(observer, (r) => r.isSuccess);

  let requests = 0;
  client.interceptors.request.use((request) => (requests++, request));
  const live = new Live({ session: oei });
  const following = followLive(queryClient, {
    live,
    client,
    topics: [`gateways/${gateway.id}`, 'gateways/status', 'alarms'],
    interval: 10,
  });
  await following.ready;
  const before = requests;
  await write(sensor, 42);
  const valueOf = (list) => list?.find((r) => r.sensor_id === sensor.id)?.value;
  const result = await until(latest, ({ data }) => valueOf(data) === 42);
  assert.equal(result.data.find((r) => r.sensor_id === sensor.id).is_stale, false);
  await until(paged, ({ data }) => valueOf(data.pages[0].items) === 42);
  assert.ok(queryClient.getQueryState(readings.queryKey).isInvalidated);
  assert.equal(requests - before, 1, 'readings are updated without a request');

  await write(sensor, 85);
  const isIn =
    (state) =>
    ({ data }) =>
      data.some((alarm) => alarm.state === state);
  const { data } = await until(alarms, isIn('active_unacknowledged'));
  const { id, occurrence, state_version } = data.find(
    (alarm) => alarm.state === 'active_unacknowledged',
  );
  await acknowledgeAlarm({ client, path: { id }, body: { occurrence, state_version } });
  await until(alarms, isIn('active_acknowledged'));

  const gateways = observe(listGateways);
  await until(gateways, (r) => r.isSuccess && r.data[0].status === 'unknown');
  const path = { id: gateway.id };
  const { data: credential } = await createCredential({ client, path });
  await publish({
    port: server.mqttPort,
    username: credential.username,
    password: credential.secret,
    topic: 'sensors/press/t2/data',
    payload: JSON.stringify({ value: 3 }),
  });
  await until(gateways, ({ data }) => data[0].status !== 'unknown');
  live.close();
});

test('a query of another server does not follow', async () => {
  const elsewhere = createClient({ baseUrl: 'http://elsewhere.example' });
  const options = queryOptions(getGateway, { client: elsewhere, path: { id: gateway.id } });
  assert.notDeepEqual(
    options.queryKey,
    queryOptions(getGateway, { client, path: { id: gateway.id } }).queryKey,
  );
});
