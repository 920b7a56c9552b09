/** What all three servers talk about. */
export const origin = 'https://app.example.com'
export const secret: string = 'a secret of more than 32 bytes, for the bench only'
export const path = '/ws'

/** The answer to `list`: a small question for something large. */
export const listed: string = 'a line of a list '.repeat(9_000)
