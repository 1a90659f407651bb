// The REST API: one function per operation of the contract, their types, and the client they go
// through. Functions throw errors; `throwOnError: false` makes them return `{ data, error }`.
export * from './gen/index.js';
export { client, createClient } from './client.js';
export type { Client, Config } from './gen/client/types.gen.js';
export * from './errors.js';
export * from './columns.js';
