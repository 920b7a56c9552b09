/** What the server remembers of each room: the last lines and who is there. In memory, and bounded. */
import { historyLimit, type Line, rooms } from './contract.ts'

export interface Presence {
  /** Of two that arrive in the wrong order, the higher one holds. */
  version: number
  people: string[]
  online: number
}

/** `Memory` is here; redis-rooms.ts has the one that several nodes share, which answers by promises. */
export interface Room {
  say(from: string, text: string): Line | Promise<Line>
  last(limit: number): Line[] | Promise<Line[]>
  /** Once for each connection, so that two windows are one person; and once more when it ends. */
  enter(name: string): void | Promise<void>
  leave(name: string): void | Promise<void>
  presence(): Presence | Promise<Presence>
}

/** One `Room` for each room of the contract, by its id. */
export interface Rooms extends ReadonlyMap<string, Room> {
  /** Calls back with the id of a room which people left that can no longer say so: their node has died. */
  watch?(changed: (id: string) => Promise<void>): void
}

export function openRooms(): Rooms {
  return new Map(rooms.map((room) => [room.id, new Memory()]))
}

class Memory implements Room {
  readonly #lines: Line[] = []
  readonly #people = new Headcount()
  // Numbers go on after a restart, so that a page which comes back can tell old from new.
  #next = Date.now()

  /** Adds a line and forgets the oldest above `historyLimit`. */
  say(from: string, text: string): Line {
    const line = { id: this.#next++, from, text, at: Date.now() }
    this.#lines.push(line)
    if (this.#lines.length > historyLimit) this.#lines.shift()
    return line
  }

  last(limit: number): Line[] {
    return this.#lines.slice(-limit)
  }

  enter(name: string): void {
    this.#people.enter(name)
  }

  leave(name: string): void {
    this.#people.leave(name)
  }

  presence(): Presence {
    return presenceOf(this.#next++, this.#people.names())
  }
}

/** How many connections each person has. */
export class Headcount {
  readonly #connections = new Map<string, number>()

  enter(name: string): void {
    this.#connections.set(name, (this.#connections.get(name) ?? 0) + 1)
  }

  /** @returns whether that was the last one */
  leave(name: string): boolean {
    const left = (this.#connections.get(name) ?? 0) - 1
    if (left > 0) this.#connections.set(name, left)
    else this.#connections.delete(name)
    return left <= 0
  }

  names(): string[] {
    return [...this.#connections.keys()]
  }
}

export function presenceOf(version: number, names: string[]): Presence {
  return { version, people: names.slice(0, 100), online: names.length }
}
