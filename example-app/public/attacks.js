/** What an attacker would try, each on a connection of its own. */

import { explainClose, openSocket } from './connection.js'
import { contract } from './contract.js'

const maxText = contract.clientToServer.chat.message.properties.text.maxLength

export const attacks = [
  {
    id: 'not-json',
    title: 'Not JSON',
    hint: 'a frame that does not parse',
    frames: () => ['<script>alert(1)</script>']
  },
  {
    id: 'unknown-type',
    title: 'Unknown type',
    hint: 'a message nobody declared',
    frames: () => ['{"type":"make_me_admin"}']
  },
  {
    id: 'extra-property',
    title: 'Extra property',
    hint: 'mass assignment',
    frames: () => ['{"type":"chat","text":"hi","isAdmin":true}']
  },
  {
    id: 'proto',
    title: '__proto__',
    hint: 'prototype pollution',
    frames: () => ['{"type":"chat","text":"hi","__proto__":{"isAdmin":true}}']
  },
  {
    id: 'oversize',
    title: 'Oversize',
    hint: '64 KB where 4 KB fit',
    frames: () => [JSON.stringify({ type: 'chat', text: 'A'.repeat(65_536) })]
  },
  {
    id: 'flood',
    title: 'Flood',
    hint: '2 000 messages at once',
    frames: () => Array.from({ length: 2_000 }, (_, ref) => JSON.stringify({ type: 'history', limit: 1, ref }))
  },
  {
    id: 'expired-token',
    title: 'Expired token',
    hint: 'yesterday’s credential',
    frames: () => [],
    credential: 'expired'
  },
  {
    id: 'foreign-room',
    title: 'Foreign room',
    hint: 'a room that is not yours',
    frames: () => [],
    room: 'backstage'
  }
]

// The guard answers at once, or never; a busy machine takes its time. After so long without a word the attack is over.
const firstAnswerMs = 5_000
const quietMs = 1_500

/** Runs one attack. Resolves with { opened, sent, frames, served, answers, close: { code, reason, … } or undefined }. */
export function runAttack(attack, { room, token }) {
  const socket = openSocket(`/chat/${attack.room ?? room}`, token)
  const frames = attack.frames()
  const result = {
    opened: false,
    sent: describe(attack),
    frames: frames.length,
    served: 0,
    answers: [],
    close: undefined
  }
  return new Promise((resolve) => {
    let timer
    // Not waiting for the answer to our close frame: behind a flood that is not read any more, it would take long.
    const end = () => {
      socket.close(1000)
      resolve(result)
    }
    const wait = () => {
      clearTimeout(timer)
      timer = setTimeout(end, result.answers.length > 0 ? quietMs : firstAnswerMs)
    }
    socket.onopen = () => {
      result.opened = true
      for (const frame of frames) socket.send(frame)
      wait()
    }
    socket.onmessage = (event) => {
      const message = JSON.parse(event.data)
      if (message.type === 'reply') result.served++
      if (message.type !== 'error') return
      result.answers.push(message)
      wait()
    }
    socket.onclose = ({ code, reason }) => {
      clearTimeout(timer)
      result.close = { code, reason, ...explainClose(code, reason) }
      resolve(result)
    }
  })
}

function describe(attack) {
  const frames = attack.frames()
  if (frames.length === 0)
    return attack.room ? `GET /chat/${attack.room}, with your own token` : 'a handshake with an expired token'
  const [first] = frames
  const shown = first.length > maxText ? `${first.slice(0, 40)}… (${first.length.toLocaleString('en')} bytes)` : first
  return frames.length > 1 ? `${frames.length.toLocaleString('en')} × ${shown}` : shown
}
