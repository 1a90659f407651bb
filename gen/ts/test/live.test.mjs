// Tests of Live with a fake WebSocket and fake timers: reconnection, subscriptions, alarm positions.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { Live } from '@oei-ms/client/live';

let sockets;
class FakeSocket {
  constructor(url) {
    this.url = String(url);
    this.sent = [];
    sockets.push(this);
  }
  send(text) { this.sent.push(JSON.parse(text)); }
  close() { this.closed = true; }
  receive(message) { this.onmessage({ data: JSON.stringify(message) }); }
  login(expires = Date.now() + 600_000) {
    this.onopen();
    this.receive({ type: 'authenticated', user_id: 1, expires_at: new Date(expires).toISOString() });
  }
  drop(code, reason = '') { this.onclose({ code, reason }); }
}

beforeEach(() => {
  sockets = [];
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: Date.parse('2026-01-02T03:04:05Z') });
});
afterEach(() => mock.timers.reset());

const settled = () => new Promise(setImmediate); // lets resolved promises run

async function start(options = {}) {
  const seen = [], states = [];
  let tokens = 0;
  const live = new Live({
    url: 'https://oei.example/ws',
    token: async () => `token ${++tokens}`,
    onMessage: (m) => seen.push(m),
    onState: (s) => states.push(s),
    WebSocket: FakeSocket,
    ...options,
  });
  await settled();
  return { live, seen, states };
}

async function pass(ms) {
  mock.timers.tick(ms);
  await settled();
}

test('logs in, then subscribes to the topics added meanwhile', async () => {
  const { live } = await start();
  live.subscribe(['sensors/1', 'gateways/2', 'sensors/1']);
  assert.equal(sockets[0].url, 'wss://oei.example/ws');
  sockets[0].onopen();
  assert.deepEqual(sockets[0].sent, [{ type: 'auth', token: 'token 1' }]);
  sockets[0].login();
  assert.deepEqual(sockets[0].sent.at(-1), { type: 'subscribe', topics: ['sensors/1', 'gateways/2'] });
  live.unsubscribe(['sensors/1', 'sensors/9']);
  assert.deepEqual(sockets[0].sent.at(-1), { type: 'unsubscribe', topics: ['sensors/1'] });
});

test('reconnects with a new token and its topics', async () => {
  const { live, states } = await start();
  live.subscribe('sensors/1');
  sockets[0].login();
  sockets[0].drop(1006);
  assert.equal(states.at(-1).state, 'waiting');
  await pass(states.at(-1).delay);
  assert.equal(sockets.length, 2);
  sockets[1].login();
  assert.deepEqual(sockets[1].sent.map((m) => m.token ?? m.topics[0]), ['token 2', 'sensors/1']);
});

test('waits longer after each failure, at most 30 s', async () => {
  const { states } = await start();
  for (let i = 0; i < 12; i++) {
    sockets.at(-1).drop(1006);
    const { delay } = states.at(-1);
    assert.ok(delay <= Math.min(30_000, 500 * 2 ** (i + 1)) + 100, `wait ${i} is ${delay} ms`);
    await pass(delay);
  }
  assert.equal(sockets.length, 13);
});

for (const code of [1009, 4400, 4403]) {
  test(`does not reconnect after ${code}`, async () => {
    const { states } = await start();
    sockets[0].login();
    sockets[0].drop(code, 'no');
    assert.deepEqual(states.at(-1), { state: 'closed', code, reason: 'no' });
    await pass(120_000);
    assert.equal(sockets.length, 1);
  });
}

test('waits at least 5 s after 1013', async () => {
  const { states } = await start();
  sockets[0].login();
  sockets[0].drop(1013);
  assert.ok(states.at(-1).delay >= 5000);
});

test('logs in again when the session ends, and stops when three tokens are refused', async () => {
  const { states } = await start();
  sockets[0].login();
  for (let i = 0; i < 3; i++) {
    sockets.at(-1).drop(4401, 'session ended');
    await pass(states.at(-1).delay ?? 0);
  }
  assert.equal(sockets.length, 3);
  assert.deepEqual(states.at(-1), { state: 'closed', code: 4401, reason: 'session ended' });
});

test('keeps trying while no token is available', async () => {
  const { states } = await start({ token: async () => { throw new Error('network is down'); } });
  for (let i = 0; i < 5; i++) await pass(states.at(-1).delay);
  assert.equal(states.at(-1).state, 'waiting');
  assert.match(states.at(-1).reason, /network is down/);
});

test('renews the login of an open socket before it expires', async () => {
  await start();
  sockets[0].login(Date.now() + 100_000);
  for (let i = 0; i < 8; i++) {
    sockets[0].receive({ type: 'ping', time: new Date().toISOString() });
    await pass(10_000);
  }
  assert.deepEqual(sockets[0].sent.at(-1), { type: 'auth', token: 'token 2' });
});

test('treats a silent connection as lost', async () => {
  const { states } = await start();
  sockets[0].login();
  await pass(76_000);
  assert.equal(states.at(-1).state, 'waiting');
  assert.equal(sockets[0].closed, true);
});

test('passes on messages in order except pings, and drops unknown topics', async () => {
  const { live, seen } = await start();
  live.subscribe(['sensors/1', 'sensors/2']);
  sockets[0].login();
  sockets[0].receive({ type: 'ping', time: new Date().toISOString() });
  sockets[0].receive({ type: 'error', code: 'unknown_topic', detail: 'no such sensor', topics: ['sensors/2'] });
  sockets[0].receive({ type: 'sensor_data', sensor_id: 1, data: { value: 1, timestamp: '2026-01-02T03:04:05Z', quality: 'good' } });
  assert.deepEqual(seen.map((m) => m.type), ['authenticated', 'error', 'sensor_data']);
  sockets[0].drop(1001);
  await pass(2_000);
  sockets[1].login();
  assert.deepEqual(sockets[1].sent.at(-1).topics, ['sensors/1']);
});

