export function isPromise(value: unknown): value is Promise<unknown> {
  return typeof (value as { then?: unknown } | undefined | null)?.then === 'function'
}

/** For an answer that is not meant to be a promise: one that fails, and that nobody catches, would end the process. */
export function catchLate(answer: unknown, onError: (error: Error) => void = () => {}): void {
  if (isPromise(answer)) Promise.resolve(answer).catch(onError)
}
