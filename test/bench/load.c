/*
 * The load of the benchmark: websocket clients in one thread, on epoll.
 *
 * It must never be what is measured. So a frame is masked once and sent again and again, what comes back is counted by
 * hopping from frame header to frame header without looking at the payload, and all that a read makes us send goes
 * out in one write.
 *
 * load --mode echo|shake|fan|publish|hold|pace|flood --port P … ; the options are in the table below, and the result
 * is a line of JSON on stdout. Exit 2: wrong options. Exit 1: the server refused, dropped or falsified something.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
  MAX_SERVERS = 8,
  MAX_CONNS = 25000,        /* what the ephemeral ports of one address can carry */
  MAX_SHAKES = 256,         /* at a time; below the backlog of a listening Node process, so that connect() never waits */
  SHAKE_ADDRESSES = 64,     /* clients of their own: a pair of ports that has just closed is not free for a minute */
  MAX_WINDOW = 4096,
  OPENING = 64,             /* handshakes at a time where they are not what is measured */
  READ_BYTES = 256 * 1024,
  STREAM_BYTES = 64 * 1024, /* one write of a flood */
  HEAD_BYTES = 4096,        /* the longest answer to a handshake */
  PACE_PENDING = 4096,      /* unanswered messages of one paced connection */
  EVENTS = 512,
  SUB_BUCKETS = 64          /* of the latencies, in each power of two: 1.6 % */
};
static const double OPEN_SECONDS = 60, DRAIN_SECONDS = 3, CLOSE_SECONDS = 2;
/* The example of RFC 6455: its answer is known, so nothing has to be computed. */
static const char KEY[] = "dGhlIHNhbXBsZSBub25jZQ==", ACCEPT[] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
static const uint8_t MASK[4] = { 0x37, 0xfa, 0x21, 0x3d };

enum state { UNUSED, UPGRADING, PRELUDE, OPEN, CLOSING };
enum opcode { CONTINUATION = 0, CLOSE = 8, PING = 9 };

struct bytes { uint8_t *at; size_t length; };

struct conn {
  int fd, server;
  enum state state;
  bool wants_out, verified, refused;
  /* receiving: the header of the frame at hand, and how much of its payload is to come */
  uint8_t head[14], control[125];
  int head_have;
  uint64_t left, length, message_length;
  /* the answer to the handshake, while it comes; afterwards how many frames the prelude waits for */
  char *answer;
  size_t answer_have;
  int prelude_left;
  /* sending: endless repetitions of the frame; how many bytes of them are due, and where in the frame we are */
  uint64_t due;
  size_t phase;
  uint8_t pong[131];
  size_t pong_length, pong_sent;
  /* when the messages that wait for their answers were sent */
  uint64_t *sent_at;
  uint32_t sent, received;
};

/* What a mode does at each event of a connection. */
struct mode {
  const char *name;
  void (*opened)(struct conn *);
  void (*message)(struct conn *);
  void (*was_read)(struct conn *);
  void (*ended)(struct conn *);
  void (*run)(void);
  /* How much is still to come when nothing is sent any more. */
  uint64_t (*pending)(void);
  bool sends, endless, survives_loss, counts_refusals, from_many, publishes;
};

struct server {
  int port, pid;
  uint64_t messages, unanswered, buckets[64 * SUB_BUCKETS], slowest;
};

struct options {
  const char *mode, *ports, *path, *publish_path, *headers, *tokens, *payload, *reply, *pids, *prelude;
  double seconds, warm, per_second;
  int conns, window, server_cpu, prelude_replies;
};

struct measure { uint64_t at, messages, own_cpu, server_cpu, cpu_busy; };

static struct options opt = { .path = "/", .seconds = -1, .conns = 1, .window = 1, .server_cpu = -1 };
static const struct mode *mode;
static struct server servers[MAX_SERVERS];
static int server_count, epoll_fd, conn_count, open_count, settled_count, live_count, refused, ended_early;
static struct conn *conns, *publisher;
static struct bytes *requests, publish_request, stream, reply, prelude_frame;
static size_t request_count, next_request, frame_length, pending_limit;
static uint64_t now, messages, frames_sent, bytes_sent, pings;
/* sending: the time between opening and draining, in which answers lead to new messages. */
static bool sending, stdin_ended;

