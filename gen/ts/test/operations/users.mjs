// Users and their roles.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  createUser,
  deleteUser,
  getUser,
  listUsers,
  login,
  updateUser,
  ProblemType,
} from '@oei-ms/client';

export function driveUsers() {
  test('a user is created, found, promoted and deleted', async () => {
    const password = 'correct horse battery';
    const { data: ada, response } = await createUser({
      body: { username: 'ada', email: 'ada@example.com', role: 'operator', password },
    });
    assert.equal(response.headers.get('Location'), `/api/users/${ada.id}`);
    const path = { id: ada.id };

    const { data: found } = await listUsers({ query: { role: 'operator', username: 'ada' } });
    assert.deepEqual(
      found.map((u) => u.id),
      [ada.id],
    );

    const read = await getUser({ path });
    assert.deepEqual(read.data, ada);
    const { data: promoted } = await updateUser({
      path,
      headers: { 'If-Match': read.response.headers.get('ETag') },
      body: { role: 'engineer' },
    });
    assert.equal(promoted.role, 'engineer');

    await login({ body: { username: 'ada', password } });
    assert.deepEqual((await deleteUser({ path, query: { dry_run: true } })).data, {
      dry_run: true,
      sessions: 1,
      api_keys: 0,
    });
    assert.deepEqual((await deleteUser({ path })).data, {
      dry_run: false,
      sessions: 1,
      api_keys: 0,
    });
    assert.equal((await getUser({ path, throwOnError: false })).error.type, ProblemType.NOT_FOUND);
  });
}
