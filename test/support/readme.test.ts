import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseMarkdown, plainText, tableUnder } from './readme.ts'

const sample = [
  'before',
  '# One `x` #',
  '```ts title="a"',
  '# no heading, [no link](no.md)',
  '| no | table |',
  '|----|-------|',
  '```',
  '## Two',
  'See [there](docs/a.md#b), `[not](this.md)` and ![img](b.png).',
  '| Name | Default |',
  '|:-----|--------:|',
  '| `a` | `1 \\| 2` |',
  '| [b](c.md) |  |',
  '',
  '## Two',
  '~~~',
  '```',
  '~~~',
  '| only |',
  '|------|',
  'after'
].join('\n')

test('code blocks have their language, heading and text, and nothing in them counts as Markdown', () => {
  const { codeBlocks, headings } = parseMarkdown(sample)
  assert.deepEqual(codeBlocks, [
    {
      language: 'ts',
      info: 'title="a"',
      heading: 'One x',
      code: '# no heading, [no link](no.md)\n| no | table |\n|----|-------|',
      line: 3
    },
    { language: '', info: '', heading: 'Two', code: '```', line: 16 }
  ])
  assert.deepEqual(
    headings.map(({ level, title, anchor, line }) => [level, title, anchor, line]),
    [
      [1, 'One x', 'one-x', 2],
      [2, 'Two', 'two', 8],
      [2, 'Two', 'two-1', 15]
    ]
  )
})

test('tables are records by column, with escaped pipes unescaped', () => {
  const { tables } = parseMarkdown(sample)
  assert.deepEqual(tables, [
    {
      heading: 'Two',
      columns: ['Name', 'Default'],
      rows: [
        { Name: '`a`', Default: '`1 | 2`' },
        { Name: '[b](c.md)', Default: '' }
      ],
      line: 10
    },
    { heading: 'Two', columns: ['only'], rows: [], line: 19 }
  ])
  assert.equal(plainText('**`a`**'), 'a')
})

test('links outside code are found, in tables too', () => {
  assert.deepEqual(parseMarkdown(sample).links, [
    { target: 'docs/a.md#b', line: 9 },
    { target: 'b.png', line: 9 },
    { target: 'c.md', line: 10 }
  ])
})

test('what is ambiguous or broken is an error', () => {
  const markdown = parseMarkdown('# A\n| x |\n|---|\n# B\n| x |\n|---|\n\n| y |\n|---|\n')
  assert.deepEqual(tableUnder(markdown, 'A').columns, ['x'])
  assert.throws(() => tableUnder(markdown, 'B'), /2 tables under "B"/)
  assert.throws(() => tableUnder(markdown, 'C'), /0 tables under "C"/)
  assert.throws(() => parseMarkdown('| x |\n|---|\n| 1 | 2 |'), /line 3: 2 cells, the table has 1 columns/)
  assert.throws(() => parseMarkdown('text\n```ts\nno end'), /begins on line 2 does not end/)
})