static void fail(int code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("load: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
  exit(code);
}

static void *allocate(size_t count, size_t size) {
  void *memory = calloc(count ? count : 1, size);
  if (!memory) fail(1, "out of memory");
  return memory;
}

/* ---- time ---- */

static uint64_t clock_ns(clockid_t clock) {
  struct timespec time;
  if (clock_gettime(clock, &time)) fail(1, "a clock cannot be read: %s", strerror(errno));
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static uint64_t in_seconds(double seconds) { return clock_ns(CLOCK_MONOTONIC) + (uint64_t)(seconds * 1e9); }

static uint64_t server_cpu_ns(void) {
  clockid_t clock;
  uint64_t sum = 0;
  for (int i = 0; i < server_count; i++) {
    if (!servers[i].pid) continue;
    if (clock_getcpuclockid(servers[i].pid, &clock)) fail(1, "process %d has no CPU clock", servers[i].pid);
    sum += clock_ns(clock);
  }
  return sum;
}

/* What everybody together used of the server's CPU, from /proc/stat. */
static uint64_t cpu_busy_ns(void) {
  if (opt.server_cpu < 0) return 0;
  FILE *file = fopen("/proc/stat", "r");
  char line[512];
  uint64_t user, nice, system, idle, wait, irq, soft, steal;
  int cpu;
  while (file && fgets(line, sizeof line, file)) {
    if (sscanf(line, "cpu%d %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64,
               &cpu, &user, &nice, &system, &idle, &wait, &irq, &soft, &steal) != 9 || cpu != opt.server_cpu) continue;
    fclose(file);
    return (user + nice + system + irq + soft + steal) * (1000000000u / (uint64_t)sysconf(_SC_CLK_TCK));
  }
  fail(2, "--server-cpu %d is not in /proc/stat", opt.server_cpu);
  return 0;
}

static struct measure measure(void) {
  return (struct measure){ clock_ns(CLOCK_MONOTONIC), messages, clock_ns(CLOCK_PROCESS_CPUTIME_ID), server_cpu_ns(),
                           cpu_busy_ns() };
}

/* ---- latencies: counted in buckets that grow with the time ---- */

static void add_latency(struct server *server, uint64_t ns) {
  if (ns < SUB_BUCKETS) ns = SUB_BUCKETS;
  int power = 63 - __builtin_clzll(ns);
  server->buckets[power * SUB_BUCKETS + (int)((ns >> (power - 6)) & (SUB_BUCKETS - 1))]++;
  if (ns > server->slowest) server->slowest = ns;
}

/* The middle of the bucket in which that share of all latencies is reached, in µs. */
static double latency_us(const struct server *server, double share) {
  uint64_t all = 0, seen = 0;
  for (int i = 0; i < 64 * SUB_BUCKETS; i++) all += server->buckets[i];
  for (int i = 0; i < 64 * SUB_BUCKETS; i++) {
    seen += server->buckets[i];
    if (seen > 0 && (double)seen >= share * (double)all) {
      double from = (double)(1ull << (i / SUB_BUCKETS));
      return from * (1 + (i % SUB_BUCKETS + 0.5) / SUB_BUCKETS) / 1000;
    }
  }
  return 0;
}

/* ---- what is sent: made once ---- */

static struct bytes read_file(const char *name) {
  FILE *file = fopen(name, "rb");
  if (!file) fail(2, "%s: %s", name, strerror(errno));
  struct bytes content = { allocate(1, 1 << 24), 0 };
  content.length = fread(content.at, 1, (1 << 24) - 1, file);
  if (!feof(file)) fail(2, "%s: cannot be read, or is larger than 16 MiB", name);
  fclose(file);
  return content;
}

/* A masked frame with all of the payload. */
static struct bytes masked(int opcode, const uint8_t *payload, size_t length) {
  struct bytes frame = { allocate(1, length + 14), 0 };
  uint8_t *at = frame.at;
  *at++ = (uint8_t)(0x80 | opcode);
  if (length < 126) *at++ = (uint8_t)(0x80 | length);
  else {
    int size = length < 65536 ? 2 : 8;
    *at++ = size == 2 ? 0x80 | 126 : 0x80 | 127;
    for (int i = size - 1; i >= 0; i--) *at++ = (uint8_t)((uint64_t)length >> (8 * i));
  }
  memcpy(at, MASK, 4);
  at += 4;
  for (size_t i = 0; i < length; i++) *at++ = payload[i] ^ MASK[i & 3];
  frame.length = (size_t)(at - frame.at);
  return frame;
}

/* Enough repetitions of the frame for the largest write. */
static void make_stream(void) {
  struct bytes payload = read_file(opt.payload);
  reply = !opt.reply ? payload : strcmp(opt.reply, "any") ? read_file(opt.reply) : (struct bytes){ NULL, 0 };
  struct bytes frame = masked(1, payload.at, payload.length);
  frame_length = frame.length;
  size_t times = (size_t)opt.window;
  if (times * frame_length < STREAM_BYTES) times = STREAM_BYTES / frame_length;
  stream = (struct bytes){ allocate(times, frame_length), times * frame_length };
  for (size_t i = 0; i < times; i++) memcpy(stream.at + i * frame_length, frame.at, frame_length);
}

/* The request of a handshake, with one token in the place of each %TOKEN%; its Host is the first server's. */
static struct bytes make_request(const char *path, const char *headers, const char *token, size_t token_length) {
  struct bytes request = { NULL, 0 };
  FILE *out = open_memstream((char **)&request.at, &request.length);
  if (!out) fail(1, "out of memory");
  fprintf(out, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
          "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n", path, servers[0].port, KEY);
  for (const char *place; (place = strstr(headers, "%TOKEN%")); headers = place + 7) {
    if (!token) fail(2, "the headers have %%TOKEN%%, so --tokens is needed");
    fwrite(headers, 1, (size_t)(place - headers), out);
    fwrite(token, 1, token_length, out);
  }
  fprintf(out, "%s\r\n", headers);
  fclose(out);
  return request;
}

static void make_requests(void) {
  const char *headers = opt.headers ? (char *)read_file(opt.headers).at : "";
  size_t length = strlen(headers);
  if (length && (length < 2 || strcmp(headers + length - 2, "\r\n"))) {
    fail(2, "%s: header lines end with CR LF", opt.headers);
  }
  const char *line = opt.tokens ? (char *)read_file(opt.tokens).at : "";
  requests = allocate(strlen(line) + 1, sizeof *requests);
  while (*(line += strspn(line, "\r\n"))) {
    size_t token_length = strcspn(line, "\r\n");
    if (opt.publish_path && !request_count) publish_request = make_request(opt.publish_path, headers, line, token_length);
    requests[request_count++] = make_request(opt.path, headers, line, token_length);
    line += token_length;
  }
  if (opt.tokens && !request_count) fail(2, "%s: has no token", opt.tokens);
  if (opt.publish_path && !request_count) publish_request = make_request(opt.publish_path, headers, NULL, 0);
  if (!request_count) requests[request_count++] = make_request(opt.path, headers, NULL, 0);
}

/* ---- sending ---- */

static void want_out(struct conn *conn, bool wanted) {
  if (conn->wants_out == wanted) return;
  conn->wants_out = wanted;
  struct epoll_event event = { EPOLLIN | (wanted ? EPOLLOUT : 0), { .ptr = conn } };
  if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, conn->fd, &event)) fail(1, "epoll: %s", strerror(errno));
}

