/** What people do on the page of the example. */
import type { Page } from 'playwright-core'

export async function signIn(page: Page, name: string): Promise<void> {
  await page.getByLabel('Your name').fill(name)
  await page.getByRole('button', { name: 'Come in' }).click()
  await page.locator('#status[data-state="open"]').waitFor()
}

export async function enter(page: Page, room: string): Promise<void> {
  await page.getByRole('button', { name: room }).click()
  await page.getByRole('heading', { name: room, level: 1 }).waitFor()
  await page.locator('#status[data-state="open"]').waitFor()
}
