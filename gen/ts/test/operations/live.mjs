// The WebSocket: through Live, and the addresses of one topic by their messages.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createAlarm, createWebSocketTicket, deleteAlarm, writeReadings } from '@oei-ms/client';
import { Live } from '@oei-ms/client/live';
import { connect } from '@oei-ms/client/session';
import { admin } from '../server.mjs';

export function driveLive(plant) {
  const write = (value) =>
    writeReadings({ body: { readings: [{ sensor_id: plant.sensor.id, value }] } });
  const address = (path) => `${plant.server.origin.replace('http', 'ws')}${path}`;

  test('readings and alarm events of a session arrive on one socket', async (t) => {
    const { origin } = plant.server;
    const oei = await connect({ url: origin, login: admin, fetch: plant.recorder.fetch });
    const live = new Live({ session: oei, WebSocket: plant.recorder.WebSocket });
    t.after(() => live.close());
    const events = live.subscribe([`gateways/${plant.gateway.id}`, 'alarms'], { snapshot: true });
    const next = async (wanted) => {
      for (;;) {
        const { value: event } = await events.next();
        if (wanted(event)) return event;
      }
    };
    await next((e) => e.type === 'alarmSnapshot'); // subscribed, and all is normal

    const rule = {
      name: 'Hot',
      kind: 'threshold',
      severity: 'minor',
      limits: { high: { value: 80 } },
    };
    const { data: alarm } = await createAlarm({ body: { sensor_id: plant.sensor.id, rule } });
    await write(85);
    const isNew = (e) => e.type === 'alarm' || e.origin === 'live';
    const seen = [await next(isNew), await next(isNew)];
    assert.deepEqual(seen.map((e) => e.event?.kind ?? e.value).sort(), [85, 'raised']);
    await deleteAlarm({ path: { id: alarm.id } });
    await oei.logout();
  });

  // Opens a socket with a ticket, and returns a function that waits for a message of a type.
  const open = async (path) => {
    const { ticket } = (await createWebSocketTicket()).data;
    const socket = new plant.recorder.WebSocket(`${address(path)}?ticket=${ticket}`);
    const seen = [];
    let look = () => {};
    socket.onmessage = (e) => {
      seen.push(JSON.parse(e.data));
      look();
    };
    const next = (type) =>
      new Promise((resolve) => {
        look = () =>
          seen.some((m) => m.type === type) && resolve(seen.find((m) => m.type === type));
        look();
      });
    return { socket, next };
  };

  test('the socket of one sensor is subscribed from the start', async () => {
    const { socket, next } = await open(`/ws/sensors/${plant.sensor.id}`);
    assert.deepEqual((await next('subscribed')).topics, [`sensors/${plant.sensor.id}`]);
    await write(22.5);
    assert.equal((await next('sensor_data')).data.value, 22.5);
    socket.close();
  });

  test('the socket of alarms is subscribed from the start', async () => {
    const { socket, next } = await open('/ws/alarms');
    const { topics, offset } = await next('subscribed');
    assert.deepEqual(topics, ['alarms']);
    assert.ok(offset > 0);
    socket.close();
  });

  test('a ticket opens one socket, without a token in its address', async () => {
    const { ticket, expires_in } = (await createWebSocketTicket()).data;
    assert.ok(expires_in > 0);
    const opens = () =>
      new Promise((resolve) => {
        const socket = new WebSocket(address(`/ws?ticket=${ticket}`));
        socket.onopen = () => {
          socket.close();
          resolve(true);
        };
        socket.onerror = () => resolve(false);
      });
    assert.deepEqual([await opens(), await opens()], [true, false]);
  });
}
