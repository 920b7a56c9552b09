/** All loads, in the order in which they run and are shown. */
import type { Load } from '../load.ts'
import { echoLoads } from './echo.ts'
import { fairness } from './fairness.ts'
import { fanLoads } from './fan.ts'
import { handshake } from './handshake.ts'
import { heartbeat } from './heartbeat.ts'
import { idle } from './idle.ts'
import { lone } from './lone.ts'
import { publish } from './publish.ts'

export const allLoads: readonly Load[] = [
  ...echoLoads,
  handshake,
  idle,
  ...fanLoads,
  fairness,
  heartbeat,
  lone,
  publish
]
