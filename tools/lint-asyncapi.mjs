// Checks AsyncAPI documents with the reference parser: the structure, the references, and that each
// payload is a valid schema of its format. Redocly's linter refuses `nullable` in schemas of
// OpenAPI 3.0 in spite of their format.
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const { Parser, fromFile } = require('@asyncapi/parser');
const { OpenAPISchemaParser } = require('@asyncapi/openapi-schema-parser');

// There is no need for what 3.1 adds, and fewer tools read it.
const ignored = ['asyncapi-latest-version'];

const parser = new Parser({ schemaParsers: [OpenAPISchemaParser()] });
for (const file of process.argv.slice(2)) {
  const { document, diagnostics } = await fromFile(parser, file).parse();
  const faults = diagnostics.filter(({ code }) => !ignored.includes(code));
  for (const { path, message } of faults) console.error(`${file}: ${path.join('.')}: ${message}`);
  if (!document || faults.length > 0) process.exitCode = 1;
  else console.log(`${file} is valid`);
}
