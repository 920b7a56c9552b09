/** A store that fails, as a network does or by somebody's mistake. */
import { testPlaces } from './matrix.ts'
import { storePlaces } from './server-places.ts'

testPlaces('M12, L2', storePlaces)
