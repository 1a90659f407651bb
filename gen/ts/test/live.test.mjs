// Tests of Live with a fake WebSocket and fake timers: states, reconnection, subscriptions, events.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { Live, LiveError } from '@oei-ms/client/live';

let sockets;
class FakeSocket {
  constructor(url) {
    this.url = String(url);
    this.sent = [];
    this.readyState = 1;
    sockets.push(this);
  }
  send(text) {
    this.sent.push(JSON.parse(text));
  }
  close() {
    this.closed = true;
  }
  receive(message) {
    this.onmessage?.({ data: JSON.stringify(message) });
  }
  login(expires = Date.now() + 600_000) {
    if (this.sent.length === 0) this.onopen();
    const expires_at = new Date(expires).toISOString();
    this.receive({ type: 'authenticated', user_id: 1, expires_at });
  }
  ping(time = Date.now()) {
    this.receive({ type: 'ping', time: new Date(time).toISOString() });
  }
  drop(code, reason = '') {
    this.onclose({ code, reason });
  }
}

let lives;
beforeEach(() => {
  sockets = [];
  lives = [];
  const apis = ['setTimeout', 'setInterval', 'Date'];
  mock.timers.enable({ apis, now: Date.parse('2026-01-02T03:04:05Z') });
});
afterEach(() => {
  for (const live of lives) live.close();
  mock.timers.reset();
});

const settled = () => new Promise(setImmediate); // lets resolved promises run

async function pass(ms) {
  for (; ms > 500; ms -= 500) {
    mock.timers.tick(500);
    await settled();
  }
  mock.timers.tick(ms);
  await settled();
}

async function start(options = {}) {
  const states = [];
  let tokens = 0;
  const live = new Live({
    url: 'https://oei.example/',
    token: async () => `token ${++tokens}`,
    WebSocket: FakeSocket,
    ...options,
  });
  lives.push(live);
  live.on('state', (s) => states.push(s));
  await settled();
  return { live, states };
}

/** Subscribes, and returns the events. */
function record(live, topics, options = {}) {
  const events = [];
  const push = (e) => events.push(e);
  const names = ['onReading', 'onStatus', 'onAlarm', 'onAlarmSnapshot', 'onGap', 'onRefused'];
  const subscription = live.subscribe(topics, {
    ...Object.fromEntries(names.map((name) => [name, push])),
    ...options,
  });
  return { events, subscription, types: () => events.map((e) => e.type) };
}

const now = (ms = 0) => new Date(Date.now() + ms).toISOString().replace('Z', '000Z');
const item = (
  sensor_id,
  value,
  timestamp = now(),
  gateway_id = 1,
  sensor_type = 'temperature',
) => ({ sensor_id, data: { value, timestamp, quality: 'good' }, gateway_id, sensor_type });
const reading = (...args) => ({ type: 'sensor_data', ...item(...args) });
const alarm = (offset, severity = 'major', epoch = 'e1') => ({
  type: 'alarm',
  epoch,
  offset,
  event: { epoch, offset, severity },
});
const requests = (socket) => socket.sent.filter((m) => m.type !== 'auth');
const accept = (socket, ...topics) => socket.receive({ type: 'subscribed', topics });

/** Lets the client reconnect, and logs in. */
async function reconnect(states) {
  if (states.at(-1).state === 'waiting') await pass(states.at(-1).at - Date.now());
  const socket = sockets.at(-1);
  socket.login();
  await pass(0);
  return socket;
}

test('logs in, then subscribes to the topics added meanwhile in one message', async () => {
  const { live, states } = await start();
  record(live, ['sensors/1', 'gateways/2', 'sensors/1']);
  const { subscription } = record(live, 'sensors/3');
  assert.equal(sockets[0].url, 'wss://oei.example/ws');
  sockets[0].onopen();
  assert.deepEqual(sockets[0].sent, [{ type: 'auth', token: 'token 1' }]);
  sockets[0].login();
  await pass(0);
  const topics = ['sensors/1', 'gateways/2', 'sensors/3'];
  assert.deepEqual(requests(sockets[0]), [
    { type: 'subscribe', batch: true, snapshot: false, topics },
  ]);
  subscription.unsubscribe();
  await pass(200);
  assert.deepEqual(sockets[0].sent.at(-1), { type: 'unsubscribe', topics: ['sensors/3'] });
  assert.deepEqual(
    states.map((s) => s.state),
    ['live'],
  );
  assert.deepEqual(live.state, { state: 'live' });
});

