import { attacks, runAttack } from './attacks.js'
import { Connection, subprotocol } from './connection.js'
import { contract, rooms } from './contract.js'

const $ = (id) => document.getElementById(id)

/** createElement in one line. Text is always text: nothing here ever becomes markup. */
function element(tag, properties = {}, ...children) {
  const { dataset, ...rest } = properties
  const node = Object.assign(document.createElement(tag), rest)
  Object.assign(node.dataset, dataset)
  node.append(...children)
  return node
}

let session // { name, token }
let connection
let room

// ── Signing in ───────────────────────────────────────────────────────────────────────────────────────────────────────

const bearer = () => (session ? { authorization: `Bearer ${session.token}` } : {})

async function post(path, body) {
  const headers = { 'content-type': 'application/json', ...bearer() }
  const response = await fetch(path, { method: 'POST', headers, body: JSON.stringify(body) })
  if (response.ok) return response.json()
  throw Object.assign(new Error(`The server answered ${response.status}.`), { status: response.status })
}

const signInErrors = {
  400: 'Use letters and digits, spaces, dots and dashes.',
  429: 'Too many sign-ins from here. Try again in a minute.'
}

$('sign-in').addEventListener('submit', async (event) => {
  event.preventDefault()
  $('sign-in-error').textContent = ''
  try {
    session = await post('/login', { name: $('name').value.trim() })
  } catch (error) {
    $('sign-in-error').textContent = signInErrors[error.status] ?? 'The server does not answer. Is it running?'
    return
  }
  $('my-name').textContent = session.name
  paintAvatar($('my-avatar'), session.name)
  $('welcome').hidden = true
  $('app').hidden = false
  enter(rooms[0])
  $('text').focus()
})

$('sign-out').addEventListener('click', () => {
  connection.end()
  session = undefined
  $('app').hidden = true
  $('welcome').hidden = false
  $('results').replaceChildren()
  $('name').focus()
})

const credentials = {
  current: async () => session.token,
  // A real app would ask its session cookie for a new token. Here the name is the whole sign-in.
  renew: async () => Object.assign(session, await post('/login', { name: session.name })),
  stillGood: async () => (await fetch('/session', { headers: bearer() })).ok
}

// ── The connection ───────────────────────────────────────────────────────────────────────────────────────────────────

function enter(next) {
  connection?.end()
  room = next
  $('room-title').textContent = room.title
  $('room-about').textContent = room.about
  for (const button of $('rooms').querySelectorAll('button')) {
    button.setAttribute('aria-current', String(button.dataset.room === room.id))
  }
  $('lines').replaceChildren()
  $('people').replaceChildren()
  $('text').placeholder = `Write to ${room.title}`
  people = undefined
  const mine = new Connection(`/chat/${room.id}`, credentials)
  connection = mine
  mine.addEventListener('state', ({ detail }) => mine === connection && showState(detail))
  mine.addEventListener('message', ({ detail }) => mine === connection && receive(detail))
  void mine.open()
}

const stateTexts = { connecting: 'Connecting', open: 'Open', closed: 'Closed' }
let countdown

function showState({ state, close, retryInMs }) {
  clearInterval(countdown)
  $('status').dataset.state = state
  $('status-text').textContent = stateTexts[state]
  $('reconnect').hidden = state !== 'closed'
  const now = { connecting: 'opening…', open: `open · ${subprotocol}`, closed: 'closed' }
  $('now').textContent = now[state]
  if (close) showClose(close)
  $('connection').dataset.quiet = String(state === 'open')
  if (retryInMs !== undefined) showCountdown(retryInMs)
  if (state === 'open') {
    people = undefined
    void catchUp()
  }
}

function showClose({ code, name, meaning, reason, at }) {
  const time = new Date(at).toLocaleTimeString([], { timeStyle: 'medium' })
  $('last-close').replaceChildren(
    element('b', { textContent: `${code} ${name.replaceAll('_', ' ')}` }),
    element('span', { textContent: `${meaning}${reason && reason !== name ? ` (${reason})` : ''}` }),
    element('time', { textContent: time })
  )
}

