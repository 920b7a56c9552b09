import { argumentsCampaign } from './arguments.ts'
import type { Campaign } from './campaign.ts'
import { contracts } from './contracts.ts'
import { frames } from './frames.ts'
import { handshakes } from './handshakes.ts'
import { lives } from './lives.ts'
import { options } from './options.ts'
import { origins } from './origins.ts'

/** All of them; the tests and the long form run this list. */
export const campaigns: readonly Campaign[] = [
  frames,
  handshakes,
  contracts,
  options,
  argumentsCampaign,
  origins,
  lives
]