test('a subscription is ready when the server has accepted all of its topics', async () => {
  const { live, states } = await start();
  const isReady = [false, false, false, false];
  const subscribe = (i, topics) =>
    record(live, topics).subscription.ready.then(
      () => (isReady[i] = true),
      (err) => (isReady[i] = err.code),
    );
  void subscribe(0, ['sensors/1', 'sensors/2']);
  void subscribe(1, 'sensors/3');
  sockets[0].login();
  await pass(0);
  accept(sockets[0], 'sensors/1');
  await settled();
  assert.deepEqual(isReady, [false, false, false, false]);
  accept(sockets[0], 'sensors/2');
  void subscribe(2, 'sensors/1'); // which is accepted already
  await settled();
  assert.deepEqual(isReady, [true, false, true, false]);
  sockets[0].drop(1006);
  void subscribe(3, 'sensors/1');
  await reconnect(states);
  assert.equal(isReady[3], false);
  live.close();
  await settled();
  assert.deepEqual(isReady, [true, 1000, true, 1000]);
});

test('without topics a subscription is ready at once', async () => {
  const { live } = await start();
  await live.subscribe([]).ready;
});

test('a wrong address is an error at once, a refused WebSocket is tried again', async () => {
  assert.throws(
    () => new Live({ url: 'nowhere', token: () => 't', WebSocket: FakeSocket }),
    TypeError,
  );
  const { live, states } = await start({
    WebSocket: class {
      constructor() {
        throw new Error('not allowed');
      }
    },
  });
  assert.deepEqual([live.state.state, states.at(-1).reason], ['waiting', 'Error: not allowed']);
});

test('finds /ws below the address of the server', async () => {
  for (const url of [
    'http://h:1',
    'http://h:1/',
    'http://h:1/ws',
    'http://h:1/sub/path',
    new URL('http://h:1/sub/path/'),
  ]) {
    await start({ url });
  }
  const [root, path] = ['ws://h:1/ws', 'ws://h:1/sub/path/ws'];
  assert.deepEqual(
    sockets.map((s) => s.url),
    [root, root, root, path, path],
  );
});

test('subscriptions share topics, and each gets its events once', async () => {
  const { live } = await start();
  const all = record(live, ['sensors/1', 'gateways/1', 'sensors?type=temperature']);
  const one = record(live, 'sensors/1');
  const other = record(live, ['sensors/2', 'gateways/status']);
  sockets[0].login();
  await pass(0);
  sockets[0].receive(reading(1, 10));
  sockets[0].receive({
    type: 'sensor_data_batch',
    items: [item(2, 20), item(3, 30), item(4, 40, now(), 2, 'pressure')],
  });
  sockets[0].receive({
    type: 'gateway_status',
    gateway_id: 1,
    status: 'offline',
    timestamp: now(),
  });
  const values = (r) => r.events.map((e) => e.value ?? e.status);
  assert.deepEqual(values(all), [10, 20, 30, 'offline']);
  assert.deepEqual(values(one), [10]);
  assert.deepEqual(values(other), [20, 'offline']);
  assert.deepEqual(one.events[0], {
    type: 'reading',
    sensor_id: 1,
    value: 10,
    timestamp: now(),
    quality: 'good',
    origin: 'live',
  });
  all.subscription.unsubscribe();
  await pass(200);
  assert.deepEqual(sockets[0].sent.at(-1).topics, ['gateways/1', 'sensors?type=temperature']);
  sockets[0].receive(reading(1, 11));
  assert.deepEqual([values(all).length, values(one)], [4, [10, 11]]);
});