static size_t put(struct conn *conn, const uint8_t *at, size_t length) {
  ssize_t written = send(conn->fd, at, length, MSG_NOSIGNAL);
  /* Whatever else is wrong with the connection, the next read tells. */
  return written < 0 ? 0 : (size_t)written;
}

/* Writes what is due; a pong goes between two frames. */
static void flush(struct conn *conn) {
  bool endless = mode->endless && sending;
  if (endless && conn->due < stream.length) conn->due += stream.length;
  if (conn->pong_length && conn->phase == 0) {
    conn->pong_sent += put(conn, conn->pong + conn->pong_sent, conn->pong_length - conn->pong_sent);
    if (conn->pong_sent < conn->pong_length) return want_out(conn, true);
    conn->pong_length = conn->pong_sent = 0;
  }
  while (conn->due) {
    size_t length = stream.length - conn->phase;
    if (length > conn->due) length = conn->due;
    size_t written = put(conn, stream.at + conn->phase, length);
    conn->phase = (conn->phase + written) % frame_length;
    conn->due -= written;
    bytes_sent += written;
    if (written < length) return want_out(conn, true);
  }
  if (conn->pong_length && conn->phase == 0) return flush(conn);
  want_out(conn, endless);
}

static void send_messages(struct conn *conn, uint32_t count) {
  if (!count) return;
  if (conn->sent - conn->received + count > pending_limit) fail(1, "a connection has %zu unanswered messages", pending_limit);
  for (uint32_t i = 0; i < count; i++) conn->sent_at[conn->sent++ % pending_limit] = now;
  frames_sent += count;
  conn->due += count * (uint64_t)frame_length;
  flush(conn);
}

/* The masked 1000. */
static void send_close(struct conn *conn) {
  static const uint8_t normal[] = { 0x03, 0xe8 };
  static struct bytes frame;
  if (!frame.at) frame = masked(CLOSE, normal, sizeof normal);
  conn->state = CLOSING;
  want_out(conn, false);
  if (put(conn, frame.at, frame.length) < frame.length) fail(1, "a close frame could not be written");
}

static void queue_pong(struct conn *conn) {
  if (conn->state == CLOSING) return;
  pings++;
  /* Only the last of several pings has to be answered; one that is half written is finished first. */
  if (conn->pong_sent) return;
  struct bytes frame = masked(10, conn->control, conn->length);
  memcpy(conn->pong, frame.at, frame.length);
  conn->pong_length = frame.length;
  free(frame.at);
  if (conn->phase == 0) flush(conn);
}

/* ---- receiving ---- */

static void on_open(struct conn *conn) {
  conn->state = OPEN;
  open_count++;
  settled_count++;
  if (mode->opened) mode->opened(conn);
}

static void on_message(struct conn *conn) {
  if (conn->state == PRELUDE) {
    if (--conn->prelude_left == 0) on_open(conn);
    return;
  }
  if (conn->state != OPEN) return;
  if (reply.at && conn->message_length != reply.length && !mode->survives_loss) {
    fail(1, "an answer of %" PRIu64 " bytes where %zu were expected", conn->message_length, reply.length);
  }
  messages++;
  if (mode->message) mode->message(conn);
}

static void lost(const struct conn *conn, int code) {
  const char *what = conn->state == UPGRADING ? "ended a handshake" : "ended a connection";
  fail(1, "the server %s (close code %d)", what, code);
}

/* A flood goes on, as whoever floods would; for all other modes the connection is lost. */
static void on_close_frame(struct conn *conn) {
  if (conn->state == CLOSING || mode->survives_loss) return;
  lost(conn, conn->length < 2 ? 1005 : conn->control[0] << 8 | conn->control[1]);
}

