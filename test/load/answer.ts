/** The child's side of child.ts: answers what the parent asks, by name, until the parent hangs up. */

/** A process whose parent has gone, and that something keeps, ends after this time. */
const orphanMs = 15_000

interface Question {
  readonly id: number
  readonly ask: string
  readonly given: never
}

export function answer(answers: Readonly<Record<string, (given: never) => unknown>>): void {
  const send = (reply: object): void => void process.send?.(reply)
  process.on('message', ({ id, ask, given }: Question) => {
    new Promise((resolve) => resolve(answers[ask]?.(given))).then(
      (value) => send({ id, answer: value }),
      (error: Error) => send({ id, error: error.stack })
    )
  })
  process.on('disconnect', () => setTimeout(() => process.exit(1), orphanMs).unref())
  send({ id: 0 })
}
