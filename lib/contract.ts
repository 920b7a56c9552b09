/**
 * The contract: the messages that may cross a connection, in both directions. Browser-safe, so that the page and the
 * server import the same value; only the types of TypeBox are used here.
 */
import type { Static, TObject, TSchema } from '@sinclair/typebox'

export { type CloseCause, type CloseCodeName, closeCauses, closeCodes, type Reconnect } from './close-codes.ts'

/** A message the client sends: its schema, or its schema with the schema of the reply. */
export type ClientMessage = TObject | { readonly message: TObject; readonly reply: TSchema }
export type ClientMessages = Readonly<Record<string, ClientMessage>>
export type ServerMessages = Readonly<Record<string, TObject>>

export interface Contract<C extends ClientMessages = ClientMessages, S extends ServerMessages = ServerMessages> {
  /** Its name on the bus and in the documents. */
  readonly name: string
  readonly clientToServer: C
  readonly serverToClient: S
}

/** Message types that the wire itself uses; so is every name that begins with `$`. */
export const reservedTypes = ['auth', 'auth_ok', 'reply', 'error'] as const
/** Properties of the envelope, which no message schema may declare. */
export const reservedProperties = ['type', 'ref'] as const

export type ReservedType = (typeof reservedTypes)[number] | `$${string}`
export type ReservedProperty = (typeof reservedProperties)[number]

/** Asks for `never` under every reserved type and every schema with a reserved property: neither compiles. */
type Forbidden<M> = {
  readonly [K in keyof M as K extends ReservedType ? K : DeclaresReserved<M[K]> extends true ? K : never]: never
}
type DeclaresReserved<M> = M extends { readonly properties: infer P }
  ? HasReserved<keyof P>
  : M extends { readonly message: { readonly properties: infer P } }
    ? HasReserved<keyof P>
    : false
/** A schema typed no closer than TObject has `string` keys: what it declares is checked when the app boots. */
type HasReserved<K> = string extends K ? false : [K & ReservedProperty] extends [never] ? false : true

/**
 * Declares a contract. It is a plain value: nothing is compiled or checked here; `app.wsRoute()` does that when the
 * app boots and throws `WSG_ERR_OPTION` for a reserved name or a schema that cannot be bounded.
 */
export function defineContract<const C extends ClientMessages, const S extends ServerMessages>(contract: {
  readonly name: string
  readonly clientToServer: C & Forbidden<C>
  readonly serverToClient: S & Forbidden<S>
}): Contract<C, S> {
  return contract
}

/** True for the message types and prefixes that the wire keeps for itself. */
export function isReservedType(type: string): boolean {
  return type.startsWith('$') || (reservedTypes as readonly string[]).includes(type)
}

/** The types a client may send under a contract. */
export type ClientType<C extends Contract> = keyof C['clientToServer'] & string
/** The types a server may send under a contract. */
export type ServerType<C extends Contract> = keyof C['serverToClient'] & string

type Payload<M> = M extends { readonly message: infer T extends TObject }
  ? Static<T>
  : M extends TObject
    ? Static<M>
    : never

/** What a handler receives: the declared properties beside the envelope's `type` and `ref`. */
export type MessageOf<C extends Contract, K extends ClientType<C>> = Payload<C['clientToServer'][K]> & {
  readonly type: K
  readonly ref?: string | number
}

/** What a client passes to `send`: the declared properties. */
export type PayloadOf<C extends Contract, K extends ClientType<C>> = Payload<C['clientToServer'][K]>

/** What a handler returns: the reply where one is declared, nothing otherwise. */
export type ReplyOf<C extends Contract, K extends ClientType<C>> = C['clientToServer'][K] extends {
  readonly reply: infer R extends TSchema
}
  ? Static<R>
  : void

/** What the server sends under a type. */
export type ServerMessageOf<C extends Contract, K extends ServerType<C>> = Static<C['serverToClient'][K]>