static void on_frame(struct conn *conn) {
  int opcode = conn->head[0] & 15;
  if (opcode == PING) queue_pong(conn);
  if (opcode == CLOSE) on_close_frame(conn);
  if (opcode >= CLOSE) return;
  conn->message_length = (opcode == CONTINUATION ? conn->message_length : 0) + conn->length;
  if (conn->head[0] & 0x80) on_message(conn);
}

static int head_length(const struct conn *conn) {
  if (conn->head_have < 2) return 2;
  int length = conn->head[1] & 127;
  return length == 126 ? 4 : length == 127 ? 10 : 2;
}

static void on_head(struct conn *conn) {
  if ((conn->head[0] & 0x70) || (conn->head[1] & 0x80)) fail(1, "the server sent a frame that is masked or has RSV bits");
  conn->length = conn->head[1] & 127;
  if (conn->length >= 126) {
    int end = head_length(conn);
    conn->length = 0;
    for (int i = 2; i < end; i++) conn->length = conn->length << 8 | conn->head[i];
  }
  if (conn->head[0] & 8 && conn->length > 125) fail(1, "the server sent a control frame of %" PRIu64 " bytes", conn->length);
  conn->left = conn->length;
}

/* Once for each connection the answer itself is looked at: it could be an error of the right length. */
static void verify(struct conn *conn, const uint8_t *at) {
  if (!reply.at || conn->state != OPEN || conn->head[0] != 0x81 || conn->length != reply.length) return;
  if (memcmp(at, reply.at, reply.length) && !mode->survives_loss) {
    fail(1, "the server answered %.*s", (int)(reply.length < 300 ? reply.length : 300), (const char *)at);
  }
  conn->verified = true;
}

static void feed(struct conn *conn, const uint8_t *at, size_t length) {
  while (length) {
    if (!conn->left) {
      while (length && conn->head_have < head_length(conn)) {
        conn->head[conn->head_have++] = *at++;
        length--;
      }
      if (conn->head_have < head_length(conn)) return;
      on_head(conn);
    }
    size_t take = conn->left < length ? conn->left : length;
    if (conn->head[0] & 8) memcpy(conn->control + conn->length - conn->left, at, take);
    else if (!conn->verified && take == conn->length) verify(conn, at);
    conn->left -= take;
    at += take;
    length -= take;
    if (conn->left) return;
    conn->head_have = 0;
    on_frame(conn);
  }
}

static void end(struct conn *conn) {
  bool expected = conn->state == CLOSING;
  if (!expected && !mode->survives_loss) lost(conn, 1006);
  if (!expected) ended_early++;
  if (conn->state == UPGRADING || conn->state == PRELUDE || conn->refused) settled_count++;
  close(conn->fd);
  free(conn->answer);
  conn->answer = NULL;
  conn->state = UNUSED;
  live_count--;
  if (mode->ended && expected) mode->ended(conn);
}

static void refuse(struct conn *conn) {
  conn->answer[strcspn(conn->answer, "\r\n")] = 0;
  if (!mode->counts_refusals) fail(1, "a handshake was refused: %s", conn->answer);
  refused++;
  conn->refused = true;
  conn->state = CLOSING;
  end(conn);
}

/* The answer to the handshake; what follows it are frames. */
static void on_answer(struct conn *conn, const uint8_t *at, size_t length) {
  if (conn->answer_have + length >= HEAD_BYTES) fail(1, "the answer to a handshake is longer than %d bytes", HEAD_BYTES);
  if (!conn->answer) conn->answer = allocate(1, HEAD_BYTES);
  memcpy(conn->answer + conn->answer_have, at, length);
  conn->answer_have += length;
  const char *body = strstr(conn->answer, "\r\n\r\n");
  if (!body) return;
  if (strncmp(conn->answer, "HTTP/1.1 101 ", 13) || !strstr(conn->answer, ACCEPT)) return refuse(conn);
  size_t rest = conn->answer_have - (size_t)(body + 4 - conn->answer);
  free(conn->answer);
  conn->answer = NULL;
  /* Who only publishes has nothing to wait for. */
  if (prelude_frame.at && !(mode->publishes && conn == publisher)) {
    conn->state = PRELUDE;
    conn->prelude_left = opt.prelude_replies;
    if (put(conn, prelude_frame.at, prelude_frame.length) < prelude_frame.length) fail(1, "the prelude could not be written");
  } else on_open(conn);
  feed(conn, at + length - rest, rest);
}

static void on_readable(struct conn *conn) {
  static uint8_t buffer[READ_BYTES];
  ssize_t length = read(conn->fd, buffer, sizeof buffer);
  if (length < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (length <= 0) return end(conn);
  now = clock_ns(CLOCK_MONOTONIC);
  if (conn->state == UPGRADING) on_answer(conn, buffer, (size_t)length);
  else feed(conn, buffer, (size_t)length);
  if (conn->state == OPEN && mode->was_read) mode->was_read(conn);
}

/* One turn of the event loop. Its pointers: a connection; NULL is stdin; the epoll's own number is the timer. */
static void turn(int timeout_ms) {
  struct epoll_event events[EVENTS];
  int count = epoll_wait(epoll_fd, events, EVENTS, timeout_ms);
  if (count < 0 && errno != EINTR) fail(1, "epoll: %s", strerror(errno));
  now = clock_ns(CLOCK_MONOTONIC);
  for (int i = 0; i < count; i++) {
    struct conn *conn = events[i].data.ptr;
    if (!conn) {
      char nothing[256];
      if (read(STDIN_FILENO, nothing, sizeof nothing) <= 0) stdin_ended = true;
      if (stdin_ended) epoll_ctl(epoll_fd, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
    } else if (events[i].data.ptr != &epoll_fd) {
      if (events[i].events & EPOLLOUT && conn->wants_out) flush(conn);
      if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR) && conn->state != UNUSED) on_readable(conn);
    }
  }
}

