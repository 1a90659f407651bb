// openapi.yaml -> gen/ts/src/gen: types, one function per operation, and a client based on fetch.
// The rest of gen/ts is written by hand.
import { operationsPlugin } from './operations-plugin.mjs';
import { closeEnums } from './open-enums.mjs';

// WebSockets have live.ts; pages are for browsers.
const notFetched = [
  '/ws',
  '/ws/sensors/{id}',
  '/ws/alarms',
  '/',
  '/docs',
  '/docs/assets/{file}',
  '/docs/guide/{page}',
  '/redoc',
];

export default {
  input: 'openapi.yaml',
  output: { path: 'gen/ts/src/gen', importFileExtension: '.js' },
  parser: {
    patch: {
      input: (contract) => {
        for (const path of notFetched) delete contract.paths[path];
        closeEnums(contract);
      },
    },
  },
  plugins: [
    { name: '@hey-api/client-fetch', throwOnError: true },
    { name: '@hey-api/typescript', enums: 'javascript' },
    '@hey-api/sdk',
    operationsPlugin,
  ],
};
