// Login sessions. The scenario has a user of its own, whose sessions end.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  changePassword,
  createUser,
  getCurrentUser,
  login,
  logout,
  refreshSession,
  ProblemType,
} from '@oei-ms/client';

export function driveAuth() {
  test('a user logs in, refreshes the session, changes the password and logs out', async () => {
    const first = { username: 'grace', password: 'correct horse battery' };
    await createUser({ body: { ...first, email: 'grace@example.com', role: 'operator' } });

    const { data: tokens } = await login({ body: first });
    assert.equal(tokens.token_type, 'bearer');
    const { data: me } = await getCurrentUser({ auth: tokens.access_token });
    assert.deepEqual([me.username, me.role, me.is_superuser], ['grace', 'operator', false]);

    const { data: renewed } = await refreshSession({
      body: { refresh_token: tokens.refresh_token },
    });
    assert.notEqual(renewed.refresh_token, tokens.refresh_token);

    const second = { ...first, password: 'battery staple horse' };
    await changePassword({
      auth: renewed.access_token,
      body: { current_password: first.password, new_password: second.password },
    });
    const old = await login({ body: first, throwOnError: false });
    assert.deepEqual([old.error.status, old.error.type], [401, ProblemType.NOT_AUTHENTICATED]);
    await login({ body: second });

    await logout({ auth: renewed.access_token });
    const after = await getCurrentUser({ auth: renewed.access_token, throwOnError: false });
    assert.equal(after.error.status, 401);
  });
}
