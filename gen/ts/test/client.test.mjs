// Tests of the published client against the real server.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  client, createCredential, createGateway, createSensor, createWebSocketTicket, deleteGateway, getGateway, getHealth, getCurrentUser, listReadings,
  listGateways, listLatestReadings, listRejections, listSensors, login, logout, ProblemType, Quality, refreshSession, updateGateway, updateSensor, writeReadings,
} from '@oei-ms/client';
import { Live } from '@oei-ms/client/live';
import { admin, logIn, startServer } from './server.mjs';

let server, tokens, gateway, sensor;
before(async () => {
  server = await startServer();
  client.setConfig({ throwOnError: false });
  tokens = await logIn(server.origin);
  gateway = (await createGateway({ body: { key: 'ts-gateway', name: 'Gateway' }, throwOnError: true })).data;
  sensor = (await createSensor({
    body: { key: 't1', name: 'Temperature', type: 'temperature', unit: 'Cel', gateway_id: gateway.id },
    throwOnError: true,
  })).data;
});
after(() => server?.stop());

const problem = (error, status, type) => {
  assert.equal(error?.status, status);
  assert.equal(error.type, type);
  assert.ok(error.title && error.instance, 'a problem has a title and an instance');
};

test('health needs no login and lists the dependencies', async () => {
  const { data } = await getHealth({ auth: undefined, throwOnError: true });
  assert.equal(data.status, 'healthy');
  assert.deepEqual([data.database, data.redis, data.mqtt], ['connected', 'connected', 'connected']);
  assert.ok(data.dependencies.some((d) => d.name === 'database' && d.state === 'up'));
});

test('the current user is the one who logged in', async () => {
  const { data } = await getCurrentUser({ throwOnError: true });
  assert.equal(data.username, admin.username);
  assert.equal(data.role, 'admin');
});

test('readings are written once and read back', async () => {
  const readings = [
    { sensor_id: sensor.id, timestamp: '2026-01-02T03:04:05.678Z', value: 21.5 },
    { sensor_id: sensor.id, timestamp: '2026-01-02T03:04:06.678Z', value: null, quality: Quality.BAD },
    { sensor_id: 2_000_000_000, timestamp: '2026-01-02T03:04:05Z', value: 1 },
  ].map((r) => ({ ...r, timestamp: recently(r.timestamp) }));
  const first = (await writeReadings({ body: { readings }, throwOnError: true })).data;
  assert.deepEqual(first.results.map((r) => r.status), ['stored', 'stored', 'rejected']);
  assert.equal(first.results[2].reason, 'unknown_sensor');
  const again = (await writeReadings({ body: { readings }, throwOnError: true })).data;
  assert.deepEqual(again.results.map((r) => r.status), ['duplicate', 'duplicate', 'rejected']);

  const { data } = await listReadings({ query: { sensor_id: [sensor.id], order: 'asc' }, throwOnError: true });
  assert.deepEqual(data.map((r) => [r.value, r.quality]), [[21.5, 'good'], [null, 'bad']]);
  assert.equal(Date.parse(data[0].timestamp), Date.parse(readings[0].timestamp));
  const latest = (await listLatestReadings({ query: { sensor_id: [sensor.id] }, throwOnError: true })).data;
  assert.deepEqual(latest.map((r) => [r.sensor_id, r.gateway_id, r.value]), [[sensor.id, gateway.id, null]]);
});

test('a repeated write with an idempotency key gets the first answer', async () => {
  const send = (value) => writeReadings({
    headers: { 'Idempotency-Key': 'ts-write-1' }, body: { readings: [{ sensor_id: sensor.id, timestamp: recently('2026-01-02T03:09:00Z'), value }] },
  });
  const first = await send(5);
  assert.deepEqual([first.data.stored, first.response.headers.get('Idempotency-Replayed')], [1, null]);
  const again = await send(5);
  assert.deepEqual([again.data, again.response.headers.get('Idempotency-Replayed')], [first.data, 'true']);
  problem((await send(6)).error, 422, ProblemType.UNPROCESSABLE);
});

