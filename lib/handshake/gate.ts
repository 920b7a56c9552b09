import type { WebSocketServer } from 'ws'
import type { Runtime } from '../connection/runtime.ts'
import type { Admission } from './admission.ts'
import type { Attempts } from './attempts.ts'

/** What the hooks of all routes share. */
export interface Gate {
  readonly runtime: Runtime
  readonly admission: Admission
  readonly websocketServer: WebSocketServer
  /** `limits.attempts` of the plugin: for upgrades to paths that are not ours. */
  readonly attempts: Attempts
  /** Query parameters that some route reads a credential from. */
  readonly queryCredentials: ReadonlySet<string>
  readonly upgradeHeaders: Readonly<Record<string, string>> | undefined
  readonly isDraining: () => boolean
}
