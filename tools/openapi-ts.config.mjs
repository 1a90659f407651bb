// openapi.yaml -> gen/ts/src/gen: types, one function per operation, and a client on fetch. The rest of gen/ts is by hand.
const notFetched = ['/ws', '/ws/sensors/{id}', '/docs', '/docs/assets/{file}', '/docs/guide/{page}', '/redoc']; // sockets have live.ts, pages are for people

export default {
  input: 'openapi.yaml',
  output: { path: 'gen/ts/src/gen', importFileExtension: '.js' },
  parser: {
    patch: {
      input: (contract) => {
        for (const path of notFetched) delete contract.paths[path];
      },
    },
  },
  plugins: [
    { name: '@hey-api/client-fetch', throwOnError: false },
    { name: '@hey-api/typescript', enums: 'javascript' },
    '@hey-api/sdk',
  ],
};
