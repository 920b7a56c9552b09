/** Bounds that are gone, or off by one. */
import type { Mutant } from './mutants.ts'

export const limitMutants: readonly Mutant[] = [
  {
    name: 'R1: a key above its limit is forgotten to make room',
    file: 'limits/memory-store.ts',
    find: 'if (count.current > max && !count.punished) {',
    replace: 'if (false) {',
    killedBy: ['limits/memory-store.test.ts']
  },
  {
    name: 'R2: one connection too many on the node',
    file: 'handshake/admission.ts',
    find: "return this.#take(upgrade, 'total', this.#maxTotal)",
    replace: "return this.#take(upgrade, 'total', this.#maxTotal + 1)",
    killedBy: ['handshake/admission.test.ts']
  },
  {
    name: 'R2: one connection too many of an address or user',
    file: 'limits/memory-store.ts',
    find: 'if (!(taken < max) ||',
    replace: 'if (!(taken <= max) ||',
    killedBy: ['limits/memory-store.test.ts', 'handshake/admission.test.ts']
  },
  {
    name: 'R2: too many may wait for their first message',
    file: 'handshake/admission.ts',
    find: "if (!this.#take(upgrade, 'unauthenticated', max)) return undefined",
    replace: "if (!this.#take(upgrade, 'unauthenticated', Number.POSITIVE_INFINITY)) return undefined",
    killedBy: ['handshake/admission.test.ts']
  },
  {
    name: 'R3: messages cost nothing',
    file: 'connection/rate.ts',
    find: 'inflow.messages.charge(1, now)\n    inflow.bytes.charge(bytes, now)',
    replace: 'inflow.bytes.charge(bytes, now)',
    killedBy: ['connection/rate.test.ts']
  },
  {
    name: 'R3: bytes cost nothing',
    file: 'connection/rate.ts',
    find: 'inflow.messages.charge(1, now)\n    inflow.bytes.charge(bytes, now)',
    replace: 'inflow.messages.charge(1, now)',
    killedBy: ['connection/rate.test.ts']
  },
  {
    name: 'R3: a clock that goes back fills the bucket',
    file: 'limits/token-bucket.ts',
    find: 'if (elapsedMs <= 0) return',
    replace: 'if (elapsedMs === 0) return\n    if (elapsedMs < 0) this.#tokens = this.#rate.burst',
    killedBy: ['limits/token-bucket.test.ts']
  },
  {
    name: 'R3: a bucket fills beyond its size',
    file: 'limits/token-bucket.ts',
    find: 'Math.min(burst, this.#tokens + elapsedMs * (perSecond / 1000))',
    replace: 'this.#tokens + elapsedMs * (perSecond / 1000)',
    killedBy: ['limits/token-bucket.test.ts']
  },
  {
    name: 'R3: the budget that a user shares is not asked',
    file: 'connection/rate.ts',
    find: 'const isTaken = takeUserToken(connection)',
    replace: 'const isTaken = true',
    killedBy: ['connection/rate.test.ts']
  },
  {
    name: 'R3, R7: a flood does not pause reading',
    file: 'connection/rate.ts',
    find: '    connection.pause(pausedBy.limit)\n',
    replace: '',
    killedBy: ['connection/rate.test.ts']
  },
  {
    name: 'R3: no number of dropped messages ends the connection',
    file: 'connection/rate.ts',
    find: 'if (++spell.dropped > maxDroppedBursts * limits.messages.burst) return endFlood(connection)',
    replace: 'spell.dropped++',
    killedBy: ['connection/rate.test.ts']
  },
  {
    name: 'R4: a message may be longer by one byte',
    file: 'connection/guarded-socket.ts',
    find: 'maxPayload: own.maxPayloadBytes,',
    replace: 'maxPayload: own.maxPayloadBytes + 1,',
    killedBy: ['attack/frame-bounds.test.ts']
  },
  {
    name: 'R5: one fragment more',
    file: 'connection/guarded-socket.ts',
    find: 'maxFragments: own.fragments.perMessage,',
    replace: 'maxFragments: own.fragments.perMessage + 1,',
    killedBy: ['attack/frame-bounds.test.ts']
  },
  {
    name: 'R5: chunks are not counted',
    file: 'connection/guarded-socket.ts',
    find: 'maxBufferedChunks: own.fragments.bufferedChunks',
    replace: 'maxBufferedChunks: 0',
    killedBy: ['attack/frame-bounds.test.ts']
  },
  {
    name: 'R6: pings and pongs cost nothing',
    file: 'connection/inbound.ts',
    find: 'if (!inflowOf(connection).controlFrames.take(1, now)) endFlood(connection)',
    replace: 'if (!inflowOf(connection).controlFrames.take(0, now)) endFlood(connection)',
    killedBy: ['attack/frame-bounds.test.ts', 'protocol/control-frames.test.ts', 'attack/ping-flood.test.ts'],
    fuzzedBy: 'frames'
  },
  {
    name: 'R6: pongs that wait are not counted',
    file: 'connection/guarded-socket.ts',
    find: 'this._maxPendingAutoPongs = own.controlFrames.pendingPongs',
    replace: '',
    killedBy: ['protocol/control-frames.test.ts']
  },
  {
    name: 'R8: no answer to a ping ends nothing',
    file: 'connection/heartbeat.ts',
    find: 'now - connection.pingSentAt >= timeoutMs',
    replace: 'now - connection.pingSentAt >= Number.POSITIVE_INFINITY',
    killedBy: ['connection/heartbeat.test.ts']
  },
  {
    name: 'R8: nobody is pinged',
    file: 'connection/heartbeat.ts',
    find: '    connection.socket.ping()\n',
    replace: '',
    killedBy: ['connection/heartbeat.test.ts']
  },
  {
    name: 'R8: a slice of the heartbeat takes as long as its pings take',
    file: 'connection/heartbeat.ts',
    find: '      if (left % visitsPerLook === 0 && clock.now() - now >= maxSliceMs) return\n',
    replace: '',
    killedBy: ['connection/heartbeat.test.ts']
  },
  {
    name: 'R9: one topic more',
    file: 'connection/topics.ts',
    find: 'if (topicKeys.size >= limits.topics) return false',
    replace: 'if (topicKeys.size > limits.topics) return false',
    killedBy: ['connection/outbound.test.ts']
  },
  {
    name: 'O1: send() never drops',
    file: 'connection/outbound.ts',
    find: 'if (buffered > hardBytes || buffered - socket.freshBytes > softBytes) {',
    replace: 'if (false) {',
    killedBy: ['connection/outbound.test.ts']
  },
  {
    name: 'O1: a peer above the hard bound stays',
    file: 'connection/outbound.ts',
    find: 'if (isAboveHardBound(connection)) endSlowConsumer(connection)',
    replace: '',
    killedBy: ['connection/outbound.test.ts']
  },
  {
    name: 'O1, O2: what waits for the end of the turn is not counted',
    file: 'connection/guarded-socket.ts',
    find: 'return super.bufferedAmount + this.#joined.length',
    replace: 'return super.bufferedAmount',
    killedBy: ['connection/joined-writes.test.ts']
  },
  {
    name: 'O1: all connections together have no bound',
    file: 'connection/outbound.ts',
    find: 'while (isOverdrawn(runtime)) {',
    replace: 'while (false) {',
    killedBy: ['connection/outbound.test.ts']
  },
  {
    name: 'O4: a code that may not be sent is handed to ws',
    file: 'connection/connection.ts',
    find: 'if (code !== undefined && !isSendableCloseCode(code)) {',
    replace: 'if (false) {',
    killedBy: ['connection/close.test.ts'],
    fuzzedBy: 'arguments'
  },
  {
    name: 'O4: a reason is not cut',
    file: 'connection/connection.ts',
    find: 'return cut\n',
    replace: "return typeof reason === 'string' ? reason : cut\n",
    killedBy: ['connection/close.test.ts']
  },
  {
    name: 'O5: a broadcast takes one turn, however long it is',
    file: 'connection/topics.ts',
    find: 'return this.#continue(deliveriesPerTurn) + rest.size',
    replace: 'return this.#continue(Number.POSITIVE_INFINITY) + rest.size',
    killedBy: ['connection/broadcast.test.ts']
  },
  {
    name: 'O5: what is sent after a broadcast overtakes it',
    file: 'connection/outbound.ts',
    find: '  connection.runtime.topics.catchUp(connection)\n',
    replace: '',
    killedBy: ['connection/broadcast.test.ts']
  },
  {
    name: 'P3: a flood of events is a flood of lines',
    file: 'limits/log-sampler.ts',
    find: 'if (!(window.lines < this.#perSecond)) {',
    replace: 'if (false) {',
    killedBy: ['limits/log-sampler.test.ts']
  }
]
