/** What is true of every store. The tests are in the files beside this one; here is what they run on. */
import { suite, type TestContext, test } from 'node:test'
import type { Store, StoreListener } from '../../lib/limits/store.ts'
import { eventually } from '../support/wait.ts'
import { testCredentials } from './store-suite-credentials.ts'
import { testLimits } from './store-suite-limits.ts'
import { testWhole } from './store-suite-whole.ts'

export interface CreatedStore {
  /** Not open yet. */
  readonly store: Store
  /** Lets so much time pass. */
  readonly advance: (ms: number) => void | Promise<void>
  /** Ms since the epoch, on the clock that blocks go by. */
  readonly wall: () => number
}

export type CreateStore = (t: TestContext) => CreatedStore | Promise<CreatedStore>

/** How exact a store's clock is: one that is moved by hand is, one that runs is not. */
export interface Timing {
  /** A window, a lifetime, the time until a token is there: what the tests wait for, once or in parts. */
  readonly spanMs: number
  /** So much later than it should a step of a test may be; less than half a span. */
  readonly slackMs: number
}

/** An open store, what other nodes have told this one through it, and time. */
export interface Subject extends CreatedStore, Timing {
  readonly told: readonly string[]
}

/** A test of a store of its own, which is closed with it. */
export type StoreTest = (title: string, run: (subject: Subject) => Promise<void>) => void

/** Over a network they mostly wait; more of them at once would keep each other from being on time. */
const concurrency = 10
const openMs = 10_000

export function testStore(name: string, create: CreateStore, timing: Timing): void {
  suite(name, { concurrency }, () => {
    const storeTest: StoreTest = (title, run) => void test(title, async (t) => run(await open(t, create, timing)))
    testLimits(storeTest)
    testCredentials(storeTest)
    testWhole(storeTest)
  })
}

async function open(t: TestContext, create: CreateStore, timing: Timing): Promise<Subject> {
  const created = await create(t)
  const { store } = created
  const told: string[] = []
  const listener: StoreListener = {
    onMessage: (topicKey, payload) => void told.push(`message ${topicKey} ${payload}`),
    onKick: (kick) => void told.push(`kick ${JSON.stringify(kick)}`),
    onState: () => {} // on a slow machine it may come up late
  }
  t.after(() => store.close())
  await store.open(listener)
  await eventually(() => store.takeTicket('nobody has one'), { timeoutMs: openMs })
  return { ...created, ...timing, told }
}
