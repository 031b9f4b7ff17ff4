/* streamload: source and sink in one program, to measure an HTTP/1.1 streaming proxy that stands between.
 *
 *   streamload source
 *       listens on a free port of 127.0.0.1 and prints it; answers
 *       GET /stream?n=100&gap_us=10000&size=64   chunked text/event-stream: n events of size bytes, gap_us
 *                                                apart (0: as fast as the socket takes them), each of them
 *                                                one chunk and one write
 *       GET /stream?...&gzip=1                   the same with Content-Encoding: gzip, flushed after each event
 *       GET /plain?size=1024                     a body with Content-Length
 *       POST /upload                             takes a body with Content-Length, answers with its length
 *       POST to anywhere else                    takes the body and never answers
 *   streamload sink PORT -c CONNECTIONS -t SECONDS [-w WARM_UP_SECONDS] [-o CONNECTIONS_A_SECOND] [-a] [-T]
 *                   [-P PID]... {-n EVENTS -g GAP_US -s SIZE [-z] [-i] | -p -s SIZE | -u -n PIECES -s SIZE}
 *       keeps CONNECTIONS requests for /stream (-p: /plain; -u: uploads of PIECES writes of SIZE bytes) running
 *       against 127.0.0.1:PORT, warms up, then measures. -T speaks TLS and checks no certificate. -z asks the
 *       source to compress, and expects that the proxy undoes it. -i expects that the proxy adds a line to each
 *       event, as unbuffer does where streams are resumable. -a waits for answers: no more than 128 requests are
 *       unanswered at a time, and the warm-up begins when all are answered. Prints two JSON lines:
 *       {"open": answers being received} when the window opens, the result when it closes. -P adds a process
 *       whose CPU time (all its threads) inside the window is reported.
 *
 * To build it: cc -O2 streamload.c -lssl -lcrypto -lz
 *
 * An event starts with "data: " and 24 hex digits: 16 of CLOCK_MONOTONIC in ns just before its write, 8 of
 * its number in its stream. The sink takes that time from the one at which it read the event: the delay of
 * all that stands between, with sockets. An answer counts as an error unless its status is 200, its framing
 * the one that the source chose, its events numbered without a gap, and its bytes exactly as many as asked
 * for.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#define SECOND 1000000000ull
#define BATCH 256
#define TURN 16 /* events that one stream may send before the next one has its turn */
#define STAMP_PREFIX "data: "
#define TIME_DIGITS 16
#define STAMP_DIGITS 24
#define LARGEST_EVENT (1 << 20)
#define UNANSWERED 128 /* well below what waits in a listening socket: the kernel resets what it has no room for */
#define SMALLEST_EVENT 34 /* prefix, digits, a space, a byte of padding, two line ends */

