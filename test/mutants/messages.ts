/** Faults in what may cross a connection. */
import type { Mutant } from './mutants.ts'

export const messageMutants: readonly Mutant[] = [
  {
    name: 'M2: frames are served after the end',
    file: 'connection/inbound.ts',
    find: 'if (socket.readyState !== socket.OPEN || !isServed(connection)) return false',
    replace: 'if (socket.readyState !== socket.OPEN) return false',
    killedBy: ['connection/inbound.test.ts', 'connection/credential-life.test.ts']
  },
  {
    name: 'M2, R7: who goes on sending after the end is read for ever',
    file: 'connection/guarded-socket.ts',
    find: 'if (++this.#lateFrames === maxLateFrames) this.#stopReading()',
    replace: '',
    killedBy: ['attack/after-the-end.test.ts']
  },
  {
    name: 'M2: a close overtakes what was sent before it',
    file: 'connection/guarded-socket.ts',
    find: 'override close(code?: number, reason?: string | Buffer): void {\n    this.flush()\n',
    replace: 'override close(code?: number, reason?: string | Buffer): void {\n',
    killedBy: ['connection/joined-writes.test.ts']
  },
  {
    name: 'M3: text that is no JSON does not end the connection',
    file: 'connection/dispatch.ts',
    find: "return connection.end('invalid_json')",
    replace: 'return',
    killedBy: ['connection/inbound.test.ts']
  },
  {
    name: 'M9: a binary frame is read as text',
    file: 'connection/dispatch.ts',
    find: "if (isBinary) return connection.end('binary')",
    replace: '',
    killedBy: ['connection/inbound.test.ts'],
    fuzzedBy: 'frames'
  },
  {
    name: 'M6: strikes are not counted',
    file: 'connection/dispatch.ts',
    find: 'if (++inflow.strikes <= max) return false',
    replace: 'if (inflow.strikes <= max) return false',
    killedBy: ['connection/inbound.test.ts'],
    fuzzedBy: 'frames'
  },
  {
    name: 'M6: one strike more is tolerated',
    file: 'connection/dispatch.ts',
    find: 'if (++inflow.strikes <= max) return false',
    replace: 'if (++inflow.strikes <= max + 1) return false',
    killedBy: ['connection/inbound.test.ts']
  },
  {
    name: 'M11: handlers of one connection overlap',
    file: 'connection/dispatch.ts',
    find: 'if (!connection.busy && inflow.queue.length === 0) {',
    replace: 'if (inflow.queue.length === 0) {',
    killedBy: ['connection/inbound.test.ts'],
    fuzzedBy: 'lives'
  },
  {
    name: 'M11: the queue has no end',
    file: 'connection/dispatch.ts',
    find: "inflow.queuedBytes > bytes) connection.end('overflow')",
    replace: "inflow.queuedBytes > Infinity) connection.end('overflow')",
    killedBy: ['connection/inbound.test.ts']
  },
  {
    name: 'M11: a half full queue does not pause reading',
    file: 'connection/dispatch.ts',
    find: 'else if (isHalfFull(connection)) connection.pause(pausedBy.queue)',
    replace: '',
    killedBy: ['connection/inbound.test.ts']
  },
  {
    name: 'M12: a handler may take for ever',
    file: 'connection/dispatch.ts',
    find: 'connection.jobDeadline = connection.runtime.clock.now() + connection.settings.handlerTimeoutMs',
    replace: 'connection.jobDeadline = undefined',
    killedBy: ['connection/inbound.test.ts']
  },
  {
    name: 'Z1: the authorize of a message does not matter',
    file: 'connection/dispatch.ts',
    find: 'return allowed === true ? job.handler.run(job.message, connection) : refused',
    replace: 'return job.handler.run(job.message, connection) ?? refused',
    killedBy: ['connection/inbound.test.ts', 'handshake/rights-wire.test.ts']
  },
  {
    name: 'Z2: a credential is good in the millisecond in which it expires',
    file: 'connection/dispatch.ts',
    find: 'connection.runtime.clock.wall() >= expiresAt',
    replace: 'connection.runtime.clock.wall() > expiresAt',
    killedBy: ['connection/credential-life.test.ts', 'connection/session.test.ts']
  },
  {
    name: 'Z8: what a handler returns after the end is sent',
    file: 'connection/outbound.ts',
    find: "if (connection.state !== 'open' || socket.readyState !== socket.OPEN) return false",
    replace: '',
    killedBy: ['connection/outbound.test.ts'],
    fuzzedBy: 'lives'
  },
  {
    name: 'Z5: a refresh may change who the user is',
    file: 'connection/refresh.ts',
    find: 'if (identity?.subject !== connection.identity?.subject) {',
    replace: 'if (identity === null) {',
    killedBy: ['connection/refresh.test.ts', 'connection/refresh-rights.test.ts', 'connection/session.test.ts']
  }
]
