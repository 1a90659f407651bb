// API keys of programs: a dashboard gets one, is limited, replaced and refused.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  createApiKey,
  getApiKey,
  getCurrentApiKey,
  listApiKeys,
  listSensors,
  revokeApiKey,
  updateApiKey,
  ProblemType,
} from '@oei-ms/client';

export function driveAPIKeys() {
  test('an API key is created, used, changed and revoked', async () => {
    const { data: created } = await createApiKey({ body: { name: 'Grafana', role: 'viewer' } });
    const { key, ...shown } = created;
    assert.ok(key.startsWith(shown.prefix));
    const auth = (scheme) => (scheme.type === 'apiKey' ? key : undefined);
    const sent = await listSensors({ auth });
    assert.match(sent.response.headers.get('RateLimit'), /^"api-key";r=\d+;t=\d+$/);
    assert.equal((await getCurrentApiKey({ auth: key })).data.id, shown.id); // in both headers

    const path = { id: shown.id };
    const { data: found } = await listApiKeys({ query: { prefix: shown.prefix } });
    assert.deepEqual(
      found.map((k) => k.name),
      ['Grafana'],
    );
    const read = await getApiKey({ path });
    assert.equal(read.data.requests_per_minute, null);
    const { data: changed } = await updateApiKey({
      path,
      headers: { 'If-Match': read.response.headers.get('ETag') },
      body: { requests_per_minute: 60 },
    });
    assert.equal(changed.requests_per_minute, 60);

    await revokeApiKey({ path });
    const refused = await listSensors({ auth, throwOnError: false });
    assert.equal(refused.error.type, ProblemType.NOT_AUTHENTICATED);
  });
}