static void die(const char *what)
{
    fprintf(stderr, "streamload: %s: %s\n", what, strerror(errno));
    exit(1);
}
static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    if (clock_gettime(clock, &t)) die("cannot read a clock (has a process of -P ended?)");
    return t.tv_sec * SECOND + t.tv_nsec;
}
static uint64_t now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }
static void no_delay(int fd)
{
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}
static struct sockaddr_in loopback(int port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* --------------------------------------------------------------- timers: a binary heap behind one timerfd */

struct timer { int place; uint64_t due; }; /* the first member of a connection; place -1: not in the heap */
static struct timer **heap;
static int heap_size, heap_room, timer_fd, epoll_fd;

static void heap_swap(int a, int b)
{
    struct timer *x = heap[a];
    heap[a] = heap[b]; heap[b] = x;
    heap[a]->place = a; heap[b]->place = b;
}
static void heap_sift(int i)
{
    for (; i && heap[(i - 1) / 2]->due > heap[i]->due; i = (i - 1) / 2) heap_swap(i, (i - 1) / 2);
    for (;;) {
        int left = 2 * i + 1, least = i;
        if (left < heap_size && heap[left]->due < heap[least]->due) least = left;
        if (left + 1 < heap_size && heap[left + 1]->due < heap[least]->due) least = left + 1;
        if (least == i) return;
        heap_swap(i, least);
        i = least;
    }
}
static void timer_set(struct timer *t, uint64_t due) /* t is not in the heap */
{
    if (heap_size == heap_room) {
        heap_room = heap_room ? heap_room * 2 : 1024;
        if (!(heap = realloc(heap, heap_room * sizeof *heap))) die("realloc");
    }
    t->due = due; t->place = heap_size;
    heap[heap_size++] = t;
    heap_sift(t->place);
}
static void timer_clear(struct timer *t)
{
    int i = t->place;
    if (i < 0) return;
    heap_swap(i, --heap_size);
    t->place = -1;
    if (i < heap_size) heap_sift(i);
}
static struct timer *timer_due(uint64_t now) /* taken out of the heap; null: none is due */
{
    if (!heap_size || heap[0]->due > now) return 0;
    struct timer *t = heap[0];
    timer_clear(t);
    return t;
}
static int wait_for(struct epoll_event *events) /* readiness, or the next timer */
{
    struct itimerspec at = {0};
    if (heap_size) {
        at.it_value.tv_sec = heap[0]->due / SECOND;
        at.it_value.tv_nsec = heap[0]->due % SECOND;
    }
    timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &at, 0);
    return epoll_wait(epoll_fd, events, BATCH, 100);
}
static void watch(int operation, int fd, unsigned interest, void *owner)
{
    struct epoll_event e = {interest, {.ptr = owner}};
    if (epoll_ctl(epoll_fd, operation, fd, &e)) die("epoll_ctl");
}
static void watch_timer(void)
{
    epoll_fd = epoll_create1(0);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    watch(EPOLL_CTL_ADD, timer_fd, EPOLLIN, &timer_fd);
}
static void timer_read(void)
{
    uint64_t expirations;
    (void)!read(timer_fd, &expirations, sizeof expirations);
}

/* ------------------------------------------------------------------------------------------------- source */

struct source {
    struct timer timer;
    int fd, waits_to_write, streaming, listening; /* listening: to a body without end */
    long uploading, uploaded; /* bytes of an upload that are still to come, and its length */
    z_stream *gzip; /* null: bodies go as they are */
    char request[4096]; int request_len;
    long number, events, gap_us, size; /* number: of the next event */
    char *out; long out_len, out_sent;
};

