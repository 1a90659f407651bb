// The WebSocket, by its raw messages.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createAlarm, createWebSocketTicket, deleteAlarm, writeReadings } from '@oei-ms/client';
import { logIn } from '../server.mjs';

export function driveLive(plant) {
  // Opens a socket, logs in, subscribes, and returns a function that waits for a message.
  const open = async (path, topics) => {
    const { access_token } = await logIn(plant.server.origin);
    const socket = new plant.recorder.WebSocket(
      `${plant.server.origin.replace('http', 'ws')}${path}`,
    );
    const seen = [];
    let look = () => {};
    socket.onopen = () => {
      socket.send(JSON.stringify({ type: 'auth', token: access_token }));
      if (topics) socket.send(JSON.stringify({ type: 'subscribe', topics }));
    };
    socket.onmessage = (e) => {
      seen.push(JSON.parse(e.data));
      look();
    };
    const next = (wanted) =>
      new Promise((resolve) => {
        look = () => seen.some(wanted) && resolve(seen.find(wanted));
        look();
      });
    return { live: socket, next };
  };
  const write = (value) =>
    writeReadings({ body: { readings: [{ sensor_id: plant.sensor.id, value }] } });

  test('a stored reading is pushed to the topic of its gateway', async () => {
    const { live, next } = await open('/ws', [`gateways/${plant.gateway.id}`]);
    await next((m) => m.type === 'subscribed');
    await write(21.5);
    const { data, sensor_id } = await next((m) => m.type === 'sensor_data');
    assert.deepEqual([sensor_id, data.value, data.quality], [plant.sensor.id, 21.5, 'good']);
    live.close();
  });

  test('the socket of one sensor is subscribed from the start', async () => {
    const { live, next } = await open(`/ws/sensors/${plant.sensor.id}`);
    await next((m) => m.type === 'subscribed');
    await write(22.5);
    assert.equal((await next((m) => m.type === 'sensor_data')).data.value, 22.5);
    live.close();
  });

  test('the socket of alarms carries their events', async () => {
    const { live, next } = await open('/ws/alarms');
    await next((m) => m.type === 'subscribed');
    const rule = {
      name: 'Hot',
      kind: 'threshold',
      severity: 'minor',
      limits: { high: { value: 80 } },
    };
    const { data: alarm } = await createAlarm({ body: { sensor_id: plant.sensor.id, rule } });
    await write(85);
    const { event } = await next((m) => m.type === 'alarm' && m.event.kind === 'raised');
    assert.deepEqual([event.alarm_id, event.severity, event.value], [alarm.id, 'minor', 85]);
    live.close();
    await deleteAlarm({ path: { id: alarm.id } });
  });

  test('a ticket opens one socket, without a token in its address', async () => {
    const { ticket, expires_in } = (await createWebSocketTicket()).data;
    assert.ok(expires_in > 0);
    const opens = () =>
      new Promise((resolve) => {
        const socket = new WebSocket(
          `${plant.server.origin.replace('http', 'ws')}/ws?ticket=${ticket}`,
        );
        socket.onopen = () => {
          socket.close();
          resolve(true);
        };
        socket.onerror = () => resolve(false);
      });
    assert.deepEqual([await opens(), await opens()], [true, false]);
  });
}