test('asks for what the most demanding subscription of a topic wants', async () => {
  const { live } = await start();
  sockets[0].login();
  await pass(0);
  record(live, ['sensors/1', 'sensors/2'], { policy: 'conflate', interval_ms: 500 });
  record(live, 'sensors/1', { policy: 'conflate', interval_ms: 100 });
  const { subscription } = record(live, 'sensors/2');
  await pass(200);
  const batch = { type: 'subscribe', batch: true, snapshot: false };
  assert.deepEqual(requests(sockets[0]), [
    { ...batch, policy: 'conflate', interval_ms: 100, topics: ['sensors/1'] },
    { ...batch, topics: ['sensors/2'] },
  ]);
  subscription.unsubscribe();
  await pass(200);
  assert.deepEqual(sockets[0].sent.at(-1), {
    ...batch,
    policy: 'conflate',
    interval_ms: 500,
    topics: ['sensors/2'],
  });
});

test('many changes of subscriptions are few messages', async () => {
  const { live } = await start();
  sockets[0].login();
  for (let i = 1; i <= 2500; i++) live.subscribe(`sensors/${i}`, { onReading() {} });
  await pass(200);
  assert.deepEqual(
    requests(sockets[0]).map((m) => m.topics.length),
    [1000, 1000, 500],
  );
  for (let i = 1; i <= 50; i++) live.subscribe('sensors/1', { onReading() {} }).unsubscribe();
  await pass(1000);
  assert.equal(requests(sockets[0]).length, 3);
});

test('reconnects with a new token and its topics, and tells of the gap', async () => {
  const { live, states } = await start();
  const { events } = record(live, ['sensors/1', 'gateways/status']);
  sockets[0].login();
  await pass(0);
  accept(sockets[0], 'sensors/1', 'gateways/status');
  const since = now().replace('000Z', 'Z');
  await pass(100);
  sockets[0].drop(1006, 'gone');
  const { at, ...waiting } = states.at(-1);
  assert.deepEqual(waiting, {
    state: 'waiting',
    since: Date.parse(since),
    code: 1006,
    reason: 'gone',
  });
  assert.ok(at > Date.now());
  const socket = await reconnect(states);
  assert.deepEqual(
    socket.sent.map((m) => m.token ?? m.topics),
    ['token 2', ['sensors/1', 'gateways/status']],
  );
  assert.deepEqual(events, []);
  accept(socket, 'sensors/1', 'gateways/status');
  assert.deepEqual(
    events.map((e) => [e.type, e.missing, e.reason, e.from]),
    [
      ['gap', 'status', 'connection', since],
      ['gap', 'readings', 'connection', since],
    ],
  );
});

test('waits longer after each failure, at most 30 s', async () => {
  const { states } = await start();
  for (let i = 0; i < 12; i++) {
    sockets.at(-1).drop(1006);
    const wait = states.at(-1).at - Date.now();
    assert.ok(wait <= Math.min(30_000, 500 * 2 ** (i + 1)) + 100, `wait ${i} is ${wait} ms`);
    await pass(wait);
  }
  assert.equal(sockets.length, 13);
});

for (const [code, min, max] of [
  [1001, 0, 3000],
  [1012, 0, 3000],
  [1006, 100, 1100],
  [1011, 100, 1100],
  [1013, 5000, 6000],
  [4401, 100, 1100],
  [4408, 100, 1100],
  [4413, 0, 0],
  [4429, 5000, 6000],
  [4999, 100, 1100],
]) {
  test(`after ${code} it reconnects in ${min} to ${max} ms`, async () => {
    const { states } = await start();
    sockets[0].login();
    sockets[0].drop(code, 'why');
    const { at, since: _, ...state } = states.at(-1);
    assert.deepEqual(state, { state: 'waiting', code, reason: 'why' });
    assert.ok(at - Date.now() >= min && at - Date.now() <= max, `waits ${at - Date.now()} ms`);
    await pass(at - Date.now());
    assert.equal(sockets.length, 2);
  });
}

for (const code of [1009, 4400, 4403]) {
  test(`does not reconnect after ${code}`, async () => {
    const { live, states } = await start();
    const loop = live.subscribe('sensors/1');
    sockets[0].login();
    const since = Date.now();
    const next = loop.next();
    sockets[0].drop(code, 'no');
    await assert.rejects(next, (err) => err instanceof LiveError && err.code === code);
    assert.deepEqual(await loop.next(), { value: undefined, done: true });
    assert.deepEqual(states.at(-1), { state: 'closed', code, reason: 'no', since });
    await pass(120_000);
    assert.equal(sockets.length, 1);
  });
}