function showCountdown(retryInMs) {
  const due = Date.now() + retryInMs
  const show = () => {
    const seconds = Math.max(0, Math.ceil((due - Date.now()) / 1000))
    $('now').textContent = `closed, trying again in ${seconds} s`
  }
  show()
  countdown = setInterval(show, 500)
}

$('reconnect').addEventListener('click', () => connection.retryNow())

// ── Talking ──────────────────────────────────────────────────────────────────────────────────────────────────────────

let people

function receive(message) {
  if (message.type === 'chat') addLine(message)
  if (message.type === 'presence') showPeople(message)
}

/** After every (re)connect: what was said meanwhile. Lines that are there already are left alone. */
async function catchUp() {
  try {
    const { items } = await connection.request('history', { limit: 50 })
    for (const line of items) addLine(line)
  } catch {
    // The connection went away again: the next one catches up.
  }
}

function addLine({ id, from, text, at }) {
  const lines = $('lines')
  if (lines.querySelector(`[data-id="${id}"]`)) return
  const mine = from === session.name
  // Ids increase over all servers, what they send need not come in that order.
  const previous = [...lines.children].findLast((other) => !(Number(other.dataset.id) > id))
  const follows = previous?.dataset.from === from
  const avatar = element('span', { className: 'avatar', ariaHidden: 'true' })
  paintAvatar(avatar, from)
  const time = new Date(at)
  insertAfter(
    previous,
    element(
      'li',
      { className: 'line', dataset: { id, from, mine, follows } },
      avatar,
      element(
        'div',
        { className: 'bubble' },
        element('p', { className: 'who', textContent: mine ? 'You' : from }),
        element('p', { className: 'said', textContent: text })
      ),
      element('time', {
        dateTime: time.toISOString(),
        textContent: time.toLocaleTimeString([], { timeStyle: 'short' })
      })
    )
  )
}

function addNote(text) {
  insertAfter($('lines').lastElementChild, element('li', { className: 'event', textContent: text }))
}

function insertAfter(previous, node) {
  const lines = $('lines')
  const atEnd = lines.scrollHeight - lines.scrollTop - lines.clientHeight < 80
  if (previous) previous.after(node)
  else lines.prepend(node)
  if (atEnd) lines.scrollTop = lines.scrollHeight
}

function showPeople({ version, people: names, online }) {
  if (version < people?.version) return // sent by a slower server
  const before = people?.names
  people = { version, names: new Set(names) }
  if (before) {
    for (const name of names) if (!before.has(name) && name !== session.name) addNote(`${name} came in`)
    for (const name of before) if (!people.names.has(name) && name !== session.name) addNote(`${name} left`)
  }
  $('people-title').textContent = `Here now (${online})`
  $('people').replaceChildren(
    ...names.map((name) => {
      const avatar = element('span', { className: 'avatar', ariaHidden: 'true' })
      paintAvatar(avatar, name)
      return element('li', {}, avatar, name === session.name ? `${name} (you)` : name)
    })
  )
}

function paintAvatar(node, name) {
  node.textContent = [...name][0].toUpperCase()
  node.dataset.hue = [...name].reduce((sum, letter) => sum * 31 + letter.codePointAt(0), 7) % 8
}

// The same schema that the server checks by.
const { text: textSchema } = contract.clientToServer.chat.message.properties
$('text').maxLength = textSchema.maxLength

$('composer').addEventListener('submit', async (event) => {
  event.preventDefault()
  const text = $('text').value.trim()
  if (text.length < textSchema.minLength) return
  $('send-error').textContent = ''
  $('text').value = ''
  try {
    await connection.request('chat', { text })
  } catch (error) {
    $('text').value ||= text
    $('send-error').textContent = `Not sent: ${error.message}`
  }
})

// ── The attack console ───────────────────────────────────────────────────────────────────────────────────────────────

