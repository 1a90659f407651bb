// Tests of Live against the real server: restarts, lost networks, gaps, short logins.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  createAlarm,
  createGateway,
  createSensor,
  listAlarmEvents,
  listReadings,
  logout,
  login,
  createClient,
  writeReadings,
} from '@oei-ms/client';
import { Live } from '@oei-ms/client/live';
import { connect } from '@oei-ms/client/session';
import { startServer, admin } from './server.mjs';
import { startProxy } from './swallow.mjs';

let server, proxy, oei, gateway, sensors;
before(async () => {
  server = await startServer();
  proxy = await startProxy(server.origin);
  oei = await connect({ url: server.origin, login: admin });
  const body = { key: 'live', name: 'Live' };
  gateway = (await createGateway({ client: oei.client, body })).data;
  sensors = [];
  for (const key of ['t1', 't2', 't3']) sensors.push(await addSensor(key));
});
after(async () => {
  proxy?.close();
  oei?.close();
  await server?.stop();
});

async function addSensor(key) {
  const body = { key, name: key, type: 'temperature', gateway_id: gateway.id };
  return (await createSensor({ client: oei.client, body })).data.id;
}

const lives = [];
function open(options = { session: oei }) {
  const live = new Live(options);
  live.history = [];
  live.on('state', (s) => live.history.push(s));
  lives.push(live);
  return live;
}
after(() => lives.forEach((live) => live.close()));

/** Subscribes, and returns the events. */
async function record(live, topics, options = {}) {
  const events = [];
  const push = (e) => events.push(e);
  const names = ['onReading', 'onStatus', 'onAlarm', 'onAlarmSnapshot', 'onGap', 'onRefused'];
  const handlers = Object.fromEntries(names.map((name) => [name, push]));
  const subscription = live.subscribe(topics, { ...handlers, ...options });
  await subscription.ready;
  const readings = () => events.filter((e) => e.type === 'reading');
  return { events, readings, subscription };
}

async function until(what, holds, tries = 1500) {
  for (; !(await holds()); tries--) {
    assert.ok(tries > 0, `waited 30 s until ${what}`);
    await new Promise((r) => setTimeout(r, 20));
  }
}

const key = (r) => `${r.sensor_id} ${r.timestamp} ${r.value}`;
const at = (ms) => new Date(ms).toISOString();

/** Writes readings, again until the server has them. */
async function write(readings) {
  for (let tries = 0; ; tries++) {
    try {
      return await writeReadings({ client: oei.client, body: { readings } });
    } catch (err) {
      if (tries === 300) throw err;
      await new Promise((r) => setTimeout(r, 100));
    }
  }
}

/** Returns all readings of sensors since then, in order of time. */
async function stored(ids, start) {
  const all = [];
  for (let cursor; ;) {
    const query = { sensor_id: ids, start, order: 'asc', limit: 1000, ...(cursor && { cursor }) };
    const { data, response } = await listReadings({ client: oei.client, query });
    all.push(...data);
    cursor = response.headers.get('X-Next-Cursor');
    if (!cursor) return all;
  }
}

/** Each reading that is stored came once, and those of a gap are in order of time. */
async function assertComplete(readings, ids, start) {
  const want = (await stored(ids, start)).map(key).sort();
  assert.deepEqual(readings.map(key).sort(), want);
  for (const id of ids) {
    const times = readings
      .filter((r) => r.sensor_id === id && r.origin === 'gap')
      .map((r) => r.timestamp);
    assert.deepEqual(times, [...times].sort());
  }
}