/* ---- opening and closing ---- */

/* Measured handshakes come from many addresses; one has ports for 28,000 a minute, and connect() waits for more. */
static void bind_shake(int fd) {
  static uint32_t started;
  const int on = 1;
  struct sockaddr_in from = { .sin_family = AF_INET };
  from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + started++ % SHAKE_ADDRESSES);
  setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
  if (bind(fd, (struct sockaddr *)&from, sizeof from)) fail(1, "no address for a client: %s", strerror(errno));
}

static void start(struct conn *conn) {
  struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)servers[conn->server].port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
  bool publishes = mode->publishes && conn == publisher;
  const struct bytes *request = publishes ? &publish_request : &requests[next_request++ % request_count];
  const int on = 1;
  uint64_t *sent_at = conn->sent_at;
  *conn = (struct conn){ .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), .server = conn->server,
                         .state = UPGRADING, .sent_at = sent_at };
  if (conn->fd >= 0 && mode->from_many) bind_shake(conn->fd);
  /* On loopback connect() is done at once, as long as the backlog of the server has room. */
  if (conn->fd < 0 || connect(conn->fd, (struct sockaddr *)&address, sizeof address)) {
    fail(1, "cannot connect to port %d: %s", servers[conn->server].port, strerror(errno));
  }
  setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  fcntl(conn->fd, F_SETFL, O_NONBLOCK);
  struct epoll_event event = { EPOLLIN, { .ptr = conn } };
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, conn->fd, &event)) fail(1, "epoll: %s", strerror(errno));
  conn->sent_at[0] = clock_ns(CLOCK_MONOTONIC);
  live_count++;
  if (put(conn, request->at, request->length) < request->length) fail(1, "a handshake could not be written");
}

static void make_conns(int per_server, int used_servers) {
  conn_count = per_server * used_servers;
  if (conn_count > MAX_CONNS) fail(2, "at most %d connections", MAX_CONNS);
  struct rlimit files = { 0, 0 };
  getrlimit(RLIMIT_NOFILE, &files);
  if (files.rlim_max < (rlim_t)conn_count + 32) fail(2, "%d connections need more open files (ulimit -n)", conn_count);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  conns = allocate((size_t)conn_count, sizeof *conns);
  for (int i = 0; i < conn_count; i++) {
    conns[i].server = i % used_servers;
    conns[i].sent_at = allocate(pending_limit, sizeof *conns[i].sent_at);
  }
}

static void open_all(void) {
  uint64_t deadline = in_seconds(OPEN_SECONDS);
  for (int started = 0; settled_count < conn_count;) {
    while (started < conn_count && started - settled_count < OPENING) start(&conns[started++]);
    turn(100);
    if (now > deadline) fail(1, "%d of %d connections opened within %.0f s", open_count, conn_count, OPEN_SECONDS);
  }
}

/* Turns until then, or until stdin ends where that counts. */
static void turns_until(uint64_t deadline, bool or_stdin) {
  now = clock_ns(CLOCK_MONOTONIC);
  while (now < deadline && !(or_stdin && stdin_ended)) {
    uint64_t ms = (deadline - now + 999999) / 1000000;
    turn(ms < 1000 ? (int)ms : 1000);
  }
}

static void close_all(void) {
  uint64_t deadline = in_seconds(CLOSE_SECONDS);
  for (int i = 0; i < conn_count; i++) {
    if (conns[i].state == OPEN && conns[i].phase == 0) send_close(&conns[i]);
  }
  while (live_count && now < deadline) turn(50);
}

/* Only a pipe, a socket or a terminal can be waited for. */
static bool watch_stdin(void) {
  struct epoll_event event = { EPOLLIN, { .ptr = NULL } };
  return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &event) == 0;
}

/* ---- results ---- */

static double cpu_us_each(uint64_t cpu_ns, uint64_t count) { return count ? (double)cpu_ns / 1e3 / (double)count : 0; }

static void print_rates(struct measure from, struct measure to) {
  double ns = (double)(to.at - from.at);
  uint64_t count = to.messages - from.messages, server = to.server_cpu - from.server_cpu;
  printf("{\"messages\":%" PRIu64 ",\"seconds\":%.4f,\"rate\":%.1f,", count, ns / 1e9, (double)count / ns * 1e9);
  printf("\"cpuUs\":%.3f,\"ownCpuShare\":%.4f,", cpu_us_each(server, count), (double)(to.own_cpu - from.own_cpu) / ns);
  double others = ((double)(to.cpu_busy - from.cpu_busy) - (double)server) / ns;
  if (opt.server_cpu < 0) printf("\"otherShare\":null,");
  else printf("\"otherShare\":%.4f,", others > 0 ? others : 0);
  printf("\"p50Us\":%.1f,\"p99Us\":%.1f,", latency_us(servers, 0.5), latency_us(servers, 0.99));
  printf("\"sent\":%" PRIu64 ",\"received\":%" PRIu64 ",\"refused\":%d}\n", frames_sent, messages, refused);
}

