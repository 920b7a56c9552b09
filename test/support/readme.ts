/** Reads README.md, so that tests can hold its code and its tables against the code base. */
import { readFileSync } from 'node:fs'

export interface CodeBlock {
  /** The first word after the fence, in lower case; empty when there is none. */
  readonly language: string
  /** The rest of the line after the fence. */
  readonly info: string
  /** The nearest heading above, without its marks; empty before the first heading. */
  readonly heading: string
  readonly code: string
  /** Line of the opening fence, from 1. */
  readonly line: number
}

export interface Table {
  readonly heading: string
  readonly columns: readonly string[]
  /** One record per row, keyed by column. Cells are Markdown, trimmed, with `\|` unescaped. */
  readonly rows: ReadonlyArray<Readonly<Record<string, string>>>
  /** Line of the header row, from 1. */
  readonly line: number
}

export interface Heading {
  readonly level: number
  readonly title: string
  /** The anchor GitHub gives it. */
  readonly anchor: string
  readonly line: number
}

export interface Markdown {
  readonly headings: readonly Heading[]
  readonly codeBlocks: readonly CodeBlock[]
  readonly tables: readonly Table[]
  /** Targets of the links and images outside code, with their lines. */
  readonly links: ReadonlyArray<{ readonly target: string; readonly line: number }>
}

export const repositoryRoot: URL = new URL('../../', import.meta.url)

export function readReadme(): Markdown {
  return parseMarkdown(readFileSync(new URL('README.md', repositoryRoot), 'utf8'))
}

/** The only table below a heading (up to the next heading of any level). Throws when there is none or more than one. */
export function tableUnder(markdown: Markdown, heading: string): Table {
  const tables = markdown.tables.filter((table) => table.heading === heading)
  const [table] = tables
  if (table === undefined || tables.length > 1) {
    throw new Error(`README.md has ${tables.length} tables under "${heading}", expected one`)
  }
  return table
}

/** The text of a cell without the marks of code and emphasis. */
export function plainText(cell: string): string {
  return cell.replaceAll(/[`*]/g, '').trim()
}

export function parseMarkdown(text: string): Markdown {
  const headings: Heading[] = []
  const codeBlocks: CodeBlock[] = []
  const tables: Table[] = []
  const links: Array<{ target: string; line: number }> = []
  const lines = text.split(/\r?\n/)
  const anchors = new Map<string, number>()
  let heading = ''

  for (let index = 0; index < lines.length; index++) {
    const line = lines[index] ?? ''
    const fence = /^ {0,3}(`{3,}|~{3,})\s*(\S*)\s*(.*)$/.exec(line)
    if (fence !== null) {
      const [, marks = '', language = '', info = ''] = fence
      const end = closingFence(lines, index + 1, marks)
      const code = lines.slice(index + 1, end).join('\n')
      codeBlocks.push({ language: language.toLowerCase(), info: info.trim(), heading, code, line: index + 1 })
      index = end
      continue
    }
    const title = /^(#{1,6})\s+(.*?)\s*#*$/.exec(line)
    if (title !== null) {
      const [, marks = '', words = ''] = title
      heading = plainText(words)
      headings.push({ level: marks.length, title: heading, anchor: anchorOf(heading, anchors), line: index + 1 })
    }
    for (const target of linkTargets(line)) links.push({ target, line: index + 1 })
    if (line.trimStart().startsWith('|') && isDelimiterRow(lines[index + 1] ?? '')) {
      const rows = tableRows(lines, index + 2)
      tables.push(toTable(heading, line, rows, index + 1))
      for (const row of rows) for (const target of linkTargets(row)) links.push({ target, line: index + 1 })
      index += rows.length + 1
    }
  }
  return { headings, codeBlocks, tables, links }
}

function closingFence(lines: readonly string[], from: number, marks: string): number {
  const close = new RegExp(`^ {0,3}${marks[0]}{${marks.length},}\\s*$`)
  for (let index = from; index < lines.length; index++) if (close.test(lines[index] ?? '')) return index
  throw new Error(`the code block that begins on line ${from} does not end`)
}

/** GitHub: lower case, punctuation dropped, spaces to dashes, a number from the second one on. */
function anchorOf(title: string, anchors: Map<string, number>): string {
  const slug = title
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
    .replaceAll(/\s/g, '-')
  const count = anchors.get(slug) ?? 0
  anchors.set(slug, count + 1)
  return count === 0 ? slug : `${slug}-${count}`
}

function linkTargets(line: string): string[] {
  const prose = line.replaceAll(/`[^`]*`/g, '')
  return Array.from(prose.matchAll(/\]\(\s*<?([^\s)>]+)/g), ([, target = '']) => target)
}

function isDelimiterRow(line: string): boolean {
  return /^\s*\|(\s*:?-+:?\s*\|)+\s*$/.test(line)
}

function tableRows(lines: readonly string[], from: number): string[] {
  let end = from
  while ((lines[end] ?? '').trimStart().startsWith('|')) end++
  return lines.slice(from, end)
}

function toTable(heading: string, header: string, rows: readonly string[], line: number): Table {
  const columns = cells(header)
  return {
    heading,
    columns,
    line,
    rows: rows.map((row, index) => {
      const values = cells(row)
      if (values.length !== columns.length) {
        throw new Error(`line ${line + 2 + index}: ${values.length} cells, the table has ${columns.length} columns`)
      }
      return Object.fromEntries(columns.map((column, at) => [column, values[at] ?? '']))
    })
  }
}

/** As on GitHub, `|` separates cells even inside code unless it is escaped. */
function cells(row: string): string[] {
  const inner = row
    .trim()
    .replace(/^\|/, '')
    .replace(/(?<!\\)\|$/, '')
  return inner.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll('\\|', '|'))
}
