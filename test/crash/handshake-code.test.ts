/** What a handshake asks of a developer: hooks, verifier, `authorize`, `data`, limits. */
import { testPlaces } from './matrix.ts'
import { handshakePlaces } from './places.ts'

testPlaces('M12, L2', handshakePlaces)
