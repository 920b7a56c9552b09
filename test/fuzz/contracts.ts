/** Random contracts and texts for them: Ajv and JSON.parse say what should come through, and what may leave. */
import assert from 'node:assert/strict'
import { type TObject, Type } from '@sinclair/typebox'
import fc from 'fast-check'
import Fastify, { type FastifyInstance } from 'fastify'
import { type Contract, defineContract } from '../../lib/contract.ts'
import wsGuard from '../../lib/index.ts'
import { type CompiledContract, compileContract } from '../../lib/messages/compile-contract.ts'
import { decode } from '../../lib/messages/decode.ts'
import { EncodeError } from '../../lib/messages/encode.ts'
import { injectWs } from '../../lib/testing.ts'
import { within } from '../support/wait.ts'
import { type Campaign, campaign, part } from './campaign.ts'
import { patienceMs, unlimited } from './ground.ts'
import { measure, tell } from './json-model.ts'
import { textEdit, valueEdit } from './json-texts.ts'
import { checkMessageOf, checkOf } from './schema-oracle.ts'
import { anySchema, message, type Sample } from './schemas.ts'

const bounds = { depth: 8, keys: 24 }

interface Trial {
  readonly sample: Sample
  readonly texts: readonly string[]
}

/** A value, changed as a value none to three times, and then as a text none to two times. */
const changes = fc.array(
  fc.tuple(fc.nat(9), fc.array(valueEdit, { maxLength: 3 }), fc.array(textEdit, { maxLength: 2 })),
  { minLength: 6, maxLength: 40, size: 'medium' }
)

/** The message is the schema itself, or holds it. */
const inside = fc.oneof(
  message,
  anySchema.map(
    ({ schema, values }): Sample => ({
      schema: Type.Object({ p: schema }),
      values: values.map((value) => ({ p: value }))
    })
  )
)

const trial: fc.Arbitrary<Trial> = fc.tuple(inside, changes).map(([sample, all]) => ({
  sample,
  texts: all.map(([which, valueEdits, textEdits]) => {
    const value = { type: 'm', ...(sample.values[which % sample.values.length] as object) }
    const changed = valueEdits.reduce<unknown>((before, edit) => edit(before), value)
    return textEdits.reduce((before, edit) => edit(before), JSON.stringify(changed))
  })
}))

function contractOf({ schema }: Sample): Contract {
  return { name: 'c', clientToServer: { m: schema as TObject }, serverToClient: { m: schema as TObject } }
}

function compile(sample: Sample): CompiledContract {
  return compileContract(contractOf(sample), '/')
}

/** What the guard says of a text is what the others say. */
const incoming = fc.property(trial, ({ sample, texts }) => {
  const compiled = compile(sample)
  const checks = new Map([['m', checkMessageOf('m', sample.schema)]])
  for (const text of texts) {
    const told = tell(text, checks, bounds)
    const decoded = decode(text, compiled, bounds)
    const said = decoded.kind === 'rejected' ? decoded.code : decoded.kind
    assert.equal(said, told.kind, `of ${JSON.stringify(text)}`)
    if (decoded.kind === 'message') assert.deepEqual(decoded.value, JSON.parse(text))
    if (decoded.kind === 'rejected') JSON.stringify(decoded.details)
  }
})

/** What was built to match comes through unchanged, without asking anybody. */
const valid = fc.property(inside, (sample) => {
  const compiled = compile(sample)
  for (const value of sample.values) {
    const text = JSON.stringify({ type: 'm', ...(value as object), ref: 1 })
    const { depth, keys } = measure(text)
    if (depth > bounds.depth || keys > bounds.keys) continue
    const decoded = decode(text, compiled, bounds)
    assert.equal(decoded.kind, 'message', text)
    if (decoded.kind === 'message') assert.deepEqual(decoded.value, JSON.parse(text))
  }
})

/** What leaves matches, and holds nothing that is not declared. */
const outgoing = fc.property(inside, fc.array(fc.tuple(fc.nat(9), valueEdit), { maxLength: 8 }), (sample, edits) => {
  const encode = compile(sample).outgoing.get('m')?.encode as (value: unknown) => string
  const matches = checkOf(sample.schema)
  for (const value of sample.values) {
    const { type, ...rest } = JSON.parse(encode(value))
    assert.equal(type, 'm')
    assert.deepEqual(rest, JSON.parse(JSON.stringify(value)), 'what matches leaves as it is')
    const more = { ...(value as object), 'undeclared!': 'canary' }
    if (!matches(more)) assert.deepEqual(JSON.parse(encode(more)), { type, ...rest }, 'what is not declared stays here')
  }
  for (const [which, edit] of edits) {
    const value = edit(sample.values[which % sample.values.length])
    let text: string
    try {
      text = encode(value)
    } catch (error) {
      assert.ok(error instanceof EncodeError, String(error))
      const isRight = isChangedByJson(value) || !matches(JSON.parse(JSON.stringify(value)))
      assert.ok(isRight, `refused ${JSON.stringify(value)}`)
      continue
    }
    const { type, ...rest } = JSON.parse(text)
    assert.equal(type, 'm')
    assert.ok(matches(rest), `sent ${text}`)
  }
})

/** JSON would write null for it, which is not what was given. */
function isChangedByJson(value: unknown): boolean {
  let isChanged = false
  JSON.stringify(value, function (this: unknown, _key, inner: unknown) {
    const isNumber = typeof inner === 'number' && Number.isFinite(inner)
    isChanged ||= (typeof inner === 'number' && !isNumber) || (inner === undefined && Array.isArray(this))
    return inner
  })
  return isChanged
}

/** The same over a connection: what the handler gets is what the others admit, in order and whole. */
const overTheWire = fc.asyncProperty(trial, async ({ sample, texts }) => {
  const checks = new Map([['m', checkMessageOf('m', sample.schema)]])
  const got: unknown[] = []
  const app = Fastify() as unknown as FastifyInstance
  try {
    await app.register(wsGuard, {
      origins: false,
      auth: false,
      limits: { ...unlimited, json: bounds, strikes: { max: 1_000 } }
    })
    app.wsRoute('/', {
      contract: defineContract(contractOf(sample) as never) as Contract,
      handlers: { m: (received: unknown) => void got.push(structuredClone(received)) } as never
    })
    const ws = await injectWs(app, '/')
    const told = texts.map((text) => tell(toWire(text), checks, bounds))
    const ends = told.findIndex(({ kind }) => kind === 'invalid_json')
    for (const text of texts) ws.sendRaw(text)
    ws.sendRaw('not JSON')
    assert.deepEqual(await within(ws.closed, { timeoutMs: patienceMs, what: 'the end' }), {
      code: 1007,
      reason: 'invalid_json'
    })
    const served = ends === -1 ? told : told.slice(0, ends)
    assert.deepEqual(
      got,
      served.flatMap((each) => (each.kind === 'message' ? [each.value] : []))
    )
  } finally {
    await app.close()
  }
})

/** A lone surrogate has no UTF-8: the client sends U+FFFD. */
function toWire(text: string): string {
  return Buffer.from(text).toString()
}

export const contracts: Campaign = campaign('contracts', 4, async () => ({
  parts: [
    part('incoming texts', 25, incoming),
    part('valid messages', 25, valid),
    part('outgoing messages', 20, outgoing),
    part('over a connection', 3, overTheWire)
  ]
}))
