/** The example as people meet it: a real server process, two real Chromium windows. */
import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { Browser, Page } from 'playwright-core'
import { freePort, type Running, skipWithout, start } from '../proxies/processes.ts'
import { enter, signIn } from './chat-page.ts'
import { launchChromium, openWindow, type Window } from './chromium.ts'

const server = fileURLToPath(new URL('../../example-app/server.ts', import.meta.url))
const artifacts = fileURLToPath(new URL('artifacts/', import.meta.url))

/** Each button of the attack console, and what the guard must answer. */
const attacks = {
  'not-json': { verdict: /^closed 1007$/, shows: 'close 1007 "invalid_json"' },
  'unknown-type': { verdict: /^unknown_type$/, shows: '"code":"unknown_type"' },
  'extra-property': { verdict: /^invalid_message$/, shows: '/isAdmin' },
  proto: { verdict: /^closed 1007$/, shows: 'close 1007 "invalid_json"' },
  oversize: { verdict: /^closed 1009$/, shows: 'close 1009' },
  // Closed when so much of it has been read that there is no doubt; else read as slowly as the limit says, which TCP
  // tells the sender. Only what was read at once is dropped, and told.
  flood: { verdict: /^(rate_limited|closed 1008|slowed down)$/, shows: ' of 2,000 served' },
  'expired-token': { verdict: /^refused 401$/, shows: 'HTTP 401 instead of the 101' },
  'foreign-room': { verdict: /^refused 403$/, shows: 'HTTP 403 instead of the 101' }
} as const

