// Drives every operation of the contract through the client, against the real server. Each area is
// a scenario in operations/, which shows how its operations are used together. An operation that no
// scenario drives fails the last test.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { client, createGateway, createSensor } from '@oei-ms/client';
import { recordOperations } from './recorder.mjs';
import { logIn, startServer } from './server.mjs';
import { driveAlarms } from './operations/alarms.mjs';
import { driveAPIKeys } from './operations/api_keys.mjs';
import { driveAuth } from './operations/auth.mjs';
import { driveData } from './operations/data.mjs';
import { driveGateways } from './operations/gateways.mjs';
import { driveLive } from './operations/live.mjs';
import { driveNotifications } from './operations/notifications.mjs';
import { driveSystem } from './operations/system.mjs';
import { driveUsers } from './operations/users.mjs';

const plant = {}; // what the scenarios share: the server, the recorder, a gateway with its sensor
let contract;

before(async () => {
  plant.server = await startServer();
  contract = await (await fetch(`${plant.server.origin}/openapi.json`)).json();
  plant.recorder = recordOperations(contract, plant.server.origin);
  client.setConfig({ fetch: plant.recorder.fetch, throwOnError: true });
  await logIn(plant.server.origin);
  plant.gateway = (
    await createGateway({ body: { key: 'press-line-1', name: 'Press line 1' } })
  ).data;
  plant.sensor = (
    await createSensor({
      body: {
        key: 'bearing',
        name: 'Bearing',
        type: 'temperature',
        unit: 'Cel',
        gateway_id: plant.gateway.id,
      },
    })
  ).data;
});
after(() => plant.server?.stop());

driveSystem(plant);
driveAuth(plant);
driveUsers();
driveAPIKeys();
driveGateways(plant);
driveData(plant);
driveAlarms(plant);
driveNotifications(plant);
driveLive(plant);

test('every operation of the contract was driven, and answered as documented', () => {
  assert.deepEqual(plant.recorder.notDriven(), [], 'drive these operations in test/operations/');
  assert.deepEqual(plant.recorder.faults, []);
});
