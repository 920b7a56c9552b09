import assert from 'node:assert/strict'
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { behindProxy, host, type ProxySettings, type RunningProxy, type Stage, valuesOf } from './behind-proxy.ts'
import { pathOf, skipWithout, start, substitute } from './processes.ts'

const deployed = readFileSync(new URL('../../example-app/deploy/nginx.conf', import.meta.url), 'utf8')

async function startNginx(settings: ProxySettings): Promise<RunningProxy> {
  const { folder, appPort, tlsPort, plainPort, key, cert } = settings
  const site = substitute(deployed, {
    '127.0.0.1:3000': `127.0.0.1:${appPort}`,
    'listen 80;': `listen 127.0.0.1:${plainPort};`,
    'listen 443 ssl;': `listen 127.0.0.1:${tlsPort} ssl;`,
    [`/etc/letsencrypt/live/${host}/fullchain.pem`]: cert,
    [`/etc/letsencrypt/live/${host}/privkey.pem`]: key,
    '/var/log/nginx/': `${folder}/`
  })
  writeFileSync(join(folder, 'site.conf'), site)
  writeFileSync(join(folder, 'nginx.conf'), surroundings(folder))
  chmodSync(folder, 0o755) // as root, nginx works as another user
  const errorLog = join(folder, 'error.log')
  const args = ['-e', errorLog, '-p', folder, '-c', join(folder, 'nginx.conf'), '-g', 'daemon off;']
  const nginx = await start(pathOf('nginx') as string, args, { ready: tlsPort })
  const files = ['chat.access.log', 'chat.error.log', 'error.log'].map((file) => join(folder, file))
  return {
    logs: () => [nginx.output(), ...files.filter(existsSync).map((file) => readFileSync(file, 'utf8'))].join('\n'),
    stop: () => nginx.stop()
  }
}

/** What Debian's /etc/nginx/nginx.conf is to a file in conf.d. */
const surroundings = (folder: string): string => `
pid ${folder}/nginx.pid;
error_log ${folder}/error.log info;
worker_processes 1;
events { worker_connections 256; }
http {
  client_body_temp_path ${folder}/body;
  proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/fastcgi;
  uwsgi_temp_path ${folder}/uwsgi;
  scgi_temp_path ${folder}/scgi;
  include ${folder}/site.conf;
}
`

function nginxOnly(stage: () => Stage): void {
  test('R1: limit_req stops a burst of handshakes before the app sees it, with security headers', async () => {
    const { overTls, appLog } = stage()
    appLog.clear()
    const answers = await Promise.all(
      Array.from({ length: 30 }, async () => {
        const { client, answer } = await overTls({ from: '127.0.1.8', path: '/chat/backstage' })
        client.destroy()
        return answer
      })
    )
    const stopped = answers.filter(({ statusCode }) => statusCode === 429)
    assert.ok(stopped.length >= 5, `429: ${stopped.length}`)
    assert.equal(appLog.filter('incoming request').length, answers.length - stopped.length)
    for (const answer of stopped) {
      assert.match(answer.body, /nginx/)
      assert.deepEqual(valuesOf(answer, 'x-content-type-options'), ['nosniff'])
      assert.equal(valuesOf(answer, 'strict-transport-security').length, 1)
    }
  })

  test('the proxy waits longer than the heartbeat takes to find a dead peer', () => {
    const [intervalMs, timeoutMs] = [30_000, 10_000]
    for (const name of ['proxy_read_timeout', 'proxy_send_timeout']) {
      const seconds = Number(new RegExp(`${name}\\s+(\\d+)s;`).exec(deployed)?.[1])
      assert.ok(seconds * 1000 > intervalMs + timeoutMs, `${name}: ${seconds} s`)
    }
  })
}

behindProxy('nginx', skipWithout('nginx', 'openssl'), startNginx, nginxOnly)
