/** Commands that one node has under way at once when it has many to write. */
const batchSize = 200

/** One batch after the other: a node with much to write leaves room for the others. */
export async function inBatches<T>(items: readonly T[], write: (item: T) => Promise<unknown>): Promise<void> {
  for (let at = 0; at < items.length; at += batchSize) {
    await Promise.all(items.slice(at, at + batchSize).map(write))
  }
}
