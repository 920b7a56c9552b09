/** How load.c reads what a server writes, however it is cut, and what it refuses. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it, type TestContext } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { type WebSocket, WebSocketServer } from 'ws'
import { frame, opcodes } from '../support/frames.ts'
import { once as onceIn, until, within } from '../support/wait.ts'
import { skipUnlessLinux } from './for-tests.ts'
import { compile, echo, fan, flood, hold, pace } from './generator.ts'

const payload = 'x'.repeat(200)
const longTimeMs = 20_000

describe('load.c', { skip: skipUnlessLinux, timeout: 120_000 }, () => {
  let folder: string
  let program: string

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'ws-guard-load-test-'))
    await writeFile(join(folder, 'headers'), 'X-Token: %TOKEN%\r\n')
    await writeFile(join(folder, 'tokens'), 'one\ntwo\n')
    await writeFile(join(folder, 'payload'), payload)
    await writeFile(join(folder, 'prelude'), 'hello')
    program = await compile()
  })
  after(() => rm(folder, { recursive: true, force: true }))

  /** A server whose connections do as they are told, and what it takes to load it. */
  async function serve(
    t: TestContext,
    accept: (socket: WebSocket, request: IncomingMessage) => void,
    verifyClient: () => boolean = () => true
  ) {
    const server = new WebSocketServer({ host: '127.0.0.1', port: 0, verifyClient })
    await once(server, 'listening')
    t.after(() => {
      for (const socket of server.clients) socket.terminate()
      server.close()
    })
    server.on('connection', (socket, request) => {
      socket.on('error', () => socket.terminate())
      accept(socket, request)
    })
    return target((server.address() as AddressInfo).port)
  }

  function target(port: number) {
    const [headers, tokens, content] = ['headers', 'tokens', 'payload'].map((name) => join(folder, name)) as [
      string,
      string,
      string
    ]
    const pid = String(process.pid)
    return { port: String(port), pid, path: '/', headers, tokens, payload: content, conns: 3, window: 2, seconds: 0.05 }
  }

  it('counts a reply once that comes a byte at a time, among pings, pongs and fragments', async (t) => {
    let messages = 0
    const pongs: string[] = []
    const options = await serve(t, (socket, request) => {
      socket.on('pong', (data) => pongs.push(String(data)))
      let last = Promise.resolve()
      socket.on('message', (data) => {
        const number = ++messages
        const reply = frame({ masked: false, payload: data as Buffer })
        const half = frame({ masked: false, fin: false, payload: (data as Buffer).subarray(0, 90) })
        const rest = frame({ masked: false, opcode: opcodes.continuation, payload: (data as Buffer).subarray(90) })
        const ping = frame({ masked: false, opcode: opcodes.ping, payload: `ping ${number}` })
        const pong = frame({ masked: false, opcode: opcodes.pong })
        const bytes = number % 2 ? Buffer.concat([pong, half, ping, rest]) : reply
        last = last.then(() => dribble(bytes, request.socket))
      })
    })
    const { sent, received } = await echo({ ...options, seconds: 0.5 })
    assert.ok(messages > 6, `${messages} messages`)
    assert.deepEqual([sent, received], [messages, messages])
    // Several pings may wait for one pong, but there is one for each connection at least.
    assert.ok(pongs.length >= 3 && pongs.every((text) => /^ping \d+$/.test(text)), pongs.join())
  })

  it('gives every connection its token, and sends exactly the payload', async (t) => {
    const tokens: unknown[] = []
    const texts = new Set<string>()
    const options = await serve(t, (socket, request) => {
      tokens.push(request.headers['x-token'])
      socket.on('message', (data) => {
        texts.add(String(data))
        socket.send(data, { binary: false })
      })
    })
    await echo(options)
    assert.deepEqual(tokens, ['one', 'two', 'one'])
    assert.deepEqual([...texts], [payload])
  })

  it('waits for the prelude before it counts', async (t) => {
    const first: string[] = []
    const options = await serve(t, (socket) => {
      socket.send('open')
      socket.once('message', (data) => {
        first.push(String(data))
        socket.send('ready')
        socket.on('message', (text) => socket.send(text, { binary: false }))
      })
    })
    const { sent, received } = await echo({ ...options, prelude: join(folder, 'prelude'), preludeReplies: 2 })
    assert.deepEqual(first, ['hello', 'hello', 'hello'])
    assert.equal(received, sent)
  })

  it('closes with 1000 when it is done', async (t) => {
    const codes: number[] = []
    const options = await serve(t, (socket) => {
      socket.on('close', (code) => codes.push(code))
      socket.on('message', (data) => socket.send(data, { binary: false }))
    })
    await echo(options)
    await until(() => codes.length === 3)
    assert.deepEqual(codes, [1000, 1000, 1000])
  })

  it('answers every ping of connections that it holds', async (t) => {
    const sockets: WebSocket[] = []
    const options = await serve(t, (socket) => sockets.push(socket))
    const held = await hold(options)
    const pongs = sockets.map((socket) => onceIn(socket, 'pong', { timeoutMs: longTimeMs }))
    for (const [number, socket] of sockets.entries()) socket.ping(`ping ${number}`)
    assert.deepEqual((await Promise.all(pongs)).map(String), ['ping 0', 'ping 1', 'ping 2'])
    const { open, pings } = await held.stop()
    assert.deepEqual([open, pings], [3, 3])
  })

  it('floods with whole frames, also when the socket takes a part of one', async (t) => {
    // More than the buffers of a socket hold.
    const large = Buffer.from('large '.repeat(400_000))
    await writeFile(join(folder, 'large'), large)
    let messages = 0
    const others: unknown[] = []
    const options = await serve(t, (socket) => {
      socket.on('error', (error) => others.push(error))
      socket.on('message', (data) => {
        messages++
        if (!large.equals(data as Buffer)) others.push(data)
      })
    })
    const { window: _window, seconds: _seconds, ...endless } = options
    const flooding = await flood({ ...endless, payload: join(folder, 'large') })
    await until(() => messages > 10 || others.length > 0, { timeoutMs: longTimeMs })
    const { written } = await flooding.stop()
    assert.deepEqual(others, [])
    assert.ok(written >= messages && messages > 10)
  })

  it('goes on flooding when it is thrown out', async (t) => {
    const options = await serve(t, (socket) => socket.once('message', () => socket.close(1008)))
    const { window: _window, seconds: _seconds, ...endless } = options
    const flooding = await flood({ ...endless, payload: options.payload })
    const { ended, written } = await flooding.stop()
    assert.ok(written > 0)
    assert.ok(ended <= 3)
  })

  it('tells what was not answered, with the time it waited', async (t) => {
    const options = await serve(t, () => undefined)
    const { window: _window, ...others } = options
    const { ports } = await pace({ ...others, perSecond: 20, seconds: 0.09 })
    const [{ messages, unanswered, p50Us } = {}] = ports
    assert.deepEqual([messages, unanswered], [0, 6])
    assert.ok((p50Us ?? 0) > 2e6)
  })

  async function run(line: string): Promise<{ code: unknown; stdout: string; stderr: string }> {
    return new Promise((resolve) =>
      execFile(program, line.split(' '), (error, stdout, stderr) => resolve({ code: error?.code, stdout, stderr }))
    )
  }

  const liars: Record<string, { answer: (socket: WebSocket, data: Buffer) => void; tells: RegExp }> = {
    'another length': { answer: (socket) => socket.send('no'), tells: /an answer of 2 bytes where 200 were expected/ },
    'another text of that length': {
      answer: (socket) => socket.send('y'.repeat(200)),
      tells: /the server answered yyy/
    },
    'two answers': {
      answer: (socket, data) => {
        for (let i = 0; i < 3; i++) socket.send(data, { binary: false })
      },
      tells: /more answers than messages/
    },
    'a close': { answer: (socket) => socket.close(1008), tells: /ended a connection \(close code 1008\)/ },
    'an end': { answer: (socket) => socket.terminate(), tells: /ended a connection \(close code 1006\)/ },
    nothing: { answer: () => undefined, tells: /nothing came back/ }
  }
  for (const [what, { answer, tells }] of Object.entries(liars)) {
    it(`fails when the server answers with ${what}`, async (t) => {
      const options = await serve(t, (socket) => socket.on('message', (data) => answer(socket, data as Buffer)))
      await assert.rejects(echo(options), tells)
    })
  }

  it('fails when a publish is delivered twice to the same connection', async (t) => {
    const options = await serve(t, (socket) =>
      socket.on('message', (data) => {
        for (let i = 0; i < 5; i++) socket.send(data, { binary: false })
      })
    )
    await assert.rejects(fan(options), /more deliveries than publishes/)
  })

  it('fails when the answer to the handshake is no 101 of a websocket', async (t) => {
    // What RFC 6455 has as the answer to the key that load.c sends.
    const accept = 'Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n'
    for (const answer of [`HTTP/1.1 200 OK\r\n${accept}`, 'HTTP/1.1 101 Switching Protocols\r\n\r\n']) {
      const server = createServer((socket) => socket.on('error', () => undefined).end(answer))
      server.listen(0, '127.0.0.1')
      t.after(() => server.close())
      await once(server, 'listening')
      await assert.rejects(echo(target((server.address() as AddressInfo).port)), /a handshake was refused: HTTP/)
    }
  })

  it('counts handshakes that were refused apart from the others', async (t) => {
    let [accepted, asked] = [0, 0]
    const options = await serve(
      t,
      () => accepted++,
      () => asked++ % 3 !== 0
    )
    const { code, stdout } = await run(`--mode shake --port ${options.port} --conns 2 --seconds 0.1`)
    const { received, refused } = JSON.parse(stdout)
    assert.ok(accepted > 0 && asked > accepted)
    assert.deepEqual([received, refused, code], [accepted, asked - accepted, 1])
  })

  it('refuses wrong options with exit code 2', async () => {
    const file = join(folder, 'payload')
    const wrong: [string, RegExp][] = [
      ['--mode echoes --port 1', /--mode is one of/],
      ['--mode echo', /--port is needed/],
      ['--mode echo --port 0', /--port: 1 to 8 numbers/],
      [`--mode echo --port 1,2 --payload ${file} --seconds 1`, /only pace/],
      [`--mode publish --port 1,2,3 --payload ${file} --seconds 1`, /one port or two/],
      [`--mode publish --port 1 --payload ${file} --seconds 1`, /needs --publish-path/],
      [`--mode fan --port 1 --payload ${file} --seconds 1 --publish-path /x`, /nothing else takes it/],
      [`--mode publish --port 1,2 --pid 1,2 --payload ${file} --seconds 1 --publish-path /`, /--pid: 1 of them/],
      ['--mode echo --port 1 --seconds 1', /needs --payload/],
      [`--mode echo --port 1 --payload ${file}`, /needs --seconds/],
      [`--mode pace --port 1 --payload ${file} --seconds 1`, /needs --per-second/],
      [`--mode echo --port 1 --payload ${folder}/none --seconds 1`, /none: No such file/],
      ['--mode shake --port 1 --seconds 1 --conns 0', /--conns 0: a whole number from 1/],
      ['--mode shake --port 1 --seconds 1x', /--seconds 1x: a number from/],
      ['--mode shake --port 1 --seconds', /--seconds needs a value/],
      ['--mode shake --port 1 --seconds 1 --loud 1', /no option --loud/],
      [`--mode shake --port 1 --seconds 1 --headers ${folder}/headers`, /--tokens is needed/],
      [`--mode shake --port 1 --seconds 1 --headers ${file}`, /end with CR LF/],
      [`--mode shake --port 1 --seconds 1 --prelude ${file}`, /go together/],
      ['--mode shake --port 1 --seconds 1 --server-cpu 4000', /not in \/proc\/stat/]
    ]
    for (const [line, tells] of wrong) {
      const ended = await run(line)
      assert.match(ended.stderr, tells)
      assert.equal(ended.code, 2, line)
    }
  })
})

/** Each byte in a write of its own. */
async function dribble(bytes: Buffer, to: IncomingMessage['socket']): Promise<void> {
  for (const byte of bytes) {
    to.write(Buffer.from([byte]))
    await within(nextTurn(), { timeoutMs: longTimeMs })
  }
}
