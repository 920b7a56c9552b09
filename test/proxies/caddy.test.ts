import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { behindProxy, type ProxySettings, type RunningProxy, type Stage } from './behind-proxy.ts'
import { pathOf, skipWithout, start, substitute } from './processes.ts'

const deployed = new URL('../../example-app/deploy/Caddyfile', import.meta.url)

async function startCaddy(settings: ProxySettings): Promise<RunningProxy> {
  const { folder, appPort, tlsPort, plainPort, key, cert } = settings
  const ports = `admin off\n\tdefault_bind 127.0.0.1\n\thttp_port ${plainPort}\n\thttps_port ${tlsPort}`
  const config = substitute(readFileSync(deployed, 'utf8'), {
    '127.0.0.1:3000': `127.0.0.1:${appPort}`,
    '# tls /etc/ssl/chat.pem /etc/ssl/chat.key': `tls ${cert} ${key}`,
    '\n{\n': `\n{\n\t${ports}\n`
  })
  const file = join(folder, 'Caddyfile')
  writeFileSync(file, config)
  const env = { HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder }
  const args = ['run', '--adapter', 'caddyfile', '--config', file]
  const caddy = await start(pathOf('caddy') as string, args, { env, ready: /serving initial configuration/ })
  return { logs: caddy.output, stop: () => caddy.stop() }
}

function caddyOnly(stage: () => Stage): void {
  test('the Caddyfile is formatted as caddy fmt would', () => {
    const formatted = execFileSync(pathOf('caddy') as string, ['fmt', deployed.pathname], { encoding: 'utf8' })
    assert.equal(readFileSync(deployed, 'utf8'), formatted)
  })

  test('P1: access lines have the path, and neither query nor headers', async () => {
    const { overTls, proxy } = stage()
    await overTls({ from: '127.0.1.9', path: '/chat/nowhere?a=b' })
    assert.match(proxy.logs(), /"uri":"\/chat\/nowhere"/)
    assert.doesNotMatch(proxy.logs(), /Sec-Websocket-Protocol/i)
  })
}

behindProxy('Caddy', skipWithout('caddy', 'openssl'), startCaddy, caddyOnly)
