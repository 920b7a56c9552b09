/** The system's Chromium, driven by playwright-core, which brings no browser of its own. */
import { type Browser, chromium, type Page } from 'playwright-core'
import { pathOf } from '../proxies/processes.ts'

const flags = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync'
]

export function launchChromium(): Promise<Browser> {
  return chromium.launch({ executablePath: pathOf('chromium') as string, args: flags })
}

export interface Window {
  readonly page: Page
  /** What the console called an error, and what the page's scripts threw. */
  readonly errors: string[]
}

/** A window of its own: no cookie, cache or storage shared with another. */
export async function openWindow(browser: Browser, url: string, colorScheme: 'light' | 'dark'): Promise<Window> {
  const context = await browser.newContext({ colorScheme, viewport: { width: 1360, height: 860 } })
  const page = await context.newPage()
  page.setDefaultTimeout(15_000)
  const errors: string[] = []
  page.on('console', (message) => {
    if (message.type() === 'error') errors.push(message.text())
  })
  page.on('pageerror', (error) => errors.push(String(error)))
  await page.goto(url)
  return { page, errors }
}
