/** Turns a contract into what runs per message, once, while the app boots. */
import { Kind, type TSchema, Type } from '@sinclair/typebox'
import { TypeCompiler } from '@sinclair/typebox/compiler'
import { type Contract, isReservedType, reservedProperties } from '../contract.ts'
import { OptionError } from '../errors.ts'
import { closeSchema, node } from './close-schema.ts'
import { maxRefLength } from './decode.ts'
import { type Detail, explain } from './details.ts'
import { compileEncoder, compileMessageEncoder } from './encode.ts'
import { isObject } from './is-object.ts'
import { isTypeBoxSchema, lintSchema, type Refuse } from './schema-lint.ts'

export type { Detail } from './details.ts'

/** A message the client sends. */
export interface IncomingMessage {
  readonly type: string
  /** Checks a whole message, with `type` and `ref`. Never throws. */
  check(value: unknown): boolean
  /** The first 8 places where a message departs from its schema; never the value found there. */
  details(value: unknown): Detail[]
  /** JSON text of a reply; `undefined` when the contract declares none. @throws EncodeError */
  readonly encodeReply: ((data: unknown) => string) | undefined
}

/** A message the server sends. */
export interface OutgoingMessage {
  readonly type: string
  /** The whole text `{"type":…}`. @throws EncodeError */
  encode(message: unknown): string
}

export interface CompiledContract {
  readonly name: string
  readonly incoming: ReadonlyMap<string, IncomingMessage>
  readonly outgoing: ReadonlyMap<string, OutgoingMessage>
}

type Direction = 'clientToServer' | 'serverToClient'

const maxNameLength = 128

/** @throws OptionError that names the route, the message type, the path in its schema and the fix */
export function compileContract(contract: Contract, routePath: string): CompiledContract {
  const refuseAt =
    (where: string): Refuse =>
    (path, problem, fix) => {
      throw new OptionError(`option \`contract\` of route "${routePath}": ${where}${path}: ${problem}; ${fix}`)
    }
  const refuse: Refuse = refuseAt('the contract')
  if (!isObject(contract)) refuse('', 'is not an object', 'make it with defineContract()')
  if (!isName(contract.name)) {
    refuse('', '`name` is missing or not a name', `give a string of 1 to ${maxNameLength} printable characters`)
  }
  const incoming = new Map<string, IncomingMessage>()
  const outgoing = new Map<string, OutgoingMessage>()
  for (const [type, entry] of entries(contract, 'clientToServer', refuseAt)) {
    incoming.set(type, compileIncoming(type, entry, refuseAt))
  }
  for (const [type, entry] of entries(contract, 'serverToClient', refuseAt)) {
    const schema = prepareMessage(entry, refuseAt(`serverToClient.${type}`))
    outgoing.set(type, { type, encode: compileMessageEncoder(type, schema) })
  }
  if (incoming.size + outgoing.size === 0) refuse('', 'declares no message', 'declare at least one')
  return { name: contract.name, incoming, outgoing }
}

/** The messages of one direction, after their names have been checked. */
function entries(contract: Contract, direction: Direction, refuseAt: (where: string) => Refuse): [string, unknown][] {
  const messages: unknown = contract[direction]
  const refuse: Refuse = refuseAt(direction)
  if (!isObject(messages) || isTypeBoxSchema(messages)) {
    refuse('', 'is not an object of message types', `write { ${direction}: { chat: Type.Object({ … }) } }, or {}`)
  }
  const all = Object.entries(messages)
  for (const [type] of all) {
    const named: Refuse = refuseAt(`${direction}.${type.slice(0, maxNameLength)}`)
    if (!isName(type)) named('', 'is not a name', `use 1 to ${maxNameLength} printable characters`)
    if (isReservedType(type)) named('', 'the name is reserved', 'use another; none may begin with $')
    // Handlers are looked up by these names.
    if (type in Object.prototype) named('', 'every object has a property of this name', 'use another name')
  }
  return all
}

