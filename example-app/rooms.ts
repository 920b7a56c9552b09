/** What the server remembers of each room: the last lines and who is there. In memory, and bounded. */
import { historyLimit, type Line, rooms } from './contract.ts'

export class Room {
  readonly #lines: Line[] = []
  // How many connections each person has: two windows are one person.
  readonly #people = new Map<string, number>()
  // Ids go on after a restart, so that a page which comes back can tell old lines from new ones.
  #nextId = Date.now()

  /** Adds a line and forgets the oldest above `historyLimit`. */
  say(from: string, text: string): Line {
    const line = { id: this.#nextId++, from, text, at: Date.now() }
    this.#lines.push(line)
    if (this.#lines.length > historyLimit) this.#lines.shift()
    return line
  }

  last(limit: number): Line[] {
    return this.#lines.slice(-limit)
  }

  enter(name: string): void {
    this.#people.set(name, (this.#people.get(name) ?? 0) + 1)
  }

  leave(name: string): void {
    const left = (this.#people.get(name) ?? 0) - 1
    if (left > 0) this.#people.set(name, left)
    else this.#people.delete(name)
  }

  presence(): { people: string[]; online: number } {
    return { people: [...this.#people.keys()].slice(0, 100), online: this.#people.size }
  }
}

/** One `Room` for each room of the contract, by its id. */
export function openRooms(): ReadonlyMap<string, Room> {
  return new Map(rooms.map((room) => [room.id, new Room()]))
}
