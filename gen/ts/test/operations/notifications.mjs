// Notifications: channels, routes, silences, deliveries.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  createNotificationChannel,
  createNotificationRoute,
  createNotificationSilence,
  deleteNotificationChannel,
  deleteNotificationRoute,
  endNotificationSilence,
  getNotificationChannel,
  getNotificationDelivery,
  getNotificationRoute,
  getNotificationSilence,
  listNotificationChannels,
  listNotificationDeliveries,
  listNotificationRoutes,
  listNotificationSilences,
  testNotificationChannel,
  updateNotificationChannel,
  updateNotificationRoute,
  ProblemType,
} from '@oei-ms/client';

export function driveNotifications(plant) {
  let channel, route;
  const basedOn = ({ response }) => ({ 'If-Match': response.headers.get('ETag') });

  test('a channel is created, renamed and tested', async () => {
    const created = await createNotificationChannel({ body: { name: 'Plant bus', kind: 'mqtt' } });
    channel = created.data;
    assert.equal(
      created.response.headers.get('Location'),
      `/api/notifications/channels/${channel.id}`,
    );
    const path = { id: channel.id };
    const { data: renamed } = await updateNotificationChannel({
      path,
      headers: basedOn(await getNotificationChannel({ path })),
      body: { name: 'Bus' },
    });
    assert.deepEqual([renamed.name, renamed.kind], ['Bus', 'mqtt']);
    assert.deepEqual(
      (await listNotificationChannels()).data.map((c) => c.name),
      ['Bus'],
    );

    const { data: sent } = await testNotificationChannel({ path });
    assert.deepEqual([sent.kind, sent.status, sent.channel_id], ['test', 'delivered', channel.id]);
    const { data: deliveries, response } = await listNotificationDeliveries({
      query: { channel_id: channel.id, status: 'delivered', count: true },
    });
    assert.deepEqual(
      [deliveries.map((d) => d.key), response.headers.get('X-Total-Count')],
      [[sent.key], '1'],
    );
    const { data: delivery } = await getNotificationDelivery({ path: { id: sent.id } });
    assert.equal(delivery.events.length, delivery.event_count);
  });

  test('a webhook gets a secret, which is shown once', async () => {
    const { data: hook } = await createNotificationChannel({
      body: { name: 'Shift lead', kind: 'webhook', url: 'https://hooks.example.com/oei?key=1' },
    });
    assert.match(hook.secret, /^whsec_/);
    const { data: read } = await getNotificationChannel({ path: { id: hook.id } });
    assert.deepEqual([read.origin, 'secret' in read], ['https://hooks.example.com', false]);
    await deleteNotificationChannel({ path: { id: hook.id } });
  });

  test('a route sends critical alarms to a channel', async () => {
    route = (
      await createNotificationRoute({
        body: {
          name: 'Critical',
          channel_id: channel.id,
          severities: ['critical'],
          labels: { line: '1' },
        },
      })
    ).data;
    const path = { id: route.id };
    assert.deepEqual(
      (await listNotificationRoutes()).data.map((r) => r.id),
      [route.id],
    );
    const { data: changed } = await updateNotificationRoute({
      path,
      headers: basedOn(await getNotificationRoute({ path })),
      body: { remind_seconds: 600 },
    });
    assert.deepEqual([changed.remind_seconds, changed.severities], [600, ['critical']]);

    const { error } = await deleteNotificationChannel({
      path: { id: channel.id },
      throwOnError: false,
    });
    assert.equal(error.type, ProblemType.CONFLICT); // the route uses it
    await deleteNotificationRoute({ path });
    await deleteNotificationChannel({ path: { id: channel.id } });
    assert.deepEqual((await listNotificationChannels()).data, []);
  });

  test('a silence holds notifications back until it ends', async () => {
    const { data: silence } = await createNotificationSilence({
      body: {
        gateway_id: plant.gateway.id,
        ends_at: new Date(Date.now() + 3_600_000).toISOString(),
        reason: 'Maintenance of press 1',
      },
    });
    const path = { id: silence.id };
    assert.deepEqual(
      (await listNotificationSilences({ query: { current: true } })).data.map((s) => s.id),
      [silence.id],
    );
    const { data: ended } = await endNotificationSilence({ path });
    assert.deepEqual([ended.created_by, ended.ended_by], ['admin', 'admin']);
    assert.deepEqual((await getNotificationSilence({ path })).data, ended);
    assert.deepEqual((await listNotificationSilences({ query: { current: true } })).data, []);
  });
}
