/** Connect, upgrade with a JSON Web Token, close, again. */
import type { Load } from '../load.ts'
import { rateLoad } from '../rate.ts'

export const handshake: Load = rateLoad({
  name: 'handshake',
  title: 'Handshakes',
  about: '32 at a time: connect, upgrade with a JSON Web Token, close. c and ws do not look at the token.',
  mode: 'shake',
  unit: 'handshakes',
  bytes: 0,
  conns: 32,
  window: 1,
  warmUpSeconds: 1,
  // Fewer leave much of what a handshake runs through uncompiled.
  warmUpCount: 20_000
})
