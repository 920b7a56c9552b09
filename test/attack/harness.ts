/** What the attack tests share: an app that listens, and raw clients that are gone before it closes. */
import assert from 'node:assert/strict'
import type { AddressInfo } from 'node:net'
import type { TestContext } from 'node:test'
import type { FastifyInstance } from 'fastify'
import type { WebSocket } from 'ws'
import type { CloseInfo } from '../../lib/connection/types.ts'
import type { DefaultUser, WsContractRoute } from '../../lib/route/options.ts'
import { type AppOptions, buildApp, echo, origin, tokenFor } from '../support/app.ts'
import { closeOf, opcodes } from '../support/frames.ts'
import { captureLogs, type LogCapture } from '../support/log-capture.ts'
import { connect, type RawClient } from '../support/raw-client.ts'

type EchoRoute = WsContractRoute<typeof echo, Record<never, never>, undefined, DefaultUser, undefined>
type Headers = Readonly<Record<string, string>>

export interface TargetOptions extends AppOptions {
  readonly tls?: { readonly key: string; readonly cert: string }
  /** Of the route `/echo`. */
  readonly route?: Partial<EchoRoute>
  /** More routes, or hooks, before it listens. */
  readonly declare?: (app: FastifyInstance) => void
}

export class Target {
  readonly app: FastifyInstance
  readonly logs: LogCapture
  /** What `onClose` of `/echo` was told, in order. */
  readonly closes: CloseInfo[] = []
  readonly #isTls: boolean
  readonly #clients: RawClient[] = []

  private constructor(app: FastifyInstance, logs: LogCapture, isTls: boolean) {
    this.app = app
    this.logs = logs
    this.#isTls = isTls
  }

  static async start(t: TestContext, options: TargetOptions = {}): Promise<Target> {
    const logs = captureLogs('info')
    const own = options.server !== undefined && 'loggerInstance' in options.server
    const server = {
      ...(!own && { logger: logs.logger }),
      ...(options.tls && { https: options.tls }),
      ...options.server
    }
    const app = await buildApp({ ...options, server: server as never })
    const target = new Target(app, logs, options.tls !== undefined)
    app.wsRoute('/echo', {
      contract: echo,
      handlers: { say: ({ text }, connection) => void connection.send('said', { text }), ask: () => ({ items: [] }) },
      onClose: (_connection, info) => void target.closes.push(info),
      ...options.route
    })
    options.declare?.(app)
    t.after(async () => {
      target.hangUp()
      await app.close()
    })
    await app.listen({ port: 0, host: '127.0.0.1' })
    return target
  }

  get port(): number {
    return (this.app.server.address() as AddressInfo).port
  }

  hangUp(): void {
    for (const client of this.#clients) client.destroy()
  }

  /** A socket without a handshake. */
  async dial(): Promise<RawClient> {
    const client = await connect(this.port, { tls: this.#isTls })
    this.#clients.push(client)
    return client
  }

  /** The status of a handshake; its socket stays as the server left it. */
  async knock(path = '/echo', headers: Headers = this.headers()): Promise<number> {
    const client = await this.dial()
    return (await client.handshake({ path, headers, timeoutMs: 5000 })).statusCode
  }

  /** An open connection. */
  async open(path = '/echo', headers: Headers = this.headers()): Promise<RawClient> {
    const client = await this.dial()
    assert.equal((await client.handshake({ path, headers, timeoutMs: 5000 })).statusCode, 101)
    return client
  }

  headers(sub = 'alice'): Record<string, string> {
    return { Origin: origin, Authorization: `Bearer ${tokenFor(this.app, sub)}` }
  }

  /** The server's side of the only client. */
  get socket(): WebSocket {
    return [...this.app.websocketServer.clients][0] as WebSocket
  }
}

export async function closeFrameOf(client: RawClient, timeoutMs = 5000): Promise<{ code: number; reason: string }> {
  return closeOf(await client.nextFrame({ opcode: opcodes.close, timeoutMs }))
}

/** Settles later than everything that is ready now, and than what that makes ready. */
export async function turns(count = 5): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve))
}
