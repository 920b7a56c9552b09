/** Ports for servers that go away and come back: nobody takes them in between. */
import { once } from 'node:events'
import { createServer } from 'node:net'

/**
 * Below the range from which Linux takes ports for outgoing connections and for port 0, so that nobody takes the port
 * of a server that is down for a while. The bus of a cluster listens 10,000 above.
 */
const firstPort = 12_000
const portCount = 10_000
const busOffset = 10_000
const portAttempts = 50

const takenHere = new Set<number>()

/** A port that stays free while nobody of this process listens on it; give it back with `returnPort`. */
export async function takePort(): Promise<number> {
  for (let attempt = 0; attempt < portAttempts; attempt++) {
    const port = firstPort + Math.floor(Math.random() * portCount)
    if (takenHere.has(port)) continue
    takenHere.add(port)
    if ((await isFree(port)) && (await isFree(port + busOffset))) return port
    takenHere.delete(port)
  }
  throw new Error(`no free port in ${portAttempts} attempts`)
}

export function returnPort(port: number): void {
  takenHere.delete(port)
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer()
  try {
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
  } catch {
    return false
  }
  server.close()
  await once(server, 'close')
  return true
}