/* Between opening and draining: what the modes that are measured as a rate have in common. */
static void run_measured(void) {
  turns_until(in_seconds(opt.warm), false);
  memset(servers[0].buckets, 0, sizeof servers[0].buckets);
  struct measure from = measure();
  turns_until(in_seconds(opt.seconds), false);
  struct measure to = measure();
  sending = false;
  struct server window = servers[0];
  if (to.messages == from.messages && !refused) fail(1, "nothing came back");
  uint64_t deadline = in_seconds(DRAIN_SECONDS);
  while (mode->pending() > 0) {
    turn(50);
    if (now > deadline) fail(1, "%" PRIu64 " answers did not come within %.0f s", mode->pending(), DRAIN_SECONDS);
  }
  servers[0] = window;
  close_all();
  print_rates(from, to);
  if (refused) fail(1, "%d handshakes were refused", refused);
}

/* ---- echo: a window of unanswered messages on each connection ---- */

static void take_answer(struct conn *conn) {
  if (conn->received == conn->sent) fail(1, "more answers than messages");
  add_latency(&servers[conn->server], now - conn->sent_at[conn->received++ % pending_limit]);
  servers[conn->server].messages++;
}

static void refill(struct conn *conn) {
  if (sending) send_messages(conn, (uint32_t)opt.window - (conn->sent - conn->received));
}

static uint64_t unanswered(void) { return frames_sent - messages; }

static void run_echo(void) {
  make_conns(opt.conns, server_count);
  open_all();
  sending = true;
  for (int i = 0; i < conn_count; i++) refill(&conns[i]);
  run_measured();
}

/* ---- shake: open, close, again ---- */

static void count_shake(struct conn *conn) {
  if (!conn->refused) {
    messages++;
    add_latency(servers, now - conn->sent_at[0]);
  }
  if (sending) start(conn);
}

static uint64_t shakes_under_way(void) { return (uint64_t)live_count; }

static void run_shake(void) {
  if (opt.conns > MAX_SHAKES) fail(2, "at most %d handshakes at a time", MAX_SHAKES);
  make_conns(opt.conns, server_count);
  sending = true;
  for (int i = 0; i < conn_count; i++) start(&conns[i]);
  run_measured();
}

/*
 * ---- fan: the last connection publishes to all, and publishes again when all have it
 * ---- publish: it is no subscriber itself, may be at a server of its own, and every single delivery is timed
 */

static uint32_t fan_complete;
static int *fan_had; /* of each publish that is under way: how many have it */
static int subscribers;

static void take_delivery(struct conn *conn) {
  uint32_t number = conn->received++;
  if (mode->publishes && conn == publisher) fail(1, "a delivery to the one that only publishes");
  if (number >= publisher->sent) fail(1, "more deliveries than publishes");
  bool complete = ++fan_had[number % pending_limit] == subscribers;
  if (complete || mode->publishes) add_latency(servers, now - publisher->sent_at[number % pending_limit]);
  if (!complete) return;
  fan_had[number % pending_limit] = 0;
  fan_complete++;
  if (mode->publishes) publisher->received++;
}

static void publish(struct conn *conn) {
  (void)conn;
  if (sending) send_messages(publisher, (uint32_t)opt.window - (publisher->sent - fan_complete));
}

static uint64_t publishes_under_way(void) { return frames_sent - fan_complete; }

static void run_fan(void) {
  make_conns(opt.conns + 1, 1);
  publisher = &conns[conn_count - 1];
  publisher->server = server_count - 1;
  subscribers = mode->publishes ? opt.conns : conn_count;
  fan_had = allocate(pending_limit, sizeof *fan_had);
  open_all();
  sending = true;
  publish(NULL);
  run_measured();
}

static void print_open(void) {
  printf("{\"open\":%d}\n", open_count);
  fflush(stdout);
}

/* ---- hold: connections that only answer pings ---- */

static void run_hold(void) {
  if (!watch_stdin()) fail(2, "hold ends when stdin does: it has to be a pipe");
  make_conns(opt.conns, server_count);
  open_all();
  print_open();
  uint64_t from = now;
  turns_until(opt.seconds > 0 ? in_seconds(opt.seconds) : UINT64_MAX, true);
  printf("{\"open\":%d,\"pings\":%" PRIu64 ",\"seconds\":%.3f}\n", live_count, pings, (double)(now - from) / 1e9);
  fflush(stdout);
  close_all();
}

/* ---- pace: so many messages a second on each connection, evenly spread, and in turn to each server ---- */

static int timer_fd;

static void wake_at(uint64_t at) {
  struct itimerspec timer = { .it_value = { (time_t)(at / 1000000000u), (long)(at % 1000000000u) } };
  if (timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &timer, NULL)) fail(1, "timerfd: %s", strerror(errno));
}