test('says which token was refused, and stops after three', async () => {
  const refused = [];
  const { states } = await start({
    token: (options) => {
      refused.push(options.refused);
      return `t${refused.length}`;
    },
  });
  sockets[0].login();
  for (let i = 0; i < 3; i++) {
    sockets.at(-1).onopen();
    sockets.at(-1).drop(4401, 'session ended');
    if (i < 2) await pass(states.at(-1).at - Date.now());
  }
  assert.deepEqual(refused, [undefined, 't1', 't2']);
  assert.equal(sockets.length, 3);
  assert.equal(states.at(-1).state, 'closed');
});

test('keeps trying while no token is available, and stops when the session has ended', async () => {
  let error = new Error('network is down');
  const { states } = await start({
    token: async () => {
      throw error;
    },
  });
  for (let i = 0; i < 5; i++) await pass(states.at(-1).at - Date.now());
  assert.equal(states.at(-1).state, 'waiting');
  assert.match(states.at(-1).reason, /network is down/);
  error = Object.assign(new Error('the session is over'), { name: 'SessionEndedError' });
  await pass(states.at(-1).at - Date.now());
  assert.equal(states.at(-1).state, 'closed');
  assert.equal(states.at(-1).code, 4401);
});

test('renews the login of an open socket by the clock of the server', async () => {
  await start();
  const behind = 3_600_000; // the clock of this machine
  sockets[0].login(Date.now() + behind + 100_000);
  sockets[0].ping(Date.now() + behind);
  for (let i = 0; i < 9; i++) {
    await pass(10_000);
    sockets[0].ping(Date.now() + behind);
  }
  assert.deepEqual(
    sockets[0].sent.map((m) => m.token),
    ['token 1', 'token 2'],
  );
});

test('asks again for a token that cannot be had yet', async () => {
  let tokens = 0;
  const { states } = await start({
    token: async () => {
      if (++tokens === 2) throw new Error('network is down');
      return `token ${tokens}`;
    },
  });
  sockets[0].login(Date.now() + 20_000);
  for (let i = 0; i < 23; i++) await pass(1000);
  assert.deepEqual(
    sockets[0].sent.map((m) => m.token),
    ['token 1', 'token 3'],
  );
  assert.equal(states.at(-1).state, 'live');
});

test('a silent connection is stale, is checked, and lives on when it answers', async () => {
  const { states } = await start();
  sockets[0].login();
  const since = Date.now();
  for (let i = 0; i < 36; i++) await pass(1000);
  assert.deepEqual(states.at(-1), { state: 'stale', since });
  assert.deepEqual(sockets[0].sent.at(-1), { type: 'auth', token: 'token 2' });
  sockets[0].login();
  assert.deepEqual(states.at(-1), { state: 'live' });
  await pass(5000);
  assert.equal(sockets.length, 1);
});

test('a silent connection that does not answer is replaced at once', async () => {
  const { states } = await start();
  sockets[0].login();
  for (let i = 0; i < 38; i++) await pass(1000);
  assert.deepEqual([sockets.length, sockets[0].closed], [2, true]);
  assert.deepEqual(
    states.map((s) => s.state),
    ['live', 'stale', 'connecting'],
  );
});

test('gives up an attempt that is not answered', async () => {
  const { states } = await start();
  await pass(10_000);
  assert.deepEqual([states.at(-1).state, states.at(-1).reason], ['waiting', 'no answer']);
});

test('after a short sleep the connection is checked at once', async () => {
  const { states } = await start();
  sockets[0].login();
  for (let i = 0; i < 3; i++) await pass(1000);
  mock.timers.setTime(Date.now() + 20_000); // no timer runs meanwhile
  sockets[0].receive(reading(1, 1)); // it was on its way
  await pass(1000);
  assert.equal(sockets[0].sent.at(-1).type, 'auth');
  await pass(1500);
  assert.equal(sockets.length, 2);
  sockets[1].login();
  assert.equal(states.at(-1).state, 'live');
});

test('after a long sleep the connection is replaced at once', async () => {
  await start();
  sockets[0].login();
  mock.timers.setTime(Date.now() + 600_000);
  await pass(1000);
  assert.equal(sockets.length, 2);
});

