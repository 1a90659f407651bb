// Clients that throw the errors of this package.
import { toError } from './errors.js';
import { client as plainClient } from './gen/client.gen.js';
import { createClient as createPlainClient } from './gen/client/client.gen.js';
import { createConfig } from './gen/client/utils.gen.js';
import type { Client, Config } from './gen/client/types.gen.js';

/** Creates a client for a server. Most programs want `connect` of `./session` instead. */
export function createClient(config: Config = {}): Client {
  return throwErrors(createPlainClient(createConfig({ throwOnError: true, ...config })));
}

/** The client of functions that are called without one. Set it up with `client.setConfig`. */
export const client: Client = throwErrors(plainClient);

function throwErrors(client: Client): Client {
  client.interceptors.error.use(toError);
  return client;
}