// Chromium itself reports a refused handshake and a fetch that failed; no script can keep it from doing so. Around the
// restart a page may ask a server that drains (503, of Fastify), that has just gone, or that is not there yet.
const reportedByChromium =
  /^(WebSocket connection to 'ws:.* failed|Failed to load resource: .*(401|503|net::ERR_CONNECTION_|net::ERR_EMPTY))/

describe('the chat in Chromium', { skip: skipWithout('chromium'), timeout: 80_000 }, () => {
  let port: number
  let app: Running
  let browser: Browser
  let ada: Window
  let grace: Window

  const startApp = () =>
    start(process.execPath, ['--import', 'tsx', server], { env: { PORT: String(port) }, ready: /The chat is at http/ })

  before(async () => {
    mkdirSync(artifacts, { recursive: true })
    port = await freePort()
    app = await startApp()
    browser = await launchChromium()
    ada = await openWindow(browser, `http://127.0.0.1:${port}`, 'light')
    grace = await openWindow(browser, `http://127.0.0.1:${port}`, 'dark')
  })
  after(async () => {
    await browser?.close()
    await app?.stop()
  })

  const shoot = (page: Page, name: string) => page.screenshot({ path: `${artifacts}${name}.png` })

  test('two people sign in and see each other', async () => {
    await shoot(ada.page, '01-sign-in')
    await shoot(grace.page, '02-sign-in-dark')
    await signIn(ada.page, 'Ada')
    await signIn(grace.page, 'Grace')
    await ada.page.getByRole('listitem').filter({ hasText: 'Grace came in' }).waitFor()
    await ada.page.getByRole('heading', { name: 'Here now (2)' }).waitFor()
    assert.equal(await ada.page.locator('#now').textContent(), 'open · ws-guard.v1')
  })

  test('they talk in both directions, and markup stays text', async () => {
    await say(ada.page, 'Good morning! Is this thing guarded?')
    await seen(grace.page, 'Good morning! Is this thing guarded?')
    await say(grace.page, 'It is. Origin, token, schema, rate: everything is looked at before it is listened to.')
    await seen(ada.page, 'everything is looked at')
    await say(grace.page, '<img src=x onerror="document.title=1">')
    await seen(ada.page, '<img src=x onerror="document.title=1">')
    assert.equal(await ada.page.title(), 'Guarded chat')
    assert.equal(await ada.page.locator('#lines img').count(), 0)
  })

  test('rooms are apart: what is said in the garden stays there', async () => {
    await enter(grace.page, 'The Garden')
    await say(grace.page, 'Only for the garden')
    await ada.page.getByText('Grace left').waitFor()
    await enter(grace.page, 'The Lobby')
    await seen(grace.page, 'Good morning! Is this thing guarded?') // from the history
    assert.equal(await ada.page.getByText('Only for the garden').count(), 0)
    assert.ok(await ada.page.getByRole('button', { name: 'Backstage' }).isDisabled())
  })

  test('nothing so far was an error: no script failed, and the Content-Security-Policy blocked nothing', () => {
    assert.deepEqual([...ada.errors, ...grace.errors], [])
  })

  for (const [id, expected] of Object.entries(attacks)) {
    test(`attack console: ${id} is answered`, async () => {
      await ada.page.locator(`#attacks [data-attack="${id}"]`).click()
      const result = ada.page.locator(`#results [data-attack="${id}"]`)
      await result.waitFor()
      assert.match(String(await result.getAttribute('data-verdict')), expected.verdict)
      const answered = await result.locator('.answered').allTextContents()
      assert.ok(
        answered.some((text) => text.includes(expected.shows)),
        `${expected.shows} in ${answered}`
      )
    })
  }

  test('the chat beside the attacks was never touched', async () => {
    assert.equal(await ada.page.locator('#status').getAttribute('data-state'), 'open')
    assert.equal(await ada.page.locator('#last-close').textContent(), 'none yet')
    await say(ada.page, 'Eight attacks, and we are still talking.')
    await seen(grace.page, 'Eight attacks, and we are still talking.')
    await shoot(ada.page, '03-attacks')
    await shoot(grace.page, '04-chat-dark')
  })

  test('P5, P6: a restart is seen as 1012, the pages come back by themselves, and the talk goes on', async () => {
    await app.stop('SIGTERM')
    for (const { page } of [ada, grace]) {
      await page.locator('#last-close', { hasText: '1012 restart' }).waitFor()
      assert.notEqual(await page.locator('#status').getAttribute('data-state'), 'open')
    }
    await shoot(ada.page, '05-restart')
    app = await startApp()
    // The longest wait between two attempts is 10 s, once more after the new token.
    for (const { page } of [ada, grace]) await page.locator('#status[data-state="open"]').waitFor({ timeout: 25_000 })
    await say(ada.page, 'And we are back.')
    await seen(grace.page, 'And we are back.')
    await say(grace.page, 'So we are.')
    await seen(ada.page, 'So we are.')
    await shoot(ada.page, '06-back')
  })

  test('it fits a telephone', async () => {
    for (const [window, size] of [
      [ada, { width: 390, height: 800 }],
      [grace, { width: 900, height: 700 }]
    ] as const) {
      await window.page.setViewportSize(size)
      assert.ok(await window.page.evaluate<boolean>('document.documentElement.scrollWidth <= innerWidth'))
    }
    await shoot(ada.page, '07-narrow')
    await shoot(grace.page, '08-tablet-dark')
    await ada.page.getByRole('button', { name: 'Attack console' }).click()
    await shoot(ada.page, '09-narrow-console')
    assert.ok(await ada.page.locator('#results li').first().isVisible())
  })

  test('no error but those that Chromium reports of refused handshakes', () => {
    const errors = [...ada.errors, ...grace.errors]
    assert.ok(errors.some((error) => reportedByChromium.test(error)))
    assert.deepEqual(
      errors.filter((error) => !reportedByChromium.test(error)),
      []
    )
  })
})

async function say(page: Page, text: string): Promise<void> {
  await page.getByLabel('Message').fill(text)
  await page.getByLabel('Message').press('Enter')
  await seen(page, text)
}

const seen = (page: Page, text: string): Promise<void> => page.locator('.said', { hasText: text }).last().waitFor()
