// Removes server-sent events from the generated TypeScript client: the contract has none, and they
// are a tenth of what a page loads to log in.
import { readFileSync, writeFileSync } from 'node:fs';

const edits = {
  'client.gen.ts': [
    /^import \{ createSseClient \}.*\n/m,
    /^ {2}const makeSseFn = [^]*?\n {2}\};\n\n/m,
    /^ {4}sse: \{[^]*?\n {4}\},\n/m,
  ],
  'types.gen.ts': [/(?<=^export type Client = CoreClient<.*), SseFn(?=>)/m],
};

for (const [name, patterns] of Object.entries(edits)) {
  const path = `gen/ts/src/gen/client/${name}`;
  let source = readFileSync(path, 'utf8');
  for (const pattern of patterns) {
    if (!pattern.test(source)) throw new Error(`${path} has nothing like ${pattern}`);
    source = source.replace(pattern, '');
  }
  writeFileSync(path, source);
}