static void source_close(struct source *c)
{
    timer_clear(&c->timer);
    close(c->fd);
    if (c->gzip) deflateEnd(c->gzip);
    free(c->gzip);
    free(c->out);
    free(c);
}
static int source_flush(struct source *c) /* 0: all is out, or waits for the socket; -1: broken */
{
    while (c->out_sent < c->out_len) {
        ssize_t k = send(c->fd, c->out + c->out_sent, c->out_len - c->out_sent, MSG_NOSIGNAL);
        if (k < 0 && errno != EAGAIN) return -1;
        if (k < 0) {
            if (!c->waits_to_write) watch(EPOLL_CTL_MOD, c->fd, EPOLLIN | EPOLLOUT, c);
            c->waits_to_write = 1;
            return 0;
        }
        c->out_sent += k;
    }
    c->out_len = c->out_sent = 0;
    if (c->waits_to_write) watch(EPOLL_CTL_MOD, c->fd, EPOLLIN, c);
    c->waits_to_write = 0;
    return 0;
}
static void source_stamp(struct source *c, char *event)
{
    char stamp[64];
    memset(event, 'x', c->size);
    memcpy(event, stamp, sprintf(stamp, STAMP_PREFIX "%016" PRIx64 "%08lx ", now_ns(), c->number++));
    memcpy(event + c->size - 2, "\n\n", 2);
}
static long source_deflate(struct source *c, const char *event, char *out) /* the bytes that it has become */
{
    c->gzip->next_in = (void *)event;
    c->gzip->avail_in = c->size;
    c->gzip->next_out = (void *)out;
    c->gzip->avail_out = c->size + 512;
    deflate(c->gzip, c->number == c->events ? Z_FINISH : Z_SYNC_FLUSH);
    return (char *)c->gzip->next_out - out;
}
static void source_event(struct source *c) /* append one event; after the last one, the end of the body */
{
    static char event[LARGEST_EVENT], packed[LARGEST_EVENT + 512];
    char *p = c->out + c->out_len;
    if (c->gzip) {
        source_stamp(c, event);
        long k = source_deflate(c, event, packed);
        p += sprintf(p, "%lx\r\n", k);
        memcpy(p, packed, k);
        p += k;
    } else {
        p += sprintf(p, "%lx\r\n", c->size);
        source_stamp(c, p);
        p += c->size;
    }
    memcpy(p, "\r\n", 2);
    p += 2;
    if (c->number == c->events) {
        memcpy(p, "0\r\n\r\n", 5);
        p += 5;
        c->streaming = 0;
    }
    c->out_len = p - c->out;
}
static int source_pump(struct source *c, uint64_t due) /* send what is due at that moment; as source_flush */
{
    for (int i = 0; c->streaming && !c->out_len && i < (c->gap_us ? 1 : TURN); i++) {
        source_event(c);
        if (source_flush(c)) return -1;
    }
    if (c->streaming && c->gap_us) timer_set(&c->timer, due + c->gap_us * 1000);
    else if (c->streaming && !c->out_len) timer_set(&c->timer, now_ns());
    return 0;
}
static long query(const char *request, const char *key, long missing)
{
    const char *end = strstr(request, "\r\n"), *at = strstr(request, key);
    return at && at < end ? atol(at + strlen(key)) : missing;
}
static int source_take(struct source *c, long k) /* k bytes of an upload; as source_flush */
{
    if (k > c->uploading) return -1;
    if (c->uploading -= k) return 0;
    char length[32];
    sprintf(length, "%ld", c->uploaded);
    c->out_len = sprintf(c->out, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n%s",
                         strlen(length), length);
    return source_flush(c);
}
static int source_answer(struct source *c) /* 0: answered, or the head is not complete; -1: broken */
{
    char *end = strstr(c->request, "\r\n\r\n");
    if (!end) return c->request_len == sizeof c->request - 1 ? -1 : 0;
    if (!strncmp(c->request, "POST /upload ", 13)) {
        const char *length = strcasestr(c->request, "\r\nContent-Length:");
        if (!length || length > end) return -1;
        c->uploading = c->uploaded = atol(length + 17);
        long came = c->request_len - (end + 4 - c->request);
        c->request_len = 0;
        free(c->out);
        if (!(c->out = malloc(1024))) die("malloc");
        return source_take(c, came);
    }
    if ((c->listening = !strncmp(c->request, "POST ", 5))) {
        c->request_len = 0;
        return 0;
    }
    c->size = query(c->request, "size=", 64);
    c->gap_us = query(c->request, "gap_us=", 0);
    c->events = query(c->request, "n=", 100);
    c->number = 0;
    if (c->size < SMALLEST_EVENT || c->size > LARGEST_EVENT || c->events < 1) return -1;
    free(c->out);
    if (!(c->out = malloc(c->size + 1024))) die("malloc"); /* room for a head, and later for one event */
    if (query(c->request, "gzip=", 0) && !c->gzip) {
        if (!(c->gzip = calloc(1, sizeof *c->gzip))) die("calloc");
        if (deflateInit2(c->gzip, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) die("deflateInit2");
    } else if (c->gzip) {
        deflateReset(c->gzip);
    }
    if (!strncmp(c->request, "GET /plain?", 11)) {
        c->out_len = sprintf(c->out, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
                                     "Content-Length: %ld\r\n\r\n", c->size);
        memset(c->out + c->out_len, 'x', c->size);
        c->out_len += c->size;
    } else {
        c->out_len = sprintf(c->out, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
                                     "Cache-Control: no-cache\r\n%sTransfer-Encoding: chunked\r\n\r\n",
                             c->gzip ? "Content-Encoding: gzip\r\n" : "");
        c->streaming = 1;
    }
    c->out_sent = 0;
    c->request_len -= end + 4 - c->request;
    memmove(c->request, end + 4, c->request_len + 1);
    if (source_flush(c)) return -1;
    return c->streaming ? source_pump(c, now_ns()) : 0;
}
static int source_ready(struct source *c, unsigned what) /* as source_flush */
{
    if (what & EPOLLOUT) {
        if (source_flush(c)) return -1;
        if (c->streaming && !c->gap_us && !c->out_len) return source_pump(c, 0);
    }
    if (c->uploading && what & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        static char buffer[1 << 18];
        ssize_t k = recv(c->fd, buffer, sizeof buffer, 0);
        if (k < 0 && errno == EAGAIN) return 0;
        return k <= 0 ? -1 : source_take(c, k);
    }
    if (what & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        ssize_t k = recv(c->fd, c->request + c->request_len, sizeof c->request - 1 - c->request_len, 0);
        if (k == 0 || (k < 0 && errno != EAGAIN)) return -1;
        if (c->listening) return 0;
        if (k > 0) c->request[c->request_len += k] = 0;
        if (c->streaming || c->out_len) return c->request_len ? -1 : 0; /* the sink does not pipeline */
        return source_answer(c);
    }
    return 0;
}
static void source_accept(int listener)
{
    int fd;
    while ((fd = accept4(listener, 0, 0, SOCK_NONBLOCK)) >= 0) {
        struct source *c = calloc(1, sizeof *c);
        if (!c) die("calloc");
        no_delay(fd);
        c->fd = fd;
        c->timer.place = -1;
        watch(EPOLL_CTL_ADD, fd, EPOLLIN, c);
    }
}
static void source(void)
{
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in at = loopback(0);
    socklen_t len = sizeof at;
    if (bind(listener, (void *)&at, sizeof at) || listen(listener, 4096)) die("listen");
    getsockname(listener, (void *)&at, &len);
    printf("%d\n", ntohs(at.sin_port));
    watch_timer();
    watch(EPOLL_CTL_ADD, listener, EPOLLIN, 0);
    for (;;) {
        struct epoll_event ready[BATCH];
        int n = wait_for(ready);
        for (int i = 0; i < n; i++) {
            struct source *c = ready[i].data.ptr;
            if (!c) source_accept(listener);
            else if ((void *)c == &timer_fd) timer_read();
            else if (source_ready(c, ready[i].events)) source_close(c);
        }
        struct source *c;
        uint64_t now = now_ns();
        while ((c = (struct source *)timer_due(now))) {
            if (c->out_len) timer_set(&c->timer, now + SECOND / 1000); /* the socket is full: again in 1 ms */
            else if (source_pump(c, c->timer.due)) source_close(c);
        }
    }
}

/* ----------------------------------------------------------------------------------- sink: what it counts */

#define BUCKETS 4096
struct histogram { uint64_t count[BUCKETS], total; }; /* ns; 64 buckets an octave: 1.6 % wide at most */

static void observe(struct histogram *h, uint64_t ns)
{
    int octave = ns < 64 ? 5 : 63 - __builtin_clzll(ns);
    h->count[ns < 64 ? (int)ns : (octave - 5) * 64 + (int)(ns >> (octave - 6) & 63)]++;
    h->total++;
}
static double quantile_us(const struct histogram *h, double q)
{
    uint64_t want = h->total * q, sum = 0;
    for (int i = 0; i < BUCKETS; i++)
        if ((sum += h->count[i]) > want) return (i < 64 ? i : (int64_t)(64 + i % 64) << (i / 64 - 1)) / 1e3;
    return 0;
}

static struct histogram delay, first_byte;
static uint64_t streams, merged, payload_bytes, errors;
static char first_error[128];
static enum { WARMING, MEASURING, OVER } stage;

#define WATCHED 64
static clockid_t watched[WATCHED];
static uint64_t watched_cpu[WATCHED], own_cpu, window;
static int watched_n;

static void cpu_since(void) /* called at both ends of the window: then the variables hold the difference */
{
    for (int i = 0; i < watched_n; i++) watched_cpu[i] = clock_ns(watched[i]) - watched_cpu[i];
    own_cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - own_cpu;
    window = now_ns() - window;
}

/* --------------------------------------------------------------------------------------------------- sink */

struct sink {
    struct timer timer;
    int fd;
    SSL *tls; /* null: clear text */
    enum { CLOSED, CONNECTING, HANDSHAKE, HEAD, BODY } state;
    long to_send; /* bytes of an upload */
    uint64_t asked;
    char head[4096]; int head_len;
    enum { SIZE, PAYLOAD, PAYLOAD_END, LAST } chunk;
    long chunk_left, body, seen; /* body: payload bytes; seen: events */
    int matched; uint64_t time, number; /* how much of prefix and digits is read, and what they say */
};
static struct sockaddr_in target;
static char request[256], length[32]; /* length: of an upload, as the source answers it */
static int request_len, plain, upload, gzip, longer; /* longer: events get a line on their way */
static SSL_CTX *tls; /* null: clear text */
static int waiting, unanswered, answered; /* waiting: for answers, before more is asked */
static long n_events = 100, gap_us, size = 64;

static void sink_fail(struct sink *c, const char *what)
{
    if (!errors++)
        snprintf(first_error, sizeof first_error, "%s (event %ld, byte %ld)", what, c->seen, c->body);
    SSL_free(c->tls);
    c->tls = 0;
    close(c->fd);
    if (c->state == BODY) answered--; else unanswered--;
    c->state = CLOSED;
    timer_set(&c->timer, now_ns() + SECOND / 100);
}
static void sink_upload(struct sink *c) /* as much as the socket takes; a write for each piece */
{
    static const char piece[LARGEST_EVENT];
    while (c->to_send) {
        ssize_t k = send(c->fd, piece, c->to_send < size ? c->to_send : size, MSG_NOSIGNAL);
        if (k < 0 && errno == EAGAIN) return;
        if (k < 0) { sink_fail(c, "cannot send"); return; }
        c->to_send -= k;
        if (stage == MEASURING) payload_bytes += k;
    }
    watch(EPOLL_CTL_MOD, c->fd, EPOLLIN, c);
}
static void sink_ask(struct sink *c)
{
    if (c->state == BODY) answered--, unanswered++;
    c->state = HEAD;
    c->head_len = c->matched = 0;
    c->chunk = SIZE;
    c->chunk_left = c->body = c->seen = 0;
    c->asked = now_ns();
    ssize_t sent = c->tls ? SSL_write(c->tls, request, request_len)
                          : send(c->fd, request, request_len, MSG_NOSIGNAL);
    if (sent != request_len) { sink_fail(c, "cannot send"); return; }
    if (!upload) return;
    c->to_send = n_events * size;
    watch(EPOLL_CTL_MOD, c->fd, EPOLLIN | EPOLLOUT, c);
}
static void sink_open(struct sink *c)
{
    if (waiting && unanswered >= UNANSWERED) { timer_set(&c->timer, now_ns() + SECOND / 1000); return; }
    unanswered++;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0) die("socket");
    no_delay(c->fd);
    c->state = CONNECTING;
    watch(EPOLL_CTL_ADD, c->fd, EPOLLOUT, c);
    if (connect(c->fd, (void *)&target, sizeof target) && errno != EINPROGRESS) sink_fail(c, "no connection");
}
static void sink_shake(struct sink *c)
{
    int result = SSL_connect(c->tls);
    if (result == 1) sink_ask(c);
    else if (SSL_get_error(c->tls, result) != SSL_ERROR_WANT_READ) sink_fail(c, "no TLS");
}
static void sink_connected(struct sink *c)
{
    int error = 0;
    socklen_t len = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (error) { sink_fail(c, "no connection"); return; }
    watch(EPOLL_CTL_MOD, c->fd, EPOLLIN, c);
    if (!tls) { sink_ask(c); return; }
    if (!(c->tls = SSL_new(tls)) || !SSL_set_fd(c->tls, c->fd)) die("SSL_new");
    c->state = HANDSHAKE;
    sink_shake(c);
}
static void sink_done(struct sink *c)
{
    long right = upload ? (long)strlen(length) : plain ? size : n_events * size;
    if ((longer ? c->body <= right : c->body != right) || c->to_send) { sink_fail(c, "wrong length of body"); return; }
    if (!plain && c->seen != n_events) { sink_fail(c, "wrong number of events"); return; }
    streams += stage == MEASURING;
    sink_ask(c);
}
static int sink_event(struct sink *c, uint64_t now) /* 0, or -1: failed */
{
    c->matched = 0;
    if (c->number != (uint64_t)c->seen) {
        sink_fail(c, "an event is lost, damaged or out of order");
        return -1;
    }
    c->seen++;
    if (stage != MEASURING) return 0;
    observe(&delay, now > c->time ? now - c->time : 0);
    if (c->seen == 1) observe(&first_byte, now - c->asked);
    return 0;
}
static void sink_count(struct sink *c, long k)
{
    c->body += k;
    if (stage == MEASURING && !upload) payload_bytes += k;
}
static int sink_payload(struct sink *c, const char *p, long k, uint64_t now) /* 0, or -1: failed */
{
    const int prefix = strlen(STAMP_PREFIX);
    sink_count(c, k);
    for (const char *end = p + k; p < end; p++) {
        if (c->matched >= prefix) {
            uint64_t *value = c->matched < prefix + TIME_DIGITS ? &c->time : &c->number;
            *value = *value << 4 | (uint64_t)(*p <= '9' ? *p - '0' : *p - 'a' + 10);
            if (++c->matched == prefix + STAMP_DIGITS && sink_event(c, now)) return -1;
        } else if (*p == STAMP_PREFIX[c->matched]) {
            if (++c->matched == prefix) c->time = c->number = 0;
        } else {
            c->matched = 0;
            while (p + 1 < end && p[1] == 'x') p++; /* padding */
        }
    }
    return 0;
}
static void sink_chunks(struct sink *c, const char *p, long k, uint64_t now) /* undo the chunked coding */
{
    const char *end = p + k;
    while (p < end) {
        if (c->chunk == PAYLOAD) {
            long run = c->chunk_left < end - p ? c->chunk_left : end - p;
            if (sink_payload(c, p, run, now)) return;
            p += run;
            if (!(c->chunk_left -= run)) c->chunk = PAYLOAD_END;
            continue;
        }
        char ch = *p++;
        if (ch == '\r') continue;
        if (ch == '\n') {
            if (c->chunk == PAYLOAD_END) c->chunk = SIZE;
            else if (c->chunk == SIZE) c->chunk = c->chunk_left ? PAYLOAD : LAST;
            else if (p == end) { sink_done(c); return; }
            else { sink_fail(c, "bytes behind the end of the answer"); return; }
        } else if (c->chunk == SIZE && isxdigit((unsigned char)ch)) {
            c->chunk_left = c->chunk_left * 16 + (ch <= '9' ? ch - '0' : (ch | 32) - 'a' + 10);
        } else {
            sink_fail(c, "broken chunk framing");
            return;
        }
    }
}
static void sink_body(struct sink *c, const char *p, long k, uint64_t now)
{
    if (!plain) {
        sink_chunks(c, p, k, now);
    } else {
        if (upload && (c->body + k > 20 || memcmp(p, length + c->body, k))) {
            sink_fail(c, "the upload has another length");
            return;
        }
        sink_count(c, k);
        if (c->body >= (upload ? (long)strlen(length) : size)) sink_done(c);
    }
}
static long sink_head(struct sink *c, const char *p, long k, uint64_t now) /* bytes taken of k; -1: failed */
{
    long before = c->head_len, room = sizeof c->head - 1 - before, take = k < room ? k : room;
    memcpy(c->head + before, p, take);
    c->head[c->head_len += take] = 0;
    char *end = strstr(c->head, "\r\n\r\n");
    if (!end) {
        if (take == k) return k;
        sink_fail(c, "the response head is too long");
        return -1;
    }
    end[2] = 0;
    if (strncmp(c->head, "HTTP/1.1 200", 12)) {
        char what[32];
        snprintf(what, sizeof what, "the status is %d", atoi(c->head + 9));
        sink_fail(c, what);
        return -1;
    }
    if (!strcasestr(c->head, plain ? "\r\nContent-Length:" : "\r\nTransfer-Encoding: chunked\r\n")) {
        sink_fail(c, plain ? "the answer has lost its Content-Length" : "the stream is not chunked");
        return -1;
    }
    c->state = BODY;
    answered++, unanswered--;
    if (plain && stage == MEASURING) observe(&first_byte, now - c->asked);
    return end + 4 - c->head - before;
}
static ssize_t sink_read(struct sink *c, char *buffer, size_t room) /* as recv; of TLS one record */
{
    if (!c->tls) return recv(c->fd, buffer, room, 0);
    int k = SSL_read(c->tls, buffer, room);
    if (k > 0) return k;
    int error = SSL_get_error(c->tls, k);
    errno = EAGAIN;
    return error == SSL_ERROR_WANT_READ ? -1 : 0;
}
static void sink_readable(struct sink *c)
{
    static char buffer[1 << 18];
    uint64_t known = delay.total;
    do {
        ssize_t k = sink_read(c, buffer, sizeof buffer);
        if (k < 0 && errno == EAGAIN) break;
        if (k <= 0) { sink_fail(c, k ? "the connection was reset" : "the connection was closed"); return; }
        uint64_t now = now_ns();
        long used = c->state == HEAD ? sink_head(c, buffer, k, now) : 0;
        if (used >= 0 && used < k) sink_body(c, buffer + used, k - used, now);
    } while (c->tls && SSL_pending(c->tls));
    if (delay.total > known + 1) merged += delay.total - known - 1;
}
static void sink_window(const struct sink *all, int n, uint64_t opens, uint64_t closes)
{
    uint64_t now = now_ns();
    if (stage == WARMING && now >= opens) {
        int open = 0;
        for (int i = 0; i < n; i++) open += all[i].state == BODY;
        printf("{\"open\": %d}\n", open);
        stage = MEASURING;
        cpu_since();
    } else if (stage == MEASURING && now >= closes) {
        cpu_since();
        stage = OVER;
    }
}
static void sink_print(void)
{
    printf("{\"seconds\": %.6f, \"streams\": %" PRIu64 ", \"events\": %" PRIu64 ", \"merged\": %" PRIu64
           ", \"payload_bytes\": %" PRIu64 ", \"errors\": %" PRIu64 ", \"first_error\": \"%s\", ",
           window / 1e9, streams, delay.total, merged, payload_bytes, errors, first_error);
    printf("\"delay_p50_us\": %.1f, \"delay_p99_us\": %.1f, \"delay_p999_us\": %.1f, "
           "\"first_byte_p50_us\": %.1f, \"first_byte_p99_us\": %.1f, \"own_cpu\": %.6f, \"cpu\": [",
           quantile_us(&delay, .5), quantile_us(&delay, .99), quantile_us(&delay, .999),
           quantile_us(&first_byte, .5), quantile_us(&first_byte, .99), own_cpu / 1e9);
    for (int i = 0; i < watched_n; i++) printf("%s%.6f", i ? ", " : "", watched_cpu[i] / 1e9);
    printf("]}\n");
}
static void sink(int connections, double warm_up, double seconds, double rate)
{
    sprintf(length, "%ld", n_events * size);
    if (upload)
        request_len = sprintf(request, "POST /upload HTTP/1.1\r\nHost: bench\r\nContent-Length: %s\r\n\r\n", length);
    else if (plain)
        request_len = sprintf(request, "GET /plain?size=%ld HTTP/1.1\r\nHost: bench\r\n\r\n", size);
    else
        request_len = sprintf(request, "GET /stream?n=%ld&gap_us=%ld&size=%ld%s HTTP/1.1\r\nHost: bench\r\n"
                                       "Accept: text/event-stream\r\n\r\n", n_events, gap_us, size,
                              gzip ? "&gzip=1" : "");
    struct sink *all = calloc(connections, sizeof *all);
    if (!all) die("calloc");
    watch_timer();
    uint64_t start = now_ns(), opens = start + warm_up * SECOND, closes = opens + seconds * SECOND;
    /* Without a rate the streams are spread evenly over one gap, so that their events are, too. */
    double apart = rate ? SECOND / rate : gap_us ? gap_us * 1e3 / connections : 20e3;
    for (int i = 0; i < connections; i++) timer_set(&all[i].timer, start + i * apart);
    while (stage != OVER) {
        struct epoll_event ready[BATCH];
        int n = wait_for(ready);
        for (int i = 0; i < n; i++) {
            struct sink *c = ready[i].data.ptr;
            if ((void *)c == &timer_fd) timer_read();
            else if (c->state == CONNECTING) sink_connected(c);
            else if (c->state == HANDSHAKE) sink_shake(c);
            else if (c->to_send && ready[i].events & EPOLLOUT) sink_upload(c);
            else sink_readable(c);
        }
        struct sink *c;
        uint64_t now = now_ns();
        while ((c = (struct sink *)timer_due(now))) sink_open(c);
        if (waiting && stage == WARMING && answered < connections) {
            opens = now + warm_up * SECOND;
            closes = opens + seconds * SECOND;
        }
        sink_window(all, connections, opens, closes);
    }
    sink_print();
}