test('sends many topics in several messages', async () => {
  const { live } = await start({ batch: true });
  sockets[0].login();
  live.subscribe(Array.from({ length: 2500 }, (_, i) => `sensors/${i + 1}`));
  assert.deepEqual(sockets[0].sent.slice(1).map((m) => [m.topics.length, m.batch]), [[1000, true], [1000, true], [500, true]]);
});

test('does not reconnect after close', async () => {
  const { live, states } = await start();
  sockets[0].login();
  live.close();
  live.close();
  await pass(120_000);
  assert.deepEqual(states.map((s) => s.state), ['connecting', 'open', 'closed']);
  assert.equal(sockets[0].closed, true);
});

const event = (offset, epoch = 'e1') => ({ type: 'alarm', epoch, offset, event: { n: offset } });
const subscribes = (socket) => socket.sent.filter((m) => m.type === 'subscribe');

test('resumes after the last alarm event, and passes on none twice', async () => {
  const { live, seen, states } = await start();
  live.subscribe(['alarms', 'sensors/1']);
  sockets[0].login();
  assert.deepEqual(subscribes(sockets[0]), [{ type: 'subscribe', topics: ['alarms', 'sensors/1'] }]);
  sockets[0].receive({ type: 'subscribed', topics: ['alarms', 'sensors/1'], epoch: 'e1', offset: 6 });
  assert.deepEqual(live.position, { epoch: 'e1', offset: 6 });
  sockets[0].receive(event(7));
  sockets[0].drop(1006);
  await pass(states.at(-1).delay);
  sockets[1].login();
  assert.deepEqual(subscribes(sockets[1]), [{ type: 'subscribe', topics: ['alarms', 'sensors/1'], resume: { epoch: 'e1', offset: 7 } }]);
  sockets[1].receive({ type: 'subscribed', topics: ['alarms', 'sensors/1'], epoch: 'e1', offset: 7 });
  for (const n of [7, 8, 8, 9]) sockets[1].receive(event(n));
  assert.deepEqual(seen.filter((m) => m.type === 'alarm').map((m) => m.offset), [7, 8, 9]);
});

test('resumes at the position of an earlier page', async () => {
  const { live } = await start({ resume: { epoch: 'e1', offset: 41 } });
  live.subscribe('alarms/critical');
  sockets[0].login();
  assert.deepEqual(subscribes(sockets[0])[0].resume, { epoch: 'e1', offset: 41 });
});

test('takes the position of the snapshot after a resync', async () => {
  const { live, seen } = await start({ resume: { epoch: 'e0', offset: 70 } });
  live.subscribe('alarms');
  sockets[0].login();
  sockets[0].receive({ type: 'subscribed', topics: ['alarms'], epoch: 'e1', offset: 5 });
  sockets[0].receive({ type: 'resync', scope: 'alarms', reason: 'the alarm log has another epoch' });
  sockets[0].receive({ type: 'alarm_snapshot', topics: ['alarms'], epoch: 'e1', offset: 5, alarms: [], more: false });
  assert.deepEqual(live.position, { epoch: 'e1', offset: 5 });
  sockets[0].receive(event(6));
  assert.deepEqual(seen.map((m) => m.type), ['authenticated', 'subscribed', 'resync', 'alarm_snapshot', 'alarm']);
});

test('drops the position when it unsubscribes from alarms', async () => {
  const { live } = await start();
  live.subscribe('alarms');
  sockets[0].login();
  sockets[0].receive(event(7));
  live.unsubscribe('alarms');
  assert.equal(live.position, undefined);
});

test('subscribes with the options of each topic, when they change and after every reconnection', async () => {
  const { live, states } = await start();
  sockets[0].login();
  live.subscribe(['sensors/1', 'sensors/2'], { policy: 'conflate', interval_ms: 500 });
  live.subscribe('gateways/1', { snapshot: true });
  live.subscribe(['gateways/1', 'sensors/2'], { snapshot: true });
  const asked = [
    { type: 'subscribe', policy: 'conflate', interval_ms: 500, topics: ['sensors/1', 'sensors/2'] },
    { type: 'subscribe', snapshot: true, topics: ['gateways/1'] },
    { type: 'subscribe', snapshot: true, topics: ['sensors/2'] },
  ];
  assert.deepEqual(subscribes(sockets[0]), asked);
  sockets[0].drop(1006);
  await pass(states.at(-1).delay);
  sockets[1].login();
  assert.deepEqual(subscribes(sockets[1]), [{ ...asked[0], topics: ['sensors/1'] }, { ...asked[1], topics: ['sensors/2', 'gateways/1'] }]);
});

test('asks for snapshots again after a resync of readings, and passes on lagged', async () => {
  const { live, seen } = await start();
  live.subscribe(['sensors/1', 'alarms'], { snapshot: true });
  live.subscribe('sensors/2');
  sockets[0].login();
  sockets[0].receive({ type: 'lagged', dropped: 12 });
  sockets[0].receive({ type: 'resync', scope: 'readings', reason: 'some may be missing' });
  await pass(2_000);
  assert.deepEqual(sockets[0].sent.at(-1), { type: 'subscribe', snapshot: true, topics: ['sensors/1'] });
  assert.deepEqual(seen.map((m) => m.type), ['authenticated', 'lagged', 'resync']);
});

test('reconnects at once after 4413', async () => {
  const { states } = await start();
  sockets[0].login();
  sockets[0].drop(4413);
  assert.equal(states.at(-1).delay, 100);
});
