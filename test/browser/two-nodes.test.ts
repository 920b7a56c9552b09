/** The page on two nodes: what is said in one window is seen in the other, also after one of the nodes was killed. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Page } from 'playwright-core'
import { skipWithout } from '../proxies/processes.ts'
import { startTwoNodes } from '../proxies/two-nodes.ts'
import { poll } from '../support/redis-ask.ts'
import { enter, signIn } from './chat-page.ts'
import { launchChromium, openWindow } from './chromium.ts'

const skip = skipWithout('chromium', 'nginx', 'redis-server')

describe('the chat on two nodes in Chromium', { skip, timeout: 120_000 }, () => {
  test('two windows talk, a node is killed, and they talk on', async (t) => {
    const { port, pids, output, stop } = await startTwoNodes()
    t.after(() => stop())
    /** The nodes of the handshakes so far, by their logs. */
    const nodes = () => [...output().matchAll(/^node (\d) \| .*"url":"\/chat\/lobby"/gm)].map(([, node]) => node)
    const browser = await launchChromium()
    t.after(() => browser.close())
    const windows = [await openWindow(browser, `http://127.0.0.1:${port}`, 'light')]
    windows.push(await openWindow(browser, `http://127.0.0.1:${port}`, 'dark'))
    const [ada, grace] = windows.map(({ page }) => page) as [Page, Page]
    await signIn(ada, 'Ada')
    await poll('her handshake in the log', 10_000, async () => nodes().length === 1)
    await signIn(grace, 'Grace')
    await poll('her handshake in the log', 10_000, async () => nodes().length === 2)
    if (nodes()[0] === nodes()[1]) {
      // One request more, and it is the other node's turn.
      await fetch(`http://127.0.0.1:${port}/`)
      for (const room of ['The Garden', 'The Lobby']) await enter(grace, room)
      await poll('her handshake in the log', 10_000, async () => nodes().length === 3)
    }
    assert.notEqual(nodes()[0], nodes().at(-1))
    for (const page of [ada, grace]) await page.getByRole('heading', { name: 'Here now (2)' }).waitFor()
    await say(ada, grace, 'Which node are you on?')
    await say(grace, ada, 'It does not matter.')
    assert.deepEqual(
      windows.flatMap(({ errors }) => errors),
      []
    )

    process.kill(pids.get(`node ${nodes()[0]}`) as number, 'SIGKILL')
    await ada.locator('#last-close', { hasText: '1006' }).waitFor()
    for (const page of [ada, grace]) await page.locator('#status[data-state="open"]').waitFor({ timeout: 25_000 })
    await say(ada, grace, 'Mine is gone, or yours.')
    await say(grace, ada, 'I did not notice.')
  })
})

async function say(from: Page, to: Page, text: string): Promise<void> {
  await from.getByLabel('Message').fill(text)
  await from.getByLabel('Message').press('Enter')
  for (const page of [from, to]) await page.locator('.said', { hasText: text }).last().waitFor()
}