test('rejections are listed in pages', async () => {
  const { data, response } = await listRejections({ query: { gateway_id: gateway.id, reason: 'malformed', count: true }, throwOnError: true });
  assert.deepEqual([data, response.headers.get('X-Total-Count')], [[], '0']);
});

test('a parameter may have several values', async () => {
  const other = (await createSensor({
    body: { key: 't2', name: 'Other', type: 'temperature', gateway_id: gateway.id }, throwOnError: true,
  })).data;
  await writeReadings({ body: { readings: [{ sensor_id: other.id, value: 1 }, { sensor_id: sensor.id, value: 2 }] }, throwOnError: true });
  const { data } = await listLatestReadings({ query: { sensor_id: [sensor.id, other.id] }, throwOnError: true });
  assert.deepEqual(data.map((r) => r.sensor_id), [sensor.id, other.id]);
});

test('pages are followed by the Link header', async () => {
  for (const key of ['p1', 'p2', 'p3']) {
    await createSensor({ body: { key, name: key, type: 'page', gateway_id: gateway.id }, throwOnError: true });
  }
  const first = await listSensors({ query: { type: 'page', limit: 2, count: true }, throwOnError: true });
  assert.equal(first.response.headers.get('X-Total-Count'), '3');
  const next = /<([^>]+)>; rel="next"/.exec(first.response.headers.get('Link'))[1];
  const cursor = new URL(next, server.origin).searchParams.get('cursor');
  const second = await listSensors({ query: { type: 'page', limit: 2, cursor }, throwOnError: true });
  assert.deepEqual([...first.data, ...second.data].map((s) => s.key), ['p1', 'p2', 'p3']);
  assert.equal(second.response.headers.get('Link'), null);
});

test('an error is a problem that names the field', async () => {
  const { error, response } = await createSensor({ body: { key: 'x'.repeat(65), name: 'X', type: 't', gateway_id: gateway.id } });
  assert.match(response.headers.get('Content-Type'), /^application\/problem\+json/);
  problem(error, 400, ProblemType.INVALID_REQUEST);
  assert.deepEqual(error.errors.map((e) => e.field), ['key']);
});

test('there is a constant for every type of problem in the contract', async () => {
  const contract = await (await fetch(`${server.origin}/openapi.json`)).json();
  assert.deepEqual(Object.values(ProblemType), contract.components.schemas.ProblemType['x-extensible-enum']);
});

test('missing, conflicting and unauthenticated requests have statuses of their own', async () => {
  assert.equal((await getGateway({ path: { id: 2_000_000_000 } })).error?.status, 404);
  assert.equal((await createGateway({ body: { key: 'ts-gateway', name: 'Again' } })).error?.status, 409);
  assert.equal((await getCurrentUser({ auth: undefined })).error?.status, 401);
  assert.equal((await login({ body: { username: admin.username, password: 'wrong' } })).error?.status, 401);
});

test('a change based on an old version is refused', async () => {
  const { response } = await getGateway({ path: { id: gateway.id }, throwOnError: true });
  const etag = response.headers.get('ETag');
  await updateGateway({ path: { id: gateway.id }, headers: { 'If-Match': etag }, body: { location: 'Hall 3' }, throwOnError: true });
  const late = await updateGateway({ path: { id: gateway.id }, headers: { 'If-Match': etag }, body: { location: 'Hall 4' } });
  assert.equal(late.error?.status, 412);
});

test('null removes a member, absence keeps it', async () => {
  const path = { id: sensor.id };
  await updateSensor({ path, body: { min_value: -40, max_value: 200 }, throwOnError: true });
  const { data } = await updateSensor({ path, body: { max_value: null }, throwOnError: true });
  assert.deepEqual([data.min_value, data.max_value], [-40, null]);
});

