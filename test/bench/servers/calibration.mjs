/** No server: work that is always the same, on the CPU of the servers, to see how fast that CPU is at the moment. */
import { answerAsks } from './serve.mjs'

/** About 5 ms of it: in this many numbers, so many times over. */
const numbers = new Uint32Array(65_536)
const times = 64

function work() {
  let sum = 1
  for (let time = 0; time < times; time++) {
    for (let at = 0; at < numbers.length; at++) {
      sum = (Math.imul(sum, 1_664_525) + numbers[at]) >>> 0
      numbers[at] = sum
    }
  }
  return sum
}

function spin() {
  const from = performance.now()
  work()
  return performance.now() - from
}

answerAsks(0, { spin })
