// Gateways, their credentials, and their sensors.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  createCredential,
  createGateway,
  createSensor,
  deleteGateway,
  deleteSensor,
  getGateway,
  getSensor,
  listCredentials,
  listGateways,
  listRejections,
  listSensors,
  revokeCredential,
  updateGateway,
  updateSensor,
} from '@oei-ms/client';
import { publish } from '../mqtt.mjs';

export function driveGateways(plant) {
  let gateway, sensor;

  test('a gateway is created with a key made from its name', async () => {
    const created = await createGateway({
      body: { name: 'Насос №3', metadata: { vendor: 'ACME' } },
    });
    gateway = created.data;
    assert.equal(gateway.key, 'nasos-3');
    assert.equal(created.response.headers.get('Location'), `/api/gateways/${gateway.id}`);

    const { data: found } = await listGateways({ query: { key: 'nasos-3' } });
    assert.deepEqual(
      found.map((g) => g.id),
      [gateway.id],
    );
    const read = await getGateway({ path: { id: gateway.id } });
    assert.deepEqual([read.data.status, read.data.metadata], ['unknown', { vendor: 'ACME' }]);
    const { data: moved } = await updateGateway({
      path: { id: gateway.id },
      headers: { 'If-Match': read.response.headers.get('ETag') },
      body: { location: 'Hall 2' },
    });
    assert.deepEqual([moved.location, moved.name], ['Hall 2', 'Насос №3']);
  });

  test('a sensor of the gateway is created, found and changed', async () => {
    sensor = (
      await createSensor({
        body: {
          key: 'flow',
          name: 'Flow',
          type: 'flow',
          unit: 'm3/h',
          gateway_id: gateway.id,
          min_value: 0,
          max_value: 90,
        },
      })
    ).data;
    const path = { id: sensor.id };
    const { data: found } = await listSensors({ query: { gateway_id: gateway.id, type: 'flow' } });
    assert.deepEqual(
      found.map((s) => s.key),
      ['flow'],
    );
    const read = await getSensor({ path });
    assert.deepEqual(read.data, sensor);
    const { data: changed } = await updateSensor({
      path,
      headers: { 'If-Match': read.response.headers.get('ETag') },
      body: { max_value: null, unit: 'l/s' },
    });
    assert.deepEqual([changed.min_value, changed.max_value, changed.unit], [0, null, 'l/s']);
  });

  test('a credential is valid until it is revoked, and a rejected sample is listed', async () => {
    const path = { id: gateway.id };
    const { data: credential } = await createCredential({ path });
    assert.equal(credential.username, 'nasos-3');
    const { data: listed } = await listCredentials({ path });
    assert.deepEqual(
      listed.map((c) => [c.id, 'secret' in c]),
      [[credential.id, false]],
    );

    const message = {
      port: plant.server.mqttPort,
      username: credential.username,
      password: credential.secret,
      topic: 'sensors/nasos-3/flow/data',
      payload: '{"Value": 21.5}',
    };
    await publish(message);
    const { data: rejections, response } = await listRejections({
      query: { gateway_id: gateway.id, count: true },
    });
    assert.deepEqual(
      rejections.map((r) => [r.reason, r.payload]),
      [['malformed', '{"Value": 21.5}']],
    );
    assert.equal(response.headers.get('X-Total-Count'), '1');

    await revokeCredential({ path: { ...path, credential_id: credential.id } });
    assert.deepEqual((await listCredentials({ path })).data, []);
    await assert.rejects(publish(message), /refuses the login|answered/);
  });

  test('a sensor, then its gateway, is deleted', async () => {
    const { data: preview } = await deleteGateway({
      path: { id: gateway.id },
      query: { cascade: true, dry_run: true },
    });
    assert.deepEqual([preview.gateways, preview.sensors, preview.first_reading_at], [1, 1, null]);
    assert.equal((await deleteSensor({ path: { id: sensor.id } })).data.sensors, 1);
    assert.equal((await deleteGateway({ path: { id: gateway.id } })).data.gateways, 1);
    assert.deepEqual((await listGateways({ query: { key: 'nasos-3' } })).data, []);
  });
}
