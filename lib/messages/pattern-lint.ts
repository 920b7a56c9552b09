/**
 * Regular expressions that meet a stranger's text (threat M7). JavaScript's engine backtracks, so what may take more
 * than linear time is refused at boot, or bounded by the length of the text.
 */
import safeRegex from 'safe-regex2'

/** What one test of a pattern may cost, in steps of the engine: tens of milliseconds at the most for all but contrived ones. */
const maxSteps = 3e6
/** A quantifier above this is as good as unbounded. */
const longRepetition = 64
/** A group with alternatives may be repeated this often: 2^10 ways to try. */
const shortRepetition = 10

/** Ways to match that no text can lengthen; below this a pattern counts as linear. */
const fewChoices = 1_000

interface Shape {
  /** How many unbounded quantifiers can divide the text among them; one more when the pattern is not anchored. */
  readonly degree: number
  /** In how many ways the alternatives, optional parts and bounded repetitions can be chosen. */
  readonly choices: number
  /** A group with a choice is repeated, as in `(a|a)*`, which safe-regex2 does not see. */
  readonly repeatsChoice: boolean
}

/** What is wrong with a pattern, and how to mend it; `undefined` when it is linear or bounded by `maxLength`. */
export function patternProblem(
  source: string,
  flags: string,
  maxLength: number | undefined
): { problem: string; fix: string } | undefined {
  if (/[^imsu]/.test(flags)) {
    return { problem: `the flags "${flags}" are not supported`, fix: 'use only the flags i, m, s and u' }
  }
  try {
    new RegExp(source, flags)
  } catch {
    return { problem: 'the pattern is not a valid regular expression', fix: 'correct it' }
  }
  const shape = shapeOf(source)
  if (shape.repeatsChoice || !safeRegex(source)) {
    return {
      problem: 'the pattern can take exponential time',
      fix: 'do not repeat what contains a repetition or alternatives, or check the text in the handler'
    }
  }
  const longest = longestText(shape)
  if (maxLength === undefined ? longest < Number.POSITIVE_INFINITY : maxLength > longest) {
    const bound = longest > 0 ? `give a maxLength of at most ${longest}, or ` : ''
    return {
      problem: `the pattern can take ${shape.choices} × length^${shape.degree} steps`,
      fix: `${bound}anchor the pattern, repeat less, or check the text in the handler`
    }
  }
  return undefined
}

/** The longest text for which choices × length^degree / degree! stays within the bound. */
function longestText({ degree, choices }: Shape): number {
  if (choices > maxSteps) return 0
  if (degree === 0 || (degree === 1 && choices <= fewChoices)) return Number.POSITIVE_INFINITY
  let steps = maxSteps / choices
  for (let factor = 2; factor <= degree; factor++) steps *= factor
  return Math.floor(steps ** (1 / degree))
}

const token = /\\.|\[(?:\\.|[^\]\\])*\]|\(\??|\)|\||[*+?]|\{(\d+)(,?)(\d*)\}|./gsu

/** A group that is being read: its alternatives so far, and the choices of what it holds. */
interface Group {
  alternatives: number
  inner: number
}

/** Reads what safe-regex2 does not tell. Escapes and classes are single tokens, so that what they hold is skipped. */
function shapeOf(source: string): Shape {
  const open: Group[] = []
  let group: Group = { alternatives: 1, inner: 1 }
  let unbounded = 0
  let repeatsChoice = false
  /** The choices of what a quantifier here would repeat; 0 where one only says how to search, as in `a*?`. */
  let before = 1
  for (const [text, low, comma, high] of source.matchAll(token)) {
    const range = before === 0 ? undefined : repetition(text, low, comma, high)
    if (range) {
      const [least, most] = range
      if (before > 1 && most > shortRepetition) repeatsChoice = true
      else if (before > 1) group.inner *= before ** Math.max(most - 1, 0)
      if (most > longRepetition) unbounded++
      else group.inner *= most - least + 1
    }
    before = range ? 0 : 1
    if (text.startsWith('(')) {
      open.push(group)
      group = { alternatives: 1, inner: 1 }
    } else if (text === '|') group.alternatives++
    else if (text === ')') {
      before = group.alternatives * group.inner
      group = open.pop() as Group
      group.inner *= before
    }
  }
  // `^a|b`: only the first alternative is anchored.
  const anchored = source.startsWith('^') && group.alternatives === 1
  return { degree: unbounded + (anchored ? 0 : 1), choices: group.alternatives * group.inner, repeatsChoice }
}

/** The least and the most times of a quantifier. */
function repetition(text: string, low?: string, comma?: string, high?: string): [number, number] | undefined {
  if (text === '?') return [0, 1]
  if (text === '*' || text === '+') return [0, Number.POSITIVE_INFINITY]
  if (low === undefined) return undefined
  return [Number(low), comma ? (high ? Number(high) : Number.POSITIVE_INFINITY) : Number(low)]
}
