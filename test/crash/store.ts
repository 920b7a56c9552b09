/** A store each of whose methods can be armed: as a network does it, or as somebody's mistake. */
import { MemoryStore } from '../../lib/limits/memory-store.ts'
import type { AttemptsStore, Store } from '../../lib/limits/store.ts'
import { at } from './armed.ts'

type Method = (...values: unknown[]) => unknown

/** The methods of the interface, as the one implementation has them. */
export const storeMethods: readonly string[] = Object.getOwnPropertyNames(MemoryStore.prototype).filter(
  (name) => name !== 'constructor'
)

/** They have done their work when they fail: nothing may be left of a case. */
const worksAnyway = ['releaseSlot', 'takeTicket']

export function armedStore(): Store & MemoryStore {
  const store = new MemoryStore()
  for (const name of storeMethods) {
    const method = Reflect.get(store, name).bind(store) as Method
    const place = `store.${name}`
    const value: Method = worksAnyway.includes(name)
      ? (...values) => {
          const result = method(...values)
          return at(place, () => result)
        }
      : (...values) => at(place, () => method(...values))
    Object.defineProperty(store, name, { value })
  }
  const { Attempts } = store
  class ArmedAttempts implements AttemptsStore {
    readonly #inner: AttemptsStore

    constructor(options: object, inner: AttemptsStore = new Attempts(options)) {
      this.#inner = inner
    }

    incr(...values: Parameters<AttemptsStore['incr']>): void {
      return at('store.Attempts.incr', () => this.#inner.incr(...values))
    }

    child(options: object): AttemptsStore {
      return new ArmedAttempts(options, this.#inner.child(options))
    }
  }
  return Object.defineProperty(store, 'Attempts', { value: ArmedAttempts })
}
