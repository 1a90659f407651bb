// Health, version, metrics, and the documentation pages.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  client,
  getAsyncApi,
  getAsyncApiText,
  getHealth,
  getLiveness,
  getMetrics,
  getOpenApi,
  getReadiness,
  getVersion,
} from '@oei-ms/client';

export function driveSystem() {
  test('health, liveness and readiness need no login', async () => {
    const anonymous = { auth: undefined };
    const { data: health } = await getHealth(anonymous);
    assert.equal(health.status, 'healthy');
    assert.deepEqual(
      [health.database, health.redis, health.mqtt],
      ['connected', 'connected', 'connected'],
    );
    assert.equal(health.dependencies.find((d) => d.name === 'database').state, 'up');
    assert.deepEqual((await getLiveness(anonymous)).data, { status: 'alive' });
    assert.deepEqual((await getReadiness(anonymous)).data, { status: 'ready', detail: '' });
  });

  test('the version names the Go release, the metrics count requests by operation', async () => {
    const { data: version } = await getVersion();
    assert.match(version.go, /^go1\./);
    const { data: metrics } = await getMetrics();
    assert.match(metrics, /^http_requests_total\{.*operation="getVersion".*\} 1$/m);
  });

  test('the contract is served as JSON', async () => {
    const { data: contract } = await getOpenApi();
    assert.equal(contract.info.title, 'OEI-MS');
    assert.ok(contract.paths['/api/sensors'].get);
  });

  test('the contract of MQTT and WebSocket is served as YAML and as JSON', async () => {
    const { data: text } = await getAsyncApiText({ parseAs: 'text' });
    assert.match(text, /^asyncapi: 3\.0\.0$/m);
    const { data: contract } = await getAsyncApi();
    assert.equal(contract.channels.sensorData.address, 'sensors/{gateway}/{sensor}/data');
  });

  // Pages are for browsers, so the client has no functions for them; `client` requests any address.
  test('the documentation is HTML, and the root leads to it', async () => {
    const page = async (url, path) => (await client.get({ url, path, parseAs: 'text' })).data;
    const root = await client.get({ url: '/', redirect: 'manual', throwOnError: false });
    assert.deepEqual([root.response.status, root.response.headers.get('Location')], [302, '/docs']);
    const docs = await page('/docs');
    assert.match(docs, /<title>[^<]*OEI-MS/);
    assert.match(await page('/redoc'), /<redoc|redoc/);
    assert.match(await page('/asyncapi'), /<redoc|redoc/);
    assert.match(await page('/docs/guide/{page}', { page: 'mqtt' }), /Publish readings/);
    const [, script] = /src="(?:\.?\/)?docs\/assets\/([^"]+\.js)"/.exec(docs);
    assert.ok((await page('/docs/assets/{file}', { file: script })).length > 100);
  });
}
