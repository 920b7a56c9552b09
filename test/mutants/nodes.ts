/** Nodes that do not know enough of each other, or believe too much. */
import type { Mutant } from './mutants.ts'

export const nodeMutants: readonly Mutant[] = [
  {
    name: 'N1: what other nodes hold is not counted',
    file: 'redis/scripts.ts',
    find: 'taken = taken + held[i + 1]',
    replace: '',
    killedBy: ['redis/data-lost.test.ts']
  },
  {
    name: 'N1: the slots of a dead node are held for ever',
    file: 'redis/slots.ts',
    find: 'const dead = await this.#lease.deadAmong(others)',
    replace: 'const dead: string[] = []',
    killedBy: ['redis/nodes-death.test.ts']
  },
  {
    name: 'N1: a node that had lost its lease does not count what it holds',
    file: 'redis/redis-store.ts',
    find: 'if (!(await this.#lease.renew())) this.#slots.forgetWritten()',
    replace: 'await this.#lease.renew()',
    killedBy: ['redis/data-lost.test.ts']
  },
  {
    name: 'N1: a batch is good for ever',
    file: 'redis/budgets.ts',
    find: 'batch.usableUntil = askedAt + batchMs',
    replace: 'batch.usableUntil = Infinity',
    killedBy: ['redis/nodes-budget.test.ts']
  },
  {
    name: 'N1: a slow line gets no message through',
    file: 'redis/budgets.ts',
    find: 'this.#takeHere(batch, cost, true)',
    replace: 'this.#takeHere(batch, cost, performance.now() < batch.usableUntil)',
    killedBy: ['redis/slow-line.test.ts']
  },
  {
    name: 'N2: a Redis that is down lets in',
    file: 'redis/redis-store.ts',
    find: "if (this.#settings.whenDown === 'local') return here()",
    replace: 'return here()',
    killedBy: ['redis/down-closed.test.ts']
  },
  {
    name: 'N2: everybody waits for a Redis that does not answer',
    file: 'redis/health.ts',
    find: "if (!this.#isUp) throw new StoreDownError('it does not answer')",
    replace: '',
    killedBy: ['redis/down-closed.test.ts']
  },
  {
    name: 'N2: a line that says nothing is kept',
    file: 'redis/link.ts',
    find: 'if (isStanding(lost)) lost.disconnect(true)',
    replace: '',
    killedBy: ['redis/lines.test.ts']
  },
  {
    name: 'N2: who could not tell what is revoked lets in',
    file: 'redis/orders.ts',
    find: "if (!this.#hasRead) throw new StoreDownError('revocations have not been read yet')",
    replace: '',
    killedBy: ['redis/edges.test.ts']
  },
  {
    name: 'N3: a log that was lost is not written again',
    file: 'redis/redis-store.ts',
    find: 'await this.#orders.writeMissing()',
    replace: '',
    killedBy: ['redis/data-lost.test.ts']
  },
  {
    name: 'N3: a disconnect that comes late ends those who came later',
    file: 'connection/kick.ts',
    find: '(openForMs === undefined || connection.runtime.clock.now() - connection.askedAt >= openForMs)',
    replace: 'true',
    killedBy: ['connection/kick.test.ts']
  },
  {
    name: 'N3: a client that had its 101 before the order is overlooked',
    file: 'connection/kick.ts',
    find: 'connection.runtime.clock.now() - connection.askedAt',
    replace: 'connection.runtime.clock.now() - connection.startedAt',
    killedBy: ['connection/kick.test.ts']
  },
  {
    name: 'N4: what comes over the bus is not checked against the contract',
    file: 'connection/from-bus.ts',
    find: 'text = outgoing.encode(message)',
    replace: 'text = JSON.stringify(message)',
    killedBy: ['connection/bus.test.ts']
  },
  {
    name: 'N4: a node hears itself',
    file: 'redis/bus.ts',
    find: '|| message.slice(0, Math.max(end, 0)) === this.#node',
    replace: '',
    killedBy: ['redis/bus.test.ts']
  },
  {
    name: 'N5: an address is in the name of a key',
    file: 'redis/names.ts',
    find: "createHmac('sha256', this.#secret).update(value).digest('base64url').slice(0, hashLength)",
    replace: 'value',
    killedBy: ['redis/keys.test.ts']
  }
]