test('a connection that was lost in sleep is replaced without waiting', async () => {
  const { states } = await start();
  sockets[0].login();
  mock.timers.setTime(Date.now() + 600_000);
  sockets[0].drop(1013, 'silent');
  await settled();
  assert.equal(sockets.length, 2);
  sockets[1].drop(1006); // the network is not there yet
  assert.ok(states.at(-1).at - Date.now() <= 2100);
});

test('retry does not wait', async () => {
  const { live } = await start();
  for (let i = 0; i < 8; i++) {
    sockets.at(-1).drop(1006);
    live.retry();
    await settled();
    assert.equal(sockets.length, i + 2);
  }
});

test('refused topics are reported and not asked for again', async () => {
  const { live, states } = await start();
  const { events, subscription } = record(live, ['sensors/1', 'sensors/2']);
  const loop = live.subscribe('sensors/2');
  sockets[0].login();
  await pass(0);
  const detail = 'the topic does not exist';
  sockets[0].receive({ type: 'error', code: 'unknown_topic', detail, topics: ['sensors/2'] });
  const refused = { type: 'refused', topics: ['sensors/2'], code: 'unknown_topic', detail };
  assert.deepEqual(events, [refused]);
  assert.deepEqual([...subscription.topics], ['sensors/1']);
  assert.deepEqual((await loop.next()).value, refused);
  await assert.rejects(loop.next(), { code: 'unknown_topic' });
  sockets[0].drop(1006);
  assert.deepEqual((await reconnect(states)).sent.at(-1).topics, ['sensors/1']);
});

test('topics that are not available are asked for again', async () => {
  const { live } = await start();
  record(live, ['sensors/1', 'alarms'], { snapshot: true });
  sockets[0].login();
  await pass(0);
  const before = requests(sockets[0]);
  sockets[0].receive({
    type: 'error',
    code: 'unavailable',
    detail: '',
    topics: ['sensors/1', 'alarms'],
  });
  await pass(6000);
  assert.deepEqual(requests(sockets[0]).slice(before.length), before);
});

test('resumes after the last alarm event, and passes on none twice', async () => {
  const { live, states } = await start();
  const { events } = record(live, 'alarms');
  const critical = record(live, ['alarms/critical', 'alarms/minor']);
  sockets[0].login();
  await pass(0);
  const topics = ['alarms', 'alarms/critical', 'alarms/minor'];
  assert.deepEqual(requests(sockets[0]), [{ type: 'subscribe', topics }]);
  sockets[0].receive({ type: 'subscribed', topics, epoch: 'e1', offset: 6 });
  assert.deepEqual(live.position, { epoch: 'e1', offset: 6 });
  sockets[0].receive(alarm(7));
  sockets[0].drop(1006);
  const socket = await reconnect(states);
  assert.deepEqual(requests(socket), [
    { type: 'subscribe', resume: { epoch: 'e1', offset: 7 }, topics },
  ]);
  socket.receive({ type: 'subscribed', topics, epoch: 'e1', offset: 7 });
  for (const n of [7, 8, 8, 9]) socket.receive(alarm(n, n === 9 ? 'critical' : 'major'));
  assert.deepEqual(
    events.map((e) => e.event.offset),
    [7, 8, 9],
  );
  assert.deepEqual(
    critical.events.map((e) => e.event.offset),
    [9],
  );
});

test('resumes at the position of an earlier program', async () => {
  const { live } = await start({ resume: { epoch: 'e1', offset: 41 } });
  record(live, 'alarms/critical');
  sockets[0].login();
  await pass(0);
  assert.deepEqual(requests(sockets[0])[0].resume, { epoch: 'e1', offset: 41 });
});

