/** The hooks and functions of the app itself: routing, logging, answers, and its plain websocket routes. */
import { testPlaces } from './matrix.ts'
import { appPlaces } from './server-places.ts'

testPlaces('M12, L2', appPlaces)
