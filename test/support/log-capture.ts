/** A Fastify logger that writes nothing and keeps every line, parsed. */
import { Writable } from 'node:stream'

export interface LogLine {
  readonly level: number
  readonly msg?: string
  readonly [key: string]: unknown
}

export interface LogCapture {
  /** For `Fastify({ logger })`. */
  readonly logger: { level: string; stream: Writable }
  readonly lines: LogLine[]
  /** Everything that was written, for canary searches. */
  text(): string
  /** The first line of an event (`event` or `msg`). */
  find(event: string): LogLine | undefined
  /** All lines of an event (`event` or `msg`). */
  filter(event: string): LogLine[]
  clear(): void
}

export function captureLogs(level = 'trace'): LogCapture {
  const lines: LogLine[] = []
  const written: string[] = []
  let rest = ''
  const stream = new Writable({
    decodeStrings: false,
    write(chunk: string | Buffer, _encoding, callback) {
      written.push(chunk.toString())
      const parts = (rest + chunk.toString()).split('\n')
      rest = parts.pop() as string
      for (const part of parts) lines.push(JSON.parse(part))
      callback()
    }
  })
  const isOf =
    (event: string) =>
    (line: LogLine): boolean =>
      line.event === event || line.msg === event
  return {
    logger: { level, stream },
    lines,
    text: () => written.join(''),
    find: (event) => lines.find(isOf(event)),
    filter: (event) => lines.filter(isOf(event)),
    clear() {
      lines.length = 0
      written.length = 0
    }
  }
}
