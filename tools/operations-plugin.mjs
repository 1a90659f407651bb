// Generates gen/ts/src/gen/operations.gen.ts: what the fake server of @oei-ms/client/testing knows of
// each operation, and the status of each type of problem.
import { $ } from '@hey-api/openapi-ts';

export const operationsPlugin = {
  name: 'operations',
  config: { includeInEntry: false },
  dependencies: [],
  handler: ({ plugin }) => {
    const contract = plugin.context.spec;
    const operations = {};
    plugin.forEach('operation', ({ operation: { id, method, path } }) => {
      operations[id] = describe(contract, method, path);
    });
    const { 'x-extensible-enum': types, 'x-enum-descriptions': texts } =
      contract.components.schemas.ProblemType;
    const statuses = types.map((type, i) => [type.split('/').at(-1), Number.parseInt(texts[i])]);
    for (const [name, table] of Object.entries({
      operations,
      problemStatuses: Object.fromEntries(statuses),
    })) {
      const symbol = plugin.symbol(name, { getFilePath: () => 'operations' });
      plugin.node($.const(symbol).export().assign($.fromValue(table)));
    }
  },
};

function describe(contract, method, path) {
  const get = (node) => (node.$ref ? get(follow(contract, node.$ref)) : node);
  const { [method]: operation, parameters = [] } = contract.paths[path];
  const types = { path: {}, query: {} };
  for (const { name, in: place, schema } of [...parameters, ...(operation.parameters ?? [])].map(
    get,
  )) {
    if (types[place]) types[place][name] = typeName(get(schema), get);
  }
  const responses = Object.entries(operation.responses);
  const [status, reference] = responses.find(([code]) => code.startsWith('2'));
  const { headers = {}, content = {} } = get(reference);
  return {
    method: method.toUpperCase(),
    url: path,
    status: Number(status),
    headers: Object.keys(headers),
    content: Object.keys(content),
    ...types,
  };
}

const follow = (contract, ref) =>
  ref
    .split('/')
    .slice(1)
    .reduce((node, key) => node[key], contract);

const typeName = (schema, get) =>
  schema.type === 'array' ? `${get(schema.items).type}[]` : schema.type;
