/** One message to a thousand subscribers. */
import type { Load } from '../load.ts'
import { rateLoad } from '../rate.ts'

function fan(window: number, title: string, about: string): Load {
  return rateLoad({
    name: `fan-${window}`,
    title,
    about,
    mode: 'fan',
    unit: 'deliveries',
    bytes: 120,
    conns: 1_000,
    window,
    warmUpSeconds: 1.5
  })
}

export const fanLoads: readonly Load[] = [
  fan(1, 'Broadcast, 1 under way', '120 B to 1,000 subscribers; the next one when all of them have the last one.'),
  fan(8, 'Broadcast, 8 under way', '120 B to 1,000 subscribers, eight of them under way at any time.')
]
