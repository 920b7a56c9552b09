/** What this package has to reach, in numbers, and whether it did. */
import { base, guarded, straightforward } from './contestants.ts'
import type { LoadResult, Metric } from './load.ts'
import { factor, number } from './numbers.ts'
import { ratiosOf, spread, valuesOf } from './rounds.ts'

interface Of {
  readonly load: string
  /** The key of a metric; whether more or less of it is better is said there. */
  readonly metric: string
}

/** The ratio to another server of the same round, median of all rounds. */
export interface RatioGoal extends Of {
  readonly kind: 'ratio'
  readonly to: string
  readonly limit: number
  /** By so much of the limit it may be missed: what two runs of the same differ by. */
  readonly slack: number
}

/** The value itself, median of all rounds. */
export interface ValueGoal extends Of {
  readonly kind: 'value'
  readonly limit: number
}

/** Not more than the other server's by a factor and a rest, medians of all rounds. */
export interface NearGoal extends Of {
  readonly kind: 'near'
  readonly to: string
  readonly factor: number
  readonly plus: number
}

export type Goal = RatioGoal | ValueGoal | NearGoal

const smallSlack = 0.05
const largeSlack = 0.1
/** In every row: whoever would write the checks by hand, with care, gets at least so much more with the package. */
const overStraightforward = 1.08

function toBase(load: string, limit: number, slack: number, metric: string = 'rate'): RatioGoal {
  return { kind: 'ratio', load, metric, to: base, limit, slack }
}

function toStraightforward(load: string, metric: string, limit: number): RatioGoal {
  return { kind: 'ratio', load, metric, to: straightforward, limit, slack: 0 }
}

/** Of one user alone, in µs: the wait for the end of the turn is not to be felt. */
const lone = { kind: 'near', load: 'lone', to: base, factor: 1.1, plus: 100 } as const

export const goals: readonly Goal[] = [
  toBase('echo-120-closed', 1, smallSlack),
  toBase('echo-120-pipelined', 3.2, smallSlack),
  toBase('echo-2k-closed', 0.8, largeSlack),
  toBase('echo-2k-pipelined', 1.25, largeSlack),
  toBase('handshake', 0.95, largeSlack),
  toBase('idle', 0.7, 0, 'heap'),
  toBase('idle', 0.8, 0, 'rss'),
  toBase('fan-1', 1.3, smallSlack),
  toBase('fan-8', 6, smallSlack),
  { kind: 'value', load: 'fairness', metric: 'growth', limit: 1.5 },
  { kind: 'value', load: 'fairness', metric: 'floodedP99', limit: 5 },
  { kind: 'value', load: 'heartbeat', metric: 'longest', limit: 15 },
  { ...lone, metric: 'p50' },
  { ...lone, metric: 'p99' },
  ...[
    'echo-120-closed',
    'echo-120-pipelined',
    'echo-2k-closed',
    'echo-2k-pipelined',
    'handshake',
    'fan-1',
    'fan-8'
  ].map((load) => toStraightforward(load, 'rate', overStraightforward)),
  ...[
    ['idle', 'heap'],
    ['idle', 'rss'],
    ['fairness', 'floodedP50'],
    ['fairness', 'floodedP99'],
    ['heartbeat', 'longest']
  ].map(([load = '', metric = '']) => toStraightforward(load, metric, 1 / overStraightforward))
]

/**
 * Why a goal is missed, where that is known: by the names of its load and of its metric, such as `idle rss`, and that of
 * the server it is compared with unless that is the base. For the reader of the table.
 */
export const reasons: Readonly<Record<string, string>> = {
  'echo-120-closed rate':
    'each message has a write of its own here, as with c; reading, checking and writing JSON comes on top of it',
  'echo-120-pipelined rate':
    'the writes are shared; what is left is JavaScript: ws’s receiver, the checks and the writer, none of which stands out',
  'echo-2k-closed rate': 'c never looks at the 2 KiB: here they are decoded, parsed, checked and written again',
  'echo-2k-pipelined rate': 'the same, and the writes that are shared are a smaller part of it',
  'handshake rate':
    'c verifies nothing: a signature, attempts, slots and revocations cost more than the upgrade itself',
  'handshake rate straightforward':
    'it checks the token and the Origin; attempts, slots, revocations, deadlines and headers come on top of that',
  'fan-1 rate': 'one write for each delivery on both sides, and that is nearly all of it',
  'fan-8 rate': 'what is left is one write for each subscriber and turn',
  'lone p50': 'the reply waits for the end of its turn; how much of the difference that is was not measured'
}

export interface Verdict {
  readonly load: string
  readonly metric: string
  /** The server that it is compared with, if any. */
  readonly to: string | undefined
  readonly what: string
  readonly goal: string
  readonly measured: string
  readonly isMet: boolean
  /** Of a goal that is missed. */
  readonly reason?: string | undefined
}

/** In `reasons`. */
export function reasonKey({ load, metric, to }: Pick<Verdict, 'load' | 'metric' | 'to'>): string {
  return [load, metric, ...(to === undefined || to === base ? [] : [to])].join(' ')
}

/** @returns one for each goal whose load, and whose servers, were measured */
export function judge(
  results: readonly LoadResult[],
  list: readonly Goal[] = goals,
  known: Readonly<Record<string, string>> = reasons
): Verdict[] {
  return list.flatMap((goal) => {
    const result = results.find(({ load }) => load.name === goal.load)
    const metric = result?.load.metrics.find(({ key }) => key === goal.metric)
    if (result === undefined || metric === undefined) return []
    const verdict = judgeOne(result, metric, goal)
    if (verdict === undefined) return []
    return verdict.isMet ? verdict : { ...verdict, reason: known[reasonKey(verdict)] }
  })
}

function judgeOne(result: LoadResult, metric: Metric, goal: Goal): Verdict | undefined {
  const what = `${result.load.title}: ${metric.title}${goal.kind === 'ratio' ? `, to ${goal.to}` : ''}`
  const found = measure(result, metric, goal)
  if (found === undefined) return undefined
  const { measured, limit } = found
  const slack = goal.kind === 'ratio' ? goal.slack : 0
  const isMore = metric.better === 'more'
  const write = (value: number): string => (goal.kind === 'ratio' ? factor(value) : number(value, metric.digits))
  const within = slack === 0 ? '' : `, within ${slack * 100} %`
  return {
    load: goal.load,
    metric: goal.metric,
    to: goal.kind === 'value' ? undefined : goal.to,
    what,
    goal: `${isMore ? '≥' : '≤'} ${write(limit)}${within}`,
    measured: write(measured),
    isMet: isMore ? measured >= limit * (1 - slack) : measured <= limit * (1 + slack)
  }
}

/** @returns undefined when there is nothing to compare */
function measure({ runs }: LoadResult, { key }: Metric, goal: Goal): { measured: number; limit: number } | undefined {
  const own = spread(goal.kind === 'ratio' ? ratiosOf(runs, guarded, goal.to, key) : valuesOf(runs, guarded, key))
  if (own === undefined) return undefined
  if (goal.kind !== 'near') return { measured: own.median, limit: goal.limit }
  const other = spread(valuesOf(runs, goal.to, key))
  return other && { measured: own.median, limit: other.median * goal.factor + goal.plus }
}

/** For the terminal. */
export function verdictLines(verdicts: readonly Verdict[]): string[] {
  return verdicts.map(
    ({ what, goal, measured, isMet }) => `${isMet ? 'reached' : 'MISSED '} ${what}: ${measured} (goal ${goal})`
  )
}