test('a credential is shown once', async () => {
  const { data } = await createCredential({ path: { id: gateway.id }, throwOnError: true });
  assert.equal(data.username, 'ts-gateway');
  assert.ok(data.secret.length > 20);
});

test('a repeated refresh gives the same successor; once that is used, it ends the session', async () => {
  const { data: mine } = await login({ body: admin, throwOnError: true });
  const { data: renewed } = await refreshSession({ body: { refresh_token: mine.refresh_token }, throwOnError: true });
  assert.equal((await getCurrentUser({ auth: renewed.access_token })).data?.username, admin.username);
  const { data: again } = await refreshSession({ body: { refresh_token: mine.refresh_token }, throwOnError: true });
  assert.equal(again.refresh_token, renewed.refresh_token);
  await refreshSession({ body: { refresh_token: renewed.refresh_token }, throwOnError: true });
  assert.equal((await refreshSession({ body: { refresh_token: mine.refresh_token } })).error?.status, 401);
  assert.equal((await getCurrentUser({ auth: renewed.access_token })).error?.status, 401);
});

test('logout ends the session', async () => {
  const { data: mine } = await login({ body: admin, throwOnError: true });
  await logout({ auth: mine.access_token, throwOnError: true });
  assert.equal((await getCurrentUser({ auth: mine.access_token })).error?.status, 401);
});

test('a stored reading arrives on the live connection', async () => {
  const live = new Live({ url: server.origin, token: () => tokens.access_token });
  const subscription = live.subscribe(`sensors/${sensor.id}`);
  await subscription.ready;
  await writeReadings({ body: { readings: [{ sensor_id: sensor.id, timestamp: recently(), value: 42 }] } });
  const { value } = await subscription.next();
  assert.deepEqual([value.sensor_id, value.value, value.quality], [sensor.id, 42, 'good']);
  live.close();
});

test('a ticket opens exactly one socket', async () => {
  const { data } = await createWebSocketTicket({ throwOnError: true });
  const address = `${server.origin.replace('http', 'ws')}/ws/sensors/${sensor.id}?ticket=${data.ticket}`;
  const opened = () => new Promise((resolve) => {
    const socket = new WebSocket(address);
    socket.onopen = () => { socket.close(); resolve(true); };
    socket.onerror = () => resolve(false);
  });
  assert.equal(await opened(), true);
  assert.equal(await opened(), false);
});

test('a socket with an invalid token is closed with 4401', async () => {
  const live = new Live({ url: server.origin, token: () => 'no token' });
  const state = await new Promise((resolve) => live.on('state', resolve));
  live.close();
  assert.deepEqual([state.state, state.code], ['waiting', 4401]);
});

test('a gateway with sensors is deleted only with cascade', async () => {
  assert.equal((await deleteGateway({ path: { id: gateway.id } })).error?.status, 409);
  const dry = (await deleteGateway({ path: { id: gateway.id }, query: { cascade: true, dry_run: true }, throwOnError: true })).data;
  assert.equal(dry.dry_run, true);
  assert.ok(dry.sensors >= 2);
  await deleteGateway({ path: { id: gateway.id }, query: { cascade: true }, throwOnError: true });
  const { data } = await listGateways({ query: { key: 'ts-gateway' }, throwOnError: true });
  assert.deepEqual(data, []);
});

// recently moves a time into the last hour, so that no retention applies to it; without a time it returns now.
function recently(timestamp) {
  if (!timestamp) return new Date().toISOString();
  const hour = 3_600_000;
  return new Date(Math.floor(Date.now() / hour) * hour - hour + (Date.parse(timestamp) % hour)).toISOString();
}

async function until(holds) {
  for (let tries = 0; !holds(); tries++) {
    assert.ok(tries < 500, `waited 10 s for ${holds}`);
    await new Promise((r) => setTimeout(r, 20));
  }
}