test('an alarm snapshot goes to who asked; events that it includes do not follow', async () => {
  const { live } = await start();
  const early = record(live, 'alarms');
  sockets[0].login();
  await pass(0);
  sockets[0].receive({ type: 'subscribed', topics: ['alarms'], epoch: 'e1', offset: 6 });
  const late = record(live, 'alarms', { snapshot: true });
  await pass(200);
  assert.deepEqual(sockets[0].sent.at(-1), {
    type: 'subscribe',
    snapshot: true,
    topics: ['alarms'],
  });
  sockets[0].receive(alarm(7));
  const part = { type: 'alarm_snapshot', topics: ['alarms'], epoch: 'e1', offset: 8 };
  sockets[0].receive({ ...part, alarms: [alarm(5).event], more: true });
  sockets[0].receive({ ...part, alarms: [alarm(8).event], more: false });
  for (const n of [8, 9]) sockets[0].receive(alarm(n));
  assert.deepEqual(
    early.events.map((e) => e.event.offset),
    [7, 8, 9],
  );
  assert.deepEqual(late.types(), ['alarmSnapshot', 'alarm']);
  assert.deepEqual(
    late.events[0].alarms.map((e) => e.offset),
    [5, 8],
  );
  assert.equal(late.events[1].event.offset, 9);
});

test('the snapshot after a resync goes to all, and moves the position', async () => {
  const { live } = await start({ resume: { epoch: 'e0', offset: 70 } });
  const all = record(live, 'alarms');
  const minor = record(live, 'alarms/minor');
  sockets[0].login();
  await pass(0);
  sockets[0].receive({
    type: 'subscribed',
    topics: ['alarms', 'alarms/minor'],
    epoch: 'e1',
    offset: 5,
  });
  sockets[0].receive({
    type: 'resync',
    scope: 'alarms',
    reason: 'the alarm log has another epoch',
  });
  const alarms = [alarm(4).event, alarm(5, 'minor').event];
  sockets[0].receive({
    type: 'alarm_snapshot',
    topics: ['alarms'],
    epoch: 'e1',
    offset: 5,
    alarms,
    more: false,
  });
  assert.deepEqual(live.position, { epoch: 'e1', offset: 5 });
  sockets[0].receive(alarm(6));
  assert.deepEqual(all.types(), ['alarmSnapshot', 'alarm']);
  assert.deepEqual(
    minor.events.map((e) => e.alarms?.length),
    [1],
  );
});

test('drops the position when nothing is subscribed to alarms any more', async () => {
  const { live } = await start();
  const { subscription } = record(live, 'alarms');
  sockets[0].login();
  await pass(0);
  sockets[0].receive(alarm(7));
  subscription.unsubscribe();
  await pass(200);
  assert.equal(live.position, undefined);
});

test('snapshots come first, and again after gaps with what has changed', async () => {
  const { live, states } = await start();
  const tile = record(live, ['sensors/1', 'sensors/2'], { snapshot: true });
  const chart = record(live, 'sensors/1');
  const snapshot = (socket, ...items) =>
    socket.receive({ type: 'snapshot', topics: ['sensors/1', 'sensors/2'], items, more: false });
  sockets[0].login();
  await pass(0);
  assert.deepEqual(
    requests(sockets[0]).map((m) => [m.snapshot, m.topics]),
    [[true, ['sensors/1', 'sensors/2']]],
  );
  accept(sockets[0], 'sensors/1', 'sensors/2');
  const [t1, t2, t3] = [now(1), now(2), now(3)];
  snapshot(sockets[0], item(1, 10, t1), item(2, 20, t1));
  sockets[0].receive(reading(2, 21, t2));
  sockets[0].drop(1006);
  const socket = await reconnect(states);
  assert.equal(requests(socket)[0].snapshot, true);
  accept(socket, 'sensors/1', 'sensors/2');
  snapshot(socket, item(1, 11, t3), item(2, 21, t2));
  const values = (r) =>
    r.events.filter((e) => e.type === 'reading').map((e) => `${e.value} ${e.origin}`);
  assert.deepEqual(values(tile), ['10 snapshot', '20 snapshot', '21 live', '11 snapshot']);
  assert.deepEqual(values(chart), ['11 snapshot']);
  for (const message of [
    { type: 'lagged', dropped: 3 },
    { type: 'resync', scope: 'readings', reason: '' },
  ]) {
    const before = requests(socket).length;
    socket.receive(message);
    await pass(2500);
    assert.deepEqual(
      requests(socket)
        .slice(before)
        .map((m) => m.snapshot),
      [true],
    );
    snapshot(socket, item(1, 11, t3), item(2, 21, t2));
  }
  assert.equal(values(tile).length, 4);
  assert.deepEqual(
    chart.events.filter((e) => e.type === 'gap').map((e) => e.reason),
    ['connection', 'lagged', 'relay'],
  );
});

