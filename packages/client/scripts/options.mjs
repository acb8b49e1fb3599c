// Writes the tables of options in README.md from the types; with --check, fails where they are not those of the types.
import { readFileSync, writeFileSync } from 'node:fs';
import ts from 'typescript';

const INTERFACES = ['SecureWebSocketOptions', 'ReconnectOptions', 'QueueOptions', 'HealthOptions', 'SendOptions'];
const source = ts.createSourceFile('options.ts', readFileSync('src/options.ts', 'utf8'), ts.ScriptTarget.Latest, true);

/** One line of text, fit for a cell. */
const cell = (text) => text.replace(/\{@link ([^}]+)\}/g, '`$1`').replace(/\s+/g, ' ').replaceAll('|', '\\|').trim();

function table(name) {
  const rows = [];
  source.forEachChild((node) => {
    if (!ts.isInterfaceDeclaration(node) || node.name.text !== name) return;
    for (const member of node.members) {
      const [doc] = member.jsDoc ?? [];
      const tag = doc?.tags?.find(({ tagName }) => tagName.text === 'default');
      const fallback = tag ? cell(ts.getTextOfJSDocComment(tag.comment) ?? '') : '';
      const type = cell(member.type.getText(source).replace(/ \| undefined$/, '').replace(/^\((.*)\)$/, '$1'));
      const text = cell(ts.getTextOfJSDocComment(doc?.comment) ?? '');
      if (!text) throw new Error(`${name}.${member.name.text} says nothing about itself`);
      rows.push(`| \`${member.name.text}\` | \`${type}\` | ${fallback} | ${text} |`);
    }
  });
  return ['| option | type | default | |', '| --- | --- | --- | --- |', ...rows].join('\n');
}

const readme = readFileSync('README.md', 'utf8');
let written = readme;
for (const name of INTERFACES) {
  const [begin, end] = [`<!-- generated from ${name} -->`, '<!-- end -->'];
  const from = written.indexOf(begin);
  if (from < 0) throw new Error(`README.md has no place for ${name}`);
  const to = written.indexOf(end, from);
  written = `${written.slice(0, from)}${begin}\n${table(name)}\n${written.slice(to)}`;
}
if (written !== readme && process.argv.includes('--check')) {
  console.error('the tables of README.md are not those of the types: run npm run options');
  process.exit(1);
}
writeFileSync('README.md', written);
