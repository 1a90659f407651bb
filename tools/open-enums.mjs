// Open enums (x-extensible-enum) in the TypeScript client: constants, and a type that accepts every
// string, since a newer server may answer with other values. The generator knows closed enums only:
// tools/openapi-ts.config.mjs gives it one, and `node tools/open-enums.mjs` opens the generated types.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const openEnums = ['ProblemType'];

/** Turns the open enums of a contract into enums. /problems/not-found becomes NOT_FOUND. */
export function closeEnums(contract) {
  for (const name of openEnums) {
    const schema = contract.components.schemas[name];
    const values = schema['x-extensible-enum'];
    schema.enum = values;
    schema['x-enum-varnames'] = values.map((value) => value.split('/').at(-1));
    schema['x-enum-descriptions'] = values.map((value) => schema['x-enum-descriptions'][value]);
  }
}

function openTypes(path) {
  let source = readFileSync(path, 'utf8');
  for (const name of openEnums) {
    const closed = `export type ${name} = typeof ${name}[keyof typeof ${name}];`;
    if (!source.includes(closed)) throw new Error(`${path} has no line: ${closed}`);
    source = source.replace(closed, closed.replace(';', ' | (string & {});'));
  }
  writeFileSync(path, source);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) openTypes('gen/ts/src/gen/types.gen.ts');
