/** What an open connection asks of a developer: handlers, `onOpen`, `onClose`, `onError`, `topics`, and a credential again. */
import { testPlaces } from './matrix.ts'
import { connectionPlaces } from './places.ts'

testPlaces('M12, L2', connectionPlaces)