test('a restart in a stream loses no alarm event and no reading, and repeats none', async () => {
  const sensor = await addSensor('restart');
  const rule = {
    name: 'Hot',
    kind: 'threshold',
    severity: 'major',
    limits: { high: { value: 80 } },
  };
  await createAlarm({ client: oei.client, body: { sensor_id: sensor, rule } });
  const live = open();
  const alarms = await record(live, 'alarms');
  const gapless = await record(live, [`sensors/${sensor}`], { gapless: true });
  const loop = live.subscribe(['alarms/major'], { buffer: 10_000 });
  const begin = Date.now() - 1000;
  const writing = (async () => {
    for (let i = 0; i < 150; i++) {
      await write([{ sensor_id: sensor, timestamp: at(begin + i), value: i % 2 ? 20 : 90 }]);
      await new Promise((r) => setTimeout(r, 20));
    }
  })();
  await until('events come', () => alarms.events.length > 20);
  await server.restart();
  await writing;
  let events;
  await until('all events have come', async () => {
    const query = { sensor_id: sensor, limit: 1000 };
    events = (await listAlarmEvents({ client: oei.client, query })).data;
    return (
      events.length >= 150 &&
      alarms.events.at(-1).event?.offset >= Math.max(...events.map((e) => e.offset))
    );
  });
  const offsets = events.map((e) => e.offset).sort((a, b) => a - b);
  const mine = (e) => e.event.sensor_id === sensor;
  assert.deepEqual(
    alarms.events.filter(mine).map((e) => e.event.offset),
    offsets,
  );
  await until('all readings have come', () => gapless.readings().length >= 150);
  await assertComplete(gapless.readings(), [sensor], at(begin));
  live.close();
  const looped = [];
  for await (const e of loop) if (mine(e)) looped.push(e.event.offset);
  assert.deepEqual(looped, offsets);
  const codes = live.history.filter((s) => s.state === 'waiting').map((s) => s.code);
  assert.equal(codes[0], 1001);
});

test('a network that swallows everything is noticed, and the gap is read', async () => {
  const live = open({ url: proxy.origin, token: () => oei.token() });
  const ids = sensors.slice(0, 2);
  const gapless = await record(
    live,
    ids.map((id) => `sensors/${id}`),
    { gapless: true },
  );
  const byGateway = await record(live, `gateways/${gateway.id}`, { gapless: true });
  const plain = await record(live, `sensors/${ids[0]}`);
  const has = (r, value) => r.readings().some((e) => e.value === value);
  const begin = Date.now() - 60_000;
  const reading = (i, sensor = ids[i % 2], offset = 0) => ({
    sensor_id: sensor,
    timestamp: at(begin + 10 * i + offset),
    value: i,
  });
  await write(Array.from({ length: 20 }, (_, i) => reading(i)));
  await until('the first readings come', () => gapless.readings().length === 20);

  proxy.swallow(true);
  // More than two pages, and one that is older than the last that came.
  for (let part = 0; part < 3; part++) {
    await write(Array.from({ length: 800 }, (_, i) => reading(20 + part * 800 + i)));
  }
  await write([reading(4, ids[0], 5)]);
  await write([reading(3000, sensors[2])]); // of a sensor that had none
  live.retry();
  await until('it is noticed', () => live.state.state === 'connecting');
  proxy.swallow(false);
  await until('the gap is read', () => gapless.readings().length >= 2421, 3000);
  await write([reading(2500), reading(2501)]);
  await until('live readings come', () => has(gapless, 2501));
  await until('live readings come', () => has(byGateway, 2501));

  await assertComplete(gapless.readings(), ids, at(begin));
  await assertComplete(byGateway.readings(), [...ids, sensors[2]], at(begin));
  assert.deepEqual(new Set(gapless.readings().map((r) => r.origin)), new Set(['live', 'gap']));
  assert.equal(gapless.events.length, gapless.readings().length);
  assert.deepEqual(
    plain.events.filter((e) => e.type === 'gap').map((e) => e.reason),
    ['connection'],
  );
  assert.ok(plain.readings().length < 20);
  live.close();
});

test('readings that come while the gap is read wait for it', async () => {
  const live = open({ url: proxy.origin, token: () => oei.token() });
  const sensor = await addSensor('busy');
  const begin = Date.now() - 60_000;
  const loop = live.subscribe(`sensors/${sensor}`, { gapless: true, buffer: 50 });
  const { events, readings } = await record(live, `sensors/${sensor}`, { gapless: true });
  let i = 0;
  let isWriting = true;
  const writing = (async () => {
    while (isWriting) {
      await write(
        Array.from({ length: 100 }, () => ({
          sensor_id: sensor,
          timestamp: at(begin + ++i),
          value: i,
        })),
      );
    }
  })();
  for (let round = 0; round < 3; round++) {
    const before = readings().length;
    await until('readings come', () => readings().length > before + 1500);
    proxy.cut();
  }
  const before = readings().length;
  await until('readings come', () => readings().length > before + 1500);
  isWriting = false;
  await writing;
  await until('all have come', () => readings().length >= i);
  await assertComplete(readings(), [sensor], at(begin));
  assert.equal(events.length, i);
  const looped = []; // a consumer that has not begun yet
  for await (const e of loop) {
    looped.push(e);
    if (looped.length === i) break;
  }
  await assertComplete(looped, [sensor], at(begin));
  live.close();
});