test('a loop receives the events, and leaving it ends the subscription', async () => {
  const { live } = await start();
  const subscription = live.subscribe('sensors/1');
  sockets[0].login();
  await pass(0);
  for (let i = 0; i < 3; i++) sockets[0].receive(reading(1, i));
  const values = [];
  for await (const event of subscription) {
    values.push(event.value);
    if (values.length === 2) break;
  }
  assert.deepEqual(values, [0, 1]);
  await pass(200);
  assert.deepEqual(sockets[0].sent.at(-1), { type: 'unsubscribe', topics: ['sensors/1'] });
});

test('a signal ends a subscription and its loop', async () => {
  const { live } = await start();
  const abort = new AbortController();
  const loop = live.subscribe('sensors/1', { signal: abort.signal });
  const next = loop.next();
  abort.abort();
  assert.deepEqual(await next, { value: undefined, done: true });
  assert.equal((await live.subscribe('sensors/1', { signal: abort.signal }).next()).done, true);
  sockets[0].login();
  await pass(200);
  assert.deepEqual(requests(sockets[0]), []);
});

test('a slow loop loses the readings that wait, not later ones, and is told', async () => {
  const { live } = await start();
  const loop = live.subscribe(['sensors/1', 'alarms'], { buffer: 10 });
  sockets[0].login();
  await pass(0);
  sockets[0].receive(alarm(1));
  for (let i = 0; i < 15; i++) sockets[0].receive(reading(1, i));
  live.close();
  const seen = [];
  for await (const event of loop) seen.push(event.value ?? event.reason ?? event.event.offset);
  assert.deepEqual(seen, [1, 'buffer', 9, 10, 11, 12, 13, 14]);
});

test('a loop that is too slow for alarms gets a snapshot when it has caught up', async () => {
  const { live } = await start();
  const loop = live.subscribe('alarms', { buffer: 10 });
  const handler = record(live, 'alarms');
  sockets[0].login();
  await pass(0);
  for (let i = 1; i <= 30; i++) sockets[0].receive(alarm(i));
  const next = loop.next();
  await pass(200);
  assert.deepEqual(sockets[0].sent.at(-1), {
    type: 'subscribe',
    snapshot: true,
    topics: ['alarms'],
  });
  sockets[0].receive(alarm(31)); // included
  const alarms = [alarm(31).event];
  sockets[0].receive({
    type: 'alarm_snapshot',
    topics: ['alarms'],
    epoch: 'e1',
    offset: 31,
    alarms,
    more: false,
  });
  sockets[0].receive(alarm(32));
  assert.deepEqual((await next).value, { type: 'alarmSnapshot', alarms });
  assert.equal((await loop.next()).value.event.offset, 32);
  assert.deepEqual(
    handler.events.map((e) => e.event.offset),
    Array.from({ length: 32 }, (_, i) => i + 1),
  );
});

test('an error in a handler is reported and disturbs no other', async () => {
  const { live } = await start();
  const errors = [];
  const listeners = process.listeners('uncaughtException');
  process.removeAllListeners('uncaughtException');
  process.once('uncaughtException', (err) => errors.push(err.message));
  live.subscribe('sensors/1', {
    onReading() {
      throw new Error('oops');
    },
  });
  const { events } = record(live, 'sensors/1');
  sockets[0].login();
  sockets[0].receive(reading(1, 5));
  await settled();
  for (const l of listeners) process.on('uncaughtException', l);
  assert.deepEqual([errors, events.length], [['oops'], 1]);
});

test('closes once, ends its loops, and is silent afterwards', async () => {
  const { live, states } = await start();
  const next = live.subscribe('sensors/1').next();
  sockets[0].login();
  live.close();
  live.close();
  live.retry();
  assert.equal((await next).done, true);
  await pass(120_000);
  assert.deepEqual(
    states.map((s) => s.state),
    ['live', 'closed'],
  );
  assert.deepEqual([sockets.length, sockets[0].closed], [1, true]);
});
