/** Every attack of the bench: what it sends, what it comes from, which bound holds it, and what it may cost. */
import { attempts, type BenchAttack, chunks, message, queue, readBytes, unread } from './attack-rules.ts'
import type { AttackPlan } from './bench.ts'

type Row = Omit<BenchAttack, 'sockets' | 'accounts' | 'addresses'> & Partial<AttackPlan>

/** Eight sockets that come back at once, from four addresses: more attempts than they can use up. */
function attack(row: Row): BenchAttack {
  return { sockets: 8, accounts: 4, addresses: 4, ...row }
}

const open = [101]

export const attackList: readonly BenchAttack[] = [
  attack({
    name: 'message flood',
    threats: 'R3, R7',
    does: 'valid messages as fast as it can',
    bound: 'limits.messages',
    perSocket: readBytes + queue,
    expects: { statuses: open, closes: [1008], ended: 1 }
  }),
  attack({
    name: 'empty frames',
    threats: 'R7',
    does: 'empty text frames as fast as it can',
    bound: 'the first is no JSON',
    perSocket: readBytes,
    expects: { statuses: open, closes: [1007], ended: 1 }
  }),
  attack({
    name: '1-byte frames',
    threats: 'R7',
    does: 'text frames of one byte as fast as it can',
    bound: 'the first is no JSON',
    perSocket: readBytes,
    expects: { statuses: open, closes: [1007], ended: 1 }
  }),
  attack({
    name: 'invalid messages',
    threats: 'M6, R3',
    does: 'messages of the wrong shape as fast as it can',
    bound: 'limits.strikes',
    perSocket: readBytes + queue,
    expects: { statuses: open, closes: [1008], ended: 1 }
  }),
  attack({
    name: 'ping flood',
    threats: 'R6',
    does: 'pings, 50 in a write, as fast as it can',
    bound: 'limits.controlFrames.pendingPongs',
    perSocket: readBytes,
    expects: { statuses: open, mayClose: 1008, ended: 8 }
  }),
  attack({
    name: 'pong flood',
    threats: 'R6',
    does: 'pongs as fast as it can',
    bound: 'limits.controlFrames',
    perSocket: readBytes,
    expects: { statuses: open, closes: [1008], ended: 1 }
  }),
  attack({
    name: 'endless fragments',
    threats: 'R5',
    does: 'fragments of one byte without an end',
    bound: 'limits.fragments.perMessage',
    perSocket: readBytes,
    expects: { statuses: open, closes: [1008], ended: 1 }
  }),
  attack({
    name: 'unfinished messages',
    threats: 'R5',
    does: '63 fragments of 1 kB on each of 150 sockets, and no end',
    bound: 'limits.maxPayloadBytes',
    sockets: 150,
    accounts: 15,
    perSocket: message,
    expects: { statuses: open }
  }),
  attack({
    name: 'chunk flood',
    threats: 'R5',
    does: 'a frame in TCP segments of one byte',
    bound: 'limits.fragments.bufferedChunks',
    perSocket: message + chunks,
    expects: { statuses: open, mayClose: 1008 }
  }),
  attack({
    name: 'slow reader',
    threats: 'O1, R3',
    does: 'asks for echoes of 5 kB as fast as it can, and reads none',
    bound: 'limits.bytes',
    perSocket: unread + readBytes + queue,
    expects: { statuses: open }
  }),
  attack({
    name: 'slow reader of lists',
    threats: 'O1',
    does: 'asks for 150 kB with 15 bytes, and reads nothing',
    bound: 'limits.sendBuffer',
    perSocket: unread + readBytes + queue,
    // Dropped above the soft bound, terminated above the hard one: which of them depends on what the kernel takes.
    // A burst of them is the handlers' own work: it takes its time from everybody.
    workMs: 40,
    expects: { statuses: open }
  }),
  attack({
    name: 'slow frame',
    threats: 'R8',
    does: 'frames at a byte a second on 50 sockets',
    bound: 'heartbeat, after 40 s',
    sockets: 50,
    accounts: 5,
    perSocket: message,
    expects: { statuses: open }
  }),
  attack({
    name: 'slow handshake',
    threats: 'R8',
    does: 'handshakes at a byte a second on 50 sockets',
    bound: 'headersTimeout of Node',
    sockets: 50,
    perSocket: 0,
    expects: { statuses: [] }
  }),
  attack({
    name: 'half-open peers',
    threats: 'R8, L1',
    does: 'says nothing, or says it is done and stays, on 90 sockets',
    bound: 'heartbeat, closeTimeoutMs',
    sockets: 60,
    accounts: 6,
    perSocket: 0,
    expects: { statuses: open }
  }),
  attack({
    name: 'no answer to close',
    threats: 'O1, L1',
    does: 'is closed on 20 sockets, and holds on to them',
    bound: 'closeTimeoutMs',
    sockets: 20,
    perSocket: 0,
    expects: { statuses: open, closes: [1000, 1007], ended: 10 }
  }),
  attack({
    name: 'oversize',
    threats: 'R4',
    does: 'declares 2 GiB, sends 1.5 MB, and fragments that never end',
    bound: 'limits.maxPayloadBytes',
    perSocket: message + readBytes,
    expects: { statuses: open, closes: [1009], ended: 1 }
  }),
  attack({
    name: 'compression',
    threats: 'M10, R4',
    does: 'offers compression, and sends 50 MB in 49 kB under each reserved bit',
    bound: 'never taken up',
    perSocket: readBytes,
    expects: { statuses: open, closes: [1002], ended: 1 }
  }),
  attack({
    name: 'deep JSON',
    threats: 'M8',
    does: '60 kB of [',
    bound: 'limits.json.depth',
    perSocket: message,
    expects: { statuses: open, closes: [1007], ended: 1 }
  }),
  attack({
    name: 'many keys',
    threats: 'M8',
    does: 'objects of 5,000 keys',
    bound: 'limits.json.keys',
    perSocket: message,
    expects: { statuses: open, closes: [1007], ended: 1 }
  }),
  attack({
    name: 'malformed frames',
    threats: 'M9, M10',
    does: 'unmasked, unknown, oversized control, binary and broken UTF-8 frames',
    bound: 'RFC 6455',
    perSocket: readBytes,
    expects: { statuses: open, closes: [1002, 1003, 1007], ended: 1 }
  }),
  attack({
    name: 'connect storm',
    threats: 'R1, R2',
    does: 'connects, and leaves, as fast as it can',
    bound: 'limits.attempts',
    addresses: 1,
    perSocket: 0,
    expects: { statuses: [101, 429], attempts }
  }),
  attack({
    name: 'connect storm without a token',
    threats: 'R1',
    does: 'knocks without a token as fast as it can',
    bound: 'limits.attempts',
    addresses: 1,
    perSocket: 0,
    expects: { statuses: [401, 429], attempts }
  }),
  attack({
    name: 'RST at every stage',
    threats: 'L1, R2',
    does: 'resets after the connect, in and after the handshake, in a frame, after a message, in a close',
    bound: 'everything is released with its socket',
    perSocket: 0,
    expects: { statuses: [101, 429] }
  })
]
