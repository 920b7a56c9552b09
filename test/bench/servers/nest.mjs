/** A NestJS gateway on its WsAdapter. Its decorators are applied by hand: this file is run as it stands. */
import 'reflect-metadata'
import { Module } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { FastifyAdapter } from '@nestjs/platform-fastify'
import { WsAdapter } from '@nestjs/platform-ws'
import { MessageBody, SubscribeMessage, WebSocketGateway, WebSocketServer } from '@nestjs/websockets'
import { checkChat, userOf } from './peer-work.mjs'
import { answerAsks, seen } from './serve.mjs'

const zodPipe = { transform: checkChat }

/** What `@WebSocketGateway`, `@SubscribeMessage('chat')` and `@MessageBody(pipe)` say in TypeScript. */
function declareGateway(gateway, path) {
  const { prototype } = gateway
  const verifyClient = ({ req }) => {
    seen.handshakes++
    req.user = userOf(req.headers)
    return req.user !== undefined
  }
  Reflect.defineMetadata('design:paramtypes', [Object], prototype, 'chat')
  MessageBody(zodPipe)(prototype, 'chat', 0)
  SubscribeMessage('chat')(prototype, 'chat', Object.getOwnPropertyDescriptor(prototype, 'chat'))
  WebSocketServer()(prototype, 'server')
  WebSocketGateway({ path, verifyClient })(gateway)
}

class EchoGateway {
  chat(data) {
    seen.messages++
    return { event: 'chat', data }
  }
}

class FanGateway {
  chat(data) {
    seen.messages++
    const text = JSON.stringify({ event: 'chat', data })
    for (const client of this.server.clients) if (client.readyState === client.OPEN) client.send(text)
  }
}

class AppModule {}

declareGateway(EchoGateway, '/echo')
declareGateway(FanGateway, '/fan')
Module({ providers: [EchoGateway, FanGateway] })(AppModule)

const app = await NestFactory.create(AppModule, new FastifyAdapter(), { logger: false })
app.useWebSocketAdapter(new WsAdapter(app))
await app.listen(0, '127.0.0.1')
answerAsks(app.getHttpServer().address().port)