static void make_timer(void) {
  /* Edge-triggered: it is set anew each time, and need not be read. */
  struct epoll_event event = { EPOLLIN | EPOLLET, { .ptr = &epoll_fd } };
  timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  if (timer_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer_fd, &event)) fail(1, "timerfd: %s", strerror(errno));
}

static void forget_latencies(void) {
  for (int i = 0; i < server_count; i++) {
    memset(servers[i].buckets, 0, sizeof servers[i].buckets);
    servers[i].messages = servers[i].slowest = 0;
  }
}

/* Everything that is due within these seconds goes out, late if need be. */
static void send_paced(double seconds, double interval_ns, uint64_t *slot) {
  uint64_t begin = in_seconds(0), deadline = begin + (uint64_t)(seconds * 1e9), first = *slot;
  now = begin;
  for (;;) {
    uint64_t next = begin + (uint64_t)((double)(*slot - first) * interval_ns);
    if (next >= deadline) return turns_until(deadline, false);
    if (next <= now) {
      now = clock_ns(CLOCK_MONOTONIC);
      send_messages(&conns[(*slot)++ % (uint64_t)conn_count], 1);
    } else {
      wake_at(next);
      turn(1000);
    }
  }
}

/* What never came waited at least until now. */
static void count_unanswered(void) {
  for (int i = 0; i < conn_count; i++) {
    struct server *server = &servers[conns[i].server];
    for (uint32_t n = conns[i].received; n != conns[i].sent; n++) {
      add_latency(server, now - conns[i].sent_at[n % pending_limit]);
      server->unanswered++;
    }
  }
}

static void print_paced(struct measure from, struct measure to) {
  double ns = (double)(to.at - from.at);
  printf("{\"ports\":[");
  for (int i = 0; i < server_count; i++) {
    const struct server *server = &servers[i];
    printf("%s{\"port\":%d,\"messages\":%" PRIu64 ",\"unanswered\":%" PRIu64 ",", i ? "," : "", server->port,
           server->messages, server->unanswered);
    printf("\"p50Us\":%.1f,\"p99Us\":%.1f,\"maxUs\":%.1f}", latency_us(server, 0.5), latency_us(server, 0.99),
           (double)server->slowest / 1e3);
  }
  printf("],\"seconds\":%.4f,\"ownCpuShare\":%.4f,", ns / 1e9, (double)(to.own_cpu - from.own_cpu) / ns);
  printf("\"serverCpuShare\":%.4f,\"sent\":%" PRIu64 "}\n", (double)(to.server_cpu - from.server_cpu) / ns, frames_sent);
}

static void run_pace(void) {
  make_conns(opt.conns, server_count);
  make_timer();
  open_all();
  uint64_t slot = 0;
  double interval_ns = 1e9 / (opt.per_second * conn_count);
  send_paced(opt.warm, interval_ns, &slot);
  forget_latencies();
  struct measure from = measure();
  send_paced(opt.seconds, interval_ns, &slot);
  struct measure to = measure();
  uint64_t deadline = in_seconds(DRAIN_SECONDS);
  while (unanswered() && now < deadline) turn(50);
  count_unanswered();
  close_all();
  print_paced(from, to);
}

/* ---- flood: as much as the socket takes ---- */

static void run_flood(void) {
  bool has_end = watch_stdin();
  if (opt.seconds <= 0 && !has_end) fail(2, "a flood needs --seconds, or a pipe as stdin that ends it");
  make_conns(opt.conns, server_count);
  open_all();
  print_open();
  sending = true;
  for (int i = 0; i < conn_count; i++) {
    if (conns[i].state == OPEN) flush(&conns[i]);
  }
  struct measure from = measure();
  turns_until(opt.seconds > 0 ? in_seconds(opt.seconds) : UINT64_MAX, has_end);
  struct measure to = measure();
  double ns = (double)(to.at - from.at);
  printf("{\"written\":%" PRIu64 ",\"received\":%" PRIu64 ",", bytes_sent / frame_length, messages);
  printf("\"refused\":%d,\"ended\":%d,\"seconds\":%.3f,", refused, ended_early, ns / 1e9);
  printf("\"ownCpuShare\":%.4f}\n", (double)(to.own_cpu - from.own_cpu) / ns);
}

/* ---- the command line ---- */

static const struct mode modes[] = {
  { .name = "echo", .run = run_echo, .message = take_answer, .was_read = refill, .pending = unanswered, .sends = true },
  { .name = "shake", .run = run_shake, .opened = send_close, .ended = count_shake, .pending = shakes_under_way,
    .counts_refusals = true, .from_many = true },
  { .name = "fan", .run = run_fan, .message = take_delivery, .was_read = publish, .pending = publishes_under_way,
    .sends = true },
  { .name = "publish", .run = run_fan, .message = take_delivery, .was_read = publish, .pending = publishes_under_way,
    .sends = true, .publishes = true },
  { .name = "hold", .run = run_hold },
  { .name = "pace", .run = run_pace, .message = take_answer, .sends = true },
  { .name = "flood", .run = run_flood, .sends = true, .endless = true, .survives_loss = true,
    .counts_refusals = true }
};

