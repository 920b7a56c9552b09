/** Connections of every kind, in every state that a shutdown may find them in. */
import { closeFrame, frame, jsonFrame, opcodes } from '../support/frames.ts'
import { messages, type Peer } from './cycles-peer.ts'
import type { Rounds } from './cycles-rounds.ts'

const deed = (what: string): object => ({ type: 'do', what })
const none = { token: null }

/** Each makes one that its client leaves as it is: nobody reads, answers or goes. */
const kinds: ReadonlyArray<(peer: Peer) => Promise<unknown>> = [
  // Not there yet.
  (peer) => peer.connect(),
  async (peer) => (await peer.connect()).write(peer.request('/ws').subarray(0, 60)),
  (peer) => peer.ask('/left/onRequest'),
  (peer) => peer.ask('/left/verify'),
  (peer) => peer.ask('/left/authorize'),
  (peer) => peer.ask('/stuck', { hasty: true }),
  (peer) => peer.ask('/nowhere', { hasty: true }),
  // Open.
  (peer) => peer.open('/ws'),
  (peer) => peer.open('/raw'),
  (peer) => peer.open('/plain'),
  (peer) => peer.open('/late', none),
  (peer) => peer.open('/closed/slowly'),
  (peer) => peer.open('/closed/rejects'),
  (peer) => peer.open('/ws', { behind: frame({ payload: 'half' }).subarray(0, 5) }),
  // Busy.
  (peer) => peer.told('/ws', 'wait'),
  (peer) => peer.told('/ws', 'hang'),
  (peer) => peer.open('/queue', { behind: messages(4, deed('wait')) }),
  (peer) => peer.open('/rate/spell', { behind: messages(100, deed('nothing')) }),
  (peer) => peer.open('/rate/delay', { behind: messages(6, deed('nothing')) }),
  async (peer) => {
    const client = await peer.open('/slow')
    client.pause()
    client.socket.write(jsonFrame(deed('send some')))
  },
  // Ending.
  (peer) => peer.told('/ws', 'close'),
  (peer) => peer.told('/ws', 'close past the connection'),
  (peer) => peer.open('/ws', { behind: closeFrame(1000) }),
  (peer) => peer.open('/ws', { behind: frame({ opcode: opcodes.binary, payload: 'x' }) }),
  (peer) => peer.open('/close')
]

/** Opens one of each kind. @returns ends their clients */
export async function openEverything(rounds: Rounds): Promise<() => void> {
  const peers = kinds.map(() => rounds.peer())
  await Promise.all(kinds.map((kind, at) => kind(peers[at] as Peer)))
  return () => {
    for (const peer of peers) peer.destroy()
  }
}
