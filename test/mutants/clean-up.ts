/** Releases that were forgotten, and ends that do not end. */
import type { Mutant } from './mutants.ts'

export const cleanUpMutants: readonly Mutant[] = [
  {
    name: 'L1: a closed connection stays in the registry',
    file: 'connection/connection.ts',
    find: '    this.runtime.registry.remove(this)\n',
    replace: '',
    killedBy: ['connection/close.test.ts']
  },
  {
    name: 'L1: its subject stays in the index',
    file: 'connection/registry.ts',
    find: '    this.#subjects.remove(connection.identity?.subject, connection)\n',
    replace: '',
    killedBy: ['connection/registry.test.ts']
  },
  {
    name: 'L1: its topics stay',
    file: 'connection/connection.ts',
    find: '    this.runtime.topics.release(this)\n',
    replace: '',
    killedBy: ['connection/outbound.test.ts'],
    fuzzedBy: 'lives'
  },
  {
    name: 'L1: the timer of a spell runs on',
    file: 'connection/connection.ts',
    find: '    clearTimeout(this.inflow?.spell?.timer)\n',
    replace: '',
    killedBy: ['connection/rate.test.ts', 'connection/close.test.ts']
  },
  {
    name: 'L1: what it buffered stays in the account',
    file: 'connection/connection.ts',
    find: '    releaseBuffered(this)\n',
    replace: '',
    killedBy: ['connection/outbound.test.ts', 'connection/close.test.ts']
  },
  {
    name: 'L1, Z8: the signal is not aborted',
    file: 'connection/connection.ts',
    find: '    this.#abort?.abort()\n',
    replace: '',
    killedBy: ['connection/close.test.ts'],
    fuzzedBy: 'lives'
  },
  {
    name: 'L1: the heartbeat never stops',
    file: 'connection/heartbeat.ts',
    find: 'if (list.length === 0) return this.stop()',
    replace: 'if (list.length === 0) return',
    killedBy: ['connection/heartbeat.test.ts']
  },
  {
    name: 'R2: a slot is not given back when its socket closes',
    file: 'handshake/upgrade-guard.ts',
    find: '    this.#state.release(held)\n',
    replace: '',
    killedBy: ['handshake/admission.test.ts', 'handshake/upgrade-guard.test.ts'],
    fuzzedBy: 'frames'
  },
  {
    name: 'R2: a slot is given back twice',
    file: 'handshake/admission.ts',
    find: '    held.counted &= ~slots[name]\n',
    replace: '',
    killedBy: ['handshake/admission.test.ts']
  },
  {
    name: 'L1: the handshake stays among those under way',
    file: 'handshake/upgrade-guard.ts',
    find: '    upgrade.held.deadline = undefined\n    this.#pending.delete(upgrade.socket)\n',
    replace: '    upgrade.held.deadline = undefined\n',
    killedBy: ['handshake/upgrade-guard.test.ts']
  },
  {
    name: 'L2: a connection finishes twice',
    file: 'connection/connection.ts',
    find: "if (this.state === 'closed') return Promise.resolve()",
    replace: '',
    killedBy: ['connection/close.test.ts'],
    fuzzedBy: 'lives'
  },
  {
    name: 'L2: an onClose that throws is thrown on',
    file: 'connection/connection.ts',
    find: "      this.reportError(error, 'onClose')\n",
    replace: '      throw error\n',
    killedBy: ['connection/close.test.ts']
  },
  {
    name: 'L2: onClose runs for a connection that was never opened',
    file: 'connection/connection.ts',
    find: '    if (!this.opened) return\n    try {',
    replace: '    try {',
    killedBy: ['connection/close.test.ts', 'connection/session.test.ts']
  },
  {
    name: 'L2: a handler that never settles is kept for ever',
    file: 'connection/registry.ts',
    find: 'timer = setTimeout(resolve, forMs).unref()',
    replace: 'timer = setTimeout(() => resolve, forMs).unref()',
    killedBy: ['connection/never-settles.test.ts']
  },
  {
    name: 'O1: a close that is not answered is waited for without end',
    file: 'connection/heartbeat.ts',
    find: '    if (isOver(connection.closeDeadline, now)) connection.terminate()\n',
    replace: '',
    killedBy: ['connection/close.test.ts']
  },
  {
    name: 'P5: a shutdown waits for the last socket',
    file: 'connection/drain.ts',
    find: '  for (const { rawSocket } of connections) rawSocket.destroy()\n',
    replace: '',
    killedBy: ['connection/drain.test.ts']
  },
  {
    name: 'P6: all clients are told at once',
    file: 'connection/drain.ts',
    find: 'if (spreadMs > 0) await setTimeout(spreadMs / steps, undefined, { signal }).catch(() => {})',
    replace: 'if (spreadMs < 0) await setTimeout(spreadMs / steps, undefined, { signal }).catch(() => {})',
    killedBy: ['connection/drain.test.ts']
  },
  {
    name: 'P7: any version of ws will do',
    file: 'route/install.ts',
    find: "if (!('maxPendingAutoPongs' in app.websocketServer.options)) {",
    replace: 'if (false) {',
    killedBy: ['route/ws-guard.test.ts', 'coexistence/plain-websocket.test.ts', 'route/options.test.ts']
  }
]