static const struct {
  const char *name;
  const char **text;
  int *whole;
  double *real;
  double least, most;
} option_table[] = {
  { "mode", .text = &opt.mode },
  { "port", .text = &opt.ports },       /* for pace: several, as 1,2; for publish: the subscribers', the publisher's */
  { "path", .text = &opt.path },
  { "publish-path", .text = &opt.publish_path },
  { "headers", .text = &opt.headers },  /* a file of header lines; %TOKEN% in it is a line of --tokens */
  { "tokens", .text = &opt.tokens },
  { "payload", .text = &opt.payload },  /* a file: the text of each message */
  { "reply", .text = &opt.reply },      /* a file: the text of each answer, if it is not the payload; or any */
  { "prelude", .text = &opt.prelude },  /* a file: a text to send after the 101 */
  { "pid", .text = &opt.pids },         /* of the servers, whose CPU time is measured; for publish: the subscribers' */
  { "conns", .whole = &opt.conns, .least = 1, .most = MAX_CONNS },
  { "window", .whole = &opt.window, .least = 1, .most = MAX_WINDOW },
  { "server-cpu", .whole = &opt.server_cpu, .least = 0, .most = 4096 },
  { "prelude-replies", .whole = &opt.prelude_replies, .least = 1, .most = 100 },
  { "seconds", .real = &opt.seconds, .least = 0.001, .most = 3600 },
  { "warm", .real = &opt.warm, .least = 0, .most = 3600 },
  { "per-second", .real = &opt.per_second, .least = 0.001, .most = 1e6 }
};
enum { OPTIONS = sizeof option_table / sizeof *option_table, MODES = sizeof modes / sizeof *modes };

static void set_option(const char *name, const char *value) {
  int i = 0;
  while (i < OPTIONS && (strncmp(name, "--", 2) || strcmp(name + 2, option_table[i].name))) i++;
  if (i == OPTIONS) fail(2, "there is no option %s", name);
  if (!value) fail(2, "%s needs a value", name);
  if (option_table[i].text) {
    *option_table[i].text = value;
    return;
  }
  char *end;
  double number = strtod(value, &end);
  bool fits = end != value && !*end && number >= option_table[i].least && number <= option_table[i].most;
  if (!fits || (option_table[i].whole && number != (int)number)) {
    fail(2, "%s %s: a %s from %g to %g", name, value, option_table[i].whole ? "whole number" : "number",
         option_table[i].least, option_table[i].most);
  }
  if (option_table[i].whole) *option_table[i].whole = (int)number;
  else *option_table[i].real = number;
}

static int read_list(const char *name, const char *text, int most, int *numbers) {
  for (int count = 0; count < MAX_SERVERS;) {
    char *end;
    long number = strtol(text, &end, 10);
    if (end == text || number < 1 || number > most || (*end && *end != ',')) break;
    numbers[count++] = (int)number;
    if (!*end) return count;
    text = end + 1;
  }
  fail(2, "%s: 1 to %d numbers from 1 to %d, with commas between", name, MAX_SERVERS, most);
  return 0;
}

static void read_servers(void) {
  int numbers[MAX_SERVERS];
  if (!opt.ports) fail(2, "--port is needed");
  server_count = read_list("--port", opt.ports, 65535, numbers);
  for (int i = 0; i < server_count; i++) servers[i].port = numbers[i];
  if (server_count > 1 && mode->run != run_pace && !mode->publishes) fail(2, "only pace and publish take several ports");
  if (server_count > 2 && mode->publishes) fail(2, "publish takes one port or two");
  if (!opt.pids) return;
  int pid_count = mode->publishes ? 1 : server_count;
  if (read_list("--pid", opt.pids, INT32_MAX, numbers) != pid_count) fail(2, "--pid: %d of them", pid_count);
  for (int i = 0; i < pid_count; i++) servers[i].pid = numbers[i];
  server_cpu_ns();
}

static void check_options(void) {
  for (int i = 0; opt.mode && i < MODES; i++) {
    if (!strcmp(opt.mode, modes[i].name)) mode = &modes[i];
  }
  if (!mode) fail(2, "--mode is one of echo, shake, fan, publish, hold, pace, flood");
  read_servers();
  if (mode->sends && !opt.payload) fail(2, "%s needs --payload", mode->name);
  if (opt.seconds < 0 && mode->run != run_hold && mode->run != run_flood) fail(2, "%s needs --seconds", mode->name);
  if (mode->run == run_pace && opt.per_second <= 0) fail(2, "pace needs --per-second");
  if (!opt.publish_path == mode->publishes) fail(2, "publish needs --publish-path, and nothing else takes it");
  if (!opt.prelude != !opt.prelude_replies) fail(2, "--prelude and --prelude-replies go together");
}

int main(int count, char **arguments) {
  for (int i = 1; i < count; i += 2) set_option(arguments[i], i + 1 < count ? arguments[i + 1] : NULL);
  check_options();
  pending_limit = mode->run == run_pace ? PACE_PENDING : (size_t)opt.window;
  if (opt.prelude) {
    struct bytes text = read_file(opt.prelude);
    prelude_frame = masked(1, text.at, text.length);
  }
  if (mode->sends) make_stream();
  make_requests();
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd < 0) fail(1, "epoll: %s", strerror(errno));
  cpu_busy_ns();
  mode->run();
  return 0;
}
