// The REST API: one function per operation of the contract, their types, and the client they go through.
export * from './gen/index.js';
export { client } from './gen/client.gen.js';
export { createClient, createConfig, type Client, type Config } from './gen/client/index.js';
