/** How a client comes to a place of the server where code of a developer's runs, and what it sees there. */
import { opcodes } from '../support/frames.ts'
import type { RawClient } from '../support/raw-client.ts'
import { until } from '../support/wait.ts'
import { type Child, headersOf, patience, sees, unlessGone } from './child.ts'

export interface Visit {
  readonly child: Child
  readonly client: RawClient
  /** `/hasty` where something never settles, so that its deadline is near. */
  readonly prefix: string
  /** From here on the place fails. */
  readonly arm: () => Promise<void>
  /** What the client should see: who expects an open connection asks whether it is. */
  readonly expected: string
}

/** @returns what the client saw */
export type Drive = (visit: Visit) => Promise<string>

const token = 'mallory'

async function shakeHands({ client }: Visit, path: string, headers: object): Promise<string> {
  const answer = await client.handshake({ path, headers: { ...headers }, ...patience }).catch(unlessGone)
  return answer === 'destroyed' ? answer : String(answer.statusCode)
}

async function opened(visit: Visit, path: string, headers: object): Promise<RawClient> {
  const status = await shakeHands(visit, visit.prefix + path, headers)
  if (status !== '101') throw new Error(`it was not let in: ${status}`)
  return visit.client
}

/** An open connection answers a ping. */
async function isOpen(client: RawClient): Promise<string> {
  await client.sendFrame({ opcode: opcodes.ping })
  await client.nextFrame({ opcode: opcodes.pong, ...patience })
  return 'open'
}

/** A handshake as a user, all of it armed. */
export function handshake(path: string, more: Readonly<Record<string, string>> = {}): Drive {
  return async (visit) => {
    await visit.arm()
    const status = await shakeHands(visit, visit.prefix + path, { ...headersOf(token), ...more })
    if (status !== '101') return status
    return visit.expected === 'open' ? isOpen(visit.client) : sees(visit.client)
  }
}

/** A handshake that nobody answers before its deadline: its client does not wait for that. */
export function abandoned(path: string): Drive {
  return async (visit) => {
    await visit.arm()
    const answer = shakeHands(visit, path, headersOf(token)).catch(() => {})
    await until(async () => (await visit.child.call<number>('timesReached')) > 0, patience)
    visit.client.reset()
    await answer
    return 'gone'
  }
}

/** A handshake that is refused for its Origin. */
export const refused: Drive = async (visit) => {
  await visit.arm()
  return shakeHands(visit, `${visit.prefix}/full`, { ...headersOf(token), Origin: 'https://evil.example' })
}

/** A handshake with a ticket. */
export const ticket: Drive = async (visit) => {
  const { child, prefix } = visit
  const issued = await child.call<{ ticket: string }>(prefix === '' ? 'ticket' : 'hastyTicket')
  await visit.arm()
  const status = await shakeHands(visit, `${prefix}/full?ticket=${issued.ticket}`, headersOf(undefined))
  return status === '101' ? isOpen(visit.client) : status
}

/** A path that is nobody's. */
export const nowhere: Drive = async (visit) => {
  await visit.arm()
  return shakeHands(visit, '/nowhere', headersOf(token))
}

/** A credential in the first message. */
export const firstMessage: Drive = async (visit) => {
  const client = await opened(visit, '/full', headersOf(undefined))
  await visit.arm()
  await client.sendJson({ type: 'auth', token })
  return sees(client)
}

/** Messages on an open connection; the last of them comes to the place. */
export function messages(...sent: readonly object[]): Drive {
  return async (visit) => {
    const client = await opened(visit, '/full', headersOf(token))
    for (const message of sent.slice(0, -1)) {
      await client.sendJson(message)
      await sees(client)
    }
    await visit.arm()
    await client.sendJson(sent.at(-1))
    return sees(client)
  }
}

/** A connection that is asked about again and again. */
export const reauthorized: Drive = async (visit) => {
  const client = await opened(visit, '/again', headersOf(token))
  await visit.arm()
  await until(async () => (await visit.child.call<number>('timesReached')) > 0, patience)
  return visit.expected === 'open' ? isOpen(client) : sees(client)
}

/** A client that says goodbye. */
export const goodbye: Drive = async (visit) => {
  const client = await opened(visit, '/full', headersOf(token))
  await client.sendJson({ type: 'say', text: 'x' })
  await sees(client)
  await visit.arm()
  await client.sendClose(1000)
  return sees(client)
}

/** A client that leaves while its handshake is looked at. */
export const leaves: Drive = async (visit) => {
  await visit.arm()
  const left = shakeHands(visit, '/slow', headersOf(token))
  await until(async () => (await visit.child.call<{ handshakes: number }>('held')).handshakes > 0, patience)
  visit.client.reset()
  return left
}