test('a gap over the limit is reported with what is missing', async () => {
  const live = open({ url: proxy.origin, token: () => oei.token() });
  const sensor = await addSensor('limit');
  const begin = Date.now() - 60_000;
  const reading = (i) => ({ sensor_id: sensor, timestamp: at(begin + i), value: i });
  await write([reading(0)]);
  const { events, readings } = await record(live, `sensors/${sensor}`, { gapless: { limit: 100 } });
  await write([reading(1)]);
  await until('a reading comes', () => events.length === 1);
  proxy.cut();
  await write(Array.from({ length: 300 }, (_, i) => reading(2 + i)));
  await until('the gap is reported', () => events.some((e) => e.type === 'gap'));
  await write([reading(1000)]);
  await until('live readings come', () => readings().at(-1).value === 1000);
  const gap = events.findIndex((e) => e.type === 'gap');
  const { from, to, ...rest } = events[gap];
  assert.deepEqual(rest, {
    type: 'gap',
    missing: 'readings',
    reason: 'limit',
    sensor_ids: [sensor],
  });
  const values = readings().map((r) => r.value);
  assert.equal(values.filter((v) => v > 1 && v < 302).length, 100);
  const missing = (await stored([sensor], from))
    .filter((r) => r.timestamp < to)
    .map((r) => r.value);
  for (let i = 1; i < 302; i++) assert.ok(values.includes(i) || missing.includes(i), `${i}`);
  proxy.cut();
  await until('it is live again', () => live.state.state === 'live');
  await write([{ sensor_id: sensor, timestamp: at(Date.now()), value: 1001 }]);
  await until('live readings come', () => readings().at(-1).value === 1001);
  assert.equal(new Set(readings().map(key)).size, readings().length);
  assert.equal(readings().length, 103);
  live.close();
});

test('a login of seconds is renewed on the open connection', async () => {
  const short = await startServer({ env: { ACCESS_TOKEN_EXPIRE_MINUTES: '0.167' } }); // 10 s
  try {
    const fresh = createClient({ baseUrl: short.origin });
    const token = async () => (await login({ client: fresh, body: admin })).data.access_token;
    const live = open({ url: short.origin, token });
    await record(live, 'alarms');
    await new Promise((r) => setTimeout(r, 13_000));
    assert.deepEqual(live.history.map((s) => s.state), ['live']);
    live.close();
  } finally {
    await short.stop();
  }
});

test('a session that is ended elsewhere closes the connection for good', async () => {
  const { data } = await login({ client: createClient({ baseUrl: server.origin }), body: admin });
  const live = open({ url: server.origin, token: () => data.access_token });
  const loop = (await record(live, `sensors/${sensors[0]}`)).subscription;
  const auth = data.access_token;
  await logout({ client: createClient({ baseUrl: server.origin, auth }) });
  await assert.rejects(loop.next(), { name: 'LiveError', code: 4401 });
  assert.deepEqual(
    live.history.filter((s) => 'code' in s).map((s) => s.code),
    [4401, 4401, 4401],
  );
});

test('three consumers share two topics', async () => {
  const live = open();
  const [a, b] = sensors.map((id) => `sensors/${id}`);
  const first = await record(live, [a, b]);
  const second = await record(live, [b], { snapshot: true });
  const third = live.subscribe([a, b]);
  await third.ready;
  const now = Date.now();
  await write(
    sensors.slice(0, 2).map((sensor_id) => ({ sensor_id, timestamp: at(now), value: 7 })),
  );
  await until('readings come', () => first.readings().length === 2);
  assert.equal(second.readings().filter((r) => r.origin === 'live').length, 1);
  const ids = [(await third.next()).value.sensor_id, (await third.next()).value.sensor_id];
  assert.deepEqual(ids.sort(), sensors.slice(0, 2));
  first.subscription.unsubscribe();
  third.unsubscribe();
  await write(
    sensors.slice(0, 2).map((sensor_id) => ({ sensor_id, timestamp: at(now + 1), value: 8 })),
  );
  await until('a reading comes', () => second.readings().at(-1).value === 8);
  assert.equal(first.readings().length, 2);
  live.close();
});

test('a topic that does not exist is refused', async () => {
  const live = open();
  const subscription = live.subscribe(['sensors/999999']);
  await assert.rejects(subscription.ready, { name: 'LiveError', code: 'unknown_topic' });
  live.close();
});