async function attackWith(attack, button) {
  if (button.ariaBusy === 'true') return
  button.ariaBusy = 'true'
  try {
    const expired = attack.credential === 'expired'
    const { token } = expired ? await post('/demo/expired-token', {}) : session
    const result = await runAttack(attack, { room: room.id, token })
    if (!result.opened) result.refusal = await (await fetch('/demo/last-refusal', { headers: bearer() })).json()
    button.dataset.done = 'true'
    showResult(attack, result)
  } catch (error) {
    showResult(attack, { sent: 'nothing', answers: [], failed: error.message })
  } finally {
    button.ariaBusy = 'false'
  }
}

function verdict({ opened, frames, served, answers, close, refusal, failed }) {
  if (failed) return 'not run'
  if (!opened) return `refused ${refusal.status}`
  if (close) return `closed ${close.code}`
  if (answers.length > 0) return answers[0].code
  return served > 0 && served < frames ? 'slowed down' : 'no answer'
}

function explain({ opened, served, answers, close, refusal, failed }) {
  if (failed) return failed
  if (!opened) return `The server’s log says “${refusal.reason}”. A script never learns why, only the operator does.`
  if (close) return `${close.name.replaceAll('_', ' ')}: ${close.meaning}.`
  // Frames that arrive one by one are read one by one: nothing has to be dropped, so there is nothing to say.
  if (answers.length === 0)
    return served > 0 ? 'The guard reads no faster than the limit allows: the rest waits at its sender.' : ''
  return answers[0].code === 'rate_limited'
    ? 'The guard stopped reading: the rest of the flood waits at its sender, and nobody else feels it.'
    : 'The message was turned away and counted as a strike. The connection lives on.'
}

function showResult(attack, result) {
  const badge = element('span', { className: 'badge', textContent: verdict(result) })
  const answers = result.answers.slice(0, 3).map(({ type, ...answer }) => JSON.stringify({ type, ...answer }))
  if (result.opened && result.frames > 1)
    answers.push(`${result.served.toLocaleString('en')} of ${result.frames.toLocaleString('en')} served`)
  if (result.close) answers.push(`close ${result.close.code}${result.close.reason && ` "${result.close.reason}"`}`)
  if (!result.opened && !result.failed)
    answers.splice(
      0,
      answers.length,
      `HTTP ${result.refusal.status} instead of the 101, which the browser reports as 1006`
    )
  $('results').prepend(
    element(
      'li',
      { dataset: { attack: attack.id, verdict: verdict(result) } },
      element('div', { className: 'result-head' }, element('b', { textContent: attack.title }), badge),
      frame('sent', '→', result.sent),
      ...answers.map((answer) => frame('answered', '←', answer)),
      element('p', { textContent: explain(result) })
    )
  )
}

function frame(kind, arrow, text) {
  const label = element('span', { className: 'sr', textContent: kind === 'sent' ? 'Sent: ' : 'The guard answered: ' })
  return element('code', { className: kind }, element('span', { ariaHidden: 'true', textContent: arrow }), label, text)
}

// ── Once ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

$('rooms').append(
  ...rooms.map((each) => {
    const button = element(
      'button',
      { type: 'button', dataset: { room: each.id }, disabled: !each.open },
      element('b', { textContent: each.title }),
      element('small', { textContent: each.about })
    )
    button.addEventListener('click', () => enter(each))
    return element('li', {}, button)
  })
)

$('attacks').append(
  ...attacks.map((attack) => {
    const button = element(
      'button',
      { type: 'button', dataset: { attack: attack.id } },
      element('b', { textContent: attack.title }),
      element('small', { textContent: attack.hint })
    )
    button.addEventListener('click', () => attackWith(attack, button))
    return button
  })
)

for (const tab of document.querySelectorAll('[data-show]')) {
  tab.addEventListener('click', () => {
    $('app').dataset.view = tab.dataset.show
    for (const other of document.querySelectorAll('[data-show]')) other.ariaPressed = String(other === tab)
  })
}

$('name').focus()
