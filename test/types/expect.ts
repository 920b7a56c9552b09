/** The helpers of the type tests. */

/** True when the two types are the same one: modifiers, optionality, `any` and `unknown` count. */
export type Equals<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false

/** Compiles for `true` only. */
export type Expect<T extends true> = T