function compileIncoming(type: string, entry: unknown, refuseAt: (where: string) => Refuse): IncomingMessage {
  const where = `clientToServer.${type}`
  const { message, reply } = isTypeBoxSchema(entry) ? { message: entry } : splitEntry(entry, refuseAt(where))
  const schema = withEnvelope(type, prepareMessage(message, refuseAt(where)))
  const compiled = TypeCompiler.Compile(schema)
  return {
    type,
    check: (value) => {
      try {
        return compiled.Check(value)
      } catch {
        // A format of the application's own threw: what cannot be checked is not let in.
        return false
      }
    },
    details: (value) => {
      try {
        return explain(schema, value)
      } catch {
        return [{ path: '', message: 'does not match its schema' }]
      }
    },
    encodeReply:
      reply === undefined
        ? undefined
        : compileEncoder(`reply to "${type}"`, prepareReply(reply.schema, refuseAt(`${where}.reply`)))
  }
}

/** `{ message, reply }`. */
function splitEntry(entry: unknown, refuse: Refuse): { message: unknown; reply?: { schema: unknown } } {
  if (!isObject(entry) || !Object.hasOwn(entry, 'message')) {
    refuse('', 'is neither a TypeBox schema nor { message, reply }', 'use Type.Object({ … }) of @sinclair/typebox')
  }
  const other = Object.keys(entry).find((key) => key !== 'message' && key !== 'reply')
  if (other !== undefined) refuse('', `has the unknown property "${other}"`, 'write { message, reply }')
  return Object.hasOwn(entry, 'reply')
    ? { message: entry.message, reply: { schema: entry.reply } }
    : { message: entry.message }
}

/** The closed copy of a message's schema, which is an object without the properties of the envelope. */
function prepareMessage(schema: unknown, refuse: Refuse): TSchema {
  lintSchema(schema, refuse)
  if (schema[Kind] === 'Intersect') refuse('', 'Type.Intersect at the top level', 'use Type.Composite')
  if (schema[Kind] !== 'Object') refuse('', `Type.${schema[Kind]} at the top level`, 'use Type.Object({ … })')
  const taken = reservedProperties.find((name) => Object.hasOwn(schema.properties, name))
  if (taken) refuse(`/properties/${taken}`, 'the property is reserved for the envelope', 'use another name')
  if (schema.minProperties !== undefined || schema.maxProperties !== undefined) {
    const fix = 'put the properties into an object inside the message'
    refuse('', '`minProperties` and `maxProperties` would count the envelope', fix)
  }
  return close(schema, refuse)
}

function prepareReply(schema: unknown, refuse: Refuse): TSchema {
  lintSchema(schema, refuse)
  return close(schema, refuse)
}

function close(schema: TSchema, refuse: Refuse): TSchema {
  const closed = closeSchema(schema, refuse)
  try {
    TypeCompiler.Code(closed)
  } catch (error) {
    refuse('', `TypeBox cannot compile it (${(error as Error).message})`, 'check the options of its types')
  }
  return closed
}

const refSchema: TSchema = Type.Union([
  Type.Integer({ minimum: Number.MIN_SAFE_INTEGER, maximum: Number.MAX_SAFE_INTEGER }),
  Type.String({ maxLength: maxRefLength })
])

/** Adds `type` and `ref`, so that the parsed value is checked as it is, without a copy. */
function withEnvelope(type: string, schema: TSchema): TSchema {
  return node('Object', {
    ...schema,
    properties: { type: Type.Literal(type), ref: refSchema, ...schema.properties },
    required: ['type', ...schema.required]
  })
}

function isName(value: unknown): value is string {
  if (typeof value !== 'string' || value.length > maxNameLength) return false
  return value !== '' && value.trim() === value && !/[\p{C}\p{Zl}\p{Zp}]/u.test(value)
}