int main(int argc, char **argv)
{
    int connections = 10, option;
    double seconds = 5, warm_up = 1, rate = 0;
    setvbuf(stdout, 0, _IOLBF, 0);
    if (argc == 2 && !strcmp(argv[1], "source")) source();
    if (argc < 3 || strcmp(argv[1], "sink")) goto usage;
    target = loopback(atoi(argv[2]));
    optind = 3;
    while ((option = getopt(argc, argv, "c:t:w:o:n:g:s:apuziTP:")) > 0) switch (option) {
        case 'c': connections = atoi(optarg); break;
        case 't': seconds = atof(optarg); break;
        case 'w': warm_up = atof(optarg); break;
        case 'o': rate = atof(optarg); break;
        case 'n': n_events = atol(optarg); break;
        case 'g': gap_us = atol(optarg); break;
        case 's': size = atol(optarg); break;
        case 'a': waiting = 1; break;
        case 'p': plain = 1; break;
        case 'u': plain = upload = 1; break;
        case 'z': gzip = 1; break;
        case 'i': longer = 1; break;
        case 'T':
            if (!(tls = SSL_CTX_new(TLS_client_method()))) die("SSL_CTX_new");
            SSL_CTX_set_read_ahead(tls, 1);
            break;
        case 'P':
            if (watched_n == WATCHED) goto usage;
            if ((errno = clock_getcpuclockid(atoi(optarg), &watched[watched_n++]))) die("-P");
            break;
        default: goto usage;
        }
    if (size < 1 || size > LARGEST_EVENT || (upload && tls)) goto usage;
    sink(connections, warm_up, seconds, rate);
    return 0;
usage:
    fprintf(stderr, "streamload: the head of streamload.c says how to call it\n");
    return 2;
}
