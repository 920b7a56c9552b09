import type { CompiledContract } from '../messages/compile-contract.ts'
import { parseJson } from '../messages/decode.ts'
import { isObject } from '../messages/is-object.ts'
import { contractNameOf, type Topics } from './topics.ts'

/** A message from the bus that is nested deeper, or has more properties, is ignored: `limits.json` is for clients. */
export const busJsonLimits: { readonly depth: number; readonly keys: number } = { depth: 1_000, keys: 1_000_000 }

/** Why a message from the bus was not used. */
export type Ignored = 'malformed' | 'contract' | 'type' | 'schema'

/**
 * Delivers what another node has published, once it has been checked against this node's own contract (threat N4): that
 * node may run another version, and who can write to the bus can write anything. What this contract does not declare
 * is left out, as in `send`.
 * @returns why it was ignored, if it was
 */
export function receiveFromBus(
  topics: Topics,
  contractNamed: (name: string) => CompiledContract | undefined,
  key: string,
  payload: string
): Ignored | undefined {
  const end = payload.indexOf('\n')
  const name = payload.slice(0, Math.max(end, 0))
  const contract = contractNamed(name)
  if (contract === undefined || name !== contractNameOf(key)) return 'contract'
  const message = parseJson(payload.slice(end + 1), busJsonLimits)
  if (!isObject(message) || typeof message.type !== 'string') return 'malformed'
  const outgoing = contract.outgoing.get(message.type)
  if (outgoing === undefined) return 'type'
  let text: string
  try {
    text = outgoing.encode(message)
  } catch {
    return 'schema'
  }
  topics.deliver(key, text)
  return undefined
}
